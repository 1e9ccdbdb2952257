"""The local time of the demo, which is chosen so that it starts in daylight."""

from dataclasses import dataclass
from typing import Any, Final, Self

_NOON: Final = 13
"""The hour of the day in which a demo starts."""
_HOUR: Final = 3600
_DAY: Final = 86_400
_EARLIEST: Final = -11
"""The time zone furthest behind UTC, h; 23 h later is another one."""
_PAST_DAYS: Final = 7
"""Whole days that the house has behind it."""


@dataclass(frozen=True, kw_only=True)
class LocalTime:
    """A time zone without summer time, and the time when the house's past begins."""

    offset: int
    """Hours ahead of UTC."""
    began: float
    """Unix time of the midnight when the past begins."""

    @classmethod
    def with_sunshine(cls, now: float) -> Self:
        """Return the local time in which it is past noon now (unix time)."""
        offset = (_NOON - int(now % _DAY // _HOUR) - _EARLIEST) % 24 + _EARLIEST
        midnight = (now + offset * _HOUR) // _DAY * _DAY - offset * _HOUR
        return cls(offset=offset, began=midnight - _PAST_DAYS * _DAY)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the local time that `as_record` stored."""
        return cls(offset=int(record["offset"]), began=float(record["began"]))

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"offset": self.offset, "began": self.began}

    @property
    def time_zone(self) -> str:
        """The name of the time zone; by POSIX, its sign is the other way round."""
        return f"Etc/GMT{-self.offset:+d}"

    def hour(self, now: float) -> float:
        """Return the hour of the day, 0…24, at a unix time."""
        return (now + self.offset * _HOUR) % _DAY / _HOUR

    def days(self, now: float) -> int:
        """Return the number of days since the past began, the present one included."""
        return int((now - self.began) // _DAY) + 1
