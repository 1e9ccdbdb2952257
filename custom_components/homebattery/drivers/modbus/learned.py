"""Reads that a device answers or refuses, as its answers show, kept over restarts.

A caution of a `Layout` is no fact: many devices answer one request where two are
planned. And a register that was refused again and again is asked for once a day only.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
import time
from typing import Any, Final, NamedTuple

from ..absence import ASK_AGAIN

DAY: Final = 24 * 3600.0
"""Seconds for which a stored absence is certain."""
_CONNECTIONS: Final = 2
"""Number of connections with a refusal, after which a register is stored as missing."""
_MOST_TRIALS: Final = 10
"""Trials of a wider read that prove nothing: live words change from read to read."""
_ADDRESSES: Final = 0x1_0000
_POSSIBLE: Final = range(_ADDRESSES)
_MOST: Final = 1000
"""Number of gaps, absences or units in a file; no device makes a tenth of it."""
_MOST_READS: Final = 100
"""Number of reads of a unit in a file; the same goes for them."""
_LONGEST_READ: Final = 125
"""Number of registers that a request can read."""
_LONGEST_NAME: Final = 200
_LONGEST_FIRMWARE: Final = 100


class Absence(NamedTuple):
    """The refusals of a register, which was never read well."""

    connections: int
    """Number of connections over which it was refused."""
    since: float
    """The wall time of the last one that counts, s."""

    @property
    def is_certain(self) -> bool:
        """Whether it was refused over enough connections."""
        return self.connections >= _CONNECTIONS


@dataclass
class Learned:
    """The reads that one unit accepts or not, and its missing registers."""

    reads: list[tuple[int, ...]] = field(default_factory=list)
    """The addresses of registers that one request read, rising. None has all those of
    another. Of what lies between its registers it says nothing."""
    gaps: list[range] = field(default_factory=list)
    """Unused addresses, maybe none, across which no request may run."""
    absences: dict[int, Absence] = field(default_factory=dict)
    """The registers that were refused, by their first address."""
    _trials: dict[int, int] = field(default_factory=dict)
    """The number of trials that proved nothing, by the address of the second part."""

    def covers(self, start: int, address: int) -> bool:
        """Return whether one request has read the registers at `start` and `address`."""
        return any(start in read and address in read for read in self.reads)

    def forbids(self, first: range, second: range) -> bool:
        """Return whether two neighbouring spans are not to be read in one request."""
        return self.trials_of(second.start) >= _MOST_TRIALS or any(
            first.start < gap.start and second.stop > gap.stop for gap in self.gaps
        )

    def trials_of(self, second: int) -> int:
        """Return the number of trials that proved nothing so far.

        Of reads across the border before the part that begins at `second`.
        """
        return self._trials.get(second, 0)

    def add_read(self, addresses: Iterable[int]) -> None:
        """Learn that registers were answered in one request."""
        new = frozenset(addresses)
        if any(new.issubset(read) for read in self.reads):
            return
        others = (read for read in self.reads if not new.issuperset(read))
        self.reads = sorted([*others, tuple(sorted(new))])

    def drop_reads(self, addresses: Iterable[int]) -> None:
        """Forget what was learned about registers."""
        dropped = frozenset(addresses)
        self.reads = [read for read in self.reads if dropped.isdisjoint(read)]

    def add_gap(self, first: range, second: range) -> None:
        """Learn that two neighbouring spans must not be read in one request."""
        gap = range(first.stop, max(first.stop, second.start))
        if gap not in self.gaps:
            self.gaps.append(gap)

    def note_proven(self, first: tuple[int, ...], second: tuple[int, ...]) -> None:
        """Learn that the registers of two parts were answered in one request.

        Their addresses rise; the first one of `second` is where that begins.
        """
        self.add_read(first + second)
        self._trials.pop(second[0], None)

    def note_unproven(self, second: int) -> None:
        """Note that a read across the border before a part proved nothing."""
        self._trials[second] = self.trials_of(second) + 1

    def note_refused(self, address: int, *, anew: bool) -> bool:
        """Note that a register was refused; return whether that counts.

        It does over a new connection (`anew`), but not soon after the last one: a
        device that starts refuses over several connections.
        """
        now = time.time()
        before = self.absences.get(address)
        if before is None:
            self.absences[address] = Absence(1, now)
        elif before.is_certain or (anew and now - before.since >= ASK_AGAIN):
            self.absences[address] = Absence(_CONNECTIONS, now)
        else:
            return False
        return True

    def rest_of(self, address: int) -> float:
        """Return the seconds until a register is asked for again; 0 if it is now."""
        absence = self.absences.get(address)
        if absence is None or not absence.is_certain:
            return 0.0
        elapsed = time.time() - absence.since
        return DAY - elapsed if 0 <= elapsed < DAY else 0.0

    def forget(self) -> None:
        """Forget everything: it may be another firmware."""
        self.reads.clear()
        self.gaps.clear()
        self.absences.clear()
        self._trials.clear()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, without what is empty."""
        content = {
            "reads": [list(read) for read in self.reads],
            "gaps": [[each.start, each.stop] for each in self.gaps],
            "missing": {
                str(address): [absence.connections, int(absence.since)]
                for address, absence in sorted(self.absences.items())
            },
        }
        return {name: part for name, part in content.items() if part}

    def recall(self, stored: object) -> None:
        """Take over stored JSON, as far as it makes sense."""
        for addresses in islice(_lists(_part(stored, "reads")), _MOST_READS):
            if addresses and all(each in _POSSIBLE for each in addresses):
                self.add_read(addresses)
        for start, stop in _pairs(_part(stored, "gaps")):
            if 0 < start <= stop < _ADDRESSES:
                self.add_gap(range(start), range(stop, _ADDRESSES))
        for address, absence in _items(_part(stored, "missing")):
            if not (address.isdecimal() and len(address) < len(str(_ADDRESSES)) + 1):
                continue
            for connections, since in _pairs([absence]):
                if 0 < connections <= _CONNECTIONS and 0 < since <= time.time():
                    self.absences[int(address)] = Absence(connections, since)


class LearnedByUnit:
    """The lessons of all units of a battery, for one firmware."""

    def __init__(self) -> None:
        """Begin with nothing learned."""
        self.firmware: str | None = None
        self._units: dict[str, Learned] = {}

    def of(self, name: str) -> Learned:
        """Return what is learned of the unit of that name."""
        return self._units.setdefault(name, Learned())

    def use_for(self, firmware: str | None) -> None:
        """Forget everything if it was learned of another firmware.

        Not of one that could not be read just now.
        """
        if firmware is None:
            return
        if firmware != self.firmware:
            for unit in self._units.values():
                unit.forget()
        self.firmware = firmware

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON; empty while nothing is learned."""
        units = {name: unit.as_json() for name, unit in sorted(self._units.items())}
        units = {name: content for name, content in units.items() if content}
        return {"firmware": self.firmware, "units": units} if units else {}

    def recall(self, stored: object) -> None:
        """Take over stored JSON, as far as it makes sense."""
        firmware = _part(stored, "firmware")
        is_text = isinstance(firmware, str) and len(firmware) <= _LONGEST_FIRMWARE
        self.firmware = str(firmware) if is_text else None
        for name, content in _items(_part(stored, "units")):
            if len(name) <= _LONGEST_NAME:
                self.of(name).recall(content)


def _part(stored: object, name: str) -> object:
    return stored.get(name) if isinstance(stored, Mapping) else None


def _items(stored: object) -> Iterator[tuple[str, object]]:
    """Yield the items of a JSON object, up to a number that no device reaches."""
    if isinstance(stored, Mapping):
        for name in list(stored)[:_MOST]:
            if isinstance(name, str):
                yield name, stored[name]


def _lists(stored: object) -> Iterator[list[int]]:
    """Yield the lists of whole numbers in a JSON list."""
    if isinstance(stored, list):
        for each in stored[:_MOST]:
            if isinstance(each, list) and len(each) <= _LONGEST_READ:
                if all(isinstance(number, int) for number in each):
                    yield each


def _pairs(stored: object) -> Iterator[tuple[int, int]]:
    """Yield the pairs of whole numbers in a JSON list."""
    for each in _lists(stored):
        match each:
            case [first, second]:
                yield first, second
