"""The simulated devices: one process for each type there is."""

from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import sys
from typing import Any, NamedTuple, cast

import aiohttp

from tests.simulators import SIMULATORS

from . import ROOT, DemoError
from .processes import Child
from .waiting import wait_for

TYPES: tuple[str, ...] = tuple(SIMULATORS)


class Place(NamedTuple):
    """The address where a simulated device listens; port 0 is any free one."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, kw_only=True)
class Device:
    """A simulated device that listens, as it described itself."""

    type: str
    port: int
    setup: dict[str, Any]
    state_url: str
    child: Child


async def start_device(
    battery_type: str,
    folder: Path,
    place: Place | None = None,
    options: Sequence[str] = (),
) -> Device:
    """Start the simulator of this type, on any free port unless a place is given.

    `options` are further ones of its command line.
    """
    host, port = place or Place()
    out = folder / f"{battery_type}.json"
    command = [sys.executable, "-m", "tests.simulators", battery_type]
    child = await Child.start(
        f"The simulated {battery_type}",
        [*command, "--host", host, "--port", str(port), *options],
        folder=ROOT,
        out=out,
        err=out.with_suffix(".log"),
        environment={"PYTHONUNBUFFERED": "1"},
    )
    try:
        described = json.loads(await _first_line(child, battery_type))
    except BaseException:
        await child.kill()
        raise
    return Device(
        type=described["type"],
        port=described["port"],
        setup=described["setup"],
        state_url=described["state_url"],
        child=child,
    )


async def _first_line(child: Child, battery_type: str) -> str:
    async def observe() -> str:
        text = child.out.read_text()
        if child.exit_status is not None and not text:
            log = child.out.with_suffix(".log")
            raise DemoError(
                f"{child.name} did not start:\n{log.read_text(errors='replace')}"
            )
        return text

    text = await wait_for(
        f"the simulated {battery_type} to listen",
        observe,
        lambda seen: "\n" in seen,
        seconds=30,
        pause=0.1,
    )
    return text.splitlines()[0]


async def read_state(session: aiohttp.ClientSession, device: Device) -> dict[str, Any]:
    """Return the state of the simulator itself, not through Home Assistant."""
    async with session.get(device.state_url) as response:
        response.raise_for_status()
        return cast(dict[str, Any], await response.json())
