"""Commands on the pages can be typed: scripts, modules, variables and paths are there.

That their options exist is checked in `test_options.py`.
"""

from collections.abc import Iterator
from importlib.util import find_spec
import json
import os
from pathlib import Path
import re
from typing import Final

import pytest

from homebattery_command.parser import make_parser

from . import FOLDER, ROOT
from .page_code import Command, blocks, commands, commands_in, in_line
from .test_links import FOLDERS, PAGES

COMMANDS: Final = list(commands())
OF_PYTHON: Final = "PYTHONPATH"
"""The variable that Python itself reads."""
PROGRAMS: Final = [
    file.read_text("utf-8")
    for folder in ("scripts", "tests")
    for file in (ROOT / folder).rglob("*")
    if file.is_file() and (file.suffix == ".py" or file.stat().st_mode & 0o100)
]
OTHERS: Final = {"git", "cd", "pip"}
"""First words of lines that are no commands of this project: `pip install .` is run in
`tests/library/test_installed.py`, and the other two are compared below."""
TO_BE_MADE: Final = {"custom_components/homebattery/drivers/my_new.py"}
"""Files that the reader of a page makes."""
PATH: Final = re.compile(
    rf"(?:{'|'.join(re.escape(each.name) for each in FOLDERS)})/[\w./-]*"
)


def is_read(variable: str) -> bool:
    """Return whether a script or a test reads a variable of the environment."""
    reads = re.compile(
        rf"environ(?:\.get\(|\[)\"{variable}\"|\$(?:{variable}\b|\{{{variable}\b)"
    )
    return any(map(reads.search, PROGRAMS))


def can_be_run(module: str, folders: list[Path]) -> bool:
    """Return whether `python -m` runs a module: one in these folders, or an installed."""
    path = Path(*module.split("."))
    for folder in (ROOT, ROOT / "library"):
        if (folder / path.parts[0]).exists():
            return folder in folders and is_program(folder / path)
    return bool(find_spec(module) and find_spec(f"{module}.__main__"))


def is_program(path: Path) -> bool:
    """Return whether a package or a module, without its suffix, can be run."""
    file = path.with_suffix(".py")
    return (path / "__main__.py").is_file() or (
        file.is_file() and '__name__ == "__main__"' in file.read_text("utf-8")
    )


def missing_from(command: Command) -> Iterator[str]:
    """Yield what a command names that is not there."""
    variables = set(command.variables) - {OF_PYTHON}
    yield from (name for name in variables if not is_read(name))
    folders = [ROOT / command.variables.get(OF_PYTHON, ".")]
    yield from (str(each) for each in folders if not each.is_dir())
    if command.module and not can_be_run(command.module, [ROOT, *folders]):
        yield command.module
    for word in command.words:
        is_path = re.match(r"\w+/", word)
        if is_path and not (ROOT / word).exists():
            yield word


def test_commands_name_what_is_there() -> None:
    assert {
        (each.page, missing) for each in COMMANDS for missing in missing_from(each)
    } == set()


def test_all_kinds_of_commands_are_among_them() -> None:
    assert {each.module for each in COMMANDS} >= {
        "asyncio",
        "homebattery_command",
        "pytest",
        "tests.faults.page",
        "tests.project.entity_tables",
        "tests.simulators",
    }
    assert {name for each in COMMANDS for name in each.variables} >= {
        "CHROMIUM",
        "HOMEBATTERY_KILLS",
        OF_PYTHON,
    }


@pytest.mark.parametrize(
    "line",
    [
        "HOMEBATTERY_KILL=12 scripts/test --long",
        "scripts/tests",
        "scripts/test tests/drivers/test_fuz.py",
        ".venv/bin/python -m tests.faults.pages",
        "python -m tests.faults.faults",
        "python -m asynci",
        "python -m homebattery_command",
        "PYTHONPATH=libary .venv/bin/python -m homebattery_command",
    ],
)
def test_what_is_not_there_is_noticed(line: str) -> None:
    (command,) = commands_in("a page", [line])
    assert list(missing_from(command))


def test_all_lines_to_be_typed_are_commands() -> None:
    lines = [
        line
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.split("\n")
    ]
    others = [line for line in lines if line and not [*commands_in("", [line])]]
    assert {line.split()[0] for line in others} <= OTHERS


def test_paths_in_a_line_are_there() -> None:
    """Those that begin with a folder of the repository."""
    paths = {
        (page.name, code)
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for code in in_line(page)
        if PATH.fullmatch(code)
    }
    assert ("architecture.md", "tests/in_process.py") in paths
    missing = {path for _, path in paths if not (ROOT / path).exists()}
    assert missing == TO_BE_MADE


def test_scripts_on_the_pages_can_be_started() -> None:
    scripts = {
        each.words[0] for each in COMMANDS if each.words[0].startswith("scripts/")
    }
    assert "scripts/demo" in scripts
    for script in (ROOT / each for each in scripts):
        assert script.is_dir() or script.suffix or os.access(script, os.X_OK), script


def test_the_readme_clones_the_repository() -> None:
    (commands_to_try,) = [
        block for block in blocks(ROOT / "README.md", "sh") if "git clone" in block
    ]
    address = json.loads((FOLDER / "manifest.json").read_text())["documentation"]
    folder = address.rsplit("/", 1)[1]
    assert commands_to_try.splitlines()[:2] == [f"git clone {address}", f"cd {folder}"]


def test_commands_of_the_terminal_are_understood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are run in tests/library."""
    monkeypatch.setenv("HOMEBATTERY_PASSWORD", "")
    of_library = [each for each in COMMANDS if each.words[0] == "homebattery"]
    assert {"types", "detect", "read", "set-power", "release"} <= {
        each.words[1] for each in of_library
    }
    for page, _, words in of_library:
        if "--help" in words:
            with pytest.raises(SystemExit, match="^0$"):
                make_parser().parse_args(words[1:])
        else:
            assert make_parser().parse_args(words[1:]), page
