"""docs/performance.md, made of the results that are kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .kept import CHANGED, PAGE, Kept
from .tables import Part

INTRO: Final = """\
# Performance

This page shows how fast HomeBattery reads and controls batteries, what it asks of them, and what it costs the computer that it runs on. All figures are measured: `scripts/benchmark` makes this page anew.

- **Devices are simulated**, in processes of their own. A relay in front of each counts the requests, and sends every answer so long after its request as a table names, such as 20 ms for an inverter on the network and 150 ms for one behind a slow data logger.
- **Ratios come first.** Seconds of CPU depend on the machine; a ratio of two measurements that were made beside each other hardly does. Medians are shown where something was measured several times.
- **Losses are shown, too.** Where another library does better, the table says so.
"""


def write_page(
    parts: Sequence[Part], kept: Mapping[str, Kept], path: Path = PAGE
) -> None:
    """Write the page."""
    path.write_text(page(parts, kept), "utf-8")


def page(parts: Sequence[Part], kept: Mapping[str, Kept]) -> str:
    """Return the page; a part that was never measured says so."""
    sections = [section(part, kept.get(part.name)) for part in parts]
    return "\n".join([INTRO, *sections])


def section(part: Part, kept: Kept | None) -> str:
    """Return the section of a part."""
    lines = [f"## {part.title}", ""]
    if kept is None:
        lines += [f"Not measured yet: `scripts/benchmark {part.name}` does that.", ""]
        return "\n".join(lines)
    measured = (
        f"Measured on {kept.date} at commit {kept.commit}, in {kept.seconds:.0f} s "
        f"({kept.machine}); `scripts/benchmark {part.name}` does that alone."
    )
    if kept.commit.endswith(CHANGED):
        measured += f" The {CHANGED} says that files were changed since that commit."
    lines += [measured, ""]
    for table in part.tables:
        rows = kept.result.get(table.name, [])
        lines += [table.text, "", *(table.lines(rows) if rows else ["None."]), ""]
    return "\n".join(lines)
