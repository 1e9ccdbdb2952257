"""The cost of some work: time, and the CPU of this process."""

from collections.abc import Awaitable, Callable
from statistics import median
import time
from typing import NamedTuple

type Work = Callable[[], Awaitable[object]]


class Cost(NamedTuple):
    """The time that some work takes, ms; CPU is that of this process alone."""

    wall: float
    cpu: float


async def costs_of(rounds: int, *works: Work) -> list[Cost]:
    """Return the median costs of several works, which are done in turn.

    In turn, so that other load on the machine slows down all of them.
    """
    costs = [[await _cost_of(work) for work in works] for _ in range(rounds)]
    by_work = zip(*costs, strict=True)
    return [Cost(*map(median, zip(*each, strict=True))) for each in by_work]


async def _cost_of(work: Work) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    cpu_after, wall_after = time.process_time(), time.perf_counter()
    return Cost(1000 * (wall_after - wall), 1000 * (cpu_after - cpu))
