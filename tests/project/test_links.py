"""Links of the pages go to files and headings that exist."""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Final
from urllib.parse import unquote

import pytest

from . import ROOT

FOLDERS: Final = [
    folder
    for folder in ROOT.iterdir()
    if folder.is_dir() and (folder.name == ".github" or folder.name[0] != ".")
]
PAGES: Final = sorted(
    [*ROOT.glob("*.md"), *(page for each in FOLDERS for page in each.rglob("*.md"))]
)
LINK: Final = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
CODE: Final = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")


def anchors(text: str) -> list[str]:
    """Return the anchors of a page; equal ones are numbered."""
    made: list[str] = []
    for heading in HEADING.findall(
        re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    ):
        base = anchor(heading)
        count = sum(each == base or each.startswith(f"{base}-") for each in made)
        made.append(f"{base}-{count}" if base in made else base)
    return made


def broken(page: Path, text: str) -> Iterator[str]:
    """Yield the links of a page within the project that lead nowhere."""
    for link in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        if (
            not target.exists()
            or fragment
            and fragment
            not in anchors(text if target == page else target.read_text("utf-8"))
        ):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page, page.read_text("utf-8"))) == []


def test_the_pages_of_the_project_are_among_them() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "docs/control.md", ".github/PULL_REQUEST_TEMPLATE.md"} <= names


@pytest.mark.parametrize(
    "link",
    ["missing.md", "control.md#no-such-heading", "#nowhere", "../docs/none/"],
)
def test_a_link_that_leads_nowhere_is_noticed(link: str) -> None:
    page = ROOT / "docs/control.md"
    assert list(broken(page, f"# Control\n\nSee [it]({link}).")) == [link]


@pytest.mark.parametrize(
    "link", ["control.md", "#one--two-1", "architecture.md#words", "https://a.b/c"]
)
def test_other_links_are_right(link: str) -> None:
    page = ROOT / "docs/control.md"
    text = f"# One: & two\n\n# One: & *two*\n\nSee [it]({link}), `[not](this)`."
    assert list(broken(page, text)) == []
