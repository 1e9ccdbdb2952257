"""Solarman V5 with any bytes: right words, or an error of the library."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast, override

from hypothesis import example, given, strategies as st

from custom_components.homebattery.drivers.errors import BatteryError
from custom_components.homebattery.drivers.solarman.discovery import (
    LARGEST_SERIAL,
    MOST_LOGGERS,
    _Answers,
)
from custom_components.homebattery.drivers.solarman.frames import LoggerClient
from custom_components.homebattery.drivers.solarman.transport import SolarmanConnection

from .v5_logger import BANNER, HEARTBEAT, SERIAL, Request, rtu, v5, words

VALUES: Final = [235, 5362, 0xFFFF]

type Answer = Callable[[Request], bytes]


class _Stream:
    """The stream of a logger that answers each request at once, then hangs up."""

    def __init__(self, answer: Answer) -> None:
        """Answer so."""
        self.reader = asyncio.StreamReader()
        self._answer = answer

    def write(self, frame: bytes) -> None:
        self.reader.feed_data(self._answer(Request(frame)))
        self.reader.feed_eof()

    async def drain(self) -> None:
        """Do nothing."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing."""


class _Connection(SolarmanConnection):
    """A connection to such a logger, without a network."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("127.0.0.1", 8899, SERIAL, 5)
        self._answer = answer

    @override
    async def _connect(self) -> LoggerClient:
        stream = _Stream(self._answer)
        writer = cast("asyncio.StreamWriter", stream)
        return LoggerClient(self.host, self.serial, stream.reader, writer)


def ask(answer: Answer) -> list[int] | BatteryError:
    """Return the words that an answer has, or the error that the library raises."""

    async def read() -> list[int] | BatteryError:
        connection = _Connection(answer)
        await connection.open()
        try:
            return await connection.unit(1).read_holding_registers(586, 3)
        except BatteryError as err:
            return err
        finally:
            await connection.close()

    return asyncio.run(read())


def write(answer: Answer) -> None:
    """Write words; raises nothing but the library's errors, which it takes."""

    async def write() -> None:
        connection = _Connection(answer)
        await connection.open()
        with suppress(BatteryError):
            await connection.unit(1).write_registers(128, [60, 0])
        await connection.close()

    asyncio.run(write())


def answer_to(request: Request) -> bytes:
    """Return the right answer to a read or a write."""
    if request.rtu[1] == 3:
        return v5(request, words(request, *VALUES))
    return v5(request, rtu(*request.rtu[:6]))


MODBUS: Final = st.one_of(
    st.binary(max_size=12),
    st.binary(max_size=40).map(lambda body: rtu(*body)),
    st.tuples(
        st.sampled_from([1, 2]),
        st.sampled_from([3, 4, 16, 0x83, 0x90, 0]),
        st.binary(max_size=12),
    ).map(lambda parts: rtu(parts[0], parts[1], *parts[2])),
)
"""RTU frames, with a right CRC or without."""


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Return a logger's answer: any bytes, any frame, or a damaged right one."""
    match draw(st.integers(0, 3)):
        case 0:
            garbage = draw(
                st.lists(
                    st.binary(max_size=40)
                    | st.sampled_from([HEARTBEAT, BANNER, b"\xa5", b"\xa5\x01\0\x10"])
                ).map(b"".join)
            )
            return lambda _: garbage
        case 1:
            payload, wrong = draw(MODBUS), draw(st.booleans())
            control = draw(st.sampled_from([0x1510, 0x1510, 0x4510, 0x4710]))
            serial = draw(st.integers(0, 2**32 - 1)) if wrong else SERIAL
            return lambda request: v5(request, payload, serial=serial, control=control)
    edits = draw(
        st.lists(
            st.tuples(st.integers(0, 60), st.integers(0, 4), st.binary(max_size=4)),
            min_size=1,
            max_size=4,
        )
    )
    is_summed = draw(st.booleans())

    def damaged(request: Request) -> bytes:
        frame = bytearray(answer_to(request))
        for start, count, instead in edits:
            frame[start : start + count] = instead
        if is_summed and len(frame) > 2:
            frame[-2:] = bytes((sum(frame[1:-2]) & 0xFF, 0x15))
        return bytes(frame)

    return damaged


@given(answers())
def test_any_answer_to_a_read_is_words_or_an_error_of_the_library(
    answer: Answer,
) -> None:
    read = ask(answer)
    assert isinstance(read, BatteryError) or (
        len(read) == 3 and all(0 <= word <= 0xFFFF for word in read)
    )


@given(answers())
def test_any_answer_to_a_write_is_taken_or_an_error_of_the_library(
    answer: Answer,
) -> None:
    write(answer)


@given(st.binary(min_size=1, max_size=3), st.integers(0, 58))
def test_a_frame_with_wrong_bytes_never_gives_other_words(
    instead: bytes, start: int
) -> None:
    """CRC and checksum find them; the envelope has fields without a meaning."""

    def damaged(request: Request) -> bytes:
        frame = bytearray(answer_to(request))
        frame[start : start + len(instead)] = instead
        return bytes(frame)

    read = ask(damaged)
    assert isinstance(read, BatteryError) or read == VALUES


ADDRESSES: Final = st.one_of(
    st.ip_addresses(v=4).map(str), st.just("192.0.2.7"), st.text(max_size=20)
)


@example(packets=[(b"192.0.2.7,98D863AABBCC,2712345678", "192.0.2.7")] * 99, hosts=None)
@given(
    packets=st.lists(st.tuples(st.binary(max_size=80), ADDRESSES), max_size=5),
    hosts=st.none() | st.sets(ADDRESSES, max_size=3),
)
def test_any_packets_name_few_possible_loggers(
    packets: list[tuple[bytes, str]], hosts: set[str] | None
) -> None:
    async def receive() -> _Answers:
        answers = _Answers(hosts)
        for packet, sender in packets:
            answers.datagram_received(packet, (sender, 48899))
        return answers

    loggers = asyncio.run(receive()).loggers
    assert len(loggers) <= (MOST_LOGGERS if hosts is None else 1)
    for logger in loggers:
        assert 0 < logger.serial <= LARGEST_SERIAL
        assert logger.address in {sender for _, sender in packets}
