"""A setpoint that is held, and how well it is followed."""

from dataclasses import dataclass
from typing import Final

from .const import ControlStatus
from .control_status import control_status, follows

CURRENT_STEP: Final = 20
"""W that the voltage must make of a held current before the device is told."""
CURRENT_STEP_SHARE: Final = 0.01
"""The same as a share of the power."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was polled last, as far as it is known: W, V, %, %."""

    power: float | None
    voltage: float | None
    soc: float | None
    min_soc: float | None


@dataclass(kw_only=True)
class Lease:
    """A setpoint that is held. `since` and `followed` are loop times, s."""

    power: int
    """What is asked for, W."""
    current: float | None
    """The battery current it comes from, A, if it comes from one."""
    granted: int
    """What the device was told in the end, W."""
    since: float
    followed: float
    told: bool = True
    """False when the device may not know `power` yet."""

    def status(self, now: float, measured: Measured) -> ControlStatus:
        """Return how well the setpoint is followed."""
        return control_status(
            requested=self.power,
            granted=self.granted,
            measured=measured.power,
            age=now - self.since,
            astray=now - self.followed,
            soc=measured.soc,
            min_soc=measured.min_soc,
        )

    def look(self, now: float, measured: Measured) -> None:
        """Note whether it is followed, and let a held current follow the voltage."""
        if measured.power is not None and follows(self.granted, measured.power):
            self.followed = now
        if self.current is None or not measured.voltage:
            return
        power = round(self.current * measured.voltage)
        step = max(CURRENT_STEP, CURRENT_STEP_SHARE * abs(self.power))
        if abs(power - self.power) >= step:
            self.power, self.told = power, False
