"""Uses a battery as control does, and checks that its values are possible ones."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
import json
from typing import Any

from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.readings import LONGEST_VALUE
from custom_components.homebattery.drivers.errors import BatteryError
from custom_components.homebattery.drivers.measurements import (
    MEASUREMENTS,
    MOST_POWER,
    PLAUSIBLE,
)


def is_possible(key: str, value: object) -> bool:
    """Return True for None, and for a value that Home Assistant can show."""
    quantity = MEASUREMENTS[key].quantity
    match value:
        case None | bool():
            return True
        case int() | float():
            lowest, highest = PLAUSIBLE.get(quantity, (-(2**64), 2**64))
            return lowest <= value <= highest
        case str():
            return value.isprintable() and len(value) <= LONGEST_VALUE
        case datetime():
            return value <= datetime.now(UTC)
        case tuple():
            return all(isinstance(each, str) and each.isprintable() for each in value)
    return False


async def read_all(battery: Battery) -> None:
    """Read whatever there is; raises AssertionError for an impossible value."""
    readings = await battery.read()
    for key, value in readings.items():
        assert is_possible(key, value), (key, value)
    for error in readings.failures.values():
        assert str(error).isprintable()
    for text in (battery.identity.name, battery.identity.firmware):
        assert text is None or text.isprintable()
    assert len(battery.parts) < 50
    json.dumps(battery.raw, allow_nan=False)
    if (limits := battery.setpoint_limits) is not None:
        assert -MOST_POWER <= limits.minimum <= 0 <= limits.maximum <= MOST_POWER


async def use(battery: Battery, power: float) -> None:
    """Use a battery as control does, step by step, also after one that fails."""
    steps: list[Callable[[], Any]] = [
        lambda: battery.set_power_setpoint(power),
        lambda: read_all(battery),
        lambda: battery.set_current_setpoint(power / 50),
        battery.refresh,
        battery.keep_alive,
        lambda: battery.set_power_setpoint_phase(power, 1),
        battery.is_held,
        battery.has_new_parts,
        battery.release,
        battery.take_snapshot,
    ]
    for step in steps:
        with suppress(BatteryError):
            await step()
