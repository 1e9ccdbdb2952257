"""Fixtures of the tests of the library by itself, and of its command."""

import argparse
from collections.abc import AsyncIterator, Iterator, Mapping
import logging
from pathlib import Path

import pytest

from homebattery import DRIVERS
from homebattery.modbus.probe import Probe
from homebattery_command import control, guard, restoring
from homebattery_command.parser import make_parser
from homebattery_command.state import StateFile
from tests.simulators import ManualClock, Plant, Simulator, VictronSimulator
from tests.simulators.image import ModbusImage

from .fake_battery import FakeBattery


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of what is held, which is this test's own and not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "homebattery"


def stored_in(folder: Path, pattern: str = "*.json") -> list[str]:
    """Return the texts of the files in a folder; by default the state of devices."""
    return [file.read_text("utf-8") for file in folder.glob(pattern)]


@pytest.fixture(autouse=True)
def blocking_calls() -> None:
    """Let the command use the disk in its own event loop: Home Assistant is not here."""


@pytest.fixture(autouse=True)
def _quick_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take out the pauses, and what the tests' own environment could change."""
    monkeypatch.setattr(control, "SHOW_INTERVAL", 0.01)
    monkeypatch.setattr(restoring, "PAUSE", 0)
    monkeypatch.setattr(guard, "PAUSE", 0)
    monkeypatch.setattr(Probe, "connect_delay", 0)
    monkeypatch.setattr(Probe, "timeout", 0.1)
    for driver in DRIVERS.values():
        monkeypatch.setattr(driver, "settle", 0, raising=False)
    monkeypatch.delenv("HOMEBATTERY_PASSWORD", raising=False)
    loggers = [logging.getLogger(name) for name in ("asyncio", "pymodbus")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


class WatchedGuard:
    """Takes the place of a guard's process, and notes what is sent to it."""

    secrets: Mapping[str, str] | None = None
    dismissed = False

    def __call__(self, file: StateFile, secrets: Mapping[str, str]) -> WatchedGuard:
        self.secrets = secrets
        return self

    def dismiss(self) -> None:
        self.dismissed = True


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> WatchedGuard:
    """Have the command start no guard's process; return what takes its place."""
    watched = WatchedGuard()
    monkeypatch.setattr(control, "Guard", watched)
    return watched


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeBattery]:
    """Register a battery in memory as a type of its own."""
    monkeypatch.setitem(DRIVERS, "fake", FakeBattery)
    monkeypatch.setattr(FakeBattery, "trouble", {}, raising=False)
    monkeypatch.setattr(
        FakeBattery, "values", {"battery_power": 1480.0, "battery_soc": 55}
    )
    return FakeBattery


@pytest.fixture
async def simulator() -> AsyncIterator[VictronSimulator]:
    plant = Plant(clock=ManualClock())
    plant.fixed_pv, plant.fixed_load = 0.0, 600.0
    async with VictronSimulator(plant) as server:
        yield server


def parsed(*words: object) -> argparse.Namespace:
    return make_parser().parse_args([str(word) for word in words])


def reach(device: Simulator | ModbusImage) -> list[str]:
    """Return the words that say where a device is, but no password."""
    kind = device.type if isinstance(device, Simulator) else "victron"
    words = [kind, device.host]
    for name, value in device.setup.items():
        if name not in ("host", "password") and value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


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
