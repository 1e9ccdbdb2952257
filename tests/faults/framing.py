"""The frames of the protocols: cut out of a stream, taken apart, and changed."""

from abc import ABC, abstractmethod
import asyncio
import json
import re
import struct
from typing import Any, Final, Literal, override

from tests.simulators.modbus import WRITE_MULTIPLE, WRITE_SINGLE
from tests.simulators.modbus_server import HEADER
from tests.simulators.rtu import CRC_BYTES, SHORTEST, framed, request_length
from tests.simulators.solarman_frames import (
    ANSWER,
    OVERHEAD,
    Frame,
    answered,
    asked,
    length_of,
    unpack,
)

type Protocol = Literal["modbus", "rtu", "solarman", "http"]

_WRITES: Final = (WRITE_SINGLE, WRITE_MULTIPLE)
_PDU_AT: Final = 1  # in an RTU frame, behind the unit id
_RTU_START: Final = 7  # bytes of a request that tell its length
_RTU_WRITTEN: Final = 8  # bytes of the answer to a write
_SOLARMAN_HEAD: Final = 14  # bytes of an answer's payload in front of the RTU frame
_HEAD_END: Final = b"\r\n\r\n"
_CONTENT_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Framing(ABC):
    """A protocol in which each request has one answer."""

    @abstractmethod
    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Return the next request; raises IncompleteReadError at the end."""

    async def read_answer(self, reader: asyncio.StreamReader) -> bytes:
        """Return the next answer; raises what `read` does."""
        return await self.read(reader)

    @abstractmethod
    def is_write(self, request: bytes) -> bool:
        """Return whether a request changes the device."""

    @abstractmethod
    def accepted(self, request: bytes) -> bytes:
        """Return the answer to a write that was carried out."""


class BusFraming(Framing):
    """A protocol that carries Modbus: units, functions and words."""

    @abstractmethod
    def asked(self, request: bytes) -> tuple[int, bytes]:
        """Return the unit and the PDU of a request."""

    @abstractmethod
    def answered(self, answer: bytes) -> tuple[int, bytes]:
        """Return the unit and the PDU of an answer."""

    @abstractmethod
    def answer(self, request: bytes, unit: int, pdu: bytes) -> bytes:
        """Return the frame of an answer to a request."""

    @abstractmethod
    def with_other_id(self, answer: bytes) -> bytes:
        """Return an answer that belongs to no request."""

    @override
    def is_write(self, request: bytes) -> bool:
        return self.asked(request)[1][0] in _WRITES

    @override
    def accepted(self, request: bytes) -> bytes:
        unit, pdu = self.asked(request)
        return self.answer(request, unit, pdu[:5])

    def words(self, answer: bytes) -> list[int] | None:
        """Return the words that were read; None in another answer."""
        _, pdu = self.answered(answer)
        if pdu[0] & 0x80 or pdu[0] in _WRITES:
            return None
        return list(struct.unpack(f">{pdu[1] // 2}H", pdu[2:]))

    def with_words(self, request: bytes, words: list[int]) -> bytes:
        """Return the answer to a read with these words."""
        unit, pdu = self.asked(request)
        data = struct.pack(f">{len(words)}H", *words)
        return self.answer(request, unit, bytes((pdu[0], len(data))) + data)


class ModbusFraming(BusFraming):
    """Modbus TCP."""

    @override
    async def read(self, reader: asyncio.StreamReader) -> bytes:
        header = await reader.readexactly(HEADER.size)
        length = HEADER.unpack(header)[2]
        return header + await reader.readexactly(length - 1)

    @override
    def asked(self, request: bytes) -> tuple[int, bytes]:
        return request[HEADER.size - 1], request[HEADER.size :]

    @override
    def answered(self, answer: bytes) -> tuple[int, bytes]:
        return self.asked(answer)

    @override
    def answer(self, request: bytes, unit: int, pdu: bytes) -> bytes:
        return HEADER.pack(HEADER.unpack_from(request)[0], 0, len(pdu) + 1, unit) + pdu

    @override
    def with_other_id(self, answer: bytes) -> bytes:
        return bytes((answer[0] ^ 0x55, answer[1] ^ 0x55)) + answer[2:]


class RtuFraming(BusFraming):
    """RTU frames in a stream of TCP: without an id, and without a length."""

    @override
    async def read(self, reader: asyncio.StreamReader) -> bytes:
        start = await reader.readexactly(_RTU_START)
        length = request_length(start)
        assert length is not None
        return start + await reader.readexactly(length - len(start))

    @override
    async def read_answer(self, reader: asyncio.StreamReader) -> bytes:
        start = await reader.readexactly(SHORTEST + 1)
        length = _RTU_WRITTEN if start[1] in _WRITES else len(start) + start[2]
        if start[1] & 0x80:
            length = len(start)
        return start + await reader.readexactly(length - len(start))

    @override
    def asked(self, request: bytes) -> tuple[int, bytes]:
        return request[0], request[_PDU_AT:-CRC_BYTES]

    @override
    def answered(self, answer: bytes) -> tuple[int, bytes]:
        return self.asked(answer)

    @override
    def answer(self, request: bytes, unit: int, pdu: bytes) -> bytes:
        return framed(unit, pdu)

    @override
    def with_other_id(self, answer: bytes) -> bytes:
        unit, pdu = self.answered(answer)
        return framed(unit ^ 1, pdu)


class SolarmanFraming(BusFraming):
    """Solarman V5."""

    @override
    async def read(self, reader: asyncio.StreamReader) -> bytes:
        start = await reader.readexactly(3)
        length = length_of(start)
        return start + await reader.readexactly((length or OVERHEAD) - len(start))

    @override
    def asked(self, request: bytes) -> tuple[int, bytes]:
        return self._unframed(asked(_unpacked(request).payload) or b"")

    @override
    def answered(self, answer: bytes) -> tuple[int, bytes]:
        return self._unframed(_unpacked(answer).payload[_SOLARMAN_HEAD:])

    def _unframed(self, rtu: bytes) -> tuple[int, bytes]:
        return rtu[0], rtu[_PDU_AT:-CRC_BYTES]

    @override
    def answer(self, request: bytes, unit: int, pdu: bytes) -> bytes:
        frame = _unpacked(request)
        payload = answered(framed(unit, pdu), working=1, powered=1, offset=1)
        return Frame(ANSWER, frame.sequence, frame.serial, payload).packed()

    @override
    def with_other_id(self, answer: bytes) -> bytes:
        frame = _unpacked(answer)
        first, second = frame.sequence
        return frame._replace(sequence=(first ^ 0x55, second)).packed()


def _unpacked(data: bytes) -> Frame:
    frame = unpack(data)
    assert frame is not None, data
    return frame


class HttpFraming(Framing):
    """HTTP with the length of each body in its head."""

    @override
    async def read(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(_HEAD_END)
        length = _CONTENT_LENGTH.search(head)
        return head + await reader.readexactly(int(length[1]) if length else 0)

    @override
    def is_write(self, request: bytes) -> bool:
        return not request.startswith(b"GET")

    @override
    def accepted(self, request: bytes) -> bytes:
        return self.answer({"status": "ok"})

    def answer(self, body: Any, status: int = 200, **headers: str | None) -> bytes:
        """Return an answer: bytes as they are, text, or JSON.

        Headers have _ for -; None leaves one out.
        """
        match body:
            case bytes():
                content = body
            case str():
                content = body.encode()
            case _:
                content = json.dumps(body).encode()
        sent = {
            "Content_Type": "application/json",
            "Content_Length": f"{len(content)}",
            **headers,
        }
        lines = [
            f"HTTP/1.1 {status} Status",
            *(f"{k.replace('_', '-')}: {v}" for k, v in sent.items() if v is not None),
        ]
        return "\r\n".join(lines).encode() + _HEAD_END + content

    def body(self, answer: bytes) -> Any:
        """Return the JSON of an answer; None where it is none."""
        try:
            return json.loads(answer.partition(_HEAD_END)[2])
        except ValueError:
            return None


FRAMINGS: Final[dict[Protocol, Framing]] = {
    "modbus": ModbusFraming(),
    "rtu": RtuFraming(),
    "solarman": SolarmanFraming(),
    "http": HttpFraming(),
}
