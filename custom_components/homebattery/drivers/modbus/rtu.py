"""A Modbus RTU frame whose words another protocol carries, checked by pymodbus."""

import struct
from typing import Final

from pymodbus.framer import FramerRTU

_HEAD: Final = 3
"""Bytes before the words: unit id, function and number of bytes."""
_CRC: Final = 2
"""Bytes of the checksum behind them."""


def words_of(frame: bytes) -> list[int] | None:
    """Return the words in an answer to a read; None for a wrong checksum.

    Raises struct.error for half a word.
    """
    body, crc = frame[:-_CRC], int.from_bytes(frame[-_CRC:])
    if not FramerRTU.check_CRC(body, crc):
        return None
    words = body[_HEAD:]
    return list(struct.unpack(f">{len(words) // 2}H", words))
