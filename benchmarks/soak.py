"""Months with a battery, in fast time."""

import asyncio
from collections.abc import Mapping
from typing import Final

from .devices import NAMES, line_of, running
from .fast_home import TOTALS, WARM_UP
from .tables import Column, Part, Result, Row, Table

DAYS: Final = {"victron": 61, "sun2000": 61}
"""Days to live with each battery; all of them at a time."""
AIMS: Final[Mapping[str, float]] = {
    "counted": 0.1,
    "late": 1.0,
    "memory": 1.0,
    "tasks": 0,
}
"""The most that each figure should be, in the unit of its column."""
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
        figures = await line_of(home)
    missed = missed_aims(figures)
    return {
        **figures,
        "battery": NAMES[battery_type],
        "compared": f"{figures['compared']} of {len(TOTALS)}",
        "missed": ", ".join(missed) or "none",
    }


def missed_aims(figures: Mapping[str, float | None]) -> list[str]:
    """Return the titles of the figures that are worse than their aim, or missing."""
    titles = {column.key: column.title.partition(",")[0] for column in COLUMNS}
    return [
        titles[key]
        for key, most in AIMS.items()
        if (figure := figures[key]) is None or figure > most
    ]


COLUMNS: Final = (
    Column("battery", "battery"),
    Column("days", "days", "d"),
    Column("compared", "totals compared"),
    Column("counted", "error of counters, %", ".3f"),
    Column("added up", "error of sums, %", ".2f"),
    Column("renewals", "renewals", "d"),
    Column("late", "latest renewal, s", ".2f"),
    Column("memory", "more memory, MB", ".1f"),
    Column("tasks", "more tasks", "d"),
    Column("missed", "aims missed"),
)

PART: Final = Part(
    "soak",
    "Months",
    (
        Table(
            "soak",
            f"Days in fast time, with {len(DAYS)} of the {len(NAMES)} kinds of battery: "
            "the clocks leap to the next thing to do. The battery is polled every five "
            "minutes, and held for twenty minutes of each day. Errors are those of the "
            "energy totals (charged, discharged, balance of the grid) against the "
            "simulated device, in %: where the device has a counter, and where Home "
            "Assistant adds up the power, which at a poll every five minutes is coarse. "
            "A total that has no sensor, or has not grown, cannot be compared. Memory "
            f"(of Home Assistant and the simulated device in one process) and tasks are "
            f"what came to it after the first {WARM_UP} days. "
            f"The aims: counters right to {AIMS['counted']:g} %, no renewal later than "
            f"{AIMS['late']:g} s, no more tasks, and at most {AIMS['memory']:g} MB more "
            "memory.",
            COLUMNS,
        ),
    ),
    run,
)
