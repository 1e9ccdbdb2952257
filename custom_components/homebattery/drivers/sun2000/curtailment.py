"""PV under a setpoint: whether a forced command costs some, and what spares it.

Measured on a SUN2000-8K-MAP0 under a clear sky, with an irradiance sensor and other
panels to compare: a forced charge is a ceiling for the PV (1839 W of PV, then a charge
of 400 W: 363 W of PV; a charge of 3000 W: 2020 W), and any forced discharge in light
stops the trackers (374 V at 0.00 A). Owners of a 10KTL-M1 say the same. A command that
is above the harvest costs nothing, and power limits cost nothing either: with them the
inverter charges or discharges by itself, up to the limit.

Other firmware was seen to curtail nothing [uncertain]. So there are two questions:
whether a command may cost PV, which decides where PV is to be kept, and whether one
that stands is seen to cost some, which is what the user is told.
"""

from collections.abc import Collection, Mapping
from enum import Enum
import math
from typing import Final

from ..battery.sunshine import Sunshine
from ..measurements import Value
from .measurements import number

LIGHT: Final = 100.0
"""V of a string from which it is light, whatever is harvested; W that prove it, too."""
MARGIN: Final = 100.0
"""W below the power of a charge from which the harvest may be at its ceiling,"""
MARGIN_SHARE: Final = 0.15
"""or this share of the power: 288 W were seen under 315 W, and 363 W under 400 W."""
IDLE_CURRENT: Final = 0.3
"""A of a string below which next to nothing flows: 0.00 A was seen [uncertain]."""
IDLE_HARVEST: Final = 50.0
"""W of all strings below which next to nothing is harvested [uncertain]: the current of
a string reads 0 below about 100 W, so by itself it proves nothing."""
STEADY_AFTER: Final = 20.0
"""Seconds that the trackers may take to follow a command [uncertain]: they needed 7
to recover from one, and the battery 11 to 20 to reach its power."""
HARVEST_KNOWN_FOR: Final = 20.0
LIGHT_KNOWN_FOR: Final = 60.0
"""Seconds for which the harvest, and the strings, are not read again."""
HARVEST: Final = "pv_power"


class Means(Enum):
    """The means by which a battery is held at a setpoint."""

    COMMAND = "command"
    """A forced charge or discharge."""
    LIMITS = "limits"
    """The power limits: 0 in the other direction, and the setpoint in its own."""


def may_curtail(power: float, harvest: float, *, is_light: bool, near: bool) -> bool:
    """Return whether a forced command of `power`, W, may cost PV.

    `harvest` is the PV power, W. A command of another size may bound that just now: a
    high harvest proves much sun, a low one nothing. So where PV was found to be at
    stake (`near`), it is until the harvest is lower by the margin once more.
    """
    if not is_light or power == 0:
        return False
    if power < 0:
        return True
    margin = _margin(power)
    return harvest >= power - (2 * margin if near else margin)


def is_curtailed(
    power: float, harvest: float, *, is_light: bool, is_idle: bool
) -> bool:
    """Return whether a forced command of `power`, W, that stands is seen to cost PV.

    The harvest, W, equals a charge that bounds it. Under a discharge there is none,
    while a string in the light gives no current (`is_idle`). For some minutes at dusk
    and dawn that looks the same where nothing is curtailed [uncertain].
    """
    if power > 0:
        return is_light and abs(harvest - power) <= _margin(power)
    return power < 0 and is_idle and harvest < IDLE_HARVEST


def _margin(power: float) -> float:
    """Return the distance, W, at which a harvest is as large as a charge."""
    return max(MARGIN, MARGIN_SHARE * power)


def decide(
    power: float,
    harvest: float,
    *,
    is_light: bool,
    sunshine: Sunshine,
    near: bool = False,
) -> Means:
    """Return the means by which to hold `power`, W; 0 is always held by limits.

    The others are as `may_curtail` has them; `sunshine` is the user's choice.
    """
    if power == 0:
        return Means.LIMITS
    if sunshine is Sunshine.KEEP_SETPOINT:
        return Means.COMMAND
    may_cost = may_curtail(power, harvest, is_light=is_light, near=near)
    return Means.LIMITS if may_cost else Means.COMMAND


class Sky:
    """The harvest and the strings, as last read."""

    def __init__(self, strings: int) -> None:
        """Begin in the dark; `strings` is the number of PV strings."""
        self._strings = [
            (f"pv{each + 1}_voltage", f"pv{each + 1}_current")
            for each in range(strings)
        ]
        self._known_for = {HARVEST: HARVEST_KNOWN_FOR} | {
            name: LIGHT_KNOWN_FOR for string in self._strings for name in string
        }
        self._values = dict.fromkeys(self._known_for, 0.0)
        self._read_at = dict.fromkeys(self._known_for, -math.inf)
        self._asked_at = dict(self._read_at)

    @property
    def harvest(self) -> float:
        """The PV power, W."""
        return self._values[HARVEST]

    @property
    def is_light(self) -> bool:
        """Whether the sun shines on the panels."""
        voltages = (self._values[voltage] for voltage, _ in self._strings)
        return max((self.harvest, *voltages)) >= LIGHT

    def shows_cost(self, power: float, since: float) -> bool:
        """Return whether a command of `power`, W, is seen to cost PV.

        It stands since the loop time `since`, s; what was read too early shows nothing.
        """
        steady_at = since + STEADY_AFTER
        return self._read_at[HARVEST] >= steady_at and is_curtailed(
            power,
            self.harvest,
            is_light=self.is_light,
            is_idle=any(self._is_idle(*each, steady_at) for each in self._strings),
        )

    def _is_idle(self, voltage: str, current: str, since: float) -> bool:
        """Return whether a string in the light was seen without current `since` then."""
        return (
            min(self._read_at[voltage], self._read_at[current]) >= since
            and self._values[voltage] >= LIGHT
            and abs(self._values[current]) < IDLE_CURRENT
        )

    def note(self, values: Mapping[str, Value], now: float) -> None:
        """Take what was read at the loop time `now`, s; what is unknown is no news."""
        for name in self._values.keys() & values.keys():
            if values[name] is not None:
                self._values[name] = number(values[name])
                self._read_at[name] = self._asked_at[name] = now

    def due(self, now: float) -> Collection[str]:
        """Return the registers to be read now; each is due again after its time."""
        names = {
            name
            for name, known_for in self._known_for.items()
            if now - self._asked_at[name] >= known_for
        }
        self._asked_at |= dict.fromkeys(names, now)
        return names
