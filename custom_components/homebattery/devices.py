"""The devices of a battery: itself, and the parts that have an identity of their own."""

from datetime import datetime, timedelta
import logging
from typing import TYPE_CHECKING, Final

from homeassistant.const import CONF_MAC
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.device_registry import (
    CONNECTION_NETWORK_MAC,
    DeviceInfo,
    format_mac,
)
from homeassistant.helpers.event import async_track_time_interval

from .const import DOMAIN, ControlMode
from .drivers.battery import Battery, BatteryError, Identity, Part

if TYPE_CHECKING:
    from . import HomeBatteryConfigEntry

_LOGGER = logging.getLogger(__name__)

LOOK_INTERVAL: Final = timedelta(hours=1)


def device_name(identity: Identity) -> str:
    """Return what a battery is called unless its user calls it something else."""
    return identity.name or identity.model


@callback
def async_register(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, battery: Battery
) -> str:
    """Register a battery itself, to which its parts refer; return its device id."""
    device = dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id, **_whole(entry, battery)
    )
    return device.id


def device_info(entry: HomeBatteryConfigEntry, key: str) -> DeviceInfo:
    """Return the device that the entity of a key belongs to."""
    data = entry.runtime_data
    for part in data.parts:
        if key in part.keys:
            return _part(entry, part)
    return _whole(entry, data.battery)


def _whole(entry: HomeBatteryConfigEntry, battery: Battery) -> DeviceInfo:
    """Return the device of a battery itself, which is called like its entry.

    Its MAC address, where that is known, is how it is found again when its address in
    the network has changed.
    """
    identity = battery.identity
    mac = identity.mac or entry.data.get(CONF_MAC)
    host = f"[{battery.address}]" if ":" in battery.address else battery.address
    return DeviceInfo(
        identifiers={(DOMAIN, identity.serial_number)},
        connections={(CONNECTION_NETWORK_MAC, format_mac(mac))} if mac else set(),
        manufacturer=identity.manufacturer,
        model=identity.model,
        name=entry.title,
        serial_number=identity.serial_number,
        sw_version=identity.firmware,
        hw_version=identity.hardware,
        configuration_url=f"http://{host}/" if battery.web_page else None,
    )


def _part(entry: HomeBatteryConfigEntry, part: Part) -> DeviceInfo:
    """Return the device of a part."""
    data = entry.runtime_data
    return DeviceInfo(
        identifiers={_identifier(data.battery.identity, part)},
        manufacturer=part.manufacturer,
        model=part.model,
        serial_number=part.serial_number,
        sw_version=part.firmware,
        translation_key=part.kind,
        translation_placeholders={
            "device": entry.title,
            "number": str(part.number),
        },
        via_device_id=data.device_id,
    )


def _identifier(identity: Identity, part: Part) -> tuple[str, str]:
    """Return what a part is known by: its place, so that its successor goes on there."""
    return DOMAIN, f"{identity.serial_number}_{part.key}"


def is_present(entry: HomeBatteryConfigEntry, device: dr.DeviceEntry) -> bool:
    """Return True for the battery itself, and for the parts that it has."""
    data = entry.runtime_data
    identity = data.battery.identity
    present = {
        (DOMAIN, identity.serial_number),
        *(_identifier(identity, part) for part in data.parts),
    }
    return not present.isdisjoint(device.identifiers)


@callback
def async_look_for_parts(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Look now and then for parts that were added, and set the battery up with them.

    Not while it is held: its setpoint would be lost.
    """
    battery, control = entry.runtime_data.battery, entry.runtime_data.control

    async def look(_now: datetime) -> None:
        if control.mode is ControlMode.MANUAL:
            return
        try:
            is_new = await battery.has_new_parts()
        except BatteryError as err:
            _LOGGER.debug("%s: cannot look for new parts: %s", entry.title, err)
            return
        # It may have been told a setpoint meanwhile.
        if is_new and control.mode is ControlMode.AUTOMATIC:
            _LOGGER.info("%s: has new parts, is set up with them", entry.title)
            hass.config_entries.async_schedule_reload(entry.entry_id)

    entry.async_on_unload(
        async_track_time_interval(hass, look, LOOK_INTERVAL, cancel_on_shutdown=True)
    )
