"""Takeovers of a held battery by another controller: counted, and not fought."""

from collections import deque
import math
from typing import Final

OFTEN: Final = 3
OF_LATE: Final = 24 * 3600.0
"""OFTEN takeovers in OF_LATE seconds are worth a repair issue."""


class Takeovers:
    """Count the takeovers by other controllers. Times are loop times, s."""

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0
        """Number of takeovers since the start."""
        self._last: deque[float] = deque(maxlen=OFTEN)
        self._released = -math.inf

    def note(self, now: float) -> None:
        """Count a takeover."""
        self.count += 1
        self._last.append(now)

    def note_release(self, now: float) -> None:
        """Note that the user releases the battery, perhaps to the other controller."""
        self._released = now

    def are_frequent(self, now: float) -> bool:
        """Return whether there were many of late, the last one after a release."""
        if len(self._last) < OFTEN:
            return False
        return now - self._last[0] <= OF_LATE and self._last[-1] > self._released
