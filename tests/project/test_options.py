"""Options of commands that the pages name exist, as the commands themselves say.

Whole commands of the library are parsed in `test_commands.py`.
"""

from collections.abc import Callable, Iterator
import re
from typing import Any, Final, Protocol

import pytest

from benchmarks.__main__ import main as benchmarks
from homebattery_command.parser import make_parser
from scripts.demonstration.__main__ import main as demo
from scripts.demonstration.pictures import PICTURES, main as pictures
from scripts.demonstration.screenshot import main as screenshot
from tests.simulators.__main__ import parser as simulators

from . import ROOT
from .page_code import commands, in_line
from .test_links import PAGES

type Program = Callable[[], Any]
"""Reads the command line, and ends the process after `--help`."""

PYTHON: Final[dict[str, Program]] = {
    "scripts/benchmark": benchmarks,
    "scripts/demo": demo,
    "scripts/pictures": pictures,
    "scripts/screenshot": screenshot,
}
"""The commands that leave their options to Python, and the function that reads these."""
TO_PYTEST: Final = ("scripts/test", "scripts/test-browser")
"""Those that give pytest the options that they do not know."""
OTHERS: Final[list[tuple[Program, list[str]]]] = [
    (simulators().parse_args, ["deye_modbus"]),
    (make_parser().parse_args, ["detect"]),
    (make_parser().parse_args, ["read", "victron"]),
    (make_parser().parse_args, ["set-power", "victron"]),
]
"""Other programs, each with what comes before its options."""
MODULES: Final[dict[str, Callable[[list[str]], Any]]] = {
    "tests.simulators": simulators().parse_args,
    "homebattery_command": make_parser().parse_args,
}
"""Modules that the pages let Python run, and the function that reads what follows."""
OPTION: Final = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


class Listed(Protocol):
    """Return the options that a program lists with `--help`."""

    def __call__(self, program: Program, *before: str) -> set[str]: ...


@pytest.fixture
def options_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Listed:
    """Return a function that asks a program for its options."""

    def ask(program: Program, *before: str) -> set[str]:
        monkeypatch.setattr("sys.argv", ["program", *before, "--help"])
        with pytest.raises(SystemExit, match="^0$"):
            program()
        return set(OPTION.findall(capsys.readouterr().out))

    return ask


def options_of_scripts() -> Iterator[tuple[str, str, str]]:
    """Yield each option of a script on a page: the page, the script, the option."""
    for page, _, words in commands():
        for word in words[1:]:
            if words[0].startswith("scripts/") and word.startswith("-"):
                yield page, words[0], word.split("=")[0]


def is_option(config: pytest.Config, option: str) -> bool:
    """Return whether pytest knows an option, such as `-k`."""
    try:
        config.getoption(option)
    except ValueError:
        return False
    return True


def test_options_of_scripts_on_the_pages_exist(
    options_of: Listed, pytestconfig: pytest.Config
) -> None:
    on_pages = set(options_of_scripts())
    assert {script for _, script, _ in on_pages} >= {"scripts/demo", "scripts/test"}
    listed = {script: options_of(program) for script, program in PYTHON.items()}
    for page, script, option in on_pages:
        if script in PYTHON:
            assert option in listed[script], f"{page}: {script} {option}"
        elif f"== {option} ]]" not in (ROOT / script).read_text("utf-8"):
            assert script in TO_PYTEST, f"{page}: {script} {option}"
            assert is_option(pytestconfig, option), f"{page}: {script} {option}"


def test_modules_on_the_pages_understand_what_follows_them(
    pytestconfig: pytest.Config,
) -> None:
    """Modules that are not in `MODULES` are named alone."""
    of_modules = [each for each in commands() if each.module and each.words[3:]]
    assert {each.module for each in of_modules} >= {"pytest", "tests.simulators"}
    for command in of_modules:
        following = command.words[3:]
        if command.module == "pytest":
            options = [word for word in following if word.startswith("-")]
            assert all(is_option(pytestconfig, each) for each in options), command
        elif "--help" in following:
            with pytest.raises(SystemExit, match="^0$"):
                MODULES[str(command.module)](following)
        else:
            assert MODULES[str(command.module)](following), command


def test_options_that_pages_name_alone_exist(
    options_of: Listed, pytestconfig: pytest.Config
) -> None:
    """Which command takes one is said around it."""
    known = {
        option
        for program, before in [*((each, []) for each in PYTHON.values()), *OTHERS]
        for option in options_of(program, *before)
    }
    alone = {
        (page.name, re.split("[ =]", code)[0])
        for page in PAGES
        for code in in_line(page)
        if code.startswith("--")
    }
    assert ("library.md", "--watch") in alone
    assert [
        (page, option)
        for page, option in alone
        if option not in known and not is_option(pytestconfig, option)
    ] == []


def test_pictures_on_the_pages_are_made_by_these_names() -> None:
    named = {
        name
        for _, _, words in commands()
        if words[0] == "scripts/pictures"
        for name in words[1:]
    }
    assert named
    assert named <= {picture.name for picture in PICTURES}
