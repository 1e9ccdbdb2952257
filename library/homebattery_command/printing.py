"""Prints lines, errors and values for people."""

from collections.abc import Iterator, Sequence
import sys

from homebattery import Battery, Readings
from homebattery.measurements import MEASUREMENTS, UNITS, Value


def say(*lines: str) -> None:
    """Print at once, also when only a program reads along."""
    print(*lines, sep="\n", flush=True)


def warn(text: object) -> None:
    """Print one line for the person, not for the reader of the output."""
    print(" ".join(str(text).split()), file=sys.stderr, flush=True)


def complain(text: object) -> int:
    """Print in one line what is wrong; return the exit status for it."""
    warn(f"Error: {text}")
    return 1


def describe(battery: Battery) -> str:
    """Return the device's identity in one line."""
    identity = battery.identity
    firmware = f", firmware {identity.firmware}" if identity.firmware else ""
    return (
        f"{identity.manufacturer} {identity.model}, serial number "
        f"{identity.serial_number}{firmware}"
    )


def table(keys: Sequence[str], readings: Readings) -> Iterator[str]:
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


def power_in_words(power: Value) -> str:
    """Return a battery power, W, positive = charging, in words."""
    if not isinstance(power, int | float):
        return "unknown"
    direction = "charge " if power > 0 else "discharge " if power < 0 else ""
    return f"{direction}{in_words(abs(power))} W"
