"""What follows from something that is asked for again and again."""

from collections.abc import Callable, Hashable
from typing import Final

_MOST: Final = 16
"""Answers that are kept; polls need two, a few at most."""


class Kept[K: Hashable, V](dict[K, V]):
    """Answers of a function, by what it was asked; found when they are first looked up.

    Used as `kept[key]`. To be cleared when something changes on which they depend.
    """

    def __init__(self, find: Callable[[K], V]) -> None:
        """Keep what `find` returns."""
        super().__init__()
        self._find = find

    def __missing__(self, key: K) -> V:
        """Find an answer; so many different ones are not asked for by polls."""
        if len(self) >= _MOST:
            self.clear()
        value = self[key] = self._find(key)
        return value
