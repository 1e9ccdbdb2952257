"""Zeros of a device that starts are neither its values nor another controller's."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    RequestTimeoutError,
    StartingError,
)
from tests.drivers.conftest import Leap
from tests.home import each_on_a_socket
from tests.simulators import Simulator
from tests.simulators.http_server import Answer, Request

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture
async def battery(simulator: Simulator) -> AsyncIterator[Battery]:
    """Each kind of battery in turn, connected to its simulated device."""
    async with DRIVERS[simulator.type].from_setup(simulator.setup) as battery:
        yield battery


@contextmanager
def starting(simulator: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a device answer 0 for each of its numbers."""
    with monkeypatch.context() as patch:
        if simulator.type == "sessy":
            patch.setattr(simulator.server, "answer", _wiped(simulator.server.answer))
        else:
            units = simulator.server.units
            patch.setattr(units, "read", lambda *asked: [0] * asked[-1])
        yield


def _wiped(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Return the answers of a dongle with 0 for each number."""

    async def wiped(request: Request) -> Answer:
        real: Answer = await answer(request)
        return real._replace(body=_zeros(real.body))

    return wiped


def _zeros(body: Any) -> Any:
    match body:
        case dict():
            return {name: _zeros(each) for name, each in body.items()}
        case list():
            return [_zeros(each) for each in body]
        case int() | float() if not isinstance(body, bool):
            return 0
    return body


@each_on_a_socket
@pytest.mark.parametrize("power", [1000, 0])
async def test_zeros_of_a_device_that_starts_end_no_setpoint_and_are_not_shown(
    power: int,
    battery: Battery,
    simulator: Simulator,
    leap: Leap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = simulator.settings_words()
    await battery.set_power_setpoint(power)
    await battery.read()
    with starting(simulator, monkeypatch):
        for _ in range(3):
            leap(20)
            with suppress(BatteryError):
                readings = await battery.read()
                for key in ("battery_soc", "battery_power", "power_setpoint"):
                    assert readings.get(key) is None, key
            with suppress(RequestTimeoutError, StartingError):
                await battery.keep_alive()
    for _ in range(6):
        leap(100)
        grant = await battery.keep_alive()
    assert grant in (Grant(power), None)
    assert battery.held is not None
    assert battery.held.grant == Grant(power)
    await battery.release()
    assert simulator.mode == "automatic"
    assert simulator.settings_words() == before
