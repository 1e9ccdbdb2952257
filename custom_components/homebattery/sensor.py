"""Sensors: what the battery measures, and how well it does what is asked of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorStateClass,
)
from homeassistant.const import (
    SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
    EntityCategory,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfEnergy,
    UnitOfFrequency,
    UnitOfInformation,
    UnitOfPower,
    UnitOfRatio,
    UnitOfReactivePower,
    UnitOfTemperature,
    UnitOfTime,
    UnitOfVolume,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import StateType

from .const import (
    BATTERY_POWER,
    CONTROL_STATUS,
    DEVICE_SETPOINT,
    ENERGY_CHARGED_TOTAL,
    ENERGY_DISCHARGED_TOTAL,
    FLASH_WRITES_TODAY,
    LAST_FRESH,
    POWER_SETPOINT,
    RATED_CAPACITY,
    SETPOINT_ENDS,
    ControlStatus,
)
from .counter import CounterEntity
from .data import HomeBatteryConfigEntry
from .drivers.battery import Battery
from .drivers.counters import is_counter
from .drivers.measurements import MEASUREMENTS, Quantity
from .energy import EnergyTotalSensor
from .entity import ControlEntity, HomeBatteryEntity

PARALLEL_UPDATES = 0

LAST_FRESH_STEP: Final = 300
"""Seconds."""

ATTR_REASON: Final = "reason"
ATTR_EXPIRES: Final = "expires"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a quantity is shown."""

    device_class: SensorDeviceClass | None = None
    state_class: SensorStateClass | None = SensorStateClass.MEASUREMENT
    unit: str | None = None
    precision: int | None = None
    suggested_unit: str | None = None


_TOTAL: Final = SensorStateClass.TOTAL_INCREASING
_ENERGY: Final = Kind(
    device_class=SensorDeviceClass.ENERGY,
    state_class=_TOTAL,
    unit=UnitOfEnergy.KILO_WATT_HOUR,
    precision=2,
)

KINDS: Final[Mapping[Quantity, Kind]] = {
    Quantity.POWER: Kind(
        device_class=SensorDeviceClass.POWER, unit=UnitOfPower.WATT, precision=0
    ),
    Quantity.REACTIVE_POWER: Kind(
        device_class=SensorDeviceClass.REACTIVE_POWER,
        unit=UnitOfReactivePower.VOLT_AMPERE_REACTIVE,
        precision=0,
    ),
    Quantity.POWER_FACTOR: Kind(
        device_class=SensorDeviceClass.POWER_FACTOR, precision=2
    ),
    Quantity.RESISTANCE: Kind(unit="MΩ", precision=2),
    Quantity.ENERGY_TOTAL: _ENERGY,
    Quantity.ENERGY_TODAY: _ENERGY,
    Quantity.ENERGY_SINCE_START: _ENERGY,
    Quantity.VOLTAGE: Kind(
        device_class=SensorDeviceClass.VOLTAGE,
        unit=UnitOfElectricPotential.VOLT,
        precision=1,
    ),
    Quantity.CELL_VOLTAGE: Kind(
        device_class=SensorDeviceClass.VOLTAGE,
        unit=UnitOfElectricPotential.VOLT,
        precision=3,
    ),
    Quantity.CURRENT: Kind(
        device_class=SensorDeviceClass.CURRENT,
        unit=UnitOfElectricCurrent.AMPERE,
        precision=1,
    ),
    Quantity.FREQUENCY: Kind(
        device_class=SensorDeviceClass.FREQUENCY,
        unit=UnitOfFrequency.HERTZ,
        precision=2,
    ),
    Quantity.TEMPERATURE: Kind(
        device_class=SensorDeviceClass.TEMPERATURE,
        unit=UnitOfTemperature.CELSIUS,
        precision=1,
    ),
    Quantity.SOC: Kind(
        device_class=SensorDeviceClass.BATTERY,
        unit=UnitOfRatio.PERCENTAGE,
        precision=0,
    ),
    Quantity.SOC_LEVEL: Kind(unit=UnitOfRatio.PERCENTAGE, precision=0),
    Quantity.PERCENT: Kind(unit=UnitOfRatio.PERCENTAGE, precision=0),
    Quantity.CHARGE: Kind(unit="Ah", precision=1),
    Quantity.CAPACITY: Kind(
        device_class=SensorDeviceClass.ENERGY_STORAGE,
        unit=UnitOfEnergy.KILO_WATT_HOUR,
        precision=1,
    ),
    Quantity.DURATION: Kind(
        device_class=SensorDeviceClass.DURATION,
        unit=UnitOfTime.SECONDS,
        precision=0,
        suggested_unit=UnitOfTime.MINUTES,
    ),
    Quantity.SIGNAL_STRENGTH: Kind(
        device_class=SensorDeviceClass.SIGNAL_STRENGTH,
        unit=SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
        precision=0,
    ),
    Quantity.PRICE: Kind(unit="EUR/kWh", precision=3),
    Quantity.VOLUME_GAS: Kind(
        device_class=SensorDeviceClass.GAS,
        state_class=_TOTAL,
        unit=UnitOfVolume.CUBIC_METERS,
        precision=2,
    ),
    Quantity.MEMORY: Kind(
        device_class=SensorDeviceClass.DATA_SIZE,
        unit=UnitOfInformation.BYTES,
        precision=0,
    ),
    Quantity.COUNT: Kind(precision=0),
    Quantity.CYCLES: Kind(state_class=_TOTAL, precision=0),
    Quantity.CODE: Kind(state_class=None),
    Quantity.TEXT: Kind(state_class=None),
    Quantity.STATUS: Kind(device_class=SensorDeviceClass.ENUM, state_class=None),
}
"""Every quantity that is a sensor; FLAG and PROBLEMS are binary sensors."""


_ENTITY_KEYS: Final = {POWER_SETPOINT: DEVICE_SETPOINT}
"""The keys of sensors that are not those of their measurements: a number has that."""


def sensor_keys(battery: Battery) -> list[str]:
    """Return the keys that a battery's sensors show.

    What can be set is a number, select or switch instead.
    """
    settings = battery.settings
    return [
        key
        for key in battery.measurements
        if MEASUREMENTS[key].quantity in KINDS and key not in settings
    ]


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the sensors of a battery."""
    battery = entry.runtime_data.battery
    measurements = battery.measurements
    energy = (ENERGY_CHARGED_TOTAL, ENERGY_DISCHARGED_TOTAL)
    entities: list[SensorEntity] = [
        (CounterSensor if is_counter(key) else MeasurementSensor)(entry, key)
        for key in sensor_keys(battery)
        if key not in energy
    ]
    entities.extend(
        EnergyTotalSensor(entry, key)
        for key in energy
        if {key, BATTERY_POWER}.intersection(measurements)
    )
    if battery.setpoint_limits is not None:
        entities.append(ControlStatusSensor(entry, CONTROL_STATUS, ()))
        entities.append(SetpointEndsSensor(entry, SETPOINT_ENDS, ()))
    if battery.capacity and RATED_CAPACITY not in measurements:
        entities.append(OwnersCapacitySensor(entry, RATED_CAPACITY, battery.capacity))
    entities.append(LastFreshSensor(entry, LAST_FRESH, ()))
    if battery.settings:
        entities.append(FlashWritesSensor(entry, FLASH_WRITES_TODAY, ()))
    async_add_entities(entities)


class MeasurementSensor(HomeBatteryEntity, SensorEntity):
    """A measurement, shown as its quantity is shown."""

    def __init__(self, entry: HomeBatteryConfigEntry, key: str) -> None:
        """Describe the sensor of a measurement."""
        super().__init__(entry, key, entity_key=_ENTITY_KEYS.get(key))
        kind = KINDS[MEASUREMENTS[key].quantity]
        self._attr_device_class = kind.device_class
        self._attr_state_class = kind.state_class
        self._attr_native_unit_of_measurement = kind.unit
        self._attr_suggested_display_precision = kind.precision
        self._attr_suggested_unit_of_measurement = kind.suggested_unit
        if kind.device_class is SensorDeviceClass.ENUM:
            self._attr_options = list(self._battery.options(key))

    @property
    @override
    def native_value(self) -> StateType:
        value = self._value
        if self._attr_device_class is SensorDeviceClass.ENUM:
            # A newer firmware may know states that nobody has named yet.
            value = value if value in (self._attr_options or ()) else None
        return None if isinstance(value, tuple) else value


class CounterSensor(CounterEntity, MeasurementSensor):
    """A counter of the device."""

    @property
    @override
    def native_value(self) -> StateType:
        return self.counted

    @property
    @override
    def _shown(self) -> object:
        return self.native_value


class OwnersCapacitySensor(MeasurementSensor):
    """What a full battery holds, as its owner says: the device does not tell."""

    def __init__(self, entry: HomeBatteryConfigEntry, key: str, capacity: int) -> None:
        """Describe the sensor of a capacity in Wh."""
        super().__init__(entry, key)
        # Who has entered it wants to see it.
        self._attr_entity_registry_enabled_default = True
        self._capacity = capacity

    @property
    @override
    def native_value(self) -> StateType:
        return self._capacity / 1000


class ControlStatusSensor(ControlEntity, SensorEntity):
    """How well the battery does what is asked of it."""

    _attr_device_class = SensorDeviceClass.ENUM
    _attr_options = [status.value for status in ControlStatus]

    @property
    @override
    def native_value(self) -> StateType:
        return self._control.status

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        return {ATTR_REASON: self._control.reason, ATTR_EXPIRES: self._control.expires}


class SetpointEndsSensor(ControlEntity, SensorEntity):
    """When the held setpoint ends by itself; unknown while it does not."""

    _attr_device_class = SensorDeviceClass.TIMESTAMP

    @property
    @override
    def native_value(self) -> datetime | None:
        return self._control.expires


class FlashWritesSensor(ControlEntity, SensorEntity):
    """How often flash of the device was written today: it wears."""

    _attr_entity_category = EntityCategory.DIAGNOSTIC
    _attr_state_class = SensorStateClass.TOTAL_INCREASING

    @property
    @override
    def native_value(self) -> StateType:
        return self._control.flash_writes_today

    @property
    @override
    def _shown(self) -> object:
        return self.native_value


class LastFreshSensor(HomeBatteryEntity, SensorEntity):
    """When the device was last read.

    In steps while all is well, or its history would be as long as that of all the
    rest together; to the second once a poll has failed.
    """

    _attr_device_class = SensorDeviceClass.TIMESTAMP
    _attr_entity_category = EntityCategory.DIAGNOSTIC

    @property
    @override
    def available(self) -> bool:
        return True

    @property
    @override
    def native_value(self) -> datetime | None:
        fresh = self.coordinator.last_fresh
        if fresh is None or not self.coordinator.is_fresh:
            return fresh
        return fresh - timedelta(seconds=fresh.timestamp() % LAST_FRESH_STEP)

    @property
    @override
    def _shown(self) -> object:
        return self.native_value
