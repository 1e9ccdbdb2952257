"""The sensors of the house: one grid meter, the PV, the consumption, and the price."""

from datetime import datetime, timedelta
from typing import Any, Final, override

from homeassistant.components.sensor import (
    RestoreSensor,
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import UnitOfEnergy, UnitOfPower
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddEntitiesCallback
from homeassistant.helpers.event import async_track_time_change
from homeassistant.helpers.typing import ConfigType, DiscoveryInfoType
from homeassistant.helpers.update_coordinator import CoordinatorEntity
from homeassistant.util import dt as dt_util

from . import COORDINATOR, prices
from .coordinator import HouseCoordinator
from .house import Key


def _power(key: Key, name: str) -> SensorEntityDescription:
    return SensorEntityDescription(
        key=key,
        name=name,
        device_class=SensorDeviceClass.POWER,
        native_unit_of_measurement=UnitOfPower.WATT,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
    )


def _energy(key: Key, name: str) -> SensorEntityDescription:
    return SensorEntityDescription(
        key=key,
        name=name,
        device_class=SensorDeviceClass.ENERGY,
        native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=1,
    )


_SENSORS: Final = (
    _power(Key.GRID_POWER, "House grid power"),
    _power(Key.PV_POWER, "House solar power"),
    _power(Key.LOAD_POWER, "House consumption"),
    _energy(Key.ENERGY_IMPORTED, "House grid import"),
    _energy(Key.ENERGY_EXPORTED, "House grid export"),
    _energy(Key.ENERGY_PV, "House solar energy"),
)
PRICE: Final = SensorEntityDescription(
    key="price",
    name="Electricity price",
    icon="mdi:cash-clock",
    native_unit_of_measurement=prices.UNIT,
    state_class=SensorStateClass.MEASUREMENT,
    suggested_display_precision=3,
)


async def async_setup_platform(
    hass: HomeAssistant,
    config: ConfigType,
    async_add_entities: AddEntitiesCallback,
    discovery_info: DiscoveryInfoType | None = None,
) -> None:
    """Add all sensors."""
    coordinator = hass.data[COORDINATOR]
    async_add_entities(HouseSensor(coordinator, each) for each in _SENSORS)
    async_add_entities([PriceSensor()])


class HouseSensor(CoordinatorEntity[HouseCoordinator], RestoreSensor):
    """A quantity of the house."""

    def __init__(
        self, coordinator: HouseCoordinator, description: SensorEntityDescription
    ) -> None:
        """Show the quantity of the description's key."""
        super().__init__(coordinator)
        self.entity_description = description
        self._attr_unique_id = description.key
        self._least: float | None = None

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        # Devices that start again may count a little less than before.
        if (
            self.state_class is SensorStateClass.TOTAL_INCREASING
            and (last := await self.async_get_last_sensor_data())
            and isinstance(last.native_value, int | float)
        ):
            self._least = last.native_value

    @property
    @override
    def native_value(self) -> float:
        value = self.coordinator.data[Key(self.entity_description.key)]
        return value if self._least is None else max(value, self._least)


class PriceSensor(SensorEntity):
    """The price of this hour, with those of today and tomorrow as attributes."""

    _attr_should_poll = False
    _unrecorded_attributes = frozenset({"raw_today", "raw_tomorrow"})
    entity_description = PRICE
    _attr_unique_id = PRICE.key

    @override
    async def async_added_to_hass(self) -> None:
        self.async_on_remove(
            async_track_time_change(self.hass, self._begin_hour, minute=0, second=0)
        )

    @callback
    def _begin_hour(self, now: datetime) -> None:
        self.async_write_ha_state()

    @property
    @override
    def native_value(self) -> float:
        return prices.price(dt_util.now())

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        today = dt_util.start_of_local_day()
        return {
            "raw_today": prices.prices_of_day(today),
            "raw_tomorrow": prices.prices_of_day(today + timedelta(days=1)),
        }
