"""Names in italics on the pages for users are those that a user sees.

That is a text of the integration, of its dashboard or its blueprints, or of Home
Assistant. The pages of the brands are not among them: most of their italics are texts on
the makers' devices.
"""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
import json
from pathlib import Path
import re
from typing import Any, Final

from homeassistant.util.yaml import load_yaml_dict
import pytest

from . import FOLDER, ROOT
from .page_code import BLOCK, CODE
from .test_readme import english, english_texts, pattern_of

PAGES: Final = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "automations",
            "blueprints",
            "control",
            "dashboard",
            "energy",
            "entities",
            "setup",
            "simulated",
            "troubleshooting",
        )
    ),
)
ITALICS: Final = re.compile(r"(?<![*\w])\*([^*\s](?:[^*\n]*[^*\s])?)\*(?!\*)")
GAP: Final = r"[\w.-]+"
"""Anything short, in the place of a placeholder."""

OF_HOME_ASSISTANT: Final = {
    "Add battery system",
    "Add dashboard",
    "Add integration",
    "Community dashboards",
    "Dashboards",
    "Devices & services",
    "Discovered",
    "Download diagnostics",
    "Electricity",
    "Energy",
    "Inverted",
    "Reconfigure",
    "Repairs",
    "Settings",
    "Standard",
    "System",
    "Two sensors",
    "unavailable",
    "unknown",
}
"""Texts of Home Assistant's own pages, and states."""
OF_MAKERS: Final = {
    "Available services",
    "DHCP reservation",
    "Deye",
    "Integrations",
    "Modbus TCP server",
    "fixed address",
}
"""Words of the makers, on their devices and on routers."""
WORDS: Final = {
    "RAM",
    "What control writes",  # a heading of the pages of the brands
    "disabled at first",
    "flash",
    "held",
    "polled",
    "released",
    "suspended",
    "watchdog",
}
"""Words that a page explains."""


@cache
def own_texts() -> frozenset[str]:
    """Return the texts that a user sees of the integration, in English."""
    return frozenset(texts_of_the_integration())


def texts_of_the_integration() -> Iterator[str]:
    """Yield its translations, and the texts of its dashboard and blueprints."""
    yield from english_texts(english())
    script = (FOLDER / "frontend/strategy.js").read_text("utf-8")
    (texts,) = re.findall(
        r"^const TEXTS = (\{.*?^\});$", script, re.MULTILINE | re.DOTALL
    )
    yield from english_texts(json.loads(texts)["en"])
    for file in (ROOT / "blueprints").rglob("*.yaml"):
        blueprint = load_yaml_dict(file)["blueprint"]
        yield from labels(blueprint)
        # The pages call it by what it does, without what it needs.
        yield blueprint["name"].partition(" with ")[0]
    yield json.loads((FOLDER / "manifest.json").read_text("utf-8"))["name"]


def labels(described: Any) -> Iterator[str]:
    """Yield the names of a blueprint and its inputs, and the labels of their choices."""
    match described:
        case dict():
            for key, value in described.items():
                if key in ("name", "label"):
                    yield value
                yield from labels(value)
        case list():
            for each in described:
                yield from labels(each)


@cache
def known() -> re.Pattern[str]:
    """Return a pattern for each text that a user sees, without a full stop."""
    texts = {*own_texts(), *OF_HOME_ASSISTANT, *OF_MAKERS, *WORDS}
    return re.compile(
        "|".join(pattern_of(text.removesuffix("."), GAP) for text in texts)
    )


def is_known(name: str) -> bool:
    """Return whether a user sees a text like this.

    One sentence of several may stand alone; an ellipsis is for what is left out.
    """
    if known().fullmatch(name):
        return True
    parts = "[^.]*".join(re.escape(part.strip()) for part in name.split("…"))
    end = r"\b" if "…" in name else "(?:[.:,]|$)"
    return any(map(re.compile(rf"(?:^|[.:] ){parts}{end}").search, own_texts()))


def names(text: str) -> set[str]:
    """Return what stands in italics, each step of a path by itself."""
    prose = CODE.sub("", BLOCK.sub("", text))
    steps = [step for path in ITALICS.findall(prose) for step in path.split(" → ")]
    # The menu "⋮" has no name, and a full stop or brackets are those of the page.
    bare = {re.sub(r"^\((.+)\)$", r"\1", step.strip("⋮ .")) for step in steps}
    return bare - {""}


@pytest.mark.parametrize("page", PAGES)
def test_names_on_a_page_are_those_that_a_user_sees(page: str) -> None:
    on_page = names((ROOT / page).read_text("utf-8"))
    assert on_page
    assert {name for name in on_page if not is_known(name)} == set()


def test_what_is_listed_here_is_on_a_page() -> None:
    on_pages = {
        name for page in PAGES for name in names((ROOT / page).read_text("utf-8"))
    }
    assert {*OF_HOME_ASSISTANT, *OF_MAKERS, *WORDS} - on_pages == set()


def test_texts_of_home_assistant_are_in_its_frontend() -> None:
    spec = find_spec("hass_frontend")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "static/translations"
    texts = {
        text.lower()
        for file in folder.rglob("en-[0-9a-f]*.json")
        for text in json.loads(file.read_text("utf-8")).values()
    }
    assert {text for text in OF_HOME_ASSISTANT if text.lower() not in texts} == set()


@pytest.mark.parametrize(
    "name",
    ["Hold at 1 W", "Setpoint length", "End setpoint after", "Limitd", "No connexion"],
)
def test_a_name_that_nothing_has_is_noticed(name: str) -> None:
    assert names(f"Choose *{name}*, and **only *that* one**.") == {name, "that"}
    assert not is_known(name)


@pytest.mark.parametrize(
    "name",
    [
        "Hold at 0 W",
        "Setpoint duration",
        "End setpoints after",
        "Limited",
        "No connection",
        "Grid power L1",
        "Dead band",
        "The flash memory … was written so often today",
    ],
)
def test_names_of_all_kinds_are_known(name: str) -> None:
    assert is_known(name)
