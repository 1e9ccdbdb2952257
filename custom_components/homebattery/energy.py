"""Energy charged and discharged over a battery's life.

From the device's own counter, or, where it has none, added up here from its power
and kept over restarts. Which of the two is decided once: changing from one to the
other would make the total jump, and spoil the statistics.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorStateClass,
)
from homeassistant.const import UnitOfEnergy
from homeassistant.core import callback
from homeassistant.helpers.restore_state import ExtraStoredData, RestoreEntity
from homeassistant.helpers.typing import StateType

from .const import (
    BATTERY_POWER,
    CONF_SCAN_INTERVAL,
    ENERGY_CHARGED_TOTAL,
    SCAN_INTERVAL,
)
from .drivers.battery import as_number
from .entity import HomeBatteryEntity

if TYPE_CHECKING:
    from . import HomeBatteryConfigEntry

POLLS_IN_A_GAP: Final = 3
"""Polls that may be late or missed until their time no longer counts."""
_WH: Final = 3
"""Decimals of a kWh that are shown."""


class Source(StrEnum):
    """Where a total comes from."""

    DEVICE = "device"
    POWER = "power"


@dataclass(frozen=True, kw_only=True)
class StoredEnergy(ExtraStoredData):
    """What is kept over restarts: the source, and the total if we make it, kWh."""

    source: Source
    energy: float

    @override
    def as_dict(self) -> dict[str, Any]:
        return {"source": self.source, "energy": self.energy}


class EnergyTotalSensor(HomeBatteryEntity, RestoreEntity, SensorEntity):
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
    async def async_added_to_hass(self) -> None:
        if (stored := await self.async_get_last_extra_data()) is not None:
            data = stored.as_dict()
            self._source = Source(data["source"])
            self._energy = float(data["energy"])
        if self._source is Source.POWER:
            self._keys = self.coordinator_context = (BATTERY_POWER,)
            self._look()
        await super().async_added_to_hass()

    @property
    @override
    def extra_restore_state_data(self) -> ExtraStoredData:
        return StoredEnergy(source=self._source, energy=self._energy)

    @property
    @override
    def available(self) -> bool:
        # A counter that the device had once, and has no more, is not replaced.
        return super().available and (
            self._source is Source.POWER or self._key in self._battery.measurements
        )

    @property
    @override
    def native_value(self) -> StateType:
        if self._source is Source.POWER:
            return round(self._energy, _WH)
        return as_number(self._value)

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
