"""Simulated devices in processes of their own, each behind a relay."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
import json
import os
from pathlib import Path
import sys
from typing import Any, Final, Protocol

from .framing import Request, framing_of
from .relay import LONGEST_LINE, Seen

ROOT: Final = Path(__file__).parents[1]

NAMES: Final[Mapping[str, str]] = {
    "victron": "Victron",
    "sun2000": "Huawei",
    "deye_modbus": "Deye by Modbus",
    "deye_solarman": "Deye by Solarman",
    "sessy": "Sessy",
    "sma": "SMA",
}
"""The name of each battery type in the tables: its make."""

type Setup = Mapping[str, Any]
"""Settings that a user would enter to reach a device."""


@asynccontextmanager
async def running(
    *module: str,
    python: str = sys.executable,
    folder: Path = ROOT,
    path: str = "",
) -> AsyncIterator[Process]:
    """Run a module with its arguments in another process, until the end.

    It is run in a `folder`, and imports what is there, then what is in `path`.
    """
    process = await asyncio.create_subprocess_exec(
        *(python, "-m", *module),
        stdin=PIPE,
        stdout=PIPE,
        limit=LONGEST_LINE,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def line_of(process: Process) -> Any:
    """Return the next line of JSON that a process prints; raises EOFError at the end."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise EOFError("the process has ended")
    return json.loads(line)


async def ask(process: Process, wish: object) -> Any:
    """Give a process a line of JSON, and return the line that it answers."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(wish).encode() + b"\n")
    await process.stdin.drain()
    return await line_of(process)


class Counted(Protocol):
    """A simulated device whose requests are counted."""

    @property
    def battery_type(self) -> str:
        """Its battery type."""

    @property
    def setup(self) -> Setup:
        """The settings that a user would enter to reach it."""

    async def take(self) -> list[Seen]:
        """Return the requests since the last time, oldest first."""


class Device:
    """A simulated device, reached through its relay."""

    def __init__(self, battery_type: str, setup: Setup, relay: Process) -> None:
        """Take what a user would enter, and the process of the relay."""
        self.battery_type = battery_type
        self.setup = setup
        self._relay = relay

    async def answer_after(self, seconds: float) -> None:
        """Delay all answers from now on."""
        await ask(self._relay, {"answer": seconds})

    async def take(self) -> list[Seen]:
        """Return the requests since the last time, oldest first."""
        return [
            Seen(Request(*request), *times_and_bytes)
            for request, *times_and_bytes in await ask(self._relay, {"log": True})
        ]


@asynccontextmanager
async def simulated(battery_type: str, *options: str) -> AsyncIterator[Device]:
    """Run a device; `options` are those of the simulator's command line."""
    async with running("tests.simulators", battery_type, *options) as simulator:
        setup = (await line_of(simulator))["setup"]
        where = (framing_of(battery_type), setup["host"], str(setup["port"]))
        async with running("benchmarks.relay", *where) as relay:
            port = (await line_of(relay))["port"]
            yield Device(battery_type, {**setup, "port": port}, relay)
