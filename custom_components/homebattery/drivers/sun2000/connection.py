"""Connections that another client steals: an inverter serves one at a time."""

import asyncio
from collections import deque
from typing import Final

_LOST_OFTEN: Final = 5
_LOST_WITHIN: Final = 600.0
"""Seconds in which so many lost connections mean another client."""


class LostConnections:
    """The times at which the connection was seen to be lost, loop time, s."""

    def __init__(self) -> None:
        """Begin without any."""
        self._lost_at: deque[float] = deque(maxlen=_LOST_OFTEN)

    def note(self) -> None:
        """Note one more loss."""
        self._lost_at.append(asyncio.get_running_loop().time())

    @property
    def are_frequent(self) -> bool:
        """Whether so many were lost lately that another client must steal them."""
        lost_at = self._lost_at
        if len(lost_at) < _LOST_OFTEN or lost_at[-1] - lost_at[0] > _LOST_WITHIN:
            return False
        return lost_at[-1] >= asyncio.get_running_loop().time() - _LOST_WITHIN
