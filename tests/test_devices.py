"""The devices of a battery in Home Assistant: itself, and its parts."""

from collections.abc import AsyncIterator
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.devices import LOOK_INTERVAL
from tests.simulators import (
    DeyeModbusSimulator,
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    SmaSimulator,
    VictronSimulator,
)

from .conftest import Home, MakeHome, Warp

A_WHILE = LOOK_INTERVAL.total_seconds() + 1


def devices_of(home: Home) -> dict[str, dr.DeviceEntry]:
    """Return the devices of a battery by the end of their identifiers."""
    found = dr.async_entries_for_config_entry(
        dr.async_get(home.hass), home.entry.entry_id
    )
    serial = str(home.entry.unique_id)
    return {
        identifier.removeprefix(serial): device
        for device in found
        if isinstance(device, dr.DeviceEntry)
        for _, identifier in device.identifiers
    }


def device_of(home: Home, key: str) -> str | None:
    """Return the id of the device that an entity belongs to."""
    entity = er.async_get(home.hass).async_get(home.entity_id(key))
    assert entity is not None
    return entity.device_id


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


async def test_battery_units_of_huawei_are_devices(huawei_home: Home) -> None:
    """They hang on the inverter, say who they are, and have what is about them."""
    devices = devices_of(huawei_home)

    assert devices.keys() == {"", "_battery_unit_1", "_battery_unit_2"}
    inverter, unit = devices[""], devices["_battery_unit_2"]
    assert unit.via_device_id == inverter.id
    assert inverter.via_device_id is None
    assert unit.name == f"{inverter.name} battery unit 2"
    assert (unit.manufacturer, unit.model) == ("Huawei", "LUNA2000")
    assert unit.serial_number == "TA2250000002"
    assert unit.sw_version == "V100R002C00SPC132"
    for key in ("battery2_soc", "battery2_pack2_soc"):
        assert device_of(huawei_home, key) == unit.id
    for key in ("battery_soc", "power_setpoint", "energy_charged_total"):
        assert device_of(huawei_home, key) == inverter.id
    assert huawei_home.state("battery2_soc") == "50.0"


async def test_devices_are_called_like_the_entry(
    make_home: MakeHome, huawei: HuaweiSimulator
) -> None:
    """So two of a model differ in lists; a name of a user's own for a device stays."""
    home = make_home(huawei)
    assert await home.set_up()
    own, registry = devices_of(home)["_battery_unit_1"], dr.async_get(home.hass)
    registry.async_update_device(own.id, name_by_user="Left")
    entity_id = home.entity_id("battery_soc")
    home.hass.config_entries.async_update_entry(home.entry, title="Garage")
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done()

    devices = devices_of(home)
    assert devices[""].name == "Garage"
    assert devices["_battery_unit_2"].name == "Garage battery unit 2"
    assert devices["_battery_unit_1"].name_by_user == "Left"
    assert home.entity_id("battery_soc") == entity_id


async def test_the_battery_of_victron_is_a_device(victron_home: Home) -> None:
    """With what its service tells; what the GX knows of the system stays there."""
    devices = devices_of(victron_home)

    assert devices.keys() == {"", "_battery_1"}
    assert devices["_battery_1"].via_device_id == devices[""].id
    assert devices["_battery_1"].name == f"{devices[''].name} battery"
    assert device_of(victron_home, "battery_soh") == devices["_battery_1"].id
    for key in ("battery_soc", "battery_voltage", "energy_charged_total", "problem"):
        assert device_of(victron_home, key) == devices[""].id


async def test_battery_packs_of_deye_are_devices(
    make_home: MakeHome, clock: ManualClock
) -> None:
    async with DeyeModbusSimulator(
        DeyeModbusSimulator.house(clock=clock), packs=2
    ) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        devices = devices_of(home)

    assert devices.keys() == {"", "_battery_pack_1", "_battery_pack_2"}
    pack = devices["_battery_pack_2"]
    assert pack.serial_number == "PACK000000000002"
    assert pack.name == "Deye battery pack 2"
    assert device_of(home, "pack2_soc") == pack.id
    assert device_of(home, "battery_soc") == devices[""].id


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SessySimulator, {}),
        (SmaSimulator, {}),
        (DeyeModbusSimulator, {}),
        (HuaweiSimulator, {"battery_units": 0}),
        (VictronSimulator, {"battery": "none"}),
    ],
)
async def test_what_has_no_parts_is_one_device(
    make_home: MakeHome, clock: ManualClock, kind: Any, options: dict[str, Any]
) -> None:
    async with kind(kind.house(clock=clock), **options) as simulator:
        home = make_home(simulator)
        assert await home.set_up()

        assert devices_of(home).keys() == {""}


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("nl", "SUN2000-6KTL-M1 batterij-eenheid 1"),
        ("de", "SUN2000-6KTL-M1 Batterieeinheit 1"),
        ("fr", "Unité de batterie 1 de SUN2000-6KTL-M1"),
    ],
)
async def test_parts_are_named_in_the_language_of_the_house(
    hass: HomeAssistant,
    make_home: MakeHome,
    huawei: HuaweiSimulator,
    language: str,
    name: str,
) -> None:
    hass.config.language = language
    home = make_home(huawei)
    assert await home.set_up()

    assert devices_of(home)["_battery_unit_1"].name == name


# Parts that come


async def test_a_battery_unit_that_is_added_appears_by_itself(
    make_home: MakeHome, huawei: HuaweiSimulator, warp: Warp
) -> None:
    """Within the hour, with its entities."""
    huawei.fit(battery_units=1, packs=2)
    home = make_home(huawei)
    assert await home.set_up()
    assert devices_of(home).keys() == {"", "_battery_unit_1"}

    huawei.fit(battery_units=2, packs=2)
    await warp(A_WHILE)

    assert devices_of(home).keys() == {"", "_battery_unit_1", "_battery_unit_2"}
    assert home.state("battery2_soc") == home.state("battery_soc")


async def test_while_nothing_is_added_nothing_is_set_up_again(
    huawei_home: Home, warp: Warp
) -> None:
    before = huawei_home.data
    await warp(A_WHILE)

    assert huawei_home.data is before


async def test_a_battery_that_is_held_is_not_set_up_again(
    make_home: MakeHome, huawei: HuaweiSimulator, warp: Warp
) -> None:
    """Its setpoint is worth more; the unit appears when it has been given back."""
    huawei.fit(battery_units=1, packs=2)
    home = make_home(huawei)
    assert await home.set_up()
    await home.set_power(1000)

    huawei.fit(battery_units=2, packs=2)
    await warp(A_WHILE)
    assert home.state("control_mode") == "manual"
    assert "_battery_unit_2" not in devices_of(home)

    await home.choose("automatic")
    await warp(A_WHILE)
    assert "_battery_unit_2" in devices_of(home)


async def test_a_device_that_is_away_is_not_looked_at_in_vain(
    huawei_home: Home, warp: Warp, caplog: pytest.LogCaptureFixture
) -> None:
    """Who cannot be asked for parts is asked again later, without an error."""
    before = huawei_home.data
    await huawei_home.simulator.misbehave("refuse")
    await huawei_home.simulator.misbehave("away")
    await warp(A_WHILE)

    assert huawei_home.data is before
    assert "ERROR" not in {record.levelname for record in caplog.records}


# Parts that go


async def remove(home: Home, ws: WebSocketGenerator, device: dr.DeviceEntry) -> bool:
    """Remove a device as a user does on its page; return whether that worked."""
    assert await async_setup_component(home.hass, "config", {})
    client = await ws(home.hass)
    await client.send_json_auto_id(
        {
            "type": "config/device_registry/remove_config_entry",
            "config_entry_id": home.entry.entry_id,
            "device_id": device.id,
        }
    )
    answer = await client.receive_json()
    return bool(answer["success"])


async def test_a_battery_unit_that_has_gone_can_be_removed(
    huawei_home: Home, huawei: HuaweiSimulator, hass_ws_client: WebSocketGenerator
) -> None:
    """By its owner: to us it may be off. The others cannot."""
    huawei.fit(battery_units=1, packs=2)
    await huawei_home.hass.config_entries.async_reload(huawei_home.entry.entry_id)
    devices = devices_of(huawei_home)
    assert "_battery_unit_2" in devices

    assert not await remove(huawei_home, hass_ws_client, devices[""])
    assert not await remove(huawei_home, hass_ws_client, devices["_battery_unit_1"])
    assert await remove(huawei_home, hass_ws_client, devices["_battery_unit_2"])
    assert devices_of(huawei_home).keys() == {"", "_battery_unit_1"}


async def test_while_nobody_knows_what_is_there_nothing_can_be_removed(
    huawei_home: Home, hass_ws_client: WebSocketGenerator
) -> None:
    await huawei_home.hass.config_entries.async_unload(huawei_home.entry.entry_id)
    assert huawei_home.entry_is(ConfigEntryState.NOT_LOADED)

    for device in devices_of(huawei_home).values():
        assert not await remove(huawei_home, hass_ws_client, device)


# Parts in actions


async def test_an_action_for_a_part_is_for_the_whole(huawei_home: Home) -> None:
    """Whoever picks a battery unit means the battery, once."""
    devices = devices_of(huawei_home)
    answer: Any = await huawei_home.hass.services.async_call(
        DOMAIN,
        "set_power",
        {"power": 1000, "device_id": [device.id for device in devices.values()]},
        blocking=True,
        return_response=True,
    )

    assert answer["batteries"].keys() == {devices[""].id}
    assert huawei_home.data.control.requested_power == 1000
