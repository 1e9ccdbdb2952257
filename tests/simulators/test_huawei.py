"""The Huawei simulator answers and behaves like a SUN2000 with LUNA2000 batteries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.simulators import HuaweiSimulator, ManualClock

from .image import load
from .raw_client import ModbusError, RawClient

pytestmark = pytest.mark.usefixtures("socket_enabled")

UNIT = 1
LOAD = 600.0
NAMELESS = dict.fromkeys((32110, 32111))  # seen; their meaning is not known
CHARGE, DISCHARGE = 1, 2


class Bench:
    """A simulator, a raw connection to it, and its clock."""

    def __init__(
        self, simulator: HuaweiSimulator, raw: RawClient, clock: ManualClock
    ) -> None:
        self.simulator = simulator
        self.plant = simulator.plant
        self.raw = raw
        self.clock = clock

    async def read(self, address: int, count: int = 1, *, unit: int = UNIT) -> Any:
        """Return one word as it is, or more as a list."""
        words = await self.raw.read(unit, address, count)
        return words if count > 1 else words[0]

    async def power(self, address: int, *, unit: int = UNIT) -> int:
        """Return a signed number of two words."""
        high, low = await self.raw.read(unit, address, 2)
        return (high << 16 | low) - (high >> 15 << 32)

    async def text(self, address: int, count: int, *, unit: int = UNIT) -> str:
        words = await self.raw.read(unit, address, count)
        return b"".join(word.to_bytes(2) for word in words).rstrip(b"\0").decode()

    async def write(self, address: int, *words: int) -> None:
        await self.raw.write(UNIT, address, *words)

    async def refused(
        self, address: int, *words: int, count: int = 1, unit: int = UNIT
    ) -> int:
        """Return the exception code of a write, or without words of a read."""
        with pytest.raises(ModbusError) as error:
            await (
                self.raw.write(unit, address, *words)
                if words
                else self.raw.read(unit, address, count)
            )
        return error.value.code

    async def force(self, command: int, power: int, minutes: int = 10) -> None:
        """Start a forcible command that ends by its duration."""
        await self.write(47247 if command == CHARGE else 47249, 0, power)
        await self.write(47083, minutes)
        await self.write(47246, 0)
        await self.write(47100, command)

    @property
    def battery(self) -> float:
        return float(self.simulator.state()["battery_power"])

    @property
    def grid(self) -> float:
        return float(self.simulator.state()["grid_power"])

    @property
    def device(self) -> dict[str, Any]:
        state: dict[str, Any] = self.simulator.state()["device"]
        return state


@asynccontextmanager
async def bench(
    *, house: dict[str, Any] | None = None, pv: float = 0.0, **options: Any
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    plant = HuaweiSimulator.house(clock=clock, efficiency=1.0, **(house or {}))
    plant.fixed_load, plant.fixed_pv = LOAD, pv
    simulator = HuaweiSimulator(plant, **options)
    async with simulator, RawClient(simulator.host, simulator.port) as raw:
        yield Bench(simulator, raw, clock)


# Answers.


@pytest.mark.parametrize(
    ("address", "count"),
    [
        *((30000, 15), (30015, 50), (30070, 13), (30083, 4), (32000, 24), (32064, 52)),
        *((32066, 50), (32116, 4), (37000, 26), (37046, 4), (37052, 10), (37066, 4)),
        *((37100, 38), (37138, 1), (37760, 28), (37758, 30), (47075, 28), (47242, 58)),
        *((47415, 4), (38200, 84), (38452, 12), (37814, 15), (47089, 1), (47000, 1)),
    ],
)
async def test_blocks_that_real_devices_answer_are_answered(
    address: int, count: int
) -> None:
    async with bench() as at:
        assert len(await at.raw.read(UNIT, address, count)) == count


@pytest.mark.parametrize(
    ("address", "count"),
    [
        *((37000, 46), (37026, 1), (37046, 5), (37100, 39), (37760, 29), (47075, 60)),
        *((30000, 87), (38200, 85), (38284, 1), (37738, 1), (37700, 10), (29999, 2)),
    ],
)
async def test_a_read_across_a_border_is_exception_2(address: int, count: int) -> None:
    async with bench() as at:
        assert await at.refused(address, count=count) == 2


def test_every_word_of_the_vectors_belongs_to_a_register() -> None:
    registers = HuaweiSimulator(battery_units=2).units.listeners[UNIT].registers
    for vector in load("huawei_sun2000"):
        for words in vector["units"].values():
            unknown = [
                address
                for address, word in words.items()
                if word and int(address) not in registers | NAMELESS.keys()
            ]
            assert unknown == []


async def test_some_firmware_answers_3_for_an_absent_register() -> None:
    async with bench() as at:
        assert await at.refused(47954) == 3
        assert await at.refused(47954, 1) == 3
        await at.simulator.misbehave("absent", first=37765, last=37766, code=3)
        assert await at.refused(37760, count=28) == 3
        assert await at.read(37760) == 500
        await at.simulator.misbehave("absent", first=37765, last=37766, on=False)
        assert len(await at.read(37760, 28)) == 28


async def test_only_function_3_reads_and_some_devices_refuse_function_6() -> None:
    async with bench(function_6=False) as at:
        with pytest.raises(ModbusError, match="1"):
            await at.raw.read(UNIT, 37760, function=4)
        with pytest.raises(ModbusError, match="1"):
            await at.raw.write_one(UNIT, 47100, 0)
        await at.write(47100, 0)


async def test_without_battery_its_registers_are_absent() -> None:
    async with bench(battery_units=0, pv=3000.0) as at:
        assert (await at.read(47000), await at.read(47089)) == (0, 0)
        for address in (37000, 37046, 37760, 47075, 47100, 47242, 38200):
            assert await at.refused(address) == 2
        assert await at.refused(47100, 1) == 2
        assert (await at.power(32064), await at.power(32080)) == (3000, 3000)
        assert at.battery == 0


async def test_two_units_share_the_power_and_have_their_own_packs() -> None:
    async with bench(battery_units=2, packs=1, empty_slots=True) as at:
        await at.force(DISCHARGE, 3000)
        assert (await at.power(37001), await at.power(37743)) == (-1500, -1500)
        assert (await at.power(37765), await at.power(38233)) == (-3000, -1500)
        assert await at.text(37700, 10) == "TA2250000002"
        assert await at.text(38326, 10) == "BM2250002001"
        assert await at.read(38242, 10) == [0] * 10


async def test_a_single_phase_model_has_its_voltage_in_the_first_line_voltage() -> None:
    async with bench(house={"phases": 1}) as at:
        assert await at.text(30000, 15) == "SUN2000-6KTL-L1"
        assert await at.read(32066, 6) == [2310, 0, 0, 1155, 2, 0]
        assert await at.read(37125) == 0
        assert await at.read(37132, 2) == [0x7FFF, 0xFFFF]
        assert await at.power(32072) == 1000 * 600 // 231
        assert await at.power(32074) == 0


async def test_other_unit_ids_are_refused_or_silent() -> None:
    async with bench(access="wlan", unit_id=0) as at:
        assert at.simulator.setup["unit_id"] == 0
        assert await at.text(30000, 15, unit=0) == "SUN2000-6KTL-M1"
        assert await at.refused(30000, unit=1) == 11
    async with bench(other_units="silent") as at:
        at.raw.send(7, bytes((3, 0, 0, 0, 1)))
        at.raw.send(UNIT, bytes((3, 0x75, 0x30, 0, 1)))
        assert (await at.raw.receive())[0] == 2


async def test_a_sleeping_inverter_fails_at_everything() -> None:
    async with bench() as at:
        await at.simulator.misbehave("sleep", unit=16)
        assert await at.refused(30000, unit=16) == 4
        assert await at.text(30000, 15) == "SUN2000-6KTL-M1"
        await at.simulator.misbehave("sleep")
        assert await at.refused(30000) == 4
        assert await at.refused(47100, 1) == 4
        await at.simulator.misbehave("sleep", on=False)
        assert await at.text(30000, 15) == "SUN2000-6KTL-M1"


async def test_a_gateway_in_front_can_be_identified() -> None:
    async with bench(access="emma", unit_id=4, pv=2000.0) as at:
        assert (await at.text(30000, 15, unit=0)).startswith("SmartHEMS")
        assert await at.power(30360, unit=0) == 1400  # charging
        assert await at.power(30356, unit=0) == 0  # it does not see all of the load
        assert await at.power(31657, unit=0) == at.grid
        assert await at.read(37100, unit=4) == 0  # the meter is the EMMA's
        assert await at.refused(47100, 0, unit=0) == 2
        assert await at.text(30000, 15, unit=4) == "SUN2000-6KTL-M1"
        answer = await at.raw.ask(0, b"\x2b\x0e\x03\x87")
        assert b"1=SUN2000-6KTL-M1;" in answer and b";5=4;" in answer
    async with bench(access="smartlogger") as at:
        assert await at.refused(30000, unit=0) == 2
        assert await at.text(65524, 10, unit=0) == "SmartLogger3000"
        assert await at.power(32278, unit=11) == at.grid
        answer = await at.raw.ask(0, b"\x2b\x0e\x03\x87")
        assert b"1=PowerMeter;" in answer and b";5=11;" in answer
    async with bench(access="sdongle", house={"soc": 5.0}) as at:
        assert (await at.text(30000, 15, unit=100)).startswith("SDongle")
        assert await at.power(37502, unit=100) == LOAD  # import
    async with bench(access="wlan") as at:
        with pytest.raises(ModbusError, match="1"):
            await at.raw.ask(UNIT, b"\x2b\x0e\x03\x87")


async def test_a_list_of_devices_comes_in_as_many_parts_as_it_needs() -> None:
    """Each part says whether, and from which object on, more follows."""
    async with bench(access="smartlogger", unit_id=26, second_unit=27) as at:
        at.simulator.units.listed *= 3
        parts, first = [], 0x87
        while first:
            parts.append(await at.raw.ask(26, bytes((0x2B, 0x0E, 3, first))))
            assert len(parts[-1]) <= 253
            first = parts[-1][5] if parts[-1][4] == 0xFF else 0
        listed = b"".join(parts)
        assert len(parts) > 1
        assert all(unit in listed for unit in (b";5=26;", b";5=27;", b";5=11;"))


async def test_another_inverter_feeds_in_the_panels_on_the_ac_side() -> None:
    async with bench(
        access="emma", unit_id=1, second_unit=16, pv=2000.0, house={"pv_dc_share": 0.5}
    ) as at:
        assert await at.power(32080, unit=16) == 1000
        assert await at.read(47000, unit=16) == 0
        assert await at.refused(40126, 0, 1, unit=16) == 2
        inverters = await at.power(30364, unit=0)
        assert inverters == await at.power(32080) + 1000
        assert inverters + at.grid == LOAD


async def test_a_new_client_ends_the_older_one_except_at_a_smartlogger() -> None:
    async with bench() as at, RawClient(at.raw.host, at.raw.port) as second:
        assert await second.read(UNIT, 37760) == [500]
        assert await at.raw.reader.read() == b""
    async with (
        bench(access="smartlogger") as at,
        RawClient(at.raw.host, at.raw.port) as second,
    ):
        assert await second.read(UNIT, 37760) == [500]
        assert await at.read(37760) == 500


async def test_requests_too_soon_after_connecting_are_lost() -> None:
    async with bench(settle=1.5) as at:
        at.raw.send(UNIT, bytes((3, 0x75, 0x30, 0, 1)))
        while not at.simulator.server.lost:
            await asyncio.sleep(0)
        at.clock.advance(1.5)
        assert await at.read(37760) == 500


# Values.


async def test_signs_battery_charges_positive_meter_exports_positive() -> None:
    async with bench(pv=1500.0) as at:
        await at.force(CHARGE, 2000)
        assert (await at.power(37765), await at.power(32080)) == (2000, -500)
        assert await at.power(37113) == -LOAD - 500
        await at.force(DISCHARGE, 2000)
        assert (await at.power(37765), await at.power(32080)) == (-2000, 2000)
        assert await at.power(37113) == 2000 - LOAD
        assert await at.read(37764) > 0x8000
        assert [await at.power(37132 + 2 * phase) for phase in range(3)] == [
            round(2000 / 3 - share * LOAD) for share in (0.5, 0.3, 0.2)
        ]


async def test_sleeping_batteries_have_no_values_and_do_not_obey() -> None:
    async with bench() as at:
        await at.force(CHARGE, 2000)
        await at.simulator.misbehave("battery", status="asleep")
        assert await at.read(37760, 7) == [0xFFFF, 0, 4, 0xFFFF, 0x7FFF, 0x7FFF, 0xFFFF]
        assert await at.read(37046, 4) == [0, 5000, 0, 5000]
        assert (await at.read(47100), at.battery) == (0, 0)
        await at.force(CHARGE, 2000)
        assert (await at.read(47100), at.battery) == (0, 0)
        await at.simulator.misbehave("battery", status="offline")
        assert await at.read(37046, 4) == [0xFFFF] * 4
        assert await at.refused(47075, 0, 5000) == 4
        await at.simulator.misbehave("battery", status=None)
        await at.force(CHARGE, 2000)
        assert at.battery == 2000


async def test_a_meter_is_offline_or_not_there_at_all() -> None:
    async with bench() as at:
        await at.simulator.misbehave("meter", meter="offline")
        assert await at.read(37100, 38) == [0] * 38
        await at.simulator.misbehave("meter", meter="absent")
        assert await at.refused(37100) == 2
        await at.simulator.misbehave("meter", meter="present")
        assert await at.read(37100) == 1


async def test_off_grid_reading_the_meter_ends_the_connection() -> None:
    async with bench(backup=True) as at:
        await at.simulator.misbehave("grid_lost")
        assert await at.read(37100) == 0
        assert await at.read(32089) == 0x203
        assert await at.read(32003, 2) == [0, 1]
        assert await at.read(32008) == 1 << 7
        assert at.battery == -LOAD
        at.raw.send(UNIT, bytes((3, 0x90, 0xED, 0, 10)))
        assert await at.raw.reader.read() == b""


async def test_without_backup_box_the_inverter_stops_with_the_grid() -> None:
    async with bench() as at:
        await at.simulator.misbehave("grid_lost")
        assert (at.battery, await at.power(32080)) == (0, 0)
        assert await at.read(32089) == 3


async def test_states_and_alarms() -> None:
    async with bench(pv=3000.0) as at:
        assert (await at.read(32089), await at.read(32000)) == (0x200, 6)
        await at.simulator.misbehave("alarm", alarm=2068)
        await at.simulator.misbehave("alarm", alarm=2094)
        assert await at.read(32008, 3) == [0, 1 << 9, 1 << 15]
        await at.simulator.misbehave("status", code=0x30C)
        assert await at.read(32089) == 0x30C
        await at.write(40201, 0)
        await at.simulator.misbehave("status", code=None)
        assert (await at.read(32089), await at.power(32064)) == (0x301, 0)
        await at.write(40200, 0)
        assert await at.read(32089) == 0x200
    async with bench(house={"soc": 5.0}) as at:
        assert (await at.read(32089), await at.read(32000)) == (0xA000, 1)


async def test_counters_of_the_day_start_again_at_midnight() -> None:
    async with bench(house={"time_of_day": 23.0}) as at:
        charged, discharged = await at.power(37780), await at.power(37782)
        at.clock.advance(1800)
        assert await at.power(37786) == 30  # 600 W for half an hour
        assert await at.power(32114) == 30
        assert await at.power(32106) == 100_030
        at.clock.advance(3600)
        assert await at.power(37786) == 30
        assert (await at.power(37780), await at.power(37782)) == (
            charged,
            discharged + 90,
        )
        await at.simulator.misbehave("zero_totals")
        assert await at.power(37782) == 0


async def test_values_may_be_a_few_seconds_old_and_settings_are_not() -> None:
    async with bench(refresh=3.0) as at:
        before = await at.power(37765)
        await at.force(CHARGE, 2000)
        assert (await at.power(37765), await at.read(47100)) == (before, 1)
        at.clock.advance(3)
        assert await at.power(37765) == 2000


# Forcible commands.


async def test_a_forcible_command_starts_last_and_ends_by_its_duration() -> None:
    async with bench() as at:
        await at.write(47247, 0, 2000)
        await at.write(47083, 2)
        await at.write(47246, 0)
        assert at.battery == -LOAD
        await at.write(47100, CHARGE)
        assert (at.battery, at.grid) == (2000, 2000 + LOAD)
        assert (await at.read(37006), await at.read(37025)) == (1, 2)
        assert at.device["forcible"] == "charge"
        assert at.simulator.state()["mode"] == "controlled"
        at.clock.advance(119)
        assert at.device["remaining"] == 1
        assert await at.read(47100) == CHARGE
        at.clock.advance(1)
        assert (await at.read(47100), at.battery) == (0, -LOAD)
        assert (await at.read(37006), await at.read(37025)) == (4, 0)
        assert at.simulator.state()["mode"] == "automatic"


async def test_writing_duration_and_command_again_restarts_the_countdown() -> None:
    async with bench() as at:
        await at.force(CHARGE, 2000, minutes=1)
        at.clock.advance(50)
        await at.write(47083, 1)
        assert at.device["remaining"] == 10
        await at.write(47100, CHARGE)
        assert at.device["remaining"] == 60
        await at.write(47247, 0, 500)  # at once, and without another start
        assert (at.battery, at.device["remaining"]) == (500, 60)


async def test_what_if_predicts_the_powers_of_a_later_situation() -> None:
    """Also of an earlier step; the prediction itself changes nothing."""
    async with bench() as at:
        await at.force(CHARGE, 2000)
        await at.write(47075, 0, 1500)
        device = at.simulator.device
        expected = [
            device.what_if(),
            device.what_if(load=3000, pv=2500),
            device.what_if(soc=100, pv=2500),
            device.what_if(later=601),
            device.what_if(device.trail[0], soc=20),
        ]
        assert len(device.trail) == 5
        seen = [(at.battery, at.grid)]
        at.plant.fixed_load, at.plant.fixed_pv = 3000, 2500
        seen.append((at.battery, at.grid))
        at.plant.fixed_load, at.plant.fixed_pv, at.plant.capacity = LOAD, 0, 1e9
        at.clock.advance(601)
        seen.append((at.battery, at.grid))
        await at.force(CHARGE, 2000)
        at.plant.fixed_pv, at.plant.soc = 2500, 100
        assert at.battery == 0
        at.clock.advance(7)  # until the panels have recovered
        seen.append((at.battery, at.grid))

        assert [pytest.approx(expected[each], abs=0.1) for each in (0, 1, 3, 2)] == seen
        assert expected[4] == (-LOAD, 0)


async def test_another_controller_may_run_a_forcible_command() -> None:
    async with bench() as at:
        await at.simulator.misbehave("other_controller", power=-1500, minutes=1)
        assert (await at.read(47100), at.battery) == (DISCHARGE, -1500)
        await at.simulator.misbehave("other_controller", power=2000)
        assert (at.battery, at.device["remaining"]) == (2000, 600)
        await at.simulator.misbehave("other_controller", power=0)
        assert (await at.read(47100), at.battery) == (0, -LOAD)


async def test_some_devices_never_end_a_command() -> None:
    async with bench() as at:
        await at.simulator.misbehave("endless")
        await at.simulator.misbehave("no_remaining")
        await at.force(DISCHARGE, 1000, minutes=1)
        at.clock.advance(600)
        assert (at.battery, await at.read(37025)) == (-1000, 0)
        await at.write(47100, 0)
        assert at.battery == -LOAD


async def test_a_charge_ends_when_full_and_a_discharge_only_rests_when_empty() -> None:
    async with bench(house={"soc": 99.9, "capacity": 1000.0}) as at:
        await at.force(CHARGE, 5000, minutes=1440)
        assert at.battery > 0
        at.clock.advance(60)
        assert (await at.read(47100), at.battery) == (0, -LOAD)
        await at.force(CHARGE, 5000)  # and so on: a loop of one percent
        at.clock.advance(300)
        assert await at.read(47100) == 0
    async with bench(house={"soc": 10.1, "capacity": 1000.0}, min_soc=10.0) as at:
        await at.force(DISCHARGE, 5000, minutes=1440)
        assert at.battery == -5000
        at.clock.advance(60)
        assert (await at.read(47100), at.battery) == (DISCHARGE, 0)
        assert at.simulator.state()["soc"] == pytest.approx(10, abs=0.1)


async def test_some_end_a_forcible_discharge_at_a_floor_of_their_own() -> None:
    async with bench(
        house={"soc": 15.1, "capacity": 1000.0}, min_soc=5.0, own_floor=15.0
    ) as at:
        await at.force(DISCHARGE, 5000, minutes=1440)
        assert at.battery == -5000
        at.clock.advance(60)
        assert (await at.read(47100), at.battery) == (0, -LOAD)
        await at.force(DISCHARGE, 5000)
        assert await at.read(47100) == 0


async def test_until_an_soc_there_is_no_watchdog() -> None:
    async with bench() as at:
        await at.write(47247, 0, 5000)
        await at.write(47101, 600)
        await at.write(47246, 1)
        await at.write(47100, CHARGE)
        assert (at.device["target_soc"], at.device["remaining"]) == (60, None)
        at.clock.advance(700)
        assert (await at.read(47100), at.battery) == (CHARGE, 5000)
        at.clock.advance(60)
        assert await at.read(47100) == 0
        assert at.simulator.state()["soc"] == pytest.approx(60, abs=0.1)


async def test_limits_bound_a_forcible_command() -> None:
    async with bench() as at:
        await at.write(47075, 0, 0)
        await at.force(CHARGE, 2000)
        assert (at.battery, await at.read(47100)) == (0, CHARGE)
        await at.write(47075, 0, 1500)
        assert at.battery == 1500
        await at.write(47242, 0, 1000)
        assert at.battery == 1000
        await at.write(47077, 0, 700)
        await at.force(DISCHARGE, 2000)
        assert at.battery == -700
        await at.simulator.misbehave("ignore_limits")
        assert (at.battery, await at.power(47077)) == (-2000, 700)


async def test_a_gateway_may_keep_its_own_limits() -> None:
    async with bench() as at:
        await at.simulator.misbehave("keep_limits")
        await at.write(47075, 0, 0)
        assert await at.power(47075) == 5000
        await at.force(CHARGE, 2000)
        assert at.battery == 2000
        await at.simulator.misbehave("keep_limits", refused=True)
        assert await at.refused(47075, 0, 0) == 4
        await at.simulator.misbehave("keep_limits", on=False)
        await at.write(47075, 0, 1000)
        assert await at.power(47075) == 1000


async def test_more_power_than_available_is_trimmed_or_refused() -> None:
    async with bench() as at:
        await at.force(CHARGE, 10_000)
        assert await at.power(47247) == 5000
        assert await at.refused(47075, 0, 5001) == 4
        assert await at.refused(47075, 0xFFFF, 0xFFFF) == 4
        at.plant.max_charge = 2500.0
        assert await at.power(37046) == 2500
        assert await at.refused(47075, 0, 5000) == 4
    async with bench(trims=True) as at:
        await at.write(47077, 0, 5001)
        assert await at.power(47077) == 5000


@pytest.mark.parametrize(
    ("address", "words"),
    [
        *((47081, [899]), (47082, [201]), (47083, [1441]), (47086, [6]), (47087, [2])),
        *((47088, [199]), (47100, [3]), (47101, [1001]), (47246, [2]), (47415, [2])),
        *((47075, [5]), (47075, [0, 5000, 0])),
    ],
)
async def test_a_value_out_of_range_or_half_a_register_is_refused(
    address: int, words: list[int]
) -> None:
    async with bench() as at:
        before = at.device["settings"]
        assert await at.refused(address, *words) == 3
        assert await at.refused(37765, 0, 0) == 2
        assert await at.refused(47079, 0, 0) == 2
        assert at.device["settings"] == before
        assert at.device["flash_writes"] == 0


async def test_a_forcible_command_bounds_the_panels_as_the_firmware_has_it() -> None:
    async with bench(pv=3000.0) as at:
        await at.force(CHARGE, 400)
        assert at.plant.pv == pytest.approx(363)
        assert (at.battery, at.grid) == pytest.approx((400, LOAD + 37))
        assert at.device["device_status"] == 0x201
        await at.force(CHARGE, 4000)
        assert (at.battery, at.plant.pv) == (4000, 3000)
        await at.force(DISCHARGE, 1000)
        assert (at.battery, at.plant.pv) == (-1000, 0)
        # It is light all the same, by the voltage of the strings.
        assert await at.read(32016, 4) == [4000, 0, 3800, 0]
        await at.write(47100, 0)
        for seconds, pv in ((6, 0), (1, 3000)):
            at.clock.advance(seconds)
            assert at.simulator.state()["pv_power"] == pv
    async with bench(pv=5000.0, curtails=False) as at:
        await at.force(CHARGE, 1000)
        assert (at.battery, at.grid, at.plant.pv) == (1000, LOAD - 4000, 5000)
        await at.force(DISCHARGE, 3000)
        assert at.battery == pytest.approx(-1600)  # what the output leaves beside 5 kW
        assert at.plant.pv == 5000


async def test_both_limits_at_0_hold_and_leave_the_panels_alone() -> None:
    async with bench(pv=3000.0) as at:
        await at.write(47075, 0, 0, 0, 0)
        assert (at.battery, at.grid, at.plant.pv) == (0, LOAD - 3000, 3000)
        assert at.simulator.state()["mode"] == "controlled"
        at.plant.fixed_pv = 0.0
        assert (at.battery, at.grid) == (0, LOAD)
        await at.write(47075, 0, 5000, 0, 5000)
        assert at.battery == -LOAD
        assert at.device["flash_writes"] == 4


# Working modes and settings.


async def test_self_consumption_exports_the_rest_beyond_the_battery() -> None:
    async with bench(pv=8000.0, house={"max_charge": 2000.0}) as at:
        assert at.battery == 2000
        assert at.plant.pv == 8000
        assert at.grid == LOAD - 6000
        at.plant.fixed_pv = 9000.0
        assert at.grid == LOAD - 6600  # the most that the inverter puts out
        assert (round(at.plant.pv), at.device["curtailing"]) == (8600, True)
        await at.write(47415, 6)
        await at.write(47416, 0, 1000)
        assert at.grid == -1000
        await at.write(47415, 5)
        assert at.grid == pytest.approx(0)


async def test_soc_limits_of_the_user() -> None:
    async with bench(house={"soc": 15.0}) as at:
        assert at.battery == -LOAD
        await at.write(47082, 200)
        assert at.battery == 0
        await at.write(47082, 100)
        await at.write(47102, 200)
        assert at.battery == 0
        await at.write(47087, 1)  # up to the backup SOC it charges from the grid
        assert at.battery == 5000


async def test_full_feed_in_empties_the_battery_into_the_grid() -> None:
    async with bench(working_mode=4, pv=3000.0) as at:
        assert at.battery == pytest.approx(3000 - 6600)
        assert await at.read(37006) == 5


async def test_periods_charge_from_the_grid_and_only_they_discharge() -> None:
    async with bench(working_mode=5, house={"time_of_day": 2.0}) as at:
        periods = (2, 60, 240, 0x007F, 1020, 1439, 0x017F)
        await at.write(47255, *periods, *[0] * (43 - len(periods)))
        assert at.battery == 0
        await at.write(47087, 1)
        await at.write(47242, 0, 2500)
        assert at.battery == 2500
        await at.write(47088, 500)
        assert at.battery == 0
        at.plant.time_of_day = 18.0
        assert at.battery == -LOAD
        at.plant.time_of_day = 12.0
        assert at.battery == 0
        at.plant.fixed_pv = 2000.0
        assert at.battery == 2000 - LOAD
        await at.write(47299, 0)
        assert (at.battery, at.grid) == (0, LOAD - 2000)


async def test_a_period_is_for_its_days_of_the_week() -> None:
    async with bench(working_mode=5, house={"time_of_day": 18.0}) as at:
        today = 1 << at.simulator.device.day_of_week
        await at.write(47255, 1, 1020, 1439, 0x0100 | today, *[0] * 39)
        assert at.battery == -LOAD
        at.plant.time_of_day += 24
        assert at.battery == 0


async def test_settings_are_counted_as_flash_and_a_restart_forgets_the_rest() -> None:
    async with bench() as at:
        await at.force(CHARGE, 2000)
        assert at.device["flash_writes"] == 0
        await at.write(47075, 0, 3000)
        await at.write(47075, 0, 3000)
        await at.write(47081, 950)
        assert at.device["flash_writes_by_setting"] == {
            "charge_limit": 2,
            "max_soc": 1,
        }
        assert at.device["words"]["47075"] == [0, 3000]
        await at.simulator.misbehave("restart")
        assert await at.raw.reader.read() == b""
    assert (at.device["forcible"], at.device["charge_limit"]) == ("stop", 3000)


async def test_settings_words_are_those_that_a_client_reads() -> None:
    async with bench() as at:
        words = at.simulator.settings_words()
        assert words.pop("running")
        assert {address: await at.read(int(address)) for address in words} == words
        await at.write(47075, 0, 3000)
        assert at.simulator.settings_words() == {
            **words,
            "running": True,
            "47076": 3000,
        }


async def test_the_remains_of_a_forcible_command_are_no_setting() -> None:
    async with bench() as at:
        settings = at.simulator.settings_words()
        await at.force(CHARGE, 2000)
        held = at.simulator.settings_words()
        assert dict(held.items() - settings.items()) == {
            "47083": 10,
            "47100": 1,
            "47247": 0,
            "47248": 2000,
            "47249": 0,
            "47250": 0,
        }
        at.clock.advance(600)
        assert at.simulator.settings_words() == settings


async def test_writes_can_be_forbidden_or_without_effect() -> None:
    async with bench(access="wlan") as at:
        assert await at.refused(47100, 0) == 0x80
        await at.simulator.misbehave("read_only", on=False)
        await at.write(43006, 60)
        await at.write(47100, 0)
        await at.simulator.misbehave("ignore_writes")
        await at.write(47086, 5)
        assert await at.read(47086) == 2
        await at.simulator.misbehave("setting", setting="working_mode", value=4)
        assert await at.read(47086) == 4
        await at.simulator.misbehave("busy", count=2)
        assert [await at.refused(37760) for _ in range(2)] == [6, 6]
        assert await at.read(37760) == 500
        await at.simulator.misbehave("unknown", address=37760)
        assert await at.read(37760) == 0xFFFF
