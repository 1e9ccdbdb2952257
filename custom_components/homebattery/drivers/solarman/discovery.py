"""Discovery of data loggers by two fixed texts, and a check of one by one request."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
import socket
from typing import Final, NamedTuple, override

from ..errors import (
    BatteryError,
    DeviceRefusedError,
    LoggerSerialNeededError,
    WrongLoggerError,
)
from .transport import SolarmanConnection

PORT: Final = 8899
DISCOVERY_PORT: Final = 48899
DISCOVERY_TEXTS: Final = (b"WIFIKIT-214028-READ", b"HF-A11ASSISTHREAD")
"""Texts that a logger identifies itself upon; which one depends on its Wi-Fi module."""
DISCOVERY_WAIT: Final = 1.0
"""Seconds that loggers get to answer."""
BROADCAST: Final = "255.255.255.255"


class Logger(NamedTuple):
    """The identity of a logger."""

    address: str
    mac: str
    serial: int


def parse_logger(answer: bytes) -> Logger | None:
    """Return the logger that `answer` (address,mac,serial) names.

    None when it is something else, such as a device with a name instead of a serial
    number, which does not speak V5.
    """
    fields = answer.decode("latin-1").strip("\0\r\n ").split(",")
    if len(fields) != 3 or not (fields[2].isascii() and fields[2].isdecimal()):
        return None
    return Logger(fields[0], fields[1], int(fields[2]))


class _Answers(asyncio.DatagramProtocol):
    """Collects the answers."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.queue.put_nowait(data)


async def discover(
    addresses: Iterable[str] = (BROADCAST,),
    *,
    port: int = DISCOVERY_PORT,
    wait: float = DISCOVERY_WAIT,
    most: int | None = None,
) -> list[Logger]:
    """Return the loggers at `addresses` (IPv4, also of a whole network).

    Those that answer within `wait` seconds, sooner when `most` have. Nothing but two
    fixed texts is sent. Raises OSError without a network.
    """
    loggers: dict[int, Logger] = {}
    transport, answers = await asyncio.get_running_loop().create_datagram_endpoint(
        _Answers, local_addr=("0.0.0.0", 0), allow_broadcast=True
    )
    try:
        for address in addresses:
            for text in DISCOVERY_TEXTS:
                transport.sendto(text, (address, port))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while most is None or len(loggers) < most:
                    logger = parse_logger(await answers.queue.get())
                    if logger is not None:
                        loggers[logger.serial] = logger
    finally:
        transport.close()
    return list(loggers.values())


async def find_serial(host: str, port: int = PORT, timeout: float = 5) -> int:
    """Return the serial number of the logger at `host`.

    It is discovered as by phone apps; failing that, it gets a request for the serial
    number 0, which loggers answer under their own. Raises CannotConnectError,
    RequestTimeoutError, and LoggerSerialNeededError when both give no serial number.
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
        f"{host}: the logger does not report its serial number; enter the ten digits "
        "from its sticker"
    )


async def speaks_solarman(host: str, port: int, timeout: float) -> bool:
    """Return True when a logger answers in Solarman V5, to a single request.

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
