"""Answers to the discovery of loggers that no logger would send."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
import socket

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.solarman import (
    discovery as solarman_discovery,
)
from custom_components.homebattery.drivers.solarman.discovery import (
    LARGEST_SERIAL,
    MOST_LOGGERS,
    Logger,
    discover,
    find_serial,
    parse_logger,
)

from .v5_logger import SERIAL, ScriptedLogger, rtu, silence, v5

pytestmark = pytest.mark.usefixtures("socket_enabled")

HOST = "127.0.0.1"
OTHER = "127.0.0.2"
MAC = "98D863AABBCC"
LONG_WAIT = 5
"""Seconds that no test waits: all answers are there before."""

type Packet = tuple[str, bytes]
"""The sender, and what it sends."""


def text(address: str, serial: object = SERIAL, mac: str = MAC) -> bytes:
    return f"{address},{mac},{serial}".encode()


@asynccontextmanager
async def network(*packets: Packet) -> AsyncIterator[int]:
    """Yield the port of a host whose discovery makes several hosts send packets."""
    loop = asyncio.get_running_loop()
    senders = {
        sender: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for sender in {sender for sender, _ in packets}
    }
    for sender, sending in senders.items():
        sending.bind((sender, 0))

    class Asked(asyncio.DatagramProtocol):
        def datagram_received(
            self, data: bytes, addr: tuple[str | object, int]
        ) -> None:
            if data == solarman_discovery.DISCOVERY_TEXTS[0]:
                for sender, packet in packets:
                    senders[sender].sendto(packet, addr)

    transport, _ = await loop.create_datagram_endpoint(Asked, local_addr=(HOST, 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
        for sending in senders.values():
            sending.close()


async def test_a_logger_is_at_the_address_that_its_answer_comes_from() -> None:
    """Otherwise any host could have another one asked, or set up."""
    async with network((HOST, text("192.0.2.66", 66)), (OTHER, text(OTHER))) as port:
        assert await discover([HOST], port=port, wait=0.1) == [
            Logger(OTHER, MAC, SERIAL)
        ]


async def test_a_logger_that_answers_often_is_one() -> None:
    async with network(*[(HOST, text(HOST))] * 5) as port:
        assert await discover([HOST], port=port, wait=0.1) == [
            Logger(HOST, MAC, SERIAL)
        ]


async def test_loggers_with_the_same_serial_number_are_two() -> None:
    """One of them lies; both are asked for an inverter behind them."""
    async with network((HOST, text(HOST)), (OTHER, text(OTHER))) as port:
        loggers = await discover([HOST], port=port, wait=0.1)
    assert {logger.address for logger in loggers} == {HOST, OTHER}


async def test_no_more_loggers_are_kept_than_a_house_may_have() -> None:
    flood = [(HOST, text(HOST, serial)) for serial in range(1, 2 * MOST_LOGGERS)]
    async with network(*flood) as port:
        loggers = await discover([HOST], port=port, wait=LONG_WAIT)
    assert len(loggers) == MOST_LOGGERS


async def test_another_host_cannot_answer_for_a_logger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        network((OTHER, text(OTHER, 66)), (HOST, text(HOST))) as port,
        ScriptedLogger(silence) as logger,
    ):
        monkeypatch.setattr(solarman_discovery, "DISCOVERY_PORT", port)
        assert await find_serial(logger.host, logger.port) == SERIAL


@pytest.mark.parametrize(
    "answer",
    [
        text(HOST, 0),
        text(HOST, LARGEST_SERIAL + 1),
        text(HOST, "1" * 11),
        text(HOST, "1" * 5000),
        text(HOST, "+2712345678"),
        text(HOST, "2_712"),
        text(HOST, mac="98D863AABB"),
        text(HOST, mac="<script>"),
        text(HOST, mac="98D863\nAABBCC"),
        text("example.com"),
        text(HOST).ljust(65_000, b" "),
    ],
)
def test_an_impossible_answer_names_no_logger(answer: bytes) -> None:
    assert parse_logger(answer, HOST) is None


@pytest.mark.parametrize("mac", [MAC, MAC.lower(), "98:D8:63:AA:BB:CC"])
def test_a_mac_address_may_be_written_in_several_ways(mac: str) -> None:
    assert parse_logger(text(HOST, mac=mac) + b"\r\n", HOST) == Logger(
        HOST, mac, SERIAL
    )


def fields() -> st.SearchStrategy[bytes]:
    """Return answers that are nearly those of a logger."""
    parts: Iterable[st.SearchStrategy[str]] = (
        st.sampled_from([HOST, OTHER, "", "localhost"]),
        st.sampled_from([MAC, "", "98-D8-63-AA-BB-CC"]) | st.text(max_size=20),
        st.integers(-1, 2 * LARGEST_SERIAL).map(str) | st.text(max_size=20),
    )
    return st.tuples(*parts).map(
        lambda parts: ",".join(parts).encode("utf-8", "surrogatepass")
    )


@given(answer=st.binary(max_size=200) | fields())
def test_any_packet_names_a_possible_logger_or_none(answer: bytes) -> None:
    logger = parse_logger(answer, HOST)
    if logger is not None:
        assert logger.address == HOST
        assert 0 < logger.serial <= LARGEST_SERIAL
        assert len(logger.mac) <= len("98:D8:63:AA:BB:CC")


async def test_an_impossible_serial_number_by_udp_does_not_end_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The logger is then asked by TCP, as one that keeps silent by UDP."""
    async with (
        network((HOST, text(HOST, "9" * 20))) as port,
        ScriptedLogger(lambda r: [v5(r, rtu(1, 3, 2, 0, 5))]) as logger,
    ):
        monkeypatch.setattr(solarman_discovery, "DISCOVERY_PORT", port)
        assert await find_serial(logger.host, logger.port) == SERIAL
