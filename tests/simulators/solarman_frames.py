"""Frames of the Solarman V5 protocol, as a data logger packs and unpacks them.

    A5 | length | control | sequence | serial of the logger | payload | checksum | 15

Length (of the payload), control and serial have their low byte first. The first byte of
the sequence is the client's, and comes back in the answer; the second is the logger's
own.
"""

import struct
from typing import Final, NamedTuple

START: Final = 0xA5
END: Final = 0x15
HEADER: Final = struct.Struct("<BHHBBI")
TRAILER_BYTES: Final = 2
OVERHEAD: Final = HEADER.size + TRAILER_BYTES

REQUEST: Final = 0x4510
ANSWER: Final = 0x1510
HEARTBEAT: Final = 0x4710
HEARTBEAT_ANSWER: Final = 0x1710

_REQUEST_HEAD: Final = struct.Struct("<BHIII")  # kind, sensor, three times
_ANSWER_HEAD: Final = struct.Struct("<BBIII")  # kind, status, three times
INVERTER: Final = 2  # kind
GOOD: Final = 1  # status


class Frame(NamedTuple):
    """One frame."""

    control: int
    sequence: tuple[int, int]
    """The client's byte, and the logger's."""
    serial: int
    payload: bytes

    def packed(self) -> bytes:
        """Return the frame's bytes."""
        head = HEADER.pack(
            START, len(self.payload), self.control, *self.sequence, self.serial
        )
        body = head + self.payload
        return body + bytes((checksum(body), END))


def checksum(frame: bytes) -> int:
    """Return the sum of all bytes after the first."""
    return sum(frame[1:]) & 0xFF


def length_of(start: bytes) -> int | None:
    """Return the length of the frame that begins so; None: too short to know."""
    if len(start) < 3:
        return None
    return OVERHEAD + int.from_bytes(start[1:3], "little")


def unpack(data: bytes) -> Frame | None:
    """Return the frame in these bytes, None if they are none."""
    if len(data) < OVERHEAD or len(data) != length_of(data):
        return None
    start, _, control, first, second, serial = HEADER.unpack_from(data)
    if start != START or data[-1] != END or data[-2] != checksum(data[:-2]):
        return None
    payload = data[HEADER.size : -TRAILER_BYTES]
    return Frame(control, (first, second), serial, payload)


def asked(payload: bytes) -> bytes | None:
    """Return the Modbus RTU frame of a request's payload, None without one."""
    if len(payload) < _REQUEST_HEAD.size or payload[0] != INVERTER:
        return None
    return payload[_REQUEST_HEAD.size :]


def answered(rtu: bytes, *, working: int, powered: int, offset: int) -> bytes:
    """Return an answer's payload; the logger adds its own times, in s."""
    return _ANSWER_HEAD.pack(INVERTER, GOOD, working, powered, offset) + rtu
