"""Modbus as a device sees it: requests in, words or an exception out.

Nothing here depends on the transport. `Units.answer` takes a unit id and a request
without its frame (the PDU), so that Modbus TCP, RTU over TCP and vendor framings can
share a device.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
import struct
from typing import Final, NamedTuple

READ_HOLDING_REGISTERS: Final = 3
READ_INPUT_REGISTERS: Final = 4
WRITE_SINGLE: Final = 6
WRITE_MULTIPLE: Final = 16

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
DEVICE_FAILURE: Final = 4
DEVICE_BUSY: Final = 6
PATH_UNAVAILABLE: Final = 10
NO_RESPONSE: Final = 11

LOG_LENGTH: Final = 100_000


class Refused(Exception):
    """Raised to answer with an exception code."""

    def __init__(self, code: int) -> None:
        """Refuse with this code."""
        super().__init__(f"exception {code}")
        self.code = code


class Silent(Exception):
    """Raised to give no answer at all."""


class Dropped(Exception):
    """Raised to close the connection instead of answering."""


class Read(NamedTuple):
    """A read request that was answered with words."""

    unit: int
    address: int
    words: int
    """Number of words asked for."""


class Write(NamedTuple):
    """A write request that was accepted; equal to a tuple (unit, address, [words])."""

    unit: int
    address: int
    words: list[int]


class Refusal(NamedTuple):
    """A request that was answered with an exception code."""

    unit: int
    pdu: bytes
    code: int


class Traffic:
    """The log of requests, for tests to check."""

    def __init__(self) -> None:
        """Start with an empty log."""
        self.requests = 0
        self.log: deque[Read | Write | Refusal] = deque(maxlen=LOG_LENGTH)

    @property
    def reads(self) -> list[Read]:
        """All answered reads, oldest first."""
        return [entry for entry in self.log if isinstance(entry, Read)]

    @property
    def writes(self) -> list[Write]:
        """All accepted writes, oldest first."""
        return [entry for entry in self.log if isinstance(entry, Write)]

    @property
    def refusals(self) -> list[Refusal]:
        """All refused requests, oldest first."""
        return [entry for entry in self.log if isinstance(entry, Refusal)]

    def clear(self) -> None:
        """Clear the log."""
        self.requests = 0
        self.log.clear()


class Units(ABC):
    """A device, or several behind one address, that answers for every unit id."""

    functions: frozenset[int] = frozenset(
        (READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS, WRITE_SINGLE, WRITE_MULTIPLE)
    )
    max_read = 125
    max_write = 123

    def __init__(self) -> None:
        """Start with an empty log."""
        self.traffic = Traffic()

    @abstractmethod
    def read(self, unit: int, address: int, count: int) -> Sequence[int]:
        """Return the words, or raise Refused, Silent or Dropped."""

    @abstractmethod
    def write(self, unit: int, address: int, words: list[int]) -> None:
        """Accept the words, or raise Refused, Silent or Dropped."""

    def other(self, unit: int, pdu: bytes) -> bytes:
        """Answer a function that is neither read nor write (log-in, identification)."""
        raise Refused(ILLEGAL_FUNCTION)

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """Return the answer to a request, None for silence. May raise Dropped."""
        self.traffic.requests += 1
        try:
            return self._dispatch(unit, pdu)
        except Refused as refused:
            self.traffic.log.append(Refusal(unit, pdu, refused.code))
            return bytes((pdu[0] | 0x80, refused.code))
        except Silent:
            return None

    def _dispatch(self, unit: int, pdu: bytes) -> bytes:
        function = pdu[0]
        if function not in self.functions:
            return self.other(unit, pdu)
        if function in (READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS):
            return self._read(unit, pdu)
        return self._write(unit, pdu)

    def _read(self, unit: int, pdu: bytes) -> bytes:
        if len(pdu) != 5:
            raise Refused(ILLEGAL_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= self.max_read:
            raise Refused(ILLEGAL_VALUE)
        words = self.read(unit, address, count)
        self.traffic.log.append(Read(unit, address, count))
        return struct.pack(f">BB{count}H", pdu[0], 2 * count, *words)

    def _write(self, unit: int, pdu: bytes) -> bytes:
        address, words = self._written(pdu)
        self.write(unit, address, words)
        self.traffic.log.append(Write(unit, address, words))
        return pdu[:5]  # both write functions echo the address and the value or count

    def _written(self, pdu: bytes) -> tuple[int, list[int]]:
        """Return the address and the words of a write request."""
        if pdu[0] == WRITE_SINGLE:
            if len(pdu) != 5:
                raise Refused(ILLEGAL_VALUE)
            address, word = struct.unpack(">HH", pdu[1:])
            return address, [word]
        if len(pdu) < 6:
            raise Refused(ILLEGAL_VALUE)
        address, count, size = struct.unpack(">HHB", pdu[1:6])
        if (
            not 1 <= count <= self.max_write
            or size != 2 * count
            or len(pdu) != 6 + size
        ):
            raise Refused(ILLEGAL_VALUE)
        return address, list(struct.unpack(f">{count}H", pdu[6:]))
