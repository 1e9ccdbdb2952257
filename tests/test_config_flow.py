"""Setting a battery up by its kind and address; signing in again; options."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from homeassistant.config_entries import SOURCE_USER, ConfigEntryState, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
import pytest

from custom_components.homebattery import config_flow
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
from custom_components.homebattery.drivers.detection import detect

from .conftest import KINDS, Home, MakeHome
from .simulators import (
    SIMULATORS,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from .simulators.image import HttpImage, load

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
    return typed_as(simulator.type, {**simulator.setup, **changes})


def typed_as(battery_type: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is typed where on the form of a kind of battery; None is left out."""
    rare = {field.name for field in DRIVERS[battery_type].fields if field.rare}
    values = {name: value for name, value in values.items() if value is not None}
    return {
        **{name: value for name, value in values.items() if name not in rare},
        SECTION_ADVANCED: {
            name: value for name, value in values.items() if name in rare
        },
    }


def defaults(battery_type: str) -> dict[str, Any]:
    """Return what a form has filled in by itself."""
    return {
        field.name: field.default
        for field in DRIVERS[battery_type].fields
        if field.default is not None
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
    assert entry.unique_id == KINDS[simulator.type].serial
    assert entry.title == KINDS[simulator.type].title
    assert entry.data == {
        CONF_BATTERY_TYPE: simulator.type,
        **defaults(simulator.type),
        **simulator.setup,
    }
    assert entry.options == {}
    assert entry.state is ConfigEntryState.LOADED


async def test_every_kind_of_battery_is_on_the_menu(hass: HomeAssistant) -> None:
    menu = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    assert menu["menu_options"] == ["detect", *DRIVERS]


# Looking at an address


type Listen = Callable[..., None]


@pytest.fixture
async def listen(monkeypatch: pytest.MonkeyPatch) -> Listen:
    """Return a function that puts servers at the usual ports; else nobody is there."""
    async with VictronSimulator() as gone:
        nowhere = gone.port
    usual = {port for driver in DRIVERS.values() for port in driver.ports}

    def put(**servers: Simulator | HttpImage) -> None:
        ports = {int(name[1:]): server.port for name, server in servers.items()}
        everywhere = dict.fromkeys(usual, nowhere) | ports
        monkeypatch.setattr(config_flow, "detect", partial(detect, ports=everywhere))

    put()
    return put


async def test_nothing_found_is_said_and_can_be_tried_again(
    hass: HomeAssistant, victron: VictronSimulator, listen: Listen
) -> None:
    form = await begin(hass, "detect")
    form = await answer(hass, form, {"host": f" {victron.host} "})
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == "detect"
    assert form["errors"] == {"base": "nothing_found"}
    assert suggested(form) == {"host": victron.host}
    listen(p502=victron)
    form = await answer(hass, form, {"host": victron.host})
    assert form["step_id"] == "victron"


@pytest.mark.parametrize(
    "simulator",
    [name for name in DRIVERS if name != "sessy"],  # which asks for a password
    indirect=True,
)
async def test_what_was_found_fills_in_its_form(
    hass: HomeAssistant, simulator: Simulator, listen: Listen
) -> None:
    port = DRIVERS[simulator.type].ports[0]
    listen(**{f"p{port}": simulator})
    form = await begin(hass, "detect")
    form = await answer(hass, form, {"host": simulator.host})
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == simulator.type
    assert form["errors"] == {}
    filled_in = suggested(form)
    assert filled_in["host"] == simulator.host
    assert filled_in["port"] == simulator.port
    created = await answer(hass, form, typed_as(simulator.type, filled_in))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == KINDS[simulator.type].serial
    assert created["result"].data == {
        CONF_BATTERY_TYPE: simulator.type,
        **defaults(simulator.type),
        **simulator.setup,
    }


async def test_what_needs_a_password_is_asked_for_it(
    hass: HomeAssistant, sessy: SessySimulator, listen: Listen
) -> None:
    listen(p80=sessy)
    form = await begin(hass, "detect")
    form = await answer(hass, form, {"host": sessy.host})
    assert form["step_id"] == "sessy"
    filled_in = suggested(form)
    assert filled_in["host"] == sessy.host
    assert filled_in["port"] == sessy.port
    assert filled_in["password"] is None
    assert not sessy.server.posts
    form = await answer(hass, form, typed(sessy, password="wrong"))
    assert form["errors"] == {"base": "invalid_auth"}
    created = await answer(hass, form, typed(sessy))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == KINDS["sessy"].serial


async def test_several_found_are_a_choice(
    hass: HomeAssistant, victron: VictronSimulator, listen: Listen
) -> None:
    async with HttpImage(load("sessy")[0]) as sessy:
        sessy.username = None  # it answers whoever asks, as some firmware does
        listen(p502=victron, p80=sessy)
        form = await begin(hass, "detect")
        menu = await answer(hass, form, {"host": victron.host})
        assert menu["type"] is FlowResultType.MENU
        assert menu["step_id"] == "detected"
        kinds = menu["menu_options"]
        assert isinstance(kinds, list)
        assert sorted(kinds) == ["sessy", "victron"]
        form = await answer(hass, menu, {"next_step_id": "victron"})
        assert form["step_id"] == "victron"
        assert suggested(form)["port"] == victron.port
        created = await answer(hass, form, typed_as("victron", suggested(form)))
        assert created["type"] is FlowResultType.CREATE_ENTRY
        assert created["result"].unique_id == KINDS["victron"].serial


# Telling the kind oneself


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


async def test_same_battery_is_not_detected_into_a_second_entry(
    home: Home, simulator: Simulator, listen: Listen
) -> None:
    port = DRIVERS[simulator.type].ports[0]
    listen(**{f"p{port}": simulator})
    form = await begin(home.hass, "detect")
    form = await answer(home.hass, form, {"host": simulator.host})
    assert form["step_id"] == simulator.type
    aborted = await answer(home.hass, form, typed(simulator))
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert home.hass.config_entries.async_entries(DOMAIN) == [home.entry]


@pytest.mark.parametrize("simulator", ["deye_modbus", "deye_solarman"], indirect=True)
async def test_same_deye_is_not_set_up_twice_by_different_ways(
    home: Home, clock: ManualClock
) -> None:
    """A gateway and a data logger at one inverter lead to the same serial number."""
    ways = {"deye_modbus", "deye_solarman"}
    [other_way] = ways - {home.simulator.type}
    device: Any = SIMULATORS[other_way]
    house = device.house(clock=clock)
    async with device(house, serial=home.entry.unique_id) as same:
        form = await begin(home.hass, other_way)
        aborted = await answer(home.hass, form, typed(same))
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert home.hass.config_entries.async_entries(DOMAIN) == [home.entry]


async def test_looking_at_a_battery_that_is_held_leaves_it_held(
    home: Home, simulator: Simulator
) -> None:
    await home.set_power(600)
    held = simulator.settings_words()
    form = await begin(home.hass, simulator.type)
    aborted = await answer(home.hass, form, typed(simulator))
    assert aborted["reason"] == "already_configured"
    assert simulator.settings_words() == held


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
    options |= {
        field.name: not field.default
        for field in DRIVERS[home.simulator.type].owner_options
    }
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
