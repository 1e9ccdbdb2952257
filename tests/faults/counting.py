"""Hooks of pytest that count the cells that ran, and compare them with the page.

They are in tests/conftest.py, since the process that gathers the results of several
loads no other.
"""

from collections import Counter, defaultdict
import json
from typing import Final

import pytest

from .page import COMMAND, PAGE, RECORD, counts_in, is_whole, recorded

CELL: Final = "fault cell"
"""The name of the property that has the battery and the row of a passed cell."""

_ran: Final[defaultdict[str, Counter[str]]] = defaultdict(Counter)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count a cell that passed."""
    if report.when == "call" and report.passed:
        for name, value in report.user_properties:
            if name == CELL:
                battery_type, _, row = str(value).partition(": ")
                _ran[battery_type][row] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Record the counts of whole runs, and fail when the page has others."""
    if hasattr(session.config, "workerinput"):
        return  # one of several processes
    if whole := _whole():
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(recorded() | whole, indent=2))
    if _differences() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which numbers the page should have."""
    if differences := _differences():
        terminalreporter.section(f"{PAGE.name} has other numbers than ran")
        for line in differences:
            terminalreporter.line(line)
        terminalreporter.line(f"{COMMAND} writes them.")


def _whole() -> dict[str, dict[str, int]]:
    """Return the counts of those batteries of which all cells passed."""
    return {each: dict(_ran[each]) for each in _ran if is_whole(each, _ran[each])}


def _differences() -> list[str]:
    """Return what ran and is not on the page so."""
    on_page = counts_in(PAGE.read_text())
    return [
        f"{battery_type}: {row}: {count} cells ran, not {on_page[battery_type].get(row)}"
        for battery_type, counts in _whole().items()
        for row, count in counts.items()
        if on_page[battery_type].get(row) != count
    ]
