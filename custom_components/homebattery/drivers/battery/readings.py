"""The readings of a battery: values by key, and the formulas that compute them."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
import logging
import math
from typing import Final, Self, override

from ..errors import BatteryError
from ..measurements import MEASUREMENTS, PLAUSIBLE, Quantity, Value
from ..text import printable

_LOGGER = logging.getLogger(__name__)

_FILLER: Final = 0xFFFF
LONGEST_VALUE: Final = 255
"""Characters of a text that was read; Home Assistant takes no longer state."""

_PLAUSIBLE: Final = {
    key: PLAUSIBLE[measurement.quantity]
    for key, measurement in MEASUREMENTS.items()
    if measurement.quantity in PLAUSIBLE
}
"""The lowest and the highest value that each measurement can have."""

type Values = Mapping[str, Value]


@dataclass(frozen=True)
class Readings(Mapping[str, Value]):
    """The result of a read: values by key, and for each key that failed the reason.

    A value of None was read, and means that the device does not know it.
    """

    values_by_key: Mapping[str, Value] = field(default_factory=dict)
    failures: Mapping[str, BatteryError] = field(default_factory=dict)

    @override
    def __getitem__(self, key: str) -> Value:
        return self.values_by_key[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_key)

    @override
    def __len__(self) -> int:
        return len(self.values_by_key)

    @override
    def __contains__(self, key: object) -> bool:
        return key in self.values_by_key

    def of(self, keys: Collection[str]) -> Self:
        """Return those of the readings and failures that are of `keys`."""
        return type(self)(
            {key: value for key, value in self.items() if key in keys},
            {key: err for key, err in self.failures.items() if key in keys},
        )

    def updated(self, later: Self) -> Self:
        """Return these readings with those of a later read in their place."""
        failures = {key: err for key, err in self.failures.items() if key not in later}
        values = {
            key: value
            for key, value in self.values_by_key.items()
            if key not in later.failures
        }
        return type(self)({**values, **later}, {**failures, **later.failures})

    def changed_since(self, before: Self) -> set[str]:
        """Return the keys with another value than before, or that begin or cease to fail."""
        now, then = self.values_by_key, before.values_by_key
        changed = {
            key for key, value in now.items() if key not in then or then[key] != value
        }
        changed |= then.keys() - now.keys()
        return changed | (self.failures.keys() ^ before.failures.keys())


@dataclass(frozen=True, slots=True)
class Formula:
    """A measurement that is computed from registers.

    `compute` is given the values read, by register: it takes with [] those that must be
    there (else the measurement fails with that register), with .get() those that may.
    """

    key: str
    needs: tuple[str, ...]
    compute: Callable[[Values], Value]
    options: tuple[str, ...] = ()


def soc_of_live_battery(v: Values) -> Value:
    """Return the SOC, %; None for a 0 beside a voltage of 0, or of no known value.

    A device that has just started answers zeros until it knows better.
    """
    soc = v["battery_soc"]
    has_voltage = bool(v.get("battery_voltage", True))
    return None if soc == 0 and not has_voltage else soc


SOC: Final = Formula(
    "battery_soc", ("battery_soc", "battery_voltage"), soc_of_live_battery
)
"""The SOC of devices that report it, and the battery voltage, in one block."""

SIGNED: Final = "battery_power"
HALVES: Final = {"battery_charge_power": 1, "battery_discharge_power": -1}
"""The two unsigned powers, for tools that cannot use the signed one; their signs."""


def half(power: Value, sign: int) -> Value:
    """Return the part of a signed power in one direction (≥ 0)."""
    return max(0, sign * power) if isinstance(power, float | int) else None


def clean(key: str, value: Value) -> Value:
    """Return the value as its measurement defines it; None for an impossible one."""
    if value is None:
        return None
    if key in _PLAUSIBLE and isinstance(value, (int, float)):
        lowest, highest = _PLAUSIBLE[key]
        if lowest <= value <= highest:
            return value
        _LOGGER.debug("%s of %s is impossible and left out", key, value)
        return None
    if MEASUREMENTS[key].quantity is Quantity.FLAG:
        # The word by which devices fill up what they do not have is no yes.
        return None if value == _FILLER else bool(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return printable(value, LONGEST_VALUE) if isinstance(value, str) else value
