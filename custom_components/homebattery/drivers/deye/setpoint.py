"""The record of a Deye inverter's setpoint, and the types of its fields."""

from dataclasses import dataclass, field
from typing import NamedTuple

from ..battery.controller import ForeignSetpoint, HeldSetpoint, loop_time
from .plans import Image

FOREIGN_READS = 1
"""Reads of foreign settings that mean another controller. Each goes on until two answers
agree, and counts only where nothing was written meanwhile, so that one is enough."""


class Wanted(NamedTuple):
    """A setpoint: power, W, + = charging, and the whole amperes it comes from, if any."""

    power: float
    amps: int | None = None


class Start(NamedTuple):
    """The start of a setpoint: the battery power before it, W, and loop time, s."""

    power: float
    at: float
    seems_wrong: bool = False
    """Whether one read has shown the battery to go the wrong way since."""


class Span(NamedTuple):
    """A span of the event loop's time, s."""

    began: float
    ended: float


@dataclass(slots=True, kw_only=True)
class DeyeSetpoint(HeldSetpoint):
    """The setpoint that an inverter is held at, and its state since."""

    target: Image = field(default_factory=dict)
    """The registers as they were last written; empty while they may differ."""
    foreign: ForeignSetpoint = field(
        default_factory=lambda: ForeignSetpoint(FOREIGN_READS)
    )
    firmware_release: int = 0
    """The firmware's release that it was written for; another one may need other
    registers."""
    replaces: bool = False
    """Whether the inverter was held at another one before."""
    conditions_read: Span | None = None
    """The span in which its conditions were read; None once they were used."""
    suspended_at: float | None = None
    """Loop time, s, of the last reason to suspend it; None while it is held."""
    unchecked: Start | None = None
    """Its start in remote mode, until the direction of the battery is checked."""

    @property
    def is_begun(self) -> bool:
        """Whether the inverter may have been written for it."""
        return self.written_at >= 0

    def begin_write(self) -> None:
        """Note that the registers are about to be written."""
        self.written_at = loop_time()
        self.target = {}
        self.foreign.forget()
