"""Sensors of the options, and the classes of other sensors."""

from typing import Any

from homeassistant.const import EntityCategory
from homeassistant.helpers import entity_registry as er
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
