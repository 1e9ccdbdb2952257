"""What is set on a device and stays there: numbers, selects, switches."""

from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er
import pytest

from custom_components.homebattery.drivers import SessyInverter, VictronInverter
from custom_components.homebattery.drivers.battery import (
    AuthenticationError,
    Battery,
    BatteryError,
    InvalidValueError,
    Value,
)

from .conftest import Home, Warp
from .simulators import SessySimulator, VictronSimulator


async def enable(home: Home, *keys: str) -> None:
    """Enable entities that are disabled at first."""
    registry = er.async_get(home.hass)
    for key in keys:
        registry.async_update_entity(home.entity_id(key), disabled_by=None)
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done()


async def test_number_is_written_and_shown_as_the_device_has_it(
    home: Home,
) -> None:
    await home.call("number.set_value", "min_soc", value=25)
    assert float(home.state("min_soc")) == 25
    state = home.simulator.state()["device"]
    assert state.get("min_soc", state["settings"].get("min_soc")) == 25


async def test_number_out_of_range_is_refused(home: Home) -> None:
    with pytest.raises(ServiceValidationError):
        await home.call("number.set_value", "min_soc", value=101)


async def test_one_setting_may_move_another(sessy_home: Home) -> None:
    """A Sessy has one limit for both directions."""
    await sessy_home.call("number.set_value", "charge_power_limit", value=1500)
    assert sessy_home.state("discharge_power_limit") == "1500"


async def test_no_limit_is_shown_as_the_maximum(
    victron_home: Home, victron: VictronSimulator
) -> None:
    key = "discharge_power_limit"
    assert victron_home.state(key) == "5000"
    await victron_home.call("number.set_value", key, value=3000)
    assert victron_home.state(key) == "3000"


async def test_select_is_written(home: Home) -> None:
    state = home.state_of("working_mode")
    wanted = state.attributes["options"][1]
    assert state.state != wanted or home.simulator.type == "sessy"
    wanted = next(o for o in state.attributes["options"] if o != state.state)
    await home.call("select.select_option", "working_mode", option=wanted)
    assert home.state("working_mode") == wanted


async def test_switch_is_written(
    sessy_home: Home, sessy: SessySimulator, victron: VictronSimulator
) -> None:
    await enable(sessy_home, "eco_nom_charge")
    assert sessy_home.state("eco_nom_charge") == "off"
    await sessy_home.call("switch.turn_on", "eco_nom_charge")
    assert sessy_home.state("eco_nom_charge") == "on"
    assert sessy.state()["device"]["settings"]["eco_nom_charge"] is True
    await sessy_home.call("switch.turn_off", "eco_nom_charge")
    assert sessy_home.state("eco_nom_charge") == "off"


async def test_state_that_nobody_has_named_is_unknown(
    sessy_home: Home, warp: Warp, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = sessy_home.data.coordinator
    values = {
        **coordinator.data.values_by_key,
        "working_mode": "of_next_year",
        "device_status": "of_next_year",
    }
    coordinator.async_set_updated_data(type(coordinator.data)(values))
    assert sessy_home.state("working_mode") == "unknown"
    assert sessy_home.state("device_status") == "unknown"


async def test_write_that_is_not_confirmed_is_an_error(
    victron_home: Home, victron: VictronSimulator
) -> None:
    await victron.misbehave("ignore_writes")
    with pytest.raises(HomeAssistantError, match="does not show it"):
        await victron_home.call("number.set_value", "min_soc", value=25)
    assert float(victron_home.state("min_soc")) == 10


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidValueError("too much"), ServiceValidationError),
        (BatteryError("something"), HomeAssistantError),
    ],
)
async def test_errors_name_device_and_cause(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    error: BatteryError,
    kind: type[HomeAssistantError],
) -> None:
    async def fail(self: Battery, key: str, value: Value) -> None:
        raise error

    monkeypatch.setattr(Battery, "set_value", fail)
    with pytest.raises(kind, match=rf"Battery.*{error}"):
        await home.call("number.set_value", "min_soc", value=25)


async def test_refused_password_starts_a_new_sign_in(
    sessy_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: Battery, key: str, value: Value) -> None:
        raise AuthenticationError("no")

    monkeypatch.setattr(Battery, "set_value", fail)
    with pytest.raises(HomeAssistantError, match="refuses the user name or password"):
        await sessy_home.call("number.set_value", "min_soc", value=25)
    await sessy_home.hass.async_block_till_done()
    assert len(sessy_home.hass.config_entries.flow.async_progress()) == 1


def test_drivers_are_those_tested() -> None:
    """A new driver has to be added to the fixtures."""
    assert {SessyInverter.battery_type, VictronInverter.battery_type} == {
        "sessy",
        "victron",
    }
