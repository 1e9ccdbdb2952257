"""The proof that a device answers two blocks in one request.

Some devices answer the words of the second block with 0, or with shifted words, without
an error.
"""

from collections.abc import Collection, Mapping, Sequence

from .planning import Block, Layout
from .register import Register


def is_proven(
    blocks: tuple[Block, Block],
    known: Mapping[int, int],
    answer: Sequence[int],
    layout: Layout,
) -> bool:
    """Return whether the `answer` of both blocks shows the words that are `known`.

    Words are by address in `known`; blank ones prove nothing, nor do those of registers
    without a value, or at 0. Live words change meanwhile: of the second block half of
    them must be the same, and none may have become blank, as its end would be. The first
    one, where the read begins, must not have become blank as a whole.
    """
    first, second = blocks
    seen = dict(enumerate(answer, first.address))

    def filled(registers: Collection[Register]) -> set[int]:
        return {
            each
            for register in registers
            for each in range(register.address, register.end)
            if known[each] not in layout.blanks
        }

    def blank(addresses: Collection[int]) -> set[int]:
        return {each for each in addresses if seen[each] in layout.blanks}

    begun = filled(first.registers)
    if (begun and begun == blank(begun)) or blank(filled(second.registers)):
        return False
    proving = filled(
        [each for each in second.registers if _has_value(each, known, layout)]
    )
    same = sum(known[each] == seen[each] for each in proving)
    return 0 < same >= len(proving) / 2


def _has_value(register: Register, known: Mapping[int, int], layout: Layout) -> bool:
    """Return whether a register has another value than 0.

    Or words that nothing else has.
    """
    words = tuple(known[each] for each in range(register.address, register.end))
    return words in layout.distinct or bool(
        register.decode(words, low_word_first=layout.low_word_first)
    )
