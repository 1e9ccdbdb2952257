"""PV under a setpoint: whether a forced command costs some, and what spares it.

Measured on a SUN2000-8K-MAP0 under a clear sky, with an irradiance sensor and other
panels to compare: a forced charge is a ceiling for the PV (1839 W of PV, then a charge
of 400 W: 363 W of PV; a charge of 3000 W: 2020 W), and any forced discharge in light
stops the trackers (374 V at 0.00 A). Owners of a 10KTL-M1 say the same. A command that
is above the harvest costs nothing, and power limits cost nothing either: with them the
inverter charges or discharges by itself, up to the limit.
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
HARVEST_KNOWN_FOR: Final = 20.0
LIGHT_KNOWN_FOR: Final = 60.0
"""Seconds for which the harvest, and the voltages, are not read again."""
HARVEST: Final = "pv_power"


class Means(Enum):
    """The means by which a battery is held at a setpoint."""

    COMMAND = "command"
    """A forced charge or discharge."""
    LIMITS = "limits"
    """The power limits: 0 in the other direction, and the setpoint in its own."""


def curtails(power: float, harvest: float, *, is_light: bool, near: bool) -> bool:
    """Return whether a forced command of `power`, W, costs PV, or may do so.

    `harvest` is the PV power, W. A command of another size may bound that just now: a
    high harvest proves much sun, a low one nothing. So where PV was found to be at
    stake (`near`), it is until the harvest is lower by the margin once more.
    """
    if not is_light or power == 0:
        return False
    if power < 0:
        return True
    margin = max(MARGIN, MARGIN_SHARE * power)
    return harvest >= power - (2 * margin if near else margin)


def decide(
    power: float,
    harvest: float,
    *,
    is_light: bool,
    sunshine: Sunshine,
    near: bool = False,
) -> Means:
    """Return the means by which to hold `power`, W; 0 is always held by limits.

    The others are as `curtails` has them; `sunshine` is the user's choice.
    """
    if power == 0:
        return Means.LIMITS
    if sunshine is Sunshine.KEEP_SETPOINT:
        return Means.COMMAND
    costs = curtails(power, harvest, is_light=is_light, near=near)
    return Means.LIMITS if costs else Means.COMMAND


class Sky:
    """The harvest and the light, as last read."""

    def __init__(self, strings: int) -> None:
        """Begin in the dark; `strings` is the number of PV strings."""
        self._voltages = {f"pv{each + 1}_voltage": 0.0 for each in range(strings)}
        self.harvest = 0.0
        """The PV power, W."""
        self._harvest_at = self._light_at = -math.inf

    @property
    def is_light(self) -> bool:
        """Whether the sun shines on the panels."""
        return max((self.harvest, *self._voltages.values())) >= LIGHT

    def note(self, values: Mapping[str, Value], now: float) -> None:
        """Take what was read at the loop time `now`, s; what is unknown is no news."""
        for name in self._voltages.keys() & values.keys():
            if values[name] is not None:
                self._voltages[name] = number(values[name])
                self._light_at = now
        if values.get(HARVEST) is not None:
            self.harvest = number(values[HARVEST])
            self._harvest_at = now

    def due(self, now: float) -> Collection[str]:
        """Return the registers to be read now; each is due again after its time."""
        names: set[str] = set()
        if now - self._harvest_at >= HARVEST_KNOWN_FOR:
            names.add(HARVEST)
            self._harvest_at = now
        if now - self._light_at >= LIGHT_KNOWN_FOR:
            names.update(self._voltages)
            self._light_at = now
        return names
