"""Keys that are polled while a battery is held, and their last values."""

from typing import Final

from ..const import (
    BATTERY_POWER,
    BATTERY_SOC,
    BATTERY_VOLTAGE,
    GRID_POWER,
    MIN_SOC,
    POWER_SETPOINT,
)
from ..coordinator import BatteryCoordinator
from ..drivers.measurements import as_number
from .lease import Lease, Measured

READ_BACK: Final = (POWER_SETPOINT, BATTERY_POWER)
"""Keys that are read at once after a setpoint was written."""
_WATCHED: Final = (*READ_BACK, BATTERY_VOLTAGE, BATTERY_SOC, MIN_SOC)
"""Keys that are polled while a battery is held. Some drivers only notice another
controller by the setpoint that the device shows."""


def watched(lease: Lease | None) -> tuple[str, ...]:
    """Return the keys that are polled while a battery is held, or being released.

    The grid power costs some devices a request: it is read where it decides.
    """
    if lease is not None and lease.replaces_import:
        return (*_WATCHED, GRID_POWER)
    return _WATCHED


def measured(coordinator: BatteryCoordinator) -> Measured:
    """Return the values of the last poll by which a setpoint is evaluated."""
    failures = coordinator.data.failures
    held = coordinator.battery.held

    def is_lost(key: str) -> bool:
        return not coordinator.last_update_success or key in failures

    def last(key: str) -> float | None:
        return None if is_lost(key) else as_number(coordinator.data.get(key))

    return Measured(
        is_lost=is_lost(BATTERY_POWER),
        power=last(BATTERY_POWER),
        voltage=last(BATTERY_VOLTAGE),
        grid_power=last(GRID_POWER),
        soc=last(BATTERY_SOC),
        min_soc=max(last(MIN_SOC) or 0, coordinator.battery.discharge_floor),
        curtails_pv=held is not None and held.curtails_pv,
    )
