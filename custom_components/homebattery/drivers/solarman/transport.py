"""Solarman V5: Modbus through the data logger on an inverter (TCP, usually port 8899).

What pysolarmanv5 leaves to luck is the TCP stream. Here one request is under way at a
time, and a connection on which anything went wrong is closed, so that no late answer
is taken for the next one. `frames.py` cuts the stream into frames.

Loggers accept few connections, send heartbeats whenever they like, close a connection
that was idle for some minutes, and now and then pass on the answer of somebody
else's request.
"""

import asyncio
from collections.abc import Awaitable, Callable
import logging
import struct
from typing import override

from ..errors import (
    CannotConnectError,
    ConnectionClosedError,
    ModbusSpokenError,
    ProtocolError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
    WrongLoggerError,
)
from ..modbus.connection import SharedConnection, resolve
from ..modbus.register import WORD
from ..modbus.unit import ModbusUnit, refusal
from .frames import CRCError, LoggerClient, ModbusError, V5FrameError

_LOGGER = logging.getLogger(__name__)


class _ConnectionLostError(CannotConnectError):
    """The logger closed a connection that had worked."""


class SolarmanConnection(SharedConnection[LoggerClient]):
    """One TCP connection to a logger, shared by all who talk to the same one.

    A request whose connection turns out to be closed, or that gets a garbled answer,
    is sent once more on a new one; reading and setting registers to fixed values may
    both be repeated.
    """

    @classmethod
    def shared(
        cls, host: str, port: int, serial: int, timeout: float
    ) -> SolarmanConnection:
        """Return the connection for this logger; made, not opened, if new."""
        return cls._shared_by(
            host, port, serial, make=lambda: cls(host, port, serial, timeout)
        )

    def __init__(self, host: str, port: int, serial: int, timeout: float) -> None:
        """Describe the connection; `timeout` is for connecting and each answer, s."""
        super().__init__(host, port, timeout)
        self.serial = serial

    @override
    def __str__(self) -> str:
        """Return the address as people write it."""
        return f"{self.host}:{self.port} (logger {self.serial})"

    def unit(self, unit_id: int) -> ModbusUnit:
        """Return the view of one unit id behind the logger."""
        return _SolarmanUnit(self, unit_id)

    async def request[T](
        self, unit_id: int, what: str, ask: Callable[[LoggerClient], Awaitable[T]]
    ) -> T:
        """Send one request when its turn comes and return what the library makes of it.

        `what` names the request in errors. Raises what `ModbusUnit` raises, and
        WrongDeviceError when this is not the logger it should be.
        """
        where = f"{self} unit {unit_id}, {what}"
        async with self._turns:
            self._refuse_unless_used(where)
            try:
                return await self._try(unit_id, where, ask)
            except (_ConnectionLostError, ConnectionClosedError, ProtocolError) as err:
                _LOGGER.debug("%s; once more", err)
                return await self._try(unit_id, where, ask)

    async def _try[T](
        self, unit_id: int, where: str, ask: Callable[[LoggerClient], Awaitable[T]]
    ) -> T:
        client = await self._connected_client()
        await self._keep_quiet()
        client.mb_slave_id = unit_id
        self.requests += 1
        answered = False
        try:
            async with asyncio.timeout(self._timeout):
                result = await ask(client)
            answered = True
        except ModbusError as err:
            answered = True
            raise refusal(where, err.error_code) from err
        except UnitAbsentError as err:
            answered = True
            raise UnitAbsentError(f"{where}: {err}") from err
        except WrongLoggerError as err:
            raise type(err)(f"{where}: {err}", err.tried, err.serial) from err
        except WrongDeviceError as err:
            raise ModbusSpokenError(f"{where}: {err}", self.port) from err
        except TimeoutError as err:
            late = f"in {self._timeout:g} s"
            if client.heard:
                raise ProtocolError(f"{where}: no right answer {late}") from err
            raise RequestTimeoutError(f"{where}: no answer {late}") from err
        except OSError as err:
            if client.heard_only_others:
                raise ProtocolError(
                    f"{where}: what answers does not speak Solarman V5"
                ) from err
            lost = (
                _ConnectionLostError if client.has_answered else ConnectionClosedError
            )
            raise lost(f"{where}: the connection was closed") from err
        except (V5FrameError, CRCError, KeyError, struct.error) as err:
            raise ProtocolError(f"{where}: {err}") from err
        finally:
            if not answered:
                self._disconnect()
            self._keep_quiet_for(self.spacing)
        return result

    @override
    async def _connect(self) -> LoggerClient:
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(self.host, self.port)
        except (OSError, UnicodeError, OverflowError) as err:
            await resolve(self.host, self.port, self._timeout)
            raise CannotConnectError(
                f"{self}: no connection. Is the logger on and in this network? Loggers "
                "whose serial number begins with a D do not let anybody in"
            ) from err
        return LoggerClient(self.host, self.serial, reader, writer)


class _SolarmanUnit:
    """A unit id behind a shared logger."""

    def __init__(self, connection: SolarmanConnection, unit_id: int) -> None:
        self._connection = connection
        self._unit_id = unit_id

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read `count` words from `address` with function 3."""
        words = await self._connection.request(
            self._unit_id,
            f"reading {count} words from {address}",
            lambda client: client.read_holding_registers(
                register_addr=address, quantity=count
            ),
        )
        return [word & WORD for word in words]

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write consecutive words with function 16."""
        await self._connection.request(
            self._unit_id,
            f"writing {values} from {address}",
            lambda client: client.write_multiple_holding_registers(
                register_addr=address, values=[value & WORD for value in values]
            ),
        )
