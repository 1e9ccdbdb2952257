"""Home Assistant in this process, with one entry and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from unittest.mock import AsyncMock, patch

from aiohttp.resolver import ThreadedResolver
from homeassistant.core import HomeAssistant
from homeassistant.helpers import aiohttp_client
from homeassistant.loader import DATA_CUSTOM_COMPONENTS
from pytest_homeassistant_custom_component import common

from custom_components.homebattery import discovery
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.coordinator import BatteryCoordinator
from custom_components.homebattery.drivers.measurements import Poll
from tests.home import KINDS

from .cost import Cost, costs_of
from .libraries import Setup


async def costs_of_entry(
    battery_type: str, setup: Setup, rounds: int
) -> tuple[Cost, Cost, set[str]]:
    """Return the costs of setting up and of a live poll, and the keys that it reads.

    Both until states are written.
    """
    entry = common.MockConfigEntry(
        domain=DOMAIN,
        unique_id=KINDS[battery_type].serial,
        data={CONF_BATTERY_TYPE: battery_type, **setup},
    )

    async def set_up() -> None:
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()

    async def unload() -> None:
        await hass.config_entries.async_unload(entry.entry_id)

    async def update() -> None:
        await coordinator.async_refresh()
        await hass.async_block_till_done()

    async with _home_assistant() as hass:
        entry.add_to_hass(hass)
        await set_up()  # modules are imported, and entities known from now on
        _, set_up_cost = await costs_of(-(-rounds // 3), unload, set_up)
        coordinator: BatteryCoordinator = entry.runtime_data.coordinator
        await costs_of(3, update)  # until what is seldom read has been read
        (update_cost,) = await costs_of(rounds, update)
        live_keys = {
            key
            for key in coordinator.subscribed
            if coordinator.battery.poll_rate(key) is Poll.FAST
        }
    return set_up_cost, update_cost, live_keys


class _Resolver(ThreadedResolver):
    """Resolves names in threads, and can be closed as that of Home Assistant."""

    async def real_close(self) -> None:
        """Close it, as Home Assistant does when it stops."""
        await self.close()


@asynccontextmanager
async def _home_assistant() -> AsyncIterator[HomeAssistant]:
    """Run a Home Assistant that scans for no loggers and resolves names in threads."""
    with (
        TemporaryDirectory() as folder,
        patch.object(aiohttp_client, "_async_make_resolver", return_value=_Resolver()),
        patch.object(discovery, "discover", AsyncMock(return_value=[])),
    ):
        async with common.async_test_home_assistant(config_dir=folder) as hass:
            # As the test harness makes it, it has no custom integrations.
            del hass.data[DATA_CUSTOM_COMPONENTS]
            yield hass
            await hass.async_stop(force=True)
