"""The states of the control, and every transition between them, as users cause it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import permutations
from typing import Any, Final

from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util
import pytest

from custom_components.homebattery.control import ControlState
from custom_components.homebattery.control.keep_alive import RETRY
from custom_components.homebattery.control.state import LeasedBattery
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
)
from tests.home import Home, MakeHome, Warp

from .lease_support import after_a_crash, changed, stored

pytestmark = pytest.mark.usefixtures("few_sensors")

AUTOMATIC, HELD, RELEASING, CLOSED = ControlState
type Transition = tuple[ControlState, ControlState]
TRANSITIONS: Final = {
    (before, after)
    for before, after in permutations(ControlState, 2)
    if before is not CLOSED
}
"""Every state is reached from every other, except from CLOSED, which is final."""


@dataclass
class Bench:
    """A battery in Home Assistant, and the transitions of its control."""

    home: Home
    make_home: MakeHome
    warp: Warp
    storage: dict[str, Any]
    monkeypatch: pytest.MonkeyPatch
    transitions: list[Transition] = field(default_factory=list)

    async def hold(self) -> None:
        await self.home.set_power(600)

    async def fail_to_hold(self, err: BatteryError, *, is_written: bool) -> None:
        """Ask for a setpoint that the driver fails to apply, or to see applied."""
        battery = self.home.data.battery
        apply = battery.set_power_setpoint

        async def fail(power: float) -> Grant:
            if is_written:
                await apply(power)
            err.written = is_written
            raise err

        with self.monkeypatch.context() as patch:
            patch.setattr(battery, "set_power_setpoint", fail)
            with pytest.raises(HomeAssistantError):
                await self.hold()
            await self.home.hass.async_block_till_done()

    async def renew_in_vain(self) -> None:
        """Let the driver restore the device, because it goes the wrong way."""
        battery = self.home.data.battery
        release = battery.release

        async def give_up() -> None:
            await release()
            raise NotConfirmedError("charges instead of discharging")

        with self.monkeypatch.context() as patch:
            patch.setattr(battery, "keep_alive", give_up)
            await self.warp(RETRY)

    async def release(self) -> None:
        await self.home.choose("automatic")

    async def fail_to_release(self) -> None:
        """Release a device that does not confirm it."""
        with self.monkeypatch.context() as patch:
            patch.setattr(self.home.data.battery, "release", not_released)
            with pytest.raises(HomeAssistantError, match="does not show it"):
                await self.release()

    async def retry(self) -> None:
        await self.warp(RETRY)

    async def unload(self) -> None:
        await self.home.hass.config_entries.async_unload(self.home.entry.entry_id)

    async def restart_after_a_crash(self, *, ends_in: float) -> None:
        """Let Home Assistant die with a setpoint that ends in so many seconds."""
        self.home = await after_a_crash(self.home, self.make_home, self.storage)
        self.transitions.clear()
        ends = dt_util.utcnow() + timedelta(seconds=ends_in)
        stored(self.storage, self.home)["expires"] = ends.isoformat()
        assert await self.home.set_up()


async def not_released(*_: object) -> None:
    raise NotConfirmedError("still held")


@pytest.fixture
def bench(
    sessy_home: Home,
    make_home: MakeHome,
    warp: Warp,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """Return a battery whose transitions are noted from now on."""
    made = Bench(sessy_home, make_home, warp, hass_storage, monkeypatch)
    enter = LeasedBattery._enter

    def enter_and_note(leased: LeasedBattery, state: ControlState) -> None:
        before = leased.state
        enter(leased, state)
        if leased.state is not before:
            made.transitions.append((before, leased.state))

    monkeypatch.setattr(LeasedBattery, "_enter", enter_and_note)
    return made


# Every way --------------------------------------------------------------------


async def hold_and_release(bench: Bench) -> None:
    await bench.hold()
    await bench.hold()
    await bench.release()
    await bench.release()


async def first_setpoint_refused(bench: Bench) -> None:
    await bench.fail_to_hold(NotSupportedError("not now"), is_written=False)


async def first_setpoint_uncertain(bench: Bench) -> None:
    await bench.fail_to_hold(RequestTimeoutError("no answer"), is_written=True)


async def second_setpoint_uncertain(bench: Bench) -> None:
    await bench.hold()
    await bench.fail_to_hold(RequestTimeoutError("no answer"), is_written=True)


async def driver_gives_up(bench: Bench) -> None:
    await bench.hold()
    await bench.renew_in_vain()


async def release_is_retried(bench: Bench) -> None:
    await bench.hold()
    await bench.fail_to_release()
    await bench.retry()


async def setpoint_while_releasing(bench: Bench) -> None:
    await bench.hold()
    await bench.fail_to_release()
    await bench.hold()


async def crash_and_release(bench: Bench) -> None:
    await bench.hold()
    await bench.restart_after_a_crash(ends_in=-1)


async def crash_and_resume(bench: Bench) -> None:
    await bench.hold()
    await bench.restart_after_a_crash(ends_in=3600)


async def unload_in_automatic(bench: Bench) -> None:
    await bench.unload()


async def unload_while_held(bench: Bench) -> None:
    await bench.hold()
    await bench.unload()


async def unload_while_releasing(bench: Bench) -> None:
    await bench.hold()
    await bench.fail_to_release()
    await bench.unload()


type Way = Callable[[Bench], Awaitable[None]]
WAYS: Final[Mapping[Way, Sequence[ControlState]]] = {
    hold_and_release: (AUTOMATIC, HELD, AUTOMATIC),
    first_setpoint_refused: (AUTOMATIC, HELD, AUTOMATIC),
    first_setpoint_uncertain: (AUTOMATIC, HELD, RELEASING, AUTOMATIC),
    second_setpoint_uncertain: (AUTOMATIC, HELD),
    driver_gives_up: (AUTOMATIC, HELD, AUTOMATIC),
    release_is_retried: (AUTOMATIC, HELD, RELEASING, AUTOMATIC),
    setpoint_while_releasing: (AUTOMATIC, HELD, RELEASING, HELD),
    crash_and_release: (AUTOMATIC, RELEASING, AUTOMATIC),
    crash_and_resume: (AUTOMATIC, RELEASING, HELD),
    unload_in_automatic: (AUTOMATIC, CLOSED),
    unload_while_held: (AUTOMATIC, HELD, CLOSED),
    unload_while_releasing: (AUTOMATIC, HELD, RELEASING, CLOSED),
}
"""Actions of users, devices and Home Assistant, and the states that follow."""


def pairs(states: Sequence[ControlState]) -> list[Transition]:
    return list(zip(states, states[1:], strict=False))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_control_goes_through_the_expected_states(bench: Bench, way: Way) -> None:
    control, device = bench.home.data.control, bench.home.simulator
    original = device.settings_words()
    assert control.state is AUTOMATIC

    await way(bench)

    assert bench.transitions == pairs(WAYS[way])
    control = bench.home.data.control if WAYS[way][-1] is not CLOSED else control
    assert control.state is WAYS[way][-1]
    # A battery is held in HELD and in no other state.
    is_held = control.state is HELD
    assert control.mode == ("manual" if is_held else "automatic")
    assert control.requested_power == (600 if is_held else None)
    assert (stored(bench.storage, bench.home) is not None) is is_held
    assert (changed(original, device) != {}) is is_held


def test_every_transition_is_tested() -> None:
    assert {pair for states in WAYS.values() for pair in pairs(states)} == TRANSITIONS


async def test_nothing_leaves_closed(bench: Bench) -> None:
    """Neither a setpoint that comes too late, nor the release of a held battery."""
    control, battery = bench.home.data.control, bench.home.data.battery
    await bench.hold()
    with bench.monkeypatch.context() as patch:
        patch.setattr(battery, "release", not_released)
        await bench.unload()
    assert (control.state, control.mode) == (CLOSED, "manual")
    assert control.status == "release_failed"
    assert stored(bench.storage, bench.home)["found"] == battery.snapshot

    with pytest.raises(HomeAssistantError) as refusal:
        await control.async_set_power(500)
    assert refusal.value.translation_key == "closed"
    assert control.state is CLOSED

    async with battery:
        await control.async_release()
    assert (control.state, control.mode) == (CLOSED, "automatic")
    assert control.status == "automatic"
    assert stored(bench.storage, bench.home) is None
