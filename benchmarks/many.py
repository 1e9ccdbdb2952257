"""Many batteries in one Home Assistant."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
import subprocess
from typing import Any, Final

from .crowded import COARSE, FINE, FINE_SPAN, LEARNING
from .devices import ROOT, ask, line_of, running
from .tables import Column, Part, Result, Row, Table

COUNTS: Final = (10, 30, 100)
MOST: Final = COUNTS[-1]
HELD: Final = 10
"""Number of batteries that are held meanwhile."""
SECONDS: Final = 60.0
SHORT: Final = 10.0
RUNS: Final = 2
"""Runs of each commit with the most batteries, in turn."""
EARLIER: Final = "210f0f4"
"""The commit before the drivers were redesigned, to compare with."""
ARCHIVES: Final = ROOT / ".cache" / "benchmarks" / "commits"
RENEWED: Final = ("victron", 5.0)
"""The battery type whose every renewal is a write, and its interval, s."""

type Figures = dict[str, float]


async def run(short: bool) -> Result:
    """Measure with few batteries, then with many beside the earlier commit."""
    seconds = SHORT if short else SECONDS
    counts = COUNTS[:1] if short else COUNTS
    rows: list[Row] = [
        {"batteries": count, **await _measured(ROOT, count, seconds)}
        for count in counts[:-1] or counts
    ]
    now, before = await _beside(counts[-1], seconds, 1 if short else RUNS)
    if not short:
        rows.append({"batteries": MOST, **now})
    alone = await _measured(ROOT, 1, 0.1, "victron")
    set_ups: list[Row] = [{"batteries": "one Victron", **alone}]
    set_ups += [{**row, "batteries": str(row["batteries"])} for row in rows]
    compared: list[Row] = [
        {"commit": "this", **now},
        {"commit": EARLIER, **before},
        {
            "commit": "this ÷ that",
            **{key: now[key] / before[key] for key in ("cpu", "states", "memory")},
        },
    ]
    return {"many": rows, "set up": set_ups, "compared": compared}


async def _beside(count: int, seconds: float, runs: int) -> tuple[Figures, Figures]:
    """Return medians of this commit and of the earlier one, measured in turn."""
    folder = archive(EARLIER)
    now, before = [], []
    for _ in range(runs):
        now.append(await _measured(ROOT, count, seconds))
        before.append(await _measured(folder, count, seconds))
    return _medians(now), _medians(before)


def _medians(runs: Sequence[Figures]) -> Figures:
    return {key: median(each[key] for each in runs) for key in runs[0]}


async def _measured(folder: Path, count: int, seconds: float, *kinds: str) -> Figures:
    """Run Home Assistant with the integration in a folder, and so many batteries."""
    async with (
        running("benchmarks.crowd", str(count), *kinds) as crowd,
        running("benchmarks.crowded", folder=folder) as home,
    ):
        batteries = await line_of(crowd)
        held = min(HELD, count) if not kinds else 0
        task = {"batteries": batteries, "held": held, "seconds": seconds}
        figures: Figures = await ask(home, task)
        writes = await ask(crowd, {})
    late = lateness(batteries[:held], writes)
    return figures if late is None else figures | {"late": 1000 * late}


def lateness(
    batteries: Sequence[dict[str, Any]], writes: Sequence[Sequence[float]]
) -> float | None:
    """Return how late the latest renewal was, s; None where nothing is renewed."""
    kind, interval = RENEWED
    gaps = [
        after - before
        for battery, times in zip(batteries, writes, strict=False)
        if battery["type"] == kind
        # The last write releases.
        for before, after in pairwise(times[:-1])
    ]
    return max(gaps) - interval if gaps else None


def archive(commit: str) -> Path:
    """Return a folder with the integration of a commit, and with these benchmarks."""
    folder = ARCHIVES / commit
    if not (folder / "benchmarks").exists():
        folder.mkdir(parents=True, exist_ok=True)
        files = subprocess.check_output(
            ("git", "archive", commit, "custom_components"), cwd=ROOT
        )
        subprocess.run(("tar", "-x", "-C", str(folder)), input=files, check=True)
        (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    return folder


PART: Final = Part(
    "many",
    "Many batteries",
    (
        Table(
            "many",
            f"Batteries of all kinds in one Home Assistant, polled every five seconds; "
            f"{HELD} of them are held. They have learned before, as in the first {LEARNING} "
            "minutes, which reads their devices answer. CPU and states are for a minute; the CPU is that of "
            "Home Assistant's whole process. A stall is a time in which nothing else in "
            "Home Assistant can run; own CPU is the longest in which it worked itself, and "
            "did not wait for a machine that was busy. Stalls show in a timer that is "
            f"late: one every {1000 * FINE:g} ms for {FINE_SPAN:g} s, in which every battery "
            "is read as once a minute, and before, while CPU is measured, one every "
            f"{1000 * COARSE:g} ms, which would cost too much if it were finer. A stall is "
            "shown too short by up to that time. The latest renewal is that of a Victron, "
            "which is renewed every five seconds.",
            (
                Column("batteries", "batteries", "d"),
                Column("cpu", "CPU, s a minute", ".1f"),
                Column("stall", "longest stall, ms", ".0f"),
                Column("stall_cpu", "own CPU, ms", ".0f"),
                Column("memory", "memory, MB", ".0f"),
                Column("states", "states a minute", ".0f"),
                Column("missed", "missed polls", ".0f"),
                Column("late", "latest renewal, ms", ".0f"),
            ),
        ),
        Table(
            "set up",
            "The first set-up of these batteries, all at once. Stalls are measured with "
            f"the timer of {1000 * FINE:g} ms. Python stops everything now and then to "
            "collect garbage, the longer the more objects there are. All that Home "
            "Assistant has imported before the set-up is kept out of that here (by "
            "`gc.freeze`), which Home Assistant does not do; the objects of the batteries "
            "are in it. The collection at set-up is the longest that happened, and part of "
            "the stalls. A full collection, of the imported objects too, was made at the "
            "end and is in no other figure: in your Home Assistant such a stall may come "
            "at any time, with or without batteries.",
            (
                Column("batteries", "batteries"),
                Column("set_up", "set-up, s", ".1f"),
                Column("set_up_stall", "longest stall, ms", ".0f"),
                Column("set_up_stall_cpu", "own CPU, ms", ".0f"),
                Column("set_up_collection", "collection at set-up, ms", ".0f"),
                Column("full_collection", "full collection, ms", ".0f"),
                Column("peak", "most memory, MB", ".0f"),
            ),
        ),
        Table(
            "compared",
            f"{MOST} batteries beside commit {EARLIER}, which was before the drivers were "
            "redesigned: both with the same simulated devices, one after the other and "
            "twice. Of the earlier commit, not every battery is read as once a minute in "
            f"the {FINE_SPAN:g} s: there is no way to ask for it.",
            (
                Column("commit", "commit"),
                Column("cpu", "CPU, s a minute", ".2f"),
                Column("stall_cpu", "longest stall, own CPU, ms", ".0f"),
                Column("set_up_stall_cpu", "at set-up, ms", ".0f"),
                Column("memory", "memory, MB", ".2f"),
                Column("states", "states a minute", ".2f"),
            ),
        ),
    ),
    run,
)
