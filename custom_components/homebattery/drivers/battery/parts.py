"""The parts of a device that have an identity of their own, such as battery units."""

from dataclasses import dataclass
from enum import StrEnum


class PartKind(StrEnum):
    """The kind of a part."""

    BATTERY = "battery"
    """The battery as a whole, beside an inverter."""
    BATTERY_UNIT = "battery_unit"
    """One of several units, each with electronics of its own."""
    BATTERY_PACK = "battery_pack"
    """One of several packs that are connected to each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a device.

    `kind` and `number` (from 1, of its kind) say where it is and stay the same when it
    is replaced by another. `keys` are the measurements that are about it alone.
    """

    kind: PartKind
    number: int = 1
    keys: frozenset[str]
    manufacturer: str | None = None
    model: str | None = None
    serial_number: str | None = None
    firmware: str | None = None
