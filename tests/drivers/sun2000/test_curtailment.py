"""PV under a setpoint of the Huawei driver: curtailed, or spared by the user's choice.

The figures are those of a SUN2000-8K-MAP0 under a clear sky: 1839 W of PV, 363 W under
a forced charge of 400 W, none under any forced discharge.
"""

from contextlib import suppress
import json
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.controller import (
    DeviceIssue,
    Grant,
    LimitReason,
)
from custom_components.homebattery.drivers.battery.sunshine import Sunshine
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    CannotConnectError,
    FlashBudgetError,
    TakenOverError,
)
from custom_components.homebattery.drivers.flash import DAILY_BUDGET
from custom_components.homebattery.drivers.sun2000.controller import SPARED_FOR
from custom_components.homebattery.drivers.sun2000.curtailment import (
    HARVEST_KNOWN_FOR,
    LIGHT_KNOWN_FOR,
    LONG,
    NATURAL_FOR,
    STEADY_AFTER,
    Means,
    decide,
    is_curtailed,
    may_curtail,
)
from custom_components.homebattery.drivers.sun2000.inverter import Sun2000Inverter

from .bench import (
    CHARGE_LIMIT,
    COMMAND,
    DISCHARGE_LIMIT,
    USER_LIMITS,
    Bench,
    bench,
    connected,
    leaping,
    without_pauses,
)
from .test_control import MOST_WRITES, SOME, break_at

pytestmark = pytest.mark.usefixtures("socket_enabled")

SUN: Final = 1839
KEEP_PV: Final = Sunshine.KEEP_PV
KEEP_SETPOINT: Final = Sunshine.KEEP_SETPOINT
COMMANDED: Final = Means.COMMAND
BY_LIMITS: Final = Means.LIMITS
PV: Final = LimitReason.PV_CURTAILED


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)


def sunlight(b: Bench) -> float:
    """Return the PV power of the house, W."""
    return float(b.simulator.state()["pv_power"])


def spend_budget(b: Bench) -> None:
    wear = b.battery.wear
    wear.restore(wear.today(), DAILY_BUDGET - wear.writes_today)


class Time:
    """The clocks of the device and of the driver, together."""

    def __init__(self, b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock, self._leap = b.clock, leaping(monkeypatch)

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self._leap(seconds)


async def renew(b: Bench) -> Grant | None:
    """Renew as Home Assistant does: the conditions are read first."""
    await b.battery.refresh()
    return await b.battery.keep_alive()


# The decision


@pytest.mark.parametrize(
    ("power", "harvest", "is_light", "near", "expected"),
    [
        # A charge below the harvest is its ceiling, one above it costs nothing.
        (400, 1839, True, False, True),
        (3000, 2020, True, False, False),
        # The ceiling as it was seen: 288 W of 315 W, 363 W of 400 W.
        (315, 288, True, False, True),
        (400, 363, True, False, True),
        (5000, 4540, True, False, True),
        # The band: at stake until the harvest is lower by the margin once more.
        (3000, 2700, True, False, True),
        (3000, 2699, True, False, False),
        (3000, 2699, True, True, True),
        (3000, 2400, True, True, True),
        (3000, 2399, True, True, False),
        (400, 359, True, False, False),
        (400, 359, True, True, True),
        # Small charges above the harvest cost nothing either.
        (100, 5, True, False, False),
        (150, 60, True, False, False),
        (2100, 1839, True, False, False),
        # A discharge may stop the trackers in any light, and costs nothing in the dark.
        (-1, 0, True, False, True),
        (-3000, 0, False, False, False),
        (-3000, 0, False, True, False),
        # In the dark there is no harvest, and a hold is no command.
        (50, 0, False, False, False),
        (0, 1839, True, False, False),
    ],
)
def test_a_command_may_curtail_the_pv(
    power: float, harvest: float, is_light: bool, near: bool, expected: bool
) -> None:
    """As far as is known before it is tried: to keep the PV, caution is right."""
    assert may_curtail(power, harvest, is_light=is_light, near=near) == expected


@pytest.mark.parametrize(
    ("power", "harvest", "is_idle", "has_fallen", "expected"),
    [
        # The harvest equals a charge that bounds it.
        (315, 288, False, False, True),
        (400, 363, False, False, True),
        (5000, 4540, False, False, True),
        (3000, 3060, False, False, True),
        # Below and above, it is not bounded by that.
        (3000, 2700, False, False, False),
        (3000, 3061, False, False, False),
        (400, 416, False, False, False),
        (400, 1839, False, False, False),
        # Of little harvest, nothing can be said.
        (100, 95, False, False, False),
        (50, 0, False, False, False),
        # A discharge costs PV where a lit string has no current, and nothing comes.
        (-3000, 0, True, False, True),
        (-3000, 0, False, True, False),
        # Some watts come at dawn, too; not where there was far more just before.
        (-3000, 2, True, False, False),
        (-3000, 45, True, False, False),
        (-3000, 45, True, True, True),
        # Below 100 W the current of a string reads 0 all the same.
        (-3000, 90, True, True, False),
        (0, 0, True, True, False),
    ],
)
def test_a_command_is_seen_to_curtail_the_pv(
    power: float, harvest: float, is_idle: bool, has_fallen: bool, expected: bool
) -> None:
    """By what is read while it stands."""
    assert expected == is_curtailed(
        power, harvest, is_idle=is_idle, has_fallen=has_fallen
    )


@pytest.mark.parametrize(
    ("power", "harvest", "is_light", "keep_setpoint", "keep_pv"),
    [
        (400, 1839, True, COMMANDED, BY_LIMITS),
        (3000, 1839, True, COMMANDED, COMMANDED),
        (-400, 1839, True, COMMANDED, BY_LIMITS),
        (-400, 0, True, COMMANDED, BY_LIMITS),
        (400, 0, False, COMMANDED, COMMANDED),
        (-400, 0, False, COMMANDED, COMMANDED),
        (0, 1839, True, BY_LIMITS, BY_LIMITS),
        (0, 0, False, BY_LIMITS, BY_LIMITS),
    ],
)
def test_sun_and_choice_decide_how_a_setpoint_is_held(
    power: float, harvest: float, is_light: bool, keep_setpoint: Means, keep_pv: Means
) -> None:
    assert keep_setpoint is decide(
        power, harvest, is_light=is_light, sunshine=KEEP_SETPOINT
    )
    assert keep_pv is decide(power, harvest, is_light=is_light, sunshine=KEEP_PV)


def test_a_choice_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_both"):
        Sun2000Inverter("127.0.0.1", sunshine="keep_both")


# The setpoint is kept


@pytest.mark.parametrize(
    ("power", "pv", "harvest", "curtailed"),
    [
        (400, SUN, 363, True),
        (3000, SUN, SUN, False),
        (-500, SUN, 0, True),
        (0, SUN, SUN, False),
        (400, 0, 0, False),
        (-500, 0, 0, False),
    ],
)
async def test_the_setpoint_is_kept_and_its_cost_is_known(
    monkeypatch: pytest.MonkeyPatch,
    power: int,
    pv: float,
    harvest: float,
    curtailed: bool,
) -> None:
    async with bench(pv=pv) as b:
        time = Time(b, monkeypatch)
        assert await b.battery.set_power_setpoint(power) == Grant(power)
        time.advance(30)
        await renew(b)

        assert b.power == pytest.approx(power, abs=5)
        assert sunlight(b) == pytest.approx(harvest, abs=1)
        held = b.battery.held
        assert held is not None and held.curtails_pv is curtailed
        assert (DeviceIssue.PV_CURTAILED in b.battery.issues) is curtailed
        assert b.device["flash_writes"] == (2 if power == 0 else 0)


@pytest.mark.parametrize("power", [400, 3000, -500])
@pytest.mark.parametrize("pv", [SUN, 6000])
async def test_firmware_that_curtails_nothing_is_not_said_to(
    monkeypatch: pytest.MonkeyPatch, power: int, pv: float
) -> None:
    """The harvest is not that of the command, and the strings have current."""
    async with bench(pv=pv, curtails=False) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(power)
        for _ in range(5):
            time.advance(30)
            await renew(b)
            held = b.battery.held
            assert held is not None and not held.curtails_pv

        assert sunlight(b) == pv
        assert b.battery.issues == frozenset()


@pytest.mark.parametrize(
    ("power", "pv", "curtails"),
    [
        # A charge from the grid at dawn.
        (100, 5, True),
        (100, 5, False),
        (150, 60, True),
        # Less sun than the charge leaves, and more than it could leave.
        (3000, 2600, True),
        (3000, 3400, False),
        (400, 480, False),
        # A discharge at dusk and dawn.
        (-500, 2, False),
        (-500, 30, False),
        (-500, 45, False),
    ],
)
async def test_nothing_is_said_where_all_of_the_sun_is_harvested(
    monkeypatch: pytest.MonkeyPatch, power: int, pv: float, curtails: bool
) -> None:
    async with bench(pv=pv, curtails=curtails) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(power)
        for _ in range(6):
            time.advance(30)
            await renew(b)
            held = b.battery.held
            assert held is not None and not held.curtails_pv

        assert sunlight(b) == pv


@pytest.mark.parametrize(
    "harvests", [range(3600, 2400, -10), range(2000, 2710, 10)], ids=["down", "up"]
)
async def test_a_harvest_that_passes_the_power_of_a_charge_is_not_bounded_by_it(
    monkeypatch: pytest.MonkeyPatch, harvests: range
) -> None:
    async with bench(pv=harvests[0], curtails=False, soc=20) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(3000)
        for pv in harvests:
            b.simulator.plant.fixed_pv = pv
            time.advance(30)
            await renew(b)
            held = b.battery.held
            assert held is not None and not held.curtails_pv


async def test_no_question_comes_of_a_harvest_that_rises_past_a_charge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(pv=4000, curtails=False, soc=20) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(5000)
        for pv in range(4000, 5400, 10):
            b.simulator.plant.fixed_pv = pv
            time.advance(30)
            await renew(b)

        assert b.battery.issues == frozenset()


@pytest.mark.parametrize(
    ("pv", "power"), [(SUN, 2000), (2700, 2950), (470, 500), (1000, 1000)]
)
async def test_a_steady_harvest_just_below_a_charge_is_not_bounded_by_it(
    monkeypatch: pytest.MonkeyPatch, pv: float, power: int
) -> None:
    """Noon under a clear sky: as much was harvested before the command."""
    async with bench(pv=pv, curtails=False, soc=20) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(power)
        for number in range(round(LONG / 30) + 4):
            b.simulator.plant.fixed_pv = pv + number / 2
            time.advance(30)
            await renew(b)
            held = b.battery.held
            assert held is not None and not held.curtails_pv

        assert b.battery.issues == frozenset()


async def test_a_harvest_from_before_a_charge_is_no_proof_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A charge just above the harvest of the morning becomes its ceiling at noon."""
    async with bench(pv=1850, soc=20) as b:
        time = Time(b, monkeypatch)

        async def is_seen_after(seconds: float) -> bool:
            for _ in range(round(seconds / 30)):
                time.advance(30)
                await renew(b)
            held = b.battery.held
            assert held is not None
            return held.curtails_pv

        await b.battery.set_power_setpoint(2000)
        assert not await is_seen_after(60)
        b.simulator.plant.fixed_pv = 2800
        assert not await is_seen_after(NATURAL_FOR - 180)
        assert await is_seen_after(240)
        assert await is_seen_after(LONG)
        assert DeviceIssue.PV_CURTAILED in b.battery.issues


async def test_a_harvest_from_before_a_charge_is_no_proof_after_another_power(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(pv=905, soc=20) as b:
        time = Time(b, monkeypatch)
        for power, pv, curtails in (
            (1000, 905, False),
            (1001, 905, False),
            (2500, 1800, False),
            (1000, 1800, True),
        ):
            b.simulator.plant.fixed_pv = pv
            await b.battery.set_power_setpoint(power)
            time.advance(30)
            await renew(b)
            held = b.battery.held
            assert held is not None and held.curtails_pv is curtails


async def test_a_harvest_that_rises_to_the_power_of_a_charge_is_seen_to_be_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Less was harvested before the command: it says nothing of that ceiling."""
    async with bench(pv=1000, soc=20) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(2000)
        for pv, curtails in ((1000, False), (2800, True)):
            b.simulator.plant.fixed_pv = pv
            time.advance(30)
            await renew(b)
            held = b.battery.held
            assert held is not None and held.curtails_pv is curtails


@pytest.mark.parametrize("power", [400, -500])
async def test_a_command_from_before_the_light_is_asked_about_after_a_long_time(
    monkeypatch: pytest.MonkeyPatch, power: int
) -> None:
    """The status says at once that PV is curtailed; at dusk it may be wrong in that."""
    async with bench(pv=0) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(power)
        await renew(b)
        b.simulator.plant.fixed_pv = SUN

        async def is_asked_after(seconds: float) -> bool:
            for _ in range(round(seconds / 30)):
                time.advance(30)
                await renew(b)
            held = b.battery.held
            assert held is not None and held.curtails_pv
            return DeviceIssue.PV_CURTAILED in b.battery.issues

        assert not await is_asked_after(90)
        assert not await is_asked_after(LONG - 120)
        assert await is_asked_after(120)


@pytest.mark.parametrize("power", [400, -500])
async def test_what_is_read_before_the_trackers_have_followed_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, power: int
) -> None:
    seen = {"pv_power", "pv1_voltage", "pv1_current"}
    async with bench(pv=SUN) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(power)
        held = b.battery.held
        assert held is not None
        time.advance(STEADY_AFTER - 5)
        await b.battery.read(seen)
        assert not held.curtails_pv
        time.advance(6)
        assert not held.curtails_pv
        await b.battery.read(seen)
        assert held.curtails_pv


async def test_a_current_that_was_read_before_the_discharge_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The strings may have had none because it was dark."""
    async with bench(pv=0, curtails=False) as b:
        time = Time(b, monkeypatch)
        await b.battery.read({"pv1_current"})
        await b.battery.set_power_setpoint(-500)
        held = b.battery.held
        assert held is not None
        b.simulator.plant.fixed_pv = 40
        time.advance(STEADY_AFTER + 1)
        await b.battery.read({"pv_power", "pv1_voltage"})

        assert not held.curtails_pv


async def test_another_power_in_the_same_direction_is_seen_to_cost_pv_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A regulator may send one every 20 s; a reversal begins anew."""
    async with bench(pv=SUN) as b:
        time = Time(b, monkeypatch)
        for power in (-500, -600, -700):
            await b.battery.set_power_setpoint(power)
            time.advance(20)
        await b.battery.read({"pv_power", "pv1_voltage", "pv1_current"})
        await b.battery.set_power_setpoint(-800)
        held = b.battery.held
        assert held is not None and held.curtails_pv

        await b.battery.set_power_setpoint(3000)
        held = b.battery.held
        assert held is not None and not held.curtails_pv


async def test_strings_are_read_without_a_request_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Voltage and current of a string are in one block."""
    async with bench(pv=SUN) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(-500)
        for _ in range(2):
            await renew(b)
            time.advance(LIGHT_KNOWN_FOR / 2)
        traffic = b.simulator.server.traffic
        traffic.clear()
        await b.battery.refresh()

        assert traffic.requests == 2  # strings, harvest


async def test_light_is_seen_though_nothing_is_harvested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Low harvest proves nothing while a command stands: the strings do."""
    async with bench(pv=0) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(-500)
        time.advance(30)
        await renew(b)
        held = b.battery.held
        assert held is not None and not held.curtails_pv
        b.simulator.plant.fixed_pv = SUN
        await b.battery.read({"pv1_voltage", "pv1_current", "pv_power"})

        assert sunlight(b) == 0
        assert held.curtails_pv


async def test_the_user_is_not_asked_again_after_the_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(pv=SUN, sunshine="keep_setpoint") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(400)
        time.advance(30)
        await renew(b)

        held = b.battery.held
        assert held is not None and held.curtails_pv
        assert b.battery.issues == frozenset()


async def test_a_question_stays_when_the_sun_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(pv=SUN) as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(400)
        time.advance(30)
        await renew(b)
        await b.battery.release()
        b.simulator.plant.fixed_pv = 0

        assert b.battery.issues == {DeviceIssue.PV_CURTAILED}


# The PV is kept


async def test_a_charge_below_the_harvest_is_made_by_its_limit() -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        granted = await b.battery.set_power_setpoint(400)
        b.clock.advance(30)

        assert granted == Grant(400, PV)
        assert b.control() == ("stop", 0, 400, 0)
        assert b.power == pytest.approx(400, abs=5)
        assert sunlight(b) == SUN
        assert await b.battery.get("power_setpoint") == 400
        assert b.battery.issues == frozenset()
        before = len(b.writes)
        assert await renew(b) is None
        assert b.writes[before:] == []

        await b.battery.release()
        assert b.control() == ("stop", 0, 5000, 5000)
        assert b.battery.snapshot is None


async def test_a_charge_by_its_limit_never_discharges() -> None:
    """The house needs all of the sun."""
    async with bench(pv=SUN, load=3000, sunshine="keep_pv") as b:
        await b.battery.set_power_setpoint(400)
        b.clock.advance(30)

        assert b.power == 0
        assert sunlight(b) == SUN


async def test_a_charge_above_the_harvest_is_a_command() -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        granted = await b.battery.set_power_setpoint(3000)
        b.clock.advance(30)

        assert granted == Grant(3000)
        assert b.control() == ("charge", 3000, 5000, 5000)
        assert sunlight(b) == SUN
        assert b.device["flash_writes"] == 0


@pytest.mark.parametrize(("load", "power"), [(600, 0), (1800, -56), (4000, -1000)])
async def test_a_discharge_in_light_gives_only_what_the_house_needs(
    load: float, power: float
) -> None:
    """Up to the setpoint, and without charging from the sun."""
    async with bench(pv=SUN, load=load, sunshine="keep_pv") as b:
        granted = await b.battery.set_power_setpoint(-1000)
        b.clock.advance(30)

        assert granted == Grant(0, PV)
        assert b.control() == ("stop", 0, 0, 1000)
        assert b.power == pytest.approx(power, abs=2)
        assert sunlight(b) == SUN
        await b.battery.release()
        assert b.control() == ("stop", 0, 5000, 5000)


@pytest.mark.parametrize("power", [2000, -2000])
async def test_in_the_dark_a_setpoint_is_a_command(power: int) -> None:
    async with bench(sunshine="keep_pv") as b:
        assert await b.battery.set_power_setpoint(power) == Grant(power)
        b.clock.advance(30)
        assert b.power == pytest.approx(power, abs=5)
        assert b.device["flash_writes"] == 0


async def test_limits_take_over_when_the_sun_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(sunshine="keep_pv") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(400)
        b.simulator.plant.fixed_pv = SUN
        time.advance(LIGHT_KNOWN_FOR)
        granted = await renew(b)
        time.advance(30)

        assert granted == Grant(400, PV)
        assert b.control() == ("stop", 0, 400, 0)
        assert sunlight(b) == SUN


async def test_a_command_follows_when_the_sun_is_gone_and_not_before_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each change of the means is written to flash, so clouds do not cause many."""
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(-1000)
        b.simulator.plant.fixed_pv = 0
        time.advance(SPARED_FOR - 60)
        before = len(b.writes)
        assert await renew(b) is None
        assert b.writes[before:] == []
        time.advance(61)
        assert await renew(b) == Grant(-1000)
        time.advance(30)

        assert b.control() == ("discharge", -1000, 5000, 5000)
        assert b.power == pytest.approx(-1000, abs=5)
        await b.battery.release()
        assert b.control() == ("stop", 0, 5000, 5000)


async def test_a_harvest_within_the_band_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(pv=3000, sunshine="keep_pv") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(2500)
        for pv, command in ((2260, "stop"), (2010, "stop"), (1990, "charge")):
            b.simulator.plant.fixed_pv = pv
            time.advance(SPARED_FOR)
            await renew(b)
            assert b.control()[0] == command
        for pv, command in ((2240, "charge"), (2260, "stop")):
            b.simulator.plant.fixed_pv = pv
            time.advance(HARVEST_KNOWN_FOR)
            await renew(b)
            assert b.control()[0] == command


@pytest.mark.parametrize(("power", "pv"), [(100, 5), (150, 50), (2100, SUN)])
async def test_a_charge_just_above_the_harvest_is_commanded(
    monkeypatch: pytest.MonkeyPatch, power: int, pv: float
) -> None:
    async with bench(pv=pv, sunshine="keep_pv") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(power)
        for _ in range(3):
            time.advance(30)
            await renew(b)

        assert b.control()[:2] == ("charge", power)
        assert b.power == pytest.approx(power, abs=5)
        assert sunlight(b) == pv


async def test_strings_that_report_nothing_at_night_are_in_the_dark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their voltage by day is forgotten."""
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(-1000)
        assert b.control()[0] == "stop"
        b.simulator.plant.fixed_pv = 0
        b.simulator.units.unknown |= {32016, 32017, 32018, 32019}
        time.advance(SPARED_FOR)
        assert await renew(b) == Grant(-1000)


@pytest.mark.long
async def test_a_day_of_clouds_stays_within_the_budget_of_flash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(pv=SUN, soc=20, sunshine="keep_pv") as b:
        b.simulator.plant.capacity = 1e9
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(1500)
        for minute in range(12 * 60):
            b.simulator.plant.fixed_pv = SUN if minute % 2 else 300
            time.advance(60)
            await renew(b)

        assert 4 < b.device["flash_writes"] < DAILY_BUDGET


async def test_beyond_the_budget_the_setpoint_stays_and_costs_pv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(sunshine="keep_pv") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(400)
        spend_budget(b)
        b.simulator.plant.fixed_pv = SUN
        time.advance(LIGHT_KNOWN_FOR)
        assert await renew(b) == Grant(400)

        assert b.control() == ("charge", 400, 5000, 5000)
        held = b.battery.held
        assert held is not None and held.curtails_pv
        with pytest.raises(FlashBudgetError):
            await b.battery.set_power_setpoint(300)
        assert b.control() == ("charge", 400, 5000, 5000)


async def test_wear_of_limits_is_known_beforehand() -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        await b.battery.set_power_setpoint(3000)
        worn = []
        for setpoint in (400, 400, 600, -600, 0, 3000):
            wears, before = b.battery.wears_flash(setpoint), b.device["flash_writes"]
            b.clock.advance(10)
            await b.battery.set_power_setpoint(setpoint)
            assert (b.device["flash_writes"] > before) == wears
            worn.append(wears)

        assert worn == [True, False, True, True, True, True]


# The user's limits come back


async def test_limits_that_spare_the_pv_are_not_taken_for_the_users() -> None:
    async with bench(
        pv=SUN, charge_limit=4000, discharge_limit=3000, sunshine="keep_pv"
    ) as b:
        await b.battery.read()
        for power in (400, 600, -500, 0, 300, 3000, 300):
            await b.battery.set_power_setpoint(power)
            await b.battery.read()
            limits = b.battery.setpoint_limits
            assert limits is not None
            assert (limits.minimum, limits.maximum) == (-3000, 4000)
        await b.battery.release()

        assert b.control() == ("stop", 0, 4000, 3000)


async def test_a_command_leaves_no_trace_in_the_snapshot() -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        await b.battery.set_power_setpoint(400)
        assert b.battery.snapshot != USER_LIMITS
        await b.battery.set_power_setpoint(3000)
        assert b.battery.snapshot == USER_LIMITS


@pytest.mark.parametrize("power", [400, -500])
async def test_another_driver_restores_them_by_the_snapshot(power: int) -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        await b.battery.set_power_setpoint(power)
        stored = json.loads(json.dumps(b.battery.snapshot))
        await b.battery.close()
        async with connected(b.simulator) as successor:
            recovered = successor.recover(stored)
            assert recovered.unknown == frozenset()
            successor.snapshot = recovered.snapshot
            await successor.release()

        assert b.control() == ("stop", 0, 5000, 5000)


async def test_damaged_bounds_are_said_to_be_unknown() -> None:
    async with bench() as b:
        for damaged in (7, ["400"], [True], None):
            stored: dict[str, Any] = {**USER_LIMITS, "bounds": damaged}
            assert b.battery.recover(stored).unknown == {"bounds"}


@pytest.mark.parametrize(
    ("broken", "answered"),
    # The answer to the first write is lost, or all of the second; all others take long.
    [
        pytest.param(
            broken,
            answered,
            marks=[] if (broken, answered) in SOME else pytest.mark.long,
        )
        for broken in range(MOST_WRITES + 1)
        for answered in (False, True)
    ],
)
@pytest.mark.parametrize(
    ("before", "after"),
    [(None, 400), (400, 600), (400, -500), (-500, 3000), (3000, 400), (400, None)],
)
async def test_limits_come_back_wherever_the_connection_breaks(
    monkeypatch: pytest.MonkeyPatch,
    before: int | None,
    after: int | None,
    broken: int,
    answered: bool,
) -> None:
    """By what was on disk when it broke: None in the table is automatic."""
    async with bench(
        pv=SUN, charge_limit=4000, discharge_limit=3000, sunshine="keep_pv"
    ) as b:
        kept: dict[str, Any] = {}

        async def keep(snapshot: dict[str, Any]) -> None:
            kept.update(json.loads(json.dumps(snapshot)))

        b.battery.keep_snapshot = keep
        await keep(await b.battery.take_snapshot())
        if before is not None:
            await b.battery.set_power_setpoint(before)
        with monkeypatch.context() as breaking, suppress(CannotConnectError):
            break_at(breaking, b.simulator, broken, answered=answered)
            if after is None:
                await b.battery.release()
            else:
                await b.battery.set_power_setpoint(after)
        async with connected(b.simulator) as successor:
            successor.snapshot = kept
            await successor.release()

        assert b.control() == ("stop", 0, 4000, 3000)


async def test_a_change_that_fails_half_way_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not taken for another controller's."""
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        time = Time(b, monkeypatch)
        await b.battery.set_power_setpoint(-1000)
        b.simulator.plant.fixed_pv = 0
        time.advance(SPARED_FOR)
        break_at(monkeypatch, b.simulator, 1, answered=True)
        with pytest.raises(BatteryError):
            await renew(b)
        assert await renew(b) == Grant(-1000)

        assert b.control() == ("discharge", -1000, 5000, 5000)
        await b.battery.release()
        assert b.control() == ("stop", 0, 5000, 5000)


async def test_a_limit_that_the_user_sets_meanwhile_waits_and_bounds() -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        await b.battery.set_power_setpoint(400)
        await b.battery.set_value("charge_power_limit", 2000)
        assert b.control() == ("stop", 0, 400, 0)
        await b.battery.set_value("charge_power_limit", 300)
        assert await renew(b) == Grant(300, PV)
        assert b.control() == ("stop", 0, 300, 0)
        await b.battery.release()

        assert b.control() == ("stop", 0, 300, 5000)


async def test_limits_of_another_controller_are_not_fought() -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        await b.battery.set_power_setpoint(400)
        await b.simulator.misbehave("setting", setting="charge_limit", value=2500)
        before = len(b.writes)
        with pytest.raises(TakenOverError, match="not held any more"):
            await renew(b)
        assert await b.battery.get("power_setpoint") is None
        assert b.writes[before:] == []
        await b.battery.release()

        assert b.control() == ("stop", 0, 2500, 5000)


async def test_the_closed_direction_is_written_first_and_no_command_runs() -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        await b.battery.set_power_setpoint(3000)
        before = len(b.writes)
        await b.battery.set_power_setpoint(-500)

        assert b.writes[before:] == [
            (1, COMMAND, [0]),
            (1, CHARGE_LIMIT, [0, 0]),
            (1, DISCHARGE_LIMIT, [0, 500]),
        ]


# Without strings


async def test_an_inverter_without_strings_is_in_the_light_by_its_harvest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(pv=SUN, sunshine="keep_pv") as b:
        await b.simulator.misbehave("absent", first=32016, last=32019)
        assert await b.battery.set_power_setpoint(-500) == Grant(0, PV)
        b.simulator.plant.fixed_pv = 0
        Time(b, monkeypatch).advance(SPARED_FOR)
        assert await renew(b) == Grant(-500)


# Limits that do not stay


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("gateway", [{}, {"access": "emma", "unit_id": 4}])
async def test_where_limits_do_not_stay_the_setpoint_is_held_at_the_cost_of_pv(
    monkeypatch: pytest.MonkeyPatch, gateway: dict[str, Any], refused: bool
) -> None:
    """They are tried again later, each time after twice as long: flash is spared."""
    async with bench(sunshine="keep_pv", **gateway) as b:
        time = Time(b, monkeypatch)
        await b.simulator.misbehave("keep_limits", refused=refused)
        await b.battery.set_power_setpoint(400)
        b.simulator.plant.fixed_pv = SUN
        time.advance(LIGHT_KNOWN_FOR)
        assert await renew(b) == Grant(400)
        tried = b.addresses.count(CHARGE_LIMIT) + b.addresses.count(DISCHARGE_LIMIT)
        for _ in range(10):
            time.advance(30)
            assert await renew(b) == Grant(400)

        assert b.control() == ("charge", 400, 5000, 5000)
        held = b.battery.held
        assert held is not None and held.curtails_pv
        assert not b.battery.wears_flash(300)

        writes = b.addresses.count(CHARGE_LIMIT) + b.addresses.count(DISCHARGE_LIMIT)
        assert writes == tried

        async def renew_for(seconds: float) -> None:
            for _ in range(round(seconds / 60)):
                time.advance(60)
                await renew(b)

        await renew_for(SPARED_FOR)
        assert b.control() == ("charge", 400, 5000, 5000)
        await b.simulator.misbehave("keep_limits", on=False)
        await renew_for(2 * SPARED_FOR - 480)
        assert b.control()[0] == "charge"
        await renew_for(300)
        assert b.control() == ("stop", 0, 400, 0)
        await b.battery.release()
        assert b.control() == ("stop", 0, 5000, 5000)


@pytest.mark.parametrize("power", [400, -500])
async def test_a_new_setpoint_is_commanded_where_limits_do_not_stay(power: int) -> None:
    async with bench(pv=SUN, access="emma", unit_id=4, sunshine="keep_pv") as b:
        await b.simulator.misbehave("keep_limits")
        assert await b.battery.set_power_setpoint(power) == Grant(power)
        writes = b.device["flash_writes"]
        assert await b.battery.set_power_setpoint(2 * power) == Grant(2 * power)

        assert b.device["flash_writes"] == writes
        assert b.control()[1:] == (2 * power, 5000, 5000)
        with pytest.raises(BatteryError):
            await b.battery.set_power_setpoint(0)
        await b.battery.release()
        assert b.control() == ("stop", 0, 5000, 5000)


async def test_a_limit_that_stays_beside_one_that_does_not_is_restored() -> None:
    async with bench(
        pv=SUN, charge_limit=4000, discharge_limit=3000, sunshine="keep_pv"
    ) as b:
        await b.simulator.misbehave(
            "keep_limits", refused=True, limits=("charge_limit",)
        )
        await b.battery.set_power_setpoint(400)

        assert b.control() == ("charge", 400, 4000, 3000)
        assert b.battery.snapshot == {
            "charge_power_limit": 4000,
            "discharge_power_limit": 3000,
        }
