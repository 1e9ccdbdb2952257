"""Tests of a connection that is lost at a write: it does no harm, and is made up for.

Every change between automatic, charging, discharging and holding, through Home
Assistant, on the devices that need several writes for a setpoint. Each is cut at one of
its writes, another one for each change; in the long tests, at every one of its writes.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
import logging
import math
from typing import Any, Final, NamedTuple

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest

from custom_components.homebattery.control import flash_spacing
from custom_components.homebattery.drivers import flash
from custom_components.homebattery.drivers.sun2000.inverter import Sun2000Inverter
from homebattery.simulated import plant
from tests.home import LOAD, Home, MakeHome, Warp
from tests.simulators import SIMULATORS, ManualClock, Simulator

from .lease_support import after_a_crash, stored
from .watched import LONG, NOON, SOC, Flow, Watched, watched

pytestmark = pytest.mark.usefixtures("few_sensors")

AUTOMATIC: Final = None
CHARGE, CHARGE_MORE, DISCHARGE, HOLD = 1500, 2500, -1200, 0
type Setpoint = int | None
TRANSITIONS: Final[Sequence[tuple[Setpoint, Setpoint]]] = (
    *pairwise((AUTOMATIC, CHARGE, DISCHARGE, HOLD, AUTOMATIC)),
    *pairwise((AUTOMATIC, HOLD, CHARGE, HOLD, DISCHARGE, CHARGE, AUTOMATIC)),
    *pairwise((AUTOMATIC, DISCHARGE, AUTOMATIC)),
    (CHARGE, CHARGE_MORE),
)
MOST_WRITES: Final = 10
"""Number of writes that none of these changes reaches."""
EVERY: Final = pytest.mark.long
"""Marks tests in which a change is cut at every write."""

TOLERANCE: Final = 60.0
"""W: whole amperes, and what the inverter loses."""
REST: Final = 2.0
"""Seconds after a setpoint until its last write."""
LEAP: Final = 31.0
"""Seconds; a failure is retried in less."""
LEAPS: Final = 4
"""Number of leaps after which every failure is made up for."""


class Cut(NamedTuple):
    """The loss of a connection at a write."""

    taken: bool
    """Whether the device takes the write, so that only the answer is lost."""
    away: float
    """Seconds for which it cannot be reached then."""


CUTS: Final[Mapping[str, Cut]] = {
    "once": Cut(taken=True, away=0),
    "once, not taken": Cut(taken=False, away=0),
    "for a while": Cut(taken=True, away=LEAP),
    "for a while, not taken": Cut(taken=False, away=LEAP),
    "for long": Cut(taken=True, away=LONG),
}
SHORT: Final = ("once", "once, not taken", "for a while", "for a while, not taken")
WATCHDOG: Final = ("once", "once, not taken", "for a while, not taken", "for long")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A device with its settings and options, and the cuts that are tried on it."""

    battery_type: str
    device: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)
    """Its options in Home Assistant."""
    cuts: tuple[str, ...] = ("for a while",)
    """The cuts that are made at every write."""
    samples: tuple[str, ...] = ()
    """The cuts that are made at one write of each change."""


SELLS: Final[Mapping[str, Any]] = {
    "work_mode": "selling_first",
    "settings": {130: 0},  # and does not charge from the grid
}
MAY_EXPORT: Final = {"export": "always"}
INSTALLATIONS: Final[Mapping[str, Installation]] = {
    "huawei with lower limits": Installation(
        battery_type="sun2000",
        device={"charge_limit": 4000, "discharge_limit": 3000},
        cuts=WATCHDOG,
        samples=("once", "once, not taken", "for long"),
    ),
    "huawei that never discharges": Installation(
        battery_type="sun2000",
        device={"charge_limit": 4000, "discharge_limit": 0},
        cuts=("for long",),
    ),
    "huawei that feeds in": Installation(
        battery_type="sun2000",
        device={"working_mode": 4, "grid_charge": True, "backup_soc": 20},
        cuts=("for long",),
    ),
    "deye that sells": Installation(
        battery_type="deye_modbus",
        device=SELLS,
        entry=MAY_EXPORT,
        cuts=SHORT,
        samples=("once, not taken", "for a while"),
    ),
    "deye that sells, time of use off": Installation(
        battery_type="deye_modbus", device={**SELLS, "tou": False}, entry=MAY_EXPORT
    ),
    "deye that sells, export not allowed": Installation(
        battery_type="deye_modbus", device=SELLS
    ),
    "deye that sells by day and charges by night": Installation(
        battery_type="deye_modbus",
        device={"work_mode": "selling_first", "charges_when_selling_first": True},
        entry=MAY_EXPORT,
        samples=("for a while",),
    ),
    "deye that sells by day, charge by night latent": Installation(
        battery_type="deye_modbus", device={"work_mode": "selling_first"}, cuts=SHORT
    ),
    "deye that may sell by day, charge by night latent": Installation(
        battery_type="deye_modbus",
        device={"work_mode": "selling_first"},
        entry=MAY_EXPORT,
        cuts=SHORT,
    ),
    "deye that exports nothing": Installation(battery_type="deye_modbus"),
    "deye with a flag to sell": Installation(
        battery_type="deye_modbus", device={"release": "1184"}, entry=MAY_EXPORT
    ),
    "deye without time of use": Installation(
        battery_type="deye_modbus", device={"tou": False}, entry=MAY_EXPORT
    ),
    "deye that serves the backup port": Installation(
        battery_type="deye_modbus", device={"work_mode": "zero_export_to_load"}
    ),
    "deye in remote mode": Installation(
        battery_type="deye_modbus",
        device={"remote": True},
        entry={"remote_mode": True},
        cuts=("once", "for long"),
        samples=("for long",),
    ),
    "deye behind a logger": Installation(battery_type="deye_solarman"),
    "deye behind a logger, that sells": Installation(
        battery_type="deye_solarman",
        device=SELLS,
        entry=MAY_EXPORT,
        cuts=("once, not taken",),
        samples=("once, not taken",),
    ),
}


def cases() -> Iterator[Any]:
    """Yield an installation, a cut, and whether that is made at every write."""
    for name, installation in INSTALLATIONS.items():
        for cut in installation.samples:
            yield pytest.param(name, CUTS[cut], False, id=f"{name}, {cut}")
        for cut in installation.cuts:
            what = f"{name}, {cut}, every write"
            yield pytest.param(name, CUTS[cut], True, id=what, marks=EVERY)


def to_cut(number: int, writes: int, every: bool) -> Iterable[int]:
    """Return the writes at which the change of this number is cut.

    With `every`, these are more than `writes`, which it takes undisturbed: it may take
    more after an earlier cut.
    """
    if every:
        return range(1, MOST_WRITES)
    return (1 + number % writes,) if writes else ()


@pytest.fixture(autouse=True)
def _fast(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove limits and waits that forbid or slow down a hundred thousand requests."""
    monkeypatch.setattr(flash, "DAILY_BUDGET", math.inf)
    monkeypatch.setattr(flash_spacing, "FLASH_WINDOW", 0.0)
    monkeypatch.setattr(Sun2000Inverter, "change_interval", 0.0)
    # Nothing changes in the house from one second to the next.
    monkeypatch.setattr(plant, "_SLICE", LEAP)
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@dataclass(repr=False)
class Bench:
    """A battery in Home Assistant, and the simulated device behind it."""

    simulator: Simulator
    device: Watched[Any]
    make_home: MakeHome
    home: Home
    storage: dict[str, Any]
    warp: Warp
    words: dict[str, Any] = field(init=False)
    """The original words of everything that can be set on the device."""
    ends: dict[Setpoint, Any] = field(default_factory=dict)
    """The state of the undisturbed device at each setpoint, and in automatic."""
    bounds: dict[Any, list[tuple[float, float, float]]] = field(default_factory=dict)

    # Requests

    async def learn(self) -> None:
        """Note the state of the undisturbed device at each setpoint."""
        self.words = self.simulator.settings_words()
        self.ends[AUTOMATIC] = self.device.state
        for setpoint in (HOLD, CHARGE, HOLD, CHARGE_MORE, HOLD, DISCHARGE):
            assert await self.ask(setpoint)
            self.ends[setpoint] = self.device.state
        assert await self.ask(AUTOMATIC)
        assert self.is_restored

    async def ask(self, setpoint: Setpoint) -> bool:
        """Ask for a setpoint as a user does; return whether it worked."""
        try:
            if setpoint is AUTOMATIC:
                await self.home.choose("automatic")
            else:
                await self.home.set_power(setpoint)
        except HomeAssistantError:
            # The retries that it began must not be hurried by a leap of the clock.
            await self.home.hass.async_block_till_done()
            return False
        return True

    async def writes_of(self, before: Setpoint, after: Setpoint) -> int:
        """Make a change that nothing disturbs; return its number of writes."""
        assert await self.ask(before)
        await self.warp(REST)
        mark = len(self.device.trail)
        assert await self.ask(after)
        assert self.is_held(after), f"{before} → {after}"
        writes = len(self.device.trail) - mark
        assert await self.ask(AUTOMATIC)
        assert self.is_restored, f"{before} → {after}"
        return writes

    async def ask_and_cut(self, setpoint: Setpoint, nth: int, cut: Cut) -> bool | None:
        """Ask for a setpoint whose nth write ends the connection.

        Returns whether it worked all the same; None when it takes fewer writes.
        """
        await self.arm(nth, cut)
        done = await self.ask(setpoint)
        if not await self.is_cut(cut):
            assert done
            return None
        return done

    async def arm(self, nth: int, cut: Cut) -> None:
        """Let the nth write from now end the connection."""
        await self.simulator.misbehave(
            "cut_write", nth=nth, taken=cut.taken, for_good=bool(cut.away)
        )

    async def is_cut(self, cut: Cut) -> bool:
        """Return whether the connection was lost; if not, disarm the cut."""
        server: Any = self.simulator.server
        if server.faults.cut_write:
            await self.simulator.misbehave("cut_write", nth=0)
            return False
        if cut.away:
            await self.simulator.misbehave("away")
        return True

    async def until_cut(self, cut: Cut) -> bool:
        """Let time pass in which the connection is lost; return whether it was."""
        for _ in range(LEAPS):
            await self.warp(LEAP)
        return await self.is_cut(cut)

    async def come_back(self) -> None:
        """Let the device be reached again, and time pass until that is tried."""
        await self.simulator.misbehave("refuse", on=False)
        await self.simulator.misbehave("away", on=False)
        await self.warp(LEAP)

    async def until_held(
        self, setpoint: Setpoint, max_foreign_answers: int = 1
    ) -> bool:
        """Let time pass until a setpoint is held, or for as long as it may take."""
        for _ in range(max_foreign_answers * LEAPS):
            if self.is_held(setpoint):
                return True
            await self.warp(LEAP)
        return self.is_held(setpoint)

    async def crash(self) -> None:
        """Let Home Assistant die, and prepare its next start."""
        self.home = await after_a_crash(self.home, self.make_home, self.storage)

    # Results

    @property
    def flow(self) -> Flow:
        """The real power of battery and grid, W."""
        state = self.simulator.state()
        return Flow(state["battery_power"], state["grid_power"])

    @property
    def is_restored(self) -> bool:
        """Whether the device is restored, and nothing remains to be done."""
        return (
            self.simulator.settings_words() == self.words
            and self.home.state("control_mode") == "automatic"
            and self.home.state("control_status") == "automatic"
            and stored(self.storage, self.home) is None
        )

    def is_held(self, setpoint: Setpoint) -> bool:
        """Return whether a setpoint is held in every situation and can be released."""
        if setpoint is AUTOMATIC:
            return self.is_restored
        flows = self.device.flows
        return (
            self.home.data.control.requested_power == setpoint
            and self.home.state("control_mode") == "manual"
            and stored(self.storage, self.home) is not None
            and all(
                all(map(is_near, flow, wanted))
                for flow, wanted in zip(
                    flows(self.device.state), flows(self.ends[setpoint]), strict=True
                )
            )
        )

    def worse(self, states: Sequence[Any], *setpoints: Setpoint) -> list[Any]:
        """Return the states that are worse than all that may be met between setpoints.

        That is the setpoints, the user's settings, and the harmless states of this
        device; worse is to charge, to discharge or to export more, in any situation.
        """
        if setpoints not in self.bounds:
            allowed = [self.ends[each] for each in (AUTOMATIC, *setpoints)]
            in_each = map(self.device.flows, (*allowed, *self.device.harmless))
            self.bounds[setpoints] = [
                (
                    min(flow.battery for flow in flows) - TOLERANCE,
                    max(flow.battery for flow in flows) + TOLERANCE,
                    min(0.0, *(flow.grid for flow in flows)) - TOLERANCE,
                )
                for flows in zip(*in_each, strict=True)
            ]
        return [
            (number, situation, flow, bounds)
            for number, state in enumerate(states)
            for situation, flow, bounds in zip(
                self.device.situations,
                self.device.flows(state),
                self.bounds[setpoints],
                strict=True,
            )
            if not bounds[0] <= flow.battery <= bounds[1] or flow.grid < bounds[2]
        ]


@pytest.fixture
async def bench(
    installation: str,
    make_home: MakeHome,
    clock: ManualClock,
    hass_storage: dict[str, Any],
    warp: Warp,
) -> AsyncIterator[Bench]:
    """Return the battery of an installation, whose states are known."""
    tried = INSTALLATIONS[installation]
    kind: Any = SIMULATORS[tried.battery_type]
    # A battery so large that its SOC stays where it is, and no sun.
    house = kind.house(clock=clock, soc=SOC, capacity=1e6, time_of_day=NOON)
    house.fixed_pv, house.fixed_load = 0.0, LOAD
    async with kind(house, **tried.device) as simulator:
        # No polls: they have no part in this, and take their time.
        make = partial(make_home, scan_interval=36_000, **tried.entry)
        home = make(simulator)
        assert await home.set_up()
        made = Bench(simulator, watched(simulator), make, home, hass_storage, warp)
        await made.learn()
        yield made


@pytest.mark.parametrize(("installation", "cut", "every"), cases())
async def test_a_lost_connection_does_no_harm_and_the_change_is_completed(
    bench: Bench, cut: Cut, every: bool
) -> None:
    """It ends at the setpoint before or after, or at the user's settings.

    After a change that failed, the setpoint before it is held in the end; after a
    release, and after a first setpoint, the device is restored.
    """
    for number, (before, after) in enumerate(TRANSITIONS):
        writes = await bench.writes_of(before, after)
        same = bench.device.flows(bench.ends[before]) == bench.device.flows(
            bench.ends[after]
        )
        assert writes or same, f"{before} → {after}: nothing was written"
        for nth in to_cut(number, writes, every):
            where = f"{before} → {after}, write {nth}"
            assert await bench.ask(before), where
            await bench.warp(REST)
            mark = len(bench.device.trail)
            done = await bench.ask_and_cut(after, nth, cut)
            if done is None:
                assert every, where
                assert bench.is_held(after), where
                assert await bench.ask(AUTOMATIC), where
                assert bench.is_restored, where
                break
            if cut.away:
                await see_it_alone(bench, cut, mark + nth - 1 + cut.taken)
                await bench.come_back()
            end = after if done or after is AUTOMATIC else before
            assert await bench.until_held(end), where

            # The retry may hold it at 0 W meanwhile.
            steps = bench.device.trail[mark:]
            taken = nth - 1 + cut.taken
            assert bench.worse(steps[:taken], before, after) == [], where
            assert bench.worse(steps[taken:], before, after, HOLD) == [], where

            assert await bench.ask(AUTOMATIC), where
            assert bench.is_restored, where
        else:
            assert not every, f"{before} → {after} takes more writes than were cut"


async def see_it_alone(bench: Bench, cut: Cut, end: int) -> None:
    """Check that the device does what its settings say while it is out of reach."""
    state = bench.device.state
    expected = bench.device.here(state, cut.away)
    await bench.warp(cut.away)
    assert len(bench.device.trail) == end
    assert all(map(is_near, bench.flow, expected)), (state, bench.flow, expected)


def is_near(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE


@pytest.mark.parametrize(
    ("installation", "every"),
    [
        ("huawei with lower limits", False),
        ("deye that sells", False),
        *(
            pytest.param(installation, True, marks=EVERY)
            for installation in (
                "huawei with lower limits",
                "deye that sells",
                "deye behind a logger, that sells",
                "deye in remote mode",
            )
        ),
    ],
)
async def test_after_a_lost_connection_and_a_crash_the_device_is_restored(
    bench: Bench, every: bool
) -> None:
    """Home Assistant dies while the device is away; the next start has the storage."""
    for number, (before, after) in enumerate(TRANSITIONS):
        writes = await bench.writes_of(before, after)
        assert writes, f"{before} → {after}: nothing was written"
        for nth in to_cut(number, writes, every):
            where = f"{before} → {after}, write {nth}"
            assert await bench.ask(before), where
            await bench.warp(REST)
            mark = len(bench.device.trail)
            if await bench.ask_and_cut(after, nth, CUTS["for a while"]) is None:
                assert every, where
                assert await bench.ask(AUTOMATIC), where
                assert bench.is_restored, where
                break
            await bench.crash()
            await bench.come_back()
            assert await bench.home.set_up(), where
            assert bench.is_restored, where
            steps = bench.device.trail[mark:]
            assert bench.worse(steps, before, after, HOLD) == [], where
        else:
            assert not every, f"{before} → {after} takes more writes than were cut"


@pytest.mark.parametrize(
    "installation", ["huawei with lower limits", "deye that sells"]
)
async def test_after_a_crash_during_a_retry_the_device_is_restored(
    bench: Bench,
) -> None:
    """The connection is lost once more, when the setpoint before is sent again.

    A device that was released in between has been changed again by then.
    """
    cut = CUTS["for a while"]
    for before, after in pairwise((CHARGE, DISCHARGE, HOLD, CHARGE)):
        for nth in range(1, MOST_WRITES):
            where = f"{before} → {after}, write {nth} of the former setpoint"
            assert await bench.ask(before), where
            await bench.warp(REST)
            assert await bench.ask_and_cut(after, 1, CUTS["once"]) is False, where
            await bench.arm(nth, cut)
            await bench.warp(LEAP)
            if not await bench.is_cut(cut):
                break
            await bench.crash()
            await bench.come_back()
            assert await bench.home.set_up(), where
            assert bench.is_restored, where
        else:
            pytest.fail(f"{before} → {after} takes more writes than were cut")
        assert nth > 1, f"{before} → {after}: nothing was written"
        assert await bench.ask(AUTOMATIC), where


@pytest.mark.parametrize(
    ("when", "cut"), [("suspending", "for a while"), ("resuming", "once")]
)
@pytest.mark.parametrize("installation", ["deye that sells"])
async def test_a_suspended_setpoint_is_held_in_the_end(
    bench: Bench, cut: str, when: str
) -> None:
    """Without the grid it is suspended; the connection is lost then, or afterwards."""
    for setpoint in (CHARGE, HOLD, DISCHARGE):
        for nth in range(1, MOST_WRITES):
            where = f"{setpoint}, write {nth}"
            assert await bench.ask(setpoint), where
            if when == "suspending":
                await bench.arm(nth, CUTS[cut])
            await bench.simulator.misbehave("grid_lost")
            await bench.warp(LEAP)
            if when == "resuming":
                await bench.arm(nth, CUTS[cut])
            await bench.simulator.misbehave("grid_lost", on=False)
            was_cut = await bench.until_cut(CUTS[cut])
            if was_cut and CUTS[cut].away:
                await bench.come_back()
            assert await bench.until_held(setpoint, max_foreign_answers=2), where
            assert await bench.ask(AUTOMATIC), where
            assert bench.is_restored, where
            if not was_cut:
                break
        else:
            pytest.fail(f"{setpoint} takes more writes than were cut")
        assert nth > 1, f"{setpoint}: nothing was written"
