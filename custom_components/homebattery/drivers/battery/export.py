"""The user's choice whether a discharge may feed into the grid."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from .base import SetupField


class Export(StrEnum):
    """Whether a setpoint that discharges may feed into the grid."""

    AS_PERMITTED = "as_permitted"
    """As far as the settings of the device permit it."""
    NEVER = "never"
    """Not at all: it follows the load of the house at most."""
    ALWAYS = "always"
    """Also where the settings of the device forbid it."""


_FORMERLY: Final = "allow_export"


def with_export(setup: Mapping[str, Any]) -> dict[str, Any]:
    """Return a setup in which the yes or no of earlier versions is a choice."""
    values = dict(setup)
    if (allowed := values.pop(_FORMERLY, None)) is not None:
        choice = Export.ALWAYS if allowed else Export.NEVER
        values.setdefault("export", choice.value)
    return values


def export_field(default: Export) -> SetupField:
    """Return the option by which the user chooses."""
    return SetupField("export", default.value, choices=tuple(Export))
