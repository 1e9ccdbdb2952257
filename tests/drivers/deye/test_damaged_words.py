"""Words that come damaged once, as data loggers and gateways make them up now and then.

A setpoint is written to flash, and what is restored as well: no single read decides.
"""

import pytest

from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.deye import methods as deye_methods
from custom_components.homebattery.drivers.deye.plans import SNAPSHOT
from custom_components.homebattery.drivers.errors import ProtocolError, TakenOverError
from custom_components.homebattery.drivers.flash import DAILY_BUDGET
from tests.drivers.conftest import Leap
from tests.drivers.damage import damaged
from tests.simulators.image import VectorUnits

from .support import (
    MIDDAY,
    WAYS,
    connected,
    house,
    on_image,
    renewed,
    simulator,
    vector,
)

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

both_ways = pytest.mark.parametrize("way", WAYS)


def settings_of(units: VectorUnits) -> dict[int, int]:
    """Return the words that a release restores, as they are on the inverter."""
    return {address: units.units[1][address] for address in SNAPSHOT}


def settings_reads(units: VectorUnits) -> int:
    """Return the number of reads of all settings so far."""
    return [each.address for each in units.traffic.reads if each.words >= 94].count(98)


# The snapshot


@pytest.mark.parametrize("is_read", [True, False], ids=["polled", "not polled"])
@pytest.mark.parametrize("address", [108, 142, 177])
@both_ways
async def test_a_damaged_word_is_not_restored(
    way: str, address: int, is_read: bool
) -> None:
    """It would be written into the user's settings by the release."""
    async with on_image(vector(MIDDAY), way) as (battery, units):
        if is_read:
            await battery.read()
        before = settings_of(units)
        with damaged(units, address, 30_806):
            assert (await battery.set_power_setpoint(2500)).power == 2500
        await battery.release()

        assert settings_of(units) == before


async def test_a_snapshot_that_was_polled_costs_no_further_read() -> None:
    """An earlier poll confirms it; else it is read once more."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.take_snapshot()
        assert settings_reads(units) == 2
        await battery.take_snapshot()
        assert settings_reads(units) == 3
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        before = settings_reads(units)
        await battery.take_snapshot()
        assert settings_reads(units) == before + 1


async def test_settings_that_differ_in_each_read_are_not_changed() -> None:
    """Nothing that could be restored is known."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        words = iter(range(100, 200))
        read = units.read

        def shown(unit: int, start: int, count: int) -> list[int]:
            if start <= 108 < start + count:
                units.units[1][108] = next(words)
            return read(unit, start, count)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(units, "read", shown)
            with pytest.raises(ProtocolError, match="other settings"):
                await battery.set_power_setpoint(2500)

        assert units.traffic.writes == []
        assert battery.snapshot is None
        assert battery.held is None


# The conditions of a setpoint


@pytest.mark.parametrize(
    ("address", "word", "power"),
    [
        pytest.param(587, 0xFFFF, 2500, id="no voltage"),
        pytest.param(588, 0xFFFF, 2500, id="no SOC"),
        pytest.param(588, 3, -2000, id="empty"),
        pytest.param(117, 99, -2000, id="minimum SOC"),
        pytest.param(117, 30_806, -2000, id="impossible minimum SOC"),
        pytest.param(117, 3, -2000, id="low minimum SOC"),
        pytest.param(115, 99, -2000, id="shutdown SOC"),
        pytest.param(213, 3, -2000, id="BMS"),
        pytest.param(222, 30_806, -2000, id="BMS wants a charge"),
        pytest.param(552, 0, 2500, id="no grid"),
    ],
)
@both_ways
async def test_a_setpoint_is_not_cut_by_one_damaged_word(
    way: str, address: int, word: int, power: int
) -> None:
    """It would stay cut, or suspended, until another one is set."""
    async with on_image(vector(MIDDAY), way) as (battery, units):
        await battery.read()
        with damaged(units, address, word):
            granted = await battery.set_power_setpoint(power)

        assert granted == Grant(power, None, power < 0, power < 0)
        if power < 0:
            assert units.units[1][166] == units.units[1][117]


@pytest.mark.parametrize("power", [2000, -2000])
@pytest.mark.parametrize(
    ("word", "bms", "is_read"),
    [
        pytest.param(3, {"r215": 0}, True, id="no BMS"),
        pytest.param(1000, {}, True, id="impossible"),
        pytest.param(2000, {}, True, id="possible"),
        pytest.param(2000, {}, False, id="possible, not polled"),
    ],
)
async def test_a_setpoint_does_not_follow_from_one_damaged_voltage(
    word: int, bms: dict[str, int], is_read: bool, power: int
) -> None:
    """Amperes follow from it, and stay in the settings."""
    async with on_image(vector(MIDDAY, **bms)) as (battery, units):
        await battery.set_power_setpoint(power)
        meant = settings_of(units)
    async with on_image(vector(MIDDAY, **bms)) as (battery, units):
        if is_read:
            await battery.read()
        with damaged(units, 587, word):
            granted = await battery.set_power_setpoint(power)

        assert granted == Grant(power, None, power < 0, power < 0)
        assert settings_of(units) == meant


@pytest.mark.parametrize(
    ("address", "word"),
    [(213, 0), (588, 3), (587, 2000), (222, 2)],
)
async def test_the_read_that_confirms_a_cut_may_be_damaged(
    address: int, word: int
) -> None:
    """A third one decides."""
    async with on_image(vector(MIDDAY, r213=60)) as (battery, units):
        await battery.read()
        meant = await battery.set_power_setpoint(-12000)
        assert meant.reason is LimitReason.BATTERY
    async with on_image(vector(MIDDAY, r213=60)) as (battery, units):
        await battery.read()
        with damaged(units, address, word, first=2):
            assert await battery.set_power_setpoint(-12000) == meant


async def test_where_no_two_reads_agree_the_one_that_permits_least_counts() -> None:
    """Whichever of three limits of the BMS is right, none is exceeded."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        with damaged(units, 213, 9), damaged(units, 213, 3, first=2):
            units.units[1][213] = 20
            grant = await battery.set_power_setpoint(-12_000)

    assert grant.reason is LimitReason.BATTERY
    assert -200 < grant.power < -100


async def test_conditions_are_read_once_more_only_for_a_cut_or_another_voltage() -> (
    None
):
    """A setpoint that is granted as it was asked takes one read of them."""

    def reads(units: VectorUnits) -> int:
        return sum(
            each.address <= 587 < each.address + each.words
            for each in units.traffic.reads
        )

    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        for power, most in ((2000, 1), (-2000, 1), (20_000, 2)):
            before = reads(units)
            await battery.set_power_setpoint(power)
            assert reads(units) - before == most


async def test_a_setpoint_is_decided_anew_when_its_conditions_are_known(
    leap: Leap,
) -> None:
    """A minute after the last write at the earliest, and once: it wears flash."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        with damaged(units, 587, 0xFFFF, reads=3):
            grant = await battery.set_power_setpoint(2500)
            assert grant == Grant(0, LimitReason.UNKNOWN_STATE)
            written = len(units.traffic.writes)
            leap(40)
            assert await battery.keep_alive() is None
        leap(15)
        assert await battery.keep_alive() is None
        assert len(units.traffic.writes) == written
        leap(15)
        assert await renewed(battery) == Grant(2500)
        written = len(units.traffic.writes)
        leap(100)
        assert await battery.keep_alive() is None
        assert len(units.traffic.writes) == written


async def test_with_the_flash_budget_used_up_nothing_is_decided_anew(
    leap: Leap,
) -> None:
    """It is held at 0 W, is not suspended, and another controller is still noticed."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        with damaged(units, 588, 0xFFFF, reads=3):
            await battery.set_power_setpoint(2500)
        for _ in range(DAILY_BUDGET):
            battery.wear.note()
        for _ in range(5):
            leap(20)
            assert await battery.keep_alive() is None
        units.units[1][108] = 77
        leap(20)
        with pytest.raises(TakenOverError):
            await battery.keep_alive()


@pytest.mark.parametrize(
    ("address", "word"),
    [(115, 99), (115, 30_806), (222, 2), (222, 30_806), (552, 0), (588, 3)],
)
@both_ways
async def test_a_held_setpoint_is_not_suspended_by_one_damaged_word(
    way: str, address: int, word: int, leap: Leap
) -> None:
    """Suspending and resuming costs a minute, and up to eight writes to flash."""
    async with on_image(vector(MIDDAY), way) as (battery, units):
        await battery.read()
        await battery.set_power_setpoint(-2000)
        written = len(units.traffic.writes)
        with damaged(units, address, word):
            for _ in range(3):
                leap(20)
                assert await battery.keep_alive() is None

        assert len(units.traffic.writes) == written


async def test_a_reason_to_suspend_that_lasts_suspends_at_once(leap: Leap) -> None:
    """The second read does not wait for the next renewal."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.read()
        before = settings_of(units)
        await battery.set_power_setpoint(-2000)
        with damaged(units, 222, 2, reads=2):
            leap(20)
            assert await renewed(battery) == Grant(0, LimitReason.PROTECTION)

        assert settings_of(units) == before


# Another controller


@pytest.mark.parametrize("address", [108, 142, 154, 177])
@both_ways
async def test_one_damaged_word_is_no_other_controller(
    way: str, address: int, leap: Leap
) -> None:
    """Settings that differ in one read only were not changed."""
    async with on_image(vector(MIDDAY), way) as (battery, units):
        await battery.read()
        await battery.set_power_setpoint(-2000)
        with damaged(units, address, 30_806):
            for _ in range(2):
                leap(20)
                assert await battery.keep_alive() is None


async def test_one_damaged_power_does_not_end_remote_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The battery seems to go the wrong way, in one read."""
    monkeypatch.setattr(deye_methods, "REMOTE_CHECK_AFTER", 0)
    async with (
        simulator(plant=house(soc=60), remote=True) as inverter,
        connected(inverter, remote_mode=True) as battery,
    ):
        await battery.set_power_setpoint(2500)
        with damaged(inverter.units, 590, 20_000):
            for _ in range(2):
                assert await renewed(battery) == Grant(2500)

        assert "remote" in (battery.snapshot or {})


# Settings that share a word


@pytest.mark.parametrize(
    ("key", "address", "before", "after"),
    [
        ("tou_enabled", 146, 0b0101_0100, 0b0101_0101),
        ("grid_peak_shaving", 178, 0x3FEF, 0x3FFF),
    ],
)
@pytest.mark.parametrize("is_read", [True, False], ids=["polled", "not polled"])
async def test_damaged_bits_are_not_written(
    key: str, address: int, before: int, after: int, is_read: bool
) -> None:
    """A word is written as it was read, but for the bits of one setting."""
    case = vector(MIDDAY, **{f"r{address}": before})
    async with on_image(case) as (battery, units):
        if is_read:
            await battery.read()
        with damaged(units, address, 30_806, first=2 - is_read):
            await battery.set_value(key, True)

        assert units.units[1][address] == after
