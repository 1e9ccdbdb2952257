"""A battery that the Huawei driver holds at a setpoint, and releases."""

from contextlib import suppress
from itertools import product
import json
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    NotConfirmedError,
    NotSupportedError,
    TakenOverError,
)
from custom_components.homebattery.drivers.sun2000.inverter import Sun2000Inverter
from tests.faults.behaviours import sentinels, zeros
from tests.faults.proxy import Proxy, pass_on
from tests.simulators import HuaweiSimulator
from tests.simulators.image import ModbusImage, load
from tests.simulators.modbus import Dropped, Refused

from .bench import (
    CHARGE_LIMIT,
    CHARGE_POWER,
    COMMAND,
    DISCHARGE_LIMIT,
    DISCHARGE_POWER,
    DURATION,
    END,
    USER_LIMITS,
    bench,
    changed,
    connected,
    leaping,
    without_pauses,
)

pytestmark = pytest.mark.usefixtures("socket_enabled")

PV_CHARGING: Final = load("huawei_sun2000")[0]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)


@pytest.mark.parametrize("power", [2000, -2000])
@pytest.mark.parametrize("pv", [0, 4000])
async def test_the_battery_gets_the_power_that_was_asked_for(
    power: int, pv: float
) -> None:
    async with bench(pv=pv) as b:
        granted = await b.battery.set_power_setpoint(power)
        b.clock.advance(30)

        assert granted == Grant(power)
        assert b.power == pytest.approx(power, abs=5)
        assert await b.battery.get("power_setpoint") == power
        assert b.battery.snapshot == USER_LIMITS
        assert b.device["flash_writes"] == 0


async def test_the_command_comes_last_and_once() -> None:
    """The device acts on the values that are there already."""
    async with bench() as b:
        await b.battery.set_power_setpoint(-1500)

        assert b.writes == [
            (1, DISCHARGE_POWER, [0, 1500]),
            (1, DURATION, [10]),
            (1, END, [0]),
            (1, COMMAND, [2]),
        ]


async def test_another_power_in_the_same_direction_is_one_write() -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        before = len(b.writes)
        granted = await b.battery.set_power_setpoint(1800)
        b.clock.advance(10)

        assert granted == Grant(1800)
        assert b.writes[before:] == [(1, CHARGE_POWER, [0, 1800])]
        assert b.power == pytest.approx(1800, abs=5)


@pytest.mark.parametrize("detour", [[], [0], ["release"], [0, "release"], [600]])
async def test_another_power_in_the_same_direction_should_wait_whatever_was_between(
    monkeypatch: pytest.MonkeyPatch, detour: list[Any]
) -> None:
    async with bench() as b:
        leap = leaping(monkeypatch)
        assert b.battery.seconds_to_wait(600) == 0
        await b.battery.set_power_setpoint(600)
        leap(5)
        for step in detour:
            if step == "release":
                await b.battery.release()
            else:
                assert b.battery.seconds_to_wait(step) == 0
                await b.battery.set_power_setpoint(step)
        wait = Sun2000Inverter.change_interval - 5

        assert b.battery.seconds_to_wait(800) == pytest.approx(wait, abs=1)
        assert b.battery.seconds_to_wait(-800) == b.battery.seconds_to_wait(0) == 0
        leap(wait)
        assert b.battery.seconds_to_wait(800) == 0


async def test_the_same_power_after_a_hold_should_wait_and_a_reversal_should_not() -> (
    None
):
    """It is a command like any other, in the direction of the last one."""
    async with bench() as b:
        for power in (600, 0):
            await b.battery.set_power_setpoint(power)
        assert b.battery.seconds_to_wait(600) > 0
        for power in (-600, 0):
            assert b.battery.seconds_to_wait(power) == 0
            await b.battery.set_power_setpoint(power)

        assert b.battery.seconds_to_wait(-600) > 0
        assert b.battery.seconds_to_wait(600) == 0


async def test_another_controllers_command_is_replaced_as_a_whole() -> None:
    """Its duration, and its end, were the other controller's."""
    async with bench() as b:
        device = b.simulator.device.settings
        device["forcible_charge"], device["forcible_minutes"] = 3000, 1
        await b.simulator.misbehave("setting", setting="forcible", value=1)
        await b.battery.set_power_setpoint(1000)

        assert b.addresses == [CHARGE_POWER, DURATION, END, COMMAND]


@pytest.mark.parametrize("pv", [0, 3000])
async def test_hold_keeps_the_battery_still_and_leaves_the_panels_alone(
    pv: float,
) -> None:
    """0 W: both limits are 0; no command, which would throttle the panels."""
    async with bench(pv=pv) as b:
        granted = await b.battery.set_power_setpoint(0)
        b.clock.advance(30)

        assert granted == Grant(0)
        assert b.power == 0
        assert b.simulator.state()["pv_power"] == pv
        assert b.control() == ("stop", 0, 0, 0)
        assert b.writes == [(1, CHARGE_LIMIT, [0, 0]), (1, DISCHARGE_LIMIT, [0, 0])]
        assert await b.battery.get("power_setpoint") == 0


async def test_a_setpoint_of_less_than_half_a_watt_is_hold() -> None:
    async with bench() as b:
        assert await b.battery.set_power_setpoint(0.4) == Grant(0)
        assert b.control() == ("stop", 0, 0, 0)


async def test_leaving_hold_restores_the_limits_first() -> None:
    """A command would do nothing within limits of 0."""
    async with bench(charge_limit=4000, discharge_limit=3000) as b:
        await b.battery.set_power_setpoint(0)
        before = len(b.writes)
        await b.battery.set_power_setpoint(1000)

        assert b.addresses[before:] == [
            *(CHARGE_LIMIT, DISCHARGE_LIMIT),
            *(CHARGE_POWER, DURATION, END, COMMAND),
        ]
        assert b.control() == ("charge", 1000, 4000, 3000)


async def test_a_repeated_hold_wears_nothing() -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        before = len(b.writes)
        await b.battery.set_power_setpoint(0)
        await b.battery.keep_alive()

        assert b.writes[before:] == []


@pytest.mark.parametrize("setpoint", [1500, -1500, 0])
async def test_release_restores_everything(setpoint: int) -> None:
    async with bench(charge_limit=4000, discharge_limit=3000) as b:
        await b.battery.set_power_setpoint(setpoint)
        await b.battery.release()
        b.clock.advance(30)

        assert b.control() == ("stop", 0, 4000, 3000)
        assert b.battery.snapshot is None
        assert b.simulator.mode == "automatic"
        assert b.power == pytest.approx(-600 / 0.95, rel=0.01)
        assert await b.battery.get("power_setpoint") == 0


@pytest.mark.parametrize("setpoint", [1500, -1500, 0])
async def test_another_driver_releases_by_the_snapshot(setpoint: int) -> None:
    """After a restart only the stored snapshot is known."""
    async with bench(charge_limit=4000, discharge_limit=3000) as b:
        await b.battery.set_power_setpoint(setpoint)
        stored = json.loads(json.dumps(b.battery.snapshot))
        await b.battery.close()
        async with connected(b.simulator) as successor:
            successor.snapshot = stored
            assert await successor.keep_alive() is None
            await successor.release()

        assert b.control() == ("stop", 0, 4000, 3000)
        assert successor.snapshot is None


async def test_reading_connecting_and_releasing_nothing_write_nothing() -> None:
    async with bench() as b:
        await b.battery.read()
        await b.battery.take_snapshot()
        await b.battery.keep_alive()
        await b.battery.release()

        assert b.writes == []


async def test_a_snapshot_during_hold_is_the_one_from_before() -> None:
    """Read again, the limits that hold has set are not taken for the user's."""
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        assert await b.battery.take_snapshot() == USER_LIMITS
        await b.battery.set_power_setpoint(0)
        await b.battery.release()

        assert b.control() == ("stop", 0, 5000, 5000)


async def test_limits_of_0_are_restored_as_0() -> None:
    async with bench(charge_limit=0, discharge_limit=3000) as b:
        await b.battery.set_power_setpoint(0)
        await b.battery.release()

        assert b.control() == ("stop", 0, 0, 3000)
        assert CHARGE_LIMIT not in b.addresses


async def test_a_command_from_before_is_not_started_again() -> None:
    """Another controller's, or stranded: a release ends at no command."""
    async with bench() as b:
        b.simulator.device.settings["forcible_minutes"] = 60
        b.simulator.device.settings["forcible_discharge"] = 500
        b.simulator.device.write(b.simulator.device.rows["forcible"], 2)
        assert await b.battery.get("power_setpoint") == -500
        await b.battery.set_power_setpoint(1000)
        await b.battery.release()

        assert b.control() == ("stop", 0, 5000, 5000)


async def test_a_limit_that_the_user_changed_meanwhile_stays() -> None:
    """Changed with the app, while a power is held: it counts from then on."""
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        await b.simulator.misbehave("setting", setting="charge_limit", value=3000)
        await b.battery.set_power_setpoint(0)
        await b.battery.release()

        assert b.control() == ("stop", 0, 3000, 5000)


# Renewal


async def test_renewal_keeps_the_setpoint_and_silence_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half an hour of renewals hold; then the device's own watchdog ends it."""
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        leap = leaping(monkeypatch)
        for _ in range(60):
            b.clock.advance(30)
            leap(30)
            assert await b.battery.keep_alive() == Grant(1000)
        held = b.control()
        wear = b.device["flash_writes"]
        b.clock.advance(601)

        assert held == ("charge", 1000, 5000, 5000)
        assert wear == 0
        assert b.control() == ("stop", 0, 5000, 5000)
        assert await b.battery.get("power_setpoint") is None


async def test_renewal_writes_the_duration_and_then_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(duration_min=2) as b:
        await b.battery.set_power_setpoint(-1000)
        leap = leaping(monkeypatch)
        for _ in range(2):
            leap(30)
            before = len(b.writes)
            assert await b.battery.keep_alive() == Grant(-1000)
            assert b.writes[before:] == [(1, DURATION, [2]), (1, COMMAND, [2])]


async def test_a_command_that_was_just_given_is_not_prolonged() -> None:
    """It is checked, and runs for minutes; a slow device needs seconds to write."""
    async with bench() as b:
        await b.battery.set_power_setpoint(-1000)
        before = len(b.writes)
        assert await b.battery.keep_alive() == Grant(-1000)
        assert len(b.writes) == before
        await b.simulator.misbehave("setting", setting="forcible", value=0)
        assert await b.battery.keep_alive() == Grant(0, LimitReason.ENDED)


async def test_a_setpoint_that_ran_out_while_out_of_reach_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        b.clock.advance(700)
        leaping(monkeypatch)(700)
        granted = await b.battery.keep_alive()

        assert granted == Grant(1000)
        assert b.control() == ("charge", 1000, 5000, 5000)


@pytest.mark.parametrize(
    ("soc", "power", "reason"),
    [(99.95, 2000, LimitReason.FULL), (50, 2000, LimitReason.ENDED)],
)
async def test_a_command_that_the_device_ended_is_not_begun_again(
    soc: float, power: int, reason: LimitReason
) -> None:
    """Full, or stopped with the app: again and again would be a loop, or a fight."""
    async with bench(soc=soc) as b:
        await b.battery.set_power_setpoint(power)
        b.clock.advance(300)
        if soc == 50:
            await b.simulator.misbehave("setting", setting="forcible", value=0)
        before = len(b.writes)
        assert await b.battery.keep_alive() == Grant(0, reason)
        assert await b.battery.keep_alive() is None

        assert b.writes[before:] == []
        assert await b.battery.get("power_setpoint") == 0
        await b.battery.release()
        assert b.battery.snapshot is None


@pytest.mark.parametrize(("soc", "power"), [(100, 1000), (97.5, 1000)])
async def test_a_full_battery_grants_nothing(soc: float, power: int) -> None:
    """The device ends the command as soon as it is given."""
    async with bench(soc=soc, max_soc=97) as b:
        granted = await b.battery.set_power_setpoint(power)
        assert granted == Grant(0, LimitReason.FULL)
        assert await b.battery.keep_alive() is None


async def test_a_command_that_ends_at_once_for_no_reason_is_not_confirmed() -> None:
    async with bench() as b:
        await b.simulator.misbehave("battery", status="asleep")
        with pytest.raises(NotConfirmedError, match="forced_command is still stop"):
            await b.battery.set_power_setpoint(1000)
    async with bench(soc=50) as b:
        await b.simulator.misbehave("battery", status="standby")
        await b.simulator.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError):
            await b.battery.set_power_setpoint(-1000)


async def test_an_empty_battery_that_ends_a_discharge_grants_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some firmware ends the command, some keeps it."""
    async with bench(soc=5) as b:
        obeying = b.simulator.device.granted
        monkeypatch.setattr(
            b.simulator.device,
            "granted",
            lambda row, value: 0 if row.address == COMMAND else obeying(row, value),
        )
        granted = await b.battery.set_power_setpoint(-1000)
        assert granted == Grant(0, LimitReason.EMPTY)


@pytest.mark.parametrize("floor", [15, 20])
async def test_a_floor_of_the_device_is_the_end_of_a_discharge(floor: float) -> None:
    """Some devices end it there, whatever minimum SOC is set (here 5 %)."""
    async with bench(soc=floor, own_floor=floor) as b:
        granted = await b.battery.set_power_setpoint(-2000)
        assert granted == Grant(0, LimitReason.EMPTY)
        assert await b.battery.keep_alive() is None
        assert await b.battery.set_power_setpoint(2000) == Grant(2000)
        assert b.device["forcible"] == "charge"


async def test_a_discharge_that_reaches_such_a_floor_is_not_begun_again() -> None:
    async with bench(soc=15.1, own_floor=15) as b:
        assert await b.battery.set_power_setpoint(-4000) == Grant(-4000)
        b.clock.advance(120)
        before = len(b.writes)
        assert await b.battery.keep_alive() == Grant(0, LimitReason.EMPTY)
        assert await b.battery.keep_alive() is None
        assert b.writes[before:] == []
        await b.battery.release()
        assert b.battery.snapshot is None


async def test_a_discharge_that_ran_out_at_such_a_floor_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Begun again after its time was over, it ends at once."""
    async with bench(soc=15.1, own_floor=15) as b:
        leap = leaping(monkeypatch)
        await b.battery.set_power_setpoint(-4000)
        leap(600)
        b.clock.advance(600)
        assert await b.battery.keep_alive() == Grant(0, LimitReason.EMPTY)
        assert await b.battery.keep_alive() is None
        assert await b.battery.get("power_setpoint") == 0


async def test_another_controllers_command_is_not_fought() -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        await b.simulator.misbehave("setting", setting="forcible", value=2)
        before = len(b.writes)
        with pytest.raises(NotConfirmedError, match="another controller has changed"):
            await b.battery.keep_alive()

        assert b.writes[before:] == []
        assert await b.battery.get("power_setpoint") == 0


async def test_another_controllers_power_is_noticed() -> None:
    """At the second read in a row: a single one may have come during a change."""
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        await b.simulator.misbehave("other_controller", power=400)
        before = len(b.writes)
        await b.battery.get("power_setpoint")
        await b.battery.get("power_setpoint")
        with pytest.raises(TakenOverError, match="another power"):
            await b.battery.keep_alive()
        await b.battery.release()

        assert b.writes[before:] == []
        assert b.power == pytest.approx(400, abs=20)


@pytest.mark.parametrize("power", [1000, -1000, 0])
async def test_answers_without_values_are_not_another_controllers(power: int) -> None:
    """Zeros of a device that has just started, and the word for 'not available'."""
    async with bench() as b, Proxy(b.simulator, "modbus") as proxy:
        setup = {**b.simulator.setup, "port": proxy.port}
        async with Sun2000Inverter.from_setup(setup) as battery:
            await battery.set_power_setpoint(power)
            for behaviour in (
                zeros,
                sentinels(dict.fromkeys(range(37000, 48000), 0xFFFF)),
            ):
                proxy.behaviour = behaviour
                for _ in range(3):
                    with suppress(BatteryError):
                        await battery.get("power_setpoint")
                with suppress(BatteryError):
                    await battery.keep_alive()
                proxy.behaviour = pass_on
                await battery.keep_alive()
            held = battery.held
            assert held is not None
            assert held.grant == Grant(power)
            await battery.release()


async def test_a_hold_that_another_controller_ended_is_not_restored() -> None:
    """Its limits are neither written again nor restored."""
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        await b.simulator.misbehave("limits", power=3000)
        before = len(b.writes)
        with pytest.raises(TakenOverError, match="not held any more"):
            await b.battery.keep_alive()
        await b.battery.release()

        assert b.writes[before:] == []
        assert b.control() == ("stop", 0, 3000, 3000)


async def test_a_restart_is_an_end_and_no_other_controller() -> None:
    """The device has lost the power together with the command."""
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        b.simulator.device.restart()
        for _ in range(3):
            await b.battery.get("power_setpoint")
        before = len(b.writes)

        assert await b.battery.keep_alive() == Grant(0, LimitReason.ENDED)
        assert b.writes[before:] == []


async def test_renewals_that_were_refused_did_not_renew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that ran out for want of them is begun again."""
    leap = leaping(monkeypatch)
    async with bench(duration_min=10) as b:
        await b.battery.set_power_setpoint(1000)
        await b.simulator.misbehave("read_only")
        for _ in range(2):
            leap(310)
            b.clock.advance(310)
            with pytest.raises(DeviceRefusedError):
                await b.battery.keep_alive()
        assert b.device["forcible"] == "stop"
        await b.simulator.misbehave("read_only", on=False)

        assert await b.battery.keep_alive() == Grant(1000)
        assert b.device["forcible"] == "charge"


async def test_the_reason_for_a_smaller_grant_is_reported() -> None:
    """Also of a power that the device trims again at each renewal."""
    async with bench() as b:
        await b.simulator.misbehave("setting", setting="charge_limit", value=800)
        grants: list[Grant | None] = [await b.battery.set_power_setpoint(1000)]
        await b.simulator.misbehave("setting", setting="charge_limit", value=5000)
        grants.append(await b.battery.keep_alive())
        b.simulator.plant.max_charge = 600
        grants.append(await b.battery.set_power_setpoint(1500))
        grants.append(await b.battery.keep_alive())
        held = b.battery.held
        await b.battery.release()

    assert grants == [
        Grant(800, LimitReason.SETTING),
        Grant(1000),
        Grant(600, LimitReason.BATTERY),
        Grant(600, LimitReason.BATTERY),
    ]
    assert held is not None
    assert held.grant == grants[-1]
    assert b.battery.held is None


async def test_only_a_change_of_the_limits_wears_flash() -> None:
    """Hold writes them, and its end restores them; a command does not."""
    async with bench() as b:
        worn = []
        for setpoint in (1000, -500, 0, 0, 1000):
            wears, before = b.battery.wears_flash(setpoint), b.device["flash_writes"]
            await b.battery.set_power_setpoint(setpoint)
            assert (b.device["flash_writes"] > before) == wears
            worn.append(wears)

        assert worn == [False, False, True, False, True]


async def test_a_duration_that_does_not_end_is_ended_by_release() -> None:
    """One source reports it [uncertain]: release does not rely on the watchdog."""
    async with bench() as b:
        await b.simulator.misbehave("endless")
        await b.battery.set_power_setpoint(-1000)
        b.clock.advance(5 * 3600)
        still = b.control()[0]
        await b.battery.release()

        assert still == "discharge"
        assert b.control() == ("stop", 0, 5000, 5000)


# Limits


@pytest.mark.parametrize(("wanted", "granted"), [(9000, 5000), (-9000, -5000)])
async def test_setpoints_are_kept_within_the_batterys_power(
    wanted: int, granted: int
) -> None:
    async with bench() as b:
        assert b.battery.setpoint_limits == SetpointLimits(-5000, 5000)
        assert await b.battery.set_power_setpoint(wanted) == Grant(granted)


async def test_the_users_limits_are_kept() -> None:
    """Those of the options, and those on the device."""
    async with bench(max_charge_power=2000, max_discharge_power=1500) as b:
        assert b.battery.setpoint_limits == SetpointLimits(-1500, 2000)
        assert await b.battery.set_power_setpoint(4000) == Grant(2000)
        assert await b.battery.set_power_setpoint(-4000) == Grant(-1500)
    async with bench(charge_limit=2000, discharge_limit=1500) as b:
        by_setting = LimitReason.SETTING
        assert await b.battery.set_power_setpoint(4000) == Grant(2000, by_setting)
        assert await b.battery.set_power_setpoint(-4000) == Grant(-1500, by_setting)


async def test_a_direction_that_the_user_forbids_becomes_hold() -> None:
    async with bench(discharge_limit=0) as b:
        granted = await b.battery.set_power_setpoint(-1000)
        assert granted == Grant(0, LimitReason.SETTING)
        assert b.control() == ("stop", 0, 0, 0)
        await b.battery.release()
        assert b.control() == ("stop", 0, 5000, 0)


async def test_renewal_follows_the_batterys_power(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pack drops out, and comes back."""
    async with bench() as b:
        leap = leaping(monkeypatch)
        await b.battery.set_power_setpoint(4000)
        b.simulator.plant.max_charge = 2500
        leap(301)
        lower = await b.battery.keep_alive()
        b.simulator.plant.max_charge = 5000
        leap(301)
        higher = await b.battery.keep_alive()

        assert (lower, higher) == (Grant(2500, LimitReason.BATTERY), Grant(4000))
        assert b.control()[1] == 4000


async def test_renewal_stays_within_a_limit_that_was_set_meanwhile() -> None:
    """Nothing is renewed, and the limit is not written, while it is 0."""
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        await b.simulator.misbehave("setting", setting="charge_limit", value=400)
        assert await b.battery.keep_alive() == Grant(400, LimitReason.SETTING)
        await b.simulator.misbehave("setting", setting="charge_limit", value=0)
        before = len(b.writes)
        assert await b.battery.keep_alive() == Grant(0, LimitReason.SETTING)
        assert b.writes[before:] == []
        await b.simulator.misbehave("setting", setting="charge_limit", value=5000)
        assert await b.battery.keep_alive() == Grant(1000)


async def test_the_grant_is_the_power_that_the_device_trims_it_to() -> None:
    """A device without a limit cuts a larger power silently."""
    async with HuaweiSimulator() as simulator:
        await simulator.misbehave("absent", first=37046, last=37049)
        async with connected(simulator) as battery:
            trimmed = await battery.set_power_setpoint(6500)
            assert trimmed == Grant(5000, LimitReason.SETTING)
            assert await battery.set_power_setpoint(0) == Grant(0)
            await battery.release()

        assert simulator.device.number("charge_limit") == 5000


@pytest.mark.parametrize("unknown", [0, 0xFFFF])
async def test_an_unknown_limit_of_the_battery_bounds_nothing(unknown: int) -> None:
    words = {37046: unknown, 37047: unknown, 37048: unknown, 37049: unknown}
    vector = changed(PV_CHARGING, words)
    async with ModbusImage(vector) as image, connected(image) as battery:
        limits = battery.setpoint_limits
        granted = await battery.set_power_setpoint(3000)

    assert limits == SetpointLimits(-6600, 6600)
    assert granted == Grant(3000)


async def test_without_a_rated_power_the_battery_is_the_limit() -> None:
    vector = changed(PV_CHARGING, {}, 30073, 30074, 30075, 30076)
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert battery.setpoint_limits == SetpointLimits(-5000, 5000)


async def test_limits_beyond_the_battery_are_restored_clamped() -> None:
    """They would be refused: the battery has become smaller since."""
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        b.simulator.plant.max_discharge = 2500
        await b.battery.release()

        assert b.control() == ("stop", 0, 5000, 2500)


# Failures


async def test_limits_that_the_device_does_not_report_are_not_changed() -> None:
    """A limit that could not be restored is not changed."""
    async with bench() as b:
        await b.simulator.misbehave("unknown", address=47077)
        with pytest.raises(NotSupportedError, match="discharge_power_limit"):
            await b.battery.set_power_setpoint(0)

        assert b.writes == []


async def test_firmware_without_forced_commands_is_not_controlled() -> None:
    async with HuaweiSimulator() as simulator:
        await simulator.misbehave("absent", first=47100)
        async with connected(simulator) as battery:
            with pytest.raises(NotSupportedError, match="forced_command"):
                await battery.set_power_setpoint(0)
            assert simulator.server.traffic.writes == []


async def test_a_sleeping_battery_gets_its_limits_back_when_it_wakes() -> None:
    """Until then the release is not done, but the command is stopped."""
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        await b.simulator.misbehave("battery", status="offline")
        with pytest.raises(NotConfirmedError, match="asleep or offline"):
            await b.battery.release()
        kept = dict(b.battery.snapshot or {})
        await b.simulator.misbehave("battery", status=None)
        await b.battery.release()

        assert kept == USER_LIMITS
        assert b.control() == ("stop", 0, 5000, 5000)


async def test_one_refused_limit_does_not_keep_the_other_from_coming_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        obeying = b.simulator.units.write

        def refuse_one(unit: int, address: int, words: list[int]) -> None:
            if address == CHARGE_LIMIT:
                raise Refused(4)
            obeying(unit, address, words)

        monkeypatch.setattr(b.simulator.units, "write", refuse_one)
        with pytest.raises(DeviceRefusedError):
            await b.battery.release()

        assert b.control() == ("stop", 0, 0, 5000)
        assert b.battery.snapshot == USER_LIMITS


@pytest.mark.parametrize("setpoint", [1000, 0])
async def test_a_setpoint_that_is_not_taken_is_reported(setpoint: int) -> None:
    """Accepted and dropped, as behind an EMMA that overrules it."""
    async with bench() as b:
        await b.simulator.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError, match="is still"):
            await b.battery.set_power_setpoint(setpoint)

        assert await b.battery.keep_alive() is None


async def test_a_power_that_is_not_taken_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(1000)
        obeying = b.simulator.units.write

        def forget_power(unit: int, address: int, words: list[int]) -> None:
            obeying(unit, address, [0, 0] if address == CHARGE_POWER else words)

        monkeypatch.setattr(b.simulator.units, "write", forget_power)
        with pytest.raises(NotConfirmedError, match="forced_charge_power is still 0"):
            await b.battery.set_power_setpoint(2000)


@pytest.mark.parametrize("setpoint", [1000, 0])
async def test_a_release_that_is_not_seen_is_kept_for_another_try(
    setpoint: int,
) -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(setpoint)
        await b.simulator.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError):
            await b.battery.release()
        kept = b.battery.snapshot
        await b.simulator.misbehave("ignore_writes", on=False)
        await b.battery.release()

        assert kept == USER_LIMITS
        assert b.control() == ("stop", 0, 5000, 5000)


async def test_hold_that_another_controller_ended_shows() -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        await b.simulator.misbehave("setting", setting="charge_limit", value=3000)
        assert await b.battery.get("power_setpoint") is None


async def test_a_command_that_means_nothing_here_is_unknown() -> None:
    vector = changed(PV_CHARGING, {COMMAND: 7})
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("power_setpoint") is None
        await battery.set_power_setpoint(0)
        assert image.writes[0] == (1, COMMAND, [0])


async def test_an_unknown_power_of_a_command_is_unknown() -> None:
    words = {COMMAND: 1, CHARGE_POWER: 0xFFFF, CHARGE_POWER + 1: 0xFFFF}
    vector = changed(PV_CHARGING, words)
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("power_setpoint") is None


SETPOINTS: Final = (1500, 2500, -1200, 0)


MOST_WRITES: Final = 6
SOME: Final = ((0, True), (1, False))


@pytest.mark.parametrize(
    ("broken", "answered"),
    # The answer to the first write is lost, or all of the second; all others take long.
    [
        pytest.param(
            *(broken, answered),
            id=f"{broken}-{'answer lost' if answered else 'lost'}",
            marks=[] if (broken, answered) in SOME else pytest.mark.long,
        )
        for broken in range(MOST_WRITES + 1)
        for answered in (False, True)
    ],
)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (before, after)
        for before, after in product((None, *SETPOINTS), (*SETPOINTS, None))
        # These write nothing.
        if before != after or before not in (0, None)
    ],
)
async def test_a_connection_lost_between_two_writes_leaves_nothing_worse(
    monkeypatch: pytest.MonkeyPatch,
    before: int | None,
    after: int | None,
    broken: int,
    answered: bool,
) -> None:
    """At any break: the old setpoint, the new one, or the user's settings.

    Another driver can release it. None in the table is automatic.
    """
    async with bench(charge_limit=4000, discharge_limit=3000) as b:
        if before is not None:
            await b.battery.set_power_setpoint(before)
        before_it = len(b.simulator.server.traffic.writes)
        break_at(monkeypatch, b.simulator, broken, answered=answered)
        try:
            await go(b.battery, after)
        except CannotConnectError:
            assert broken < MOST_WRITES, "there are more writes than are broken"
        else:
            assert 0 < len(b.simulator.server.traffic.writes) - before_it <= broken
            return
        check_harmless(b.control(), before, after)
        stored = b.battery.snapshot or USER_LIMITS
        async with connected(b.simulator) as successor:
            successor.snapshot = json.loads(json.dumps(stored))
            await successor.release()
        assert b.control() == ("stop", 0, 4000, 3000)


async def go(battery: Sun2000Inverter, setpoint: int | None) -> None:
    """Set a power, or release the battery for None."""
    if setpoint is None:
        await battery.release()
    else:
        await battery.set_power_setpoint(setpoint)


def break_at(
    monkeypatch: pytest.MonkeyPatch,
    simulator: HuaweiSimulator,
    broken: int,
    *,
    answered: bool,
) -> None:
    """Lose the connection at a write, once: before it is accepted, or after."""
    obeying, writes = simulator.units.write, 0

    def write(unit: int, address: int, words: list[int]) -> None:
        nonlocal writes
        writes += 1
        if writes == broken + 1 and not answered:
            raise Dropped
        obeying(unit, address, words)
        if writes == broken + 1:
            raise Dropped

    monkeypatch.setattr(simulator.units, "write", write)


def check_harmless(
    control: tuple[Any, ...], before: int | None, after: int | None
) -> None:
    """Check that a state has only values of the old, the new, or the user's."""
    command, power, charge_limit, discharge_limit = control
    allowed = {"stop"} | {
        "charge" if setpoint > 0 else "discharge"
        for setpoint in (before, after)
        if setpoint
    }
    assert command in allowed
    assert power in {0, before, after}
    assert charge_limit in ({4000, 0} if 0 in (before, after) else {4000})
    assert discharge_limit in ({3000, 0} if 0 in (before, after) else {3000})


# The limits as settings


async def test_a_limit_that_is_set_during_hold_waits_for_the_release() -> None:
    """On the device it is 0, and stays so: hold would end otherwise."""
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        before = len(b.writes)
        await b.battery.set_value("charge_power_limit", 3000)
        during = b.control()
        written = b.writes[before:]
        await b.battery.release()

        assert written == []
        assert during == ("stop", 0, 0, 0)
        assert b.control() == ("stop", 0, 3000, 5000)


async def test_a_limit_that_is_set_under_a_setpoint_is_written_and_stays() -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(2000)
        await b.battery.set_value("charge_power_limit", 1500)
        assert await b.battery.keep_alive() == Grant(1500, LimitReason.SETTING)
        await b.battery.set_power_setpoint(0)
        await b.battery.release()

        assert b.control() == ("stop", 0, 1500, 5000)


async def test_a_limit_that_was_refused_is_not_restored_later() -> None:
    async with bench() as b:
        await b.battery.set_power_setpoint(2000)
        await b.simulator.misbehave("read_only", code=3)
        with pytest.raises(DeviceRefusedError):
            await b.battery.set_value("charge_power_limit", 1500)

        assert b.battery.snapshot == USER_LIMITS
