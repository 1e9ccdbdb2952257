"""The faults of a Solarman data logger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .modbus_server import Faults
from .rtu import CRC_BYTES, framed
from .simulator import MODBUS_FAULTS, Fault
from .solarman_frames import Frame

type Where = Literal["before", "after", "glued_before", "glued_after"]
type Wrong = Literal[
    "start",
    "length",
    "control",
    "sequence",
    "serial",
    "checksum",
    "end",
    "crc",
    "unit",
    "function",
    "byte_count",
]
"""Faults of an answer: of the frame, then of the Modbus answer in it."""

BANNER: Final = "AT+YZCMPVER=MW3_16U_5406_2.32\r\n"
OTHER_SEQUENCE: Final = 0x55


@dataclass
class LoggerFaults(Faults):
    """Faults of the logger at the moment."""

    double_crc: bool = False
    """Whether two zeros follow the CRC of each Modbus answer."""
    heartbeat: int = 0
    """Number of coming answers that have a heartbeat beside them."""
    heartbeat_where: Where = "before"
    heartbeat_same: bool = False
    """… with the sequence of the answer."""
    split: int = 0
    """Number of coming answers that are sent in two segments."""
    split_at: int = 5
    split_rest: bool = True
    """Whether the second segment is sent; if not, the connection ends."""
    late: int = 0
    """Number of coming answers that wait for the one after them."""
    late_glued: bool = True
    """… and come in one segment with it."""
    foreign: int = 0
    """Number of coming answers that follow one to another client."""
    foreign_instead: bool = False
    foreign_same: bool = False
    """… with the sequence of this client."""
    corrupt: int = 0
    """Number of coming answers that are corrupted."""
    corrupt_what: Wrong = "checksum"
    banner: int = 0
    """Number of coming answers that follow garbage."""
    banner_text: str = BANNER
    sockets: int = 3
    """Number of clients that are served; more are turned away."""
    idle_timeout: float = 300.0
    """Seconds after which a silent connection is closed."""


SOLARMAN_FAULTS: Final[Mapping[str, Fault]] = {
    **{
        name: MODBUS_FAULTS[name]
        for name in MODBUS_FAULTS
        if name != "wrong_transaction"
    },
    "double_crc": Fault(
        "two zeros follow the CRC of each answer", {"on": ("double_crc", True)}
    ),
    "heartbeat": Fault(
        "a heartbeat comes before, after, glued_before or glued_after the next answers; "
        "same: with their sequence",
        {
            "where": ("heartbeat_where", "before"),
            "count": ("heartbeat", 1),
            "same": ("heartbeat_same", False),
        },
    ),
    "split": Fault(
        "answers come in two segments, cut at this byte (negative: from the end); "
        "without the rest, the connection ends there",
        {"at": ("split_at", 5), "count": ("split", 1), "rest": ("split_rest", True)},
    ),
    "late": Fault(
        "answers wait for the one after them, and come glued to it, or just before",
        {"count": ("late", 1), "glued": ("late_glued", True)},
    ),
    "foreign": Fault(
        "an answer to another client comes before ours, or instead; "
        "same: with this client's sequence, and only its length differs",
        {
            "count": ("foreign", 1),
            "instead": ("foreign_instead", False),
            "same": ("foreign_same", False),
        },
    ),
    "corrupt": Fault(
        "answers are wrong in start, length, control, sequence, serial, checksum, end, "
        "or their Modbus part in crc, unit, function, byte_count",
        {"what": ("corrupt_what", "checksum"), "count": ("corrupt", 1)},
    ),
    "banner": Fault(
        "such garbage comes before answers",
        {"count": ("banner", 1), "text": ("banner_text", BANNER)},
    ),
    "sockets": Fault("more clients are turned away", {"count": ("sockets", 1)}),
    "idle_timeout": Fault(
        "silent connections are closed so soon", {"seconds": ("idle_timeout", 0.05)}
    ),
}


def corrupted_rtu(rtu: bytes, wrong: Wrong) -> bytes:
    """Return a corrupted Modbus answer; its CRC is right unless that is the fault."""
    if len(rtu) <= CRC_BYTES:
        return rtu
    unit, function, size, *data = rtu[:-CRC_BYTES]
    match wrong:
        case "crc":
            return rtu[:-1] + bytes((rtu[-1] ^ 0xFF,))
        case "unit":
            return framed(unit ^ 1, rtu[1:-CRC_BYTES])
        case "function":
            return framed(unit, bytes((function ^ 7, size, *data)))
        case "byte_count":
            return framed(unit, bytes((function, size - 2 & 0xFF, *data)))
    return rtu


def corrupted(frame: Frame, wrong: Wrong) -> bytes:
    """Return a corrupted frame; its checksum is right unless that is the fault."""
    data = bytearray(frame.packed())
    match wrong:
        case "control":
            return frame._replace(control=frame.control ^ 0x0700).packed()
        case "sequence":
            first, second = frame.sequence
            other = (first ^ OTHER_SEQUENCE, second)
            return frame._replace(sequence=other).packed()
        case "serial":
            return frame._replace(serial=frame.serial ^ 1).packed()
        case "start":
            data[0] ^= 0xFF
        case "length":
            data[1] += 3
        case "checksum":
            data[-2] ^= 0xFF
        case "end":
            data[-1] ^= 0xFF
    return bytes(data)
