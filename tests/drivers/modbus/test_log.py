"""The driver logs its own errors instead of pymodbus; other users log as ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
import logging
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
import pytest

from custom_components.homebattery.drivers.errors import BatteryError
from custom_components.homebattery.drivers.modbus import tcp as modbus_tcp
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection

pytestmark = pytest.mark.usefixtures("socket_enabled")

TIMEOUT: Final = 0.1

type Answer = Callable[[bytes], bytes]
"""Function from a request to a device's answer; empty: it stays silent."""


def word(request: bytes) -> bytes:
    """Answer a request for one word correctly."""
    return request[:2] + b"\0\0\0\5" + request[6:8] + b"\2\0\7"


def silence(_: bytes) -> bytes:
    return b""


def to_another(request: bytes) -> bytes:
    """Answer another request than the given one."""
    return b"\x55\x55" + word(request)[2:]


def other_protocol(request: bytes) -> bytes:
    return request[:2] + b"HTTP/1.1 400 Bad Request"


def nonsense(request: bytes) -> bytes:
    """Answer with a frame shorter than its length field."""
    return word(request)[:8] + b"\xc8\0\7"


class Device:
    """A device with one answer for all requests, or without a listener."""

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.port = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self.talk, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert self.answer is not None
        with suppress(ConnectionError):
            while request := await reader.read(1024):
                writer.write(self.answer(request))
        writer.close()


@pytest.fixture(params=[None, silence, to_another, other_protocol, nonsense])
async def device(request: pytest.FixtureRequest) -> AsyncIterator[Device]:
    """Yield a device in each trouble that pymodbus logs."""
    device = Device(request.param)
    server = await device.start()
    if device.answer is None:
        server.close()
    yield device
    server.close()
    server.close_clients()


@pytest.fixture(autouse=True)
def _default_log(caplog: pytest.LogCaptureFixture) -> None:
    """Log as Home Assistant does by default, and at INFO besides."""
    caplog.set_level(logging.INFO)


async def read(connection: ModbusTcpConnection) -> None:
    await connection.open()
    await connection.unit(1).read_holding_registers(100, 1)


async def fail(device: Device) -> None:
    """Ask for a word with the driver, in vain."""
    connection = ModbusTcpConnection("127.0.0.1", device.port, TIMEOUT)
    with pytest.raises(BatteryError):
        await read(connection)
    await connection.close()


async def fail_as_another(device: Device) -> None:
    """Ask for a word as another user of pymodbus does, in vain."""
    client = AsyncModbusTcpClient(
        "127.0.0.1", port=device.port, timeout=TIMEOUT, retries=0, reconnect_delay=0
    )
    if await client.connect():
        with pytest.raises(ModbusException):
            await client.read_holding_registers(100, count=1, device_id=1)
    client.close()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that pymodbus has logged."""
    return [
        record.getMessage().partition("\n")[0]
        for record in caplog.records
        if record.name.startswith("pymodbus")
    ]


async def test_the_default_log_has_nothing_of_pymodbus(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await fail(device)
    assert lines(caplog) == []
    assert [
        record for record in caplog.records if record.levelno >= logging.WARNING
    ] == []


async def test_the_librarys_debug_log_has_the_lines_of_pymodbus(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, modbus_tcp.__name__.removesuffix(".modbus.tcp"))
    await fail(device)
    # An answer that makes no sense never gets to pymodbus.
    assert lines(caplog) != [] or device.answer is nonsense


async def test_other_users_log_as_ever(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    """Also an error that pymodbus takes for a repetition of the driver's."""
    await fail(device)
    await fail_as_another(device)
    assert lines(caplog) != []
    assert "Repeating...." not in lines(caplog)


async def test_other_users_log_as_ever_during_a_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    device = Device(silence)
    server = await device.start()
    await asyncio.gather(fail(device), fail_as_another(device))
    server.close()
    server.close_clients()
    assert len(lines(caplog)) == 1
