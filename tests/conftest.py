"""Fixtures of the tests that run the integration in Home Assistant."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery import HomeBatteryData
from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers import DRIVERS, SessyInverter
from custom_components.homebattery.drivers.battery import ModbusBattery
from custom_components.homebattery.drivers.sessy_client import SessyClient
from tests.simulators import (
    SIMULATORS,
    ManualClock,
    Plant,
    SessySimulator,
    Simulator,
    VictronSimulator,
)

SERIALS: Final = {
    "victron": "c0619a000001",
    "sessy": "AABC1234",
    "sma": "3012345678",
    "sun2000": "HV2250123456",
    "deye_modbus": "2207112233",
    "deye_solarman": "2207112233",
}
"""The serial number that each simulated device answers with."""

LOAD: Final = 600.0
"""What the simulated house takes, W; there is no sun in it."""

_PLATFORMS: Final = ("binary_sensor", "number", "select", "sensor", "switch")


@pytest.fixture(autouse=True)
def _integration_is_found(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant find the integration, in those tests that have one."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("socket_enabled")
        request.getfixturevalue("enable_custom_integrations")


@dataclass
class Home:
    """One battery in Home Assistant, and the device behind it."""

    hass: HomeAssistant
    simulator: Simulator
    entry: MockConfigEntry

    def entry_is(self, state: ConfigEntryState) -> bool:
        return bool(self.entry.state is state)

    @property
    def data(self) -> HomeBatteryData:
        data: HomeBatteryData = self.entry.runtime_data
        return data

    async def set_up(self) -> bool:
        """Set the entry up, and wait until its entities are there."""
        done = await self.hass.config_entries.async_setup(self.entry.entry_id)
        await self.hass.async_block_till_done()
        return done

    def find(self, key: str) -> str | None:
        """Return the entity of a key, whatever its platform."""
        registry = er.async_get(self.hass)
        unique_id = f"{self.entry.unique_id}_{key}"
        for platform in _PLATFORMS:
            if found := registry.async_get_entity_id(platform, DOMAIN, unique_id):
                return found
        return None

    def entity_id(self, key: str) -> str:
        found = self.find(key)
        assert found is not None, key
        return found

    def state_of(self, key: str) -> State:
        state = self.hass.states.get(self.entity_id(key))
        assert state is not None, key
        return state

    def state(self, key: str) -> str:
        return self.state_of(key).state

    async def call(self, service: str, key: str, **data: Any) -> None:
        """Call a service on the entity of a key."""
        domain, name = service.split(".")
        await self.hass.services.async_call(
            domain, name, {"entity_id": self.entity_id(key), **data}, blocking=True
        )
        await self.hass.async_block_till_done()

    async def set_power(self, power: float) -> None:
        await self.call("number.set_value", "power_setpoint", value=power)

    async def choose(self, mode: str) -> None:
        await self.call("select.select_option", "control_mode", option=mode)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the pauses out of the drivers."""
    monkeypatch.setattr(ModbusBattery, "settle", 0)
    monkeypatch.setattr(SessyInverter, "settle", 0)
    monkeypatch.setattr(SessyClient, "retry_pause", 0)


@pytest.fixture
def clock() -> ManualClock:
    """Return the time of the simulated devices."""
    return ManualClock()


@pytest.fixture
async def victron(clock: ManualClock) -> AsyncIterator[VictronSimulator]:
    async with VictronSimulator(_house(VictronSimulator, clock)) as simulator:
        yield simulator


@pytest.fixture
async def sessy(clock: ManualClock) -> AsyncIterator[SessySimulator]:
    async with SessySimulator(_house(SessySimulator, clock)) as simulator:
        yield simulator


@pytest.fixture(params=DRIVERS)
async def simulator(
    request: pytest.FixtureRequest, clock: ManualClock
) -> AsyncIterator[Simulator]:
    """Each kind of battery in turn."""
    device = SIMULATORS[request.param]
    async with device(_house(device, clock)) as simulator:
        yield simulator


def _house(device: type[Simulator], clock: ManualClock) -> Plant:
    house = device.house(clock=clock)
    house.fixed_pv, house.fixed_load = 0.0, LOAD
    return house


type MakeHome = Callable[..., Home]


@pytest.fixture
def make_home(hass: HomeAssistant) -> MakeHome:
    """Return a function that makes an entry for a simulated device."""

    def make(simulator: Simulator, **options: Any) -> Home:
        entry = MockConfigEntry(
            domain=DOMAIN,
            title="Battery",
            unique_id=SERIALS[simulator.type],
            data={CONF_BATTERY_TYPE: simulator.type, **simulator.setup},
            options=options,
        )
        entry.add_to_hass(hass)
        return Home(hass, simulator, entry)

    return make


@pytest.fixture
async def home(make_home: MakeHome, simulator: Simulator) -> Home:
    """Each kind of battery in turn, set up."""
    made = make_home(simulator)
    assert await made.set_up()
    return made


@pytest.fixture
async def victron_home(make_home: MakeHome, victron: VictronSimulator) -> Home:
    made = make_home(victron)
    assert await made.set_up()
    return made


@pytest.fixture
async def sessy_home(make_home: MakeHome, sessy: SessySimulator) -> Home:
    made = make_home(sessy)
    assert await made.set_up()
    return made


type Warp = Callable[[float], Awaitable[None]]


@pytest.fixture
def warp(
    hass: HomeAssistant, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Warp:
    """Return a coroutine that lets time pass at once, here and in the devices.

    Not by freezing it: sockets, and what waits for them, go on working. All that
    falls due happens once, however long the leap.
    """
    loop = hass.loop
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)

    async def leap(seconds: float) -> None:
        nonlocal ahead
        clock.advance(seconds)
        ahead += seconds
        # One turn of the loop for the timers, then for what they have begun.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await hass.async_block_till_done(wait_background_tasks=True)

    return leap
