"""The dashboard "Home Battery", which the browser makes of Home Assistant's own cards."""

import hashlib
from pathlib import Path
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.loader import async_get_integration

from ..const import DOMAIN

URL: Final = f"/{DOMAIN}/strategy.js"
_FILE: Final = Path(__file__).parent / "strategy.js"


async def async_serve(hass: HomeAssistant, _component: str) -> None:
    """Serve the dashboard strategy, and have each page of the frontend load it.

    Browsers keep a file for a month. The version in its URL, and a digest for copies of
    the repository, which all have the same, make them load another one.
    """
    # Neither is a dependency: without a frontend there is no page to serve.
    from homeassistant.components.frontend import add_extra_js_url
    from homeassistant.components.http import StaticPathConfig

    integration = await async_get_integration(hass, DOMAIN)
    content = await hass.async_add_executor_job(_FILE.read_bytes)
    digest = hashlib.sha256(content).hexdigest()[:8]
    await hass.http.async_register_static_paths(
        [StaticPathConfig(URL, str(_FILE), cache_headers=True)]
    )
    add_extra_js_url(hass, f"{URL}?v={integration.version}-{digest}")
