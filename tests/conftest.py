"""Fixtures of the tests that run the integration in Home Assistant."""

import asyncio
from collections.abc import AsyncIterator, Iterator
import inspect
import logging
import socket
from types import SimpleNamespace
from typing import Any

from homeassistant import block_async_io
from homeassistant.core import HomeAssistant
from homeassistant.util import loop as loop_util
from hypothesis import settings
import pymodbus.client.base
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import pytest_socket

from custom_components.homebattery import discovery, sensor
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.device import device_name
from custom_components.homebattery.drivers import DRIVERS, SmaInverter
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.deye import (
    modbus_tcp as deye_modbus_tcp,
    solarman as deye_solarman,
)
from custom_components.homebattery.drivers.modbus.probe import Probe
from custom_components.homebattery.drivers.sessy.client import SessyClient
from custom_components.homebattery.drivers.solarman import (
    discovery as solarman_discovery,
)
from custom_components.homebattery.drivers.solarman.discovery import Logger
from custom_components.homebattery.drivers.sun2000 import (
    commands as sun2000_commands,
    inverter as sun2000_inverter,
    unit as sun2000_unit,
)
from custom_components.homebattery.drivers.victron import units as victron_units
from tests.faults.counting import (
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.home import (
    CONTROL_KEYS,
    DEVICES,
    KINDS,
    OTHERS,
    Home,
    MakeHome,
    Warp,
    house_of,
)
from tests.simulators import ManualClock, SessySimulator, Simulator, VictronSimulator

# Examples of property tests. The duration of one is no property of the code under test,
# and the same are tried each time: a check that fails now and then says little.
settings.register_profile(
    "plain", deadline=None, database=None, derandomize=True, max_examples=100
)
settings.register_profile("long", settings.get_profile("plain"), max_examples=500)
settings.register_profile(
    "random",
    settings.get_profile("plain"),
    derandomize=False,
    max_examples=5000,
    print_blob=True,
)
settings.load_profile("plain")

# Hooks of pytest.
__all__ = [
    "pytest_runtest_logreport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
]


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant load the integration, in each test that runs it."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("socket_enabled")
        # A known device may also be asked at another address of this machine.
        pytest_socket.socket_allow_hosts(["127.0.0.0/8"])
        request.getfixturevalue("enable_custom_integrations")


class _Reports(logging.Handler):
    """A log handler that keeps the reports on this integration of HA's detector."""

    def __init__(self) -> None:
        """Start with no messages."""
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if f"integration '{DOMAIN}'" in message:
            self.messages.append(message)


@pytest.fixture(autouse=True)
def blocking_calls(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Fail a test in whose event loop the integration blocks; yield the reports.

    Home Assistant's own detector is switched on in full: by default it ignores calls on
    files in tests. It refuses some calls and only reports others.
    """
    reports = _Reports()
    if not inspect.iscoroutinefunction(request.function):
        yield reports.messages
        return
    if "hass" in request.fixturenames:
        # Home Assistant must have started before: it reads files while it starts.
        request.getfixturevalue("hass")
    request.getfixturevalue("disable_block_async_io")
    monkeypatch.setattr(block_async_io, "_IN_TESTS", False)
    # The detector reports each call only once.
    monkeypatch.setattr(loop_util, "_PREVIOUSLY_REPORTED", set())
    loop_util._LOGGER.addHandler(reports)
    block_async_io.enable()
    yield reports.messages
    loop_util._LOGGER.removeHandler(reports)
    assert reports.messages == []


@pytest.fixture(autouse=True)
async def enable_event_loop_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have asyncio check calls as in its debug mode, without recording their stacks.

    Replaces Home Assistant's fixture of this name. Recording the stack of each callback
    and future takes up to half of the time of all tests. Code that records them calls
    `get_debug`; the checks, such as that for calls from other threads, do not.
    """
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    monkeypatch.setattr(loop, "get_debug", lambda: False)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the pauses of the drivers."""
    for driver in (ModbusBattery, *DRIVERS.values()):
        monkeypatch.setattr(driver, "settle", 0, raising=False)
    monkeypatch.setattr(SessyClient, "retry_pause", 0)
    monkeypatch.setattr(SmaInverter, "spacing", 0)
    monkeypatch.setattr(sun2000_inverter, "CONNECT_DELAY", 0)
    monkeypatch.setattr(sun2000_inverter, "SPACING", 0)
    monkeypatch.setattr(sun2000_unit, "BACK_OFFS", (0, 0, 0))
    monkeypatch.setattr(deye_modbus_tcp, "REQUEST_SPACING", 0)
    monkeypatch.setattr(deye_solarman, "REQUEST_SPACING", 0)
    monkeypatch.setattr(sun2000_commands, "WAKE_UP_PAUSE", 0)
    monkeypatch.setattr(Probe, "connect_delay", 0)
    monkeypatch.setattr(Probe, "timeout", 0.1)
    monkeypatch.setattr(solarman_discovery, "DISCOVERY_WAIT", 0.1)


@pytest.fixture(autouse=True)
def _no_rest_after_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the pause of 0.1 s that pymodbus makes after each connect, only that."""

    async def sleep(_seconds: float) -> None:
        await asyncio.sleep(0)

    without_rest = SimpleNamespace(**{**vars(asyncio), "sleep": sleep})
    monkeypatch.setattr(pymodbus.client.base, "asyncio", without_rest)


@pytest.fixture(autouse=True)
def loggers(monkeypatch: pytest.MonkeyPatch) -> list[Logger]:
    """Return the loggers that answer in the network; none unless a test adds some."""
    answering: list[Logger] = []

    async def discover() -> list[Logger]:
        return list(answering)

    monkeypatch.setattr(discovery, "discover", discover)
    return answering


@pytest.fixture
def closed_port(socket_enabled: None) -> Iterator[int]:
    """Yield a port on which nothing listens, reserved so that no server gets it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def clock() -> ManualClock:
    """Return the time of the simulated devices."""
    return ManualClock()


@pytest.fixture
async def victron(clock: ManualClock) -> AsyncIterator[VictronSimulator]:
    async with VictronSimulator(house_of(VictronSimulator, clock)) as simulator:
        yield simulator


@pytest.fixture
async def sessy(clock: ManualClock) -> AsyncIterator[SessySimulator]:
    async with SessySimulator(house_of(SessySimulator, clock)) as simulator:
        yield simulator


@pytest.fixture(params=DRIVERS)
async def simulator(
    request: pytest.FixtureRequest, clock: ManualClock
) -> AsyncIterator[Simulator]:
    """Yield each kind of battery in turn."""
    device: Any = DEVICES[request.param]  # each has options of its own
    async with device(house_of(device, clock)) as simulator:
        yield simulator


@pytest.fixture
def few_sensors(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limit a battery to the sensors that tests of control use.

    The others make a hundred entities more and take a third of the time of set-up. At
    set-up everything is still read, and all settings are there; later polls read less
    than a user's. Tests marked `long` and test_exits.py run control beside full polls.
    """
    if request.node.get_closest_marker("long"):
        return
    all_keys = sensor.sensor_keys

    def keys(battery: Battery) -> list[str]:
        return [key for key in all_keys(battery) if key in CONTROL_KEYS]

    monkeypatch.setattr(sensor, "sensor_keys", keys)


@pytest.fixture
def make_home(hass: HomeAssistant) -> MakeHome:
    """Return a function that makes an entry for a simulated device."""

    def make(simulator: Simulator, **options: Any) -> Home:
        entry = MockConfigEntry(
            domain=DOMAIN,
            title=KINDS[simulator.type].title,
            unique_id=KINDS[simulator.type].serial,
            data={CONF_BATTERY_TYPE: simulator.type, **simulator.setup},
            options=options,
        )
        entry.add_to_hass(hass)
        return Home(hass, simulator, entry)

    return make


@pytest.fixture
async def home(make_home: MakeHome, simulator: Simulator) -> Home:
    """Return each kind of battery in turn, set up."""
    made = make_home(simulator)
    assert await made.set_up()
    return made


@pytest.fixture
async def victron_home(make_home: MakeHome, victron: VictronSimulator) -> Home:
    made = make_home(victron)
    assert await made.set_up()
    return made


@pytest.fixture
async def sessy_home(make_home: MakeHome, sessy: SessySimulator) -> Home:
    made = make_home(sessy)
    assert await made.set_up()
    return made


@pytest.fixture(params=OTHERS)
async def other_home(
    request: pytest.FixtureRequest, make_home: MakeHome, clock: ManualClock
) -> AsyncIterator[Home]:
    """Yield each device of `OTHERS` in turn, set up."""
    device, options = OTHERS[request.param]
    async with device(house_of(device, clock), **options) as simulator:
        home = make_home(simulator)
        async with DRIVERS[simulator.type].from_setup(simulator.setup) as battery:
            home.hass.config_entries.async_update_entry(
                home.entry,
                title=device_name(battery.identity),
                unique_id=battery.identity.serial_number,
            )
        assert await home.set_up()
        yield home
        await home.hass.config_entries.async_unload(home.entry.entry_id)


@pytest.fixture
def warp(
    hass: HomeAssistant, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Warp:
    """Return a coroutine that advances time at once, in Home Assistant and the devices.

    Time is not frozen: sockets, and tasks that wait for them, go on working. Each timer
    that falls due fires once, however long the leap.
    """
    loop = hass.loop
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    # A pause that begins in a leap would be waited for.
    monkeypatch.setattr(victron_units, "SERVER_RESTART", 0)

    async def leap(seconds: float) -> None:
        nonlocal ahead
        clock.advance(seconds)
        ahead += seconds
        # One turn of the loop for the timers, and one for the tasks that they start.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await hass.async_block_till_done(wait_background_tasks=True)

    return leap
