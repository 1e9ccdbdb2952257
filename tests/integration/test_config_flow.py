"""The flows: set-up, detection, sign-in, reconfiguring, discovery, options."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from ipaddress import ip_address
import json
from pathlib import Path
import socket
from typing import Any

from aiohttp.resolver import AsyncResolver
from homeassistant.config_entries import (
    SOURCE_DHCP,
    SOURCE_IGNORE,
    SOURCE_INTEGRATION_DISCOVERY,
    SOURCE_USER,
    SOURCE_ZEROCONF,
    ConfigEntryDisabler,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.selector import SelectSelector
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from homeassistant.helpers.translation import async_get_translations
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery import config_flow, setup_flow
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery, SetupField
from custom_components.homebattery.drivers.detection import detect
from custom_components.homebattery.drivers.deye import modbus_tcp as deye_modbus_tcp
from custom_components.homebattery.drivers.deye.device import MODEL
from custom_components.homebattery.drivers.errors import (
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    InvalidValueError,
    LoggerSerialNeededError,
    LoggerSerialRefusedError,
    ModbusSpokenError,
    NotConfirmedError,
    NotSupportedError,
    PermissionDeniedError,
    ProtocolError,
    RequestTimeoutError,
    SolarmanSpokenError,
    UndetectedUnitError,
    UnitAbsentError,
    UnknownHostError,
    WrongDeviceError,
    WrongLoggerError,
)
from custom_components.homebattery.drivers.simulated import battery as simulated
from custom_components.homebattery.drivers.solarman.discovery import Logger
from custom_components.homebattery.forms import SECTION_ADVANCED
from tests.drivers.victron.sites import BATTERY, METER, site
from tests.home import (
    KINDS,
    ON_A_SOCKET,
    Home,
    MakeHome,
    another_value,
    each_on_a_socket,
    one_of_each_protocol,
)
from tests.in_process import SERIAL
from tests.simulators import (
    SIMULATORS,
    DeyeModbusSimulator,
    DeyeSolarmanSimulator,
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from tests.simulators.image import HttpImage, ModbusImage, load
from tests.simulators.solarman import MAC

ERRORS = {
    "cannot_connect": CannotConnectError("x"),
    "timeout": RequestTimeoutError("x"),
    "invalid_auth": AuthenticationError("x"),
    "wrong_device": WrongDeviceError("x"),
    "protocol": ProtocolError("x"),
    "unit_absent": UnitAbsentError("x"),
    "busy": DeviceBusyError("x"),
    "device_failure": DeviceFailureError("x"),
    "refused": DeviceRefusedError("x"),
    "not_supported": NotSupportedError("x"),
    "not_confirmed": NotConfirmedError("x"),
    "invalid_value": InvalidValueError("x"),
    "unknown": BatteryError("x"),
    "unknown_host": UnknownHostError("x"),
    "connection_closed": ConnectionClosedError("x"),
    "unit_not_found": UndetectedUnitError("x"),
    "wrong_logger_serial": WrongLoggerError("x", 1, 2),
    "logger_serial_refused": LoggerSerialRefusedError("x", 1),
    "logger_serial_needed": LoggerSerialNeededError("x"),
    "solarman_spoken": SolarmanSpokenError("x", 8899),
    "modbus_spoken": ModbusSpokenError("x", 502),
    "permission_denied": PermissionDeniedError("x", 0x80),
}
ABOUT = {
    "invalid_auth": "password",
    "wrong_device": "host",
    "unknown_host": "host",
    "protocol": "port",
    "unit_absent": "unit_id",
    "unit_not_found": "unit_id",
    "wrong_logger_serial": "logger_serial",
    "logger_serial_refused": "logger_serial",
    "logger_serial_needed": "logger_serial",
}
"""The field that an error is about; errors that are not here concern no field."""


def at_its_field(error: str, fields: Iterable[SetupField]) -> dict[str, str]:
    """Return the errors of a form with these fields, by the place that shows them.

    The frontend shows none at a field of a section, so it stands above the section.
    """
    field = next((each for each in fields if each.name == ABOUT.get(error)), None)
    if field is None:
        return {"base": error}
    if error == "unit_absent" and not field.required:
        error = "optional_unit_absent"
    return {SECTION_ADVANCED if field.advanced else field.name: error}


def failing(error: Exception) -> Callable[[Battery], Awaitable[None]]:
    """Return a replacement for `connect` that raises an error."""

    async def fail(_: Battery) -> None:
        raise error

    return fail


EN: dict[str, Any] = json.loads(
    (Path(config_flow.__file__).parent / "translations/en.json").read_text("utf-8")
)


def shown(form: ConfigFlowResult) -> str:
    """Return the text of the only error on a form, as the frontend shows it."""
    assert form["errors"] is not None
    [key] = form["errors"].values()
    text: str = EN["config"]["error"][key]
    return text.format_map(form["description_placeholders"] or {})


@pytest.fixture(autouse=True)
def _serial_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a simulated battery that is added reach the device of the tests."""
    monkeypatch.setattr(simulated, "new_serial_number", lambda: SERIAL)


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
    """Return the values that a user types into the form of a device."""
    return typed_as(simulator.type, {**simulator.setup, **changes})


def typed_as(battery_type: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as the form of a kind of battery sends them; None is omitted."""
    fields = DRIVERS[battery_type].fields
    advanced = {field.name for field in fields if field.advanced}
    generated = {field.name for field in fields if field.generated}
    values = {
        name: value
        for name, value in values.items()
        if value is not None and name not in generated
    }
    in_view = {name: value for name, value in values.items() if name not in advanced}
    section = {name: value for name, value in values.items() if name in advanced}
    return in_view | ({SECTION_ADVANCED: section} if advanced else {})


def defaults(battery_type: str) -> dict[str, Any]:
    """Return the values that a form of a kind of battery has filled in."""
    return {
        field.name: field.default
        for field in DRIVERS[battery_type].fields
        if field.default is not None
    }


def suggested(step: ConfigFlowResult) -> dict[str, Any]:
    """Return the values on a form before anything is typed."""
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


async def test_battery_is_set_up_by_its_form(
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


@one_of_each_protocol
async def test_a_battery_has_the_name_that_its_user_typed(
    hass: HomeAssistant, simulator: Simulator
) -> None:
    """The name becomes the title of the entry and the name of its device, no more."""
    form = await begin(hass, simulator.type)
    form = await answer(hass, form, typed(simulator, name=" Garage ", host="a b"))
    assert suggested(form)["name"] == " Garage "
    created = await answer(hass, form, typed(simulator, name=" Garage "))
    entry = created["result"]
    assert entry.title == "Garage"
    assert entry.data == {
        CONF_BATTERY_TYPE: simulator.type,
        **defaults(simulator.type),
        **simulator.setup,
    }
    device = dr.async_get(hass).async_get_device_by_identifier(
        (DOMAIN, KINDS[simulator.type].serial), entry.entry_id
    )
    assert device is not None
    assert device.name == "Garage"


@pytest.mark.parametrize(
    ("name", "title"), [("", "{usual} 0002"), ("  ", "{usual} 0002"), ("Shed", "Shed")]
)
async def test_a_second_one_of_a_model_has_a_title_of_its_own(
    sessy_home: Home, clock: ManualClock, name: str, title: str
) -> None:
    usual = sessy_home.entry.title
    house = SessySimulator.house(clock=clock)
    async with SessySimulator(house, serial="ABC0002") as second:
        form = await begin(sessy_home.hass, "sessy")
        created = await answer(sessy_home.hass, form, typed(second, name=name))
        assert created["result"].title == title.format(usual=usual)
        await sessy_home.hass.config_entries.async_unload(created["result"].entry_id)
    assert sessy_home.entry.title == usual


async def test_every_kind_of_battery_is_on_the_menu_by_its_english_name(
    hass: HomeAssistant,
) -> None:
    """Detection, which needs no kind, stands before them, and the simulated one last."""
    menu = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    texts = await async_get_translations(hass, "en", "config", [DOMAIN])
    step = f"component.{DOMAIN}.config.step.user"
    names = {kind: texts[f"{step}.menu_options.{kind}"] for kind in DRIVERS}
    del names["simulated"]
    in_order = sorted(names, key=lambda kind: names[kind].casefold())
    assert menu["menu_options"] == ["detect", *in_order, "simulated"]


@pytest.mark.parametrize("battery_type", DRIVERS)
async def test_every_kind_of_battery_has_a_step_of_its_own(
    hass: HomeAssistant, battery_type: str
) -> None:
    menu = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )
    form = await answer(hass, menu, {"next_step_id": battery_type})
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == battery_type
    fields = [
        field.name
        for field in DRIVERS[battery_type].fields
        if not (field.advanced or field.generated)
    ]
    assert form["data_schema"] is not None
    asked = [str(field) for field in form["data_schema"].schema]
    assert asked == [*fields, "name", *(["advanced"] if "advanced" in asked else [])]


# Detecting a battery at an address


type Listen = Callable[..., None]


@pytest.fixture
def listen(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> Listen:
    """Return a function that puts servers at usual ports; the others stay closed."""
    usual = {port for driver in DRIVERS.values() for port in driver.ports}

    def put(**servers: Simulator | HttpImage | ModbusImage) -> None:
        ports = {int(name[1:]): server.port for name, server in servers.items()}
        everywhere = dict.fromkeys(usual, closed_port) | ports
        monkeypatch.setattr(setup_flow, "detect", partial(detect, ports=everywhere))

    put()
    return put


MULTI_RS = {
    **dict.fromkeys(map(str, (*range(4500, 4550), *range(4609, 4615))), 0),
    "4500": 2305,
    "4524": 1,
    "4526": 5320,
    "4527": 65352,
    "4530": 252,
}


@pytest.mark.parametrize(
    ("units", "key", "state"),
    [
        pytest.param(
            {"225": None, "100": BATTERY}, "battery_temperature", "21.6", id="battery"
        ),
        pytest.param(
            {"227": None, "100": MULTI_RS}, "grid_voltage_l1", "230.5", id="multi_rs"
        ),
        pytest.param(
            {"40": None, "100": METER}, "grid_import_total", "4321.09", id="meter"
        ),
    ],
)
async def test_a_detected_gx_has_the_services_at_unit_100(
    hass: HomeAssistant, listen: Listen, units: Any, key: str, state: str
) -> None:
    """A device on VE.Can has instance 0: no unit id need be typed."""
    async with site(units) as gx:
        listen(p502=gx)
        form = await begin(hass, "detect")
        form = await answer(hass, form, {"host": gx.host})
        created = await answer(hass, form, typed_as("victron", suggested(form)))
        assert created["type"] is FlowResultType.CREATE_ENTRY
        await hass.async_block_till_done(wait_background_tasks=True)
        registry = er.async_get(hass)
        entity_id = registry.async_get_entity_id(
            "sensor", DOMAIN, f"{created['result'].unique_id}_{key}"
        )
        assert entity_id is not None
        registry.async_update_entity(entity_id, disabled_by=None)
        await hass.config_entries.async_reload(created["result"].entry_id)
        await hass.async_block_till_done()
        shown_state = hass.states.get(entity_id)
        assert shown_state is not None
        assert shown_state.state == state
        await hass.config_entries.async_unload(created["result"].entry_id)


async def test_a_usual_gx_refuses_few_questions_and_none_at_a_start(
    hass: HomeAssistant, victron: VictronSimulator
) -> None:
    """Each leaves a line of error on the GX: four now, five before it had more."""
    form = await begin(hass, "victron")
    created = await answer(hass, form, {"host": victron.host, "port": victron.port})
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert len(victron.server.traffic.refusals) <= 5
    victron.server.traffic.clear()
    await hass.config_entries.async_reload(created["result"].entry_id)
    await hass.async_block_till_done()
    assert victron.server.traffic.reads
    assert victron.server.traffic.refusals == []


async def test_detecting_nothing_is_reported_and_can_be_tried_again(
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
    [name for name in ON_A_SOCKET if name != "sessy"],  # which asks for a password
    indirect=True,
)
async def test_detected_battery_fills_in_its_form(
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


async def test_detected_sessy_needs_its_password(
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
    assert form["errors"] == {"password": "invalid_auth"}
    created = await answer(hass, form, typed(sessy))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == KINDS["sessy"].serial


async def test_several_detected_batteries_are_a_choice(
    hass: HomeAssistant, victron: VictronSimulator, listen: Listen
) -> None:
    async with HttpImage(load("sessy")[0]) as sessy:
        sessy.username = None  # it needs no password, as with some firmware
        listen(p502=victron, p80=sessy)
        form = await begin(hass, "detect")
        menu = await answer(hass, form, {"host": victron.host})
        assert menu["type"] is FlowResultType.MENU
        assert menu["step_id"] == "detected"
        assert menu["menu_options"] == ["sessy", "victron"]
        form = await answer(hass, menu, {"next_step_id": "victron"})
        assert form["step_id"] == "victron"
        assert suggested(form)["port"] == victron.port
        created = await answer(hass, form, typed_as("victron", suggested(form)))
        assert created["type"] is FlowResultType.CREATE_ENTRY
        assert created["result"].unique_id == KINDS["victron"].serial


@pytest.mark.parametrize(
    "host",
    [
        "  ",
        "http://127.0.0.1/",
        "127.0.0.1:502",
        "a b",
        "a\0b",
        "a\x1bb",
        "a" * 300,
        "a..b",
        "user@host",
    ],
    ids=lambda host: repr(host[:20]),
)
@pytest.mark.parametrize("step", ["detect", "victron"])
async def test_invalid_address_is_reported_at_its_field(
    hass: HomeAssistant,
    victron: VictronSimulator,
    listen: Listen,
    host: str,
    step: str,
) -> None:
    listen(p502=victron)
    form = await begin(hass, step)
    values = {"host": host} if step == "detect" else typed(victron, host=host)
    form = await answer(hass, form, values)
    assert form["step_id"] == step
    assert form["errors"] == {"host": "invalid_host"}
    assert suggested(form)["host"] == host.strip()
    values["host"] = victron.host
    done = await answer(hass, form, values)
    assert done["step_id" if step == "detect" else "type"] in (
        "victron",
        FlowResultType.CREATE_ENTRY,
    )


# Choosing the kind by hand


async def test_unit_ids_are_detected_and_kept(
    hass: HomeAssistant, victron: VictronSimulator
) -> None:
    form = await begin(hass, "victron")
    assert suggested(form)["port"] == 502
    nothing_advanced = {"host": f" {victron.host} ", "port": victron.port}
    created = await answer(hass, form, {**nothing_advanced, SECTION_ADVANCED: {}})
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].data == {CONF_BATTERY_TYPE: "victron", **victron.setup}


@each_on_a_socket
async def test_errors_name_the_cause_and_can_be_recovered_from(
    hass: HomeAssistant, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = await begin(hass, simulator.type)
    for key, error in ERRORS.items():
        with monkeypatch.context() as patch:
            patch.setattr(DRIVERS[simulator.type], "connect", failing(error))
            form = await answer(hass, form, typed(simulator))
        assert form["type"] is FlowResultType.FORM, key
        assert form["errors"] == at_its_field(key, DRIVERS[simulator.type].fields)
        assert "{" not in shown(form), key
        kept = suggested(form)
        assert {name: kept[name] for name in simulator.setup} == simulator.setup
    created = await answer(hass, form, typed(simulator))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_unexpected_error_is_logged(
    hass: HomeAssistant,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    form = await begin(hass, "victron")
    with monkeypatch.context() as patch:
        patch.setattr(DRIVERS["victron"], "connect", failing(RuntimeError("a mistake")))
        form = await answer(hass, form, typed(victron))
    assert form["errors"] == {"base": "unknown"}
    assert "a mistake" in caplog.text
    created = await answer(hass, form, typed(victron))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_form_recovers_from_real_errors_of_a_victron(
    hass: HomeAssistant, victron: VictronSimulator, sessy: SessySimulator
) -> None:
    form = await begin(hass, "victron")
    form = await answer(hass, form, typed(victron, unit_id=99))
    assert form["errors"] == {SECTION_ADVANCED: "optional_unit_absent"}
    form = await answer(hass, form, typed(victron, port=1))
    assert form["errors"] == {"base": "cannot_connect"}
    created = await answer(hass, form, typed(victron))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_form_recovers_from_real_errors_of_a_sessy(
    hass: HomeAssistant, sessy: SessySimulator
) -> None:
    form = await begin(hass, "sessy")
    form = await answer(hass, form, typed(sessy, password="wrong"))
    assert form["errors"] == {"password": "invalid_auth"}
    form = await answer(hass, form, typed(sessy, port=1))
    assert form["errors"] == {"base": "cannot_connect"}
    created = await answer(hass, form, typed(sessy))
    assert created["type"] is FlowResultType.CREATE_ENTRY


# Something else than was typed


@pytest.fixture
def _no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no host name resolve."""

    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def resolve(*_: object, **__: object) -> object:
        return getaddrinfo()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(AsyncResolver, "resolve", resolve)


@pytest.mark.usefixtures("_no_names")
@pytest.mark.parametrize("step", ["detect", *ON_A_SOCKET])
async def test_name_that_does_not_resolve_is_reported_at_its_field(
    hass: HomeAssistant, step: str
) -> None:
    form = await begin(hass, step)
    values: dict[str, Any] = {"host": "home.invalid"}
    if step == "sessy":
        values |= {"username": "D", "password": "x"}
    if step != "detect":
        values = typed_as(step, {**defaults(step), **values})
    form = await answer(hass, form, values)
    assert form["errors"] == {"host": "unknown_host"}
    assert "no address for the name home.invalid" in shown(form)
    hass.config_entries.flow.async_abort(form["flow_id"])


@pytest.mark.parametrize(
    "serial",
    ["D262129198A0", "2718 281828", "0", "4294967296", "٣", "-1", "1" * 5000, "1\0"],
    ids=lambda serial: repr(serial[:20]),
)
async def test_invalid_logger_serial_number_is_explained_at_its_field(
    hass: HomeAssistant, logger: DeyeSolarmanSimulator, serial: str
) -> None:
    """Users type the number that is printed largest, which has letters."""
    form = await begin(hass, "deye_solarman")
    form = await answer(hass, form, typed(logger, logger_serial=serial))
    assert form["errors"] == {"logger_serial": "invalid_logger_serial"}
    assert "letters" in shown(form)
    assert "inverter" in shown(form)
    assert suggested(form)["logger_serial"] == serial
    created = await answer(hass, form, typed(logger))
    assert created["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
@pytest.mark.parametrize("unit_id", [None, 1])
async def test_sleeping_inverter_is_set_up_by_daylight(
    hass: HomeAssistant, simulator: HuaweiSimulator, unit_id: int | None
) -> None:
    """Until then the form says what to wait for."""
    await simulator.misbehave("sleep")
    form = await begin(hass, "sun2000")
    form = await answer(hass, form, typed(simulator, unit_id=unit_id))
    assert form["errors"] == {"base": "device_failure"}
    assert "try again by daylight" in shown(form)
    await simulator.misbehave("sleep", on=False)
    created = await answer(hass, form, typed(simulator, unit_id=unit_id))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_serial_number_of_a_logger_is_stored_as_a_number(
    hass: HomeAssistant, logger: DeyeSolarmanSimulator
) -> None:
    form = await begin(hass, "deye_solarman")
    serial = logger.setup["logger_serial"]
    created = await answer(hass, form, typed(logger, logger_serial=f" {serial} "))
    assert created["result"].data["logger_serial"] == serial


@pytest.mark.parametrize("text", ["a\0b", "a\r\nb: c", "é" * 300, "\U0001f50b", " "])
async def test_any_text_may_be_typed_as_name_user_name_and_password(
    hass: HomeAssistant,
    sessy: SessySimulator,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    form = await begin(hass, "sessy")
    form = await answer(hass, form, typed(sessy, username=text))
    assert form["errors"] == {"password": "invalid_auth"}
    form = await answer(hass, form, typed(sessy, password=text))
    assert form["errors"] == {"password": "invalid_auth"}
    created = await answer(hass, form, typed(sessy, name=text))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    title = created["result"].title
    assert title.isprintable()
    assert 0 < len(title) <= 100
    assert created["result"].state is ConfigEntryState.LOADED
    assert "Traceback" not in caplog.text


async def test_wrong_serial_number_of_a_logger_is_named_with_the_right_one(
    hass: HomeAssistant, logger: DeyeSolarmanSimulator
) -> None:
    form = await begin(hass, "deye_solarman")
    form = await answer(hass, form, typed(logger, logger_serial="1234567890"))
    assert form["errors"] == {"logger_serial": "wrong_logger_serial"}
    right = logger.setup["logger_serial"]
    assert f"serial number {right}, not 1234567890" in shown(form)
    created = await answer(hass, form, typed(logger, logger_serial=str(right)))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_logger_that_is_asked_over_modbus_leads_to_the_other_deye(
    hass: HomeAssistant,
    logger: DeyeSolarmanSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The text names the port of the logger."""
    monkeypatch.setattr(deye_modbus_tcp, "LOGGER_PORT", logger.port)
    form = await begin(hass, "deye_modbus")
    values = {"host": logger.host, "port": 1}
    form = await answer(hass, form, typed_as("deye_modbus", values))
    assert form["errors"] == {"base": "solarman_spoken"}
    assert f"port {logger.port}" in shown(form)
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_gateway_that_is_asked_as_a_logger_leads_to_the_other_deye(
    hass: HomeAssistant, clock: ManualClock, loggers: list[Logger]
) -> None:
    async with DeyeModbusSimulator(DeyeModbusSimulator.house(clock=clock)) as gateway:
        form = await begin(hass, "deye_solarman")
        values = {"host": gateway.host, "port": gateway.port, "logger_serial": 1}
        form = await answer(hass, form, typed_as("deye_solarman", values))
    assert form["errors"] == {"base": "modbus_spoken"}
    assert f"port {gateway.port}" in shown(form)
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_port_that_speaks_something_else_is_named(
    hass: HomeAssistant, sessy: SessySimulator, victron: VictronSimulator
) -> None:
    form = await begin(hass, "victron")
    values = {"host": sessy.host, "port": sessy.port}
    form = await answer(hass, form, typed_as("victron", values))
    assert form["errors"] == {"port": "protocol"}
    assert f"{sessy.host} on port {sessy.port}" in shown(form)
    hass.config_entries.flow.async_abort(form["flow_id"])
    form = await begin(hass, "sessy")
    form = await answer(hass, form, typed(sessy, port=victron.port))
    assert form["errors"] == {"base": "connection_closed"}
    assert f"port {victron.port}" in shown(form)
    hass.config_entries.flow.async_abort(form["flow_id"])


@one_of_each_protocol
async def test_same_battery_is_not_set_up_twice(
    home: Home, simulator: Simulator
) -> None:
    form = await begin(home.hass, simulator.type)
    aborted = await answer(home.hass, form, typed(simulator))
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert home.entry.state is ConfigEntryState.LOADED


@one_of_each_protocol
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


@one_of_each_protocol
async def test_a_second_set_up_of_a_held_battery_does_not_release_it(
    home: Home, simulator: Simulator
) -> None:
    await home.set_power(600)
    held = simulator.settings_words()
    form = await begin(home.hass, simulator.type)
    aborted = await answer(home.hass, form, typed(simulator))
    assert aborted["reason"] == "already_configured"
    assert simulator.settings_words() == held


async def test_impossible_unit_id_is_refused(
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
    assert form["errors"] == {"password": "invalid_auth"}
    assert suggested(form)["username"] == user["username"]
    assert suggested(form)["password"] is None
    user["password"] = sessy.setup["password"]
    done = await answer(hass, form, user)
    assert done["type"] is FlowResultType.ABORT
    assert done["reason"] == "reauth_successful"
    assert entry.data["password"] == sessy.setup["password"]
    assert entry.state is ConfigEntryState.LOADED


async def test_signing_in_can_be_tried_again(
    sessy_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    hass, entry = sessy_home.hass, sessy_home.entry
    before = dict(entry.data)
    user = {name: entry.data[name] for name in ("username", "password")}
    form = await entry.start_reauth_flow(hass)
    for key, error in ERRORS.items():
        with monkeypatch.context() as patch:
            patch.setattr(DRIVERS["sessy"], "connect", failing(error))
            form = await answer(hass, form, {"username": "TYPED", "password": "WRONG"})
        assert form["type"] is FlowResultType.FORM
        assert form["step_id"] == "reauth_confirm"
        secrets = (SetupField("username"), SetupField("password"))
        assert form["errors"] == at_its_field(key, secrets)
        assert "{" not in shown(form)
        # The typed values stay, except the password.
        assert suggested(form) == {"username": "TYPED", "password": None}
        assert entry.data == before
    done = await answer(hass, form, user)
    assert done["type"] is FlowResultType.ABORT
    assert done["reason"] == "reauth_successful"
    assert sessy_home.entry_is(ConfigEntryState.LOADED)


async def test_signing_in_to_another_device_is_refused(sessy_home: Home) -> None:
    hass, entry = sessy_home.hass, sessy_home.entry
    hass.config_entries.async_update_entry(entry, unique_id="other")
    form = await entry.start_reauth_flow(hass)
    user = {name: entry.data[name] for name in ("username", "password")}
    done = await answer(hass, form, user)
    assert done["type"] is FlowResultType.ABORT
    assert done["reason"] == "another_device"


# Reconfiguring


async def reconfigure(home: Home) -> ConfigFlowResult:
    form = await home.entry.start_reconfigure_flow(home.hass)
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == home.simulator.type
    assert form["errors"] == {}
    return form


@each_on_a_socket
async def test_reconfiguring_changes_the_host_alone(
    make_home: MakeHome, simulator: Simulator
) -> None:
    home = make_home(simulator, max_charge_power=1500)
    data = {**defaults(simulator.type), **home.entry.data}
    home.hass.config_entries.async_update_entry(
        home.entry, data={**data, "host": "127.0.0.2"}
    )
    form = await reconfigure(home)
    filled_in = suggested(form)
    assert {name: value for name, value in filled_in.items() if value is not None} == {
        name: value for name, value in home.entry.data.items() if name in filled_in
    }
    assert filled_in["host"] == "127.0.0.2"
    assert "name" not in filled_in
    filled_in["host"] = simulator.host
    done = await answer(home.hass, form, typed_as(simulator.type, filled_in))
    assert done["type"] is FlowResultType.ABORT
    assert done["reason"] == "reconfigure_successful"
    assert home.entry.data == data
    assert home.entry.options == {"max_charge_power": 1500}
    assert home.entry_is(ConfigEntryState.LOADED)


@one_of_each_protocol
async def test_running_battery_can_be_reconfigured(home: Home) -> None:
    form = await reconfigure(home)
    done = await answer(home.hass, form, typed_as(home.simulator.type, suggested(form)))
    assert done["reason"] == "reconfigure_successful"
    assert home.entry_is(ConfigEntryState.LOADED)


async def test_a_section_that_is_not_sent_stays_as_it_is(home: Home) -> None:
    """Only an API call does that; the frontend sends a section that has a value."""
    hass, entry, simulator = home.hass, home.entry, home.simulator
    before = {**defaults(simulator.type), **entry.data}
    values = typed(simulator)
    values.pop(SECTION_ADVANCED, None)
    form = await reconfigure(home)
    done = await answer(hass, form, values)
    assert done["reason"] == "reconfigure_successful"
    assert entry.data == before
    options = {"scan_interval": 7, "capacity": 9000}
    hass.config_entries.async_update_entry(entry, options=options)
    form = await hass.config_entries.options.async_init(entry.entry_id)
    await hass.config_entries.options.async_configure(
        form["flow_id"], {"scan_interval": 9}
    )
    of_driver = {
        field.name: field.default for field in DRIVERS[simulator.type].option_fields
    }
    assert entry.options == {**options, **of_driver, "scan_interval": 9}


@one_of_each_protocol
async def test_another_device_is_refused(home: Home) -> None:
    hass, entry = home.hass, home.entry
    hass.config_entries.async_update_entry(entry, unique_id="other")
    before = dict(entry.data)
    form = await reconfigure(home)
    refused = await answer(hass, form, typed(home.simulator))
    assert refused["type"] is FlowResultType.ABORT
    assert refused["reason"] == "another_device"
    assert entry.data == before


async def test_reconfiguring_can_be_tried_again(
    victron_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    hass, entry, victron = (
        victron_home.hass,
        victron_home.entry,
        victron_home.simulator,
    )
    before = dict(entry.data)
    form = await reconfigure(victron_home)
    for key, error in ERRORS.items():
        with monkeypatch.context() as patch:
            patch.setattr(DRIVERS["victron"], "connect", failing(error))
            form = await answer(hass, form, typed(victron, pv_unit_id=20))
        assert form["type"] is FlowResultType.FORM
        assert form["step_id"] == "victron"
        assert form["errors"] == at_its_field(key, DRIVERS["victron"].fields)
        assert suggested(form)["pv_unit_id"] == 20
        assert entry.data == before
    done = await answer(hass, form, typed(victron))
    assert done["reason"] == "reconfigure_successful"
    assert entry.data == before


async def test_emptied_unit_id_is_detected_again_or_removed(victron_home: Home) -> None:
    hass, entry, victron = (
        victron_home.hass,
        victron_home.entry,
        victron_home.simulator,
    )
    before = dict(entry.data)
    hass.config_entries.async_update_entry(entry, data={**before, "pv_unit_id": 20})
    form = await reconfigure(victron_home)
    assert suggested(form)["pv_unit_id"] == 20
    done = await answer(hass, form, typed(victron, unit_id=None, pv_unit_id=None))
    assert done["reason"] == "reconfigure_successful"
    assert entry.data == before


async def test_unit_id_zero_stays_what_it_is(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    """0 is a valid unit id, not an empty field."""
    async with SIMULATORS["sma"]() as sma:
        home = make_home(sma)
        home.hass.config_entries.async_update_entry(
            home.entry, data={**home.entry.data, "unit_id": 0}
        )
        form = await reconfigure(home)
        assert suggested(form)["unit_id"] == 0
        home.hass.config_entries.flow.async_abort(form["flow_id"])


@pytest.mark.parametrize(("serial", "kept"), [(None, True), (1, False)])
async def test_mac_stays_with_its_logger(
    make_home: MakeHome,
    logger: DeyeSolarmanSimulator,
    serial: int | None,
    kept: bool,
) -> None:
    home = make_home(logger)
    data = {**defaults(logger.type), **home.entry.data}
    if serial is not None:
        data["logger_serial"] = serial
    home.hass.config_entries.async_update_entry(
        home.entry, data={**data, "mac": "34:ea:e7:00:00:01"}
    )
    form = await reconfigure(home)
    done = await answer(home.hass, form, typed(logger))
    assert done["reason"] == "reconfigure_successful"
    assert home.entry.data["logger_serial"] == logger.setup["logger_serial"]
    assert ("mac" in home.entry.data) is kept


# Discovered in the network


def announced(sessy: SessySimulator, **changes: Any) -> ZeroconfServiceInfo:
    """Return the announcement of a Sessy's dongle in the network."""
    serial = sessy.setup["username"]
    hosts = [ip_address(host) for host in changes.pop("hosts", [sessy.host])]
    return ZeroconfServiceInfo(
        ip_address=hosts[0],
        ip_addresses=list(hosts),
        port=sessy.port,
        hostname=f"sessy-{serial[:4]}.local.",
        type="_http._tcp.local.",
        name=f"sessy-{serial[:4]}._http._tcp.local.",
        properties=changes.pop("properties", {"serial": serial}),
    )


async def discover_sessy(
    hass: HomeAssistant, announcement: ZeroconfServiceInfo
) -> ConfigFlowResult:
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_ZEROCONF}, data=announcement
    )
    await hass.async_block_till_done()
    return result


async def test_announced_sessy_needs_its_password(
    hass: HomeAssistant, sessy: SessySimulator
) -> None:
    form = await discover_sessy(hass, announced(sessy))
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == "sessy"
    [flow] = hass.config_entries.flow.async_progress()
    serial = sessy.setup["username"]
    assert flow["context"]["unique_id"] == serial
    assert flow["context"]["title_placeholders"] == {"name": f"Sessy {serial}"}
    assert not sessy.server.requests  # nothing was asked
    filled_in = suggested(form)
    assert filled_in["host"] == sessy.host
    assert filled_in["port"] == sessy.port
    assert filled_in["username"] == serial
    assert filled_in["password"] is None
    form = await answer(hass, form, typed(sessy, password="wrong"))
    assert form["errors"] == {"password": "invalid_auth"}
    created = await answer(hass, form, typed(sessy))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].unique_id == KINDS["sessy"].serial
    assert created["result"].data == {CONF_BATTERY_TYPE: "sessy", **sessy.setup}


@pytest.fixture
async def lost_sessy(
    make_home: MakeHome, sessy: SessySimulator, monkeypatch: pytest.MonkeyPatch
) -> Home:
    """Return a Sessy that no longer answers at its address."""

    home = make_home(sessy)
    home.hass.config_entries.async_update_entry(
        home.entry,
        data={
            **home.entry.data,
            "host": "127.0.0.2",
            "username": f" {sessy.setup['username'].lower()}",
        },
    )
    with monkeypatch.context() as patch:
        patch.setattr(DRIVERS["sessy"], "connect", failing(CannotConnectError("x")))
        assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    return home


async def test_sessy_with_a_new_address_is_followed_once_its_user_confirms(
    lost_sessy: Home, sessy: SessySimulator
) -> None:
    home, hass = lost_sessy, lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy))
    assert form["step_id"] == "new_address"
    assert form["description_placeholders"] == {
        "device": "Sessy",
        "old_host": "127.0.0.2",
        "new_host": sessy.host,
    }
    [flow] = hass.config_entries.flow.async_progress()
    assert flow["context"]["title_placeholders"] == {"name": "Sessy (127.0.0.1)"}
    assert not sessy.server.requests
    assert home.entry.data["host"] == "127.0.0.2"

    done = await answer(hass, form, {})
    assert done["type"] is FlowResultType.ABORT
    assert done["reason"] == "address_changed"
    assert home.entry.data["host"] == sessy.host
    assert home.entry_is(ConfigEntryState.LOADED)


async def test_error_at_a_new_address_is_shown_on_a_form_without_fields(
    lost_sessy: Home, sessy: SessySimulator
) -> None:
    hass = lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy))
    await sessy.misbehave("unauthorized")
    form = await answer(hass, form, {})
    assert form["errors"] == {"base": "invalid_auth"}
    assert "{" not in shown(form)
    assert lost_sessy.entry.data["host"] == "127.0.0.2"
    await sessy.misbehave("unauthorized", on=False)
    done = await answer(hass, form, {})
    assert done["reason"] == "address_changed"


SPOOFED = "127.0.0.3"


@pytest.fixture
async def impostor(lost_sessy: Home) -> AsyncIterator[SessySimulator]:
    """Yield another Sessy, at the address that is announced for the lost one."""
    async with SessySimulator(serial="OTHER00") as simulator:
        simulator.server.username = None  # requests are logged, with any password
        lost_sessy.hass.config_entries.async_update_entry(
            lost_sessy.entry,
            data={**lost_sessy.entry.data, "port": simulator.port},
        )
        yield simulator


async def test_sessy_that_answers_is_not_offered_elsewhere_before_it_is_set_up(
    lost_sessy: Home, sessy: SessySimulator
) -> None:
    """After a start, say: it reports its serial number without the password."""
    hass, entry = lost_sessy.hass, lost_sessy.entry
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "host": sessy.host}
    )
    elsewhere = announced(sessy, hosts=[SPOOFED])
    sessy.server.username = None
    aborted = await discover_sessy(hass, elsewhere)
    assert aborted["reason"] == "already_configured"
    assert hass.config_entries.flow.async_progress() == []


async def test_password_is_not_sent_to_a_device_that_reports_another_serial_number(
    lost_sessy: Home,
    sessy: SessySimulator,
    impostor: SessySimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even once its user has confirmed the address."""
    hass = lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy, hosts=[impostor.host]))
    signed_in = []

    async def connect(battery: Battery) -> None:
        signed_in.append(battery.address)

    monkeypatch.setattr(DRIVERS["sessy"], "connect", connect)
    aborted = await answer(hass, form, {})
    assert aborted["reason"] == "another_device"
    assert impostor.server.requests
    assert signed_in == []


async def test_announcements_without_end_are_not_all_offered(
    hass: HomeAssistant, sessy: SessySimulator
) -> None:
    for number in range(setup_flow.MOST_OFFERS):
        form = await discover_sessy(
            hass, announced(sessy, properties={"serial": f"DFAKE{number}"})
        )
        assert form["type"] is FlowResultType.FORM
    aborted = await discover_sessy(
        hass, announced(sessy, properties={"serial": "DFAKE99"})
    )
    assert aborted["reason"] == "not_recognised"
    offers = hass.config_entries.flow.async_progress()
    assert len(offers) == setup_flow.MOST_OFFERS
    for flow in offers:
        hass.config_entries.flow.async_abort(flow["flow_id"])


async def test_announcement_without_a_port_has_the_usual_one(
    hass: HomeAssistant, sessy: SessySimulator
) -> None:
    announcement = announced(sessy)
    announcement.port = None
    form = await discover_sessy(hass, announcement)
    assert suggested(form)["port"] == 80
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_password_is_not_sent_to_a_device_that_only_announces_itself(
    lost_sessy: Home, sessy: SessySimulator, impostor: SessySimulator
) -> None:
    hass = lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy, hosts=[impostor.host]))
    assert form["step_id"] == "new_address"
    again = await discover_sessy(hass, announced(sessy, hosts=[impostor.host]))
    assert again["reason"] == "already_in_progress"
    assert impostor.server.requests == []
    assert lost_sessy.entry.data["host"] == "127.0.0.2"
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_new_address_is_ignored_once_the_sessy_answers(
    lost_sessy: Home, sessy: SessySimulator
) -> None:
    """A false address does not keep the right one from being offered."""
    hass = lost_sessy.hass
    spoofed = await discover_sessy(hass, announced(sessy, hosts=[SPOOFED]))
    form = await discover_sessy(hass, announced(sessy))
    done = await answer(hass, form, {})
    assert done["reason"] == "address_changed"
    aborted = await answer(hass, spoofed, {})
    assert aborted["reason"] == "already_configured"
    assert lost_sessy.entry.data["host"] == sessy.host


async def test_another_device_at_the_new_address_is_not_taken_over(
    lost_sessy: Home, sessy: SessySimulator, impostor: SessySimulator
) -> None:
    hass = lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy, hosts=[impostor.host]))
    await impostor.misbehave("away")
    form = await answer(hass, form, {})
    assert form["errors"] == {"base": "cannot_connect"}
    await impostor.misbehave("away", on=False)
    aborted = await answer(hass, form, {})
    assert aborted["reason"] == "another_device"
    assert lost_sessy.entry.data["host"] == "127.0.0.2"


async def test_device_that_is_another_one_after_the_password_is_not_taken_over(
    lost_sessy: Home, sessy: SessySimulator, impostor: SessySimulator
) -> None:
    """It reports its serial number only then."""
    impostor.server.username = sessy.server.username
    hass = lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy, hosts=[impostor.host]))
    aborted = await answer(hass, form, {})
    assert aborted["reason"] == "another_device"
    assert lost_sessy.entry.data["host"] == "127.0.0.2"


async def test_new_address_can_be_ignored(
    lost_sessy: Home, sessy: SessySimulator
) -> None:
    """Only the address is ignored, not the battery."""
    hass = lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy, hosts=[SPOOFED]))
    [flow] = hass.config_entries.flow.async_progress()
    await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_IGNORE},
        data={"unique_id": flow["context"]["unique_id"], "title": "x"},
    )
    assert hass.config_entries.flow.async_progress() == []
    again = await discover_sessy(hass, announced(sessy, hosts=[SPOOFED]))
    assert again["reason"] == "already_configured"
    assert hass.config_entries.async_get_entry(lost_sessy.entry.entry_id) is not None
    form = await discover_sessy(hass, announced(sessy))
    assert form["step_id"] == "new_address"
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_new_address_of_a_removed_battery_is_not_set_up(
    lost_sessy: Home, sessy: SessySimulator
) -> None:
    hass = lost_sessy.hass
    form = await discover_sessy(hass, announced(sessy))
    await hass.config_entries.async_remove(lost_sessy.entry.entry_id)
    aborted = await answer(hass, form, {})
    assert aborted["reason"] == "not_recognised"


async def test_new_address_of_a_disabled_sessy_is_ignored(
    lost_sessy: Home, sessy: SessySimulator
) -> None:
    hass = lost_sessy.hass
    await hass.config_entries.async_set_disabled_by(
        lost_sessy.entry.entry_id, ConfigEntryDisabler.USER
    )
    aborted = await discover_sessy(hass, announced(sessy))
    assert aborted["reason"] == "already_configured"


async def test_sessy_that_answers_keeps_its_address_after_an_announcement(
    sessy_home: Home, sessy: SessySimulator
) -> None:
    aborted = await discover_sessy(sessy_home.hass, announced(sessy, hosts=[SPOOFED]))
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert sessy_home.entry.data["host"] == sessy.host
    assert sessy_home.hass.config_entries.flow.async_progress() == []


async def test_sessy_with_several_addresses_stays_at_the_one_it_has(
    sessy_home: Home,
) -> None:
    sessy = sessy_home.simulator
    assert isinstance(sessy, SessySimulator)
    aborted = await discover_sessy(
        sessy_home.hass, announced(sessy, hosts=["127.0.0.3", sessy.host])
    )
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert sessy_home.entry.data["host"] == sessy.host


async def test_another_sessy_is_offered_beside_a_known_one(sessy_home: Home) -> None:
    hass, sessy = sessy_home.hass, sessy_home.simulator
    assert isinstance(sessy, SessySimulator)
    form = await discover_sessy(
        hass,
        announced(sessy, hosts=["127.0.0.3"], properties={"serial": "DOTHER00"}),
    )
    assert form["step_id"] == "sessy"
    assert suggested(form)["username"] == "DOTHER00"
    assert sessy_home.entry.data["host"] == sessy.host
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_sessy_is_announced_once(
    hass: HomeAssistant, sessy: SessySimulator
) -> None:
    form = await discover_sessy(hass, announced(sessy))
    again = await discover_sessy(hass, announced(sessy, hosts=["127.0.0.3"]))
    assert again["type"] is FlowResultType.ABORT
    assert again["reason"] == "already_in_progress"
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_ignored_sessy_is_not_offered(
    hass: HomeAssistant, sessy: SessySimulator
) -> None:
    MockConfigEntry(
        domain=DOMAIN, unique_id=sessy.setup["username"], source=SOURCE_IGNORE
    ).add_to_hass(hass)
    aborted = await discover_sessy(hass, announced(sessy))
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"serial": None},
        {"serial": " "},
        {"serial": b"DABC1234"},
        {"serial": "D" * 33},
        {"serial": "DABC\0"},
        {"serial": "D\u202e1234"},
        {"serial": "D1234\nerror"},
    ],
)
async def test_sessy_without_serial_number_is_ignored(
    hass: HomeAssistant, sessy: SessySimulator, properties: dict[str, str | None]
) -> None:
    aborted = await discover_sessy(hass, announced(sessy, properties=properties))
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "not_recognised"


async def test_battery_added_by_hand_is_no_longer_offered(
    hass: HomeAssistant, sessy: SessySimulator, victron: VictronSimulator
) -> None:
    await discover_sessy(hass, announced(sessy))
    other = await discover_sessy(
        hass, announced(sessy, properties={"serial": "DOTHER00"})
    )
    form = await begin(hass, "victron")
    created = await answer(hass, form, typed(victron))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert len(hass.config_entries.flow.async_progress()) == 2
    form = await begin(hass, "sessy")
    created = await answer(hass, form, typed(sessy))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    [remaining] = hass.config_entries.flow.async_progress()
    assert remaining["flow_id"] == other["flow_id"]
    hass.config_entries.flow.async_abort(other["flow_id"])


async def see_by_dhcp(
    hass: HomeAssistant, mac: str, ip: str = "127.0.0.1"
) -> ConfigFlowResult:
    result = await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_DHCP},
        data=DhcpServiceInfo(ip=ip, hostname="", macaddress=mac),
    )
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.ABORT
    return result


async def test_gx_with_another_address_is_followed(victron_home: Home) -> None:
    hass, entry = victron_home.hass, victron_home.entry
    mac = KINDS["victron"].serial
    same = await see_by_dhcp(hass, mac)
    assert same["reason"] == "already_configured"
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "host": "127.0.0.2"}
    )
    stayed = await see_by_dhcp(hass, mac)
    assert stayed["reason"] == "already_configured"
    assert entry.data["host"] == "127.0.0.2"  # as long as it answers there
    victron_home.data.coordinator.last_update_success = False
    followed = await see_by_dhcp(hass, mac)
    assert followed["reason"] == "already_configured"
    assert entry.data["host"] == "127.0.0.1"
    assert victron_home.entry_is(ConfigEntryState.LOADED)


async def test_address_with_another_device_is_not_taken_over(
    victron_home: Home,
) -> None:
    hass, entry = victron_home.hass, victron_home.entry
    victron = victron_home.simulator
    before = dict(entry.data)
    victron_home.data.coordinator.last_update_success = False
    async with VictronSimulator() as gone:
        pass
    hass.config_entries.async_update_entry(
        entry, data={**before, "host": "127.0.0.2", "port": gone.port}
    )
    unreachable = await see_by_dhcp(hass, KINDS["victron"].serial)
    assert unreachable["reason"] == "not_recognised"
    hass.config_entries.async_update_entry(
        entry, unique_id="other", data={**before, "host": "127.0.0.2"}
    )
    other = await see_by_dhcp(hass, KINDS["victron"].serial)
    assert other["reason"] == "not_recognised"
    assert entry.data["host"] == "127.0.0.2"
    assert victron.port == entry.data["port"]


@one_of_each_protocol
async def test_device_that_answers_stays_also_while_it_is_not_polled(
    home: Home,
) -> None:
    """A failed poll, or none so far, is no proof that it has another address."""
    if isinstance(home.simulator, SessySimulator):
        home.simulator.server.username = None  # reports its serial number to all
    hass, entry = home.hass, home.entry
    entry_before = dict(entry.data)
    mac = "001122334455"
    dr.async_get(hass).async_update_device(
        home.data.device_id, new_connections={(dr.CONNECTION_NETWORK_MAC, mac)}
    )
    for polled in (True, False):
        if polled:
            home.data.coordinator.last_update_success = False
        else:
            await hass.config_entries.async_unload(entry.entry_id)
        seen = await see_by_dhcp(hass, mac, "127.0.0.3")
        assert seen["reason"] == "already_configured"
        assert dict(entry.data) == entry_before


@pytest.mark.parametrize("ip", ["", "gx.invalid", "127.0.0.1\0", "::1::"])
async def test_address_that_is_none_is_not_followed(
    victron_home: Home, ip: str
) -> None:
    victron_home.data.coordinator.last_update_success = False
    before = dict(victron_home.entry.data)
    seen = await see_by_dhcp(victron_home.hass, KINDS["victron"].serial, ip)
    assert seen["reason"] == "not_recognised"
    assert victron_home.entry.data == before


async def test_unknown_mac_is_ignored(victron_home: Home) -> None:
    seen = await see_by_dhcp(victron_home.hass, "001122334455")
    assert seen["reason"] == "not_recognised"


# Loggers


@pytest.fixture
async def logger(clock: ManualClock) -> AsyncIterator[DeyeSolarmanSimulator]:
    async with DeyeSolarmanSimulator(
        DeyeSolarmanSimulator.house(clock=clock)
    ) as simulator:
        yield simulator


def answering(simulator: DeyeSolarmanSimulator, host: str = "127.0.0.1") -> Logger:
    return Logger(host, MAC, simulator.server.serial)


@pytest.fixture
def usual_port(monkeypatch: pytest.MonkeyPatch) -> Callable[[Simulator], None]:
    """Return a function that makes a simulator's port the usual port of loggers."""

    def put(simulator: Simulator) -> None:
        monkeypatch.setattr(config_flow, "LOGGER_PORT", simulator.port)

    return put


type Put = Callable[[Simulator], None]


async def discover_logger(
    hass: HomeAssistant, host: str = "127.0.0.1"
) -> ConfigFlowResult:
    result = await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_INTEGRATION_DISCOVERY},
        data={"host": host, "mac": MAC},
    )
    await hass.async_block_till_done()
    return result


async def test_new_logger_is_detected_and_confirmed(
    hass: HomeAssistant,
    logger: DeyeSolarmanSimulator,
    usual_port: Put,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual_port(logger)
    form = await discover_logger(hass)
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == "discovery_confirm"
    serial = KINDS["deye_solarman"].serial
    assert form["description_placeholders"] == {
        "device": MODEL,
        "serial_number": serial,
        "host": logger.host,
    }
    [flow] = hass.config_entries.flow.async_progress()
    assert flow["context"]["unique_id"] == serial
    assert flow["context"]["title_placeholders"] == {"name": f"{MODEL} ({serial})"}
    with monkeypatch.context() as patch:
        patch.setattr(
            DRIVERS["deye_solarman"], "connect", failing(CannotConnectError("x"))
        )
        form = await answer(hass, form, {"name": "Attic"})
    assert form["step_id"] == "discovery_confirm"
    assert form["errors"] == {"base": "cannot_connect"}
    assert suggested(form) == {"name": "Attic"}
    created = await answer(hass, form, {"name": "Attic"})
    assert created["type"] is FlowResultType.CREATE_ENTRY
    entry = created["result"]
    assert entry.unique_id == serial
    assert entry.title == "Attic"
    assert entry.data == {
        CONF_BATTERY_TYPE: "deye_solarman",
        **defaults("deye_solarman"),
        **logger.setup,
        "mac": "34:ea:e7:00:00:01",
    }
    assert entry.state is ConfigEntryState.LOADED
    # From now on it is followed by its MAC address, once it does not answer.
    entry.runtime_data.coordinator.last_update_success = False
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "host": "127.0.0.2"}
    )
    followed = await see_by_dhcp(hass, MAC.lower())
    assert followed["reason"] == "already_configured"
    assert entry.data["host"] == "127.0.0.1"


async def test_known_logger_is_followed(
    make_home: MakeHome, logger: DeyeSolarmanSimulator, usual_port: Put
) -> None:
    home = make_home(logger)
    before = dict(home.entry.data)
    home.hass.config_entries.async_update_entry(
        home.entry, data={**before, "host": "127.0.0.2", "logger_serial": 1}
    )
    usual_port(logger)
    aborted = await discover_logger(home.hass)
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert home.entry.data == {**before, "mac": "34:ea:e7:00:00:01"}


async def test_logger_that_answers_keeps_its_address_before_it_is_set_up(
    make_home: MakeHome, logger: DeyeSolarmanSimulator, usual_port: Put
) -> None:
    """The network is scanned when Home Assistant starts, before batteries are there."""
    home = make_home(logger)
    before = {**home.entry.data, "host": "localhost"}
    home.hass.config_entries.async_update_entry(home.entry, data=before)
    usual_port(logger)
    aborted = await discover_logger(home.hass)
    assert aborted["reason"] == "already_configured"
    assert home.entry.data == before


async def test_logger_that_answers_keeps_its_address_after_another_answer(
    make_home: MakeHome, logger: DeyeSolarmanSimulator, usual_port: Put
) -> None:
    home = make_home(logger)
    assert await home.set_up()
    before = {**home.entry.data, "host": "localhost"}
    home.hass.config_entries.async_update_entry(home.entry, data=before)
    usual_port(logger)
    aborted = await discover_logger(home.hass)
    assert aborted["reason"] == "already_configured"
    assert home.entry.data == before


@pytest.mark.parametrize("way", [{CONF_BATTERY_TYPE: "deye_modbus"}, {"port": 502}])
async def test_inverter_that_is_reached_in_another_way_stays_as_it_is(
    make_home: MakeHome,
    logger: DeyeSolarmanSimulator,
    usual_port: Put,
    way: dict[str, Any],
) -> None:
    home = make_home(logger)
    otherwise = {**home.entry.data, "host": "127.0.0.2", **way}
    home.hass.config_entries.async_update_entry(home.entry, data=otherwise)
    usual_port(logger)
    aborted = await discover_logger(home.hass)
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "already_configured"
    assert home.entry.data == otherwise


async def test_logger_that_speaks_modbus_is_detected(
    hass: HomeAssistant, clock: ManualClock, usual_port: Put
) -> None:
    house = DeyeSolarmanSimulator.house(clock=clock)
    async with DeyeSolarmanSimulator(house, logger="ethernet") as simulator:
        usual_port(simulator)
        form = await discover_logger(hass)
        assert form["step_id"] == "discovery_confirm"
        created = await answer(hass, form, {})
        assert created["type"] is FlowResultType.CREATE_ENTRY
        assert created["result"].data[CONF_BATTERY_TYPE] == "deye_modbus"
        assert created["result"].data["mac"] == "34:ea:e7:00:00:01"
        await hass.config_entries.async_unload(created["result"].entry_id)


async def test_logger_of_another_device_is_ignored(
    hass: HomeAssistant, victron: VictronSimulator, usual_port: Put
) -> None:
    usual_port(victron)
    aborted = await discover_logger(hass)
    assert aborted["type"] is FlowResultType.ABORT
    assert aborted["reason"] == "not_recognised"


async def test_form_is_filled_in_with_the_only_logger(
    hass: HomeAssistant, logger: DeyeSolarmanSimulator, loggers: list[Logger]
) -> None:
    loggers.append(answering(logger))
    form = await begin(hass, "deye_solarman")
    assert suggested(form)["host"] == logger.host
    created = await answer(hass, form, typed(logger))
    assert created["type"] is FlowResultType.CREATE_ENTRY
    assert created["result"].data["mac"] == "34:ea:e7:00:00:01"


async def test_one_of_several_loggers_can_be_chosen(
    hass: HomeAssistant, logger: DeyeSolarmanSimulator, loggers: list[Logger]
) -> None:
    loggers += [answering(logger), Logger("127.0.0.3", "34EAE7000003", 3)]
    form = await begin(hass, "deye_solarman")
    for _ in range(2):
        assert form["data_schema"] is not None
        choice = form["data_schema"].schema["host"]
        assert isinstance(choice, SelectSelector)
        options: Any = choice.config["options"]
        assert [option["value"] for option in options] == [
            "127.0.0.1",
            "127.0.0.3",
        ]
        form = await answer(hass, form, typed(logger, port=1))
        assert form["errors"] == {"base": "cannot_connect"}
    loggers.clear()
    created = await answer(hass, form, typed(logger))
    assert created["type"] is FlowResultType.CREATE_ENTRY


async def test_loggers_that_are_set_up_are_not_suggested(
    make_home: MakeHome, logger: DeyeSolarmanSimulator, loggers: list[Logger]
) -> None:
    home = make_home(logger)
    loggers.append(answering(logger))
    form = await begin(home.hass, "deye_solarman")
    assert suggested(form)["host"] is None
    home.hass.config_entries.flow.async_abort(form["flow_id"])


# Options


async def test_options_change_the_battery_at_once(home: Home) -> None:
    hass, entry = home.hass, home.entry
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert form["step_id"] == "init"
    options: dict[str, Any] = {"scan_interval": 10, "max_charge_power": 1500}
    advanced: dict[str, Any] = {"capacity": 5000}
    for field in DRIVERS[home.simulator.type].option_fields:
        (advanced if field.advanced else options)[field.name] = another_value(field)
    done = await hass.config_entries.options.async_configure(
        form["flow_id"], {**options, SECTION_ADVANCED: advanced}
    )
    await hass.async_block_till_done()
    assert done["type"] is FlowResultType.CREATE_ENTRY
    options |= advanced
    assert entry.options == options
    assert home.state_of("power_setpoint").attributes["max"] == 1500
    assert home.data.battery.capacity == 5000
    interval = home.data.coordinator.update_interval
    assert interval is not None
    assert interval.total_seconds() == 10


async def test_options_show_the_stored_values_and_can_be_removed(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    chosen = {
        "scan_interval": 7,
        "max_charge_power": 1500,
        "max_discharge_power": 1000,
        "export": "never",
        "capacity": 9000,
        "setpoint_timeout": 600,
    }
    home = make_home(victron, **chosen)
    await home.set_up()
    form = await home.hass.config_entries.options.async_init(home.entry.entry_id)
    assert suggested(form) == chosen
    await home.hass.config_entries.options.async_configure(
        form["flow_id"], {"scan_interval": 7, SECTION_ADVANCED: {}}
    )
    await home.hass.async_block_till_done()
    assert home.entry.options == {"scan_interval": 7, "export": "never"}
    assert home.state_of("power_setpoint").attributes["max"] == 5000


async def test_impossible_option_is_refused(victron_home: Home) -> None:
    hass = victron_home.hass
    form = await hass.config_entries.options.async_init(victron_home.entry.entry_id)
    for typed_options in (
        {"scan_interval": 0, SECTION_ADVANCED: {}},
        {"scan_interval": 5, SECTION_ADVANCED: {"capacity": 0}},
        {"scan_interval": 5, "export": "sometimes"},
    ):
        with pytest.raises(InvalidData):
            await hass.config_entries.options.async_configure(
                form["flow_id"], typed_options
            )
    hass.config_entries.options.async_abort(form["flow_id"])
    assert victron_home.entry.options == {}
