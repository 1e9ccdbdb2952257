"""The content of a lease's file, which may be damaged; the file's name in the first version.

Each part is read for itself: a part that makes no sense is unknown, and the others count.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
import re
from typing import Any, Final

from homeassistant.util import dt as dt_util, slugify

from ..const import DOMAIN, LONGEST_SETPOINT_TIMEOUT
from ..drivers.battery.controller import Snapshot
from .lease import Setpoint

SNAPSHOT: Final = "found"
"""The key of the snapshot."""
_MOST_POWER: Final = 10_000_000
"""W; no battery here has more, nor as many A."""
_MOST_WRITES: Final = 100_000
"""Writes to flash that no device took in a day."""
_LEVELS: Final = 8
"""Levels of lists and objects in a part of a snapshot; no driver makes half of them."""
_NAME: Final = re.compile(r"[a-z0-9_.]{1,60}")
_LONGEST: Final = timedelta(days=3660)
_NOT_MEANT: Final = timedelta(seconds=LONGEST_SETPOINT_TIMEOUT)
"""The duration taken for one that is not in the file."""


def former_file_name(serial_number: str) -> str:
    """Return the name of a battery's file in the first version.

    It was the same for AB-12 and AB_12, and could be too long.
    """
    return f"{DOMAIN}.{slugify(serial_number)}"


@dataclass(kw_only=True)
class Content:
    """The content of a file as far as it makes sense; the keys of the rest."""

    snapshot: Snapshot | None = None
    """The snapshot to restore; None when nothing is held, empty when it is unknown."""
    setpoint: Setpoint | None = None
    """The setpoint that is held; None while it is released, or when it is unknown."""
    expires: datetime | None = None
    orphaned: bool = False
    flash: tuple[date, int] | None = None
    """A day, and the writes to flash on it."""
    unknown: set[str] = field(default_factory=set)
    """The keys of what makes no sense."""


def decode(data: Any) -> Content:
    """Return what the data of a file say, which may be anything.

    Whether a battery is held is assumed where it is unknown.
    """
    content = Content()
    parts = _Parts(data, content.unknown)
    content.orphaned = parts.take("left", _flag, False)
    content.unknown |= parts.take("unknown", _names, set())
    day = parts.take("flash_day", _day, None)
    writes = parts.take("flash_writes", _writes, None)
    if day is not None and writes is not None:
        content.flash = day, writes
    if isinstance(data, dict) and data.get("lease", {}) is None:
        return content
    wrong: set[str] = set()
    lease = _Parts(data.get("lease") if isinstance(data, dict) else None, wrong)
    nothing: Snapshot = {}
    content.snapshot = lease.take(SNAPSHOT, read_snapshot, nothing)
    power = lease.take("power", _power, None)
    current = lease.take("current", _current, None)
    phases = lease.take("phases", _phases, None)
    content.expires = lease.take("expires", _time, None)
    duration = lease.take("duration", _duration, None)
    if content.expires is not None:
        # A clock that was wrong when the end was set, or is now, must not hold the
        # battery for longer than was asked for.
        latest = dt_util.utcnow() + (duration or _NOT_MEANT)
        content.expires = min(content.expires, latest)
    if power is not None and phases is not None and "current" not in wrong:
        content.setpoint = Setpoint(power=power, current=current, phases=phases)
    # The parts of the snapshot are the driver's to judge.
    content.unknown |= wrong - {SNAPSHOT}
    return content


def read_snapshot(value: Any) -> Snapshot:
    """Return a snapshot without parts that are nested too deep to be a driver's.

    Raises TypeError for a value that is no JSON object.
    """
    parts = _of(dict, value)
    return {key: parts[key] for key in parts if not _is_deeper(parts[key], _LEVELS)}


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether a JSON value has more levels of lists and objects."""
    inside: Iterable[Any]
    match value:
        case dict():
            inside = value.values()
        case list():
            inside = value
        case _:
            return False
    return not levels or any(_is_deeper(each, levels - 1) for each in inside)


class _Parts:
    """The parts of a JSON object; those that make no sense are added to `unknown`."""

    _OPTIONAL: Final = ("left", "unknown", "duration")
    """Keys that a file of the first version may lack."""

    def __init__(self, content: Any, unknown: set[str]) -> None:
        """Read parts of `content`, which may be anything."""
        self._content: Mapping[str, Any] = content if isinstance(content, dict) else {}
        self._unknown = unknown

    def take[T](self, key: str, read: Callable[[Any], T], default: T) -> T:
        """Return the part of a key as `read` does, or the default."""
        if key in self._OPTIONAL and key not in self._content:
            return default
        try:
            return read(self._content[key])
        except LookupError, TypeError, ValueError, OverflowError:
            self._unknown.add(key)
            return default


def _flag(value: Any) -> bool:
    return bool(_of(bool, value))


def _names(value: Any) -> set[str]:
    names = _of(list, value)
    if not all(_NAME.fullmatch(_of(str, name)) for name in names):
        raise ValueError(value)
    return set(names)


def _number(value: Any) -> float:
    number: float = value
    if isinstance(value, bool) or not abs(number) <= _MOST_POWER:
        raise ValueError(value)
    return number


def _integer(value: Any) -> int:
    if _number(value) != int(value):
        raise ValueError(value)
    return int(value)


def _power(value: Any) -> int | None:
    return None if value is None else _integer(value)


def _current(value: Any) -> float | None:
    return None if value is None else _number(value)


def _phases(value: Any) -> dict[int, int]:
    phases = {int(phase): _integer(power) for phase, power in _of(dict, value).items()}
    if not phases.keys() <= {1, 2, 3}:
        raise ValueError(value)
    return phases


def _time(value: Any) -> datetime | None:
    time = None if value is None else datetime.fromisoformat(value)
    if time is not None and time.tzinfo is None:
        raise ValueError(value)
    return time


def _duration(value: Any) -> timedelta | None:
    if value is None:
        return None
    if isinstance(value, bool) or not 0 < value <= _LONGEST.total_seconds():
        raise ValueError(value)
    return timedelta(seconds=value)


def _day(value: Any) -> date:
    return date.fromisoformat(value)


def _writes(value: Any) -> int:
    if not 0 <= _integer(value) <= _MOST_WRITES:
        raise ValueError(value)
    return int(value)


def _of[T](kind: type[T], value: Any) -> T:
    """Return a value of a type; raises TypeError for another."""
    if not isinstance(value, kind):
        raise TypeError(value)
    return value
