"""Tests of the lease: the snapshot of a held battery outlives Home Assistant."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, NoReturn

from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.core import CoreState
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util.file import WriteError
from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.control.lease import Setpoint
from custom_components.homebattery.control.lease_file import decode
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    RequestTimeoutError,
)
from tests.home import (
    Home,
    MakeHome,
    Warp,
    each_on_a_socket,
    one_of_each_protocol,
    refuse_word,
)
from tests.in_process import InProcessDevice
from tests.simulators import SessySimulator, Simulator, VictronSimulator
from tests.simulators.http_server import Answer, Request
from tests.simulators.modbus import Units
from tests.simulators.modbus_server import WRITES

from .lease_support import after_a_crash, changed, issues, stored

pytestmark = pytest.mark.usefixtures("few_sensors")

KEYS: Final = (
    *("lease", "left", "unknown", "flash_day", "flash_writes"),
    *("found", "power", "current", "phases", "expires", "duration"),
)
"""The keys of the file."""


@one_of_each_protocol
async def test_snapshot_is_kept_while_a_setpoint_is_held(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    assert stored(hass_storage, home) is None
    await home.set_power(600)
    assert stored(hass_storage, home) == {
        "found": home.data.battery.snapshot,
        "power": 600,
        "current": None,
        "phases": {},
        "expires": None,
        "duration": None,
    }
    await home.choose("automatic")
    assert stored(hass_storage, home) is None


@one_of_each_protocol
async def test_lease_is_kept_before_the_first_write(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    async def first_write(power: float) -> Grant:
        kept.append(stored(hass_storage, home))
        return Grant(round(power))

    monkeypatch.setattr(home.data.battery, "set_power_setpoint", first_write)
    await home.set_power(600)
    assert kept != [None]


@one_of_each_protocol
async def test_a_battery_still_held_is_released_at_the_next_start(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = simulator.state()["device"]
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(600)
    assert simulator.state()["mode"] == "controlled"

    alive = await after_a_crash(dead, make_home, hass_storage)
    assert await alive.set_up()

    assert simulator.state()["mode"] == "automatic"
    assert taken(simulator.state()["device"]) == taken(before)
    assert alive.state("control_mode") == "automatic"
    assert stored(hass_storage, alive) is None
    assert "was held at a setpoint when Home Assistant ended" in caplog.text


def taken(device: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a device's state that setpoints change."""
    names = ("ess_mode", "strategy", "charge_limit", "discharge_limit", "borrowed")
    return {name: device[name] for name in names if name in device}


async def refuse_release(simulator: Simulator, on: bool) -> None:
    """Let a device refuse all writes, or accept them again."""
    match simulator.type:
        case "sessy":
            await simulator.misbehave("error", path="setpoint", count=100 if on else 0)
        case "simulated":
            await simulator.misbehave("refuse_writes", code=4 if on else 0)
        case _:
            await simulator.misbehave("ignore_writes", on=on)


async def test_a_release_that_fails_at_the_start_is_retried(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    warp: Warp,
) -> None:
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(600)
    lease = stored(hass_storage, dead)
    alive = await after_a_crash(dead, make_home, hass_storage)
    await refuse_release(simulator, on=True)
    assert await alive.set_up()
    assert alive.state("control_status") == "release_failed"
    assert stored(hass_storage, alive)["found"] == lease["found"]

    await refuse_release(simulator, on=False)
    await warp(31)
    assert alive.state("control_status") == "automatic"
    assert stored(hass_storage, alive) is None


async def test_a_battery_still_held_is_released_within_30_s_of_its_answering(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However long it was away: Home Assistant's own tries are minutes apart then."""
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(600)
    alive = await after_a_crash(dead, make_home, hass_storage)
    await simulator.misbehave("away")
    assert not await alive.set_up()
    for _ in range(60):
        await warp(10)
    assert alive.entry_is(ConfigEntryState.SETUP_RETRY)
    assert caplog.text.count("Retrying in 5 seconds") == 1
    await simulator.misbehave("away", on=False)
    for _ in range(6):
        await warp(5)
    assert alive.entry_is(ConfigEntryState.LOADED)
    assert simulator.mode == "automatic"
    assert stored(hass_storage, alive) is None


@pytest.mark.parametrize(
    ("simulator", "refused"),
    [("victron", (100, 2709)), ("sun2000", (1, 47000))],
    indirect=["simulator"],
)
async def test_a_battery_still_held_is_released_though_control_was_refused_at_the_start(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    warp: Warp,
    refused: tuple[int, int],
) -> None:
    """A device that starts may say that it has no control, and be well from then on."""
    dead = make_home(simulator)
    assert await dead.set_up()
    original = simulator.settings_words()
    await dead.set_power(0)
    alive = await after_a_crash(dead, make_home, hass_storage)
    with monkeypatch.context() as patch:
        refuse_word(simulator, refused, patch)
        assert await alive.set_up()
    assert alive.find("control_mode") is None
    assert changed(original, simulator)

    for _ in range(6):
        await warp(5)
    assert alive.state("control_status") == "automatic"
    assert changed(original, simulator) == {}
    assert issues(alive) == set()


async def refuse_polls(*_: Any) -> NoReturn:
    raise RequestTimeoutError("no answer")


async def test_a_battery_still_held_that_only_answers_at_first_is_not_set_up_each_time(
    victron_home: Home,
    make_home: MakeHome,
    victron: VictronSimulator,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It answers what connecting asks, and no poll: Home Assistant would log each try."""
    await victron_home.set_power(600)
    alive = await after_a_crash(victron_home, make_home, hass_storage)
    with monkeypatch.context() as patch:
        patch.setattr(DRIVERS["victron"], "read", refuse_polls)
        assert not await alive.set_up()
        caplog.clear()
        for _ in range(18):
            await warp(10)
        assert caplog.text.count("Retrying in") < 5
    for _ in range(6):
        await warp(5)
    assert alive.entry_is(ConfigEntryState.LOADED)
    assert victron.mode == "automatic"


async def test_a_battery_still_held_is_released_though_its_password_was_refused(
    sessy_home: Home, make_home: MakeHome, hass_storage: dict[str, Any], warp: Warp
) -> None:
    """As a dongle does that starts later than Home Assistant."""
    await sessy_home.set_power(600)
    alive = await after_a_crash(sessy_home, make_home, hass_storage)
    await alive.simulator.misbehave("unauthorized")
    assert not await alive.set_up()
    await warp(60)
    await alive.simulator.misbehave("unauthorized", on=False)
    for _ in range(6):
        await warp(5)
    assert alive.entry_is(ConfigEntryState.LOADED)
    assert alive.simulator.mode == "automatic"
    assert alive.hass.config_entries.flow.async_progress() == []


@one_of_each_protocol
@pytest.mark.parametrize("ending", ["unload", "disable", "remove"])
async def test_a_battery_still_held_is_not_set_up_against_its_users_will(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    warp: Warp,
    ending: str,
) -> None:
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(600)
    alive = await after_a_crash(dead, make_home, hass_storage)
    await simulator.stop()
    assert not await alive.set_up()
    entries, entry_id = alive.hass.config_entries, alive.entry.entry_id
    match ending:
        case "unload":
            await entries.async_unload(entry_id)
        case "disable":
            await entries.async_set_disabled_by(entry_id, ConfigEntryDisabler.USER)
        case "remove":
            await entries.async_remove(entry_id)
    await simulator.start()
    for _ in range(6):
        await warp(10)
    assert alive.entry_is(ConfigEntryState.NOT_LOADED)
    assert simulator.mode == "controlled"


async def test_a_battery_that_was_not_held_is_set_up_at_the_pace_of_home_assistant(
    make_home: MakeHome, sessy: SessySimulator, warp: Warp
) -> None:
    home = make_home(sessy)
    await sessy.stop()
    assert not await home.set_up()
    reads = 0

    async def count(_: object) -> None:
        nonlocal reads
        reads += 1
        raise CannotConnectError("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DRIVERS["sessy"], "connect", count)
        for _ in range(60):
            await warp(10)
    assert 0 < reads < 10


# The disk comes first


@one_of_each_protocol
async def test_lease_is_gone_once_the_release_is_confirmed(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: an unconfirmed release has to be repeated after a crash."""
    kept: list[Any] = []
    release_battery = home.data.battery.release

    async def release() -> None:
        kept.append(stored(hass_storage, home))
        await release_battery()
        kept.append(stored(hass_storage, home))

    await home.set_power(600)
    with monkeypatch.context() as patch:
        patch.setattr(home.data.battery, "release", release)
        await home.choose("automatic")
    assert [lease["power"] for lease in kept] == [600, 600]
    assert stored(hass_storage, home) is None


@one_of_each_protocol
async def test_lease_has_the_power_asked_for_and_its_end(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write, also those after the first."""
    sent: list[tuple[int, Any]] = []
    set_power = home.data.battery.set_power_setpoint

    async def set_power_and_note(power: float) -> Grant:
        sent.append((round(power), stored(hass_storage, home)))
        return await set_power(power)

    monkeypatch.setattr(home.data.battery, "set_power_setpoint", set_power_and_note)
    for power, minutes in ((600, 5), (-500, 10)):
        outcome = await home.data.control.async_set_power(
            power, timedelta(minutes=minutes)
        )
        assert outcome.expires is not None
        asked, lease = sent[-1]
        assert lease["found"] == home.data.battery.snapshot
        assert lease["power"] == asked == power
        assert lease["expires"] == outcome.expires.isoformat()


type Save = Callable[..., Awaitable[None]]


async def save_fails(*_: object) -> None:
    raise OSError("No space left on device")


async def write_fails(*_: object) -> None:
    """Fail in a way that Home Assistant only logs, and does not raise."""
    raise WriteError("No space left on device")


@pytest.mark.parametrize(
    ("step", "fail"), [("async_save", save_fails), ("_async_write_data", write_fails)]
)
async def test_no_setpoint_is_written_to_the_device_that_is_not_on_disk(
    home: Home,
    hass_storage: dict[str, Any],
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    fail: Save,
) -> None:
    original, before = home.simulator.settings_words(), writes(home)
    with monkeypatch.context() as patch:
        patch.setattr(Store, step, fail)
        with pytest.raises(HomeAssistantError, match="could not be saved to disk"):
            await home.set_power(600)
        await warp(31)
    assert writes(home) == before
    assert changed(original, home.simulator) == {}
    assert home.state("control_mode") == "automatic"
    assert home.data.battery.snapshot is None

    # With room on the disk a setpoint works again.
    await home.set_power(600)
    assert stored(hass_storage, home)["power"] == 600
    await home.choose("automatic")
    assert changed(original, home.simulator) == {}


async def test_setpoint_that_is_held_stays_when_the_next_is_not_on_disk(
    sessy_home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sessy_home
    await home.set_power(600)
    before = writes(home)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "_async_write_data", write_fails)
        with pytest.raises(HomeAssistantError, match="could not be saved to disk"):
            await home.set_power(-500)
    assert writes(home) == before
    assert home.data.control.requested_power == 600
    assert stored(hass_storage, home)["power"] == 600


@one_of_each_protocol
async def test_setpoint_that_cannot_be_saved_again_is_tried_until_it_can(
    home: Home,
    hass_storage: dict[str, Any],
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up while a held current follows the voltage to another power."""
    await home.set_power(600)
    lease: Any = home.data.control._leased.lease
    lease.setpoint, lease.applied = Setpoint(power=700), False
    before = writes(home)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "_async_write_data", write_fails)
        await warp(31)
        assert writes(home) == before
        assert lease.fault is LimitReason.NOT_SAVED
        assert home.state("control_mode") == "manual"
    await warp(31)
    assert lease.applied
    assert home.data.control.granted_power == 700
    assert stored(hass_storage, home)["power"] == 700
    await home.choose("automatic")


async def test_no_setpoint_is_begun_that_reaches_the_disk_only_when_all_has_stopped(
    sessy_home: Home,
) -> None:
    """While Home Assistant stops, its storage writes later."""
    home, before = sessy_home, writes(sessy_home)
    home.hass.set_state(CoreState.stopping)
    with pytest.raises(HomeAssistantError, match="is stopping"):
        await home.set_power(600)
    home.hass.set_state(CoreState.running)
    assert writes(home) == before
    await home.set_power(600)
    assert writes(home) > before


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(st.sampled_from(KEYS), each, max_size=10)
        ),
    )
)
def test_any_json_is_read_as_a_lease(data: Any) -> None:
    content = decode(data)
    held_for_all_that_is_known = not isinstance(data, dict) or (
        data.get("lease", "missing") is not None
    )
    assert (content.snapshot is not None) == held_for_all_that_is_known


@one_of_each_protocol
async def test_full_disk_does_not_keep_a_battery_from_being_released(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = home.simulator.settings_words()
    await home.set_power(600)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "async_save", save_fails)
        await home.choose("automatic")
    assert changed(original, home.simulator) == {}
    assert home.state("control_mode") == "automatic"
    # The file that could not be written then is written with the next change.
    await home.data.control.async_save()
    assert stored(hass_storage, home) is None


def deny_all_after_writes(simulator: Simulator, count: int) -> None:
    """Let a device take so many more writes, and then deny that it has any address."""
    server: Any = simulator.server
    remaining = count
    if simulator.type == "sessy":
        answer = server.answer

        async def answer_and_deny(request: Request) -> Answer:
            nonlocal remaining
            remaining -= request.method == "POST"
            if not remaining:
                server.answer = answer
                server.set_faults(error_status=404, error=1_000_000)
            given: Answer = await answer(request)
            return given

        server.answer = answer_and_deny
        return
    take = server._answer

    def take_and_deny(units: Units, unit: int, pdu: bytes) -> bytes | None:
        nonlocal remaining
        taken: bytes | None = take(units, unit, pdu)
        remaining -= pdu[0] in WRITES
        if not remaining:
            server._answer = take
            server.set_faults(exception=2, exception_count=1_000_000)
        return taken

    server._answer = take_and_deny


@each_on_a_socket
@pytest.mark.parametrize("writes_taken", [1, 2])
async def test_battery_that_denies_all_half_way_is_released(
    home: Home, hass_storage: dict[str, Any], warp: Warp, writes_taken: int
) -> None:
    """A refusal does not say that nothing was written before it."""
    original = home.simulator.settings_words()
    deny_all_after_writes(home.simulator, writes_taken)
    with suppress(HomeAssistantError):
        await home.set_power(0)
    assert changed(original, home.simulator) != {}

    await warp(31)
    fault = "error" if home.simulator.type == "sessy" else "exception"
    await home.simulator.misbehave(fault, count=0)
    await warp(31)
    await home.choose("automatic")
    assert changed(original, home.simulator) == {}
    assert stored(hass_storage, home) is None


def writes(home: Home) -> int:
    """Return the number of writes to the device."""
    if isinstance(home.simulator, InProcessDevice):
        return len(home.simulator.device.written)
    server: Any = home.simulator.server
    if home.simulator.type == "sessy":
        return len(server.posts)
    return len(server.traffic.writes)


# Several at once


@one_of_each_protocol
async def test_setpoints_at_once_are_one_lease_of_the_last(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    original = home.simulator.settings_words()
    control = home.data.control

    outcomes = await asyncio.gather(
        *(control.async_set_power(power) for power in (600, -500, 400))
    )

    assert [outcome.requested for outcome in outcomes] == [600, -500, 400]
    assert control.requested_power == 400
    assert stored(hass_storage, home)["power"] == 400
    assert home.simulator.state()["battery_power"] == pytest.approx(400, rel=0.15)
    await home.choose("automatic")
    assert changed(original, home.simulator) == {}


@one_of_each_protocol
async def test_setpoint_and_release_at_once_end_as_the_later_of_them(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    original = home.simulator.settings_words()
    control = home.data.control

    await asyncio.gather(control.async_set_power(600), control.async_release())
    assert control.mode == "automatic"
    assert stored(hass_storage, home) is None
    assert changed(original, home.simulator) == {}

    await control.async_set_power(-500)
    await asyncio.gather(control.async_release(), control.async_set_power(600))
    assert control.mode == "manual"
    assert stored(hass_storage, home)["power"] == 600
    assert home.simulator.state()["battery_power"] == pytest.approx(600, rel=0.15)
    await control.async_release()
    assert changed(original, home.simulator) == {}
