"""The power limits of a battery: which are the user's, and how much they grant.

A hold, and a setpoint that spares the PV, is made of power limits. While they are on the
device the user's are known from the snapshot only.
"""

from collections.abc import Mapping
from typing import Any, Final

from ..battery.controller import Bound, LimitReason, Snapshot, bounded
from ..errors import NotSupportedError
from .commands import ControlState, OwnLimits, limit_register, limits_of
from .measurements import LIMITS

BOUNDS: Final = "bounds"
"""The key of a snapshot for the setpoints that were written as power limits, W: those
limits are not the user's."""

type Limits = Mapping[str, float | None]
"""W by the name of the power limit; None where it is not known."""


def within(
    power: int, settings: Limits, permits: Limits
) -> tuple[int, LimitReason | None]:
    """Return the part of `power`, W, that is granted, and the reason of a cut.

    `settings` are the limits set on the device, `permits` those of the battery now.
    """
    name = limit_register(power)
    bounds = [
        Bound(most, reason)
        for limits, reason in (
            (settings, LimitReason.SETTING),
            (permits, LimitReason.BATTERY),
        )
        if (most := limits.get(name)) is not None
    ]
    granted, reason = bounded(power, bounds)
    return round(granted), reason


def own_limits(snapshot: Snapshot) -> OwnLimits:
    """Return the limits, W, that are not the user's: 0, and what spares the PV."""
    bounds = [limits_of(power) for power in (0, *snapshot.get(BOUNDS, ()))]
    return {limit: {bound[limit] for bound in bounds} for limit in LIMITS}


def users_limits(where: str, state: ControlState, before: Snapshot) -> Snapshot:
    """Return the user's power limits, W; those of `before` in place of the driver's.

    Raises NotSupportedError, which names `where`, for one that is not known.
    """
    limits: Snapshot = {}
    own = own_limits(before)
    for limit, power in state.limits.items():
        if power is None or power in own[limit]:
            power = before.get(limit, power)
        if power is None:
            raise NotSupportedError(
                f"{where}: the device does not report its {limit} at "
                "present, so it could not be restored later"
            )
        limits[limit] = power
    return limits


def bounds_until(power: int, state: ControlState, snapshot: Snapshot) -> list[int]:
    """Return the setpoints whose limits may be on the device until `power`'s are, W."""
    there = [
        bound
        for bound in snapshot.get(BOUNDS, ())
        if any(
            limit and limit == state.limits[name]
            for name, limit in limits_of(bound).items()
        )
    ]
    return list(dict.fromkeys([*there, power]))


def are_bounds(stored: Any) -> bool:
    """Return whether a part of a stored snapshot can be setpoints, W."""
    return isinstance(stored, list) and all(type(power) is int for power in stored)


def costs_flash(
    wanted: Mapping[str, float] | None, state: ControlState, snapshot: Snapshot
) -> bool:
    """Return True when power limits are to be written: `wanted`, W, or the user's."""
    if wanted is not None:
        return any(now != wanted[limit] for limit, now in state.limits.items())
    own = own_limits(snapshot)
    return any(
        now in own[limit] and now != snapshot[limit]
        for limit, now in state.limits.items()
    )
