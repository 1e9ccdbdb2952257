"""A TCP proxy between the integration and a device, on which faults happen.

    async with Proxy(simulator, "modbus") as proxy:
        proxy.behaviour = silence
        proxy.behaviour = pass_on

It cuts both streams into frames. A behaviour is called with each request, and decides
what becomes of it and of its answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
import socket
from typing import Final, NoReturn, Self

from tests.simulators import Simulator

from .framing import FRAMINGS, Framing, Protocol

type Behaviour = Callable[[Exchange], Awaitable[None]]

_PAUSE: Final = 0.005
"""Seconds between two segments; enough for each to arrive by itself."""
_BUFFER: Final = 64 * 1024
"""Bytes that the system holds for a client that does not read them."""
_MOST: Final = 64 * 1024 * 1024
"""Bytes of an answer after which the connection ends, whoever still reads."""


class _Ended(Exception):
    """Raised to end a connection."""


class Exchange:
    """One request, and the connection that it came over."""

    def __init__(
        self,
        framing: Framing,
        observe: Callable[[], Awaitable[None]] | None,
        request: bytes,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        device: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        previous: bytes,
        is_old: bool,
    ) -> None:
        """Take a request from a client to a device."""
        self.framing = framing
        self.request = request
        self.previous = previous
        """The device's last answer on this connection; empty before the first."""
        self.is_old = is_old
        """Whether the connection is older than the behaviour."""
        self.is_harmed = True
        """Whether more happens to it than that it is passed on."""
        self.taken = 0
        """Bytes of the answer that the client took, and the system on the way."""
        self._observe = observe
        self._reader, self._writer = client
        self._device_reader, self._device_writer = device

    @property
    def is_write(self) -> bool:
        """Whether the request changes the device."""
        return self.framing.is_write(self.request)

    async def ask(self) -> bytes:
        """Pass the request on to the device; return its answer."""
        if self._observe is not None:
            await self._observe()
        self._device_writer.write(self.request)
        self.previous = await self.framing.read_answer(self._device_reader)
        if self._observe is not None and self.is_write:
            await self._observe()
        return self.previous

    async def send(self, *segments: bytes, pause: float = _PAUSE) -> None:
        """Send segments to the client, `pause` seconds apart."""
        for number, segment in enumerate(segments):
            if number:
                await asyncio.sleep(pause)
            self._writer.write(segment)
            await self._writer.drain()
            self.taken += len(segment)
        if self.taken > _MOST:
            self.close()

    async def ignore(self) -> NoReturn:
        """Take whatever comes without an answer, until the client hangs up."""
        await self._reader.read()
        raise _Ended

    def close(self) -> NoReturn:
        """End the connection in an orderly way."""
        self._writer.close()
        raise _Ended

    def reset(self) -> NoReturn:
        """Reset the connection."""
        self._writer.transport.abort()
        raise _Ended


async def pass_on(exchange: Exchange) -> None:
    """Do no harm."""
    exchange.is_harmed = False
    await exchange.send(await exchange.ask())


class Proxy:
    """The address at which the integration reaches a device."""

    def __init__(self, device: Simulator, protocol: Protocol) -> None:
        """Prepare to listen in front of a device."""
        self.host = "127.0.0.1"
        self.port = 0
        self.device = device
        """The device that new connections lead to."""
        self.observe: Callable[[], Awaitable[None]] | None = None
        """Called before each request, and after each write."""
        self.harmed = 0
        """The number of requests that the present behaviour did not just pass on."""
        self.most_taken = 0
        """Bytes that were taken of the longest answer."""
        self._framing = FRAMINGS[protocol]
        self._behaviour: Behaviour = pass_on
        self._behaves_since = 0
        """The number of connections when the present behaviour began."""
        self._connections = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._full: list[socket.socket] = []

    @property
    def behaviour(self) -> Behaviour:
        """The treatment of each request from now on."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviour, self._behaves_since = behaviour, self._connections
        self.harmed = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening, and cut all connections."""
        await self.refuse()

    async def listen(self) -> None:
        """Accept connections, after `refuse` and `drop` again."""
        self._close_full()
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port
            )
            listening = self._server.sockets[0]
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self.port = listening.getsockname()[1]

    async def refuse(self) -> None:
        """Refuse connections, and cut those that there are."""
        self._close_full()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.cut()

    async def drop(self) -> None:
        """Drop packets that would open connections, and cut those that there are.

        The queue of a server that accepts nothing is full: further ones are dropped.
        """
        await self.refuse()
        silent = socket.socket()
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind((self.host, self.port))
        silent.listen(0)
        self._full = [silent]
        for _ in range(2):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex((self.host, self.port))
            self._full.append(waiting)

    async def cut(self) -> None:
        """Reset all connections."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _close_full(self) -> None:
        for each in self._full:
            each.close()
        self._full = []

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        number = self._connections = self._connections + 1
        try:
            device = await asyncio.open_connection(self.device.host, self.device.port)
            try:
                await self._serve((reader, writer), device, number)
            finally:
                device[1].transport.abort()
        except _Ended, OSError, asyncio.IncompleteReadError:
            pass  # one of both has hung up
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        device: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        number: int,
    ) -> None:
        """Let the behaviour answer each request of a client."""
        previous = b""
        while True:
            request = await self._framing.read(client[0])
            exchange = Exchange(
                self._framing,
                self.observe,
                request,
                client,
                device,
                previous=previous,
                is_old=number <= self._behaves_since,
            )
            try:
                await self._behaviour(exchange)
            finally:
                self.harmed += exchange.is_harmed
                self.most_taken = max(self.most_taken, exchange.taken)
            previous = exchange.previous
