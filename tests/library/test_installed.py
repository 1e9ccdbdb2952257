"""The distribution by itself: built, installed where nothing else is, and used."""

import ast
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import fcntl
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
from typing import Any, Final
from zipfile import ZipFile

import homeassistant
import pytest

from homebattery import DRIVERS
from tests.simulators import SIMULATORS, Simulator, VictronSimulator

from .conftest import reach, stored_in

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("socket_enabled")]

ROOT: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent
CONSTRAINTS: Final = Path(homeassistant.__file__).parent / "package_constraints.txt"
USAGE: Final = re.search(
    r"^```python\n(.*?)^```",
    (ROOT / "docs/library.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)
RUN_USAGE: Final = f"""
import ast, asyncio, sys
code = compile(sys.stdin.read(), "library.md", "exec", {ast.PyCF_ALLOW_TOP_LEVEL_AWAIT})
asyncio.run(eval(code))
"""
EMPTY: Final = """
from importlib.util import find_spec
import sys
print(*[name for name in sys.argv[1:] if find_spec(name)])
"""


def uv(*words: object) -> None:
    """Run uv, which comes with Home Assistant."""
    environment = {"UV_SYSTEM_CERTS": "true", "UV_NO_CONFIG": "true", **os.environ}
    command = [str(BIN / "uv"), *map(str, words), "--quiet"]
    subprocess.run(command, check=True, env=environment, cwd=ROOT)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel of this checkout, and what that needs.

    The tests of several processes share it: the first to come makes it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / "installed", shared / "installed.done"
    with (shared / "installed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            uv("build", "--wheel", "--python", sys.executable, "--out-dir", folder)
            uv("venv", "--python", sys.executable, folder / "venv")
            wheel, python = next(folder.glob("*.whl")), folder / "venv/bin/python"
            constraints = ("--constraints", CONSTRAINTS)
            uv("pip", "install", "--python", python, *constraints, wheel)
            done.touch()
    return folder


@pytest.fixture
def python(installed: Path) -> Path:
    """Return the Python of the environment that has the library."""
    return installed / "venv" / "bin" / "python"


async def run(*words: object, given: str = "", **variables: str) -> tuple[int, str]:
    """Run a program where nothing of this checkout is; return its status and output."""
    process = await start(*words, **variables)
    out, _ = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, out.decode()


async def start(*words: object, **variables: str) -> asyncio.subprocess.Process:
    """Start a program where nothing of this checkout is."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "XDG_STATE_HOME")}
    return await asyncio.create_subprocess_exec(
        *map(str, words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=os.environ["XDG_STATE_HOME"],
        env={**kept, **variables},
    )


@pytest.fixture(autouse=True)
def _folder(state_folder: Path) -> None:
    state_folder.parent.mkdir()


# What is in it --------------------------------------------------------------------


def test_wheel_has_the_library_and_its_command_only(installed: Path) -> None:
    with ZipFile(next(installed.glob("*.whl"))) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
        modes = {info.external_attr >> 28 for info in wheel.infolist()}

    assert {name.partition("/")[0] for name in names} == {
        "homebattery",
        "homebattery_command",
    }
    drivers = ROOT / "custom_components" / "homebattery" / "drivers"
    assert {name.partition("/")[2] for name in names if name.startswith("homebattery/")}
    assert sorted(n for n in names if n.startswith("homebattery/")) == sorted(
        f"homebattery/{path.relative_to(drivers).as_posix()}"
        for path in drivers.rglob("*.*")
        if "__pycache__" not in path.parts
    )
    assert "homebattery/py.typed" in names
    assert 0o12 not in modes  # that is a link's


async def test_environment_has_nothing_of_home_assistant(python: Path) -> None:
    foreign = ("homeassistant", "custom_components", "voluptuous", "probatio", "tests")

    assert await run(python, "-c", EMPTY, *foreign, "homebattery") == (
        0,
        "homebattery\n",
    )


async def test_vendor_without_modbus_imports_none(python: Path) -> None:
    code = "import sys, homebattery; print(homebattery.SessyInverter.battery_type)"

    assert await run(python, "-c", code) == (0, "sessy\n")


async def test_mypy_sees_the_types(python: Path, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "from homebattery import Grant, VictronInverter\n"
        "battery = VictronInverter('home.local')\n"
        "async def use() -> None:\n"
        "    reveal_type(await battery.set_power_setpoint(1500))\n",
        "utf-8",
    )

    status, text = await run(
        *(BIN / "mypy", "--strict", "--python-executable", python),
        *("--cache-dir", tmp_path / "cache", tmp_path / "use.py"),
    )

    assert status == 0, text
    assert "homebattery.battery.controller.Grant" in text


# The first example on its page -----------------------------------------------------


@asynccontextmanager
async def simulated(kind: str) -> AsyncIterator[Simulator]:
    """Simulate a device in its usual house, where the sun does not shine."""
    device: Any = SIMULATORS[kind]
    house = device.house(soc=50)
    house.fixed_pv, house.fixed_load = 0.0, 600.0
    async with device(house) as simulator:
        yield simulator


async def test_usage_works_as_printed(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with simulated("victron") as simulator:
        assert isinstance(simulator, VictronSimulator)
        modes: list[str] = []
        write = simulator.units.write

        def note(unit: int, address: int, words: list[int]) -> None:
            write(unit, address, words)
            modes.append(simulator.mode)

        monkeypatch.setattr(simulator.units, "write", note)
        before = simulator.settings_words()
        assert USAGE is not None
        usage = USAGE[1]
        address = f'"{simulator.host}", port={simulator.port}'
        code = usage.replace('"192.168.1.100", port=502', address)
        assert address in code

        status, text = await run(python, "-c", RUN_USAGE, given=code)
        charged = [w for w in simulator.server.traffic.writes if w.address == 37]
        after = simulator.settings_words()

    assert status == 0, text
    power, soc, voltage = text.splitlines()
    assert re.fullmatch(r"-?\d+(\.\d+)? W", power)
    assert soc == "50.0 %"
    assert re.fullmatch(r"2[234]\d(\.\d+)? V", voltage)
    assert charged
    assert "controlled" in modes
    assert (simulator.mode, after) == ("automatic", before)


# The command ----------------------------------------------------------------------


async def test_each_command_works(python: Path, state_folder: Path) -> None:
    command = python.parent / "homebattery"
    async with simulated("victron") as device:
        where = reach(device)
        types = await run(command, "types")
        detected = await run(command, "detect", device.host, "--port", device.port)
        read = await run(command, "read", *where)
        held = await run(command, "set-power", *where, 900, "--seconds", 1)
        released = await run(command, "release", *where)
        nothing = await run(command, "detect", "127.0.0.1", "--port", 1)

    assert [status for status, _ in (types, detected, read, held)] == [0, 0, 0, 0]
    assert all(name in types[1] for name in DRIVERS)
    assert "homebattery read victron" in detected[1]
    assert re.search(r"^battery_soc +5\d\b.* %$", read[1], re.MULTILINE)
    assert "granted: charge 900 W" in held[1]
    assert "Released, and seen on the device" in held[1]
    assert (released[0], nothing[0]) == (2, 1)
    assert nothing[1] == "Error: 127.0.0.1: no battery of a known type answers there\n"
    assert stored_in(state_folder) == []


@asynccontextmanager
async def held(
    python: Path, device: Simulator
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Hold a device with the command; yield its process, and the guard's id."""
    password = str(device.setup.get("password", ""))
    process = await start(
        *(python.parent / "homebattery", "set-power", *reach(device), 700),
        HOMEBATTERY_PASSWORD=password,
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    while b"granted: charge 700 W" not in (line := await process.stdout.readline()):
        assert line, lines
        lines.append(line)
    (guard,) = guards_of(process.pid)
    try:
        yield process, guard
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def guards_of(pid: int) -> list[int]:
    """Return the guards among the processes that a process has started."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(word) for file in files for word in file.read_text("utf-8").split()]
    return [child for child in children if ".guard" in arguments_of(child)]


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8")


def is_running(pid: int) -> bool:
    """Return whether a process is there, and not only its exit status."""
    stat = Path(f"/proc/{pid}/stat")
    return (
        stat.exists() and stat.read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    )


async def ended(pid: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    while is_running(pid):
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", SIMULATORS)
async def test_killed_command_leaves_its_device_as_it_was(
    python: Path, kind: str, state_folder: Path
) -> None:
    async with simulated(kind) as device:
        before = device.settings_words()
        async with held(python, device) as (process, guard):
            while_held = device.settings_words()
            arguments = arguments_of(guard)
            stored = stored_in(state_folder)
            process.kill()
            await ended(guard)
        after = device.settings_words()

    assert while_held != before
    assert after == before
    assert stored_in(state_folder) == []
    password = str(device.setup.get("password", ""))
    (log,) = stored_in(state_folder, "*.log")
    assert "released, since its command was killed" in log
    assert not password or password not in (log + arguments + "".join(stored))


@pytest.mark.parametrize("kind", ["victron", "sessy"])
async def test_both_killed_is_restored_by_release(
    python: Path, kind: str, state_folder: Path
) -> None:
    command = python.parent / "homebattery"
    async with simulated(kind) as device:
        before = device.settings_words()
        password = str(device.setup.get("password", ""))
        async with held(python, device) as (process, guard):
            os.kill(guard, signal.SIGKILL)
            process.kill()
            await ended(guard)
        orphaned = device.settings_words()
        assert password == "" or password not in "".join(stored_in(state_folder))

        _, text = await run(command, "types")
        (line,) = re.findall(r"Release it with: homebattery (.*)", text)
        status, text = await run(command, *line.split(), HOMEBATTERY_PASSWORD=password)
        after = device.settings_words()

    assert orphaned != before
    assert (status, after) == (0, before), text
    assert stored_in(state_folder) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signal_releases_and_ends_the_guard(
    python: Path, signum: signal.Signals, state_folder: Path
) -> None:
    async with simulated("victron") as device:
        before = device.settings_words()
        async with held(python, device) as (process, guard):
            process.send_signal(signum)
            out, _ = await process.communicate()
            await ended(guard)
        after = device.settings_words()

    assert (process.returncode, after) == (0, before)
    assert b"Released, and seen on the device" in out
    assert stored_in(state_folder) == []


async def test_second_command_is_refused_while_the_first_holds(python: Path) -> None:
    async with simulated("victron") as device, held(python, device) as (process, _):
        while_held = device.settings_words()
        status, text = await run(
            python.parent / "homebattery", "set-power", *reach(device), -300
        )
        assert device.settings_words() == while_held
        process.terminate()
        await process.communicate()

    assert status == 1
    assert text.startswith("Error: ")
    assert "another homebattery command holds this device" in text
    assert text.count("\n") == 1
