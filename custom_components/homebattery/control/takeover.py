"""Somebody else at the controls of a battery that is held: noticed, and not fought."""

from collections import deque
import math
from typing import Final

OFTEN: Final = 3
OF_LATE: Final = 24 * 3600.0
"""So many interventions in so many seconds are worth a repair issue."""


class Interventions:
    """How often somebody else took over. Times are those of the event loop, s."""

    def __init__(self) -> None:
        """Begin with nobody else."""
        self.count = 0
        """Since the start."""
        self._last: deque[float] = deque(maxlen=OFTEN)
        self._yielded = -math.inf

    def note(self, now: float) -> None:
        """Note that somebody else has taken over."""
        self.count += 1
        self._last.append(now)

    def owner_yields(self, now: float) -> None:
        """Note that the owner gives the battery back, to whoever it is."""
        self._yielded = now

    def are_frequent(self, now: float) -> bool:
        """Return whether there were many of late, the last after the owner gave in."""
        if len(self._last) < OFTEN:
            return False
        return now - self._last[0] <= OF_LATE and self._last[-1] > self._yielded
