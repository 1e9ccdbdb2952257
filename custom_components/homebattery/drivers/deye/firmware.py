"""The firmware of a Deye inverter, watched for an update while it is connected.

Deye updates firmware from afar. The connection to a gateway or data logger outlasts
that, and what depends on the firmware, such as the unit of counters, changes meanwhile.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from ..battery.readings import Values
from ..measurements import Value
from ..modbus.register import WORD
from .measurements import firmware, word
from .registers import IDENTITY

_BOARD: Final = ("firmware_family", "firmware_release", "firmware_end")
PARTS: Final = (*_BOARD, "hmi_firmware_family", "hmi_firmware_release")
"""The registers of the firmware: that of the control board, and of the display."""
_ADDRESSES: Final = tuple(
    register.address for part in PARTS for register in IDENTITY if register.name == part
)


def release_number(release: int) -> int:
    """Return a release whose hex digits are a number, as it is; else 0.

    Releases with a letter (F052) are in no order with the others.
    """
    return release if f"{release:04x}".isdecimal() else 0


def _known(part: Value) -> int:
    """Return a word of the firmware; 0 for one that is not there."""
    return 0 if part == WORD else word(part)


class Firmware(NamedTuple):
    """The words of an inverter's firmware, as `PARTS` has them."""

    words: tuple[int, ...]

    @classmethod
    def of(cls, v: Values) -> Self | None:
        """Return the firmware among some values; None without the control board's.

        An inverter that starts may have a release of 0. The display's may be not there.
        """
        if any(v.get(part) is None for part in _BOARD) or not v["firmware_release"]:
            return None
        return cls(tuple(_known(v.get(part)) for part in PARTS))

    @classmethod
    def at_first(cls, words: Sequence[int]) -> Self:
        """Return the firmware among the first words of an inverter."""
        return cls(tuple(_known(words[address]) for address in _ADDRESSES))

    @property
    def release(self) -> int:
        """The number of its release; 0 for a release that is no number."""
        return release_number(self.words[1])

    @property
    def text(self) -> Value:
        """The control board's firmware as the display shows it."""
        return firmware(dict(zip(PARTS, self.words, strict=True)))


class FirmwareWatch:
    """Decides when the firmware is to be read again, and when another one is accepted.

    Another one counts once it was read twice: an answer may be damaged on its way.
    Times are the event loop's, s.
    """

    INTERVAL: Final = 300.0
    """Seconds between two reads; well below the ten minutes after which the changed
    counter would be accepted as it seems."""
    RECONNECTED: Final = 60.0
    """The same over a new connection: the inverter may have been restarted."""
    REPEATED: Final = 30.0
    """Seconds until another firmware is read again."""

    def __init__(self, known: Firmware, now: float, connection: int) -> None:
        """Begin with the firmware that was read over the present connection."""
        self._known = known
        self._read_at, self._connection = now, connection
        self._seen: Firmware | None = None
        """Another one that was read once."""

    def is_due(self, now: float, connection: int, *, is_live: bool) -> bool:
        """Return whether to read it with a read of other registers.

        `connection` is the number of the present one; `is_live`: those other registers
        are the live ones, which take one request.
        """
        elapsed = now - self._read_at
        if self._seen is not None and elapsed >= self.REPEATED:
            return True
        if connection != self._connection and elapsed >= self.RECONNECTED:
            return True
        return elapsed >= self.INTERVAL and not is_live

    def note_read(self, now: float, connection: int) -> None:
        """Note that it was read, whatever the answer."""
        self._read_at, self._connection = now, connection

    def is_another(self, present: Firmware) -> bool:
        """Note the present firmware; return whether it is another one than before."""
        if present == self._known:
            self._seen = None
            return False
        if present != self._seen:
            self._seen = present
            return False
        self._known, self._seen = present, None
        return True
