"""Sensors: the measurements of a battery, and the status of its control."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
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
    UnitOfReactiveEnergy,
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
    ENERGY_CHARGED_TOTAL,
    ENERGY_DISCHARGED_TOTAL,
    ENTITY_KEYS,
    FLASH_WRITES_TODAY,
    LAST_FRESH,
    RATED_CAPACITY,
    SETPOINT_ENDS,
    ControlStatus,
)
from .coordinator import BatteryCoordinator
from .data import HomeBatteryConfigEntry, HomeBatteryData
from .drivers.battery.base import Battery
from .drivers.battery.counters import is_counter
from .drivers.measurements import MEASUREMENTS, Quantity
from .energy import CounterEntity, EnergyTotalSensor
from .entity import (
    ControlEntity,
    HomeBatteryEntity,
    HomeBatteryEntityDescription,
    async_add,
    measured,
)

PARALLEL_UPDATES = 0

LAST_FRESH_STEP: Final = 300
"""Seconds between two changes of the time of the last poll, while all is well."""

ATTR_REASON: Final = "reason"
ATTR_EXPIRES: Final = "expires"


type Attributes = Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class HomeBatterySensorDescription(
    HomeBatteryEntityDescription, SensorEntityDescription
):
    """Describe the sensor of a measurement."""


@dataclass(frozen=True, kw_only=True)
class StateSensorDescription(HomeBatterySensorDescription):
    """Describe a sensor of the integration's own data of a battery."""

    exists_fn: Callable[[Battery], bool] = lambda _: True
    value_fn: Callable[[HomeBatteryData], StateType | datetime]
    attributes_fn: Callable[[HomeBatteryData], Attributes] = lambda _: None


_ENERGY: Final = HomeBatterySensorDescription(
    key="energy",
    device_class=SensorDeviceClass.ENERGY,
    state_class=SensorStateClass.TOTAL_INCREASING,
    native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
    suggested_display_precision=2,
)
KINDS: Final[Mapping[Quantity, HomeBatterySensorDescription]] = {
    Quantity.POWER: HomeBatterySensorDescription(
        key="power",
        device_class=SensorDeviceClass.POWER,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfPower.WATT,
        suggested_display_precision=0,
    ),
    Quantity.REACTIVE_POWER: HomeBatterySensorDescription(
        key="reactive_power",
        device_class=SensorDeviceClass.REACTIVE_POWER,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfReactivePower.VOLT_AMPERE_REACTIVE,
        suggested_display_precision=0,
    ),
    Quantity.REACTIVE_ENERGY: HomeBatterySensorDescription(
        key="reactive_energy",
        device_class=SensorDeviceClass.REACTIVE_ENERGY,
        # Inductive and capacitive energy may cancel each other.
        state_class=SensorStateClass.TOTAL,
        native_unit_of_measurement=UnitOfReactiveEnergy.KILO_VOLT_AMPERE_REACTIVE_HOUR,
        suggested_display_precision=2,
    ),
    Quantity.POWER_FACTOR: HomeBatterySensorDescription(
        key="power_factor",
        device_class=SensorDeviceClass.POWER_FACTOR,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=2,
    ),
    Quantity.RESISTANCE: HomeBatterySensorDescription(
        key="resistance",
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement="MΩ",
        suggested_display_precision=2,
    ),
    Quantity.ENERGY_TOTAL: _ENERGY,
    Quantity.ENERGY_TODAY: _ENERGY,
    Quantity.ENERGY_SINCE_START: _ENERGY,
    Quantity.VOLTAGE: HomeBatterySensorDescription(
        key="voltage",
        device_class=SensorDeviceClass.VOLTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        suggested_display_precision=1,
    ),
    Quantity.CELL_VOLTAGE: HomeBatterySensorDescription(
        key="cell_voltage",
        device_class=SensorDeviceClass.VOLTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
        suggested_display_precision=3,
    ),
    Quantity.CURRENT: HomeBatterySensorDescription(
        key="current",
        device_class=SensorDeviceClass.CURRENT,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfElectricCurrent.AMPERE,
        suggested_display_precision=1,
    ),
    Quantity.FREQUENCY: HomeBatterySensorDescription(
        key="frequency",
        device_class=SensorDeviceClass.FREQUENCY,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfFrequency.HERTZ,
        suggested_display_precision=2,
    ),
    Quantity.TEMPERATURE: HomeBatterySensorDescription(
        key="temperature",
        device_class=SensorDeviceClass.TEMPERATURE,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfTemperature.CELSIUS,
        suggested_display_precision=1,
    ),
    Quantity.SOC: HomeBatterySensorDescription(
        key="soc",
        device_class=SensorDeviceClass.BATTERY,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        suggested_display_precision=0,
    ),
    Quantity.SOC_LEVEL: HomeBatterySensorDescription(
        key="soc_level",
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        suggested_display_precision=0,
    ),
    Quantity.PERCENT: HomeBatterySensorDescription(
        key="percent",
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
        suggested_display_precision=0,
    ),
    Quantity.CHARGE: HomeBatterySensorDescription(
        key="charge",
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement="Ah",
        suggested_display_precision=1,
    ),
    Quantity.CAPACITY: HomeBatterySensorDescription(
        key="capacity",
        device_class=SensorDeviceClass.ENERGY_STORAGE,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
        suggested_display_precision=1,
    ),
    Quantity.DURATION: HomeBatterySensorDescription(
        key="duration",
        device_class=SensorDeviceClass.DURATION,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        suggested_display_precision=0,
        suggested_unit_of_measurement=UnitOfTime.MINUTES,
    ),
    Quantity.TIMESTAMP: HomeBatterySensorDescription(
        key="timestamp", device_class=SensorDeviceClass.TIMESTAMP
    ),
    Quantity.SIGNAL_STRENGTH: HomeBatterySensorDescription(
        key="signal_strength",
        device_class=SensorDeviceClass.SIGNAL_STRENGTH,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
        suggested_display_precision=0,
    ),
    Quantity.PRICE: HomeBatterySensorDescription(
        key="price",
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement="EUR/kWh",
        suggested_display_precision=3,
    ),
    Quantity.VOLUME_GAS: HomeBatterySensorDescription(
        key="volume_gas",
        device_class=SensorDeviceClass.GAS,
        state_class=SensorStateClass.TOTAL_INCREASING,
        native_unit_of_measurement=UnitOfVolume.CUBIC_METERS,
        suggested_display_precision=2,
    ),
    Quantity.MEMORY: HomeBatterySensorDescription(
        key="memory",
        device_class=SensorDeviceClass.DATA_SIZE,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfInformation.BYTES,
        suggested_display_precision=0,
    ),
    Quantity.COUNT: HomeBatterySensorDescription(
        key="count",
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
    ),
    Quantity.CYCLES: HomeBatterySensorDescription(
        key="cycles",
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=0,
    ),
    Quantity.CODE: HomeBatterySensorDescription(key="code"),
    Quantity.TEXT: HomeBatterySensorDescription(key="text"),
    Quantity.STATUS: HomeBatterySensorDescription(
        key="status", device_class=SensorDeviceClass.ENUM
    ),
}
"""The sensor of each quantity; FLAG and PROBLEMS are binary sensors."""

CONTROL_SENSORS: Final = (
    StateSensorDescription(
        key=CONTROL_STATUS,
        device_class=SensorDeviceClass.ENUM,
        options=[status.value for status in ControlStatus],
        exists_fn=lambda battery: battery.setpoint_limits is not None,
        value_fn=lambda data: data.control.status,
        attributes_fn=lambda data: {
            ATTR_REASON: data.control.reason,
            ATTR_EXPIRES: data.control.expires,
        },
    ),
    # Unknown while the setpoint does not end by itself.
    StateSensorDescription(
        key=SETPOINT_ENDS,
        device_class=SensorDeviceClass.TIMESTAMP,
        exists_fn=lambda battery: battery.setpoint_limits is not None,
        value_fn=lambda data: data.control.expires,
    ),
    # Flash wears.
    StateSensorDescription(
        key=FLASH_WRITES_TODAY,
        entity_category=EntityCategory.DIAGNOSTIC,
        state_class=SensorStateClass.TOTAL_INCREASING,
        exists_fn=lambda battery: bool(battery.settings),
        value_fn=lambda data: data.control.flash_writes_today,
    ),
)
CONFIGURED_CAPACITY: Final = StateSensorDescription(
    key=RATED_CAPACITY,
    reads=(RATED_CAPACITY,),
    entity_category=EntityCategory.DIAGNOSTIC,
    device_class=SensorDeviceClass.ENERGY_STORAGE,
    state_class=SensorStateClass.MEASUREMENT,
    native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
    suggested_display_precision=1,
    # It is an option for where the device does not report it.
    exists_fn=lambda battery: (
        bool(battery.capacity) and RATED_CAPACITY not in battery.measurements
    ),
    value_fn=lambda data: (data.battery.capacity or 0) / 1000,
)
LAST_POLL: Final = StateSensorDescription(
    key=LAST_FRESH,
    entity_category=EntityCategory.DIAGNOSTIC,
    device_class=SensorDeviceClass.TIMESTAMP,
    value_fn=lambda data: last_fresh(data.coordinator),
)


def last_fresh(coordinator: BatteryCoordinator) -> datetime | None:
    """Return the time of the last successful poll.

    In steps while all is well, or its history would be as long as that of all the
    other sensors together; to the second once a poll has failed.
    """
    fresh = coordinator.last_fresh
    if fresh is None or not coordinator.is_fresh:
        return fresh
    return fresh - timedelta(seconds=fresh.timestamp() % LAST_FRESH_STEP)


def sensor_keys(battery: Battery) -> list[str]:
    """Return the measurements of a battery that are sensors.

    A setting is a number, select or switch instead.
    """
    settings = battery.settings
    return [
        key
        for key in battery.measurements
        if MEASUREMENTS[key].quantity in KINDS and key not in settings
    ]


def describe(battery: Battery, key: str) -> HomeBatterySensorDescription:
    """Return the description of the sensor of a measurement."""
    kind = KINDS[MEASUREMENTS[key].quantity]
    description = measured(replace(kind, key=key))
    if kind.device_class is SensorDeviceClass.ENUM:
        description = replace(description, options=list(battery.options(key)))
    return replace(description, key=ENTITY_KEYS.get(key, key))


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the sensors of a battery."""
    battery = entry.runtime_data.battery

    def measured_by(keys: Collection[str]) -> list[SensorEntity]:
        return [
            (CounterSensor if is_counter(key) else MeasurementSensor)(
                entry, describe(battery, key)
            )
            for key in sensor_keys(battery)
            if key in keys and key not in energy
        ]

    energy = (ENERGY_CHARGED_TOTAL, ENERGY_DISCHARGED_TOTAL)
    entities: list[SensorEntity] = [
        EnergyTotalSensor(entry, describe(battery, key))
        for key in energy
        if {key, BATTERY_POWER}.intersection(battery.measurements)
    ]
    entities.extend(
        ControlSensor(entry, description)
        for description in CONTROL_SENSORS
        if description.exists_fn(battery)
    )
    if CONFIGURED_CAPACITY.exists_fn(battery):
        entities.append(StateSensor(entry, CONFIGURED_CAPACITY))
    entities.append(LastPollSensor(entry, LAST_POLL))
    await async_add(entry, async_add_entities, measured_by, entities)


class MeasurementSensor(HomeBatteryEntity, SensorEntity):
    """Show a measurement."""

    @property
    @override
    def native_value(self) -> StateType | datetime:
        value = self._value
        if self.device_class is SensorDeviceClass.ENUM:
            # A newer firmware may have states that have no name here yet.
            value = value if value in (self.options or ()) else None
        return None if isinstance(value, tuple) else value


class CounterSensor(CounterEntity, MeasurementSensor):
    """Show a counter of the device."""

    @property
    @override
    def native_value(self) -> StateType:
        return self.counted

    @property
    @override
    def _shown(self) -> object:
        return self.native_value


class StateSensor(HomeBatteryEntity, SensorEntity):
    """Show the integration's own data of a battery."""

    _shows_readings_only = False
    entity_description: StateSensorDescription

    def __init__(
        self, entry: HomeBatteryConfigEntry, description: StateSensorDescription
    ) -> None:
        """Keep the data that the values are taken from."""
        super().__init__(entry, description)
        self._data = entry.runtime_data

    @property
    @override
    def native_value(self) -> StateType | datetime:
        return self.entity_description.value_fn(self._data)

    @property
    @override
    def extra_state_attributes(self) -> Attributes:
        return self.entity_description.attributes_fn(self._data)

    @property
    @override
    def _shown(self) -> object:
        return (self.native_value, self.extra_state_attributes)


class ControlSensor(StateSensor, ControlEntity):
    """Show the control of a battery."""


class LastPollSensor(StateSensor):
    """Show the time of the last successful poll, above all while polls fail."""

    @property
    @override
    def available(self) -> bool:
        return True
