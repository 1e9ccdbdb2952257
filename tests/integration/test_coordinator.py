"""Polling: the keys of each read, and failures to read."""

import asyncio
from collections.abc import Collection
from datetime import datetime
import logging
from typing import Any

from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er, issue_registry as ir
import pytest

from custom_components.homebattery import coordinator
from custom_components.homebattery.drivers import VictronInverter
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.readings import Readings
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    DeviceRefusedError,
    NotSupportedError,
    RequestTimeoutError,
)
from custom_components.homebattery.drivers.measurements import Poll
from tests.home import Home, MakeHome, Warp, each_on_a_socket, one_of_each_protocol
from tests.simulators import SessySimulator, Simulator, VictronSimulator
from tests.simulators.modbus import ILLEGAL_ADDRESS, Refused

BATTERY_UNIT = 225

type Asked = list[set[str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return the keys of each read, oldest first."""
    reads: Asked = []
    read = Battery.read

    async def note(self: Battery, keys: Collection[str] | None = None) -> Readings:
        reads.append(set(self.measurements if keys is None else keys))
        return await read(self, keys)

    monkeypatch.setattr(Battery, "read", note)
    return reads


def of_class(home: Home, keys: set[str], poll: Poll) -> set[str]:
    battery = home.data.battery
    return {key for key in keys if battery.poll_rate(key) is poll}


async def test_everything_is_read_once_and_then_enabled_entities_only(
    make_home: MakeHome, simulator: Simulator, asked: Asked, warp: Warp
) -> None:
    """First those which are enabled: their states need not wait for the others."""
    home = make_home(simulator)
    await home.set_up()
    at_start, rest = asked
    # A device that refuses the SOC, too, lacks nothing: it is ill.
    assert at_start & rest == {"battery_soc"}
    assert at_start | rest >= set(home.data.battery.measurements)
    shown = home.data.coordinator.subscribed
    registry = er.async_get(home.hass)
    for entity in er.async_entries_for_config_entry(registry, home.entry.entry_id):
        key = entity.unique_id.removeprefix(f"{home.entry.unique_id}_")
        if key in home.data.battery.measurements and entity.disabled:
            assert key not in shown
    assert at_start >= shown
    asked.clear()
    await warp(61)
    assert asked == [shown - of_class(home, shown, Poll.ONCE)]
    for _ in range(3):
        await warp(6)
    fast = of_class(home, shown, Poll.FAST)
    assert asked[1:] == [fast, fast, fast]
    await warp(60)
    assert asked[4] == asked[0]


async def test_release_reads_what_it_changed_and_the_next_poll_the_rest(
    make_home: MakeHome, simulator: Simulator, asked: Asked, warp: Warp
) -> None:
    """On a slow device a read of everything takes as long as the release itself."""
    home = make_home(simulator)
    await home.set_up()
    shown = home.data.coordinator.subscribed
    await warp(61)
    await home.set_power(1000)
    asked.clear()
    await home.choose("automatic")
    assert asked
    for keys in asked:
        assert "battery_power" in keys
        assert {"battery_soc", "energy_charged_total"}.isdisjoint(keys)
    await warp(6)
    (*_, everything) = asked
    assert everything >= shown - of_class(home, shown, Poll.ONCE)


async def test_scan_interval_is_an_option(
    make_home: MakeHome, victron: VictronSimulator, asked: Asked, warp: Warp
) -> None:
    home = make_home(victron, scan_interval=30)
    await home.set_up()
    asked.clear()
    for _ in range(3):
        await warp(10.4)
    assert len(asked) == 1


async def test_newly_subscribed_key_is_read_at_the_next_poll(
    victron_home: Home, asked: Asked, warp: Warp
) -> None:
    await warp(61)
    coordinator = victron_home.data.coordinator
    assert victron_home.data.battery.poll_rate("charge_cycles") is Poll.SLOW
    assert victron_home.data.battery.poll_rate("serial_number") is Poll.ONCE
    remove = coordinator.async_add_listener(
        lambda: None, ("charge_cycles", "serial_number", "no_such_key")
    )
    await warp(6)
    assert "charge_cycles" in asked[-1]
    assert "serial_number" not in asked[-1]  # never changes, and was read at set-up
    await warp(6)
    assert "charge_cycles" not in asked[-1]
    remove()


async def test_poll_rates_are_evaluated_only_when_subscriptions_change(
    victron_home: Home, monkeypatch: pytest.MonkeyPatch, warp: Warp
) -> None:
    evaluated: list[str] = []
    battery, poll_rate = victron_home.data.battery, VictronInverter.poll_rate

    def note(self: VictronInverter, key: str) -> Poll:
        evaluated.append(key)
        return poll_rate(self, key)

    await warp(6)
    monkeypatch.setattr(VictronInverter, "poll_rate", note)
    await warp(61)
    await warp(6)
    assert evaluated == []
    coordinator = victron_home.data.coordinator
    remove = coordinator.async_add_listener(lambda: None, ("charge_cycles",))
    await warp(6)
    assert sorted(evaluated) == sorted(coordinator.subscribed)
    assert "charge_cycles" in evaluated
    remove()
    assert "charge_cycles" not in coordinator.subscribed
    assert coordinator.subscribed <= set(battery.measurements)


@each_on_a_socket
async def test_registers_of_keys_are_determined_when_something_changed_not_for_each_poll(
    home: Home, monkeypatch: pytest.MonkeyPatch, warp: Warp
) -> None:
    """With a hundred entities that would be half of all work."""
    battery, coordinator = home.data.battery, home.data.coordinator
    for seconds in (61, 6):
        await warp(seconds)
    other = next(
        key
        for key in battery.measurements
        if key not in coordinator.subscribed and battery.poll_rate(key) is Poll.SLOW
    )
    evaluated: list[str] = []
    needs = type(battery)._needs

    def note(self: Battery, key: str) -> tuple[str, ...]:
        evaluated.append(key)
        return needs(self, key)

    monkeypatch.setattr(type(battery), "_needs", note)
    for seconds in (6, 61, 6):
        await warp(seconds)
    assert evaluated == []
    remove = coordinator.async_add_listener(lambda: None, (other,))
    await warp(61)
    remove()
    assert other in evaluated
    assert len(evaluated) == len(set(evaluated))


async def test_measurement_that_proves_absent_is_no_longer_polled(
    victron_home: Home, monkeypatch: pytest.MonkeyPatch, asked: Asked, warp: Warp
) -> None:
    coordinator, battery = victron_home.data.coordinator, victron_home.data.battery
    assert coordinator.can_measure("battery_soc")
    remaining = tuple(key for key in battery.measurements if key != "battery_soc")
    monkeypatch.setattr(VictronInverter, "measurements", remaining)
    await warp(6)
    assert "battery_soc" not in asked[-1]
    assert not coordinator.can_measure("battery_soc")


async def test_disabled_block_is_not_asked_for(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await warp(61)
    victron.server.traffic.clear()
    for _ in range(2):
        await warp(61)
    # The grid meter's unit has energy on show, Dynamic ESS (5400…) has nothing.
    addresses = {(read.unit, read.address) for read in victron.server.traffic.reads}
    assert any(unit == 40 for unit, _ in addresses)
    assert not any(5400 <= address < 5410 for _, address in addresses)


@one_of_each_protocol
async def test_one_miss_is_not_shown_and_the_second_is(
    home: Home, warp: Warp, caplog: pytest.LogCaptureFixture
) -> None:
    await home.simulator.misbehave("away")
    await warp(6)
    assert home.state("battery_soc") != "unavailable"
    await warp(6)
    assert home.state("battery_soc") == "unavailable"
    assert home.state("control_mode") == "unavailable"
    await warp(6)
    assert caplog.text.count(f"Error fetching {home.entry.title} data") == 1
    await home.simulator.misbehave("away", on=False)
    await warp(35)  # the transport does not retry a dead device for a while
    assert float(home.state("battery_soc")) == pytest.approx(50, abs=1)
    assert f"Fetching {home.entry.title} data recovered" in caplog.text


async def test_failing_block_takes_only_its_entities(
    victron_home: Home,
    victron: VictronSimulator,
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    await victron.misbehave("exception", code=4, count=1000, unit=BATTERY_UNIT)
    await warp(61)
    assert victron_home.state("battery_soh") == "98.0"
    await warp(6)
    assert victron_home.state("battery_soh") == "unavailable"
    assert victron_home.state("battery_power") != "unavailable"
    assert victron_home.state("grid_power") != "unavailable"
    assert caplog.text.count(f"{victron_home.entry.title}: cannot read") == 1
    await victron.misbehave("exception", code=4, count=0, unit=BATTERY_UNIT)
    await warp(61)
    assert victron_home.state("battery_soh") == "98.0"
    assert caplog.text.count("can read") == 1


async def test_block_that_keeps_failing_is_not_read_at_each_poll(
    victron_home: Home, victron: VictronSimulator, warp: Warp, asked: Asked
) -> None:
    await victron.misbehave("exception", code=4, count=1000, unit=BATTERY_UNIT)
    await warp(61)
    await warp(6)
    assert "battery_soh" in asked[-1]
    await warp(6)
    assert "battery_soh" not in asked[-1]


async def test_measurement_that_the_device_no_longer_has_fails_and_is_logged_once(
    victron_home: Home,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first refusal may be a passing one, as any missed poll."""
    before = victron_home.state("battery_soh")
    read = Battery.read

    async def without_soh(
        self: Battery, keys: Collection[str] | None = None
    ) -> Readings:
        readings = await read(self, keys)
        gone = NotSupportedError("no such register")
        return Readings(readings.values_by_key, {"battery_soh": gone})

    monkeypatch.setattr(Battery, "read", without_soh)
    await warp(6)
    assert victron_home.state("battery_soh") == before
    for _ in range(3):
        await warp(60)
        assert victron_home.state("battery_soh") == "unavailable"
    assert caplog.text.count("cannot read battery_soh: no such register") == 1


async def test_refused_password_starts_a_new_sign_in(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await sessy.misbehave("unauthorized")
    await warp(6)
    assert sessy_home.state("battery_soc") == "50.0"
    await warp(6)
    assert sessy_home.state("battery_soc") == "unavailable"
    [flow] = sessy_home.hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH


async def test_password_that_is_right_again_ends_the_sign_in(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    """It is tried once a minute: a dongle may refuse it while it starts."""
    await sessy.misbehave("unauthorized")
    for _ in range(3):
        await warp(6)
    rejected = sessy.server.rejected
    await warp(6)
    assert sessy.server.rejected == rejected
    await sessy.misbehave("unauthorized", on=False)
    await warp(61)
    assert sessy_home.state("battery_soc") != "unavailable"
    assert sessy_home.hass.config_entries.flow.async_progress() == []
    assert not ir.async_get(sessy_home.hass).issues


async def test_password_that_is_refused_once_starts_no_new_sign_in(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    await sessy.misbehave("error", status=401, count=1)
    await warp(6)
    assert sessy_home.state("battery_soc") == "50.0"
    assert sessy_home.hass.config_entries.flow.async_progress() == []


async def test_state_that_did_not_change_is_not_written(
    victron_home: Home, warp: Warp
) -> None:
    await warp(6)
    key = "battery_status"
    before = victron_home.state_of(key).last_reported
    await warp(6)
    assert victron_home.state_of(key).last_reported == before


async def test_reading_back_leaves_a_failure_to_the_next_poll(
    victron_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Readings:
        raise RequestTimeoutError("no answer")

    monkeypatch.setattr(Battery, "read", fail)
    await victron_home.data.coordinator.async_read_now(["battery_soc"])
    assert victron_home.state("battery_soc") == "50.0"


async def test_reading_back_takes_only_what_the_battery_has(
    victron_home: Home, asked: Asked
) -> None:
    await victron_home.data.coordinator.async_read_now(["battery_soc", "backup_soc"])
    assert asked == [{"battery_soc"}]


async def test_entity_of_a_refused_key_is_added(
    make_home: MakeHome, victron: VictronSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is refused at set-up may be read later; an unsupported one may not."""
    read = Battery.read

    async def refuse(self: Battery, keys: Collection[str] | None = None) -> Readings:
        readings = await read(self, keys)
        values = dict(readings.values_by_key)
        del values["battery_soh"]
        return Readings(values, {"battery_soh": DeviceRefusedError("busy")})

    home = make_home(victron)
    with monkeypatch.context() as patch:
        patch.setattr(Battery, "read", refuse)
        await home.set_up()
    assert home.state("battery_soh") == "unavailable"


@one_of_each_protocol
async def test_time_of_the_last_reading_is_shown(home: Home, warp: Warp) -> None:
    """It is shown in steps of five minutes while polls succeed, else to the second."""

    def shown() -> datetime:
        return datetime.fromisoformat(home.state("last_fresh"))

    assert shown().timestamp() % 300 == 0
    fresh = home.data.coordinator.last_fresh
    assert fresh is not None

    await home.simulator.misbehave("away")
    await warp(6)
    assert home.state("battery_soc") != "unavailable"
    assert shown() == fresh.replace(microsecond=0)
    for _ in range(2):
        await warp(6)
    assert home.state("battery_soc") == "unavailable"
    assert shown() == fresh.replace(microsecond=0)


@one_of_each_protocol
async def test_device_that_is_away_costs_one_line_in_the_log(
    home: Home, warp: Warp, caplog: pytest.LogCaptureFixture
) -> None:
    """The libraries below the integration log no warning of their own."""
    caplog.set_level(logging.INFO)
    caplog.clear()
    await home.simulator.misbehave("away")
    for _ in range(5):
        await warp(60)
    assert not home.data.coordinator.last_update_success
    [line] = [
        record
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "asyncio"
    ]
    assert line.name == coordinator.__name__
    await home.simulator.misbehave("away", on=False)


REFUSED = {
    "victron": (225, range(250, 330)),
    "sun2000": (1, range(32080, 32081)),
    "deye_modbus": (1, range(500, 501)),
    "deye_solarman": (1, range(500, 501)),
    "sma": (3, range(30775, 30776)),
}
"""Words, by unit and address, that are polled and then refused."""


def refuse_a_part(simulator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a device refuse a part of what it answered before."""
    if simulator.type == "sessy":
        simulator.server.set_faults(
            error=1_000_000, error_status=404, error_path="energy/status"
        )
        return
    unit_id, words = REFUSED[simulator.type]
    read = simulator.server.units.read

    def answer(unit: int, address: int, count: int) -> Any:
        if unit == unit_id and set(words) & set(range(address, address + count)):
            raise Refused(ILLEGAL_ADDRESS)
        return read(unit, address, count)

    monkeypatch.setattr(simulator.server.units, "read", answer)


@each_on_a_socket
async def test_values_that_are_refused_after_all_fail_first_and_are_logged_once(
    make_home: MakeHome,
    simulator: Simulator,
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = make_home(simulator)
    await home.set_up()
    await warp(61)
    coordinator = home.data.coordinator
    before = coordinator.subscribed & set(coordinator.data)
    with monkeypatch.context() as patch:
        refuse_a_part(simulator, patch)
        caplog.set_level(logging.INFO)
        caplog.clear()
        await warp(61)
        assert lines(caplog, "cannot read") == []
        for _ in range(6):
            await warp(61)
        (line,) = lines(caplog, "cannot read")
        lost = set(coordinator.data.failures) & before
        assert lost
        assert all(key in line for key in lost)
        assert "battery_soc" not in lost
    if isinstance(simulator, SessySimulator):
        simulator.server.set_faults(error=0)
    for _ in range(12):
        await warp(61)
    assert not set(coordinator.data.failures) & before
    assert len(lines(caplog, "can read")) == 1


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [message for message in caplog.messages if text in message]


async def test_entities_of_the_rest_are_there_when_it_has_been_read(
    make_home: MakeHome, victron: VictronSimulator, hass: HomeAssistant
) -> None:
    """They are disabled, and can be enabled as soon as they are there."""
    home = make_home(victron)
    assert await hass.config_entries.async_setup(home.entry.entry_id)
    assert home.state("battery_soc") not in ("unknown", "unavailable")
    assert home.find(OF_THE_REST) is None
    await hass.async_block_till_done(wait_background_tasks=True)
    registry = er.async_get(hass)
    rest = registry.async_get(home.entity_id(OF_THE_REST))
    assert rest is not None
    assert rest.disabled_by is er.RegistryEntryDisabler.INTEGRATION


async def test_an_entity_that_the_user_enabled_has_its_state_at_once(
    victron_home: Home, asked: Asked, hass: HomeAssistant
) -> None:
    await victron_home.enable("grid_frequency")
    await hass.config_entries.async_unload(victron_home.entry.entry_id)
    asked.clear()
    assert await hass.config_entries.async_setup(victron_home.entry.entry_id)
    assert "grid_frequency" in asked[0]
    assert victron_home.state("grid_frequency") not in ("unknown", "unavailable")


async def test_an_entity_that_the_user_disabled_does_not_delay_the_first_states(
    victron_home: Home, asked: Asked, hass: HomeAssistant
) -> None:
    registry = er.async_get(hass)
    registry.async_update_entity(
        victron_home.entity_id("pv_power"), disabled_by=er.RegistryEntryDisabler.USER
    )
    asked.clear()
    await hass.config_entries.async_reload(victron_home.entry.entry_id)
    assert "pv_power" not in asked[0]
    assert "load_power" in asked[0]


OF_THE_REST = "vebus_alarms"
"""A key of an entity that is disabled at first."""


class Rest:
    """The read of the rest of a battery, which goes on as long as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stop each read of the rest until `answer` is set."""
        self.begun, self.answer = asyncio.Event(), asyncio.Event()
        self.failure: BatteryError | None = None
        read, rest = VictronInverter.read, self

        async def wait(
            self: VictronInverter, keys: Collection[str] | None = None
        ) -> Readings:
            if keys is not None and OF_THE_REST in keys:
                rest.begun.set()
                await rest.answer.wait()
                if rest.failure is not None:
                    raise rest.failure
            return await read(self, keys)

        monkeypatch.setattr(VictronInverter, "read", wait)


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> Rest:
    """Return the read of the rest of a Victron."""
    return Rest(monkeypatch)


async def test_the_rest_is_read_again_after_the_minutes_poll_if_it_fails_at_first(
    make_home: MakeHome, victron: VictronSimulator, rest: Rest, warp: Warp
) -> None:
    home = make_home(victron)
    rest.failure = RequestTimeoutError("no answer")
    rest.answer.set()
    await home.set_up()
    assert home.state("battery_soc") not in ("unknown", "unavailable")
    assert home.find(OF_THE_REST) is None
    rest.failure = None
    await warp(6)
    assert home.find(OF_THE_REST) is None
    await warp(61)
    assert home.find(OF_THE_REST) is not None


async def test_a_value_that_failed_at_the_start_is_asked_for_by_the_next_poll(
    make_home: MakeHome,
    victron: VictronSimulator,
    monkeypatch: pytest.MonkeyPatch,
    warp: Warp,
) -> None:
    """Also one of those that are read once a minute."""
    home, read = make_home(victron), VictronInverter.read
    is_first = True

    async def fail_once(
        self: VictronInverter, keys: Collection[str] | None = None
    ) -> Readings:
        nonlocal is_first
        readings = await read(self, keys)
        if not is_first:
            return readings
        is_first = False
        lost: dict[str, BatteryError] = {
            "battery_soh": RequestTimeoutError("no answer")
        }
        return readings.updated(Readings({}, lost))

    monkeypatch.setattr(VictronInverter, "read", fail_once)
    await home.set_up()
    assert home.data.battery.poll_rate("battery_soh") is Poll.SLOW
    assert home.state("battery_soh") == "unavailable"
    await warp(6)
    assert home.state("battery_soh") == "98.0"


async def test_live_values_and_services_do_not_wait_for_the_rest(
    make_home: MakeHome, victron: VictronSimulator, rest: Rest
) -> None:
    """Behind a slow dongle it takes half a minute."""
    home = make_home(victron)
    assert await home.hass.config_entries.async_setup(home.entry.entry_id)
    await rest.begun.wait()
    fresh = home.data.coordinator.last_fresh
    await home.data.coordinator.async_refresh()
    assert home.data.coordinator.last_fresh != fresh
    await home.set_power(1000)
    assert float(home.state("battery_power")) == pytest.approx(950, abs=60)
    assert home.find(OF_THE_REST) is None
    rest.answer.set()
    await home.hass.async_block_till_done(wait_background_tasks=True)
    assert home.find(OF_THE_REST) is not None


async def test_a_battery_is_unloaded_while_the_rest_is_read(
    make_home: MakeHome, victron: VictronSimulator, rest: Rest
) -> None:
    """Unloading does not wait, and nothing is added any more."""
    home = make_home(victron)
    entries = home.hass.config_entries
    assert await entries.async_setup(home.entry.entry_id)
    await rest.begun.wait()
    assert await entries.async_unload(home.entry.entry_id)
    await home.hass.async_block_till_done(wait_background_tasks=True)
    assert home.find("battery_soc") is not None
    assert home.find(OF_THE_REST) is None


async def test_a_device_that_refuses_all_but_its_identity_is_not_set_up(
    make_home: MakeHome, victron: VictronSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ill: its entities would be there without a value, and it lacks nothing."""
    home, read = make_home(victron), VictronInverter.read

    async def refuse(
        self: VictronInverter, keys: Collection[str] | None = None
    ) -> Readings:
        whole = await read(self, keys)
        once = {key for key in whole if self.poll_rate(key) is Poll.ONCE}
        refused = DeviceRefusedError("refused", 2)
        return Readings(
            {key: whole[key] for key in once},
            dict.fromkeys(whole.keys() - once, refused),
        )

    with monkeypatch.context() as patched:
        patched.setattr(VictronInverter, "read", refuse)
        assert not await home.set_up()
        assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    assert home.entry_is(ConfigEntryState.LOADED)
