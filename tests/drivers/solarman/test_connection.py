"""Solarman V5: all ways in which loggers send their bytes, and discovery."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import logging
import socket
import struct

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    DeviceRefusedError,
    IllegalAddressError,
    ProtocolError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
    WrongLoggerError,
)
from custom_components.homebattery.drivers.modbus.priority_lock import high_priority
from custom_components.homebattery.drivers.solarman import (
    discovery as solarman_discovery,
)
from custom_components.homebattery.drivers.solarman.discovery import (
    Logger,
    discover,
    find_serial,
    parse_logger,
)
from custom_components.homebattery.drivers.solarman.frames import cut_frame
from custom_components.homebattery.drivers.solarman.transport import SolarmanConnection

from .v5_logger import (
    BANNER,
    HANG_UP,
    HEARTBEAT,
    SERIAL,
    Reply,
    Request,
    ScriptedLogger,
    Segments,
    reads,
    rtu,
    silence,
    v5,
    words,
)

pytestmark = pytest.mark.usefixtures("socket_enabled")

VALUES = [235, 5362, 0xFFFF]
SHORT = 0.05
"""Time-out of a silent logger in tests, s."""


@asynccontextmanager
async def connected(
    logger: ScriptedLogger, *, serial: int = SERIAL, timeout: float = 5
) -> AsyncIterator[SolarmanConnection]:
    """Yield an open connection to a logger."""
    connection = SolarmanConnection(logger.host, logger.port, serial, timeout)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()


def answer(request: Request) -> bytes:
    """Return the right answer to a request for three words."""
    return v5(request, words(request, *VALUES))


# Frames


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(lambda r: [answer(r)], id="plain"),
        pytest.param(lambda r: [v5(r, words(r, *VALUES) + b"\0\0")], id="double CRC"),
        pytest.param(lambda r: [HEARTBEAT, answer(r)], id="heartbeat before"),
        pytest.param(lambda r: [HEARTBEAT + answer(r)], id="heartbeat glued in front"),
        pytest.param(lambda r: [answer(r) + HEARTBEAT], id="heartbeat glued behind"),
        pytest.param(
            lambda r: [HEARTBEAT + answer(r) + HEARTBEAT], id="heartbeats around"
        ),
        pytest.param(
            lambda r: [v5(r, b"\0", control=0x4710), answer(r)],
            id="heartbeat with the sequence of the request",
        ),
        pytest.param(lambda r: [answer(r)[:30], answer(r)[30:]], id="two segments"),
        pytest.param(lambda r: [answer(r)[:1], answer(r)[1:]], id="first byte alone"),
        pytest.param(
            lambda r: [bytes((byte,)) for byte in answer(r)], id="byte by byte"
        ),
        pytest.param(lambda r: [BANNER + answer(r)], id="banner in front"),
        pytest.param(lambda r: [b"\xa5\xa5" + answer(r)], id="stray start bytes"),
        pytest.param(lambda r: [HEARTBEAT[:8] + answer(r)], id="truncated heartbeat"),
        pytest.param(
            lambda r: [HEARTBEAT[:9] + answer(r)],
            id="truncated heartbeat whose end byte seems to be there",
        ),
        pytest.param(
            lambda r: [b"\xa5\x10\xff\x10\x15" + answer(r)], id="impossible length"
        ),
        pytest.param(
            lambda r: [
                v5(r, words(r, 1, 2, 3), sequence=r.sequence - 1 & 0xFF) + answer(r)
            ],
            id="answer to another request in front",
        ),
        pytest.param(
            lambda r: [v5(r, words(r, 1), control=0x4210), answer(r)], id="data report"
        ),
    ],
)
async def test_words_come_out_right_however_they_are_sent(reply: Reply) -> None:
    """The first read and the one after it give the words, on one connection."""
    async with ScriptedLogger(reply) as logger, connected(logger) as connection:
        unit = connection.unit(1)
        first = await unit.read_holding_registers(586, 3)
        second = await unit.read_holding_registers(586, 3)

    assert first == second == VALUES
    assert logger.connections == 1
    assert [request.rtu for request in logger.requests] == [rtu(1, 3, 2, 74, 0, 3)] * 2


@given(
    parts=st.lists(
        st.sampled_from(
            [HEARTBEAT, BANNER, v5(Request(bytes(26)), b"\x01\x03\x02\xa5\x15\x00\x00")]
        ),
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_frames_do_not_depend_on_segments(parts: list[bytes], cuts: list[int]) -> None:
    """A stream cut into any segments gives the same frames."""
    stream = b"".join(parts)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    buffer = bytearray()
    frames = []
    for start, end in zip(edges, edges[1:], strict=False):
        buffer += stream[start:end]
        while (frame := cut_frame(buffer)) is not None:
            frames.append(frame)

    assert frames == [part for part in parts if part is not BANNER]


@given(st.binary(max_size=300))
def test_garbage_is_no_frame_and_never_an_endless_loop(garbage: bytes) -> None:
    """Bytes without a start byte are dropped as a whole."""
    buffer = bytearray(garbage.replace(b"\xa5", b""))

    assert cut_frame(buffer) is None
    assert not buffer


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda frame: _flipped(frame, -2), id="checksum"),
        pytest.param(lambda frame: _with_sum(_flipped(frame, -4)), id="CRC"),
    ],
)
async def test_a_garbled_answer_is_asked_for_again(spoilt: object) -> None:
    """The second try, on a new connection, gives the words."""
    assert callable(spoilt)
    async with (
        ScriptedLogger(lambda r: [spoilt(answer(r))], reads(*VALUES)) as logger,
        connected(logger) as connection,
    ):
        assert await connection.unit(1).read_holding_registers(586, 3) == VALUES
        assert logger.connections == 2


def _flipped(frame: bytes, place: int) -> bytes:
    """Return the frame with another byte at a place."""
    other = bytearray(frame)
    other[place] ^= 0xFF
    return bytes(other)


def _with_sum(frame: bytes) -> bytes:
    """Return the frame with a correct checksum."""
    return frame[:-2] + bytes((sum(frame[1:-2]) & 0xFF,)) + frame[-1:]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(lambda r: words(r, 1, 2), id="fewer words"),
        pytest.param(lambda r: words(r, 1, 2, 3, 4), id="more words"),
        pytest.param(lambda r: rtu(2, 3, 6, *bytes(6)), id="another unit"),
        pytest.param(lambda r: rtu(1, 4, 6, *bytes(6)), id="another function"),
        pytest.param(lambda r: rtu(1, 3, 4, *bytes(6)), id="wrong byte count"),
        pytest.param(lambda r: rtu(1, 16, 2, 74, 0, 3), id="answer to a write"),
        pytest.param(lambda r: b"\x04\x00", id="unknown error of the logger"),
        pytest.param(lambda r: rtu(1, 0x83, 99), id="unknown exception"),
    ],
)
async def test_an_answer_to_something_else_is_never_taken(payload: object) -> None:
    """Words of another request would be worse than none."""
    assert callable(payload)
    async with (
        ScriptedLogger(lambda r: [v5(r, payload(r))]) as logger,
        connected(logger) as connection,
    ):
        with pytest.raises(ProtocolError, match="reading 3 words from 586"):
            await connection.unit(1).read_holding_registers(586, 3)
        assert len(logger.requests) == 2


# Requests


async def test_writes_use_function_16_also_for_negative_values() -> None:
    """Words are masked: the library refuses negative ones."""
    async with (
        ScriptedLogger(lambda r: [v5(r, rtu(*r.rtu[:6]))]) as logger,
        connected(logger) as connection,
    ):
        await connection.unit(3).write_registers(104, [-20, 5])

    assert logger.requests[0].rtu == rtu(3, 16, 0, 104, 0, 2, 4, 0xFF, 0xEC, 0, 5)


async def test_an_echo_of_another_write_is_not_a_confirmation() -> None:
    """The answer to a write names the registers."""
    async with (
        ScriptedLogger(lambda r: [v5(r, rtu(1, 16, 0, 110, 0, 1))]) as logger,
        connected(logger) as connection,
    ):
        with pytest.raises(ProtocolError, match="other registers"):
            await connection.unit(1).write_registers(108, [1])


@pytest.mark.parametrize("end", [b"", b"\0\0"])
async def test_a_modbus_exception_is_passed_on(end: bytes) -> None:
    """Exceptions come through, also with a double CRC, and cost no connection."""
    async with (
        ScriptedLogger(
            lambda r: [v5(r, rtu(1, 0x83, 2) + end)], reads(*VALUES)
        ) as logger,
        connected(logger) as connection,
    ):
        with pytest.raises(IllegalAddressError) as caught:
            await connection.unit(1).read_holding_registers(9999, 3)
        assert caught.value.code == 2
        assert await connection.unit(1).read_holding_registers(586, 3) == VALUES
        assert logger.connections == 1


async def test_concurrent_requests_each_get_their_own_answer() -> None:
    """One request is under way at a time, for all callers."""

    def reply(request: Request) -> Segments:
        address, count = struct.unpack(">HH", request.rtu[2:6])
        return [v5(request, words(request, *range(address, address + count)))]

    async with ScriptedLogger(reply) as logger, connected(logger) as connection:
        results = await asyncio.gather(
            *(
                connection.unit(1).read_holding_registers(address, count)
                for address, count in ((10, 3), (20, 3), (30, 1), (40, 5))
            )
        )

    assert results == [[10, 11, 12], [20, 21, 22], [30], [40, 41, 42, 43, 44]]


async def test_silence_between_requests_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second request waits for the rest of the pause."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    async with ScriptedLogger(reads(1)) as logger, connected(logger) as connection:
        connection.spacing = 10
        await connection.unit(1).read_holding_registers(0, 1)
        monkeypatch.setattr(asyncio, "sleep", note)
        with high_priority():
            await connection.unit(1).read_holding_registers(0, 1)
        monkeypatch.undo()

    assert [round(pause) for pause in pauses if pause > 1] == [10]


# Failures


async def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    """After a timeout the next request has a connection of its own."""
    async with (
        ScriptedLogger(silence, reads(*VALUES)) as logger,
        connected(logger, timeout=SHORT) as connection,
    ):
        with pytest.raises(RequestTimeoutError, match=r"no answer in 0.05 s"):
            await connection.unit(1).read_holding_registers(500, 3)
        assert await connection.unit(1).read_holding_registers(586, 3) == VALUES
        assert logger.connections == connection.connects == 2


async def test_a_question_beside_a_heartbeat_costs_one_time_out() -> None:
    """A heartbeat is no garbled answer, after which a request would be repeated."""
    async with (
        ScriptedLogger(lambda r: [HEARTBEAT]) as logger,
        connected(logger, timeout=SHORT) as connection,
    ):
        with pytest.raises(RequestTimeoutError, match="no answer"):
            await connection.unit(1).read_holding_registers(586, 3)
        assert len(logger.requests) == 1


async def test_an_idle_connection_that_was_closed_is_made_anew() -> None:
    """Loggers hang up after some minutes; the next request connects again."""
    async with (
        ScriptedLogger(lambda r: [answer(r), HANG_UP], reads(*VALUES)) as logger,
        connected(logger) as connection,
    ):
        await connection.unit(1).read_holding_registers(586, 3)
        await asyncio.sleep(0.02)
        assert await connection.unit(1).read_holding_registers(586, 3) == VALUES
        assert len(logger.requests) == 2


async def test_a_connection_closed_instead_of_an_answer_is_tried_once_more() -> None:
    """Once; a logger that goes on hanging up is an error at once, without waiting."""
    async with (
        ScriptedLogger(lambda r: [HANG_UP], reads(*VALUES)) as logger,
        connected(logger) as connection,
    ):
        assert await connection.unit(1).read_holding_registers(586, 3) == VALUES
        logger.replies = [lambda r: [HANG_UP]]
        with pytest.raises(CannotConnectError, match="the connection was closed"):
            await connection.unit(1).read_holding_registers(586, 3)


async def test_an_unreachable_logger_is_not_asked_for_a_while() -> None:
    """It is connected again without a reload, but only after a while."""
    async with ScriptedLogger(reads(*VALUES)) as logger:
        connection = SolarmanConnection(logger.host, logger.port, SERIAL, 5)
        await connection.open()
    unit = connection.unit(1)
    with pytest.raises(CannotConnectError, match="begins with a D"):
        await unit.read_holding_registers(586, 3)
    with pytest.raises(CannotConnectError, match="next try in 1 s"):
        await unit.read_holding_registers(586, 3)

    async with logger:
        connection._not_before = 0
        assert await unit.read_holding_registers(586, 3) == VALUES
    await connection.close()


async def test_giving_up_on_a_request_leaves_the_connection_usable() -> None:
    """A cancelled request's answer is not taken for that of the next."""
    async with (
        ScriptedLogger(silence, reads(*VALUES)) as logger,
        connected(logger) as connection,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await connection.unit(1).read_holding_registers(500, 3)
        assert await connection.unit(1).read_holding_registers(586, 3) == VALUES
        assert logger.connections == 2


async def test_users_of_a_logger_share_one_connection() -> None:
    """The last user closes the socket; then nothing is sent any more."""
    async with ScriptedLogger(reads(*VALUES)) as logger:
        address = (logger.host, logger.port, SERIAL, 5)
        first, second = (SolarmanConnection.shared(*address) for _ in range(2))
        await first.open()
        await second.open()
        await first.close()
        assert await second.unit(1).read_holding_registers(586, 3) == VALUES
        await second.close()

        assert first is second
        assert logger.connections == 1
        with pytest.raises(CannotConnectError, match="not in use"):
            await second.unit(1).read_holding_registers(586, 3)


# Wrong loggers


async def test_a_wrong_serial_number_is_reported_with_the_right_one() -> None:
    """Most loggers answer under their own serial number."""
    async with (
        ScriptedLogger(lambda r: [v5(r, b"\x06\x00")]) as logger,
        connected(logger, serial=1712345678) as connection,
    ):
        with pytest.raises(
            WrongLoggerError, match=f"serial number is {SERIAL}, not 1712345678"
        ):
            await connection.unit(1).read_holding_registers(0, 1)


async def test_a_serial_number_that_is_refused_is_explained() -> None:
    """The logger repeats the number, and refuses it."""
    async with (
        ScriptedLogger(lambda r: [v5(r, b"\x06\x00", serial=r.serial)]) as logger,
        connected(logger, serial=2207112233) as connection,
    ):
        with pytest.raises(WrongLoggerError, match="not that of the inverter"):
            await connection.unit(1).read_holding_registers(0, 1)


async def test_a_wrong_unit_id_is_reported_as_such() -> None:
    """Not as the Modbus error that its bytes resemble."""
    async with (
        ScriptedLogger(lambda r: [v5(r, b"\x05\x00")]) as logger,
        connected(logger) as connection,
    ):
        with pytest.raises(UnitAbsentError, match="no answer from unit id 9"):
            await connection.unit(9).read_holding_registers(0, 1)
        assert logger.connections == 1


async def test_a_logger_that_speaks_plain_modbus_is_identified() -> None:
    """It takes the request for Modbus TCP: the error names the type to choose."""
    async with (
        ScriptedLogger(lambda r: [bytes.fromhex("a517001045 0300d602")]) as logger,
        connected(logger) as connection,
    ):
        with pytest.raises(WrongDeviceError, match="deye_modbus"):
            await connection.unit(1).read_holding_registers(0, 1)


async def test_the_library_does_not_set_up_logging() -> None:
    """It would without a logger of the caller's."""
    before = list(logging.getLogger().handlers)
    async with (
        ScriptedLogger(reads(*VALUES)) as logger,
        connected(logger) as connection,
    ):
        await connection.unit(1).read_holding_registers(586, 3)

    assert logging.getLogger().handlers == before


# Discovery of loggers


class Answering(asyncio.DatagramProtocol):
    """A device that answers a question by UDP, logger or not."""

    def __init__(self, *answers: bytes, to: bytes) -> None:
        self.answers = answers
        self.to = to
        self.asked: list[bytes] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.asked.append(data)
        if data == self.to and self.transport is not None:
            for answer in self.answers:
                self.transport.sendto(answer, addr)


@asynccontextmanager
async def answering(
    *answers: bytes, to: bytes = b"WIFIKIT-214028-READ"
) -> AsyncIterator[tuple[int, Answering]]:
    """Yield the port of a device that answers by UDP."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Answering(*answers, to=to), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1], protocol
    finally:
        transport.close()


@pytest.mark.parametrize("to", [b"WIFIKIT-214028-READ", b"HF-A11ASSISTHREAD"])
async def test_loggers_answer_discovery_with_their_identity(to: bytes) -> None:
    """Either text will do; an answer of another device is ignored."""
    async with answering(
        b"+ok",
        b"127.0.0.1,98D863AABBCC,MODULE-7",
        b"127.0.0.1,98D863AABBCC,2712345678",
        to=to,
    ) as (port, other):
        loggers = await discover(["127.0.0.1"], port=port, wait=0.1)

    assert loggers == [Logger("127.0.0.1", "98D863AABBCC", SERIAL)]
    assert set(other.asked) == {b"WIFIKIT-214028-READ", b"HF-A11ASSISTHREAD"}


@pytest.mark.parametrize(
    "answer", [b"", b"a,b", b"a,b,c", b"a,b,1,2", b"a,b,D123456789", b"a,b,\xb2\xb3"]
)
def test_another_answer_is_not_taken_for_a_logger(answer: bytes) -> None:
    """A logger's answer has three fields, the last of them a number."""
    assert parse_logger(answer, "a") is None


async def test_the_serial_number_comes_from_discovery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The logger answers by UDP; on its TCP port nothing needs to be sent."""
    async with (
        answering(b"127.0.0.1,98D863AABBCC,2712345678") as (port, _),
        ScriptedLogger(silence) as logger,
    ):
        monkeypatch.setattr(solarman_discovery, "DISCOVERY_PORT", port)
        assert await find_serial(logger.host, logger.port) == SERIAL
        assert logger.requests == []


async def test_a_host_without_a_logger_port_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is sent to an address without a listener on a logger's port."""
    async with ScriptedLogger(silence) as logger:
        closed = logger.port
    async with answering(b"127.0.0.1,98D863AABBCC,2712345678") as (port, other):
        monkeypatch.setattr(solarman_discovery, "DISCOVERY_PORT", port)
        with pytest.raises(CannotConnectError):
            await find_serial("127.0.0.1", closed)
        assert other.asked == []


@pytest.fixture
def _no_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_network(*_: object, **__: object) -> list[Logger]:
        raise OSError

    monkeypatch.setattr(solarman_discovery, "discover", no_network)


@pytest.mark.usefixtures("_no_udp")
async def test_the_serial_number_comes_from_a_request_for_zero() -> None:
    """Where UDP does not get through: a request for serial number 0 is answered."""
    async with ScriptedLogger(lambda r: [v5(r, b"\x06\x00")]) as logger:
        assert await find_serial(logger.host, logger.port) == SERIAL
        assert logger.requests[0].serial == 0


@pytest.mark.usefixtures("_no_udp")
@pytest.mark.parametrize(
    "payload", [b"\x06\x00", b"\x05\x00", rtu(1, 3, 2, 0, 5), rtu(1, 0x83, 2)]
)
async def test_a_serial_number_that_cannot_be_discovered_must_be_entered(
    payload: bytes,
) -> None:
    """The error names the place of the number."""
    async with ScriptedLogger(lambda r: [v5(r, payload, serial=0)]) as logger:
        with pytest.raises(WrongDeviceError, match="sticker"):
            await find_serial(logger.host, logger.port)


async def test_an_unknown_host_name_cannot_be_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither by UDP nor by TCP."""

    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(CannotConnectError):
        await find_serial("logger.invalid")


def test_errors_of_this_transport_are_errors_like_others() -> None:
    """A caller catches the one hierarchy."""
    assert issubclass(WrongLoggerError, WrongDeviceError)
    assert issubclass(UnitAbsentError, DeviceRefusedError)
