"""Stalls of the event loop: how late a timer fires, and what part Python's garbage has."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
import gc
import time


@dataclass
class Stall:
    """The longest stall, s, and the longest in which this process worked."""

    longest: float = 0.0
    own_cpu: float = 0.0


@contextmanager
def longest_stall(interval: float) -> Iterator[Stall]:
    """Measure the longest stall meanwhile, with a timer at an interval, s."""
    loop = asyncio.get_running_loop()
    stall = Stall()
    due, cpu = loop.time() + interval, time.process_time()

    timer: asyncio.TimerHandle

    def fire() -> None:
        nonlocal due, cpu, timer
        now, cpu_now = loop.time(), time.process_time()
        late = now - due
        stall.longest = max(stall.longest, late)
        stall.own_cpu = max(stall.own_cpu, min(late, cpu_now - cpu))
        due, cpu = now + interval, cpu_now
        timer = loop.call_at(due, fire)

    timer = loop.call_at(due, fire)
    try:
        yield stall
    finally:
        timer.cancel()


@dataclass
class Collection:
    """The longest collection of garbage, s."""

    longest: float = 0.0


@contextmanager
def longest_collection() -> Iterator[Collection]:
    """Measure the longest collection of garbage meanwhile; nothing else runs during it."""
    collection = Collection()
    began = time.monotonic()

    def note(phase: str, _info: Mapping[str, int]) -> None:
        nonlocal began
        now = time.monotonic()
        if phase == "stop":
            collection.longest = max(collection.longest, now - began)
        began = now

    gc.callbacks.append(note)
    try:
        yield collection
    finally:
        gc.callbacks.remove(note)
