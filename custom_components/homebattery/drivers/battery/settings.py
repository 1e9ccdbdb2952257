"""The kinds of setting of a battery: a number, one of several options, a switch."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from ..errors import InvalidValueError
from ..measurements import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSetting:
    """A number that can be set, in the unit of its measurement.

    With `unlimited`, None (no limit at all) is a value too, and the maximum means the
    same, for forms that have no None.
    """

    minimum: float
    maximum: float
    step: float = 1
    unlimited: bool = False

    def extended_to(self, values: Iterable[float]) -> Self:
        """Return the setting with a range that holds some values, too."""
        if self.unlimited:
            return self
        all_values = (self.minimum, self.maximum, *values)
        return replace(self, minimum=min(all_values), maximum=max(all_values))

    def check(self, key: str, value: Value) -> None:
        """Raise InvalidValueError when `value` cannot be set."""
        if value is None and self.unlimited:
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, float | int)
            or not self.minimum <= value <= self.maximum
        ):
            raise InvalidValueError(
                f"{key} cannot be {value}: {self.minimum:g} to {self.maximum:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectSetting:
    """One of several options, by name."""

    options: tuple[str, ...]

    def check(self, key: str, value: Value) -> None:
        """Raise InvalidValueError when `value` cannot be set."""
        if value not in self.options:
            raise InvalidValueError(
                f"{key} cannot be {value}: one of {', '.join(self.options)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSetting:
    """On or off."""

    def check(self, key: str, value: Value) -> None:
        """Raise InvalidValueError when `value` cannot be set."""
        if not isinstance(value, bool):
            raise InvalidValueError(f"{key} cannot be {value}: on or off")


type Setting = NumberSetting | SelectSetting | SwitchSetting
