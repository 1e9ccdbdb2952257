"""Firmware that is updated while a Deye inverter is connected, and odd releases."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from custom_components.homebattery.drivers.deye.modbus_tcp import DeyeModbusInverter
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    DeviceRefusedError,
)
from tests.drivers.conftest import Leap, fast_keys
from tests.simulators import ManualClock
from tests.simulators.deye import DeyeSimulator

from .support import (
    HIGH_VOLTAGE,
    MIDDAY,
    WAYS,
    both_ways,
    connected,
    house,
    on_image,
    simulator,
    vector,
)

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

one_way_is_plain = pytest.mark.parametrize(
    "way", [WAYS[0], pytest.param(WAYS[1], marks=pytest.mark.long)]
)
"""A mark for tests that poll for hours: what is learnt does not come of the transport."""

MINUTES_TO_LEARN = 8
"""Within ten a counter in another unit would be taken for another counter."""


def high_voltage(way: str, **options: Any) -> DeyeSimulator:
    """Return a high-voltage inverter whose battery serves a load of 3 kW."""
    plant = house(soc=95, capacity=30_000)
    plant.fixed_load = 3000
    return simulator(way, plant=plant, variant="hv", **options)


def passing(inverter: DeyeSimulator, leap: Leap) -> Callable[[float], None]:
    """Return a function that lets time pass for driver and inverter, s."""
    clock = inverter.plant.clock
    assert isinstance(clock, ManualClock)

    def let_pass(seconds: float) -> None:
        leap(seconds)
        clock.advance(seconds)

    return let_pass


def firmware_reads(inverter: DeyeSimulator, since: int) -> list[int]:
    """Return the addresses of reads of the release, from a read's number on."""
    reads = inverter.units.traffic.reads[since:]
    return [
        read.address for read in reads if read.address <= 15 < read.address + read.words
    ]


async def totals(
    battery: DeyeInverter, let_pass: Callable[[float], None], minutes: int
) -> list[Any]:
    """Return the total of grid export as it is read each minute, None without one."""
    seen: list[Any] = []
    for _ in range(minutes):
        let_pass(60)
        seen.append(None)
        with suppress(CannotConnectError):
            seen[-1] = (await battery.read())["grid_export_total"]
    return seen


@both_ways
async def test_counters_go_on_in_another_unit_after_an_update(
    way: str, leap: Leap
) -> None:
    """From 1095 to 1098, by remote, over a connection that lasts: whole kWh then."""
    async with (
        high_voltage(way, release="1095") as inverter,
        connected(inverter) as battery,
    ):
        before = (await battery.read())["grid_export_total"]
        await inverter.misbehave("firmware", release="1098")
        seen = await totals(battery, passing(inverter, leap), MINUTES_TO_LEARN)

        assert before == 7012.2
        assert set(seen) <= {None, 7012}
        assert seen[-1] == 7012
        assert battery.identity.firmware == "3002-1098-1808"
        assert await battery.has_new_parts()


@both_ways
async def test_an_update_that_ends_the_connection_is_learned_sooner(
    way: str, leap: Leap
) -> None:
    """A new connection is a reason to read the firmware again."""
    async with (
        high_voltage(way, release="1095") as inverter,
        connected(inverter) as battery,
    ):
        await battery.read()
        await inverter.misbehave("firmware", release="1098")
        await inverter.misbehave("restart")
        seen = await totals(battery, passing(inverter, leap), 4)

    assert set(seen[:-1]) <= {None, 7012}
    assert seen[-1] == 7012


@both_ways
async def test_live_polls_take_one_request_however_old_the_firmware(
    way: str, leap: Leap
) -> None:
    """It is read with the registers that are read once a minute."""
    async with simulator(way) as inverter, connected(inverter) as battery:
        await battery.read()
        live = fast_keys(battery)
        assert {"battery_power", "grid_power", "pv_power"} <= set(live)
        before = len(inverter.units.traffic.reads)
        await battery.read(live)
        assert len(inverter.units.traffic.reads) == before + 1
        leap(400)
        before = len(inverter.units.traffic.reads)
        await battery.read(live)
        assert not firmware_reads(inverter, before)
        await battery.read([*live, "low_soc"])
        assert firmware_reads(inverter, before)


async def test_an_absent_block_is_not_tried_in_the_turn_of_another() -> None:
    """One of a single register takes one request."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        for again in ("max_soc", "parallel"):
            before = units.traffic.requests
            await battery.read_registers({"parallel"}, [again])
            assert units.traffic.requests - before == 1


async def test_each_absent_block_has_its_turn_again(leap: Leap) -> None:
    """One of them a minute, that whose pause ended first; packs come last."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        remote_mode = battery.devices[-1]
        assert not remote_mode.is_present
        registers = remote_mode.registers.values()
        units.units[1] |= {each.address: 1 for each in registers}
        for _ in range(10):
            leap(600)
            await battery.read()

        assert remote_mode.is_present


@both_ways
@pytest.mark.parametrize("name", [MIDDAY, HIGH_VOLTAGE])
async def test_live_polls_do_not_try_what_was_absent(
    name: str, way: str, leap: Leap
) -> None:
    """Blocks that this inverter lacks are tried again with the slow registers."""
    async with on_image(vector(name), way) as (battery, units):
        await battery.read()
        live = fast_keys(battery)
        traffic = units.traffic
        polls = []
        for seconds, keys in ((61, ["low_soc"]), (10, []), (50, ["low_soc"]), (10, [])):
            leap(seconds)
            before, read_before = traffic.requests, len(traffic.reads)
            await battery.read([*live, *keys])
            requests = traffic.requests - before
            polls.append((requests, requests - (len(traffic.reads) - read_before)))

    slow, in_between = polls[::2], polls[1::2]
    assert in_between == [(1, 0), (1, 0)]
    assert all(refused for _, refused in slow)


@both_ways
async def test_live_polls_over_a_new_connection_read_no_settings(
    way: str, leap: Leap
) -> None:
    """Only who answers there, and a while later its firmware, cost a request more."""
    async with simulator(way) as inverter, connected(inverter) as battery:
        await battery.read()
        live = fast_keys(battery)
        traffic = inverter.units.traffic
        await inverter.misbehave("restart")
        polls = []
        for _ in range(8):
            leap(10)
            before = len(traffic.reads)
            with suppress(CannotConnectError):
                await battery.read(live)
            polls.append([read.address for read in traffic.reads[before:]])

    others = [at for poll in polls for at in poll if at != 586]
    assert others == [3, 0]
    assert max(map(len, polls)) == 2


async def test_a_damaged_word_is_no_other_firmware(leap: Leap) -> None:
    """Another one counts once it was read twice."""
    async with on_image(vector(HIGH_VOLTAGE, r516=4821, r517=0)) as (battery, units):
        words = units.units[1]
        good = words[15]
        firmware = battery.identity.firmware
        await battery.read()
        for word in (0x7856, good, 0x7856):
            words[15] = word
            leap(310)
            await battery.read(["low_soc"])

        assert battery.identity.firmware == firmware
        assert not await battery.has_new_parts()


async def test_the_firmware_of_another_inverter_is_not_learned(leap: Leap) -> None:
    """A gateway may pass on the answer to another client."""
    async with on_image(vector(HIGH_VOLTAGE)) as (battery, units):
        firmware = battery.identity.firmware
        units.units[1] |= {15: 0x1234, 3: 0x3939}
        for _ in range(3):
            leap(310)
            await battery.read(["low_soc"])

        assert battery.identity.firmware == firmware


@both_ways
async def test_the_firmware_is_watched_without_that_of_the_display(
    way: str, leap: Leap
) -> None:
    """The words of the display's firmware are not there on some inverters."""
    image = vector(HIGH_VOLTAGE, r15=0x1095, r17=0xFFFF, r18=0xFFFF)
    async with on_image(image, way) as (battery, units):
        await battery.read()
        units.units[1][15] = 0x1098
        for _ in range(2):
            leap(310)
            await battery.read(["low_soc"])

        assert battery.firmware_release == 0x1098
        assert await battery.has_new_parts()


@both_ways
@pytest.mark.parametrize("filler", [0, 0xFFFF])
async def test_firmware_words_of_an_inverter_that_starts_are_no_other_firmware(
    way: str, filler: int, leap: Leap
) -> None:
    """However often they are read beside a good serial number."""
    async with on_image(vector(HIGH_VOLTAGE), way) as (battery, units):
        firmware = battery.identity.firmware
        units.units[1] |= dict.fromkeys((11, 14, 15, 17, 18), filler)
        for _ in range(3):
            leap(310)
            await battery.read(["low_soc"])

        assert battery.identity.firmware == firmware
        assert not await battery.has_new_parts()


@both_ways
async def test_slots_get_their_permission_to_sell_after_an_update(
    way: str, leap: Leap
) -> None:
    """From 1147 to 1184 the slots must be allowed to sell."""
    plant = house(soc=60)
    plant.fixed_load = 500
    async with (
        simulator(way, plant=plant, release="1147") as inverter,
        connected(inverter, export="always") as battery,
    ):
        await battery.read()
        await inverter.misbehave("firmware", release="1184")
        await totals(battery, passing(inverter, leap), MINUTES_TO_LEARN)
        assert await battery.set_power_setpoint(-2500) == Grant(-2500, None)

        assert inverter.inverter.words[172] & 0x20
        assert inverter.state()["battery_power"] == pytest.approx(-2500, abs=60)


async def test_a_setpoint_that_is_held_is_written_anew_after_an_update(
    leap: Leap,
) -> None:
    """It would sell no longer without the permission; the rest stays as it is."""
    plant = house(soc=60)
    plant.fixed_load = 500
    async with (
        simulator(plant=plant, release="1147") as inverter,
        connected(inverter, export="always") as battery,
    ):
        let_pass = passing(inverter, leap)
        await battery.set_power_setpoint(-2500)
        flags_before = inverter.inverter.words[172]
        await inverter.misbehave("firmware", release="1184")
        lost = inverter.state()["battery_power"]
        for _ in range(MINUTES_TO_LEARN):
            let_pass(60)
            await battery.read()
            await battery.keep_alive()
        writes = len(inverter.trail)
        let_pass(60)
        await battery.keep_alive()

        assert not flags_before & 0x20
        assert lost > -1000
        assert inverter.inverter.words[172] & 0x20
        assert inverter.state()["battery_power"] == pytest.approx(-2500, abs=60)
        assert len(inverter.trail) == writes
        await battery.release()


async def test_a_setpoint_that_cannot_be_written_anew_is_tried_again(
    leap: Leap,
) -> None:
    """The inverter has the user's settings meanwhile."""
    async with (
        simulator(plant=house(soc=60), release="1147") as inverter,
        connected(inverter, export="always") as battery,
    ):
        let_pass = passing(inverter, leap)
        await battery.read()
        await battery.set_power_setpoint(-2500)
        await inverter.misbehave("firmware", release="1184")
        await totals(battery, let_pass, MINUTES_TO_LEARN)
        await inverter.misbehave("refuse_writes", code=4)
        with pytest.raises(DeviceRefusedError):
            await battery.keep_alive()
        await inverter.misbehave("refuse_writes", code=0)
        for _ in range(5):
            let_pass(30)
            await battery.keep_alive()

        assert inverter.inverter.words[172] & 0x20
        await battery.release()


# Releases with a letter -------------------------------------------------------


@one_way_is_plain
@pytest.mark.parametrize(("energies", "factor"), [("tenths", 1), ("whole", 10)])
async def test_the_unit_of_counters_is_seen_where_the_release_decides_nothing(
    way: str, energies: str, factor: int, leap: Leap
) -> None:
    """Unknown until the battery's counters have grown; the right one from then on."""
    async with (
        high_voltage(way, release="F052", energies=energies) as inverter,
        connected(inverter) as battery,
    ):
        let_pass = passing(inverter, leap)
        readings = await battery.read()
        keys = [key for key in readings if "energy" in key or key.startswith("grid_")]
        unknown = {key for key in keys if readings[key] is None}
        keys = ["battery_power", "energy_charged_total", "energy_discharged_total"]
        polls = 0
        while (await battery.read(keys))["energy_charged_total"] is None:
            let_pass(30)
            polls += 1
            assert polls < 300
        readings = await battery.read()

        assert {"energy_charged_total", "grid_export_total"} <= unknown
        assert {"pv_energy_today", "load_energy_today"} <= unknown
        assert battery.identity.firmware == "3002-F052-1808"
        assert readings["energy_charged_total"] == pytest.approx(7000.1, abs=0.5)
        assert readings["grid_export_total"] == pytest.approx(7012.2, abs=0.5)
        assert readings["load_energy_today"] == pytest.approx(
            0.025 * polls, abs=0.6 * factor / 10 + 0.1
        )


@one_way_is_plain
@pytest.mark.parametrize(
    ("key", "kwh"),
    [
        ("energy_charged_total", 7000),
        ("energy_discharged_total", 6607),
        ("grid_export_total", 7012),
    ],
)
async def test_the_unit_is_seen_whichever_counter_is_shown(
    way: str, key: str, kwh: int, leap: Leap
) -> None:
    """Both totals of the battery are read for it, whatever entities there are."""
    async with (
        high_voltage(way, release="F052", energies="whole") as inverter,
        connected(inverter) as battery,
    ):
        let_pass = passing(inverter, leap)
        for _ in range(240):
            let_pass(60)
            shown = (await battery.read(["battery_power", key]))[key]
            if shown is not None:
                break

        assert shown == pytest.approx(kwh, abs=20)


@both_ways
async def test_one_damaged_counter_does_not_decide_the_unit(
    way: str, leap: Leap
) -> None:
    """Whole kWh at 3 kW, and one read that is 4 kWh too high."""
    words = {f"r{at}": word for at, word in STATUS.items()}
    charging = {"r590": 0x10000 - 300, "r595": 0, "r24": 1, "r110": 0}
    image = vector(HIGH_VOLTAGE, r15=0xF052, **words | charging)
    keys = ["battery_power", "energy_charged_total"]
    seen: set[Any] = set()
    async with on_image(image, way) as (battery, units):
        for minute in range(240):
            leap(60)
            units.units[1][516] = 48_213 + minute // 20 + (4 if minute == 5 else 0)
            seen.add((await battery.read(keys))["energy_charged_total"])

    seen.remove(None)
    assert seen
    assert min(seen) >= 48_213


@pytest.mark.parametrize("missing", [516, 518])
async def test_one_counter_of_the_battery_shows_no_unit(
    missing: int, leap: Leap
) -> None:
    """The power of both directions is no measure of it: tenths passed for whole kWh."""
    words = {f"r{at}": word for at, word in STATUS.items()}
    gone = {f"r{missing}": 0xFFFF, f"r{missing + 1}": 0xFFFF}
    image = vector(HIGH_VOLTAGE, r15=0xF052, r595=0, r24=1, r110=0, **words | gone)
    there = 516 if missing == 518 else 518
    counts = image["units"]["1"][str(there)]
    seen = set()
    async with on_image(image) as (battery, units):
        for minute in range(100):
            leap(60)
            charges = minute // 10 % 2 == 0
            counts += minute % 2 if charges is (there == 516) else 0
            power = -300 if charges else 300
            units.units[1] |= {there: counts, 590: power & 0xFFFF}
            readings = await battery.read(["battery_power", "grid_export_total"])
            seen.add(readings["grid_export_total"])

    assert seen == {None}


@pytest.mark.parametrize(
    ("chosen", "kwh"), [("automatic", None), ("tenths", 4821.3), ("whole", 48_213)]
)
async def test_the_users_choice_of_the_unit_comes_first(
    chosen: str, kwh: float | None
) -> None:
    """F052 has been seen with tenths; whole kWh would be ten times as much."""
    words = {f"r{at}": word for at, word in STATUS.items()}
    image = vector(HIGH_VOLTAGE, r15=0xF052, **words)
    async with on_image(image, counter_unit=chosen) as (battery, _):
        readings = await battery.read()

    assert readings["energy_charged_total"] == kwh


@pytest.mark.parametrize("chosen", ["automatic", "whole"])
async def test_low_voltage_inverters_count_tenths(chosen: str) -> None:
    """With any release; the choice is for those with a high-voltage battery."""
    async with on_image(vector(MIDDAY, r15=0xF052), counter_unit=chosen) as (
        battery,
        _,
    ):
        assert await battery.get("energy_charged_total") == 4821.3


async def test_a_release_with_a_letter_is_after_none_with_digits() -> None:
    """No negative zero-export power, and no permission to sell, for its sake."""
    plant = house(soc=60)
    async with (
        simulator(plant=plant, release="F052") as inverter,
        connected(inverter, export="always") as battery,
    ):
        setting: Any = battery.settings["zero_export_power"]
        await battery.set_power_setpoint(-2500)

        assert setting.minimum == 0
        assert not inverter.inverter.words[172] & 0x20


def test_an_unknown_choice_of_the_unit_is_refused() -> None:
    """It can only come from a damaged configuration."""
    with pytest.raises(ValueError, match="dozens"):
        DeyeModbusInverter("127.0.0.1", counter_unit="dozens")


STATUS = {
    int(address): word
    for address, word in vector(MIDDAY)["units"]["1"].items()
    if 500 <= int(address) <= 558
}
