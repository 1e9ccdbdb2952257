"""Diagnostics: complete, without private data, and replayed as a simulated device."""

import asyncio
from collections.abc import Iterable, Mapping
import json
from pathlib import Path
import sys
from typing import Any, Final

from homeassistant.components.diagnostics import REDACTED
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import (
    CONF_BATTERY_TYPE,
    DOMAIN,
    ENERGY_CHARGED_TOTAL,
    ENERGY_DISCHARGED_TOTAL,
    LAST_FRESH,
)
from custom_components.homebattery.diagnostics import async_get_config_entry_diagnostics
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.errors import CannotConnectError
from custom_components.homebattery.drivers.modbus.recording import is_private
from custom_components.homebattery.drivers.text import LONGEST_TEXT
from custom_components.homebattery.recent_errors import KEPT, RecentErrors
from tests.home import Home, MakeHome, Warp, each_on_a_socket
from tests.simulators import (
    DeyeModbusSimulator,
    HuaweiSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from tests.simulators.replay import Replayed, replay

type File = dict[str, Any]

ADDED_UP: Final = {ENERGY_CHARGED_TOTAL, ENERGY_DISCHARGED_TOTAL}
"""Energies added up from power and time if the device has no counter."""


async def downloaded(home: Home) -> File:
    """Return the diagnostics of a battery, read back from their JSON."""
    data = await async_get_config_entry_diagnostics(home.hass, home.entry)
    file: File = json.loads(json.dumps(data))
    return file


# The content of the file -------------------------------------------------------


async def test_diagnostics(home: Home) -> None:
    await home.set_power(1000)
    data = await downloaded(home)

    assert data["versions"]["homebattery"]
    assert data["entry"]["state"] == "loaded"
    assert data["entry"]["data"]["battery_type"] == home.simulator.type
    assert data["identity"]["manufacturer"] == home.data.battery.manufacturer
    assert data["limits"]["setpoint"][0] < 0 < data["limits"]["setpoint"][1]
    assert data["coordinator"]["last_update_success"] is True
    assert data["coordinator"]["interval"] > 0
    assert data["readings"]["battery_soc"] == pytest.approx(50, abs=1)
    control = data["control"]
    assert control["requested_power"] == 1000
    assert control["granted_power"] is not None
    assert control["found"] == home.data.battery.snapshot
    assert control["times_taken_over"] == 0
    assert data["recent_errors"] == []


async def test_words_are_lists_by_unit_and_first_address(
    victron_home: Home,
) -> None:
    raw = (await downloaded(victron_home))["raw"]
    vebus = raw["units"]["227"]
    assert any(int(first) <= 3 < int(first) + len(vebus[first]) for first in vebus)
    assert raw["connects"] == 1
    assert raw["requests"] > 5


async def test_what_a_device_lacks_is_listed(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    await victron.misbehave("exception", code=2, count=1000, unit=225)
    home = make_home(victron)
    assert await home.set_up()
    raw = (await downloaded(home))["raw"]
    (lacking,) = (raw["missing"][name] for name in raw["missing"] if "225" in name)
    assert "266 (bms_soc)" in lacking
    assert "IllegalAddressError 2" in raw["refused"]["225"].values()


async def test_failures_are_listed_without_the_address(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron.misbehave("exception", code=4, count=1000, unit=225)
    await warp(61)
    await warp(6)
    data = await downloaded(victron_home)
    assert "DeviceRefusedError" in data["failures"]["battery_soh"]
    assert data["recent_errors"][-1]["count"] > 1
    assert data["recent_errors"][-1]["error"].startswith("DeviceRefusedError")
    assert victron.host not in json.dumps(data)


async def test_failed_action_is_among_the_last_errors(
    victron_home: Home, victron: VictronSimulator
) -> None:
    await victron.misbehave("exception", code=1, count=1000)
    with pytest.raises(HomeAssistantError):
        await victron_home.set_power(1000)
    errors = (await downloaded(victron_home))["recent_errors"]
    assert "exception 1" in errors[-1]["error"]


def test_errors_that_differ_in_numbers_only_are_one() -> None:
    errors = RecentErrors()
    for seconds in (1, 2):
        errors.note(CannotConnectError(f"next try in {seconds} s"))
    (only,) = errors
    assert (only.text, only.count) == ("CannotConnectError: next try in 2 s", 2)


def test_only_the_last_errors_are_kept() -> None:
    errors = RecentErrors()
    letters = "abcdefghijklmn"
    for letter in letters:
        errors.note(CannotConnectError(letter))
    kept = [each.text[-1] for each in errors]
    assert "".join(kept) == letters[-KEPT:]


async def test_entry_that_could_not_be_set_up_has_diagnostics_too(
    make_home: MakeHome, sessy: SessySimulator
) -> None:
    await sessy.misbehave("error", status=500, count=1000)
    home = make_home(sessy)
    assert not await home.set_up()
    data = await downloaded(home)
    assert home.entry_is(ConfigEntryState.SETUP_RETRY)
    assert data["entry"]["state"] == "setup_retry"
    assert "raw" not in data
    with pytest.raises(ValueError, match="Nothing was read"):
        replay({"data": data})
    assert sessy.host not in json.dumps(data)


async def test_serial_number_of_another_device_at_the_address_is_redacted(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    home = make_home(victron)
    home.hass.config_entries.async_update_entry(home.entry, unique_id="c0619a000002")
    assert not await home.set_up()
    data = await downloaded(home)
    assert data["entry"]["reason"] == "another_device"
    assert "c0619a" not in json.dumps(data)


async def test_reason_of_an_unknown_total_is_listed(
    sessy_home: Home, sessy: SessySimulator, warp: Warp
) -> None:
    """A suspect counter is accepted after a time, with an offset for its own past."""
    key = "energy_discharged_total"
    before = float(sessy_home.state(key))
    sessy.plant.counters.discharged -= 50_000  # Wh
    await warp(61)
    assert sessy_home.state(key) == "unknown"

    data = await downloaded(sessy_home)
    counter, now = data["counters"][key], data["coordinator"]["now"]
    assert counter["accepted"]["value"] == before
    assert counter["accepted"]["offset"] == 0
    assert counter["suspect"]["value"] == pytest.approx(before - 50, abs=0.1)
    assert counter["accepted"]["at"] < counter["suspect"]["since"] < now

    for _ in range(11):
        await warp(61)
    counter = (await downloaded(sessy_home))["counters"][key]
    assert counter["suspect"] is None
    assert counter["accepted"]["value"] == pytest.approx(before - 50, abs=0.2)
    assert counter["accepted"]["offset"] == pytest.approx(-50, abs=0.2)


async def test_texts_of_a_device_are_short_and_printable(
    sessy_home: Home, sessy: SessySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\x1b[31m\n" + "A" * 100_000
    battery = sessy_home.data.battery
    monkeypatch.setattr(type(battery), "raw", {"answers": {text: {"name": [text]}}})
    sessy_home.data.coordinator.recent_errors.note(CannotConnectError(text))
    data = await downloaded(sessy_home)
    ((key, answer),) = data["raw"]["answers"].items()
    for each in (key, *answer["name"], data["recent_errors"][-1]["error"]):
        assert "AAA" in each
        assert each.isprintable()
        assert len(each) <= LONGEST_TEXT


# Private data, which is not in it ----------------------------------------------


def secrets_of(home: Home) -> set[str]:
    """Return the private data of a simulated device."""
    simulator, entry = home.simulator, home.entry
    secrets = {
        str(entry.data[key])
        for key in ("host", "username", "password", "logger_serial")
        if key in entry.data
    }
    secrets |= {
        str(value)
        for key, value in home.data.coordinator.data.items()
        if is_private(key) and value
    }
    if isinstance(simulator, SessySimulator):
        secrets |= {"AA:BB:CC:00:11:22", "AA:BB:CC:00:11:23", '"home"'}
    return secrets | {str(entry.unique_id)}


def as_bytes(raw: Mapping[str, Any]) -> Iterable[bytes]:
    """Yield the bytes of each run of registers, as the device sent them."""
    for runs in raw.get("units", {}).values():
        for words in runs.values():
            yield b"".join(word.to_bytes(2) for word in words)


async def test_nothing_private_is_in_the_file(
    make_home: MakeHome,
    simulator: Simulator,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Secrets are not there as text, as registers, or as the bytes of a number."""
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)
    home = make_home(simulator)
    assert await home.set_up()
    await warp(61)
    # The device does report the secrets, which are then redacted. One that is in no
    # network has its serial number alone.
    secrets = secrets_of(home)
    assert len(secrets) > ("host" in home.entry.data)
    data = await downloaded(home)
    text = json.dumps(data)
    for secret in secrets:
        assert secret not in text, secret
        forms = [secret.encode("latin-1")]
        if secret.isdecimal() and 0xFFFF < int(secret) <= 0xFFFF_FFFF:
            number = int(secret).to_bytes(4)
            forms += [number, number[2:] + number[:2]]
        for run in as_bytes(data["raw"]):
            assert not any(form in run for form in forms), secret
    for key in ("host", "username", "password", "logger_serial"):
        if key in home.entry.data:
            assert data["entry"]["data"][key] == REDACTED
    assert data["identity"]["serial_number"] == REDACTED


@pytest.mark.parametrize(
    ("kind", "options", "serial"),
    [
        (HuaweiSimulator, {"battery_units": 2}, "TA2250000002"),
        (DeyeModbusSimulator, {"packs": 2}, "PACK000000000002"),
    ],
)
async def test_parts_are_described_without_their_serial_numbers(
    make_home: MakeHome,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    options: dict[str, Any],
    serial: str,
) -> None:
    """The parts and their keys are listed; their serial numbers stay private."""
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)
    async with kind(kind.house(clock=clock), **options) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        data = await downloaded(home)

    assert [part["number"] for part in data["parts"]] == [1, 2]
    assert data["parts"][1]["serial_number"] == REDACTED
    text = json.dumps(data)
    assert len(data["parts"][1]["keys"]) > 5
    assert serial not in text
    assert not any(serial.encode() in run for run in as_bytes(data["raw"]))


# A device replayed from it -------------------------------------------------------


async def set_up_again(hass: HomeAssistant, file: File, device: Replayed) -> Home:
    """Set up the device of a file in Home Assistant, with the options of the file."""
    battery_type = device.vector["battery_type"]
    options = file["entry"]["options"]
    async with DRIVERS[battery_type].from_setup(device.setup) as battery:
        serial_number = battery.identity.serial_number
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="Battery",
        unique_id=serial_number,
        data={CONF_BATTERY_TYPE: battery_type, **device.setup},
        options=options,
    )
    entry.add_to_hass(hass)
    simulator: Any = device  # a device whose values never change
    home = Home(hass, simulator, entry)
    assert await home.set_up()
    return home


def shown(home: Home) -> dict[str, Any]:
    """Return state and attributes by key, without private or time-dependent ones."""
    time_dependent = {LAST_FRESH, *ADDED_UP.difference(home.data.battery.measurements)}
    registry = er.async_get(home.hass)
    by_key = {}
    for entity in er.async_entries_for_config_entry(registry, home.entry.entry_id):
        key = entity.unique_id.removeprefix(f"{home.entry.unique_id}_")
        if key in time_dependent or is_private(key):
            continue
        state = home.hass.states.get(entity.entity_id)
        assert state is not None, key
        attributes = {
            name: value
            for name, value in state.attributes.items()
            if name != "friendly_name"
        }
        by_key[key] = (state.state, attributes)
    return by_key


@each_on_a_socket
async def test_a_replayed_device_shows_what_the_real_one_showed(
    make_home: MakeHome,
    simulator: Simulator,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only redacted values and those that depend on the time differ.

    The latter are the time of the last reading, and energy added up from power.
    """
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)
    home = make_home(simulator)
    assert await home.set_up()
    for _ in range(2):
        await warp(61)
    file = await downloaded(home)
    before = shown(home)

    async with replay(file) as device:
        again = await set_up_again(home.hass, file, device)

        assert shown(again) == before
        assert len(before) > 20
        model, manufacturer = (
            file["identity"]["model"],
            file["identity"]["manufacturer"],
        )
        identity = again.data.battery.identity
        assert (identity.model, identity.manufacturer) == (model, manufacturer)
        await again.hass.config_entries.async_unload(again.entry.entry_id)


async def test_a_replayed_device_lacks_what_the_real_one_lacked(
    make_home: MakeHome, victron: VictronSimulator
) -> None:
    victron.server.set_faults(exception=2, exception_count=1000, exception_unit=225)
    home = make_home(victron)
    assert await home.set_up()
    file = await downloaded(home)

    async with replay(file) as device:
        again = await set_up_again(home.hass, file, device)

        assert home.find("battery_soh") is again.find("battery_soh") is None
        assert again.data.battery.measurements == home.data.battery.measurements
        await again.hass.config_entries.async_unload(again.entry.entry_id)


async def test_a_replayed_device_can_be_replayed_again(victron_home: Home) -> None:
    """A redacted value stays redacted."""
    file = await downloaded(victron_home)
    async with replay(file) as device:
        again = await set_up_again(victron_home.hass, file, device)
        second = await downloaded(again)
        await again.hass.config_entries.async_unload(again.entry.entry_id)
    assert second["raw"]["units"] == file["raw"]["units"]


def test_another_file_is_not_replayed() -> None:
    with pytest.raises(ValueError, match="not a diagnostics file"):
        replay({"data": {}})


async def test_file_as_home_assistant_made_it_is_replayed_from_the_command_line(
    victron_home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "diagnostics.json"
    data = await downloaded(victron_home)
    path.write_text(json.dumps({"home_assistant": {}, "data": data}), "utf-8")

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.simulators", "replay", str(path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        where = json.loads(await process.stdout.readline())
        driver = DRIVERS[where["type"]].from_setup(where["setup"])
        async with driver as battery:
            soc = await battery.get_battery_soc()
    finally:
        process.terminate()
        await process.wait()

    assert where["type"] == "victron"
    assert soc == data["readings"]["battery_soc"]
