"""The command line: what it prints, what it writes, and that it gives back."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
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
from typing import Any, ClassVar, Final, override

import pytest

from custom_components.homebattery.drivers import DRIVERS, __main__ as command_line
from custom_components.homebattery.drivers.__main__ import (
    in_words,
    main,
    make_parser,
    run,
)
from custom_components.homebattery.drivers.battery.base import (
    Battery,
    SetpointLimits,
    SetupField,
)
from custom_components.homebattery.drivers.battery.controller import Grant, Snapshot
from custom_components.homebattery.drivers.battery.measuring import Identity
from custom_components.homebattery.drivers.battery.settings import (
    NumberSetting,
    SelectSetting,
    Setting,
)
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    CannotConnectError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
)
from custom_components.homebattery.drivers.measurements import Poll, Value
from custom_components.homebattery.drivers.report import Report
from tests.simulators import ManualClock, Plant, SessySimulator, VictronSimulator
from tests.simulators.image import ModbusImage, load

from .conftest import until

pytestmark = pytest.mark.usefixtures("socket_enabled")

ROOT: Final = Path(__file__).parents[2]
LAUNCHER: Final = ROOT / "scripts" / "battery"


@pytest.fixture(autouse=True)
def _quick_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take out the pauses, and what the tests' own environment could change."""
    monkeypatch.setattr(command_line, "LOOK_INTERVAL", 0.01)
    monkeypatch.setattr(command_line, "RELEASE_PAUSE", 0)
    for variable in ("HOMEBATTERY_PASSWORD", "HOMEBATTERY_COMMAND"):
        monkeypatch.delenv(variable, raising=False)
    loggers = [logging.getLogger(name) for name in ("asyncio", "pymodbus")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def parsed(*words: object) -> argparse.Namespace:
    return make_parser().parse_args([str(word) for word in words])


class Output:
    """All that was printed so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._out, self._err = "", ""

    def _update(self) -> None:
        new = self._capsys.readouterr()
        self._out += new.out
        self._err += new.err

    @property
    def text(self) -> str:
        self._update()
        return self._out

    @property
    def errors(self) -> str:
        self._update()
        return self._err


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)


class FakeBattery(Battery):
    """A battery in memory, in which anything can go wrong."""

    battery_type: ClassVar[str] = "fake"
    manufacturer: ClassVar[str] = "Nobody"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", required=False),
        SetupField("username"),
        SetupField("password"),
    )
    keep_alive_interval: float | None = 0.01
    made: ClassVar[FakeBattery]
    limits: ClassVar[SetpointLimits | None] = SetpointLimits(-2000, 3000)
    trouble: ClassVar[dict[str, list[BatteryError]]]
    """What the next calls of each method raise."""
    values: ClassVar[Mapping[str, Value]] = {}

    def __init__(
        self, host: str, *, username: str, password: str, **options: Any
    ) -> None:
        super().__init__(host, options.pop("port"), 5)
        self.options_given = {"username": username, "password": password, **options}
        self.calls: list[object] = []
        self.mode = "eco"
        FakeBattery.made = self

    def _call(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments) if arguments else name)
        if self.trouble.get(name):
            raise self.trouble[name].pop(0)

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        return {
            "working_mode": SelectSetting(options=("eco", "held")),
            "min_soc": NumberSetting(minimum=0, maximum=100),
        }

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        return self.limits

    @override
    def _measurable(self) -> Collection[str]:
        return self.values

    @override
    def _find_poll_rate(self, key: str) -> Poll:
        return Poll.FAST

    @property
    @override
    def writes(self) -> int:
        return len(self.calls)

    @override
    def options(self, key: str) -> tuple[str, ...]:
        return ()

    @override
    async def connect(self) -> None:
        self._call("connect")
        self._identity = Identity(
            serial_number="S1", manufacturer="Nobody", model="None"
        )

    @override
    async def close(self) -> None:
        self._call("close")

    @override
    async def _read_report(self, names: Collection[str]) -> Report:
        self._call("read")
        failures = {"battery_soc": RequestTimeoutError("no answer")}
        return Report(
            {name: self.values[name] for name in names if name in self.values},
            {name: failures[name] for name in names if name not in self.values},
        )

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        raise AssertionError(f"the command line has no settings, but writes {key}")

    @override
    async def take_snapshot(self) -> Snapshot:
        self._call("take_snapshot")
        return {"working_mode": self.mode, "min_soc": 10}

    @override
    async def set_power_setpoint(self, power: float) -> Grant:
        self.snapshot = {"working_mode": self.mode, "min_soc": 10}
        self._call("set_power_setpoint", power)
        self.mode = "held"
        return Grant(round(power))

    @override
    async def keep_alive(self) -> Grant | None:
        self._call("keep_alive")
        return Grant(900) if self.calls.count("keep_alive") > 2 else None

    @override
    async def release(self) -> None:
        if self.snapshot is not None:
            self._call("release")
            self.mode = self.snapshot["working_mode"]
            self.snapshot = None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeBattery]:
    """Register a battery in memory as a type of its own."""
    monkeypatch.setitem(DRIVERS, "fake", FakeBattery)
    monkeypatch.setattr(FakeBattery, "trouble", {}, raising=False)
    monkeypatch.setattr(
        FakeBattery, "values", {"battery_power": 1480.0, "battery_soc": 55}
    )
    return FakeBattery


FAKE: Final = ("fake", "home.local", "--username", "me", "--password", "secret")


@pytest.fixture
async def simulator() -> AsyncIterator[VictronSimulator]:
    plant = Plant(clock=ManualClock())
    plant.fixed_pv, plant.fixed_load = 0.0, 600.0
    async with VictronSimulator(plant) as server:
        yield server


def reach(simulator: VictronSimulator | ModbusImage) -> list[object]:
    """Return the words that say where a Victron is."""
    words: list[object] = ["victron", simulator.host]
    for name, value in simulator.setup.items():
        if name != "host" and value is not None:
            words += [f"--{name.replace('_', '-')}", value]
    return words


# What can be connected --------------------------------------------------------


def test_types_lists_each_driver_and_what_it_needs(output: Output) -> None:
    assert main(["types"]) == 0

    for name, driver in DRIVERS.items():
        assert re.search(rf"^{name} +{driver.manufacturer}$", output.text, re.MULTILINE)
        for item in driver.fields[1:]:
            assert f"--{item.name.replace('_', '-')} " in output.text
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
        ["release", "victron", "home.local", "--found", "self_consumption"],
        ["release", "victron", "home.local", "--found", "[1]"],
        ["release", "victron", "home.local", "--found", "{}"],
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
    monkeypatch.setattr(command_line, "getpass", lambda prompt: f"typed at {prompt}")

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
async def test_power_is_held_until_a_signal_and_given_back(
    simulator: VictronSimulator, signum: signal.Signals, output: Output
) -> None:
    options = parsed("set-power", *reach(simulator), "-1500")
    holding = asyncio.create_task(run(options))
    await until(lambda: output.text.count("granted: discharge 1500 W") >= 3)
    held = simulator.mode
    power = simulator.state()["battery_power"]

    signal.raise_signal(signum)

    assert await holding == 0
    assert held == "controlled"
    assert power == pytest.approx(-1500, abs=100)
    assert simulator.mode == "automatic"
    assert 'Found on the device: {"working_mode": "self_consumption"}' in output.text
    assert re.search(r"measured: discharge \d+ W   SOC: [\d.]+ %", output.text)
    assert output.text.splitlines()[-1] == (
        "Released, and seen on the device, which is now set to: "
        '{"working_mode": "self_consumption"}'
    )
    assert output.errors == ""


async def test_power_is_given_back_when_the_time_is_up(
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
    holding = asyncio.create_task(run(parsed("set-power", *FAKE, 1000)))
    await until(lambda: "granted: charge 900 W" in output.text)
    signal.raise_signal(signal.SIGTERM)

    assert await holding == 0
    assert fake.made.calls.count("keep_alive") >= 3
    assert fake.made.calls.count(("set_power_setpoint", 1000)) == 1


async def test_what_was_found_is_printed_before_the_first_write(
    simulator: VictronSimulator, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[str] = []
    write = simulator.units.write

    def note(unit: int, address: int, words: list[int]) -> None:
        printed.append(output.text)
        write(unit, address, words)

    monkeypatch.setattr(simulator.units, "write", note)
    await run(parsed("set-power", *reach(simulator), 500, "--seconds", "0.01"))

    assert '--found \'{"working_mode": "self_consumption"}\'' in printed[0]


@pytest.mark.parametrize("watts", [3001, -2001])
async def test_power_beyond_the_limits_is_refused(
    fake: type[FakeBattery], watts: int
) -> None:
    text = "may charge with 3000 W and discharge with 2000 W"
    with pytest.raises(InvalidValueError, match=text):
        await run(parsed("set-power", *FAKE, watts))

    assert fake.made.calls == ["connect", "close"]


async def test_owner_can_lower_the_limits(simulator: VictronSimulator) -> None:
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
    holding = asyncio.create_task(run(parsed("set-power", *FAKE, 1000)))
    await until(lambda: output.text.count("granted") >= 3)
    signal.raise_signal(signal.SIGINT)

    assert await holding == 0
    assert "Error: no answer to that\n" in output.errors
    assert "Error: not there\n" in output.errors


async def test_value_that_cannot_be_read_is_shown_as_unknown(
    fake: type[FakeBattery], output: Output
) -> None:
    fake.values = {"battery_power": None}

    await run(parsed("set-power", *FAKE, 0, "--seconds", "0.01"))

    assert "granted: 0 W   measured: unknown   SOC: unknown" in output.text


async def test_battery_is_given_back_when_somebody_else_takes_over(
    fake: type[FakeBattery], output: Output
) -> None:
    fake.trouble = {"keep_alive": [NotConfirmedError("somebody else has changed it")]}

    with pytest.raises(NotConfirmedError, match="somebody else"):
        await run(parsed("set-power", *FAKE, 1000))

    assert fake.made.calls[-3:] == ["release", "take_snapshot", "close"]
    assert "Released" in output.text


async def test_battery_is_given_back_when_setting_fails_half_way(
    fake: type[FakeBattery],
) -> None:
    fake.trouble = {"set_power_setpoint": [RequestTimeoutError("no answer")]}

    with pytest.raises(RequestTimeoutError):
        await run(parsed("set-power", *FAKE, 1000))

    assert "release" in fake.made.calls


async def test_signal_while_the_power_is_being_set_gives_back_at_once(
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


async def test_release_is_tried_again(fake: type[FakeBattery], output: Output) -> None:
    fake.trouble = {"release": [RequestTimeoutError("no answer")]}

    assert await run(parsed("set-power", *FAKE, 1000, "--seconds", "0.01")) == 0

    assert fake.made.calls.count("release") == 2
    assert output.errors == "Error: no answer; trying again\n"
    assert fake.made.mode == "eco"


async def test_release_that_fails_says_how_to_do_it_later(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEBATTERY_COMMAND", "scripts/battery")
    fake.trouble = {"release": [CannotConnectError("not there")] * 3}

    with pytest.raises(BatteryError) as caught:
        await run(parsed("set-power", *FAKE, 1000, "--port", 1502, "--seconds", "0.01"))

    found = '{"working_mode": "eco", "min_soc": 10}'
    assert "may stay at its last setpoint" in str(caught.value)
    assert str(caught.value).endswith(
        "scripts/battery release fake home.local --port 1502 --username me "
        f"--found '{found}'"
    )
    assert "secret" not in str(caught.value)


async def test_battery_is_given_back_though_nobody_reads_along(
    fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(*lines: str) -> None:
        if "granted" in lines[0]:
            raise BrokenPipeError

    monkeypatch.setattr(command_line, "_say", say)

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


async def test_release_puts_back_what_a_killed_set_power_had_found(
    simulator: VictronSimulator, output: Output
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "_give_back", _killed)
        await run(parsed("set-power", *reach(simulator), 1000, "--seconds", "0.01"))
    left = simulator.mode
    line = next(line for line in output.text.splitlines() if "Should this" in line)
    words = shlex.split(line.partition("put it back with: ")[2])

    assert await run(parsed(*words[words.index("release") :])) == 0

    assert (left, simulator.mode) == ("controlled", "automatic")
    assert output.text.splitlines()[-1].startswith("Released, and seen on the device")


async def _killed(*_: object) -> None:
    """Do nothing any more."""


async def test_release_without_what_was_found_only_looks(
    simulator: VictronSimulator, output: Output
) -> None:
    assert await run(parsed("release", *reach(simulator))) == 2

    assert simulator.server.traffic.writes == []
    assert 'now set to {"working_mode": "self_consumption"}' in output.text
    assert re.search(r"working_mode can be: self_consumption, .*external", output.text)
    assert output.errors == "Error: nothing was released: --found is needed\n"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"working_mode": "eco"}, "another form"),
        ({"working_mode": 3, "min_soc": 10}, "another form"),
        ({"working_mode": "eco", "min_soc": 10, "more": 1}, "another form"),
        ({"working_mode": "party", "min_soc": 10}, "one of eco, held"),
    ],
)
async def test_release_to_something_impossible_is_refused(
    fake: type[FakeBattery], found: Snapshot, text: str
) -> None:
    with pytest.raises(InvalidValueError, match=text):
        await run(parsed("release", *FAKE, "--found", json.dumps(found)))

    assert fake.made.calls == ["connect", "take_snapshot", "close"]


async def test_release_gives_the_driver_what_was_found(
    fake: type[FakeBattery],
) -> None:
    found = {"working_mode": "held", "min_soc": 20}

    assert await run(parsed("release", *FAKE, "--found", json.dumps(found))) == 0

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
    """Return a function that starts the launcher with this test's Python."""
    monkeypatch.setenv("PYTHON", sys.executable)

    def start(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [str(LAUNCHER), *map(str, words)]
        return subprocess.run(
            command, check=False, text=True, stderr=subprocess.PIPE, **options
        )

    return start


def test_launcher_says_its_own_name(launch: Callable[..., Any]) -> None:
    result = launch("--help", stdout=subprocess.PIPE)

    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: {LAUNCHER} ")


def test_launcher_passes_words_and_exit_status_on(launch: Callable[..., Any]) -> None:
    result = launch("read", "victron", "127.0.0.1", "--port", 70_000)

    assert result.returncode == 1
    assert result.stderr.startswith("Error: 127.0.0.1:70000: not an address")
    assert result.stderr.count("\n") == 1


def test_reader_that_has_gone_is_no_crash(launch: Callable[..., Any]) -> None:
    with closed_pipe() as nobody:
        result = launch("types", stdout=nobody)

    assert (result.returncode, result.stderr) == (1, "")


async def test_launched_program_gives_back_at_a_signal(
    simulator: VictronSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    words = map(str, ["set-power", *reach(simulator), "800"])
    process = await asyncio.create_subprocess_exec(
        LAUNCHER, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    while b"granted: charge 800 W" not in await process.stdout.readline():
        assert not process.stdout.at_eof()
    held = simulator.mode

    process.terminate()
    out, err = await process.communicate()

    assert (process.returncode, err) == (0, b"")
    assert (held, simulator.mode) == ("controlled", "automatic")
    assert b"Released" in out
