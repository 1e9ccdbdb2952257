"""Tests that a setpoint is in time, also with a slow device and during long polls."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Protocol

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from pymodbus.client import AsyncModbusTcpClient
import pytest

from custom_components.homebattery.drivers import SimulatedBattery, VictronInverter
from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.errors import BatteryError
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.modbus.unit import ModbusRequest
from custom_components.homebattery.drivers.report import Report
from tests.home import Home, MakeHome, Warp
from tests.simulators import (
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from tests.simulators.modbus import Read, Refusal, Write

pytestmark = pytest.mark.usefixtures("few_sensors")

type Entry = Read | Write | Refusal

CONTROL_BLOCK: Final = 37
POLL: Final = "poll"
SLOW: Final = 3.0
"""Seconds that each answer takes; to read everything takes a minute."""
STEP: Final = 0.5


def is_setpoint(entry: Entry) -> bool:
    return isinstance(entry, Write) and entry.address == CONTROL_BLOCK


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until a condition holds."""
    while not condition():
        await asyncio.sleep(0)


class Leap(Protocol):
    """Lets time pass, s, with all timers that fall due in it."""

    async def __call__(self, seconds: float) -> None: ...


@pytest.fixture
def leap(
    hass: HomeAssistant, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Leap:
    """Return a coroutine that waits for no task, unlike `warp`."""
    real, ahead = hass.loop.time, 0.0
    monkeypatch.setattr(hass.loop, "time", lambda: real() + ahead)

    async def leap(seconds: float) -> None:
        nonlocal ahead
        for _ in range(round(seconds / STEP)):
            ahead += STEP
            clock.advance(STEP)
            for _ in range(10):  # turns of the loop: timers, and what they begin
                await asyncio.sleep(0)

    return leap


@pytest.fixture
def slow(
    victron: VictronSimulator, leap: Leap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let time leap before each answer."""
    monkeypatch.setattr(victron.server, "_pause", lambda: leap(SLOW))


async def test_keep_alive_is_in_time_while_a_slow_device_is_polled(
    make_home: MakeHome, victron: VictronSimulator, request: pytest.FixtureRequest
) -> None:
    """Renewals are due every 5 s."""
    home = make_home(victron, scan_interval=36_000)
    await home.set_up()
    await home.set_power(1000)
    request.getfixturevalue("slow")
    victron.server.traffic.clear()

    await home.data.battery.read()

    log = list(victron.server.traffic.log)
    setpoints = [at for at, entry in enumerate(log) if is_setpoint(entry)]
    assert len(log) - len(setpoints) > 10
    # Between two renewals there is time for one or two answers, besides the one
    # under way.
    assert max(b - a for a, b in pairwise([-1, *setpoints])) <= 4
    assert len(setpoints) >= 3
    assert not victron.state()["device"]["lapsed"]


@dataclass
class Askers:
    """The names of the tasks that request, as they come, and as they are served."""

    came: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def others(self) -> bool:
        """Whether a task came that does not poll."""
        return any(name != POLL for name in self.came)


@pytest.fixture
def askers(monkeypatch: pytest.MonkeyPatch) -> Askers:
    askers = Askers()
    transact = ModbusTcpConnection.transact
    connected = ModbusTcpConnection._connected_client

    def name() -> str:
        task = asyncio.current_task()
        return task.get_name() if task else ""

    async def come(
        connection: ModbusTcpConnection, request: ModbusRequest
    ) -> list[int]:
        askers.came.append(name())
        return await transact(connection, request)

    async def ask(connection: ModbusTcpConnection) -> AsyncModbusTcpClient:
        askers.asked.append(name())
        return await connected(connection)

    monkeypatch.setattr(ModbusTcpConnection, "transact", come)
    monkeypatch.setattr(ModbusTcpConnection, "_connected_client", ask)
    return askers


async def see_a_setpoint_go_first(
    home: Home, victron: VictronSimulator, askers: Askers, *pollers: VictronInverter
) -> None:
    """Check that a setpoint is next while one request of a poll is under way."""
    await victron.misbehave("hang")
    polls = [asyncio.create_task(each.read(), name=POLL) for each in pollers]
    await until(lambda: len(askers.came) == len(polls) and askers.asked)
    victron.server.traffic.clear()
    askers.asked.clear()
    setpoint = asyncio.create_task(home.data.control.async_set_power(1000))
    await until(lambda: askers.others)

    await victron.misbehave("hang", on=False)
    await setpoint

    at = [is_setpoint(entry) for entry in victron.server.traffic.log].index(True)
    # The first answer is that of the request that was under way.
    assert POLL not in askers.asked[:at]
    await asyncio.gather(*polls)
    assert POLL in askers.asked


async def test_setpoint_waits_for_no_more_than_the_request_under_way(
    victron_home: Home, victron: VictronSimulator, askers: Askers
) -> None:
    battery: Any = victron_home.data.battery
    askers.came.clear()
    askers.asked.clear()
    await see_a_setpoint_go_first(victron_home, victron, askers, battery)


async def test_setpoint_is_not_kept_waiting_by_another_battery_at_the_address(
    victron_home: Home, victron: VictronSimulator, askers: Askers
) -> None:
    """Both share a connection, such as two inverters behind one gateway."""
    async with VictronInverter.from_setup(victron.setup) as other:
        askers.came.clear()
        askers.asked.clear()
        await see_a_setpoint_go_first(victron_home, victron, askers, *[other] * 3)


async def test_readings_that_do_not_come_make_a_renewal_safe_not_late(
    victron_home: Home,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
    warp: Warp,
) -> None:
    """Nothing is known of loads and limits for 15 s: the battery is held."""
    await victron_home.set_power(1000)
    battery = victron_home.data.battery

    async def nothing(*_: object, **options: object) -> Report:
        """Read nothing, as a device that refuses to be read."""
        return Report()

    monkeypatch.setattr(VictronInverter, "_read_report", nothing)
    await warp(16)

    assert await battery.keep_alive() == Grant(0, LimitReason.UNKNOWN_STATE)
    assert victron.server.traffic.writes[-1].words == [0, 1, 1]


@pytest.mark.parametrize("simulator", ["sessy", "sun2000"], indirect=True)
async def test_setpoint_and_setting_at_once_do_not_wait_for_each_other(
    home: Home, simulator: Simulator
) -> None:
    """Both hold a lock of the driver while they talk to the device."""
    assert isinstance(simulator, SessySimulator | HuaweiSimulator)
    await simulator.misbehave("delay", seconds=0.02)

    async with asyncio.timeout(20):
        await asyncio.gather(
            home.set_power(600),
            home.call("number.set_value", "charge_power_limit", value=2000),
            home.set_power(500),
        )

    assert home.data.control.requested_power in (500, 600)
    assert home.state("charge_power_limit") == "2000"


# A renewal that falls due while a call writes


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_a_slow_device_is_not_renewed_behind_the_call_that_sets_it(
    home: Home, simulator: HuaweiSimulator, leap: Leap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal after the first setpoint falls due while the second is written."""
    await home.set_power(600)
    simulator.server.traffic.clear()
    monkeypatch.setattr(simulator.server, "_pause", lambda: leap(1))

    await home.set_power(-500)

    assert len(simulator.server.traffic.writes) == 4
    assert simulator.state()["device"]["forcible_power"] == -500


on_no_socket: Final = pytest.mark.parametrize("simulator", ["simulated"], indirect=True)
"""A mark for tests that need no more of a device than that it is renewed."""


class Renewals:
    """The renewals of a simulated battery, and a call that waits while it sets it."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count from now on."""
        self.made = 0
        self._goes_on = asyncio.Event()
        self._fails = False
        self._control = home.data.control
        battery = home.data.battery
        keep_alive, set_power = battery.keep_alive, battery.set_power_setpoint

        async def renew() -> Grant | None:
            self.made += 1
            return await keep_alive()

        async def apply(power: float) -> Grant:
            await self._goes_on.wait()
            if self._fails:
                raise BatteryError("refused")
            return await set_power(power)

        monkeypatch.setattr(battery, "keep_alive", renew)
        monkeypatch.setattr(battery, "set_power_setpoint", apply)

    async def due_in_a_call(self, leap: Leap, *, fails: bool = False) -> int:
        """Return the renewals that are made when one falls due while a call writes."""
        before, self._fails = self.made, fails
        self._goes_on.clear()
        call = asyncio.create_task(self._control.async_set_power(500))
        await leap(SimulatedBattery.keep_alive_interval)
        assert self.made == before
        self._goes_on.set()
        with suppress(HomeAssistantError, BatteryError):
            await call
        for _ in range(50):
            await asyncio.sleep(0)
        return self.made - before


@pytest.fixture
async def renewals(home: Home, monkeypatch: pytest.MonkeyPatch, leap: Leap) -> Renewals:
    await home.set_power(1000)
    await leap(2)
    return Renewals(home, monkeypatch)


@on_no_socket
async def test_a_call_that_sets_it_makes_a_renewal_needless(
    renewals: Renewals, leap: Leap
) -> None:
    assert await renewals.due_in_a_call(leap) == 0


@on_no_socket
async def test_a_call_that_fails_does_not(renewals: Renewals, leap: Leap) -> None:
    """The former setpoint is still in force, and would be forgotten."""
    assert await renewals.due_in_a_call(leap, fails=True) == 1


@on_no_socket
async def test_no_two_renewals_in_a_row_are_needless(
    renewals: Renewals, leap: Leap
) -> None:
    """A Huawei takes another power without prolonging its command."""
    made = [await renewals.due_in_a_call(leap) for _ in range(4)]
    assert made == [0, 1, 0, 1]
