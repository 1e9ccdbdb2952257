"""Whose turn it is to talk to a device that listens to one request at a time.

A setpoint, its renewal and its release are urgent: they go before all who only want
to read, wait at most for the one request that is under way, and are not interrupted
between their own requests, so that a device is half way between two states as
briefly as it can be.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final


class _Matter:
    """An urgent matter, and the devices that were talked to for it."""

    def __init__(self) -> None:
        self.at: set[Turns] = set()
        self.is_done = False


_MATTER: Final[ContextVar[_Matter | None]] = ContextVar("urgent matter", default=None)


@contextmanager
def urgent() -> Iterator[None]:
    """Let the requests of this task go before those of others that are not urgent."""
    matter = _Matter()
    token = _MATTER.set(matter)
    try:
        yield
    finally:
        _MATTER.reset(token)
        matter.is_done = True
        for turns in matter.at:
            turns.end(matter)


class Turns:
    """One at a time: the urgent first, otherwise in the order in which they came.

    Used as a lock: `async with turns`.
    """

    def __init__(self) -> None:
        """Begin with nobody's turn."""
        self._taken = False
        self._matters: set[_Matter] = set()
        """Urgent matters that have begun here and go on."""
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a turn."""
        matter = _MATTER.get()
        if matter is not None and not matter.is_done:
            matter.at.add(self)
            self._matters.add(matter)
        if not self._taken and (matter is not None or not self._matters):
            self._taken = True
            return
        queue = self._others if matter is None else self._urgent
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

    def end(self, matter: _Matter) -> None:
        """Let those who only read have their turns again."""
        self._matters.discard(matter)
        if not self._taken:
            self._pass_on()

    def _pass_on(self) -> None:
        self._taken = self._wake(self._urgent) or (
            not self._matters and self._wake(self._others)
        )

    def _wake(self, queue: deque[asyncio.Future[None]]) -> bool:
        """Give the turn to the first who still wants it; return whether one did."""
        while queue:
            turn = queue.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return True
        return False
