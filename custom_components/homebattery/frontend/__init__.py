"""The dashboard "Home Battery", which the browser makes of Home Assistant's own cards."""

from pathlib import Path
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.loader import async_get_integration

from ..const import DOMAIN

URL: Final = f"/{DOMAIN}/strategy.js"
_FILE: Final = Path(__file__).parent / "strategy.js"


async def async_serve(hass: HomeAssistant, _component: str) -> None:
    """Serve the dashboard strategy, and have each page of the frontend load it.

    The version in the URL makes browsers load that of an update.
    """
    # Neither is a dependency: without a frontend there is no page to serve.
    from homeassistant.components.frontend import add_extra_js_url
    from homeassistant.components.http import StaticPathConfig

    integration = await async_get_integration(hass, DOMAIN)
    await hass.http.async_register_static_paths(
        [StaticPathConfig(URL, str(_FILE), cache_headers=True)]
    )
    add_extra_js_url(hass, f"{URL}?v={integration.version}")
