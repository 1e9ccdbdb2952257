"""The cost of some work: time, and the CPU of this process."""

from collections.abc import Awaitable, Callable
import time
from typing import NamedTuple


class Cost(NamedTuple):
    """The time that some work takes, s; CPU is that of this process alone."""

    wall: float
    cpu: float


async def cost_of(work: Callable[[], Awaitable[object]]) -> Cost:
    """Do some work, and return its cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    cpu_after, wall_after = time.process_time(), time.perf_counter()
    return Cost(wall_after - wall, cpu_after - cpu)
