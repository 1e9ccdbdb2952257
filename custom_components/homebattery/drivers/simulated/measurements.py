"""The measurements of a simulated battery, and the house around it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from ..measurements import Poll, Value
from .device import (
    CHARGE_LIMIT,
    CHOICES,
    EXTERNAL_CONTROL,
    MIN_SOC,
    MODE,
    TOTALS,
    SimulatedDevice,
)

type _Value = Callable[[SimulatedDevice], Value]

BATTERY_STATUS: Final = ("idle", "charging", "discharging")
OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    MODE: (*CHOICES, EXTERNAL_CONTROL),
    "battery_status": BATTERY_STATUS,
}
"""The states of each measurement that has some."""

_COOL: Final = 21.0
"""°C of a battery at rest, and"""
_WARMER: Final = 6.0
"""K that it is warmer at its full power."""
_AT_REST: Final = 5.0
"""W below which a battery is idle."""


def _status(device: SimulatedDevice) -> Value:
    power = device.plant.battery
    idle, charging, discharging = BATTERY_STATUS
    if abs(power) < _AT_REST:
        return idle
    return charging if power > 0 else discharging


def _temperature(device: SimulatedDevice) -> Value:
    plant = device.plant
    return round(_COOL + _WARMER * abs(plant.battery) / plant.max_charge, 1)


def _setpoint(device: SimulatedDevice) -> Value:
    return device.setpoint if device.mode == EXTERNAL_CONTROL else None


def _setting(key: str) -> _Value:
    return lambda device: device.settings[key]


_FAST: Final[Mapping[str, _Value]] = {
    "battery_soc": lambda device: round(device.plant.soc, 1),
    "battery_power": lambda device: round(device.plant.battery),
    "battery_voltage": lambda device: round(device.plant.voltage, 2),
    "battery_current": lambda device: round(device.plant.current, 2),
    "battery_status": _status,
    "active_power": lambda device: 0 - round(sum(device.plant.inverter)),
    "grid_power": lambda device: round(sum(device.plant.grid)),
    "pv_power": lambda device: round(device.plant.pv),
    "load_power": lambda device: round(sum(device.plant.load)),
    "grid_voltage_l1": lambda device: device.plant.mains[0],
    "grid_frequency": lambda device: device.plant.frequency,
    MODE: _setting(MODE),
    "power_setpoint": _setpoint,
}
_SLOW: Final[Mapping[str, _Value]] = {
    "battery_temperature": _temperature,
    "max_charge_power": lambda device: round(device.plant.charge_limit),
    "max_discharge_power": lambda device: round(device.plant.discharge_limit),
    MIN_SOC: _setting(MIN_SOC),
    CHARGE_LIMIT: _setting(CHARGE_LIMIT),
    **{key: partial(SimulatedDevice.total, key=key) for key in TOTALS},
}
_ONCE: Final[Mapping[str, _Value]] = {
    "serial_number": lambda device: device.serial_number,
    "rated_capacity": lambda device: device.plant.capacity / 1000,
    "rated_power": lambda device: round(device.plant.max_charge),
}

VALUES: Final[Mapping[str, _Value]] = {**_FAST, **_SLOW, **_ONCE}
"""Each measurement by its key."""
POLLS: Final[Mapping[str, Poll]] = {
    **dict.fromkeys(_FAST, Poll.FAST),
    **dict.fromkeys(_SLOW, Poll.SLOW),
    **dict.fromkeys(_ONCE, Poll.ONCE),
}
"""The rate at which each is polled."""
