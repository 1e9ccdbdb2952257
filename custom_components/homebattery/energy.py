"""Energy charged and discharged over a battery's life.

From the device's own counter, or, where it has none, added up here from its power
and kept over restarts. Which of the two is decided once: changing from one to the
other would make the total jump, and spoil the statistics.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
import logging
from typing import Any, Final, override

from homeassistant.components.recorder.history import state_changes_during_period
from homeassistant.components.recorder.statistics import get_last_short_term_statistics
from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorStateClass,
)
from homeassistant.const import (
    ATTR_UNIT_OF_MEASUREMENT,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
    UnitOfEnergy,
)
from homeassistant.core import callback
from homeassistant.helpers.recorder import DATA_INSTANCE, get_instance
from homeassistant.helpers.typing import StateType
from homeassistant.util import dt as dt_util
from homeassistant.util.unit_conversion import EnergyConverter
from sqlalchemy.exc import SQLAlchemyError

from .const import (
    BATTERY_POWER,
    CONF_SCAN_INTERVAL,
    ENERGY_CHARGED_TOTAL,
    SCAN_INTERVAL,
)
from .counter import CounterEntity
from .data import HomeBatteryConfigEntry
from .drivers.battery import as_number

_LOGGER = logging.getLogger(__name__)

POLLS_IN_A_GAP: Final = 3
"""Polls that may be late or missed until their time no longer counts."""
_UNCOMPILED: Final = timedelta(days=1)
"""How far back to look where no statistics have been made yet."""
_WH: Final = 3
"""Decimals of a kWh that are shown."""


class Source(StrEnum):
    """Where a total comes from."""

    DEVICE = "device"
    POWER = "power"


class EnergyTotalSensor(CounterEntity, SensorEntity):
    """Energy charged, or discharged, in all."""

    _attr_device_class = SensorDeviceClass.ENERGY
    _attr_state_class = SensorStateClass.TOTAL_INCREASING
    _attr_native_unit_of_measurement = UnitOfEnergy.KILO_WATT_HOUR
    _attr_suggested_display_precision = 2

    def __init__(self, entry: HomeBatteryConfigEntry, key: str) -> None:
        """Describe the total `key`; the device's own counter is preferred."""
        super().__init__(entry, key)
        self._source = (
            Source.DEVICE if key in self._battery.measurements else Source.POWER
        )
        self._sign = 1 if key == ENERGY_CHARGED_TOTAL else -1
        self._energy = 0.0
        self._longest_gap = POLLS_IN_A_GAP * entry.options.get(
            CONF_SCAN_INTERVAL, SCAN_INTERVAL
        )
        # Power (W, as counted here) and loop time of the last look.
        self._power: float | None = None
        self._looked = 0.0

    @override
    async def _async_restore(self, data: Mapping[str, Any]) -> None:
        await super()._async_restore(data)
        if "source" in data:
            self._source = Source(data["source"])
            self._energy = float(data["energy"])
        if self._source is Source.POWER:
            self._energy = max(self._energy, await self._async_last_recorded())
            self._keys = self.coordinator_context = (BATTERY_POWER,)
            self._look()

    async def _async_last_recorded(self) -> float:
        """Return the total that was recorded last, kWh.

        What is stored is up to a quarter of an hour old after a power cut. Statistics
        are newer, and a total that falls would spoil them.
        """
        if DATA_INSTANCE not in self.hass.data:
            return 0.0
        recorder = get_instance(self.hass)
        try:
            return await recorder.async_add_executor_job(self._read_last_recorded)
        except SQLAlchemyError as err:
            _LOGGER.warning("%s: cannot read its history: %s", self.entity_id, err)
            return 0.0

    def _read_last_recorded(self) -> float:
        """Return the highest total since statistics were made last, kWh."""
        compiled = get_last_short_term_statistics(
            self.hass, 1, self.entity_id, False, {"state"}
        ).get(self.entity_id)
        since = (
            datetime.fromtimestamp(compiled[0]["start"], UTC)
            if compiled
            else dt_util.utcnow() - _UNCOMPILED
        )
        states = state_changes_during_period(self.hass, since, None, self.entity_id)
        return max(
            (
                EnergyConverter.convert(
                    float(state.state),
                    state.attributes[ATTR_UNIT_OF_MEASUREMENT],
                    UnitOfEnergy.KILO_WATT_HOUR,
                )
                for state in states.get(self.entity_id, [])
                if state.state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)
            ),
            default=0.0,
        )

    @property
    @override
    def _own_data(self) -> Mapping[str, Any]:
        return {"source": self._source, "energy": self._energy}

    @property
    @override
    def available(self) -> bool:
        # A counter that the device had once, and has no more, is not replaced.
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
            self._look()
        super()._handle_coordinator_update()

    def _look(self) -> None:
        """Add what the last power has made since the last look, and look again."""
        now = self.hass.loop.time()
        elapsed = now - self._looked
        if self._power is not None and elapsed <= self._longest_gap:
            self._energy += self._power * elapsed / 3_600_000
        power = as_number(self.coordinator.data.get(BATTERY_POWER))
        if not self.available:
            power = None
        self._power = None if power is None else max(0, self._sign * power)
        self._looked = now
