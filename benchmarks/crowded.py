"""Home Assistant with many batteries, in a process of its own.

It runs with the integration of the folder that it is started in, which may be of an
older commit, and so uses nothing of the integration but its entities. It reads a line
with its task, and prints its figures.
"""

import asyncio
from collections.abc import Mapping, Sequence
import gc
import json
import logging
from pathlib import Path
import resource
import sys
import time
from typing import Any, Final

from homeassistant.const import EVENT_STATE_CHANGED, EVENT_STATE_REPORTED
from homeassistant.core import Event, HomeAssistant, callback
from pytest_homeassistant_custom_component.common import MockConfigEntry

from .home import add_entry, entity_id, home_assistant
from .stalls import longest_collection, longest_stall

LEARNING: Final = 12
"""Minutes' polls before anything is measured: batteries learn which reads are answered."""
SETTLE: Final = 5.0
"""Seconds between the set-up and the time that is measured."""
FINE: Final = 0.002
COARSE: Final = 0.02
"""Seconds between two timers that measure stalls; coarse ones while CPU is measured."""
FINE_SPAN: Final = 15.0
"""Seconds in which stalls are measured finely while batteries are polled."""


async def measure(
    batteries: Sequence[dict[str, Any]], held: int, seconds: float
) -> dict[str, float]:
    """Set batteries up, hold some of them, and measure a while."""
    async with home_assistant() as hass:
        entries = [
            add_entry(hass, each["type"], each["serial"], each["setup"])
            for each in batteries
        ]
        # A collection of all that was imported by now would be the longest stall.
        gc.collect()
        gc.freeze()
        before = time.monotonic()
        with longest_collection() as collection, longest_stall(FINE) as at_set_up:
            await _set_up(hass, entries)
        set_up = time.monotonic() - before
        for _ in range(LEARNING):
            await asyncio.gather(*map(_poll_all, entries))
        for entry in entries[:held]:
            await _hold(hass, entry)
        await asyncio.sleep(SETTLE)
        figures = await _meanwhile(hass, entries, seconds)
        gc.unfreeze()
        full_collection = _full_collection()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures | {
        "set_up": set_up,
        "set_up_stall": 1000 * at_set_up.longest,
        "set_up_stall_cpu": 1000 * at_set_up.own_cpu,
        "peak": peak,
        "set_up_collection": 1000 * collection.longest,
        "full_collection": 1000 * full_collection,
    }


def _full_collection() -> float:
    """Collect all garbage, and return the time that it takes, s."""
    began = time.monotonic()
    gc.collect()
    return time.monotonic() - began


async def _set_up(hass: HomeAssistant, entries: Sequence[MockConfigEntry]) -> None:
    """Set all entries up at once, as a start of Home Assistant does."""
    done = await asyncio.gather(
        *(hass.config_entries.async_setup(entry.entry_id) for entry in entries)
    )
    await hass.async_block_till_done(wait_background_tasks=True)
    assert all(done), [entry.reason for entry in entries]


async def _poll_all(entry: MockConfigEntry) -> None:
    """Poll a battery as once a minute; older commits poll live values, and do not learn."""
    coordinator = entry.runtime_data.coordinator
    _let_minutes_poll_be_due(coordinator)
    await coordinator.async_refresh()


async def _hold(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    target = entity_id(hass, str(entry.unique_id), "number", "power_setpoint")
    await hass.services.async_call(
        "number", "set_value", {"entity_id": target, "value": 600}, blocking=True
    )


async def _meanwhile(
    hass: HomeAssistant, entries: Sequence[MockConfigEntry], seconds: float
) -> dict[str, float]:
    """Measure CPU, stalls, memory and states; CPU and states a minute.

    Stalls are measured again for a while with a timer that is as fine as at the set-up,
    which costs too much CPU to be there while that is measured.
    """
    states = 0
    missed = 0

    @callback
    def count(_event: Event[Any]) -> None:
        nonlocal states
        states += 1

    @callback
    def is_counted(_data: Mapping[str, Any]) -> bool:
        return True

    @callback
    def note(coordinator: Any) -> None:
        nonlocal missed
        missed += not coordinator.last_update_success

    stops = [hass.bus.async_listen(EVENT_STATE_CHANGED, count)]
    stops.append(
        hass.bus.async_listen(EVENT_STATE_REPORTED, count, event_filter=is_counted)
    )
    for entry in entries:
        coordinator = entry.runtime_data.coordinator
        stops.append(
            coordinator.async_add_listener(lambda of=coordinator: note(of), ())
        )
    cpu, began = time.process_time(), time.monotonic()
    with longest_stall(COARSE) as coarse:
        await asyncio.sleep(seconds)
    minutes = (time.monotonic() - began) / 60
    cpu = time.process_time() - cpu
    states_a_minute = states / minutes
    for entry in entries:
        _let_minutes_poll_be_due(entry.runtime_data.coordinator)
    with longest_stall(FINE) as fine:
        await asyncio.sleep(min(seconds, FINE_SPAN))
    for stop in stops:
        stop()
    return {
        "cpu": cpu / minutes,
        "states": states_a_minute,
        "missed": missed,
        "stall": 1000 * max(coarse.longest, fine.longest),
        "stall_cpu": 1000 * max(coarse.own_cpu, fine.own_cpu),
        "memory": resident(),
    }


def _let_minutes_poll_be_due(coordinator: Any) -> None:
    """Have a battery read slow values with its next poll; older commits cannot."""
    expire = getattr(coordinator, "expire", None)
    if expire is not None:
        expire()


def resident() -> float:
    """Return the memory that this process occupies, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Do the task of the first line."""
    logging.disable(logging.WARNING)
    task = json.loads(sys.stdin.readline())
    print(json.dumps(asyncio.run(measure(**task))), flush=True)


if __name__ == "__main__":
    main()
