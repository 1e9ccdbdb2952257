"""Registers, the planning of reads, and the transport over real sockets."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
import socket
import struct
from typing import Any, Final

from hypothesis import given, strategies as st
from pymodbus.client import AsyncModbusTcpClient
import pymodbus.client.base
import pytest

from custom_components.homebattery.drivers.absence import ASK_AGAIN, BACK_OFF
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceRefusedError,
    IllegalAddressError,
    InvalidValueError,
    NotSupportedError,
    PermissionDeniedError,
    ProtocolError,
    RequestTimeoutError,
    UnitAbsentError,
)
from custom_components.homebattery.drivers.measurements import Poll, Value
from custom_components.homebattery.drivers.modbus import device as modbus_device
from custom_components.homebattery.drivers.modbus.device import ModbusDevice
from custom_components.homebattery.drivers.modbus.planning import (
    Block,
    Layout,
    plan_blocks,
)
from custom_components.homebattery.drivers.modbus.priority_lock import high_priority
from custom_components.homebattery.drivers.modbus.register import (
    AccessType,
    DataType,
    Register,
)
from custom_components.homebattery.drivers.modbus.silence import MOST_TIMEOUTS
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from tests.drivers.conftest import Leap, Pauses, until
from tests.simulators.image import ModbusImage

sockets = pytest.mark.usefixtures("socket_enabled")

# Registers: words to values and back ------------------------------------------

INT16, UINT16 = DataType.INT16, DataType.UINT16
INT32, UINT32 = DataType.INT32, DataType.UINT32
INT64, UINT64 = DataType.INT64, DataType.UINT64

NUMBERS: Final = [
    (UINT16, 1, [0], 0),
    (UINT16, 1, [0xFFFF], 65535),
    (INT16, 1, [0x7FFF], 32767),
    (INT16, 1, [0x8000], -32768),
    (INT16, 1, [0xFFFF], -1),
    (UINT32, 1, [0x0001, 0x0002], 0x0001_0002),
    (INT32, 1, [0xFFFF, 0xFC18], -1000),
    (UINT64, 1, [1, 2, 3, 4], 0x0001_0002_0003_0004),
    (INT64, 1, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2),
    (UINT16, 10, [2301], 230.1),
    (UINT16, 100, [5004], 50.04),
    (INT16, 1000, [0xFFFF], -0.001),
    (UINT16, 0.1, [3], 30),
    (UINT16, 0.01, [7], 700),
    (INT16, -1, [0xFC18], 1000),
    (INT16, -10, [184], -18.4),
    (INT16, -0.1, [5], -50),
    (UINT16, -1, [5], -5),
]


@pytest.mark.parametrize("low_word_first", [False, True])
@pytest.mark.parametrize(("data_type", "gain", "words", "value"), NUMBERS)
def test_words_and_values_stand_for_each_other(
    data_type: DataType,
    gain: float,
    words: list[int],
    value: float,
    low_word_first: bool,
) -> None:
    register = Register(30000, "x", data_type, gain)
    ordered = words[::-1] if low_word_first else words

    assert register.decode(ordered, low_word_first=low_word_first) == value
    assert register.encode(value, low_word_first=low_word_first) == ordered


@given(st.data())
def test_every_value_of_a_register_survives_the_round_trip(data: st.DataObject) -> None:
    data_type = data.draw(
        st.sampled_from([INT16, UINT16, INT32, UINT32, INT64, UINT64])
    )
    gains = (
        [1, -1] if data_type.words > 2 else [1, 10, 100, 1000, 0.1, 0.01, -1, -10, -0.1]
    )
    register = Register(0, "x", data_type, data.draw(st.sampled_from(gains)))
    word = st.integers(0, 0xFFFF)
    words = data.draw(st.lists(word, min_size=register.count, max_size=register.count))
    low_word_first = data.draw(st.booleans())

    value = register.decode(words, low_word_first=low_word_first)

    assert register.encode(value, low_word_first=low_word_first) == words


@given(st.floats(-3276.8, 3276.7))
def test_a_value_is_rounded_to_the_step_of_its_register(value: float) -> None:
    register = Register(0, "x", INT16, 10)

    seen = register.decode(register.encode(value))

    assert seen == pytest.approx(value, abs=0.05 + 1e-9)


def test_sentinel_is_not_available_and_not_available_is_the_first_sentinel() -> None:
    register = Register(7, "x", INT16, sentinels=(0x7FFF, 0x8000))

    assert register.decode([0x7FFF]) is None
    assert register.decode([0x8000]) is None
    assert register.decode([0x7FFE]) == 0x7FFE
    assert register.encode(None) == [0x7FFF]


def test_sentinel_of_two_words_is_known_in_either_order() -> None:
    register = Register(7, "x", UINT32, sentinels=(0xFFFF_0000,))

    assert register.decode([0xFFFF, 0]) is None
    assert register.decode([0, 0xFFFF], low_word_first=True) is None
    assert register.encode(None, low_word_first=True) == [0, 0xFFFF]


def test_codes_are_named_and_unknown_codes_are_none() -> None:
    register = Register(7, "state", enum={0: "off", 3: "on"})

    assert register.decode([3]) == "on"
    assert register.decode([1]) is None
    assert register.encode("on") == [3]


def test_negative_codes_are_named() -> None:
    register = Register(7, "state", INT16, enum={-1: "fault"})

    assert register.decode([0xFFFF]) == "fault"
    assert register.encode("fault") == [0xFFFF]


def test_switch_is_one_or_zero() -> None:
    register = Register(7, "switch")

    assert (register.encode(True), register.encode(False)) == ([1], [0])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([0x5359, 0x3132], "SY12"),
        ([0x5359, 0x3100], "SY1"),
        ([0x5359, 0x0000, 0x4142], "SY"),
        ([0x2053, 0x5920], "SY"),
        ([0x00E9, 0x0000], None),
        ([0xE941, 0x0000], "éA"),
        ([0, 0], None),
        ([0x2020], None),
        ([0xFFFF, 0xFFFF], None),
        ([0x5359, 0xFFFF], "SY"),
    ],
)
def test_text_ends_at_nul_and_loses_blanks(words: list[int], text: str | None) -> None:
    register = Register(7, "serial", DataType.STRING, length=len(words))

    assert register.decode(words) == text


def test_words_and_end_of_a_register_come_from_its_type_or_length() -> None:
    assert Register(7, "x", INT64).end == 11
    assert Register(7, "x", DataType.STRING, length=6).end == 13
    assert INT64.words == 4


@pytest.mark.parametrize(
    ("register", "value", "text"),
    [
        (
            Register(30000, "voltage", UINT16, 10, "V"),
            7000,
            "voltage cannot be 7000: register 30000 holds 0 to 6553.5 V",
        ),
        (
            Register(30000, "power", INT16, -1),
            40000,
            "power cannot be 40000: register 30000 holds -32767 to 32768",
        ),
        (
            Register(30000, "energy", UINT32, 1, "kWh"),
            -1,
            "energy cannot be -1: register 30000 holds 0 to 4294967295 kWh",
        ),
        (Register(30000, "limit", INT16, 0.1, "W"), 400_000, "-327680 to 327670 W"),
        (Register(30000, "power", INT16), float("nan"), "power cannot be nan"),
        (Register(30000, "power", INT16), float("inf"), "power cannot be inf"),
        (Register(30000, "power", INT16), None, "power cannot be None"),
        (Register(30000, "mode", enum={1: "on"}), "off", "mode has no option off"),
        (Register(30000, "mode"), "off", "mode has no option off"),
    ],
)
def test_value_that_a_register_cannot_hold_is_refused(
    register: Register, value: Value, text: str
) -> None:
    with pytest.raises(InvalidValueError, match=text):
        register.encode(value)


# Planning ---------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Register], Layout]:
    """Return registers that do not overlap, in any order, and a device's limits."""
    shapes = draw(
        st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=30)
    )
    registers: list[Register] = []
    between: list[int] = []
    address = draw(st.integers(0, 1000))
    for gap, length in shapes:
        between += range(address, address + gap + 1)
        address += gap
        registers.append(
            Register(address, f"r{address}", DataType.STRING, length=length)
        )
        address += length
    layout = Layout(
        max_words=draw(st.integers(6, 40)),
        max_gap=draw(st.integers(0, 12)),
        borders=draw(st.frozensets(st.sampled_from(between), max_size=4))
        if between
        else frozenset(),
    )
    return draw(st.permutations(registers)), layout


def accepted(registers: Sequence[Register], layout: Layout) -> bool:
    """Return True if a device accepts these registers, by address, in one read."""
    start, end = registers[0].address, registers[-1].end
    gaps = [
        high.address - low.end
        for low, high in zip(registers, registers[1:], strict=False)
    ]
    return (
        end - start <= layout.max_words
        and all(gap <= layout.max_gap for gap in gaps)
        and not any(start < border < end for border in layout.borders)
    )


def fewest(registers: list[Register], layout: Layout) -> int:
    """Return the least number of reads, by trying all ways."""
    best = [0]
    for last in range(len(registers)):
        best.append(
            1
            + min(
                best[first]
                for first in range(last + 1)
                if accepted(registers[first : last + 1], layout)
            )
        )
    return best[-1]


@given(tables())
def test_plan_reads_every_register_once(table: tuple[list[Register], Layout]) -> None:
    registers, layout = table

    blocks = plan_blocks(registers, layout)

    planned = [register for block in blocks for register in block.registers]
    assert planned == sorted(registers, key=lambda register: register.address)


@given(tables())
def test_plan_has_only_reads_that_the_device_accepts(
    table: tuple[list[Register], Layout],
) -> None:
    registers, layout = table

    for block in plan_blocks(registers, layout):
        assert accepted(block.registers, layout)
        assert block.count == block.registers[-1].end - block.address


@given(tables())
def test_no_two_neighbouring_reads_could_be_one(
    table: tuple[list[Register], Layout],
) -> None:
    registers, layout = table

    blocks = plan_blocks(registers, layout)

    for low, high in zip(blocks, blocks[1:], strict=False):
        assert not accepted(low.registers + high.registers, layout)


@given(tables())
def test_no_plan_has_fewer_reads(table: tuple[list[Register], Layout]) -> None:
    registers, layout = table

    blocks = plan_blocks(registers, layout)

    assert len(blocks) == fewest(
        sorted(registers, key=lambda register: register.address), layout
    )


@given(tables())
def test_learned_borders_count_like_those_of_the_layout(
    table: tuple[list[Register], Layout],
) -> None:
    registers, layout = table
    without = Layout(max_words=layout.max_words, max_gap=layout.max_gap)

    learned = plan_blocks(registers, without, layout.borders)

    assert learned == plan_blocks(registers, layout)


def test_overlapping_registers_share_a_read() -> None:
    wide, low = Register(10, "wide", UINT32), Register(11, "low")

    (block,) = plan_blocks([low, wide], Layout())

    assert (block.address, block.count) == (10, 2)
    places = dict(block.places)
    assert [1, 2][places[wide]] == [1, 2]
    assert [1, 2][places[low]] == [2]


def test_block_is_halved_at_its_widest_gap_else_in_the_middle() -> None:
    a, b, c, d = (Register(address, f"r{address}") for address in (1, 2, 3, 9))

    assert Block((a, b, c, d)).halves() == (Block((a, b, c)), Block((d,)))
    assert Block((a, b, c)).halves() == (Block((a,)), Block((b, c)))


# A device that lacks registers ------------------------------------------------


class FakeUnit:
    """A unit in memory, fast enough for very many examples."""

    def __init__(self, present: Collection[int]) -> None:
        self.present = present
        self.asked: list[range] = []
        self.refused: list[range] = []

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        asked = range(address, address + count)
        self.asked.append(asked)
        if not all(each in self.present for each in asked):
            self.refused.append(asked)
            raise IllegalAddressError("no such register", 2)
        return list(asked)

    async def write_registers(self, address: int, values: list[int]) -> None:
        raise AssertionError("reading writes nothing")


@given(
    st.sets(st.integers(0, 60), min_size=1, max_size=25),
    st.sets(st.integers(0, 60)),
    st.integers(0, 16),
)
def test_a_missing_register_costs_only_itself(
    wanted: set[int], absent: set[int], max_gap: int
) -> None:
    unit = FakeUnit(set(range(61)) - absent)
    registers = [Register(address, f"r{address}") for address in wanted]
    device = ModbusDevice("Device", unit, registers, Layout(max_gap=max_gap))

    async def read() -> None:
        report = await device.read(device.registers)

        assert report.values == {f"r{each}": each for each in wanted - absent}
        assert set(report.failures) == {f"r{each}" for each in wanted & absent}

    async def read_until_nothing_is_refused() -> None:
        await read()
        for _ in registers:
            before = len(unit.refused)
            await read()
            if len(unit.refused) == before:
                return
        pytest.fail("something is refused again and again")

    asyncio.run(read_until_nothing_is_refused())

    for address in wanted & absent:
        assert unit.asked.count(range(address, address + 1)) == 1


def image_of(words: dict[int, int], unit_id: int = 1) -> ModbusImage:
    """Return a server, not yet started, of a device with one unit."""
    return ModbusImage(
        {
            "battery_type": "test",
            "units": {
                str(unit_id): {str(address): word for address, word in words.items()}
            },
        }
    )


@asynccontextmanager
async def connected(
    server: ModbusImage, timeout: float = 5
) -> AsyncIterator[ModbusTcpConnection]:
    """Yield an open connection without other users."""
    connection = ModbusTcpConnection(server.host, server.port, timeout)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()


def registers_at(*addresses: int) -> list[Register]:
    return [Register(address, f"r{address}") for address in addresses]


def device_on(
    connection: ModbusTcpConnection,
    registers: Sequence[Register],
    layout: Layout = Layout(),
    unit_id: int = 1,
) -> ModbusDevice:
    return ModbusDevice("Device", connection.unit(unit_id), registers, layout)


@sockets
async def test_missing_register_is_asked_for_once() -> None:
    registers = registers_at(100, 101, 102, 103)
    async with (
        image_of({100: 7, 101: 8, 103: 9}) as image,
        connected(image) as connection,
    ):
        device = device_on(connection, registers)

        first = await device.read(device.registers)
        image.traffic.clear()
        second = await device.read(device.registers)

    for report in (first, second):
        assert report.values == {"r100": 7, "r101": 8, "r103": 9}
        assert isinstance(report.failures["r102"], NotSupportedError)
        assert "register 102 (r102)" in str(report.failures["r102"])
    assert image.traffic.reads == [(1, 100, 2), (1, 103, 1)]
    assert image.traffic.refusals == []


@sockets
async def test_missing_register_is_asked_for_again_after_forget() -> None:
    registers = registers_at(100, 101, 102)
    async with image_of({100: 7, 102: 9}) as image, connected(image) as connection:
        device = device_on(connection, registers)
        await device.read(device.registers)
        image.units.units[1][101] = 8

        remembered = await device.read(device.registers)
        device.forget()
        image.traffic.clear()
        report = await device.read(device.registers)

    assert "r101" in remembered.failures
    assert report.values == {"r100": 7, "r101": 8, "r102": 9}
    assert image.traffic.reads == [(1, 100, 3)]


@sockets
async def test_missing_register_that_is_asked_for_is_there_again_from_then_on() -> None:
    async with image_of({100: 7, 102: 9}) as image, connected(image) as connection:
        device = device_on(connection, registers_at(100, 101, 102))
        await device.read(device.registers)
        still_missing = await device.ask(["r101"])
        image.units.units[1][101] = 8

        asked = await device.ask(["r100", "r101"])
        polled = await device.read(["r101"])

    assert isinstance(still_missing.failures["r101"], NotSupportedError)
    assert asked.values == {"r100": 7, "r101": 8}
    assert polled.values == {"r101": 8}


@sockets
async def test_hole_between_registers_becomes_a_border() -> None:
    registers = registers_at(100, 105, 106)
    words = {100: 7, 105: 8, 106: 9}
    async with image_of(words) as image, connected(image) as connection:
        device = device_on(connection, registers)

        first = await device.read(device.registers)
        image.traffic.clear()
        second = await device.read(device.registers)

    assert first == second
    assert second.values == {"r100": 7, "r105": 8, "r106": 9}
    assert second.failures == {}
    assert image.traffic.reads == [(1, 100, 1), (1, 105, 2)]
    assert image.traffic.refusals == []


@sockets
async def test_words_that_were_read_are_kept() -> None:
    async with (
        image_of({100: 7, 101: 8, 102: 9}) as image,
        connected(image) as connection,
    ):
        device = device_on(connection, registers_at(100, 102))

        await device.read(["r100", "r102"])

    assert device.words == {100: 7, 101: 8, 102: 9}


@sockets
async def test_absent_unit_is_no_missing_register() -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        device = device_on(connection, registers_at(100, 101), unit_id=9)

        report = await device.read(device.registers)

    assert set(report.failures) == {"r100", "r101"}
    assert all(isinstance(err, UnitAbsentError) for err in report.failures.values())
    assert device.missing == set()
    assert image.traffic.requests == 1


async def test_a_missing_register_is_doubtful_until_it_was_refused_twice(
    leap: Leap,
) -> None:
    unit = FakeUnit([100])
    device = ModbusDevice("device", unit, registers_at(100, 101), Layout())
    await device.read(device.registers)
    assert device.missing == {"r101"}
    assert device.uncertain(["r100", "r101"]) == {"r101"}

    await device.read(["r101"], again=device.uncertain(["r101"]))
    assert device.uncertain(["r101"]) == set()
    unit.asked.clear()
    await device.read(["r101"], again=device.uncertain(["r101"]))
    assert unit.asked == []

    leap(ASK_AGAIN)
    assert device.uncertain(["r101"]) == {"r101"}
    unit.present = [100, 101]
    await device.read(["r101"], again=device.uncertain(["r101"]))
    assert device.missing == set()


async def test_a_device_that_refuses_everything_lacks_nothing() -> None:
    unit = FakeUnit([100, 101, 300])
    device = ModbusDevice("device", unit, registers_at(100, 101, 300), Layout())
    before = await device.read(device.registers)
    unit.present = []
    for _ in range(5):
        unit.asked.clear()
        report = await device.read(device.registers)
        assert {type(err) for err in report.failures.values()} == {IllegalAddressError}
        assert len(unit.asked) <= 3
    unit.present = [100, 101, 300]
    assert await device.read(device.registers) == before
    assert device.missing == set()


async def test_a_register_that_was_read_is_not_missing_when_it_is_refused(
    leap: Leap,
) -> None:
    """It fails, and is asked for again: at the next poll, then after a pause."""
    unit = FakeUnit([100, 101, 102])
    device = ModbusDevice("device", unit, registers_at(100, 101, 102), Layout())
    await device.read(device.registers)
    unit.present = [100, 102]
    for _ in range(3):
        report = await device.read(device.registers)
    assert report.values == {"r100": 100, "r102": 102}
    assert isinstance(report.failures["r101"], IllegalAddressError)
    assert device.missing == set()
    assert device.uncertain(device.registers) == {"r101"}
    unit.asked.clear()
    await device.read(device.registers)
    assert unit.asked == [range(100, 101), range(102, 103)]

    unit.present = [100, 101, 102]
    leap(BACK_OFF[0])
    assert (await device.read(device.registers)).failures == {}
    await device.read(device.registers)
    assert unit.asked[-1] == range(100, 103)


async def test_a_block_that_was_read_is_refused_once_without_a_consequence() -> None:
    unit = FakeUnit([100, 101, 300])
    device = ModbusDevice("device", unit, registers_at(100, 101, 300), Layout())
    await device.read(device.registers)
    unit.present = [300]
    report = await device.read(device.registers)
    assert set(report.failures) == {"r100", "r101"}
    unit.present = [100, 101, 300]
    unit.asked.clear()
    assert (await device.read(device.registers)).failures == {}
    assert unit.asked == [range(100, 102), range(300, 301)]


async def test_a_missing_register_is_polled_again_now_and_then(leap: Leap) -> None:
    unit = FakeUnit([100])
    device = ModbusDevice("device", unit, registers_at(100, 101, 102), Layout())
    await device.read(device.registers)
    assert device.due_again() is None
    for pause in (*BACK_OFF, BACK_OFF[-1]):
        leap(pause)
        for name in ("r101", "r102"):
            due = device.due_again()
            assert due is not None
            assert due[1] == name
            await device.read(["r100"], again=[name])
            await device.read([name], again=[name])
        assert device.due_again() is None

    unit.present = [100, 101, 102]
    leap(BACK_OFF[-1])
    _, name = device.due_again() or (0, "")
    await device.read([name], again=[name])
    assert device.missing == set()
    assert (await device.read(device.registers)).failures == {}


async def test_the_missing_register_that_paused_longest_comes_first(leap: Leap) -> None:
    unit = FakeUnit([100])
    device = ModbusDevice("device", unit, registers_at(100, 101, 102), Layout())
    await device.read(device.registers)
    leap(BACK_OFF[0])
    await device.read(["r101"], again=["r101"])
    leap(2 * BACK_OFF[-1])
    due = device.due_again()
    assert due is not None
    assert due[1] == "r102"


# Blocks without an answer ------------------------------------------------------


class SilentUnit(FakeUnit):
    """A unit of which some addresses get no answer."""

    def __init__(self, present: Collection[int], silent: Collection[int]) -> None:
        super().__init__(present)
        self.silent = silent

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        words = await super().read_holding_registers(address, count)
        if set(self.silent).intersection(words):
            raise RequestTimeoutError("no answer")
        return words


SEVERAL: Final = (100, 200, 300, 400, 500)


def several(*silent: int) -> tuple[SilentUnit, ModbusDevice]:
    """Return a device of five blocks, some of them silent."""
    unit = SilentUnit(SEVERAL, silent)
    return unit, ModbusDevice("device", unit, registers_at(*SEVERAL), Layout())


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Return the registers of each part of a plan that was made, oldest first."""
    made: list[set[str]] = []

    def note(registers: Collection[Register], *layout: Any) -> list[Block]:
        if registers:
            made.append({register.name for register in registers})
        return plan_blocks(registers, *layout)

    monkeypatch.setattr(modbus_device, "plan_blocks", note)
    return made


async def test_plan_is_made_when_something_changed_not_for_each_read(
    plans: list[set[str]],
) -> None:
    unit, device = several()
    live, slow = {"r100", "r200"}, {"r100", "r200", "r300"}
    for names in (live, slow, live, slow):
        await device.read(names)
    assert plans == [live, slow]

    unit.silent = (200,)
    await device.read(live)  # by the plan of when all answered
    await device.read(live)
    assert plans[2:] == [{"r100"}, {"r200"}]

    unit.silent = ()
    await device.ask(live)
    made = len(plans)
    assert not (await device.read(live)).failures
    assert len(plans) == made  # that of when all answered serves again


async def test_no_more_plans_are_kept_than_polls_need(plans: list[set[str]]) -> None:
    _, device = several()
    for _ in range(2):
        for size in range(1, 1 << len(SEVERAL)):
            await device.read(
                {f"r{each}" for bit, each in enumerate(SEVERAL) if size >> bit & 1}
            )
    assert len(plans) == 2 * 31  # each of so many different reads again


@pytest.mark.parametrize("silent", SEVERAL)
async def test_a_block_without_an_answer_fails_alone_and_costs_a_time_out_seldom(
    silent: int, leap: Leap
) -> None:
    unit, device = several(silent)

    async def asked() -> bool:
        unit.asked.clear()
        report = await device.read(device.registers)
        assert len(report.values) == len(SEVERAL) - 1
        assert isinstance(report.failures[f"r{silent}"], RequestTimeoutError)
        return range(silent, silent + 1) in unit.asked

    assert await asked()
    assert await asked()
    for pause in (*BACK_OFF, BACK_OFF[-1]):
        leap(pause - 1)
        assert not await asked()
        leap(1)
        assert await asked()
        assert not await asked()

    unit.silent = ()
    leap(BACK_OFF[-1])
    for _ in range(2):
        assert (await device.read(device.registers)).failures == {}


ROW: Final = range(100, 140)
"""Addresses of registers that are read in one request."""


async def in_part_silent(
    silent: Collection[int], *, poll: Poll = Poll.FAST
) -> tuple[SilentUnit, ModbusDevice]:
    """Return a device that was read well, and of which a part is silent now."""
    unit = SilentUnit([*ROW, 300], ())
    rows = [Register(address, f"r{address}", poll=poll) for address in (*ROW, 300)]
    device = ModbusDevice("device", unit, rows, Layout())
    await device.read(device.registers)
    unit.silent = silent
    return unit, device


@pytest.mark.parametrize(
    "silent", [[100], [117], [139], range(118, 123), [131, 139], range(90, 105)]
)
async def test_a_live_block_that_hangs_is_split_until_the_silent_are_alone(
    silent: Sequence[int], leap: Leap
) -> None:
    unit, device = await in_part_silent(silent)
    lost = {f"r{address}" for address in silent if address in ROW}
    for _ in range(60):
        leap(5)
        unit.asked.clear()
        report = await device.read(device.registers)
        hung = [span for span in unit.asked if not set(span).isdisjoint(silent)]
        assert len(hung) <= MOST_TIMEOUTS
    assert report.failures.keys() == lost

    unit.silent = ()
    for _ in range(3):
        leap(BACK_OFF[-1])
        assert (await device.read(device.registers)).failures == {}
    unit.asked.clear()
    await device.read(device.registers)
    assert len(unit.asked) == 2


async def test_settings_beside_a_silent_one_are_read_from_the_third_poll_on(
    leap: Leap,
) -> None:
    unit, device = await in_part_silent([117], poll=Poll.SLOW)
    unit.asked.clear()
    for _ in range(2):
        report = await device.read(device.registers)
        assert report.values == {"r300": 300}
    assert unit.asked.count(range(100, 140)) == 2

    report = await device.read(device.registers)
    assert len(report.values) > len(ROW) / 2
    for _ in range(20):
        leap(BACK_OFF[-1])
        report = await device.read(device.registers)
    assert report.failures.keys() == {"r117"}


async def test_one_register_is_tried_of_a_block_that_goes_on_hanging(
    leap: Leap,
) -> None:
    unit, device = await in_part_silent(ROW)
    for _ in range(10):
        await device.read(device.registers)
    tried = []
    for _ in range(6):
        leap(BACK_OFF[-1])
        unit.asked.clear()
        for _ in range(3):
            assert (await device.read(device.registers)).values == {"r300": 300}
        tried += [span for span in unit.asked if 300 not in span]
    assert sorted(span.start for span in tried) == [100, 100, 120, 120, 139, 139]
    assert all(len(span) == 1 for span in tried)


async def test_unused_words_that_hang_are_not_read_again_for_a_while(
    leap: Leap,
) -> None:
    unit = SilentUnit(range(100, 120), ())
    device = ModbusDevice("device", unit, registers_at(100, 110), Layout())
    unit.silent = [105]
    for _ in range(4):
        report = await device.read(device.registers)
    assert report.failures == {}
    assert unit.asked[-2:] == [range(100, 101), range(110, 111)]

    unit.silent = ()
    leap(BACK_OFF[-1])
    unit.asked.clear()
    await device.read(device.registers)
    assert unit.asked == [range(100, 111)]


async def test_a_lost_answer_is_asked_for_at_the_next_poll() -> None:
    unit, device = several(300)
    await device.read(device.registers)
    unit.silent = ()
    assert (await device.read(device.registers)).failures == {}


async def test_control_waits_for_the_pause_of_a_block_without_an_answer() -> None:
    """Each question costs a time-out, for which a setpoint must not wait each time."""
    unit, device = several(300)
    for _ in range(2):
        await device.read(device.registers)
    assert device.uncertain(device.registers) == set()
    unit.silent = ()
    assert (await device.ask(["r300"])).values == {"r300": 300}


@pytest.mark.parametrize("dead", [SEVERAL, SEVERAL[:2]])
async def test_a_device_that_answers_neither_of_two_blocks_is_out_of_reach(
    dead: Sequence[int],
) -> None:
    """It is asked no more, and nothing is concluded about any of its blocks."""
    unit, device = several(*dead)
    for _ in range(3):
        unit.asked.clear()
        with pytest.raises(RequestTimeoutError):
            await device.read(device.registers)
        assert len(unit.asked) == 2
    unit.silent = ()
    assert (await device.read(device.registers)).failures == {}


async def test_a_poll_ends_after_two_time_outs() -> None:
    unit, device = several(200, 300, 400)
    report = await device.read(device.registers)
    assert report.values == {"r100": 100}
    assert unit.asked == [range(each, each + 1) for each in (100, 200, 300)]
    unit.silent = ()
    assert (await device.read(device.registers)).failures == {}


async def test_the_only_block_without_an_answer_is_the_device_without_one() -> None:
    _, device = several(300)
    with pytest.raises(RequestTimeoutError):
        await device.read(["r300"])


async def test_asking_again_without_an_answer_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A setpoint's conditions are judged by the missing registers, meanwhile too."""
    unit = FakeUnit([])
    device = ModbusDevice("device", unit, registers_at(100), Layout())
    await device.read(["r100"])
    seen = []

    async def keep_silent(_address: int, _count: int) -> list[int]:
        seen.append(set(device.missing))
        raise RequestTimeoutError("no answer")

    monkeypatch.setattr(unit, "read_holding_registers", keep_silent)
    with pytest.raises(RequestTimeoutError):
        await device.ask(["r100"])
    assert seen == [{"r100"}]
    assert device.missing == {"r100"}


@sockets
async def test_busy_device_is_asked_again_next_time() -> None:
    async with image_of({100: 7, 101: 8}) as image, connected(image) as connection:
        device = device_on(connection, registers_at(100, 101))
        image.set_faults(exception=6, exception_count=1)

        busy = await device.read(device.registers)
        after = await device.read(device.registers)

    assert isinstance(busy.failures["r101"], DeviceBusyError)
    assert after.values == {"r100": 7, "r101": 8}


@sockets
async def test_only_the_block_that_is_refused_fails() -> None:
    async with image_of({100: 7, 300: 8}) as image, connected(image) as connection:
        device = device_on(connection, registers_at(100, 300))
        image.set_faults(exception=4, exception_count=1)

        report = await device.read(device.registers)

    assert report.values == {"r300": 8}
    assert isinstance(report.failures["r100"], DeviceRefusedError)
    assert report.failures["r100"].code == 4


@sockets
async def test_low_word_may_come_first() -> None:
    register = Register(100, "x", UINT32, access_type=AccessType.READ_WRITE)
    layout = Layout(low_word_first=True)
    async with image_of({100: 2, 101: 1}) as image, connected(image) as connection:
        device = device_on(connection, [register], layout)

        seen = await device.read_register("x")
        await device.write("x", 0x0003_0004)

    assert seen == 0x0001_0002
    assert image.writes == [(1, 100, [4, 3])]


@sockets
async def test_register_that_can_only_be_read_is_not_written() -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        device = device_on(connection, registers_at(100))

        with pytest.raises(NotSupportedError, match="r100 can only be read"):
            await device.write("r100", 1)

    assert image.traffic.requests == 0


@sockets
async def test_register_that_can_only_be_written_is_not_read() -> None:
    register = Register(100, "x", access_type=AccessType.WRITE)
    async with image_of({100: 7}) as image, connected(image) as connection:
        device = device_on(connection, [register])

        with pytest.raises(NotSupportedError, match="x can only be written"):
            await device.read_register("x")
        await device.write("x", 1)

    assert image.traffic.reads == []
    assert image.writes == [(1, 100, [1])]


# The transport: what is sent, and what comes back -----------------------------


@sockets
async def test_reads_and_writes_reach_the_unit() -> None:
    async with (
        image_of({100: 7, 101: 8}, unit_id=5) as image,
        connected(image) as connection,
    ):
        unit = connection.unit(5)

        await unit.write_registers(100, [2, 3])
        words = await unit.read_holding_registers(100, 2)

    assert image.writes == [(5, 100, [2, 3])]
    assert words == [2, 3]
    assert (connection.requests, image.traffic.requests) == (2, 2)


@sockets
@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (1, DeviceRefusedError, "function not supported"),
        (2, IllegalAddressError, "no such register"),
        (3, DeviceRefusedError, "value not allowed"),
        (4, DeviceRefusedError, "device failure"),
        (5, DeviceBusyError, "still busy"),
        (6, DeviceBusyError, "device busy"),
        (10, UnitAbsentError, "no device at this unit id"),
        (11, UnitAbsentError, "no answer from this unit id"),
        (0x80, PermissionDeniedError, "installer's login is needed"),
        (99, DeviceRefusedError, "unknown reason"),
    ],
)
async def test_a_refusal_names_the_unit_the_request_and_the_reason(
    code: int, kind: type[DeviceRefusedError], text: str
) -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        image.set_faults(exception=code, exception_count=1)

        with pytest.raises(DeviceRefusedError) as caught:
            await connection.unit(1).read_holding_registers(100, 1)
        after = await connection.unit(1).read_holding_registers(100, 1)

    assert type(caught.value) is kind
    assert caught.value.code == code
    assert f"{connection} unit 1, reading 1 words from 100" in str(caught.value)
    assert text in str(caught.value)
    assert (after, image.connections) == ([7], 1)


# One connection for all --------------------------------------------------------


@sockets
async def test_two_users_of_an_address_share_one_socket() -> None:
    async with image_of({100: 7}) as image:
        one = ModbusTcpConnection.shared(image.host, image.port, 5)
        two = ModbusTcpConnection.shared(image.host, image.port, 5)
        await one.open()
        await two.open()

        await one.close()
        still = await two.unit(1).read_holding_registers(100, 1)
        clients = image.clients
        await two.close()
        await until(lambda: image.clients == 0)

    assert one is two
    assert (still, clients, image.connections) == ([7], 1, 1)


@sockets
async def test_another_port_is_another_connection() -> None:
    one = ModbusTcpConnection.shared("127.0.0.1", 502, 5)

    assert ModbusTcpConnection.shared("127.0.0.1", 503, 5) is not one
    assert ModbusTcpConnection.shared("127.0.0.2", 502, 5) is not one


@sockets
async def test_connection_that_is_not_in_use_is_not_opened_by_a_request() -> None:
    async with image_of({100: 7}) as image:
        async with connected(image) as connection:
            unit = connection.unit(1)

        with pytest.raises(CannotConnectError, match="not in use"):
            await unit.read_holding_registers(100, 1)

    assert image.connections == 1


@sockets
async def test_one_request_is_under_way_at_a_time_in_the_order_asked() -> None:
    async with (
        image_of(dict.fromkeys(range(100, 110), 7)) as image,
        connected(image) as connection,
    ):
        unit = connection.unit(1)
        image.set_faults(hang=True)
        reads = [
            asyncio.create_task(unit.read_holding_registers(100 + n, 1))
            for n in range(3)
        ]
        write = asyncio.create_task(unit.write_registers(109, [1]))
        reads.append(asyncio.create_task(unit.read_holding_registers(109, 1)))
        await until(lambda: connection.requests == 1)
        under_way = connection.requests

        image.set_faults(hang=False)
        await asyncio.gather(write, *reads)

    assert under_way == 1
    assert image.traffic.log == deque(
        [(1, 100, 1), (1, 101, 1), (1, 102, 1), (1, 109, [1]), (1, 109, 1)]
    )


# Silence that a device needs --------------------------------------------------


@sockets
async def test_no_request_comes_too_soon_after_connecting(
    pauses: Pauses,
) -> None:
    async with image_of({100: 7}) as image:
        connection = ModbusTcpConnection(image.host, image.port, 5)
        connection.connect_delay = 1000
        await connection.open()
        pauses.clear()

        with high_priority():
            await connection.unit(1).read_holding_registers(100, 1)
            first = [*pauses]
            pauses.clear()
            await connection.unit(1).read_holding_registers(100, 1)
        await connection.close()

    assert len(first) == 1
    assert 0 < first[0] <= 1000
    assert pauses == []


@sockets
async def test_no_request_comes_too_soon_after_another(
    pauses: Pauses,
) -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        connection.spacing = 1000
        pauses.clear()

        with high_priority():
            await connection.unit(1).read_holding_registers(100, 1)
            after_first = [*pauses]
            image.set_faults(exception=4, exception_count=1)
            with pytest.raises(DeviceRefusedError):
                await connection.unit(1).read_holding_registers(100, 1)
            await connection.unit(1).read_holding_registers(100, 1)

    assert after_first == []
    assert len(pauses) == 2
    assert all(0 < pause <= 1000 for pause in pauses)


@sockets
async def test_a_setpoint_goes_before_a_poll_that_waits_for_the_end_of_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise it would wait for that poll's answer and the pause after it, too."""
    async with image_of({100: 7, 200: 8}) as image, connected(image) as connection:
        unit = connection.unit(1)
        await unit.read_holding_registers(100, 1)
        connection.spacing = 1000
        await unit.read_holding_registers(100, 1)
        waits, is_over, sleep = asyncio.Event(), asyncio.Event(), asyncio.sleep

        async def rest(_seconds: float) -> None:
            waits.set()
            await is_over.wait()

        async def set_power() -> None:
            with high_priority():
                await unit.read_holding_registers(200, 1)

        image.traffic.clear()
        monkeypatch.setattr(asyncio, "sleep", rest)
        poll = asyncio.create_task(unit.read_holding_registers(100, 1))
        await waits.wait()
        setpoint = asyncio.create_task(set_power())
        await sleep(0)
        is_over.set()
        await asyncio.gather(poll, setpoint)

    assert [read.address for read in image.traffic.reads] == [200, 100]


@sockets
async def test_no_pause_is_made_where_none_is_needed(
    pauses: Pauses,
) -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        pauses.clear()

        await connection.unit(1).read_holding_registers(100, 1)
        await connection.unit(1).read_holding_registers(100, 1)

    assert pauses == []


@sockets
async def test_connection_lost_during_a_pause_is_an_error_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        client = await connection._connected_client()
        connection._quiet_until = float("inf")

        async def lose_it(_: float) -> None:
            monkeypatch.undo()
            connection._quiet_until = 0
            image.cut()
            await until(lambda: not client.connected)

        monkeypatch.setattr(asyncio, "sleep", lose_it)
        with (
            high_priority(),  # another one waits for the end of the pause first
            pytest.raises(CannotConnectError, match="connection was closed"),
        ):
            await connection.unit(1).read_holding_registers(100, 1)

        assert await connection.unit(1).read_holding_registers(100, 1) == [7]


# When it does not work --------------------------------------------------------


@asynccontextmanager
async def closed_port() -> AsyncIterator[ModbusTcpConnection]:
    """Yield a connection to a port without a listener."""
    async with image_of({}) as image:
        pass
    yield ModbusTcpConnection(image.host, image.port, 5)


@sockets
async def test_refused_connection_names_the_address() -> None:
    async with closed_port() as connection:
        with pytest.raises(CannotConnectError, match=f"127.0.0.1:{connection.port}"):
            await connection.open()


@sockets
@pytest.mark.parametrize(
    ("host", "port"), [("home..battery", 502), ("127.0.0.1", 70_000)]
)
async def test_an_impossible_address_is_an_error_of_the_library(
    host: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names are not resolved in tests; this fails before that.
    def resolve(host: str, *_: object, **__: object) -> object:
        host.encode("idna")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    connection = ModbusTcpConnection(host, port, 5)

    with pytest.raises(CannotConnectError, match=f"{host}:{port}: not an address"):
        await connection.open()


@sockets
async def test_server_that_refused_is_not_asked_for_a_while(leap: Leap) -> None:
    async with image_of({100: 7}) as image:
        await image.stop()
        connection = ModbusTcpConnection(image.host, image.port, 5)
        with pytest.raises(CannotConnectError):
            await connection.open()
        await image.start()

        with pytest.raises(CannotConnectError, match="next try in 1 s"):
            await connection.open()
        attempts = image.connections
        leap(1)
        await connection.open()
        words = await connection.unit(1).read_holding_registers(100, 1)
        await connection.close()

    assert (attempts, image.connections) == (0, 1)
    assert words == [7]


@sockets
async def test_server_that_goes_on_refusing_is_asked_ever_less_often(
    leap: Leap,
) -> None:
    waits = []
    async with closed_port() as connection:
        for _ in range(7):
            with pytest.raises(CannotConnectError, match="Is the device on"):
                await connection.open()
            with pytest.raises(CannotConnectError) as caught:
                await connection.open()
            waits.append(str(caught.value).rpartition("next try in ")[2])
            leap(30)

    assert waits == ["1 s", "2 s", "4 s", "8 s", "16 s", "30 s", "30 s"]


@sockets
async def test_back_off_begins_anew_after_a_success(leap: Leap) -> None:
    async with image_of({100: 7}) as image:
        connection = ModbusTcpConnection(image.host, image.port, 5)
        await image.stop()
        for _ in range(3):
            with pytest.raises(CannotConnectError):
                await connection.open()
            leap(30)
        await image.start()
        await connection.open()
        await connection.close()
        await image.stop()

        with pytest.raises(CannotConnectError):
            await connection.open()
        with pytest.raises(CannotConnectError, match="next try in 1 s"):
            await connection.open()


@sockets
async def test_server_that_comes_back_on_its_port_is_connected_again(
    leap: Leap,
) -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        unit = connection.unit(1)
        await image.stop()
        with pytest.raises(CannotConnectError):
            await unit.read_holding_registers(100, 1)

        await image.start()
        leap(1)
        words = await unit.read_holding_registers(100, 1)

    assert words == [7]
    assert connection.connects == 2


@sockets
async def test_connection_closed_instead_of_an_answer_is_known_at_once() -> None:
    async with (
        image_of({100: 7}) as image,
        connected(image, timeout=1000) as connection,
    ):
        image.set_faults(cut_request=1)

        with pytest.raises(CannotConnectError, match="connection was closed"):
            await connection.unit(1).read_holding_registers(100, 1)

        assert await connection.unit(1).read_holding_registers(100, 1) == [7]
    assert image.connections == 2


@sockets
async def test_late_answer_is_not_taken_for_that_of_the_next_request() -> None:
    async with (
        image_of({100: 7, 101: 8}) as image,
        connected(image, timeout=0.1) as connection,
    ):
        image.set_faults(hang=True)
        with pytest.raises(RequestTimeoutError, match=r"from 100: no answer in 0.1 s"):
            await connection.unit(1).read_holding_registers(100, 1)

        image.set_faults(hang=False)
        words = await connection.unit(1).read_holding_registers(101, 1)

    assert words == [8]
    assert image.connections == 2


@sockets
async def test_answer_to_another_request_is_no_answer() -> None:
    async with image_of({100: 7}) as image, connected(image, timeout=0.1) as connection:
        image.set_faults(wrong_transaction=1)

        with pytest.raises(RequestTimeoutError):
            await connection.unit(1).read_holding_registers(100, 1)

        assert await connection.unit(1).read_holding_registers(100, 1) == [7]
    assert image.connections == 2


type Answer = Callable[[bytes], bytes]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[ModbusTcpConnection]:
    """Yield a connection to a server with a fixed answer, without its header."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                transaction, _, length, unit_id = struct.unpack(
                    ">HHHB", await reader.readexactly(7)
                )
                pdu = answer(await reader.readexactly(length - 1))
                writer.write(
                    struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit_id)
                )
                writer.write(pdu)
        except asyncio.IncompleteReadError, ConnectionError:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = ModbusTcpConnection("127.0.0.1", port, 5)
        await connection.open()
        yield connection
        await connection.close()
        server.close_clients()


@sockets
async def test_short_answer_is_an_error() -> None:
    async with answering(lambda _: bytes((3, 2, 0, 7))) as connection:
        with pytest.raises(ProtocolError, match="answer of 1 words instead of 2"):
            await connection.unit(1).read_holding_registers(100, 2)

        assert await connection.unit(1).read_holding_registers(100, 1) == [7]


@sockets
async def test_answer_that_makes_no_sense_ends_the_connection() -> None:
    answers = iter([bytes((3, 200, 0, 7)), bytes((3, 2, 0, 7))])
    async with answering(lambda _: next(answers)) as connection:
        with pytest.raises(BatteryError):
            await connection.unit(1).read_holding_registers(100, 1)

        assert await connection.unit(1).read_holding_registers(100, 1) == [7]
        assert connection.connects == 2


@sockets
async def test_any_other_failure_is_an_error_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(client: AsyncModbusTcpClient, *_: int, **__: int) -> Any:
        return client.convert_from_registers([7], client.DATATYPE.INT32)

    async with image_of({100: 7}) as image, connected(image) as connection:
        with monkeypatch.context() as patch:
            patch.setattr(AsyncModbusTcpClient, "read_holding_registers", fail)
            with pytest.raises(ProtocolError, match="from 100: .*illegal size"):
                await connection.unit(1).read_holding_registers(100, 1)

        assert await connection.unit(1).read_holding_registers(100, 1) == [7]
    assert image.connections == 2


# Giving up --------------------------------------------------------------------


@sockets
async def test_request_that_waits_for_its_turn_can_be_cancelled() -> None:
    async with image_of({100: 7, 101: 8}) as image, connected(image) as connection:
        unit = connection.unit(1)
        image.set_faults(hang=True)
        first = asyncio.create_task(unit.read_holding_registers(100, 1))
        second = asyncio.create_task(unit.read_holding_registers(101, 1))
        await until(lambda: connection.requests == 1)

        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        image.set_faults(hang=False)

        assert await first == [7]
    assert image.traffic.reads == [(1, 100, 1)]
    assert image.connections == 1


@sockets
async def test_cancelled_request_is_cancelled_and_the_next_one_works() -> None:
    async with image_of({100: 7, 101: 8}) as image, connected(image) as connection:
        unit = connection.unit(1)
        image.set_faults(hang=True)
        request = asyncio.create_task(unit.read_holding_registers(100, 1))
        next_one = asyncio.create_task(unit.read_holding_registers(101, 1))
        await until(lambda: connection.requests == 1)

        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        image.set_faults(hang=False)

        assert request.cancelled()
        assert await next_one == [8]


@sockets
async def test_time_limit_around_a_request_is_a_time_limit() -> None:
    async with image_of({100: 7}) as image, connected(image) as connection:
        image.set_faults(hang=True)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.unit(1).read_holding_registers(100, 1)
        image.set_faults(hang=False)

        assert await connection.unit(1).read_holding_registers(100, 1) == [7]


@sockets
async def test_task_that_cleans_up_after_being_cancelled_can_go_on_talking() -> None:
    async with (
        image_of({100: 7, 101: 8}) as image,
        connected(image, timeout=0.1) as connection,
    ):
        unit = connection.unit(1)
        seen: list[object] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                image.set_faults(drop=1)
                try:
                    await unit.read_holding_registers(100, 1)
                except BatteryError as err:
                    seen.append(type(err))
                seen.append(await unit.read_holding_registers(101, 1))

        task = asyncio.create_task(work())
        await asyncio.sleep(0)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert seen == [RequestTimeoutError, [8]]


@sockets
async def test_cancelled_connecting_leaves_no_socket_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # pymodbus rests after connecting, with the socket open; in other tests it does not.
    monkeypatch.setattr(pymodbus.client.base, "asyncio", asyncio)
    async with image_of({100: 7}) as image:
        connection = ModbusTcpConnection(image.host, image.port, 5)
        opening = asyncio.create_task(connection.open())
        await until(lambda: image.clients == 1)

        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

        await until(lambda: image.clients == 0)
        await connection.open()
        await connection.close()
