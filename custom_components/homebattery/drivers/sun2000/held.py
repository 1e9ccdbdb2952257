"""The record of the command, or the power limits, by which a battery is held."""

from dataclasses import dataclass, field
from typing import Final

from ..battery.controller import (
    ForeignSetpoint,
    Grant,
    HeldSetpoint,
    LimitReason,
    SetpointRequest,
    Snapshot,
)
from .commands import ControlState, direction_of
from .curtailment import Evidence, Means

_FOREIGN_READS: Final = 2
"""Reads in a row of a foreign power that mean another controller; one may have been
under way when the power was changed."""


@dataclass(slots=True, kw_only=True)
class HeldCommand(HeldSetpoint):
    """The forced command, or the power limits, that the battery is held by."""

    snapshot: Snapshot
    """The snapshot to restore: while the limits are the driver's own, the user's are known here."""
    means: Means
    sent: int
    """The power of the command, or of the limits, W; 0 is a hold. A command may go on
    when nothing is granted any more, until it runs out."""
    renewed_at: float
    """When the time of the command was last written, loop time, s."""
    seen_at: float
    """When the command was last read, loop time, s."""
    evidence: Evidence
    """The evidence that a command in this direction costs PV, since it began."""
    has_ended: bool = False
    """Whether the device has ended the command."""
    is_uncertain: bool = False
    """Whether a change of the means failed, and may have arrived in part."""
    is_taken_over: bool = False
    """Whether the command that runs, if any, is another controller's."""
    foreign: ForeignSetpoint = field(
        default_factory=lambda: ForeignSetpoint(_FOREIGN_READS)
    )
    """Reads of a foreign power."""

    @property
    def is_command(self) -> bool:
        """Whether a forced command of this driver should be running."""
        return self.means is Means.COMMAND and not self.has_ended


def begun(
    request: SetpointRequest,
    grant: Grant,
    snapshot: Snapshot,
    now: float,
    means: Means = Means.COMMAND,
    sent: int | None = None,
) -> HeldCommand:
    """Return the record of what has just been written: by default what is granted."""
    return HeldCommand(
        request=request,
        grant=grant,
        changed_at=now,
        written_at=now,
        snapshot=snapshot,
        means=means,
        sent=grant.power if sent is None else sent,
        renewed_at=now,
        seen_at=now,
        evidence=Evidence(now),
    )


def is_running(held: HeldCommand, power: int, state: ControlState) -> bool:
    """Return True when `power` is only another size of the command that runs."""
    return (
        held.is_command
        and held.sent * power > 0
        and state.command == direction_of(power)
        and all(state.limits.values())
    )


def granted(power: int, sent: int, reason: LimitReason | None) -> Grant:
    """Return the grant where the device took `sent` of a power, W."""
    is_trimmed = abs(sent) < abs(power)
    return Grant(sent, LimitReason.BATTERY if is_trimmed else reason)


def by_limits(power: int, reason: LimitReason | None) -> Grant:
    """Return the grant of a battery that does by itself up to `power`, W.

    In light it charges as it should, and discharges only what the house needs besides.
    """
    if power == 0:
        return Grant(0, reason)
    return Grant(max(power, 0), LimitReason.PV_CURTAILED)
