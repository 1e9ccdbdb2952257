"""Writing plans: only what differs, in the plan's order, and seen to have arrived."""

import asyncio
import logging
from typing import Final

from ..errors import NotConfirmedError
from ..flash import FlashWear
from ..modbus.unit import ModbusUnit
from .plans import Image, Plan

_LOGGER: Final = logging.getLogger(__name__)


class PlanWriter:
    """Brings the registers of one run of addresses to what a plan says."""

    def __init__(
        self,
        name: str,
        unit: ModbusUnit,
        registers: range,
        settle: float,
        wear: FlashWear | None = None,
    ) -> None:
        """Describe the registers; `settle` are the seconds until they can be read.

        `wear` counts the writes of registers that live in flash.
        """
        self.name = name
        self._unit = unit
        self._registers = registers
        self._settle = settle
        self._wear = wear

    async def read(self) -> dict[int, int]:
        """Return all registers as they are now, in one request."""
        words = await self._unit.read_holding_registers(
            self._registers.start, len(self._registers)
        )
        return dict(zip(self._registers, words, strict=True))

    def check_wear(self, plan: Plan, known: Image) -> None:
        """Raise FlashBudgetError when a plan would write more than is left today."""
        if self._wear is not None and any(plan.writes(known)):
            self._wear.check(self.name)

    async def apply(self, plan: Plan, known: Image) -> None:
        """Write what differs from `known`, then read back.

        Raises NotConfirmedError when a register shows something else.
        """
        writes = list(plan.writes(known))
        for address, words in writes:
            await self.write(address, words)
        if not writes:
            return
        await asyncio.sleep(self._settle)
        seen = await self.read()
        wrong = {
            address: seen[address]
            for address, wanted in plan.target.items()
            if seen[address] != wanted
        }
        if wrong:
            raise NotConfirmedError(
                f"{self.name}: after writing, registers still read {wrong} instead of "
                f"{ {address: plan.target[address] for address in wrong} }"
            )

    async def write(self, address: int, words: list[int]) -> None:
        """Write one block."""
        _LOGGER.debug("%s: writing %s from address %s", self.name, words, address)
        if self._wear is not None:
            self._wear.note()
        await self._unit.write_registers(address, words)
