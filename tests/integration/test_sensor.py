"""Sensors of the options, and the classes of other sensors."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from homeassistant.const import EntityCategory
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
import pytest

from custom_components.homebattery.drivers.measurements import MEASUREMENTS, Quantity
from tests.home import Home, MakeHome
from tests.simulators import (
    DeyeModbusSimulator,
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    SmaSimulator,
    VictronSimulator,
)
from tests.simulators.huawei_values import REACTIVE_ENERGY, STARTED


async def test_capacity_of_the_options_is_shown_when_the_device_reports_none(
    make_home: MakeHome, sessy: SessySimulator
) -> None:
    home = make_home(sessy, capacity=5200)
    assert await home.set_up()

    assert home.state("rated_capacity") == "5.2"
    assert home.state_of("rated_capacity").attributes["unit_of_measurement"] == "kWh"


async def test_without_that_option_there_is_no_capacity(sessy_home: Home) -> None:
    assert sessy_home.find("rated_capacity") is None


async def test_capacity_that_the_device_reports_comes_before_the_options(
    make_home: MakeHome, clock: ManualClock
) -> None:
    async with HuaweiSimulator(HuaweiSimulator.house(clock=clock)) as simulator:
        home = make_home(simulator, capacity=5200)
        assert await home.set_up()
        await home.enable("rated_capacity")

        assert home.state("rated_capacity") == "10.0"


@pytest.fixture
async def huawei_home(make_home: MakeHome, clock: ManualClock) -> AsyncIterator[Home]:
    async with HuaweiSimulator(HuaweiSimulator.house(clock=clock)) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        yield home


async def test_the_start_of_an_inverter_is_a_time_for_those_who_want_it(
    huawei_home: Home,
) -> None:
    """The inverter gives the time of Home Assistant's zone, without the zone."""
    await huawei_home.hass.config.async_set_time_zone("Europe/Berlin")
    await huawei_home.enable("started_at", "stopped_at")

    shown = huawei_home.state_of("started_at")
    wall = datetime.fromtimestamp(STARTED, UTC).replace(
        tzinfo=ZoneInfo("Europe/Berlin")
    )
    assert shown.attributes["device_class"] == "timestamp"
    assert dt_util.parse_datetime(shown.state) == wall
    assert huawei_home.state("stopped_at") == "unknown"
    entity = er.async_get(huawei_home.hass).async_get(shown.entity_id)
    assert entity is not None
    assert entity.entity_category is EntityCategory.DIAGNOSTIC


async def test_reactive_energy_may_fall(huawei_home: Home) -> None:
    await huawei_home.enable("meter_reactive_energy")

    shown = huawei_home.state_of("meter_reactive_energy")
    assert float(shown.state) == REACTIVE_ENERGY
    assert shown.attributes["device_class"] == "reactive_energy"
    assert shown.attributes["unit_of_measurement"] == "kvarh"
    assert shown.attributes["state_class"] == "total"


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (SmaSimulator, "min_soc"),
        (VictronSimulator, "grid_metering"),
        (DeyeModbusSimulator, "battery_control_mode"),
    ],
)
async def test_a_setting_that_can_only_be_read_is_diagnostic(
    make_home: MakeHome, clock: ManualClock, kind: Any, key: str
) -> None:
    """It shows a setting of the device, not a measurement."""
    async with kind(kind.house(clock=clock)) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        entity = er.async_get(home.hass).async_get(home.entity_id(key))

    assert entity is not None
    assert entity.domain == "sensor"
    assert entity.entity_category is EntityCategory.DIAGNOSTIC


def test_a_code_has_no_average() -> None:
    """Codes of errors and tariffs are no quantities."""
    codes = {
        key for key, each in MEASUREMENTS.items() if each.quantity is Quantity.CODE
    }
    assert {"fault_code", "battery_error", "active_tariff"} <= codes
