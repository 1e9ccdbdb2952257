"""The command line: look at a battery, and hold it at a power, without Home Assistant.

It stores nothing. `set-power` gives the battery back when it ends, however it is
ended; should it be killed, what it printed at the start is what `release` needs.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from getpass import getpass
import json
import logging
import os
import shlex
import signal
import sys
import time
from typing import Any, Final

from . import DRIVERS
from .battery.base import Battery, SetupField
from .battery.controller import Grant, Snapshot
from .battery.readings import Readings
from .battery.settings import SelectSetting
from .errors import (
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    InvalidValueError,
    NotSupportedError,
    RequestTimeoutError,
)
from .measurements import MEASUREMENTS, UNITS, Value

PASSWORD_VARIABLE: Final = "HOMEBATTERY_PASSWORD"
COMMAND_VARIABLE: Final = "HOMEBATTERY_COMMAND"
"""How this program was started, for its own texts; a launcher says it."""

LOOK_INTERVAL: Final = 5.0
"""Seconds between two looks at what a held battery does."""
RELEASE_TRIES: Final = 3
RELEASE_PAUSE: Final = 3.0
"""Seconds between two of them."""

_PASSWORD: Final = "password"
# All else that a driver may have to be told is a whole number.
_TEXTS: Final = ("username", _PASSWORD)
_MAY_PASS: Final = (CannotConnectError, RequestTimeoutError, DeviceBusyError)
"""What is worth another try: the device itself lets go if this lasts."""

type Action = Callable[[Battery, argparse.Namespace], Awaitable[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s",
        level=logging.DEBUG if options.verbose else logging.WARNING,
    )
    if not options.verbose:
        # What they have to say comes as an error of ours.
        for library in ("asyncio", "pymodbus"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        if options.command == "types":
            _print_types()
            return 0
        _ask_password(parser, options)
        return asyncio.run(run(options))
    except BatteryError as err:
        return _complain(err)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain at its exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


async def run(options: argparse.Namespace) -> int:
    """Connect to the battery, do one thing with it, close."""
    battery = DRIVERS[options.battery_type].from_setup(vars(options))
    async with battery:
        action: Action = options.action
        return await action(battery, options)


def _complain(what: object) -> int:
    """Say in one line what is wrong; return the exit status for it."""
    print("Error:", " ".join(str(what).split()), file=sys.stderr, flush=True)
    return 1


def _say(*lines: str) -> None:
    """Print at once, also when nobody but a program reads along."""
    print(*lines, sep="\n", flush=True)


# What can be said on the command line ---------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """Return the parser: a command, and for most a type of battery."""
    parser = argparse.ArgumentParser(
        prog=os.environ.get(COMMAND_VARIABLE),
        description="Look at a home battery, and hold it at a power, over its own "
        "local protocol.",
        epilog="Each command explains itself, as in: read victron --help",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="log what is sent and what is not there"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("types", help="list what can be connected, and what each needs")
    for add in (_add_read, _add_set_power, _add_release):
        add(commands)
    return parser


type _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def _add_read(commands: _Commands) -> None:
    """Add the command that prints what a battery tells."""
    for parser in _add_command(commands, "read", "print what a battery tells", _read):
        parser.add_argument(
            "--all", action="store_true", help="include what few people want to know"
        )
        parser.add_argument(
            "--watch",
            type=_seconds,
            metavar="S",
            help="do so again every S seconds, until Ctrl-C",
        )


def _add_set_power(commands: _Commands) -> None:
    """Add the command that holds a battery at a power."""
    text = "hold a battery at a power, then give it back"
    for parser in _add_command(commands, "set-power", text, _set_power):
        parser.add_argument(
            "watts",
            type=int,
            metavar="WATTS",
            help="1500 charges with 1500 W, -1500 discharges, 0 does neither",
        )
        parser.add_argument(
            "--seconds",
            type=_seconds,
            metavar="N",
            help="give it back after N seconds; without this, at Ctrl-C",
        )
        for direction in ("charge", "discharge"):
            parser.add_argument(
                f"--max-{direction}-power",
                type=int,
                metavar="W",
                help=f"the most that the battery may {direction} with",
            )


def _add_release(commands: _Commands) -> None:
    """Add the command that gives back what a killed set-power has left behind."""
    text = "put back what a set-power that was killed had found"
    for parser in _add_command(commands, "release", text, _release):
        parser.add_argument(
            "--found",
            type=_found,
            metavar="JSON",
            help="what set-power printed before its first write; without it nothing "
            "is written, and you are told what the device is set to now",
        )


def _add_command(
    commands: _Commands, name: str, text: str, action: Action
) -> Iterator[argparse.ArgumentParser]:
    """Add a command; yield its parser for each type of battery."""
    command = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    types = command.add_subparsers(dest="battery_type", required=True, metavar="TYPE")
    for battery_type, driver in DRIVERS.items():
        parser = types.add_parser(battery_type, help=driver.manufacturer)
        parser.set_defaults(action=action)
        for item in (*driver.fields, *driver.option_fields):
            _add_field(parser, item)
        yield parser


def _add_field(parser: argparse.ArgumentParser, item: SetupField) -> None:
    """Add what a driver must be told: the host by its place, all else by name."""
    if item.name == "host":
        parser.add_argument("host", metavar="HOST", help="name or address")
        return
    if isinstance(item.default, bool):
        parser.add_argument(_option(item), action=argparse.BooleanOptionalAction)
        return
    parser.add_argument(
        _option(item),
        type=str if _is_text(item) else int,
        default=item.default,
        required=_is_needed(item) and item.name != _PASSWORD,
        metavar=_metavar(item),
        help=_explanation(item),
    )


def _option(item: SetupField) -> str:
    return "--" + item.name.replace("_", "-")


def _is_text(item: SetupField) -> bool:
    return item.name in _TEXTS or isinstance(item.default, str)


def _metavar(item: SetupField) -> str:
    if isinstance(item.default, bool):
        return ""
    return "TEXT" if _is_text(item) else "N"


def _is_needed(item: SetupField) -> bool:
    return item.required and item.default is None


def _explanation(item: SetupField) -> str:
    if item.name == _PASSWORD:
        return f"better given as {PASSWORD_VARIABLE}, or typed when asked for"
    if _is_needed(item):
        return "needed"
    return "may be left out" if item.default is None else f"else {item.default}"


def _seconds(text: str) -> float:
    """Return a duration, s."""
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < float("inf"):
            return seconds
    raise argparse.ArgumentTypeError("not a number of seconds")


def _found(text: str) -> Snapshot:
    """Return what set-power printed."""
    with suppress(ValueError):
        if (found := json.loads(text)) and isinstance(found, dict):
            return found
    raise argparse.ArgumentTypeError("not what set-power prints; mind the quotes")


def _ask_password(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Get a password that is needed and not on the command line."""
    if getattr(options, _PASSWORD, "") is not None:
        return
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None and sys.stdin.isatty():
        password = getpass(f"Password of {options.host}: ")
    if not password:
        parser.error(f"a password is needed: set {PASSWORD_VARIABLE}, or --password")
    options.password = password


# Commands ---------------------------------------------------------------------


def _print_types() -> None:
    """Print each type, and what it takes to connect one."""
    for battery_type, driver in DRIVERS.items():
        _say(f"{battery_type:<16}{driver.manufacturer}", "    HOST")
        for item in (*driver.fields, *driver.option_fields):
            if item.name != "host":
                option = f"{_option(item)} {_metavar(item)}".rstrip()
                _say(f"    {option:<24}{_explanation(item)}")


async def _read(battery: Battery, options: argparse.Namespace) -> int:
    """Print a table of readings, once or again and again."""
    _say(_who(battery))
    _say(*await _table(battery, options))
    while options.watch is not None:
        await asyncio.sleep(options.watch)
        try:
            lines = await _table(battery, options)
        except BatteryError as err:
            _complain(err)
        else:
            _say("", time.strftime("%H:%M:%S"), *lines)
    return 0


def _who(battery: Battery) -> str:
    """Return the device's identity in one line."""
    identity = battery.identity
    firmware = f", firmware {identity.firmware}" if identity.firmware else ""
    return (
        f"{identity.manufacturer} {identity.model}, serial number "
        f"{identity.serial_number}{firmware}"
    )


async def _table(battery: Battery, options: argparse.Namespace) -> list[str]:
    """Read and return a line for each key: value and unit, or why there is none."""
    keys = [
        key for key in battery.measurements if options.all or MEASUREMENTS[key].enabled
    ]
    return list(_lines(keys, await battery.read(keys)))


def _lines(keys: Sequence[str], readings: Readings) -> Iterator[str]:
    """Yield aligned lines; numbers end, and words begin, at the same column."""
    width = max(map(len, keys), default=0) + 2
    numbers = {
        key: in_words(value) for key, value in readings.items() if _is_number(value)
    }
    number_width = max(map(len, numbers.values()), default=0)
    for key in keys:
        if key in readings.failures:
            text = f"failed: {readings.failures[key]}"
        elif key in numbers:
            unit = UNITS.get(MEASUREMENTS[key].quantity, "")
            text = f"{numbers[key]:>{number_width}} {unit}"
        else:
            text = in_words(readings[key])
        yield f"{key:<{width}}{text}".rstrip()


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_words(value: Value) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case tuple():
            return ", ".join(value) or "none"
    return str(value)


async def _set_power(battery: Battery, options: argparse.Namespace) -> int:
    """Hold a setpoint until the time is up or somebody says stop, then release."""
    _check_limits(battery, options.watts)
    found = await battery.take_snapshot()
    release = _release_command(battery, options, found)
    _say(
        _who(battery),
        f"Found on the device: {json.dumps(found)}",
        f"Should this program be killed, put it back with: {release}",
    )
    with _stopped_by_signals() as stop:
        try:
            await _hold(battery, options, stop)
        finally:
            # Nothing is printed before: there may be nobody left to print to.
            held = battery.snapshot is not None
            await _give_back(battery, release)
            if held:
                await _say_released(battery)
    return 0


def _check_limits(battery: Battery, watts: int) -> None:
    """Raise when the power is beyond what device and owner allow at most."""
    limits = battery.setpoint_limits
    if limits is None:
        raise NotSupportedError(f"{battery.address}: takes no setpoint")
    if not limits.minimum <= watts <= limits.maximum:
        raise InvalidValueError(
            f"{watts} W is too much: the battery may charge with {limits.maximum} W "
            f"and discharge with {-limits.minimum} W"
        )


async def _hold(
    battery: Battery, options: argparse.Namespace, stop: asyncio.Event
) -> None:
    """Set the power and renew it, showing what the battery makes of it."""
    now = asyncio.get_running_loop().time
    end = float("inf") if options.seconds is None else now() + options.seconds
    interval = min(battery.keep_alive_interval or LOOK_INTERVAL, LOOK_INTERVAL)
    renewed = now()
    grant = await battery.set_power_setpoint(options.watts)
    while not stop.is_set():
        await _look(battery, grant)
        await _wait(stop, min(renewed + interval, end) - now())
        if now() >= end:
            return
        if not stop.is_set():
            renewed = now()
            grant = await _renew(battery, grant)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until somebody says stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))


async def _renew(battery: Battery, grant: Grant) -> Grant:
    """Renew the setpoint; return what is granted now."""
    try:
        renewed = await battery.keep_alive()
    except _MAY_PASS as err:
        _complain(err)
        return grant
    return grant if renewed is None else renewed


async def _look(battery: Battery, grant: Grant) -> None:
    """Print what is granted and what the battery does."""
    try:
        readings = await battery.read(["battery_power", "battery_soc"])
    except _MAY_PASS as err:
        _complain(err)
        return
    soc = in_words(readings.get("battery_soc"))
    _say(
        f"{time.strftime('%H:%M:%S')}  granted: {_power(grant.power)}   "
        f"measured: {_power(readings.get('battery_power'))}   SOC: {soc} %"
    )


def _power(power: Value) -> str:
    """Return a battery power in words."""
    if not isinstance(power, int | float):
        return "unknown"
    direction = "charge " if power > 0 else "discharge " if power < 0 else ""
    return f"{direction}{in_words(abs(power))} W"


async def _give_back(battery: Battery, release: str) -> None:
    """Release, and try again where that may help."""
    tries = RELEASE_TRIES
    while True:
        try:
            return await battery.release()
        except BatteryError as err:
            tries -= 1
            if not tries:
                raise BatteryError(
                    f"the battery could not be given back ({err}) and may stay at "
                    f"its last setpoint; try again with: {release}"
                ) from err
            _complain(f"{err}; trying again")
        await asyncio.sleep(RELEASE_PAUSE)


async def _release(battery: Battery, options: argparse.Namespace) -> int:
    """Put back what an earlier set-power found; without knowing that, only look."""
    present = await battery.take_snapshot()
    if options.found is None:
        _say(*_why_not_released(battery, present))
        _complain("nothing was released: --found is needed")
        return 2
    _check_found(battery, options.found, present)
    battery.snapshot = options.found
    await battery.release()
    await _say_released(battery)
    return 0


async def _say_released(battery: Battery) -> None:
    """Say that the release is confirmed, and what the device is set to now."""
    try:
        present = json.dumps(await battery.take_snapshot())
    except BatteryError:
        present = "not known just now"
    _say(f"Released, and seen on the device, which is now set to: {present}")


def _why_not_released(battery: Battery, present: Snapshot) -> Iterable[str]:
    """Yield what can be done without knowing what was found."""
    yield (
        "To release is to put back what was there before set-power. That is not "
        "stored: give it as --found, as set-power has printed it at its start."
    )
    yield f"The device is now set to {json.dumps(present)}."
    for key, setting in _choices(battery, present).items():
        yield f"{key} can be: {', '.join(setting.options)}"


def _choices(battery: Battery, found: Snapshot) -> Mapping[str, SelectSetting]:
    """Return those parts of what is found whose options are known."""
    settings = {key: battery.settings.get(key) for key in found}
    return {
        key: setting
        for key, setting in settings.items()
        if isinstance(setting, SelectSetting)
    }


def _check_found(battery: Battery, found: Snapshot, present: Snapshot) -> None:
    """Raise when `found` is not of the form that this device's has."""

    def form(of: Snapshot) -> dict[str, type[Any]]:
        return {key: type(value) for key, value in of.items()}

    if form(found) != form(present):
        raise InvalidValueError(
            f"--found has another form than what is on the device now: "
            f"{json.dumps(present)}"
        )
    for key, setting in _choices(battery, found).items():
        setting.check(key, found[key])


def _release_command(
    battery: Battery, options: argparse.Namespace, found: Snapshot
) -> str:
    """Return the command that puts back `found`, as one types it."""
    words = ["release", battery.battery_type, battery.address]
    for item in battery.fields:
        value = battery.detected_config.get(item.name, getattr(options, item.name))
        if item.name not in ("host", _PASSWORD) and value not in (None, item.default):
            words += [_option(item), str(value)]
    words += ["--found", json.dumps(found)]
    program = os.environ.get(COMMAND_VARIABLE, "python -m drivers")
    return f"{program} {shlex.join(words)}"


@contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    """Let Ctrl-C, TERM and a closed terminal say stop instead of ending the program."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in signals:
        loop.add_signal_handler(each, stop.set)
    try:
        yield stop
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


if __name__ == "__main__":
    sys.exit(main())
