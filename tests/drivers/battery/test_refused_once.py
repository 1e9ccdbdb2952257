"""A battery that refuses a whole poll once is held, renewed and released as before.

Registers that a poll does not get are remembered as missing, so that they are not asked
for again and again. Holding and releasing a battery does not rely on that: it asks the
device.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import pytest

from custom_components.homebattery.drivers import DRIVERS, VictronInverter
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.errors import DeviceRefusedError
from tests.drivers.conftest import Leap
from tests.home import each_on_a_socket
from tests.simulators import Simulator, VictronSimulator
from tests.simulators.modbus import ILLEGAL_ADDRESS, Refused

pytestmark = pytest.mark.usefixtures("socket_enabled")

OLD: Final = 100.0
"""Seconds after which all conditions of a setpoint must have been read again."""

BATTERY_UNIT: Final = 225
LIMITS: Final = range(305, 309)
"""Registers of the BMS' limits in the battery service of a GX."""

type Refuse = Callable[[], Awaitable[None]]


@pytest.fixture
async def battery(simulator: Simulator) -> AsyncIterator[Battery]:
    """Each kind of battery in turn, connected to its simulated device."""
    async with DRIVERS[simulator.type].from_setup(simulator.setup) as battery:
        yield battery


@pytest.fixture
def refuse_a_poll(battery: Battery, simulator: Simulator) -> Refuse:
    """Return a coroutine that polls all, while the device refuses every register."""
    everything = battery.measurements

    async def refuse(count: int) -> None:
        if simulator.type == "sessy":
            await simulator.misbehave("error", status=404, count=count)
        else:
            await simulator.misbehave("exception", code=2, count=count)

    async def poll() -> None:
        await refuse(1_000_000)
        with suppress(DeviceRefusedError):
            assert "battery_soc" in (await battery.read(everything)).failures
        await refuse(0)

    return poll


def power(simulator: Simulator) -> float:
    return float(simulator.state()["battery_power"])


@each_on_a_socket
async def test_battery_is_held_and_released(
    battery: Battery, simulator: Simulator, refuse_a_poll: Refuse
) -> None:
    before = simulator.settings_words()
    await refuse_a_poll()
    assert await battery.set_power_setpoint(1000) == Grant(1000)
    assert power(simulator) == pytest.approx(1000, rel=0.1)
    await battery.release()
    assert battery.snapshot is None
    assert simulator.mode == "automatic"
    assert simulator.settings_words() == before


@each_on_a_socket
async def test_battery_that_is_held_is_released(
    battery: Battery, simulator: Simulator, refuse_a_poll: Refuse
) -> None:
    before = simulator.settings_words()
    await battery.set_power_setpoint(0)
    await refuse_a_poll()
    await battery.release()
    assert battery.snapshot is None
    assert simulator.mode == "automatic"
    assert simulator.settings_words() == before


@each_on_a_socket
async def test_setpoint_is_renewed_and_changed(
    battery: Battery, simulator: Simulator, refuse_a_poll: Refuse, leap: Leap
) -> None:
    await battery.set_power_setpoint(1000)
    await refuse_a_poll()
    leap(OLD)
    assert await battery.keep_alive() in (Grant(1000), None)
    assert power(simulator) == pytest.approx(1000, rel=0.1)
    await refuse_a_poll()
    leap(OLD)
    assert (await battery.set_power_setpoint(-500)).power == -500
    assert power(simulator) == pytest.approx(-500, rel=0.1)
    await battery.release()
    assert simulator.mode == "automatic"


@each_on_a_socket
async def test_setpoint_from_before_a_restart_is_known_and_released(
    battery: Battery, simulator: Simulator, refuse_a_poll: Refuse
) -> None:
    await battery.set_power_setpoint(1000)
    await refuse_a_poll()
    assert await battery.is_held()
    await battery.release()
    assert simulator.mode == "automatic"


async def test_an_absent_register_costs_a_held_setpoint_few_requests(
    victron: VictronSimulator, leap: Leap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GX without its battery's limits is held as well, with few requests for them."""
    units = victron.server.units
    read = units.read
    refused = 0

    def refuse_limits(unit: int, address: int, count: int) -> Sequence[int]:
        nonlocal refused
        if (
            unit == BATTERY_UNIT
            and address <= LIMITS.stop
            and address + count > LIMITS[0]
        ):
            refused += 1
            raise Refused(ILLEGAL_ADDRESS)
        return read(unit, address, count)

    monkeypatch.setattr(units, "read", refuse_limits)
    async with VictronInverter.from_setup(victron.setup) as battery:
        await battery.read()
        assert await battery.set_power_setpoint(1000) == Grant(1000)
        for _ in range(2):
            leap(10)
            await battery.keep_alive()
        refused = 0
        for _ in range(3):
            leap(10)
            assert await battery.keep_alive() == Grant(1000)
        assert refused == 0
        await battery.release()
