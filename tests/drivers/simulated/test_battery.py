"""The simulated battery: what it does alike, and what it has of its own."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
import re
from typing import Any

import pytest

from custom_components.homebattery.drivers import SimulatedBattery
from custom_components.homebattery.drivers.battery.controller import Grant, LimitReason
from custom_components.homebattery.drivers.battery.counters import Counted
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    InvalidValueError,
    TakenOverError,
)
from custom_components.homebattery.drivers.simulated.device import FORGETS_AFTER
from tests.home import LOAD, house_of
from tests.in_process import SERIAL, InProcessDevice
from tests.simulators import ManualClock

MIDNIGHT = datetime(2026, 6, 1)


@pytest.fixture
async def device(clock: ManualClock) -> AsyncIterator[InProcessDevice]:
    """Yield a device in a house without sun, whose clock the test moves."""
    async with InProcessDevice(house_of(InProcessDevice, clock)) as device:
        yield device


@pytest.fixture
async def battery(device: InProcessDevice) -> AsyncIterator[SimulatedBattery]:
    async with SimulatedBattery.from_setup(device.setup) as battery:
        yield battery


type Make = Callable[..., SimulatedBattery]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a function that makes a battery at an hour; its device goes afterwards."""
    made: list[SimulatedBattery] = []

    def at_hour(hour: int = 12, **setup: Any) -> SimulatedBattery:
        battery = SimulatedBattery.from_setup(setup)
        battery.local_time = lambda: MIDNIGHT.replace(hour=hour)
        made.append(battery)
        return battery

    yield at_hour
    for each in made:
        each.device.remove()


# The device


async def test_each_new_battery_is_a_device_of_its_own(make: Make) -> None:
    async with make() as one, make() as other:
        serials = {each.identity.serial_number for each in (one, other)}
        assert len(serials) == 2
        assert all(re.fullmatch("SIM-[0-9A-F]{4}", serial) for serial in serials)
        assert one.identity.manufacturer == "Home Battery"
        assert one.identity.model == "Simulated battery"
        assert one.detected_config == {"serial_number": one.identity.serial_number}


async def test_a_battery_that_is_connected_again_is_the_same_device(make: Make) -> None:
    async with make() as battery:
        await battery.set_value("min_soc", 33)
        await battery.set_power_setpoint(1000)
    async with make(**battery.detected_config) as again:
        assert await again.get("min_soc") == 33
        assert await again.get("working_mode") == "external_control"


async def test_nothing_is_known_of_a_battery_that_was_not_connected() -> None:
    battery = SimulatedBattery()
    assert battery.writes == 0
    with pytest.raises(CannotConnectError, match="not connected yet"):
        await battery.read()


@pytest.mark.parametrize(
    "size",
    [{"battery_capacity": 0}, {"rated_power": 0}, {"pv_peak": -1}, {"mean_load": -1}],
)
def test_an_impossible_size_is_refused(size: dict[str, int]) -> None:
    with pytest.raises(InvalidValueError, match="there is no such"):
        SimulatedBattery.from_setup(size)


async def test_another_size_keeps_the_charge(make: Make) -> None:
    async with make(battery_capacity=10, rated_power=5000) as battery:
        soc = await battery.get("battery_soc")
    size = {"battery_capacity": 20, "rated_power": 3000}
    async with make(**battery.detected_config, **size) as again:
        assert await again.get("battery_soc") == pytest.approx(soc, abs=0.2)
        assert await again.get("rated_capacity") == 20
        assert again.setpoint_limits == (-3000, 3000)


@pytest.mark.parametrize("power", [3000, 10_000])
async def test_at_first_only_its_highest_power_limits_it(
    make: Make, power: int
) -> None:
    async with make(rated_power=power) as battery:
        assert await battery.get("charge_power_limit") == power


async def test_a_limit_stays_as_far_as_another_size_bears_it(make: Make) -> None:
    async with make(rated_power=5000) as battery:
        await battery.set_value("charge_power_limit", 2000)
    for power, limit in ((4000, 2000), (1500, 1500)):
        async with make(**battery.detected_config, rated_power=power) as again:
            assert await again.get("charge_power_limit") == limit


# The day


async def test_sun_and_consumers_follow_the_hour(make: Make) -> None:
    async with make(hour=0, pv_peak=3000) as battery:
        assert await battery.get("pv_power") == 0
        at_night = await battery.get("load_power")
        battery.device.local_time = lambda: MIDNIGHT.replace(hour=13)
        # The hour counts from the next read on.
        await battery.read()
        assert await battery.get("pv_power") == pytest.approx(3000, rel=0.01)
        battery.device.local_time = lambda: MIDNIGHT.replace(hour=18)
        await battery.read()
        in_the_evening = await battery.get("load_power")
    assert isinstance(at_night, int)
    assert isinstance(in_the_evening, int)
    assert in_the_evening > 2 * at_night > 0


@pytest.mark.parametrize("hour", range(0, 24, 3))
async def test_the_first_sizes_leave_room_for_a_setpoint_at_any_hour(
    make: Make, hour: int
) -> None:
    async with make(hour=hour) as battery:
        soc = await battery.get("battery_soc")

    assert isinstance(soc, int | float)
    assert soc < 90


async def test_its_first_charge_is_that_of_the_hour(make: Make) -> None:
    """A day has gone by in its house, as it does each day."""
    charges = []
    for hour in (6, 10, 16, 6):
        async with make(hour=hour, pv_peak=3000, mean_load=800) as battery:
            charge = await battery.get("battery_soc")
        assert isinstance(charge, int | float)
        charges.append(charge)
    morning, forenoon, afternoon, again = charges
    assert morning < forenoon < afternoon == 100
    assert again == morning


async def test_the_house_is_in_balance(make: Make) -> None:
    async with make(hour=9) as battery:
        r: Any = await battery.read()
    assert r.failures == {}
    assert r["grid_power"] == pytest.approx(
        r["load_power"] - r["pv_power"] - r["active_power"], abs=2
    )
    assert r["battery_charge_power"] == max(0, r["battery_power"])


# A setpoint


async def test_it_forgets_a_setpoint_that_is_not_renewed(
    battery: SimulatedBattery, device: InProcessDevice, clock: ManualClock
) -> None:
    """It goes on with its own control; a renewal that comes late holds it again."""
    await battery.set_power_setpoint(1000)
    clock.advance(FORGETS_AFTER - 1)
    assert await battery.get("battery_power") == 1000
    clock.advance(2)
    assert device.mode == "automatic"
    assert await battery.get("grid_power") == 0
    await battery.keep_alive()
    assert await battery.get("battery_power") == 1000


async def test_it_is_renewed_long_before_it_forgets() -> None:
    assert SimulatedBattery.keep_alive_interval <= FORGETS_AFTER / 2


@pytest.mark.parametrize(
    ("soc", "asked", "grant"),
    [
        (50, 2000, Grant(2000)),
        (50, 4000, Grant(3000, LimitReason.SETTING)),
        (99, 2000, Grant(1000, LimitReason.BATTERY)),
        (100, 2000, Grant(0, LimitReason.FULL)),
        (50, -4000, Grant(-4000)),
        (20, -4000, Grant(0, LimitReason.EMPTY)),
        (20, 2000, Grant(2000)),
        (50, 9000, Grant(3000, LimitReason.SETTING)),
    ],
)
async def test_it_grants_what_its_charge_and_its_settings_permit(
    battery: SimulatedBattery,
    device: InProcessDevice,
    soc: float,
    asked: float,
    grant: Grant,
) -> None:
    device.plant.soc = soc
    await battery.set_value("min_soc", 20)
    await battery.set_value("charge_power_limit", 3000)
    assert await battery.set_power_setpoint(asked) == grant
    assert await battery.get("battery_power") == pytest.approx(grant.power, abs=1)


async def test_a_held_battery_stops_at_its_minimum_soc_and_goes_on_above(
    battery: SimulatedBattery, device: InProcessDevice, clock: ManualClock
) -> None:
    await battery.set_power_setpoint(-2000)
    device.plant.soc = 10
    assert await battery.keep_alive() == Grant(0, LimitReason.EMPTY)
    assert await battery.get("battery_power") == 0
    device.plant.soc = 11
    clock.advance(1)
    assert await battery.keep_alive() == Grant(-2000)


async def test_the_users_working_mode_is_restored(
    battery: SimulatedBattery,
) -> None:
    await battery.set_value("working_mode", "idle")
    await battery.set_power_setpoint(-1000)
    assert await battery.get("working_mode") == "external_control"
    await battery.release()
    assert await battery.get("working_mode") == "idle"
    assert await battery.get("battery_power") == 0


async def test_a_working_mode_chosen_meanwhile_stays_and_is_restored_later(
    battery: SimulatedBattery, device: InProcessDevice
) -> None:
    await battery.set_power_setpoint(1000)
    device.fault_other_controller()
    with pytest.raises(TakenOverError, match="the working mode is idle"):
        await battery.keep_alive()
    await battery.set_power_setpoint(500)
    await battery.release()
    assert await battery.get("working_mode") == "idle"


# Counters


async def test_counters_count_the_energy_of_the_house(
    battery: SimulatedBattery, clock: ManualClock
) -> None:
    before: Any = await battery.read()
    clock.advance(3600)
    after: Any = await battery.read()

    counted = {key: after[key] - before[key] for key in after if key.endswith("_total")}
    assert counted == pytest.approx(
        {
            "energy_charged_total": 0,
            "energy_discharged_total": LOAD / 1000 / 0.95,
            "grid_import_total": 0,
            "grid_export_total": 0,
            "pv_energy_total": 0,
            "load_energy_total": LOAD / 1000,
        },
        abs=0.002,
    )


async def test_a_new_device_counts_on_from_where_an_earlier_one_was(
    battery: SimulatedBattery, clock: ManualClock
) -> None:
    """As a real device does that was off. What is stored knows the former total."""
    key = "energy_discharged_total"
    assert await battery.get(key) == 1
    battery.counters.remember(key, Counted(120.5, 0.0))

    assert await battery.get(key) == 120.5
    clock.advance(3600)
    assert await battery.get(key) == pytest.approx(121.13, abs=0.01)
    assert await battery.get("energy_charged_total") == 1


def test_the_serial_number_of_the_tests_is_one_that_can_be() -> None:
    assert re.fullmatch("SIM-[0-9A-F]{4}", SERIAL)
