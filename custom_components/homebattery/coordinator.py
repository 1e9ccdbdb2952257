"""The coordinator that polls one battery."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain
import logging
import math
from typing import Any, Final, override

from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed
from homeassistant.util import dt as dt_util

from .const import (
    BATTERY_POWER,
    BATTERY_SOC,
    BATTERY_VOLTAGE,
    CONF_SCAN_INTERVAL,
    ENERGY_CHARGED_TOTAL,
    ENERGY_DISCHARGED_TOTAL,
    ENTITY_KEYS,
    RATED_CAPACITY,
    REFUSED_SCAN_INTERVAL,
    SCAN_INTERVAL,
    SLOW_SCAN_INTERVAL,
)
from .drivers.battery.base import Battery
from .drivers.battery.readings import Readings
from .drivers.errors import (
    AnotherDeviceError,
    AuthenticationError,
    BatteryError,
    NotSupportedError,
)
from .drivers.measurements import MEASUREMENTS, Poll
from .errors import translated
from .recent_errors import RecentErrors

_LOGGER = logging.getLogger(__name__)

_ALWAYS_AT_START: Final = frozenset(
    {
        # Entities are made of them, or not, whether they are shown or not.
        *(BATTERY_POWER, BATTERY_SOC, BATTERY_VOLTAGE, RATED_CAPACITY),
        *(ENERGY_CHARGED_TOTAL, ENERGY_DISCHARGED_TOTAL),
        # The range of a setpoint may follow from them.
        *("charge_power_limit", "discharge_power_limit"),
    }
)
"""Keys that are read before the first states, enabled or not."""


class BatteryCoordinator(DataUpdateCoordinator[Readings]):
    """Poll one battery, and keep its latest readings.

    The first refresh reads what enabled entities show, so that their states are there
    soon. `async_read_rest` reads all else that the battery can measure, while polls go
    on: then `known` has the keys of all entities. Entities pass the keys they show
    as context (a tuple); a key that no entity shows is not read. Live values are read
    at each poll, the others once a minute, and a key that is new, or was written, at
    the next poll. `data` keeps the last value of each key, and in its failures those
    keys that cannot be read at present.

    One missed poll is not shown: networks and devices hiccup, and a battery that
    flickers to 'unavailable' every few minutes is of no use to an automation.
    """

    config_entry: ConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, battery: Battery
    ) -> None:
        """Prepare to poll."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=timedelta(
                seconds=entry.options.get(CONF_SCAN_INTERVAL, SCAN_INTERVAL)
            ),
        )
        self.battery = battery
        self.data = Readings()
        self.recent_errors = RecentErrors()
        """The latest errors, also those of the control of the battery."""
        self.known: frozenset[str] = frozenset()
        """The measurements that the battery has, as far as they were read by now."""
        self.has_read_all = False
        """Whether all that the battery can measure was read."""
        self.last_fresh: datetime | None = None
        """The time of the last successful poll; None before the first."""
        self._poll_missed = False
        self._missed: set[str] = set()
        """Keys whose last read was the first to fail: read at the next poll."""
        self._rest: asyncio.Task[None] | None = None
        """The read of what the first one did not ask for; None before it has begun."""
        self._slow_round = -math.inf
        """Loop time, s, at which the slow keys were last due."""
        self._fresh: set[str] = set()
        """Keys that have been read since that time."""
        self._measurements: tuple[str, ...] = ()
        """The battery's measurements at the last poll."""
        self._polled: Mapping[Poll, frozenset[str]] | None = None
        """The subscribed keys by their poll rate; None: to be determined."""
        self._shown = (True, self.data)
        """Whether the last update was a success, and the data, as listeners know them."""
        self._changed: set[str] | None = None
        """The keys that are others since listeners were called before; None: all."""
        # A poll and a read after a write must not overtake each other.
        self._reading = asyncio.Lock()

    @override
    async def _async_update_data(self) -> Readings:
        async with self._reading:
            before, is_first = self._slow_round, self.last_fresh is None
            keys = self._due()
            try:
                readings = await self.battery.read(keys)
                self._check_first(readings)
            except BatteryError as err:
                self.recent_errors.note(err)
                if self.last_fresh is None or self._poll_missed:
                    if isinstance(err, AnotherDeviceError):
                        # An issue says so, also after polls that failed otherwise.
                        self.async_update_listeners()
                    raise self._failure(err) from err
                _LOGGER.debug("%s: missed a poll: %s", self.name, err)
                self._poll_missed = True
                return self.data
            self._poll_missed = False
            self.last_fresh = dt_util.utcnow()
            self._end_sign_in()
            merged = self._merged(readings)
            if is_first:
                self._note_known(readings)
                # Nothing was shown of them before, so the next poll asks for them.
                self._fresh.difference_update(readings.failures)
            elif self._slow_round != before and self.has_read_all:
                await self.battery.learn()
            elif self._slow_round != before:
                self.async_read_rest()
            return merged

    @callback
    def async_read_rest(self) -> None:
        """Begin to read, in the background, what the first read did not ask for.

        If that fails, it is tried again after the minute's poll.
        """
        if self._rest is None or self._rest.done():
            self._rest = self.config_entry.async_create_background_task(
                self.hass, self._async_read_rest(), f"{self.name} read of the rest"
            )

    async def _async_read_rest(self) -> None:
        """Read what was not read yet, while polls go on: on a slow device it takes long.

        The SOC is read with it: a device that refuses that, too, lacks nothing, but is
        ill.
        """
        while rest := set(self.battery.measurements) - self.known:
            try:
                readings = await self.battery.read({*rest, BATTERY_SOC})
            except BatteryError as err:
                self.recent_errors.note(err)
                _LOGGER.debug("%s: cannot read all yet: %s", self.name, err)
                return
            async with self._reading:
                # A poll meanwhile has read the others later.
                self.data = self._merged(readings.of(rest - self.data.keys()))
                self._note_known(readings)
        self.has_read_all = True
        self.async_update_listeners()

    def _note_known(self, readings: Readings) -> None:
        """Note the keys of readings as those that the battery has."""
        self.known = self.known.union(readings, readings.failures).intersection(
            self.battery.measurements
        )

    def _check_first(self, readings: Readings) -> None:
        """Raise the failure of a first read in which nothing but the identity came."""
        if self.last_fresh is None and not any(
            self.battery.poll_rate(key) is not Poll.ONCE for key in readings
        ):
            for err in readings.failures.values():
                raise err

    def _failure(self, err: BatteryError) -> HomeAssistantError:
        """Return the error of a failed poll; a refused password begins a sign-in.

        Polls go on: a device that starts, or is out of order, may refuse a password
        that is right. Home Assistant itself would not ask again until a new sign-in.
        """
        if not isinstance(err, AuthenticationError):
            return translated(UpdateFailed, self.name, err)
        self.config_entry.async_start_reauth(self.hass)
        failure = translated(UpdateFailed, self.name, err)
        failure.retry_after = REFUSED_SCAN_INTERVAL
        return failure

    def _end_sign_in(self) -> None:
        """Close the form of a new sign-in: the device takes the password."""
        for flow in self.config_entry.async_get_active_flows(
            self.hass, {SOURCE_REAUTH}
        ):
            self.hass.config_entries.flow.async_abort(flow["flow_id"])

    @property
    def is_fresh(self) -> bool:
        """Whether the last poll succeeded; False also while a failure is not shown."""
        return self.last_update_success and not self._poll_missed

    @property
    def subscribed(self) -> set[str]:
        """The keys that listeners show or need, as far as the battery has them."""
        return set().union(*self._by_rate().values())

    def can_measure(self, key: str) -> bool:
        """Return whether the battery had the measurement `key` at the last poll."""
        return key in self._measurements

    def _by_rate(self) -> Mapping[Poll, frozenset[str]]:
        """Return the subscribed keys that the battery has, by their poll rate.

        They are kept, for with a hundred entities that is half the work of a poll. They
        only change with the subscriptions, or when a key is missing from now on or is
        back.
        """
        measurements = self.battery.measurements
        if self._polled is None or measurements is not self._measurements:
            wanted = {key for keys in self.async_contexts() for key in keys}
            self._measurements = measurements
            rates = {
                key: self.battery.poll_rate(key)
                for key in wanted.intersection(measurements)
            }
            self._polled = {
                each: frozenset(key for key, rate in rates.items() if rate is each)
                for each in Poll
            }
        return self._polled

    @callback
    @override
    def async_add_listener(
        self, update_callback: CALLBACK_TYPE, context: Any = None
    ) -> Callable[[], None]:
        """Listen for readings of the keys in `context`."""
        remove = super().async_add_listener(update_callback, context)
        self._polled = None

        @callback
        def remove_listener() -> None:
            remove()
            self._polled = None

        return remove_listener

    def _due(self) -> set[str]:
        """Return the keys to read now."""
        now = self.hass.loop.time()
        if self.last_fresh is None:
            self._slow_round = now
            return self._shown_at_start()
        if now - self._slow_round >= SLOW_SCAN_INTERVAL:
            self._slow_round = now
            self._fresh.clear()
        keys = self._by_rate()
        new = keys[Poll.ONCE].difference(self.data.values_by_key)
        written = self.battery.take_written(chain.from_iterable(keys.values()))
        return written.union(keys[Poll.FAST], keys[Poll.SLOW] - self._fresh, new)

    def _shown_at_start(self) -> set[str]:
        """Return the keys of entities that are enabled, or will be when they are made."""
        entities = {
            entity.unique_id: not entity.disabled
            for entity in er.async_entries_for_config_entry(
                er.async_get(self.hass), self.config_entry.entry_id
            )
        }
        serial_number = self.battery.identity.serial_number
        return {
            key
            for key in self.battery.measurements
            if key in _ALWAYS_AT_START
            or entities.get(
                f"{serial_number}_{ENTITY_KEYS.get(key, key)}",
                MEASUREMENTS[key].enabled,
            )
        }

    def _merged(self, new: Readings) -> Readings:
        """Return the readings with the new ones in their place."""
        failures = {
            key: err
            for key, err in self.data.failures.items()
            if key not in new and key not in new.failures
        }
        # A block that fails is one error, however many keys come from it.
        for err in set(new.failures.values()):
            if not isinstance(err, NotSupportedError):
                self.recent_errors.note(err)
        missed = set()
        for key, err in new.failures.items():
            if (
                key in self.data
                and key not in self.data.failures
                and key not in self._missed
                and key in self.battery.measurements
            ):
                missed.add(key)
            else:
                failures[key] = err
        # A slow key that has failed for long waits a minute: a read may time out.
        self._fresh.update(new, new.failures)
        self._fresh -= missed
        self._missed = (self._missed - new.keys() - new.failures.keys()) | missed
        self._log(failures, new)
        # A key that the device turned out not to have is no longer polled.
        self._by_rate()
        return Readings({**self.data.values_by_key, **new.values_by_key}, failures)

    def _log(self, failures: dict[str, BatteryError], new: Readings) -> None:
        """Log once that keys are lost, and once that they are back."""
        lost = sorted(
            key
            for key, err in failures.items()
            if key not in self.data.failures
            and (key in self.data or not isinstance(err, NotSupportedError))
        )
        if lost:
            reason = failures[lost[0]]
            _LOGGER.info("%s: cannot read %s: %s", self.name, ", ".join(lost), reason)
        if back := sorted(self.data.failures.keys() & new.keys()):
            _LOGGER.info("%s: can read %s again", self.name, ", ".join(back))

    @callback
    @override
    def async_update_listeners(self) -> None:
        was_successful, before = self._shown
        self._shown = (self.last_update_success, self.data)
        self._changed = (
            self.data.changed_since(before)
            if self.last_update_success == was_successful
            else None
        )
        super().async_update_listeners()

    def has_changed(self, keys: Iterable[str]) -> bool:
        """Return whether any of the readings is another one since the last update.

        To be asked by listeners. True for all when polls begin or cease to fail.
        """
        return self._changed is None or not self._changed.isdisjoint(keys)

    def expire(self) -> None:
        """Let the next poll read slow values, too: they may be others now."""
        self._slow_round = -math.inf

    async def async_read_now(self, keys: Iterable[str]) -> None:
        """Read keys at once, after a write, and those that were written.

        The write itself has succeeded: a failure here is left to the next poll.
        """
        async with self._reading:
            written = self.battery.take_written(self.subscribed)
            try:
                readings = await self.battery.read(
                    written.union(keys).intersection(self.battery.measurements)
                )
            except BatteryError as err:
                self.recent_errors.note(err)
                _LOGGER.debug("%s: cannot read back: %s", self.name, err)
                return
            self.data = self._merged(readings)
        self.async_update_listeners()

    async def async_close(self) -> None:
        """Stop polling, and close the connection when the last poll has ended.

        A read of the rest ends with the connection, if it is still under way.
        """
        await self.async_shutdown()
        async with self._reading:
            await self.battery.close()
