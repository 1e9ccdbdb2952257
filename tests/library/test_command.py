"""The command: what it prints, what it writes, and that it releases."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import logging
import os
from pathlib import Path
import re
import shlex
import signal
import subprocess
import sys
from typing import Any, Final

import pytest

from homebattery import DRIVERS, BatteryError, Grant
from homebattery.battery.controller import Snapshot
from homebattery.errors import (
    CannotConnectError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
)
from homebattery.measurements import Value
from homebattery.modbus.probe import Detected
from homebattery.report import Report
from homebattery_command import control, parser, reading
from homebattery_command.__main__ import main, run
from homebattery_command.printing import in_words
from homebattery_command.state import InUseError, StateError
from tests.drivers.conftest import until
from tests.simulators import SessySimulator, VictronSimulator
from tests.simulators.image import ModbusImage, load

from .conftest import Output, WatchedGuard, parsed, reach, stored_in
from .fake_battery import FAKE, FakeBattery

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_process")

LIBRARY: Final = Path(__file__).parents[2] / "library"


# What can be connected --------------------------------------------------------


def test_types_lists_each_driver_and_what_it_needs(output: Output) -> None:
    assert main(["types"]) == 0

    for name, driver in DRIVERS.items():
        assert re.search(rf"^{name} +{driver.manufacturer}$", output.text, re.MULTILINE)
        for item in driver.fields:
            option = f"--{item.name.replace('_', '-')} "
            assert (option in output.text) == (item.name != "host")
    assert output.text.count("\n    HOST\n") == len(DRIVERS) - 1  # not the simulated
    assert re.search(r"--port N +else 502", output.text)
    assert re.search(r"--battery-unit-id N +may be left out", output.text)
    assert re.search(r"--username TEXT +needed", output.text)
    assert re.search(r"--password TEXT .*HOMEBATTERY_PASSWORD", output.text)


def test_every_command_has_every_type(output: Output) -> None:
    for command in ("read", "set-power", "release"):
        for name in DRIVERS:
            with pytest.raises(SystemExit) as caught:
                main([command, name, "--help"])
            assert caught.value.code == 0
    assert output.errors == ""


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["read"],
        ["read", "toaster", "home.local"],
        ["read", "victron"],
        ["read", "victron", "home.local", "--unit-id", "one"],
        ["read", "victron", "home.local", "--watch", "0"],
        ["read", "victron", "home.local", "--watch", "soon"],
        ["read", "sessy", "home.local", "--password", "x"],
        ["set-power", "victron", "home.local"],
        ["set-power", "victron", "home.local", "much"],
        ["set-power", "victron", "home.local", "100", "--seconds", "nan"],
        ["release", "victron", "home.local", "--snapshot", "self_consumption"],
        ["release", "victron", "home.local", "--snapshot", "[1]"],
        ["release", "victron", "home.local", "--snapshot", "{}"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(words: list[str], output: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == 2
    assert output.errors.startswith("usage: ")


def test_what_is_typed_reaches_the_driver(fake: type[FakeBattery]) -> None:
    words = ["read", *FAKE, "--port", "1502", "--unit-id", "3"]

    assert main(words) == 0

    assert (fake.made.address, fake.made.port) == ("home.local", 1502)
    assert fake.made.options_given == {
        "unit_id": 3,
        "username": "me",
        "password": "secret",
    }
    assert fake.made.calls == ["connect", "read", "close"]


async def test_a_simulated_battery_needs_no_device(
    output: Output, no_process: WatchedGuard, state_folder: Path
) -> None:
    """It is made with the command, of the size that is asked for, and ends with it."""
    words = ["simulated", "--battery-capacity", 5, "--rated-power", 2000]
    # On a sunny afternoon it would be full.
    words += ["--pv-peak", 0]

    assert await run(parsed("read", *words, "--all")) == 0
    assert await run(parsed("set-power", *words, 900, "--seconds", "0.1")) == 0

    assert re.search(r"Simulated battery, serial number SIM-[0-9A-F]{4}", output.text)
    assert re.search(r"^rated_capacity +5 kWh$", output.text, re.MULTILINE)
    assert "granted: charge 900 W" in output.text
    assert "Released, and seen on the device" in output.text
    assert stored_in(state_folder) == []


# detect -----------------------------------------------------------------------


async def test_detect_says_what_it_is_and_how_to_read_it(
    simulator: VictronSimulator, output: Output
) -> None:
    words = ["detect", simulator.host, "--port", simulator.port]

    assert await run(parsed(*words)) == 0

    what, command = output.text.splitlines()
    assert what == "victron: GX device, serial number c0619a000001"
    assert command.split() == [
        *("homebattery", "read", "victron", simulator.host),
        *("--port", str(simulator.port)),
    ]
    assert simulator.server.traffic.writes == []
    assert await run(parsed(*command.split()[1:])) == 0


async def test_detect_says_what_is_still_to_be_given(output: Output) -> None:
    async with SessySimulator() as sessy:
        assert await run(parsed("detect", sessy.host, "--port", sessy.port)) == 0

    assert "sessy, perhaps: Sessy, serial number unknown" in output.text
    assert output.text.splitlines()[-1].endswith("--username TEXT")


async def test_detect_asks_at_the_usual_ports(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def detect(host: str) -> list[Detected]:
        asked.append(host)
        return []

    monkeypatch.setattr(reading, "detect", detect)

    assert await run(parsed("detect", "home.local")) == 1

    assert asked == ["home.local"]
    assert output.errors == (
        "Error: home.local: no battery of a known type answers there\n"
    )


# Passwords --------------------------------------------------------------------


def test_password_comes_from_the_environment(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEBATTERY_PASSWORD", "12345678")

    assert main(["read", *FAKE[:4]]) == 0

    assert fake.made.options_given["password"] == "12345678"


def test_password_is_asked_for_at_a_terminal(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(parser, "getpass", lambda prompt: f"typed at {prompt}")

    assert main(["read", *FAKE[:4]]) == 0

    assert fake.made.options_given["password"] == "typed at Password of home.local: "


def test_password_that_nobody_gives_is_a_usage_error(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)

    with pytest.raises(SystemExit) as caught:
        main(["read", *FAKE[:4]])

    assert caught.value.code == 2
    assert "HOMEBATTERY_PASSWORD" in output.errors


# read -------------------------------------------------------------------------


async def test_read_prints_values_with_units_in_columns(output: Output) -> None:
    async with ModbusImage(load("victron")[0]) as image:
        assert await run(parsed("read", *reach(image))) == 0

    lines = output.text.splitlines()
    assert "serial number c0619ab1c2d3, firmware 3.73" in lines[0]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert rows["battery_soc"].split() == ["battery_soc", "63.4", "%"]
    assert rows["battery_voltage"].split() == ["battery_voltage", "52.38", "V"]
    assert rows["battery_power"].split() == ["battery_power", "-965", "W"]
    assert rows["battery_status"].split() == ["battery_status", "discharging"]
    assert rows["problem"].split() == ["problem", "none"]
    assert rows["discharge_power_limit"].split() == ["discharge_power_limit", "unknown"]
    assert rows["battery_power"].index(" W") == rows["battery_voltage"].index(" V")
    assert "vebus_soc" not in rows
    assert image.writes == []


async def test_read_all_includes_the_unusual(output: Output) -> None:
    async with ModbusImage(load("victron")[0]) as image:
        await run(parsed("read", *reach(image), "--all"))

    assert re.search(r"^battery_charge_power +0 W$", output.text, re.MULTILINE)
    assert re.search(r"^relay_1 +(yes|no)$", output.text, re.MULTILINE)


async def test_read_says_why_a_value_is_not_there(output: Output) -> None:
    async with ModbusImage(load("victron")[0]) as image:
        del image.units.units[227][9]  # the frequency
        assert await run(parsed("read", *reach(image), "--all")) == 0

    assert re.search(
        r"^grid_frequency +failed: .*register 9 ", output.text, re.MULTILINE
    )
    assert re.search(r"^battery_soc +63.4 %$", output.text, re.MULTILINE)


async def test_watch_reads_again_and_outlives_an_error(
    fake: type[FakeBattery], output: Output
) -> None:
    fake.values = {"battery_power": 7}
    fake.trouble = {"read": []}
    watching = asyncio.create_task(run(parsed("read", *FAKE, "--watch", "0.001")))
    await until(lambda: output.text.count("battery_power") >= 2)

    fake.trouble["read"].append(CannotConnectError("the cable\nis out"))
    await until(lambda: bool(output.errors))
    before = output.text.count("battery_power")
    await until(lambda: output.text.count("battery_power") > before)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching

    assert output.errors == "Error: the cable is out\n"
    assert output.text.count("Nobody None, serial number S1") == 1
    assert fake.made.calls[-1] == "close"


async def test_read_works_with_a_battery_that_speaks_http(output: Output) -> None:
    async with SessySimulator() as sessy:
        setup = sessy.setup
        words = ["read", "sessy", setup["host"], "--port", setup["port"]]
        words += ["--username", setup["username"], "--password", setup["password"]]
        assert await run(parsed(*words)) == 0

    assert re.search(r"^battery_soc +[\d.]+ %$", output.text, re.MULTILINE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "unknown"),
        (True, "yes"),
        (False, "no"),
        (50.04, "50.04"),
        (50.0, "50"),
        (0.1 + 0.2, "0.3"),
        (-7, "-7"),
        (1000, "1000"),
        ((), "none"),
        (("Overload", "LowBattery"), "Overload, LowBattery"),
        ("bulk", "bulk"),
    ],
)
def test_values_are_printed_as_people_read_them(value: Value, words: str) -> None:
    assert in_words(value) == words


# set-power --------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_power_is_held_until_a_signal_and_released(
    simulator: VictronSimulator, signum: signal.Signals, output: Output
) -> None:
    options = parsed("set-power", *reach(simulator), "-1500")
    running = asyncio.create_task(run(options))
    await until(lambda: output.text.count("granted: discharge 1500 W") >= 3)
    held = simulator.mode
    power = simulator.state()["battery_power"]

    signal.raise_signal(signum)

    assert await running == 0
    assert held == "controlled"
    assert power == pytest.approx(-1500, abs=100)
    assert simulator.mode == "automatic"
    assert 'On the device before: {"working_mode": "self_consumption"}' in output.text
    assert re.search(r"measured: discharge \d+ W   SOC: [\d.]+ %", output.text)
    assert output.text.splitlines()[-1] == (
        "Released, and seen on the device, which is now set to: "
        '{"working_mode": "self_consumption"}'
    )
    assert output.errors == ""


async def test_power_is_released_when_the_time_is_up(
    fake: type[FakeBattery], output: Output
) -> None:
    assert await run(parsed("set-power", *FAKE, 1000, "--seconds", "0.1")) == 0

    calls = fake.made.calls
    assert ("set_power_setpoint", 1000) in calls
    assert calls[-3:] == ["release", "take_snapshot", "close"]
    assert "granted: charge 1000 W   measured: charge 1480 W   SOC: 55 %" in output.text


async def test_setpoint_is_renewed_and_what_is_granted_now_is_shown(
    fake: type[FakeBattery], output: Output
) -> None:
    running = asyncio.create_task(run(parsed("set-power", *FAKE, 1000)))
    await until(lambda: "granted: charge 900 W" in output.text)
    signal.raise_signal(signal.SIGTERM)

    assert await running == 0
    assert fake.made.calls.count("keep_alive") >= 3
    assert fake.made.calls.count(("set_power_setpoint", 1000)) == 1


async def test_snapshot_is_printed_before_the_first_write(
    simulator: VictronSimulator, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[str] = []
    write = simulator.units.write

    def note(unit: int, address: int, words: list[int]) -> None:
        printed.append(output.text)
        write(unit, address, words)

    monkeypatch.setattr(simulator.units, "write", note)
    await run(parsed("set-power", *reach(simulator), 500, "--seconds", "0.01"))

    assert 'On the device before: {"working_mode": "self_consumption"}' in printed[0]
    assert f"homebattery release {shlex.join(reach(simulator))}" in printed[0]


@pytest.mark.parametrize("watts", [3001, -2001])
async def test_power_beyond_the_limits_is_refused(
    fake: type[FakeBattery], watts: int
) -> None:
    text = "may charge with 3000 W and discharge with 2000 W"
    with pytest.raises(InvalidValueError, match=text):
        await run(parsed("set-power", *FAKE, watts))

    assert fake.made.calls == ["connect", "close"]


async def test_user_can_lower_the_limits(simulator: VictronSimulator) -> None:
    words = ["--max-charge-power", 400, "--max-discharge-power", 300]

    with pytest.raises(InvalidValueError, match="charge with 400 W .* with 300 W"):
        await run(parsed("set-power", *reach(simulator), 500, *words))

    assert simulator.server.traffic.writes == []


async def test_battery_that_takes_no_setpoint_says_so(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "limits", None)

    with pytest.raises(NotSupportedError, match="takes no setpoint"):
        await run(parsed("set-power", *FAKE, 0))


async def test_power_goes_on_being_held_while_the_device_does_not_answer(
    fake: type[FakeBattery], output: Output
) -> None:
    fake.trouble = {
        "keep_alive": [RequestTimeoutError("no answer to that")],
        "read": [CannotConnectError("not there")],
    }
    running = asyncio.create_task(run(parsed("set-power", *FAKE, 1000)))
    await until(lambda: output.text.count("granted") >= 3)
    signal.raise_signal(signal.SIGINT)

    assert await running == 0
    assert "Error: no answer to that\n" in output.errors
    assert "Error: not there\n" in output.errors


async def test_value_that_cannot_be_read_is_shown_as_unknown(
    fake: type[FakeBattery], output: Output
) -> None:
    fake.values = {"battery_power": None}

    await run(parsed("set-power", *FAKE, 0, "--seconds", "0.01"))

    assert "granted: 0 W   measured: unknown   SOC: unknown" in output.text


async def test_battery_is_released_when_somebody_else_takes_over(
    fake: type[FakeBattery], output: Output
) -> None:
    fake.trouble = {"keep_alive": [NotConfirmedError("somebody else has changed it")]}

    with pytest.raises(NotConfirmedError, match="somebody else"):
        await run(parsed("set-power", *FAKE, 1000))

    assert fake.made.calls[-3:] == ["release", "take_snapshot", "close"]
    assert "Released" in output.text


async def test_battery_is_released_when_setting_fails_half_way(
    fake: type[FakeBattery],
) -> None:
    half_way = RequestTimeoutError("no answer")
    half_way.written = True
    fake.trouble = {"set_power_setpoint": [half_way]}

    with pytest.raises(RequestTimeoutError):
        await run(parsed("set-power", *FAKE, 1000))

    assert "release" in fake.made.calls


async def test_signal_while_the_power_is_being_set_releases_at_once(
    fake: type[FakeBattery], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_power = FakeBattery.set_power_setpoint

    async def interrupted(self: FakeBattery, power: float) -> Grant:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return await set_power(self, power)

    monkeypatch.setattr(fake, "set_power_setpoint", interrupted)

    assert await run(parsed("set-power", *FAKE, 1000)) == 0

    assert fake.made.mode == "eco"
    assert "keep_alive" not in fake.made.calls
    assert "Released" in output.text


async def test_nothing_is_said_to_be_released_when_nothing_was_held(
    fake: type[FakeBattery], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> int:
        raise NotSupportedError("not now")

    monkeypatch.setattr(fake, "set_power_setpoint", refuse)

    with pytest.raises(NotSupportedError):
        await run(parsed("set-power", *FAKE, 1000))

    assert "Released" not in output.text


async def test_state_is_on_disk_while_the_battery_is_held(
    simulator: VictronSimulator, state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from before the first write."""
    stored: list[dict[str, Any]] = []
    write = simulator.units.write

    def note(unit: int, address: int, words: list[int]) -> None:
        stored.extend(map(json.loads, stored_in(state_folder)))
        write(unit, address, words)

    monkeypatch.setattr(simulator.units, "write", note)
    await run(parsed("set-power", *reach(simulator), 500, "--seconds", "0.01"))

    assert stored[0] == {
        "version": 1,
        "battery_type": "victron",
        "serial_number": "c0619a000001",
        "setup": {**simulator.setup, "export": "as_permitted"},
        "snapshot": {"working_mode": "self_consumption"},
    }
    assert stored_in(state_folder) == []


async def test_password_goes_to_the_guard_and_not_to_the_disk(
    fake: type[FakeBattery],
    state_folder: Path,
    no_process: WatchedGuard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts: list[str] = []
    renew = FakeBattery.keep_alive

    async def keep_alive(self: FakeBattery) -> Grant | None:
        texts.extend(stored_in(state_folder))
        return await renew(self)

    monkeypatch.setattr(fake, "keep_alive", keep_alive)
    await run(parsed("set-power", *FAKE, 1000, "--seconds", "0.1"))

    assert '"username": "me"' in "".join(texts)
    assert "secret" not in "".join(texts)
    assert no_process.secrets == {"password": "secret"}
    assert no_process.dismissed


async def test_what_its_user_changes_meanwhile_reaches_the_disk(
    fake: type[FakeBattery], state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[str] = []

    async def keep_alive(self: FakeBattery) -> Grant | None:
        stored.extend(stored_in(state_folder))
        assert self.snapshot is not None
        self.snapshot["min_soc"] = 40
        return None

    monkeypatch.setattr(fake, "keep_alive", keep_alive)
    running = asyncio.create_task(run(parsed("set-power", *FAKE, 1000)))
    await until(lambda: len(stored) >= 2)
    signal.raise_signal(signal.SIGTERM)
    await running

    assert '"min_soc": 10' in stored[0]
    assert '"min_soc": 40' in stored[1]


async def test_corrected_snapshot_reaches_the_disk_before_the_driver_writes(
    fake: type[FakeBattery], state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user has changed a setting just now, which the first write would destroy."""
    stored: list[str] = []
    hold = FakeBattery.set_power_setpoint

    async def set_power_setpoint(self: FakeBattery, power: float) -> Grant:
        await self.keep_snapshot({"working_mode": self.mode, "min_soc": 40})
        stored.extend(stored_in(state_folder))
        return await hold(self, power)

    monkeypatch.setattr(fake, "set_power_setpoint", set_power_setpoint)
    await run(parsed("set-power", *FAKE, 1000, "--seconds", "0.1"))

    assert '"min_soc": 40' in stored[0]


async def test_nothing_is_written_when_no_guard_can_be_started(
    fake: type[FakeBattery], state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StateError("no guard")

    monkeypatch.setattr(control, "Guard", refuse)

    with pytest.raises(StateError, match="no guard"):
        await run(parsed("set-power", *FAKE, 1000))

    assert fake.made.calls == ["connect", "take_snapshot", "close"]
    assert stored_in(state_folder) == []


async def test_signal_before_the_first_write_leaves_the_device_alone(
    fake: type[FakeBattery], state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = FakeBattery.take_snapshot

    async def interrupted(self: FakeBattery) -> Snapshot:
        signal.raise_signal(signal.SIGINT)
        for _ in range(3):  # turns of the loop, until it has been heard
            await asyncio.sleep(0)
        return await snapshot(self)

    monkeypatch.setattr(fake, "take_snapshot", interrupted)

    assert await run(parsed("set-power", *FAKE, 1000)) == 0

    assert fake.made.calls == ["connect", "take_snapshot", "close"]
    assert stored_in(state_folder) == []


async def test_second_set_power_on_a_device_is_refused(
    fake: type[FakeBattery], output: Output
) -> None:
    first = asyncio.create_task(run(parsed("set-power", *FAKE, 1000)))
    await until(lambda: "granted" in output.text)

    with pytest.raises(InUseError, match="another homebattery command holds"):
        await run(parsed("set-power", *FAKE, 500))
    with pytest.raises(InUseError):
        await run(parsed("release", *FAKE))
    refused = fake.made.calls
    signal.raise_signal(signal.SIGTERM)

    assert refused == ["connect", "close"]
    assert await first == 0


async def test_release_is_tried_again(fake: type[FakeBattery], output: Output) -> None:
    fake.trouble = {"release": [RequestTimeoutError("no answer")]}

    assert await run(parsed("set-power", *FAKE, 1000, "--seconds", "0.01")) == 0

    assert fake.made.calls.count("release") == 2
    assert output.errors == "Error: no answer; trying again\n"
    assert fake.made.mode == "eco"


async def test_release_that_fails_says_how_to_do_it_later(
    fake: type[FakeBattery], state_folder: Path, no_process: WatchedGuard
) -> None:
    fake.trouble = {"release": [CannotConnectError("not there")] * 3}

    with pytest.raises(BatteryError) as caught:
        await run(parsed("set-power", *FAKE, 1000, "--port", 1502, "--seconds", "0.01"))

    assert "may stay at its last setpoint" in str(caught.value)
    assert str(caught.value).endswith(
        "homebattery release fake home.local --port 1502 --username me"
    )
    assert "secret" not in str(caught.value)
    assert len(stored_in(state_folder)) == 1
    assert not no_process.dismissed


async def test_battery_is_released_though_nobody_reads_along(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(*lines: str) -> None:
        if "granted" in lines[0]:
            raise BrokenPipeError

    monkeypatch.setattr(control, "say", say)

    with pytest.raises(BrokenPipeError):
        await run(parsed("set-power", *FAKE, 1000))

    assert "release" in fake.made.calls


async def test_release_is_good_though_the_device_is_gone_after_it(
    fake: type[FakeBattery], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = FakeBattery.release

    async def release_and_go(self: FakeBattery) -> None:
        await release(self)
        self.trouble["take_snapshot"] = [CannotConnectError("gone")]

    monkeypatch.setattr(fake, "release", release_and_go)

    assert await run(parsed("set-power", *FAKE, 1000, "--seconds", "0.01")) == 0

    assert output.text.endswith("set to: not known just now\n")


# release ----------------------------------------------------------------------


async def test_release_without_a_snapshot_writes_nothing(
    simulator: VictronSimulator, output: Output
) -> None:
    assert await run(parsed("release", *reach(simulator))) == 2

    assert simulator.server.traffic.writes == []
    assert 'now set to {"working_mode": "self_consumption"}' in output.text
    assert re.search(r"working_mode can be: self_consumption, .*external", output.text)
    assert output.errors == "Error: nothing was released: --snapshot is needed\n"


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        ({"working_mode": "eco"}, "another form"),
        ({"working_mode": 3, "min_soc": 10}, "another form"),
        ({"working_mode": "eco", "min_soc": 10, "more": 1}, "another form"),
        ({"working_mode": "party", "min_soc": 10}, "one of eco, held"),
    ],
)
async def test_release_to_something_impossible_is_refused(
    fake: type[FakeBattery], snapshot: Snapshot, text: str
) -> None:
    with pytest.raises(InvalidValueError, match=text):
        await run(parsed("release", *FAKE, "--snapshot", json.dumps(snapshot)))

    assert fake.made.calls == ["connect", "take_snapshot", "close"]


async def test_release_restores_the_snapshot_that_is_given(
    fake: type[FakeBattery],
) -> None:
    snapshot = {"working_mode": "held", "min_soc": 20}

    assert await run(parsed("release", *FAKE, "--snapshot", json.dumps(snapshot))) == 0

    assert fake.made.mode == "held"


# Errors and the end -----------------------------------------------------------


def test_error_is_one_line_and_exit_status_1(
    fake: type[FakeBattery], output: Output
) -> None:
    fake.trouble = {"connect": [CannotConnectError("home.local:502:\n no connection")]}

    assert main(["read", *FAKE]) == 1

    assert output.errors == "Error: home.local:502: no connection\n"
    assert output.text == ""


def test_interrupted_by_the_keyboard_ends_as_programs_do(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupt(*_: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "_read_report", interrupt)

    assert main(["read", *FAKE]) == 130
    assert fake.made.calls[-1] == "close"


def test_verbose_lets_the_libraries_speak() -> None:
    pymodbus = logging.getLogger("pymodbus")

    main(["--verbose", "types"])
    verbose = pymodbus.level
    main(["types"])

    assert verbose == logging.NOTSET
    assert pymodbus.level == logging.CRITICAL


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Yield where to write for a reader that has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs the command in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY))

    def start(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "homebattery_command", *map(str, words)]
        return subprocess.run(
            command, check=False, text=True, stderr=subprocess.PIPE, **options
        )

    return start


def test_command_passes_its_exit_status_on(launch: Callable[..., Any]) -> None:
    result = launch("read", "victron", "127.0.0.1", "--port", 70_000)

    assert result.returncode == 1
    assert result.stderr.startswith("Error: 127.0.0.1:70000: not an address")
    assert result.stderr.count("\n") == 1


def test_reader_that_has_gone_is_no_crash(launch: Callable[..., Any]) -> None:
    with closed_pipe() as nobody:
        result = launch("types", stdout=nobody)

    assert (result.returncode, result.stderr) == (1, "")
