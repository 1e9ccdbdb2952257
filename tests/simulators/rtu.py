"""Modbus RTU framing, and a server for gateways that pass it through TCP as it is."""

import asyncio
from collections.abc import Callable
import struct
import time
from typing import Final

from .modbus import (
    READ_HOLDING,
    READ_INPUT,
    WRITE_MULTIPLE,
    WRITE_SINGLE,
    Traffic,
    Units,
)
from .modbus_server import TcpServer

CRC_BYTES: Final = 2
SHORTEST: Final = 4  # unit, function, CRC
MAX_FRAME: Final = 256
_COUNT_AT: Final = 6  # where a write of several words says how many bytes follow


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
    """Return how long the request is that starts so; None: it takes more to tell."""
    if len(start) <= _COUNT_AT:
        return None
    if start[1] == WRITE_MULTIPLE:
        return _COUNT_AT + 1 + start[_COUNT_AT] + CRC_BYTES
    if start[1] in (READ_HOLDING, READ_INPUT, WRITE_SINGLE):
        return 8
    return len(start)  # nobody knows; what has come is taken for all of it


class RtuServer(TcpServer):
    """A transparent gateway: RTU frames in a stream. What is damaged gets no answer."""

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
        """What the device was asked; requests that a fault answered are not in it."""
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
                    heard = b""  # nobody can tell where the next one starts
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
