"""The page on the quality scale agrees with its file; the evidence it names exists."""

from importlib import import_module
from pathlib import Path
import re
from typing import Any, Final

from homeassistant.util.yaml import load_yaml_dict
import pytest

from custom_components.homebattery.const import PLATFORMS

from . import FOLDER, ROOT

RULES: Final[dict[str, Any]] = load_yaml_dict(FOLDER / "quality_scale.yaml")["rules"]
PAGE: Final = (ROOT / "docs/quality.md").read_text("utf-8")
ROWS: Final[list[tuple[str, str, str]]] = re.findall(
    r"^\| ([a-z-]+) \| (done|todo|exempt) \| (.*) \|$", PAGE, re.MULTILINE
)
TARGET: Final = re.compile(r"\[[^]]+\]\(([^)#]+)[^)]*\)")
CODE: Final = re.compile(r"`([^`]+)`")


def test_each_rule_has_its_status() -> None:
    """Each exemption has a reason."""
    assert len(RULES) == 54
    statuses = []
    for rule, entry in RULES.items():
        status = entry if entry == "done" else entry["status"]
        assert status == "done" or len(entry["comment"]) >= 20, rule
        statuses.append((rule, status))
    assert [(rule, status) for rule, status, _ in ROWS] == statuses


def test_evidence_exists() -> None:
    """Evidence is a file, a name in it, or a section of a page."""
    for _, status, evidence in ROWS:
        links = re.findall(r"\[([^]]+)\]\(([^)#]+)(?:#([^)]+))?\)", evidence)
        assert links or status != "done", evidence
        for _, target, anchor in links:
            path = ROOT / "docs" / target
            assert path.exists(), target
            if anchor:
                assert anchor in anchors(path), f"{target}#{anchor}"


def test_evidence_is_in_the_file_that_is_linked_beside_it() -> None:
    """A name in code stands before "in" its file, or after it."""
    named = [each for *_, evidence in ROWS for each in names_by_file(evidence)]
    assert ("test_entities", "../tests/integration/test_platforms.py") in named
    assert ("codeowners", "../custom_components/homebattery/manifest.json") in named
    for name, target in named:
        text = (ROOT / "docs" / target).read_text("utf-8")
        wanted = [f"def {name}"] if name.startswith("test_") else name.split()
        for each in wanted:
            word = rf"(?<!\w){re.escape(each)}(?!\w)"
            assert re.search(word, text), f"{target}: {name}"


def names_by_file(evidence: str) -> list[tuple[str, str]]:
    """Return each name in code in a cell, with the file that is linked beside it."""
    targets = [(link.start(), link[1]) for link in TARGET.finditer(evidence)]
    named = []
    for code in CODE.finditer(evidence):
        before = [target for place, target in targets if place < code.start()]
        after = [target for place, target in targets if place > code.start()]
        is_before_its_file = evidence[code.end() :].startswith(" in [")
        named.append((code[1], after[0] if is_before_its_file else before[-1]))
    return named


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the sections of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_platform_says_how_many_updates_run_at_once(platform: str) -> None:
    module = import_module(f"custom_components.homebattery.{platform}")
    assert module.PARALLEL_UPDATES in (0, 1)
