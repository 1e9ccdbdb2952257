"""Reads the command line, and writes one for people to type."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import suppress
from getpass import getpass
import json
import os
import shlex
import sys
from typing import Any, Final

from homebattery import DRIVERS
from homebattery.battery.base import Battery, SetupField
from homebattery.battery.controller import Snapshot

PROGRAM: Final = "homebattery"
PASSWORD: Final = "password"
PASSWORD_VARIABLE: Final = "HOMEBATTERY_PASSWORD"

# All else that a driver may need is a whole number, or has a default.
_TEXTS: Final = ("host", "username", PASSWORD)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser: a command, and for most a type of battery."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Look at a home battery, and hold it at a power, over its own "
        "local protocol.",
        epilog="Each command explains itself, as in: read victron --help",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="log what is sent and what is not there"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("types", help="list what can be connected, and what each needs")
    for add in (_add_detect, _add_read, _add_set_power, _add_release):
        add(commands)
    return parser


type _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def _add_detect(commands: _Commands) -> None:
    """Add the command that finds the batteries at an address."""
    text = "find out which batteries answer at an address, by reading only"
    parser = commands.add_parser("detect", help=text, description=_sentence(text))
    parser.add_argument("host", metavar="HOST", help="name or address")
    parser.add_argument(
        "--port", type=_port, metavar="N", help="ask there, not at the usual ports"
    )


def _port(text: str) -> int:
    """Return a TCP port."""
    with suppress(ValueError):
        if 0 < (port := int(text)) < 65536:
            return port
    raise argparse.ArgumentTypeError("not a port: those are 1 to 65535")


def _add_read(commands: _Commands) -> None:
    """Add the command that prints measurements."""
    for parser in _add_command(commands, "read", "print what a battery measures"):
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
    text = "hold a battery at a power, then release it"
    for parser in _add_command(commands, "set-power", text):
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
            help="release it after N seconds; without this, at Ctrl-C",
        )
        for direction in ("charge", "discharge"):
            parser.add_argument(
                f"--max-{direction}-power",
                type=int,
                metavar="W",
                help=f"the most that the battery may {direction} with",
            )


def _add_release(commands: _Commands) -> None:
    """Add the command that restores a device that is still held."""
    text = "restore a device that a killed set-power has left at its setpoint"
    for parser in _add_command(commands, "release", text):
        parser.add_argument(
            "--snapshot",
            type=_snapshot,
            metavar="JSON",
            help="restore this, as set-power printed it before its first write, "
            "instead of what is stored",
        )


def _add_command(
    commands: _Commands, name: str, text: str
) -> Iterator[argparse.ArgumentParser]:
    """Add a command; yield its parser for each type of battery."""
    command = commands.add_parser(name, help=text, description=_sentence(text))
    types = command.add_subparsers(dest="battery_type", required=True, metavar="TYPE")
    for battery_type, driver in DRIVERS.items():
        parser = types.add_parser(battery_type, help=driver.manufacturer)
        for item in fields_of(driver):
            _add_field(parser, item)
        yield parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def fields_of(driver: type[Battery]) -> tuple[SetupField, ...]:
    """Return all that a driver can be set up with, the host first where it has one."""
    return (*driver.fields, *driver.option_fields)


def _add_field(parser: argparse.ArgumentParser, item: SetupField) -> None:
    """Add a field of a driver: the host by its place, all else by name."""
    if item.name == "host":
        parser.add_argument("host", metavar="HOST", help="name or address")
        return
    if isinstance(item.default, bool):
        parser.add_argument(option_of(item), action=argparse.BooleanOptionalAction)
        return
    parser.add_argument(
        option_of(item),
        type=type_of(item),
        choices=item.choices or None,
        default=item.default,
        required=_is_needed(item) and item.name != PASSWORD,
        metavar=metavar_of(item),
        help=explanation_of(item),
    )


def option_of(item: SetupField) -> str:
    """Return the name of a field on the command line."""
    return "--" + item.name.replace("_", "-")


def type_of(item: SetupField) -> type[bool | str | int]:
    """Return the type of a field's values."""
    if isinstance(item.default, bool):
        return bool
    if item.name in _TEXTS or item.generated or isinstance(item.default, str):
        return str
    return int


def metavar_of(item: SetupField) -> str:
    """Return what stands for the value of a field in texts."""
    if item.choices:
        return "|".join(item.choices)
    return {bool: "", str: "TEXT", int: "N"}[type_of(item)]


def _is_needed(item: SetupField) -> bool:
    return item.required and item.default is None


def explanation_of(item: SetupField) -> str:
    """Return whether a field must be given, and its value if it is not."""
    if item.name == PASSWORD:
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


def _snapshot(text: str) -> Snapshot:
    """Return a snapshot as set-power prints it."""
    with suppress(ValueError, RecursionError):
        if (snapshot := json.loads(text)) and isinstance(snapshot, dict):
            return snapshot
    raise argparse.ArgumentTypeError("not what set-power prints; mind the quotes")


def ask_password(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Get a password that is needed and not on the command line."""
    if getattr(options, PASSWORD, "") is not None:
        return
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None and sys.stdin.isatty():
        password = getpass(f"Password of {options.host}: ")
    if not password:
        parser.error(f"a password is needed: set {PASSWORD_VARIABLE}, or --password")
    options.password = password


def command_line(command: str, battery_type: str, setup: Mapping[str, Any]) -> str:
    """Return a command for a shell, without the password."""
    words = [PROGRAM, command, battery_type]
    if "host" in setup:
        words.append(str(setup["host"]))
    for item in fields_of(DRIVERS[battery_type]):
        value = setup.get(item.name)
        if item.name in ("host", PASSWORD):
            continue
        if value is None and _is_needed(item):
            words += [option_of(item), metavar_of(item)]
        elif value in (None, item.default):
            continue
        elif isinstance(value, bool):
            words.append(option_of(item) if value else f"--no-{option_of(item)[2:]}")
        else:
            words += [option_of(item), str(value)]
    return shlex.join(words)
