"""The simulated data logger packs, and mispacks, like a Solarman stick."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import socket
import struct
from typing import Any, Self

import pytest

from tests.simulators import DeyeSolarmanSimulator, ManualClock

from .raw_client import RawClient
from .rtu import framed, unframed
from .solarman_frames import ANSWER, HEARTBEAT, Frame, length_of, unpack

pytestmark = pytest.mark.usefixtures("socket_enabled")

SERIAL = 2_712_345_686
UNIT = 1
REQUEST = 0x4510
HEARTBEAT_ANSWER = 0x1710
PDU = struct.pack(">BHH", 3, 587, 2)


class V5Client:
    """One connection to a logger; frames are written and read as they are."""

    def __init__(self, simulator: DeyeSolarmanSimulator) -> None:
        self.simulator = simulator
        self.sequence = 0x20

    async def __aenter__(self) -> Self:
        host, port = self.simulator.host, self.simulator.port
        self.reader, self.writer = await asyncio.open_connection(host, port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, pdu: bytes = PDU, *, serial: int = SERIAL, unit: int = UNIT) -> None:
        self.sequence += 1
        payload = b"\x02" + bytes(14) + framed(unit, pdu)
        frame = Frame(REQUEST, (self.sequence, 0), serial, payload)
        self.writer.write(frame.packed())

    async def receive(self) -> Frame:
        start = await self.reader.readexactly(3)
        rest = await self.reader.readexactly((length_of(start) or 3) - 3)
        frame = unpack(start + rest)
        assert frame is not None
        return frame

    async def ask(self, pdu: bytes = PDU, **to: int) -> bytes:
        """Send a request and return the RTU frame of its answer."""
        self.send(pdu, **to)
        answer = await self.receive()
        assert (answer.control, answer.sequence[0]) == (ANSWER, self.sequence)
        return answer.payload[14:]

    async def segment(self) -> bytes:
        """Return the next bytes as they arrive."""
        return await self.reader.read(4096)


class Bench:
    def __init__(self, simulator: DeyeSolarmanSimulator, client: V5Client) -> None:
        self.simulator = simulator
        self.client = client
        self.misbehave = simulator.misbehave


@asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    plant = DeyeSolarmanSimulator.house(clock=ManualClock(), soc=60.0)
    plant.fixed_load, plant.fixed_pv = 1000.0, 0.0
    simulator = DeyeSolarmanSimulator(plant, logger_serial=SERIAL, **options)
    async with simulator, V5Client(simulator) as client:
        yield Bench(simulator, client)


def words(rtu: bytes) -> list[int]:
    answer = unframed(rtu)
    assert answer is not None
    unit, pdu = answer
    assert (unit, pdu[0], pdu[1]) == (UNIT, 3, len(pdu) - 2)
    return list(struct.unpack(f">{pdu[1] // 2}H", pdu[2:]))


# Frames.


def test_a_real_heartbeat_is_understood_and_packed_again() -> None:
    real = bytes.fromhex("a5010010478d69b5b50aa2006415")
    frame = unpack(real)
    assert frame == Frame(HEARTBEAT, (0x8D, 0x69), 0xA20AB5B5, b"\0")
    assert frame.packed() == real


async def test_a_request_is_answered_with_its_sequence_and_the_loggers_counter() -> (
    None
):
    async with bench() as at:
        client = at.client
        client.send()
        data = await client.segment()
        assert data[:5] == bytes((0xA5, 14 + 9, 0, 0x10, 0x15))
        assert (data[5], data[7:11]) == (client.sequence, struct.pack("<I", SERIAL))
        assert data[11:13] == b"\x02\x01"
        assert words(data[25:-2])[1] == 60
        assert (sum(data[1:-2]) & 0xFF, 0x15) == (data[-2], data[-1])
        client.send()
        assert (await client.receive()).sequence[1] == data[6] + 1


async def test_a_write_and_a_refusal_go_through() -> None:
    async with bench() as at:
        write = struct.pack(">BHHB2H", 16, 108, 2, 4, 30, 0)
        assert unframed(await at.client.ask(write)) == (UNIT, write[:5])
        assert at.simulator.inverter.words[108] == 30
        single = struct.pack(">BHH", 6, 108, 40)
        assert unframed(await at.client.ask(single)) == (UNIT, b"\x86\x01")


async def test_a_wrong_serial_is_answered_with_the_true_one() -> None:
    async with bench() as at:
        at.client.send(serial=0)
        answer = await at.client.receive()
        assert answer.serial == SERIAL
        assert answer.payload[14:] == b"\x06\x00"
        assert len(answer.packed()) == 29
        assert not at.simulator.server.traffic.requests


async def test_a_wrong_unit_id_is_answered_by_the_logger_itself() -> None:
    async with bench() as at:
        assert await at.client.ask(unit=2) == b"\x05\x00"


async def test_a_damaged_or_unknown_frame_gets_no_answer() -> None:
    async with bench() as at:
        client = at.client
        request = Frame(REQUEST, (1, 0), SERIAL, b"\x02" + bytes(14) + framed(1, PDU))
        damaged = bytearray(request.packed())
        damaged[-2] ^= 1
        bad_crc = request._replace(payload=request.payload[:-1] + b"\0")
        client.writer.write(bytes(damaged) + bad_crc.packed() + b"AT+\n")
        await asyncio.sleep(0.02)
        client.writer.write(
            request._replace(control=HEARTBEAT_ANSWER, payload=bytes(10)).packed()
        )
        assert words(await client.ask())
        assert at.simulator.state()["device"]["logger"]["acknowledged_heartbeats"] == 1


@pytest.mark.parametrize("fault", [False, True])
async def test_a_second_crc_follows_the_first(fault: bool) -> None:
    async with bench(double_crc=not fault) as at:
        if fault:
            await at.misbehave("double_crc")
        rtu = await at.client.ask()
        assert rtu[-2:] == b"\0\0"
        assert len(words(rtu[:-2])) == 2


# Misbehaviour.


async def test_heartbeats_come_before_after_or_glued_to_an_answer() -> None:
    async with bench() as at:
        client = at.client
        for where, sizes in (
            ("before", [14, 36]),
            ("after", [36, 14]),
            ("glued_before", [50]),
            ("glued_after", [50]),
        ):
            await at.misbehave("heartbeat", where=where, same=True)
            client.send()
            assert [len(await client.segment()) for _ in sizes] == sizes
        await at.misbehave("heartbeat_now")
        assert (await client.receive()).control == HEARTBEAT
        assert words(await client.ask())


@pytest.mark.parametrize("at_byte", [1, 5, 11, 25, -1])
async def test_answers_come_in_two_segments(at_byte: int) -> None:
    async with bench() as at:
        await at.misbehave("split", at=at_byte)
        at.client.send()
        first, second = await at.client.segment(), await at.client.segment()
        assert len(first) == at_byte % 36
        assert unpack(first + second) is not None


async def test_an_answer_can_break_off() -> None:
    async with bench() as at:
        await at.misbehave("split", at=20, rest=False)
        at.client.send()
        assert len(await at.client.reader.read()) == 20


@pytest.mark.parametrize(("glued", "sizes"), [(True, [72]), (False, [36, 36])])
async def test_a_late_answer_comes_with_the_next_one(
    glued: bool, sizes: list[int]
) -> None:
    async with bench() as at:
        client = at.client
        await at.misbehave("late", glued=glued)
        client.send()
        client.send()
        segments = [await client.segment() for _ in sizes]
        assert [len(segment) for segment in segments] == sizes
        joined = b"".join(segments)
        assert joined[5::36][:2] == bytes((client.sequence - 1, client.sequence))


async def test_answers_to_other_clients_come_too() -> None:
    async with bench() as at:
        client = at.client
        await at.misbehave("foreign")
        client.send()
        foreign, known_entries = await client.receive(), await client.receive()
        assert foreign.sequence[0] != client.sequence == known_entries.sequence[0]
        await at.misbehave("foreign", instead=True, same=True)
        assert len(words(await client.ask())) == 3  # two were asked for
        assert len(words(await client.ask())) == 2


async def test_garbage_comes_before_an_answer() -> None:
    async with bench() as at:
        await at.misbehave("banner")
        at.client.send()
        assert (await at.client.segment()).startswith(b"AT+YZCMPVER=")
        assert words((await at.client.receive()).payload[14:])


@pytest.mark.parametrize("what", ["start", "length", "checksum", "end"])
async def test_a_frame_can_be_damaged(what: str) -> None:
    async with bench() as at:
        await at.misbehave("corrupt", what=what)
        at.client.send()
        assert unpack(await at.client.segment()) is None
        assert words(await at.client.ask())


@pytest.mark.parametrize("what", ["control", "sequence", "serial"])
async def test_a_frame_can_belong_to_something_else(what: str) -> None:
    async with bench() as at:
        await at.misbehave("corrupt", what=what)
        at.client.send()
        frame = await at.client.receive()
        right = {
            "control": ANSWER,
            "sequence": at.client.sequence,
            "serial": SERIAL,
        }
        is_now = {
            "control": frame.control,
            "sequence": frame.sequence[0],
            "serial": frame.serial,
        }
        assert [key for key in right if right[key] != is_now[key]] == [what]


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("crc", None),
        ("unit", (0, b"\x03\x04")),
        ("function", (1, b"\x04\x04")),
        ("byte_count", (1, b"\x03\x02")),
    ],
)
async def test_the_modbus_answer_inside_can_be_wrong(
    what: str, answer: tuple[int, bytes] | None
) -> None:
    async with bench() as at:
        await at.misbehave("corrupt", what=what)
        frame = unframed(await at.client.ask())
        assert (frame and (frame[0], frame[1][:2])) == answer


async def test_more_clients_than_sockets_are_turned_away() -> None:
    async with bench(sockets=1) as at:
        assert words(await at.client.ask())
        async with V5Client(at.simulator) as second:
            assert await second.segment() == b""
        assert words(await at.client.ask())


async def test_a_silent_connection_is_closed() -> None:
    async with bench(idle_timeout=0.05) as at:
        assert await at.client.segment() == b""
    async with bench() as at:
        await at.misbehave("idle_close")
        assert await at.client.segment() == b""


async def test_an_inverter_that_does_not_answer_leaves_the_logger_silent() -> None:
    async with bench() as at:
        await at.misbehave("silent", first=586, last=708)
        at.client.send()
        assert words(await at.client.ask(struct.pack(">BHH", 3, 0, 1))) == [5]


# Other loggers, and finding them.


async def test_an_ethernet_logger_speaks_modbus_tcp_and_misunderstands_v5() -> None:
    async with bench(logger="ethernet") as at:
        at.client.send(serial=0xA2B3C456)
        assert await at.client.segment() == bytes.fromhex("a51700104503 00d602")
        async with RawClient(at.simulator.host, at.simulator.port) as raw:
            assert await raw.read(UNIT, 0) == [5]


async def test_a_closed_logger_answers_discovery_only() -> None:
    plant = DeyeSolarmanSimulator.house()
    async with DeyeSolarmanSimulator(plant, logger="closed") as simulator:
        with pytest.raises(ConnectionRefusedError):
            await V5Client(simulator).__aenter__()
        answer = await discover(simulator.discovery_port)
        assert answer.split(b",")[2].startswith(b"D")


async def discover(port: int, text: bytes = b"WIFIKIT-214028-READ") -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(asking, text, ("127.0.0.1", port))
        async with asyncio.timeout(0.1):
            return await loop.sock_recv(asking, 512)


@pytest.mark.parametrize("text", [b"WIFIKIT-214028-READ", b"HF-A11ASSISTHREAD"])
async def test_discovery_answers_with_address_and_serial(text: bytes) -> None:
    async with bench() as at:
        port = at.simulator.discovery_port
        host, mac, serial = (await discover(port, text)).decode().split(",")
        assert (host, len(mac), serial) == ("127.0.0.1", 12, str(SERIAL))
        await at.misbehave("discovery", answer="192.0.2.1,HF-LPB100")
        assert await discover(port, text) == b"192.0.2.1,HF-LPB100"
        await at.misbehave("discovery")
        with pytest.raises(TimeoutError):
            await discover(port, text)
        with pytest.raises(TimeoutError):
            await discover(port, b"anybody?")


async def test_a_solarman_library_understands_the_logger() -> None:
    library = pytest.importorskip("pysolarmanv5")
    async with bench() as at:
        setup = at.simulator.setup
        client = library.PySolarmanV5Async(
            setup["host"],
            setup["logger_serial"],
            port=setup["port"],
            mb_slave_id=setup["unit_id"],
            socket_timeout=5,
        )
        await client.connect()
        assert (await client.read_holding_registers(587, 2))[1] == 60
        assert await client.write_multiple_holding_registers(108, [30, 40]) == 2
        await client.disconnect()
        assert at.simulator.inverter.words[108] == 30
