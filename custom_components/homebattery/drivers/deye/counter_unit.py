"""The unit of a high-voltage Deye's energy counters: tenths of a kWh, or whole ones.

The firmware decides it: whole kWh from release 1098 on. A release with a letter does
not tell; the unit is then seen from the growth of the battery's counters against its
power over time, and unknown before that. The two differ by ten, so that a few counts
and a rough power are enough.
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
        """The unit; None until it is seen."""
        self._began_with: int | None = None
        """The counters when the run began."""
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
            self._began_with = None
            return
        self._power = abs(power), now
        if last is None or now - last[1] > self.MOST_GAP:
            self._began_with = None
            return
        hours = (now - last[1]) / 3600
        self._kwh += (last[0] + abs(power)) / 2 * hours / 1000

    def note_counts(self, counts: int) -> None:
        """Judge by the counts of charge and discharge together, read with the power."""
        if self._power is None:
            return
        if self._began_with is None or counts < self._began_with:
            self._begin(counts)
            return
        grown = counts - self._began_with
        if grown < self.COUNTS:
            return
        ratio = self._kwh / grown
        for unit, (least, most) in self._KWH_PER_COUNT.items():
            if least <= ratio < most:
                self.unit = unit
        self._begin(counts)

    def _begin(self, counts: int) -> None:
        self._began_with, self._kwh = counts, 0.0
