"""Fixtures of the driver library's own tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.measurements import MEASUREMENTS, Poll
from tests.home import ON_A_SOCKET, house_of
from tests.simulators import SIMULATORS, ManualClock, Simulator

type Leap = Callable[[float], None]
type Pauses = list[float]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that other tasks bring about."""
    while not condition():
        await asyncio.sleep(0.001)


MODBUS_DEVICES: Final = [name for name in ON_A_SOCKET if name != "sessy"]
"""The kinds of battery that speak Modbus."""


def fast_keys(battery: Battery) -> list[str]:
    """Return the keys that Home Assistant shows at first, and asks for at each poll."""
    return [
        key
        for key in battery.measurements
        if MEASUREMENTS[key].enabled and battery.poll_rate(key) is Poll.FAST
    ]


@pytest.fixture(params=MODBUS_DEVICES)
async def modbus_simulator(
    request: pytest.FixtureRequest, clock: ManualClock
) -> AsyncIterator[Simulator]:
    """Yield each device that speaks Modbus in turn."""
    device: Any = SIMULATORS[request.param]
    async with device(house_of(device, clock)) as simulator:
        yield simulator


@pytest.fixture
async def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    """Return a function that puts the event loop's clock forward, s."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)

    def jump(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    return jump


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Return the pauses that tasks make, s; they end at once instead."""
    noted: Pauses = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        noted.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return noted
