"""Setting up and unloading a battery."""

import asyncio
import socket

from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
import pytest

from custom_components.homebattery.const import DOMAIN, Issue
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    RequestTimeoutError,
)
from tests.control.lease_support import issues
from tests.home import Home, MakeHome, Warp, each_on_a_socket, one_of_each_protocol
from tests.simulators import SessySimulator, Simulator, VictronSimulator


async def unload(home: Home) -> bool:
    done = await home.hass.config_entries.async_unload(home.entry.entry_id)
    await home.hass.async_block_till_done()
    return done


async def test_battery_is_set_up_and_unloaded(home: Home) -> None:
    assert home.entry_is(ConfigEntryState.LOADED)
    assert float(home.state("battery_soc")) == pytest.approx(50, abs=0.5)
    assert await unload(home)
    assert home.entry_is(ConfigEntryState.NOT_LOADED)
    assert home.state("battery_soc") == "unavailable"


async def has_disconnected(victron: VictronSimulator) -> bool:
    """Return whether the device sees its connection closed within a second."""
    for _ in range(100):
        if not victron.server.clients:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_connection_is_closed_on_unload(
    victron_home: Home, victron: VictronSimulator
) -> None:
    battery = victron_home.data.battery
    assert victron.server.clients == 1
    await unload(victron_home)
    assert await has_disconnected(victron)
    with pytest.raises(CannotConnectError):
        await battery.read()


async def test_device_is_described(home: Home) -> None:
    registry = dr.async_get(home.hass)
    assert home.entry.unique_id is not None
    device = registry.async_get_device_by_identifier(
        (DOMAIN, home.entry.unique_id), home.entry.entry_id
    )
    assert device is not None
    identity = home.data.battery.identity
    assert device.name == (identity.name or identity.model)
    assert device.manufacturer == identity.manufacturer
    assert device.model == identity.model
    assert device.serial_number == home.entry.unique_id
    assert device.sw_version == identity.firmware
    assert device.hw_version == identity.hardware
    has_page = home.simulator.type not in ("sun2000", "simulated")
    assert device.configuration_url == ("http://127.0.0.1/" if has_page else None)


async def test_set_up_is_tried_again_while_the_device_is_away(
    make_home: MakeHome, simulator: Simulator, warp: Warp
) -> None:
    home = make_home(simulator)
    await simulator.misbehave("away")
    assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert home.entry.error_reason_translation_key == "cannot_connect"
    await simulator.misbehave("away", on=False)
    await warp(60)
    assert home.entry_is(ConfigEntryState.LOADED)


async def test_set_up_says_that_the_name_does_not_resolve(
    make_home: MakeHome,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    home = make_home(victron)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        home.hass.config_entries.async_update_entry(
            home.entry, data={**home.entry.data, "host": "gx.invalid"}
        )
        assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert home.entry.error_reason_translation_key == "unknown_host"


@pytest.mark.parametrize("simulator", ["sun2000"], indirect=True)
async def test_set_up_of_a_sleeping_inverter_waits_for_daylight(
    make_home: MakeHome, simulator: Simulator, warp: Warp
) -> None:
    home = make_home(simulator)
    await simulator.misbehave("sleep")
    assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert home.entry.error_reason_translation_key == "device_failure"
    await simulator.misbehave("sleep", on=False)
    await warp(60)
    assert home.entry_is(ConfigEntryState.LOADED)


async def test_set_up_is_tried_again_when_the_first_poll_fails(
    make_home: MakeHome,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> None:
        raise RequestTimeoutError("no answer")

    home = make_home(victron)
    with monkeypatch.context() as patch:
        patch.setattr(Battery, "read", fail)
        assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert home.entry.error_reason_translation_key == "timeout"
    assert await has_disconnected(victron)


@pytest.mark.parametrize(
    "impossible", [{"host": "a\0b"}, {"host": "http://x/"}, {"port": 70000}]
)
@each_on_a_socket
async def test_entry_with_an_impossible_address_can_be_reconfigured_or_removed(
    make_home: MakeHome,
    simulator: Simulator,
    impossible: dict[str, object],
) -> None:
    """Of an earlier version, say, which took any address."""
    home = make_home(simulator)
    entries = home.hass.config_entries
    entries.async_update_entry(home.entry, data={**home.entry.data, **impossible})
    assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_ERROR)
    assert home.entry.error_reason_translation_key == "invalid_value"
    assert "not an address" in str(home.entry.reason)
    await entries.async_remove(home.entry.entry_id)
    assert entries.async_get_entry(home.entry.entry_id) is None


async def test_another_device_at_the_address_is_refused(
    make_home: MakeHome, simulator: Simulator
) -> None:
    """It is tried again: the address may return to the right device."""
    home = make_home(simulator)
    serial_number = home.entry.unique_id
    home.hass.config_entries.async_update_entry(home.entry, unique_id="other")
    assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert home.entry.error_reason_translation_key == "another_device"
    assert issues(home) == {Issue.ANOTHER_DEVICE}

    home.hass.config_entries.async_update_entry(home.entry, unique_id=serial_number)
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    assert home.entry_is(ConfigEntryState.LOADED)


async def test_wrong_password_starts_a_new_sign_in(
    make_home: MakeHome, sessy: SessySimulator, warp: Warp
) -> None:
    """It is tried again meanwhile: a device that starts may refuse the right one."""
    home = make_home(sessy)
    await sessy.misbehave("unauthorized")
    assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert home.entry.error_reason_translation_key == "invalid_auth"
    flows = home.hass.config_entries.flow
    [flow] = flows.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH

    await sessy.misbehave("unauthorized", on=False)
    await warp(100)
    assert home.entry_is(ConfigEntryState.LOADED)
    assert flows.async_progress() == []


async def test_sessy_that_does_not_answer_its_serial_number_is_read_after_a_restart(
    make_home: MakeHome, sessy: SessySimulator
) -> None:
    """A dongle that starts denies pages; the entry is known, and its log-in taken."""
    home = make_home(sessy)
    assert await home.set_up()
    await sessy.misbehave("error", count=100, path="system/info")
    await home.hass.config_entries.async_reload(home.entry.entry_id)

    assert home.entry_is(ConfigEntryState.LOADED)
    assert float(home.state("battery_soc")) == pytest.approx(50, abs=0.5)
    with pytest.raises(HomeAssistantError):
        await home.set_power(1000)
    assert sessy.server.posts == []
    assert issues(home) == set()

    await sessy.misbehave("error", count=0)
    await home.set_power(1000)
    assert sessy.mode == "controlled"


@one_of_each_protocol
@pytest.mark.parametrize("ending", ["unload", "remove", "reload", "stop"])
async def test_setpoint_is_released_whatever_ends_it(home: Home, ending: str) -> None:
    before = home.simulator.state()
    await home.set_power(1000)
    assert home.simulator.mode == "controlled"
    entries, entry_id = home.hass.config_entries, home.entry.entry_id
    match ending:
        case "unload":
            await unload(home)
        case "remove":
            await entries.async_remove(entry_id)
        case "reload":
            await entries.async_reload(entry_id)
            assert home.state("control_mode") == "automatic"
        case "stop":
            await home.hass.async_stop(force=True)
    await home.hass.async_block_till_done()
    after = home.simulator.state()
    assert after["mode"] == "automatic"
    assert after["battery_power"] == pytest.approx(before["battery_power"], abs=5)


async def test_nothing_is_written_when_nothing_was_held(
    victron_home: Home, victron: VictronSimulator
) -> None:
    await unload(victron_home)
    assert not victron.server.traffic.writes


@one_of_each_protocol
async def test_release_that_fails_is_logged_and_does_not_stop_unloading(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    await home.set_power(1000)
    await home.simulator.stop()
    assert await unload(home)
    assert home.entry_is(ConfigEntryState.NOT_LOADED)
    assert "could not be released and may stay at its last setpoint" in caplog.text


@one_of_each_protocol
async def test_no_setpoint_is_taken_while_stopping(home: Home) -> None:
    control = home.data.control
    home.hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await home.hass.async_block_till_done()
    with pytest.raises(Exception, match="takes no setpoint at this moment"):
        await control.async_set_power(1000)
    assert home.simulator.mode == "automatic"


@one_of_each_protocol
async def test_entities_stay_when_their_platforms_do_not_unload(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> bool:
        return False

    await home.set_power(1000)
    with monkeypatch.context() as patch:
        patch.setattr(home.hass.config_entries, "async_unload_platforms", refuse)
        assert not await unload(home)
    assert home.simulator.mode == "controlled"


async def test_connection_is_closed_when_the_entities_cannot_be_made(
    make_home: MakeHome, victron: VictronSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    home = make_home(victron)
    with monkeypatch.context() as patch:
        patch.setattr(home.hass.config_entries, "async_forward_entry_setups", fail)
        assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.SETUP_ERROR)
    assert await has_disconnected(victron)


@pytest.mark.parametrize("simulator", ["deye_modbus", "deye_solarman"], indirect=True)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"allow_export": True, "capacity": 9000}, {"export": "always"}),
        ({"allow_export": False, "capacity": 9000}, {"export": "never"}),
        ({"capacity": 9000}, {}),
    ],
)
async def test_options_of_an_earlier_version_keep_their_meaning(
    make_home: MakeHome,
    simulator: Simulator,
    before: dict[str, object],
    after: dict[str, object],
) -> None:
    """Whether a discharge may feed in was a yes or no, for a Deye."""
    home = make_home(simulator, **before)
    assert home.entry.minor_version == 1
    assert await home.set_up()
    assert home.entry.options == {"capacity": 9000, **after}
    assert home.entry.minor_version == 2
    battery = home.data.battery
    assert isinstance(battery, DeyeInverter)
    assert battery.export == after.get("export", "never")


async def test_an_entry_of_a_later_version_is_not_touched(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    home = make_home(victron, something="new")
    home.hass.config_entries.async_update_entry(home.entry, version=2)
    assert not await home.set_up()
    assert home.entry_is(ConfigEntryState.MIGRATION_ERROR)
    assert home.entry.options == {"something": "new"}
