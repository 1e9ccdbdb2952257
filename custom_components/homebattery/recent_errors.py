"""The latest errors of a battery, for its diagnostics."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
import re
from typing import Final

from homeassistant.util import dt as dt_util

from .drivers.errors import AnotherDeviceError, BatteryError

KEPT: Final = 10
_NUMBER: Final = re.compile(r"\d+")


@dataclass(kw_only=True)
class SeenError:
    """An error, the time of its last occurrence, and their number."""

    text: str
    time: datetime
    count: int


class RecentErrors:
    """The last few errors that differ in more than numbers, the latest at the end.

    Noted where they are not passed on: by the coordinator for polls, by the control for
    renewals and releases, by `errors.translating` for the actions of users.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._by_kind: dict[str, SeenError] = {}

    def __iter__(self) -> Iterator[SeenError]:
        """Iterate over them, the oldest first."""
        return iter(self._by_kind.values())

    def note(self, err: BatteryError) -> None:
        """Keep an error, and forget the oldest when there are too many."""
        text = f"{type(err).__name__}: {err}"
        if isinstance(err, AnotherDeviceError):
            # Diagnostics know the serial number of the battery itself, not of others.
            text = text.replace(err.present, "#")
        kind = _NUMBER.sub("#", text)
        before = self._by_kind.pop(kind, None)
        self._by_kind[kind] = SeenError(
            text=text,
            time=dt_util.utcnow(),
            count=1 if before is None else before.count + 1,
        )
        while len(self._by_kind) > KEPT:
            del self._by_kind[next(iter(self._by_kind))]
