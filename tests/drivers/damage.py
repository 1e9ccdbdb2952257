"""Damaged answers, as data loggers and gateways make them up now and then."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.simulators.modbus import Units


@contextmanager
def damaged(
    units: Units, address: int, word: int, *, first: int = 1, reads: int = 1
) -> Iterator[None]:
    """Show another word at an address, in one or more reads that have it.

    `first` is the number of the first of them, from 1.
    """
    read, seen = units.read, 0

    def shown(unit: int, start: int, count: int) -> list[int]:
        nonlocal seen
        words = list(read(unit, start, count))
        if start <= address < start + count:
            seen += 1
            if first <= seen < first + reads:
                words[address - start] = word
        return words

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "read", shown)
        yield
