"""Each driver's error at an address of another device, or of none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
import socket
import ssl
from typing import Any, Final

from pymodbus import FramerType
import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.deye import (
    modbus_tcp as deye_modbus_tcp,
    solarman as deye_solarman,
)
from custom_components.homebattery.drivers.errors import (
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    ModbusSpokenError,
    ProtocolError,
    RequestTimeoutError,
    SolarmanSpokenError,
    UndetectedUnitError,
    UnknownHostError,
    WrongUnitError,
)
from custom_components.homebattery.drivers.modbus.connection import SharedConnection
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from tests.home import ON_A_SOCKET
from tests.simulators import (
    DeyeModbusSimulator,
    DeyeSolarmanSimulator,
    SmaSimulator,
    VictronSimulator,
)
from tests.simulators.rtu import framed

from .deye.support import house

pytestmark = pytest.mark.usefixtures("socket_enabled")

HOST: Final = "127.0.0.1"
SHORT: Final = 0.5
"""Time-out of a unit that is known to keep silent, s."""
SECRETS: Final = {"username": "D1234567", "password": "SECRET12"}
NEEDED: Final[dict[str, dict[str, Any]]] = {
    "sessy": SECRETS,
    "deye_solarman": {"logger_serial": 2712345678},
}

type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedConnection, "FIRST_BACK_OFF", 0)
    monkeypatch.setattr(ModbusTcpConnection, "GREETING_TIMEOUT", SHORT)


def battery_at(
    battery_type: str, port: int, host: str = HOST, timeout: float = 5
) -> Battery:
    """Return a battery that has not connected yet."""
    driver: Callable[..., Battery] = DRIVERS[battery_type]
    return driver(host, port, timeout, **NEEDED.get(battery_type, {}))


async def failure_of(battery: Battery) -> BatteryError:
    """Return the error of connecting a battery, as the setup form shows it."""
    with pytest.raises(BatteryError) as caught:
        await battery.connect()
    return await battery.explain(caught.value)


@asynccontextmanager
async def server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Yield the port of a server; it hangs up after `talk`."""

    async def accept(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(accept, HOST, 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        listening.abort_clients()


async def web_server(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer like a web server: an unknown protocol is a bad request."""
    asked = await reader.read(1024)
    status = b"301 Moved" if asked.startswith(b"GET ") else b"400 Bad Request"
    writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def ssh_server(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Greet like SSH, and wait for the client's greeting."""
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await writer.drain()
    while await reader.read(1024):
        pass


async def tls_server(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer with an alert, as TLS servers do when the client is none."""
    await reader.read(1024)
    writer.write(bytes.fromhex("15 03 03 00 02 02 46"))
    await writer.drain()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hang up after a request."""
    await reader.read(1024)


# A name


@pytest.fixture
def _no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no host name resolve."""

    def resolve(host: object, *_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("_no_names")
@pytest.mark.parametrize("battery_type", ON_A_SOCKET)
async def test_name_that_does_not_resolve_is_an_unknown_host(
    battery_type: str,
) -> None:
    battery = battery_at(battery_type, 502, "battery.invalid")
    failure = await failure_of(battery)
    assert isinstance(failure, UnknownHostError)
    assert "battery.invalid" in str(failure)


@pytest.mark.usefixtures("_no_names")
async def test_unknown_host_is_still_reported_between_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A running battery asks again after a while, with the same error meanwhile."""
    monkeypatch.setattr(SharedConnection, "FIRST_BACK_OFF", 30)
    connection = ModbusTcpConnection("battery.invalid", 502, SHORT)
    for text in ("knows no address", "next try in 30 s"):
        with pytest.raises(UnknownHostError, match=text):
            await connection.open()


@pytest.mark.parametrize("battery_type", ON_A_SOCKET)
async def test_closed_port_is_no_connection(battery_type: str) -> None:
    async with server(hang_up) as port:
        pass
    failure = await failure_of(battery_at(battery_type, port))
    assert type(failure) is CannotConnectError


# Another protocol


@pytest.mark.parametrize("talk", [web_server, ssh_server, tls_server])
@pytest.mark.parametrize("battery_type", ON_A_SOCKET)
async def test_another_protocol_is_distinguished_from_no_connection(
    battery_type: str, talk: Talk
) -> None:
    is_silent = talk is ssh_server
    async with server(talk) as port:
        battery = battery_at(battery_type, port, timeout=SHORT if is_silent else 5)
        failure = await failure_of(battery)
    assert type(failure) is ProtocolError


@pytest.mark.parametrize("talk", [web_server, ssh_server])
async def test_another_protocol_than_rtu_frames_is_reported(
    talk: Talk,
) -> None:
    async with server(talk) as port:
        battery = deye_modbus_tcp.DeyeModbusInverter(HOST, port, SHORT, framing="rtu")
        failure = await failure_of(battery)
    assert type(failure) is ProtocolError


@pytest.mark.parametrize("battery_type", ON_A_SOCKET)
async def test_connection_that_is_closed_without_an_answer_is_reported_as_such(
    battery_type: str,
) -> None:
    async with server(hang_up) as port:
        failure = await failure_of(battery_at(battery_type, port))
    assert type(failure) is ConnectionClosedError


async def test_modbus_device_at_the_port_of_a_sessy_closes_the_connection() -> None:
    async with VictronSimulator() as victron:
        failure = await failure_of(battery_at("sessy", victron.port))
    assert type(failure) is ConnectionClosedError


async def test_web_page_with_a_password_may_be_a_sessy() -> None:
    """Without the right password its kind is not known."""

    async def ask_password(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with server(ask_password) as port:
        failure = await failure_of(battery_at("sessy", port))
    assert type(failure) is AuthenticationError


async def test_device_that_greets_can_speak_modbus_all_the_same() -> None:
    """Some loggers greet as soon as a connection is made."""
    async with VictronSimulator() as victron:

        async def greet(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(b"AT+YZCMPVER=LSE-3\r\n")
            await writer.drain()
            await asyncio.sleep(0)
            far_reader, far_writer = await asyncio.open_connection(HOST, victron.port)
            while asked := await reader.read(1024):
                far_writer.write(asked)
                writer.write(await far_reader.read(1024))
            far_writer.close()

        async with server(greet) as port:
            connection = ModbusTcpConnection(HOST, port, 5)
            connection.connect_delay = SHORT
            await connection.open()
            words = await connection.unit(100).read_holding_registers(843, 1)
            await connection.close()
    assert words == [50]


# The other kind of Deye


async def test_logger_that_is_asked_over_modbus_is_called_a_logger() -> None:
    async with DeyeSolarmanSimulator(house()) as logger:
        failure = await failure_of(
            battery_at("deye_modbus", logger.port, timeout=SHORT)
        )
    assert type(failure) is SolarmanSpokenError
    assert failure.port == logger.port
    assert "deye_solarman" in str(failure)


async def test_logger_is_seen_at_its_own_port_when_the_given_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The form begins with port 502, where a logger does not listen."""
    async with server(hang_up) as closed:
        pass
    async with DeyeSolarmanSimulator(house()) as logger:
        monkeypatch.setattr(deye_modbus_tcp, "LOGGER_PORT", logger.port)
        failure = await failure_of(battery_at("deye_modbus", closed))
    assert type(failure) is SolarmanSpokenError
    assert failure.port == logger.port


async def test_gateway_that_is_asked_as_a_logger_is_called_modbus() -> None:
    async with DeyeModbusSimulator(house()) as gateway:
        failure = await failure_of(battery_at("deye_solarman", gateway.port))
    assert type(failure) is ModbusSpokenError
    assert failure.port == gateway.port
    assert "deye_modbus" in str(failure)


async def test_gateway_is_seen_at_its_own_port_when_the_given_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The form begins with port 8899, where a gateway does not listen."""
    async with server(hang_up) as closed:
        pass
    async with DeyeModbusSimulator(house()) as gateway:
        monkeypatch.setattr(deye_solarman, "MODBUS_PORT", gateway.port)
        failure = await failure_of(battery_at("deye_solarman", closed))
    assert type(failure) is ModbusSpokenError
    assert failure.port == gateway.port


@pytest.mark.parametrize("other", [VictronSimulator, SmaSimulator])
async def test_other_makes_at_the_port_of_a_logger_are_not_called_a_deye(
    other: type[VictronSimulator | SmaSimulator],
) -> None:
    async with other() as device:
        failure = await failure_of(battery_at("deye_solarman", device.port))
    assert type(failure) is ConnectionClosedError


async def test_gateway_to_an_inverter_that_is_off_stays_silent() -> None:
    """Silence behind a gateway is no sign of another protocol."""
    async with DeyeModbusSimulator(house()) as gateway:
        await gateway.misbehave("hang")
        failure = await failure_of(
            battery_at("deye_modbus", gateway.port, timeout=SHORT)
        )
    assert type(failure) is RequestTimeoutError


async def test_logger_that_works_is_not_asked_anything_more() -> None:
    async with (
        DeyeSolarmanSimulator(house()) as logger,
        DRIVERS["deye_solarman"].from_setup(logger.setup),
    ):
        assert logger.server.connections == 1


# Another unit id


async def test_victron_at_another_unit_id_is_distinguished_from_another_device() -> (
    None
):
    async with VictronSimulator() as victron:
        battery = DRIVERS["victron"].from_setup({**victron.setup, "unit_id": 99})
        failure = await failure_of(battery)
    assert type(failure) is WrongUnitError


async def test_victron_without_inverter_asks_for_its_unit_id() -> None:
    async with VictronSimulator() as victron:
        await victron.misbehave("absent", service="vebus")
        battery = DRIVERS["victron"].from_setup(
            {"host": victron.host, "port": victron.port}
        )
        failure = await failure_of(battery)
    assert type(failure) is UndetectedUnitError


async def test_stray_bytes_of_a_serial_line_are_no_other_protocol() -> None:
    """Gateways pass on all bytes of their line; the answer behind them is good."""

    async def gateway(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(1024)
        writer.write(b"\0" + framed(1, b"\3\2\0\7"))
        await writer.drain()
        await reader.read(1024)

    async with server(gateway) as port:
        connection = ModbusTcpConnection(HOST, port, 5, FramerType.RTU)
        await connection.open()
        assert await connection.unit(1).read_holding_registers(100, 1) == [7]
        await connection.close()


async def test_a_device_that_has_spoken_modbus_is_not_of_another_protocol() -> None:
    """A frame that is spoilt on the way is a failed request; the error quotes it."""

    async def spoilt_later(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for protocol in b"\0", b"\7":
            asked = await reader.read(1024)
            head = asked[:2] + b"\0" + protocol
            writer.write(head + b"\0\5\1\3\2\0\7")
            await writer.drain()
        await reader.read(1024)

    async with server(spoilt_later) as port:
        connection = ModbusTcpConnection(HOST, port, SHORT)
        await connection.open()
        unit = connection.unit(1)
        assert await unit.read_holding_registers(100, 1) == [7]
        with pytest.raises(ProtocolError, match=r"x00.x07"):
            await unit.read_holding_registers(100, 1)
        await connection.close()
