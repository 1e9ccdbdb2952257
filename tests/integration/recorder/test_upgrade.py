"""Entities that an earlier version has registered stay as they are."""

from homeassistant.components.recorder.history import get_significant_states
from homeassistant.const import ATTR_RESTORED, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.homebattery.const import DOMAIN
from tests.home import MakeHome
from tests.simulators import DeyeModbusSimulator, ManualClock


@pytest.mark.parametrize("disabled_by", [None, er.RegistryEntryDisabler.INTEGRATION])
async def test_one_of_a_family_gets_its_new_texts(
    hass: HomeAssistant,
    make_home: MakeHome,
    clock: ManualClock,
    disabled_by: er.RegistryEntryDisabler | None,
) -> None:
    """Each pack had texts of its own; a user's names and the history stay."""
    begun = dt_util.utcnow()
    registry = er.async_get(hass)
    house = DeyeModbusSimulator.house(clock=clock)
    async with DeyeModbusSimulator(house, packs=2) as simulator:
        home = make_home(simulator)
        earlier = registry.async_get_or_create(
            "sensor",
            DOMAIN,
            f"{home.entry.unique_id}_pack2_soc",
            config_entry=home.entry,
            disabled_by=disabled_by,
            has_entity_name=True,
            original_name="Battery pack 2 state of charge",
            suggested_object_id="deye_battery_pack_2_state_of_charge",
            translation_key="pack2_soc",
        )
        registry.async_update_entity(earlier.entity_id, name="Upper pack")
        hass.states.async_set(earlier.entity_id, "41")
        hass.states.async_set(
            earlier.entity_id, STATE_UNAVAILABLE, {ATTR_RESTORED: True}
        )
        await async_wait_recording_done(hass)

        assert await home.set_up()

    now = registry.async_get(earlier.entity_id)
    assert now is not None
    assert now.translation_key == "pack_soc"
    assert now.id == earlier.id
    assert now.name == "Upper pack"
    assert now.original_name == earlier.original_name
    assert now.disabled_by == disabled_by
    await async_wait_recording_done(hass)
    recorded = await get_instance(hass).async_add_executor_job(
        get_significant_states, hass, begun, None, [earlier.entity_id]
    )
    states = [
        state.state
        for state in recorded[earlier.entity_id]
        if isinstance(state, State) and state.state != STATE_UNAVAILABLE
    ]
    assert states == (["41", "50.0"] if disabled_by is None else ["41"])
