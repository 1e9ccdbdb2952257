"""The most power that an inverter of some size can show: more is a damaged word.

Data loggers make up words now and then (30806 in one report, for power, SOC and
frequency alike). What the inverter does is bounded by its rated power, and PV by what
its inputs take; what passes it on the way between grid and house is bounded by the
house as well.
"""

from collections.abc import Mapping
import math
from typing import Final

from .registers import SPLIT_POWERS

_OVERLOAD: Final = 2.1
"""Most power of battery and inverter, as a multiple of the rated one; for ten seconds
they have twice the rated power."""
_PV: Final = 2.5
"""The same of PV, of which inputs take up to twice the rated power."""
_HOUSE: Final = 27_600
"""W that a house may take whatever the inverter's size: three phases of 40 A
[chosen here]."""

_OF_THE_INVERTER: Final = (
    *("battery_power", "battery_2_power"),
    *("active_power", "active_power_l1", "active_power_l2", "active_power_l3"),
)
_OF_PV: Final = ("pv_power", *(f"pv{string}_power" for string in range(1, 9)))
_OF_THE_HOUSE: Final = (
    *(
        key
        for key in SPLIT_POWERS
        if key not in _OF_THE_INVERTER and key != "apparent_power"
    ),
    *(f"ac_coupled_power_l{phase}" for phase in (1, 2, 3)),
)


def most_powers(rated_power: float, *, is_parallel: bool) -> Mapping[str, float]:
    """Return the most power, W, of each measurement that has a limit.

    Where inverters are parallel, those of the house are of all of them together, and
    have none. `rated_power` in W; nothing has a limit while that is 0, not known.
    """
    if not rated_power:
        return {}
    limits = dict.fromkeys(_OF_THE_INVERTER, most_battery_power(rated_power))
    limits |= dict.fromkeys(_OF_PV, _PV * rated_power)
    if not is_parallel:
        limits |= dict.fromkeys(_OF_THE_HOUSE, most_house_power(rated_power))
    return limits


def most_battery_power(rated_power: float) -> float:
    """Return the most power, W, of the batteries; infinite for a rated power of 0."""
    return _OVERLOAD * rated_power if rated_power else math.inf


def most_house_power(rated_power: float) -> float:
    """Return the most power, W, between grid and house of one inverter of that size."""
    return max(_OVERLOAD * rated_power, _HOUSE)
