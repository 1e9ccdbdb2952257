"""Figures in tables: of a part, of all parts, of the page."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

type Cell = str | float | None
"""A figure, or a text; None where there is none."""
type Row = Mapping[str, Cell]
type Result = Mapping[str, list[Row]]
"""The rows of each table of a part, by its name."""


class Column(NamedTuple):
    """One column of a table: the key of its cells, its title, and their format."""

    key: str
    title: str
    format: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a part, with the text above it."""

    name: str
    text: str
    columns: tuple[Column, ...]

    def lines(self, rows: list[Row]) -> list[str]:
        """Return the table in Markdown."""
        titles = [column.title for column in self.columns]
        numbers = ["---:" if column.format else "---" for column in self.columns]
        cells = [
            [_shown(row.get(c.key), c.format) for c in self.columns] for row in rows
        ]
        return [f"| {' | '.join(each)} |" for each in (titles, numbers, *cells)]


@dataclass(frozen=True)
class Part:
    """A part of the benchmark; `run` is short if its argument is True."""

    name: str
    title: str
    tables: tuple[Table, ...]
    run: Callable[[bool], Awaitable[Result]]


def _shown(cell: Cell, form: str) -> str:
    """Return a cell as the page shows it; a dash for none."""
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else format(cell, form or "g")
