"""Tests of a real Home Assistant that is killed at random moments, with all six held.

The moments come from the seed in the name of a test, and are the same each time as far
as the machine is.
"""

import asyncio
from contextlib import suppress
from random import Random
from typing import Final

import aiohttp
import pytest

from tests.control.real_home_assistant import RealHomeAssistant
from tests.control.test_real_home_assistant import (  # noqa: F401
    Devices,
    changed,
    controlled,
    devices,
    home_assistant,
    kill,
    settings,
    start_again,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

KILLS: Final = 7
"""Of each seed; with all of them more than 20."""
POWERS: Final = (600, -400, 0)
"""W"""
LONGEST: Final = {"setting": 1.0, "holding": 8.0, "starting": 10.0}
"""Seconds from the beginning of what is killed to its end, by that."""


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_each_kill_the_next_start_restores_all_batteries(
    home_assistant: RealHomeAssistant,  # noqa: F811
    devices: Devices,  # noqa: F811
    seed: int,
) -> None:
    random = Random(seed)
    original = settings(devices)
    await home_assistant.start()
    await home_assistant.add(devices.values())
    for number in range(KILLS):
        what = random.choice(sorted(LONGEST))
        after = random.uniform(0, LONGEST[what])
        power = random.choice(POWERS)
        where = f"seed {seed}, kill {number}, {after:.2f} s into {what} at {power} W"
        if what == "setting":
            await set_and_kill(home_assistant, devices, power, after)
        else:
            await home_assistant.set_power(devices.values(), power)
            assert controlled(devices) == set(devices), where
            if what == "holding":
                await asyncio.sleep(after)
            await kill(home_assistant, devices)
        if what == "starting":
            await start_and_kill(home_assistant, devices, after)

        await start_again(home_assistant, devices)
        assert controlled(devices) == set(), where
        assert changed(original, devices) == {}, where


async def set_and_kill(
    home_assistant: RealHomeAssistant,  # noqa: F811
    devices: Devices,  # noqa: F811
    power: int,
    after: float,
) -> None:
    """Kill it so many seconds after a setpoint was asked for."""
    setting = asyncio.ensure_future(home_assistant.set_power(devices.values(), power))
    await asyncio.sleep(after)
    await kill(home_assistant, devices)
    with suppress(aiohttp.ClientError, AssertionError, OSError):
        await setting


async def start_and_kill(
    home_assistant: RealHomeAssistant,  # noqa: F811
    devices: Devices,  # noqa: F811
    after: float,
) -> None:
    """Start it, and kill it so many seconds later."""
    starting = asyncio.ensure_future(home_assistant.start())
    await asyncio.sleep(after)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    await kill(home_assistant, devices)
