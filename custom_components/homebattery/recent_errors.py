"""The last things that went wrong with a battery, for its diagnostics."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
import re
from typing import Final

from homeassistant.util import dt as dt_util

from .drivers.errors import BatteryError

KEPT: Final = 10
_NUMBER: Final = re.compile(r"\d+")


@dataclass(kw_only=True)
class SeenError:
    """An error, when it was last seen, and how often."""

    text: str
    time: datetime
    count: int


class RecentErrors:
    """The last few errors that differ in more than numbers, the latest at the end.

    Noted by whoever does not pass them on: the coordinator for polls, the control for
    what it does by itself, `errors.translating` for what somebody asked for.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._by_kind: dict[str, SeenError] = {}

    def __iter__(self) -> Iterator[SeenError]:
        """Go through them, the oldest first."""
        return iter(self._by_kind.values())

    def note(self, err: BatteryError) -> None:
        """Keep an error, and forget the one that is longest ago."""
        text = f"{type(err).__name__}: {err}"
        kind = _NUMBER.sub("#", text)
        before = self._by_kind.pop(kind, None)
        self._by_kind[kind] = SeenError(
            text=text,
            time=dt_util.utcnow(),
            count=1 if before is None else before.count + 1,
        )
        while len(self._by_kind) > KEPT:
            del self._by_kind[next(iter(self._by_kind))]
