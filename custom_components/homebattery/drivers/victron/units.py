"""The services of a GX device at their units, and their capabilities."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..absence import CERTAIN_REFUSALS
from ..errors import (
    CannotConnectError,
    DeviceRefusedError,
    IllegalAddressError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
    WrongUnitError,
)
from ..modbus.register import Register
from ..modbus.unit import Units
from .measurements import per_phase
from .registers import BATTERY, HUB4, MULTI_RS, SETTINGS, SYSTEM, SYSTEM_UNIT, VEBUS

SERVER_RESTART: Final = 3.0
"""Seconds that a server needs after it has crashed over a request for an absent
service (14 October to 4 December 2025)."""
_RESTART_TRIES: Final = 5
_HISTORY: Final = (301, 302)
_ALWAYS_THERE: Final = range(800, 850)
"""The addresses at unit 100 that belong to the GX itself."""
_ABSENT: Final = (IllegalAddressError, UnitAbsentError)
"""Refusals of what is not there; others pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The capabilities of a GX's services, and the registers that they have."""

    phases: int = 1
    is_rs: bool = False
    """Whether a Multi RS stands where a VE.Bus system would."""
    has_ess: bool = True
    """Whether the ESS assistant's service is there; without it there is no mode 3."""
    has_history: bool = True
    """Whether the battery counts energy; a BMS on the CAN bus reads 0 for ever."""

    @property
    def gx_registers(self) -> Sequence[Register]:
        """The registers of the GX itself."""
        return (*SYSTEM, *SETTINGS, *(HUB4 if self.has_ess else ()))

    @property
    def inverter_registers(self) -> Sequence[Register]:
        """The registers of the inverters, without those of phases that are not there."""
        absent = per_phase("")[self.phases :]
        table = MULTI_RS if self.is_rs else VEBUS
        return [register for register in table if not register.name.endswith(absent)]

    @property
    def battery_registers(self) -> Sequence[Register]:
        """The registers of the battery."""
        return [
            register
            for register in BATTERY
            if self.has_history or register.address not in _HISTORY
        ]


class GxUnits:
    """Asks a GX device for its services. Nothing is written.

    Each request for an absent service leaves a harmless line in the 'last error' box
    of the GX, so this is for setting up, and never for every start.
    """

    def __init__(self, name: str, unit: Units) -> None:
        """Ask the units that `unit` returns; `name` is for errors."""
        self.name = name
        self._unit = unit
        self._silent_unit: int | None = None
        """The unit that gave no answer when it was probed; more are not borne with."""

    async def check_gx(self) -> None:
        """Raise WrongDeviceError unless this is a GX device."""
        if await self.read(SYSTEM_UNIT, 800, 6) is None:
            raise WrongDeviceError(
                f"{self.name}: no GX device answers at unit {SYSTEM_UNIT}"
            )

    async def find_capabilities(
        self, unit_id: int, battery_unit_id: int | None
    ) -> Capabilities:
        """Return the capabilities of the inverter at `unit_id` and of the battery.

        Raises WrongDeviceError when this is no GX device, WrongUnitError when there is
        no inverter.
        """
        phases = await self.read(unit_id, 28)
        is_rs = phases is None
        if phases is None:
            phases = await self.read(unit_id, 4524)
        if phases is None:
            await self.check_gx()
            raise WrongUnitError(f"{self.name}: no VE.Bus system at unit {unit_id}")
        return Capabilities(
            phases=min(max(phases[0], 1), 3),
            is_rs=is_rs,
            # Where a question fails it counts as there: what is absent is refused.
            has_ess=await self.has_ess() is not False,
            has_history=await self.has_history(battery_unit_id) is not False,
        )

    async def has_ess(self, tries: int = CERTAIN_REFUSALS) -> bool | None:
        """Return whether the ESS assistant's service is there, which 2709 belongs to.

        None where the question fails. One refusal may be a passing one, and a battery
        that is held could not be released then.
        """
        words = await self._read_again(SYSTEM_UNIT, 2709, tries=tries)
        return None if words is None else bool(words)

    async def has_history(
        self, battery_unit_id: int | None, tries: int = CERTAIN_REFUSALS
    ) -> bool | None:
        """Return whether the battery counts energy; None where the question fails."""
        if battery_unit_id is None:
            return False
        history = await self._read_again(
            battery_unit_id, _HISTORY[0], len(_HISTORY), tries=tries
        )
        return None if history is None else any(history)

    async def _read_again(
        self, unit_id: int, address: int, count: int = 1, *, tries: int
    ) -> list[int] | None:
        """Return words, none where they are refused as absent so many times.

        None where there is no answer, or the last refusal has another reason.
        """
        for remaining in reversed(range(tries)):
            try:
                if (words := await self._ask(unit_id, address, count)) is not None:
                    return words
            except RequestTimeoutError:
                return None
            except DeviceRefusedError as err:
                if not remaining and not isinstance(err, _ABSENT):
                    return None
        return []

    async def read(
        self, unit_id: int, address: int, count: int = 1
    ) -> list[int] | None:
        """Return words, or None where they do not exist, or are refused."""
        try:
            return await self._ask(unit_id, address, count)
        except DeviceRefusedError:
            return None

    async def _ask(self, unit_id: int, address: int, count: int) -> list[int] | None:
        """Return words, or None where the server crashes; raises DeviceRefusedError."""
        try:
            return await self._unit(unit_id).read_holding_registers(address, count)
        except CannotConnectError:
            if unit_id == SYSTEM_UNIT and address in _ALWAYS_THERE:
                raise
            await self._await_server()
            return None

    async def probe(
        self, unit_id: int, address: int, count: int = 1
    ) -> list[int] | None:
        """Return words; None where they do not exist, or at the first silent unit."""
        try:
            return await self.read(unit_id, address, count)
        except RequestTimeoutError:
            if self._silent_unit not in (None, unit_id):
                raise
            self._silent_unit = unit_id
        return None

    async def _await_server(self) -> None:
        """Wait until a server that has crashed over a request answers again."""
        for more_tries in reversed(range(_RESTART_TRIES)):
            await asyncio.sleep(SERVER_RESTART)
            try:
                await self.read(SYSTEM_UNIT, 800)
            except CannotConnectError:
                if not more_tries:
                    raise
            else:
                return
