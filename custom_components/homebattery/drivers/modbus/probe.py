"""Probe a port for devices, by reading only.

Several drivers may probe the same port, so each request must be harmless to the
devices of the others: few of them, with the function that all devices know (read
holding registers), at units where a device of the kind is likely to be.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import (
    CannotConnectError,
    DeviceRefusedError,
    ProtocolError,
    RequestTimeoutError,
)
from ..measurements import Value
from .connection import ModbusConnection, patience
from .planning import Block
from .register import Register

if TYPE_CHECKING:
    from aiohttp import ClientSession


class ProbeConnection(ModbusConnection, Protocol):
    """A connection that can keep silent at first."""

    connect_delay: float
    """Seconds of silence that the device needs after a connect."""


type Connect = Callable[[str, int, float], ProbeConnection]
"""Returns the connection to a host and port, with a timeout, s; not opened yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """A device that was detected, and its configuration.

    `setup` holds those of the driver's fields that are known. One that is not
    `certain` behaves like such a device, but identifies itself only with a password.
    """

    battery_type: str
    model: str
    serial_number: str | None = None
    setup: Mapping[str, Any]
    certain: bool = True


class Probe:
    """A port of a host, asked with one request at a time over one connection.

    The connection is the one that a battery at this address has already, if there is
    one: many devices take a single client.
    """

    timeout: ClassVar[float] = 5.0
    """Seconds for an answer: some devices need more than one or two."""
    connect_delay: ClassVar[float] = 1.5
    """Seconds of silence after connecting: some devices lose an earlier request."""
    max_foreign_answers: ClassVar[int] = 2
    """Number of answers without Modbus, or closed connections, that end the probe."""

    def __init__(
        self,
        host: str,
        port: int,
        connect: Connect,
        session: ClientSession | None = None,
    ) -> None:
        """Describe the port; nothing is sent. `session` is for drivers with HTTP."""
        self.host = host
        self.port = port
        self.session = session
        self._connect = connect
        self.speaks_modbus = False
        """Whether there was an answer in Modbus, if only a refusal."""
        self.is_silent = False
        """Whether the last request got no answer."""
        self._foreign_answers = 0
        self._connection: ProbeConnection | None = None

    @property
    def setup(self) -> dict[str, Any]:
        """The fields of a driver that are known of every device here."""
        return {"host": self.host, "port": self.port}

    async def read(
        self,
        unit_id: int,
        registers: Sequence[Register],
        within: float | None = None,
    ) -> dict[str, Value]:
        """Read registers, which are one block, with one request over Modbus TCP.

        `within` are the seconds to wait for the answer, where less than usual will do.

        Returns their values by name; none where the device refuses or keeps
        silent. Raises CannotConnectError or ProtocolError when no Modbus is spoken.
        """
        block = Block(tuple(registers))
        connection = await self.connected()
        self.is_silent = False
        unit = connection.unit(unit_id)
        try:
            with patience(within):
                words = await unit.read_holding_registers(block.address, block.count)
        except DeviceRefusedError:
            self.speaks_modbus = True
            return {}
        except RequestTimeoutError:
            self.is_silent = True
            return {}
        except CannotConnectError, ProtocolError:
            self._foreign_answers += 1
            if (
                not self.speaks_modbus
                and self._foreign_answers >= self.max_foreign_answers
            ):
                raise
            return {}
        self.speaks_modbus = True
        return {
            register.name: register.decode(words[place])
            for register, place in block.places
        }

    async def connected(self) -> ProbeConnection:
        """Return the connection, open; raises CannotConnectError."""
        if self._connection is None:
            connection = self._connect(self.host, self.port, self.timeout)
            if not connection.connects:
                connection.connect_delay = self.connect_delay
            await connection.open()
            self._connection = connection
        return self._connection

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()
