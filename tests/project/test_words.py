"""The words of the trade: names and docstrings use Home Assistant's and the makers'.

A stranger guesses a name that the trade uses. `WORDS` has each word that this project
alone used, and the trade's word for it. Prose is free: comments, texts, and all of a
docstring but its first line.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
import re
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("custom_components", "library", "scripts", "benchmarks", "tests")

WORDS: Final[Mapping[str, str]] = {
    r"found": "snapshot",
    r"told|tells?|telling": "sent, apply",
    r"left": "orphaned",
    r"astray": "seconds_off_target",
    r"age": "seconds_since_…",
    r"looks?|looked|looking": "refresh, evaluate, scan",
    r"turns|urgent|matters?": "PriorityLock, high_priority",
    r"visits?|recognised?|recognises": "probe, detect",
    # Modbus itself calls its registers so.
    r"holding(?! registers?\b)": "controller",
    r"advice": "DeviceIssue",
    r"interventions?": "takeover",
    r"anatomy|explored?|explores": "topology, discover",
    r"twins?": "read-back registers",
    r"strange": "foreign",
    r"halted|obstacles?|sleeps|asleep": "suspended, grid_charge_latent",
    r"let go|lets go|take up again|taken up again": "suspend, resume",
    r"patient|cautious|hopeless": "retrying, chunked, failing",
    r"believed|doubted|moved|counter watch": "accepted, suspect, offset, CounterFilter",
    r"rare|owners?|owner options|hidden": "advanced, user, options, redacted",
    r"setup found|poll of|limited by": "detected_config, poll_rate, Grant.reason",
    r"give back|gives back|given back|giving back|gave back": "release, restore",
}
"""Each word that no name has (as a pattern), and the trade's word."""

ANY_WORD: Final = re.compile(rf"\b(?:{'|'.join(WORDS)})\b")
RIDDLES: Final = re.compile(
    r"(what|how|who|whom|whose|whoever|whatever)\b", re.IGNORECASE
)
"""First words of a docstring that is a riddle."""
PEOPLE: Final = re.compile(r"\b(we|us|our|ours|somebody|someone)\b", re.IGNORECASE)
"""Words for people that no docstring has."""


class Finding(NamedTuple):
    """A name or a first line that uses another word."""

    where: str
    text: str
    word: str


def plain(name: str) -> str:
    """Return a name in lower case, its words apart."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return " ".join(apart.lower().split("_")).strip()


@cache
def words_in(text: str) -> tuple[str, ...]:
    """Return the words of `WORDS` that a text has."""
    lower = text.lower()
    if not ANY_WORD.search(lower):
        return ()
    matches = (re.search(rf"\b(?:{pattern})\b", lower) for pattern in WORDS)
    return tuple(match[0] for match in matches if match)


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each name that a module gives to something, with its line."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=str(name))
                | ast.AsyncFunctionDef(name=str(name))
                | ast.ClassDef(name=str(name))
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.TypeVar(name=str(name))
                | ast.arg(arg=str(name))
                | ast.keyword(arg=str(name))
                | ast.alias(asname=str(name))
                | ast.Name(id=str(name), ctx=ast.Store())
                | ast.Attribute(attr=str(name), ctx=ast.Store())
            ):
                yield getattr(node, "lineno", 0), name


def docstrings_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each docstring, also those of attributes, with its line."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Module(body=body)
                | ast.ClassDef(body=body)
                | ast.FunctionDef(body=body)
                | ast.AsyncFunctionDef(body=body)
            ):
                for statement in body:
                    match statement:
                        case ast.Expr(value=ast.Constant(value=str(text))):
                            yield statement.lineno, text.strip()


def modules() -> list[Path]:
    """Return all modules of the project."""
    return sorted(
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if not path.is_relative_to(ROOT / "library/homebattery")
    )


def findings_in(path: str, source: str) -> Iterator[Finding]:
    """Yield the other words in the names and docstrings of a module."""
    tree = ast.parse(source)
    for word in words_in(plain(Path(path).stem)):
        yield Finding(path, Path(path).name, word)
    for line, name in names_in(tree):
        for word in words_in(plain(name)):
            yield Finding(f"{path}:{line}", name, word)
    for line, text in docstrings_in(tree):
        first = text.splitlines()[0]
        for word in words_in(first):
            yield Finding(f"{path}:{line}", first, word)
        if riddle := RIDDLES.match(first):
            yield Finding(f"{path}:{line}", first, riddle[0])
        if people := PEOPLE.search(text):
            yield Finding(f"{path}:{line}", text, people[0])


def test_names_and_docstrings_use_the_words_of_the_trade() -> None:
    """There are no exceptions; see `WORDS` for the word to use."""
    assert [
        finding
        for path in modules()
        for finding in findings_in(str(path.relative_to(ROOT)), path.read_text("utf-8"))
    ] == []


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("found = 1", "found"),
        ("def read_found(): ...", "found"),
        ("def f(*, told=None): ...", "told"),
        ("self.tries_left = 1", "left"),
        ("class CounterWatch: ...", "counter watch"),
        ("f(limited_by=1)", "limited by"),
        ("import x as advice", "advice"),
        ("match x:\n    case {'a': owner}: ...", "owner"),
        ("class A[Twin]: ...", "twin"),
        ('"""Give back the battery."""', "give back"),
        ('x = 1\n"""How often it looks."""', "looks"),
        ('def f():\n    """What it is."""', "What"),
        ('def f():\n    """Return it.\n\n    As somebody said.\n    """', "somebody"),
    ],
)
def test_another_word_is_noticed(source: str, word: str) -> None:
    """Each kind of name and docstring is checked."""
    assert word in {finding.word for finding in findings_in("module.py", source)}


@pytest.mark.parametrize(
    "source",
    [
        "unit.read_holding_registers(1, 2)",
        "def read_holding_registers(): ...",
        "storage = package = {'found': found['left']}",
        '"""Return the power.\n\nWhich was found by looking.\n"""',
    ],
)
def test_other_names_and_prose_are_free(source: str) -> None:
    """Only whole words count, in names given here and in first lines."""
    assert list(findings_in("module.py", source)) == []
