"""The truth: the answers of a device when nothing is between it and a reader."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import math
from typing import Any, Final

from homeassistant.util import dt as dt_util

from custom_components.homebattery.coordinator import BatteryCoordinator
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.measurements import (
    MEASUREMENTS,
    Quantity,
    Value,
)
from tests.simulators import Simulator

_STEADY: Final = frozenset(
    {
        Quantity.SOC,
        Quantity.ENERGY_TOTAL,
        Quantity.ENERGY_TODAY,
        Quantity.ENERGY_SINCE_START,
        Quantity.DURATION,
    }
)
"""Quantities that are true anywhere between the lowest and the highest true value: they
go on between two reads."""
_PASSING: Final = ("energy", "soc", "hour")
"""Words in the names of a simulator's state that change by themselves."""
_TOLERANCE: Final = 1e-3


class SteeredTime:
    """The time of an event loop, which can go slower, and stand still.

    Where nothing is to time out it goes slowly, so that nothing does on a busy machine.
    """

    def __init__(self, time: Callable[[], float], slowness: float) -> None:
        """Go on with `time`, s, so many times slower."""
        self._time = time
        self._slowness = slowness
        self._real = self._begin = time()
        self._now: float | None = None

    def __call__(self) -> float:
        """Return the time, s."""
        if self._now is not None:
            return self._now
        return self._begin + (self._time() - self._real) / self._slowness

    def _go_on(self, now: float, slowness: float) -> None:
        self._begin, self._real, self._slowness = now, self._time(), slowness

    @contextmanager
    def real(self) -> Iterator[None]:
        """Let the time go as fast as it does."""
        slowness = self._slowness
        self._go_on(self(), 1)
        try:
            yield
        finally:
            self._go_on(self(), slowness)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the time stand still: what happens takes none."""
        now = self._now = self()
        try:
            yield
        finally:
            self._now = None
            self._go_on(now, self._slowness)


class Truth:
    """Every reading that was true at any moment, and those that were shown."""

    def __init__(self, simulator: Simulator, time: SteeredTime) -> None:
        """Prepare to read a device directly, while `time` stands still."""
        self._simulator = simulator
        self._time = time
        self._lock = asyncio.Lock()
        self._reader: Battery = DRIVERS[simulator.type].from_setup(simulator.setup)
        self._reader.local_time = dt_util.now
        self._seen: Any = None
        self._true: dict[str, list[Value]] = {}
        self._shown: dict[str, list[Value]] = {}

    async def start(self) -> None:
        """Connect, and read the device the first time."""
        await self._reader.connect()
        await self.take()

    def watch(self, coordinator: BatteryCoordinator) -> None:
        """Compare what a coordinator shows, from now on."""

        def note() -> None:
            data = coordinator.data
            if coordinator.last_update_success:
                _add(self._shown, {k: data[k] for k in data if k not in data.failures})

        note()
        coordinator.async_add_listener(note)

    async def stop(self) -> None:
        """Close the connection to the device."""
        await self._reader.close()

    async def take(self, *, always: bool = True) -> None:
        """Read the device; without `always` only if it has changed since."""
        state = self._simulator.state()
        seen = (
            self._simulator.settings_words(),
            {key: state[key] for key in state if not any(p in key for p in _PASSING)},
        )
        async with self._lock:
            if always or seen != self._seen:
                self._seen = seen
                with self._time.stopped():
                    _add(self._true, await self._reader.read())

    @property
    def wrong(self) -> dict[str, list[Value]]:
        """The values that were shown and never were true, by key."""
        return {
            key: wrong
            for key, values in self._shown.items()
            if (wrong := [each for each in values if not self._is_true(key, each)])
        }

    def allow(self, key: str, *values: Value) -> None:
        """Take these values for true."""
        for value in values:
            _add(self._true, {key: value})

    def _is_true(self, key: str, value: Value) -> bool:
        """Return whether a value was true; None means that it is not known."""
        true = self._true.get(key, [])
        if value is None or value in true:
            return True
        if not isinstance(value, int | float):
            return False
        numbers = [each for each in true if isinstance(each, int | float)]
        if numbers and MEASUREMENTS[key].quantity in _STEADY:
            return min(numbers) <= value <= max(numbers)
        return any(
            math.isclose(value, each, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
            for each in numbers
        )


def _add(known: dict[str, list[Value]], values: Mapping[str, Value]) -> None:
    for key, value in values.items():
        if value not in known.setdefault(key, []):
            known[key].append(value)
