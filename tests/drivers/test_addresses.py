"""Addresses that there cannot be are refused before anything is sent."""

import asyncio
from collections.abc import Callable
import socket
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.address import is_host
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    InvalidValueError,
    UnknownHostError,
)
from custom_components.homebattery.drivers.modbus.connection import (
    SharedConnection,
    resolve,
)
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.solarman.transport import SolarmanConnection
from tests.home import ON_A_SOCKET

HOSTS = [
    "",
    " ",
    "a b",
    "a\0b",
    "a\nb",
    "a\x1b[31mb",
    "a\u202eb",
    "http://127.0.0.1/",
    "127.0.0.1:502",
    "user@127.0.0.1",
    "127.0.0.1?x",
    ".",
    "a..b",
    "a" * 64,
    "a" * 300,
    ".".join(["a" * 60] * 5),
]
SECRETS = {"username": "D1234567", "password": "SECRET12"}


def make(battery_type: str, *address: Any, **options: Any) -> Battery:
    driver: Callable[..., Battery] = DRIVERS[battery_type]
    if battery_type == "sessy":
        options |= SECRETS
    return driver(*address, **options)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("battery_type", ON_A_SOCKET)
def test_an_impossible_host_is_refused(battery_type: str, host: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        make(battery_type, host)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("port", [-1, 0, 65536, 10**20])
@pytest.mark.parametrize("battery_type", ON_A_SOCKET)
def test_an_impossible_port_is_refused(battery_type: str, port: int) -> None:
    with pytest.raises(InvalidValueError, match="ports are 1 to 65535"):
        make(battery_type, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("battery_type", "name"),
    [
        (battery_type, field.name)
        for battery_type, driver in DRIVERS.items()
        for field in driver.fields
        if field.name.endswith("unit_id")
    ],
)
@pytest.mark.parametrize("unit_id", [-1, 256])
def test_an_impossible_unit_id_is_refused(
    battery_type: str, name: str, unit_id: int
) -> None:
    with pytest.raises(InvalidValueError, match="is not a unit id"):
        make(battery_type, "127.0.0.1", **{name: unit_id})


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "sessy-d123.local",
        "sessy-d123.local.",
        "my_inverter",
        "::1",
        "fe80::1%eth0",
        "xn--bcher-kva.example",
        "bücher.example",
        "a" * 63,
    ],
)
def test_a_host_is_a_name_or_an_ip_address(host: str) -> None:
    assert is_host(host)


@given(host=st.text(max_size=300))
def test_any_text_is_a_host_or_is_refused(host: str) -> None:
    try:
        make("victron", host)
    except InvalidValueError:
        assert not is_host(host)
    else:
        assert host.isprintable()


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("embedded null character"),
        UnicodeEncodeError("idna", "a..b", 0, 1, "label empty or too long"),
        OverflowError("getaddrinfo() argument 2 is too large"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_the_resolver_is_an_unknown_host(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a host that no battery was made with, such as one to be detected."""

    async def fail(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    with pytest.raises(UnknownHostError):
        await resolve("home.invalid", 502, 1)
    connections: list[SharedConnection[Any]] = [
        ModbusTcpConnection("home.invalid", 502, 1),
        SolarmanConnection("home.invalid", 8899, 1, 1),
    ]
    for connection in connections:
        with pytest.raises(CannotConnectError):
            await connection.open()
