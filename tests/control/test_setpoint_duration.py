"""Tests of the end of a setpoint: by an action, by a number, and by an option."""

from datetime import datetime
from typing import Any

from homeassistant.core import HomeAssistant, State
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from homeassistant.util.file import WriteError
import pytest
from pytest_homeassistant_custom_component.common import (
    mock_restore_cache_with_extra_data,
)

from custom_components.homebattery.const import DOMAIN
from tests.home import Home, MakeHome, Warp, one_of_each_protocol
from tests.simulators import SessySimulator

from .lease_support import stored

pytestmark = pytest.mark.usefixtures("few_sensors")

MINUTE = 60
OPTION = 7200
"""Seconds after which a setpoint ends by the option."""


def remaining(home: Home) -> float | None:
    """Return the minutes until the setpoint ends by itself, by its sensor."""
    ends = home.state("setpoint_ends")
    if ends == "unknown":
        return None
    return (datetime.fromisoformat(ends) - dt_util.utcnow()).total_seconds() / MINUTE


def is_held(home: Home) -> bool:
    """Return whether the device is held at a setpoint."""
    return home.simulator.mode == "controlled"


def minutes_of(home: Home) -> float:
    """Return the duration in the number, in minutes; 0: none."""
    return float(home.state("setpoint_duration"))


async def set_duration(home: Home, minutes: float) -> None:
    await home.call("number.set_value", "setpoint_duration", value=minutes)


@pytest.fixture
async def with_option(make_home: MakeHome, sessy: SessySimulator) -> Home:
    """Return a battery with the option 'End setpoints after'."""
    home = make_home(sessy, setpoint_timeout=OPTION)
    assert await home.set_up()
    return home


async def test_setpoint_has_no_end_at_first(sessy_home: Home) -> None:
    assert minutes_of(sessy_home) == 0
    assert remaining(sessy_home) is None
    await sessy_home.set_power(500)
    assert remaining(sessy_home) is None


@one_of_each_protocol
async def test_so_much_power_for_so_long(home: Home, warp: Warp) -> None:
    """By two numbers on the device page."""
    await set_duration(home, 60)
    assert remaining(home) is None
    await home.set_power(500)
    assert remaining(home) == pytest.approx(60, abs=0.2)
    assert is_held(home)
    await warp(60 * MINUTE + 1)
    assert not is_held(home)
    assert home.state("control_mode") == "automatic"
    assert remaining(home) is None
    assert minutes_of(home) == 60


async def test_choosing_to_hold_lasts_as_long(sessy_home: Home) -> None:
    await set_duration(sessy_home, 30)
    await sessy_home.choose("manual")
    assert remaining(sessy_home) == pytest.approx(30, abs=0.2)


@pytest.mark.parametrize(
    ("minutes", "duration", "expected"),
    [
        (0, {}, OPTION / MINUTE),
        (60, {}, 60),
        (0, {"duration": {"minutes": 5}}, 5),
        (60, {"duration": {"minutes": 5}}, 5),
    ],
)
async def test_action_comes_before_the_number_and_that_before_the_option(
    with_option: Home, minutes: float, duration: dict[str, Any], expected: float
) -> None:
    await set_duration(with_option, minutes)
    await with_option.hass.services.async_call(
        DOMAIN,
        "set_power",
        {"device_id": with_option.data.device_id, "power": 500, **duration},
        blocking=True,
    )
    await with_option.hass.async_block_till_done()
    assert remaining(with_option) == pytest.approx(expected, abs=0.2)


@one_of_each_protocol
async def test_change_gives_the_held_setpoint_a_new_end_from_now(
    home: Home, warp: Warp, hass_storage: dict[str, Any]
) -> None:
    """It is on disk too: a restart goes by that."""
    await home.set_power(500)
    await set_duration(home, 60)
    assert remaining(home) == pytest.approx(60, abs=0.2)
    await set_duration(home, 10)
    assert remaining(home) == pytest.approx(10, abs=0.2)
    expires = home.data.control.expires
    assert expires is not None
    assert stored(hass_storage, home)["expires"] == expires.isoformat()
    assert is_held(home)
    await warp(10 * MINUTE + 1)
    assert not is_held(home)


async def test_zero_takes_the_end_away(sessy_home: Home, warp: Warp) -> None:
    await set_duration(sessy_home, 1)
    await sessy_home.set_power(500)
    await set_duration(sessy_home, 0)
    assert remaining(sessy_home) is None
    await warp(2 * MINUTE)
    assert is_held(sessy_home)


async def test_zero_leaves_the_end_to_the_option(with_option: Home) -> None:
    await set_duration(with_option, 60)
    await with_option.set_power(500)
    await set_duration(with_option, 0)
    assert remaining(with_option) == pytest.approx(OPTION / MINUTE, abs=0.2)


async def test_new_end_that_cannot_be_kept_is_refused(
    sessy_home: Home, monkeypatch: pytest.MonkeyPatch, warp: Warp
) -> None:
    await set_duration(sessy_home, 30)
    await sessy_home.set_power(500)

    async def disk_is_full(*_: object) -> None:
        raise WriteError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_async_write_data", disk_is_full)
        with pytest.raises(HomeAssistantError, match="could not be saved to disk"):
            await set_duration(sessy_home, 600)
    assert minutes_of(sessy_home) == 30
    assert remaining(sessy_home) == pytest.approx(30, abs=0.2)
    await warp(30 * MINUTE + 1)
    assert not is_held(sessy_home)


async def test_duration_is_kept_over_a_restart(
    hass: HomeAssistant, make_home: MakeHome, sessy: SessySimulator
) -> None:
    home = make_home(sessy)
    assert await home.set_up()
    await set_duration(home, 45)
    entity_id = home.entity_id("setpoint_duration")
    await hass.config_entries.async_unload(home.entry.entry_id)
    kept = {
        "native_value": 45.0,
        "native_min_value": 0,
        "native_max_value": 10080,
        "native_step": 1,
        "native_unit_of_measurement": "min",
    }
    mock_restore_cache_with_extra_data(hass, [(State(entity_id, "45"), kept)])
    assert await home.set_up()
    assert minutes_of(home) == 45
    await home.set_power(500)
    assert remaining(home) == pytest.approx(45, abs=0.2)


@pytest.mark.parametrize("minutes", [-1, 10081])
async def test_duration_is_none_to_a_week(sessy_home: Home, minutes: float) -> None:
    with pytest.raises(HomeAssistantError, match="outside valid range"):
        await set_duration(sessy_home, minutes)
