"""The code that stands on the pages: blocks of it, words in a line, commands."""

from collections.abc import Iterator
from pathlib import Path
import re
import shlex
from typing import Final, NamedTuple

from . import ROOT
from .test_links import PAGES

BLOCK: Final = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`([^`\n]+)`")
COMMAND: Final = re.compile(
    r"((?:[A-Z_]+=\S* )*)((?:scripts/|homebattery |(?:\.venv/bin/)?python ).*)"
)
"""Variables, and a command of this project."""


class Command(NamedTuple):
    """A command on a page: the variables before it, and its words without comments."""

    page: str
    variables: dict[str, str]
    words: list[str]

    @property
    def module(self) -> str | None:
        """The module that it lets Python run; None where it is no such command."""
        is_python = Path(self.words[0]).name == "python"
        return self.words[2] if is_python and self.words[1:2] == ["-m"] else None


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the blocks of code of a page that are in one of these languages."""
    every = BLOCK.findall(page.read_text("utf-8"))
    return [code for language, code in every if language in languages]


def in_line(page: Path) -> list[str]:
    """Return the code of a page that stands in a line of text."""
    return CODE.findall(BLOCK.sub("", page.read_text("utf-8")))


def commands_in(page: str, lines: list[str]) -> Iterator[Command]:
    """Yield the commands of this project among some lines of a page."""
    for line in lines:
        # What is cut short there is no command to be typed.
        if "…" not in line and (match := COMMAND.fullmatch(line)):
            pairs = (each.partition("=")[::2] for each in match[1].split())
            words = shlex.split(match[2], comments=True)
            yield Command(page, dict(pairs), words)


def commands() -> Iterator[Command]:
    """Yield each command of the pages."""
    for page in PAGES:
        lines = [line for block in blocks(page, "", "sh") for line in block.split("\n")]
        yield from commands_in(str(page.relative_to(ROOT)), [*lines, *in_line(page)])
