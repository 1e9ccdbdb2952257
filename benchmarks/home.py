"""Home Assistant in this process, with batteries and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import AsyncMock, patch

from aiohttp.resolver import ThreadedResolver
from homeassistant.core import HomeAssistant
from homeassistant.helpers import aiohttp_client, entity_registry as er
from homeassistant.loader import DATA_CUSTOM_COMPONENTS
from pytest_homeassistant_custom_component import common

from custom_components.homebattery import discovery
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN

from .devices import Setup


class _Resolver(ThreadedResolver):
    """Resolves names in threads, and can be closed as that of Home Assistant."""

    async def real_close(self) -> None:
        """Close it, as Home Assistant does when it stops."""
        await self.close()


@asynccontextmanager
async def home_assistant() -> AsyncIterator[HomeAssistant]:
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


def add_entry(
    hass: HomeAssistant, battery_type: str, serial: str, setup: Setup, **options: Any
) -> common.MockConfigEntry:
    """Add the entry of a battery, which is not set up yet."""
    entry = common.MockConfigEntry(
        domain=DOMAIN,
        title=serial,
        unique_id=serial,
        data={CONF_BATTERY_TYPE: battery_type, **setup},
        options=options,
    )
    entry.add_to_hass(hass)
    return entry


async def set_up(hass: HomeAssistant, entry: common.MockConfigEntry) -> None:
    """Set an entry up, and wait until its entities are there."""
    assert await hass.config_entries.async_setup(entry.entry_id), entry.reason
    await hass.async_block_till_done(wait_background_tasks=True)


def entity_id(hass: HomeAssistant, serial: str, platform: str, key: str) -> str:
    """Return the entity id of a battery's key."""
    registry = er.async_get(hass)
    entity = registry.async_get_entity_id(platform, DOMAIN, f"{serial}_{key}")
    assert entity is not None, key
    return entity
