"""Whose turn it is to talk to a device that listens to one request at a time.

A setpoint, its renewal and its release are urgent: they go before all who only want
to read, and wait at most for the one request that is under way.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_URGENT: Final = ContextVar("urgent", default=False)


@contextmanager
def urgent() -> Iterator[None]:
    """Let the requests of this task go before those of others that are not urgent."""
    token = _URGENT.set(True)
    try:
        yield
    finally:
        _URGENT.reset(token)


class Turns:
    """One at a time: the urgent first, otherwise in the order in which they came.

    Used as a lock: `async with turns`.
    """

    def __init__(self) -> None:
        """Begin with nobody's turn."""
        self._taken = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a turn."""
        if not self._taken:
            self._taken = True
            return
        queue = self._urgent if _URGENT.get() else self._others
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The turn had just come, and is the next one's now.
                self._pass_on()
            elif turn in queue:
                queue.remove(turn)
            raise

    async def __aexit__(self, *_: object) -> None:
        """Let the next one have its turn."""
        self._pass_on()

    def _pass_on(self) -> None:
        while queue := self._urgent or self._others:
            turn = queue.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._taken = False
