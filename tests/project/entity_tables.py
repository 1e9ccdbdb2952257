"""The tables of entities on the pages of the brands.

`python -m tests.project.entity_tables` sets up the devices of each page, and writes the
tables of the entities that they have.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
import json
import re
from typing import Any, Final

from homeassistant.const import EntityCategory
from homeassistant.helpers import entity_registry as er
import pytest

from custom_components.homebattery.entity import translation_of

from . import FOLDER, ROOT
from .entity_pages import PAGES, Model, Page

RECORD: Final = ROOT / ".cache" / "entity-tables"
"""The tables of the last run of the test, a file for each page."""
COMMAND: Final = ".venv/bin/python -m tests.project.entity_tables"
BEGIN: Final = "<!-- Written by `python -m tests.project.entity_tables`. -->\n"
END: Final = "\n<!-- End of what it has written. -->"

_TEXTS: Final[Mapping[str, Any]] = json.loads(
    (FOLDER / "translations/en.json").read_text("utf-8")
)["entity"]


@dataclass(frozen=True, order=True)
class Row:
    """The entities of one name, a numbered family being one."""

    name: str
    """With a placeholder for each number."""
    kind: str
    shows: str
    """Its unit; without one, the kind of its values."""
    enabled: bool
    is_setting: bool


type Numbers = Mapping[str, str]
"""The numbers of an entity by their placeholders."""
type Rows = Mapping[Row, list[Numbers]]
"""The rows of a device, and the numbers of the entities in each."""


def rows(entities: Iterable[er.RegistryEntry], serial_number: str) -> Rows:
    """Return the rows of a device's entities, as the registry has them."""
    numbers_of: dict[Row, list[Numbers]] = {}
    for entity in entities:
        key = entity.unique_id.removeprefix(f"{serial_number}_")
        translation_key, its = translation_of(key)
        row = Row(
            name=_TEXTS[entity.domain][translation_key]["name"],
            kind=entity.domain.replace("_", " "),
            shows=_shows(entity),
            enabled=not entity.disabled,
            is_setting=entity.entity_category is EntityCategory.CONFIG,
        )
        numbers_of.setdefault(row, []).append(its)
    return numbers_of


def _shows(entity: er.RegistryEntry) -> str:
    """Return the unit of an entity, or the kind of its values."""
    capabilities = entity.capabilities or {}
    if entity.unit_of_measurement:
        return entity.unit_of_measurement
    if entity.domain in ("binary_sensor", "switch"):
        return "on, off"
    if "options" in capabilities:
        return "choice" if entity.domain == "select" else "state"
    if entity.original_device_class == "timestamp":
        return "time"
    is_number = entity.domain == "number" or "state_class" in capabilities
    return "number" if is_number else "text"


@dataclass(frozen=True)
class Seen:
    """The rows of a model: those of its usual device, and of those with conditions."""

    model: Model
    usual: Rows
    others: tuple[Rows, ...]

    @property
    def all(self) -> Iterator[Rows]:
        """The rows of each device."""
        yield self.usual
        yield from self.others

    def has(self, row: Row) -> bool:
        """Return whether a device of the model has it."""
        return any(row in each for each in self.all)

    def cell(self, row: Row) -> str:
        """Return a tick, the conditions on which the model has it, or nothing."""
        if not self.has(row):
            return ""
        pairs = list(zip(self.model.conditions, self.others, strict=True))
        if row not in self.usual:
            return " or ".join(each.more for each, other in pairs if row in other)
        lacking = [each for each, other in pairs if row not in other]
        said = {each.less for each in lacking}
        texts = [
            each.less
            for each in lacking
            if each.less and not said.intersection(each.implied_by)
        ]
        return ", ".join(texts) or "✓"


def tables(seen: Sequence[Seen]) -> str:
    """Return the tables of a page."""
    numbers: dict[Row, list[Numbers]] = {}
    for model in seen:
        for device in model.all:
            for row, its in device.items():
                numbers.setdefault(row, []).extend(its)
    every = sorted(numbers, key=lambda row: (row.name.casefold(), row.kind))
    names = {row: _in_full(row.name, numbers[row]) for row in every}
    settings = [row for row in every if row.is_setting]
    values = [row for row in every if not row.is_setting]
    parts = [
        "**Shown at once**",
        _table([row for row in values if row.enabled], names, seen),
        "**Settings**, which you can change",
        _table(settings, names, seen, with_enabled=True),
        "<details>\n<summary><b>Disabled at first</b>: open the list</summary>",
        _table([row for row in values if not row.enabled], names, seen),
        "</details>",
    ]
    return "\n\n".join(parts)


def _table(
    shown: Iterable[Row],
    names: Mapping[Row, str],
    seen: Sequence[Seen],
    *,
    with_enabled: bool = False,
) -> str:
    """Return the table of some rows."""
    models = [each.model.name for each in seen]
    head = ["entity", "kind", "shows", *["at first"] * with_enabled, *models]
    lines = [
        [
            names[row],
            row.kind,
            row.shows,
            *["enabled" if row.enabled else "disabled"] * with_enabled,
            *(each.cell(row) for each in seen),
        ]
        for row in shown
    ]
    return "\n".join(
        f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines)
    )


def _in_full(name: str, numbers: Sequence[Numbers]) -> str:
    """Return the name of a family with all the numbers that there are."""
    values: dict[str, list[str]] = {}
    for each in numbers:
        for placeholder, number in each.items():
            values.setdefault(placeholder, []).append(number)
    if "other_phase" in values:
        pairs = dict.fromkeys(f"{n['phase']}–{n['other_phase']}" for n in numbers)
        return name.replace("{phase}–{other_phase}", ", ".join(sorted(pairs)))
    return name.format_map({each: _range(of) for each, of in values.items()})


def _range(numbers: Iterable[str]) -> str:
    """Return numbers in short: 1–3, L1–L3."""
    ordered = sorted(set(numbers), key=lambda each: (len(each), each))
    last = [int(re.sub(r"\D", "", each)) for each in ordered]
    if len(ordered) > 2 and last == list(range(last[0], last[-1] + 1)):
        return f"{ordered[0]}–{ordered[-1]}"
    return ", ".join(ordered)


def record(page: Page, new: str) -> None:
    """Keep the tables of a page, which were seen just now."""
    RECORD.mkdir(parents=True, exist_ok=True)
    (RECORD / page.file).write_text(new, "utf-8")


def written(text: str) -> str:
    """Return the tables in the text of a page; empty when there are none."""
    return text.partition(BEGIN)[2].partition(END)[0]


def with_tables(text: str, new: str) -> str:
    """Return the text of a page with other tables."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}{new}{END}{after}"


def main() -> None:
    """Set up the devices, and write the tables into the pages."""
    for page in PAGES:
        (RECORD / page.file).unlink(missing_ok=True)
    pytest.main(["-q", "--tb=no", "tests/project/test_entity_tables.py"])
    for page in PAGES:
        new = (RECORD / page.file).read_text("utf-8")
        page.path.write_text(with_tables(page.path.read_text("utf-8"), new), "utf-8")


if __name__ == "__main__":
    main()
