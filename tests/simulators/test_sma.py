"""The SMA simulator answers and behaves like a Sunny Island."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.simulators import ManualClock, SmaSimulator

from .image import load
from .raw_client import ModbusError, RawClient
from .sma_values import firmware_word

pytestmark = pytest.mark.usefixtures("socket_enabled")

UNIT = 3
LOAD = 600.0
SETPOINT, EXTERNAL = 40149, 40151
ON, OFF = 802, 803
NO_TAG = 0x00FF_FFFD


class Bench:
    """A simulator, a raw connection to it, and its clock."""

    def __init__(
        self, simulator: SmaSimulator, raw: RawClient, clock: ManualClock
    ) -> None:
        self.simulator = simulator
        self.plant = simulator.plant
        self.raw = raw
        self.clock = clock

    async def read(self, address: int, count: int = 2, *, function: int = 3) -> int:
        """Return words as one unsigned number."""
        words = await self.raw.read(UNIT, address, count, function=function)
        return int.from_bytes(b"".join(word.to_bytes(2) for word in words))

    async def signed(self, address: int) -> int:
        number = await self.read(address)
        return number - (number >> 31 << 32)

    async def write(self, address: int, *numbers: int) -> None:
        """Write numbers of two words each."""
        await self.raw.write(
            UNIT, address, *(n >> s & 0xFFFF for n in numbers for s in (16, 0))
        )

    async def refused(self, address: int, *numbers: int, count: int = 2) -> int:
        """Return the exception code of a write, or without numbers of a read."""
        with pytest.raises(ModbusError) as error:
            await (
                self.write(address, *numbers) if numbers else self.read(address, count)
            )
        return error.value.code

    @property
    def battery(self) -> float:
        return float(self.simulator.state()["battery_power"])

    @property
    def device(self) -> dict[str, Any]:
        state: dict[str, Any] = self.simulator.state()["device"]
        return state


@asynccontextmanager
async def bench(
    *, house: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    plant = SmaSimulator.house(clock=clock, efficiency=1.0, **(house or {}))
    plant.fixed_load, plant.fixed_pv = LOAD, 0.0
    simulator = SmaSimulator(plant, **options)
    async with simulator, RawClient(simulator.host, simulator.port) as raw:
        yield Bench(simulator, raw, clock)


CLUSTER = {"phases": 3}

# Answers.


@pytest.mark.parametrize("function", [3, 4])
@pytest.mark.parametrize(
    ("address", "count"),
    [
        *((30051, 10), (30231, 4), (33019, 2), (40031, 6), (40187, 6), (40783, 4)),
        *((41193, 4), (30775, 30), (30775, 38), (30843, 10), (30861, 10), (30977, 6)),
        *((31393, 12), (30201, 2), (30199, 18), (30577, 8), (30595, 4), (31397, 4)),
    ],
)
async def test_blocks_between_borders_are_answered(
    function: int, address: int, count: int
) -> None:
    async with bench() as at:
        words = await at.raw.read(UNIT, address, count, function=function)
        assert len(words) == count


@pytest.mark.parametrize(
    ("address", "count"),
    [
        *((30776, 2), (30775, 1), (30775, 31), (30774, 3), (31397, 2), (30789, 2)),
        *((30953, 2), (31391, 2), (40073, 2), (40212, 2), (40216, 2), (40793, 2)),
        *((40797, 2), (40149, 2), (40151, 2), (40795, 2), (43090, 2), (40075, 114)),
    ],
)
async def test_half_absent_and_write_only_registers_are_exception_2(
    address: int, count: int
) -> None:
    async with bench() as at:
        assert await at.refused(address, count=count) == 2


async def test_unused_words_inside_a_block_are_all_ones() -> None:
    async with bench() as at:
        words = await at.raw.read(UNIT, 30201, 34)
        assert words[:2] == [0, 307]
        assert words[2:10] == [0xFFFF] * 8
        await at.simulator.misbehave("absent", address=30845)
        assert (await at.raw.read(UNIT, 30843, 10))[2:4] == [0xFFFF] * 2
        assert await at.refused(30845) == 2


async def test_only_unit_3_answers_and_function_6_is_refused() -> None:
    async with bench() as at:
        with pytest.raises(ModbusError, match="11"):
            await at.raw.read(1, 30845, 2)
        with pytest.raises(ModbusError, match="1"):
            await at.raw.write_one(UNIT, 40016, 100)
        assert at.simulator.setup["unit_id"] == UNIT
    async with bench(other_units="silent") as at:
        at.raw.send(126, bytes((3, 0, 0, 0, 2)))
        at.raw.send(UNIT, bytes((3, 0x78, 0x7D, 0, 2)))
        assert (await at.raw.receive())[0] == 2


async def test_a_fifth_client_is_sent_away() -> None:
    async with bench() as at:
        host, port = at.raw.host, at.raw.port
        async with (
            RawClient(host, port),
            RawClient(host, port),
            RawClient(host, port) as fourth,
            RawClient(host, port) as fifth,
        ):
            assert await fifth.reader.read() == b""
            assert await fourth.read(UNIT, 30845, 2) == [0, 50]


async def test_too_many_requests_lock_it_up_until_it_is_power_cycled() -> None:
    async with bench() as at:
        await at.simulator.misbehave("lock_up", requests=3)
        for _ in range(2):
            for _ in range(3):
                await at.read(30845)
            at.clock.advance(11)
        for _ in range(4):
            at.raw.send(UNIT, bytes((3, 0x78, 0x7D, 0, 2)))
        for _ in range(3):
            await at.raw.receive()
        assert at.device["locked_up"]
        await at.simulator.misbehave("power_cycle")
        assert await at.raw.reader.read() == b""
        async with RawClient(at.raw.host, at.raw.port) as raw:
            assert await raw.read(UNIT, 30845, 2) == [0, 50]


def test_every_word_of_the_vectors_belongs_to_a_register() -> None:
    registers = SmaSimulator().units.registers
    for vector in load("sma_sunny_island"):
        words = vector["units"]["3"]
        assert [each for each in words if int(each) not in registers] == []


def test_the_vectors_know_no_value_where_a_register_of_that_type_has_none() -> None:
    registers = SmaSimulator().units.registers
    words = {
        int(each): word
        for each, word in load("sma_sunny_island")[2]["units"]["3"].items()
    }
    unknown = {
        register.address
        for register in registers.values()
        if register.address in words
        and register.decode([words[each] for each in register.addresses]) is None
    }
    assert {30775, 30847, 30955, 30977, 31061, 31393, 31397, 40189} <= unknown
    assert unknown.isdisjoint((30201, 30783, 30835, 30843, 30845, 30849, 33003))


# Values.


async def test_identity() -> None:
    assert firmware_word("3.20.9.R") == 0x0320_0904
    assert firmware_word("3.20.10.B") == 0x0320_0A03
    async with bench() as at:
        assert await at.raw.read(UNIT, 30051, 10) == [
            *(0, 8007, 0, 9476, 0, 461, 45964, 48974, 0x0320, 0x0904)
        ]
        assert await at.read(30231) == 6000
        assert await at.read(40783) == 0xFFFF_FFFF
    async with bench(model=9278) as at:
        assert await at.refused(30231) == 2


async def test_signs_power_out_is_positive_and_charging_current_negative() -> None:
    async with bench() as at:
        await at.write(SETPOINT, -2400, ON)
        assert await at.signed(30775) == -2400
        assert await at.signed(30777) == -2400
        assert await at.signed(30779) == -0x8000_0000
        assert await at.read(30785) == 0xFFFF_FFFF
        current = -1000 * 2400 / at.plant.voltage
        assert await at.signed(30843) == pytest.approx(current, abs=1)
        assert (await at.read(31393), await at.read(31395)) == (2400, 0)
        assert (await at.read(30865), await at.read(30867)) == (2400 + LOAD, 0)
        assert await at.read(30955) == 2292
        await at.simulator.misbehave("reversed_current")
        assert await at.signed(30843) == pytest.approx(-current, abs=1)
        await at.write(SETPOINT, 1600, ON)
        assert (await at.signed(30775), await at.read(30955)) == (1600, 2293)
        assert (await at.read(31393), await at.read(31395)) == (0, 1600)
        assert (await at.read(30865), await at.read(30867)) == (0, 1000)


async def test_a_value_that_is_not_available_is_marked_by_its_type() -> None:
    async with bench(meter=False, charge_control="unknown") as at:
        assert await at.signed(30865) == -0x8000_0000
        assert await at.read(30577) == 0xFFFF_FFFF
        assert await at.read(31061) == NO_TAG
        await at.simulator.misbehave("standby")
        assert await at.signed(30775) == -0x8000_0000
        assert await at.read(31397, 4) == 0xFFFF_FFFF_FFFF_FFFF
        assert await at.read(30955) == NO_TAG
        assert await at.read(30845) == 50
        await at.simulator.misbehave("unknown", address=30845)
        assert await at.read(30845) == 0xFFFF_FFFF
    async with bench(write_only="unknown") as at:
        assert await at.read(SETPOINT, 4) == 0x8000_0000 << 32 | NO_TAG


async def test_counters_of_the_day_start_again_at_midnight() -> None:
    async with bench(house={"time_of_day": 23.0, "soc": 10.0}) as at:
        before = await at.read(30581)
        at.clock.advance(1800)
        assert (await at.read(30577), await at.read(30579)) == (300, 0)
        at.clock.advance(3600)
        assert (await at.read(30577), await at.read(30581)) == (300, before + 900)


# External control.


async def test_without_external_control_it_keeps_the_grid_at_zero() -> None:
    async with bench() as at:
        await at.write(SETPOINT, -2000)
        assert (at.battery, at.simulator.state()["mode"]) == (-LOAD, "automatic")
        at.plant.fixed_pv = 1600.0
        assert at.battery == 1000
        at.plant.fixed_pv, at.plant.soc = 0.0, 14.0
        assert at.battery == 0


async def test_a_setpoint_acts_once_external_control_is_on_and_ends_with_it() -> None:
    async with bench() as at:
        await at.write(SETPOINT, -2000)
        await at.write(EXTERNAL, ON)
        assert (at.battery, at.simulator.state()["mode"]) == (2000, "controlled")
        await at.write(SETPOINT, 0)
        assert at.battery == 0
        await at.write(SETPOINT, 2500, ON, 0)  # with a reactive power
        assert at.battery == -2500
        assert (await at.signed(44425), await at.read(44427)) == (2500, ON)
        await at.write(EXTERNAL, OFF)
        assert (at.battery, await at.read(44427)) == (-LOAD, OFF)
        await at.write(EXTERNAL, ON)  # goes on where it was
        assert at.battery == -2500
        assert at.device["flash_writes"] == 0


async def test_a_lost_setpoint_falls_back_or_stays_for_good() -> None:
    async with bench(time_out=60.0) as at:
        assert (await at.read(41193), await at.read(41195)) == (2507, 60)
        await at.write(SETPOINT, -2000, ON)
        at.clock.advance(59)
        assert (at.battery, at.device["remaining"]) == (2000, 1)
        await at.write(EXTERNAL, ON)  # is not enough
        at.clock.advance(1)
        assert (at.battery, at.device["lapsed"]) == (-LOAD, True)
        assert at.simulator.state()["mode"] == "controlled"
        await at.write(SETPOINT, -2000)
        assert at.battery == 2000
        await at.write(44037, 30_000)  # 300 W
        at.clock.advance(60)
        assert at.battery == -300
    async with bench(on_loss="keep", time_out=60.0) as at:
        assert await at.read(41193) == 2506
        await at.write(SETPOINT, -2000, ON)
        at.clock.advance(3600)
        assert (at.battery, at.device["lapsed"]) == (2000, True)


@pytest.mark.parametrize(
    ("address", "number"),
    [
        *((SETPOINT, 6001), (SETPOINT, -6001), (SETPOINT, -(2**31)), (EXTERNAL, 801)),
        *((SETPOINT, 1 - 2**31), (EXTERNAL, NO_TAG), (41195, 0), (41195, 1801)),
        *((41193, 2505), (40725, 21), (40009, 1)),
    ],
)
async def test_a_value_out_of_range_is_exception_3(address: int, number: int) -> None:
    async with bench() as at:
        await at.write(SETPOINT, 6000)
        before = at.device["settings"]
        assert await at.refused(address, number) == 3
        assert at.device["settings"] == before


async def test_a_block_is_written_wholly_or_not_at_all() -> None:
    async with bench() as at:
        assert await at.refused(SETPOINT, 1000, 1) == 3
        assert at.device["setpoint"] == 0
        assert await at.refused(30775, 0) == 2
        assert await at.refused(40210, 1079) == 2  # needs the installer's code
        with pytest.raises(ModbusError, match="2"):
            await at.raw.write(UNIT, SETPOINT, 0, 1000, 0)
        assert at.device["setpoint"] == 0


async def test_the_battery_bounds_a_setpoint_without_a_word() -> None:
    async with bench(house={"max_charge": 3000.0, "max_discharge": 2000.0}) as at:
        assert (await at.read(40189), await at.read(40191)) == (3000, 2000)
        await at.write(SETPOINT, -5000, ON)
        assert at.battery == 3000
        await at.write(SETPOINT, 5000)
        assert at.battery == -2000
        at.plant.soc = 9.9
        assert at.battery == 0


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        ("charge_control", {}),
        ("power_mode", {"mode": 1077}),
        ("ignore_setpoint", {}),
        ("operating_status", {}),
    ],
)
async def test_a_setpoint_is_taken_and_not_followed(
    fault: str, arguments: dict[str, Any]
) -> None:
    async with bench() as at:
        await at.simulator.misbehave(fault, **arguments)
        await at.write(SETPOINT, -2000, ON)
        assert at.battery <= 0
        assert not at.device["follows"]
        assert await at.read(31061) == (1130 if fault == "charge_control" else 1129)
        assert await at.read(30835) == (1077 if fault == "power_mode" else 1079)


async def test_without_grid_the_battery_feeds_the_house() -> None:
    async with bench() as at:
        await at.write(SETPOINT, -2000, ON)
        await at.simulator.misbehave("grid_lost")
        assert at.battery == -LOAD
        assert (await at.read(33003), await at.read(30877)) == (1463, 1463)
        assert await at.read(30783) == 23000
        await at.simulator.misbehave("grid_lost", on=False)
        assert at.battery == 2000


async def test_trouble_shows() -> None:
    async with bench() as at:
        await at.simulator.misbehave("health")
        assert await at.read(30201) == 455
        await at.simulator.misbehave("operating_status", code=3664)
        assert (await at.read(33003), at.battery) == (3664, 500)
        await at.simulator.misbehave("operating_status", code=235)
        await at.simulator.misbehave("other_controller", power=1500)
        assert (at.battery, await at.read(44427)) == (-1500, ON)
        await at.simulator.misbehave("ignore_writes")
        await at.write(EXTERNAL, OFF)
        assert await at.read(44427) == ON
        await at.simulator.misbehave("ignore_writes", on=False)
        await at.write(40077, 1146)
        assert (await at.read(44427), at.device["restarts"]) == (OFF, 1)
        await at.simulator.misbehave("negative_rating")
        assert await at.signed(33019) == -6000


async def test_a_cluster_shares_the_setpoint_or_multiplies_it() -> None:
    async with bench(house=CLUSTER) as at:
        assert await at.read(40783) == 3012345679
        await at.write(SETPOINT, 3000, ON)
        assert await at.signed(30775) == 3000
        assert [await at.signed(30777 + 2 * n) for n in range(3)] == [1000] * 3
        assert await at.read(31055) == 307
    async with bench(house=CLUSTER, per_phase=True) as at:
        await at.write(SETPOINT, 1000, ON)
        assert await at.signed(30775) == 3000


async def test_flash_writes_are_counted_also_those_of_read_back_registers() -> None:
    async with bench() as at:
        await at.write(41195, 300)
        await at.write(44425, 1000)
        await at.write(44427, ON)
        await at.write(SETPOINT, 1200, ON)
        assert at.battery == -1200
        assert at.device["flash_writes_by_setting"] == {
            "time_out": 1,
            "setpoint": 1,
            "external": 1,
        }
    async with bench(read_back=False) as at:
        assert await at.refused(44427) == 2
        assert await at.refused(44427, ON) == 2


async def test_settings_words_are_those_that_a_client_reads_or_can_only_write() -> None:
    async with bench() as at:
        await at.write(SETPOINT, 1200, ON)
        words = at.simulator.settings_words()
        assert (words["40150"], words["40152"]) == (1200, ON)
        for row in at.simulator.units.settings.values():
            if not row.write_only:
                read = await at.raw.read(UNIT, row.address, row.kind.words)
                assert [words[str(each)] for each in row.register.addresses] == read


async def test_a_setpoint_without_external_control_is_no_setting() -> None:
    async with bench() as at:
        settings = at.simulator.settings_words()
        await at.write(SETPOINT, 1200, ON)
        assert at.simulator.settings_words() != settings
        await at.write(EXTERNAL, OFF)
        assert at.simulator.settings_words() == settings
