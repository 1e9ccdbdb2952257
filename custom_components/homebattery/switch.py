"""Switches: the settings of a device that are on or off."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.switch import SwitchEntity, SwitchEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .data import HomeBatteryConfigEntry
from .drivers.battery.settings import SwitchSetting
from .entity import HomeBatteryEntityDescription, SettingEntity, async_add, measured

PARALLEL_UPDATES = 1


@dataclass(frozen=True, kw_only=True)
class HomeBatterySwitchDescription(
    HomeBatteryEntityDescription, SwitchEntityDescription
):
    """Describe a switch of a battery."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the switches of a battery."""
    battery = entry.runtime_data.battery

    def settings_of(keys: Collection[str]) -> list[SettingSwitch]:
        return [
            SettingSwitch(entry, measured(HomeBatterySwitchDescription(key=key)))
            for key, setting in battery.settings.items()
            if isinstance(setting, SwitchSetting) and key in keys
        ]

    await async_add(entry, async_add_entities, settings_of)


class SettingSwitch(SettingEntity, SwitchEntity):
    """Turn a setting on or off, which stays on the device."""

    @property
    @override
    def is_on(self) -> bool | None:
        return None if self._value is None else bool(self._value)

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        await self._async_set(value=True)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        await self._async_set(value=False)
