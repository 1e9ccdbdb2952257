"""Power cuts: at whatever moment, the next start finds what restores the battery.

A power cut leaves what was synced of the disk, or more; and of the battery what it was
told by then. Both are taken as they are at each moment of a change of the setpoint at
which they become different: each write to the device, and each sync that changes the
files of the lease. Home Assistant then starts with nothing else.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
import json
import math
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import storage
from homeassistant.util.file import write_utf8_file
import pytest

from custom_components.homebattery.control import flash_spacing
from custom_components.homebattery.control.keep_alive import RETRY
from custom_components.homebattery.control.store import COPY
from custom_components.homebattery.drivers import flash
from custom_components.homebattery.drivers.errors import BatteryError
from tests.home import ON_A_SOCKET, Home, MakeHome, Warp, one_of_each_protocol
from tests.simulators import HuaweiSimulator, Simulator, VictronSimulator

from .intercept import intercept
from .lease_support import changed, file_of, issues
from .on_disk import (
    Disk,
    Files,
    crash,
    disk,
    files_of_leases,
    folder,
    hass_config_dir,
    hass_storage,
    prepare_start,
    start_with,
)

__all__ = ["disk", "folder", "hass_config_dir", "hass_storage"]

pytestmark = pytest.mark.usefixtures("few_sensors")

CHARGE: Final = 600
DISCHARGE: Final = -500
"""W"""


@dataclass
class Power:
    """The power of the house, which the disk and the battery need.

    It is cut at a moment of a change: before the device takes a write, or before a sync
    is done that changes what remains of the files of the lease. From then on nothing
    reaches either.
    """

    disk: Disk
    cut_at: int | None = None
    """The number of the moment at which it is cut, from 1; None: never."""
    leaves_all: bool = False
    """Whether the disk also keeps what was written and not synced."""
    moments: int = 0
    """Number of moments so far."""
    files: Files | None = None
    """The files of the lease that remain, once it was cut."""

    @property
    def is_on(self) -> bool:
        return self.files is None

    def restore(self, cut_at: int | None = None) -> None:
        """Let it be on from now, until a moment from now. All is synced by now."""
        self.disk.sync_all()
        self.cut_at, self.moments, self.files = cut_at, 0, None

    def cut(self) -> None:
        """Cut it now, if it was not before."""
        self._cut(self.disk.after_a_power_cut)

    def take(self, is_write: bool) -> bool:
        """Return whether the device takes a request."""
        if is_write:
            self._pass(self.disk.after_a_power_cut)
        return self.is_on

    def sync(self, descriptor: int, sync: Callable[[int], None]) -> None:
        """Sync a file or a folder."""
        if self.is_on:
            synced = self.disk.after_a_power_cut
            sync(descriptor)
            if synced != self.disk.after_a_power_cut:
                self._pass(synced)

    def _pass(self, synced: Files) -> None:
        """Pass a moment, until which these files were synced."""
        if self.is_on:
            self.moments += 1
            if self.moments == self.cut_at:
                self._cut(synced)

    def _cut(self, synced: Files) -> None:
        if self.is_on:
            self.files = self.disk.after_a_crash if self.leaves_all else synced


@pytest.fixture
def power(disk: Disk, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Power:
    """Return the power of the disk and of the battery."""
    power = Power(disk)
    intercept(simulator, power.take)
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        power.sync(descriptor, sync)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("atomicwrites._proper_fsync", fsync)
    return power


@dataclass
class Bench:
    """A battery in Home Assistant, with a disk and a power that can be cut."""

    home: Home
    power: Power
    folder: Path
    make_home: MakeHome
    warp: Warp
    original: dict[str, Any] = field(init=False)
    """Every setting of the battery, before anything was done to it."""

    def __post_init__(self) -> None:
        self.original = self.home.simulator.settings_words()

    async def start_again(self, cut_at: int | None = None) -> bool:
        """Cut the power, if it was not, and start again; return the set-up's success.

        The power may be cut once more at a moment of that start.
        """
        self.power.cut()
        files = self.power.files or {}
        await crash(self.home, self.folder)
        self.home = prepare_start(files, self.home, self.make_home, self.folder)
        self.power.restore(cut_at)
        return await self.home.set_up()

    @property
    def held_power(self) -> int | None:
        """The power at which the battery is held, W; None unless it and all agree."""
        power = self.home.data.control.requested_power
        is_held = self.home.simulator.state()["mode"] == "controlled"
        return power if is_held and self._leases == {file_of(self.home)} else None

    @property
    def remains(self) -> dict[str, Any]:
        """All that is not as before the first setpoint: of battery, entities, disk."""
        home = self.home
        seen_and_due = {
            "settings": (changed(self.original, home.simulator), {}),
            "mode": (home.simulator.state()["mode"], "automatic"),
            "control_mode": (home.state("control_mode"), "automatic"),
            "control_status": (home.state("control_status"), "automatic"),
            "leases": (self._leases, set()),
            "copies": (self._copies, set()),
            "issues": (issues(home), set()),
        }
        return {key: seen for key, (seen, due) in seen_and_due.items() if seen != due}

    @property
    def _copies(self) -> set[str]:
        return {path.name for path in self._files if path.name.endswith(COPY)}

    @property
    def _leases(self) -> set[str]:
        """The names of the files that say that a battery is held."""
        return {
            path.name
            for path in self._files
            if not path.name.endswith(COPY)
            and json.loads(path.read_bytes())["data"]["lease"] is not None
        }

    @property
    def _files(self) -> list[Path]:
        return files_of_leases(self.folder)


@pytest.fixture
def bench(
    home: Home,
    power: Power,
    folder: Path,
    make_home: MakeHome,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """Return a battery in automatic, whose flash takes any number of writes."""
    monkeypatch.setattr(flash, "DAILY_BUDGET", math.inf)
    monkeypatch.setattr(flash_spacing, "FLASH_WINDOW", 0.0)
    return Bench(home, power, folder, make_home, warp)


# Changes of the setpoint


async def hold(bench: Bench) -> None:
    await bench.home.set_power(CHARGE)


async def hold_for_an_hour(bench: Bench) -> None:
    await bench.home.data.control.async_set_power(CHARGE, timedelta(hours=1))


async def hold_another(bench: Bench) -> None:
    await bench.home.set_power(DISCHARGE)


async def hold_at_zero(bench: Bench) -> None:
    await bench.home.set_power(0)


async def end_in_an_hour(bench: Bench) -> None:
    await bench.home.call("number.set_value", "setpoint_duration", value=60)


async def renew(bench: Bench) -> None:
    await bench.warp(bench.home.data.battery.keep_alive_interval or RETRY)


async def release(bench: Bench) -> None:
    await bench.home.choose("automatic")


async def start(bench: Bench) -> None:
    await bench.start_again(bench.power.cut_at)


class Change(NamedTuple):
    """A change during which the power is cut, and what is done before it.

    Only a setpoint with an end may be held on after a start.
    """

    make: Callable[[Bench], Awaitable[None]]
    before: Callable[[Bench], Awaitable[None]] | None = None
    with_end: frozenset[int] = frozenset()
    """The setpoints with an end, W."""


CHANGES: Final[Mapping[str, Change]] = {
    "hold": Change(hold),
    "hold with an end": Change(hold_for_an_hour, with_end=frozenset({CHARGE})),
    "another": Change(hold_another, hold),
    "another after one with an end": Change(
        hold_another, hold_for_an_hour, frozenset({CHARGE})
    ),
    "hold at 0 W": Change(hold_at_zero, hold),
    "new end": Change(end_in_an_hour, hold, frozenset({CHARGE})),
    "renew": Change(renew, hold),
    "release": Change(release, hold),
    "start": Change(start, hold),
    "start before the end": Change(start, hold_for_an_hour, frozenset({CHARGE})),
}
MOMENTS: Final[Mapping[str, tuple[int, ...]]] = {
    "victron": (5, 5, 3, 3, 3, 2, 2, 4, 4, 2),
    "sun2000": (7, 7, 6, 6, 6, 2, 3, 3, 3, 5),
    "deye_modbus": (7, 7, 7, 7, 6, 2, 1, 5, 5, 1),
    "deye_solarman": (7, 7, 7, 7, 6, 2, 1, 5, 5, 1),
    "sessy": (5, 5, 3, 3, 3, 2, 1, 4, 4, 2),
    "sma": (4, 4, 3, 3, 3, 2, 2, 3, 3, 2),
}
"""The number of moments of each battery in each change, at least; the last is its end."""
LEAVES_ALL: Final[Mapping[str, bool]] = {"synced": False, "written": True}
"""Whether the disk keeps all that was written, or only what was synced."""
POWER_CUTS: Final = len(LEAVES_ALL) * sum(map(sum, MOMENTS.values()))
"""The number of power cuts, at least."""
PLAIN: Final = [("victron", "hold"), ("sessy", "hold"), ("victron", "release")]


def cells() -> Iterator[Any]:
    for battery_type, moments in MOMENTS.items():
        for change, least in zip(CHANGES, moments, strict=True):
            for kept, leaves_all in LEAVES_ALL.items():
                is_plain = (battery_type, change) in PLAIN and not leaves_all
                yield pytest.param(
                    battery_type,
                    CHANGES[change],
                    leaves_all,
                    least,
                    id=f"{battery_type}, {change}, {kept}",
                    marks=[] if is_plain else pytest.mark.long,
                )


async def cut_at_each_moment(
    bench: Bench, change: Change
) -> tuple[int, dict[int, dict[str, Any]]]:
    """Make a change once for each of its moments, and cut the power at that.

    Returns the number of power cuts, the last after the change, and by the number of the
    moment all that was wrong after the next start, up to the first.
    """
    for moment in count(1):
        if change.before is not None:
            await change.before(bench)
        bench.power.restore(cut_at=moment)
        with suppress(HomeAssistantError, BatteryError):
            await change.make(bench)
        is_last = bench.power.is_on
        assert await bench.start_again()
        if bench.held_power in change.with_end:
            await release(bench)
            # The same power again waits for its turn.
            await bench.warp(round(bench.home.data.battery.change_interval))
        if bench.remains or is_last:
            return moment, {moment: bench.remains} if bench.remains else {}
    raise AssertionError


@pytest.mark.parametrize(
    ("simulator", "change", "leaves_all", "least"), cells(), indirect=["simulator"]
)
async def test_power_cut_at_any_moment_leaves_what_restores_the_battery(
    bench: Bench, change: Change, leaves_all: bool, least: int
) -> None:
    bench.power.leaves_all = leaves_all
    cuts, wrong = await cut_at_each_moment(bench, change)
    assert wrong == {}
    assert cuts >= least


@one_of_each_protocol
async def test_power_cut_after_a_plain_save_leaves_a_held_battery(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails for a save that is not synced."""
    monkeypatch.setattr(storage, "write_utf8_file_atomic", write_utf8_file)
    _, wrong = await cut_at_each_moment(bench, CHANGES["hold"])
    (remains,) = wrong.values()
    assert remains["mode"] == "controlled"


def test_moments_are_of_all_batteries() -> None:
    """Except a simulated one, which ends with the power."""
    assert MOMENTS.keys() == set(ON_A_SOCKET)


# A setting that the user has changed while the battery was held


@dataclass(frozen=True)
class UsersChange:
    """A change that a user makes on a device that is held, and how it is undone."""

    fault: str
    new: Mapping[str, Any]
    old: Mapping[str, Any]
    power: int
    """The next setpoint, whose first write destroys the user's new value."""


USERS_CHANGES: Final = {
    VictronSimulator: UsersChange("ess_mode", {"mode": 2}, {"mode": 1}, -500),
    HuaweiSimulator: UsersChange(
        "setting",
        {"setting": "charge_limit", "value": 3000},
        {"setting": "charge_limit", "value": 5000},
        0,
    ),
}


@pytest.mark.parametrize("device", USERS_CHANGES, ids=lambda device: device.type)
async def test_power_cut_restores_what_the_user_has_changed_while_it_was_held(
    device: Any, disk: Disk, folder: Path, make_home: MakeHome
) -> None:
    change = USERS_CHANGES[device]
    async with device() as simulator:
        before = simulator.settings_words()
        await simulator.misbehave(change.fault, **change.new)
        wanted = simulator.settings_words()
        await simulator.misbehave(change.fault, **change.old)
        assert simulator.settings_words() == before != wanted
        home = make_home(simulator)
        assert await home.set_up()
        await home.set_power(600)
        await simulator.misbehave(change.fault, **change.new)

        files = await set_power_and_cut(home, disk, change.power)

        alive = await start_with(files, home, make_home, folder)
        assert changed(wanted, simulator) == {}
        assert alive.state("control_mode") == "automatic"
        await alive.hass.config_entries.async_unload(alive.entry.entry_id)


async def set_power_and_cut(home: Home, disk: Disk, power: int) -> Files:
    """Hold a power; return the files if the power was cut at the first write of that."""
    cuts: list[Files] = []

    def take(is_write: bool) -> bool:
        if is_write:
            cuts.append(disk.after_a_power_cut)
        return True

    intercept(home.simulator, take)
    await home.set_power(power)
    return cuts[0]
