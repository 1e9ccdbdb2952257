"""The filter of energy counters, which drops readings that would spoil a statistic.

A statistic takes a fall of a counter for a new beginning, and adds the whole counter
again when it is back; and a leap counts as energy. Inverters that wake up show 0 for a
while, answers get mixed up, a data logger makes up words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import math
from types import MappingProxyType
from typing import Final

from ..measurements import MEASUREMENTS, Quantity, Value

_RESTARTING: Final = frozenset({Quantity.ENERGY_TODAY, Quantity.ENERGY_SINCE_START})
_COUNTED: Final = frozenset(
    {Quantity.ENERGY_TOTAL, Quantity.VOLUME_GAS, *_RESTARTING},
)
_COUNTERS: Final = frozenset(
    key for key, measurement in MEASUREMENTS.items() if measurement.quantity in _COUNTED
)
"""The measurements that are counters."""
_OF_THE_BATTERY: Final = ("energy_charged", "energy_discharged")


def is_counter(key: str) -> bool:
    """Return True for measurements that are counters."""
    return key in _COUNTERS


@dataclass(frozen=True, slots=True)
class Counted:
    """The value of a counter when it was last accepted, and the time, s.

    `offset` is the change that was not counted, when it was cleared or another counter
    took its place.
    """

    value: float
    at: float
    offset: float = 0.0

    @property
    def total(self) -> float:
        """The value without the offset: it never falls, and never leaps."""
        return self.value - self.offset


@dataclass(frozen=True, slots=True)
class Suspect:
    """A run of impossible readings: its beginning, and the last of them."""

    since: float
    value: float
    at: float


class CounterFilter:
    """Drops impossible readings of counters.

    Impossible are 0 where something was counted before, a fall, and more than the
    device can have counted in the time. A counter that shows 0 at first is passed on,
    and not accepted yet. A reading that goes on counting for a while nevertheless is
    accepted: the counter has been cleared, has wrapped around or is another one. 0 is
    never accepted that way, except where nothing was counted before.

    Counters of a day, or of a run of the device, do start again at 0, as do their
    totals; only not for a moment.

    Times in s, by any clock that does not jump; counters in kWh, or m³ of gas.
    """

    SLACK: Final = 1.0
    """Growth that is possible in no time: counters are rounded and come late."""
    ACCEPTED_AFTER: Final = 600.0
    """Seconds of counting after which a suspect counter is accepted."""
    MOST: Final = 60_000.0
    """The fastest growth, W: three phases of a large house. Or l/h of gas."""
    MOST_OF_A_BATTERY: Final = 20_000.0
    """The fastest growth of a battery's own counters, W."""
    MOST_RATED: Final = 3.0
    """The fastest growth on larger devices, as a multiple of the rated power."""

    def __init__(self) -> None:
        """Begin with no reading seen."""
        self.rated_power = 0.0
        """The inverter's rated power, W; 0 while it is not known."""
        self._accepted: dict[str, Counted] = {}
        self._suspect: dict[str, Suspect] = {}

    @property
    def accepted(self) -> Mapping[str, Counted]:
        """The last accepted value of each counter; a view."""
        return MappingProxyType(self._accepted)

    @property
    def suspect(self) -> Mapping[str, Suspect]:
        """The readings that are not accepted, or not yet, by counter; a view."""
        return MappingProxyType(self._suspect)

    def checked(self, values: Mapping[str, Value], now: float) -> dict[str, Value]:
        """Return the counters among values, with None for impossible readings."""
        return {
            key: self.check(key, value, now)
            for key in _COUNTERS.intersection(values)
            if isinstance(value := values[key], (int, float))
        }

    def check(self, key: str, value: float, now: float) -> float | None:
        """Return the value of a counter; None if it is impossible."""
        last = self._accepted.get(key)
        restarts = MEASUREMENTS[key].quantity in _RESTARTING
        if last is None:
            likely, possible = value > 0 or restarts, True
        else:
            likely = self._follows(key, last.value, last.at, value, now)
            possible = value > 0 or restarts
        if not likely and not (self._has_lasted(key, value, now) and possible):
            # Nothing contradicts a first 0: it is what the device says, and is not
            # accepted yet (see `counted`).
            return value if last is None else None
        offset = 0.0 if last is None else last.offset
        if last is not None and not likely:
            has_restarted = restarts and value < last.value
            offset = 0.0 if has_restarted else offset + value - last.value
        self._accepted[key] = Counted(value, now, offset)
        self._suspect.pop(key, None)
        return value

    def _follows(
        self, key: str, last: float, since: float, value: float, now: float
    ) -> bool:
        """Return True if a counter can have gone from one value to the other."""
        most = self.MOST_OF_A_BATTERY if key.startswith(_OF_THE_BATTERY) else self.MOST
        power = max(most, self.MOST_RATED * self.rated_power)
        growth = power * max(0.0, now - since) / 3_600_000 + self.SLACK
        return last <= value <= last + growth

    def _has_lasted(self, key: str, value: float, now: float) -> bool:
        """Note a suspect reading; return True if the run has lasted long enough."""
        run = self._suspect.get(key)
        goes_on = run is not None and self._follows(key, run.value, run.at, value, now)
        since = run.since if run is not None and goes_on else now
        self._suspect[key] = Suspect(since, value, now)
        return now - since >= self.ACCEPTED_AFTER

    def rescale(self, keys: Iterable[str], factor: float) -> None:
        """Multiply accepted counters: from now on they are read in another unit.

        They are rounded down, since that may be a whole one. They have neither fallen
        nor leapt for that: their totals stay.
        """
        for key in self._accepted.keys() & keys:
            last = self._accepted[key]
            value = math.floor(factor * last.value)
            self._accepted[key] = Counted(
                value, last.at, last.offset + value - last.value
            )

    def counted(self, key: str) -> Counted | None:
        """Return the last accepted value of a counter; None if there is none."""
        return self._accepted.get(key)

    def remember(self, key: str, counted: Counted) -> None:
        """Take over the value of a counter from before a restart.

        A reading accepted since, for lack of better knowledge, is forgotten: check it
        again.
        """
        self._accepted[key] = counted
        self._suspect.pop(key, None)
