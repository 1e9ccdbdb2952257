"""Names and numbers that several modules share."""

from enum import StrEnum
from typing import Final

from homeassistant.const import Platform

DOMAIN: Final = "homebattery"

PLATFORMS: Final = [
    Platform.BINARY_SENSOR,
    Platform.NUMBER,
    Platform.SELECT,
    Platform.SENSOR,
    Platform.SWITCH,
]

CONF_BATTERY_TYPE: Final = "battery_type"
CONF_LOGGER_SERIAL: Final = "logger_serial"
CONF_UNIT_ID: Final = "unit_id"

# Options. The limits and the capacity are also the names of a driver's arguments.
CONF_SCAN_INTERVAL: Final = "scan_interval"
CONF_MAX_CHARGE_POWER: Final = "max_charge_power"
CONF_MAX_DISCHARGE_POWER: Final = "max_discharge_power"
CONF_CAPACITY: Final = "capacity"
CONF_SETPOINT_TIMEOUT: Final = "setpoint_timeout"
"""Seconds after which a setpoint that is not set again is released; none: never."""

SCAN_INTERVAL: Final = 5
"""Seconds between polls of live values, by default."""
SHORTEST_SCAN_INTERVAL: Final = 2
LONGEST_SCAN_INTERVAL: Final = 300
SLOW_SCAN_INTERVAL: Final = 60
"""Seconds between polls of slow values: settings, limits, counters."""
REFUSED_SCAN_INTERVAL: Final = 60
"""Seconds between polls while the device refuses the password."""
SHORTEST_SETPOINT_TIMEOUT: Final = 10
"""Seconds; an automation cannot be relied on to set a setpoint again sooner."""
LONGEST_SETPOINT_TIMEOUT: Final = 7 * 24 * 3600

# Keys that this integration adds to the measurements of a device, or treats apart.
POWER_SETPOINT: Final = "power_setpoint"
CURRENT_SETPOINT: Final = "current_setpoint"
DEVICE_SETPOINT: Final = "device_setpoint"
"""The sensor of the device's own setpoint, which is measured as `power_setpoint`."""
ENTITY_KEYS: Final = {POWER_SETPOINT: DEVICE_SETPOINT}
"""The sensor's key by that of a measurement, where a number has the latter."""
SETPOINT_DURATION: Final = "setpoint_duration"
SETPOINT_ENDS: Final = "setpoint_ends"
CONTROL_MODE: Final = "control_mode"
CONTROL_STATUS: Final = "control_status"
FLASH_WRITES_TODAY: Final = "flash_writes_today"
LAST_FRESH: Final = "last_fresh"
WORKING_MODE: Final = "working_mode"
BATTERY_CHARGING: Final = "battery_charging"
BATTERY_POWER: Final = "battery_power"
BATTERY_SOC: Final = "battery_soc"
BATTERY_VOLTAGE: Final = "battery_voltage"
GRID_POWER: Final = "grid_power"
MIN_SOC: Final = "min_soc"
RATED_CAPACITY: Final = "rated_capacity"
ENERGY_CHARGED_TOTAL: Final = "energy_charged_total"
ENERGY_DISCHARGED_TOTAL: Final = "energy_discharged_total"


class ControlMode(StrEnum):
    """The controller of the battery."""

    AUTOMATIC = "automatic"
    """The inverter; nothing is written."""
    MANUAL = "manual"
    """The integration: the battery is held at a setpoint."""


class ControlStatus(StrEnum):
    """The status of a setpoint at the device."""

    AUTOMATIC = "automatic"
    """There is no setpoint."""
    PENDING = "pending"
    """Set, and not yet measured; or measured, and no longer certain to be held."""
    FOLLOWING = "following"
    LIMITED = "limited"
    """The device does less than asked: full, empty, hot, or not permitted more."""
    NOT_FOLLOWING = "not_following"
    """The device does something else, or its power cannot be measured."""
    RELEASE_FAILED = "release_failed"
    """The device could not be released to its own control; this is being retried."""


class Issue(StrEnum):
    """Name the repair issues about control by their translation keys."""

    RELEASE_FAILED = "release_failed"
    """The battery has not been released so far; this is being retried."""
    ORPHANED = "left_held"
    """The battery was removed and could not be released."""
    ANOTHER_DEVICE = "another_device"
    """Another device answers at the address of the battery."""
    OTHER_CONTROLLER = "other_controller"
    """Another controller takes the battery over, again and again."""
    LEASE_DAMAGED = "lease_damaged"
    """A file of the lease was damaged, and some of it is not known."""
