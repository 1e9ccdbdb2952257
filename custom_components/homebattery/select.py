"""Selects: the control mode, and the modes of the device itself."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, override

from homeassistant.components.select import SelectEntity, SelectEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import CONTROL_MODE, DOMAIN, WORKING_MODE, ControlMode
from .data import HomeBatteryConfigEntry
from .drivers.battery.settings import SelectSetting
from .entity import (
    ControlEntity,
    HomeBatteryEntityDescription,
    SettingEntity,
    async_add,
    battery_action,
    measured,
)

PARALLEL_UPDATES = 1


@dataclass(frozen=True, kw_only=True)
class HomeBatterySelectDescription(
    HomeBatteryEntityDescription, SelectEntityDescription
):
    """Describe a select of a battery."""


MODE: Final = HomeBatterySelectDescription(
    key=CONTROL_MODE, options=[mode.value for mode in ControlMode]
)


def describe(key: str, setting: SelectSetting) -> HomeBatterySelectDescription:
    """Return the description of the select of a setting."""
    return measured(
        HomeBatterySelectDescription(key=key, options=list(setting.options))
    )


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the selects of a battery."""
    battery = entry.runtime_data.battery

    def settings_of(keys: Collection[str]) -> list[SelectEntity]:
        return [
            SettingSelect(entry, describe(key, setting))
            for key, setting in battery.settings.items()
            if isinstance(setting, SelectSetting) and key in keys
        ]

    has_mode = battery.setpoint_limits is not None
    modes = [ControlModeSelect(entry, MODE)] if has_mode else []
    await async_add(entry, async_add_entities, settings_of, modes)


class SettingSelect(SettingEntity, SelectEntity):
    """Choose a mode that stays on the device."""

    @property
    @override
    def current_option(self) -> str | None:
        value = self._value
        return value if isinstance(value, str) and value in self.options else None

    @override
    async def async_select_option(self, option: str) -> None:
        # A release restores the working mode. Changing it under a setpoint would
        # either end the setpoint in silence or be undone by the release, so it is
        # refused.
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
    """Choose the controller of the battery: its inverter, or a setpoint."""

    @property
    @override
    def current_option(self) -> str:
        return self._control.mode

    @battery_action
    @override
    async def async_select_option(self, option: str) -> None:
        await self._control.async_set_mode(ControlMode(option))
