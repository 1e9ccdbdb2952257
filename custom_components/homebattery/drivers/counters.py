"""Energy counters that stumble: the reading that would spoil a statistic is left out.

Inverters show 0 or garbage in their counters for a moment, most often at wake-up. A
total that falls, or rises faster than any power on site could make it, is doubted; it
is believed when it stays.
"""

from dataclasses import dataclass
from typing import Final

SLACK: Final = 1.0
"""kWh that a counter may rise in no time: it may count whole ones."""
BELIEVED_AFTER: Final = 3
"""Readings in a row that must agree before what was doubted is believed."""


@dataclass(slots=True)
class _Seen:
    """The last believed value, kWh, when it was, s, and the doubts since."""

    value: float
    at: float
    doubted: float = 0.0
    doubts: int = 0


class CounterGuard:
    """Watches the counters of one device; `power` (W) is the most there can be."""

    def __init__(self, power: float) -> None:
        """Begin with nothing seen."""
        self._power = power
        self._seen: dict[str, _Seen] = {}

    def check(self, key: str, value: float, now: float) -> float | None:
        """Return `value` (kWh) if it can be believed at the time `now` (s), else None."""
        seen = self._seen.get(key)
        if seen is not None and not self._follows(seen.value, value, now - seen.at):
            agrees = self._follows(seen.doubted, value, now - seen.at)
            seen.doubts = seen.doubts + 1 if seen.doubts and agrees else 1
            seen.doubted = value
            if seen.doubts < BELIEVED_AFTER:
                return None
        self._seen[key] = _Seen(value, now)
        return value

    def _follows(self, before: float, value: float, seconds: float) -> bool:
        """Return True when a counter can have come from one value to the other."""
        most = self._power / 1000 * seconds / 3600
        return before <= value <= before + most + SLACK
