"""The Deye simulator answers like the inverter, and follows its settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
import struct
from typing import Any

import pytest

from tests.simulators import DeyeModbusSimulator, ManualClock

from .image import load
from .modbus import Refused
from .raw_client import ModbusError, RawClient
from .rtu import framed, unframed

pytestmark = pytest.mark.usefixtures("socket_enabled")

LOAD = 1000.0
UNIT = 1

CURRENTS = 108
GRID_CHARGE = 128
WORK_MODE = 142
TOU = 146
SLOT_POWER = 154
SLOTS = 166  # SOC, then flags

SELLING_FIRST = 0
TO_CT = 2


def slots(soc: int, flags: int = 0) -> list[int]:
    return [soc] * 6 + [flags] * 6


class Bench:
    """A simulator, a raw connection to it, and its clock."""

    def __init__(
        self, simulator: DeyeModbusSimulator, raw: RawClient, clock: ManualClock
    ) -> None:
        self.simulator = simulator
        self.plant = simulator.plant
        self.inverter = simulator.inverter
        self.raw = raw
        self.clock = clock

    async def read(self, address: int, count: int = 1) -> list[int]:
        return await self.raw.read(UNIT, address, count)

    async def signed(self, address: int) -> int:
        (word,) = await self.read(address)
        return word - 0x10000 if word & 0x8000 else word

    async def write(self, address: int, *words: int) -> None:
        await self.raw.write(UNIT, address, *words)

    async def refused(self, address: int, *words: int, count: int = 1) -> int:
        """Return the exception code of a write, or without words of a read."""
        with pytest.raises(ModbusError) as error:
            await (self.write(address, *words) if words else self.read(address, count))
        return error.value.code

    @property
    def state(self) -> dict[str, Any]:
        return self.simulator.state()

    @property
    def activity(self) -> str:
        return str(self.state["device"]["activity"])

    @property
    def battery(self) -> int:
        return round(float(self.state["battery_power"]))

    @property
    def grid(self) -> int:
        return round(float(self.state["grid_power"]))

    @property
    def volts(self) -> float:
        return self.inverter.voltage


@asynccontextmanager
async def bench(
    *, house: dict[str, Any] | None = None, pv: float = 0.0, **options: Any
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    plant = DeyeModbusSimulator.house(
        **{"clock": clock, "efficiency": 1.0, "soc": 60.0, **(house or {})}
    )
    plant.fixed_load, plant.fixed_pv = LOAD, pv
    simulator = DeyeModbusSimulator(plant, **options)
    async with simulator, RawClient(simulator.host, simulator.port) as raw:
        yield Bench(simulator, raw, clock)


# Modbus.


async def test_only_two_functions_are_known() -> None:
    async with bench() as at:
        for pdu in (b"\x06\x00\x6c\x00\x0a", b"\x04\x02\x4a\x00\x01"):
            with pytest.raises(ModbusError, match="1"):
                await at.raw.ask(UNIT, pdu)
        assert await at.read(CURRENTS) == [150]
        await at.simulator.misbehave("half_answers")
        assert await at.raw.ask(UNIT, b"\x06\x00\x6c\x00\x0a") == b"\x06\x00"


async def test_another_unit_id_is_not_there() -> None:
    async with bench(unit=3) as at:
        with pytest.raises(ModbusError, match="11"):
            await at.read(0)
        assert await at.raw.read(3, 1) == [3]


@pytest.mark.parametrize(
    ("start", "count"), [(586, 123), (125, 113), (0, 125), (98, 94), (500, 59)]
)
async def test_real_blocks_are_read_in_one_go(start: int, count: int) -> None:
    async with bench() as at:
        assert len(await at.read(start, count)) == count


@pytest.mark.parametrize("address", [1100, 10002, 10032])
async def test_an_absent_register_is_refused_or_gets_no_answer(address: int) -> None:
    async with bench() as at:
        assert await at.refused(address) == 2
    async with bench(absent="silent") as at:
        at.raw.send(UNIT, struct.pack(">BHH", 3, address, 1))
        at.raw.send(UNIT, struct.pack(">BHH", 3, 0, 1))
        assert await at.raw.receive() == (2, struct.pack(">BBH", 3, 2, 5))
    async with bench(remote=True, packs=1) as at:
        assert len(await at.read(address)) == 1


async def test_only_settings_can_be_written() -> None:
    async with bench() as at:
        assert await at.refused(59, 0) == 2
        assert await at.refused(500, 0) == 2
        assert await at.refused(1100, 1) == 2
        await at.write(499, 0)
    async with bench(remote=True) as at:
        await at.write(1101, 60)
        assert await at.refused(1101, 5) == 3


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (WORK_MODE, [3]),
        (CURRENTS, [241, 0]),
        (SLOTS, slots(101)),
        (148, [0, 400, 400, 1200, 1700, 2100]),
        (148, [100] * 6),
        (148, [0, 460, 800, 1200, 1700, 2100]),
        (GRID_CHARGE, [10, 0, 2]),
    ],
)
async def test_a_block_with_a_bad_word_is_not_taken(
    address: int, words: list[int]
) -> None:
    async with bench() as at:
        before = await at.read(address, len(words))
        assert await at.refused(address, *words) == 3
        assert await at.read(address, len(words)) == before
    async with bench(out_of_range="ignored") as at:
        await at.write(address, *words)
        assert await at.read(address, len(words)) == before
        assert at.state["device"]["flash_writes"] == 0


async def test_rtu_frames_pass_a_transparent_gateway() -> None:
    async with bench(framing="rtu") as at:
        request = framed(UNIT, struct.pack(">BHH", 3, 587, 2))
        at.raw.writer.write(request[:3])
        at.raw.writer.write(request[3:])
        answer = unframed(await at.raw.reader.readexactly(9))
        assert answer == (UNIT, struct.pack(">BBHH", 3, 4, round(100 * at.volts), 60))
        at.raw.writer.write(request[:-1] + b"\0")  # damaged
        await asyncio.sleep(0.02)
        at.raw.writer.write(framed(9, request[1:-2]))  # for another unit
        write = struct.pack(">BHHB2H", 16, CURRENTS, 2, 4, 30, 0)
        at.raw.writer.write(framed(UNIT, write))
        answer = unframed(await at.raw.reader.readexactly(8))
        assert answer == (UNIT, write[:5])
        assert at.simulator.server.traffic.writes == [(UNIT, CURRENTS, [30, 0])]


# Words.


async def test_signs_and_scales() -> None:
    async with bench(pv=4000.0) as at:
        await at.write(SLOT_POWER, *[2500] * 6)
        await at.write(WORK_MODE, SELLING_FIRST)
        assert await at.signed(590) == 2500  # positive = discharging
        assert await at.signed(591) == round(100 * 2500 / at.volts)
        assert await at.signed(625) == -5500  # positive = import
        assert await at.signed(636) == 6500
        assert await at.signed(653) == LOAD
        assert await at.read(587, 2) == [round(100 * at.volts), 60]
        assert sum(await at.read(672, 2)) == 4000
        assert await at.read(20, 2) == [120000 & 0xFFFF, 1]


@pytest.mark.parametrize(("extension", "high"), [(True, 0xFFFF), (False, 0)])
async def test_old_firmware_has_no_high_words(extension: bool, high: int) -> None:
    async with bench(pv=9000.0, house={"soc": 100.0}, extension=extension) as at:
        assert await at.signed(625) == -8000
        assert await at.read(690) == [high]
        assert await at.read(694) == [0]


async def test_high_voltage_counts_in_other_steps() -> None:
    async with bench(variant="hv", rated_power=20_000) as at:
        await at.write(SLOT_POWER, *[250] * 6)
        await at.write(WORK_MODE, SELLING_FIRST)
        assert at.battery == -2500
        assert await at.signed(590) == 250
        assert await at.read(587) == [round(10 * at.volts)]
        assert at.volts > 500
        assert await at.read(0) == [6]
        assert await at.read(516) == [7000]  # kWh
    async with bench(variant="hv", release="1097") as at:
        assert await at.read(516, 2) == [70001 & 0xFFFF, 1]


async def test_single_phase_has_another_map() -> None:
    async with bench(
        variant="single", rated_power=5000, house={"phases": 1, "soc": 50.0}
    ) as at:
        assert await at.read(0) == [3]
        assert await at.read(586, 5) == [0] * 5
        assert await at.read(183, 2) == [round(100 * at.volts), 50]
        await at.write(210, 60, 80)
        await at.write(268, *slots(90, 1))
        assert at.activity == "charging from grid"
        assert await at.signed(190) == -at.battery
        assert at.battery == round(60 * at.volts)
        assert await at.refused(CURRENTS, 0, 0) == 2


async def test_every_word_of_a_vector_is_in_the_map() -> None:
    async with bench(remote=True) as at:
        for vector in load("deye"):
            for address in map(int, vector["units"]["1"]):
                assert at.simulator.units.read(UNIT, address, 1)


async def test_days_and_lifetimes_are_counted() -> None:
    async with bench(house={"time_of_day": 23.0}) as at:
        at.clock.advance(1800)
        assert await at.read(526) == [5]
        assert await at.read(527, 2) == [200_005 & 0xFFFF, 3]
        assert await at.read(515) == [round(at.state["energy_discharged"] / 100)]
        at.clock.advance(3600)
        assert await at.read(526) == [5]
        assert await at.read(527, 2) == [200_015 & 0xFFFF, 3]


async def test_the_clock_can_be_read_and_set() -> None:
    async with bench(house={"time_of_day": 15.5}) as at:
        year_month, day_hour, minute_second = await at.read(62, 3)
        assert (day_hour & 0xFF, minute_second) == (15, 30 << 8)
        await at.write(62, year_month, day_hour - 15 + 3, 0)
        assert at.inverter.now.hour == 3
        assert await at.refused(62, 13, 0, 0) == 3
        assert at.state["device"]["flash_writes"] == 0


# The effect of settings.


async def test_zero_export_to_ct_serves_the_house_and_to_load_the_backup_port() -> None:
    async with bench(backup_share=0.3) as at:
        assert (at.battery, at.grid, at.activity) == (-980, 20, "following load")
        await at.write(WORK_MODE, 1)
        assert (at.battery, at.grid) == (-300, 700)


async def test_slot_power_limits_nothing_but_selling_first() -> None:
    async with bench() as at:
        await at.write(SLOT_POWER, *[500] * 6)
        assert at.battery == -980
        await at.write(WORK_MODE, SELLING_FIRST)
        assert at.battery == -500
        await at.write(SLOT_POWER, *[3000] * 6)
        assert (at.battery, at.grid, at.activity) == (-3000, -2000, "selling")
        await at.write(SLOT_POWER, *[0] * 6)
        assert (at.battery, at.activity) == (0, "idle")
        at.plant.fixed_pv = 2500.0
        assert (at.battery, at.grid) == (1500, 0)  # 0 W does not stop charging


async def test_register_143_limits_the_sold_power() -> None:
    async with bench(pv=1500.0) as at:
        await at.write(143, 2000)
        await at.write(WORK_MODE, SELLING_FIRST)
        assert (at.battery, at.grid) == (-1500, -2000)
        at.plant.fixed_pv = 9000.0
        assert (at.battery, at.grid) == (6000, -2000)
        await at.write(CURRENTS, 0, 160)
        assert (at.battery, at.grid, at.state["pv_power"]) == (0, -2000, 3000)


async def test_without_time_of_use_the_battery_rests_on_grid() -> None:
    async with bench(pv=3000.0, tou=False) as at:
        assert (at.battery, at.activity) == (2020, "charging from solar")
        at.plant.fixed_pv = 0.0
        assert (at.battery, at.grid) == (0, LOAD)
        await at.write(WORK_MODE, SELLING_FIRST)
        assert (at.battery, at.grid) == (0, LOAD)
        await at.simulator.misbehave("grid_lost")
        assert (at.battery, at.activity) == (-200, "off grid")
    async with bench(tou=False, discharges_without_tou=True) as at:
        assert at.battery == -980


async def test_a_day_without_its_bit_has_no_time_of_use() -> None:
    async with bench() as at:
        today = 1 << at.inverter.now.weekday() + 1
        await at.write(TOU, 0xFF & ~today)
        assert at.activity == "idle"
        await at.write(TOU, 1 | today)
        assert at.activity == "following load"


async def test_a_slot_lasts_until_the_next_one_starts() -> None:
    async with bench(house={"time_of_day": 3.9, "speed": 60.0, "soc": 35.0}) as at:
        assert at.activity == "charging from grid"  # slot 1 charges to 40 %
        at.clock.advance(12)
        assert at.activity == "following load"
        await at.write(148, 100, 500, 800, 1200, 1700, 2100)
        at.plant.time_of_day = 0.5
        await at.write(SLOTS + 5, 100)
        assert at.activity == "idle"  # the last slot lasts until 01:00


async def test_grid_charge_needs_the_flag_the_switch_and_a_higher_target() -> None:
    async with bench() as at:
        await at.write(SLOTS, *slots(100, 1))
        assert at.activity == "charging from grid"
        assert at.battery == round(60 * at.volts)
        assert at.grid == at.battery + LOAD
        await at.write(130, 0)
        assert at.activity == "idle"  # the target is above, so no discharging either
        await at.write(130, 1)
        await at.write(SLOTS, *slots(100, 0))
        assert at.activity == "idle"
        await at.write(SLOTS, *slots(50, 1))
        assert at.activity == "following load"


async def test_128_limits_the_grids_part_and_108_all_charging() -> None:
    async with bench(pv=3000.0) as at:
        await at.write(SLOTS, *slots(100, 1))
        await at.write(GRID_CHARGE, 20)
        assert at.battery == pytest.approx(2020 + 20 * at.volts, abs=1)
        await at.write(CURRENTS, 50, 160)
        assert at.battery == round(50 * at.volts)
        await at.write(CURRENTS, 0, 160)
        assert (at.battery, at.grid) == (0, -2000)
    async with bench(charge_current_caps_grid=False) as at:
        await at.write(SLOTS, *slots(100, 1))
        await at.write(CURRENTS, 0, 0)
        assert at.activity == "charging from grid"


async def test_selling_first_does_not_charge_from_the_grid() -> None:
    async with bench() as at:
        await at.write(SLOTS, *slots(100, 1))
        await at.write(WORK_MODE, SELLING_FIRST)
        assert at.activity == "idle"
    async with bench(charges_when_selling_first=True) as at:
        await at.write(SLOTS, *slots(100, 1))
        await at.write(WORK_MODE, SELLING_FIRST)
        assert at.activity == "charging from grid"


async def test_without_time_of_use_127_lets_the_grid_charge() -> None:
    async with bench(tou=False) as at:
        await at.write(127, 100)
        assert at.activity == "charging from grid"
        await at.write(127, 60)
        assert at.activity == "idle"


async def test_a_current_of_0_forbids_its_direction() -> None:
    async with bench() as at:
        await at.write(CURRENTS, 0, 0)
        assert (at.battery, at.grid, at.activity) == (0, LOAD, "idle")
        at.plant.fixed_pv = 3000.0
        assert (at.battery, at.grid) == (0, -2000)
        await at.write(145, 0)  # no solar sell
        assert (at.battery, at.grid, at.state["pv_power"]) == (0, 20, 980)


async def test_battery_mode_decides_between_a_slots_soc_and_voltage() -> None:
    async with bench() as at:
        await at.write(111, 0)
        await at.write(SLOTS, *slots(100, 1))
        assert at.activity == "following load"  # SOC does not matter
        await at.write(160, *[5400] * 6)
        assert at.activity == "charging from grid"
        await at.write(111, 2)
        assert (at.activity, at.battery) == ("off", 0)


async def test_low_soc_is_no_floor_below_the_slots_own() -> None:
    async with bench(house={"soc": 14.0}) as at:
        assert at.activity == "idle"
        await at.write(SLOTS, *slots(10))
        assert at.activity == "following load"
        assert at.state["device"]["below_low_soc"]


async def test_the_sell_bit_depends_on_the_firmware() -> None:
    async with bench(release="1184") as at:
        await at.write(WORK_MODE, SELLING_FIRST)
        assert (at.battery, at.grid) == (-1000, 0)  # needed
        await at.write(SLOTS, *slots(20, 0x20))
        assert at.activity == "selling"
        await at.write(SLOTS, *slots(20, 0x21))  # excluded by grid charge
        assert at.activity == "following load"
    async with bench(sell_bit="enough") as at:
        await at.write(SLOTS, *slots(20, 0x20))
        assert at.activity == "selling"


async def test_peak_shaving_limits_charging_and_helps_above_it() -> None:
    async with bench() as at:
        await at.write(SLOTS, *slots(100, 1))
        await at.write(191, 3000)
        await at.write(178, 10792 | 0x30)
        assert (at.grid, at.battery) == (3000, 2000)
        at.plant.fixed_load = 5000.0
        assert (at.grid, at.activity) == (3000, "shaving peaks")


async def test_the_bms_has_the_last_word() -> None:
    async with bench(pv=9000.0) as at:
        await at.simulator.misbehave("bms", charge=20, discharge=5)
        assert at.battery == round(20 * at.volts)
        assert await at.read(212, 2) == [20, 5]
        at.plant.fixed_pv = 0.0
        assert at.battery == -round(5 * at.volts)
        await at.simulator.misbehave("battery_lost")
        assert at.battery == 0
        assert await at.read(554) == [1 << 14]
        assert not at.state["device"]["bms_exceeded"]


async def test_charging_ends_when_full() -> None:
    async with bench(house={"soc": 99.0, "speed": 60.0}) as at:
        await at.write(SLOTS, *slots(100, 1))
        assert at.activity == "charging from grid"
        at.clock.advance(600)
        assert (at.battery, at.state["soc"]) == (0, 100)


async def test_off_grid_the_battery_rests_from_shutdown_to_restart_soc() -> None:
    async with bench(house={"soc": 12.0, "speed": 60.0}, backup_share=1.0) as at:
        await at.simulator.misbehave("grid_lost")
        assert (at.battery, await at.read(552)) == (-1000, [1])
        at.clock.advance(60)
        assert (at.battery, at.state["load_power"]) == (0, 0)
        at.plant.soc = 29.0
        assert at.battery == 0
        at.plant.soc = 31.0
        assert at.battery == -1000
        await at.write(CURRENTS, 0, 0)
        assert at.battery == 0


async def test_trouble_shows_and_faults_stop_the_inverter() -> None:
    async with bench() as at:
        await at.simulator.misbehave("warning", number=3)
        assert (await at.read(500), await at.read(553)) == ([3], [4])
        assert at.activity == "following load"
        await at.simulator.misbehave("trip", number=18)
        assert (await at.read(500), await at.read(556)) == ([4], [2])
        assert (at.activity, at.battery) == ("off", 0)
        await at.simulator.misbehave("temperature", celsius=80)
        assert await at.read(541) == [1800]
        await at.simulator.misbehave("zeros")
        assert await at.read(586, 3) == [0, 0, 0]
        assert await at.read(586) == [1240]


# Remote mode.


async def test_remote_power_holds_until_its_watchdog_ends_it() -> None:
    async with bench(remote=True) as at:
        await at.write(1101, 60)
        await at.write(1104, 1, 2)
        await at.write(1109, 65536 - 208)
        assert at.activity == "following load"
        await at.write(1100, 1)
        assert (at.battery, at.activity) == (2496, "remote")
        at.clock.advance(59)
        await at.write(CURRENTS, 150, 160)  # feeds nothing
        await at.read(1100)
        await at.write(1109, 208)
        at.clock.advance(59)
        assert (at.battery, at.state["mode"]) == (-2496, "controlled")
        at.clock.advance(1)
        assert (at.activity, at.state["mode"]) == ("following load", "automatic")
        assert await at.read(1100, 2) == [0, 60]


async def test_remote_words_are_lost_without_power_and_settings_are_not() -> None:
    async with bench(remote=True, remote_charge_sign=1) as at:
        await at.write(CURRENTS, 40, 40)
        await at.write(1104, 1, 2)
        await at.write(1109, 100)
        await at.write(1100, 1)
        assert at.battery == 1200
        await at.simulator.misbehave("restart")
        assert at.activity == "following load"
        async with RawClient(at.simulator.host, at.simulator.port) as again:
            assert await again.read(UNIT, CURRENTS, 2) == [40, 40]


# Writing.


async def test_a_changed_setting_shows_until_it_is_restored() -> None:
    async with bench() as at:
        assert at.state["mode"] == "automatic"
        await at.write(CURRENTS, 0, 0)
        assert at.state["mode"] == "controlled"
        assert at.state["device"]["borrowed"] == {"108": (150, 0), "109": (160, 0)}
        await at.write(CURRENTS, 150, 160)
        assert at.state["mode"] == "automatic"
        await at.simulator.misbehave("settings", address=CURRENTS, words=[99])
        assert await at.read(CURRENTS) == [99]
        assert at.state["mode"] == "automatic"


async def test_settings_words_are_all_that_can_be_written_but_clock_and_bms() -> None:
    async with bench() as at:
        taken = {}
        for address in range(730):
            with suppress(Refused):
                (word,) = at.simulator.units.read(UNIT, address, 1)
                at.simulator.units.write(UNIT, address, [word])
                taken[str(address)] = word
        settings = at.simulator.settings_words()
        measured = {int(address) for address in taken.keys() - settings.keys()}
        assert measured <= {*range(62, 65), *range(210, 230)}
        assert {address: taken[address] for address in settings} == settings


async def test_of_remote_mode_that_is_off_the_switch_alone_is_a_setting() -> None:
    async with bench(remote=True) as at:
        settings = at.simulator.settings_words()
        assert settings["1100"] == 0
        await at.write(1109, 5)
        assert at.simulator.settings_words() == settings
        await at.write(1100, 1)
        assert at.simulator.settings_words()["1109"] == 5


async def test_writes_to_flash_are_counted_also_needless_ones() -> None:
    async with bench(remote=True) as at:
        await at.write(GRID_CHARGE, 47, 0, 1)
        await at.write(GRID_CHARGE, 47, 0, 1)
        await at.write(1109, 5)
        assert at.inverter.flash_writes == {128: 2, 129: 2, 130: 2}
        assert at.state["device"]["flash_writes"] == 6
        assert at.state["device"]["needless_writes"] == 1


async def test_a_factory_reset_forgets_everything() -> None:
    async with bench(work_mode="selling_first") as at:
        await at.write(81, 1)
        assert await at.read(WORK_MODE) == [TO_CT]
        assert at.state["device"]["resets"] == 1


async def test_writes_can_be_late_ignored_or_refused() -> None:
    async with bench() as at:
        await at.simulator.misbehave("apply_delay", seconds=2)
        await at.write(CURRENTS, 10, 10)
        assert await at.read(CURRENTS) == [150]
        at.clock.advance(2)
        assert await at.read(CURRENTS) == [10]
        await at.simulator.misbehave("apply_delay", seconds=0)
        await at.simulator.misbehave("no_amps")
        assert await at.refused(CURRENTS, 0, 0) == 3
        await at.simulator.misbehave("no_amps", how="kept")
        await at.write(CURRENTS, 0, 5)
        assert await at.read(CURRENTS, 2) == [10, 5]
        await at.simulator.misbehave("ignore_writes")
        await at.write(CURRENTS, 1, 1)
        assert await at.read(CURRENTS, 2) == [10, 5]


# Inputs.


async def test_two_batteries_share_power_and_limits() -> None:
    """Each has a BMS of its own, and the words of the second follow."""
    async with bench(two_batteries=True, settings={143: 12000}) as at:
        await at.write(CURRENTS, 100, 100)
        assert await at.read(24) == [2]
        assert await at.read(110) == [1]
        await at.write(SLOTS, *slots(100, 1))
        first, second = await at.signed(590), await at.signed(595)
        assert first == second == pytest.approx(-at.battery / 2, abs=1)
        assert await at.signed(591) == await at.signed(594) < 0
        assert await at.read(210, 18) == await at.read(241, 18)
        assert await at.read(212) == [100]


async def test_a_larger_inverter_has_eight_strings() -> None:
    """PV 5 to 8 lie apart: four voltages, four currents, four powers."""
    async with bench(pv=8000, more_strings=True) as at:
        assert await at.read(22) == [8 << 8 | 3]
        assert await at.read(672, 4) == await at.read(727, 4) == [1000] * 4
        volts, amps = await at.read(719, 4), await at.read(723, 4)
        for volt, amp in zip(volts, amps, strict=True):
            assert volt * amp / 100 == pytest.approx(1000, rel=0.05)
        at.clock.advance(3600)
        assert await at.read(530, 4) == [10] * 4
        assert await at.read(529) == [80]


async def test_micro_inverters_feed_in_beside_the_counts_of_the_inverter() -> None:
    """At the GEN port; the inverter's load is its output and the grid only."""
    async with bench(pv=4000, house={"pv_dc_share": 0.5}, micro_inverters=True) as at:
        assert await at.read(133) == [2]
        assert await at.read(667) == [2000]
        assert sum(await at.read(664, 3)) == pytest.approx(2000, abs=2)
        load = await at.signed(653)
        assert load == LOAD - 2000
        output, grid = await at.signed(636), await at.signed(625)
        assert load == pytest.approx(output + grid, abs=2)


async def test_a_blank_bms_and_a_feed_at_the_backup_port_are_faults() -> None:
    """Of the whole BMS block, and of the sign of the backup power."""
    async with bench() as at:
        await at.simulator.misbehave("blank_bms")
        assert set(await at.read(210, 18)) == {0xFFFF}
        assert await at.read(588) == [60]
        await at.simulator.misbehave("backup_feed", power=1100)
        assert await at.signed(643) == 200 - 1100
        assert await at.read(699) == [0xFFFF]


async def test_the_trail_has_the_result_of_each_write() -> None:
    """Writes in such an order pass through full export."""
    async with bench(settings={**dict.fromkeys(range(154, 160), 12000)}) as at:
        await at.write(SLOTS, *slots(100, 1))
        await at.write(WORK_MODE, SELLING_FIRST)
        await at.write(SLOTS, *slots(20, 0))
        await at.write(SLOT_POWER, *[2500] * 6)
    led_to = [step.decision.activity for step in at.simulator.trail]
    assert led_to == ["charging from grid", "idle", "selling", "selling"]
    worst, last = at.simulator.trail[-2:]
    assert worst.decision.battery < -8000
    assert last.decision.battery == -2500
    assert at.inverter.what_if(worst.words, soc=20).battery == 0
    assert at.inverter.what_if(last.words, pv=500, load=4000).grid == 1000


async def test_the_connection_can_end_after_any_write() -> None:
    async with bench() as at:
        await at.simulator.misbehave("cut_write", nth=2)
        await at.write(WORK_MODE, SELLING_FIRST)
        at.raw.send(UNIT, struct.pack(">BHHB2H", 16, CURRENTS, 2, 4, 0, 0))
        assert await at.raw.reader.read() == b""
        assert [step.address for step in at.simulator.trail] == [WORK_MODE, CURRENTS]
        assert at.simulator.server.traffic.writes[-1] == (UNIT, CURRENTS, [0, 0])
        async with RawClient(at.simulator.host, at.simulator.port) as again:
            assert await again.reader.read() == b""
        assert at.battery == 0


def test_setup_has_the_settings_that_a_user_would_enter() -> None:
    expected: dict[str, Any] = {"host": "127.0.0.1", "port": 5020, "unit_id": 2}
    assert DeyeModbusSimulator(port=5020, unit=2).setup == expected
    expected["framing"] = "rtu"
    assert DeyeModbusSimulator(port=5020, unit=2, framing="rtu").setup == expected
