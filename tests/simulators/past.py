"""The days before a simulated device was started, which it lives through in fast time.

So it starts with the SOC and the counters that weather and consumers gave it, and what
it did on the way can be read.
"""

from collections.abc import Sequence
import math
import random
import time
from typing import Any, Final

from .simulator import Simulator

STEP: Final = 300.0
"""Seconds between two records of the past."""
_SPEED: Final = 60.0
"""Seconds of the past that go by in one of its clock."""
_DAY: Final = 24.0  # h
_PERSISTENCE: Final = 0.9
"""Share of a deviation that is still there a step later."""
_CLOUDS: Final = 0.9
"""Deviation of the sun on a day of sun and clouds, as a share of it."""
_CONSUMERS: Final = 0.3
"""Deviation of the consumption, as a share of it."""
_LEAST: Final = 0.3
"""The least of the sun or consumption of a day, as a share of it."""
_BRIGHTEST: Final = 1.05
"""The most of the sun, as a share of a clear sky: clouds reflect some, too."""

type Record = dict[str, float]
"""A moment of the past: `at`, unix time, and what the device measured."""


class PastClock:
    """A clock that stands still until the past is over, and goes from then on."""

    def __init__(self) -> None:
        """Start at an arbitrary time."""
        self._now = 1000.0
        self._started: float | None = None

    def __call__(self) -> float:
        """Return the time in seconds."""
        if self._started is None:
            return self._now
        return self._now + time.monotonic() - self._started

    def advance(self, seconds: float) -> None:
        """Move the clock forward while it stands still."""
        self._now += seconds

    def start(self) -> None:
        """Let the clock go."""
        self._started = time.monotonic()


class Deviation:
    """A number that wanders around 0, by about 1: the same for the same seed."""

    def __init__(self, seed: str) -> None:
        """Begin at 0."""
        self._random = random.Random(seed)
        self._value = 0.0

    def step(self) -> float:
        """Return the next value."""
        kick = math.sqrt(1 - _PERSISTENCE**2) * self._random.gauss()
        self._value = _PERSISTENCE * self._value + kick
        return self._value


class Weather:
    """Sun and consumption of each day, which deviate from hour to hour."""

    def __init__(self, simulator: Simulator, days: Sequence[float]) -> None:
        """Take each day's share of a clear sky; the last one is today's."""
        plant = self._plant = simulator.plant
        self._days = days
        self._clear, self._mean = plant.pv_peak, plant.mean_load
        self._clouds = Deviation(f"clouds {simulator.type}")
        self._consumers = Deviation(f"consumers {simulator.type}")

    def step(self) -> None:
        """Change sun and consumption of the house, as the day has it."""
        day = min(int(self._plant.time_of_day // _DAY), len(self._days) - 1)
        share = self._days[day]
        # Neither a clear nor a grey sky changes much.
        change = 4 * share * (1 - share) * _CLOUDS * self._clouds.step()
        sun = min(_BRIGHTEST, share * max(_LEAST, 1 + change))
        self._plant.pv_peak = self._clear * sun
        change = _CONSUMERS * self._consumers.step()
        self._plant.mean_load = self._mean * max(_LEAST, 1 + change)


class Past:
    """Some whole days and the present one up to an hour, and how a device lives them."""

    def __init__(self, days: Sequence[float], hour: float) -> None:
        """Take each day's share of a clear sky, and the present hour of the last one."""
        self._days = days
        self._hours = _DAY * (len(days) - 1) + hour
        self._clock = PastClock()

    def begin(self) -> dict[str, Any]:
        """Return the arguments with which a `Plant` stands at the first midnight."""
        epoch = time.time() - 3600 * self._hours - self._clock()
        return {"time_of_day": 0.0, "clock": self._clock, "epoch": epoch}

    def live_through(self, simulator: Simulator) -> list[Record]:
        """Let a device whose plant began so live up to the present, and go on.

        A record of each multiple of `STEP` of unix time is returned.
        """
        plant = simulator.plant
        speed, plant.speed = plant.speed, _SPEED
        present = time.time()
        at = present - 3600 * self._hours
        weather = Weather(simulator, self._days)
        records: list[Record] = []
        while at < present:
            weather.step()
            until = min(present, STEP * (at // STEP + 1))
            self._clock.advance((until - at) / _SPEED)
            at = until
            measured = simulator.measured()
            if at % STEP == 0:
                records.append({"at": at, **measured})
        plant.speed = speed
        self._clock.start()
        plant.epoch = time.time() - self._clock()
        return records
