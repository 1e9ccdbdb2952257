"""Blocks that a Deye lacks are not probed at each start."""

import time
from typing import Final

import pytest

from custom_components.homebattery.drivers.absence import ASK_AGAIN
from custom_components.homebattery.drivers.deye.modbus_tcp import DeyeModbusInverter
from custom_components.homebattery.drivers.modbus.learned import DAY
from tests.home import house_of
from tests.simulators import DeyeModbusSimulator, ManualClock
from tests.simulators.deye_units import PACKS
from tests.simulators.modbus import Read, Refusal

pytestmark = pytest.mark.usefixtures("socket_enabled")

REMOTE: Final = 1100
"""The first register by which it is held at a power."""


def addresses(log: list[Read | Refusal]) -> set[int]:
    return {
        each.address if isinstance(each, Read) else int.from_bytes(each.pdu[1:3])
        for each in log
    }


class Starts:
    """Starts of the library, minutes apart, one knowing what the last one learned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        self.learned: object = None
        monkeypatch.setattr(time, "time", lambda: self.now)

    async def start(self, simulator: DeyeModbusSimulator) -> set[int]:
        """Connect and read everything; return the addresses that were asked for."""
        self.now += ASK_AGAIN
        traffic = simulator.server.units.traffic
        traffic.clear()
        battery = DeyeModbusInverter.from_setup(simulator.setup)
        battery.recall(self.learned)
        async with battery:
            await battery.read()
            self.learned = battery.learned
        return addresses([*traffic.reads, *traffic.refusals])


async def test_packs_are_probed_at_two_starts_and_then_after_a_day(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(monkeypatch)
    house = house_of(DeyeModbusSimulator, clock)
    async with DeyeModbusSimulator(house) as simulator:
        assert not (await starts.start(simulator)).isdisjoint(PACKS)
        assert not (await starts.start(simulator)).isdisjoint(PACKS)
        assert (await starts.start(simulator)).isdisjoint(PACKS)
        starts.now += DAY
        assert not (await starts.start(simulator)).isdisjoint(PACKS)


async def test_the_registers_that_hold_it_are_probed_at_each_start(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been given the firmware with remote mode."""
    starts = Starts(monkeypatch)
    house = house_of(DeyeModbusSimulator, clock)
    async with DeyeModbusSimulator(house) as simulator:
        for _ in range(4):
            assert REMOTE in await starts.start(simulator)
