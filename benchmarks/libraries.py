"""The libraries that carry the requests: watched, and used without a driver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
import socket
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from aiohttp import ClientSession
from pymodbus.client import AsyncModbusTcpClient

from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.solarman.frames import PySolarmanV5Async

type Setup = Mapping[str, Any]
type Ask = Callable[..., Awaitable[object]]


class Call(NamedTuple):
    """One call of a library: one request."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    frames: int
    """Python frames from `Battery.read` (included) to this call; 0 outside of it."""
    frames_to_socket: int = 0
    """The same, to where asyncio sends the request."""


@asynccontextmanager
async def _modbus(setup: Setup) -> AsyncIterator[Ask]:
    client = AsyncModbusTcpClient(setup["host"], port=setup["port"], retries=0)
    await client.connect()
    yield client.read_holding_registers
    client.close()


@asynccontextmanager
async def _solarman(setup: Setup) -> AsyncIterator[Ask]:
    serial, port = setup["logger_serial"], setup["port"]
    library: Any = PySolarmanV5Async  # it has types as far as the driver uses it
    client = library(setup["host"], serial, port=port)
    await client.connect()
    yield client.read_holding_registers
    await client.disconnect()


@asynccontextmanager
async def _http(_setup: Setup) -> AsyncIterator[Ask]:
    async with ClientSession() as session:

        async def ask(*args: Any, **kwargs: Any) -> None:
            async with session.request(*args, **kwargs) as response:
                await response.json()

        yield ask


class Library(NamedTuple):
    """A client's method that makes a request, and a client to make plain ones."""

    client: type
    method: str
    plain: Callable[[Setup], AbstractAsyncContextManager[Ask]]


MODBUS: Final = Library(AsyncModbusTcpClient, "read_holding_registers", _modbus)
OTHERS: Final = {
    "deye_solarman": Library(PySolarmanV5Async, "read_holding_registers", _solarman),
    "sessy": Library(ClientSession, "request", _http),
}
"""By battery type; all the rest speak Modbus TCP."""


@contextmanager
def watched(library: Library) -> Iterator[list[Call]]:
    """Note the calls of a library, with the frames that each takes."""
    calls: list[Call] = []
    ask, send = getattr(library.client, library.method), socket.socket.send

    def noted(client: object, *args: Any, **kwargs: Any) -> object:
        calls.append(Call(args, kwargs, _frames_since_read()))
        return ask(client, *args, **kwargs)

    def sent(to: socket.socket, data: bytes) -> int:
        if calls and not calls[-1].frames_to_socket:
            calls[-1] = calls[-1]._replace(frames_to_socket=_frames_since_read())
        return send(to, data)

    with (
        patch.object(library.client, library.method, noted),
        patch.object(socket.socket, "send", sent),
    ):
        yield calls


def _frames_since_read() -> int:
    """Return the number of frames from `Battery.read` to the function that asks.

    A library may send from a task of its own: the frames that await it follow.
    """
    count = 0
    graph = asyncio.capture_call_graph(depth=3)
    while graph is not None:
        for entry in graph.call_stack:
            count += 1
            if entry.frame.f_code is Battery.read.__code__:
                return count
        graph = next(iter(graph.awaited_by), None)
    return 0
