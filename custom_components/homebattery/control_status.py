"""How well a battery does what is asked of it: one pure function."""

from typing import Final

from .const import ControlStatus

TOLERANCE: Final = 100
"""W that the measured power may be off: noise, losses, a load that just came on."""
TOLERANCE_SHARE: Final = 0.1
"""The same for large powers, as a share of the setpoint."""
SETTLE: Final = 60.0
"""Seconds that a device gets to start: some sleep, and wake up in about a minute."""
GRACE: Final = 15.0
"""Seconds that it may stray after it has followed: a poll or two, a load step."""
FULL: Final = 99.0
"""% from which a battery that does not charge is simply full."""
NEARLY_EMPTY: Final = 1.0
"""% above its minimum SOC up to which one that does not discharge is empty."""


def follows(setpoint: float, measured: float) -> bool:
    """Return True when the measured battery power is what the setpoint says, W.

    The opposite direction is never following, however small; at 0 W (hold)
    there is none.
    """
    if setpoint * measured < 0:
        return False
    return abs(measured - setpoint) <= max(TOLERANCE, TOLERANCE_SHARE * abs(setpoint))


def control_status(
    *,
    requested: float,
    granted: float,
    measured: float | None,
    age: float,
    astray: float,
    soc: float | None = None,
    min_soc: float | None = None,
) -> ControlStatus:
    """Return how well a held setpoint is followed. Powers in W, + = charging.

    `granted` is what the device was told in the end. `age` and `astray` are the
    seconds since `requested` last changed, and since it was last seen followed
    (the same while it has not been).
    """
    reduced = abs(requested) - abs(granted) >= 1
    if measured is not None and follows(granted, measured):
        return ControlStatus.LIMITED if reduced else ControlStatus.FOLLOWING
    if astray >= age and age < SETTLE:
        return ControlStatus.PENDING
    if astray < min(age, GRACE):
        return ControlStatus.LIMITED if reduced else ControlStatus.FOLLOWING
    if measured is not None and _does_less(granted, measured, soc, min_soc):
        return ControlStatus.LIMITED
    return ControlStatus.NOT_FOLLOWING


def _does_less(
    granted: float, measured: float, soc: float | None, min_soc: float | None
) -> bool:
    """Return True for the right direction but less; nothing at all needs a reason."""
    if granted * measured < 0 or abs(measured) >= abs(granted):
        return False
    if abs(measured) > TOLERANCE:
        return True
    if soc is None:
        return False
    if granted > 0:
        return soc >= FULL
    return soc <= (min_soc or 0) + NEARLY_EMPTY
