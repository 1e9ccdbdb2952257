"""Tests of the table of faults, and of that on the page."""

from itertools import product

from .expectations import ROWS, Row
from .faults import FAULTS, PROTOCOLS, Situation
from .page import PAGE, counts_in, possible, table, written


def test_page_has_each_class_of_faults_and_its_sums() -> None:
    """The counts themselves are compared with those that ran, after a whole run."""
    text = PAGE.read_text()
    assert written(text) == table(counts_in(text))


def test_page_counts_every_cell_that_can_occur() -> None:
    counts = counts_in(PAGE.read_text())
    for battery_type in PROTOCOLS:
        assert {each: n for each, n in counts[battery_type].items() if n} == possible(
            battery_type
        )


def test_each_fault_has_a_name_of_its_own_and_a_class_or_a_reason() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    titles = {row.title for row in ROWS}
    for fault in FAULTS:
        for battery_type, situation in product(PROTOCOLS, Situation):
            holds = fault.holds(battery_type, situation)
            assert holds.title in titles if isinstance(holds, Row) else " " in holds
