"""The libraries that carry the requests, used without a driver."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from aiohttp import BasicAuth, ClientSession
from pymodbus.client import AsyncModbusTcpClient

from custom_components.homebattery.drivers.solarman.frames import PySolarmanV5Async

from .devices import Setup
from .framing import Request, framing_of

type Ask = Callable[[Request], Awaitable[object]]
"""Makes a read request, and waits for the answer."""


@asynccontextmanager
async def _modbus(setup: Setup) -> AsyncIterator[Ask]:
    client = AsyncModbusTcpClient(setup["host"], port=setup["port"], retries=0)
    await client.connect()

    async def ask(request: Request) -> object:
        return await client.read_holding_registers(
            request.address, count=request.words, device_id=request.unit
        )

    yield ask
    client.close()


@asynccontextmanager
async def _solarman(setup: Setup) -> AsyncIterator[Ask]:
    library: Any = PySolarmanV5Async  # It has types as far as the driver uses it.
    client = library(setup["host"], setup["logger_serial"], port=setup["port"])
    await client.connect()

    async def ask(request: Request) -> object:
        return await client.read_holding_registers(request.address, request.words)

    yield ask
    await client.disconnect()


@asynccontextmanager
async def _http(setup: Setup) -> AsyncIterator[Ask]:
    base = f"http://{setup['host']}:{setup['port']}"
    auth = BasicAuth(setup["username"], setup["password"])
    async with ClientSession(base, auth=auth) as session:

        async def ask(request: Request) -> object:
            async with session.get(request.path) as response:
                return await response.json()

        yield ask


_BY_FRAMING: Final[
    Mapping[str, Callable[[Setup], AbstractAsyncContextManager[Ask]]]
] = {"modbus_tcp": _modbus, "solarman": _solarman, "http": _http}


def plain(battery_type: str, setup: Setup) -> AbstractAsyncContextManager[Ask]:
    """Connect to a device by the library alone."""
    return _BY_FRAMING[framing_of(battery_type)](setup)
