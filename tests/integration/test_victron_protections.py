"""Protections that external control suspends in a Victron, as its user meets them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
import pytest

from custom_components.homebattery.drivers.battery.controller import DeviceIssue
from tests.control.lease_support import issues
from tests.home import Home, MakeHome, Warp
from tests.simulators import ManualClock, VictronSimulator
from tests.simulators.image import ModbusImage, load
from tests.simulators.modbus import Refusal

from .test_vectors import set_up

pytestmark = pytest.mark.usefixtures("socket_enabled", "few_sensors")


@asynccontextmanager
async def image_home(
    hass: HomeAssistant, name: str, **options: Any
) -> AsyncIterator[tuple[Home, ModbusImage]]:
    """Yield an image in Home Assistant, and release it in the end."""
    (vector,) = (each for each in load("victron") if each["name"] == name)
    async with ModbusImage(vector) as image:
        home = await set_up(hass, image)
        if options:
            hass.config_entries.async_update_entry(home.entry, options=options)
            await hass.config_entries.async_reload(home.entry.entry_id)
        yield home, image
        await hass.config_entries.async_unload(home.entry.entry_id)


def reason(home: Home) -> str | None:
    value: str | None = home.state_of("control_status").attributes.get("reason")
    return value


async def test_choosing_automatic_ends_control_of_an_ess_mode_without_a_name(
    hass: HomeAssistant, warp: Warp
) -> None:
    """2902 reads 0 on real systems."""
    async with image_home(hass, "ess_mode_without_a_name") as (home, image):
        await home.set_power(1000)
        assert image.units.units[100][2902] == 3
        await home.choose("automatic")
        assert image.units.units[100][2902] == 0
        assert home.state("control_mode") == "automatic"
        await warp(180)
        assert home.state("control_status") == "automatic"
        assert issues(home) == set()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("generator_at_ac_input", "generator"),
        ("battery_life_keeps_a_limit_of_its_own", "battery_life"),
        ("site_that_may_not_feed_in", "feed_in"),
    ],
)
async def test_a_discharge_is_limited_and_the_reason_is_shown(
    hass: HomeAssistant, warp: Warp, name: str, why: str
) -> None:
    async with image_home(hass, name) as (home, _):
        await home.set_power(-3000)
        await until(warp, lambda: reason(home) == why, tries=20)


@pytest.mark.parametrize(
    ("export", "power"), [("as_permitted", -813), ("never", -813), ("always", -3000)]
)
async def test_the_option_says_whether_a_discharge_may_feed_in(
    hass: HomeAssistant, export: str, power: int
) -> None:
    name = "site_that_may_not_feed_in"
    async with image_home(hass, name, export=export) as (home, _):
        await home.set_power(-3000)
        assert float(home.state("power_setpoint")) == power


async def test_a_discharge_ends_when_a_generator_takes_over(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron_home.set_power(-1000)
    await victron.misbehave("generator")
    await until(warp, lambda: reason(victron_home) == "generator")
    assert victron.state()["device"]["passthru"]
    await victron.misbehave("generator", on=False)
    await until(warp, lambda: reason(victron_home) is None)
    assert victron.state()["battery_power"] < -900


async def test_a_feed_in_limit_set_while_it_is_held_counts_within_minutes(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    """The limits are read once a minute."""
    await victron_home.set_power(-3000)
    await warp(6)
    assert victron.state()["grid_power"] < -1000
    await victron.misbehave("setting", path="CGwacs/MaxFeedInPower", value=0)
    await until(warp, lambda: reason(victron_home) == "feed_in", tries=40)
    assert victron.state()["grid_power"] > -100


async def until(
    warp: Warp, condition: Callable[[], bool], seconds: float = 6, tries: int = 10
) -> None:
    """Let time pass until a condition holds."""
    for _ in range(tries):
        await warp(seconds)
        if condition():
            return
    raise AssertionError("it did not come about")


async def test_an_ess_assistant_that_comes_late_brings_control_by_itself(
    make_home: MakeHome, victron: VictronSimulator, warp: Warp
) -> None:
    """After a power cut its service may come after Home Assistant."""
    await victron.misbehave("absent", service="hub4")
    home = make_home(victron)
    assert await home.set_up()
    assert home.find("control_mode") is None
    await warp(61)
    await victron.misbehave("absent", service="hub4", on=False)
    await until(warp, lambda: home.find("control_mode") is not None, 60, tries=15)
    await home.hass.async_block_till_done()

    assert home.entry_is(ConfigEntryState.LOADED)
    assert DeviceIssue.NO_ESS not in issues(home)
    await home.set_power(500)
    assert float(home.state("power_setpoint")) == 500


async def test_a_gx_without_ess_assistant_is_rarely_asked_for_one(
    make_home: MakeHome, clock: ManualClock, warp: Warp
) -> None:
    """The GX notes each question without an answer as an error.

    It is asked in vain three times in the first 20 minutes, then every 10 minutes.
    """
    house = VictronSimulator.house(clock=clock)
    async with VictronSimulator(house, ess=False) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        for most in (3, 2):
            before = refusals(simulator)
            for _ in range(20):
                await warp(61)
            assert refusals(simulator) - before <= most
        await home.hass.config_entries.async_unload(home.entry.entry_id)


def refusals(simulator: VictronSimulator) -> int:
    """Return how often the service of the ESS assistant was asked for in vain."""
    return sum(
        1
        for entry in simulator.server.traffic.log
        if isinstance(entry, Refusal) and entry.pdu[1:3] == (2709).to_bytes(2)
    )
