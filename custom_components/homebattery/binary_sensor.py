"""Binary sensors: problems, flags, and whether the battery charges."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import BATTERY_CHARGING, BATTERY_POWER
from .data import HomeBatteryConfigEntry
from .drivers.battery.base import Battery
from .drivers.measurements import MEASUREMENTS, Quantity, Value, as_number
from .entity import HomeBatteryEntity, HomeBatteryEntityDescription, async_add, measured

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
"""The device classes of flags that are more than yes or no."""


def is_set(value: Value) -> bool | None:
    """Return a flag, or whether there are problems; None while it is not known."""
    return None if value is None else bool(value)


def is_charging(power: Value) -> bool | None:
    """Return whether a battery at this power, W, + = charging, counts as charging."""
    watts = as_number(power)
    return None if watts is None else watts >= CHARGING


@dataclass(frozen=True, kw_only=True)
class HomeBatteryBinarySensorDescription(
    HomeBatteryEntityDescription, BinarySensorEntityDescription
):
    """Describe a binary sensor of the measurement that it reads."""

    is_on_fn: Callable[[Value], bool | None] = is_set
    attributes_fn: Callable[[Value], Mapping[str, Any] | None] = lambda _: None


IS_CHARGING: Final = HomeBatteryBinarySensorDescription(
    key=BATTERY_CHARGING,
    reads=(BATTERY_POWER,),
    device_class=BinarySensorDeviceClass.BATTERY_CHARGING,
    is_on_fn=is_charging,
)


def describe_flag(key: str) -> HomeBatteryBinarySensorDescription:
    """Return the description of the sensor of a FLAG."""
    return measured(
        HomeBatteryBinarySensorDescription(
            key=key, device_class=DEVICE_CLASSES.get(key)
        )
    )


def describe_problems(key: str) -> HomeBatteryBinarySensorDescription:
    """Return the description of the sensor of PROBLEMS: an attribute names them."""
    return measured(
        HomeBatteryBinarySensorDescription(
            key=key,
            device_class=BinarySensorDeviceClass.PROBLEM,
            attributes_fn=lambda problems: {
                ATTR_ACTIVE: problems if isinstance(problems, tuple) else ()
            },
        )
    )


def descriptions(
    battery: Battery, keys: Collection[str]
) -> list[HomeBatteryBinarySensorDescription]:
    """Return the descriptions of a battery's binary sensors of these measurements."""
    settings = battery.settings
    described = []
    for key in battery.measurements:
        if key not in keys:
            continue
        quantity = MEASUREMENTS[key].quantity
        if quantity is Quantity.PROBLEMS:
            described.append(describe_problems(key))
        elif quantity is Quantity.FLAG and key not in settings:
            described.append(describe_flag(key))
    if BATTERY_POWER in keys:
        described.append(IS_CHARGING)
    return described


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the binary sensors of a battery."""
    battery = entry.runtime_data.battery

    def measured_by(keys: Collection[str]) -> list[HomeBatteryBinarySensor]:
        return [
            HomeBatteryBinarySensor(entry, description)
            for description in descriptions(battery, keys)
        ]

    await async_add(entry, async_add_entities, measured_by)


class HomeBatteryBinarySensor(HomeBatteryEntity, BinarySensorEntity):
    """Show a flag, the presence of problems, or whether the battery charges."""

    entity_description: HomeBatteryBinarySensorDescription

    @property
    @override
    def is_on(self) -> bool | None:
        return self.entity_description.is_on_fn(self._value)

    @property
    @override
    def extra_state_attributes(self) -> Mapping[str, Any] | None:
        return self.entity_description.attributes_fn(self._value)

    @property
    @override
    def _shown(self) -> object:
        return (self.is_on, self.extra_state_attributes)
