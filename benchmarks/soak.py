"""Months with a battery, in fast time."""

import asyncio
from typing import Final

from .devices import line_of, running
from .tables import Column, Part, Result, Row, Table

DAYS: Final = {"victron": 61, "sun2000": 61}
"""Days to live with each battery; all of them at a time."""
SHORT: Final = 6
"""Days of a short run."""


async def run(short: bool) -> Result:
    """Live with each battery."""
    rows = await asyncio.gather(
        *(
            _row(battery_type, SHORT if short else days)
            for battery_type, days in DAYS.items()
        )
    )
    return {"soak": [*rows]}


async def _row(battery_type: str, days: int) -> Row:
    async with running("benchmarks.fast_home", battery_type, str(days)) as home:
        return {"battery": battery_type, **await line_of(home)}


PART: Final = Part(
    "soak",
    "Months",
    (
        Table(
            "soak",
            "Days in fast time: the clocks leap to the next thing to do. The battery is "
            "polled every five minutes, and held for twenty minutes of each day. Errors "
            "are those of the energy totals (charged, discharged, balance of the grid) "
            "against the simulated device, in %: where the device has a counter, and "
            "where Home Assistant adds up the power, which at a poll every five minutes "
            "is coarse. Memory and tasks are what came to it after the first days.",
            (
                Column("battery", "battery"),
                Column("days", "days", "d"),
                Column("counted", "error of counters, %", ".3f"),
                Column("added up", "error of sums, %", ".2f"),
                Column("renewals", "renewals", "d"),
                Column("late", "latest renewal, s", ".2f"),
                Column("memory", "more memory, MB", ".1f"),
                Column("tasks", "more tasks", "d"),
            ),
        ),
    ),
    run,
)
