"""The past of a simulated device: weather, records, and the start where it ended."""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp
import pytest

from tests.simulators import SIMULATORS

from .past import STEP, Past, Record
from .simulator import Simulator

DAYS = (0.9, 0.2, 0.6)
"""Shares of a clear sky the day before yesterday, yesterday and today."""
HOUR = 13.5

frozen = pytest.mark.freeze_time("2026-11-28 12:33:20")
"""A record is due every five minutes of the wall clock, so it must stand still."""


def lived(
    name: str = "victron", days: tuple[float, ...] = DAYS
) -> tuple[Simulator, list[Record]]:
    """Return a device at half past one, with the records of its past."""
    past = Past(days, HOUR)
    kind: Any = SIMULATORS[name]
    simulator: Simulator = kind(kind.house(soc=40, **past.begin()))
    return simulator, past.live_through(simulator)


@frozen
@pytest.mark.parametrize("name", SIMULATORS)
def test_every_device_goes_on_where_its_past_ended(name: str) -> None:
    simulator, records = lived(name)
    plant, now = simulator.plant, simulator.measured()

    assert plant.hour == pytest.approx(HOUR, abs=0.01)
    assert plant.unix_time == pytest.approx(time.time(), abs=1)
    assert plant.speed == 1
    assert simulator.mode == "automatic"
    # The last record is less than five minutes old.
    assert now["soc"] == pytest.approx(records[-1]["soc"], abs=5)
    assert 0 <= now["energy_load"] - records[-1]["energy_load"] < 300


@frozen
@pytest.mark.parametrize("name", SIMULATORS)
def test_counters_never_fall_and_the_soc_is_possible(name: str) -> None:
    _, records = lived(name)

    for before, after in zip(records, records[1:], strict=False):
        assert after["at"] - before["at"] == STEP
        assert all(after[key] >= before[key] for key in after if "energy" in key)
    assert all(0 <= record["soc"] <= 100 for record in records)
    assert records[-1]["energy_charged"] > 1000


@frozen
@pytest.mark.parametrize("name", SIMULATORS)
def test_records_are_at_multiples_of_five_minutes_since_the_first_midnight(
    name: str,
) -> None:
    _, records = lived(name)
    hours = (time.time() - records[0]["at"]) / 3600

    assert all(record["at"] % STEP == 0 for record in records)
    assert hours == pytest.approx(24 * (len(DAYS) - 1) + HOUR, abs=0.1)
    assert time.time() - records[-1]["at"] < STEP + 5


@frozen
def test_each_day_has_its_weather() -> None:
    _, records = lived()
    day = int(24 * 3600 / STEP)
    harvested = [records[day * n]["energy_pv"] for n in range(len(DAYS))]
    first, second = (
        after - before for before, after in zip(harvested, harvested[1:], strict=False)
    )

    assert second / first == pytest.approx(DAYS[1] / DAYS[0], rel=0.4)


@frozen
def test_the_same_weather_gives_the_same_past() -> None:
    def values() -> list[float]:
        return [record["soc"] for record in lived()[1]][:200]

    assert values() == values()


@pytest.mark.usefixtures("socket_enabled")
async def test_the_command_line_shows_the_past() -> None:
    command = "-m tests.simulators sessy --soc 42 --time-of-day 9 --weather 0.5,1"
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command.split(), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        where = json.loads(await process.stdout.readline())
        state_url = where["state_url"]
        async with aiohttp.ClientSession() as session:
            async with session.get(state_url) as response:
                state = await response.json()
            async with session.get(state_url.replace("state", "past")) as response:
                records = (await response.json())["records"]
    finally:
        process.terminate()
        await process.wait()

    assert state["hour"] == pytest.approx(9, abs=0.1)
    assert len(records) == pytest.approx(33 * 12, abs=1)
    assert records[0]["soc"] == pytest.approx(42, abs=1)
    assert records[-1]["energy_pv"] <= state["energy_pv"]
