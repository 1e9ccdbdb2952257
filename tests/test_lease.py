"""What a battery has to be given back outlives Home Assistant."""

from typing import Any

import pytest

from .conftest import Home, MakeHome, Warp
from .lease_support import after_a_crash, stored
from .simulators import Simulator


async def test_what_is_found_is_kept_while_a_setpoint_is_held(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    assert stored(hass_storage, home) is None
    await home.set_power(600)
    assert stored(hass_storage, home) == {
        "found": home.data.battery.found,
        "power": 600,
        "current": None,
        "phases": {},
        "expires": None,
    }
    await home.choose("automatic")
    assert stored(hass_storage, home) is None


async def test_it_is_kept_before_the_first_write(
    home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    async def first_write(power: float) -> int:
        kept.append(stored(hass_storage, home))
        return round(power)

    monkeypatch.setattr(home.data.battery, "set_power_setpoint", first_write)
    await home.set_power(600)
    assert kept != [None]


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
