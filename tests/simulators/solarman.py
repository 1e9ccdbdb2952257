"""A Solarman data logger (stick): Modbus RTU packed into V5 frames, on TCP."""

import asyncio
from collections.abc import Callable
import time
from typing import Final

from .modbus import NO_RESPONSE, Traffic, Units
from .modbus_server import TcpServer
from .rtu import framed, unframed
from .solarman_frames import (
    ANSWER,
    HEARTBEAT,
    REQUEST,
    START,
    Frame,
    answered,
    asked,
    length_of,
    unpack,
)

SERIAL: Final = 2_718_281_828
WRONG_SERIAL: Final = bytes((6, 0))
WRONG_UNIT: Final = bytes((5, 0))
EXCEPTION: Final = 0x80
MAX_CHUNK: Final = 1024


class SolarmanLogger(TcpServer):
    """A logger in front of an inverter."""

    def __init__(
        self,
        units: Units,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        serial: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve an inverter; `serial` is the logger's own."""
        super().__init__(host, port, clock=clock)
        self.units = units
        self.serial = serial
        self.double_crc = False
        self._counter = 0
        self._started = clock()

    @property
    def traffic(self) -> Traffic:
        """What the inverter was asked; requests that a fault answered are not in it."""
        return self.units.traffic

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float
    ) -> None:
        heard = b""
        while chunk := await reader.read(MAX_CHUNK):
            heard += chunk
            while (length := _next(heard)) and length <= len(heard):
                frame, heard = unpack(heard[:length]), heard[length:]
                if frame is None or frame.control != REQUEST:
                    continue
                if self._is_lost(since):
                    self.lost += 1
                    continue
                await self._pause()
                if (answer := self._answered(frame)) is not None:
                    writer.write(answer.packed())
                    await writer.drain()

    def _answered(self, request: Frame) -> Frame | None:
        """Return the answer to a request, None for silence."""
        rtu = self._rtu(request)
        if rtu is None:
            return None
        now = int(self.clock() - self._started)
        payload = answered(rtu, working=now, powered=now, offset=int(self._started))
        return self._frame(ANSWER, request.sequence[0], payload)

    def _rtu(self, request: Frame) -> bytes | None:
        """Return what the payload carries: an RTU frame, or two bytes of the logger's own."""
        if request.serial != self.serial:
            return WRONG_SERIAL
        question = unframed(asked(request.payload) or b"")
        if question is None:
            return None
        unit, pdu = question
        answer = self._answer(self.units, unit, pdu)
        if answer is None:
            return None
        if answer[0] & EXCEPTION and answer[1] == NO_RESPONSE:
            return WRONG_UNIT
        return framed(unit, answer) + b"\0\0" * self.double_crc

    def _frame(self, control: int, sequence: int, payload: bytes) -> Frame:
        self._counter = self._counter + 1 & 0xFF
        return Frame(control, (sequence, self._counter), self.serial, payload)

    def heartbeat(self) -> Frame:
        """Return a frame that nobody asked for."""
        return self._frame(HEARTBEAT, 0, b"\0")


def _next(heard: bytes) -> int | None:
    """Return the length of the frame that comes next; what is no frame is taken away whole."""
    if heard and heard[0] != START:
        return len(heard)
    return length_of(heard)
