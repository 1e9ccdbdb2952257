"""When something has to be done for a battery that is held.

These timers are a battery's own: no poll can delay them.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later, async_track_time_interval
from homeassistant.util import dt as dt_util

type Action = Callable[[datetime], Coroutine[Any, Any, None]]


class Timers:
    """Calls `tick` again and again, `settle` a while after a change, `expire` at the end.

    `name` is what they are called in Home Assistant's own messages.
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
        """When `expire` is called; None: never."""
        self._cancel_tick: CALLBACK_TYPE | None = None
        self._cancel_settle: CALLBACK_TYPE | None = None
        self._cancel_expiry: CALLBACK_TYPE | None = None

    @callback
    def run(self, interval: float | None, expires: datetime | None) -> None:
        """Tick at this interval, and end then; None: do not."""
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
                left = (expires - dt_util.utcnow()).total_seconds()
                self._cancel_expiry = async_call_later(
                    self._hass, max(0, left), self._expire
                )

    @callback
    def settle_in(self, seconds: float) -> None:
        """Call `settle` after so many seconds, once."""
        _cancel(self._cancel_settle)
        self._cancel_settle = async_call_later(self._hass, seconds, self._settle)


def _cancel(cancel: CALLBACK_TYPE | None) -> None:
    if cancel is not None:
        cancel()
