"""Run the command line and return the exit status."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import TextIOWrapper
import logging
import os
import signal
import sys
from typing import Final

from homebattery import DRIVERS, Battery, BatteryError

from .control import set_power
from .parser import ask_password, make_parser
from .printing import complain
from .reading import print_detected, print_types, read
from .restoring import release, warn_of_held_devices

type Action = Callable[[Battery, argparse.Namespace], Awaitable[int]]

WRITING: Final[Mapping[str, Action]] = {"set-power": set_power, "release": release}
"""The commands that restore a device that is still held."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    # A unit such as °C is not in the characters of every terminal.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    parser = make_parser()
    options = parser.parse_args(arguments)
    _set_up_logging(verbose=options.verbose)
    try:
        if options.command not in WRITING:
            warn_of_held_devices()
        if options.command == "types":
            return print_types()
        ask_password(parser, options)
        return asyncio.run(run(options))
    except BatteryError as err:
        return complain(err)
    except BrokenPipeError:
        # The reader of the output has gone; Python would complain at its exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as err:
        # The output cannot be written, such as to a full disk.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return complain(err)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _set_up_logging(*, verbose: bool) -> None:
    """Log to stderr: warnings, or everything."""
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s",
        level=logging.DEBUG if verbose else logging.WARNING,
    )
    if not verbose:
        # What they have to say comes as an error of the library.
        for library in ("asyncio", "pymodbus"):
            logging.getLogger(library).setLevel(logging.CRITICAL)


async def run(options: argparse.Namespace) -> int:
    """Detect the batteries at an address; or connect to one, run a command, close."""
    if options.command == "detect":
        return await print_detected(options)
    battery = DRIVERS[options.battery_type].from_setup(vars(options))
    async with battery:
        return await WRITING.get(options.command, read)(battery, options)


if __name__ == "__main__":
    sys.exit(main())
