"""A simulated device of each kind, and a real Home Assistant for them all.

The fixtures are for tests in which Home Assistant is killed: nothing but the devices is
simulated.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.demonstration.waiting import wait_for
from tests.home import LOAD
from tests.simulators import SIMULATORS, ManualClock, Simulator
from tests.simulators.modbus_server import TcpServer

from .real_home_assistant import RealHomeAssistant

type Devices = Mapping[str, Simulator]
type Words = dict[str, Any]

TOLERANCE: Final = 100
"""W; a Deye charges in whole amperes, and an inverter loses a little."""


@pytest.fixture
async def home_assistant(
    socket_enabled: None, tmp_path: Path
) -> AsyncIterator[RealHomeAssistant]:
    async with RealHomeAssistant(tmp_path) as process:
        yield process


@pytest.fixture
async def devices(socket_enabled: None, clock: ManualClock) -> AsyncIterator[Devices]:
    """Each kind of battery, each in a house of its own, and all by one clock."""
    async with AsyncExitStack() as stack:
        started: dict[str, Simulator] = {}
        for name in SIMULATORS:
            kind: Any = SIMULATORS[name]  # each has options of its own
            house = kind.house(clock=clock)
            house.fixed_pv, house.fixed_load = 0.0, LOAD
            started[name] = await stack.enter_async_context(kind(house))
        yield started


def controlled(devices: Devices) -> set[str]:
    return {
        name
        for name, device in devices.items()
        if device.state()["mode"] == "controlled"
    }


def at_power(devices: Devices, power: float) -> set[str]:
    """Return those whose battery has about this power, W, + = charging."""
    return {
        name
        for name, device in devices.items()
        if abs(device.state()["battery_power"] - power) < TOLERANCE
    }


def settings(devices: Devices) -> Words:
    """Return every word that can be set, of all devices."""
    return {
        f"{name} {place}": word
        for name, device in devices.items()
        for place, word in device.settings_words().items()
    }


def changed(original: Words, devices: Devices) -> dict[str, tuple[Any, Any]]:
    """Return the words that have changed: the original, and the present one."""
    now = settings(devices)
    return {
        place: (original.get(place), now.get(place))
        for place in original | now
        if original.get(place) != now.get(place)
    }


async def kill(home_assistant: RealHomeAssistant, devices: Devices) -> None:
    """Kill it, and wait until the devices have handled its last requests.

    A request that is still on its way would otherwise be a renewal after its end.
    """
    await home_assistant.kill()

    async def observe() -> int:
        servers = [device.server for device in devices.values()]
        return sum(each.clients for each in servers if isinstance(each, TcpServer))

    await wait_for(
        "the connections to end",
        observe,
        lambda seen: seen == 0,
        seconds=30,
        pause=0.05,
    )
