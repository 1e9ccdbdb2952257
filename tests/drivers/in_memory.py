"""A Modbus device in the same process, whose words a test may change on their way."""

from collections.abc import Callable
import struct
from typing import Final, override

from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    RequestTimeoutError,
)
from custom_components.homebattery.drivers.modbus.connection import SharedConnection
from custom_components.homebattery.drivers.modbus.unit import ModbusRequest, refusal
from tests.simulators.modbus import (
    READ_HOLDING_REGISTERS,
    WRITE_MULTIPLE,
    Dropped,
    Units,
)

type Spoil = Callable[[int, int], int]
"""Returns the word that comes instead of that of an address (address, word)."""

_EXCEPTION: Final = 0x80


class _Socket:
    """The socket that there is none of."""

    connected = True

    def close(self) -> None:
        """Do nothing."""


class InMemoryConnection(SharedConnection[_Socket]):
    """A connection to units of a simulator, without a network."""

    def __init__(self, units: Units, serial: int = 0) -> None:
        """Connect to these units; `serial` is that of a data logger."""
        super().__init__("127.0.0.1", 502, 1)
        self.serial = serial
        self.spoil: Spoil | None = None
        self._units = units

    @override
    async def transact(self, request: ModbusRequest) -> list[int]:
        async with self._lock:
            where = f"{self.host} {request}"
            self._refuse_unless_used(request)
            await self._client_for(request)
            self.requests += 1
            try:
                answer = self._units.answer(request.unit_id, _pdu(request))
            except Dropped as err:
                self._disconnect()
                raise CannotConnectError(where) from err
            if answer is None:
                raise RequestTimeoutError(where)
            if answer[0] & _EXCEPTION:
                raise refusal(where, answer[1])
            if request.values is not None:
                return []
            words = struct.unpack(f">{request.count}H", answer[2:])
            if self.spoil is None:
                return list(words)
            return [
                self.spoil(address, word)
                for address, word in enumerate(words, request.address)
            ]

    @override
    async def _connect(self) -> _Socket:
        return _Socket()


def _pdu(request: ModbusRequest) -> bytes:
    """Return a request without its frame."""
    address, count, words = request.address, request.count, request.values
    if words is None:
        return struct.pack(">BHH", READ_HOLDING_REGISTERS, address, count)
    head = struct.pack(">BHHB", WRITE_MULTIPLE, address, count, 2 * count)
    return head + struct.pack(f">{count}H", *words)
