"""The actions: hold batteries at a power, and release them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import area_registry as ar, device_registry as dr
from homeassistant.util import dt as dt_util
import probatio as vol
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import DOMAIN, LONGEST_SETPOINT_TIMEOUT
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.errors import (
    AuthenticationError,
    BatteryError,
    DeviceBusyError,
    FlashBudgetError,
    NotSupportedError,
    RequestTimeoutError,
    TakenOverError,
)
from tests.control.lease_support import changed
from tests.home import Home, MakeHome, Warp, one_of_each_protocol
from tests.simulators import ManualClock, SessySimulator, VictronSimulator

pytestmark = pytest.mark.usefixtures("few_sensors")

type Target = Mapping[str, Any]


def device_id(home: Home) -> str:
    device = dr.async_get(home.hass).async_get_device_by_identifier(
        (DOMAIN, str(home.entry.unique_id)), home.entry.entry_id
    )
    assert device is not None
    return device.id


def at_entity(*homes: Home) -> Target:
    return {"entity_id": [home.entity_id("battery_soc") for home in homes]}


def at_device(*homes: Home) -> Target:
    return {"device_id": [device_id(home) for home in homes]}


def at_area(*homes: Home) -> Target:
    area = ar.async_get(homes[0].hass).async_get_or_create("Cellar")
    for home in homes:
        dr.async_get(home.hass).async_update_device(device_id(home), area_id=area.id)
    return {"area_id": area.id}


TARGETS = {"entity": at_entity, "device": at_device, "area": at_area}


async def act(
    hass: HomeAssistant, action: str, target: Target, **data: Any
) -> dict[str, Any]:
    """Call an action; return its response for each device."""
    response = await hass.services.async_call(
        DOMAIN, action, {**target, **data}, blocking=True, return_response=True
    )
    await hass.async_block_till_done()
    assert response is not None
    batteries: Any = response["batteries"]
    return dict(batteries)


@pytest.fixture
async def both(victron_home: Home, sessy_home: Home) -> tuple[Home, Home]:
    """Return two batteries, of different kinds."""
    return victron_home, sessy_home


# Effects and responses


@one_of_each_protocol
async def test_battery_is_held_and_released(home: Home) -> None:
    before = home.simulator.settings_words()

    answer = await act(home.hass, "set_power", at_device(home), power=600)
    assert answer == {
        device_id(home): {
            "name": home.entry.title,
            "requested": 600,
            "granted": 600,
            "limited_by": None,
            "expires": None,
        }
    }
    assert home.simulator.state()["battery_power"] == pytest.approx(600, rel=0.1)
    assert home.state("control_mode") == "manual"

    answer = await act(home.hass, "release", at_device(home))
    released = {"name": home.entry.title, "control_mode": "automatic"}
    assert answer == {device_id(home): released}
    assert changed(before, home.simulator) == {}
    assert home.state("control_mode") == "automatic"


@pytest.mark.parametrize("kind", TARGETS)
async def test_target_may_be_entities_devices_or_areas(
    both: tuple[Home, Home], kind: str
) -> None:
    target = TARGETS[kind](*both)
    hass = both[0].hass
    answer = await act(hass, "set_power", target, power=-500)
    assert answer.keys() == {device_id(home) for home in both}
    assert [home.simulator.mode for home in both] == ["controlled"] * 2

    answer = await act(hass, "release", target)
    assert answer.keys() == {device_id(home) for home in both}
    assert [home.simulator.mode for home in both] == ["automatic"] * 2


async def test_only_batteries_in_the_target_are_held(both: tuple[Home, Home]) -> None:
    named, other = both
    # A battery that is named twice is held once.
    target = {**at_entity(named), **at_device(named)}
    assert (await act(named.hass, "set_power", target, power=600)).keys() == {
        device_id(named)
    }
    assert other.simulator.mode == "automatic"


async def test_response_is_optional(sessy_home: Home) -> None:
    for action, data in (("set_power", {"power": 600}), ("release", {})):
        answer = await sessy_home.hass.services.async_call(
            DOMAIN, action, {**at_device(sessy_home), **data}, blocking=True
        )
        assert answer is None


async def test_response_has_the_end_of_the_setpoint(sessy_home: Home) -> None:
    begun = dt_util.utcnow()
    [answer] = (
        await act(
            sessy_home.hass,
            "set_power",
            at_device(sessy_home),
            power=600,
            duration={"minutes": 90},
        )
    ).values()
    ends = datetime.fromisoformat(answer["expires"])
    assert 0 <= (ends - begun - timedelta(minutes=90)).total_seconds() < 10
    assert sessy_home.state_of("control_status").attributes["expires"] == ends


async def test_response_has_the_granted_power_and_its_limit_reason(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron.misbehave("bms", charge=10, discharge=100)
    await warp(6)
    [answer] = (
        await act(victron_home.hass, "set_power", at_device(victron_home), power=2000)
    ).values()
    assert answer["requested"] == 2000
    assert answer["granted"] == pytest.approx(515, abs=15)
    assert answer["limited_by"] == "battery"


@pytest.mark.parametrize("simulator", ["deye_modbus"], indirect=True)
async def test_response_says_that_a_setpoint_waits_to_spare_the_flash(
    home: Home,
) -> None:
    for power in (500, 1000, 1500):
        await home.set_power(power)
    [answer] = (await act(home.hass, "set_power", at_device(home), power=2000)).values()
    assert (answer["granted"], answer["limited_by"]) == (None, "flash")


async def test_release_of_a_battery_that_is_not_held_writes_nothing(
    victron_home: Home, victron: VictronSimulator
) -> None:
    await act(victron_home.hass, "release", at_device(victron_home))
    assert not victron.server.traffic.writes


@pytest.mark.parametrize("duration", [90, "00:01:30", {"minutes": 1, "seconds": 30}])
async def test_duration_may_be_written_in_several_ways(
    sessy_home: Home, duration: object
) -> None:
    await act(
        sessy_home.hass,
        "set_power",
        at_device(sessy_home),
        power=600,
        duration=duration,
    )
    expires = sessy_home.data.control.expires
    assert expires is not None
    assert 80 < (expires - dt_util.utcnow()).total_seconds() <= 90


# Refusals, before anything is written


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"power": None},
        {"power": "much"},
        {"power": "nan"},
        {"power": "inf"},
        {"power": float("nan")},
        {"power": 1e400},
        {"power": 10**400},
        {"power": 10_000_000},
        *(
            {"power": 600, "duration": duration}
            for duration in (
                0,
                -60,
                "-00:01:00",
                "soon",
                {"seconds": 0},
                {"seconds": 0.5},
                {"fortnights": 1},
                {},
                LONGEST_SETPOINT_TIMEOUT + 1,
                {"days": 999_999_999},
                1e18,
                -1e18,
                float("inf"),
                float("nan"),
                "nan",
                {"hours": 1e18},
                {"days": float("nan")},
                "99999999999999:00:00",
            )
        ),
        {"power": 600, "until": "tomorrow"},
    ],
)
async def test_nonsense_is_refused(sessy_home: Home, data: dict[str, Any]) -> None:
    with pytest.raises(vol.Invalid):
        await act(sessy_home.hass, "set_power", at_device(sessy_home), **data)
    assert not posts(sessy_home)
    assert sessy_home.state("control_mode") == "automatic"


@pytest.mark.parametrize("action", ["set_power", "release"])
async def test_target_is_needed(sessy_home: Home, action: str) -> None:
    data = {"power": 600} if action == "set_power" else {}
    with pytest.raises(vol.Invalid):
        await act(sessy_home.hass, action, {}, **data)


@pytest.mark.parametrize(
    "target",
    [{"entity_id": "sun.sun"}, {"device_id": "unheard_of"}, {"area_id": "attic"}],
)
async def test_target_without_a_battery_is_refused(
    sessy_home: Home, target: Target
) -> None:
    with pytest.raises(ServiceValidationError) as refusal:
        await act(sessy_home.hass, "set_power", target, power=600)
    assert refusal.value.translation_key == "no_battery"
    assert "None of the targets is a battery" in str(refusal.value)


async def test_device_of_another_integration_is_refused(
    sessy_home: Home,
) -> None:
    entry = MockConfigEntry(domain="elsewhere")
    entry.add_to_hass(sessy_home.hass)
    other = dr.async_get(sessy_home.hass).async_get_or_create(
        config_entry_id=entry.entry_id, identifiers={("elsewhere", "1")}
    )
    with pytest.raises(ServiceValidationError) as refusal:
        await act(sessy_home.hass, "release", {"device_id": other.id})
    assert refusal.value.translation_key == "no_battery"


async def test_one_that_is_not_set_up_keeps_all_from_being_written(
    both: tuple[Home, Home],
) -> None:
    victron, sessy = both
    target = at_device(*both)
    await sessy.hass.config_entries.async_unload(sessy.entry.entry_id)
    for action, data in (("set_power", {"power": 600}), ("release", {})):
        with pytest.raises(ServiceValidationError) as refusal:
            await act(victron.hass, action, target, **data)
        assert refusal.value.translation_key == "not_loaded"
    assert victron.simulator.mode == "automatic"


async def test_one_that_can_only_be_read_keeps_all_from_being_written(
    victron_home: Home, make_home: MakeHome, clock: ManualClock
) -> None:
    async with SessySimulator(SessySimulator.house(clock=clock), device="p1") as meter:
        home = make_home(meter)
        home.hass.config_entries.async_update_entry(home.entry, unique_id="PABC1234")
        assert await home.set_up()
        for action, data in (("set_power", {"power": 600}), ("release", {})):
            with pytest.raises(ServiceValidationError) as refusal:
                await act(home.hass, action, at_device(victron_home, home), **data)
            assert refusal.value.translation_key == "not_controllable"
        assert victron_home.simulator.mode == "automatic"


async def test_victron_without_ess_can_only_be_read(
    make_home: MakeHome, clock: ManualClock
) -> None:
    house = VictronSimulator.house(clock=clock)
    async with VictronSimulator(house, ess=False) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        with pytest.raises(ServiceValidationError) as refusal:
            await act(home.hass, "set_power", at_device(home), power=600)
        assert refusal.value.translation_key == "not_controllable"
        assert not simulator.server.traffic.writes


async def test_beyond_the_limits_of_one_keeps_all_from_being_written(
    both: tuple[Home, Home],
) -> None:
    """A Sessy takes 2200 W at most, a Victron more; either may come first."""
    victron, _ = both
    for targets in (both, tuple(reversed(both))):
        with pytest.raises(ServiceValidationError) as refusal:
            await act(victron.hass, "set_power", at_device(*targets), power=3000)
        assert refusal.value.translation_key == "setpoint_out_of_range"
        assert "cannot be held at 3000 W" in str(refusal.value)
    assert [home.simulator.mode for home in both] == ["automatic"] * 2


# Errors of a device


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (RequestTimeoutError("x"), "timeout"),
        (DeviceBusyError("x"), "busy"),
        (TakenOverError("x"), "taken_over"),
        (NotSupportedError("x"), "not_supported"),
        (FlashBudgetError("x"), "flash_budget"),
        (BatteryError("x"), "unknown"),
    ],
)
async def test_error_of_a_device_is_raised_with_a_text(
    sessy_home: Home, monkeypatch: pytest.MonkeyPatch, error: BatteryError, key: str
) -> None:
    async def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(DRIVERS["sessy"], "set_power_setpoint", fail)
    with pytest.raises(HomeAssistantError) as raised:
        await act(sessy_home.hass, "set_power", at_device(sessy_home), power=600)
    assert raised.value.translation_key == key
    device = sessy_home.entry.title
    assert raised.value.translation_placeholders == {"device": device, "error": "x"}


async def test_refused_password_starts_a_new_sign_in(
    sessy_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> int:
        raise AuthenticationError("x")

    monkeypatch.setattr(DRIVERS["sessy"], "set_power_setpoint", fail)
    with pytest.raises(HomeAssistantError) as raised:
        await act(sessy_home.hass, "set_power", at_device(sessy_home), power=600)
    assert raised.value.translation_key == "invalid_auth"
    await sessy_home.hass.async_block_till_done()
    assert len(sessy_home.hass.config_entries.flow.async_progress()) == 1


@pytest.mark.parametrize("away", [0, 1])
async def test_battery_out_of_reach_does_not_keep_others_from_being_written(
    both: tuple[Home, Home], away: int
) -> None:
    """The battery in reach is held, and released, nevertheless."""
    there, gone = both[1 - away], both[away]
    await act(there.hass, "set_power", at_device(*both), power=600)
    await gone.simulator.misbehave("away")

    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await act(there.hass, "set_power", at_device(*both), power=-500)
    assert there.data.control.requested_power == -500

    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await act(there.hass, "release", at_device(*both))
    assert there.simulator.mode == "automatic"
    assert gone.state("control_status") == "release_failed"


async def test_no_setpoint_is_taken_while_stopping(sessy_home: Home) -> None:
    sessy_home.hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await sessy_home.hass.async_block_till_done()
    with pytest.raises(HomeAssistantError) as refusal:
        await act(sessy_home.hass, "set_power", at_device(sessy_home), power=600)
    assert refusal.value.translation_key == "closed"


def posts(home: Home) -> list[Any]:
    server: Any = home.simulator.server
    return list(server.posts)
