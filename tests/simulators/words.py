"""The words of a register's value: 16 bits each, the high word first.

A register list is a table of `Register(address, kind, scale, name)`; a kind defines the
number of words, and those that stand for no value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import math
from typing import Final, NamedTuple, Protocol

type Value = float | str | tuple[int, ...] | None
type Values = Mapping[str, Value]

BITS: Final = 16


class Kind(Protocol):
    """The meaning of a register's words."""

    @property
    def words(self) -> int:
        """Number of words."""

    def encode(self, value: Value, scale: float) -> list[int]:
        """Return the words of a value."""

    def decode(self, words: list[int], scale: float) -> Value:
        """Return the value of words; None where they stand for none."""


@dataclass(frozen=True)
class Number:
    """An integer; raw = value x scale."""

    words: int
    signed: bool
    unknown: int
    """The raw number that stands for no value."""

    def encode(self, value: Value, scale: float) -> list[int]:
        """Return the rounded raw number as words."""
        if value is None:
            raw = self.unknown
        elif isinstance(value, (int, float)):
            raw = math.floor(value * scale + 0.5)
        else:
            raise TypeError(f"{value!r} is not a number")
        return [raw >> BITS * place & 0xFFFF for place in range(self.words - 1, -1, -1)]

    def decode(self, words: list[int], scale: float) -> Value:
        """Return the number in these words."""
        if words == self.encode(None, scale):
            return None
        raw = 0
        for word in words:
            raw = raw << BITS | word
        if self.signed and words[0] & 0x8000:
            raw -= 1 << BITS * self.words
        return raw / scale


@dataclass(frozen=True)
class Text:
    """Characters, two a word, filled up with zeros."""

    words: int

    def encode(self, value: Value, scale: float) -> list[int]:
        """Return the text's words, cut off where it is too long."""
        text = str(value or "").encode("ascii").ljust(2 * self.words, b"\0")
        return [
            text[place] << 8 | text[place + 1] for place in range(0, 2 * self.words, 2)
        ]

    def decode(self, words: list[int], scale: float) -> Value:
        """Return the text before the zeros."""
        text = b"".join(word.to_bytes(2) for word in words)
        return text.partition(b"\0")[0].decode("ascii", "replace")


@dataclass(frozen=True)
class Words:
    """Words as they are, such as a list of periods."""

    words: int

    def encode(self, value: Value, scale: float) -> list[int]:
        """Return the words, filled up with zeros."""
        given = value if isinstance(value, tuple) else ()
        return [*given, *[0] * (self.words - len(given))]

    def decode(self, words: list[int], scale: float) -> Value:
        """Return the words as they are."""
        return tuple(words)


class Register(NamedTuple):
    """One row of a vendor's list."""

    address: int
    kind: Kind
    scale: float
    name: str

    @property
    def addresses(self) -> range:
        """Addresses of all its words."""
        return range(self.address, self.address + self.kind.words)

    def encode(self, value: Value) -> list[int]:
        """Return the words of a value."""
        return self.kind.encode(value, self.scale)

    def decode(self, words: list[int]) -> Value:
        """Return the value of words."""
        return self.kind.decode(words, self.scale)


def by_word(registers: Iterable[Register]) -> dict[int, Register]:
    """Return a list's registers by each of their addresses."""
    return {
        address: register for register in registers for address in register.addresses
    }
