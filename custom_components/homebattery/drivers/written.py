"""Registers, or endpoints, that were written and are to be read again."""

from collections.abc import Hashable
from typing import Final

SHOWN_AFTER: Final = 2.0
"""Seconds after a write until every device shows it."""


class Written[T: Hashable]:
    """The items that were written, and may not have been read since.

    Times are the event loop's, s.
    """

    def __init__(self) -> None:
        """Begin with nothing written."""
        self._at: dict[T, float] = {}

    def note(self, item: T, now: float) -> None:
        """Note that `item` is written now."""
        self._at[item] = now

    def take(self, now: float) -> set[T]:
        """Return the items to read now.

        An item is returned for the last time when its write is long enough ago for the
        device to show it.
        """
        items = set(self._at)
        self._at = {item: at for item, at in self._at.items() if now - at < SHOWN_AFTER}
        return items
