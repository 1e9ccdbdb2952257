"""Tests of setpoints: a battery is held at a power or a current, and released."""

import asyncio
from datetime import timedelta
from typing import Any

from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er
import pytest

from custom_components.homebattery.control.keep_alive import RETRY, SETTLED
from custom_components.homebattery.control.status import SETTLE
from custom_components.homebattery.drivers import VictronInverter
from custom_components.homebattery.drivers.battery import base
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.errors import NotConfirmedError
from custom_components.homebattery.drivers.measurements import Value
from tests.home import (
    LOAD,
    WITH_WORKING_MODE,
    Home,
    MakeHome,
    Warp,
    one_of_each_protocol,
)
from tests.simulators import (
    DeyeModbusSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)

from .lease_support import after_a_crash

pytestmark = pytest.mark.usefixtures("few_sensors")

WATCHDOG = 60
"""Seconds after which the simulated Victron forgets a setpoint."""
KEEP_ALIVE = 5


def power(home: Home) -> float:
    """Return the power that the battery really has, W."""
    return float(home.simulator.state()["battery_power"])


@pytest.mark.parametrize("asked", [1000, -500])
async def test_battery_follows_the_number(home: Home, warp: Warp, asked: int) -> None:
    await home.set_power(asked)
    assert home.simulator.mode == "controlled"
    assert power(home) == pytest.approx(asked, rel=0.1)
    assert home.state("power_setpoint") == str(asked)
    assert home.state("control_mode") == "manual"
    await warp(6)
    assert home.state("control_status") == "following"
    assert float(home.state("battery_power")) == pytest.approx(asked, rel=0.1)
    assert home.state("battery_charging") == ("on" if asked > 0 else "off")


async def test_automatic_releases_the_battery(home: Home, warp: Warp) -> None:
    await home.set_power(1000)
    await home.choose("automatic")
    assert home.simulator.mode == "automatic"
    assert power(home) == pytest.approx(-LOAD, rel=0.2)
    assert home.state("control_mode") == "automatic"
    assert home.state("control_status") == "automatic"
    assert home.state("power_setpoint") == "unknown"
    assert home.data.control.granted_power is None
    # And it is not renewed any more.
    await warp(6)
    assert home.simulator.mode == "automatic"


@one_of_each_protocol
async def test_no_setpoint_is_shown_nor_written_down_while_automatic(
    home: Home, warp: Warp
) -> None:
    """Not even where the device has a setpoint of its own, as a Sessy in NOM has."""
    await home.enable("device_setpoint")
    for _ in range(2):  # Home Assistant itself reloads the entry after half a minute
        await warp(61)
    before = home.state_of("power_setpoint")
    assert before.state == "unknown"
    assert before.attributes["max"] > 0 > before.attributes["min"]
    home.simulator.plant.fixed_load = 2 * LOAD
    for _ in range(2):
        await warp(61)
    after = home.state_of("power_setpoint")
    assert after.state == "unknown"
    assert after.last_reported == before.last_reported


@one_of_each_protocol
@pytest.mark.parametrize("enabled", [False, True])
async def test_setpoint_of_the_device_is_only_read_where_it_is_needed(
    home: Home, enabled: bool
) -> None:
    if enabled:
        await home.enable("device_setpoint")
    coordinator = home.data.coordinator
    assert ("power_setpoint" in coordinator.subscribed) is enabled
    # While the battery is held, it shows whether another controller has taken over.
    await home.set_power(1000)
    assert "power_setpoint" in coordinator.subscribed
    await home.choose("automatic")
    assert ("power_setpoint" in coordinator.subscribed) is enabled


@pytest.mark.parametrize(
    ("simulator", "by_itself"),
    [("sessy", str(-LOAD)), ("sun2000", "0"), ("victron", "unknown")],
    indirect=["simulator"],
)
async def test_setpoint_of_the_device_is_a_sensor(
    home: Home, warp: Warp, by_itself: str
) -> None:
    await home.enable("device_setpoint")
    assert home.state("device_setpoint") in (by_itself, by_itself.removesuffix(".0"))
    await home.set_power(500)
    await warp(6)
    assert home.state("device_setpoint") == home.state("power_setpoint") == "500"


@one_of_each_protocol
async def test_the_number_explains_its_sign(home: Home) -> None:
    attributes = home.state_of("power_setpoint").attributes
    assert attributes["charges_at_most"] == attributes["max"]
    assert attributes["discharges_at_most"] == -attributes["min"]
    assert attributes["at_zero"] == "holds"


@pytest.mark.parametrize("simulator", ["sessy"], indirect=True)
async def test_setpoint_can_be_shown_and_set_in_kw(home: Home) -> None:
    """Home Assistant would round it to whole kW, and give a slider steps of 10 kW."""
    er.async_get(home.hass).async_update_entity_options(
        home.entity_id("power_setpoint"), "number", {"unit_of_measurement": "kW"}
    )
    await home.hass.async_block_till_done()
    await home.call("number.set_value", "power_setpoint", value=1.45)
    number = home.state_of("power_setpoint")
    assert number.attributes["unit_of_measurement"] == "kW"
    assert number.state == "1.45"
    assert (number.attributes["min"], number.attributes["max"]) == (-2.2, 2.2)
    assert number.attributes["charges_at_most"] == 2200
    assert number.attributes["step"] == pytest.approx(0.01)
    assert home.simulator.state()["battery_power"] == pytest.approx(1450, abs=60)


async def test_manual_without_a_setpoint_holds(home: Home, warp: Warp) -> None:
    await home.choose("manual")
    assert home.simulator.mode == "controlled"
    assert power(home) == pytest.approx(0, abs=20)
    assert home.state("power_setpoint") == "0"
    await warp(6)
    assert home.state("control_status") == "following"


@one_of_each_protocol
async def test_manual_with_a_setpoint_changes_nothing(home: Home) -> None:
    await home.set_power(1000)
    await home.choose("manual")
    assert home.state("power_setpoint") == "1000"


async def test_automatic_when_automatic_writes_nothing(
    victron_home: Home, victron: VictronSimulator
) -> None:
    await victron_home.choose("automatic")
    assert not victron.server.traffic.writes


async def test_setpoint_is_renewed_before_the_device_forgets(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron_home.set_power(1000)
    for _ in range(2 * WATCHDOG // KEEP_ALIVE):
        await warp(KEEP_ALIVE)
    assert not victron.state()["device"]["lapsed"]
    assert power(victron_home) == pytest.approx(1000, rel=0.1)


async def test_renewing_does_not_depend_on_polling(
    victron_home: Home,
    victron: VictronSimulator,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await victron_home.set_power(1000)
    await victron_home.data.coordinator.async_shutdown()
    for _ in range(2 * WATCHDOG // KEEP_ALIVE):
        await warp(KEEP_ALIVE)
    assert not victron.state()["device"]["lapsed"]


async def test_nothing_is_renewed_where_the_device_does_not_forget(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await sessy_home.set_power(1000)
    posts = len(sessy.server.posts)
    for _ in range(10):
        await warp(RETRY)
    assert len(sessy.server.posts) == posts
    assert power(sessy_home) == pytest.approx(1000, rel=0.1)


async def test_setpoint_is_written_once_more_when_the_devices_own_comes_late(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron.misbehave("late_loop", seconds=1)
    await victron_home.set_power(1000)
    victron.server.traffic.clear()
    await warp(SETTLED)
    assert [write.unit for write in victron.server.traffic.writes] == [227]
    assert power(victron_home) == pytest.approx(1000, rel=0.1)


async def test_failing_renewal_is_logged_once_and_retried(
    victron_home: Home,
    victron: VictronSimulator,
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    await victron_home.set_power(1000)
    await victron.misbehave("read_only")
    for _ in range(3):
        await warp(KEEP_ALIVE)
    assert caplog.text.count("cannot renew or release its setpoint") == 1
    await victron.misbehave("read_only", on=False)
    await warp(KEEP_ALIVE)
    await warp(KEEP_ALIVE)
    assert caplog.text.count("MultiPlus-II: its setpoint was renewed again") == 1
    assert power(victron_home) == pytest.approx(1000, rel=0.1)


async def test_release_that_worked_in_the_end_is_logged_once(
    victron_home: Home,
    victron: VictronSimulator,
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    await victron_home.set_power(1000)
    await victron.misbehave("read_only")
    with pytest.raises(HomeAssistantError):
        await victron_home.choose("automatic")
    await warp(RETRY)
    assert caplog.text.count("cannot renew or release its setpoint") == 1
    await victron.misbehave("read_only", on=False)
    await warp(RETRY)
    await warp(RETRY)
    assert caplog.text.count("MultiPlus-II: released to its own control") == 1
    assert "renewed" not in caplog.text


async def test_release_that_fails_at_a_start_is_logged_once_and_its_success_too(
    victron: VictronSimulator,
    make_home: MakeHome,
    hass_storage: dict[str, Any],
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    dead = make_home(victron)
    assert await dead.set_up()
    await dead.set_power(1000)
    alive = await after_a_crash(dead, make_home, hass_storage)
    await victron.misbehave("read_only")

    assert await alive.set_up()
    for _ in range(2):
        assert caplog.text.count("cannot renew or release its setpoint") == 1
        await warp(RETRY)
    await victron.misbehave("read_only", on=False)
    await warp(RETRY)
    assert caplog.text.count("MultiPlus-II: released to its own control") == 1


async def test_release_by_hand_ends_a_logged_failure(
    victron_home: Home,
    victron: VictronSimulator,
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So the next failure is logged, and the next setpoint is not logged as renewed."""
    caplog.set_level("INFO")
    for _ in range(2):
        await victron_home.set_power(1000)
        await victron.misbehave("read_only")
        await warp(KEEP_ALIVE)
        await victron.misbehave("read_only", on=False)
        await victron_home.choose("automatic")
    assert caplog.text.count("cannot renew or release its setpoint") == 2
    assert caplog.text.count("MultiPlus-II: released to its own control") == 2
    assert "renewed again" not in caplog.text


async def test_slow_renewals_do_not_pile_up(
    victron_home: Home, warp: Warp, monkeypatch: pytest.MonkeyPatch
) -> None:
    await victron_home.set_power(1000)
    keep_alive = victron_home.data.control._keep_alive
    begun = 0

    async def count(_: VictronInverter) -> int | None:
        nonlocal begun
        begun += 1
        keep_alive.tick()  # the next tick, before this one is done
        return None

    monkeypatch.setattr(VictronInverter, "keep_alive", count)
    await warp(KEEP_ALIVE)
    assert begun == 1


# Limits


@one_of_each_protocol
async def test_beyond_the_limits_is_refused(home: Home) -> None:
    limits = home.data.battery.setpoint_limits
    assert limits is not None
    with pytest.raises(ServiceValidationError):
        await home.set_power(limits.maximum + 10)
    with pytest.raises(ServiceValidationError, match="cannot be held at 99999 W"):
        await home.data.control.async_set_power(99999)
    assert home.simulator.mode == "automatic"


async def test_limits_in_the_options_bound_the_number(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    home = make_home(victron, max_charge_power=1500, max_discharge_power=800)
    await home.set_up()
    number = home.state_of("power_setpoint")
    assert (number.attributes["min"], number.attributes["max"]) == (-800, 1500)


async def test_limit_that_shrinks_under_a_setpoint_is_followed_and_shown(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron_home.set_power(-2000)
    await warp(6)
    assert victron_home.state("control_status") == "following"
    await victron.misbehave("bms", charge=100, discharge=10)
    for _ in range(3):
        await warp(KEEP_ALIVE)
    assert victron_home.data.control.requested_power == -2000
    granted = victron_home.data.control.granted_power
    # 10 A at the battery, less the losses on the way to the AC side.
    assert granted == pytest.approx(-515 * 0.93, abs=15)
    assert victron_home.state("control_status") == "limited"


async def test_full_battery_is_limited(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    sessy.plant.soc = 100
    await sessy_home.set_power(2000)
    assert sessy_home.state("control_status") == "pending"
    await warp(SETTLE + 5)
    assert sessy_home.state("control_status") == "limited"


async def test_device_that_does_nothing_is_not_following(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await sessy.misbehave("stuck")
    await sessy_home.set_power(2000)
    await warp(30)
    assert sessy_home.state("control_status") == "pending"
    await warp(SETTLE)
    assert sessy_home.state("control_status") == "not_following"


@one_of_each_protocol
async def test_status_is_shown_while_the_device_is_away(home: Home, warp: Warp) -> None:
    await home.set_power(1000)
    await warp(6)
    await home.simulator.misbehave("away")
    for _ in range(8):
        await warp(6)
    assert home.state("battery_power") == "unavailable"
    assert home.state("control_status") == "not_following"
    assert home.state("control_mode") == "manual"


async def test_one_missed_poll_changes_nothing_and_the_second_makes_it_uncertain(
    home: Home, warp: Warp
) -> None:
    await home.set_power(1000)
    await warp(6)
    await home.simulator.misbehave("away")
    await warp(6)
    assert home.state("control_status") == "following"
    await warp(6)
    assert home.state("control_status") == "pending"
    assert home.state_of("control_status").attributes["reason"] == "unreachable"
    await home.simulator.misbehave("away", on=False)
    for _ in range(6):
        await warp(6)
    assert home.state("control_status") == "following"


# Current


async def test_current_is_followed_as_the_voltage_moves(home: Home, warp: Warp) -> None:

    def voltage() -> float:
        return float(home.state("battery_voltage"))

    await home.enable("current_setpoint")
    current = round(1000 / voltage(), 1)
    await home.call("number.set_value", "current_setpoint", value=current)
    assert home.state("current_setpoint") == str(current)
    asked = home.data.control.requested_power
    assert asked == pytest.approx(current * voltage(), abs=10)
    await warp(6)
    assert home.data.control.requested_power == asked
    home.simulator.plant.soc = 94
    await warp(6)
    await warp(6)
    requested = home.data.control.requested_power
    assert requested != asked
    assert requested == pytest.approx(current * voltage(), abs=15)
    assert power(home) == pytest.approx(current * voltage(), rel=0.1)
    assert home.state("control_status") == "following"
    await home.set_power(500)
    assert home.state("current_setpoint") == "unknown"


@one_of_each_protocol
async def test_current_needs_a_voltage(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: Battery, key: str) -> Value:
        return None

    await home.enable("current_setpoint")
    monkeypatch.setattr(Battery, "get", nothing)
    monkeypatch.setattr(base, "VOLTAGE_FRESH", 0)
    with pytest.raises(HomeAssistantError, match="no battery voltage"):
        await home.call("number.set_value", "current_setpoint", value=2)
    assert home.simulator.mode == "automatic"


async def test_range_of_the_current_follows_only_large_changes_of_voltage(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron_home.enable("current_setpoint")
    attributes = victron_home.state_of("current_setpoint").attributes
    assert (attributes["min"], attributes["max"]) == (-96, 96)  # 5000 W at 51.6 V
    victron.plant.soc = 95
    await warp(6)
    assert victron_home.state_of("current_setpoint").attributes["max"] == 96


# When something goes wrong


async def test_setpoint_that_fails_leaves_the_battery_as_it_was(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron.misbehave("read_only")
    with pytest.raises(HomeAssistantError, match="refuses this"):
        await victron_home.set_power(1000)
    await warp(1)
    assert victron.mode == "automatic"
    assert victron_home.state("control_mode") == "automatic"
    assert victron_home.state("control_status") == "automatic"
    assert victron_home.data.battery.snapshot is None


async def test_first_setpoint_that_fails_half_way_is_released(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await sessy.misbehave("error", status=500, count=3, path="setpoint")
    with pytest.raises(HomeAssistantError):
        await sessy_home.set_power(1000)
    await warp(1)
    assert sessy.mode == "automatic"
    assert sessy_home.state("control_mode") == "automatic"


async def test_setpoint_that_fails_leaves_the_former_one_in_force(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await sessy_home.set_power(1000)
    await sessy.misbehave("error", status=500, count=3, path="setpoint")
    with pytest.raises(HomeAssistantError):
        await sessy_home.set_power(2000)
    assert sessy_home.data.control.requested_power == 1000
    # The device may have taken it all the same, so the former one is sent again.
    posts = len(sessy.server.posts)
    await warp(RETRY)
    assert sessy.server.posts[posts:] == [
        ("POST", "/api/v1/power/setpoint", {"setpoint": -1000})
    ]
    await warp(RETRY)
    assert len(sessy.server.posts) == posts + 1


async def test_release_that_fails_is_retried_until_it_works(
    home: Home, warp: Warp, caplog: pytest.LogCaptureFixture
) -> None:
    await home.set_power(1000)
    await warp(6)
    await home.simulator.misbehave("away")
    with pytest.raises(HomeAssistantError, match="cannot be reached"):
        await home.choose("automatic")
    assert home.state("control_status") == "release_failed"
    assert home.state("control_mode") == "manual"
    await warp(RETRY)
    assert home.state("control_status") == "release_failed"
    await home.simulator.misbehave("away", on=False)
    for _ in range(3):
        await warp(RETRY)
    assert home.simulator.mode == "automatic"
    assert home.state("control_status") == "automatic"
    assert home.state("control_mode") == "automatic"


@one_of_each_protocol
async def test_new_setpoint_ends_the_retries_of_a_release(
    home: Home, warp: Warp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise NotConfirmedError("still held")

    await home.set_power(1000)
    with monkeypatch.context() as patch:
        patch.setattr(type(home.data.battery), "release", refuse)
        with pytest.raises(HomeAssistantError, match="does not show it"):
            await home.choose("automatic")
        await home.set_power(500)
        assert home.state("control_mode") == "manual"
    await warp(RETRY)
    assert home.simulator.mode == "controlled"
    assert home.data.control.requested_power == 500


async def test_setpoint_that_is_set_again_at_the_last_moment_goes_on(
    sessy_home: Home, warp: Warp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one expires while the new one is being written."""
    control, battery = sessy_home.data.control, sessy_home.data.battery
    set_power = battery.set_power_setpoint
    leaps: list[asyncio.Future[None]] = []

    async def set_power_slowly(power: float) -> Grant:
        leaps.append(asyncio.ensure_future(warp(51)))
        for _ in range(5):
            await asyncio.sleep(0)
        return await set_power(power)

    await control.async_set_power(1000, timedelta(seconds=50))
    with monkeypatch.context() as patch:
        patch.setattr(battery, "set_power_setpoint", set_power_slowly)
        await control.async_set_power(-500, timedelta(seconds=500))
    [leap] = leaps
    await leap

    assert control.requested_power == -500
    assert sessy_home.simulator.mode == "controlled"


@pytest.mark.parametrize("simulator", WITH_WORKING_MODE, indirect=True)
async def test_working_mode_cannot_be_changed_under_a_setpoint(home: Home) -> None:
    state = home.state_of("working_mode")
    others = [mode for mode in state.attributes["options"] if mode != state.state]
    await home.set_power(1000)
    with pytest.raises(ServiceValidationError, match="Set the control mode to auto"):
        await home.call("select.select_option", "working_mode", option=others[0])
    assert home.simulator.mode == "controlled"
    await home.choose("automatic")
    await home.call("select.select_option", "working_mode", option=others[0])
    assert home.state("working_mode") == others[0]


@one_of_each_protocol
async def test_two_changes_in_a_row_are_read_back_once(
    home: Home, warp: Warp, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.set_power(1000)
    await home.set_power(500)
    await warp(SETTLED + home.data.battery.change_interval)
    assert home.state("power_setpoint") == "500"
    assert float(home.state("battery_power")) == pytest.approx(500, rel=0.15)


async def test_granted_power_is_shown_where_the_device_reports_none(
    make_home: MakeHome, victron: VictronSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurements: Any = VictronInverter.measurements
    missing = ("power_setpoint", "battery_voltage")

    def without_missing(self: VictronInverter) -> tuple[str, ...]:
        return tuple(key for key in measurements.fget(self) if key not in missing)

    monkeypatch.setattr(VictronInverter, "measurements", property(without_missing))
    home = make_home(victron)
    await home.set_up()
    assert home.find("current_setpoint") is None
    assert home.state("power_setpoint") == "unknown"
    await home.set_power(1000)
    assert home.state("power_setpoint") == "1000"
    await home.choose("automatic")
    assert home.state("power_setpoint") == "unknown"


# Limits that move, currents and phases


async def test_range_of_the_setpoint_follows_a_limit_set_on_the_device(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    assert sessy_home.state_of("power_setpoint").attributes["max"] == 2200
    assert sessy.battery is not None
    sessy.battery.settings["max_power"] = 1500
    await warp(61)
    attributes = sessy_home.state_of("power_setpoint").attributes
    assert (attributes["min"], attributes["max"]) == (-1500, 1500)
    with pytest.raises(ServiceValidationError):
        await sessy_home.set_power(1600)


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_range_of_the_setpoint_follows_the_users_limit_but_not_a_hold(
    home: Home, warp: Warp
) -> None:
    await home.call("number.set_value", "charge_power_limit", value=2000)
    await warp(6)
    assert home.state_of("power_setpoint").attributes["max"] == 2000
    await home.set_power(0)  # both limits of the device are 0 now
    await warp(61)
    assert home.state_of("power_setpoint").attributes["max"] == 2000


@pytest.mark.parametrize("simulator", ["deye_modbus"], indirect=True)
async def test_current_of_a_deye_is_set_as_current(
    home: Home, simulator: Simulator
) -> None:
    await home.enable("current_setpoint")
    await home.call("number.set_value", "current_setpoint", value=20)
    charging = simulator.state()["device"]
    assert (charging["charge_current"], charging["grid_charge_current"]) == (20, 20)

    await home.call("number.set_value", "current_setpoint", value=-15)
    assert simulator.state()["device"]["discharge_current"] == 15


@pytest.mark.parametrize(
    "simulator", ["sessy", "sma", "sun2000", "victron"], indirect=True
)
async def test_current_of_the_others_is_power_at_the_battery_voltage(
    home: Home,
) -> None:
    await home.enable("current_setpoint")
    volts = float(home.state("battery_voltage"))
    await home.call("number.set_value", "current_setpoint", value=-2)
    assert home.data.control.requested_power == pytest.approx(-2 * volts, abs=3)
    assert home.data.control.granted_power == home.data.control.requested_power


async def test_phases_have_setpoints_of_their_own(
    make_home: MakeHome, clock: ManualClock, warp: Warp
) -> None:
    """Those that were not set are held at 0; all together is what is asked for."""
    house = VictronSimulator.house(clock=clock, phases=3)
    house.fixed_pv, house.fixed_load = 0.0, 0.0
    async with VictronSimulator(house) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        await home.enable("power_setpoint_l1", "power_setpoint_l2", "power_setpoint_l3")
        await home.call("number.set_value", "power_setpoint_l2", value=500)
        assert simulator.server.traffic.writes[-1].words == [0, 0, 0, 500, 0]
        await home.call("number.set_value", "power_setpoint_l3", value=-200)
        assert simulator.server.traffic.writes[-1].words == [
            0,
            0,
            0,
            500,
            0x10000 - 200,
        ]
        assert home.state("power_setpoint_l1") == "0"
        assert home.state("power_setpoint_l2") == "500"
        assert home.data.control.requested_power == 300

        await home.set_power(900)
        assert home.state("power_setpoint_l2") == "unknown"
        await home.choose("automatic")
        assert simulator.mode == "automatic"
        await home.hass.config_entries.async_unload(home.entry.entry_id)


async def test_one_phase_has_no_setpoint_besides_that_of_all(
    victron_home: Home,
) -> None:
    assert victron_home.find("power_setpoint_l1") is None


async def test_lease_ends_when_the_driver_has_to_release_the_battery(
    make_home: MakeHome, clock: ManualClock, warp: Warp
) -> None:
    """In remote mode the battery goes the wrong way: the sign is the other one."""
    house = DeyeModbusSimulator.house(clock=clock)
    house.fixed_pv, house.fixed_load = 0.0, LOAD
    async with DeyeModbusSimulator(
        house, remote=True, remote_charge_sign=1
    ) as simulator:
        home = make_home(simulator, remote_mode=True)
        assert await home.set_up()
        await home.set_power(2000)
        assert home.state("control_mode") == "manual"
        for _ in range(3):
            await warp(20)
        assert simulator.mode == "automatic"
        assert home.state("control_mode") == "automatic"
        assert home.data.control.requested_power is None
        await home.hass.config_entries.async_unload(home.entry.entry_id)
