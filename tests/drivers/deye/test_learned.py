"""Blocks that a Deye lacks are not probed at each start."""

import time
from typing import Final

import pytest

from custom_components.homebattery.drivers.absence import ASK_AGAIN
from custom_components.homebattery.drivers.deye.modbus_tcp import DeyeModbusInverter
from custom_components.homebattery.drivers.deye.registers import PACK_COUNT
from custom_components.homebattery.drivers.modbus.learned import DAY
from tests.drivers.conftest import Leap
from tests.home import house_of
from tests.simulators import DeyeModbusSimulator, ManualClock
from tests.simulators.deye_units import PACKS, DeyeUnits
from tests.simulators.image import ModbusImage, VectorUnits
from tests.simulators.modbus import ILLEGAL_ADDRESS, NO_RESPONSE, Read, Refusal, Refused

from .support import MIDDAY, on_image, vector

pytestmark = pytest.mark.usefixtures("socket_enabled")

SETTINGS: Final = range(60, 500)
MIN_SOC: Final = 117
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


async def test_blocks_that_are_absent_stop_no_learning(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(monkeypatch)
    house = house_of(DeyeModbusSimulator, clock)
    async with DeyeModbusSimulator(house) as simulator:
        for _ in range(2):
            await starts.start(simulator)
        battery = DeyeModbusInverter.from_setup(simulator.setup)
        battery.recall(starts.learned)
        async with battery:
            await battery.read()

            assert battery.learned["units"]
            assert not any(device.is_failing for device in battery.devices)


async def test_blocks_without_an_answer_are_probed_at_each_start(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway says that it got none; only a refusal is one of the block."""
    monkeypatch.setattr(DeyeUnits, "_absent", lambda _: Refused(NO_RESPONSE))
    starts = Starts(monkeypatch)
    house = house_of(DeyeModbusSimulator, clock)
    async with DeyeModbusSimulator(house) as simulator:
        for _ in range(4):
            assert not (await starts.start(simulator)).isdisjoint(PACKS)
        assert "missing" not in str(starts.learned)


async def test_a_unit_that_is_away_for_once_does_not_prove_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The block is absent: three probes show it then, not a search in halves."""
    read, code = VectorUnits.read, NO_RESPONSE

    def without_settings(
        units: VectorUnits, unit: int, address: int, count: int
    ) -> list[int]:
        if address in SETTINGS:
            raise Refused(code)
        return read(units, unit, address, count)

    async with on_image(vector(MIDDAY)) as (battery, units):
        monkeypatch.setattr(VectorUnits, "read", without_settings)
        await battery.read(["min_soc"])
        code = ILLEGAL_ADDRESS
        before = len(units.traffic.refusals)
        await battery.read(["min_soc"])

        assert len(units.traffic.refusals) - before <= 4
        (block,) = (
            each for each in battery.devices if MIN_SOC in each.addresses(each.names)
        )
        assert not block.is_present


async def test_a_block_that_is_there_after_a_day_is_measured(
    monkeypatch: pytest.MonkeyPatch, leap: Leap
) -> None:
    """It was stored as absent: no poll asks for it but the one that tries it again."""
    starts = Starts(monkeypatch)
    async with ModbusImage(vector(MIDDAY)) as image:
        for _ in range(2):
            starts.now += ASK_AGAIN
            battery = DeyeModbusInverter(image.host, image.port)
            battery.recall(starts.learned)
            async with battery:
                await battery.read()
                starts.learned = battery.learned
        battery = DeyeModbusInverter(image.host, image.port)
        battery.recall(starts.learned)
        async with battery:
            keys = {"battery_soc", "min_soc"}
            await battery.read(keys)
            assert PACK_COUNT not in battery.measurements
            image.units.units[1] |= dict.fromkeys(PACKS, 0) | {PACKS.start: 2}
            starts.now += DAY
            leap(DAY)
            for _ in battery.devices:
                await battery.read(keys)

            assert PACK_COUNT in battery.measurements
