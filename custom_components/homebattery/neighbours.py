"""Batteries behind one gateway, and batteries at one address.

A gateway measures the house for all inverters behind it, and one entry shows that: the
energy dashboard would count it twice. It is the oldest one that is set up, or may still
be. While that fails, as with an inverter that sleeps, the next one shows the house;
later it is set up again without, and then the older one with it: never both at once.

The gateway is known by its serial number, since its address may be spelled in several
ways, and the entries behind it by its device.
"""

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any, Final

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.util.hass_dict import HassKey

from .const import CONF_BATTERY_TYPE, DOMAIN, ControlMode
from .data import HomeBatteryConfigEntry
from .drivers.battery.measuring import Identity

_ADDRESS: Final = (CONF_BATTERY_TYPE, CONF_HOST, CONF_PORT)
_COMING: Final = (
    ConfigEntryState.NOT_LOADED,
    ConfigEntryState.SETUP_IN_PROGRESS,
    ConfigEntryState.UNLOAD_IN_PROGRESS,
)
"""The states of an entry that will be set up, or is set up again."""
_SHOWN_BY: Final = HassKey[dict[str, ConfigEntry]](f"{DOMAIN}_houses")
"""The entry that shows a house, or is about to, by its gateway's serial number."""


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
def async_claim_house(
    hass: HomeAssistant, entry: ConfigEntry, gateway: Identity
) -> bool:
    """Claim the house that a gateway measures, until the entry is unloaded.

    Returns False where another entry shows it, or an older one may.
    """
    if not _may_claim(hass, entry, gateway.serial_number):
        return False
    shown_by = hass.data.setdefault(_SHOWN_BY, {})
    shown_by[gateway.serial_number] = entry

    @callback
    def release() -> None:
        shown_by.pop(gateway.serial_number, None)

    entry.async_on_unload(release)
    return True


@callback
def has_other_rank(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> bool:
    """Return whether an entry has to show the house from now on, or no longer."""
    battery = entry.runtime_data.battery
    if battery.gateway is None or battery.shows_house is None:
        return False
    serial_number = battery.gateway.serial_number
    if battery.shows_house:
        return _has_older(hass, entry, serial_number, _is_set_up)
    return _may_claim(hass, entry, serial_number)


@callback
def async_watch(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Set an entry up again when it has to show the house, or no longer.

    Not while the battery is held: its setpoint would be lost.
    """

    @callback
    def check(_change: ConfigEntryChange, _changed: ConfigEntry) -> None:
        if (
            entry.state is ConfigEntryState.LOADED
            and entry.runtime_data.control.mode is ControlMode.AUTOMATIC
            and has_other_rank(hass, entry)
        ):
            hass.config_entries.async_schedule_reload(entry.entry_id)

    entry.async_on_unload(
        async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, check)
    )


def _may_claim(hass: HomeAssistant, entry: ConfigEntry, serial_number: str) -> bool:
    """Return whether no other entry shows the house, and no older one may."""
    shown_by = hass.data.get(_SHOWN_BY, {}).get(serial_number, entry)
    return shown_by is entry and not _has_older(
        hass, entry, serial_number, _may_be_set_up
    )


def _has_older(
    hass: HomeAssistant,
    entry: ConfigEntry,
    serial_number: str,
    condition: Callable[[HomeBatteryConfigEntry], bool],
) -> bool:
    """Return whether an older entry behind the gateway meets a condition."""
    gateways = dr.async_get(hass).async_get_devices(
        identifiers={(DOMAIN, serial_number)}
    )
    behind = {gateway.config_entry_id for gateway in gateways}
    entries = hass.config_entries.async_entries(
        DOMAIN, include_ignore=False, include_disabled=False
    )
    return any(
        other.entry_id in behind and condition(other)
        for other in takewhile(lambda other: other is not entry, entries)
    )


def _is_set_up(entry: HomeBatteryConfigEntry) -> bool:
    """Return whether an entry is set up, and has no meter of its own."""
    return (
        entry.state is ConfigEntryState.LOADED
        and entry.runtime_data.battery.shows_house is not None
    )


def _may_be_set_up(entry: HomeBatteryConfigEntry) -> bool:
    """Return whether an entry is, or will be."""
    return entry.state in _COMING or _is_set_up(entry)
