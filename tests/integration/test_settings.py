"""Settings of a device, which stay there: numbers, selects, switches."""

import math
from typing import Any

from homeassistant.core import HomeAssistant, State
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import (
    mock_restore_cache_with_extra_data,
)

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.errors import (
    AuthenticationError,
    BatteryError,
    InvalidValueError,
)
from custom_components.homebattery.drivers.measurements import Value
from tests.home import KINDS, Home, MakeHome, Warp, one_of_each_protocol
from tests.simulators import (
    DeyeModbusSimulator,
    ManualClock,
    SessySimulator,
    VictronSimulator,
)


async def test_number_is_written_and_shown_as_the_device_has_it(
    home: Home,
) -> None:
    kind = KINDS[home.simulator.type]
    key, value = kind.number
    assert home.state(key) != str(value)
    await home.call("number.set_value", key, value=value)
    assert float(home.state(key)) == value
    state = home.simulator.state()["device"]
    assert {**state.get("settings", {}), **state}[kind.shown_as] == value


@pytest.mark.parametrize(
    ("simulator", "held"),
    [("victron", "external_control"), ("sessy", "api")],
    indirect=["simulator"],
)
async def test_mode_that_a_setpoint_writes_is_shown_at_once(
    home: Home, warp: Warp, held: str
) -> None:
    await warp(6)
    before = home.state("working_mode")
    await home.set_power(500)
    assert home.state("working_mode") == held
    await home.choose("automatic")
    assert home.state("working_mode") == before


async def test_mode_that_the_device_shows_late_is_shown_by_the_next_poll(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await warp(6)
    await victron.misbehave("apply_delay", seconds=1.0)
    await victron_home.set_power(500)
    assert victron_home.state("working_mode") == "self_consumption"
    await warp(6)
    assert victron_home.state("working_mode") == "external_control"


@pytest.mark.parametrize("firmware", ["old", "2025", "new"])
async def test_limit_that_was_lowered_is_lifted_by_its_maximum(
    make_home: MakeHome, clock: ManualClock, firmware: Any
) -> None:
    house = VictronSimulator.house(clock=clock)
    async with VictronSimulator(house, firmware=firmware) as victron:
        home = make_home(victron)
        assert await home.set_up()
        await home.enable("discharge_power_limit")
        most = home.state_of("discharge_power_limit").attributes["max"]
        await home.call("number.set_value", "discharge_power_limit", value=1500)
        assert float(home.state("discharge_power_limit")) == 1500
        await home.call("number.set_value", "discharge_power_limit", value=most)
        assert float(home.state("discharge_power_limit")) == most
        limit = victron.gx.settings["/Settings/CGwacs/MaxDischargePower"]
        assert limit < 0 or limit > most
        await home.hass.config_entries.async_unload(home.entry.entry_id)


async def test_a_setting_can_be_shown_and_set_in_kw(victron_home: Home) -> None:
    """Home Assistant would round it to whole kW, and give a slider steps of 10 kW."""
    key = "discharge_power_limit"
    await victron_home.enable(key)
    await victron_home.call("number.set_value", key, value=1450)
    in_watts = victron_home.state_of(key).attributes

    er.async_get(victron_home.hass).async_update_entity_options(
        victron_home.entity_id(key), "number", {"unit_of_measurement": "kW"}
    )
    await victron_home.hass.async_block_till_done()
    assert victron_home.state(key) == "1.45"
    await victron_home.call("number.set_value", key, value=1.55)

    number = victron_home.state_of(key)
    assert number.state == "1.55"
    for limit in ("min", "max", "step"):
        assert number.attributes[limit] == pytest.approx(in_watts[limit] / 1000)
    assert await victron_home.data.battery.get(key) == 1550


@one_of_each_protocol
async def test_number_out_of_range_is_refused(home: Home) -> None:
    key, _ = KINDS[home.simulator.type].number
    before = home.state_of(key)
    with pytest.raises(ServiceValidationError):
        await home.call("number.set_value", key, value=before.attributes["max"] + 1)
    assert home.state(key) == before.state


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@one_of_each_protocol
async def test_number_that_is_none_is_refused_by_name(
    home: Home, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Home Assistant compares it with minimum and maximum, which lets NaN pass."""
    await home.enable("current_setpoint")
    setting, _ = KINDS[home.simulator.type].number
    before = home.simulator.settings_words()
    for key in ("power_setpoint", "current_setpoint", "setpoint_duration", setting):
        shown = home.state(key)
        with pytest.raises(ServiceValidationError, match=f"{value}") as caught:
            await home.call("number.set_value", key, value=value)
        text = str(caught.value)
        assert key in text or home.entity_id(key) in text
        assert home.state(key) == shown
    assert home.state("control_mode") == "automatic"
    assert home.simulator.settings_words() == before
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("minutes", [math.nan, math.inf, -5, 1e300, "soon", None])
async def test_duration_that_was_stored_wrongly_is_not_restored(
    hass: HomeAssistant, make_home: MakeHome, sessy: SessySimulator, minutes: object
) -> None:
    home = make_home(sessy)
    stored = {"native_value": minutes, "native_max_value": 1, "native_min_value": 0}
    stored |= {"native_step": 1, "native_unit_of_measurement": "min"}
    mock_restore_cache_with_extra_data(
        hass, [(State("number.sessy_setpoint_duration", "5"), stored)]
    )
    assert await home.set_up()
    assert home.state("setpoint_duration") == "0.0"


async def test_number_beyond_its_usual_range_can_be_lowered_and_raised_again(
    make_home: MakeHome, clock: ManualClock
) -> None:
    """A Deye whose slot has more power than the inverter is rated for."""
    house = DeyeModbusSimulator.house(clock=clock)
    async with DeyeModbusSimulator(house, settings={154: 15_000}) as deye:
        home = make_home(deye)
        assert await home.set_up()
        await home.enable("tou_1_power")
        for value in (10_000, 15_000):
            assert home.state_of("tou_1_power").attributes["max"] == 15_000
            await home.call("number.set_value", "tou_1_power", value=value)
            assert float(home.state("tou_1_power")) == value
        await home.hass.config_entries.async_unload(home.entry.entry_id)


async def test_one_setting_may_change_another(sessy_home: Home) -> None:
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
    key = KINDS[home.simulator.type].select
    await home.enable(key)
    state = home.state_of(key)
    assert state.state in state.attributes["options"]
    wanted = next(o for o in state.attributes["options"] if o != state.state)
    await home.call("select.select_option", key, option=wanted)
    assert home.state(key) == wanted


async def test_switch_is_written(
    sessy_home: Home, sessy: SessySimulator, victron: VictronSimulator
) -> None:
    await sessy_home.enable("eco_nom_charge")
    assert sessy_home.state("eco_nom_charge") == "off"
    await sessy_home.call("switch.turn_on", "eco_nom_charge")
    assert sessy_home.state("eco_nom_charge") == "on"
    assert sessy.state()["device"]["settings"]["eco_nom_charge"] is True
    await sessy_home.call("switch.turn_off", "eco_nom_charge")
    assert sessy_home.state("eco_nom_charge") == "off"


async def test_state_without_a_name_is_unknown(
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


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_write_without_permission_says_that_the_installer_has_to_log_in(
    home: Home,
) -> None:
    """An inverter refuses so on its own Wi-Fi; for a setting as for a setpoint."""
    await home.simulator.misbehave("read_only", code=0x80)
    with pytest.raises(HomeAssistantError, match="installer's login") as caught:
        await home.call("number.set_value", "min_soc", value=12)
    assert caught.value.translation_key == "permission_denied"
    with pytest.raises(HomeAssistantError, match="installer's login"):
        await home.set_power(600)


@one_of_each_protocol
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
    key, value = KINDS[home.simulator.type].number
    with pytest.raises(kind, match=rf"{home.entry.title}.*{error}"):
        await home.call("number.set_value", key, value=value)


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
    assert KINDS.keys() == DRIVERS.keys()
