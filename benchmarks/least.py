"""The least number of requests that registers can be read with."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
import struct
from typing import Final, NamedTuple

from tests.simulators import SIMULATORS
from tests.simulators.modbus import READ_HOLDING_REGISTERS, Units

MOST_WORDS: Final = 125
_EXCEPTION: Final = 0x80


class Wanted(NamedTuple):
    """A register to read."""

    unit: int
    address: int
    end: int
    """The first address behind it."""


type Accepts = Callable[[int, int, int], bool]
"""Whether a device answers a read of a unit, from an address on, so many words."""


def least_requests(registers: Iterable[Wanted], accepts: Accepts) -> int:
    """Return the least number of reads that bring all registers.

    Each read takes as many of them as the device allows in one. That is the least,
    since a device that allows a read allows a part of it that ends with a register.
    """
    by_unit: Mapping[int, list[Wanted]] = defaultdict(list)
    for register in sorted(set(registers)):
        by_unit[register.unit].append(register)
    return sum(_reads(each, accepts) for each in by_unit.values())


def _reads(registers: list[Wanted], accepts: Accepts) -> int:
    """Return the least number of reads of registers of one unit, by address."""
    count = 0
    while registers:
        registers = registers[_longest(registers, accepts) :]
        count += 1
    return count


def _longest(registers: list[Wanted], accepts: Accepts) -> int:
    """Return the number of registers, from the first, that one read brings."""
    unit, start, end = registers[0]
    longest = 1
    for number, register in enumerate(registers, 1):
        end = max(end, register.end)
        if end - start > MOST_WORDS:
            break
        if accepts(unit, start, end - start):
            longest = number
    return longest


def accepted_by(battery_type: str) -> Accepts:
    """Return what the simulated device of a battery type answers."""
    units = getattr(SIMULATORS[battery_type]().server, "units", None)
    assert isinstance(units, Units)

    def accepts(unit: int, address: int, words: int) -> bool:
        pdu = struct.pack(">BHH", READ_HOLDING_REGISTERS, address, words)
        answer = units.answer(unit, pdu)
        return answer is not None and not answer[0] & _EXCEPTION

    return accepts
