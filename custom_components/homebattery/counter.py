"""Counters of a device over restarts: where they stood is not forgotten.

The driver leaves out what a counter cannot show, but at a start it knows nothing of
before: then what is remembered here tells whether the first reading can be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, override

from homeassistant.core import callback
from homeassistant.helpers.restore_state import (
    ExtraStoredData,
    RestoreEntity,
    RestoreStateData,
)
from homeassistant.util import dt as dt_util

from .data import HomeBatteryConfigEntry
from .drivers.battery import as_number
from .drivers.counters import Counted
from .entity import HomeBatteryEntity


@dataclass(frozen=True, kw_only=True)
class StoredCounter(ExtraStoredData):
    """Where a counter stood, when, and what of that has not been counted."""

    value: float
    at: datetime
    moved: float

    @override
    def as_dict(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "at": self.at.isoformat(),
            "moved": self.moved,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what was stored."""
        return cls(
            value=float(data["value"]),
            at=datetime.fromisoformat(data["at"]),
            moved=float(data["moved"]),
        )


@dataclass(frozen=True, kw_only=True)
class StoredData(ExtraStoredData):
    """What an entity keeps over restarts: about its counter, and of its own."""

    counter: StoredCounter | None
    own: Mapping[str, Any]

    @override
    def as_dict(self) -> dict[str, Any]:
        counter = None if self.counter is None else self.counter.as_dict()
        return {**self.own, "counter": counter}


class CounterEntity(HomeBatteryEntity, RestoreEntity):
    """An entity that shows what a counter of the device has counted.

    That is what the device says, until its counter is cleared or another one takes
    its place: then it goes on from where it was. The energy dashboard would take
    whatever a counter shows at first for energy.
    """

    def __init__(self, entry: HomeBatteryConfigEntry, key: str) -> None:
        """Describe the entity of the counter `key`."""
        super().__init__(entry, key)
        self._counters = self._battery.counters
        self._moved = 0.0
        self._restored = False

    @override
    async def async_added_to_hass(self) -> None:
        # Under a new name it is added again, and then knows better by itself.
        if not self._restored:
            self._restored = True
            stored = await self.async_get_last_extra_data()
            await self._async_restore({} if stored is None else stored.as_dict())
        await super().async_added_to_hass()

    async def _async_restore(self, data: Mapping[str, Any]) -> None:
        """Take over what was stored, which may be nothing."""
        if not data.get("counter"):
            return
        stored = StoredCounter.from_dict(data["counter"])
        now = self.hass.loop.time()
        # A clock that is behind after a power cut makes no time pass backwards.
        age = max(timedelta(), dt_util.utcnow() - stored.at).total_seconds()
        self._moved = stored.moved
        self._counters.remember(
            self._key, Counted(stored.value, now - age, stored.moved)
        )
        # What was read at this start was believed without knowing that.
        if (value := as_number(self._value)) is not None:
            self._counters.check(self._key, value, now)

    @property
    @override
    def extra_restore_state_data(self) -> ExtraStoredData:
        counted = self._counters.counted(self._key)
        if counted is None:
            return StoredData(counter=None, own=self._own_data)
        age = timedelta(seconds=self.hass.loop.time() - counted.at)
        return StoredData(
            counter=StoredCounter(
                value=counted.value, at=dt_util.utcnow() - age, moved=counted.moved
            ),
            own=self._own_data,
        )

    @property
    def _own_data(self) -> Mapping[str, Any]:
        """What else is kept over restarts."""
        return {}

    @property
    def counted(self) -> float | None:
        """What the device has counted; None while that is not known."""
        counted = self._counters.counted(self._key)
        if counted is None or counted.value != self._value:
            return None
        return counted.total

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        counted = self._counters.counted(self._key)
        if counted is not None and counted.moved != self._moved:
            # Forgotten in a power cut, it would have to be found out again, and
            # differently.
            self._moved = counted.moved
            self.coordinator.config_entry.async_create_task(
                self.hass,
                RestoreStateData.async_save_persistent_states(self.hass),
                "Counter moved",
            )
        super()._handle_coordinator_update()
