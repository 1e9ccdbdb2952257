"""Refusals and time-outs of one register, block or endpoint.

One says little, and none holds for ever.
"""

import asyncio
import math
from typing import Final

CERTAIN_REFUSALS: Final = 2
"""Number of refusals in a row after which a register or endpoint is surely missing."""
ASK_AGAIN: Final = 600.0
"""Seconds after the last refusal until that is doubtful again."""
BACK_OFF: Final = (60.0, 300.0, 600.0)
"""Seconds without a question after its first time-out, its second one, and so on."""


class Refusals:
    """The number of refusals in a row, and the time of the last one."""

    def __init__(self) -> None:
        """Begin with no refusal."""
        self._count = 0
        self._last = 0.0

    def note(self) -> None:
        """Note another refusal."""
        self._count += 1
        self._last = _now()

    @property
    def are_uncertain(self) -> bool:
        """Whether the register or endpoint refused may be there after all."""
        elapsed = _now() - self._last
        return self._count < CERTAIN_REFUSALS or elapsed >= ASK_AGAIN


class BackOff:
    """The pause of a question that got no answer, longer with each time in a row."""

    def __init__(self, free: int = 0) -> None:
        """Begin without a pause, which the first `free` time-outs do not cause either."""
        self._count = -free
        self.until = -math.inf
        """The time of the event loop, s, at which it ends."""

    def note(self) -> None:
        """Note another time-out, and pause from now on."""
        if self._count >= 0:
            self.until = _now() + BACK_OFF[min(self._count, len(BACK_OFF) - 1)]
        self._count += 1

    def rest(self, seconds: float) -> None:
        """Pause for that long from now on."""
        self.until = _now() + seconds

    @property
    def is_over(self) -> bool:
        """Whether the question may be asked again."""
        return _now() >= self.until


def _now() -> float:
    """Return the time of the event loop, s."""
    return asyncio.get_running_loop().time()
