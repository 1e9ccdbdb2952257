"""The Victron simulator answers and acts like a GX device, oddities included."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.simulators import ManualClock, Plant, VictronSimulator

from .image import load
from .modbus import Refused
from .raw_client import ModbusError, RawClient
from .victron_registers import RegisterMap

pytestmark = pytest.mark.usefixtures("socket_enabled")

GX = 100
MULTI = 227
BATTERY = 225
METER = 40
LOAD = 1000.0
CRITICAL = 0.2


class Bench:
    """A simulator, a raw connection to it, and its clock."""

    def __init__(
        self, simulator: VictronSimulator, raw: RawClient, clock: ManualClock
    ) -> None:
        self.simulator = simulator
        self.plant = simulator.plant
        self.gx = simulator.gx
        self.raw = raw
        self.clock = clock
        self.read = raw.read
        self.write = raw.write

    async def read_signed(self, unit: int, address: int) -> int:
        (word,) = await self.read(unit, address)
        return word - 0x10000 if word & 0x8000 else word

    async def refused(
        self, unit: int, address: int, *words: int, count: int = 1
    ) -> int:
        """Return the exception code of a write, or without words of a read."""
        with pytest.raises(ModbusError) as error:
            await (
                self.write(unit, address, *words)
                if words
                else self.read(unit, address, count)
            )
        return error.value.code

    @property
    def battery(self) -> float:
        return float(self.simulator.state()["battery_power"])


@asynccontextmanager
async def bench(
    *, house: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    plant = Plant(clock=clock, efficiency=1.0, **(house or {}))
    plant.fixed_load, plant.fixed_pv = LOAD, 0.0
    simulator = VictronSimulator(plant, critical_share=CRITICAL, **options)
    async with simulator, RawClient(simulator.host, simulator.port) as raw:
        yield Bench(simulator, raw, clock)


THREE = {"phases": 3}

# Errors.


@pytest.mark.parametrize(
    ("firmware", "unit", "address", "count"),
    [
        ("new", GX, 799, 1),
        ("new", GX, 919, 2),
        ("new", MULTI, 147, 2),
        ("new", MULTI, 2, 3),
        ("old", GX, 808, 64),
        ("old", GX, 847, 1),
        ("old", GX, 902, 12),
        ("old", GX, 868, 6),  # across 871/872
        ("old", MULTI, 130, 8),
        ("old", MULTI, 140, 8),
        ("old", BATTERY, 256, 2),
        ("old", GX, 2720, 2),
        ("2025", GX, 808, 64),
        ("2025", GX, 868, 6),
        ("2025", GX, 2720, 2),
        ("2025", GX, 2724, 1),
        ("2025", MULTI, 130, 8),
        ("2025", BATTERY, 1319, 1),
    ],
)
async def test_a_hole_in_a_block_refuses_all_of_it(
    firmware: Any, unit: int, address: int, count: int
) -> None:
    async with bench(firmware=firmware) as at:
        assert await at.refused(unit, address, count=count) == 2


@pytest.mark.parametrize(
    ("unit", "address", "count"),
    [(GX, 808, 64), (GX, 800, 120), (GX, 902, 12), (MULTI, 130, 8), (BATTERY, 256, 2)],
)
async def test_new_firmware_reads_without_gaps(
    unit: int, address: int, count: int
) -> None:
    async with bench() as at:
        assert len(await at.read(unit, address, count)) == count


@pytest.mark.parametrize("firmware", ["old", "2025", "new"])
@pytest.mark.parametrize(
    ("unit", "address", "count"),
    [
        *(
            (GX, 800, 6),
            (GX, 808, 19),
            (GX, 840, 7),
            (GX, 850, 2),
            (GX, 865, 2),
            (GX, 855, 1),
        ),
        *((GX, 2700, 9), (GX, 2900, 4), (GX, 2716, 2), (GX, 5400, 8), (GX, 834, 2)),
        *((MULTI, 3, 62), (MULTI, 74, 22)),
        *(
            (BATTERY, 259, 8),
            (BATTERY, 305, 4),
            (BATTERY, 267, 60),
            (BATTERY, 1282, 20),
        ),
        *((METER, 2600, 34), (METER, 2634, 4)),
    ],
)
async def test_every_firmware_reads_these_blocks(
    firmware: Any, unit: int, address: int, count: int
) -> None:
    async with bench(firmware=firmware) as at:
        assert len(await at.read(unit, address, count)) == count


@pytest.mark.parametrize(
    ("unit", "address", "count"),
    [(GX, 884, 36), (BATTERY, 256, 76), (METER, 2600, 49), (MULTI, 200, 32)],
)
async def test_servers_of_2025_have_these_blocks_too(
    unit: int, address: int, count: int
) -> None:
    async with bench(firmware="2025") as at:
        assert len(await at.read(unit, address, count)) == count


async def test_servers_of_2025_fill_a_gap_among_the_alarms() -> None:
    async with bench(firmware="2025") as at:
        assert await at.read(BATTERY, 326, 6) == [0, 65535, 65535, 65535, 0, 0]
    async with bench(firmware="new") as at:
        await at.simulator.misbehave(
            "alarm", path="/Alarms/Contactor", service="battery"
        )
        assert await at.read(BATTERY, 326, 6) == [0, 0, 2, 0, 0, 0]


async def test_an_absent_service_is_exception_10() -> None:
    async with bench(battery="none", meter=False, ess=False) as at:
        assert await at.refused(228, 28) == 10
        assert await at.refused(GX, 28) == 10
        assert await at.refused(MULTI, 843) == 10
        assert await at.refused(BATTERY, 259) == 10
        assert await at.refused(METER, 2600) == 10
        assert await at.refused(228, 37, 0, 1, 1) == 10


async def test_without_ess_assistant_the_volatile_setpoint_is_exception_10() -> None:
    async with bench(ess=False) as at:
        assert await at.refused(GX, 2716, count=2) == 10
        assert await at.refused(GX, 2716, 0, 100) == 10
        assert await at.refused(GX, 2708, count=2) == 2  # runs into the absent service


async def test_read_only_registers_and_write_protection_are_exception_2() -> None:
    async with bench() as at:
        assert await at.refused(GX, 843, 50) == 2
        assert await at.refused(GX, 2903, 100) == 2
        assert await at.refused(GX, 2724, 1) == 2
        await at.simulator.misbehave("read_only")
        assert await at.refused(MULTI, 37, 0, 1, 1) == 2
        await at.simulator.misbehave("read_only", on=False)
        await at.write(MULTI, 37, 0, 1, 1)


async def test_a_missing_path_is_exception_10_after_earlier_words_took_effect() -> None:
    async with bench(ess_mode=3) as at:
        assert await at.refused(MULTI, 40, 5) == 10
        assert await at.refused(MULTI, 37, 500, 1, 0, 600, 700) == 10
        assert await at.read(MULTI, 37, 5) == [500, 1, 0, 0, 0]
    async with bench(ess_mode=3, house={"phases": 2}) as at:
        await at.write(MULTI, 37, 500, 0, 0, 600)
        assert await at.refused(MULTI, 37, 1, 0, 0, 2, 3) == 10
        assert await at.read(MULTI, 37, 5) == [1, 0, 0, 2, 0]


async def test_a_word_of_a_32_bit_register_joins_the_other_one() -> None:
    async with bench() as at:
        await at.write(GX, 2716, 65535, 63036)
        assert at.gx.hub4["/Overrides/Setpoint"] == -2500
        await at.raw.write_one(GX, 2716, 0)
        assert at.gx.hub4["/Overrides/Setpoint"] == 63036
        await at.write(GX, 2717, 7)
        assert at.gx.hub4["/Overrides/Setpoint"] == 7


@pytest.mark.parametrize("count", [0, 126])
async def test_too_few_or_many_words_are_exception_3(count: int) -> None:
    async with bench() as at:
        assert await at.refused(GX, 800, count=count) == 3


async def test_125_words_can_be_read_with_both_functions() -> None:
    async with bench() as at:
        for function in (3, 4):
            assert len(await at.raw.read(MULTI, 3, 125, function=function)) == 125


async def test_unit_0_is_unit_100() -> None:
    async with bench() as at:
        assert await at.read(0, 800, 6) == await at.read(GX, 800, 6)


async def test_old_servers_read_0_behind_a_service_border() -> None:
    async with bench(firmware="old") as at:
        await at.write(GX, 2716, 1, 2)
        assert (await at.read(GX, 2710, 8))[-2:] == [0, 0]
        assert await at.read(GX, 2716, 2) == [1, 2]
    async with bench(firmware="new") as at:
        await at.write(GX, 2716, 1, 2)
        assert (await at.read(GX, 2710, 8))[-2:] == [1, 2]


async def test_some_servers_hang_up_at_absent_services() -> None:
    async with bench() as at:
        await at.simulator.misbehave("crash_on_absent")
        at.raw.send(228, bytes((3, 0, 28, 0, 1)))
        assert await at.raw.reader.read() == b""


# Words.


async def test_an_unknown_value_reads_0_and_a_reserved_word_65535() -> None:
    async with bench() as at:
        assert await at.read(MULTI, 4, 2) == [0, 0]  # no L2, no L3
        assert await at.read(MULTI, 61) == [0]  # no sensor
        assert await at.read(BATTERY, 301, 2) == [0, 0]
        assert await at.read(GX, 836) == [65535]
        assert await at.read(GX, 834) == [0x0373]
    async with bench(firmware="old") as at:
        assert await at.read(GX, 834) == [65535]
    async with bench(battery="shunt") as at:
        assert await at.read(BATTERY, 304, 5) == [0] * 5
        assert await at.read(BATTERY, 301, 2) == [10000, 10000]


def test_the_register_list_is_that_of_the_vendors_server() -> None:
    """The vectors' words were read from that server."""
    for vector in load("victron"):
        registers = RegisterMap("old" if "old_firmware" in vector["name"] else "new")
        for words in vector["units"].values():
            for address, word in words.items():
                assert int(address) in registers.services
                if int(address) in registers.reserved:
                    assert word == 0xFFFF


async def test_unlimited_is_lost_in_scaled_registers() -> None:
    async with bench() as at:
        assert await at.read(GX, 2704, 3) == [0, 65535, 0]
        assert await at.read(GX, 2720, 4) == [65535] * 4
        # -10 W is out of range.
        await at.write(GX, 2704, 65535)
        assert at.gx.settings["/Settings/CGwacs/MaxDischargePower"] == -1
        assert await at.read(GX, 2704) == [0]


@pytest.mark.parametrize(
    ("address", "words", "taken", "firmware"),
    [
        *(
            (*row, firmware)
            for firmware in ("old", "2025", "new")
            for row in (
                (2704, [100], True),
                (2704, [65535], False),
                (2705, [65535], True),
                (2705, [65534], False),
                (2901, [1000], True),
                (2901, [1001], False),
            )
        ),
        (2720, [65535, 65535], True, "new"),
        (2720, [65535, 65534], False, "new"),
        (2720, [16, 0], False, "new"),  # 1,048,576 W
    ],
)
async def test_settings_out_of_range_are_answered_and_not_taken(
    address: int, words: list[int], taken: bool, firmware: Any
) -> None:
    async with bench(firmware=firmware) as at:
        before = dict(at.gx.settings)
        at.gx.flash_writes.clear()
        await at.write(GX, address, *words)
        assert bool(at.gx.flash_writes) == taken
        assert taken or at.gx.settings == before


async def test_the_inverter_bounds_the_limit_of_its_input_current() -> None:
    async with bench() as at:
        await at.write(MULTI, 22, 500)
        assert await at.read(MULTI, 22) == [320]
        await at.write(GX, 2704, 300)
        assert await at.read(GX, 2720, 2) == [0, 3000]
        assert await at.read(GX, 2703) == [1]  # 50 W, rounded to 100 W


async def test_scales_and_signs() -> None:
    async with bench(house=THREE) as at:
        await at.write(GX, 2902, 3)
        await at.write(MULTI, 37, 900, 0, 0, 900, 900)
        assert await at.read(MULTI, 28) == [3]
        assert await at.read(MULTI, 12, 3) == [90, 90, 90]
        assert await at.read(MULTI, 23, 3) == [10, 6, 4]
        charging = 2700 - CRITICAL * LOAD
        assert await at.read_signed(GX, 842) == charging
        assert await at.read_signed(BATTERY, 258) == charging
        assert sum(await at.read(GX, 820, 3)) == charging + LOAD
        assert await at.read(METER, 2600, 3) == await at.read(GX, 820, 3)
        volts = at.plant.voltage
        assert await at.read(BATTERY, 259) == [round(100 * volts)]
        assert await at.read(GX, 841) == [round(10 * charging / volts)]
        assert await at.read(GX, 844) == [1]
        assert await at.read(GX, 800) == [ord("c") << 8 | ord("0")]


async def test_counters_follow_the_way_of_energy() -> None:
    async with bench() as at:
        await at.write(GX, 2902, 3)
        await at.write(MULTI, 37, 1200, 0, 0)
        at.gx.watchdog = 1e9
        at.clock.advance(1800)
        flows = await at.read(MULTI, 74, 4)
        assert flows == [0, 10, 0, 50]  # 200 W to the output, 1000 W to the battery
        assert await at.read(METER, 2634, 2) == [1, 100000 + 100 - 65536]


# Control.


async def test_setpoint_acts_at_the_ac_input() -> None:
    async with bench(ess_mode=3, house={"pv_dc_share": 1.0}) as at:
        at.plant.fixed_pv = 300.0
        await at.write(MULTI, 37, 1000, 0, 0)
        assert at.battery == 1000 - CRITICAL * LOAD + 300
        await at.write(MULTI, 37, 0, 0, 0)
        assert at.battery == -CRITICAL * LOAD + 300
        await at.write(MULTI, 96, 65535, 64536)  # -1000
        assert at.battery == -1000 - CRITICAL * LOAD + 300


async def test_both_flags_hold_at_any_setpoint() -> None:
    async with bench(ess_mode=3) as at:
        await at.write(MULTI, 37, 2000, 1, 1)
        assert at.battery == 0
        assert await at.read(MULTI, 31) == [8]
        assert await at.read(MULTI, 12) == [int(CRITICAL * LOAD / 10)]  # passed through
        await at.write(MULTI, 37, 2000, 0, 0)
        assert await at.read(MULTI, 31) == [252]


async def test_one_flag_alone_is_no_hold() -> None:
    async with bench(ess_mode=3) as at:
        await at.write(MULTI, 37, 63536, 0, 1)  # -2000, no feed-in
        assert at.battery == -CRITICAL * LOAD
        await at.write(MULTI, 37, 2000, 1, 0)
        assert (at.battery, at.gx.passthru) == (0, True)
        await at.write(MULTI, 37, 63536, 1, 0)
        assert at.battery == -2000 - CRITICAL * LOAD


async def test_setpoint_lapses_into_passthru_when_it_is_not_renewed() -> None:
    async with bench(ess_mode=3) as at:
        await at.write(MULTI, 37, 2000, 0, 1)
        at.clock.advance(59)
        assert at.battery == 1800
        await at.write(MULTI, 37, 2000, 0, 1)
        at.clock.advance(59)
        assert await at.read(MULTI, 31) == [252]
        at.clock.advance(1)
        assert await at.read(MULTI, 31) == [8]
        assert await at.read(MULTI, 37, 3) == [0, 0, 0]
        assert at.battery == 0
        assert at.simulator.state()["device"]["lapsed"]
        await at.write(MULTI, 37, 2000, 0, 0)
        assert at.battery == 1800


async def test_modes_1_and_2_keep_the_grid_at_its_setpoint() -> None:
    async with bench(house=THREE) as at:
        assert sum(at.plant.grid) == pytest.approx(50)
        await at.write(GX, 2716, 0, 800)
        assert sum(at.plant.grid) == pytest.approx(800)
        await at.write(GX, 2716, 0, 0)
        await at.write(GX, 2703, 65535)  # -100 W
        assert sum(at.plant.grid) == pytest.approx(-100)
        await at.write(GX, 2902, 2)
        assert at.plant.grid[:3] == pytest.approx([-100 / 3] * 3)
        await at.write(MULTI, 37, 2000, 0, 0, 2000, 2000)  # the loop has the last word
        assert at.plant.grid[:3] == pytest.approx([-100 / 3] * 3)


async def test_the_loop_obeys_limits_that_mode_3_ignores() -> None:
    async with bench(min_soc=60.0) as at:
        assert at.battery == 0
        await at.write(GX, 2901, 200)
        assert at.battery == 50 - LOAD
        await at.write(GX, 2704, 30)
        assert at.battery == -300
        await at.simulator.misbehave("bms", charge=10, discharge=4)
        assert at.battery == pytest.approx(-4 * at.plant.voltage, abs=0.1)
        await at.write(GX, 2902, 3)
        await at.write(GX, 2901, 600)
        await at.write(MULTI, 37, 63536, 0, 0)
        assert at.battery == -2000 - CRITICAL * LOAD
        assert at.simulator.state()["device"]["bms_exceeded"]
        await at.write(MULTI, 37, 2000, 0, 0)  # charging limits count in every mode
        assert at.battery == pytest.approx(10 * at.plant.voltage, abs=0.1)
        await at.write(GX, 2705, 5)
        assert at.battery == pytest.approx(5 * at.plant.voltage, abs=0.1)


async def test_leftover_flags_count_in_mode_1() -> None:
    async with bench(ess_mode=3) as at:
        at.plant.fixed_pv = 3000.0
        await at.write(MULTI, 37, 0, 1, 1)
        await at.write(GX, 2902, 1)
        assert at.battery == 0
        await at.write(MULTI, 38, 0, 0)
        assert at.battery == 3000 - LOAD + 50


async def test_battery_life_raises_its_limit_and_rests_until_well_above_it() -> None:
    """As in `delegates/batterylife.py` of the GX's own program."""
    async with bench() as at:
        await at.write(GX, 2900, 1)
        at.plant.soc = 40
        await at.simulator.misbehave("battery_life", state=2, limit=40)
        assert await at.read(GX, 2900, 4) == [5, 100, 1, 450]
        assert at.battery == 0
        for soc, state in ((48, 5), (49, 2), (86, 3), (96, 4), (91, 3), (81, 2)):
            at.plant.soc = soc
            at.simulator.gx.update()
            assert await at.read(GX, 2900) == [state], soc
        assert await at.read(GX, 2903) == [350]


async def test_battery_life_goes_on_in_mode_3_and_nothing_follows_from_it() -> None:
    async with bench(ess_mode=3) as at:
        at.plant.soc = 52
        await at.simulator.misbehave("battery_life", state=2, limit=55)
        await at.write(MULTI, 37, 63536, 0, 0)
        assert await at.read(GX, 2900) == [5]
        assert at.battery < -2000


async def test_without_battery_life_only_the_minimum_soc_counts() -> None:
    async with bench(min_soc=20.0) as at:
        await at.simulator.misbehave("battery_life", state=10, limit=65)
        for soc, state in ((40, 10), (20, 11), (22, 11), (23, 10), (14, 12), (20, 11)):
            at.plant.soc = soc
            at.simulator.gx.update()
            assert await at.read(GX, 2900) == [state], soc


async def test_sustain_and_a_generator_end_discharging_in_modes_1_and_2() -> None:
    async with bench() as at:
        assert at.battery < 0
        await at.simulator.misbehave("sustain")
        assert await at.read(MULTI, 31) == [244]
        assert await at.read(MULTI, 73) == [1]
        assert await at.read(GX, 2900) == [10]
        await at.simulator.misbehave("sustain", on=False)
        await at.simulator.misbehave("generator")
        assert await at.read(GX, 826) == [2]
        at.clock.advance(1)
        assert at.battery == 0


async def test_keep_charged_charges_and_does_not_discharge() -> None:
    async with bench() as at:
        await at.write(GX, 2900, 9)
        assert at.battery == 5000
        await at.write(GX, 2900, 1)
        assert await at.read(GX, 2900) == [2]
        assert at.battery < 0


async def test_writes_to_settings_are_counted_and_others_are_not() -> None:
    async with bench() as at:
        await at.write(GX, 2902, 3)
        await at.write(GX, 2902, 3)
        await at.write(GX, 2716, 0, 5)
        await at.write(MULTI, 37, 0, 1, 1)
        assert at.simulator.state()["device"]["flash_writes"] == 2


async def test_settings_words_are_all_that_can_be_written_but_the_soc() -> None:
    async with bench(ess_mode=3, battery="shunt") as at:
        words, units = at.simulator.settings_words(), at.simulator.units
        places = [
            (unit, address)
            for unit in (GX, MULTI, BATTERY, METER)
            for address in units.map.services
        ]
        read = {}
        for unit, address in places:
            with suppress(Refused):
                (read[f"{unit}/{address}"],) = units.read(unit, address, 1)
        taken = set()
        for unit, address in places:
            with suppress(Refused):
                units.write(unit, address, [0])
                taken.add(f"{unit}/{address}")
        assert taken == {*words, "227/30"}
        assert {place: read[place] for place in words} == words


async def test_the_setpoints_of_the_loop_are_no_settings() -> None:
    async with bench(ess_mode=1) as at:
        settings = at.simulator.settings_words()
        await at.write(MULTI, 37, 1234)
        assert at.simulator.settings_words() == settings
        await at.write(MULTI, 38, 1)
        assert at.simulator.settings_words() == {**settings, "227/38": 1}
        await at.write(GX, 2902, 3)
        assert "227/37" in at.simulator.settings_words()


async def test_a_write_is_answered_before_it_takes_effect() -> None:
    async with bench(ess_mode=3) as at:
        await at.simulator.misbehave("apply_delay", seconds=2)
        await at.simulator.misbehave("apply_delay", seconds=1, service="settings")
        await at.write(MULTI, 37, 0, 1, 1)
        await at.write(GX, 2902, 1)
        assert await at.read(MULTI, 37, 3) == [0, 0, 0]
        at.clock.advance(1)  # the second write overtakes the first
        assert await at.read(GX, 2902) == [1]
        assert (await at.read(MULTI, 38, 2)) == [0, 0]
        at.clock.advance(1)
        assert (await at.read(MULTI, 38, 2)) == [1, 1]


async def test_the_loops_last_setpoint_may_arrive_after_a_clients() -> None:
    async with bench() as at:
        await at.simulator.misbehave("late_loop", seconds=1)
        loops = at.gx.vebus["/Hub4/L1/AcPowerSetpoint"]
        await at.write(GX, 2902, 3)
        await at.write(MULTI, 37, 2000, 0, 0)
        assert at.battery == 1800
        at.clock.advance(1)
        assert at.battery == loops - CRITICAL * LOAD


async def test_without_grid_the_battery_feeds_the_output_only() -> None:
    async with bench(ess_mode=3) as at:
        await at.write(MULTI, 37, 2000, 0, 0)
        await at.simulator.misbehave("grid_lost")
        assert at.battery == -CRITICAL * LOAD
        assert await at.read(MULTI, 29) == [240]
        assert await at.read(MULTI, 31) == [9]
        assert await at.read(MULTI, 64) == [2]
        assert await at.read(MULTI, 3) == [0]
        assert await at.read(MULTI, 15) == [2300]
        assert await at.read(GX, 820) == [0]


async def test_trouble_shows_and_passes() -> None:
    async with bench() as at:
        await at.simulator.misbehave("alarm", path="/Alarms/HighTemperature", level=1)
        assert await at.read(MULTI, 34) == [1]
        await at.simulator.misbehave("alarm", path="/Alarms/LowSoc", service="battery")
        assert await at.read(BATTERY, 272) == [2]
        await at.simulator.misbehave("absent", service="vebus")
        assert await at.refused(MULTI, 28) == 10
        await at.simulator.misbehave("absent", service="vebus", on=False)
        assert await at.read(MULTI, 28) == [1]
        await at.simulator.misbehave("ignore_writes")
        await at.write(GX, 2902, 3)
        assert at.simulator.state()["mode"] == "automatic"


def test_setup_names_the_units_that_are_there() -> None:
    assert VictronSimulator(vebus_unit=228, battery="none", port=5020).setup == {
        "host": "127.0.0.1",
        "port": 5020,
        "unit_id": 228,
        "battery_unit_id": None,
        "grid_unit_id": 40,
    }
