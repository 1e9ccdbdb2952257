"""Each battery is polled with the fewest requests that its device allows, after a while.

And goes on so after a restart.
"""

from typing import Any, Final

from homeassistant.core import HomeAssistant
import pytest

from custom_components.homebattery.diagnostics import async_get_config_entry_diagnostics
from tests.home import KINDS, Home, MakeHome, plain_with
from tests.integration.test_requests import MODBUS, units_of
from tests.simulators import Simulator, VictronSimulator
from tests.simulators.modbus import Read

LEAST: Final = {
    # GX, VE.Bus, battery; and the GX's settings in two reads, the meter.
    "victron": (3, 6),
    # Its live values and those of the battery; five more that are too far apart.
    "sma": (2, 7),
    # Inverter, meter, battery; and its states, the counters, the settings.
    "sun2000": (3, 6),
    # All live values are in one block; settings, counters and limits of the BMS.
    "deye_modbus": (1, 4),
    "deye_solarman": (1, 4),
}
"""The number of requests for live values, and for all that is shown."""
LEARNING: Final = 12
"""Minutes after which all is learned."""

type Storage = dict[str, Any]


async def requests_of(home: Home, *, live: bool) -> int:
    """Return the number of requests of a poll, of live values or of all."""
    coordinator = home.data.coordinator
    if not live:
        coordinator.expire()
    traffic = units_of(home.simulator).traffic
    before = traffic.requests
    await coordinator.async_refresh()
    await home.hass.async_block_till_done()
    assert coordinator.is_fresh
    return traffic.requests - before


async def learn(home: Home) -> None:
    """Poll for some minutes."""
    for _ in range(LEARNING):
        await requests_of(home, live=False)


def learned_in(storage: Storage) -> Any:
    """Return the content of the file; None without one."""
    files = [each["data"] for name, each in storage.items() if name.endswith("learned")]
    return files[0] if files else None


def set_learned_in(storage: Storage, content: Any) -> None:
    """Change the content of the file."""
    (name,) = (name for name in storage if name.endswith("learned"))
    storage[name]["data"] = content


async def restart(home: Home) -> None:
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done(wait_background_tasks=True)


@plain_with(*MODBUS, of=MODBUS)
async def test_polls_take_the_fewest_requests(home: Home) -> None:
    most = (await requests_of(home, live=True), await requests_of(home, live=False))

    await learn(home)

    live, whole = LEAST[home.simulator.type]
    assert most[0] >= live
    assert await requests_of(home, live=True) == live
    assert await requests_of(home, live=False) == whole


@plain_with("victron", "sma", of=("victron", "sma"))
async def test_they_do_after_a_restart(home: Home, hass_storage: Storage) -> None:
    await learn(home)

    await restart(home)

    assert learned_in(hass_storage) == home.data.battery.learned
    live, whole = LEAST[home.simulator.type]
    assert await requests_of(home, live=False) == whole
    assert await requests_of(home, live=True) == live


@plain_with("victron", of=("victron",))
@pytest.mark.parametrize(
    "damage", [None, [], "x", {"units": {"GX (unit 100)": {"reads": {"a": 1}}}}]
)
async def test_a_damaged_file_is_as_none(
    home: Home, hass_storage: Storage, damage: Any
) -> None:
    await learn(home)
    set_learned_in(hass_storage, damage)

    await restart(home)

    _, whole = LEAST[home.simulator.type]
    assert await requests_of(home, live=False) > whole
    await learn(home)
    assert await requests_of(home, live=False) == whole


@plain_with("victron", of=("victron",))
async def test_nothing_is_tried_while_a_setpoint_is_held(home: Home) -> None:
    await home.set_power(1000)
    await requests_of(home, live=False)
    before = await requests_of(home, live=False)

    assert [await requests_of(home, live=False) for _ in range(3)] == [before] * 3

    await home.choose("automatic")
    await learn(home)
    assert await requests_of(home, live=False) == LEAST["victron"][1]


async def test_an_old_gx_that_answers_wrong_words_is_read_as_before(
    make_home: MakeHome,
) -> None:
    """It answers 0 for hub4 in a block that begins in its settings."""
    async with VictronSimulator(firmware="old") as old:
        home = make_home(old)
        assert await home.set_up()
        await learn(home)
        units_of(old).traffic.clear()
        await requests_of(home, live=False)

        reads = [
            range(each.address, each.address + each.words)
            for each in units_of(old).traffic.log
            if isinstance(each, Read)
        ]
        assert not [each for each in reads if 2708 in each and 2716 in each]
        assert units_of(old).traffic.refusals == []
        await home.hass.config_entries.async_unload(home.entry.entry_id)


@plain_with("victron", of=("victron",))
async def test_the_file_is_removed_with_the_battery(
    home: Home, hass: HomeAssistant, hass_storage: Storage
) -> None:
    await learn(home)
    assert learned_in(hass_storage)

    await hass.config_entries.async_remove(home.entry.entry_id)
    await hass.async_block_till_done()

    assert learned_in(hass_storage) is None


@plain_with("sma", of=("sma",))
async def test_diagnostics_show_what_was_learned(
    home: Home, simulator: Simulator
) -> None:
    await learn(home)

    data = await async_get_config_entry_diagnostics(home.hass, home.entry)

    assert data["learned"]["units"]["SMA (unit 3)"]["reads"]
    assert KINDS[simulator.type].serial not in str(data["learned"])
