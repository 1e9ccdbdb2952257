"""Support for tests of the lease: its file, crashes, and words compared."""

import copy
from typing import Any

from homeassistant.helpers import issue_registry as ir

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.control.store import COPY
from custom_components.homebattery.json_file import file_name
from tests.home import Home, MakeHome
from tests.simulators import Simulator

type Words = dict[str, Any]


def file_of(home: Home) -> str:
    """Return the name of the file in which a battery's lease is kept."""
    return file_name(str(home.entry.unique_id))


def stored(hass_storage: dict[str, Any], home: Home) -> Any:
    """Return a battery's lease as it is stored; None when there is none."""
    return hass_storage.get(file_of(home), {}).get("data", {}).get("lease")


async def after_a_crash(
    dead: Home, make_home: MakeHome, hass_storage: dict[str, Any], **options: Any
) -> Home:
    """Return the next start after a crash: only the storage is kept of the first."""
    names = (file_of(dead), f"{file_of(dead)}{COPY}")
    kept = {name: copy.deepcopy(hass_storage.get(name)) for name in names}
    # Forget the battery as a crash does: without releasing it.
    dead.data.battery.snapshot = None
    dead.data.control._leased._end()
    for name in names:
        hass_storage.pop(name, None)
    await dead.hass.config_entries.async_remove(dead.entry.entry_id)
    alive = make_home(dead.simulator, **options)
    hass_storage.update({name: file for name, file in kept.items() if file is not None})
    return alive


def changed(original: Words, simulator: Simulator) -> dict[str, tuple[Any, Any]]:
    """Return the words that have changed: the original, and the present one."""
    now = simulator.settings_words()
    return {
        place: (original.get(place), now.get(place))
        for place in original | now
        if original.get(place) != now.get(place)
    }


def issues(home: Home) -> set[str]:
    """Return the repair issues of a battery, without its serial number."""
    ending = f"_{home.entry.unique_id}"
    return {
        issue_id.removesuffix(ending)
        for domain, issue_id in ir.async_get(home.hass).issues
        if domain == DOMAIN and issue_id.endswith(ending)
    }
