"""The unit of a high-voltage Deye's energy counters: tenths of a kWh, or whole ones.

The firmware decides it: whole kWh from release 1098 on. A release with a letter does
not tell; the unit is then seen from the growth of the battery's counters against its
power over time, and unknown before that. The two differ by ten, so that a few counts
and a rough power are enough; but any count may be damaged, so that two judgements in a
row decide.
"""

from enum import StrEnum
from typing import Final

from .registers import Kind

_WHOLE_RELEASE: Final = 0x1098
"""The firmware of high-voltage inverters from which counters count whole kWh."""


class CounterUnit(StrEnum):
    """The user's choice, and the unit itself."""

    AUTOMATIC = "automatic"
    """As the firmware has it, or as it is seen."""
    TENTHS = "tenths"
    WHOLE = "whole"


def unit_of(kind: Kind, release: int) -> CounterUnit | None:
    """Return the unit that a kind of inverter has with a firmware's release.

    None for a release that does not tell (0).
    """
    if kind is not Kind.HIGH_VOLTAGE:
        return CounterUnit.TENTHS
    if not release:
        return None
    return CounterUnit.WHOLE if release >= _WHOLE_RELEASE else CounterUnit.TENTHS


class CounterUnitWatch:
    """Sees the unit of counters from their growth, and the power meanwhile."""

    MOST_GAP: Final = 300.0
    """Seconds between two powers; in more time it may have been anything between."""
    LEAST_POWER: Final = 200
    """W; of less it is not certain that it is counted as it is shown."""
    COUNTS: Final = 3
    """Growth that is enough: either counter may be one count ahead or behind."""
    _KWH_PER_COUNT: Final = {
        CounterUnit.TENTHS: (0.025, 0.25),
        CounterUnit.WHOLE: (0.25, 2.5),
    }

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.unit: CounterUnit | None = None
        """The unit that two judgements in a row agreed on last; None before that."""
        self._judged: CounterUnit | None = None
        """The last judgement."""
        self._counts: int | None = None
        """The counters when the run began; None while there is no run."""
        self._has_grown = False
        """Whether the run began at a growth: counters may be behind the power."""
        self._kwh = 0.0
        """The energy of the battery in the run, in either direction."""
        self._power: tuple[float, float] | None = None
        """The last power, W, and its time, s."""

    def note_power(self, power: float | None, now: float) -> None:
        """Add the energy since the last power, W; None for one that is not known.

        `now` is the event loop's time, s. The sign does not matter; a power that is
        small or not known ends the run.
        """
        last, self._power = self._power, None
        if power is None or abs(power) < self.LEAST_POWER:
            self._counts = None
            return
        self._power = abs(power), now
        if last is None or now - last[1] > self.MOST_GAP:
            self._counts = None
            return
        hours = (now - last[1]) / 3600
        self._kwh += (last[0] + abs(power)) / 2 * hours / 1000

    def note_counts(self, counts: int) -> None:
        """Judge by the counts of charge and discharge together, read with the power."""
        if self._power is None:
            return
        if self._counts is None:
            self._begin(counts)
        elif counts < self._counts:
            # One of the two was damaged, and what was judged by it.
            self._judged = None
            self._begin(counts)
        elif not self._has_grown:
            if counts > self._counts:
                self._begin(counts, has_grown=True)
        elif counts - self._counts >= self.COUNTS:
            self._judge(self._kwh / (counts - self._counts))
            self._begin(counts, has_grown=True)

    def _judge(self, kwh_per_count: float) -> None:
        for unit, (least, most) in self._KWH_PER_COUNT.items():
            if least <= kwh_per_count < most:
                if unit is self._judged:
                    self.unit = unit
                self._judged = unit

    def _begin(self, counts: int, *, has_grown: bool = False) -> None:
        self._counts, self._has_grown, self._kwh = counts, has_grown, 0.0
