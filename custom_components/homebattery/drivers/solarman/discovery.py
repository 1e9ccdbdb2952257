"""Discovery of data loggers by two fixed texts, and a check of one by one request."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
import re
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
MOST_LOGGERS: Final = 32
"""Number of loggers that one request may find; a house has a few."""
LARGEST_SERIAL: Final = 0xFFFF_FFFF
_LONGEST_ANSWER: Final = 64
"""Bytes of an answer; that of a logger has less than 40."""
_ANSWER: Final = re.compile(
    r"(?P<address>[0-9.]{7,15}),"
    r"(?P<mac>(?:[0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}),"
    r"(?P<serial>[0-9]{1,10})"
)


class Logger(NamedTuple):
    """The identity of a logger."""

    address: str
    mac: str
    serial: int


def parse_logger(answer: bytes, sender: str) -> Logger | None:
    """Return the logger that `answer` (address,mac,serial) of a `sender` names.

    None when it is something else, such as a device with a name instead of a serial
    number, which does not speak V5; and when it names another address than the
    sender's: what is there has not answered.
    """
    if len(answer) > _LONGEST_ANSWER:
        return None
    match = _ANSWER.fullmatch(answer.decode("latin-1").strip("\0\r\n "))
    if match is None or match["address"] != sender:
        return None
    serial = int(match["serial"])
    if not 0 < serial <= LARGEST_SERIAL:
        return None
    return Logger(sender, match["mac"], serial)


class _Answers(asyncio.DatagramProtocol):
    """Collects the loggers that answer, each once, up to a limit."""

    def __init__(self, hosts: Collection[str] | None) -> None:
        """Take answers of these hosts only, until the first; None: of all."""
        self.loggers: list[Logger] = []
        self.are_complete = asyncio.Event()
        self._hosts = hosts
        self._most = MOST_LOGGERS if hosts is None else 1

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        sender = str(addr[0])
        if self.are_complete.is_set() or sender not in (self._hosts or {sender}):
            return
        logger = parse_logger(data, sender)
        if logger is not None and logger not in self.loggers:
            self.loggers.append(logger)
            if len(self.loggers) >= self._most:
                self.are_complete.set()


async def discover(
    addresses: Collection[str] = (BROADCAST,),
    *,
    port: int = DISCOVERY_PORT,
    wait: float = DISCOVERY_WAIT,
    are_hosts: bool = False,
) -> list[Logger]:
    """Return the loggers at `addresses` (IPv4, also of a whole network).

    Those that answer within `wait` seconds, MOST_LOGGERS at most. Of addresses that
    `are_hosts` only those themselves may answer, and the first answer is enough.
    Nothing but two fixed texts is sent. Raises OSError without a network.
    """
    transport, answers = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Answers(addresses if are_hosts else None),
        local_addr=("0.0.0.0", 0),
        allow_broadcast=True,
    )
    try:
        for address in addresses:
            for text in DISCOVERY_TEXTS:
                transport.sendto(text, (address, port))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await answers.are_complete.wait()
    finally:
        transport.close()
    return answers.loggers


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
    with suppress(OSError, ValueError):
        infos = await asyncio.get_running_loop().getaddrinfo(
            host, DISCOVERY_PORT, family=socket.AF_INET, type=socket.SOCK_DGRAM
        )
        addresses = {str(info[4][0]) for info in infos}
        return await discover(
            addresses, port=DISCOVERY_PORT, wait=DISCOVERY_WAIT, are_hosts=True
        )
    return []
