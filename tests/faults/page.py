"""The table of docs/reliability.md: what holds, and the number of cells that ran.

`python -m tests.faults.page` writes it, with the counts of the last whole runs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
import json
from pathlib import Path
from typing import Final

from .expectations import ROWS, Row
from .faults import FAULTS, PROTOCOLS, Holds, Situation

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "reliability.md"
RECORD: Final = ROOT / ".cache" / "fault-cells.json"
"""The counts of the last whole run of each battery."""
BEGIN: Final = "<!-- Written by `python -m tests.faults.page` from a run. -->\n"
END: Final = "\n<!-- End of what it has written. -->"
COMMAND: Final = ".venv/bin/python -m tests.faults.page"

type Counts = Mapping[str, Mapping[str, int]]
"""The number of cells by battery and row."""

_NAMES: Final = {
    "victron": "Victron",
    "sun2000": "Huawei",
    "deye_modbus": "Deye (Modbus TCP)",
    "deye_solarman": "Deye (data logger)",
    "sessy": "Sessy",
    "sma": "SMA",
}


def _holds(*battery_types: str) -> Iterator[Holds]:
    """Yield what holds with each fault in each situation."""
    for battery_type, fault, situation in product(battery_types, FAULTS, Situation):
        yield fault.holds(battery_type, situation)


def possible(battery_type: str) -> Counter[str]:
    """Return the number of cells of a battery in the table of faults, by row."""
    return Counter(each.title for each in _holds(battery_type) if isinstance(each, Row))


def impossible() -> int:
    """Return the number of cells that cannot occur, and say why in the table."""
    return sum(isinstance(each, str) for each in _holds(*PROTOCOLS))


def is_whole(battery_type: str, counts: Mapping[str, int]) -> bool:
    """Return whether all cells of a battery ran."""
    return Counter(counts) == possible(battery_type)


def table(counts: Counts) -> str:
    """Return the table, and the sums below it."""
    return "\n".join(_lines(counts))


def _lines(counts: Counts) -> Iterator[str]:
    names = " | ".join(_NAMES[each] for each in PROTOCOLS)
    yield f"| fault | you see | for example | {names} | in all |"
    yield f"| --- | --- | --- |{' ---: |' * (len(PROTOCOLS) + 1)}"
    for row in ROWS:
        numbers = [counts.get(each, {}).get(row.title, 0) for each in PROTOCOLS]
        cells = " | ".join(str(each or "–") for each in (*numbers, sum(numbers)))
        yield f"| {row.title} | {row.sees} | {_examples(row)} | {cells} |"
    sums = [sum(counts.get(each, {}).values()) for each in PROTOCOLS]
    yield f"| **All** | | | {' | '.join(map(str, (*sums, sum(sums))))} |"
    yield ""
    yield (
        f"These are {len(FAULTS)} faults, each with six batteries: at rest, held, and "
        f"held when Home Assistant starts. {sum(sums)} cells ran, and {impossible()} "
        "cannot occur, for the reasons in "
        "[the table of faults](../tests/faults/faults.py)."
    )


def _examples(row: Row) -> str:
    """Return the names of the faults of a row."""
    return ", ".join(
        dict.fromkeys(
            fault.name
            for fault in FAULTS
            for battery_type, situation in product(PROTOCOLS, Situation)
            if isinstance(holds := fault.holds(battery_type, situation), Row)
            and holds.title == row.title
        )
    )


def written(text: str) -> str:
    """Return the table in the text of the page; empty when there is none."""
    return text.partition(BEGIN)[2].partition(END)[0]


def counts_in(text: str) -> dict[str, dict[str, int]]:
    """Return the counts that the page has, by battery and row."""
    counts: dict[str, dict[str, int]] = {each: {} for each in PROTOCOLS}
    titles = {row.title for row in ROWS}
    for line in written(text).splitlines():
        title, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if title in titles:
            numbers = cells[-len(PROTOCOLS) - 1 : -1]
            for battery_type, number in zip(PROTOCOLS, numbers, strict=True):
                counts[battery_type][title] = int(number) if number.isdigit() else 0
    return counts


def with_table(text: str, new: str) -> str:
    """Return the text of the page with another table."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}{new}{END}{after}"


def recorded() -> dict[str, dict[str, int]]:
    """Return the counts of the last whole run of each battery."""
    if not RECORD.exists():
        return {}
    counts: dict[str, dict[str, int]] = json.loads(RECORD.read_text())
    return counts


def main() -> None:
    """Write the table into the page."""
    counts = recorded()
    if missing := PROTOCOLS.keys() - counts:
        raise SystemExit(f"No whole run is recorded of {', '.join(sorted(missing))}.")
    PAGE.write_text(with_table(PAGE.read_text(), table(counts)))


if __name__ == "__main__":
    main()
