"""The user's choice while the sun shines: the setpoint, or all of the PV."""

from enum import StrEnum
from typing import Final

from .base import SetupField


class Sunshine(StrEnum):
    """The thing to keep where a device cannot give both the setpoint and all of its PV."""

    KEEP_SETPOINT = "keep_setpoint"
    """The battery has the power asked for, and the PV is curtailed."""
    KEEP_PV = "keep_pv"
    """The battery does what the inverter does by itself, up to the power asked for."""


SUNSHINE_FIELD: Final = SetupField(
    "sunshine", Sunshine.KEEP_SETPOINT.value, choices=tuple(Sunshine)
)
"""The option by which the user chooses."""
