"""Pure functions for the status of a setpoint, and the reason of it."""

from typing import Final

from ..const import ControlStatus
from ..drivers.battery.controller import LimitReason

TOLERANCE: Final = 100
"""W that the measured power may be off: noise, losses, a load that just came on."""
TOLERANCE_SHARE: Final = 0.1
"""The same for large powers, as a share of the setpoint."""
SETTLE: Final = 60.0
"""Seconds that a device gets to start: some sleep, and wake up in about a minute."""
GRACE: Final = 15.0
"""Seconds for which the power may be off target later: a poll or two, a load step."""
FULL: Final = 99.0
"""% from which a battery that does not charge is full."""
NEARLY_EMPTY: Final = 1.0
"""% above its minimum SOC up to which a battery that does not discharge is empty."""

_DECIDED_BY_DEVICE: Final = (
    LimitReason.FULL,
    LimitReason.EMPTY,
    LimitReason.BATTERY_LIFE,
    LimitReason.KEEP_CHARGED,
    LimitReason.SUSTAIN,
    LimitReason.LOW_BATTERY,
    LimitReason.NO_GRID,
    LimitReason.PROTECTION,
    LimitReason.PV_CURTAILED,
)
"""Reasons for a grant of 0 W with which any power of the device is right."""
_SUSPENDING: Final = (LimitReason.NO_GRID, LimitReason.PROTECTION)
"""Reasons to suspend even a hold, with which any power of the device is right."""


def follows(setpoint: float, measured: float) -> bool:
    """Return whether the measured battery power is at the setpoint, both in W.

    The opposite direction is never following, however small; at 0 W (hold)
    there is none.
    """
    if setpoint * measured < 0:
        return False
    return abs(measured - setpoint) <= max(TOLERANCE, TOLERANCE_SHARE * abs(setpoint))


def control_status(
    *,
    requested: float,
    granted: float | None,
    measured: float | None,
    seconds_since_change: float,
    seconds_off_target: float,
    soc: float | None = None,
    min_soc: float | None = None,
    limit_reason: LimitReason | None = None,
    follows_load: bool = False,
    imported: float | None = None,
    fault: LimitReason | None = None,
    waits_for: LimitReason | None = None,
    lost: bool = False,
    curtails_pv: bool = False,
) -> tuple[ControlStatus, LimitReason | None]:
    """Return the status of a held setpoint, and why it is not followed better.

    Powers in W, + = charging. `granted` is the setpoint that was applied, None before
    that; `limit_reason` says why it is less than was asked for, `follows_load` whether
    it is the most of a discharge that gives what the house takes, `imported` what the
    grid gives of that, None where it is not measured; `fault` why it could not be
    applied or renewed, `waits_for` why it waits its turn; `lost`: it is not known
    whether the device still holds it; `curtails_pv`: whether it does so at the cost of
    PV. The seconds are those since `requested` last changed, and since the measured
    power was last on target (the same while it has not been).
    """
    if fault is LimitReason.OTHER_CONTROLLER:
        return ControlStatus.NOT_FOLLOWING, fault
    if granted is None:
        if fault is None:
            return ControlStatus.PENDING, waits_for
        return ControlStatus.NOT_FOLLOWING, fault
    extreme = _extreme(requested, soc, min_soc)
    reduced = abs(requested) - abs(granted) >= 1
    why = (
        extreme
        if limit_reason in (None, LimitReason.BATTERY) and extreme
        else limit_reason
    )
    is_decided = why in (_DECIDED_BY_DEVICE if reduced else _SUSPENDING)
    if granted == 0 and is_decided and not lost:
        return ControlStatus.LIMITED, why
    unsure = (fault or LimitReason.UNREACHABLE) if lost else None
    pending = ControlStatus.PENDING, unsure
    cost = LimitReason.PV_CURTAILED if curtails_pv else None
    well = (ControlStatus.LIMITED, why) if reduced else (ControlStatus.FOLLOWING, cost)
    if lost:
        well = pending
    if measured is not None and follows(granted, measured):
        return well
    if seconds_off_target >= seconds_since_change and seconds_since_change < SETTLE:
        return pending
    if seconds_off_target < min(seconds_since_change, GRACE):
        return well
    if measured is None:
        return ControlStatus.NOT_FOLLOWING, fault or LimitReason.UNREACHABLE
    if lost:
        return ControlStatus.NOT_FOLLOWING, unsure
    # PV in excess of the house even charges it; only the grid power tells that from the
    # grid charging it.
    drawn = measured if imported is None else imported
    if follows_load and measured > granted and drawn <= TOLERANCE:
        return ControlStatus.LIMITED, extreme or LimitReason.LOAD
    if granted * measured >= 0 and abs(measured) < abs(granted):
        if abs(measured) > TOLERANCE:
            return ControlStatus.LIMITED, why or LimitReason.BATTERY
        if extreme is not None:
            return ControlStatus.LIMITED, extreme
    if limit_reason is LimitReason.PV_CURTAILED and abs(measured) <= TOLERANCE:
        # The inverter charges by itself, and its PV serves the house first.
        return ControlStatus.LIMITED, limit_reason
    return ControlStatus.NOT_FOLLOWING, fault or limit_reason or LimitReason.NO_EFFECT


def _extreme(
    requested: float, soc: float | None, min_soc: float | None
) -> LimitReason | None:
    """Return FULL or EMPTY where that keeps a battery from its setpoint."""
    if soc is None:
        return None
    if requested > 0 and soc >= FULL:
        return LimitReason.FULL
    if requested < 0 and soc <= (min_soc or 0) + NEARLY_EMPTY:
        return LimitReason.EMPTY
    return None
