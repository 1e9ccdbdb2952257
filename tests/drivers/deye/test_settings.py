"""The settings of Deye inverters: their ranges, by kind and by what the device shows."""

from typing import Any

import pytest

from custom_components.homebattery.drivers.battery.settings import NumberSetting
from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from custom_components.homebattery.drivers.errors import InvalidValueError

from .support import (
    HIGH_VOLTAGE,
    MIDDAY,
    both_ways,
    connected,
    house,
    on_image,
    simulator,
    vector,
)

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")


def range_of(battery: DeyeInverter, key: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a number can be set to."""
    setting = battery.setting(key)
    assert isinstance(setting, NumberSetting)
    return setting.minimum, setting.maximum


@both_ways
@pytest.mark.parametrize("key", ["charge_current_limit", "discharge_current_limit"])
async def test_a_current_limit_that_was_lowered_can_be_restored(
    way: str, key: str
) -> None:
    """Also after a restart: a single-phase inverter of 16 kW has 290 A."""
    options: dict[str, Any] = {
        "plant": house(phases=1),
        "variant": "single",
        "rated_power": 16_000,
        "max_current": 290,
        "settings": {210: 290, 211: 290},
    }
    async with simulator(way, **options) as inverter:
        async with connected(inverter) as battery:
            await battery.read()
            await battery.set_value(key, 200)
        async with connected(inverter) as battery:
            await battery.read()
            for amps in (250, 290):
                await battery.set_value(key, amps)
                await battery.read([key])
                assert await battery.get(key) == amps
            with pytest.raises(InvalidValueError):
                await battery.set_value(key, 351)


@both_ways
async def test_more_pv_than_the_rated_power_can_be_set(way: str) -> None:
    """A 12K that is set to 15,600 W of PV, and a register that no one would expect."""
    async with on_image(vector(MIDDAY, r340=15_600), way) as (battery, units):
        await battery.read()
        for watts in (12_000, 15_600):
            await battery.set_value("max_solar_power", watts)
            assert units.units[1][340] == watts
        assert range_of(battery, "max_solar_power") == (0, 32_000)
    async with on_image(vector(MIDDAY, r340=40_000), way) as (battery, _):
        await battery.read()
        assert range_of(battery, "max_solar_power") == (0, 40_000)


async def test_high_voltage_inverters_take_pv_in_tens_of_watts() -> None:
    """Up to 128 kW by 10 W."""
    async with on_image(vector(HIGH_VOLTAGE, r340=12_800)) as (battery, units):
        await battery.set_value("max_solar_power", 60_000)
        assert units.units[1][340] == 6000
        assert range_of(battery, "max_solar_power") == (0, 128_000)


async def test_a_power_beyond_the_rated_one_stays_in_range() -> None:
    """The sell limit and the slots of a 12K, set to more at the display."""
    async with on_image(vector(MIDDAY, r143=15_000, r154=13_000)) as (battery, _):
        await battery.read()
        assert range_of(battery, "max_sell_power") == (0, 15_000)
        assert range_of(battery, "tou_1_power") == (0, 13_000)
        assert range_of(battery, "tou_2_power") == (0, 12_000)
