"""Binary sensors: what is wrong, yes or no, and whether the battery charges."""

from collections.abc import Mapping
from typing import Any, Final, override

from homeassistant.components.binary_sensor import BinarySensorEntity
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import BATTERY_CHARGING, BATTERY_POWER
from .data import HomeBatteryConfigEntry
from .drivers.battery import as_number
from .drivers.measurements import MEASUREMENTS, Quantity
from .entity import HomeBatteryEntity

PARALLEL_UPDATES = 0

CHARGING: Final = 20
"""W from which a battery counts as charging; less is its own consumption or noise."""
ATTR_ACTIVE: Final = "active"


DEVICE_CLASSES: Final[Mapping[str, BinarySensorDeviceClass]] = {
    "inverter_on": BinarySensorDeviceClass.RUNNING,
    "grid_connected": BinarySensorDeviceClass.CONNECTIVITY,
    "pv_connected": BinarySensorDeviceClass.CONNECTIVITY,
    "generator_connected": BinarySensorDeviceClass.CONNECTIVITY,
}
"""Those flags that are more than yes or no."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the binary sensors of a battery."""
    battery = entry.runtime_data.battery
    measurements, settings = battery.measurements, battery.settings
    entities: list[BinarySensorEntity] = []
    for key in measurements:
        quantity = MEASUREMENTS[key].quantity
        if quantity is Quantity.PROBLEMS:
            entities.append(ProblemSensor(entry, key))
        elif quantity is Quantity.FLAG and key not in settings:
            entities.append(FlagSensor(entry, key))
    if BATTERY_POWER in measurements:
        entities.append(ChargingSensor(entry, BATTERY_CHARGING, (BATTERY_POWER,)))
    async_add_entities(entities)


class FlagSensor(HomeBatteryEntity, BinarySensorEntity):
    """Yes or no, as the device says."""

    def __init__(self, entry: HomeBatteryConfigEntry, key: str) -> None:
        """Describe the sensor of a key."""
        super().__init__(entry, key)
        if device_class := DEVICE_CLASSES.get(key):
            self._attr_device_class = device_class

    @property
    @override
    def is_on(self) -> bool | None:
        return None if self._value is None else bool(self._value)


class ProblemSensor(FlagSensor):
    """On while something is wrong; what it is stands in an attribute."""

    _attr_device_class = BinarySensorDeviceClass.PROBLEM

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        return {ATTR_ACTIVE: self._value if isinstance(self._value, tuple) else ()}


class ChargingSensor(HomeBatteryEntity, BinarySensorEntity):
    """On while the battery charges, whatever it is charged from."""

    _attr_device_class = BinarySensorDeviceClass.BATTERY_CHARGING

    @property
    @override
    def is_on(self) -> bool | None:
        power = as_number(self.coordinator.data.get(BATTERY_POWER))
        return None if power is None else power >= CHARGING

    @property
    @override
    def _shown(self) -> object:
        return self.is_on
