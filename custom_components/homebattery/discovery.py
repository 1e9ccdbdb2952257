"""The scan for data loggers in the network, also for known ones at a new address.

A manifest cannot match them: they announce nothing, and their MAC addresses and host
names are not known. But they answer a broadcast.
"""

from collections import deque
from datetime import datetime, timedelta
from itertools import islice
import logging
from typing import Final

from homeassistant.config_entries import (
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntry,
    ConfigEntryState,
)
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PORT
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.discovery_flow import async_create_flow
from homeassistant.helpers.event import async_track_time_interval

from .const import CONF_BATTERY_TYPE, CONF_LOGGER_SERIAL, DOMAIN
from .drivers import DRIVERS
from .drivers.detection import detect_at
from .drivers.solarman.discovery import PORT as LOGGER_PORT, Logger, discover

_LOGGER = logging.getLogger(__name__)

SCAN_INTERVAL: Final = timedelta(minutes=15)
MOST_FLOWS: Final = 8
"""Number of flows that one scan begins. The loggers of known inverters come first."""
MOST_REMEMBERED: Final = 256
"""Number of foreign loggers that are not probed again."""

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
    """Return whether the device of an entry answered the last poll."""
    return (
        entry.state is ConfigEntryState.LOADED
        and entry.runtime_data.coordinator.last_update_success
    )


async def async_serials_at(
    hass: HomeAssistant, entry: ConfigEntry, host: str
) -> set[str]:
    """Return the serial numbers of devices of an entry's kind at a host.

    They are asked by reading only, and without a password; some report none so.
    """
    driver = DRIVERS[entry.data[CONF_BATTERY_TYPE]]
    devices = await detect_at(
        host,
        entry.data.get(CONF_PORT, driver.ports[0]),
        [driver],
        async_get_clientsession(hass),
    )
    return {device.serial_number for device in devices if device.serial_number}


async def async_still_answers(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    """Return whether the device of an entry answers at its known address.

    While it is not polled, or a poll has failed, it is asked there once more.
    """
    if answers(entry):
        return True
    serials = await async_serials_at(hass, entry, entry.data[CONF_HOST])
    return entry.unique_id in serials


@callback
def async_scan_for_loggers(hass: HomeAssistant) -> None:
    """Scan for loggers every 15 minutes, while an inverter behind one is set up."""
    asked: deque[Logger] = deque(maxlen=MOST_REMEMBERED)

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

        def is_wanted(logger: Logger) -> bool:
            entry = known.get(logger.serial)
            if entry is None:
                # Loggers serve few clients: a foreign one is probed only once.
                return logger not in asked
            return entry.data[CONF_HOST] != logger.address and not answers(entry)

        loggers = sorted(
            await async_find_loggers(), key=lambda logger: logger.serial not in known
        )
        for logger in islice(filter(is_wanted, loggers), MOST_FLOWS):
            if logger.serial not in known:
                asked.append(logger)
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
