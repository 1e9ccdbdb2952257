"""The search for the services of a GX device: which are there, and which it uses.

It ends where the right one is certain; at a port of the GX it nearly ends where that is
only possible, since a GX logs each question about an absent service as an error.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..battery.base import Choice
from ..errors import UndetectedUnitError
from ..modbus.register import DataType, Register
from ..text import printable
from .registers import SYSTEM_UNIT
from .services import (
    AC_PV_POWERS,
    MULTI_RS,
    PLACES,
    PV_BEGINNINGS,
    PV_INVERTERS,
    VEBUS,
    Answers,
    Fit,
    Kind,
    unexplained_pv_power,
)
from .units import GxUnits

CHANGING: Final = 1.0
"""Seconds after which values that do not fit are compared once more: the GX copies
those of a service a moment later."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A service that answers."""

    unit_id: int
    fit: Fit
    own: Answers
    """Its words, which are compared."""


class Search:
    """Searches a GX device for services. Nothing is written."""

    def __init__(self, units: GxUnits) -> None:
        """Ask `units`."""
        self._units = units

    async def find(self, kind: Kind) -> list[Candidate]:
        """Return the service that the GX uses; several where that is not certain."""
        seen: list[Candidate] = []
        waiting = list(kind.units)
        while waiting:
            candidate = await self._evaluate(kind, waiting.pop(0))
            if candidate is None:
                continue
            seen.append(candidate)
            if candidate.fit is Fit.CERTAIN:
                break
            if candidate.fit is Fit.POSSIBLE and candidate.unit_id in kind.ports:
                waiting = [unit_id for unit_id in waiting if unit_id in kind.besides]
        best = max((each.fit for each in seen), default=Fit.NO)
        return [each for each in seen if each.fit is best]

    async def find_inverter(self) -> tuple[Kind, list[Candidate]]:
        """Return the VE.Bus system that the GX uses, or else a Multi RS.

        Raises WrongDeviceError when this is no GX device, UndetectedUnitError when it
        has none.
        """
        await self._units.check_gx()
        for kind in (VEBUS, MULTI_RS):
            if candidates := await self.find(kind):
                return kind, candidates
        raise UndetectedUnitError(
            f"{self._units.name}: this GX device shows no VE.Bus system. Its unit id "
            "is listed on the GX under Modbus TCP, available services"
        )

    async def find_pv_inverters(self) -> list[Candidate]:
        """Return the PV inverters.

        After the first one the search ends at a unit without one, unless the GX shows
        more power of AC-coupled PV than those before it have.
        """
        powers = await self._units.probe(SYSTEM_UNIT, *AC_PV_POWERS)
        has_power = bool(unexplained_pv_power(powers, ()))
        waiting = list(PV_BEGINNINGS if has_power else PV_BEGINNINGS[:1])
        seen: list[Candidate] = []
        asked: list[int] = []
        while waiting:
            asked.append(waiting.pop(0))
            if candidate := await self._evaluate(PV_INVERTERS, asked[-1]):
                seen.append(candidate)
                # The numbers behind it come first.
                units = sorted(PV_INVERTERS.units, key=lambda each: each < asked[-1])
                waiting = [each for each in units if each not in asked]
            elif seen and not unexplained_pv_power(powers, [c.own for c in seen]):
                break
        return seen

    async def choices(
        self, kind: Kind, candidates: Sequence[Candidate]
    ) -> tuple[Choice, ...]:
        """Return candidates for a list, with their names and present values."""
        choices = []
        for each in candidates:
            parts = (await self._name(kind, each.unit_id), kind.describe(each.own))
            text = ", ".join(filter(None, parts))
            choices.append(Choice(each.unit_id, f"{each.unit_id}: {text}"))
        return tuple(choices)

    async def _evaluate(self, kind: Kind, unit_id: int) -> Candidate | None:
        """Return the service at a unit; None where there is no such service."""
        fit, own = Fit.NO, await self._read_own(kind, unit_id)
        for is_last in (False, True):
            if own is None:
                return None
            system = [
                await self._units.probe(SYSTEM_UNIT, *block) for block in kind.system
            ]
            fit = kind.compare(own, system)
            if fit is not Fit.NO or is_last:
                break
            await asyncio.sleep(CHANGING)
            own = await self._read_own(kind, unit_id)
        assert own is not None
        return Candidate(unit_id, fit, own)

    async def _read_own(
        self, kind: Kind, unit_id: int
    ) -> list[list[int] | None] | None:
        """Return the words of a service; None where there is no such service."""
        probed = await self._units.probe(unit_id, *kind.probe)
        if probed is None or not kind.is_there(probed):
            return None
        return [
            probed,
            *[await self._units.probe(unit_id, *block) for block in kind.blocks],
        ]

    async def _name(self, kind: Kind, unit_id: int) -> str:
        """Return the name that its user gave a service, its serial number or place."""
        for address, count in kind.names:
            register = Register(address, "name", DataType.STRING, length=count)
            words = await self._units.probe(unit_id, address, count)
            name = None if words is None else register.decode(words)
            if name:
                return printable(str(name))
        return PLACES.get(unit_id, "")
