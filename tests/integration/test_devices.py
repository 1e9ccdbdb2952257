"""The device of a battery in Home Assistant, and the battery's parts."""

from collections.abc import AsyncIterator
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
import pytest

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.drivers.battery.base import SCAN_INTERVAL
from tests.home import Home, MakeHome, Warp, refuse_word
from tests.simulators import (
    DeyeModbusSimulator,
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    SmaSimulator,
    VictronSimulator,
)

A_WHILE = SCAN_INTERVAL + 1


def devices_of(home: Home) -> dict[str, dr.DeviceEntry]:
    """Return the devices of a battery by identifier, less the serial number in it."""
    devices = dr.async_entries_for_config_entry(
        dr.async_get(home.hass), home.entry.entry_id
    )
    serial = str(home.entry.unique_id)
    return {
        identifier.removeprefix(serial): device
        for device in devices
        if isinstance(device, dr.DeviceEntry)
        for _, identifier in device.identifiers
    }


def device_of(home: Home, key: str) -> str | None:
    """Return the id of the device that an entity belongs to."""
    entity = er.async_get(home.hass).async_get(home.entity_id(key))
    assert entity is not None
    return entity.device_id


def name_of(home: Home, key: str) -> str | None:
    """Return the name of an entity, without that of its device."""
    entity = er.async_get(home.hass).async_get(home.entity_id(key))
    assert entity is not None
    return entity.original_name


@pytest.fixture
async def huawei(clock: ManualClock) -> AsyncIterator[HuaweiSimulator]:
    house = HuaweiSimulator.house(clock=clock)
    house.fixed_pv, house.fixed_load = 0.0, 500.0
    async with HuaweiSimulator(house, battery_units=2, packs=2) as simulator:
        yield simulator


@pytest.fixture
async def huawei_home(make_home: MakeHome, huawei: HuaweiSimulator) -> Home:
    made = make_home(huawei)
    assert await made.set_up()
    return made


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (VictronSimulator, {}),
        (SessySimulator, {}),
        (SmaSimulator, {}),
        (HuaweiSimulator, {"battery_units": 2, "packs": 2}),
        (DeyeModbusSimulator, {"packs": 2}),
    ],
)
async def test_all_of_a_battery_is_one_device(
    make_home: MakeHome, clock: ManualClock, kind: Any, options: dict[str, Any]
) -> None:
    """A battery unit or pack would show next to nothing on a page of its own."""
    async with kind(kind.house(clock=clock), **options) as simulator:
        home = make_home(simulator)
        assert await home.set_up()

    assert devices_of(home).keys() == {""}
    entities = er.async_entries_for_config_entry(
        er.async_get(home.hass), home.entry.entry_id
    )
    assert {entity.device_id for entity in entities} == {home.data.device_id}


async def test_devices_are_called_like_the_entry(
    make_home: MakeHome, huawei: HuaweiSimulator
) -> None:
    """Two devices of a model then differ in lists; entity ids stay."""
    home = make_home(huawei)
    assert await home.set_up()
    entity_id = home.entity_id("battery_soc")
    home.hass.config_entries.async_update_entry(home.entry, title="Garage")
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done()

    assert devices_of(home)[""].name == "Garage"
    assert home.entity_id("battery_soc") == entity_id


@pytest.mark.parametrize(
    ("language", "unit", "pack"),
    [
        ("en", "Battery unit 2 voltage", "Battery unit 2 pack 1 voltage"),
        ("nl", "Batterij-eenheid 2: spanning", "Batterij-eenheid 2, pack 1: spanning"),
        ("de", "Batterieeinheit 2: Spannung", "Batterieeinheit 2, Pack 1: Spannung"),
        (
            "fr",
            "Unité de batterie 2\N{NO-BREAK SPACE}: tension",
            "Unité de batterie 2, pack 1\N{NO-BREAK SPACE}: tension",
        ),
    ],
)
async def test_names_have_the_part_that_they_are_about(
    hass: HomeAssistant,
    make_home: MakeHome,
    huawei: HuaweiSimulator,
    language: str,
    unit: str,
    pack: str,
) -> None:
    hass.config.language = language
    home = make_home(huawei)
    assert await home.set_up()

    assert name_of(home, "battery2_voltage") == unit
    assert name_of(home, "battery2_pack1_voltage") == pack


async def test_battery_packs_of_deye_have_their_number_in_their_names(
    make_home: MakeHome, clock: ManualClock
) -> None:
    async with DeyeModbusSimulator(
        DeyeModbusSimulator.house(clock=clock), packs=2
    ) as simulator:
        home = make_home(simulator)
        assert await home.set_up()

    assert name_of(home, "pack2_soc") == "Battery pack 2 state of charge"


async def test_entities_of_parts_that_were_devices_move_to_the_battery(
    hass: HomeAssistant, make_home: MakeHome, huawei: HuaweiSimulator
) -> None:
    """Their ids stay, and they stay enabled, also those of a part that is off."""
    huawei.fit(battery_units=1, packs=2)
    home = make_home(huawei)
    serial = home.entry.unique_id
    unit_2 = dr.async_get(hass).async_get_or_create(
        config_entry_id=home.entry.entry_id,
        identifiers={(DOMAIN, f"{serial}_battery_unit_2")},
    )
    unit_1 = dr.async_get(hass).async_get_or_create(
        config_entry_id=home.entry.entry_id,
        identifiers={(DOMAIN, f"{serial}_battery_unit_1")},
    )
    former = {
        key: er.async_get(hass)
        .async_get_or_create(
            "sensor",
            DOMAIN,
            f"{serial}_{key}",
            config_entry=home.entry,
            device_id=device.id,
            suggested_object_id=f"former_{key}",
        )
        .entity_id
        for key, device in (("battery1_soc", unit_1), ("battery2_soc", unit_2))
    }

    assert await home.set_up()

    assert devices_of(home).keys() == {""}
    for key, entity_id in former.items():
        assert home.entity_id(key) == entity_id
        assert device_of(home, key) == home.data.device_id
    assert home.state("battery1_soc") == "50.0"


# Parts that are added


@pytest.mark.parametrize(
    ("simulator", "refused"),
    [("victron", (100, 843)), ("sun2000", (1, 47000)), ("sma", (3, 30845))],
    indirect=["simulator"],
)
async def test_soc_that_is_refused_at_set_up_appears_within_minutes(
    make_home: MakeHome,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    warp: Warp,
    refused: tuple[int, int],
) -> None:
    """A device that starts may refuse what it has."""
    home = make_home(simulator)
    with monkeypatch.context() as patch:
        refuse_word(simulator, refused, patch)
        assert await home.set_up()
    assert home.find("battery_soc") is None

    for _ in range(30):
        await warp(5)
    assert float(home.state("battery_soc")) == pytest.approx(50, abs=1)


async def test_a_battery_unit_that_is_added_appears_by_itself(
    make_home: MakeHome, huawei: HuaweiSimulator, warp: Warp
) -> None:
    """It appears within an hour, with its entities."""
    huawei.fit(battery_units=1, packs=2)
    home = make_home(huawei)
    assert await home.set_up()
    assert home.find("battery2_soc") is None

    huawei.fit(battery_units=2, packs=2)
    await warp(A_WHILE)
    assert home.find("battery2_soc") is not None
    await home.enable("battery2_soc")

    assert home.state("battery2_soc") == home.state("battery_soc")


@pytest.mark.parametrize("simulator", ["deye_modbus", "deye_solarman"], indirect=True)
async def test_a_deye_with_other_firmware_is_set_up_with_it_by_itself(
    home: Home, simulator: DeyeModbusSimulator, warp: Warp
) -> None:
    """Its device names the firmware, and its numbers go as far as that allows."""
    await home.enable("zero_export_power")
    before = home.state_of("zero_export_power").attributes["min"]
    await simulator.misbehave("firmware", release="1184")
    for _ in range(8):
        await warp(61)
    await warp(A_WHILE)

    device = home.data.battery.identity
    assert device.firmware == "2005-1184-1807"
    assert before == 0
    assert home.state_of("zero_export_power").attributes["min"] == -500


async def test_while_nothing_is_added_nothing_is_set_up_again(
    huawei_home: Home, warp: Warp
) -> None:
    before = huawei_home.data
    await warp(A_WHILE)

    assert huawei_home.data is before


async def test_a_battery_that_is_held_is_not_set_up_again(
    make_home: MakeHome, huawei: HuaweiSimulator, warp: Warp
) -> None:
    """A reload would end the setpoint; the unit appears after the release."""
    huawei.fit(battery_units=1, packs=2)
    home = make_home(huawei)
    assert await home.set_up()
    await home.set_power(1000)

    huawei.fit(battery_units=2, packs=2)
    await warp(A_WHILE)
    assert home.state("control_mode") == "manual"
    assert home.find("battery2_soc") is None

    await home.choose("automatic")
    await warp(A_WHILE)
    assert home.find("battery2_soc") is not None


async def test_checking_for_parts_out_of_reach_is_no_error(
    huawei_home: Home, warp: Warp, caplog: pytest.LogCaptureFixture
) -> None:
    """The parts are checked again later."""
    before = huawei_home.data
    await huawei_home.simulator.misbehave("refuse")
    await huawei_home.simulator.misbehave("away")
    await warp(A_WHILE)

    assert huawei_home.data is before
    assert "ERROR" not in {record.levelname for record in caplog.records}
