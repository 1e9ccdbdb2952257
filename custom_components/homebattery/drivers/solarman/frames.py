"""Solarman V5 frames, and the library's client on a stream that is cut into them.

A frame is A5, the payload's length (LE16), a control code (LE16), two sequence bytes,
the logger's serial number (LE32), the payload, a checksum and 15. The payload carries
a Modbus RTU frame. pysolarmanv5 makes and checks frames and the Modbus in them, and
does that well. It takes each TCP segment for one frame, though, so that part is here;
and it takes long for the words of an answer, so those are taken out by pymodbus.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final, override

from ..errors import (
    LoggerSerialRefusedError,
    UnitAbsentError,
    WrongDeviceError,
    WrongLoggerError,
)
from ..modbus.rtu import words_of

__all__ = [
    "CRCError",
    "LoggerClient",
    "ModbusError",
    "V5FrameError",
    "cut_frame",
]

if TYPE_CHECKING:
    # What is used of the libraries, which come without types.
    class V5FrameError(Exception):
        """A V5 frame is not right."""

    class CRCError(Exception):
        """A Modbus RTU frame is not right."""

    class ModbusError(Exception):
        """The inverter answered with a Modbus exception."""

        error_code: int

    class PySolarmanV5Async:
        """Client of a logger."""

        mb_slave_id: int
        sequence_number: int

        def __init__(
            self, address: str, serial: int, *, logger: logging.Logger
        ) -> None:
            """Describe the client."""

        async def read_holding_registers(
            self, register_addr: int, quantity: int
        ) -> list[int]:
            """Read words with function 3."""

        async def write_multiple_holding_registers(
            self, register_addr: int, values: list[int]
        ) -> int:
            """Write words with function 16."""

        async def _get_modbus_response(
            self, mb_request_frame: bytes
        ) -> list[int] | int: ...

        async def _send_receive_v5_frame(
            self, data_logging_stick_frame: bytes
        ) -> bytes: ...

        async def _send_receive_modbus_frame(
            self, mb_request_frame: bytes
        ) -> bytes: ...

        def _handle_double_crc(self, frame: bytes) -> bytes: ...

    def parse_response_adu(
        resp_adu: bytes, req_adu: bytes | None = None
    ) -> list[int] | int:
        """Return what an answer to a request has; raises ModbusError, CRCError."""

else:
    from pysolarmanv5 import PySolarmanV5Async, V5FrameError
    from umodbus.client.serial.redundancy_check import CRCError
    from umodbus.client.serial.rtu import parse_response_adu
    from umodbus.exceptions import ModbusError

_LOGGER = logging.getLogger(__name__)

_START: Final = 0xA5
_END: Final = 0x15
_ENVELOPE: Final = 13
"""Bytes of a frame besides its payload."""
_LONGEST: Final = 1024
"""Bytes of a frame; an answer of 125 words has 284. More is a misread length."""
_REQUEST: Final = b"\x10\x45"
_ANSWER: Final = b"\x10\x15"
_SEQUENCE: Final = 5
_HEARTBEAT: Final = b"\x10\x47"
_SERIAL: Final = slice(7, 11)
_RTU: Final = slice(25, -2)

# What a logger answers instead of an RTU frame when it has none. The meaning of the
# two was seen by one source each [uncertain].
_NO_SUCH_UNIT: Final = b"\x05\x00"
_WRONG_SERIAL: Final = b"\x06\x00"

_READ: Final = 3


def cut_frame(buffer: bytearray) -> bytes | None:
    """Take the next whole frame out of `buffer`; None until more has come.

    Bytes that cannot be a frame, such as text of the logger's own, are dropped.
    Raises WrongDeviceError when plain Modbus TCP is spoken there: such a device
    takes a V5 request for its own protocol and answers it with its first bytes.
    """
    while (start := buffer.find(_START)) >= 0:
        del buffer[:start]
        if buffer[3:5] == _REQUEST:
            raise WrongDeviceError(
                "this logger speaks plain Modbus TCP, not Solarman V5: "
                "set it up as battery type deye_modbus, with the same port"
            )
        if len(buffer) < 5:
            return None
        length = _ENVELOPE + int.from_bytes(buffer[1:3], "little")
        if length <= _LONGEST:
            if len(buffer) < length:
                return None
            frame = bytes(buffer[:length])
            # A garbled answer goes to the library, so that it is asked for again.
            if frame[-1] == _END and (
                frame[3:5] == _ANSWER or checksum(frame) == frame[-2]
            ):
                del buffer[:length]
                return frame
        del buffer[:1]
    buffer.clear()
    return None


def checksum(frame: bytes) -> int:
    """Return the checksum that a frame should have."""
    return sum(frame[1:-2]) & 0xFF


class LoggerClient(PySolarmanV5Async):
    """The library's client on a stream that is cut into frames here."""

    # The library adds up byte by byte in Python.
    _calculate_v5_frame_checksum = staticmethod(checksum)

    def __init__(
        self,
        host: str,
        serial: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take over an open connection."""
        super().__init__(host, serial, logger=_LOGGER)
        self._serial = serial
        self._reader = reader
        self._writer = writer
        self._received = bytearray()
        self.heard = False
        """Whether anything but heartbeats has come since the last request."""
        self.has_answered = False
        """Whether a V5 frame has ever come."""

    @property
    def heard_only_others(self) -> bool:
        """Whether something has come, but never a V5 frame nor a part of one."""
        return self.heard and not self._received and not self.has_answered

    @property
    def connected(self) -> bool:
        """False once the other side is known to have hung up."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    @override
    async def _send_receive_v5_frame(self, data_logging_stick_frame: bytes) -> bytes:
        """Send a frame and return the answer to it, whatever else comes in between."""
        _LOGGER.debug("%s: sent %s", self._serial, data_logging_stick_frame.hex(" "))
        self.heard = False
        self._writer.write(data_logging_stick_frame)
        await self._writer.drain()
        while True:
            heard = self.heard
            frame = await self._next_frame()
            if frame[3:5] == _HEARTBEAT:
                self.heard = heard or bool(self._received)
            _LOGGER.debug("%s: received %s", self._serial, frame.hex(" "))
            # Everything else is a heartbeat (the library leaves those unanswered
            # too, and loggers go on), a report, or meant for another client.
            if frame[3:5] == _ANSWER and frame[_SEQUENCE] == self.sequence_number:
                self._check_logger(frame)
                return frame

    async def _next_frame(self) -> bytes:
        while (frame := cut_frame(self._received)) is None:
            received = await self._reader.read(1024)
            if not received:
                raise ConnectionResetError
            self._received += received
            self.heard = True
        self.has_answered = True
        return frame

    def _check_logger(self, frame: bytes) -> None:
        """Raise the error that the logger itself, not the inverter, answers with."""
        serial = int.from_bytes(frame[_SERIAL], "little")
        if serial != self._serial:
            raise WrongLoggerError(
                f"this logger's serial number is {serial}, not {self._serial}",
                self._serial,
                serial,
            )
        if frame[_RTU] == _WRONG_SERIAL:
            raise LoggerSerialRefusedError(
                f"the logger refuses the serial number {self._serial}: it must be the "
                "logger's own, from its sticker, not that of the inverter",
                self._serial,
            )
        if frame[_RTU] == _NO_SUCH_UNIT:
            raise UnitAbsentError(
                f"the logger gets no answer from unit id {self.mb_slave_id} behind it: "
                "is that the inverter's Modbus address (usually 1)?"
            )

    @override
    async def _get_modbus_response(self, mb_request_frame: bytes) -> list[int] | int:
        """Return the words of an answer, or the number of those that were written.

        Raises ModbusError and CRCError.
        """
        answer = await self._send_receive_modbus_frame(mb_request_frame)
        if answer[1] != _READ:
            return parse_response_adu(answer, mb_request_frame)
        if (words := words_of(answer)) is None:
            raise CRCError("wrong checksum of a Modbus frame")
        return words

    @override
    async def _send_receive_modbus_frame(self, mb_request_frame: bytes) -> bytes:
        """Return the RTU answer to an RTU request, checked to belong to this one."""
        answer = self._handle_double_crc(
            await super()._send_receive_modbus_frame(mb_request_frame)
        )
        unit, function = mb_request_frame[:2]
        if answer[0] != unit or answer[1] & 0x7F != function:
            raise V5FrameError("answer of another unit or to another function")
        if answer[1] == _READ:
            if answer[2] != len(answer) - 5:
                raise V5FrameError("answer of another length than it says")
            if answer[2] != 2 * int.from_bytes(mb_request_frame[4:6]):
                raise V5FrameError("answer of another number of words")
        elif answer[1] == function and answer[2:6] != mb_request_frame[2:6]:
            raise V5FrameError("answer to a write of other registers")
        return answer
