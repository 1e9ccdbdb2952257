"""Every form of every flow, filled in and sent as the frontend does.

A form is sent as it stands, with only its empty visible fields filled in: it is
accepted, and values stored before stay stored.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Any

from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.config_entries import (
    SOURCE_INTEGRATION_DISCOVERY,
    SOURCE_ZEROCONF,
    ConfigEntry,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.homebattery import config_flow, repairs, setup_flow
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN, Issue
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.controller import DeviceIssue
from custom_components.homebattery.drivers.detection import detect
from custom_components.homebattery.drivers.modbus.probe import Probe
from scripts.demonstration.frontend_form import FormError, fill_in, prefilled
from tests.drivers.victron.sites import pv_inverter, site
from tests.home import Home, MakeHome, another_value, each_on_a_socket, house_of
from tests.simulators import (
    DeyeSolarmanSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from tests.simulators.image import HttpImage, load
from tests.simulators.solarman import MAC

CONFIG = "/api/config/config_entries/flow"
OPTIONS = "/api/config/config_entries/options/flow"
FIX = "/api/repairs/issues/fix"

ADVANCED = "advanced"


class Dialog:
    """The dialog of one flow in the frontend."""

    def __init__(self, hass: HomeAssistant, client: Any, path: str) -> None:
        self._hass = hass
        self._client = client
        self._path = path
        self.step: dict[str, Any] = {}

    async def begin(self, **of_what: str) -> None:
        """Open the dialog on a new flow."""
        await self._show(await self._client.post(self._path, json=of_what))

    async def open(self, flow_id: str) -> None:
        """Open the dialog on a flow that exists already."""
        await self._show(await self._client.get(f"{self._path}/{flow_id}"))

    async def choose(self, option: str) -> None:
        """Choose an option of a menu."""
        assert self.step["type"] == "menu"
        await self._send({"next_step_id": option})

    async def submit(self, **typed: Any) -> None:
        """Type into some fields, and submit the form."""
        assert self.step["type"] == "form"
        await self._send(fill_in(self.step["data_schema"], typed))

    @property
    def shown(self) -> dict[str, Any]:
        """The values in the fields, including those of the section."""
        values = prefilled(self.step["data_schema"])
        section = values.pop(ADVANCED, {})
        return {**values, **section}

    def shows_section(self) -> bool:
        """Return whether the section is open."""
        [section] = [
            field for field in self.step["data_schema"] if field["name"] == ADVANCED
        ]
        return bool(section["expanded"])

    async def _send(self, data: dict[str, Any]) -> None:
        url = f"{self._path}/{self.step['flow_id']}"
        await self._show(await self._client.post(url, json=data))

    async def _show(self, response: Any) -> None:
        step = await response.json()
        assert response.ok, step
        self.step = step
        await self._hass.async_block_till_done()


type MakeDialog = Callable[[str], Dialog]


@pytest.fixture
async def dialog(
    hass: HomeAssistant, hass_client: ClientSessionGenerator
) -> MakeDialog:
    """Return a function that makes a dialog for a kind of flow."""
    for component in ("config", REPAIRS):
        assert await async_setup_component(hass, component, {})
    return partial(Dialog, hass, await hass_client())


def put_at_usual_port(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    """Make a simulator's port the usual port of its kind."""
    driver = DRIVERS[simulator.type]
    fields = tuple(
        replace(field, default=simulator.port) if field.name == "port" else field
        for field in driver.fields
    )
    monkeypatch.setattr(driver, "fields", fields)
    monkeypatch.setattr(driver, "ports", (simulator.port,))
    monkeypatch.setattr(config_flow, "LOGGER_PORT", simulator.port)


@pytest.fixture
def usual(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Return each kind of battery in turn, at its usual port."""
    put_at_usual_port(monkeypatch, simulator)
    return simulator


@pytest.fixture
def usual_sessy(
    sessy: SessySimulator, monkeypatch: pytest.MonkeyPatch
) -> SessySimulator:
    put_at_usual_port(monkeypatch, sessy)
    return sessy


def in_view(simulator: Simulator) -> dict[str, Any]:
    """Return the values that a user has to type, of the empty visible fields."""
    visible = {
        field.name
        for field in DRIVERS[simulator.type].fields
        if field.required and field.default is None and not field.advanced
    }
    return {name: simulator.setup[name] for name in visible}


def stored(simulator: Simulator) -> dict[str, Any]:
    """Return the data of an entry of a simulator, including unit ids and ports."""
    defaults = {
        field.name: field.default
        for field in DRIVERS[simulator.type].fields
        if field.default is not None
    }
    return {CONF_BATTERY_TYPE: simulator.type, **defaults, **simulator.setup}


def the_entry(hass: HomeAssistant) -> ConfigEntry:
    [entry] = hass.config_entries.async_entries(DOMAIN)
    return entry


# Setting up


@each_on_a_socket
async def test_fields_in_view_are_enough_to_add_a_battery(
    hass: HomeAssistant, dialog: MakeDialog, usual: Simulator
) -> None:
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose(usual.type)
    await add.submit(**in_view(usual))
    assert add.step["type"] == "create_entry"
    assert the_entry(hass).data == stored(usual)


@each_on_a_socket
async def test_an_empty_field_in_view_is_not_sent(
    dialog: MakeDialog, usual: Simulator
) -> None:
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose(usual.type)
    with pytest.raises(FormError, match="not all required fields are filled in: host"):
        await add.submit()


@each_on_a_socket
async def test_form_of_a_detected_battery_is_sent_as_it_stands(
    hass: HomeAssistant,
    dialog: MakeDialog,
    usual: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask_only_at(monkeypatch, {DRIVERS[usual.type].ports[0]: usual.port})
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose("detect")
    await add.submit(host=usual.host)
    assert add.step["step_id"] == usual.type
    empty = {name for name in in_view(usual) if not add.shown[name]}
    assert empty == ({"username", "password"} if usual.type == "sessy" else set())
    await add.submit(**{name: usual.setup[name] for name in empty})
    assert add.step["type"] == "create_entry"
    assert the_entry(hass).data == stored(usual)


async def test_form_of_one_of_several_detected_batteries_is_sent_as_it_stands(
    hass: HomeAssistant,
    dialog: MakeDialog,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with HttpImage(load("sessy")[0]) as sessy:
        sessy.username = None  # it needs no password, as with some firmware
        ask_only_at(monkeypatch, {502: victron.port, 80: sessy.port})
        add = dialog(CONFIG)
        await add.begin(handler=DOMAIN)
        await add.choose("detect")
        await add.submit(host=victron.host)
        await add.choose("victron")
        await add.submit()
    assert add.step["type"] == "create_entry"
    assert the_entry(hass).data == stored(victron)


def ask_only_at(monkeypatch: pytest.MonkeyPatch, ports: dict[int, int]) -> None:
    """Let detection use these ports, with 5 s per answer; the others are closed."""
    usual = {port for driver in DRIVERS.values() for port in driver.ports}
    everywhere = dict.fromkeys(usual, 1) | ports
    monkeypatch.setattr(setup_flow, "detect", partial(detect, ports=everywhere))
    monkeypatch.setattr(Probe, "timeout", 5)


async def test_an_announced_sessy_needs_its_password_only(
    hass: HomeAssistant, dialog: MakeDialog, usual_sessy: SessySimulator
) -> None:
    sessy = usual_sessy
    flow = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_ZEROCONF}, data=announcement(sessy)
    )
    add = dialog(CONFIG)
    await add.open(flow["flow_id"])
    await add.submit(password=sessy.setup["password"])
    assert add.step["type"] == "create_entry"
    assert the_entry(hass).data == stored(sessy)


def announcement(sessy: SessySimulator) -> ZeroconfServiceInfo:
    address = ip_address(sessy.host)
    serial = sessy.setup["username"]
    return ZeroconfServiceInfo(
        ip_address=address,
        ip_addresses=[address],
        port=sessy.port,
        hostname=f"sessy-{serial[:4]}.local.",
        type="_http._tcp.local.",
        name=f"sessy-{serial[:4]}._http._tcp.local.",
        properties={"serial": serial},
    )


async def test_an_inverter_behind_a_new_logger_needs_nothing(
    hass: HomeAssistant,
    dialog: MakeDialog,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = DeyeSolarmanSimulator.house(clock=clock)
    async with DeyeSolarmanSimulator(house) as logger:
        put_at_usual_port(monkeypatch, logger)
        flow = await hass.config_entries.flow.async_init(
            DOMAIN,
            context={"source": SOURCE_INTEGRATION_DISCOVERY},
            data={"host": logger.host, "mac": MAC},
        )
        add = dialog(CONFIG)
        await add.open(flow["flow_id"])
        assert add.step["step_id"] == "discovery_confirm"
        await add.submit()
        assert add.step["type"] == "create_entry"
        entry = the_entry(hass)
        assert entry.data == {**stored(logger), "mac": "34:ea:e7:00:00:01"}
        await hass.config_entries.async_unload(entry.entry_id)


# After an error


def unusual(simulator: Simulator) -> dict[str, Any]:
    """Return an unusual value for each field of the section."""
    return {
        field.name: "rtu" if field.name == "framing" else 77
        for field in DRIVERS[simulator.type].fields
        if field.advanced
    }


@each_on_a_socket
async def test_typed_values_come_back_after_an_error_in_an_open_section(
    hass: HomeAssistant, dialog: MakeDialog, simulator: Simulator
) -> None:
    typed = {**in_view(simulator), "port": 1, **unusual(simulator)}
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose(simulator.type)
    assert not add.shows_section()
    await add.submit(**typed)
    assert add.step["errors"]
    assert add.shown == typed
    assert add.shows_section()
    await add.submit(**stored_fields(simulator))
    assert add.step["type"] == "create_entry"
    assert the_entry(hass).data == stored(simulator)


@each_on_a_socket
async def test_a_section_with_nothing_unusual_stays_closed_after_an_error(
    dialog: MakeDialog, usual: Simulator
) -> None:
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose(usual.type)
    await add.submit(**{**in_view(usual), "host": "a b"})
    assert add.step["errors"] == {"host": "invalid_host"}
    assert not add.shows_section()


def stored_fields(simulator: Simulator) -> dict[str, Any]:
    """Return the stored value, or None, of each field on the form of a simulator."""
    data = stored(simulator)
    return {
        field.name: data.get(field.name)
        for field in DRIVERS[simulator.type].fields
        if not field.generated
    }


@each_on_a_socket
async def test_an_error_of_a_field_in_the_section_opens_it(
    dialog: MakeDialog, usual: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The section shows the error: the frontend shows none at a field of a section."""
    [name, *_] = [field.name for field in DRIVERS[usual.type].fields if field.advanced]

    async def fail(
        _flow: object, _type: str, _setup: object, errors: dict[str, str]
    ) -> None:
        errors[name] = "unit_absent"

    monkeypatch.setattr(config_flow.HomeBatteryConfigFlow, "_async_try", fail)
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose(usual.type)
    assert not add.shows_section()
    await add.submit(**in_view(usual))
    assert add.step["errors"] == {ADVANCED: "unit_absent"}
    assert add.shows_section()


# Services of a GX, of which several would suit


@pytest.fixture
async def banks(clock: ManualClock) -> AsyncIterator[VictronSimulator]:
    """Yield a GX with two banks and their sum, full and idle: their values are equal."""
    house = house_of(VictronSimulator, clock)
    house.fixed_load, house.soc = 0.0, 100.0
    async with VictronSimulator(house, battery_unit=77, banks=2) as gx:
        yield gx


def offered(step: dict[str, Any]) -> dict[str, list[str]]:
    """Return the lines of each list on a form."""
    return {
        field["name"]: [
            option["label"] for option in field["selector"]["select"]["options"]
        ]
        for field in step["data_schema"]
    }


LINES = [
    "1: Bank 1, 54.00 V, 0.0 A, 0 W, 100.0 %, BMS +50/-50 A",
    "2: Bank 2, 54.00 V, 0.0 A, 0 W, 100.0 %, BMS +50/-50 A",
    "77: 54.00 V, 0.0 A, 0 W, 100.0 %, BMS +100/-100 A",
]


@pytest.mark.parametrize(("chosen", "unit"), [({}, 1), ({"battery_unit_id": "77"}, 77)])
async def test_a_battery_is_chosen_from_a_list(
    hass: HomeAssistant,
    dialog: MakeDialog,
    banks: VictronSimulator,
    chosen: dict[str, str],
    unit: int,
) -> None:
    """The list has names and present values; no number need be typed."""
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose("victron")
    await add.submit(host=banks.host, port=banks.port)
    assert add.step["step_id"] == "choose"
    assert offered(add.step) == {"battery_unit_id": LINES}
    await add.submit(**chosen)
    assert add.step["type"] == "create_entry"
    assert the_entry(hass).data == {**stored(banks), "battery_unit_id": unit}


async def test_a_list_is_shown_again_when_a_device_stops_answering(
    hass: HomeAssistant, dialog: MakeDialog, banks: VictronSimulator
) -> None:
    add = dialog(CONFIG)
    await add.begin(handler=DOMAIN)
    await add.choose("victron")
    await add.submit(host=banks.host, port=banks.port)
    await banks.misbehave("absent", service="vebus")
    await add.submit(battery_unit_id="77")
    assert add.step["step_id"] == "choose"
    assert add.step["errors"] == {"base": "unit_absent"}
    assert add.shown == {"battery_unit_id": "77"}
    assert offered(add.step) == {"battery_unit_id": LINES}
    await banks.misbehave("absent", service="vebus", on=False)
    await add.submit()
    assert the_entry(hass).data == stored(banks)


async def test_a_battery_is_chosen_anew_while_reconfiguring(
    dialog: MakeDialog, make_home: MakeHome, banks: VictronSimulator
) -> None:
    """A unit id that is empty is searched; the others stay as they are."""
    home = make_home(banks)
    put_into(home, battery_unit_id=1)
    again = dialog(CONFIG)
    await again.begin(handler=DOMAIN, entry_id=home.entry.entry_id)
    await again.submit()
    assert again.step["reason"] == "reconfigure_successful"
    assert home.entry.data["battery_unit_id"] == 1
    await again.begin(handler=DOMAIN, entry_id=home.entry.entry_id)
    await again.submit(battery_unit_id=None)
    assert offered(again.step) == {"battery_unit_id": LINES}
    await again.submit(battery_unit_id="77")
    assert again.step["reason"] == "reconfigure_successful"
    assert home.entry.data == stored(banks)


async def test_services_that_were_not_there_are_detected_while_reconfiguring(
    dialog: MakeDialog, make_home: MakeHome, clock: ManualClock
) -> None:
    """The form as it stands leaves their unit ids empty."""
    house = house_of(VictronSimulator, clock)
    async with VictronSimulator(house, battery_unit=100, pv_unit=20) as gx:
        home = make_home(gx)
        everything = put_into(home)
        empty = ("battery_unit_id", "grid_unit_id", "pv_unit_id")
        stored_before = {name: everything[name] for name in everything.keys() - empty}
        home.hass.config_entries.async_update_entry(home.entry, data=stored_before)
        again = dialog(CONFIG)
        await again.begin(handler=DOMAIN, entry_id=home.entry.entry_id)
        await again.submit()
        assert again.step["reason"] == "reconfigure_successful"
        assert home.entry.data == everything
        await home.hass.config_entries.async_unload(home.entry.entry_id)


@pytest.mark.parametrize(("chosen", "unit"), [({}, None), ({"pv_unit_id": "21"}, 21)])
async def test_no_pv_inverter_need_be_chosen(
    hass: HomeAssistant, dialog: MakeDialog, chosen: dict[str, str], unit: int | None
) -> None:
    """Each counts its own yield, so none is suggested."""
    async with site({"20": pv_inverter(1200), "21": pv_inverter(34)}) as gx:
        add = dialog(CONFIG)
        await add.begin(handler=DOMAIN)
        await add.choose("victron")
        await add.submit(host=gx.host, port=gx.port)
        assert offered(add.step) == {"pv_unit_id": ["20: 1200 W", "21: 34 W"]}
        await add.submit(**chosen)
        assert add.step["type"] == "create_entry"
        assert the_entry(hass).data.get("pv_unit_id") == unit
        await hass.config_entries.async_unload(the_entry(hass).entry_id)


# Batteries that are set up already


def put_into(home: Home, **data: Any) -> dict[str, Any]:
    """Store all data that an entry can have of a simulator; return them."""
    everything = {**stored(home.simulator), **data}
    home.hass.config_entries.async_update_entry(home.entry, data=everything)
    return everything


async def test_signing_in_again_needs_the_password_only(
    hass: HomeAssistant, dialog: MakeDialog, make_home: MakeHome, sessy: SessySimulator
) -> None:
    home = make_home(sessy)
    everything = put_into(home, password="OLD")
    assert not await home.set_up()
    [flow] = hass.config_entries.flow.async_progress()
    sign_in = dialog(CONFIG)
    await sign_in.open(flow["flow_id"])
    with pytest.raises(FormError, match="not all required fields are filled in: pass"):
        await sign_in.submit()
    await sign_in.submit(password=sessy.setup["password"])
    assert sign_in.step["reason"] == "reauth_successful"
    assert home.entry.data == {**everything, "password": sessy.setup["password"]}


async def test_reconfiguring_shows_and_keeps_what_is_stored(
    dialog: MakeDialog, make_home: MakeHome, simulator: Simulator
) -> None:
    home = make_home(simulator, setpoint_timeout=3600)
    everything = put_into(home)
    again = dialog(CONFIG)
    await again.begin(handler=DOMAIN, entry_id=home.entry.entry_id)
    of_connecting = {
        field.name for field in DRIVERS[simulator.type].fields if field.generated
    }
    assert {CONF_BATTERY_TYPE: simulator.type, **again.shown} == {
        name: everything[name] for name in everything.keys() - of_connecting
    }
    await again.submit()
    assert again.step["reason"] == "reconfigure_successful"
    assert home.entry.data == everything
    assert home.entry.options == {"setpoint_timeout": 3600}


async def test_the_unit_id_of_a_pv_inverter_is_kept_until_it_is_emptied(
    dialog: MakeDialog, make_home: MakeHome, victron: VictronSimulator
) -> None:
    home = make_home(victron)
    everything = put_into(home, pv_unit_id=20)
    again = dialog(CONFIG)
    await again.begin(handler=DOMAIN, entry_id=home.entry.entry_id)
    await again.submit()
    assert home.entry.data == everything
    await again.begin(handler=DOMAIN, entry_id=home.entry.entry_id)
    await again.submit(pv_unit_id=None)
    assert home.entry.data == stored(victron)


ALL_OPTIONS = {
    "scan_interval": 7,
    "max_charge_power": 1500,
    "max_discharge_power": 1000,
    "capacity": 9000,
    "setpoint_timeout": 3600,
}
MAY_BE_EMPTY = [name for name in ALL_OPTIONS if name != "scan_interval"]


def all_options(simulator: Simulator) -> dict[str, Any]:
    """Return an unusual value for each option of a battery."""
    of_driver = DRIVERS[simulator.type].option_fields
    return {**ALL_OPTIONS, **{field.name: another_value(field) for field in of_driver}}


async def test_options_of_a_new_battery_are_sent_as_they_stand(
    dialog: MakeDialog, home: Home
) -> None:
    configure = dialog(OPTIONS)
    await configure.begin(handler=home.entry.entry_id)
    shown = configure.shown
    await configure.submit()
    assert configure.step["type"] == "create_entry"
    assert home.entry.options == shown
    assert shown.keys().isdisjoint(MAY_BE_EMPTY)


async def test_options_are_shown_and_kept_when_one_is_changed(
    dialog: MakeDialog, make_home: MakeHome, simulator: Simulator
) -> None:
    options = all_options(simulator)
    home = make_home(simulator, **options)
    assert await home.set_up()
    configure = dialog(OPTIONS)
    await configure.begin(handler=home.entry.entry_id)
    assert configure.shown == options
    await configure.submit(scan_interval=9)
    assert configure.step["type"] == "create_entry"
    assert home.entry.options == {**options, "scan_interval": 9}


@pytest.mark.parametrize("option", MAY_BE_EMPTY)
async def test_an_option_that_is_emptied_is_gone_and_the_others_stay(
    dialog: MakeDialog, make_home: MakeHome, victron: VictronSimulator, option: str
) -> None:
    home = make_home(victron, **ALL_OPTIONS)
    assert await home.set_up()
    configure = dialog(OPTIONS)
    await configure.begin(handler=home.entry.entry_id)
    await configure.submit(**{option: None})
    assert home.entry.options == {
        **{name: value for name, value in ALL_OPTIONS.items() if name != option},
        "export": "as_permitted",
    }


# Repairs


@pytest.mark.parametrize("issue", repairs.FIXES)
async def test_the_question_of_a_repair_is_sent_as_it_stands(
    dialog: MakeDialog, victron_home: Home, issue: Issue | DeviceIssue
) -> None:
    hass, entry = victron_home.hass, victron_home.entry
    repairs.show(hass, entry, {issue})
    fix = dialog(FIX)
    await fix.begin(handler=DOMAIN, issue_id=f"{issue}_{entry.unique_id}")
    assert fix.step["step_id"] == "confirm"
    await fix.submit()
    assert fix.step["type"] == "create_entry"
