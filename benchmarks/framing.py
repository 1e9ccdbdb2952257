"""Requests in the bytes that a client sends: how many there are, and of what."""

from collections.abc import Callable, Iterator, Mapping
import struct
from typing import Final, NamedTuple

_MBAP: Final = struct.Struct(">HHHB")
"""Transaction, protocol, length from the unit id on, unit id."""
_READS: Final = (3, 4)
_WRITE_SINGLE: Final = 6
_WRITES: Final = (_WRITE_SINGLE, 16)
_V5_OVERHEAD: Final = 13
_V5_REQUEST: Final = 0x4510
_V5_HEAD: Final = 26
"""Bytes of a V5 request before the Modbus request."""
_CRC: Final = 2
_END_OF_HEAD: Final = b"\r\n\r\n"


class Request(NamedTuple):
    """A request; over HTTP `unit`, `address` and `words` are 0."""

    is_write: bool
    unit: int
    address: int
    words: int
    path: str = ""


type Framing = Callable[[bytes], tuple[list[Request], bytes]]
"""Returns the whole requests in some bytes, and the bytes that remain."""


def modbus_tcp(data: bytes) -> tuple[list[Request], bytes]:
    """Return the requests in bytes of Modbus TCP, and the rest."""
    requests = []
    while len(data) >= _MBAP.size:
        _, _, length, unit = _MBAP.unpack_from(data)
        end = _MBAP.size - 1 + length
        if len(data) < end:
            break
        requests.append(_modbus(unit, data[_MBAP.size : end]))
        data = data[end:]
    return requests, data


def solarman(data: bytes) -> tuple[list[Request], bytes]:
    """Return the requests in bytes of Solarman V5, and the rest."""
    requests = []
    while len(data) >= _V5_OVERHEAD:
        length, control = struct.unpack_from("<HH", data, 1)
        end = _V5_OVERHEAD + length
        if len(data) < end:
            break
        if control == _V5_REQUEST:
            unit, *pdu = data[_V5_HEAD : end - 2 - _CRC]
            requests.append(_modbus(unit, bytes(pdu)))
        data = data[end:]
    return requests, data


def http(data: bytes) -> tuple[list[Request], bytes]:
    """Return the requests in bytes of HTTP, and the rest."""
    requests = []
    while _END_OF_HEAD in data:
        head, _, rest = data.partition(_END_OF_HEAD)
        method, path, *_ = head.decode("latin-1").split()
        size = _content_length(head)
        if len(rest) < size:
            break
        requests.append(Request(method != "GET", 0, 0, 0, path))
        data = rest[size:]
    return requests, data


FRAMINGS: Final[Mapping[str, Framing]] = {
    each.__name__: each for each in (modbus_tcp, solarman, http)
}
OF_DEVICES: Final[Mapping[str, str]] = {"deye_solarman": "solarman", "sessy": "http"}
"""The framing of each battery type; all the rest speak Modbus TCP."""


def framing_of(battery_type: str) -> str:
    """Return the name of the framing that a battery is spoken to in."""
    return OF_DEVICES.get(battery_type, "modbus_tcp")


def _modbus(unit: int, pdu: bytes) -> Request:
    """Return a Modbus request; one that is neither read nor write has no words."""
    function = pdu[0]
    if function not in (*_READS, *_WRITES) or len(pdu) < 5:
        return Request(False, unit, 0, 0)
    address, words = struct.unpack_from(">HH", pdu, 1)
    if function == _WRITE_SINGLE:
        words = 1
    return Request(function in _WRITES, unit, address, words)


def _content_length(head: bytes) -> int:
    """Return the size of a request's body, bytes."""
    return next(_header(head, b"content-length:"), 0)


def _header(head: bytes, name: bytes) -> Iterator[int]:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(name):
            yield int(line.removeprefix(name))
