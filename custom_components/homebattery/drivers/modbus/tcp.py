"""What pymodbus logs of our requests: only for those who debug us.

It logs every failure by itself, with the last frames of every client in the process,
as often as it happens. Ours are errors that say what failed, and whoever polls says it
once. Others in the same process use pymodbus, too: their lines are left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
import logging
from typing import Final

from pymodbus.logging import Log

_PYMODBUS: Final = logging.getLogger(Log.__module__)
_DEBUGGED: Final = (logging.getLogger(__name__), _PYMODBUS)
"""Whoever sets one of these to debug wants to see it all."""

_OURS: Final = ContextVar("pymodbus works for us", default=False)


@contextmanager
def quiet_pymodbus() -> Iterator[None]:
    """Keep pymodbus from logging what it does here, unless we log for debugging.

    That goes for tasks and connections that are begun here, too, as long as they last:
    asyncio calls what receives their data in the context in which they were made.
    """
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def _is_wanted(_: logging.LogRecord) -> bool:
    """Return False for a record of pymodbus that nobody needs."""
    if not _OURS.get() or any(each.isEnabledFor(logging.DEBUG) for each in _DEBUGGED):
        return True
    # It leaves out what it has just said; nobody has seen this.
    Log.last_log_text = ""
    return False


_PYMODBUS.addFilter(_is_wanted)
