"""Print what each driver costs, to compare before and after a change.

    .venv/bin/python -m benchmarks --json before.json
    .venv/bin/python -m benchmarks --against before.json

Each driver reads its simulator, another process, over a real socket of this machine,
with the pauses that the device needs. `ms` is CPU of this process, the median of
several warm polls. `×` is the same in plain requests, because only ratios mean something
on another machine: `plain` is one of the requests of a live poll, made by pymodbus,
pysolarmanv5 or aiohttp alone.

live     a poll of what the entities enabled by default need each time
naive    the same poll with a request for each register: what planning saves
all      a poll of all that the battery can measure
update   a live poll in Home Assistant, until states are written
set-up   requests: connecting, and the first poll of all; else: of an entry in Home
         Assistant after a restart, until its states are written, and its time in s
frames   Python frames on the stack from Battery.read (included) to the call of the
         library, all of them own code, and to where asyncio sends on the socket
"""

import argparse
import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
import logging
from pathlib import Path
import sys

from tests.simulators import SIMULATORS

from .driver import Figures, measure
from .libraries import Setup

type Run = dict[str, Figures]  # by battery type


async def _figures(battery_type: str, rounds: int) -> Figures:
    async with _simulated(battery_type) as setup, _simulated(battery_type) as other:
        return await measure(battery_type, setup, other, rounds)


@asynccontextmanager
async def _simulated(battery_type: str) -> AsyncIterator[Setup]:
    """Run a device in a process of its own; yield what a user would enter."""
    command = (sys.executable, "-m", "tests.simulators", battery_type)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())["setup"]
    finally:
        process.terminate()
        await process.wait()


def _table(run: Run) -> str:
    """Return the figures of a run, a line a driver, with their names above."""
    names = next(iter(run.values()), {})
    rows = [("", name) for name in zip(*map(str.split, names), strict=True)]
    rows += [
        (battery_type, tuple(f"{value:.3g}" for value in figures.values()))
        for battery_type, figures in run.items()
    ]
    return "\n".join(
        f"{title:14}" + "".join(f"{cell:>9}" for cell in cells) for title, cells in rows
    )


def _ratios(before: Run, after: Run) -> Run:
    """Return after ÷ before, of the drivers and the figures that are in both."""
    return {
        each: {
            name: value / before[each][name]
            for name, value in after[each].items()
            if name in before[each]
        }
        for each in after
        if each in before
    }


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("types", nargs="*", metavar="TYPE", help="battery types")
    parser.add_argument("--rounds", type=int, default=15, help="polls of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--against", type=Path, metavar="FILE", help="figures kept")
    arguments = parser.parse_args()
    # Home Assistant warns of each integration that is not its own.
    logging.disable(logging.WARNING)
    now: Run = {
        battery_type: asyncio.run(_figures(battery_type, arguments.rounds))
        for battery_type in arguments.types or SIMULATORS
    }
    print(_table(now))
    if arguments.against:
        before: Run = json.loads(arguments.against.read_text())
        print(f"\nBefore:\n{_table(before)}")
        print(f"\nNow ÷ before:\n{_table(_ratios(before, now))}")
    if arguments.json:
        arguments.json.write_text(json.dumps(now, indent=2) + "\n")


if __name__ == "__main__":
    main()
