"""The state of the simulated devices, by an interface of their own."""

from collections.abc import Sequence
from datetime import timedelta
import logging
from typing import Final, cast, override

import aiohttp
from homeassistant.core import HomeAssistant
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .house import Key, Measured, measure

_LOGGER = logging.getLogger(__name__)

_INTERVAL: Final = timedelta(seconds=5)


class HouseCoordinator(DataUpdateCoordinator[dict[Key, float]]):
    """Measures the house of all simulated devices."""

    def __init__(self, hass: HomeAssistant, state_urls: Sequence[str]) -> None:
        """Take the addresses of the devices' states."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=None,
            name="Demo house",
            update_interval=_INTERVAL,
        )
        self._state_urls = state_urls

    @override
    async def _async_update_data(self) -> dict[Key, float]:
        try:
            return measure([await self._read(url) for url in self._state_urls])
        except (aiohttp.ClientError, TimeoutError) as err:
            raise UpdateFailed(f"A simulated device does not answer: {err}") from err

    async def _read(self, url: str) -> Measured:
        async with async_get_clientsession(self.hass).get(url) as response:
            response.raise_for_status()
            return cast(Measured, await response.json())
