"""Run-time data of a battery's entry, and the type of that entry."""

from dataclasses import dataclass

from homeassistant.config_entries import ConfigEntry

from .control import Control
from .coordinator import BatteryCoordinator
from .drivers.battery.base import Battery

type HomeBatteryConfigEntry = ConfigEntry[HomeBatteryData]


@dataclass(kw_only=True)
class HomeBatteryData:
    """Hold the objects of one entry while it is set up."""

    battery: Battery
    coordinator: BatteryCoordinator
    control: Control
    device_id: str

    async def async_close(self) -> None:
        """Release the battery to its own control, and close the connection."""
        try:
            await self.control.async_close()
        finally:
            await self.coordinator.async_close()
