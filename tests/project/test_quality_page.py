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
    """Evidence is a file, a test in it, or a section of a page."""
    for _, status, evidence in ROWS:
        links = re.findall(r"\[([^]]+)\]\(([^)#]+)(?:#([^)]+))?\)", evidence)
        assert links or status != "done", evidence
        for _, target, anchor in links:
            path = ROOT / "docs" / target
            assert path.exists(), target
            if anchor:
                assert anchor in anchors(path), f"{target}#{anchor}"
        tests = re.findall(r"`(test_\w+)`", evidence)
        files = "\n".join(
            (ROOT / "docs" / target).read_text("utf-8")
            for _, target, _ in links
            if target.endswith(".py")
        )
        for test in tests:
            assert f"def {test}(" in files, test


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
