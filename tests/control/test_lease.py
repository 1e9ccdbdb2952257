"""What a battery has to be given back outlives Home Assistant."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util.file import WriteError
import pytest

from custom_components.homebattery.drivers.battery.controller import Grant
from tests.home import Home, MakeHome, Warp, one_of_each_protocol
from tests.simulators import Simulator
from tests.simulators.http_server import Answer, Request
from tests.simulators.modbus import Units
from tests.simulators.modbus_server import WRITES

from .lease_support import after_a_crash, changed, stored

pytestmark = pytest.mark.usefixtures("few_sensors")


@one_of_each_protocol
async def test_what_is_found_is_kept_while_a_setpoint_is_held(
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
    }
    await home.choose("automatic")
    assert stored(hass_storage, home) is None


@one_of_each_protocol
async def test_it_is_kept_before_the_first_write(
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
async def test_a_battery_that_was_left_held_is_given_back_at_the_next_start(
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
    """Return what of a device's state a setpoint takes, and a release brings back."""
    names = ("ess_mode", "strategy", "charge_limit", "discharge_limit", "borrowed")
    return {name: device[name] for name in names if name in device}


async def refuse_release(simulator: Simulator, on: bool) -> None:
    """Let a device take no writes, or take them again."""
    if simulator.type == "sessy":
        await simulator.misbehave("error", path="setpoint", count=100 if on else 0)
    else:
        await simulator.misbehave("ignore_writes", on=on)


async def test_a_release_at_the_start_that_fails_is_tried_again(
    make_home: MakeHome,
    simulator: Simulator,
    hass_storage: dict[str, Any],
    warp: Warp,
) -> None:
    dead = make_home(simulator)
    assert await dead.set_up()
    await dead.set_power(600)
    left = stored(hass_storage, dead)
    alive = await after_a_crash(dead, make_home, hass_storage)
    await refuse_release(simulator, on=True)
    assert await alive.set_up()
    assert alive.state("control_status") == "release_failed"
    assert stored(hass_storage, alive)["found"] == left["found"]

    await refuse_release(simulator, on=False)
    await warp(31)
    assert alive.state("control_status") == "automatic"
    assert stored(hass_storage, alive) is None


# The disk comes first


@one_of_each_protocol
async def test_lease_is_gone_once_the_release_is_confirmed(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: what is not confirmed has to be done again after a crash."""
    kept: list[Any] = []
    give_back = home.data.battery.release

    async def release() -> None:
        kept.append(stored(hass_storage, home))
        await give_back()
        kept.append(stored(hass_storage, home))

    await home.set_power(600)
    with monkeypatch.context() as patch:
        patch.setattr(home.data.battery, "release", release)
        await home.choose("automatic")
    assert [lease["power"] for lease in kept] == [600, 600]
    assert stored(hass_storage, home) is None


@one_of_each_protocol
async def test_lease_tells_what_is_asked_and_until_when(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write, also those after the first."""
    told: list[tuple[int, Any]] = []
    tell = home.data.battery.set_power_setpoint

    async def tell_and_look(power: float) -> Grant:
        told.append((round(power), stored(hass_storage, home)))
        return await tell(power)

    monkeypatch.setattr(home.data.battery, "set_power_setpoint", tell_and_look)
    for power, minutes in ((600, 5), (-500, 10)):
        outcome = await home.data.control.async_set_power(
            power, timedelta(minutes=minutes)
        )
        assert outcome.expires is not None
        asked, lease = told[-1]
        assert lease["found"] == home.data.battery.snapshot
        assert lease["power"] == asked == power
        assert lease["expires"] == outcome.expires.isoformat()


type Save = Callable[..., Awaitable[None]]


async def save_fails(*_: object) -> None:
    raise OSError("No space left on device")


async def write_fails(*_: object) -> None:
    """Fail as Home Assistant does not pass on, but only logs."""
    raise WriteError("No space left on device")


@pytest.mark.parametrize(
    ("step", "fail"), [("async_save", save_fails), ("_async_write_data", write_fails)]
)
async def test_nothing_is_written_to_the_device_that_is_not_on_disk(
    home: Home,
    hass_storage: dict[str, Any],
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    fail: Save,
) -> None:
    found, before = home.simulator.settings_words(), writes(home)
    with monkeypatch.context() as patch:
        patch.setattr(Store, step, fail)
        with pytest.raises(HomeAssistantError, match="could not be saved to disk"):
            await home.set_power(600)
        await warp(31)
    assert writes(home) == before
    assert changed(found, home.simulator) == {}
    assert home.state("control_mode") == "automatic"
    assert home.data.battery.snapshot is None

    # With room on the disk again all is as ever.
    await home.set_power(600)
    assert stored(hass_storage, home)["power"] == 600
    await home.choose("automatic")
    assert changed(found, home.simulator) == {}


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
async def test_full_disk_does_not_keep_a_battery_from_being_given_back(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = home.simulator.settings_words()
    await home.set_power(600)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "async_save", save_fails)
        await home.choose("automatic")
    assert changed(found, home.simulator) == {}
    assert home.state("control_mode") == "automatic"
    # What could not be written then is with the next change.
    await home.data.control.async_save()
    assert stored(hass_storage, home) is None


def deny_all_after_writes(simulator: Simulator, count: int) -> None:
    """Let a device take so many writes more, and then say that it has nothing."""
    server: Any = simulator.server
    left = count
    if simulator.type == "sessy":
        answer = server.answer

        async def answer_and_deny(request: Request) -> Answer:
            nonlocal left
            left -= request.method == "POST"
            if not left:
                server.answer = answer
                server.set_faults(error_status=404, error=1_000_000)
            given: Answer = await answer(request)
            return given

        server.answer = answer_and_deny
        return
    take = server._answer

    def take_and_deny(units: Units, unit: int, pdu: bytes) -> bytes | None:
        nonlocal left
        taken: bytes | None = take(units, unit, pdu)
        left -= pdu[0] in WRITES
        if not left:
            server._answer = take
            server.set_faults(exception=2, exception_count=1_000_000)
        return taken

    server._answer = take_and_deny


@pytest.mark.parametrize("writes_taken", [1, 2])
async def test_battery_that_denies_all_half_way_is_given_back(
    home: Home, hass_storage: dict[str, Any], warp: Warp, writes_taken: int
) -> None:
    """A refusal does not say that nothing was written before it."""
    found = home.simulator.settings_words()
    deny_all_after_writes(home.simulator, writes_taken)
    with suppress(HomeAssistantError):
        await home.set_power(0)
    assert changed(found, home.simulator) != {}

    await warp(31)
    fault = "error" if home.simulator.type == "sessy" else "exception"
    await home.simulator.misbehave(fault, count=0)
    await warp(31)
    await home.choose("automatic")
    assert changed(found, home.simulator) == {}
    assert stored(hass_storage, home) is None


def writes(home: Home) -> int:
    """Return how often the device was written to."""
    server: Any = home.simulator.server
    if home.simulator.type == "sessy":
        return len(server.posts)
    return len(server.traffic.writes)


# Several at once


@one_of_each_protocol
async def test_setpoints_at_once_are_one_lease_of_the_last(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    found = home.simulator.settings_words()
    control = home.data.control

    outcomes = await asyncio.gather(
        *(control.async_set_power(power) for power in (600, -500, 400))
    )

    assert [outcome.requested for outcome in outcomes] == [600, -500, 400]
    assert control.requested_power == 400
    assert stored(hass_storage, home)["power"] == 400
    assert home.simulator.state()["battery_power"] == pytest.approx(400, rel=0.15)
    await home.choose("automatic")
    assert changed(found, home.simulator) == {}


@one_of_each_protocol
async def test_setpoint_and_release_at_once_end_as_the_later_of_them(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    found = home.simulator.settings_words()
    control = home.data.control

    await asyncio.gather(control.async_set_power(600), control.async_release())
    assert control.mode == "automatic"
    assert stored(hass_storage, home) is None
    assert changed(found, home.simulator) == {}

    await control.async_set_power(-500)
    await asyncio.gather(control.async_release(), control.async_set_power(600))
    assert control.mode == "manual"
    assert stored(hass_storage, home)["power"] == 600
    assert home.simulator.state()["battery_power"] == pytest.approx(600, rel=0.15)
    await control.async_release()
    assert changed(found, home.simulator) == {}
