"""The control block of a VE.Bus system, written at every renewal in ESS mode 3.

The registers from 37: the AC input setpoint of the first phase, two flags that win over
the setpoints (no charging, no feeding in), and the setpoints of the other phases. It is
volatile, and written whole.
"""

from collections.abc import Sequence
from typing import Final

from ..battery.readings import Values
from ..modbus.register import WORD
from .measurements import number, per_phase

ADDRESS: Final = 37
FLAGS: Final = (38, 39)
_FLAG_NAMES: Final = ("disable_charge", "disable_feed_in")
NAMES: Final = (*per_phase("setpoint"), *_FLAG_NAMES)
"""The registers of the block; a system has those of its phases."""


def addresses(phases: int) -> range:
    """Return the addresses of the block of a system."""
    return range(ADDRESS, ADDRESS + len(FLAGS) + phases)


def encode(setpoints: Sequence[int], phases: int, *, hold: bool = False) -> list[int]:
    """Return the words that give each phase its setpoint, W; zeros without setpoints.

    To hold the battery both flags are on: the Multi passes through, without charging
    or discharging. They expire with the setpoint [uncertain], so they are sent each
    time.
    """
    first, *others = (
        min(max(setpoint, -0x8000), 0x7FFF) & WORD
        for setpoint in setpoints or [0] * phases
    )
    flags = [int(hold)] * len(FLAGS)
    return [first, *flags, *others]


def decode(values: Values, phases: int) -> list[int]:
    """Return the words of the block as read; empty unless all of it was."""
    first, *others = per_phase("setpoint")[:phases]
    names = (first, *_FLAG_NAMES, *others)
    if not values.keys() >= set(names):
        return []
    return [int(number(values[name])) & WORD for name in names]
