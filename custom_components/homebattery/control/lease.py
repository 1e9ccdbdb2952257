"""A setpoint that is held: its power, its end, and whether it is followed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self

from homeassistant.util import dt as dt_util

from ..const import ControlStatus
from ..drivers.battery.base import Battery
from ..drivers.battery.controller import Grant, LimitReason
from ..drivers.errors import BatteryError
from .status import control_status, follows

CURRENT_STEP: Final = 20
"""W by which the power of a held current must change before it is applied again."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The values of the last poll, None where not known: W, V, W, %, %."""

    is_lost: bool
    """Whether the power could not be read twice in a row or more."""
    power: float | None
    voltage: float | None
    grid_power: float | None
    """Power from the grid, below zero into it."""
    soc: float | None
    min_soc: float | None
    curtails_pv: bool = False
    """Whether the device is seen to curtail its PV for the setpoint."""


@dataclass(frozen=True, kw_only=True)
class Setpoint:
    """A battery power, a battery current, or a power for each phase.

    `power` (W) is that of all together, + = charging. A current is DC, A.
    """

    power: int
    current: float | None = None
    phases: Mapping[int, int] = field(default_factory=dict)

    async def apply(self, battery: Battery) -> Grant:
        """Write the setpoint to the device; return the power granted.

        Raises what the driver does.
        """
        if self.current is not None:
            return await battery.set_current_setpoint(self.current)
        grant = None
        for phase, power in self.phases.items():
            try:
                grant = await battery.set_power_setpoint_phase(power, phase)
            except BatteryError as err:
                # The phases before it have been written.
                err.written = err.written or grant is not None
                raise
        if grant is None:
            grant = await battery.set_power_setpoint(self.power)
        return grant


@dataclass(kw_only=True)
class Lease:
    """A setpoint that is held. `changed_at` and `on_target_at` are loop times, s."""

    setpoint: Setpoint
    expires: datetime | None
    """The time at which it ends by itself; None: never."""
    duration: timedelta | None
    """The time from when `expires` was set until then; None without an end."""
    changed_at: float
    on_target_at: float
    applied: bool = False
    """Whether the device has the setpoint; False also while that is uncertain."""
    grant: Grant | None = None
    """The power that was granted in the end; None before it was applied."""
    fault: LimitReason | None = None
    """The reason why it could not be applied, or renewed, the last time."""
    waits_for: LimitReason | None = None
    """The reason why it waits its turn, where one is known; None once it is applied."""
    failures: int = 0
    """Number of such failures in a row."""

    @classmethod
    def new(cls, setpoint: Setpoint, expires: datetime | None, now: float) -> Self:
        """Return a lease that begins at the loop time `now`."""
        return cls(
            setpoint=setpoint,
            expires=expires,
            duration=_from_now(expires),
            changed_at=now,
            on_target_at=now,
        )

    def change_end(self, expires: datetime | None) -> None:
        """Let it end at another time; None: never."""
        self.expires, self.duration = expires, _from_now(expires)

    def status(
        self, now: float, measured: Measured
    ) -> tuple[ControlStatus, LimitReason | None]:
        """Return the status of the setpoint, and the reason why it is not better."""
        return control_status(
            requested=self._requested,
            granted=self.granted,
            measured=measured.power,
            seconds_since_change=now - self.changed_at,
            seconds_off_target=now - self.on_target_at,
            soc=measured.soc,
            min_soc=measured.min_soc,
            limit_reason=self.limit_reason,
            follows_load=self.grant is not None and self.grant.follows_load,
            imported=measured.grid_power if self.replaces_import else None,
            fault=self.fault,
            waits_for=self.waits_for,
            lost=measured.is_lost or self._is_uncertain,
            curtails_pv=measured.curtails_pv,
        )

    @property
    def _requested(self) -> int:
        """The power that is asked of the device, W.

        Where a current is followed, a power that waits its turn is not yet.
        """
        follows_current = self.setpoint.current is not None and not self.applied
        if follows_current and self.grant is not None and self.grant.reason is None:
            return self.grant.power
        return self.setpoint.power

    @property
    def granted(self) -> int | None:
        """The power that was granted in the end, W; None before it was applied."""
        return None if self.grant is None else self.grant.power

    @property
    def limit_reason(self) -> LimitReason | None:
        """The reason why less was granted than asked for; None when nothing was cut."""
        return None if self.grant is None else self.grant.reason

    @property
    def replaces_import(self) -> bool:
        """Whether it follows the load until nothing is imported."""
        return self.grant is not None and self.grant.replaces_import

    @property
    def _is_uncertain(self) -> bool:
        """Whether the device may not hold the setpoint any more.

        A renewal without an answer may have been lost on the way, once.
        """
        unanswered = self.fault is LimitReason.UNREACHABLE
        return self.failures > 1 if unanswered else self.fault is not None

    def confirm(self) -> None:
        """Note that the device holds the setpoint."""
        self.fault, self.failures = None, 0

    def fail(self, fault: LimitReason) -> None:
        """Note that the setpoint could not be applied, or renewed, and why."""
        self.fault = fault
        self.failures += 1

    def evaluate(self, now: float, measured: Measured, current_step: float) -> None:
        """Note whether it is on target, and let a held current follow the voltage.

        `current_step` is the share that the power must move for that.
        """
        if measured.power is not None and self.granted is not None:
            if follows(self.granted, measured.power):
                self.on_target_at = now
        current = self.setpoint.current
        if current is None or not measured.voltage:
            return
        power, before = round(current * measured.voltage), self.setpoint.power
        if abs(power - before) >= max(CURRENT_STEP, current_step * abs(before)):
            self.setpoint, self.applied = Setpoint(power=power, current=current), False


def _from_now(expires: datetime | None) -> timedelta | None:
    return None if expires is None else expires - dt_util.utcnow()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answer to a request for a setpoint. Powers in W, + = charging."""

    requested: int
    granted: int | None
    """None while it waits its turn, for the device or to spare flash."""
    limit_reason: LimitReason | None
    expires: datetime | None
