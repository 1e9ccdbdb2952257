"""Protections of the GX's own loop, which external control suspends, are kept."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.errors import BatteryError
from custom_components.homebattery.drivers.victron import (
    controller as victron_controller,
)
from custom_components.homebattery.drivers.victron.inverter import VictronInverter
from tests.drivers.conftest import Leap
from tests.simulators import ManualClock, Plant, VictronSimulator
from tests.simulators.image import ModbusImage, Vector, load
from tests.simulators.modbus import Silent

from .test_inverter import connected

pytestmark = pytest.mark.usefixtures("socket_enabled")

PLAIN: Final[Vector] = load("victron")[0]
THREE_PHASE: Final[Vector] = load("victron")[1]
OLD: Final[Vector] = next(v for v in load("victron") if v["name"].startswith("old"))
HOLD: Final = [0, 1, 1]
UNKNOWN: Final = Grant(0, LimitReason.UNKNOWN_STATE)

type Words = Mapping[str, Mapping[str, int]]
"""Words by unit and address."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses, and read the conditions of a setpoint each time."""
    monkeypatch.setattr(VictronInverter, "settle", 0)
    monkeypatch.setattr(victron_controller, "_FRESH", 0)
    monkeypatch.setattr(victron_controller, "_SETTINGS_FRESH", 0)


def changed(vector: Vector, words: Words) -> Vector:
    """Return a vector with other words."""
    units = dict(vector["units"])
    for unit, there in words.items():
        units[unit] = {**units[unit], **there}
    return {**vector, "units": units}


def signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


async def granted(
    vector: Vector, power: int, words: Words | None = None, **options: Any
) -> tuple[Grant, list[int]]:
    """Return the grant for a power on a vector, and the control block for it."""
    async with (
        ModbusImage(changed(vector, words or {})) as image,
        connected(image, **options) as battery,
    ):
        grant = await battery.set_power_setpoint(power)
        return grant, list(image.writes[-1].words)


# The ESS mode


@pytest.mark.parametrize("word", [0, 9, 65535])
async def test_an_ess_mode_without_a_name_is_restored_as_it_was(word: int) -> None:
    """2902 reads 0 on real systems."""
    vector = changed(PLAIN, {"100": {"2902": word}})
    async with ModbusImage(vector) as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        assert battery.snapshot == {"working_mode": word}
        held_at = image.units.units[100][2902]
        await battery.release()

        assert held_at == 3
        assert image.units.units[100][2902] == word
        assert battery.snapshot is None


async def test_an_ess_mode_that_is_not_taken_again_does_not_leave_external_control(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The GX then decides as it does by default."""
    vector = changed(PLAIN, {"100": {"2902": 9}})
    async with ModbusImage(vector) as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        write = image.units.write

        def bound(unit: int, address: int, words: list[int]) -> None:
            if (address, words) != (2902, [9]):
                write(unit, address, words)

        monkeypatch.setattr(image.units, "write", bound)
        await battery.release()

        assert image.units.units[100][2902] == 1
        assert battery.snapshot is None


@pytest.mark.parametrize(
    ("kept", "word"),
    [
        ("self_consumption", 1),
        ("self_consumption_no_phase_compensation", 2),
        ("external_control", 3),
        (0, 0),
    ],
)
async def test_a_snapshot_of_any_version_is_restored(kept: Any, word: int) -> None:
    """Earlier versions kept names only."""
    vector = changed(PLAIN, {"100": {"2902": 3}})
    async with ModbusImage(vector) as image, connected(image) as battery:
        battery.snapshot, unknown = battery.recover({"working_mode": kept})
        await battery.release()

        assert not unknown
        assert image.units.units[100][2902] == word


async def test_a_mode_without_a_name_that_another_controller_chose_is_seen() -> None:
    """It is no external control, whatever it means."""
    async with ModbusImage(PLAIN) as image, connected(image) as battery:
        await battery.set_power_setpoint(500)
        image.units.units[100][2902] = 0
        before = len(image.writes)
        with pytest.raises(BatteryError, match="another controller has changed it"):
            await battery.keep_alive()
        await battery.release()

        assert image.units.units[100][2902] == 0
        assert all(write.address != 2902 for write in image.writes[before:])


# No discharge


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param({"100": {"826": 2}}, LimitReason.GENERATOR, id="generator"),
        pytest.param({"100": {"826": 0}}, LimitReason.NO_GRID, id="input unknown"),
        pytest.param({"100": {"826": 77}}, LimitReason.NO_GRID, id="input garbage"),
        pytest.param({"227": {"31": 244}}, LimitReason.SUSTAIN, id="state sustain"),
        pytest.param({"227": {"73": 1}}, LimitReason.SUSTAIN, id="sustain flag"),
        pytest.param({"227": {"35": 2}}, LimitReason.LOW_BATTERY, id="low battery"),
        pytest.param({"227": {"35": 1}}, LimitReason.LOW_BATTERY, id="warning"),
        pytest.param({"227": {"49": 2}}, LimitReason.LOW_BATTERY, id="on a phase"),
        pytest.param({"225": {"268": 2}}, LimitReason.LOW_BATTERY, id="low voltage"),
        pytest.param({"225": {"272": 2}}, LimitReason.LOW_BATTERY, id="low SOC alarm"),
        pytest.param({"225": {"326": 2}}, LimitReason.LOW_BATTERY, id="low cell"),
        pytest.param({"100": {"2900": 5}}, LimitReason.BATTERY_LIFE, id="discharged"),
        pytest.param({"100": {"2900": 6}}, LimitReason.BATTERY_LIFE, id="slow charge"),
        pytest.param({"100": {"2900": 7}}, LimitReason.SUSTAIN, id="sustains"),
        pytest.param({"100": {"2900": 8}}, LimitReason.BATTERY_LIFE, id="recharge"),
        pytest.param({"100": {"2900": 9}}, LimitReason.KEEP_CHARGED, id="keep charged"),
        pytest.param({"100": {"2900": 11}}, LimitReason.EMPTY, id="low SOC"),
        pytest.param({"100": {"2900": 12}}, LimitReason.EMPTY, id="low SOC recharge"),
        pytest.param({"227": {"33": 1}}, LimitReason.SWITCH, id="charger only"),
        pytest.param({"227": {"33": 4}}, LimitReason.SWITCH, id="off"),
    ],
)
async def test_a_discharge_is_held_instead(words: Words, reason: LimitReason) -> None:
    """The reason is the one that the user can do something about."""
    assert await granted(PLAIN, -1500, words) == (Grant(0, reason), HOLD)


@pytest.mark.parametrize(
    "words", [{"100": {"826": 240}}, {"227": {"29": 240}}, {"227": {"64": 2}}]
)
async def test_the_battery_of_an_island_is_free_to_carry_it(words: Words) -> None:
    """The flags of a hold might end that."""
    free = Grant(0, LimitReason.NO_GRID), [0, 0, 0]
    assert await granted(PLAIN, -1500, words) == free


@pytest.mark.parametrize(
    "words",
    [
        pytest.param({"100": {"826": 3}}, id="shore"),
        pytest.param({"225": {"272": 1}}, id="low SOC warning of the battery"),
        pytest.param({"100": {"2900": 0, "2903": 0}}, id="BatteryLife unused"),
        pytest.param({"100": {"2900": 4, "2903": 100}}, id="BatteryLife full"),
    ],
)
async def test_other_states_let_it_discharge(words: Words) -> None:
    """The plain site discharges with the power that is asked for."""
    grant, _ = await granted(PLAIN, -1500, words)
    assert grant == Grant(-1500)


@pytest.mark.parametrize(
    ("state", "minimum", "active", "soc", "reason"),
    [
        pytest.param(2, 10, 55, 50, LimitReason.BATTERY_LIFE, id="active limit"),
        pytest.param(2, 10, 55, 56, None, id="above the active limit"),
        pytest.param(2, 10, 55, 55, LimitReason.BATTERY_LIFE, id="at the active limit"),
        pytest.param(2, 60, 55, 58, LimitReason.EMPTY, id="the minimum is higher"),
        pytest.param(10, 10, 65, 40, None, id="a leftover without BatteryLife"),
        pytest.param(2, 10, 65, 40, LimitReason.BATTERY_LIFE, id="the same in use"),
        pytest.param(2, 85, 90, 87, None, id="above 80 % only the minimum counts"),
        pytest.param(2, 85, 90, 85, LimitReason.EMPTY, id="at such a minimum"),
        pytest.param(2, 10, 95, 81, None, id="never raised above 80 %"),
        pytest.param(2, 100, 100, 100, None, id="full at a minimum of 100 %"),
    ],
)
async def test_the_soc_limit_follows_battery_life(
    state: int, minimum: int, active: int, soc: int, reason: LimitReason | None
) -> None:
    """As the GX itself computes its active limit."""
    words = {"2900": state, "2901": 10 * minimum, "2903": 10 * active, "843": soc}
    grant, _ = await granted(PLAIN, -1500, {"100": words})
    assert grant == Grant(0 if reason else -1500, reason)


async def test_a_limit_that_battery_life_raises_while_it_is_held_is_kept() -> None:
    """Its states go on in external control."""
    async with VictronSimulator(min_soc=10) as gx, connected(gx) as battery:
        await gx.misbehave("battery_life", state=2, limit=45)
        grants: list[Grant | None] = [await battery.set_power_setpoint(-1000)]
        for soc in (45, 52, 54):
            gx.plant.soc = soc
            grants.append(await battery.keep_alive())

        at_limit = Grant(0, LimitReason.BATTERY_LIFE)
        assert grants == [Grant(-1000), at_limit, at_limit, Grant(-1000)]
        assert gx.state()["device"]["settings"][
            "/Settings/CGwacs/BatteryLife/SocLimit"
        ] == pytest.approx(50)


async def test_protections_come_and_go_while_it_is_held() -> None:
    """Each renewal checks them anew."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.set_power_setpoint(-1000)
        for fault, reason in (
            ("generator", LimitReason.GENERATOR),
            ("sustain", LimitReason.SUSTAIN),
        ):
            await gx.misbehave(fault)
            assert await battery.keep_alive() == Grant(0, reason)
            assert gx.state()["device"]["passthru"]
            await gx.misbehave(fault, on=False)
            assert await battery.keep_alive() == Grant(-1000)


# Charging


async def test_a_charge_takes_no_more_than_the_input_may_carry() -> None:
    """The current limit of the Multi counts for its output, too."""
    words = {"100": NO_PV, "227": {"22": 60}}
    grant, _ = await granted(PLAIN, 4000, words)
    assert grant == Grant(round(6 * 231.3 - 110), LimitReason.SETTING)


async def test_charging_goes_on_at_a_generator_and_nothing_is_pushed_into_it() -> None:
    """A phase that PV on AC-out feeds back is not let through either."""
    grant, block = await granted(
        THREE_PHASE, 900, {"100": {"826": 2}, "246": {"23": 0x10000 - 100}}
    )
    assert grant == Grant(900)
    assert block == [0, 0, 0, 300, 300]


async def test_a_charge_beside_much_pv_feeds_no_generator() -> None:
    """PV on the DC side that the setpoint does not need stays in the battery."""
    grant, block = await granted(PLAIN, 1000, {"100": {"826": 2, "850": 3000}})
    assert grant.reason is LimitReason.GENERATOR
    assert min(signed(word) for word in block) >= 0


@pytest.mark.parametrize(
    ("words", "grant"),
    [
        pytest.param({"227": {"33": 2}}, Grant(0, LimitReason.SWITCH), id="inverter"),
        pytest.param({"227": {"33": 4}}, Grant(0, LimitReason.SWITCH), id="off"),
        pytest.param({"227": {"33": 1}}, Grant(1500), id="charger only"),
        pytest.param(
            {"100": {"2705": 10}}, Grant(524, LimitReason.SETTING), id="10 A at 52.4 V"
        ),
        pytest.param({"100": {"2705": 0}}, Grant(0, LimitReason.SETTING), id="0 A"),
        pytest.param({"100": {"2900": 12}}, Grant(1500), id="recharging"),
        pytest.param({"227": {"35": 2}}, Grant(1500), id="low battery"),
    ],
)
async def test_charging_keeps_its_own_limits(words: Words, grant: Grant) -> None:
    """A charge is not forbidden by the reasons that forbid a discharge."""
    assert (await granted(PLAIN, 1500, words))[0] == grant


# The user's limits


@pytest.mark.parametrize(
    ("words", "grant"),
    [
        pytest.param(
            {"2720": 0, "2721": 1200}, Grant(-1200, LimitReason.SETTING), id="1200 W"
        ),
        pytest.param({"2720": 0, "2721": 0}, Grant(0, LimitReason.SETTING), id="0 W"),
        pytest.param({"2704": 100}, Grant(-2500), id="the wide register wins"),
        pytest.param(
            {"2720": 0, "2721": 2000, "850": 500, "2707": 1},
            Grant(-1500, LimitReason.SETTING),
            id="PV on the DC side counts",
        ),
    ],
)
async def test_the_limit_of_inverting_is_kept(
    words: Mapping[str, int], grant: Grant
) -> None:
    """It bounds the power of the inverter, PV on the DC side included."""
    assert (await granted(PLAIN, -2500, {"100": words}))[0] == grant


async def test_an_old_server_has_coarse_limits() -> None:
    """Tens of W; 0 is no limit, or 0 W: most users have none."""
    assert (await granted(OLD, -3000, {"100": {"2704": 120}}))[0] == Grant(
        -1200, LimitReason.SETTING
    )
    assert (await granted(OLD, -3000, {"100": {"2704": 0}}))[0] == Grant(-3000)


# Feeding in


NO_LIMIT: Final = {"2722": 0xFFFF, "2723": 0xFFFF}
NO_PV: Final = {"811": 0, "890": 0, "891": 0}
FEED_IN: Final = LimitReason.FEED_IN


@pytest.mark.parametrize(
    ("words", "grant"),
    [
        pytest.param(NO_LIMIT, Grant(-3000), id="no limit"),
        pytest.param(
            {"2722": 0, "2723": 0, **NO_PV}, Grant(-813, FEED_IN), id="the load only"
        ),
        pytest.param(
            {"2722": 0, "2723": 0}, Grant(0, FEED_IN), id="PV serves the load"
        ),
        pytest.param(
            {"2722": 0, "2723": 1000, **NO_PV}, Grant(-1813, FEED_IN), id="1000 W more"
        ),
        pytest.param(
            {"2722": 0, "2723": 1000}, Grant(-579, FEED_IN), id="PV takes its part"
        ),
        pytest.param({"2713": 0, **NO_PV}, Grant(-813, FEED_IN), id="no current"),
        pytest.param({"2713": 4, **NO_PV}, Grant(-1738, FEED_IN), id="4 A at 231.3 V"),
        pytest.param(
            {"2722": 0, "2723": 0, **NO_PV, "890": 0xFFFF, "891": 0xFFFF},
            Grant(-814, FEED_IN),
            id="PV of -1 W at night",
        ),
    ],
)
async def test_the_feed_in_limits_of_the_gx_bound_a_discharge(
    words: Mapping[str, int], grant: Grant
) -> None:
    """Beyond the load, less AC-coupled PV."""
    assert (await granted(PLAIN, -3000, {"100": words}))[0] == grant


@pytest.mark.parametrize(
    ("export", "words", "grant"),
    [
        ("never", {**NO_LIMIT, **NO_PV}, Grant(-813, LimitReason.EXPORT)),
        ("never", NO_LIMIT, Grant(0, LimitReason.EXPORT)),
        ("always", {"2722": 0, "2723": 0, "2713": 0}, Grant(-3000)),
        ("as_permitted", {"2722": 0, "2723": 0, **NO_PV}, Grant(-813, FEED_IN)),
    ],
)
async def test_the_user_may_choose_otherwise(
    export: str, words: Mapping[str, int], grant: Grant
) -> None:
    """Never, or always."""
    seen, _ = await granted(PLAIN, -3000, {"100": words}, export=export)
    assert seen == grant


async def test_no_phase_feeds_in_more_current_than_it_may() -> None:
    """The phases share a setpoint equally, so the one with the least load decides."""
    grant, _ = await granted(THREE_PHASE, -3000, {"100": {"2713": 0}})
    assert grant == Grant(-3 * 288, FEED_IN)


async def test_an_old_server_has_a_coarse_feed_in_limit() -> None:
    """Hundreds of W; 0 is no limit, or 0 W."""
    for word, grant in ((5, Grant(-1150, FEED_IN)), (0, Grant(-3000))):
        words = {"100": {"2704": 0, "2706": word}}
        assert (await granted(OLD, -3000, words))[0] == grant


@pytest.mark.parametrize(
    ("dc_pv", "load", "grant", "out"),
    [
        pytest.param(400, 813, -1500, 1900, id="all of it serves the load"),
        pytest.param(1000, 600, -1100, 2100, id="its surplus goes to the battery"),
        pytest.param(3000, 600, 0, 2100, id="more than the discharge"),
    ],
)
async def test_pv_of_the_dc_side_is_not_fed_in_where_the_gx_must_not(
    dc_pv: int, load: int, grant: int, out: int
) -> None:
    """2707 = 0: the battery's own power is fed in at most."""
    words = {"850": dc_pv, "817": load, "902": 0, "903": load, "2707": 0, **NO_PV}
    seen, block = await granted(PLAIN, -1500, {"100": words})
    assert seen == Grant(grant, FEED_IN if grant > -1500 else None)
    assert -signed(block[0]) == out - 110


async def test_a_charge_does_not_feed_in_pv_of_the_dc_side() -> None:
    """2707 = 0: the battery takes more than was asked for instead."""
    words = {"850": 4000, "2707": 0, **NO_PV}
    seen, block = await granted(PLAIN, 1000, {"100": words})
    assert seen == Grant(1000, FEED_IN)
    assert signed(block[0]) == -813 + 110


async def test_the_site_that_may_not_feed_in_does_not() -> None:
    """On the simulated device, which obeys in external control."""
    clock = ManualClock()
    plant = Plant(clock=clock)
    plant.fixed_load, plant.fixed_pv = 900.0, 0.0
    async with VictronSimulator(plant) as gx, connected(gx) as battery:
        await gx.misbehave("setting", path="CGwacs/MaxFeedInPower", value=0)
        grant = await battery.set_power_setpoint(-3000)
        clock.advance(2)
        await battery.keep_alive()
        clock.advance(2)

        assert grant == Grant(-900, FEED_IN)
        assert gx.state()["grid_power"] >= -20
        await gx.misbehave("setting", path="CGwacs/MaxFeedInPower", value=-1)
        assert await battery.keep_alive() == Grant(-3000)


# What is not known


def without(vector: Vector, unit: str, *ranges: range) -> Vector:
    """Return a vector that refuses some addresses."""
    words = {
        address: word
        for address, word in vector["units"][unit].items()
        if not any(int(address) in each for each in ranges)
    }
    return {**vector, "units": {**vector["units"], unit: words}}


async def test_limits_that_the_server_does_not_have_do_not_bound() -> None:
    """A server before 2020 has no limit of the current that is fed in."""
    vector = without(PLAIN, "100", range(2713, 2716), range(2718, 2724))
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.set_power_setpoint(-3000) == Grant(-3000)


async def test_limits_that_are_never_answered_take_the_safe_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes a setpoint: a charge as asked, a discharge for the load at most."""
    vector = changed(PLAIN, {"100": NO_PV})
    async with (
        ModbusImage(vector) as image,
        connected(image, timeout=0.2) as battery,
    ):
        hang(image, monkeypatch, range(2700, 2724))
        assert await battery.set_power_setpoint(1500) == Grant(1500)
        assert await battery.set_power_setpoint(-3000) == Grant(
            -813, LimitReason.UNKNOWN_STATE
        )


@pytest.mark.parametrize("words", [{"2706": 0, "2722": 0, "2723": 0}, {"2704": 0}])
async def test_a_coarse_limit_of_0_says_nothing_while_the_fine_one_is_not_answered(
    monkeypatch: pytest.MonkeyPatch, words: dict[str, int]
) -> None:
    """It may be a limit of 0 W, or none."""
    vector = changed(PLAIN, {"100": {**words, **NO_PV}})
    async with (
        ModbusImage(vector) as image,
        connected(image, timeout=0.2) as battery,
    ):
        hang(image, monkeypatch, range(2718, 2724))
        assert await battery.set_power_setpoint(-3000) == Grant(
            -813, LimitReason.UNKNOWN_STATE
        )


async def test_a_limit_of_charging_that_is_not_answered_any_more_stays(
    monkeypatch: pytest.MonkeyPatch, leap: Leap
) -> None:
    vector = changed(PLAIN, {"100": {"2705": 10, **NO_PV}})
    async with (
        ModbusImage(vector) as image,
        connected(image, timeout=0.2) as battery,
    ):
        first = await battery.set_power_setpoint(3000)
        hang(image, monkeypatch, range(2700, 2724))
        leap(400)
        assert await battery.keep_alive() == first == Grant(524, LimitReason.SETTING)


@pytest.mark.parametrize(
    ("addresses", "discharge"),
    [
        pytest.param(range(2903, 2904), UNKNOWN, id="of discharging alone"),
        pytest.param(range(884, 920), Grant(-1000), id="also in narrower registers"),
    ],
)
async def test_conditions_that_are_never_answered_hold_what_they_bound(
    monkeypatch: pytest.MonkeyPatch, addresses: range, discharge: Grant
) -> None:
    async with (
        ModbusImage(PLAIN) as image,
        connected(image, timeout=0.2) as battery,
    ):
        hang(image, monkeypatch, addresses)
        # What hangs is told from its neighbours after a few reads.
        for _ in range(4):
            await battery.set_power_setpoint(1000)
        assert await battery.keep_alive() == Grant(1000)
        assert await battery.set_power_setpoint(-1000) == discharge


async def test_limits_that_are_not_answered_any_more_count_for_a_while(
    monkeypatch: pytest.MonkeyPatch, leap: Leap
) -> None:
    """For five minutes; then nothing is fed in."""
    vector = changed(PLAIN, {"100": {"2722": 0, "2723": 1000, **NO_PV}})
    async with (
        ModbusImage(vector) as image,
        connected(image, timeout=0.2) as battery,
    ):
        first = await battery.set_power_setpoint(-3000)
        hang(image, monkeypatch, range(2700, 2724))
        leap(200)
        later = await battery.keep_alive()
        leap(200)
        at_last = await battery.keep_alive()

    assert first == later == Grant(-1813, FEED_IN)
    assert at_last == Grant(-813, LimitReason.UNKNOWN_STATE)


async def test_settings_that_are_not_answered_delay_few_renewals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are asked for once in a while, not at each renewal."""
    monkeypatch.setattr(victron_controller, "_SETTINGS_FRESH", 70)
    async with (
        ModbusImage(PLAIN) as image,
        connected(image, timeout=0.2) as battery,
    ):
        asked = hang(image, monkeypatch, range(2700, 2724))
        await battery.set_power_setpoint(-500)
        before = len(asked)
        for _ in range(5):
            await battery.keep_alive()

        assert before > 0
        assert len(asked) == before


def hang(
    image: ModbusImage, monkeypatch: pytest.MonkeyPatch, addresses: range
) -> list[int]:
    """Leave reads of some addresses of the GX without an answer; return their list."""
    read = image.units.read
    asked: list[int] = []

    def answer(unit: int, address: int, count: int) -> list[int]:
        if unit == 100 and not set(addresses).isdisjoint(
            range(address, address + count)
        ):
            asked.append(address)
            raise Silent
        return read(unit, address, count)

    monkeypatch.setattr(image.units, "read", answer)
    return asked


async def test_a_held_battery_needs_no_more_requests_than_before() -> None:
    """A renewal reads as many blocks as it did; the settings cost three a minute."""
    async with VictronSimulator() as gx, connected(gx) as battery:
        await battery.read()
        await battery.set_power_setpoint(-500)
        before = gx.server.traffic.requests
        await battery.keep_alive()
        assert gx.server.traffic.requests - before <= 7 + 3
