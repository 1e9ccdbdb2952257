"""The page on the architecture names what there is, and all of it."""

from pathlib import Path
import re
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
COMPONENT: Final = ROOT / "custom_components/homebattery"
PAGE: Final = (ROOT / "docs/architecture.md").read_text("utf-8")
VENDORS: Final = ("victron", "sun2000", "deye", "sessy", "sma")
SAME_IN_EACH_VENDOR: Final = (
    {"inverter.py", "battery.py"},
    {"controller.py"},
    {"registers.py", "endpoints.py"},
    {"measurements.py"},
)


def section(heading: str) -> str:
    """Return the text below a heading."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def named_files() -> set[str]:
    """Return the names of modules that the page has."""
    return set(re.findall(r"[\w/]*\b\w+\.py\b", PAGE))


@pytest.mark.parametrize("name", sorted(named_files()))
def test_each_file_on_the_page_exists(name: str) -> None:
    paths = [COMPONENT / name, ROOT / name, *COMPONENT.rglob(Path(name).name)]
    paths.append(ROOT / "library/homebattery_command" / name)
    if "VENDOR" in name:
        paths = [COMPONENT / name.replace("VENDOR", each) for each in VENDORS]
    elif "/" in name:
        paths = paths[:2]
    assert any(path.is_file() for path in paths)


@pytest.mark.parametrize(
    "module",
    [
        path
        for folder in (".", "control", "drivers")
        for path in sorted((COMPONENT / folder).glob("*.py"))
        if path.name != "__init__.py"
    ],
    ids=lambda path: str(path.relative_to(COMPONENT)),
)
def test_each_module_above_the_vendors_has_its_place(module: Path) -> None:
    assert module.name in section("Folders")


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendors_have_the_same_files(vendor: str) -> None:
    """So that a question about one is answered by the same file of another."""
    names = {path.name for path in (COMPONENT / "drivers" / vendor).glob("*.py")}
    assert all(names & either for either in SAME_IN_EACH_VENDOR)


def test_glossary_is_short() -> None:
    rows = re.findall(r"^\| ([a-z].*?) \| ", section("Words"), re.MULTILINE)
    assert rows[0] == "word"
    words = [word for row in rows[1:] for word in row.split(", ")]
    assert 10 <= len(words) <= 20
