"""The proof that a device answers two blocks in one request.

Some devices answer the words of the second block with 0, or with shifted words, without
an error.
"""

from collections.abc import Collection, Mapping, Sequence

from .planning import Block, Layout
from .register import Register


def is_proven(
    first: Block,
    seconds: Sequence[Block],
    known: Mapping[int, int],
    answer: Sequence[int],
    layout: Layout,
) -> bool:
    """Return whether an `answer` shows the words that are `known`, by address.

    It is of the `first` block and of those behind it, each of which any device answers as
    a whole. Blank words prove nothing, nor do those of registers without a value, or at
    0; a block without others needs no proof of its own where zeros are values. Live words
    change meanwhile: of each block half of them must be the same, and none may have
    become blank, as its end would be. The first one, where the read begins, must not have
    become blank as a whole.
    """
    seen = dict(enumerate(answer, first.address))

    def blank(addresses: Collection[int]) -> set[int]:
        return {each for each in addresses if seen[each] in layout.blanks}

    begun = _filled(first.registers, known, layout)
    if begun and begun == blank(begun):
        return False
    for second in seconds:
        if blank(_filled(second.registers, known, layout)):
            return False
        proofs = _proofs(second, known, layout)
        same = sum(known[each] == seen[each] for each in proofs)
        if proofs and not 0 < same >= len(proofs) / 2:
            return False
    return is_provable(seconds, known, layout)


def is_provable(
    seconds: Sequence[Block], known: Mapping[int, int], layout: Layout
) -> bool:
    """Return whether an answer could prove the blocks behind the first one.

    Each by itself; where zeros are values any of them.
    """
    has_proofs = [bool(_proofs(each, known, layout)) for each in seconds]
    return any(has_proofs) if layout.true_zeros in known else all(has_proofs)


def _proofs(block: Block, known: Mapping[int, int], layout: Layout) -> set[int]:
    """Return the addresses of a block whose words would prove that they are its own."""
    return _filled(
        [each for each in block.registers if _has_value(each, known, layout)],
        known,
        layout,
    )


def _filled(
    registers: Collection[Register], known: Mapping[int, int], layout: Layout
) -> set[int]:
    """Return the addresses of registers whose words are not blank."""
    return {
        each
        for register in registers
        for each in range(register.address, register.end)
        if known[each] not in layout.blanks
    }


def _has_value(register: Register, known: Mapping[int, int], layout: Layout) -> bool:
    """Return whether a register has another value than 0.

    Or words that nothing else has.
    """
    words = tuple(known[each] for each in range(register.address, register.end))
    return words in layout.distinct or bool(
        register.decode(words, low_word_first=layout.low_word_first)
    )
