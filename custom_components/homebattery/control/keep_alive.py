"""Renewing, retrying and expiring: all timers of a battery that is held.

These timers are a battery's own: no poll can delay them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final

from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later, async_track_time_interval
from homeassistant.util import dt as dt_util

from ..coordinator import BatteryCoordinator
from ..drivers.errors import BatteryError
from .measured import READ_BACK, measured, watched
from .state import ControlState, LeasedBattery

SETTLED: Final = 1.5
"""Seconds after a change until it is renewed and read back once more. The device's
own loop may write its last setpoint after the first one of this integration."""
RETRY: Final = 30.0
"""Seconds until a release, or a setpoint the device may have missed, is tried again."""
REFRESH_TIMEOUT: Final = 1.0
"""Seconds that a renewal waits for the readings that it depends on. A device that takes
longer is renewed with the last ones, and read for the next renewal."""

type Action = Callable[[datetime], Coroutine[Any, Any, None]]


class KeepAlive:
    """Renew the lease on a battery, retry its release, and end it in time.

    `release` is called with the time at which the lease was to end.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        title: str,
        coordinator: BatteryCoordinator,
        leased: LeasedBattery,
        release: Callable[[datetime | None], Coroutine[Any, Any, None]],
    ) -> None:
        """Begin with nothing to do; `title` names the battery."""
        self._hass = hass
        self._title = title
        self._coordinator = coordinator
        self._battery = coordinator.battery
        self._leased = leased
        self._release = release
        self._timers = Timers(
            hass, title, tick=self.tick, settle=self._settle, expire=self._expire
        )
        self._is_ticking = False
        self._was_skipped = False
        """Whether the last tick was skipped."""
        self._refreshing: asyncio.Task[None] | None = None
        self._watched: tuple[str, ...] = ()
        self._stop_watching: CALLBACK_TYPE | None = None

    @callback
    def update(self) -> None:
        """Run the timers that the state needs from now on, and update the entities."""
        is_closed = self._leased.state is ControlState.CLOSED
        lease = self._leased.lease
        interval = self._interval
        self._timers.run(
            interval, None if is_closed or lease is None else lease.expires
        )
        self._watch(() if interval is None else watched(lease))
        self._coordinator.async_update_listeners()

    @property
    def _interval(self) -> float | None:
        """Seconds between two ticks; None where none are needed."""
        match self._leased.state:
            case ControlState.HELD:
                return self._battery.keep_alive_interval or RETRY
            case ControlState.RELEASING:
                return RETRY
            case _:
                return None

    @callback
    def _watch(self, keys: tuple[str, ...]) -> None:
        """Poll the keys that a lease depends on from now on, and no other ones."""
        if keys == self._watched:
            return
        self._watched = keys
        _cancel(self._stop_watching)
        self._stop_watching = None
        if keys:
            self._stop_watching = self._coordinator.async_add_listener(
                self._evaluate, keys
            )

    @callback
    def _evaluate(self) -> None:
        """Evaluate the last poll; apply a held current again if its power changed."""
        lease = self._leased.lease
        if lease is None:
            return
        was_applied = lease.applied
        lease.evaluate(
            self._hass.loop.time(),
            measured(self._coordinator),
            self._battery.current_step,
        )
        if was_applied and not lease.applied:
            self.tick()

    @callback
    def settle_soon(self) -> None:
        """Renew once more after a change, when the device has settled.

        A change that the device must not have yet is sent then.
        """
        self._timers.settle_in(SETTLED + self._leased.seconds_to_wait)

    async def async_stop(self) -> None:
        """Cancel the reading for the next renewal."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})

    @callback
    def tick(self, _now: datetime | None = None) -> None:
        """Renew or release, in a task that nothing cancels half way through a write."""
        if not self._is_ticking:
            self._hass.async_create_task(
                self._async_tick(), f"{self._title} keep-alive"
            )

    async def _async_tick(self) -> None:
        """Renew the lease, or retry its release; the next tick retries a failure.

        After a call that did so meanwhile it is skipped, but not twice in a row: a
        device may take another power without prolonging its command.
        """
        self._is_ticking = True
        calls = self._leased.calls
        try:
            await self._refresh()
            async with self._leased.exclusive():
                is_made = self._leased.calls != calls
                self._was_skipped = is_made and not self._was_skipped
                if not self._was_skipped:
                    await self._leased.renew_or_release()
        except BatteryError as err:
            self._note_failure(err)
        finally:
            self._is_ticking = False
        # The status depends on time, too, and a poll that fails again and again
        # updates no entity.
        self.update()

    async def _refresh(self) -> None:
        """Read the values that a renewal depends on, for REFRESH_TIMEOUT at most."""
        if self._leased.lease is None:
            return
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = self._hass.async_create_background_task(
                self._battery.refresh(), f"{self._title} refresh"
            )
        await asyncio.wait({self._refreshing}, timeout=REFRESH_TIMEOUT)

    async def _settle(self, _now: datetime) -> None:
        """Renew once more, and read back the setpoint and the power.

        After a call that was made meanwhile there is nothing to settle: another
        setpoint has a time of its own for that.
        """
        calls = self._leased.calls
        async with self._leased.exclusive():
            if self._leased.calls != calls:
                return
        await self._async_tick()
        await self._coordinator.async_read_now(READ_BACK)

    async def _expire(self, _now: datetime) -> None:
        """Release a battery whose lease is over; a failure is retried."""
        try:
            await self._release(self._timers.expires)
        except BatteryError as err:
            self._note_failure(err)

    def _note_failure(self, err: BatteryError) -> None:
        self._coordinator.recent_errors.note(err)
        self._leased.retry_log.failed(err)


class Timers:
    """Call `tick` at an interval, `settle` after a change, and `expire` at the end.

    `name` names them in Home Assistant's own messages.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        name: str,
        *,
        tick: Callable[[datetime], None],
        settle: Action,
        expire: Action,
    ) -> None:
        """Begin with nothing to do."""
        self._hass = hass
        self._name = name
        self._tick = tick
        self._settle = HassJob(settle, f"{name} settle", cancel_on_shutdown=True)
        self._expire = HassJob(expire, f"{name} expiry", cancel_on_shutdown=True)
        self.interval: float | None = None
        """Seconds between two ticks; None while there are none."""
        self.expires: datetime | None = None
        """The time at which `expire` is called; None: never."""
        self._cancel_tick: CALLBACK_TYPE | None = None
        self._cancel_settle: CALLBACK_TYPE | None = None
        self._cancel_expiry: CALLBACK_TYPE | None = None

    @callback
    def run(self, interval: float | None, expires: datetime | None) -> None:
        """Call `tick` at an interval, s, and `expire` at a time; None: never."""
        if interval != self.interval:
            self.interval = interval
            _cancel(self._cancel_tick)
            self._cancel_tick = None
            if interval is not None:
                self._cancel_tick = async_track_time_interval(
                    self._hass,
                    self._tick,
                    timedelta(seconds=interval),
                    name=f"{self._name} keep-alive",
                    cancel_on_shutdown=True,
                )
        if interval is None:
            _cancel(self._cancel_settle)
            self._cancel_settle = None
        if expires != self.expires:
            self.expires = expires
            _cancel(self._cancel_expiry)
            self._cancel_expiry = None
            if expires is not None:
                seconds = (expires - dt_util.utcnow()).total_seconds()
                self._cancel_expiry = async_call_later(
                    self._hass, max(0, seconds), self._expire
                )

    @callback
    def settle_in(self, seconds: float) -> None:
        """Call `settle` after so many seconds, once."""
        _cancel(self._cancel_settle)
        self._cancel_settle = async_call_later(self._hass, seconds, self._settle)


def _cancel(cancel: CALLBACK_TYPE | None) -> None:
    if cancel is not None:
        cancel()
