"""Numbers: the setpoints, and the limits that a device lets its owner set."""

from collections.abc import Mapping
from datetime import timedelta
import math
from typing import Any, ClassVar, Final, override

from homeassistant.components.number import (
    NumberDeviceClass,
    NumberEntity,
    NumberMode,
    RestoreNumber,
)
from homeassistant.const import (
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfPower,
    UnitOfRatio,
    UnitOfTime,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import (
    BATTERY_VOLTAGE,
    CURRENT_SETPOINT,
    LONGEST_SETPOINT_TIMEOUT,
    POWER_SETPOINT,
    SETPOINT_DURATION,
)
from .data import HomeBatteryConfigEntry
from .drivers.battery import NumberSetting, SetpointLimits, as_number
from .drivers.measurements import MEASUREMENTS, Quantity
from .entity import ControlEntity, SettingEntity, battery_action

PARALLEL_UPDATES = 1

KINDS: Final[Mapping[Quantity, tuple[NumberDeviceClass | None, str | None]]] = {
    Quantity.POWER: (NumberDeviceClass.POWER, UnitOfPower.WATT),
    Quantity.CURRENT: (NumberDeviceClass.CURRENT, UnitOfElectricCurrent.AMPERE),
    Quantity.VOLTAGE: (NumberDeviceClass.VOLTAGE, UnitOfElectricPotential.VOLT),
    Quantity.SOC_LEVEL: (NumberDeviceClass.BATTERY, UnitOfRatio.PERCENTAGE),
    Quantity.PERCENT: (None, UnitOfRatio.PERCENTAGE),
    Quantity.DURATION: (NumberDeviceClass.DURATION, UnitOfTime.SECONDS),
    Quantity.COUNT: (None, None),
}
"""Device class and unit of the quantities that can be set."""

ATTR_CHARGES: Final = "charges_at_most"
ATTR_DISCHARGES: Final = "discharges_at_most"
ATTR_AT_ZERO: Final = "at_zero"
HOLDS: Final = "holds"

POWER_STEP: Final = 10
CURRENT_STEP: Final = 0.1
VOLTAGE_CHANGE: Final = 0.1
"""Share that the battery voltage must move until the current's range follows: a
range that moves with every poll would be written to the registry each time."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the numbers of a battery."""
    battery = entry.runtime_data.battery
    measurements = battery.measurements
    entities: list[NumberEntity] = [
        SettingNumber(entry, key, setting)
        for key, setting in battery.settings.items()
        if isinstance(setting, NumberSetting) and key in measurements
    ]
    if (limits := battery.setpoint_limits) is not None:
        entities.append(PowerSetpointNumber(entry, limits))
        entities.append(SetpointDurationNumber(entry, SETPOINT_DURATION, ()))
        if BATTERY_VOLTAGE in measurements:
            entities.append(CurrentSetpointNumber(entry, limits))
        if battery.setpoint_phases > 1:
            entities.extend(
                PhaseSetpointNumber(entry, phase, limits)
                for phase in range(1, battery.setpoint_phases + 1)
            )
    async_add_entities(entities)


class SettingNumber(SettingEntity, NumberEntity):
    """A number that is set on the device and stays there."""

    _attr_mode = NumberMode.BOX

    def __init__(
        self, entry: HomeBatteryConfigEntry, key: str, setting: NumberSetting
    ) -> None:
        """Describe the number of a setting."""
        super().__init__(entry, key)
        self._unlimited = setting.unlimited
        self._attr_device_class, self._attr_native_unit_of_measurement = KINDS[
            MEASUREMENTS[key].quantity
        ]
        self._attr_native_min_value = setting.minimum
        self._attr_native_max_value = setting.maximum
        self._attr_native_step = setting.step

    @property
    @override
    def native_value(self) -> float | None:
        value = self._value
        if value is None and self._unlimited and self._key in self.coordinator.data:
            return self.native_max_value
        return as_number(value)

    @override
    async def async_set_native_value(self, value: float) -> None:
        await self._async_set(value)


class SetpointNumber(ControlEntity, NumberEntity):
    """What the battery is held at; unknown while it is not.

    Setting it takes the battery into manual control.
    """

    quantity: ClassVar[Quantity]

    _attr_mode = NumberMode.BOX
    _unrecorded_attributes = frozenset({ATTR_CHARGES, ATTR_DISCHARGES, ATTR_AT_ZERO})

    def __init__(
        self,
        entry: HomeBatteryConfigEntry,
        key: str,
        keys: tuple[str, ...],
        limits: SetpointLimits,
    ) -> None:
        """Describe a setpoint; `limits` are those of its power, W."""
        super().__init__(entry, key, keys)
        self._limits = limits
        self._attr_device_class, self._attr_native_unit_of_measurement = KINDS[
            self.quantity
        ]

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        # The device may have learned more about itself, or been told.
        self._limits = self._battery.setpoint_limits or self._limits
        super()._handle_coordinator_update()

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        # In words, for who does not know which sign does what.
        return {
            ATTR_CHARGES: self.native_max_value,
            ATTR_DISCHARGES: -self.native_min_value,
            ATTR_AT_ZERO: HOLDS,
        }

    @property
    @override
    def _shown(self) -> object:
        return (super()._shown, self.native_min_value, self.native_max_value)


class PowerSetpointNumber(SetpointNumber):
    """Battery power, W: above zero charges, below zero discharges, zero holds."""

    quantity = Quantity.POWER

    _attr_native_step = POWER_STEP

    def __init__(
        self,
        entry: HomeBatteryConfigEntry,
        limits: SetpointLimits,
        key: str = POWER_SETPOINT,
    ) -> None:
        """Describe the power setpoint."""
        super().__init__(entry, key, (), limits)

    @property
    @override
    def native_min_value(self) -> float:
        return self._limits.minimum

    @property
    @override
    def native_max_value(self) -> float:
        return self._limits.maximum

    @property
    @override
    def native_value(self) -> float | None:
        return self._control.granted_power

    @battery_action
    @override
    async def async_set_native_value(self, value: float) -> None:
        await self._control.async_set_power(value)


class CurrentSetpointNumber(SetpointNumber):
    """Battery current (DC), A: above zero charges, below zero discharges."""

    quantity = Quantity.CURRENT

    _attr_entity_registry_enabled_default = False
    _attr_native_step = CURRENT_STEP

    def __init__(self, entry: HomeBatteryConfigEntry, limits: SetpointLimits) -> None:
        """Describe the current setpoint."""
        super().__init__(entry, CURRENT_SETPOINT, (BATTERY_VOLTAGE,), limits)
        self._voltage = 0.0
        self._look()

    def _look(self) -> None:
        """Follow the battery voltage when it has moved far."""
        voltage = as_number(self.coordinator.data.get(BATTERY_VOLTAGE))
        if voltage is not None and (
            abs(voltage - self._voltage) > VOLTAGE_CHANGE * self._voltage
        ):
            self._voltage = voltage

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        self._look()
        super()._handle_coordinator_update()

    @property
    @override
    def available(self) -> bool:
        return super().available and self._voltage > 0

    @property
    @override
    def native_min_value(self) -> float:
        return math.ceil(self._limits.minimum / self._voltage) if self._voltage else 0

    @property
    @override
    def native_max_value(self) -> float:
        return math.floor(self._limits.maximum / self._voltage) if self._voltage else 0

    @property
    @override
    def native_value(self) -> float | None:
        return self._control.requested_current

    @battery_action
    @override
    async def async_set_native_value(self, value: float) -> None:
        await self._control.async_set_current(value)


class PhaseSetpointNumber(PowerSetpointNumber):
    """Battery power of one phase, W; the phases that were not set are held at 0."""

    _attr_entity_registry_enabled_default = False

    def __init__(
        self, entry: HomeBatteryConfigEntry, phase: int, limits: SetpointLimits
    ) -> None:
        """Describe the setpoint of a phase (1 to 3)."""
        super().__init__(entry, limits, f"{POWER_SETPOINT}_l{phase}")
        self._phase = phase

    @property
    @override
    def native_value(self) -> float | None:
        return self._control.requested_phase(self._phase)

    @property
    @override
    def _shown(self) -> object:
        return (super()._shown, self.native_value)

    @battery_action
    @override
    async def async_set_native_value(self, value: float) -> None:
        await self._control.async_set_phase(self._phase, value)


class SetpointDurationNumber(ControlEntity, RestoreNumber):
    """Minutes after which a setpoint ends by itself; 0 leaves that to the options."""

    _attr_device_class = NumberDeviceClass.DURATION
    _attr_mode = NumberMode.BOX
    _attr_native_min_value = 0
    _attr_native_max_value = LONGEST_SETPOINT_TIMEOUT // 60
    _attr_native_step = 1
    _attr_native_unit_of_measurement = UnitOfTime.MINUTES

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        if (last := await self.async_get_last_number_data()) and last.native_value:
            self._control.setpoint_duration = timedelta(minutes=last.native_value)

    @property
    @override
    def native_value(self) -> float:
        return self._control.setpoint_duration / timedelta(minutes=1)

    @property
    @override
    def _shown(self) -> object:
        return self.native_value

    @battery_action
    @override
    async def async_set_native_value(self, value: float) -> None:
        await self._control.async_set_setpoint_duration(timedelta(minutes=value))
