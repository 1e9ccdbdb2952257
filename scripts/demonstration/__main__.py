"""Start the demo for a person, or check it without one."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import io
from pathlib import Path
import sys
from typing import Final

import aiohttp

from . import CHECK_FOLDER, DEMO_FOLDER, DemoError, story
from .checks import check
from .devices import claimed, real_places
from .house import House
from .processes import free_port, is_free, until_signal
from .waiting import describe

_USUAL_PORT: Final = 8123
FIRST_ADDRESS: Final = 21
"""The first device is at 127.0.0.21; the browser suite has the addresses before."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Simulated batteries in a Home Assistant of their own, on this machine only.",
        # scripts/demo, too, reads --homeassistant.
        allow_abbrev=False,
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="try every battery without a person, print what was seen, and stop",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="go on with the Home Assistant of last time instead of a fresh one",
    )
    parser.add_argument(
        "--port",
        type=int,
        help=f"where Home Assistant listens ({_USUAL_PORT}, or any free port if that is taken)",
    )
    parser.add_argument(
        "--homeassistant",
        metavar="RELEASE",
        help="run another release than that of pyproject.toml, such as 2026.11.0;"
        " its environment is made the first time",
    )
    parser.add_argument(
        "--emma",
        action="store_true",
        help="put the Huawei inverter behind an EMMA, which measures the house for it",
    )
    options = parser.parse_args()
    if options.check and options.keep:
        parser.error("--check is always fresh; it cannot --keep")
    return options


def _choose_port(options: argparse.Namespace) -> int:
    if options.port:
        return int(options.port)
    if options.check or not is_free(_USUAL_PORT):
        return free_port()
    return _USUAL_PORT


def _folder(options: argparse.Namespace) -> Path:
    """Return the folder of the house; each release has its own."""
    folder = CHECK_FOLDER if options.check else DEMO_FOLDER
    if options.homeassistant:
        folder = folder.parent / options.homeassistant / folder.name
    return folder


@asynccontextmanager
async def _planned(options: argparse.Namespace) -> AsyncIterator[House]:
    """Plan a house, and claim its places; nothing of it is started yet."""
    with claimed(real_places(FIRST_ADDRESS)) as places:
        async with aiohttp.ClientSession() as session:
            yield House(
                _folder(options),
                session,
                port=_choose_port(options),
                keep=options.keep,
                places=places,
                emma=options.emma,
                lived_in=True,
            )


async def _demo(options: argparse.Namespace) -> bool:
    async with _planned(options) as planned, planned as house:
        goes_on = house.is_complete
        await house.add_batteries()
        # What was chosen there by hand since last time stays, and so does what is held
        # or released.
        if not goes_on:
            await story.fill(house)
        print(story.welcome(house, goes_on=goes_on), flush=True)
        await house.serve()
    return True


async def _check(options: argparse.Namespace) -> bool:
    async with _planned(options) as house:
        return await check(house)


def main() -> int:
    """Run from the command line."""
    options = _options()
    # So that progress shows at once through a pipe, too.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        work = _check(options) if options.check else _demo(options)
        return asyncio.run(until_signal(work))
    except (DemoError, aiohttp.ClientError, TimeoutError) as err:
        print(f"\nError: {describe(err)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
