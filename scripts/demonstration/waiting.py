"""Waiting with a time limit, and an error that names what was missing."""

import asyncio
from collections.abc import Awaitable, Callable
import time

import aiohttp

from . import AnswerError, DemoError


async def wait_for[T](
    what: str,
    observe: Callable[[], Awaitable[T]],
    enough: Callable[[T], bool],
    *,
    seconds: float,
    pause: float = 0.5,
) -> T:
    """Observe repeatedly until it is enough; raise DemoError when time is up."""
    end = time.monotonic() + seconds
    while True:
        seen: T | None = None
        trouble = ""
        try:
            async with asyncio.timeout(max(end - time.monotonic(), 0.1)):
                seen = await observe()
            if enough(seen):
                return seen
        except (aiohttp.ClientError, AnswerError, OSError, TimeoutError) as err:
            # Probably not there yet.
            trouble = describe(err)
        if time.monotonic() + pause > end:
            raise DemoError(
                f"waited {seconds:.0f} s for {what}; last seen: {trouble or seen}"
            )
        await asyncio.sleep(pause)


def describe(err: Exception) -> str:
    """Return an error as text, with its type where it may have no text."""
    return str(err) if isinstance(err, DemoError) else f"{type(err).__name__} {err}"
