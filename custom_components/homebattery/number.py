"""Numbers: the setpoints, and the settings of a device that are numbers."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
import math
from typing import Any, Final, override

from homeassistant.components.number import (
    NumberDeviceClass,
    NumberEntity,
    NumberEntityDescription,
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
from .control import Control
from .data import HomeBatteryConfigEntry
from .drivers.battery.base import SetpointLimits
from .drivers.battery.settings import NumberSetting
from .drivers.errors import InvalidValueError
from .drivers.measurements import MEASUREMENTS, Quantity, as_number
from .entity import (
    ATTR_KEY,
    ControlEntity,
    HomeBatteryEntity,
    HomeBatteryEntityDescription,
    SettingEntity,
    async_add,
    battery_action,
    measured,
)

PARALLEL_UPDATES = 1

ATTR_CHARGES: Final = "charges_at_most"
ATTR_DISCHARGES: Final = "discharges_at_most"
ATTR_AT_ZERO: Final = "at_zero"
HOLDS: Final = "holds"

POWER_STEP: Final = 10
CURRENT_STEP: Final = 0.1
STEP_DECIMALS: Final = 1
"""Decimals of the smallest step of a number, in its own unit."""
VOLTAGE_CHANGE: Final = 0.1
"""Share by which the battery voltage must change until the current's range follows:
a range that changes with every poll would be written to the registry each time."""


@dataclass(frozen=True, kw_only=True)
class HomeBatteryNumberDescription(
    HomeBatteryEntityDescription, NumberEntityDescription
):
    """Describe a number of a battery."""

    mode: NumberMode | None = NumberMode.BOX
    unlimited: bool = False
    """Whether the device can have no limit, which is shown as the maximum."""


@dataclass(frozen=True, kw_only=True)
class SetpointNumberDescription(HomeBatteryNumberDescription):
    """Describe a setpoint: `value_fn` returns the held one, `set_fn` holds another."""

    value_fn: Callable[[Control], float | None]
    set_fn: Callable[[Control, float], Awaitable[object]]


KINDS: Final[Mapping[Quantity, HomeBatteryNumberDescription]] = {
    Quantity.POWER: HomeBatteryNumberDescription(
        key="power",
        device_class=NumberDeviceClass.POWER,
        native_unit_of_measurement=UnitOfPower.WATT,
    ),
    Quantity.CURRENT: HomeBatteryNumberDescription(
        key="current",
        device_class=NumberDeviceClass.CURRENT,
        native_unit_of_measurement=UnitOfElectricCurrent.AMPERE,
    ),
    Quantity.VOLTAGE: HomeBatteryNumberDescription(
        key="voltage",
        device_class=NumberDeviceClass.VOLTAGE,
        native_unit_of_measurement=UnitOfElectricPotential.VOLT,
    ),
    Quantity.SOC_LEVEL: HomeBatteryNumberDescription(
        key="soc_level",
        device_class=NumberDeviceClass.BATTERY,
        native_unit_of_measurement=UnitOfRatio.PERCENTAGE,
    ),
    Quantity.PERCENT: HomeBatteryNumberDescription(
        key="percent", native_unit_of_measurement=UnitOfRatio.PERCENTAGE
    ),
    Quantity.DURATION: HomeBatteryNumberDescription(
        key="duration",
        device_class=NumberDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.SECONDS,
    ),
    Quantity.COUNT: HomeBatteryNumberDescription(key="count"),
}
"""The number of each quantity that can be set."""

POWER: Final = SetpointNumberDescription(
    key=POWER_SETPOINT,
    device_class=NumberDeviceClass.POWER,
    native_step=POWER_STEP,
    native_unit_of_measurement=UnitOfPower.WATT,
    value_fn=lambda control: (
        control.requested_power
        if control.granted_power is None
        else control.granted_power
    ),
    set_fn=lambda control, power: control.async_set_power(power),
)
"""Battery power: above zero charges, below zero discharges, zero holds. What is granted;
of a setpoint that waits its turn, what was asked for."""
CURRENT: Final = SetpointNumberDescription(
    key=CURRENT_SETPOINT,
    reads=(BATTERY_VOLTAGE,),
    device_class=NumberDeviceClass.CURRENT,
    entity_registry_enabled_default=False,
    native_step=CURRENT_STEP,
    native_unit_of_measurement=UnitOfElectricCurrent.AMPERE,
    value_fn=lambda control: control.requested_current,
    set_fn=lambda control, current: control.async_set_current(current),
)
"""Battery current (DC): above zero charges, below zero discharges."""
DURATION: Final = HomeBatteryNumberDescription(
    key=SETPOINT_DURATION,
    device_class=NumberDeviceClass.DURATION,
    native_min_value=0,
    native_max_value=LONGEST_SETPOINT_TIMEOUT // 60,
    native_step=1,
    native_unit_of_measurement=UnitOfTime.MINUTES,
)


def finite(key: str, value: float) -> float:
    """Return a number that is to be set; raises InvalidValueError for no number.

    Home Assistant compares it with minimum and maximum, which lets NaN pass.
    """
    if not math.isfinite(value):
        raise InvalidValueError(f"{key} cannot be {value}")
    return value


def describe(key: str, setting: NumberSetting) -> HomeBatteryNumberDescription:
    """Return the description of the number of a setting."""
    return measured(
        replace(
            KINDS[MEASUREMENTS[key].quantity],
            key=key,
            native_min_value=setting.minimum,
            native_max_value=setting.maximum,
            native_step=setting.step,
            unlimited=setting.unlimited,
        )
    )


def describe_phase(phase: int) -> SetpointNumberDescription:
    """Return the description of the setpoint of a phase (1 to 3).

    The phases that were not set are held at 0.
    """
    return replace(
        POWER,
        key=f"{POWER_SETPOINT}_l{phase}",
        entity_registry_enabled_default=False,
        value_fn=lambda control: control.requested_phase(phase),
        set_fn=lambda control, power: control.async_set_phase(phase, power),
    )


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the numbers of a battery."""
    battery = entry.runtime_data.battery

    def settings_of(keys: Collection[str]) -> list[NumberEntity]:
        return [
            SettingNumber(entry, describe(key, setting))
            for key, setting in battery.settings.items()
            if isinstance(setting, NumberSetting) and key in keys
        ]

    entities: list[NumberEntity] = []
    if (limits := battery.setpoint_limits) is not None:
        entities.append(SetpointNumber(entry, POWER, limits))
        entities.append(SetpointDurationNumber(entry, DURATION))
        if BATTERY_VOLTAGE in battery.measurements:
            entities.append(CurrentSetpointNumber(entry, CURRENT, limits))
        if battery.setpoint_phases > 1:
            entities.extend(
                SetpointNumber(entry, describe_phase(phase), limits)
                for phase in range(1, battery.setpoint_phases + 1)
            )
    await async_add(entry, async_add_entities, settings_of, entities)


class BatteryNumber(HomeBatteryEntity, NumberEntity):
    """Show a number in the unit that the user has chosen, as exact as in its own."""

    @property
    def _unit_shown(self) -> float:
        """The size of the unit that is shown, in the number's own; 1 for that one."""
        return self.convert_to_native_value(1)

    @property
    @override
    def native_step(self) -> float | None:
        # Home Assistant takes it to be in the unit that the user has chosen: in kW, a
        # slider would have steps of 10 kW.
        step, unit = super().native_step, self._unit_shown
        return step if step is None or unit == 1 else step / unit

    @override
    def _convert_to_state_value(
        self,
        value: float,
        method: Callable[[float, int], float],
        device_class: NumberDeviceClass | None,
    ) -> float:
        """Return a value in the unit that is shown, rounded by `method`.

        Home Assistant itself leaves it no more decimals than it has: of 1450 W, 1 kW.
        """
        unit = self._unit_shown
        if unit == 1:
            return value
        return method(value / unit, STEP_DECIMALS + max(0, math.ceil(math.log10(unit))))


class SettingNumber(SettingEntity, BatteryNumber):
    """Change a number that stays on the device."""

    entity_description: HomeBatteryNumberDescription

    @property
    def _range(self) -> tuple[float, float]:
        """The lowest and the highest value: more once the device has shown more."""
        setting = self._battery.setting(self._key)
        if isinstance(setting, NumberSetting):
            return setting.minimum, setting.maximum
        return super().native_min_value, super().native_max_value

    @property
    @override
    def native_min_value(self) -> float:
        return self._range[0]

    @property
    @override
    def native_max_value(self) -> float:
        return self._range[1]

    @property
    @override
    def native_value(self) -> float | None:
        value = self._value
        if value is None and self._is_unlimited:
            return self.native_max_value
        return as_number(value)

    @property
    def _is_unlimited(self) -> bool:
        """Whether None is a value that was read: no limit at all."""
        return self.entity_description.unlimited and self._key in self.coordinator.data

    @override
    async def async_set_native_value(self, value: float) -> None:
        await self._async_set(value)


class SetpointNumber(ControlEntity, BatteryNumber):
    """Hold the battery at a setpoint; unknown while it is not held.

    Setting it takes the battery into manual control. Its range is that of the power
    that the device and the options allow, W.
    """

    entity_description: SetpointNumberDescription

    _unrecorded_attributes = frozenset(
        {ATTR_KEY, ATTR_CHARGES, ATTR_DISCHARGES, ATTR_AT_ZERO}
    )

    def __init__(
        self,
        entry: HomeBatteryConfigEntry,
        description: SetpointNumberDescription,
        limits: SetpointLimits,
    ) -> None:
        """Begin with these limits of the power, W."""
        super().__init__(entry, description)
        self._limits = limits

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        # More may be known of the device's limits by now, or they have been changed.
        self._limits = self._battery.setpoint_limits or self._limits
        super()._handle_coordinator_update()

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
        return self.entity_description.value_fn(self._control)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        # In words, for users who do not know which sign charges.
        return {
            **(super().extra_state_attributes or {}),
            ATTR_CHARGES: self.native_max_value,
            ATTR_DISCHARGES: -self.native_min_value,
            ATTR_AT_ZERO: HOLDS,
        }

    @property
    @override
    def _shown(self) -> object:
        return (
            super()._shown,
            self.native_value,
            self.native_min_value,
            self.native_max_value,
        )

    @battery_action
    @override
    async def async_set_native_value(self, value: float) -> None:
        await self.entity_description.set_fn(
            self._control, finite(self.entity_description.key, value)
        )


class CurrentSetpointNumber(SetpointNumber):
    """Hold the battery at a current: its range follows the battery voltage."""

    def __init__(
        self,
        entry: HomeBatteryConfigEntry,
        description: SetpointNumberDescription,
        limits: SetpointLimits,
    ) -> None:
        """Begin with the voltage that was read last."""
        super().__init__(entry, description, limits)
        self._voltage = 0.0
        self._follow_voltage()

    def _follow_voltage(self) -> None:
        """Take the battery voltage when it has changed much."""
        voltage = as_number(self._value)
        if voltage is not None and (
            abs(voltage - self._voltage) > VOLTAGE_CHANGE * self._voltage
        ):
            self._voltage = voltage

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        self._follow_voltage()
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


class SetpointDurationNumber(ControlEntity, BatteryNumber, RestoreNumber):
    """Minutes after which a setpoint ends by itself; 0 leaves that to the options."""

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        last = await self.async_get_last_number_data()
        # Of a file, in which there may be anything.
        minutes = None if last is None else as_number(last.native_value)
        if minutes is not None and 0 < minutes <= self.native_max_value:
            self._control.setpoint_duration = timedelta(minutes=minutes)

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
        duration = timedelta(minutes=finite(self.entity_description.key, value))
        await self._control.async_set_setpoint_duration(duration)
