"""The inputs of a Deye, and words that mean that something is not there."""

from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.deye import methods as deye_methods
from custom_components.homebattery.drivers.deye.registers import (
    SPLIT_POWERS,
    RegisterMap,
    high,
    low,
    three_phase,
)
from custom_components.homebattery.drivers.errors import (
    DeviceRefusedError,
    NotConfirmedError,
    NotSupportedError,
)
from custom_components.homebattery.drivers.measurements import as_number
from tests.drivers.conftest import Leap, fast_keys
from tests.simulators.deye import DeyeSimulator
from tests.simulators.image import Vector

from .support import (
    HIGH_VOLTAGE,
    MIDDAY,
    REMOTE,
    both_ways,
    connected,
    house,
    is_released,
    on_image,
    renewed,
    simulator,
    vector,
)

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

ABSENT: Final = 0xFFFF


def with_words(case: Vector, words: dict[int, int]) -> Vector:
    """Return a vector with some words changed or added."""
    added = {str(address): word for address, word in words.items()}
    return case | {"units": {"1": case["units"]["1"] | added}}


def signed(word: int) -> int:
    """Return the word of a number that may be negative."""
    return word & 0xFFFF


# Words that are not there

BLANK_BMS: Final = with_words(vector(MIDDAY), dict.fromkeys(range(210, 228), ABSENT))
"""An SG04LP3 whose BMS registers are all 0xFFFF while all else works."""

MAPS: Final = {
    "low voltage": three_phase(high_voltage=False),
    "high voltage": three_phase(high_voltage=True),
}
CAN_BE_FULL: Final = {
    *map(low, SPLIT_POWERS),
    *map(high, SPLIT_POWERS),
    *("switches", "remote_permissions", "remote_watchdog"),
}


@pytest.mark.parametrize("registers", MAPS.values(), ids=MAPS)
def test_a_full_word_is_not_there_unless_it_can_be_that(registers: RegisterMap) -> None:
    """In no unsigned register; in a signed one it is the lowest negative number."""
    for run in registers:
        for register in run.registers:
            value = register.decode([ABSENT] * register.count, low_word_first=True)
            is_value = register.data_type.signed or register.name in CAN_BE_FULL
            assert (value is not None) == is_value, register


async def test_an_inverter_that_reports_nothing_shows_nothing_impossible() -> None:
    """Every word but those of its identity is 0xFFFF: most values are unknown."""
    words = vector(MIDDAY)["units"]["1"]
    case = with_words(
        vector(MIDDAY), {int(each): ABSENT for each in words if int(each) > 36}
    )
    async with on_image(case) as (battery, _):
        readings = await battery.read()

    # What is left are signed ones, of which it is -1, and bits.
    assert all(
        not isinstance(value, int | float) or abs(value) <= 10
        for key, value in readings.items()
        if value is not None and key not in ("rated_power", "phases", "serial_number")
    ), readings.values_by_key
    assert readings["battery_soc"] is None
    assert readings["grid_connected"] is None
    assert readings["problem"] == ()


@both_ways
@pytest.mark.parametrize("power", [-2000, 0, 2000])
async def test_a_blank_bms_is_neither_heeded_nor_a_reason_to_refuse(
    power: int, way: str
) -> None:
    """65535 says nothing: not that the battery is to be charged, nor how much it takes."""
    async with on_image(BLANK_BMS, way, export="always") as (battery, _):
        assert await battery.set_power_setpoint(power) == Grant(power)
        assert await battery.keep_alive() is None
        await battery.release()


async def test_a_blank_bms_shows_no_values() -> None:
    """Each of its values is unknown; those of the inverter are not."""
    async with on_image(BLANK_BMS) as (battery, _):
        readings = await battery.read()

    shown = {
        key: value
        for key, value in readings.items()
        if "bms" in key or key.startswith(("max_charge", "max_discharge"))
    }
    assert set(shown.values()) == {None}
    assert "battery_bms_voltage" in shown
    assert readings["battery_soh"] is readings["battery_force_charge"] is None
    assert readings["battery_soc"] == 78


@pytest.mark.parametrize(
    ("name", "voltage", "is_void"),
    [
        (MIDDAY, 5360, False),
        (MIDDAY, 0, True),
        (MIDDAY, 1, True),
        (MIDDAY, 0x7FFF, True),
        (MIDDAY, 0xFFFE, True),
        (HIGH_VOLTAGE, 5120, False),
        (HIGH_VOLTAGE, 60, True),
        (HIGH_VOLTAGE, 0x8000, True),
    ],
)
async def test_a_bms_is_void_without_a_voltage_that_a_battery_has(
    name: str, voltage: int, is_void: bool
) -> None:
    """Its limits of 0 A, and its request for charging, count only beside one."""
    bms = dict.fromkeys(range(210, 231), 0) | {215: voltage, 222: 2}
    status = {
        int(each): word
        for each, word in vector(MIDDAY)["units"]["1"].items()
        if 500 <= int(each) <= 558
    }
    case = with_words(vector(name), status | bms)
    async with on_image(case) as (battery, _):
        readings = await battery.read(["max_charge_current", "battery_force_charge"])
        held = await battery.set_power_setpoint(0)
        charged = await battery.set_power_setpoint(3000)
        await battery.release()

    if is_void:
        assert set(readings.values()) == {None}
        assert held == Grant(0)
        assert charged.power > 2000
    else:
        assert dict(readings) == {"max_charge_current": 0, "battery_force_charge": True}
        assert held == Grant(0, LimitReason.PROTECTION)
        assert charged == Grant(0, LimitReason.BATTERY)


@pytest.mark.parametrize(
    ("word", "is_forced"), [(0x82, True), (0x12, True), (0xF0, False)]
)
async def test_a_bms_may_have_other_requests_as_well(
    word: int, is_forced: bool
) -> None:
    """Its other bits mean nothing known."""
    async with on_image(vector(MIDDAY, r222=word)) as (battery, _):
        assert await battery.get("battery_force_charge") is is_forced
        held = await battery.set_power_setpoint(-1000)
        assert (held.reason is LimitReason.PROTECTION) is is_forced


async def test_a_bms_that_becomes_blank_does_not_end_a_setpoint() -> None:
    """It is held as before, and by the former limits again afterwards."""
    async with (
        simulator(plant=house(soc=60)) as inverter,
        connected(inverter) as battery,
    ):
        await battery.set_power_setpoint(0)
        await inverter.misbehave("blank_bms")
        assert await battery.keep_alive() is None
        assert await battery.get("max_charge_current") is None
        assert not is_released(inverter)
        await inverter.misbehave("blank_bms", on=False)
        assert await battery.get("max_charge_current") == 200
        await battery.release()


@pytest.mark.parametrize(
    ("address", "power"),
    [
        pytest.param(115, -2000, id="shutdown SOC"),
        pytest.param(117, -2000, id="minimum SOC"),
        pytest.param(212, 2000, id="charge limit of the BMS"),
        pytest.param(213, -2000, id="discharge limit of the BMS"),
        pytest.param(222, -2000, id="requests of the BMS"),
        pytest.param(222, 0, id="requests of the BMS, at rest"),
        pytest.param(552, -2000, id="relays"),
    ],
)
async def test_a_condition_that_is_not_there_does_not_refuse(
    address: int, power: int
) -> None:
    """One word alone, beside others that are there."""
    case = with_words(vector(MIDDAY), {address: ABSENT})
    async with on_image(case, export="always") as (battery, _):
        assert await battery.set_power_setpoint(power) == Grant(power)
        await battery.release()


async def test_without_a_minimum_soc_discharging_ends_at_a_safe_one() -> None:
    """Not at 0 %."""
    case = with_words(vector(MIDDAY), {117: ABSENT, 588: 19})
    async with on_image(case, export="always") as (battery, _):
        assert await battery.set_power_setpoint(-2000) == Grant(0, LimitReason.EMPTY)
        await battery.release()


async def test_temperatures_that_are_not_there_do_not_void_the_counters() -> None:
    """They are unknown; it is zeros that give away an inverter that starts."""
    case = with_words(vector(MIDDAY), {540: ABSENT, 541: ABSENT})
    async with on_image(case) as (battery, _):
        readings = await battery.read(["device_temperature", "energy_charged_total"])

    assert dict(readings) == {
        "device_temperature": None,
        "energy_charged_total": 4821.3,
    }


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (141, "energy_pattern"),
        (146, "tou_enabled"),
        (148, "tou_1_time"),
        (172, "tou_1_charge"),
        (17, "hmi_firmware"),
    ],
)
async def test_a_word_of_bits_that_is_not_there_is_unknown(
    address: int, key: str
) -> None:
    """Not off, and not the first option."""
    async with on_image(with_words(vector(MIDDAY), {address: ABSENT})) as (battery, _):
        assert await battery.get(key) is None


async def test_bits_that_are_not_there_are_not_written() -> None:
    """The other bits of the word are unknown."""
    case = with_words(vector(MIDDAY), {146: ABSENT})
    async with on_image(case) as (battery, units):
        with pytest.raises(NotSupportedError, match="146"):
            await battery.set_value("tou_enabled", True)
        assert units.traffic.writes == []


async def test_an_impossible_rated_power_does_no_harm() -> None:
    """Words of a damaged answer: 429 MW."""
    case = with_words(vector(MIDDAY), {20: 0xFFF0, 21: 0xFFFF})
    async with on_image(case) as (battery, _):
        readings = await battery.read()
        assert readings["battery_soc"] == 78
        assert "charge_current_limit" in battery.settings


async def test_a_rated_power_that_is_not_there_is_unknown() -> None:
    """So there is no setpoint, instead of one of 429 MW."""
    case = with_words(vector(MIDDAY), {20: ABSENT, 21: ABSENT})
    async with on_image(case) as (battery, _):
        assert battery.setpoint_limits is None
        assert await battery.get("rated_power") is None


async def test_temperature_compensation_is_signed() -> None:
    """Lead batteries want less voltage when they are warm: -30 mV/°C."""
    (register,) = (
        each
        for run in MAPS["low voltage"]
        for each in run.registers
        if each.address == 107
    )
    assert register.decode([signed(-30)]) == -30


# Two batteries

TWO_INPUTS: Final = with_words(
    vector(HIGH_VOLTAGE),
    {
        24: 2,
        110: 1,
        587: 2650,
        593: 2650,
        590: signed(-190),
        591: signed(-750),
        595: signed(-189),
        594: signed(-740),
    },
)
"""A high-voltage inverter of 25 kW: 1900 W into one battery, 1890 W into the other."""


@both_ways
@pytest.mark.parametrize(
    ("words", "power", "amps"),
    [
        pytest.param({}, 3790, 14.9, id="by both"),
        pytest.param({110: 0}, 3790, 14.9, id="by the number of inputs"),
        pytest.param({24: 0}, 3790, 14.9, id="by the setting"),
        pytest.param({24: 1, 110: 0}, 1900, 7.5, id="one input"),
        pytest.param({24: ABSENT, 110: ABSENT}, 1900, 7.5, id="unknown"),
        pytest.param({593: ABSENT, 594: 9, 595: 9}, 1900, 7.5, id="no second one"),
    ],
)
async def test_two_batteries_are_summed(
    words: dict[int, int], power: float, amps: float, way: str
) -> None:
    """Power and current, as 24 and 110 say how many there are."""
    async with on_image(with_words(TWO_INPUTS, words), way) as (battery, _):
        readings = await battery.read()

    assert readings["battery_power"] == readings["battery_charge_power"] == power
    assert readings["battery_current"] == pytest.approx(amps)


@both_ways
@pytest.mark.parametrize(
    ("words", "power", "amps"),
    [
        pytest.param({595: ABSENT}, None, 14.9, id="power of the second"),
        pytest.param({594: ABSENT}, 3790, None, id="current of the second"),
        pytest.param({590: ABSENT}, None, 14.9, id="power of the first"),
        pytest.param({591: ABSENT}, 3790, None, id="current of the first"),
        pytest.param({594: ABSENT, 595: ABSENT}, None, None, id="all of the second"),
        pytest.param({594: signed(-4), 595: ABSENT}, 1910, 7.54, id="-1 at rest"),
    ],
)
async def test_the_total_is_unknown_without_one_of_two_batteries(
    words: dict[int, int], power: float | None, amps: float | None, way: str
) -> None:
    """The other one is no total; 0xFFFF is -1 only beside a battery at rest."""
    async with on_image(with_words(TWO_INPUTS, words), way) as (battery, _):
        readings = await battery.read()

    assert readings["battery_power"] == readings["battery_charge_power"] == power
    assert readings["battery_current"] == pytest.approx(amps)
    if power is None:
        assert readings["battery_status"] is None


@both_ways
@pytest.mark.parametrize(
    ("address", "lost"),
    [
        (593, {"battery_power", "battery_current"}),
        (594, {"battery_current"}),
        (595, {"battery_power"}),
    ],
)
async def test_the_total_fails_while_one_of_two_batteries_gets_no_answer(
    address: int, lost: set[str], way: str
) -> None:
    """Of the register alone, or of its block: the first one is never the total."""
    keys = {"battery_power": 3790, "battery_current": 14.9}
    async with on_image(TWO_INPUTS, way) as (battery, units):
        await battery.read(keys)
        del units.units[1][address]
        for _ in range(4):
            seen = await battery.read()
            assert all(seen.get(key) in (None, keys[key]) for key in keys)

    assert seen.keys() & keys == keys.keys() - lost


@both_ways
@pytest.mark.parametrize("voltage", [0, 30, ABSENT, 30_806])
async def test_a_second_battery_without_a_voltage_is_missed_for_a_while(
    voltage: int, way: str, leap: Leap
) -> None:
    """It may be a damaged word, and half a total; later it was disconnected."""
    async with on_image(TWO_INPUTS, way) as (battery, units):
        seen = [await battery.get("battery_power")]
        units.units[1] |= {593: voltage, 594: 0, 595: 0}
        for seconds in (0, 10, 280, 20):
            leap(seconds)
            seen.append(await battery.get("battery_power"))
        units.units[1] |= {593: 2650, 595: signed(-189)}
        seen.append(await battery.get("battery_power"))

    assert seen == [3790, None, None, None, 1900, 3790]


@both_ways
@pytest.mark.parametrize("word", [0, ABSENT, 30_806])
async def test_a_damaged_setting_does_not_make_one_of_two_batteries(
    word: int, way: str, leap: Leap
) -> None:
    """Unless it stays: then the user has changed it."""
    keys = ["battery_power", "low_soc"]
    async with on_image(with_words(TWO_INPUTS, {24: 0}), way) as (battery, units):
        seen = []
        for parallel in (1, word, 1, word, *[word] * 5):
            leap(60)
            units.units[1][110] = parallel
            seen.append((await battery.read(keys))["battery_power"])

    assert seen == [3790] * 7 + [1900] * 2


async def test_two_batteries_decide_the_status_together() -> None:
    """30 W into each are more than idle."""
    words = {590: signed(-3), 595: signed(-3)}
    async with on_image(with_words(TWO_INPUTS, words)) as (battery, _):
        assert await battery.get("battery_status") == "charging"


@both_ways
async def test_values_of_two_batteries_are_those_of_the_house(way: str) -> None:
    """Power, current, and the limits of both BMS."""
    async with (
        simulator(
            way, plant=house(time_of_day=20.0, soc=70), two_batteries=True
        ) as inverter,
        connected(inverter) as battery,
    ):
        await battery.read()
        readings = await battery.read()
        state = inverter.state()

    assert state["battery_power"] < -100
    assert readings["battery_power"] == pytest.approx(state["battery_power"], abs=2)
    assert readings["max_charge_current"] == 200
    assert readings["battery_bms_charge_current_limit"] == 100


async def test_the_limits_of_two_bms_bound_a_setpoint_together() -> None:
    """40 A each are 80 A: 2500 W of about 4200 W."""
    async with (
        simulator(plant=house(soc=60), two_batteries=True) as inverter,
        connected(inverter) as battery,
    ):
        await inverter.misbehave("bms", charge=80, discharge=80)
        assert await battery.set_power_setpoint(2500) == Grant(2500)
        too_much = await battery.set_power_setpoint(6000)
        await battery.release()

    assert too_much.reason is LimitReason.BATTERY
    assert 3500 < too_much.power < 4700


@both_ways
@pytest.mark.parametrize(
    ("address", "charge", "discharge"),
    [(212, None, 90), (243, None, 90), (213, 80, None), (244, 80, None), (246, 40, 45)],
)
async def test_a_limit_of_one_bms_is_not_shown_as_that_of_both(
    address: int, charge: int | None, discharge: int | None, way: str
) -> None:
    """One that reports a voltage lacks the limit; without a voltage there is no such BMS."""
    limits = dict.fromkeys([*range(210, 228), *range(241, 259)], 0)
    limits |= {212: 40, 213: 45, 215: 2650, 243: 40, 244: 45, 246: 2650}
    keys = ("max_charge_current", "max_discharge_current")
    powers = ("max_charge_power", "max_discharge_power")
    async with on_image(with_words(TWO_INPUTS, limits), way) as (battery, units):
        both = await battery.read([*keys, *powers])
        units.units[1][address] = ABSENT
        seen = await battery.read([*keys, *powers])

    assert [both[key] for key in keys] == [80, 90]
    assert [seen[key] for key in keys] == [charge, discharge]
    assert [seen[key] for key in powers] == [
        None if amps is None else amps * 265 for amps in (charge, discharge)
    ]


@both_ways
async def test_the_limits_are_those_of_both_once_a_second_battery_is_used(
    way: str, leap: Leap
) -> None:
    """Its BMS is asked from then on, though the same keys were read before."""
    limits = dict.fromkeys([*range(210, 228), *range(241, 259)], 0)
    limits |= {212: 40, 215: 2650, 243: 40, 246: 2650, 24: 0, 110: 0}
    async with on_image(with_words(TWO_INPUTS, limits), way) as (battery, units):
        keys = ["max_charge_current", "battery_power"]
        seen = [(await battery.read(keys))["max_charge_current"] for _ in range(2)]
        units.units[1][110] = 1
        for _ in range(2):
            leap(100)
            seen.append((await battery.read(keys))["max_charge_current"])

    assert seen == [40, 40, 40, 80]


@pytest.mark.parametrize("voltage", [2650, 0, ABSENT])
async def test_the_second_bms_is_heeded_if_it_has_a_voltage(voltage: int) -> None:
    """It asks for charging, and the first one does not."""
    first = dict(zip(range(210, 231), [0] * 21, strict=True)) | {
        212: 40,
        213: 40,
        215: 2650,
    }
    second = dict.fromkeys(range(241, 259), 0) | {246: voltage, 253: 2}
    case = with_words(TWO_INPUTS, first | second | {552: 4})
    async with on_image(case) as (battery, _):
        grant = await battery.set_power_setpoint(0)
        await battery.release()

    reason = LimitReason.PROTECTION if voltage == 2650 else None
    assert grant == Grant(0, reason)


async def test_a_second_power_that_is_not_there_is_no_reason_to_refuse() -> None:
    """It is unknown then whether the battery follows, and the setpoint is held."""
    case = with_words(vector(REMOTE), {24: 2})
    del case["units"]["1"]["595"]
    async with on_image(case, remote_mode=True) as (battery, _):
        assert await battery.set_power_setpoint(2000) == Grant(2000)
        assert (await renewed(battery)).power == 2000


async def test_the_direction_of_remote_mode_is_judged_by_both_batteries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of them discharges a little, the other charges as asked."""
    monkeypatch.setattr(deye_methods, "REMOTE_CHECK_AFTER", 0)
    case = with_words(
        vector(REMOTE),
        {24: 2, 587: 5250, 593: 5250, 590: signed(0), 595: signed(0)},
    )
    async with on_image(case, remote_mode=True) as (battery, units):
        await battery.set_power_setpoint(2000)
        units.units[1] |= {590: 100, 595: signed(-2100)}
        assert (await renewed(battery)).power == 2000

        await battery.set_power_setpoint(3000)
        units.units[1] |= {590: 100, 595: 2100}
        with pytest.raises(NotConfirmedError, match="instead of"):
            await battery.keep_alive()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param({595: None}, id="no answer"),
        pytest.param({593: None, 594: None, 595: None}, id="no answer of any"),
        pytest.param({593: ABSENT}, id="no voltage"),
        pytest.param({594: signed(-4000), 595: ABSENT}, id="no power"),
    ],
)
async def test_the_direction_of_remote_mode_is_not_judged_by_one_of_two_batteries(
    monkeypatch: pytest.MonkeyPatch, words: dict[int, int | None]
) -> None:
    """The other one charges as asked; only that is not read now."""
    monkeypatch.setattr(deye_methods, "REMOTE_CHECK_AFTER", 0)
    case = with_words(
        vector(REMOTE),
        {24: 2, 587: 5250, 593: 5250, 590: 0, 594: 0, 595: 0},
    )
    async with on_image(case, remote_mode=True) as (battery, units):
        await battery.set_power_setpoint(2000)
        units.units[1] |= {590: 100, 591: 190}
        for address, word in words.items():
            if word is None:
                del units.units[1][address]
            else:
                units.units[1][address] = word
        assert await renewed(battery) == Grant(2000)
        await battery.release()


TWO_SOCS: Final = with_words(TWO_INPUTS, {110: 0, 115: 10, 117: 15, 552: 4})
"""A minimum SOC of 15 %, a shutdown SOC of 10 %."""


@both_ways
@pytest.mark.parametrize(
    ("first", "second", "power", "reason"),
    [
        pytest.param(60, 15, -2000, LimitReason.EMPTY, id="second is empty"),
        pytest.param(15, 60, -2000, LimitReason.EMPTY, id="first is empty"),
        pytest.param(60, 10, -2000, LimitReason.PROTECTION, id="about to shut down"),
        pytest.param(60, 100, 5000, LimitReason.FULL, id="second is full"),
        pytest.param(100, 60, 5000, LimitReason.FULL, id="first is full"),
        pytest.param(15, 60, 5000, None, id="charging an empty one"),
        pytest.param(60, 100, -2000, None, id="discharging a full one"),
        pytest.param(60, 0, -2000, None, id="not reported"),
        pytest.param(60, ABSENT, -2000, None, id="not there"),
        pytest.param(60, 30_806, 5000, None, id="damaged"),
    ],
)
async def test_a_discharge_is_judged_by_the_lower_soc_a_charge_by_the_higher(
    first: int, second: int, power: int, reason: LimitReason | None, way: str
) -> None:
    """Of two batteries, as far as both are known."""
    case = with_words(TWO_SOCS, {588: first, 589: second})
    async with on_image(case, way, export="always") as (battery, _):
        grant = await battery.set_power_setpoint(power)
        await battery.release()

    assert grant.reason is reason
    assert bool(grant.power) == (reason is None)


@pytest.mark.parametrize("words", [{24: 1}, {593: 0}, {593: ABSENT}], ids=str)
async def test_the_soc_of_a_battery_that_is_not_there_is_not_heeded(
    words: dict[int, int],
) -> None:
    """Its register may have anything."""
    case = with_words(TWO_SOCS, {588: 60, 589: 5} | words)
    async with on_image(case, export="always") as (battery, _):
        assert (await battery.set_power_setpoint(-2000)).power == -2000
        await battery.release()


@pytest.mark.parametrize("address", [589, 593])
@pytest.mark.parametrize("word", [0, ABSENT, None])
async def test_the_last_soc_of_a_second_battery_counts_for_a_while(
    address: int, word: int | None, leap: Leap
) -> None:
    """As that of the first one does: one damaged word does not empty the other one."""
    case = with_words(TWO_SOCS, {588: 60, 589: 15})
    async with on_image(case, export="always") as (battery, units):
        await battery.set_power_setpoint(0)
        if word is None:
            del units.units[1][address]
        else:
            units.units[1][address] = word
        leap(100)
        soon = await battery.set_power_setpoint(-2000)
        leap(250)
        later = await battery.set_power_setpoint(-2000)
        await battery.release()

    assert soon == Grant(0, LimitReason.EMPTY)
    assert later.power == -2000


# PV and the GEN port


@pytest.mark.parametrize(
    ("name", "watts"), [(MIDDAY, 1), (HIGH_VOLTAGE, 10)], ids=["LV", "HV"]
)
@pytest.mark.parametrize("mppts", [8, 5, 0], ids=["8", "5", "unknown"])
async def test_pv_5_to_8_belong_to_the_pv_power(
    name: str, watts: int, mppts: int
) -> None:
    """V and A count tenths, W as the first four do."""
    words = dict(
        enumerate((4000, 4100, 4200, 4300, 12, 15, 17, 19, 500, 600, 700, 800), 719)
    )
    case = with_words(vector(name), words | {22: mppts << 8 | 3})
    first = sum(vector(name)["units"]["1"][str(each)] for each in range(672, 676))
    async with on_image(case) as (battery, _):
        readings = await battery.read()

    assert readings["pv_power"] == (first + 2600) * watts
    assert readings["pv6_power"] == 600 * watts
    assert (readings["pv8_voltage"], readings["pv8_current"]) == (430, 1.9)


@both_ways
async def test_pv_power_is_unknown_without_the_strings_that_are_counted(
    way: str, leap: Leap
) -> None:
    """The first four are no total of eight; the last values count for a while."""
    more = dict.fromkeys(range(719, 731), 50)
    case = with_words(vector(HIGH_VOLTAGE), more | {22: 8 << 8 | 3})
    keys = ["pv_power", "low_soc"]
    async with on_image(case, way) as (battery, units):
        power = await battery.get("pv_power")
        for address in more:
            del units.units[1][address]
        seen = []
        for _ in range(10):
            leap(60)
            seen.append((await battery.read(keys)).get("pv_power"))

    assert power
    assert set(seen) <= {power, None}
    assert seen[-1] is None


async def test_an_inverter_with_fewer_strings_is_not_asked_for_pv_5_to_8() -> None:
    """Register 22 says that it has two."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.read()
        addresses = [address for _, address, _ in inverter.units.traffic.reads]

    assert not [address for address in addresses if 719 <= address <= 730]
    assert "pv5_power" not in battery.measurements


@pytest.mark.parametrize("name", [MIDDAY, HIGH_VOLTAGE])
@pytest.mark.parametrize("address", [672, 673])
async def test_pv_power_is_unknown_without_one_of_two_strings(
    name: str, address: int
) -> None:
    """That are counted; those that are not are none."""
    case = vector(name, r22=0x0203, r674=ABSENT, r675=ABSENT)
    async with on_image(case) as (battery, units):
        strings = [as_number(await battery.get(f"pv{each}_power")) for each in (1, 2)]
        assert None not in strings
        assert await battery.get("pv_power") == sum(filter(None, strings))
        units.units[1][address] = ABSENT
        assert await battery.get("pv_power") is None


@both_ways
@pytest.mark.parametrize("count", [0x0003, ABSENT, 0x0903])
async def test_without_a_count_a_string_that_is_not_there_is_none(
    count: int, way: str
) -> None:
    """Nor is there one for a count that no inverter has; without any it is unknown."""
    case = vector(MIDDAY, r22=count, r673=ABSENT, r674=ABSENT, r675=ABSENT)
    async with on_image(case, way) as (battery, units):
        assert await battery.get("pv_power") == 4470
        assert await battery.get("pv2_power") is None
        units.units[1][672] = ABSENT
        assert await battery.get("pv_power") is None


async def test_strings_have_their_energy_of_the_day() -> None:
    """Tenths of a kWh, as the counters beside them."""
    async with on_image(vector(MIDDAY, r530=184, r531=157)) as (battery, _):
        readings = await battery.read([f"pv{each}_energy_today" for each in (1, 2, 4)])

    assert dict(readings) == {
        "pv1_energy_today": 18.4,
        "pv2_energy_today": 15.7,
        "pv4_energy_today": 0,
    }


GEN_PORT: Final = {133: 2, 664: 600, 665: 500, 666: 700, 667: 1800}
"""A micro-inverter at the GEN port that feeds in 1800 W."""


@both_ways
async def test_a_micro_inverter_at_the_gen_port_is_pv_and_feeds_the_load(
    way: str,
) -> None:
    """The inverter's own counts of both leave it out."""
    async with on_image(vector(MIDDAY), way) as (battery, _):
        without = await battery.read()
    async with on_image(with_words(vector(MIDDAY), GEN_PORT), way) as (battery, _):
        beside = await battery.read()

    assert (without["pv_power"], beside["pv_power"]) == (8480, 10_280)
    assert beside["load_power"] == number(without["load_power"]) + 1800
    assert beside["load_power_l3"] == number(without["load_power_l3"]) + 700
    assert beside["generator_power"] == 1800


def number(value: Any) -> float:
    """Return a reading that is a number."""
    assert isinstance(value, int | float)
    return value


@pytest.mark.parametrize("mode", [0, 1, ABSENT], ids=["generator", "load", "unknown"])
async def test_a_gen_port_with_something_else_is_no_pv(mode: int) -> None:
    """A generator, or a load."""
    case = with_words(vector(MIDDAY), GEN_PORT | {133: mode})
    async with on_image(case) as (battery, _):
        readings = await battery.read()

    assert readings["pv_power"] == 8480
    assert readings["load_power"] == 2513


@both_ways
@pytest.mark.parametrize("word", [ABSENT, 30_806])
async def test_one_damaged_setting_does_not_change_what_is_connected(
    word: int, way: str, leap: Leap
) -> None:
    """Live values depend on it until it is read again, a minute later."""
    async with on_image(with_words(vector(MIDDAY), GEN_PORT), way) as (battery, units):
        expected = await battery.get("pv_power")
        units.damaged = {133: word}
        seen = []
        for keys in (["low_soc"], [], [], ["low_soc"], []):
            leap(31)
            seen.append((await battery.read(["pv_power", *keys]))["pv_power"])

    assert units.damaged == {}
    assert seen == [expected] * 5


async def test_a_setting_without_a_meaning_that_stays_is_unknown(leap: Leap) -> None:
    """After some minutes a micro-inverter is no longer taken for granted."""
    async with on_image(with_words(vector(MIDDAY), GEN_PORT)) as (battery, units):
        await battery.get("pv_power")
        units.units[1][133] = 30_806
        seen = []
        for _ in range(6):
            leap(61)
            readings = await battery.read(["pv_power", "low_soc"])
            seen.append(readings["pv_power"])

    assert seen == [10_280] * 4 + [8480] * 2


async def test_what_a_micro_inverter_takes_at_night_is_no_pv() -> None:
    """A few watts."""
    case = with_words(vector(MIDDAY), GEN_PORT | {667: signed(-6), 671: ABSENT})
    async with on_image(case) as (battery, _):
        assert await battery.get("pv_power") == 8480


async def test_values_with_micro_inverters_are_those_of_the_house() -> None:
    """Half of the PV at the GEN port."""
    plant = house(time_of_day=12.0, pv_dc_share=0.5)
    async with (
        simulator(plant=plant, micro_inverters=True) as inverter,
        connected(inverter) as battery,
    ):
        readings = await battery.read()
        state = inverter.state()

    assert sum(plant.pv_ac) > 1000
    assert readings["pv_power"] == pytest.approx(plant.pv_dc + sum(plant.pv_ac), abs=5)
    assert readings["load_power"] == pytest.approx(state["load_power"], abs=5)


@both_ways
@pytest.mark.parametrize(
    "options",
    [
        {"more_strings": True},
        {"two_batteries": True},
        {"micro_inverters": True},
        {"more_strings": True, "two_batteries": True, "micro_inverters": True},
    ],
    ids=str,
)
async def test_the_fast_poll_takes_one_request_whatever_is_connected(
    options: dict[str, Any], way: str
) -> None:
    """Settings and further strings are read with the slow polls."""
    plant = house(time_of_day=12.0, pv_dc_share=0.7)
    async with (
        simulator(way, plant=plant, **options) as inverter,
        connected(inverter) as battery,
    ):
        everything = await battery.read()
        fast = fast_keys(battery)
        before = inverter.units.traffic.requests
        readings = [await battery.read(fast) for _ in range(3)]
        requests = inverter.units.traffic.requests - before

    assert requests == 3
    for key in ("battery_power", "pv_power", "load_power"):
        assert key in fast
        assert {each[key] for each in readings} == {everything[key]}


@both_ways
async def test_what_changes_at_the_inputs_is_seen_after_a_while(
    way: str, leap: Leap
) -> None:
    """Also where no entity shows any of it."""
    words = GEN_PORT | {133: 0, 22: 8 << 8 | 3} | dict.fromkeys(range(719, 731), 0)
    async with on_image(with_words(vector(MIDDAY), words), way) as (battery, units):
        seen = [await battery.get("pv_power")]
        units.units[1] |= {133: 2, 730: 500}
        for seconds in (10, 80):
            leap(seconds)
            seen.append(await battery.get("pv_power"))

    assert seen == [8480, 8480, 10_780]


@both_ways
async def test_further_strings_are_read_with_the_slow_polls(
    way: str, leap: Leap
) -> None:
    """Which are once a minute; the polls between stay one request."""
    plant = house(time_of_day=12.0)
    async with (
        simulator(way, plant=plant, more_strings=True) as inverter,
        connected(inverter) as battery,
    ):
        await battery.read()
        asked = []
        for seconds, keys in ((50, ()), (10, ("energy_charged_total",)), (10, ())):
            leap(seconds)
            before = len(inverter.units.traffic.reads)
            await battery.read(["pv_power", "battery_power", *keys])
            asked.append(
                [address for _, address, _ in inverter.units.traffic.reads[before:]]
            )

    live = [[each for each in read if 586 <= each <= 708] for read in asked]
    assert [len(each) for each in live] == [1, 1, 1]
    assert [727 in read for read in asked] == [False, True, False]
    assert [len(read) for read in asked] == [1, 4, 1]


@both_ways
async def test_what_is_connected_stays_known_while_it_gets_no_answer(
    way: str, leap: Leap
) -> None:
    """The settings are refused for a while: both batteries still count."""
    async with on_image(with_words(TWO_INPUTS, {24: 0}), way) as (battery, units):
        assert await battery.get("battery_power") == 3790
        for address in range(98, 192):
            del units.units[1][address]
        for _ in range(12):
            leap(60)
            assert await battery.get("battery_power") == 3790


async def test_kept_values_do_not_hide_that_everything_is_refused() -> None:
    """The settings that serve longer are no answer."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        units.units[1].clear()
        for _ in range(2):
            with pytest.raises(DeviceRefusedError):
                await battery.read(["pv_power", "battery_power"])


# Packs


async def test_twenty_packs_are_read() -> None:
    """As many as an inverter can have."""
    async with simulator(packs=20) as inverter, connected(inverter) as battery:
        readings = await battery.read()
        parts = battery.parts

    assert readings["battery_pack_count"] == len(parts) == 20
    assert readings["pack20_soc"] == pytest.approx(50, abs=0.1)
    assert parts[19].serial_number == "PACK000000000020"


async def test_packs_that_are_not_counted_are_not_read() -> None:
    """A count of 65535 is none."""
    words = dict.fromkeys(range(10_002, 10_033 + 2 * 38), ABSENT)
    async with on_image(with_words(vector(MIDDAY), words)) as (battery, _):
        readings = await battery.read()

    assert readings["battery_pack_count"] is None
    assert battery.parts == ()
    assert not [key for key in readings if key.startswith("pack")]


async def test_words_of_a_pack_that_are_not_there_are_unknown() -> None:
    """No cells of 655 V, and no serial number."""
    words = {10_002: 1, **dict.fromkeys(range(10_032, 10_032 + 38), ABSENT)}
    async with on_image(with_words(vector(MIDDAY), words)) as (battery, _):
        readings = await battery.read()
        (part,) = battery.parts

    assert part.serial_number is None
    assert {value for key, value in readings.items() if key.startswith("pack1")} == {
        None
    }


# Backup port


@pytest.mark.parametrize("name", [MIDDAY, HIGH_VOLTAGE], ids=["LV", "HV"])
@pytest.mark.parametrize(
    "extension",
    [
        pytest.param({699: 0}, id="old firmware"),
        pytest.param({699: ABSENT}, id="new firmware"),
        pytest.param({699: 0, 690: ABSENT, 694: ABSENT}, id="only for other powers"),
    ],
)
async def test_the_backup_port_may_be_fed(name: str, extension: dict[int, int]) -> None:
    """Another inverter at it feeds in: -900 W, whatever the high word is."""
    case = with_words(vector(name), {643: signed(-900), **extension})
    async with on_image(case) as (battery, _):
        assert await battery.get("ups_power") == -900


@both_ways
@pytest.mark.parametrize("extension", [False, True], ids=["old", "new"])
async def test_a_feed_at_the_backup_port_is_that_of_the_house(
    extension: bool, way: str
) -> None:
    """On each phase, and in all."""
    inverter: DeyeSimulator = simulator(way, extension=extension)
    async with inverter, connected(inverter) as battery:
        await inverter.misbehave("backup_feed", power=1500)
        readings = await battery.read(["ups_power", "ups_power_l2"])
        backup = inverter.inverter.backup

    assert readings["ups_power"] == pytest.approx(sum(backup), abs=1)
    assert readings["ups_power_l2"] == pytest.approx(backup[1], abs=1)
    assert sum(backup) < 0
