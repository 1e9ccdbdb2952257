"""Counters of energy, and the filter of the values that enter the statistics.

The driver leaves out impossible values of a counter, but at a start it does not know
the former ones: the value that is stored here shows whether the first one is possible.

Energy charged and discharged over a battery's life comes from the device's own
counter, or, where it has none, is added up here from its power and kept over restarts.
Which of the two is decided once: changing from one to the other would make the total
jump, and spoil the statistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
import logging
from typing import Any, Final, Self, override

from homeassistant.components.sensor import SensorEntity
from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT, UnitOfEnergy
from homeassistant.core import State, callback
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance
from homeassistant.helpers.restore_state import (
    ExtraStoredData,
    RestoreEntity,
    RestoreStateData,
)
from homeassistant.helpers.typing import StateType
from homeassistant.util import dt as dt_util
from homeassistant.util.unit_conversion import EnergyConverter

from .const import (
    BATTERY_POWER,
    CONF_SCAN_INTERVAL,
    ENERGY_CHARGED_TOTAL,
    SCAN_INTERVAL,
)
from .data import HomeBatteryConfigEntry
from .drivers.battery.counters import Counted
from .drivers.measurements import as_number
from .entity import HomeBatteryEntity, HomeBatteryEntityDescription

_LOGGER = logging.getLogger(__name__)

POLLS_IN_A_GAP: Final = 3
"""Intervals of polls in the longest gap over which power is integrated."""
_UNCOMPILED: Final = timedelta(days=1)
"""The history to read where no statistics have been compiled yet."""
_WH: Final = 3
"""Number of decimals of a kWh that are shown."""


@dataclass(frozen=True, kw_only=True)
class StoredCounter(ExtraStoredData):
    """The last value of a counter, its time, and the offset that is not counted."""

    value: float
    at: datetime
    offset: float

    @override
    def as_dict(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "at": self.at.isoformat(),
            "moved": self.offset,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the counter that was stored."""
        return cls(
            value=float(data["value"]),
            at=datetime.fromisoformat(data["at"]),
            offset=float(data["moved"]),
        )


@dataclass(frozen=True, kw_only=True)
class StoredData(ExtraStoredData):
    """The data that an entity keeps over restarts: its counter's, and its own."""

    counter: StoredCounter | None
    own: Mapping[str, Any]

    @override
    def as_dict(self) -> dict[str, Any]:
        counter = None if self.counter is None else self.counter.as_dict()
        return {**self.own, "counter": counter}


class CounterEntity(HomeBatteryEntity, RestoreEntity):
    """Show the total of a counter of the device.

    That is the device's own value, until its counter is cleared or another one takes
    its place: then the total goes on from its last value. The energy dashboard would
    take the first value of a new counter for energy.
    """

    _shows_readings_only = False

    def __init__(
        self, entry: HomeBatteryConfigEntry, description: HomeBatteryEntityDescription
    ) -> None:
        """Begin with the counter as it is at this start."""
        super().__init__(entry, description)
        self._counters = self._battery.counters
        self._offset = 0.0
        self._restored = False

    @override
    async def async_added_to_hass(self) -> None:
        # An entity that gets another ID is added again, with newer data than those.
        if not self._restored:
            self._restored = True
            stored = await self.async_get_last_extra_data()
            await self._async_restore({} if stored is None else stored.as_dict())
        await super().async_added_to_hass()

    async def _async_restore(self, data: Mapping[str, Any]) -> None:
        """Restore the stored data, which may be empty."""
        if not data.get("counter"):
            return
        stored = StoredCounter.from_dict(data["counter"])
        now = self.hass.loop.time()
        # The clock may be behind after a power cut; no time passes backwards.
        elapsed = max(timedelta(), dt_util.utcnow() - stored.at).total_seconds()
        self._offset = stored.offset
        self._counters.remember(
            self._key, Counted(stored.value, now - elapsed, stored.offset)
        )
        # The first value of this start was accepted without that knowledge.
        value = as_number(self._value)
        if value is not None and self._counters.check(self._key, value, now) is None:
            # Perhaps the next one is right, or the device knows better by then.
            self.coordinator.expire()

    @property
    @override
    def extra_restore_state_data(self) -> ExtraStoredData:
        counted = self._counters.counted(self._key)
        if counted is None:
            return StoredData(counter=None, own=self._own_data)
        elapsed = timedelta(seconds=self.hass.loop.time() - counted.at)
        return StoredData(
            counter=StoredCounter(
                value=counted.value,
                at=dt_util.utcnow() - elapsed,
                offset=counted.offset,
            ),
            own=self._own_data,
        )

    @property
    def _own_data(self) -> Mapping[str, Any]:
        """The data besides the counter's that are kept over restarts."""
        return {}

    @property
    def counted(self) -> float | None:
        """The total that the device has counted; None while it is not known."""
        counted = self._counters.counted(self._key)
        if counted is None or counted.value != self._value:
            return None
        return counted.total

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        counted = self._counters.counted(self._key)
        if counted is not None and counted.offset != self._offset:
            # Lost in a power cut, it would be determined anew, with another result.
            self._offset = counted.offset
            self.coordinator.config_entry.async_create_task(
                self.hass,
                RestoreStateData.async_save_persistent_states(self.hass),
                "Counter offset changed",
            )
        super()._handle_coordinator_update()


class Source(StrEnum):
    """The source of a total."""

    DEVICE = "device"
    POWER = "power"


def _recorded_total(state: State) -> float:
    """Return the total of a recorded state, kWh; 0 where it has none.

    It may be unavailable or unknown, or empty, as at the end of a removed entity.
    """
    unit = state.attributes.get(ATTR_UNIT_OF_MEASUREMENT)
    if unit not in EnergyConverter.VALID_UNITS:
        return 0.0
    try:
        total = float(state.state)
    except ValueError:
        return 0.0
    return EnergyConverter.convert(total, unit, UnitOfEnergy.KILO_WATT_HOUR)


class EnergyTotalSensor(CounterEntity, SensorEntity):
    """Show the energy charged, or discharged, over the battery's life, kWh."""

    def __init__(
        self, entry: HomeBatteryConfigEntry, description: HomeBatteryEntityDescription
    ) -> None:
        """Prefer the device's own counter."""
        super().__init__(entry, description)
        self._source = (
            Source.DEVICE if self._key in self._battery.measurements else Source.POWER
        )
        self._sign = 1 if self._key == ENERGY_CHARGED_TOTAL else -1
        self._energy = 0.0
        self._longest_gap = POLLS_IN_A_GAP * entry.options.get(
            CONF_SCAN_INTERVAL, SCAN_INTERVAL
        )
        # Power (W, + where it adds to this total) and loop time, s, of the last poll.
        self._power: float | None = None
        self._integrated_at = 0.0

    @override
    async def _async_restore(self, data: Mapping[str, Any]) -> None:
        await super()._async_restore(data)
        if "source" in data:
            self._source = Source(data["source"])
            self._energy = float(data["energy"])
        if self._source is Source.POWER:
            self._energy = max(self._energy, await self._async_last_recorded())
            self._keys = self.coordinator_context = (BATTERY_POWER,)
            self._integrate()

    async def _async_last_recorded(self) -> float:
        """Return the total that was recorded last, kWh.

        The stored total is up to a quarter of an hour old after a power cut.
        Statistics are newer, and a total that falls would spoil them.
        """
        if DATA_INSTANCE not in self.hass.data:
            return 0.0
        recorder = get_instance(self.hass)
        return await recorder.async_add_executor_job(self._read_last_recorded)

    def _read_last_recorded(self) -> float:
        """Return the last recorded total, kWh; 0 if the database fails."""
        # Slow to import: only where there is a recorder, and not in the event loop.
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self._highest_since_compiled()
        except SQLAlchemyError as err:
            _LOGGER.warning("%s: cannot read its history: %s", self.entity_id, err)
            return 0.0

    def _highest_since_compiled(self) -> float:
        """Return the highest total since statistics were last compiled, kWh."""
        from homeassistant.components.recorder.history import (
            state_changes_during_period,
        )
        from homeassistant.components.recorder.statistics import (
            get_last_short_term_statistics,
        )

        compiled = get_last_short_term_statistics(
            self.hass, 1, self.entity_id, False, {"state"}
        ).get(self.entity_id)
        since = (
            datetime.fromtimestamp(compiled[0]["start"], UTC)
            if compiled
            else dt_util.utcnow() - _UNCOMPILED
        )
        states = state_changes_during_period(self.hass, since, None, self.entity_id)
        return max(map(_recorded_total, states.get(self.entity_id, [])), default=0.0)

    @property
    @override
    def _own_data(self) -> Mapping[str, Any]:
        return {"source": self._source, "energy": self._energy}

    @property
    @override
    def available(self) -> bool:
        # A counter that the device no longer has is not replaced.
        return super().available and (
            self._source is Source.POWER or self.coordinator.can_measure(self._key)
        )

    @property
    @override
    def native_value(self) -> StateType:
        if self._source is Source.POWER:
            return round(self._energy, _WH)
        return self.counted

    @property
    @override
    def _shown(self) -> object:
        return self.native_value

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        if self._source is Source.POWER:
            self._integrate()
        super()._handle_coordinator_update()

    def _integrate(self) -> None:
        """Add the energy since the last poll, and keep the power of this one."""
        now = self.hass.loop.time()
        elapsed = now - self._integrated_at
        if self._power is not None and elapsed <= self._longest_gap:
            self._energy += self._power * elapsed / 3_600_000
        power = as_number(self.coordinator.data.get(BATTERY_POWER))
        if not self.available:
            power = None
        self._power = None if power is None else max(0, self._sign * power)
        self._integrated_at = now
