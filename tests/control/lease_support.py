"""What tests of the lease share: what is kept of it, crashes, and words compared."""

import copy
from typing import Any

from homeassistant.helpers import issue_registry as ir
from homeassistant.util import slugify

from custom_components.homebattery.const import DOMAIN
from tests.home import Home, MakeHome
from tests.simulators import Simulator

type Words = dict[str, Any]


def file_of(home: Home) -> str:
    """Return the name of the file in which a battery's lease is kept."""
    return f"{DOMAIN}.{slugify(home.entry.unique_id)}"


def stored(hass_storage: dict[str, Any], home: Home) -> Any:
    """Return what is kept of a battery's lease; None when nothing is."""
    return hass_storage.get(file_of(home), {}).get("data", {}).get("lease")


async def after_a_crash(
    dead: Home, make_home: MakeHome, hass_storage: dict[str, Any], **options: Any
) -> Home:
    """Return the next start, of which only the storage knows about the first."""
    left = copy.deepcopy(hass_storage[file_of(dead)])
    # Let go of the battery as a crash does: without giving it back.
    dead.data.battery.found = None
    dead.data.control._leased._end()
    hass_storage.pop(file_of(dead))
    await dead.hass.config_entries.async_remove(dead.entry.entry_id)
    alive = make_home(dead.simulator, **options)
    hass_storage[file_of(alive)] = left
    return alive


def changed(found: Words, simulator: Simulator) -> dict[str, tuple[Any, Any]]:
    """Return the words that are not as they were found: what they were, what they are."""
    now = simulator.settings_words()
    return {
        place: (found.get(place), now.get(place))
        for place in found | now
        if found.get(place) != now.get(place)
    }


def issues(home: Home) -> set[str]:
    """Return what the owner of a battery is told under Repairs, without its serial."""
    ending = f"_{home.entry.unique_id}"
    return {
        issue_id.removesuffix(ending)
        for domain, issue_id in ir.async_get(home.hass).issues
        if domain == DOMAIN and issue_id.endswith(ending)
    }
