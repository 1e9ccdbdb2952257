"""Answers of a server that is not the device, or out of its mind."""

from functools import cache
import gzip
from typing import Any, Final

GARBAGE: Final = b"\x1b[2J\xff\x00AT+OK\r\n" * 4
HTML: Final = "<html><title>Starting</title>Please wait…</html>"
SPACES: Final = b" " * 262_144
"""A part of a body that is too long; it means nothing in JSON."""
HUGE: Final = 128
"""Number of such parts: 32 MB."""
DEEP: Final = '{"status": "ok", "power": ' + "[" * 100_000
"""JSON so deep that parsing it exhausts the stack."""


@cache
def bomb() -> bytes:
    """Return a little gzip that unpacks to 64 MB."""
    return gzip.compress(bytes(64 * 1024 * 1024), 1)


def altered(value: Any, leaf: Any) -> Any:
    """Return JSON in which each value but the status is another one."""
    match value:
        case dict():
            return {
                key: value[key] if key == "status" else altered(value[key], leaf)
                for key in value
            }
        case list():
            return [altered(each, leaf) for each in value]
    return leaf


def with_numbers(value: Any, number: float) -> Any:
    """Return JSON in which each number is another one."""
    match value:
        case dict():
            return {key: with_numbers(value[key], number) for key in value}
        case list():
            return [with_numbers(each, number) for each in value]
        case bool():
            return value
        case int() | float():
            return number
    return value
