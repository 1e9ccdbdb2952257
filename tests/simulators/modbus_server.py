"""A Modbus TCP server with the faults of real devices.

Written for the simulators instead of taken from a Modbus library, because the client
under test uses such a library: a mistake in it would otherwise be on both sides of the
wire.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
import struct
import time
from typing import Final, Self

from .modbus import WRITE_MULTIPLE, WRITE_SINGLE, Dropped, Traffic, Units

HEADER: Final = struct.Struct(">HHHB")  # transaction, protocol (always 0), length, unit
MAX_LENGTH: Final = 260
WRITES: Final = (WRITE_SINGLE, WRITE_MULTIPLE)


@dataclass
class Faults:
    """Faults of the server at the moment."""

    refuse: bool = False
    """Whether to accept a connection and close it at once."""
    delay: float = 0.0
    """Seconds that each answer is late."""
    write_delay: float = 0.0
    """Seconds that the answer to a write is late, besides."""
    hang: bool = False
    """Whether to hold answers back until this is switched off."""
    drop: int = 0
    """Swallow the n-th request from now (1: the next), once."""
    wrong_transaction: int = 0
    """Number of coming answers with a wrong transaction id."""
    exception: int = 0
    """Exception code of the next `exception_count` answers."""
    exception_count: int = 0
    exception_unit: int | None = None
    """Unit that the exceptions are for; None: every unit."""
    write_exception: int = 0
    """Exception code of each write; 0: the device answers."""
    cut_request: int = 0
    """Number of coming requests that end their connection instead of getting an
    answer."""
    cut_write: int = 0
    """Close the connection at the n-th write from now (1: the next) instead of
    answering."""
    cut_taken: bool = True
    """… and carry out that write all the same."""
    cut_for_good: bool = True
    """… and refuse new connections from then on."""
    one_client: bool = False
    """Whether a new connection closes the older ones."""
    max_clients: int = 0
    """Most connections at a time, further ones are closed at once; 0: any number."""
    settle: float = 0.0
    """Seconds after connecting in which requests are lost."""


class TcpServer(ABC):
    """A server on one port that can stop and come back; subclasses add a protocol."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to listen; port 0 takes any free one."""
        self.host = host
        self.port = port
        self.clock = clock
        self.faults = Faults()
        self.connections = 0
        """Number of connections accepted so far."""
        self.lost = 0
        """Number of requests swallowed so far."""
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._changed = asyncio.Event()

    @property
    def clients(self) -> int:
        """Number of open connections."""
        return len(self._open)

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close all connections: connecting is refused now."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = [task for task in self._open.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.abort_clients()
        await server.wait_closed()

    def cut(self) -> None:
        """Reset all open connections."""
        for writer in self._open:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self.stop()

    def set_faults(self, **changes: object) -> None:
        """Change faults; hanging requests check them again."""
        for name, value in changes.items():
            if not hasattr(self.faults, name):
                raise ValueError(f"No such fault: {name}")
            setattr(self.faults, name, value)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        if self.faults.one_client:
            self.cut()
        self._open[writer] = asyncio.current_task()
        try:
            if not self.faults.refuse and not self._is_crowded:
                await self._talk(reader, writer, self.clock())
        except ConnectionError, asyncio.IncompleteReadError, Dropped:
            pass  # the client is gone, or the device hangs up
        finally:
            del self._open[writer]
            writer.close()

    @property
    def _is_crowded(self) -> bool:
        return 0 < self.faults.max_clients < self.clients

    @abstractmethod
    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float
    ) -> None:
        """Serve one client until it or the device hangs up."""

    async def _pause(self) -> None:
        """Wait before an answer, as long as the faults demand."""
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        while self.faults.hang:
            await self._changed.wait()

    def _is_lost(self, since: float) -> bool:
        """Return True if the device misses this request."""
        if self.clock() - since < self.faults.settle:
            return True
        if self.faults.drop:
            self.faults.drop -= 1
            return self.faults.drop == 0
        return False

    def _answer(self, units: Units, unit: int, pdu: bytes) -> bytes | None:
        """Return the answer of the device, or of a fault that is due."""
        faults = self.faults
        if faults.cut_request:
            faults.cut_request -= 1
            raise Dropped
        if faults.cut_write and pdu[0] in WRITES:
            faults.cut_write -= 1
            if not faults.cut_write:
                if faults.cut_taken:
                    units.answer(unit, pdu)
                faults.refuse |= faults.cut_for_good
                raise Dropped
        if faults.exception_count and faults.exception_unit in (None, unit):
            faults.exception_count -= 1
            return bytes((pdu[0] | 0x80, faults.exception))
        if faults.write_exception and pdu[0] in WRITES:
            return bytes((pdu[0] | 0x80, faults.write_exception))
        return units.answer(unit, pdu)


class ModbusServer(TcpServer):
    """Modbus TCP (MBAP framing) in front of a device's units.

    Requests of one connection are answered in their order; a client may send several at
    once.
    """

    def __init__(
        self,
        units: Units,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve these units."""
        super().__init__(host, port, clock=clock)
        self.units = units

    @property
    def traffic(self) -> Traffic:
        """Requests that reached the device, without those that a fault answered."""
        return self.units.traffic

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float
    ) -> None:
        while True:
            header = await reader.readexactly(HEADER.size)
            transaction, protocol, length, unit = HEADER.unpack(header)
            if protocol != 0 or not 2 <= length <= MAX_LENGTH:
                # Not Modbus TCP: the next frame cannot be located, unless a subclass
                # can.
                if not await self._take_foreign(header, reader, writer):
                    return
                continue
            pdu = await reader.readexactly(length - 1)
            if self._is_lost(since):
                self.lost += 1
                continue
            await self._pause()
            if pdu[0] in WRITES and self.faults.write_delay:
                await asyncio.sleep(self.faults.write_delay)
            answer = self._answer(self.units, unit, pdu)
            if answer is None:
                continue
            if self.faults.wrong_transaction:
                self.faults.wrong_transaction -= 1
                transaction ^= 0x5555
            writer.write(HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer)
            await writer.drain()

    async def _take_foreign(
        self, header: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer another protocol, as some devices do; False ends the connection."""
        return False
