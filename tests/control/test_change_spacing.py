"""Spacing of setpoints for a device that cannot follow fast changes.

New commands each 10 to 20 s made a Huawei curtail its PV.
"""

from typing import Final

import pytest

from tests.home import Home, Warp
from tests.simulators import HuaweiSimulator

pytestmark = [
    pytest.mark.usefixtures("few_sensors"),
    pytest.mark.parametrize("simulator", ["sun2000"], indirect=True),
]

INTERVAL: Final = 20


def forced(home: Home) -> float:
    """Return the power that the device is forced to, W."""
    return float(home.simulator.state()["device"]["forcible_power"])


async def test_another_power_waits_its_turn_and_the_last_one_counts(
    home: Home, warp: Warp
) -> None:
    await home.set_power(600)
    await warp(5)
    for power in (700, 900, 800):
        await home.set_power(power)
        assert forced(home) == 600
        assert home.state("control_status") == "pending"
        assert home.state_of("control_status").attributes["reason"] is None
        await warp(2)
    await warp(INTERVAL - 12)
    assert forced(home) == 600
    await warp(4)
    assert forced(home) == 800
    for _ in range(2):
        await warp(6)
    assert home.state("control_status") == "following"


async def test_a_power_that_comes_late_does_not_wait(home: Home, warp: Warp) -> None:
    await home.set_power(600)
    for power in (700, 800, 900):
        await warp(INTERVAL)
        await home.set_power(power)
        assert forced(home) == power


async def test_the_same_power_again_neither_waits_nor_delays(
    home: Home, warp: Warp
) -> None:
    await home.set_power(600)
    await warp(INTERVAL - 2)
    await home.set_power(600)
    assert home.state("control_status") != "pending"
    await warp(2)
    await home.set_power(700)
    assert forced(home) == 700


@pytest.mark.parametrize("power", [-600, 0])
async def test_a_reversal_and_a_hold_do_not_wait(home: Home, power: int) -> None:
    await home.set_power(600)
    await home.set_power(power)
    assert forced(home) == power
    assert home.data.control.granted_power == power


@pytest.mark.parametrize("detour", ["hold", "release", "hold and release"])
async def test_another_power_waits_also_after_a_hold_and_a_release(
    home: Home, warp: Warp, detour: str
) -> None:
    await home.set_power(600)
    await warp(5)
    if "hold" in detour:
        await home.set_power(0)
    if "release" in detour:
        await home.choose("automatic")
    assert forced(home) == 0
    await home.set_power(800)
    await warp(INTERVAL - 7)
    assert forced(home) == 0
    assert home.state("control_status") == "pending"
    await warp(4)
    assert forced(home) == 800
    for _ in range(2):
        await warp(6)
    assert home.state("control_status") == "following"


async def test_a_reversal_does_not_wait_after_a_hold(home: Home) -> None:
    for power in (600, 0, -600):
        await home.set_power(power)
        assert forced(home) == power


async def test_a_setpoint_that_waits_after_a_release_can_be_released(
    home: Home, warp: Warp
) -> None:
    """Nothing of it is written, then or later."""
    await home.set_power(600)
    await home.choose("automatic")
    assert isinstance(home.simulator, HuaweiSimulator)
    written = home.simulator.server.traffic.writes
    written.clear()
    await home.set_power(800)
    await home.choose("automatic")
    await warp(INTERVAL + 5)
    assert written == []
    assert home.state("control_status") == "automatic"


@pytest.mark.parametrize("between", [None, 0, "automatic"])
async def test_a_setpoint_that_waits_is_the_one_that_is_shown(
    home: Home, warp: Warp, between: int | str | None
) -> None:
    """The user sees what was asked for, and that it is not in force yet."""
    await home.set_power(600)
    if between == "automatic":
        await home.choose("automatic")
        assert home.state("power_setpoint") == "unknown"
    elif between is not None:
        await home.set_power(0)
    await home.set_power(800)
    for _ in range(2):
        assert home.state("power_setpoint") == "800"
        assert home.state("control_mode") == "manual"
        assert home.state("control_status") == "pending"
        assert forced(home) == (600 if between is None else 0)
        await warp(10)
    await warp(INTERVAL - 18)
    assert forced(home) == 800
    assert home.state("power_setpoint") == "800"


async def test_a_release_does_not_wait(home: Home, warp: Warp) -> None:
    await home.set_power(600)
    await home.set_power(800)
    await home.choose("automatic")
    assert forced(home) == 0
    assert home.state("control_status") == "automatic"
    await warp(INTERVAL + 5)
    assert forced(home) == 0


async def test_a_setpoint_that_waits_is_renewed_as_it_was(
    home: Home, warp: Warp
) -> None:
    """It is in force until the new one has its turn."""
    await home.set_power(600)
    await home.set_power(800)
    await home.data.battery.keep_alive()
    assert forced(home) == 600
