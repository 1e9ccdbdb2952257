"""Reads that a device answers or refuses, as its answers show, kept over restarts.

A caution of a `Layout` is no fact: many devices answer one request where two are
planned. And a register that was refused again and again is asked for once a day only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
import time
from typing import Any, Final, NamedTuple

from ..absence import ASK_AGAIN

DAY: Final = 24 * 3600.0
"""Seconds for which a stored absence is certain."""
_CONNECTIONS: Final = 2
"""Number of connections with a refusal, after which a register is stored as missing."""
_MOST_TRIALS: Final = 3
"""Trials of a wider read whose answers prove nothing."""
_ADDRESSES: Final = 0x1_0000
_MOST: Final = 1000
"""Number of spans, gaps, absences or units in a file; no device makes a tenth of it."""
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

    spans: list[range] = field(default_factory=list)
    """Addresses that were read in one request, none of them within another."""
    gaps: list[range] = field(default_factory=list)
    """Unused addresses, maybe none, across which no request may run."""
    absences: dict[int, Absence] = field(default_factory=dict)
    """The registers that were refused, by their first address."""
    _trials: dict[tuple[range, range], int] = field(default_factory=dict)
    """The number of trials that proved nothing, by both parts."""

    def covers(self, start: int, stop: int) -> bool:
        """Return whether all addresses from `start` to before `stop` were read at once."""
        return any(span.start <= start and stop <= span.stop for span in self.spans)

    def forbids(self, first: range, second: range) -> bool:
        """Return whether two neighbouring spans are not to be read in one request."""
        return self.trials_of(first, second) >= _MOST_TRIALS or any(
            first.start < gap.start and second.stop > gap.stop for gap in self.gaps
        )

    def trials_of(self, first: range, second: range) -> int:
        """Return the number of trials of two spans that proved nothing so far."""
        return self._trials.get((first, second), 0)

    def add_span(self, span: range) -> None:
        """Learn that a span was answered, and with it all those within it."""
        if self.covers(span.start, span.stop):
            return
        others = [
            each
            for each in self.spans
            if each.start < span.start or span.stop < each.stop
        ]
        self.spans = sorted([*others, span], key=lambda each: each.start)

    def drop_span(self, span: range) -> None:
        """Forget what was learned about a span."""
        self.spans = [
            each
            for each in self.spans
            if each.stop <= span.start or span.stop <= each.start
        ]

    def add_gap(self, first: range, second: range) -> None:
        """Learn that two neighbouring spans must not be read in one request."""
        gap = range(first.stop, max(first.stop, second.start))
        if gap not in self.gaps:
            self.gaps.append(gap)

    def note_proven(self, first: range, second: range) -> None:
        """Learn that two neighbouring spans were answered in one request."""
        self.add_span(range(first.start, second.stop))
        self._trials.pop((first, second), None)

    def note_unproven(self, first: range, second: range) -> None:
        """Note that reading two neighbouring spans in one request proved nothing."""
        self._trials[first, second] = self.trials_of(first, second) + 1

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
        self.spans.clear()
        self.gaps.clear()
        self.absences.clear()
        self._trials.clear()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, without what is empty."""
        content = {
            "spans": [[each.start, each.stop] for each in self.spans],
            "gaps": [[each.start, each.stop] for each in self.gaps],
            "missing": {
                str(address): [absence.connections, int(absence.since)]
                for address, absence in sorted(self.absences.items())
            },
        }
        return {name: part for name, part in content.items() if part}

    def recall(self, stored: object) -> None:
        """Take over stored JSON, as far as it makes sense."""
        for start, stop in _pairs(_part(stored, "spans")):
            if 0 <= start < stop <= _ADDRESSES:
                self.add_span(range(start, stop))
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
        """Forget everything if it was learned of another firmware."""
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


def _pairs(stored: object) -> Iterator[tuple[int, int]]:
    """Yield the pairs of whole numbers in a JSON list."""
    if isinstance(stored, list):
        for pair in stored[:_MOST]:
            match pair:
                case [int() as first, int() as second]:
                    yield first, second
