"""Answers that a Modbus server must not give: none is taken, and none is a traceback.

The server of these tests answers one request wrongly, and all others rightly.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
import logging
import struct
from typing import Final

from hypothesis import given, settings, strategies as st
from pymodbus import FramerType
import pytest

from custom_components.homebattery.drivers.errors import (
    BatteryError,
    ProtocolError,
    RequestTimeoutError,
)
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from tests.simulators.rtu import framed

pytestmark = pytest.mark.usefixtures("socket_enabled")

TIMEOUT: Final = 0.1
READ: Final = bytes((3, 4, 0, 7, 0, 8))
"""The right answer to a read of two words."""
ECHO: Final = bytes((16, 0, 100, 0, 2))
"""The right answer to a write of two words from 100."""

type Spoil = Callable[[bytes, bytes], bytes]
"""Function from the header of a request and its right answer to the bytes sent."""


def with_header(header: bytes, pdu: bytes) -> bytes:
    """Return an answer as it should be framed."""
    return header[:4] + struct.pack(">HB", len(pdu) + 1, header[6]) + pdu


def instead(pdu: bytes) -> Spoil:
    """Answer something else in the right frame."""
    return lambda header, _: with_header(header, pdu)


class Server:
    """A server that spoils its next answer."""

    def __init__(self, framer: FramerType) -> None:
        self.framer = framer
        self.spoil: Spoil | None = None
        self.connections = 0

    async def talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        with suppress(ConnectionError):
            while request := await reader.read(1024):
                writer.write(self.answer(request))
        writer.close()

    def answer(self, request: bytes) -> bytes:
        spoil, self.spoil = self.spoil, None
        is_serial = self.framer is FramerType.RTU
        header = b"\0\0\0\0\0\0\1" if is_serial else request[:7]
        right = READ if request[1 if is_serial else 7] == 3 else ECHO
        answer = with_header(header, right) if spoil is None else spoil(header, right)
        return framed(1, answer[7:]) if is_serial else answer


@asynccontextmanager
async def serving(
    framer: FramerType = FramerType.SOCKET,
) -> AsyncIterator[tuple[Server, ModbusTcpConnection]]:
    """Yield a server, and an open connection to it."""
    hostile = Server(framer)
    server = await asyncio.start_server(hostile.talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = ModbusTcpConnection("127.0.0.1", port, TIMEOUT, framer)
        await connection.open()
        try:
            yield hostile, connection
        finally:
            await connection.close()
            server.close_clients()


READS: Final[dict[str, bytes]] = {
    "function 4": bytes((4, *READ[1:])),
    "function 23": bytes((23, *READ[1:])),
    "the echo of a write": ECHO,
    "an unknown function": bytes((90, 4, 0, 7, 0, 8)),
    "a function with parts": bytes((43, 14, 1, 1, 0, 0)),
    "a diagnosis": bytes((8, 0, 0, 0, 7)),
    "the exception of another function": bytes((0x90, 2)),
    "an exception without a code": bytes((0x83,)),
    "one word": bytes((3, 2, 0, 7)),
    "three words": bytes((3, 6, 0, 7, 0, 8, 0, 9)),
    "a count of more bytes": bytes((3, 6, 0, 7, 0, 8)),
    "a count of fewer bytes": bytes((3, 2, 0, 7, 0, 8)),
    "an odd count": bytes((3, 3, 0, 7, 0)),
    "no words": bytes((3, 0)),
    "no count": bytes((3,)),
}
WRITES: Final[dict[str, bytes]] = {
    "another address": bytes((16, 0, 101, 0, 2)),
    "another count": bytes((16, 0, 100, 0, 1)),
    "half an echo": bytes((16, 0, 100)),
    "more than an echo": bytes((*ECHO, 0)),
    "the echo of a single write": bytes((6, *ECHO[1:])),
    "words": READ,
    "the exception of another function": bytes((0x83, 2)),
}


async def read(connection: ModbusTcpConnection) -> list[int]:
    return await connection.unit(1).read_holding_registers(100, 2)


async def write(connection: ModbusTcpConnection) -> list[int]:
    await connection.unit(1).write_registers(100, [1, 2])
    return []


@pytest.mark.parametrize(
    ("ask", "pdu"),
    [
        *(pytest.param(read, pdu, id=f"read: {name}") for name, pdu in READS.items()),
        *(
            pytest.param(write, pdu, id=f"write: {name}")
            for name, pdu in WRITES.items()
        ),
    ],
)
async def test_wrong_answer_is_refused_and_quoted(
    ask: Callable[[ModbusTcpConnection], Awaitable[object]],
    pdu: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as (server, connection):
        assert await read(connection) == [7, 8]
        server.spoil = instead(pdu)
        with pytest.raises(ProtocolError, match=f"came: {pdu.hex(' ')}"):
            await ask(connection)
        assert await read(connection) == [7, 8]
        assert server.connections == 2
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("ask", "pdu"),
    [
        *(pytest.param(read, pdu, id=f"read: {name}") for name, pdu in READS.items()),
        *(
            pytest.param(write, pdu, id=f"write: {name}")
            for name, pdu in WRITES.items()
        ),
    ],
)
async def test_wrong_answer_on_a_serial_line_is_not_taken(
    ask: Callable[[ModbusTcpConnection], Awaitable[object]],
    pdu: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There the answer may be among other bytes, so that some are waited out."""
    caplog.set_level(logging.INFO)
    async with serving(FramerType.RTU) as (server, connection):
        assert await read(connection) == [7, 8]
        server.spoil = instead(pdu)
        with pytest.raises((ProtocolError, RequestTimeoutError)):
            await ask(connection)
        assert await read(connection) == [7, 8]
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


FRAMES: Final[dict[str, Spoil]] = {
    "transaction 0": lambda header, pdu: with_header(b"\0\0" + header[2:], pdu),
    "transaction 0, refused": lambda header, _: with_header(
        b"\0\0" + header[2:], bytes((0x83, 2))
    ),
    "another transaction": lambda header, pdu: with_header(b"\7\7" + header[2:], pdu),
    "another protocol": lambda header, pdu: with_header(
        header[:2] + b"\0\7" + header[4:], pdu
    ),
    "another unit": lambda header, pdu: with_header(header[:6] + b"\2", pdu),
    "nothing in it": lambda header, _: with_header(header, b""),
    "length 0": lambda header, pdu: header[:4] + b"\0\0\1" + pdu,
    "length 65535": lambda header, pdu: header[:4] + b"\xff\xff\1" + pdu,
    "text": lambda header, pdu: b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("spoil", FRAMES.values(), ids=FRAMES)
async def test_answer_in_a_wrong_frame_is_not_taken(
    spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as (server, connection):
        assert await read(connection) == [7, 8]
        server.spoil = spoil
        with pytest.raises((ProtocolError, RequestTimeoutError)):
            await read(connection)
        assert await read(connection) == [7, 8]
        assert server.connections == 2
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("framer", [FramerType.SOCKET, FramerType.RTU])
async def test_right_answer_that_comes_twice_is_taken_once(framer: FramerType) -> None:
    async with serving(framer) as (server, connection):
        server.spoil = lambda header, pdu: 2 * with_header(header, pdu)
        if framer is FramerType.SOCKET:
            assert await read(connection) == [7, 8]
        else:
            with pytest.raises(BatteryError):
                await read(connection)
        assert await read(connection) == [7, 8]


async def test_flood_of_serial_bytes_is_not_searched_for_an_answer() -> None:
    """A search from each byte on took minutes."""
    async with serving(FramerType.RTU) as (server, connection):
        assert await read(connection) == [7, 8]
        server.spoil = lambda header, _: header[:7] + bytes((3, 3)) * 20_000
        with pytest.raises(ProtocolError, match="bytes came at once"):
            await read(connection)
        assert await read(connection) == [7, 8]


@settings(max_examples=30)
@given(
    framer=st.sampled_from([FramerType.SOCKET, FramerType.RTU]),
    pdu=st.binary(max_size=12),
    header=st.one_of(st.just(b""), st.binary(min_size=4, max_size=9)),
)
def test_any_bytes_are_an_error_of_the_library_or_the_right_answer(
    framer: FramerType, pdu: bytes, header: bytes
) -> None:
    async def ask() -> None:
        async with serving(framer) as (server, connection):
            # Room for the header of the request, so that its transaction may fit.
            server.spoil = lambda asked, _: (
                header + pdu if header else with_header(asked, pdu)
            )
            try:
                words = await connection.unit(1).read_holding_registers(100, 2)
            except BatteryError:
                return
            assert pdu[:2] == READ[:2] and words == list(struct.unpack(">HH", pdu[2:6]))

    asyncio.run(ask())
