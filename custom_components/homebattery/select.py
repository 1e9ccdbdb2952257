"""Selects: who controls the battery, and the modes of the device itself."""

from typing import override

from homeassistant.components.select import SelectEntity
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import CONTROL_MODE, DOMAIN, WORKING_MODE, ControlMode
from .data import HomeBatteryConfigEntry
from .drivers.battery import SelectSetting
from .entity import ControlEntity, SettingEntity, battery_action

PARALLEL_UPDATES = 1


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the selects of a battery."""
    battery = entry.runtime_data.battery
    measurements = battery.measurements
    entities: list[SelectEntity] = [
        SettingSelect(entry, key, setting)
        for key, setting in battery.settings.items()
        if isinstance(setting, SelectSetting) and key in measurements
    ]
    if battery.setpoint_limits is not None:
        entities.append(ControlModeSelect(entry, CONTROL_MODE, ()))
    async_add_entities(entities)


class SettingSelect(SettingEntity, SelectEntity):
    """A mode that is set on the device and stays there."""

    def __init__(
        self, entry: HomeBatteryConfigEntry, key: str, setting: SelectSetting
    ) -> None:
        """Describe the select of a setting."""
        super().__init__(entry, key)
        self._attr_options = list(setting.options)

    @property
    @override
    def current_option(self) -> str | None:
        value = self._value
        return value if isinstance(value, str) and value in self.options else None

    @override
    async def async_select_option(self, option: str) -> None:
        # The working mode is what a release puts back. Changing it under a setpoint
        # would either end the setpoint in silence or be undone by the release, so
        # the owner is told instead.
        if self._key == WORKING_MODE and self._control.mode is ControlMode.MANUAL:
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="working_mode_in_manual",
                translation_placeholders={
                    "device": self.coordinator.config_entry.title
                },
            )
        await self._async_set(option)


class ControlModeSelect(ControlEntity, SelectEntity):
    """Who decides what the battery does: its inverter, or a setpoint."""

    _attr_options = [mode.value for mode in ControlMode]

    @property
    @override
    def current_option(self) -> str:
        return self._control.mode

    @battery_action
    @override
    async def async_select_option(self, option: str) -> None:
        await self._control.async_set_mode(ControlMode(option))
