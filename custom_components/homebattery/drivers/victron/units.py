"""Where the services of a GX device are: found by asking, in the order of likelihood.

Unit ids differ from site to site, and no register lists them. First come the units
where the usual GX models have a service, then what the server's table maps, then
the low numbers that are given out since Venus OS 2.60.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from ..errors import (
    CannotConnectError,
    DeviceRefusedError,
    UnitNotFoundError,
    WrongDeviceError,
)
from ..modbus.connection import ModbusConnection
from ..modbus.register import WORD
from .registers import SYSTEM_UNIT

_USB: Final[tuple[int, ...]] = (239, 238, 237, 236, 235, 234, 233, 232, 231)
VEBUS_UNITS: Final[tuple[int, ...]] = (
    *(227, 228, 242, 246),
    *_USB,
    *range(204, 227),
    *(229, 230, 243, 244, 245, 247),
    *range(1, 61),
)
BATTERY_UNITS: Final[tuple[int, ...]] = (
    *(225, 223, 224, 226, 229, 230),
    *_USB,
    *(243, 245, 247),
    *range(1, 61),
)
GRID_UNITS: Final[tuple[int, ...]] = (
    *(30, 31, 32, 33, 34, 40, 28, 29),
    *range(35, 40),
    *range(41, 46),
)

SERVER_RESTART: Final = 3.0
"""Seconds that a server needs after it has crashed over the question for an absent
service (14 October to 4 December 2025)."""
_RESTART_TRIES: Final = 5
_PHASES: Final = range(1, 4)


class GxUnits:
    """Asks a GX device for its services. Nothing is written.

    Each question that finds nothing leaves a harmless line in the 'last error' box
    of the GX, so this is for setting up, and never for every start.
    """

    def __init__(self, name: str, connection: ModbusConnection) -> None:
        """Ask over `connection`; `name` is for errors."""
        self._name = name
        self._connection = connection

    async def check_gx(self) -> None:
        """Raise WrongDeviceError unless this is a GX device."""
        if await self.read(SYSTEM_UNIT, 800, 6) is None:
            raise WrongDeviceError(
                f"{self._name}: no GX device answers at unit {SYSTEM_UNIT}"
            )

    async def find_inverter(self) -> int:
        """Return the unit of the VE.Bus system, or else of a Multi RS.

        Raises WrongDeviceError when this is no GX device, UnitNotFoundError when it
        has none.
        """
        await self.check_gx()
        for register in (28, 4524):
            unit_id = await self._first(VEBUS_UNITS, register, _PHASES)
            if unit_id is not None:
                return unit_id
        raise UnitNotFoundError(
            f"{self._name}: this GX device shows no VE.Bus system. Its unit id is "
            "listed on the GX under Modbus TCP, available services"
        )

    async def find_battery(self) -> int | None:
        """Return the battery service that the GX itself takes its values from."""
        system = await self.read(SYSTEM_UNIT, 840, 4)
        first: int | None = None
        for unit_id in BATTERY_UNITS:
            words = await self.read(unit_id, 259, 8)
            if words is None:
                continue
            first = unit_id if first is None else first
            if (
                system is not None
                and abs(words[0] / 100 - system[0] / 10) <= 0.1
                and abs(words[7] / 10 - system[3]) <= 1
            ):
                return unit_id
        return first

    async def find_grid_meter(self) -> int | None:
        """Return the unit of the grid meter."""
        return await self._first(GRID_UNITS, 2600)

    async def read(
        self, unit_id: int, address: int, count: int = 1
    ) -> list[int] | None:
        """Read words that may not be there; None if they are not."""
        unit = self._connection.unit(unit_id)
        try:
            return await unit.read_holding_registers(address, count)
        except DeviceRefusedError:
            return None
        except CannotConnectError:
            if unit_id == SYSTEM_UNIT:
                raise
            await self._await_server()
            return None

    async def _first(
        self, unit_ids: Iterable[int], address: int, accept: range = range(WORD + 1)
    ) -> int | None:
        """Return the first unit whose register holds an accepted value."""
        for unit_id in unit_ids:
            words = await self.read(unit_id, address)
            if words is not None and words[0] in accept:
                return unit_id
        return None

    async def _await_server(self) -> None:
        """Wait for a server that has crashed over the question, and go on."""
        for tries_left in reversed(range(_RESTART_TRIES)):
            await asyncio.sleep(SERVER_RESTART)
            try:
                await self.read(SYSTEM_UNIT, 800)
            except CannotConnectError:
                if not tries_left:
                    raise
            else:
                return
