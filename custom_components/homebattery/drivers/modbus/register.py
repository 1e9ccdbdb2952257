"""A register as data: its address, and the encoding of its value in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
import math
from typing import Any, Final

from ..errors import InvalidValueError
from ..measurements import Poll, Value

WORD: Final = 0xFFFF


class AccessType(StrEnum):
    """The access that a register permits."""

    READ = "r"
    WRITE = "w"
    READ_WRITE = "rw"


class DataType(Enum):
    """The encoding of a value: (words, signed). A string's length is its register's."""

    INT16 = (1, True)
    UINT16 = (1, False)
    INT32 = (2, True)
    UINT32 = (2, False)
    INT64 = (4, True)
    UINT64 = (4, False)
    STRING = (0, False)

    @property
    def words(self) -> int:
        """Number of 16-bit words; 0 for a string."""
        return self.value[0]

    @property
    def signed(self) -> bool:
        """Whether the highest bit is a sign (two's complement)."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a device's table; value = raw ÷ gain.

    A gain below 1 is a coarse step (0.1: the register counts tens), a negative
    gain turns the sign. `sentinels` are raw values that mean 'not available'; outside
    of `valid` none means anything. An unsigned register may have small negative values
    that were cut off to its size: those from `negative_from` on.
    `persistent` registers live in flash: they wear, and are written on change
    only. `enum` names the codes of a status register.
    """

    address: int
    name: str
    data_type: DataType = DataType.UINT16
    gain: float = 1
    unit: str | None = None
    access_type: AccessType = AccessType.READ
    poll: Poll = field(default=Poll.FAST, kw_only=True)
    persistent: bool = field(default=False, kw_only=True)
    sentinels: tuple[int, ...] = field(default=(), kw_only=True)
    enum: Mapping[int, str] | None = field(default=None, kw_only=True)
    valid: range | None = field(default=None, kw_only=True)
    negative_from: int | None = field(default=None, kw_only=True)
    length: int = field(default=0, kw_only=True)
    """Words of a string; 0 for numbers, whose type says it."""
    count: int = field(init=False, repr=False, compare=False)
    """Number of words the register takes."""
    end: int = field(init=False, repr=False, compare=False)
    """The first address behind the register."""
    _first_negative: int = field(init=False, repr=False, compare=False)
    """The lowest raw value, before the sign, that stands for a negative one."""
    _scale: tuple[int, float] = field(init=False, repr=False, compare=False)
    """The factor, and then the divisor, that make a value of a raw one."""

    def __post_init__(self) -> None:
        """Determine what each answer is decoded with."""
        count = self.data_type.words or self.length
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "end", self.address + count)
        object.__setattr__(self, "_first_negative", self._find_first_negative())
        object.__setattr__(self, "_scale", _scale_of(self.gain))

    @property
    def readable(self) -> bool:
        """Whether the register can be read."""
        return self.access_type is not AccessType.WRITE

    @property
    def writable(self) -> bool:
        """Whether the register can be written."""
        return self.access_type is not AccessType.READ

    def decode(self, words: Sequence[int], *, low_word_first: bool = False) -> Value:
        """Return the value that `words` (of this register alone) stand for.

        None for a sentinel, for a code that the enum does not name, and for what is not
        valid.
        """
        if self.data_type is DataType.STRING:
            return _decode_string(words)
        raw = words[0]
        if self.count > 1:
            raw = 0
            for word in reversed(words) if low_word_first else words:
                raw = raw << 16 | word
        if raw in self.sentinels:
            return None
        if raw >= self._first_negative:
            raw -= 1 << 16 * self.count
        if self.valid is not None and raw not in self.valid:
            return None
        if self.enum is not None:
            return self.enum.get(raw)
        factor, divisor = self._scale
        return raw * factor if divisor == 1 else raw / divisor

    def _find_first_negative(self) -> int:
        """Return `_first_negative`, which is too high for any raw value without a sign."""
        if self.negative_from is not None:
            return self.negative_from
        bits = 16 * self.count
        return 1 << bits - 1 if self.data_type.signed else 1 << bits

    def encode(self, value: Value, *, low_word_first: bool = False) -> list[int]:
        """Return the words that stand for `value`, rounded to the register's step.

        An option is given by name, 'not available' or 'no limit' as None. Raises
        InvalidValueError when the register cannot hold it.
        """
        raw = self._raw(value)
        bits = 16 * self.count
        words = [raw >> shift & WORD for shift in range(bits - 16, -1, -16)]
        return words[::-1] if low_word_first else words

    def holds(self, value: Any) -> bool:
        """Return whether `value`, which may be anything, is one of the register."""
        if value is None or isinstance(value, bool):
            return False
        try:
            self.encode(value)
        except InvalidValueError, OverflowError:
            return False
        return True

    def _raw(self, value: Value) -> int:
        """Return the number that the register holds for `value`."""
        if value is None and self.sentinels:
            return self.sentinels[0]
        if isinstance(value, str):
            return self._code_of(value)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidValueError(f"{self.name} cannot be {value}")
        raw = round(_multiply(value, self.gain))
        bits = 16 * self.count
        lowest = -(1 << bits - 1) if self.data_type.signed else 0
        highest = (1 << bits - 1 if self.data_type.signed else 1 << bits) - 1
        if not lowest <= raw <= highest:
            factor, divisor = self._scale
            ends = sorted(end * factor / divisor for end in (lowest, highest))
            raise InvalidValueError(
                f"{self.name} cannot be {value}: register {self.address} holds "
                f"{ends[0]:.12g} to {ends[1]:.12g} {self.unit or ''}".rstrip()
            )
        return raw

    def _code_of(self, option: str) -> int:
        """Return the code that the enum names `option`."""
        for code, name in (self.enum or {}).items():
            if name == option:
                return code
        raise InvalidValueError(f"{self.name} has no option {option}")


def _decode_string(words: Sequence[int]) -> str | None:
    """Return the text in `words`, two Latin-1 characters a word, ended by a NUL.

    A word of 0xFFFF is no text: so devices fill up what they do not have.
    """
    text = b"".join(word.to_bytes(2) for word in words if word != WORD)
    return text.split(b"\0")[0].decode("latin-1").strip() or None


def _scale_of(gain: float) -> tuple[int, float]:
    """Return factor and divisor of a gain: one is 1, or both.

    Coarse gains are factors, which are exact (3 ÷ 0.1 would be 29.99…).
    """
    return (round(1 / gain), 1) if abs(gain) <= 1 else (1, gain)


def _multiply(value: float, gain: float) -> float:
    """Return value × gain, exact for coarse gains."""
    return value * gain if abs(gain) >= 1 else value / round(1 / gain)
