"""Solarman V5: Modbus through the data logger on an inverter (TCP, usually port 8899).

pysolarmanv5 does not look after the TCP stream. Here one request is under way at a
time, and a connection on which anything went wrong is closed, so that no late answer
is taken for the next one. `frames.py` cuts the stream into frames.

Loggers accept few connections, send heartbeats whenever they like, close a connection
that was idle for some minutes, and now and then pass on the answer to another client's
request.
"""

import asyncio
import logging
from typing import Final, override

from ..errors import (
    BatteryError,
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
from ..modbus.unit import MALFORMED, ModbusRequest, NewConnectionError, refusal
from .frames import CRCError, LoggerClient, ModbusError, V5FrameError

_LOGGER = logging.getLogger(__name__)

_FAILURES: Final = (
    WrongDeviceError,
    TimeoutError,
    OSError,
    V5FrameError,
    CRCError,
    *MALFORMED,
)
"""Errors of a request that was not answered."""


class _ConnectionLostError(CannotConnectError):
    """The logger closed a connection that had worked."""


class SolarmanConnection(SharedConnection[LoggerClient]):
    """One TCP connection to a logger, shared by all its users.

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

    @override
    async def transact(self, request: ModbusRequest) -> list[int]:
        """Send one request when its turn comes and return the words of the answer.

        Raises what `ModbusUnit` raises, and WrongDeviceError when this is not the
        logger it should be.
        """
        async with await self._turn():
            self._refuse_unless_used(request)
            try:
                return await self._try(request)
            except (_ConnectionLostError, ConnectionClosedError, ProtocolError) as err:
                _LOGGER.debug("%s; once more", err)
                try:
                    return await self._try(request)
                except NewConnectionError as new:
                    new.was_sent = True
                    raise

    async def _try(self, request: ModbusRequest) -> list[int]:
        client = await self._client_for(request)
        await self._keep_quiet()
        client.mb_slave_id = request.unit_id
        self.requests += 1
        answered = False
        try:
            async with asyncio.timeout(self._timeout):
                words = []
                if request.values is None:
                    words = await client.read_holding_registers(
                        register_addr=request.address, quantity=request.count
                    )
                else:
                    await client.write_multiple_holding_registers(
                        register_addr=request.address,
                        values=[word & WORD for word in request.values],
                    )
            answered = True
        except (ModbusError, UnitAbsentError) as err:
            answered = True
            raise self._failure(client, request, err) from err
        except _FAILURES as err:
            raise self._failure(client, request, err) from err
        finally:
            if not answered:
                self._disconnect()
            self._keep_quiet_for(self.spacing)
        return words

    def _failure(
        self, client: LoggerClient, request: ModbusRequest, err: Exception
    ) -> BatteryError:
        """Return the error of a failed request."""
        where = f"{self} {request}"
        late = f"in {self._timeout:g} s"
        match err:
            case ModbusError():
                return refusal(where, err.error_code)
            case UnitAbsentError():
                return UnitAbsentError(f"{where}: {err}")
            case WrongLoggerError():
                return type(err)(f"{where}: {err}", err.tried, err.serial)
            case WrongDeviceError():
                return ModbusSpokenError(f"{where}: {err}", self.port)
            case TimeoutError() if client.heard:
                return ProtocolError(f"{where}: no right answer {late}")
            case TimeoutError():
                return RequestTimeoutError(f"{where}: no answer {late}")
            case OSError() if client.heard_only_others:
                return ProtocolError(f"{where}: the answer is not Solarman V5")
            case OSError() if client.has_answered:
                return _ConnectionLostError(f"{where}: the connection was closed")
            case OSError():
                return ConnectionClosedError(f"{where}: the connection was closed")
        return ProtocolError(f"{where}: {err}")

    @override
    async def _connect(self) -> LoggerClient:
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(self.host, self.port)
        except (OSError, ValueError, OverflowError) as err:
            await resolve(self.host, self.port, self._timeout)
            raise CannotConnectError(
                f"{self}: no connection. Is the logger on and in this network? Loggers "
                "whose serial number begins with a D accept no local connection"
            ) from err
        return LoggerClient(self.host, self.serial, reader, writer)
