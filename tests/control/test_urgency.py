"""A setpoint is in time, however slow the device and however much is being read."""

import asyncio
from itertools import pairwise
from typing import Any, Final

from pymodbus.client import AsyncModbusTcpClient
import pytest

from custom_components.homebattery import control as control_module
from custom_components.homebattery.drivers import VictronInverter
from custom_components.homebattery.drivers.battery import Reason
from custom_components.homebattery.drivers.modbus import ModbusTcpConnection
from tests.home import Home, MakeHome
from tests.simulators import (
    HuaweiSimulator,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from tests.simulators.modbus import Read, Refusal, Write

type Entry = Read | Write | Refusal

CONTROL_BLOCK: Final = 37
POLL: Final = "poll"
SLOW: Final = 0.15
"""Seconds that each answer takes; a poll of everything takes more than ten."""


def is_setpoint(entry: Entry) -> bool:
    return isinstance(entry, Write) and entry.address == CONTROL_BLOCK


async def poll_everything(home: Home) -> None:
    """Read all there is, request by request, as a first poll does."""
    await home.data.battery.read()


async def test_keep_alive_is_in_time_while_a_slow_device_is_polled(
    make_home: MakeHome, victron: VictronSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaled: answers take 0.15 s for 3 s, renewals are due every 0.25 s for 5 s."""
    monkeypatch.setattr(VictronInverter, "keep_alive_interval", 0.25)
    monkeypatch.setattr(control_module, "PATIENCE", 0.05)
    home = make_home(victron)
    await home.set_up()
    await home.set_power(1000)
    await victron.misbehave("delay", seconds=SLOW)
    victron.server.traffic.clear()

    await poll_everything(home)

    log = list(victron.server.traffic.log)
    setpoints = [at for at, entry in enumerate(log) if is_setpoint(entry)]
    assert len(log) - len(setpoints) > 10
    # Between two renewals there is time for one or two answers, besides the one
    # under way and one of a busy test machine's.
    assert max(b - a for a, b in pairwise([-1, *setpoints])) <= 5
    assert len(setpoints) >= 3
    assert not victron.state()["device"]["lapsed"]


@pytest.fixture
def askers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the names of the tasks that ask, as they do."""
    names: list[str] = []
    connected = ModbusTcpConnection._connected_client

    async def note(connection: ModbusTcpConnection) -> AsyncModbusTcpClient:
        task = asyncio.current_task()
        names.append(task.get_name() if task else "")
        return await connected(connection)

    monkeypatch.setattr(ModbusTcpConnection, "_connected_client", note)
    return names


async def test_setpoint_waits_for_no_more_than_the_request_under_way(
    victron_home: Home, victron: VictronSimulator, askers: list[str]
) -> None:
    await victron.misbehave("delay", seconds=SLOW)
    poll = asyncio.create_task(poll_everything(victron_home), name=POLL)
    while len(askers) < 2:
        await asyncio.sleep(0.01)
    askers.clear()
    victron.server.traffic.clear()

    await victron_home.data.control.async_set_power(1000)

    setpoint = [is_setpoint(entry) for entry in victron.server.traffic.log].index(True)
    # The first answer is that of the request that was under way.
    assert POLL not in askers[:setpoint]
    await poll
    assert POLL in askers


async def test_setpoint_is_not_kept_waiting_by_another_battery_at_the_address(
    make_home: MakeHome, victron: VictronSimulator, askers: list[str]
) -> None:
    """Two who share a connection, such as two inverters behind one gateway."""
    home = make_home(victron)
    await home.set_up()
    async with VictronInverter.from_setup(victron.setup) as other:
        await victron.misbehave("delay", seconds=SLOW)
        polls = [asyncio.create_task(other.read(), name=POLL) for _ in range(3)]
        await asyncio.sleep(SLOW)
        askers.clear()
        victron.server.traffic.clear()

        await home.data.control.async_set_power(1000)

        log = list(victron.server.traffic.log)
        setpoint = [is_setpoint(entry) for entry in log].index(True)
        assert POLL not in askers[:setpoint]
        await asyncio.gather(*polls)


async def test_readings_that_do_not_come_make_a_renewal_safe_not_late(
    victron_home: Home, victron: VictronSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of loads and limits for 15 s: the battery is held."""
    await victron_home.set_power(1000)
    battery: Any = victron_home.data.battery

    async def nothing(*_: object, **_again: object) -> None:
        """Read nothing, as a device that refuses to be read."""

    monkeypatch.setattr(VictronInverter, "_read_into", nothing)
    seen_at = battery._seen_at
    for name in seen_at:
        seen_at[name] -= 16

    assert await battery.keep_alive() == 0
    assert battery.limited_by is Reason.UNKNOWN_STATE
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
