"""Batteries at one address, such as inverters behind one gateway.

A gateway measures the house for all of them, and only the first shows that: the energy
dashboard would count it twice. The first is the enabled entry that was added before the
others. So it stays the same over restarts, and entries need not know of each other; when
it is disabled or removed, the next one is set up again, with the house.
"""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
)
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .const import CONF_BATTERY_TYPE, DOMAIN, ControlMode
from .data import HomeBatteryConfigEntry

_ADDRESS: Final = (CONF_BATTERY_TYPE, CONF_HOST, CONF_PORT)


@callback
def entries_at(
    hass: HomeAssistant, data: Mapping[str, Any], *, include_disabled: bool
) -> list[ConfigEntry]:
    """Return the entries of the same kind at the address in `data`, oldest first."""
    return [
        entry
        for entry in hass.config_entries.async_entries(
            DOMAIN, include_ignore=False, include_disabled=include_disabled
        )
        if all(entry.data.get(name) == data.get(name) for name in _ADDRESS)
    ]


@callback
def is_first(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    """Return whether an entry is the first of the enabled ones at its address."""
    return entries_at(hass, entry.data, include_disabled=False)[:1] in ([entry], [])


@callback
def has_other_rank(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> bool:
    """Return whether an entry behind a gateway has become the first, or is no longer."""
    battery = entry.runtime_data.battery
    return battery.gateway is not None and battery.is_first != is_first(hass, entry)


@callback
def async_watch(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Set an entry up again when it has become the first, or is no longer.

    Not while the battery is held: its setpoint would be lost.
    """

    @callback
    def check(_change: ConfigEntryChange, _changed: ConfigEntry) -> None:
        is_free = entry.runtime_data.control.mode is ControlMode.AUTOMATIC
        if is_free and has_other_rank(hass, entry):
            hass.config_entries.async_schedule_reload(entry.entry_id)

    entry.async_on_unload(
        async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, check)
    )
