"""A TCP switch: one address behind which devices can be exchanged."""

import asyncio
from contextlib import suppress
from typing import Any, Final, Self

from .simulator import Simulator

_CHUNK: Final = 65_536


class Switch:
    """Passes each connection on to the device that has the address then.

    The simulators exchange whole answers with their clients: a chunk is one of them.
    """

    def __init__(self, device: Simulator | None) -> None:
        """Give the address to a device; None: connections are refused."""
        self.host = "127.0.0.1"
        self.port = 0
        self.hangs_up = False
        """Whether to end a connection after each answer, as some loggers do."""
        self._device = device
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    def setup_of(self, device: Simulator) -> dict[str, Any]:
        """Return what a user would enter to reach a device through the switch."""
        return {**device.setup, "host": self.host, "port": self.port}

    async def give_to(self, device: Simulator | None, *, cut: bool = True) -> None:
        """Give the address to another device; None: connections are refused.

        Open connections are cut, or stay with the device that had it.
        """
        self._device = device
        if cut:
            await self._cut()
        if device is None:
            await self._stop()
        else:
            await self._start()

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening, and cut all connections."""
        await self._stop()
        await self._cut()

    async def _start(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _cut(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._pass_on(reader, writer)
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect a client with the device until one of both hangs up."""
        device = self._device
        if device is None:
            return
        try:
            device_reader, device_writer = await asyncio.open_connection(
                device.host, device.port
            )
        except OSError:
            return
        requests = asyncio.create_task(_pump(reader, device_writer))
        answers = asyncio.create_task(_pump(device_reader, writer, once=self.hangs_up))
        try:
            await asyncio.wait((requests, answers), return_when=asyncio.FIRST_COMPLETED)
            if self.hangs_up:
                writer.close()
                await writer.wait_closed()
        finally:
            for each in (requests, answers):
                each.cancel()
            device_writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, once: bool = False
) -> None:
    """Pass bytes on until the end, or only once."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
            if once:
                return
