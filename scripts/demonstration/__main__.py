"""Start the demo for a person, or check it without one."""

import argparse
import asyncio
import io
import signal
import sys
from typing import Final

import aiohttp

from . import CHECK_FOLDER, DEMO_FOLDER, DemoError
from .checks import check
from .house import House
from .processes import free_port, is_free
from .waiting import describe

_USUAL_PORT: Final = 8123


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Simulated batteries in a Home Assistant of their own, on this machine only.",
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


async def _demo(options: argparse.Namespace) -> bool:
    async with (
        aiohttp.ClientSession() as session,
        House(
            DEMO_FOLDER, session, port=_choose_port(options), keep=options.keep
        ) as house,
    ):
        await house.add_batteries()
        # What was chosen there by hand since last time stays.
        if not await house.api.has_dashboard():
            print("Putting them on the energy dashboard …")
            await house.fill_dashboard()
        print(
            f"\nHome Assistant is at {house.url}\n"
            f"  user      {house.username}\n"
            f"  password  {house.password}\n"
        )
        for battery in house.batteries:
            device = battery.device
            print(f"  {battery.title}: simulated {device.type}, {device.state_url}")
        print("\nCtrl-C stops it all.", flush=True)
        await house.serve()
    return True


async def _check(options: argparse.Namespace) -> bool:
    async with aiohttp.ClientSession() as session:
        return await check(House(CHECK_FOLDER, session, port=_choose_port(options)))


async def _until_told_to_stop(options: argparse.Namespace) -> int:
    """Run, and take the first signal as a wish to stop; stopping itself is not interrupted."""
    task = asyncio.create_task(_check(options) if options.check else _demo(options))
    told: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not told:
            print("\nStopping …", flush=True)
            task.cancel()
        told.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        good = await task
    except asyncio.CancelledError:
        return 128 + told[0] if told else 1
    return 0 if good else 1


def main() -> int:
    """Run from the command line."""
    options = _options()
    # Whoever reads this through a pipe sees the progress as it happens.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return asyncio.run(_until_told_to_stop(options))
    except (DemoError, aiohttp.ClientError, TimeoutError) as err:
        print(f"\nError: {describe(err)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
