"""The scan for data loggers in the network, also for known ones at a new address.

A manifest cannot match them: they announce nothing, and their MAC addresses and host
names are not known. But they answer a broadcast.
"""

from datetime import datetime, timedelta
import logging
from typing import Final

from homeassistant.config_entries import (
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntry,
    ConfigEntryState,
)
from homeassistant.const import CONF_HOST, CONF_MAC
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.discovery_flow import async_create_flow
from homeassistant.helpers.event import async_track_time_interval

from .const import CONF_BATTERY_TYPE, CONF_LOGGER_SERIAL, DOMAIN
from .drivers import DRIVERS
from .drivers.solarman.discovery import PORT as LOGGER_PORT, Logger, discover

_LOGGER = logging.getLogger(__name__)

SCAN_INTERVAL: Final = timedelta(minutes=15)

BEHIND_LOGGERS: Final = tuple(
    driver for driver in DRIVERS.values() if LOGGER_PORT in driver.ports
)
"""The drivers of devices that may be behind a logger."""
_TYPES: Final = {driver.battery_type for driver in BEHIND_LOGGERS}


async def async_find_loggers() -> list[Logger]:
    """Return the loggers that answer; none where no request can be sent."""
    try:
        return await discover()
    except OSError as err:
        _LOGGER.debug("No search for loggers: %s", err)
        return []


def answers(entry: ConfigEntry) -> bool:
    """Return whether the device of an entry answers at its known address."""
    return (
        entry.state is ConfigEntryState.LOADED
        and entry.runtime_data.coordinator.last_update_success
    )


@callback
def async_scan_for_loggers(hass: HomeAssistant) -> None:
    """Scan for loggers every 15 minutes, while an inverter behind one is set up."""
    asked: set[Logger] = set()

    async def scan(_now: datetime | None = None) -> None:
        entries = [
            entry
            for entry in hass.config_entries.async_entries(
                DOMAIN, include_ignore=False, include_disabled=False
            )
            if entry.data[CONF_BATTERY_TYPE] in _TYPES
        ]
        if not entries:
            return
        known = {entry.data.get(CONF_LOGGER_SERIAL): entry for entry in entries}
        for logger in await async_find_loggers():
            entry = known.get(logger.serial)
            if entry is not None and (
                entry.data[CONF_HOST] == logger.address or answers(entry)
            ):
                continue
            # Loggers serve few clients: a foreign one is probed only once.
            if entry is None and logger in asked:
                continue
            asked.add(logger)
            async_create_flow(
                hass,
                DOMAIN,
                {"source": SOURCE_INTEGRATION_DISCOVERY},
                {CONF_HOST: logger.address, CONF_MAC: logger.mac},
            )

    hass.async_create_background_task(scan(), f"{DOMAIN} scans for loggers")
    async_track_time_interval(
        hass, scan, SCAN_INTERVAL, name="loggers", cancel_on_shutdown=True
    )
