"""Solarman V5: Modbus through the data logger on an inverter (TCP, usually port 8899).

What pysolarmanv5 leaves to luck is the TCP stream. Here one request is under way at a
time, and a connection on which anything went wrong is closed, so that no late answer
is taken for the next one. `solarman_frames.py` cuts the stream into frames.

Loggers accept few connections, send heartbeats whenever they like, close a connection
that was idle for some minutes, and now and then pass on the answer of somebody
else's request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
import logging
import socket
import struct
from typing import Final, NamedTuple, override

from .connection import SharedConnection, resolve
from .errors import (
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    DeviceRefusedError,
    LoggerSerialNeededError,
    ModbusSpokenError,
    ProtocolError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
    WrongLoggerError,
)
from .modbus import WORD, ModbusUnit, refusal
from .solarman_frames import CRCError, LoggerClient, ModbusError, V5FrameError

_LOGGER = logging.getLogger(__name__)

PORT: Final = 8899
DISCOVERY_PORT: Final = 48899
DISCOVERY_TEXTS: Final = (b"WIFIKIT-214028-READ", b"HF-A11ASSISTHREAD")
"""What makes a logger tell who it is; which one depends on its Wi-Fi module."""
DISCOVERY_WAIT: Final = 1.0
"""Seconds that loggers get to answer."""
EVERYBODY: Final = "255.255.255.255"


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


# Finding loggers -------------------------------------------------------------


class Logger(NamedTuple):
    """A logger that told who it is."""

    address: str
    mac: str
    serial: int


def parse_logger(answer: bytes) -> Logger | None:
    """Return the logger that `answer` (address,mac,serial) speaks of.

    None when it is something else, such as a device with a name instead of a serial
    number, which does not speak V5.
    """
    fields = answer.decode("latin-1").strip("\0\r\n ").split(",")
    if len(fields) != 3 or not (fields[2].isascii() and fields[2].isdecimal()):
        return None
    return Logger(fields[0], fields[1], int(fields[2]))


class _Answers(asyncio.DatagramProtocol):
    """Collects what comes back."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.queue.put_nowait(data)


async def discover(
    addresses: Iterable[str] = (EVERYBODY,),
    *,
    port: int = DISCOVERY_PORT,
    wait: float = DISCOVERY_WAIT,
    most: int | None = None,
) -> list[Logger]:
    """Ask for loggers at `addresses` (IPv4, also of a whole network).

    Returns those that answer within `wait` seconds, sooner when `most` have.
    Nothing but two fixed texts is sent. Raises OSError without a network.
    """
    found: dict[int, Logger] = {}
    transport, answers = await asyncio.get_running_loop().create_datagram_endpoint(
        _Answers, local_addr=("0.0.0.0", 0), allow_broadcast=True
    )
    try:
        for address in addresses:
            for text in DISCOVERY_TEXTS:
                transport.sendto(text, (address, port))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while most is None or len(found) < most:
                    logger = parse_logger(await answers.queue.get())
                    if logger is not None:
                        found[logger.serial] = logger
    finally:
        transport.close()
    return list(found.values())


async def find_serial(host: str, port: int = PORT, timeout: float = 5) -> int:
    """Return the serial number of the logger at `host`.

    By asking it the way phone apps find it; failing that, by a request for the
    serial number 0, which loggers answer under their own. Raises CannotConnectError,
    RequestTimeoutError, and LoggerSerialNeededError when it cannot be found out.
    """
    connection = SolarmanConnection(host, port, 0, timeout)
    await connection.open()
    try:
        for logger in await _discover_at(host):
            return logger.serial
        await connection.unit(1).read_holding_registers(0, 1)
    except WrongLoggerError as err:
        if err.serial:
            return err.serial
    except DeviceRefusedError:
        pass
    finally:
        await connection.close()
    raise LoggerSerialNeededError(
        f"{host}: the logger does not tell its serial number; enter the ten digits "
        "from its sticker"
    )


async def speaks_solarman(host: str, port: int, timeout: float) -> bool:
    """Return True when a logger answers in Solarman V5, to a single question.

    Any answer will do, also one that says that it has another serial number.
    """
    connection = SolarmanConnection(host, port, 0, timeout)
    try:
        await connection.open()
        await connection.unit(1).read_holding_registers(0, 1)
    except WrongLoggerError, DeviceRefusedError:
        return True
    except BatteryError:
        return False
    finally:
        await connection.close()
    return True


async def _discover_at(host: str) -> list[Logger]:
    """Return the logger at one host, by name or address, if it answers."""
    with suppress(OSError, UnicodeError):
        infos = await asyncio.get_running_loop().getaddrinfo(
            host, DISCOVERY_PORT, family=socket.AF_INET, type=socket.SOCK_DGRAM
        )
        addresses = {str(info[4][0]) for info in infos}
        return await discover(
            addresses, port=DISCOVERY_PORT, wait=DISCOVERY_WAIT, most=1
        )
    return []
