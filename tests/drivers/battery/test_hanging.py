"""A block that gives no answer, or is refused, while others are answered, fails alone.

With the driver of each battery that speaks Modbus: at set-up, while it is held, and when
it is released.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.errors import RequestTimeoutError
from custom_components.homebattery.drivers.modbus.silence import (
    MOST_AT_FIRST,
    MOST_TIMEOUTS,
)
from custom_components.homebattery.drivers.sun2000 import unit as sun2000_unit
from tests.drivers.conftest import MODBUS_DEVICES, Leap
from tests.home import plain_with
from tests.simulators import Simulator
from tests.simulators.modbus import Refused, Silent

pytestmark = pytest.mark.usefixtures("socket_enabled")

TIMEOUT: Final = 0.4
"""Seconds for each answer."""

OLD: Final = 100.0
"""Seconds after which all conditions of a setpoint must have been read again."""
UNKNOWN: Final = Grant(0, LimitReason.UNKNOWN_STATE)

type Span = tuple[int, range]
"""A unit and addresses of it."""

NEEDED: Final[dict[str, set[tuple[int, int]]]] = {
    # The serial number of the GX; the phases, which decide what is written.
    "victron": {(100, 800), (227, 28)},
    # Model, serial number.
    "sun2000": {(1, 30000), (1, 30015)},
    # The kind of inverter, and its serial number.
    "deye_modbus": {(1, 0)},
    "deye_solarman": {(1, 0)},
    "sma": {(3, 30051)},
}
"""The words without which no battery is set up: unit and address."""

CONDITIONS: Final[dict[str, Span]] = {
    "victron": (225, range(250, 350)),
    "deye_modbus": (1, range(500, 700)),
    "deye_solarman": (1, range(500, 700)),
    "sma": (3, range(40185, 40200)),
}
"""Words that the limits of a setpoint come from."""


class Line:
    """Notes which words of a simulated device are read, and keeps some unanswered."""

    def __init__(self, units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hangs: Span | None = None
        self.says: Exception = Silent()
        """Raised for the words that hang."""
        self.asked: list[Span] = []
        self.unanswered = 0
        read = units.read

        def answer(unit: int, address: int, count: int) -> Sequence[int]:
            words = range(address, address + count)
            self.asked.append((unit, words))
            if self.hangs is not None and _meet(self.hangs, (unit, words)):
                self.unanswered += 1
                raise self.says
            answered: Sequence[int] = read(unit, address, count)
            return answered

        monkeypatch.setattr(units, "read", answer)


def _meet(one: Span, other: Span) -> bool:
    """Return True for spans that have words in common."""
    return one[0] == other[0] and max(one[1].start, other[1].start) < min(
        one[1].stop, other[1].stop
    )


@pytest.fixture
def line(modbus_simulator: Any, monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(modbus_simulator.server.units, monkeypatch)


def battery_of(modbus_simulator: Simulator, timeout: float = TIMEOUT) -> ModbusBattery:
    battery = DRIVERS[modbus_simulator.type].from_setup(modbus_simulator.setup)
    assert isinstance(battery, ModbusBattery)
    battery.timeout = timeout
    return battery


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(Silent(), id="silence"),
        *(pytest.param(Refused(code), id=f"exception {code}") for code in (1, 4, 6)),
    ],
)
async def test_a_block_that_fails_at_set_up_costs_its_own_values_alone(
    says: Exception,
    modbus_simulator: Simulator,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sun2000_unit, "BACK_OFFS", ())
    line.says = says
    # A refusal needs no time-out, which a busy machine could exceed.
    timeout = TIMEOUT if isinstance(says, Silent) else 5
    async with battery_of(modbus_simulator, timeout) as battery:
        asked = dict.fromkeys(line.asked)
        line.asked.clear()
        await battery.get("battery_soc")
        *_, soc = line.asked
    needed = NEEDED[modbus_simulator.type]
    optional = [
        (unit, words)
        for unit, words in asked
        if not any(unit == its_unit and word in words for its_unit, word in needed)
    ]
    # A Deye is identified by one block.
    assert optional or modbus_simulator.type.startswith("deye")
    for line.hangs in optional:
        line.unanswered = 0
        async with battery_of(modbus_simulator, timeout) as battery:
            # The block as a whole, and one register of it.
            most = 2 if isinstance(says, Silent) else line.unanswered
            assert 1 <= line.unanswered <= most, line.hangs
            assert battery.controller is not None, line.hangs
            if not _meet(line.hangs, soc):
                assert await battery.get("battery_soc") is not None, line.hangs


BESIDE_SOC: Final[list[tuple[str, Span]]] = [
    ("victron", (100, range(868, 872))),
    ("victron", (100, range(850, 867))),
    ("victron", (100, range(868, 920))),
    ("sma", (3, range(30835, 30837))),
    ("sma", (3, range(30861, 30871))),
    ("sun2000", (1, range(37780, 37788))),
    ("deye_modbus", (1, range(598, 601))),
    ("deye_solarman", (1, range(598, 601))),
]
"""Words that the SOC does not come from, and that are read with it."""


@pytest.mark.parametrize("is_first", [True, False], ids=["at once", "later"])
@pytest.mark.parametrize(
    ("modbus_simulator", "hangs"),
    [
        pytest.param(name, span, marks=[] if index == 0 else pytest.mark.long)
        for index, (name, span) in enumerate(BESIDE_SOC)
    ],
    indirect=["modbus_simulator"],
    ids=str,
)
async def test_values_beside_words_that_hang_are_read_after_a_few_polls(
    modbus_simulator: Simulator,
    line: Line,
    leap: Leap,
    hangs: Span,
    *,
    is_first: bool,
) -> None:
    """They are asked for in one request at first; in the end in one again."""
    async with battery_of(modbus_simulator) as battery:
        await battery.read()
        await battery.read()
        whole = _reads(line)
    if is_first:
        line.hangs = hangs
    async with battery_of(modbus_simulator) as battery:
        if not is_first:
            await battery.read()
        line.hangs = hangs
        for _ in range(4):
            leap(5)
            line.unanswered = 0
            # Where two requests in a row get no answer it seems to be away at first.
            with suppress(RequestTimeoutError):
                readings = await battery.read()
            assert line.unanswered <= MOST_AT_FIRST
        assert readings["battery_soc"] is not None
        assert readings["battery_power"] is not None
        assert readings.failures
        for _ in range(4):
            leap(5)
            assert (await battery.read())["battery_soc"] is not None
        line.unanswered = 0
        for _ in range(6):
            leap(5)
            assert (await battery.read())["battery_soc"] is not None
        assert line.unanswered <= MOST_TIMEOUTS

        line.hangs = None
        for _ in range(10):
            leap(OLD)
            await battery.read()
        _reads(line)
        await battery.read()
        assert set(_reads(line)) <= set(whole)


def _reads(line: Line) -> list[Span]:
    """Return what was read so far, once each, and begin anew."""
    spans = list(dict.fromkeys(line.asked))
    line.asked.clear()
    return spans


@plain_with("victron", of=MODBUS_DEVICES, fixture="modbus_simulator")
async def test_a_condition_that_hangs_keeps_no_renewal_from_the_device(
    modbus_simulator: Any, line: Line, leap: Leap
) -> None:
    traffic = modbus_simulator.server.units.traffic
    async with battery_of(modbus_simulator) as battery:
        await battery.set_power_setpoint(1000)
        await battery.read()
        _reads(line)
        leap(OLD)
        traffic.clear()
        assert await battery.keep_alive() in (Grant(1000), None)
        renews, conditions = bool(traffic.writes), _reads(line)
        assert conditions
        for line.hangs in conditions:
            leap(OLD)
            traffic.clear()
            grant = await battery.keep_alive()
            assert bool(traffic.writes) is renews, line.hangs
            assert grant in (
                Grant(1000),
                None,
                # A Victron keeps no limits of its own in this mode.
                *([UNKNOWN] if modbus_simulator.type == "victron" else []),
            ), line.hangs
        line.hangs = None
        await battery.release()
        assert modbus_simulator.mode == "automatic"


@plain_with("victron", of=CONDITIONS, fixture="modbus_simulator")
async def test_a_condition_that_hangs_for_long_ends_the_setpoint_until_it_answers(
    modbus_simulator: Any, line: Line, leap: Leap
) -> None:
    """But for a SUN2000, which itself takes no more than its battery permits."""
    before = modbus_simulator.settings_words()
    async with battery_of(modbus_simulator) as battery:
        await battery.set_power_setpoint(-1000)
        line.hangs = CONDITIONS[modbus_simulator.type]
        for _ in range(6):
            leap(OLD)
            grant = await battery.keep_alive()
        assert grant == UNKNOWN
        if modbus_simulator.type.startswith("deye"):
            assert modbus_simulator.settings_words() == before
        line.unanswered = 0
        for _ in range(10):
            leap(5)
            assert await battery.keep_alive() == UNKNOWN
        assert line.unanswered <= 1

        line.hangs = None
        for _ in range(12):
            leap(OLD)
            grant = await battery.keep_alive()
        assert grant in (Grant(-1000), None)
        await battery.release()
        assert modbus_simulator.mode == "automatic"
        assert modbus_simulator.settings_words() == before


async def test_a_release_depends_on_what_it_writes_alone(
    modbus_simulator: Any, line: Line
) -> None:
    before = modbus_simulator.settings_words()
    traffic = modbus_simulator.server.units.traffic
    async with battery_of(modbus_simulator) as battery:
        await battery.set_power_setpoint(0)
        _reads(line)
        traffic.clear()
        await battery.release()
        written = [
            (each.unit, range(each.address, each.address + len(each.words)))
            for each in traffic.writes
        ]
        conditions = [
            span
            for span in _reads(line)
            if not any(_meet(span, each) for each in written)
        ]
        for hangs in conditions:
            line.hangs = None
            await battery.set_power_setpoint(0)
            line.hangs = hangs
            await battery.release()
            assert battery.snapshot is None
            assert modbus_simulator.mode == "automatic", hangs
            assert modbus_simulator.settings_words() == before
