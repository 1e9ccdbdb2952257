"""A unit id of a Modbus device, whatever carries the requests, and what it refuses."""

from collections.abc import Mapping
from typing import Final, Protocol

from ..errors import (
    DeviceBusyError,
    DeviceRefusedError,
    IllegalAddressError,
    PermissionDeniedError,
    UnitAbsentError,
)


class ModbusUnit(Protocol):
    """One unit id of a Modbus device, whatever carries the requests.

    Each call is one request. Raises CannotConnectError, RequestTimeoutError,
    ProtocolError, or DeviceRefusedError and its kinds.
    """

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read `count` words from `address` with function 3."""

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write consecutive words with function 16."""


_REFUSALS: Final[Mapping[int, type[DeviceRefusedError]]] = {
    2: IllegalAddressError,
    5: DeviceBusyError,
    6: DeviceBusyError,
    10: UnitAbsentError,
    11: UnitAbsentError,
    0x80: PermissionDeniedError,
}
_REFUSAL_TEXTS: Final[Mapping[int, str]] = {
    1: "function not supported",
    2: "no such register, or writing is switched off",
    3: "value not allowed",
    4: "device failure",
    5: "accepted, still busy",
    6: "device busy",
    10: "no device at this unit id",
    11: "no answer from this unit id",
    0x80: "no permission: the installer's login is needed",
}


def refusal(where: str, code: int) -> DeviceRefusedError:
    """Return the error for a Modbus exception; `where` names device and request."""
    kind = _REFUSALS.get(code, DeviceRefusedError)
    text = _REFUSAL_TEXTS.get(code, "unknown reason")
    return kind(f"{where}: refused with exception {code} ({text})", code)
