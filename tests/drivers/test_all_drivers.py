"""The common interface of all drivers, each against its device."""

import asyncio
from collections.abc import AsyncIterator
import json
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.controller import Grant, Snapshot
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.errors import (
    InvalidValueError,
    NotKeptError,
    NotSupportedError,
)
from tests.drivers.conftest import fast_keys
from tests.home import KINDS, LOAD
from tests.simulators import Simulator

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture
async def battery(simulator: Simulator) -> AsyncIterator[Battery]:
    """Yield each kind of battery in turn, connected to its simulated device."""
    async with DRIVERS[simulator.type].from_setup(simulator.setup) as battery:
        yield battery


def power(simulator: Simulator) -> float:
    return float(simulator.state()["battery_power"])


def mode(simulator: Simulator) -> str:
    return simulator.mode


async def test_device_is_known_and_read(battery: Battery, simulator: Simulator) -> None:
    kind = KINDS[simulator.type]
    assert battery.identity.serial_number == kind.serial
    assert kind.title in (battery.identity.name, battery.identity.model)
    readings = await battery.read()
    assert readings["battery_soc"] == pytest.approx(50, abs=0.5)
    assert {type(err) for err in readings.failures.values()} <= {NotSupportedError}
    assert mode(simulator) == "automatic"


async def test_getters_return_the_devices_values(
    battery: Battery, simulator: Simulator
) -> None:
    assert await battery.get_battery_soc() == pytest.approx(50, abs=0.5)
    # Some report the power to the grid side alone, without the loads behind it.
    active_power = await battery.get_active_power_total()
    assert isinstance(active_power, int | float)
    assert 0.6 * LOAD < active_power < 1.1 * LOAD
    assert await battery.get_phase_voltage(1) == pytest.approx(231, abs=1)


async def test_getters_of_absent_measurements_are_not_supported(
    battery: Battery,
) -> None:
    for phase in (1, 2, 3):
        for key, get in (
            (f"active_power_l{phase}", battery.get_active_power_phase),
            (f"grid_current_l{phase}", battery.get_phase_current),
            (f"grid_voltage_l{phase}", battery.get_phase_voltage),
        ):
            if key in battery.measurements:
                value = await get(phase)
                assert value is None or isinstance(value, int | float), key
            else:
                with pytest.raises(NotSupportedError):
                    await get(phase)
    if "active_current" in battery.measurements:
        assert isinstance(await battery.get_active_current_total(), int | float)
    else:
        with pytest.raises(NotSupportedError):
            await battery.get_active_current_total()


@pytest.mark.parametrize("asked", [1000, -500, 0])
async def test_battery_is_held_renewed_and_released(
    battery: Battery, simulator: Simulator, asked: int
) -> None:
    before = power(simulator)
    granted = await battery.set_power_setpoint(asked)
    assert (granted.power, granted.reason) == (asked, None)
    assert mode(simulator) == "controlled"
    assert power(simulator) == pytest.approx(asked, rel=0.1, abs=20)
    assert await battery.keep_alive() in (Grant(asked), None)
    assert mode(simulator) == "controlled"
    assert power(simulator) == pytest.approx(asked, rel=0.1, abs=20)
    await battery.release()
    assert battery.snapshot is None
    assert mode(simulator) == "automatic"
    assert power(simulator) == pytest.approx(before, abs=5)


async def test_a_setpoint_is_still_held_after_a_restart(
    battery: Battery, simulator: Simulator
) -> None:
    """Another object that has the snapshot knows it, without a write."""
    await battery.set_power_setpoint(1000)
    snapshot = battery.snapshot
    async with DRIVERS[simulator.type].from_setup(simulator.setup) as another:
        another.snapshot = snapshot
        before = simulator.settings_words()
        assert await another.is_held()
        assert simulator.settings_words() == before
    await battery.release()


async def test_a_first_setpoint_may_wear_flash_and_the_same_again_does_not(
    battery: Battery, simulator: Simulator
) -> None:
    """The announcement agrees with the count."""
    for _ in range(2):
        before = battery.wear.writes_today
        wears = battery.wears_flash(1000)
        await battery.set_power_setpoint(1000)
        assert (battery.wear.writes_today > before) == wears
    assert not wears


async def test_renewing_does_not_wait_for_a_slow_refresh(
    battery: Battery, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acts on the known values as far as is safe."""
    done = asyncio.Event()

    async def slow_refresh(_: Snapshot) -> None:
        await done.wait()

    await battery.set_power_setpoint(1000)
    monkeypatch.setattr(battery.controller, "_refresh", slow_refresh)
    refreshing = asyncio.create_task(battery.refresh())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await battery.keep_alive() in (Grant(1000), None)
    assert not refreshing.done()
    assert power(simulator) == pytest.approx(1000, rel=0.1)
    done.set()
    await refreshing


async def test_live_values_are_of_one_moment_when_a_setpoint_overtakes_their_read(
    battery: Battery, simulator: Simulator
) -> None:
    """Else a power before it and one after it make up a load that never was."""
    live = fast_keys(battery)
    before = await battery.read(live)
    poll = asyncio.create_task(battery.read(live))
    await asyncio.sleep(0)
    await battery.set_power_setpoint(1000)
    overtaken, after = await poll, await battery.read(live)
    assert after["battery_power"] != before["battery_power"]
    assert overtaken in (before, after)
    await battery.release()


async def test_releasing_a_battery_that_is_not_held_does_nothing(
    battery: Battery, simulator: Simulator
) -> None:
    assert await battery.keep_alive() is None
    await battery.release()
    assert mode(simulator) == "automatic"


async def test_current_is_that_of_the_battery(
    battery: Battery, simulator: Simulator
) -> None:
    voltage = await battery.get("battery_voltage")
    assert isinstance(voltage, int | float)
    granted = await battery.set_current_setpoint(1000 / voltage)
    assert granted.power == pytest.approx(1000, rel=0.02)
    assert power(simulator) == pytest.approx(1000, rel=0.1)
    await battery.release()


async def test_setpoint_of_a_phase_that_has_none_is_refused(
    battery: Battery, simulator: Simulator
) -> None:
    phase = battery.setpoint_phases + 1
    with pytest.raises(NotSupportedError):
        await battery.set_power_setpoint_phase(1000, phase)
    with pytest.raises(NotSupportedError):
        await battery.set_current_setpoint_phase(4, phase)
    with pytest.raises(NotSupportedError):
        await battery.set_value("no_such_setting", 1)
    assert mode(simulator) == "automatic"


async def test_a_snapshot_is_json_and_enough_to_release(
    battery: Battery, simulator: Simulator
) -> None:
    """As after a restart: another object, with nothing but the stored snapshot."""
    before = power(simulator)
    await battery.set_power_setpoint(1000)
    kept = json.dumps(battery.snapshot)
    assert json.loads(kept) == battery.snapshot
    await battery.close()
    assert mode(simulator) == "controlled"
    async with DRIVERS[simulator.type].from_setup(simulator.setup) as another:
        another.snapshot = json.loads(kept)
        await another.release()
        assert another.snapshot is None
    assert mode(simulator) == "automatic"
    assert power(simulator) == pytest.approx(before, abs=5)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -(10**400)], ids=["nan", "inf", "huge"]
)
async def test_a_setpoint_without_bounds_is_refused(
    battery: Battery, value: float
) -> None:
    """Also one that no float can hold; nothing is written."""
    with pytest.raises(InvalidValueError, match="finite"):
        await battery.set_power_setpoint(value)
    with pytest.raises(InvalidValueError, match="finite"):
        await battery.set_current_setpoint(value)
    assert battery.writes == 0


# A stored snapshot that may be damaged

ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    1e300,
    float("nan"),
    10**400,
    "",
    "\0",
    "x" * 1000,
    [],
    {},
)
"""Values that are no part of any snapshot."""


async def test_a_sound_snapshot_is_recovered_whole(battery: Battery) -> None:
    snapshot = json.loads(json.dumps(await battery.take_snapshot()))
    assert battery.recover(snapshot) == (snapshot, frozenset())


async def test_odd_parts_of_a_stored_snapshot_are_not_restored(
    battery: Battery, simulator: Simulator
) -> None:
    """A release sends nothing of them, and ends the setpoint all the same."""
    await battery.set_power_setpoint(1000)
    sound = battery.snapshot
    assert sound is not None
    for odd in ODD:
        for stored in (
            {},
            {"odd": odd},
            dict.fromkeys(sound, odd),
            {key: {"odd": odd, "108": odd} for key in sound},
        ):
            recovered = battery.recover(stored)
            assert recovered.snapshot == {}
            assert recovered.unknown or simulator.type == "sma"
    battery.snapshot = battery.recover({}).snapshot
    await battery.release()
    # The settings of a Deye hold it, and are not known.
    if not simulator.type.startswith("deye"):
        assert power(simulator) <= 20


CHANGES: Final[dict[str, tuple[str, Snapshot, Snapshot]]] = {
    "victron": (
        "ess_mode",
        {"mode": 2},
        {"working_mode": "self_consumption_no_phase_compensation"},
    ),
    "sun2000": (
        "setting",
        {"setting": "charge_limit", "value": 3000},
        {"charge_power_limit": 3000},
    ),
}
"""A user's change while the battery is held: the fault of the simulated device that
makes it, and the part of the snapshot that it corrects."""


@pytest.mark.parametrize("simulator", CHANGES, indirect=True)
async def test_a_corrected_snapshot_is_saved_before_it_is_needed(
    battery: Battery, simulator: Simulator
) -> None:
    """The device still shows the user's value then; nothing is written otherwise."""
    fault, change, correction = CHANGES[simulator.type]
    await battery.set_power_setpoint(1000)
    former = dict(battery.snapshot or {})
    await simulator.misbehave(fault, **change)
    words, kept = simulator.settings_words(), list[Snapshot]()

    async def refuse(snapshot: Snapshot) -> None:
        raise NotKeptError("no space left on device")

    async def keep(snapshot: Snapshot) -> None:
        assert simulator.settings_words() == words
        kept.append(dict(snapshot))

    battery.keep_snapshot = refuse
    with pytest.raises(NotKeptError) as refused:
        await battery.set_power_setpoint(0)
    assert not refused.value.written
    assert simulator.settings_words() == words
    assert battery.snapshot == former

    battery.keep_snapshot = keep
    await battery.set_power_setpoint(0)
    assert kept == [{**former, **correction}] == [battery.snapshot]
    await battery.release()


async def test_a_register_belongs_to_one_device_of_a_battery(
    modbus_simulator: Simulator,
) -> None:
    """It is read and written by its name."""
    setup = modbus_simulator.setup
    async with DRIVERS[modbus_simulator.type].from_setup(setup) as battery:
        assert isinstance(battery, ModbusBattery)
        names = [name for device in battery.devices for name in device.names]
        assert sorted(names) == sorted(set(names))
