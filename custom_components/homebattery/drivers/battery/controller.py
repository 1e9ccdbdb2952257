"""What is said of holding a battery at a setpoint: why not quite, what to put right."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class LimitReason(StrEnum):
    """Why a battery does less than was asked of it, or something else."""

    FULL = "full"
    EMPTY = "empty"
    """At its minimum SOC."""
    BATTERY = "battery"
    """The BMS permits no more now: hot, cold, nearly full, nearly empty."""
    INVERTER = "inverter"
    """The inverter permits no more."""
    SETTING = "setting"
    """A limit that is set on the device."""
    TOO_LITTLE = "too_little"
    """Less than the smallest step of the device: it is held instead."""
    NO_GRID = "no_grid"
    PROTECTION = "protection"
    """The battery must be charged, or is about to shut down."""
    UNKNOWN_STATE = "unknown_state"
    """What a setpoint depends on cannot be read, so the battery is held."""
    ENDED = "ended"
    """The device has ended it, or somebody with it."""
    OTHER_CONTROLLER = "other_controller"
    """Somebody else has told the device something else."""
    NO_EFFECT = "no_effect"
    """The device took the setpoint and does not do it."""
    REFUSED = "refused"
    """The device refuses the setpoint."""
    UNREACHABLE = "unreachable"
    FLASH = "flash"
    """Its flash has been written often enough today."""


class Advice(StrEnum):
    """What an owner can put right, so that a battery can be held as it should."""

    WRITES_OFF = "writes_off"
    """The device may be read only."""
    NO_ESS = "no_ess"
    """A Victron without the ESS assistant."""
    KEEPS_SETPOINT = "keeps_setpoint"
    """An SMA that keeps the last setpoint when nobody renews it."""
    CONNECTION_STOLEN = "connection_stolen"
    """Another client of a device that serves one at a time."""
    OLD_FIRMWARE = "old_firmware"
    """Without the commands that a setpoint needs."""
    NOT_BY_CAPACITY = "not_by_capacity"
    """A Deye that is set to control its battery otherwise, or to another battery."""


class Bound(NamedTuple):
    """The most that is permitted in a direction, W (≥ 0), and by what."""

    power: float
    reason: LimitReason


def bounded(power: float, bounds: Iterable[Bound]) -> tuple[float, LimitReason | None]:
    """Return what `bounds` (of its direction) leave of a power, W, and what cut it."""
    tightest = min(bounds, key=lambda bound: bound.power, default=None)
    if tightest is None or abs(power) <= tightest.power:
        return power, None
    return tightest.power if power > 0 else 0 - tightest.power, tightest.reason
