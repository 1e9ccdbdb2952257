"""How a register's value is put into 16-bit words, the high word first.

A register list is a table of `Register(address, kind, scale, name)`; a kind says how many words
there are, and what they say when there is no value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import math
from typing import Final, NamedTuple, Protocol

type Value = float | str | tuple[int, ...] | None
type Values = Mapping[str, Value]

BITS: Final = 16


class Kind(Protocol):
    """What the words of a register mean."""

    @property
    def words(self) -> int:
        """How many words it takes."""

    def encode(self, value: Value, scale: float) -> list[int]:
        """Turn a value into words."""

    def decode(self, words: list[int], scale: float) -> Value:
        """Turn words into a value; None where they say that there is none."""


@dataclass(frozen=True)
class Number:
    """An integer; raw = value x scale."""

    words: int
    signed: bool
    unknown: int
    """The raw number that stands for no value."""

    def encode(self, value: Value, scale: float) -> list[int]:
        """Round to the next raw number."""
        if value is None:
            raw = self.unknown
        elif isinstance(value, (int, float)):
            raw = math.floor(value * scale + 0.5)
        else:
            raise TypeError(f"{value!r} is not a number")
        return [raw >> BITS * place & 0xFFFF for place in range(self.words - 1, -1, -1)]

    def decode(self, words: list[int], scale: float) -> Value:
        """Return the number."""
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
        """Cut off what is too long."""
        text = str(value or "").encode("ascii").ljust(2 * self.words, b"\0")
        return [
            text[place] << 8 | text[place + 1] for place in range(0, 2 * self.words, 2)
        ]

    def decode(self, words: list[int], scale: float) -> Value:
        """Return what is before the zeros."""
        text = b"".join(word.to_bytes(2) for word in words)
        return text.partition(b"\0")[0].decode("ascii", "replace")


@dataclass(frozen=True)
class Words:
    """Words as they are, such as a list of periods."""

    words: int

    def encode(self, value: Value, scale: float) -> list[int]:
        """Fill up with zeros."""
        given = value if isinstance(value, tuple) else ()
        return [*given, *[0] * (self.words - len(given))]

    def decode(self, words: list[int], scale: float) -> Value:
        """Return them all."""
        return tuple(words)


class Register(NamedTuple):
    """One row of a vendor's list."""

    address: int
    kind: Kind
    scale: float
    name: str

    @property
    def addresses(self) -> range:
        """All its words."""
        return range(self.address, self.address + self.kind.words)

    def encode(self, value: Value) -> list[int]:
        """Turn a value into words."""
        return self.kind.encode(value, self.scale)

    def decode(self, words: list[int]) -> Value:
        """Turn words into a value."""
        return self.kind.decode(words, self.scale)


def by_word(registers: Iterable[Register]) -> dict[int, Register]:
    """Index a list by every address that belongs to a register."""
    return {
        address: register for register in registers for address in register.addresses
    }
