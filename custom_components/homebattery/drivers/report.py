"""The result of a read: values by name, and for each name that failed the reason."""

from dataclasses import dataclass, field
from typing import Self

from .errors import BatteryError
from .measurements import Value


@dataclass(slots=True)
class Report:
    """Values, and failures, by the name of a register or field."""

    values: dict[str, Value] = field(default_factory=dict)
    failures: dict[str, BatteryError] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """The names that have a value or a failure."""
        return {*self.values, *self.failures}

    def add(self, other: Self) -> None:
        """Add the result of another read."""
        self.values |= other.values
        self.failures |= other.failures
