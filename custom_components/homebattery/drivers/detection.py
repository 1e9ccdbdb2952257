"""Detection of the batteries at an address, by reading only.

Each driver knows where its devices listen and how to detect one. All ports
are asked at the same time, and at each port one driver after the other, in the order of
the registry, until one has detected a device.
"""

import asyncio
from collections.abc import Iterable, Mapping
import logging
from typing import TYPE_CHECKING, Final

from . import DRIVERS
from .battery.base import Battery
from .errors import BatteryError, CannotConnectError
from .modbus.connection import resolve
from .modbus.probe import Detected, Probe
from .modbus.tcp import ModbusTcpConnection

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["Detected", "detect", "detect_at"]

_LOGGER = logging.getLogger(__name__)

LIMIT: Final = 30.0
"""Seconds after which a driver that has detected nothing at a port is ended."""
LAST: Final = 35.0
"""Seconds after which no further driver is asked at a port, so that all ends after
about a minute; one that is being asked keeps its time, and what it has found."""


async def detect(
    host: str,
    session: ClientSession | None = None,
    ports: Mapping[int, int] | None = None,
) -> list[Detected]:
    """Return the devices at `host`, those that are certain if there are any.

    Nothing is written, and no password is sent. `ports` maps a usual port to the one
    where the host listens instead. An address that does not answer has no devices.
    Raises UnknownHostError when it is a name that the network does not know.
    """
    drivers: dict[int, list[type[Battery]]] = {}
    for driver in DRIVERS.values():
        for port in driver.ports:
            drivers.setdefault((ports or {}).get(port, port), []).append(driver)
    probes = [
        detect_at(host, port, asking, session) for port, asking in drivers.items()
    ]
    detected = [
        device for devices in await asyncio.gather(*probes) for device in devices
    ]
    if not detected:
        await resolve(host, next(iter(drivers)), Probe.timeout)
    return [device for device in detected if device.certain] or detected


async def detect_at(
    host: str,
    port: int,
    drivers: Iterable[type[Battery]],
    session: ClientSession | None = None,
) -> list[Detected]:
    """Return the devices at one port that the first of `drivers` detects there.

    As by `detect`, nothing is written, and no password is sent.
    """
    probe = Probe(host, port, ModbusTcpConnection.shared, session)
    loop = asyncio.get_running_loop()
    last = loop.time() + LAST
    try:
        for driver in drivers:
            if loop.time() > last:
                break
            if devices := await _ask(probe, driver):
                return devices
    except CannotConnectError as err:
        _LOGGER.debug("%s:%s: nothing found (%r)", probe.host, probe.port, err)
    finally:
        await probe.close()
    return []


async def _ask(probe: Probe, driver: type[Battery]) -> list[Detected]:
    """Return the devices that a driver detects; none when only its request fails."""
    try:
        async with asyncio.timeout(LIMIT):
            return await driver.detect(probe)
    except CannotConnectError:
        raise
    except (BatteryError, TimeoutError) as err:
        _LOGGER.debug("%s: %r", driver.battery_type, err)
        return []
