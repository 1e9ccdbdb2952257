"""The scan for loggers in the network."""

from typing import Any

from homeassistant.const import CONF_HOST, CONF_MAC
from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.homebattery import discovery
from custom_components.homebattery.const import (
    CONF_BATTERY_TYPE,
    CONF_LOGGER_SERIAL,
    DOMAIN,
)
from custom_components.homebattery.discovery import (
    MOST_FLOWS,
    MOST_REMEMBERED,
    SCAN_INTERVAL,
    async_find_loggers,
    async_scan_for_loggers,
)
from custom_components.homebattery.drivers.solarman.discovery import Logger
from tests.home import MakeHome
from tests.simulators import DeyeSolarmanSimulator, ManualClock

HERE = Logger("192.0.2.1", "34EAE7000001", 1)
ELSEWHERE = Logger("192.0.2.22", "34EAE7000002", 2)
NEW = Logger("192.0.2.3", "34EAE7000003", 3)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses of the loggers for which a flow was started."""
    hosts: list[str] = []

    def create_flow(
        _: HomeAssistant, domain: str, context: dict[str, Any], data: dict[str, Any]
    ) -> None:
        assert domain == DOMAIN
        assert context == {"source": "integration_discovery"}
        assert data.keys() == {CONF_HOST, CONF_MAC}
        hosts.append(data[CONF_HOST])

    monkeypatch.setattr(discovery, "async_create_flow", create_flow)
    return hosts


def add(hass: HomeAssistant, battery_type: str, **data: Any) -> None:
    MockConfigEntry(
        domain=DOMAIN, data={CONF_BATTERY_TYPE: battery_type, **data}
    ).add_to_hass(hass)


async def scan_again(hass: HomeAssistant) -> None:
    async_fire_time_changed(hass, dt_util.utcnow() + SCAN_INTERVAL * 1.5)
    await hass.async_block_till_done(wait_background_tasks=True)


async def test_loggers_are_scanned_for_periodically(
    hass: HomeAssistant, loggers: list[Logger], begun: list[str]
) -> None:
    add(hass, "deye_solarman", host=HERE.address, **{CONF_LOGGER_SERIAL: HERE.serial})
    add(
        hass,
        "deye_solarman",
        host="192.0.2.2",
        **{CONF_LOGGER_SERIAL: ELSEWHERE.serial},
    )
    loggers += [HERE, ELSEWHERE]
    async_scan_for_loggers(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert begun == [ELSEWHERE.address]
    loggers.append(NEW)
    await scan_again(hass)
    assert begun == [ELSEWHERE.address, ELSEWHERE.address, NEW.address]


async def test_logger_that_answers_at_its_address_stays_there(
    make_home: MakeHome, clock: ManualClock, loggers: list[Logger], begun: list[str]
) -> None:
    house = DeyeSolarmanSimulator.house(clock=clock)
    async with DeyeSolarmanSimulator(house) as simulator:
        home = make_home(simulator)
        loggers.append(ELSEWHERE._replace(serial=simulator.server.serial))
        assert await home.set_up()
        begun.clear()  # before it was set up, it did not answer
        await scan_again(home.hass)
        assert begun == []
        home.data.coordinator.last_update_success = False
        await scan_again(home.hass)
        assert begun == [ELSEWHERE.address]
        await home.hass.config_entries.async_unload(home.entry.entry_id)


async def test_foreign_logger_is_asked_once_at_each_address(
    hass: HomeAssistant, loggers: list[Logger], begun: list[str]
) -> None:
    add(hass, "deye_modbus", host=HERE.address)
    loggers.append(NEW)
    async_scan_for_loggers(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    await scan_again(hass)
    assert begun == [NEW.address]
    loggers[:] = [NEW._replace(address="192.0.2.4")]
    await scan_again(hass)
    assert begun == [NEW.address, "192.0.2.4"]


async def test_one_scan_begins_few_flows_that_of_a_known_logger_first(
    hass: HomeAssistant, loggers: list[Logger], begun: list[str]
) -> None:
    known = ELSEWHERE
    add(hass, "deye_solarman", host=HERE.address, **{CONF_LOGGER_SERIAL: known.serial})
    loggers += [
        *(NEW._replace(address=f"192.0.3.{host}") for host in range(100)),
        known,
    ]
    async_scan_for_loggers(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(begun) == MOST_FLOWS
    assert begun[0] == known.address
    await scan_again(hass)
    assert len(begun) == 2 * MOST_FLOWS
    assert len(set(begun)) == len(begun) - 1  # the known one is asked again


async def test_foreign_loggers_are_remembered_up_to_a_limit(
    hass: HomeAssistant, loggers: list[Logger], begun: list[str]
) -> None:
    add(hass, "deye_modbus", host=HERE.address)
    async_scan_for_loggers(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    await scan_again(hass)
    for serial in range(MOST_REMEMBERED + 1):
        loggers[:] = [NEW._replace(serial=serial)]
        await scan_again(hass)
    assert len(begun) == MOST_REMEMBERED + 1
    await scan_again(hass)
    assert len(begun) == MOST_REMEMBERED + 1
    loggers[:] = [NEW._replace(serial=0)]
    await scan_again(hass)
    assert len(begun) == MOST_REMEMBERED + 2  # the first one was forgotten


async def test_network_is_not_scanned_when_no_entry_can_have_a_logger(
    hass: HomeAssistant, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def discover() -> list[Logger]:
        raise AssertionError("was asked")

    monkeypatch.setattr(discovery, "discover", discover)
    add(hass, "victron", host=HERE.address)
    async_scan_for_loggers(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert begun == []


async def test_no_network_is_no_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def discover() -> list[Logger]:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(discovery, "discover", discover)
    assert await async_find_loggers() == []
