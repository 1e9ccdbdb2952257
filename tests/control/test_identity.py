"""Another device at the address of a battery: not shown, and never written to."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
import pytest

from custom_components.homebattery.const import SCAN_INTERVAL
from custom_components.homebattery.control.keep_alive import RETRY
from tests.control.lease_support import issues, stored
from tests.home import KINDS, Home, MakeHome, Warp, another, one_of_each_protocol
from tests.nameless import Nameless
from tests.simulators import ManualClock, Simulator
from tests.simulators.switch import Switch

pytestmark = pytest.mark.usefixtures("few_sensors")


@dataclass
class Exchange:
    """A battery in Home Assistant, and another one that gets its address."""

    home: Home
    switch: Switch
    other: Simulator
    warp: Warp

    async def pass_to(self, device: Simulator | None) -> None:
        """Let the device be out of reach for two polls, and another take its place."""
        await self.switch.give_to(None)
        await self.poll()
        if device is not None:
            await self.switch.give_to(device)
        await self.poll()

    async def poll(self) -> None:
        """Wait longer than any pause between two tries."""
        for _ in range(2):
            await self.warp(RETRY + 1)


@asynccontextmanager
async def exchanging(
    home: Home, clock: ManualClock, warp: Warp, *, hangs_up: bool = False
) -> AsyncIterator[Exchange]:
    """Set up a battery behind a switch, with another one of its kind.

    With `hangs_up`, no connection lasts, and both are behind the same logger.
    """
    device = home.simulator
    async with (
        another(device, clock, same_logger=hangs_up) as other,
        Switch(device) as switch,
    ):
        switch.hangs_up = hangs_up and device.type != "sessy"
        home.hass.config_entries.async_update_entry(
            home.entry, data={**home.entry.data, **switch.setup_of(device)}
        )
        assert await home.set_up()
        yield Exchange(home, switch, other, warp)
        await switch.give_to(device)
        await home.hass.config_entries.async_unload(home.entry.entry_id)


@pytest.fixture
async def exchange(
    make_home: MakeHome, simulator: Simulator, clock: ManualClock, warp: Warp
) -> AsyncIterator[Exchange]:
    """Yield a battery that is set up, and another one of its kind."""
    async with exchanging(make_home(simulator), clock, warp) as made:
        yield made


@one_of_each_protocol
async def test_nothing_of_another_device_is_shown(exchange: Exchange) -> None:
    """An issue says so, and ends when the right device is back."""
    home = exchange.home
    exchange.other.plant.soc = 80
    await exchange.pass_to(exchange.other)
    assert home.state("battery_soc") == "unavailable"
    assert issues(home) == {"another_device"}

    await exchange.pass_to(home.simulator)
    assert float(home.state("battery_soc")) == pytest.approx(50, abs=2)
    assert issues(home) == set()


@one_of_each_protocol
async def test_held_battery_keeps_its_lease_while_another_device_answers(
    exchange: Exchange, hass_storage: dict[str, Any]
) -> None:
    home, other = exchange.home, exchange.other
    before = other.settings_words()
    await home.set_power(1000)
    await exchange.pass_to(other)

    assert home.data.control.status == "not_following"
    assert home.data.control.reason == "another_device"
    assert home.data.control.mode == "manual"
    assert stored(hass_storage, home) is not None
    assert other.settings_words() == before

    await exchange.pass_to(home.simulator)
    assert home.simulator.mode == "controlled"
    assert home.data.control.status == "following"


@one_of_each_protocol
async def test_release_waits_for_the_right_device(
    exchange: Exchange, hass_storage: dict[str, Any]
) -> None:
    """To choose automatic changes neither device, and the lease is kept."""
    home, other = exchange.home, exchange.other
    before = other.settings_words()
    await home.set_power(1000)
    await exchange.pass_to(other)
    with pytest.raises(Exception, match="Another device answers at the address"):
        await home.choose("automatic")
    await exchange.poll()

    assert home.data.control.status == "release_failed"
    assert issues(home) == {"another_device", "release_failed"}
    assert stored(hass_storage, home) is not None
    assert other.settings_words() == before

    await exchange.pass_to(home.simulator)
    assert home.simulator.mode == "automatic"
    assert stored(hass_storage, home) is None
    assert issues(home) == set()


@one_of_each_protocol
async def test_no_setpoint_is_set_at_another_device(
    exchange: Exchange, hass_storage: dict[str, Any]
) -> None:
    home, other = exchange.home, exchange.other
    before = other.settings_words()
    await exchange.pass_to(other)
    with pytest.raises(Exception, match="another device answers"):
        await home.data.control.async_set_power(1000)

    assert home.data.control.mode == "automatic"
    assert stored(hass_storage, home) is None
    assert other.settings_words() == before


@one_of_each_protocol
async def test_unloading_leaves_another_device_alone(
    exchange: Exchange, hass_storage: dict[str, Any]
) -> None:
    """The next start finds the right device, and releases it."""
    home, other = exchange.home, exchange.other
    before = other.settings_words()
    await home.set_power(1000)
    await exchange.pass_to(other)
    entries, entry_id = home.hass.config_entries, home.entry.entry_id
    await entries.async_reload(entry_id)

    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert stored(hass_storage, home) is not None
    assert "another_device" in issues(home)
    assert other.settings_words() == before

    await exchange.switch.give_to(home.simulator)
    await entries.async_reload(entry_id)
    assert home.entry_is(ConfigEntryState.LOADED)
    assert home.simulator.mode == "automatic"
    assert issues(home) == set()


# A device without a serial number


@pytest.mark.parametrize("way", ["refused", "empty"])
@one_of_each_protocol
async def test_nothing_is_shown_of_nor_renewed_at_a_device_without_a_serial_number(
    exchange: Exchange, clock: ManualClock, hass_storage: dict[str, Any], way: str
) -> None:
    """It may be a stranger; the lease is kept for the right device."""
    home = exchange.home
    async with another(home.simulator, clock, same_logger=True) as other:
        before = other.settings_words()
        await Nameless(other, way).begin()
        await home.set_power(1000)
        await exchange.pass_to(other)

        assert home.state("battery_soc") == "unavailable"
        assert home.data.control.status == "not_following"
        assert home.data.control.reason == "unreachable"
        assert stored(hass_storage, home) is not None
        assert issues(home) == set()
        assert other.settings_words() == before

        await exchange.pass_to(home.simulator)
        assert home.simulator.mode == "controlled"
        assert home.data.control.status == "following"


@pytest.mark.parametrize("way", ["refused", "empty"])
@one_of_each_protocol
async def test_device_that_starts_is_back_at_the_poll_after_it_reports_its_number(
    exchange: Exchange, way: str
) -> None:
    home = exchange.home
    nameless = Nameless(home.simulator, way)
    await nameless.begin()
    await exchange.pass_to(home.simulator)
    assert home.state("battery_soc") == "unavailable"

    await nameless.end()
    await exchange.warp(SCAN_INTERVAL + 1)

    assert float(home.state("battery_soc")) == pytest.approx(50, abs=2)


@pytest.mark.parametrize("simulator", ["deye_solarman"], indirect=True)
async def test_another_data_logger_is_another_device(
    exchange: Exchange, hass_storage: dict[str, Any]
) -> None:
    """While it is held, and when it is set up."""
    home, other = exchange.home, exchange.other
    before = other.settings_words()
    await home.set_power(1000)
    await exchange.pass_to(other)
    assert home.data.control.reason == "another_device"
    assert issues(home) == {"another_device"}

    await home.hass.config_entries.async_reload(home.entry.entry_id)
    assert home.entry.error_reason_translation_key == "another_device"
    assert "another_device" in issues(home)
    assert stored(hass_storage, home) is not None
    assert other.settings_words() == before


# Where no connection lasts, another device may answer without any failure


unnoticed_by_connections: Final = pytest.mark.parametrize(
    "simulator", ["sessy", "deye_solarman"], indirect=True
)
"""A mark for the kinds that have no lasting connection, or may have none."""


@pytest.fixture
async def unnoticed(
    make_home: MakeHome, simulator: Simulator, clock: ManualClock, warp: Warp
) -> AsyncIterator[Exchange]:
    """Yield a battery that is held, and another one that has got its address."""
    async with exchanging(make_home(simulator), clock, warp, hangs_up=True) as made:
        await made.home.set_power(700)
        await made.switch.give_to(made.other)
        yield made


CHANGES: Final[dict[str, Callable[[Home], Awaitable[Any]]]] = {
    "setpoint": lambda home: home.data.control.async_set_power(-900),
    "setting": lambda home: home.data.battery.set_value(
        *KINDS[home.simulator.type].number
    ),
}


@unnoticed_by_connections
@pytest.mark.parametrize("change", CHANGES)
async def test_no_change_while_held_goes_to_another_device(
    unnoticed: Exchange, change: str
) -> None:
    """It is compared first; a renewal does that when it sees another setpoint."""
    home, other = unnoticed.home, unnoticed.other
    before = other.settings_words()
    await unnoticed.poll()
    with pytest.raises(Exception, match="nother device answers"):
        await CHANGES[change](home)
    await unnoticed.poll()
    assert other.settings_words() == before
    assert home.data.control.reason == "another_device"
    assert issues(home) == {"another_device"}

    await unnoticed.switch.give_to(home.simulator)
    await unnoticed.poll()
    assert home.data.control.status == "following"
    assert issues(home) == set()


@unnoticed_by_connections
async def test_state_of_another_device_is_not_taken_for_a_release(
    unnoticed: Exchange, hass_storage: dict[str, Any]
) -> None:
    """However soon: it may show just what is to be restored."""
    home = unnoticed.home
    with pytest.raises(Exception, match="nother device answers"):
        await home.choose("automatic")
    assert stored(hass_storage, home) is not None

    await unnoticed.switch.give_to(home.simulator)
    await unnoticed.poll()
    assert home.simulator.mode == "automatic"
    assert stored(hass_storage, home) is None
    assert issues(home) == set()
