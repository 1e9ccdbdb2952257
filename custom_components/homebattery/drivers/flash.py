"""Writes to a device's flash: counted, and bounded each day.

Settings live in flash (EEPROM), which wears with each write; 100 000 writes are what
such memory is usually good for, and no vendor here promises more. A regulator that
changes them every minute has used that up in a season.
"""

from collections.abc import Callable
from datetime import date
from typing import Final

from .errors import FlashBudgetError

DAILY_BUDGET: Final = 240
"""Write requests a day. The costliest change of a setpoint (Deye) takes up to six, one
to each register: 40 changes a day, which are 100 000 writes of a register in seven
years."""


class FlashWear:
    """Counts the flash writes of a day, and limits them.

    A release is never refused: only what begins something new is checked.
    """

    def __init__(self, today: Callable[[], date] = date.today) -> None:
        """Begin with nothing written; `today` returns the current date."""
        self.today = today
        self._day = today()
        self._writes = 0

    @property
    def writes_today(self) -> int:
        """Write requests to flash that were sent today."""
        return self._writes if self._day == self.today() else 0

    def restore(self, day: date, writes: int) -> None:
        """Resume the count from before a restart."""
        if day == self.today():
            self._day, self._writes = day, self.writes_today + writes

    def note(self) -> None:
        """Count a write request."""
        self._writes = self.writes_today + 1
        self._day = self.today()

    @property
    def is_used_up(self) -> bool:
        """Whether nothing new that writes flash may be begun today."""
        return self.writes_today >= DAILY_BUDGET

    def check(self, device: str) -> None:
        """Raise FlashBudgetError when `device` has used up its writes for today."""
        if self.is_used_up:
            raise FlashBudgetError(
                f"{device}: {self.writes_today} writes to its flash memory today, "
                f"which wears it out; no more than {DAILY_BUDGET} are made in a day. "
                "A setpoint that is held stays held and can be released; change "
                "setpoints less often"
            )
