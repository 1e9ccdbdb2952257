"""Polls upon request: one for each line of input, with a line of JSON in answer."""

import asyncio
from collections.abc import Awaitable, Callable
import json
import sys
import time


def answer(**figures: object) -> None:
    """Print a line of JSON."""
    print(json.dumps(figures), flush=True)


async def serve(poll: Callable[[], Awaitable[int]]) -> None:
    """Poll once a line; `poll` returns the number of values that it read.

    The first line that is printed says that it is ready.
    """
    answer(ready=True)
    while await asyncio.to_thread(sys.stdin.readline):
        wall, cpu = time.perf_counter(), time.process_time()
        values = await poll()
        cpu = time.process_time() - cpu
        answer(wall=time.perf_counter() - wall, cpu=cpu, values=values)
