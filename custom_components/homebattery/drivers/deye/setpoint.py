"""What a Deye inverter is held at: the one record of it, and the terms it goes by."""

from dataclasses import dataclass, field
from typing import NamedTuple

from ..battery.controller import ForeignSetpoint, HeldSetpoint, loop_time
from .plans import Image

FOREIGN_READS = 1
"""Reads of other settings than ours that mean another controller. They are compared
only where nothing was written meanwhile, so that one is enough."""


class Wanted(NamedTuple):
    """A setpoint: power, W, + = charging, and the whole amperes it comes from, if any."""

    power: float
    amps: int | None = None


class Start(NamedTuple):
    """How a setpoint began: the battery power before it, W, and the loop's time, s."""

    power: float
    at: float


class Span(NamedTuple):
    """When something began and ended; the event loop's time, s."""

    began: float
    ended: float


@dataclass(slots=True, kw_only=True)
class DeyeSetpoint(HeldSetpoint):
    """What an inverter is held at, and what is known of it since."""

    target: Image = field(default_factory=dict)
    """The registers as they were last written; empty while they may be otherwise."""
    foreign: ForeignSetpoint = field(
        default_factory=lambda: ForeignSetpoint(FOREIGN_READS)
    )
    replaces: bool = False
    """Whether the inverter was held at another one before."""
    conditions_read: Span | None = None
    """When what it depends on was read; None once that was used."""
    suspended_at: float | None = None
    """When there was last a reason not to hold the battery; None while it is held."""
    unchecked: Start | None = None
    """How it began in remote mode, until the direction of the battery is checked."""

    @property
    def is_begun(self) -> bool:
        """True once the inverter may have been written for it."""
        return self.written_at >= 0

    def begin_write(self) -> None:
        """Note that the registers are about to be written."""
        self.written_at = loop_time()
        self.target = {}
        self.foreign.forget()
