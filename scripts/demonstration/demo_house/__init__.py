"""The demo's house, and the past of its entities: an integration of the demo only."""

from collections.abc import Sequence
from typing import Any, Final

from homeassistant.components import websocket_api
from homeassistant.components.websocket_api.connection import ActiveConnection
from homeassistant.components.websocket_api.decorators import (
    require_admin,
    websocket_command,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import config_validation as cv, discovery
from homeassistant.helpers.typing import ConfigType
from homeassistant.util.hass_dict import HassKey
import probatio as vol

from . import history
from .coordinator import HouseCoordinator

DOMAIN: Final = "demo_house"
CONF_STATE_URLS: Final = "state_urls"

COORDINATOR: HassKey[HouseCoordinator] = HassKey(DOMAIN)

CONFIG_SCHEMA: Final = vol.Schema(
    {DOMAIN: {vol.Required(CONF_STATE_URLS): [cv.string]}}, extra=vol.ALLOW_EXTRA
)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Show the house of the devices that are named in the configuration."""
    state_urls: Sequence[str] = config[DOMAIN][CONF_STATE_URLS]
    coordinator = hass.data[COORDINATOR] = HouseCoordinator(hass, state_urls)
    await coordinator.async_refresh()
    hass.async_create_task(
        discovery.async_load_platform(hass, Platform.SENSOR, DOMAIN, {}, config)
    )
    websocket_api.async_register_command(hass, import_past)
    return True


@websocket_command(
    {
        vol.Required("type"): f"{DOMAIN}/import_past",
        vol.Required("entity_id"): cv.entity_id,
        vol.Required("begin"): vol.Coerce(float),
        vol.Required("values"): [vol.Coerce(float)],
    }
)
@require_admin
@callback
def import_past(
    hass: HomeAssistant, connection: ActiveConnection, msg: dict[str, Any]
) -> None:
    """Write the past values of an entity, one every five minutes since `begin`."""
    series = history.Series(msg["begin"], msg["values"])
    history.async_import(hass, msg["entity_id"], series)
    connection.send_result(msg["id"])
