"""An event loop in which no time is waited for: where nothing is to do, time leaps."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
import selectors
import time
from typing import Any, Final, override
from unittest.mock import patch

from homeassistant.helpers import event
from homeassistant.util import dt as dt_util

_BREATH: Final = 0.001
"""Seconds of real time to wait while a thread is working."""


class FastLoop(asyncio.SelectorEventLoop):
    """Time leaps to the next timer as soon as no socket and no thread has anything.

    That works where both ends of each connection are in this process.
    """

    def __init__(self) -> None:
        """Begin at the present time."""
        self.ahead = 0.0
        """Seconds that its time is ahead of the real one."""
        self.leaps = True
        """Whether time leaps; at the end threads are waited for."""
        self._working = 0
        super().__init__(_Selector(self._leap, self._is_waiting))

    @override
    def time(self) -> float:
        return super().time() + self.ahead

    def _leap(self, seconds: float) -> None:
        self.ahead += seconds

    def _is_waiting(self) -> bool:
        """Return whether time goes by as it is."""
        return self._working > 0 or not self.leaps

    @override
    def run_in_executor[*Ts, T](
        self, executor: Any, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread, for which time waits."""
        future = super().run_in_executor(executor, func, *args)
        self._working += 1
        future.add_done_callback(self._note_done)
        return future

    def _note_done(self, _: object) -> None:
        self._working -= 1


class _Selector(selectors.DefaultSelector):
    """Leaps instead of waiting for a time-out."""

    def __init__(
        self, leap: Callable[[float], None], is_waiting: Callable[[], bool]
    ) -> None:
        """Take what moves time, and what says whether it goes by as it is."""
        super().__init__()
        self._leap = leap
        self._is_waiting = is_waiting

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None or self._is_waiting():
            return super().select(_BREATH)
        self._leap(timeout)
        return []


@contextmanager
def clocks_of(loop: FastLoop) -> Iterator[None]:
    """Let the clocks that Home Assistant reads be as far ahead as the loop."""
    real = time.time

    def now() -> float:
        return real() + loop.ahead

    def utcnow() -> datetime:
        return datetime.fromtimestamp(now(), UTC)

    with (
        patch.object(time, "time", now),
        patch.object(dt_util, "utcnow", utcnow),
        patch.object(event, "time_tracker_timestamp", now),
    ):
        yield
