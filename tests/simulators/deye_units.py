"""The Modbus units of a Deye inverter."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from .deye_control import REMOTE
from .deye_inverter import PACK_ADDRESS, PACK_WORDS, DeyeInverter
from .deye_values import Identity, live, packs
from .modbus import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    NO_RESPONSE,
    READ_HOLDING_REGISTERS,
    WRITE_MULTIPLE,
    WRITE_SINGLE,
    Refused,
    Silent,
    Units,
)

type Absent = Literal["refused", "silent"]
type OutOfRange = Literal["refused", "ignored"]

READABLE: Final = range(731)
WRITABLE: Final = range(60, 500)
LIVE: Final = range(500, 731)
PACKS: Final = range(10000, PACK_ADDRESS + 32 * PACK_WORDS)


class DeyeUnits(Units):
    """Units that answer like the inverter.

    - Any other function: exception 1, or half an answer.
    - A block with a word that is not there: exception 2, or silence.
    - A word out of its range, or slots that do not start one after another: exception
      3, or the write is answered and nothing changes. Either way the whole block is
      dropped.
    """

    functions = frozenset((READ_HOLDING_REGISTERS, WRITE_MULTIPLE))

    def __init__(
        self,
        inverter: DeyeInverter,
        identity: Identity,
        *,
        absent: Absent,
        out_of_range: OutOfRange,
    ) -> None:
        """Serve an inverter."""
        super().__init__()
        self.inverter = inverter
        self.identity = identity
        self.absent = absent
        self.out_of_range = out_of_range
        self.other_unit: Callable[[], Exception] = lambda: Refused(NO_RESPONSE)
        """Result of a request to an absent unit id."""
        self.silent = range(0)
        """Addresses whose reads get no answer."""
        self.zero_reads = 0
        """Number of coming reads of live values that are answered with zeros."""
        self.most_words = self.max_read
        """Longest read that gets an answer, in words."""
        self.half_answers = False
        """Whether unknown functions get half an answer instead of an exception."""
        self.refuses_no_amps = False
        """Whether a charge or discharge current of 0 is refused."""

    def read(self, unit: int, address: int, count: int) -> list[int]:
        """Return words; settings and live values may be in one block."""
        inverter = self.inverter
        self._at_home(unit)
        inverter.update()
        inverter.feed("any")
        addresses = range(address, address + count)
        if count > self.most_words or _overlap(addresses, self.silent):
            raise Silent
        if self.zero_reads and _overlap(addresses, LIVE):
            self.zero_reads -= 1
            return [0] * count
        if addresses[-1] in READABLE:
            words = inverter.words | live(inverter, self.identity)
            return [words.get(each, 0) for each in addresses]
        if inverter.remote and address in REMOTE and addresses[-1] in REMOTE:
            return [inverter.remote[each] for each in addresses]
        if (
            self.identity.packs
            and address in PACKS
            and addresses[-1] < PACK_ADDRESS + PACK_WORDS * self.identity.packs
        ):
            words = packs(inverter, self.identity)
            return [words.get(each, 0) for each in addresses]
        raise self._absent()

    def write(self, unit: int, address: int, words: list[int]) -> None:
        """Accept a block if every word of it is acceptable."""
        inverter = self.inverter
        self._at_home(unit)
        inverter.update()
        if not all(map(self._is_writable, range(address, address + len(words)))):
            raise self._absent()
        if self.refuses_no_amps and self._stops(address, words):
            raise Refused(ILLEGAL_VALUE)
        if inverter.accepts(address, words):
            inverter.write(address, words)
        elif self.out_of_range == "refused":
            raise Refused(ILLEGAL_VALUE)

    def other(self, unit: int, pdu: bytes) -> bytes:
        """Refuse any other function."""
        self._at_home(unit)
        if self.half_answers and pdu[0] == WRITE_SINGLE:
            return pdu[:2]
        raise Refused(ILLEGAL_FUNCTION)

    def _is_writable(self, address: int) -> bool:
        inverter = self.inverter
        if address in REMOTE:
            return inverter.remote is not None
        return address in (inverter.words if inverter.model.single else WRITABLE)

    def _stops(self, address: int, words: Sequence[int]) -> bool:
        model = self.inverter.model
        written = dict(enumerate(words, address))
        return any(
            written.get(model.address(name) or -1) == 0
            for name in ("charge_current", "discharge_current")
        )

    def _at_home(self, unit: int) -> None:
        if unit != self.identity.unit:
            raise self.other_unit()

    def _absent(self) -> Exception:
        return Silent() if self.absent == "silent" else Refused(ILLEGAL_ADDRESS)


def _overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)
