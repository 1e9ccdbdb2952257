"""The conditions of an SMA's setpoint: ratings, limits, and the state of the device."""

from collections.abc import Collection, Mapping
from typing import Final

from ..battery.base import SetpointLimits
from ..battery.controller import (
    KNOWN_FOR,
    Bound,
    Grant,
    LimitReason,
    bounded,
    loop_time,
)
from ..measurements import Value
from ..modbus.cache import RegisterCache
from .measurements import is_cluster, rating
from .registers import KEEP_VALUES, LEAST_RATING, MAINS

GATE_CLOSED: Final = "The device takes no control of charging (31061 says no)"

_LIMITS: Final = ("output_power_limit", "max_charge_power", "max_discharge_power")
CONDITIONS: Final = frozenset(
    {
        *_LIMITS,
        *("charge_control_tag", "active_power_mode", "operating_status", "grid_mode"),
        *("fallback_mode", "fallback_timeout"),
    }
)
"""The registers that any setpoint depends on."""
_BOUNDS: Final = (*_LIMITS, "operating_status", "grid_mode")
"""Those that may forbid a power."""
_POWER: Final = "active_power"
_OFF_GRID: Final = ("backup", "generator")

_FRESH: Final = 75.0
"""Seconds until a condition must be read again: a slow poll and a bit."""
_RAMP: Final = 120.0
"""Seconds after which a change has worked its way through filter and ramp."""
_OVERSHOOT: Final = 1.5
"""Times the setpoint that a cluster may do before it is stopped, …"""
_OVERSHOOT_FROM: Final = 500
"""… from this setpoint on, W."""


class Conditions:
    """The conditions of a setpoint, from the registers as they were last read."""

    def __init__(
        self, cache: RegisterCache, plate: Mapping[str, Value] | None = None
    ) -> None:
        """Evaluate the registers in the cache, and those of `plate`.

        The plate is kept as it was read when connecting: a device at rest reports less.
        """
        self._cache = cache
        self._plate = plate or {}

    def stale(self, *, held: bool) -> set[str]:
        """Return the registers to read again; the power only of a held cluster."""
        names: Collection[str] = (
            {*CONDITIONS, _POWER} if held and self.is_cluster else CONDITIONS
        )
        return self._cache.older_than(_FRESH, names, loop_time())

    def _value(self, name: str) -> Value:
        """Return the last value of a register; None if it never had one."""
        return self._cache.values.get(name)

    @property
    def timeout(self) -> float | None:
        """Seconds until a setpoint that is not renewed ends; None if unknown."""
        return _number(self._value("fallback_timeout"))

    @property
    def keeps_setpoint(self) -> bool:
        """Whether the device keeps the last setpoint when it is not renewed."""
        return self._value("fallback_mode") == KEEP_VALUES

    @property
    def is_fallback_unknown(self) -> bool:
        """Whether the device does not say if it keeps the last setpoint."""
        others = CONDITIONS - {"fallback_mode"}
        was_read = any(self._value(name) is not None for name in others)
        return was_read and self._value("fallback_mode") is None

    @property
    def mode(self) -> Value:
        """The source of the device's active power."""
        return self._value("active_power_mode")

    @property
    def is_cluster(self) -> bool:
        """Whether the device is the master of other inverters."""
        return is_cluster(self._plate)

    @property
    def is_gate_closed(self) -> bool:
        """Whether the device says that it takes no control; silence is no 'no'."""
        return self._value("charge_control_tag") == "no"

    @property
    def off_grid(self) -> str | None:
        """The state that the device is in without the public grid; None with it."""
        status, mode = self._value("operating_status"), self._value("grid_mode")
        if status in _OFF_GRID:
            return str(status)
        return None if mode in (None, MAINS) else str(mode)

    @property
    def ratings(self) -> SetpointLimits:
        """The rated powers, W; the lowest of all models where they are unknown."""
        taken = _rated(self._plate.get("input_rating"))
        given = _rated(rating(self._plate)) or taken or LEAST_RATING
        return SetpointLimits(-given, min(given, taken or given))

    def permitted(self, wanted: float, limits: SetpointLimits) -> Grant:
        """Return the battery power, W, that device and battery permit now.

        It is 0 where a condition that was known has had no answer for long.
        """
        now = loop_time()
        seen = self._cache.values.keys() & _BOUNDS
        if self._cache.older_than(KNOWN_FOR, seen, now):
            return Grant(0, LimitReason.UNKNOWN_STATE)
        out, charge, discharge = (_number(self._value(name)) for name in _LIMITS)
        most: tuple[tuple[float | None, LimitReason], ...]
        if wanted > 0:
            most = (
                (limits.maximum, LimitReason.INVERTER),
                (charge, LimitReason.BATTERY),
            )
        else:
            most = (
                (-limits.minimum, LimitReason.INVERTER),
                (out, LimitReason.INVERTER),
                (discharge, LimitReason.BATTERY),
            )
        power, reason = bounded(
            wanted, [Bound(value, why) for value, why in most if value is not None]
        )
        return Grant(round(power), reason)

    def overshoots(self, granted: int, since: float) -> bool:
        """Return True if a cluster does far more than the setpoint `granted`, W.

        `since` is the event loop's time of its last change, s.
        """
        now = loop_time()
        power = _number(self._value(_POWER))
        return (
            abs(granted) > _OVERSHOOT_FROM
            and self.is_cluster
            and self._cache.seconds_since_read(_POWER, now) <= now - since - _RAMP
            and power is not None
            and power * -granted > _OVERSHOOT * granted**2
        )


def _number(value: Value) -> float | None:
    return value if isinstance(value, int | float) else None


def _rated(value: Value) -> int | None:
    """Return a rating, W, without its sign; None for none."""
    return round(abs(value)) if isinstance(value, int | float) and value else None
