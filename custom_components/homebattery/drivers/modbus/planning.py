"""The fewest reads for the registers that are wanted."""

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from ..measurements import Poll
from .learned import Learned
from .register import Register


@dataclass(frozen=True, slots=True)
class Layout:
    """The reads that a device accepts.

    `borders` are facts: addresses that must begin a block, across which no read may
    run. All else is caution, until a device has answered a wider read: at `unproven`
    addresses a block begins because no device was seen to answer across them, or not
    every firmware does; `max_gap` is the number of unwanted words between two wanted
    registers that are read with them.
    """

    max_words: int = 125
    max_gap: int = 16
    borders: frozenset[int] = frozenset()
    unproven: frozenset[int] = frozenset()
    blanks: frozenset[int] = frozenset({0})
    """Words that it may answer, without an error, where it has nothing."""
    distinct: frozenset[tuple[int, ...]] = frozenset()
    """The words of registers without a value that it answers nowhere else."""
    true_zeros: int | None = None
    """A register that only firmware has whose zeros are values; None if none is known."""
    low_word_first: bool = False
    never_write: frozenset[int] = frozenset()
    """Addresses that are never written, such as those that reset the device."""


@dataclass(frozen=True)
class Block:
    """Registers that are read in one request, by rising address.

    It serves many polls, so what follows from them is kept.
    """

    registers: tuple[Register, ...]
    is_wide: bool = field(default=False, compare=False)
    """Whether a device that has not learned it is read in more requests."""

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the registers."""
        return frozenset(register.name for register in self.registers)

    @cached_property
    def is_live(self) -> bool:
        """Whether there are live values in it."""
        return any(register.poll is Poll.FAST for register in self.registers)

    @property
    def address(self) -> int:
        """The first address of the block."""
        return self.registers[0].address

    @cached_property
    def count(self) -> int:
        """Number of words, unwanted ones in between included."""
        return self.end - self.address

    @cached_property
    def addresses(self) -> tuple[int, ...]:
        """The first addresses of the registers."""
        return tuple(register.address for register in self.registers)

    @property
    def span(self) -> range:
        """All addresses of the block."""
        return range(self.address, self.end)

    @cached_property
    def end(self) -> int:
        """The first address behind the block."""
        return max(register.end for register in self.registers)

    @cached_property
    def places(self) -> tuple[tuple[Register, slice], ...]:
        """The place of each register among the words of the block."""
        first = self.address
        return tuple(
            (each, slice(each.address - first, each.end - first))
            for each in self.registers
        )

    def halves(self) -> tuple[Block, Block]:
        """Split the block at the widest gap, or in the middle where there is none.

        The widest gap first, because that is where a device is most likely to
        have nothing.
        """
        pairs = zip(self.registers, self.registers[1:], strict=False)
        gaps = [following.address - register.end for register, following in pairs]
        cut = gaps.index(max(gaps)) + 1 if max(gaps) > 0 else len(self.registers) // 2
        return Block(self.registers[:cut]), Block(self.registers[cut:])

    @cached_property
    def parts(self) -> tuple[Block, ...]:
        """The block split at all its unused words, or in the middle without any.

        Neighbours are likely to fail together.
        """
        runs: list[list[Register]] = []
        end = -1
        for register in self.registers:
            if register.address > end:
                runs.append([])
            runs[-1].append(register)
            end = max(end, register.end)
        if len(runs) == 1 < len(self.registers):
            return self.halves()
        return tuple(Block(tuple(run)) for run in runs)


def plan_blocks(
    registers: Collection[Register],
    layout: Layout,
    learned_borders: Collection[int] = (),
    learned: Learned | None = None,
) -> list[Block]:
    """Return the fewest blocks that read all `registers` within `layout`.

    `learned_borders` count like those of the layout. A block runs across a caution where
    the device has answered the register behind it in one request with the block's first,
    as `learned`.
    """
    borders = sorted(layout.borders.union(learned_borders))
    blocks: list[Block] = []
    current: list[Register] = []
    end = section = 0
    for register in sorted(registers, key=lambda register: register.address):
        if current and not (
            max(end, register.end) - current[0].address <= layout.max_words
            and bisect_right(borders, register.address) == section
            and (
                _is_usual(current[-1].address, end, register.address, layout)
                or (
                    learned is not None
                    and learned.covers(current[0].address, register.address)
                )
            )
        ):
            blocks.append(Block(tuple(current)))
            current, end = [], 0
        if not current:
            # The number of borders up to it tells which section it lies in.
            section = bisect_right(borders, register.address)
        current.append(register)
        end = max(end, register.end)
    if current:
        blocks.append(Block(tuple(current)))
    return blocks


def _is_usual(last: int, end: int, following: int, layout: Layout) -> bool:
    """Return whether any device may be read from a register at `last` to `following`.

    `end` is the first address behind all registers before that.
    """
    if following - end > layout.max_gap:
        return False
    return not layout.unproven or layout.unproven.isdisjoint(
        range(last + 1, following + 1)
    )
