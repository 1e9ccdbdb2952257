"""A block that gives no answer, while others are answered, fails alone.

With the driver of each battery that speaks Modbus: at set-up, while it is held, and when
it is released.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from tests.home import house_of
from tests.simulators import SIMULATORS, ManualClock, Simulator
from tests.simulators.modbus import Silent

pytestmark = pytest.mark.usefixtures("socket_enabled")

TIMEOUT: Final = 0.2
"""Seconds for each answer."""

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


class Line:
    """Notes which words of a simulated device are read, and keeps some unanswered."""

    def __init__(self, units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hangs: Span | None = None
        self.asked: list[Span] = []
        self.unanswered = 0
        read = units.read

        def answer(unit: int, address: int, count: int) -> Sequence[int]:
            words = range(address, address + count)
            self.asked.append((unit, words))
            if self.hangs is not None and _meet(self.hangs, (unit, words)):
                self.unanswered += 1
                raise Silent
            return read(unit, address, count)  # type: ignore[no-any-return]

        monkeypatch.setattr(units, "read", answer)


def _meet(one: Span, other: Span) -> bool:
    """Return True for spans that have words in common."""
    return one[0] == other[0] and max(one[1].start, other[1].start) < min(
        one[1].stop, other[1].stop
    )


@pytest.fixture(params=[name for name in DRIVERS if name != "sessy"])
async def simulator(
    request: pytest.FixtureRequest, clock: ManualClock
) -> AsyncIterator[Simulator]:
    """Yield each device that speaks Modbus in turn."""
    device: Any = SIMULATORS[request.param]
    async with device(house_of(device, clock)) as simulator:
        yield simulator


@pytest.fixture
def line(simulator: Any, monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(simulator.server.units, monkeypatch)


def battery_of(simulator: Simulator) -> ModbusBattery:
    battery = DRIVERS[simulator.type].from_setup(simulator.setup)
    assert isinstance(battery, ModbusBattery)
    battery.timeout = TIMEOUT
    return battery


async def test_a_block_that_hangs_at_set_up_costs_its_own_values_alone(
    simulator: Simulator, line: Line
) -> None:
    async with battery_of(simulator) as battery:
        asked = dict.fromkeys(line.asked)
        line.asked.clear()
        await battery.get("battery_soc")
        *_, soc = line.asked
    needed = NEEDED[simulator.type]
    optional = [
        (unit, words)
        for unit, words in asked
        if not any(unit == its_unit and word in words for its_unit, word in needed)
    ]
    # A Deye is identified by one block.
    assert optional or simulator.type.startswith("deye")
    for line.hangs in optional:
        line.unanswered = 0
        async with battery_of(simulator) as battery:
            assert line.unanswered == 1, line.hangs
            assert battery.controller is not None, line.hangs
            if not _meet(line.hangs, soc):
                assert await battery.get("battery_soc") is not None, line.hangs
