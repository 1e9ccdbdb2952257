"""The state on disk of a held device, and its restoring after all else was killed."""

import asyncio
import errno
import io
import json
import logging
from pathlib import Path
import re
import signal
import sys
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import Mock

import pytest

from homebattery import DRIVERS
from homebattery.battery.controller import Recovered, Snapshot
from homebattery.errors import CannotConnectError, InvalidValueError, NotConfirmedError
from homebattery_command import guard, state
from homebattery_command.__main__ import main, run
from homebattery_command.guard import Guard
from homebattery_command.state import HeldDevice, StateError, StateFile
from tests.simulators import VictronSimulator

from .conftest import Output, parsed, reach, stored_in
from .fake_battery import FAKE, FakeBattery

pytestmark = pytest.mark.usefixtures("socket_enabled")

SECRETS: Final = {"password": "secret"}
HELD: Final = HeldDevice(
    battery_type="fake",
    serial_number="S1",
    setup={"host": "home.local", "port": 1502, "username": "me"},
    snapshot={"working_mode": "held", "min_soc": 20},
)
STORED: Final[dict[str, Any]] = {
    "version": 1,
    "battery_type": "fake",
    "serial_number": "S1",
    "setup": {"host": "home.local"},
    "snapshot": {"working_mode": "held"},
}


@pytest.fixture
def file(state_folder: Path) -> StateFile:
    """Return the file of the battery in memory; it is not there yet."""
    identity = SimpleNamespace(serial_number="S1")
    battery: Any = SimpleNamespace(manufacturer="Nobody", identity=identity)
    file = StateFile.of(battery)
    assert file.path.parent == state_folder
    return file


@pytest.fixture
def orphaned(file: StateFile, fake: type[FakeBattery]) -> StateFile:
    """Return the file of a battery whose command and guard were killed."""
    file.save(HELD)
    return file


def put(file: StateFile, text: str) -> None:
    file.path.parent.mkdir(parents=True)
    file.path.write_text(text, "utf-8")


# The file -----------------------------------------------------------------------


@pytest.mark.usefixtures("fake")
def test_what_is_saved_is_loaded(file: StateFile) -> None:
    assert file.load() is None

    file.save(HELD)

    assert file.load() == HELD
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    file.remove()
    file.remove()
    assert file.load() is None


@pytest.mark.parametrize("serial", ["../../etc/x", "S\0\n1", "ß" * 500, ""])
def test_any_serial_number_makes_a_plain_name(serial: str) -> None:
    def name_of(serial_number: str) -> str:
        identity = SimpleNamespace(serial_number=serial_number)
        battery: Any = SimpleNamespace(manufacturer="Nobody & Co.", identity=identity)
        return StateFile.of(battery).path.name

    assert re.fullmatch(r"[a-z0-9-]{1,64}\.json", name_of(serial))
    assert name_of(serial) != name_of(serial + "1")


@pytest.mark.parametrize("variable", ["", "not/absolute"])
def test_state_is_in_the_home_folder_unless_said_otherwise(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", variable)
    monkeypatch.setenv("HOME", "/home/me")

    assert state.folder() == Path("/home/me/.local/state/homebattery")


DAMAGED: Final = [
    "",
    "{",
    "[]",
    json.dumps({**STORED, "version": 2}),
    json.dumps({**STORED, "battery_type": "toaster"}),
    json.dumps({**STORED, "snapshot": {}}),
    json.dumps({**STORED, "setup": {"host": "home.local", "password": "x"}}),
    json.dumps({**STORED, "setup": {}}),
]


@pytest.mark.parametrize("text", DAMAGED)
@pytest.mark.parametrize("command", [["release", *FAKE], ["set-power", *FAKE, "500"]])
def test_damaged_file_is_one_clear_line(
    file: StateFile,
    fake: type[FakeBattery],
    output: Output,
    text: str,
    command: list[str],
) -> None:
    put(file, text)

    assert main(command) == 1

    assert output.errors.startswith(f"Error: {file.path} is damaged (")
    assert output.errors.count("\n") == 1
    assert fake.made.calls == ["connect", "close"]


def test_damaged_file_does_not_keep_others_from_working(
    file: StateFile, fake: type[FakeBattery], output: Output
) -> None:
    put(file, "{")

    assert main(["types"]) == 0

    assert output.errors.startswith(f"Error: {file.path} is damaged (")
    assert "victron" in output.text


async def test_damaged_file_goes_once_a_snapshot_was_given(
    file: StateFile, fake: type[FakeBattery], state_folder: Path
) -> None:
    put(file, "{")
    snapshot = json.dumps(HELD.snapshot)

    assert await run(parsed("release", *FAKE, "--snapshot", snapshot)) == 0

    assert fake.made.mode == "held"
    assert stored_in(state_folder) == []


async def test_snapshot_that_the_driver_does_not_understand_is_a_damage(
    orphaned: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recover(self: FakeBattery, stored: Snapshot) -> Recovered:
        return Recovered({}, frozenset({"mode"}))

    monkeypatch.setattr(FakeBattery, "recover", recover)

    with pytest.raises(StateError, match="snapshot is damaged .*mode"):
        await run(parsed("release", *FAKE))


def test_nothing_is_written_to_a_device_when_the_disk_takes_nothing(
    fake: type[FakeBattery], output: Output, state_folder: Path
) -> None:
    state_folder.parent.mkdir()
    state_folder.write_text("a file in the way", "utf-8")

    assert main(["set-power", *FAKE, "500"]) == 1

    assert "cannot be locked" in output.errors
    assert fake.made.calls == ["connect", "close"]


def test_what_cannot_be_stored_is_a_clear_error(file: StateFile) -> None:
    file.path.parent.mkdir(parents=True)
    file.path.mkdir()

    with pytest.raises(StateError, match="cannot be written"):
        file.save(HELD)
    with pytest.raises(StateError, match="cannot be removed"):
        file.remove()


# After both were killed -----------------------------------------------------------


def test_others_say_that_a_device_is_still_held(
    orphaned: StateFile, output: Output
) -> None:
    assert main(["types"]) == 0

    assert output.errors == (
        "Still held at a setpoint: fake at home.local, serial number S1. Release it "
        "with: homebattery release fake home.local --port 1502 --username me\n"
    )


async def test_a_simulated_battery_is_released_without_a_host(
    state_folder: Path, output: Output
) -> None:
    """It has ended with its command, so nothing is held any more."""
    held = HeldDevice(
        battery_type="simulated",
        serial_number="SIM-4F2A",
        setup={"rated_power": 2000, "serial_number": "SIM-4F2A"},
        snapshot={"working_mode": "self_consumption"},
    )
    async with DRIVERS["simulated"].from_setup(held.setup) as battery:
        StateFile.of(battery).save(held)

    assert str(held) == "simulated, serial number SIM-4F2A"
    command = held.release_command
    assert command == (
        "homebattery release simulated --rated-power 2000 --serial-number SIM-4F2A"
    )
    assert await run(parsed(*command.split()[1:])) == 0
    assert stored_in(state_folder) == []


def test_others_say_nothing_while_its_command_lives(
    orphaned: StateFile, output: Output
) -> None:
    with orphaned.locked():
        assert main(["types"]) == 0

    assert output.errors == ""


async def test_release_restores_what_is_stored(
    orphaned: StateFile, fake: type[FakeBattery], state_folder: Path
) -> None:
    assert await run(parsed("release", *FAKE)) == 0

    assert fake.made.mode == "held"
    assert stored_in(state_folder) == []


async def test_release_that_fails_keeps_what_is_stored(
    orphaned: StateFile, fake: type[FakeBattery], state_folder: Path
) -> None:
    fake.trouble = {"release": [NotConfirmedError("shows something else")]}

    with pytest.raises(NotConfirmedError):
        await run(parsed("release", *FAKE))

    assert len(stored_in(state_folder)) == 1


@pytest.mark.usefixtures("no_process")
async def test_set_power_restores_before_it_takes_a_snapshot(
    simulator: VictronSimulator, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setpoint of a killed command is never taken for the user's own."""

    async def killed(*_: object) -> None:
        """Release nothing any more."""

    with monkeypatch.context() as patch:
        patch.setattr("homebattery_command.control.Control.end", killed)
        await run(parsed("set-power", *reach(simulator), 800, "--seconds", "0.01"))
    orphaned = simulator.mode

    await run(parsed("set-power", *reach(simulator), -500, "--seconds", "0.01"))

    assert (orphaned, simulator.mode) == ("controlled", "automatic")
    first, second = re.findall(r"On the device before: (.*)", output.text)
    assert first == second == '{"working_mode": "self_consumption"}'
    assert "An earlier set-power was killed" in output.text


# The guard ------------------------------------------------------------------------


async def test_guard_restores_what_is_stored(
    orphaned: StateFile, fake: type[FakeBattery], state_folder: Path
) -> None:
    await guard.restore_file(orphaned, SECRETS)

    assert fake.made.mode == "held"
    assert fake.made.options_given["password"] == "secret"
    assert stored_in(state_folder) == []


async def test_guard_tries_again(
    orphaned: StateFile, fake: type[FakeBattery], caplog: pytest.LogCaptureFixture
) -> None:
    fake.trouble = {"connect": [CannotConnectError("not there")] * 3}

    await guard.restore_file(orphaned, SECRETS)

    assert caplog.messages.count("not there") == 3
    assert fake.made.mode == "held"


async def test_guard_that_gives_up_leaves_what_is_stored(
    orphaned: StateFile,
    fake: type[FakeBattery],
    state_folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "TRIES", 2)
    fake.trouble = {"release": [InvalidValueError("no")] * 2}

    await guard.restore_file(orphaned, SECRETS)

    assert caplog.messages[-1] == f"{orphaned.path}: given up"
    assert len(stored_in(state_folder)) == 1


async def test_guard_leaves_another_device_alone(
    orphaned: StateFile, fake: type[FakeBattery], monkeypatch: pytest.MonkeyPatch
) -> None:
    orphaned.save(
        HeldDevice(
            battery_type="fake",
            serial_number="S2",
            setup=HELD.setup,
            snapshot=HELD.snapshot,
        )
    )
    monkeypatch.setattr(guard, "TRIES", 1)

    await guard.restore_file(orphaned, SECRETS)

    assert fake.made.calls == ["connect", "close"]


async def test_guard_says_that_what_is_stored_is_damaged(
    file: StateFile, caplog: pytest.LogCaptureFixture
) -> None:
    put(file, "{")

    await guard.restore_file(file, SECRETS)

    assert len(caplog.messages) == 1
    assert f"{file.path} is damaged" in caplog.messages[0]


async def test_guard_waits_for_a_person_who_is_faster(
    orphaned: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBattery, "trouble", {})
    with orphaned.locked():
        restoring = asyncio.create_task(guard.restore_file(orphaned, SECRETS))
        await asyncio.sleep(0)
        orphaned.remove()

    await restoring

    assert orphaned.load() is None


@pytest.fixture
def command_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a guard's process find that its command has sent a password, and gone."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"password": "secret"}\n'))


@pytest.mark.usefixtures("command_has_gone")
def test_guard_wakes_when_its_command_has_gone(
    orphaned: StateFile,
    fake: type[FakeBattery],
    capsys: pytest.CaptureFixture[str],
) -> None:
    guard.main(str(orphaned.path))

    assert capsys.readouterr().out == guard.READY
    assert orphaned.load() is None
    assert fake.made.mode == "held"


@pytest.mark.usefixtures("command_has_gone")
def test_guard_of_a_command_that_has_released_does_nothing(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore_file(*_: object) -> None:
        raise AssertionError("there is nothing to restore")

    monkeypatch.setattr(guard, "restore_file", restore_file)

    guard.main(str(file.path))

    assert not file.log.exists()


def test_guard_wakes_though_its_command_has_gone_at_once() -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    assert guard.wait_for_end(io.StringIO(), Gone()) == {}


def test_guard_is_a_process_that_ends_with_its_command(file: StateFile) -> None:
    started = Guard(file, SECRETS)

    assert started.dismiss() == 0


def test_guard_that_cannot_be_started_is_an_error(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")

    with pytest.raises(StateError, match="nothing was written: no guard"):
        Guard(file, SECRETS)


@pytest.mark.parametrize("program", ["true", "cat"])
def test_guard_that_does_not_answer_is_an_error(
    file: StateFile, program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec {program} >&2\n", "utf-8")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(guard, "START_LIMIT", 0.1)

    with pytest.raises(StateError, match="nothing was written: no guard"):
        Guard(file, SECRETS)


def test_lock_works_where_the_disk_has_become_read_only(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A held device must still be restored by its file."""
    with file.locked():
        pass
    real_open = Path.open

    def open_to_read(path: Path, mode: str = "r", **options: Any) -> Any:
        if mode != "rb" and path.suffix == ".lock":
            raise OSError(errno.EROFS, "Read-only file system")
        return real_open(path, mode, **options)

    monkeypatch.setattr(Path, "open", open_to_read)

    with file.locked():
        assert file.is_locked()


@pytest.mark.usefixtures("command_has_gone", "fake")
def test_guard_restores_where_its_log_cannot_be_written(
    orphaned: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under pytest there is a handler already, so a log would not be opened.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    orphaned.log.mkdir()

    guard.main(str(orphaned.path))

    assert orphaned.load() is None


def test_home_that_is_not_known_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(
        Path, "expanduser", Mock(side_effect=RuntimeError("no home directory."))
    )

    with pytest.raises(StateError, match="XDG_STATE_HOME"):
        state.folder()


@pytest.mark.parametrize(
    ("err", "text"),
    [
        (BrokenPipeError(), ""),
        (OSError(errno.ENOSPC, "No space left"), "Error: [Errno 28] No space left\n"),
    ],
    ids=["no reader", "full disk"],
)
def test_output_that_cannot_be_written_is_no_traceback(
    err: OSError,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(
        "homebattery_command.__main__.print_types", Mock(side_effect=err)
    )
    with (tmp_path / "output").open("w", encoding="ascii") as output:
        monkeypatch.setattr(sys, "stdout", output)

        assert main(["types"]) == 1

    assert capsys.readouterr().err == text
