"""The device of a battery, and the scan for parts that were added to it."""

from datetime import datetime
import logging
from typing import Final

from homeassistant.const import CONF_MAC
from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.device_registry import (
    CONNECTION_NETWORK_MAC,
    DeviceInfo,
    format_mac,
)
from homeassistant.helpers.event import async_call_later

from .const import DOMAIN, ControlMode
from .data import HomeBatteryConfigEntry
from .drivers.absence import BACK_OFF
from .drivers.battery.base import Battery
from .drivers.battery.measuring import Identity
from .drivers.errors import BatteryError
from .neighbours import has_other_rank

_LOGGER = logging.getLogger(__name__)

_FIRST_SCANS: Final = tuple(pause + 10 for pause in BACK_OFF)
"""Seconds before each of the first checks for parts: what was refused at set-up is
asked again by polls a moment before."""
_STUCK_SCAN: Final = 20.0
"""Seconds between two checks of a battery that is held and has no controller."""


def device_name(identity: Identity) -> str:
    """Return the default name of a battery."""
    return identity.name or identity.model


@callback
def async_register(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, battery: Battery
) -> str:
    """Register the device of a battery, and of its gateway; return the battery's id."""
    devices = dr.async_get(hass)
    info = _device_info(entry, battery)
    if battery.gateway is not None:
        gateway = devices.async_get_or_create(
            config_entry_id=entry.entry_id, **_gateway_info(battery.gateway)
        )
        info["via_device_id"] = gateway.id
    device = devices.async_get_or_create(config_entry_id=entry.entry_id, **info)
    for other in dr.async_entries_for_config_entry(devices, entry.entry_id):
        if other.id not in (device.id, info.get("via_device_id")):
            _move_entities(hass, other.id, device.id)
            devices.async_remove_device(other.id)
    return device.id


def _move_entities(hass: HomeAssistant, source: str, target: str) -> None:
    """Move all entities of one device to another, as they are.

    Earlier versions made a device of each battery unit or pack.
    """
    entities = er.async_get(hass)
    for entity in er.async_entries_for_device(
        entities, source, include_disabled_entities=True
    ):
        entities.async_update_entity(entity.entity_id, device_id=target)


def device_info(entry: HomeBatteryConfigEntry) -> DeviceInfo:
    """Return the device that all entities of a battery belong to."""
    return _device_info(entry, entry.runtime_data.battery)


def _device_info(entry: HomeBatteryConfigEntry, battery: Battery) -> DeviceInfo:
    """Return the device of a battery.

    By its MAC address, where that is known, it is discovered again when its address in
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


def _gateway_info(gateway: Identity) -> DeviceInfo:
    """Return the device of a gateway: the battery's page names it."""
    return DeviceInfo(
        identifiers={(DOMAIN, gateway.serial_number)},
        manufacturer=gateway.manufacturer,
        model=gateway.model,
        name=gateway.name,
        serial_number=gateway.serial_number,
        sw_version=gateway.firmware,
    )


@callback
def async_scan_for_parts(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Check now and then for added parts, and reload the entry to set them up.

    Not while the battery is held: its setpoint would be lost. One that is held from an
    earlier run, and cannot be controlled by what it answered when it was set up, can
    only be released after that: it is checked often.
    """
    battery, control = entry.runtime_data.battery, entry.runtime_data.control
    intervals = iter(_FIRST_SCANS)
    next_scan: list[CALLBACK_TYPE] = []

    def may_reload() -> bool:
        return control.mode is ControlMode.AUTOMATIC or battery.controller is None

    def interval() -> float:
        if control.mode is ControlMode.MANUAL and battery.controller is None:
            return _STUCK_SCAN
        return next(intervals, battery.scan_interval)

    @callback
    def schedule() -> None:
        job = HassJob(scan, f"{entry.title} scan", cancel_on_shutdown=True)
        next_scan[:] = [async_call_later(hass, interval(), job)]

    async def scan(_now: datetime) -> None:
        schedule()
        if not may_reload():
            return
        try:
            is_new = has_other_rank(hass, entry) or await battery.has_new_parts()
        except BatteryError as err:
            _LOGGER.debug("%s: cannot check for new parts: %s", entry.title, err)
            return
        # A setpoint may have been set meanwhile.
        if is_new and may_reload():
            _LOGGER.info("%s: has new parts, is set up with them", entry.title)
            hass.config_entries.async_schedule_reload(entry.entry_id)

    @callback
    def stop() -> None:
        for cancel in next_scan:
            cancel()

    schedule()
    entry.async_on_unload(stop)
