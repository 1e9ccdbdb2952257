"""The library stands by itself: without Home Assistant, each vendor apart."""

import ast
from collections.abc import Iterator
import os
from pathlib import Path
import subprocess
import sys
from typing import Final

import pytest

from custom_components.homebattery.drivers import DRIVERS

ROOT: Final = Path(__file__).parents[2]
INTEGRATION: Final = ROOT / "custom_components" / "homebattery"
FILES: Final = sorted((INTEGRATION / "drivers").glob("*.py"))

THIRD_PARTY: Final = {"aiohttp", "pymodbus", "pysolarmanv5", "umodbus", "yarl"}
VENDORS: Final = {driver.__module__.rpartition(".")[2] for driver in DRIVERS.values()}
"""The file of each driver; what its name begins with it belongs to it."""

WITHOUT_HOME_ASSISTANT: Final = """
import sys
for forbidden in ("homeassistant", "voluptuous", "probatio", "custom_components"):
    sys.modules[forbidden] = None  # any import of it fails from here on
sys.path.append(sys.argv.pop(1))
"""


def run_python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code that finds the library in a Python of its own."""
    command = [sys.executable, "-c", WITHOUT_HOME_ASSISTANT + code, str(INTEGRATION)]
    return subprocess.run(
        [*command, *words], check=False, text=True, capture_output=True
    )


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield level (dots) and first name of all that a file imports."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [each.name for each in node.names]
            yield from ((node.level, name.split(".")[0]) for name in names)


def owner(name: str) -> str | None:
    """Return the vendor that a file belongs to; None for what all may use."""
    owners = [
        vendor for vendor in VENDORS if name == vendor or name.startswith(f"{vendor}_")
    ]
    return max(owners, key=len, default=None)


def test_library_is_imported_without_home_assistant() -> None:
    result = run_python("import drivers; print(*sorted(drivers.DRIVERS))")

    assert result.stderr == ""
    assert result.stdout.split() == sorted(DRIVERS)


def test_command_line_works_without_home_assistant() -> None:
    code = (
        "import runpy; runpy.run_module('drivers', run_name='__main__', alter_sys=True)"
    )

    result = run_python(code, "--help")

    assert result.stderr == ""
    assert "set-power" in result.stdout


def test_library_runs_as_a_module_from_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "drivers").symlink_to(INTEGRATION / "drivers")
    command = [sys.executable, "-m", "drivers", "types"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    result = subprocess.run(
        command, check=False, text=True, capture_output=True, env=environment
    )

    assert result.stderr == ""
    assert all(name in result.stdout for name in DRIVERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_imports_nothing_from_outside_the_library(file: Path) -> None:
    allowed = sys.stdlib_module_names | THIRD_PARTY

    for level, name in imports(file):
        assert level <= 1, f"{'.' * level}{name} is outside of the library"
        assert level or name in allowed, f"{name} is neither Python's nor needed"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_vendors_do_not_know_each_other(file: Path) -> None:
    relative = [name for level, name in imports(file) if level]
    strangers = {owner(name) for name in relative} - {None, owner(file.stem)}

    assert not strangers or file.stem == "__init__"


def test_files_of_two_vendors_are_told_apart() -> None:
    assert owner("victron") == owner("victron_registers") == "victron"
    assert owner("modbus") is None
    assert {owner(file.stem) for file in FILES} == {None, *VENDORS}
