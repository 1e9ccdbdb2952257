"""Lock a device that serves one request at a time; high priority goes first.

A setpoint, its renewal and its release have high priority: they go before all reads,
wait at most for the one request that is under way, and are not interrupted between
their own requests, so that a device is half way between two states as briefly as it
can be.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final


class _Operation:
    """An operation of high priority, and the locks that it has waited for."""

    def __init__(self) -> None:
        self.at: set[PriorityLock] = set()
        self.is_done = False


_OPERATION: Final[ContextVar[_Operation | None]] = ContextVar(
    "operation of high priority", default=None
)


@contextmanager
def high_priority() -> Iterator[None]:
    """Give the requests of this task priority over those without."""
    operation = _Operation()
    token = _OPERATION.set(operation)
    try:
        yield
    finally:
        _OPERATION.reset(token)
        operation.is_done = True
        for lock in operation.at:
            lock.end(operation)


def has_high_priority() -> bool:
    """Return whether the requests of this task have priority over those without."""
    operation = _OPERATION.get()
    return operation is not None and not operation.is_done


class PriorityLock:
    """A lock that serves high priority first, otherwise in the order of arrival.

    Used as `async with lock`.
    """

    def __init__(self) -> None:
        """Begin unlocked."""
        self._is_locked = False
        self._operations: set[_Operation] = set()
        """Operations of high priority that have begun here and go on."""
        self._high_priority: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait until the lock is free."""
        operation = _OPERATION.get()
        if operation is not None and not operation.is_done:
            operation.at.add(self)
            self._operations.add(operation)
        if not self._is_locked and (operation is not None or not self._operations):
            self._is_locked = True
            return
        queue = self._others if operation is None else self._high_priority
        waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # It had just been given the lock, which is the next one's now.
                self._pass_on()
            elif waiter in queue:
                queue.remove(waiter)
            raise

    async def __aexit__(self, *_: object) -> None:
        """Pass the lock on to the next that waits."""
        self._pass_on()

    def end(self, operation: _Operation) -> None:
        """End an operation: requests without priority are served again."""
        self._operations.discard(operation)
        if not self._is_locked:
            self._pass_on()

    def _pass_on(self) -> None:
        self._is_locked = self._wake(self._high_priority) or (
            not self._operations and self._wake(self._others)
        )

    def _wake(self, queue: deque[asyncio.Future[None]]) -> bool:
        """Give the lock to the first that still waits; return False if none does."""
        while queue:
            waiter = queue.popleft()
            if not waiter.cancelled():
                waiter.set_result(None)
                return True
        return False
