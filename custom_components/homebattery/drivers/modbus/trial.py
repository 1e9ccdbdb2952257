"""The proof that a device answers two blocks in one request.

Some devices answer the words of the second block with 0, or with shifted words, without
an error.
"""

from collections.abc import Collection, Mapping, Sequence

from .planning import Block


def is_proven(
    blocks: tuple[Block, Block],
    known: Mapping[int, int],
    answer: Sequence[int],
    blanks: Collection[int],
) -> bool:
    """Return whether the `answer` of both blocks shows the words that are `known`.

    Words are by address in `known`; `blanks` prove nothing. Live words change meanwhile:
    of the second block half of them must be the same. The first one, where the read
    begins, must not have become blank.
    """
    first, second = blocks
    seen = dict(enumerate(answer, first.address))
    begun = [each for each in _addresses(first) if known[each] not in blanks]
    if begun and all(seen[each] in blanks for each in begun):
        return False
    filled = [each for each in _addresses(second) if known[each] not in blanks]
    same = sum(known[each] == seen[each] for each in filled)
    return 0 < same >= len(filled) / 2


def _addresses(block: Block) -> set[int]:
    """Return the addresses of a block without unused words."""
    return {
        each
        for register in block.registers
        for each in range(register.address, register.end)
    }
