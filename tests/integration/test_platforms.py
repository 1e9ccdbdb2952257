"""Every entity of every kind of battery: its registration and its state."""

from collections.abc import Mapping
import logging
from typing import Any

from homeassistant.components.sensor import SensorDeviceClass
from homeassistant.const import Platform
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity
import pytest
from syrupy.assertion import SnapshotAssertion

from custom_components.homebattery.drivers.measurements import (
    MEASUREMENTS,
    UNITS,
    Quantity,
)
from custom_components.homebattery.entity import (
    ATTR_KEY,
    KEYS_FOR_TEMPLATES,
    translation_of,
)
from custom_components.homebattery.sensor import KINDS
from tests.home import Home, MakeHome, Warp
from tests.simulators import (
    DeyeModbusSimulator,
    DeyeSolarmanSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)

_SHOWN_ATTRIBUTES = ("min", "max", "step", "options", "active")


def described(home: Home, platform: Platform) -> dict[str, str]:
    """Return a line for each entity of a platform, enabled or not, by its key.

    The displayed decimals are known only for enabled entities.
    """
    registry = er.async_get(home.hass)
    lines = {}
    for entity in er.async_entries_for_config_entry(registry, home.entry.entry_id):
        if entity.domain != platform:
            continue
        key = entity.unique_id.removeprefix(f"{home.entry.unique_id}_")
        assert entity.has_entity_name
        assert entity.translation_key == translation_of(key)[0]
        options: Mapping[str, Any] = entity.options.get("sensor") or {}
        decimals = options.get("suggested_display_precision")
        state = home.hass.states.get(entity.entity_id)
        capabilities: dict[str, Any] = {
            **(entity.capabilities or {}),
            **(state.attributes if state else {}),
        }
        shown = "disabled" if state is None else state.state
        if state and entity.original_device_class == SensorDeviceClass.TIMESTAMP:
            shown = "a time"
        facts = [
            entity.original_name,
            shown,
            entity.unit_of_measurement,
            None if decimals is None else f"decimals {decimals}",
            entity.original_device_class,
            capabilities.get("state_class"),
            entity.entity_category,
            *(
                f"{name} {capabilities[name]}"
                for name in _SHOWN_ATTRIBUTES
                if name in capabilities
            ),
        ]
        lines[key] = " | ".join(str(fact) for fact in facts if fact is not None)
    return lines


_PLATFORMS = [
    Platform.BINARY_SENSOR,
    Platform.NUMBER,
    Platform.SELECT,
    Platform.SENSOR,
    Platform.SWITCH,
]


async def test_entities(home: Home, snapshot: SnapshotAssertion) -> None:
    for platform in _PLATFORMS:
        assert described(home, platform) == snapshot(name=platform.value)


async def test_entities_of_others(
    other_home: Home, snapshot: SnapshotAssertion
) -> None:
    assert {
        platform.value: described(other_home, platform) for platform in _PLATFORMS
    } == snapshot


async def test_a_device_enables_about_25_entities_and_disables_the_rest(
    home: Home,
) -> None:
    """Users who want more entities enable them."""
    registry = er.async_get(home.hass)
    entities = er.async_entries_for_config_entry(registry, home.entry.entry_id)
    assert 20 <= sum(not entity.disabled for entity in entities) <= 32
    assert any(entity.disabled for entity in entities)


async def test_every_entity_can_be_enabled(
    make_home: MakeHome,
    simulator: Simulator,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)
    home = make_home(simulator)
    assert await home.set_up()
    for _ in range(2):
        await warp(61)
    registry = er.async_get(home.hass)
    for entity in er.async_entries_for_config_entry(registry, home.entry.entry_id):
        state = home.hass.states.get(entity.entity_id)
        assert state is not None
        assert state.state != "unavailable", entity.entity_id
    complaints = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
        and not record.name.startswith("asyncio")
        and "has not been tested by Home Assistant" not in record.getMessage()
    ]
    assert not complaints


async def test_entities_for_templates_show_their_key(
    make_home: MakeHome, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key is that of one entity, also when all the others are enabled."""
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)
    home = make_home(simulator)
    assert await home.set_up()
    shown = [
        (state.attributes[ATTR_KEY], state.entity_id)
        for state in home.hass.states.async_all()
        if ATTR_KEY in state.attributes
    ]
    assert sorted(shown) == [
        (key, home.entity_id(key)) for key in sorted(KEYS_FOR_TEMPLATES)
    ]
    domains = {key: entity_id.partition(".")[0] for key, entity_id in shown}
    assert domains == {
        "battery_power": "sensor",
        "battery_soc": "sensor",
        "power_setpoint": "number",
    }


async def test_meter_has_neither_setpoint_nor_battery(
    make_home: MakeHome, clock: ManualClock
) -> None:
    async with SessySimulator(
        SessySimulator.house(clock=clock), device="p1"
    ) as simulator:
        home = make_home(simulator)
        home.hass.config_entries.async_update_entry(home.entry, unique_id="PABC1234")
        assert await home.set_up()
        assert home.find("grid_power")
        assert float(home.state("grid_target")) == 0
        for key in (
            "power_setpoint",
            "control_mode",
            "control_status",
            "battery_charging",
            "energy_charged_total",
        ):
            assert home.find(key) is None
        await home.hass.config_entries.async_unload(home.entry.entry_id)


async def test_system_that_takes_no_setpoint_only_shows(
    make_home: MakeHome, clock: ManualClock
) -> None:
    house = VictronSimulator.house(clock=clock)
    async with VictronSimulator(house, ess=False) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        assert home.find("battery_soc")
        assert home.find("control_mode") is None
        assert (
            er.async_get(home.hass).async_get_entity_id(
                "number", "homebattery", f"{home.entry.unique_id}_power_setpoint"
            )
            is None
        )
        await home.hass.config_entries.async_unload(home.entry.entry_id)


@pytest.mark.parametrize("kind", [DeyeModbusSimulator, DeyeSolarmanSimulator])
async def test_single_phase_deye_shows_its_values_and_takes_no_setpoint(
    make_home: MakeHome,
    clock: ManualClock,
    kind: type[DeyeModbusSimulator | DeyeSolarmanSimulator],
) -> None:
    """Its settings can be changed; the error of the action refers to the reason."""
    house = kind.house(clock=clock, phases=1)
    async with kind(house, variant="single", power_ratio=10) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        assert float(home.state("grid_power")) == pytest.approx(
            simulator.state()["grid_power"], abs=10
        )
        assert float(home.state("energy_charged_total")) == 7000.1
        for key in ("power_setpoint", "control_mode", "control_status"):
            assert home.find(key) is None
        with pytest.raises(ServiceValidationError) as refusal:
            await home.hass.services.async_call(
                "homebattery",
                "set_power",
                {"power": 600},
                blocking=True,
                return_response=True,
                target={"entity_id": home.find("battery_soc")},
            )
        assert refusal.value.translation_key == "not_controllable"
        assert simulator.server.traffic.writes == []
        await home.hass.config_entries.async_unload(home.entry.entry_id)


def test_every_quantity_is_shown_in_its_unit() -> None:
    for quantity in Quantity:
        if quantity in (Quantity.FLAG, Quantity.PROBLEMS):
            assert quantity not in KINDS
        else:
            assert KINDS[quantity].native_unit_of_measurement == UNITS.get(quantity)


def test_there_is_one_state_of_charge() -> None:
    """Home Assistant shows it at the top of the device's page and expects only one."""
    of_battery = [
        key
        for key, measurement in MEASUREMENTS.items()
        if (kind := KINDS.get(measurement.quantity))
        and kind.device_class is SensorDeviceClass.BATTERY
    ]
    assert of_battery == ["battery_soc"]
