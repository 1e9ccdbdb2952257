"""Energy counters that stumble: what would spoil a statistic is left out."""

from collections.abc import Mapping
from typing import Final

from .modbus import Value


class CounterWatch:
    """Keeps impossible readings of energy counters from being taken for values.

    An inverter that wakes up may show 0 for a while, and a reading may be torn.
    `power` is the most that any counter can grow with, W.
    """

    SLACK: Final = 1.0
    """kWh that a counter may jump anyway: counters are rounded and come late."""
    BELIEVED_AFTER: Final = 3
    """Readings in a row that make the impossible true, such as a new meter."""

    def __init__(self, power: float) -> None:
        """Begin with no reading seen."""
        self._power = power
        self._last: dict[str, tuple[float, float]] = {}
        self._doubts: dict[str, int] = {}

    def checked(self, values: Mapping[str, Value], now: float) -> dict[str, Value]:
        """Return counters by name, kWh, with None for what cannot be; `now` in s."""
        return {name: self._check(name, value, now) for name, value in values.items()}

    def _check(self, name: str, value: Value, now: float) -> Value:
        if not isinstance(value, int | float):
            return value
        size, doubts = abs(value), self._doubts.get(name, 0)
        if name in self._last:
            last, since = self._last[name]
            growth = self._power * (now - since) / 3_600_000 + self.SLACK
            likely, possible = last <= size <= last + growth, size > 0
        else:
            # A counter may really stand at 0, but then it stays there for a while.
            likely, possible = size > 0, True
        if not likely and not (possible and doubts >= self.BELIEVED_AFTER):
            self._doubts[name] = doubts + 1
            return None
        self._last[name] = (size, now)
        self._doubts[name] = 0
        return value
