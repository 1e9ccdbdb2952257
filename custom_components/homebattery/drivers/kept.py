"""Answers of a function that is asked the same again and again."""

from collections.abc import Callable, Hashable
from typing import Final

_MOST: Final = 16
"""Answers that are kept; polls need two, a few at most."""


class Kept[K: Hashable, V](dict[K, V]):
    """Answers of a function, by its argument; each is computed for its first use.

    Used as `kept[argument]`. To be cleared when something changes on which they depend.
    """

    def __init__(self, compute: Callable[[K], V]) -> None:
        """Keep what `compute` returns."""
        super().__init__()
        self._compute = compute

    def __missing__(self, key: K) -> V:
        """Compute an answer, and keep it; all others go where they are too many."""
        if len(self) >= _MOST:
            self.clear()
        value = self[key] = self._compute(key)
        return value
