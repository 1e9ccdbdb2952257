"""Tests of power cuts: Home Assistant is gone at a write, with all that was not synced.

The next start has only the files that had reached the disk itself.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from homeassistant.exceptions import HomeAssistantError
import pytest

from tests.control.lease_support import changed, issues
from tests.control.test_lease_on_disk import (  # noqa: F401
    Disk,
    Files,
    disk,
    folder,
    hass_config_dir,
    hass_storage,
    start_with,
)
from tests.home import Home, MakeHome
from tests.simulators import Simulator

from .faults import PROTOCOLS
from .proxy import Exchange, Proxy

pytestmark = pytest.mark.long

SETPOINTS: Final = (600, -400)
"""W; a release follows."""


@pytest.fixture
async def proxy(simulator: Simulator) -> AsyncIterator[Proxy]:
    """Yield the line to each kind of battery in turn."""
    async with Proxy(simulator, PROTOCOLS[simulator.type]) as line:
        yield line


@pytest.fixture
async def home(make_home: MakeHome, simulator: Simulator, proxy: Proxy) -> Home:
    """Return the battery behind the line, set up."""
    made = make_home(simulator)
    made.hass.config_entries.async_update_entry(
        made.entry, data={**made.entry.data, "host": proxy.host, "port": proxy.port}
    )
    assert await made.set_up()
    return made


class PowerCut:
    """A behaviour of the line: at the nth write the power of Home Assistant is cut."""

    def __init__(self, disk: Disk, nth: int, *, taken: bool) -> None:  # noqa: F811
        """Cut at the nth write, which the device has taken or not."""
        self.files: Files | None = None
        """The files that are left; None before the cut."""
        self._disk = disk
        self._remaining = nth
        self._taken = taken

    async def __call__(self, exchange: Exchange) -> None:
        """Pass on what comes before the cut."""
        if self.files is not None:
            exchange.reset()
        self._remaining -= exchange.is_write
        if not self._remaining:
            self.files = self._disk.after_a_power_cut
            if self._taken:
                await exchange.ask()
            exchange.reset()
        await exchange.send(await exchange.ask())


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("nth", range(1, 6))
async def test_power_cut_at_any_write_leaves_what_restores_the_device(
    home: Home,
    proxy: Proxy,
    disk: Disk,  # noqa: F811
    folder: Path,  # noqa: F811
    make_home: MakeHome,
    nth: int,
    taken: bool,
) -> None:
    original = home.simulator.settings_words()
    proxy.behaviour = cut = PowerCut(disk, nth, taken=taken)
    with suppress(HomeAssistantError):
        for power in SETPOINTS:
            await home.set_power(power)
        await home.choose("automatic")
    assert cut.files is not None, "fewer writes than that"

    alive = await start_with(cut.files, home, make_home, folder)
    assert changed(original, alive.simulator) == {}
    assert alive.simulator.mode == "automatic"
    assert issues(alive) == set()
    await alive.hass.config_entries.async_unload(alive.entry.entry_id)
