"""Setting a battery up by its kind and address; signing in again; options."""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import SOURCE_USER, ConfigEntryState, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
import pytest

from custom_components.homebattery.config_flow import SECTION_ADVANCED
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery import (
    AuthenticationError,
    Battery,
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceRefusedError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
)

from .conftest import SERIALS, Home, MakeHome
from .simulators import SessySimulator, Simulator, VictronSimulator

ERRORS = {
    "cannot_connect": CannotConnectError("x"),
    "timeout": RequestTimeoutError("x"),
    "invalid_auth": AuthenticationError("x"),
    "wrong_device": WrongDeviceError("x"),
    "protocol": ProtocolError("x"),
    "unit_absent": UnitAbsentError("x"),
    "busy": DeviceBusyError("x"),
    "refused": DeviceRefusedError("x"),
    "not_supported": NotSupportedError("x"),
    "not_confirmed": NotConfirmedError("x"),
    "invalid_value": InvalidValueError("x"),
    "unknown": BatteryError("x"),
}


async def begin(hass: HomeAssistant, battery_type: str) -> ConfigFlowResult:
    """Open the form of a kind of battery."""
    menu = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert menu["type"] is FlowResultType.MENU
    assert menu["step_id"] == "user"
    form = await answer(hass, menu, {"next_step_id": battery_type})
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == battery_type
    assert form["errors"] == {}
    return form


async def answer(
    hass: HomeAssistant, step: ConfigFlowResult, data: Mapping[str, Any]
) -> ConfigFlowResult:
    result = await hass.config_entries.flow.async_configure(step["flow_id"], dict(data))
    await hass.async_block_till_done()
    return result


def typed(simulator: Simulator, **changes: Any) -> dict[str, Any]:
    """Return what a person types into the form of a device."""
    rare = {field.name for field in DRIVERS[simulator.type].fields if field.rare}
    values = {**simulator.setup, **changes}
    return {
        **{name: value for name, value in values.items() if name not in rare},
        SECTION_ADVANCED: {
            name: value for name, value in values.items() if name in rare
        },
    }


def suggested(step: ConfigFlowResult) -> dict[str, Any]:
    """Return what stands on a form before anything is typed."""
    values: dict[str, Any] = {}
    assert step["data_schema"] is not None
    schemas = [step["data_schema"].schema]
    for schema in schemas:
        for marker, field in schema.items():
            if marker == SECTION_ADVANCED:
                schemas.append(field.schema.schema)
            elif marker.description and "suggested_value" in marker.description:
                values[str(marker)] = marker.description["suggested_value"]
            elif callable(marker.default):
                values[str(marker)] = marker.default()
    return values


async def test_battery_is_found_and_set_up(
    hass: HomeAssistant, simulator: Simulator
) -> None:
    form = await begin(hass, simulator.type)
    created = await answer(hass, form, typed(simulator))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    entry = created["result"]
    assert entry.unique_id == SERIALS[simulator.type]
    assert entry.title in ("MultiPlus-II", "Sessy battery")
    assert entry.data == {CONF_BATTERY_TYPE: simulator.type, **simulator.setup}
    assert entry.options == {}
    assert entry.state is ConfigEntryState.LOADED


async def test_every_kind_of_battery_is_on_the_menu(hass: HomeAssistant) -> None:
    menu = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert menu["menu_options"] == list(DRIVERS)


async def test_unit_ids_are_found_and_kept(
    hass: HomeAssistant, victron: VictronSimulator
) -> None:
    form = await begin(hass, "victron")
    assert suggested(form)["port"] == 502
    nothing_rare = {"host": f" {victron.host} ", "port": victron.port}
    created = await answer(hass, form, {**nothing_rare, SECTION_ADVANCED: {}})
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].data == {CONF_BATTERY_TYPE: "victron", **victron.setup}


@pytest.mark.parametrize("error", ERRORS)
async def test_errors_name_the_cause_and_can_be_recovered_from(
    hass: HomeAssistant,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
) -> None:
    async def fail(_: Battery) -> None:
        raise ERRORS[error]

    form = await begin(hass, simulator.type)
    with monkeypatch.context() as patch:
        patch.setattr(DRIVERS[simulator.type], "connect", fail)
        form = await answer(hass, form, typed(simulator))
    assert form["type"] is FlowResultType.FORM
    assert form["errors"] == {"base": error}
    kept = suggested(form)
    assert {name: kept[name] for name in simulator.setup} == simulator.setup
    created = await answer(hass, form, typed(simulator))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_what_nobody_expected_is_logged(
    hass: HomeAssistant,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_: Battery) -> None:
        raise RuntimeError("a mistake")

    form = await begin(hass, "victron")
    with monkeypatch.context() as patch:
        patch.setattr(DRIVERS["victron"], "connect", fail)
        form = await answer(hass, form, typed(victron))
    assert form["errors"] == {"base": "unknown"}
    assert "a mistake" in caplog.text
    created = await answer(hass, form, typed(victron))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_real_troubles_of_a_victron(
    hass: HomeAssistant, victron: VictronSimulator, sessy: SessySimulator
) -> None:
    form = await begin(hass, "victron")
    form = await answer(hass, form, typed(victron, unit_id=99))
    assert form["errors"] == {"base": "wrong_device"}
    form = await answer(hass, form, typed(victron, port=1))
    assert form["errors"] == {"base": "cannot_connect"}
    created = await answer(hass, form, typed(victron))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_real_troubles_of_a_sessy(
    hass: HomeAssistant, sessy: SessySimulator
) -> None:
    form = await begin(hass, "sessy")
    form = await answer(hass, form, typed(sessy, password="wrong"))
    assert form["errors"] == {"base": "invalid_auth"}
    form = await answer(hass, form, typed(sessy, port=1))
    assert form["errors"] == {"base": "cannot_connect"}
    created = await answer(hass, form, typed(sessy))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_same_battery_is_not_set_up_twice(
    home: Home, simulator: Simulator
) -> None:
    form = await begin(home.hass, simulator.type)
    aborted = await answer(home.hass, form, typed(simulator))
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert home.entry.state is ConfigEntryState.LOADED


async def test_impossible_unit_id_is_not_taken(
    hass: HomeAssistant, victron: VictronSimulator
) -> None:
    form = await begin(hass, "victron")
    with pytest.raises(InvalidData):
        await answer(hass, form, typed(victron, unit_id=256))
    hass.config_entries.flow.async_abort(form["flow_id"])


# Signing in again


async def test_new_password_is_taken(
    make_home: MakeHome, sessy: SessySimulator
) -> None:
    home = make_home(sessy)
    hass, entry = home.hass, home.entry
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "password": "OLD"}
    )
    assert not await home.set_up()
    [form] = hass.config_entries.flow.async_progress()
    assert form["step_id"] == "reauth_confirm"
    user = {"username": sessy.setup["username"], "password": "WRONG"}
    form = await answer(hass, form, user)
    assert form["errors"] == {"base": "invalid_auth"}
    assert suggested(form)["username"] == user["username"]
    assert suggested(form)["password"] is None
    user["password"] = sessy.setup["password"]
    done = await answer(hass, form, user)
    assert done["type"] is FlowResultType.ABORT
    assert done["reason"] == "reauth_successful"
    assert entry.data["password"] == sessy.setup["password"]
    assert entry.state is ConfigEntryState.LOADED


async def test_signing_in_to_another_device_is_refused(sessy_home: Home) -> None:
    hass, entry = sessy_home.hass, sessy_home.entry
    hass.config_entries.async_update_entry(entry, unique_id="other")
    form = await entry.start_reauth_flow(hass)
    user = {name: entry.data[name] for name in ("username", "password")}
    done = await answer(hass, form, user)
    assert done["type"] is FlowResultType.ABORT
    assert done["reason"] == "another_device"


# Options


async def test_options_change_the_battery_at_once(home: Home) -> None:
    hass, entry = home.hass, home.entry
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert form["step_id"] == "init"
    options = {"scan_interval": 10, "max_charge_power": 1500, "capacity": 5000}
    done = await hass.config_entries.options.async_configure(form["flow_id"], options)
    await hass.async_block_till_done()
    assert done["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == options
    assert home.state_of("power_setpoint").attributes["max"] == 1500
    assert home.data.battery.capacity == 5000
    interval = home.data.coordinator.update_interval
    assert interval is not None
    assert interval.total_seconds() == 10


async def test_limit_can_be_taken_away_again(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    home = make_home(victron, scan_interval=5, max_charge_power=1500)
    await home.set_up()
    form = await home.hass.config_entries.options.async_init(home.entry.entry_id)
    assert suggested(form)["max_charge_power"] == 1500
    await home.hass.config_entries.options.async_configure(
        form["flow_id"], {"scan_interval": 5}
    )
    await home.hass.async_block_till_done()
    assert home.entry.options == {"scan_interval": 5}
    assert home.state_of("power_setpoint").attributes["max"] == 5000
