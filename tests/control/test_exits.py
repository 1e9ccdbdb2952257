"""Tests that the device is restored, word by word, whichever way a setpoint ends.

When the device cannot be reached just then, it is released as soon as it can be.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util
import pytest

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.control.keep_alive import RETRY
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.errors import RequestTimeoutError
from tests.home import Home, MakeHome, Warp, one_of_each_protocol
from tests.simulators import SessySimulator, Simulator, VictronSimulator
from tests.simulators.deye import DeyeSimulator
from tests.simulators.victron_gx import MODE

from .lease_support import Words, after_a_crash, changed, file_of, issues, stored

CHARGE: Final = 600
DISCHARGE: Final = -500
HOLD: Final = 0
"""W. Without a setpoint the batteries discharge into the house."""
SHOWS_RELEASE: Final = ("victron", "sessy", "deye_modbus", "deye_solarman")
"""The devices that show a release by hand. A SUN2000 is in the same state after a
command that has run out, and a Sunny Island after it has fallen back by itself."""

type WayOut = Callable[[Home], Awaitable[None]]


async def automatic(home: Home) -> None:
    await home.choose("automatic")


async def release(home: Home) -> None:
    await act(home, "release")


async def unload(home: Home) -> None:
    await home.hass.config_entries.async_unload(home.entry.entry_id)


async def reload(home: Home) -> None:
    await home.hass.config_entries.async_reload(home.entry.entry_id)


async def disable(home: Home) -> None:
    await home.hass.config_entries.async_set_disabled_by(
        home.entry.entry_id, ConfigEntryDisabler.USER
    )


async def remove(home: Home) -> None:
    await home.hass.config_entries.async_remove(home.entry.entry_id)


async def stop(home: Home) -> None:
    home.hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)


async def change_options(home: Home) -> None:
    flows = home.hass.config_entries.options
    form = await flows.async_init(home.entry.entry_id)
    await flows.async_configure(form["flow_id"], {"scan_interval": 10})


WAYS_OUT: Final[Mapping[str, tuple[WayOut, int]]] = {
    "automatic": (automatic, CHARGE),
    "release": (release, DISCHARGE),
    "unload": (unload, DISCHARGE),
    "reload": (reload, CHARGE),
    "disable": (disable, HOLD),
    "remove": (remove, DISCHARGE),
    "stop": (stop, HOLD),
    "options": (change_options, DISCHARGE),
}
"""Each way to end a setpoint at once, and the setpoint that it ends, W."""


async def act(home: Home, action: str, **data: Any) -> None:
    """Call an action of the integration on the battery."""
    await home.hass.services.async_call(
        DOMAIN,
        action,
        {"entity_id": home.entity_id("power_setpoint"), **data},
        blocking=True,
    )
    await home.hass.async_block_till_done()


async def come_back(home: Home, warp: Warp) -> None:
    """Let a device that was away be there again until the release was retried."""
    await home.simulator.misbehave("away", on=False)
    await wait_for_retries(warp)


async def wait_for_retries(warp: Warp) -> None:
    """Let a release be retried: a device that was away is not asked for a while."""
    for _ in range(3):
        await warp(RETRY)


def is_held(home: Home) -> bool:
    return bool(home.simulator.state()["mode"] == "controlled")


# At once


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_device_is_restored_exactly(
    home: Home, way: str, hass_storage: dict[str, Any]
) -> None:
    leave, power = WAYS_OUT[way]
    original = home.simulator.settings_words()
    await home.set_power(power)
    assert is_held(home)
    assert changed(original, home.simulator)

    await leave(home)
    await home.hass.async_block_till_done()

    assert changed(original, home.simulator) == {}
    assert stored(hass_storage, home) is None
    assert issues(home) == set()


async def test_several_setpoints_in_a_row_are_restored_like_one(home: Home) -> None:
    """The snapshot is taken once, before the first of them."""
    original = home.simulator.settings_words()
    for power in (CHARGE, HOLD, DISCHARGE, CHARGE, DISCHARGE, HOLD):
        await home.set_power(power)
    await home.choose("automatic")
    assert changed(original, home.simulator) == {}


# In its time


async def test_setpoint_ends_after_its_duration(home: Home, warp: Warp) -> None:
    original = home.simulator.settings_words()
    await act(home, "set_power", power=HOLD, duration={"seconds": 50})
    await warp(49)
    assert is_held(home)

    await warp(2)

    assert changed(original, home.simulator) == {}
    assert home.state("control_status") == "automatic"


@one_of_each_protocol
async def test_setpoint_without_a_duration_does_not_end(home: Home, warp: Warp) -> None:
    await act(home, "set_power", power=CHARGE, duration={"seconds": 50})
    await act(home, "set_power", power=CHARGE)
    for _ in range(3):
        await warp(40)
    assert is_held(home)
    assert home.state_of("control_status").attributes["expires"] is None


@one_of_each_protocol
async def test_setpoint_ends_after_the_time_out_unless_it_is_set_again(
    make_home: MakeHome, simulator: Simulator, warp: Warp
) -> None:
    home = make_home(simulator, setpoint_timeout=50)
    assert await home.set_up()
    original = simulator.settings_words()

    # Set again before its time, even to the same: it goes on.
    await home.set_power(DISCHARGE)
    for _ in range(3):
        await warp(40)
        assert is_held(home)
        await home.set_power(DISCHARGE)

    await warp(51)
    assert changed(original, simulator) == {}
    assert home.state("control_mode") == "automatic"


# After a crash


async def crash(
    home: Home,
    make_home: MakeHome,
    hass_storage: dict[str, Any],
    *,
    ends_in: float | None = None,
) -> Home:
    """Return the start after a crash of a Home Assistant that held a setpoint.

    `ends_in`: seconds from that start, or before it.
    """
    alive = await after_a_crash(home, make_home, hass_storage)
    if ends_in is not None:
        ends = dt_util.utcnow() + timedelta(seconds=ends_in)
        stored(hass_storage, alive)["expires"] = ends.isoformat()
    return alive


@pytest.mark.parametrize(("power", "ends_in"), [(CHARGE, None), (HOLD, -1)])
async def test_setpoint_whose_time_is_over_is_ended_by_the_next_start(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    power: int,
    ends_in: float | None,
) -> None:
    """So is a setpoint without an end: its automation may not run any more."""
    original = simulator.settings_words()
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(power)

    alive = await crash(dead, make_home, hass_storage, ends_in=ends_in)
    assert is_held(alive)
    assert await alive.set_up()

    assert changed(original, simulator) == {}
    assert alive.state("control_mode") == "automatic"
    assert stored(hass_storage, alive) is None


async def test_setpoint_goes_on_after_a_crash_until_its_end(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    warp: Warp,
) -> None:
    original = simulator.settings_words()
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(DISCHARGE)

    alive = await crash(dead, make_home, hass_storage, ends_in=50)
    assert await alive.set_up()
    control = alive.data.control
    assert (control.requested_power, control.granted_power) == (DISCHARGE, DISCHARGE)
    assert alive.state("control_mode") == "manual"
    expires = alive.state_of("control_status").attributes["expires"]
    assert 45 < (expires - dt_util.utcnow()).total_seconds() <= 50
    await warp(45)
    assert simulator.state()["battery_power"] == pytest.approx(DISCHARGE, rel=0.1)

    await warp(6)
    assert changed(original, simulator) == {}
    assert alive.state("control_mode") == "automatic"
    assert stored(hass_storage, alive) is None


@pytest.mark.parametrize("simulator", SHOWS_RELEASE, indirect=True)
async def test_battery_restored_by_hand_stays_so_after_a_crash(
    make_home: MakeHome, simulator: Simulator, hass_storage: dict[str, Any]
) -> None:
    original = simulator.settings_words()
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(CHARGE)

    alive = await crash(dead, make_home, hass_storage, ends_in=3600)
    restore_by_hand(simulator, original)
    restored = simulator.settings_words()
    assert await alive.set_up()

    assert alive.state("control_mode") == "automatic"
    assert changed(restored, simulator) == {}
    assert stored(hass_storage, alive) is None


def restore_by_hand(simulator: Simulator, original: Words) -> None:
    """Choose the former mode on the device itself, as its user would."""
    match simulator:
        case VictronSimulator():
            simulator.gx.settings[MODE] = 1
        case SessySimulator():
            simulator.fault_strategy("NOM")
        case DeyeSimulator():
            words = simulator.inverter.words
            for address in words.keys() & {int(at) for at in original}:
                words[address] = original[str(address)]
    assert simulator.mode == "automatic"


async def test_setpoint_that_cannot_be_sent_at_the_start_is_sent_later(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A setpoint that is to go on is not forgotten, and is released at its end."""
    original = simulator.settings_words()
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(CHARGE)

    alive = await crash(dead, make_home, hass_storage, ends_in=100)
    with monkeypatch.context() as patch:
        patch.setattr(DRIVERS[simulator.type], "set_power_setpoint", not_now)
        assert await alive.set_up()
    assert alive.data.control.requested_power == CHARGE
    await warp(RETRY)
    assert alive.data.control.granted_power == CHARGE

    await warp(80)
    assert changed(original, simulator) == {}


async def not_now(*_: object) -> int:
    raise RequestTimeoutError("no answer")


# Out of reach


async def test_release_out_of_reach_is_an_error_and_tried_until_it_works(
    home: Home, warp: Warp
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(CHARGE)
    await home.simulator.misbehave("away")

    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await home.choose("automatic")
    assert home.state("control_status") == "release_failed"
    assert issues(home) == set()  # once may be chance

    await warp(RETRY)
    assert home.state("control_status") == "release_failed"
    assert issues(home) == {"release_failed"}

    await come_back(home, warp)
    assert changed(original, home.simulator) == {}
    assert home.state("control_status") == "automatic"
    assert issues(home) == set()


async def test_setpoint_that_expires_out_of_reach_is_released_later(
    home: Home, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    original = home.simulator.settings_words()
    await act(home, "set_power", power=DISCHARGE, duration=50)
    await home.simulator.misbehave("away")

    await warp(51)
    assert home.state("control_status") == "release_failed"
    assert stored(hass_storage, home)["found"] == home.data.battery.snapshot
    assert stored(hass_storage, home)["power"] is None  # not to be resumed

    await come_back(home, warp)
    assert changed(original, home.simulator) == {}
    assert home.state("control_status") == "automatic"


@pytest.mark.parametrize("way", [unload, disable])
async def test_battery_unloaded_out_of_reach_is_released_by_the_next_set_up(
    home: Home, way: WayOut, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(HOLD)
    await home.simulator.misbehave("away")

    await way(home)
    assert home.entry_is(ConfigEntryState.NOT_LOADED)
    assert issues(home) == {"release_failed"}
    assert stored(hass_storage, home) is not None

    await come_back(home, warp)
    if home.entry.disabled_by is None:
        await home.set_up()
    else:
        await home.hass.config_entries.async_set_disabled_by(home.entry.entry_id, None)
        await home.hass.async_block_till_done()
    assert home.entry_is(ConfigEntryState.LOADED)
    assert changed(original, home.simulator) == {}
    assert issues(home) == set()
    assert stored(hass_storage, home) is None


async def test_battery_out_of_reach_at_a_stop_is_released_by_the_next_start(
    home: Home, make_home: MakeHome, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    original = home.simulator.settings_words()
    await act(home, "set_power", power=CHARGE, duration=3600)
    await home.simulator.misbehave("away")
    await stop(home)
    await home.hass.async_block_till_done()
    assert is_held(home)

    after = await after_a_crash(home, make_home, hass_storage)
    await come_back(after, warp)
    assert await after.set_up()

    # Though its time was not over: the stop was its end.
    assert changed(original, home.simulator) == {}
    assert after.state("control_mode") == "automatic"


async def test_battery_removed_out_of_reach_is_released_when_it_is_added_again(
    home: Home, make_home: MakeHome, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(CHARGE)
    await home.simulator.misbehave("away")

    await remove(home)
    assert issues(home) == {"left_held"}
    assert stored(hass_storage, home) is not None
    assert is_held(home)

    await come_back(home, warp)
    again = make_home(home.simulator)
    assert await again.set_up()
    assert changed(original, home.simulator) == {}
    assert again.state("control_mode") == "automatic"
    assert issues(home) == set()
    assert stored(hass_storage, home) is None


async def test_removal_of_an_unloaded_entry_releases_its_battery_first(
    home: Home, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(DISCHARGE)
    await home.simulator.misbehave("away")
    await unload(home)
    assert is_held(home)

    await come_back(home, warp)
    await remove(home)

    assert changed(original, home.simulator) == {}
    assert issues(home) == set()
    assert file_of(home) not in hass_storage


async def test_removal_does_not_release_another_device_at_the_address(
    victron_home: Home, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    """The snapshot of one battery is not restored to another."""
    home, device = victron_home, victron_home.simulator
    await home.set_power(CHARGE)
    await device.misbehave("away")
    await unload(home)

    async with VictronSimulator(port=device.port, serial="c0619a000002") as other:
        await wait_for_retries(warp)
        await remove(home)
        assert not other.server.traffic.writes

    assert issues(home) == {"left_held"}
    assert stored(hass_storage, home) is not None
