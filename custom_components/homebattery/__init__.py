"""Home batteries of several makers, with the same entities and actions.

Each entry is one battery: a driver that talks to it, a coordinator that polls it,
and a control that holds it at a setpoint and releases it.
"""

from collections.abc import Container
from datetime import datetime
from functools import partial
import logging
from typing import Final

from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import CALLBACK_TYPE, Event, HassJob, HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryError, ConfigEntryNotReady
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.typing import ConfigType
from homeassistant.setup import async_when_setup
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from . import device, frontend, neighbours, repairs
from .const import CONF_BATTERY_TYPE, DOMAIN, PLATFORMS, Issue
from .control import Control
from .control.store import LeaseStore
from .coordinator import BatteryCoordinator
from .data import HomeBatteryConfigEntry, HomeBatteryData
from .discovery import async_scan_for_loggers
from .drivers import DRIVERS
from .drivers.battery.base import Battery
from .drivers.battery.controller import DeviceIssue
from .drivers.battery.export import with_export
from .drivers.errors import AnotherDeviceError, AuthenticationError, BatteryError
from .errors import translated
from .learned import LearnedStore
from .services import async_setup_services

_LOGGER = logging.getLogger(__name__)

HELD_RETRY: Final = 10.0
"""Seconds until the set-up of a battery that is held is tried again."""
_RETRIES: Final = HassKey[dict[str, CALLBACK_TYPE]](DOMAIN)
"""The next tries of batteries that are held, each by its entry's id, to be cancelled."""

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, _config: ConfigType) -> bool:
    """Register the actions, start the scan for loggers, and serve the dashboard."""
    async_setup_services(hass)
    async_when_setup(hass, "frontend", frontend.async_serve)
    async_scan_for_loggers(hass)
    return True


async def async_migrate_entry(hass: HomeAssistant, entry: ConfigEntry) -> bool:
    """Bring an entry of an earlier version up to date; False if it is a later one's.

    1.2: whether a discharge may feed in is a choice of three, no longer yes or no.
    """
    if entry.version > 1:
        return False
    if entry.minor_version < 2:
        hass.config_entries.async_update_entry(
            entry, options=with_export(entry.options), minor_version=2
        )
    return True


async def async_setup_entry(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> bool:
    """Set up a battery."""
    _cancel_retry(hass, entry)
    try:
        await _async_set_up(hass, entry)
    except ConfigEntryNotReady:
        await _async_retry_if_held(hass, entry)
        raise
    return True


async def _async_set_up(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Connect to a battery, and start to poll and control it."""
    try:
        battery = _make_battery(hass, entry)
    except BatteryError as err:
        # A host, say, that there cannot be: only reconfiguring helps.
        raise translated(ConfigEntryError, entry.title, err) from err
    battery.claim_house = partial(neighbours.async_claim_house, hass, entry)
    learned = LearnedStore(hass, str(entry.unique_id))
    battery.recall(await learned.async_load())
    battery.keep_learned = learned.keep
    await _async_connect(hass, entry, battery)
    try:
        await _async_start(hass, entry, battery)
    except BaseException:
        await battery.close()
        raise


async def _async_retry_if_held(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry
) -> None:
    """Set a battery up as soon as it answers, if it is held from an earlier run.

    Home Assistant's own tries are minutes apart after a while; so long the battery
    would follow its last setpoint after it has become reachable.
    """
    store = LeaseStore(hass, str(entry.unique_id))
    await store.async_load()
    if store.content.snapshot is not None:
        _try_later(hass, entry)


@callback
def _try_later(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Read in a while, and set the battery up if that succeeds, else try again.

    Not by setting it up each time, which Home Assistant would log each time.
    """

    async def async_try(_now: datetime) -> None:
        _cancel_retry(hass, entry)
        try:
            async with _make_battery(hass, entry) as battery:
                await battery.read()
        except BatteryError as err:
            _LOGGER.debug("%s does not answer yet: %s", entry.title, err)
            answers = False
        else:
            answers = True
        # Neither while Home Assistant tries by itself, nor after the user's unloading.
        if entry.state is not ConfigEntryState.SETUP_RETRY:
            return
        if answers:
            hass.config_entries.async_schedule_reload(entry.entry_id)
        else:
            _try_later(hass, entry)

    _cancel_retry(hass, entry)
    hass.data.setdefault(_RETRIES, {})[entry.entry_id] = async_call_later(
        hass,
        HELD_RETRY,
        HassJob(async_try, f"{entry.title} retry", cancel_on_shutdown=True),
    )


@callback
def _cancel_retry(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Cancel the next try to set up a battery that is held."""
    if cancel := hass.data.get(_RETRIES, {}).pop(entry.entry_id, None):
        cancel()


def _make_battery(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> Battery:
    """Return the driver of a battery; nothing is sent."""
    battery = DRIVERS[entry.data[CONF_BATTERY_TYPE]].from_setup(
        {**entry.data, **entry.options}, session=async_get_clientsession(hass)
    )
    battery.identity_check.expected = entry.unique_id
    battery.local_time = dt_util.now
    return battery


async def _async_start(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, battery: Battery
) -> None:
    """Start polling a battery, and set up its entities."""
    coordinator = BatteryCoordinator(hass, entry, battery)
    await coordinator.async_config_entry_first_refresh()
    data = HomeBatteryData(
        battery=battery,
        coordinator=coordinator,
        control=Control(hass, entry, coordinator),
        device_id=device.async_register(hass, entry, battery),
    )
    entry.runtime_data = data
    await _async_forget_if_confirmed(hass, entry)
    await data.control.async_start()

    @callback
    def show_issues() -> None:
        issues: set[Issue | DeviceIssue] = {*battery.issues, *data.control.issues}
        show(issues, is_read=coordinator.has_read_all)

    @callback
    def show_remaining() -> None:
        # A battery that could not be released is still held.
        show(data.control.issues)

    @callback
    def show(issues: Container[Issue | DeviceIssue], *, is_read: bool = True) -> None:
        unknown = data.control.unknown
        repairs.show(hass, entry, issues, unknown=unknown, is_read=is_read)

    show_issues()
    entry.async_on_unload(coordinator.async_add_listener(show_issues))
    entry.async_on_unload(show_remaining)

    async def async_stop(_event: Event) -> None:
        # Entries are not unloaded when Home Assistant stops. At this event it still
        # waits for its listeners, and the network is still there.
        await data.async_close()

    entry.async_on_unload(
        hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, async_stop)
    )
    try:
        await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    except BaseException:
        await data.control.async_close()
        raise
    coordinator.async_read_rest()
    device.async_scan_for_parts(hass, entry)
    neighbours.async_watch(hass, entry)


async def _async_forget_if_confirmed(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry
) -> None:
    """Forget the snapshot of a removed battery that the user has set right by hand.

    Usually the flow of the repair issue does that. But without an entry, Home
    Assistant does not ask this integration: it takes the confirmation itself, and
    removes the issue.
    """
    store = LeaseStore(hass, str(entry.unique_id))
    await store.async_load()
    if store.content.orphaned and not repairs.is_shown(hass, entry, Issue.ORPHANED):
        _LOGGER.info(
            "%s: the user has confirmed its settings after it was removed", entry.title
        )
        await store.async_remove()


async def _async_connect(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, battery: Battery
) -> None:
    """Connect; raises when that fails, or when it is not the battery of this entry.

    A refused password is asked for, and tried again meanwhile: a device that starts may
    refuse the right one, and the battery may still be held.
    """
    try:
        await battery.connect()
    except AuthenticationError as err:
        entry.async_start_reauth(hass)
        raise translated(ConfigEntryNotReady, entry.title, err) from err
    except BatteryError as err:
        # Also another device at the address: the battery may be starting, or its
        # address may have been given to that device for a while.
        is_another = isinstance(err, AnotherDeviceError)
        repairs.update(hass, entry, Issue.ANOTHER_DEVICE, applies=is_another)
        raise translated(ConfigEntryNotReady, entry.title, err) from err


async def async_unload_entry(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry
) -> bool:
    """Unload a battery: release it, close the connection."""
    if not await hass.config_entries.async_unload_platforms(entry, PLATFORMS):
        return False
    await entry.runtime_data.async_close()
    return True


async def async_remove_entry(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry
) -> None:
    """Release a removed battery if it is still held, and forget it.

    The snapshot of one that cannot be released is kept: it is restored when the
    battery is added again.
    """
    _cancel_retry(hass, entry)
    await LearnedStore(hass, str(entry.unique_id)).async_remove()
    store = LeaseStore(hass, str(entry.unique_id))
    await store.async_load()
    if store.content.snapshot is not None and not await _async_release(
        hass, entry, store
    ):
        repairs.show(hass, entry, {Issue.ORPHANED})
        await store.async_mark_orphaned()
        return
    await store.async_remove()
    repairs.show(hass, entry, ())


async def _async_release(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, store: LeaseStore
) -> bool:
    """Release a battery whose entry is removed; return whether all is restored."""
    try:
        battery = _make_battery(hass, entry)
        async with battery:
            battery.snapshot, unknown = store.recover(battery)
            await battery.release()
            return not unknown
    except BatteryError as err:
        _LOGGER.error("%s could not be released: %s", entry.title, err)
    return False
