"""The simulated devices: one process for each type there is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import json
from pathlib import Path
import socket
import sys
from typing import Any, Final, NamedTuple, cast

import aiohttp

from tests.simulators import SIMULATORS

from . import ROOT, DemoError, batteries
from .processes import Child, is_free
from .waiting import wait_for

TYPES: tuple[str, ...] = tuple(SIMULATORS)


class Place(NamedTuple):
    """The address where a simulated device listens; port 0 is any free one."""

    host: str = "127.0.0.1"
    port: int = 0


_REAL_PORTS: Final[Mapping[str, int]] = {
    "victron": 502,
    "sun2000": 502,
    "deye_modbus": 502,
    "deye_solarman": 8899,
    "sessy": 80,
    "sma": 502,
}


SPARE: Final = "spare"
"""The place of a device that is not added."""


def real_places(first: int) -> dict[str, Place]:
    """Return a real device's port for each type, at addresses from 127.0.0.`first` on.

    Another address, for a spare one, is after them.
    """
    ports = {**_REAL_PORTS, SPARE: _REAL_PORTS[batteries.SPARE]}
    return {
        name: Place(f"127.0.0.{first + number}", port)
        for number, (name, port) in enumerate(ports.items())
    }


@contextmanager
def claimed(places: Mapping[str, Place]) -> Iterator[Mapping[str, Place]]:
    """Claim the places of all devices; give none if any is taken.

    The claim is a socket that no device uses (UDP) at the first one: two demos that
    start at the same time would else get some of them each.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as claim:
        try:
            claim.bind(next(iter(places.values())))
        except OSError:
            places = {}
        if not all(is_free(port, host) for host, port in places.values()):
            places = {}
        yield places


@dataclass(frozen=True, kw_only=True)
class Device:
    """A simulated device that listens, as it described itself."""

    type: str
    place: Place
    setup: dict[str, Any]
    state_url: str
    child: Child

    @property
    def can_be_detected(self) -> bool:
        """Whether it listens at a real device's port."""
        return self.place.port == _REAL_PORTS[self.type]


async def start_device(
    battery_type: str,
    folder: Path,
    place: Place | None = None,
    options: Sequence[str] = (),
    name: str = "",
) -> Device:
    """Start the simulator of this type, on any free port unless a place is given.

    `options` are further ones of its command line; its files are called by its `name`,
    or else its type.
    """
    host, port = place or Place()
    out = folder / f"{name or battery_type}.json"
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
        place=Place(described["host"], described["port"]),
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
    return await _read(session, device.state_url)


async def read_past(
    session: aiohttp.ClientSession, device: Device
) -> list[dict[str, float]]:
    """Return what the simulator measured every five minutes before it was started."""
    past = await _read(session, device.state_url.removesuffix("state") + "past")
    return cast(list[dict[str, float]], past["records"])


async def _read(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url) as response:
        response.raise_for_status()
        return cast(dict[str, Any], await response.json())
