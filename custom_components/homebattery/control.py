"""Holds a battery at a setpoint, renews it, and gives the battery back.

A setpoint is a lease: from the first write until the device has been put back as
it was found, read back and confirmed. All writes of a lease happen here, one at a
time, and none of them waits for a poll.
"""

import asyncio
from datetime import datetime, timedelta
import logging
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers.event import async_call_later, async_track_time_interval
from homeassistant.helpers.storage import Store

from .const import (
    BATTERY_POWER,
    BATTERY_SOC,
    BATTERY_VOLTAGE,
    DOMAIN,
    MIN_SOC,
    POWER_SETPOINT,
    ControlMode,
    ControlStatus,
)
from .coordinator import BatteryCoordinator
from .drivers.battery import BatteryError, Found, NotSupportedError, as_number
from .lease import Lease, Measured

if TYPE_CHECKING:
    from . import HomeBatteryConfigEntry

_LOGGER = logging.getLogger(__name__)

SETTLED: Final = 1.5
"""Seconds after a change until it is renewed and read back once more. The device's
own loop may land its last setpoint after our first."""
RETRY: Final = 30.0
"""Seconds until a release, or a setpoint the device may have missed, is tried again."""

STORAGE_VERSION: Final = 1

_READ_BACK: Final = (POWER_SETPOINT, BATTERY_POWER)
_LOOKED_AT: Final = (BATTERY_POWER, BATTERY_VOLTAGE, BATTERY_SOC, MIN_SOC)


def found_store(hass: HomeAssistant, entry_id: str) -> Store[Found]:
    """Return where it is kept what a device has to be given back."""
    return Store(hass, STORAGE_VERSION, f"{DOMAIN}.{entry_id}")


class Control:
    """Who decides what one battery does: the inverter, or a setpoint of ours."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: HomeBatteryConfigEntry,
        coordinator: BatteryCoordinator,
    ) -> None:
        """Begin with the battery left alone."""
        self._hass = hass
        self._entry = entry
        self._coordinator = coordinator
        self._battery = coordinator.battery
        self._store = found_store(hass, entry.entry_id)
        self._stored: Found | None = None
        self._lease: Lease | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self._ticking = False
        self._failing = False
        self._interval: float | None = None
        """Seconds between two ticks; None while there is nothing to do."""
        self._cancel: list[CALLBACK_TYPE] = []
        self._cancel_settled: CALLBACK_TYPE | None = None

    # What is asked, and how it goes

    @property
    def mode(self) -> ControlMode:
        """Who decides; manual until the battery has really been given back."""
        if self._lease is None and self._battery.found is None:
            return ControlMode.AUTOMATIC
        return ControlMode.MANUAL

    @property
    def requested_power(self) -> int | None:
        """The power asked for, W, + = charging; None in automatic."""
        return None if self._lease is None else self._lease.power

    @property
    def requested_current(self) -> float | None:
        """The battery current asked for, A; None unless a current was."""
        return None if self._lease is None else self._lease.current

    @property
    def granted_power(self) -> int | None:
        """What the device was told in the end, W; None in automatic."""
        return None if self._lease is None else self._lease.granted

    @property
    def status(self) -> ControlStatus:
        """How well the device does what is asked of it, as far as can be seen."""
        if self._lease is not None:
            return self._lease.status(self._hass.loop.time(), self._measured)
        if self._battery.found is not None:
            return ControlStatus.RELEASE_FAILED
        return ControlStatus.AUTOMATIC

    @property
    def _measured(self) -> Measured:
        coordinator = self._coordinator

        def last(key: str) -> float | None:
            if not coordinator.last_update_success or key in coordinator.data.failures:
                return None
            return as_number(coordinator.data.get(key))

        return Measured(
            power=last(BATTERY_POWER),
            voltage=last(BATTERY_VOLTAGE),
            soc=last(BATTERY_SOC),
            min_soc=last(MIN_SOC),
        )

    # What can be asked

    async def async_set_power(self, power: float) -> None:
        """Hold the battery at `power` W: above zero charges, below discharges, 0 holds.

        Raises ServiceValidationError beyond the limits, and what the driver raises.
        """
        limits = self._battery.setpoint_limits
        if limits is not None and not limits.minimum <= power <= limits.maximum:
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="setpoint_out_of_range",
                translation_placeholders={
                    "device": self._entry.title,
                    "power": f"{power:g}",
                    "minimum": f"{limits.minimum}",
                    "maximum": f"{limits.maximum}",
                },
            )
        await self._async_hold(round(power), None)

    async def async_set_current(self, current: float) -> None:
        """Hold the battery at a DC `current`, A, following its voltage.

        Raises NotSupportedError without a voltage, and what the driver raises.
        """
        voltage = as_number(await self._battery.get(BATTERY_VOLTAGE))
        if not voltage:
            raise NotSupportedError(
                f"{self._entry.title}: no battery voltage, so no current setpoint"
            )
        await self._async_hold(round(current * voltage), current)

    async def async_set_mode(self, mode: ControlMode) -> None:
        """Choose who decides; manual without a setpoint holds at 0 W."""
        if mode is ControlMode.AUTOMATIC:
            await self.async_release()
        elif self._lease is None:
            await self.async_set_power(0)

    async def async_release(self) -> None:
        """Give the battery back to its own control, and see that it took it.

        Raises what the driver raises; it is then tried again until it works.
        """
        async with self._lock:
            if self.mode is ControlMode.AUTOMATIC:
                return
            try:
                await self._release()
            finally:
                self._after_change()
        await self._coordinator.async_read_now(self._coordinator.subscribed)

    async def async_give_back(self) -> None:
        """Release what a Home Assistant that died has left held.

        If that fails it is tried again until it works, like any release.
        """
        async with self._lock:
            self._stored = await self._store.async_load()
            if self._stored is None:
                return
            self._battery.found = dict(self._stored)
            _LOGGER.warning(
                "%s was held at a setpoint when Home Assistant ended; it is given "
                "back to its own control now",
                self._entry.title,
            )
            try:
                await self._release()
            except BatteryError as err:
                _LOGGER.warning(
                    "%s could not be given back yet: %s", self._entry.title, err
                )
            self._after_change()

    async def async_store_found(self) -> None:
        """Keep what has to be given back, as it is now, over a crash.

        A setting that is changed while a setpoint is held may change it.
        """
        found = self._battery.found
        if found == self._stored:
            return
        if found is None:
            await self._store.async_remove()
        else:
            await self._store.async_save(found)
        self._stored = None if found is None else dict(found)

    async def async_close(self) -> None:
        """Release what is held, and take no setpoint any more."""
        self._closed = True
        async with self._lock:
            for last_try in (False, True):
                try:
                    await self._release()
                except BatteryError as err:
                    if last_try:
                        _LOGGER.error(
                            "%s could not be given back to its own control and may "
                            "stay at its last setpoint; set it right on the device "
                            "itself, or start Home Assistant again and choose "
                            "'automatic': %s",
                            self._entry.title,
                            err,
                        )
                else:
                    break
            self._after_change()

    # How it is done; all that writes holds the lock

    async def _async_hold(self, power: int, current: float | None) -> None:
        """Tell the device a new setpoint; the lease begins with the first one."""
        async with self._lock:
            if self._closed:
                raise HomeAssistantError(
                    translation_domain=DOMAIN,
                    translation_key="closed",
                    translation_placeholders={"device": self._entry.title},
                )
            try:
                await self._hold(power, current)
            finally:
                self._after_change()
        if self._cancel_settled is not None:
            self._cancel_settled()
        self._cancel_settled = async_call_later(self._hass, SETTLED, self._settled)
        await self._coordinator.async_read_now(_READ_BACK)

    async def _hold(self, power: int, current: float | None) -> None:
        battery, before = self._battery, self._lease
        if battery.found is None:
            # From here on the device is not as its owner left it: what has to be
            # put back must be known before the first write.
            battery.found = await battery.read_found()
            await self.async_store_found()
        now = self._hass.loop.time()
        lease = Lease(
            power=power, current=current, granted=power, since=now, followed=now
        )
        self._lease = lease
        try:
            lease.granted = await battery.set_power_setpoint(power)
        except BaseException:
            # What of it has arrived is not known: the device is told again what it
            # was told before, or is given back at once.
            self._lease = before
            if before is None:
                self._tick()
            else:
                before.told = False
            raise
        finally:
            await self.async_store_found()

    async def _renew(self, lease: Lease) -> None:
        granted: int | None
        if lease.told:
            granted = await self._battery.keep_alive()
        else:
            granted = await self._battery.set_power_setpoint(lease.power)
            lease.told = True
        if granted is not None:
            lease.granted = granted

    async def _release(self) -> None:
        try:
            await self._battery.release()
        finally:
            # Given back or not: it is not renewed any more.
            self._lease = None
            await self.async_store_found()

    # Renewing, and trying to release again

    def _after_change(self) -> None:
        """Tell the entities, and have the timer that is needed from now on.

        The timer is our own: no poll can delay it.
        """
        interval: float | None = None
        if self.mode is ControlMode.MANUAL and not self._closed:
            interval = RETRY
            if self._lease is not None and self._battery.keep_alive_interval:
                interval = self._battery.keep_alive_interval
        if interval != self._interval:
            self._interval = interval
            while self._cancel:
                self._cancel.pop()()
            if interval is not None:
                self._start(interval)
        if interval is None and self._cancel_settled is not None:
            self._cancel_settled()
            self._cancel_settled = None
        self._coordinator.async_update_listeners()

    def _start(self, interval: float) -> None:
        self._cancel = [
            async_track_time_interval(
                self._hass,
                self._tick,
                timedelta(seconds=interval),
                name=f"{self._entry.title} keep-alive",
                cancel_on_shutdown=True,
            ),
            self._coordinator.async_add_listener(self._look, _LOOKED_AT),
        ]

    @callback
    def _tick(self, _now: datetime | None = None) -> None:
        """Renew or release, in a task that nothing cancels half way through a write."""
        if not self._ticking:
            self._hass.async_create_task(
                self._async_tick(), f"{self._entry.title} keep-alive"
            )

    async def _async_tick(self) -> None:
        """Renew the setpoint, or release again; a failure is left to the next time."""
        self._ticking = True
        try:
            async with self._lock:
                if self._lease is not None:
                    await self._renew(self._lease)
                else:
                    await self._release()
        except BatteryError as err:
            if not self._failing:
                _LOGGER.warning(
                    "%s: cannot renew or release its setpoint, and will try again: %s",
                    self._entry.title,
                    err,
                )
            self._failing = True
        else:
            if self._failing:
                _LOGGER.info("%s: done at last", self._entry.title)
            self._failing = False
        finally:
            self._ticking = False
        # Whether a setpoint is followed is also a matter of time, and a poll that
        # fails again and again tells nobody.
        self._after_change()

    async def _settled(self, _now: datetime) -> None:
        """Renew once more, and see what the device made of the change."""
        self._cancel_settled = None
        await self._async_tick()
        await self._coordinator.async_read_now(_READ_BACK)

    @callback
    def _look(self) -> None:
        """Look at what was just polled."""
        if self._lease is not None:
            was_told = self._lease.told
            self._lease.look(self._hass.loop.time(), self._measured)
            if was_told and not self._lease.told:
                self._tick()
