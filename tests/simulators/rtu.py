"""Modbus RTU framing, and a server for gateways that pass it through TCP as it is."""

import asyncio
from collections.abc import Callable
import struct
import time
from typing import Final

from .modbus import (
    READ_HOLDING_REGISTERS,
    READ_INPUT_REGISTERS,
    WRITE_MULTIPLE,
    WRITE_SINGLE,
    Traffic,
    Units,
)
from .modbus_server import TcpServer

CRC_BYTES: Final = 2
SHORTEST: Final = 4  # unit, function, CRC
MAX_FRAME: Final = 256
_COUNT_AT: Final = 6  # position of the byte count in a write of several words


def crc(data: bytes) -> bytes:
    """Return the two check bytes, low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def framed(unit: int, pdu: bytes) -> bytes:
    """Return a whole frame."""
    frame = bytes((unit,)) + pdu
    return frame + crc(frame)


def unframed(frame: bytes) -> tuple[int, bytes] | None:
    """Return unit and PDU, None if the check bytes are wrong."""
    if len(frame) < SHORTEST or crc(frame[:-CRC_BYTES]) != frame[-CRC_BYTES:]:
        return None
    return frame[0], frame[1:-CRC_BYTES]


def request_length(start: bytes) -> int | None:
    """Return the length of the request that begins so; None: too short to know."""
    if len(start) <= _COUNT_AT:
        return None
    if start[1] == WRITE_MULTIPLE:
        return _COUNT_AT + 1 + start[_COUNT_AT] + CRC_BYTES
    if start[1] in (READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS, WRITE_SINGLE):
        return 8
    return len(start)  # unknown function: all received bytes count as the request


class RtuServer(TcpServer):
    """A transparent gateway: RTU frames in a stream. Damaged frames get no answer."""

    def __init__(
        self,
        units: Units,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve these units."""
        super().__init__(host, port, clock=clock)
        self.units = units

    @property
    def traffic(self) -> Traffic:
        """Requests that reached the device, without those that a fault answered."""
        return self.units.traffic

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float
    ) -> None:
        heard = b""
        while chunk := await reader.read(MAX_FRAME):
            heard += chunk
            while (length := request_length(heard)) is not None:
                if length > len(heard):
                    break
                request, rest = unframed(heard[:length]), heard[length:]
                if request is None:
                    heard = b""  # the start of the next frame is unknown
                    break
                heard = rest
                if self._is_lost(since):
                    self.lost += 1
                    continue
                await self._pause()
                unit, pdu = request
                answer = self._answer(self.units, unit, pdu)
                if answer is not None:
                    writer.write(framed(unit, answer))
                    await writer.drain()
