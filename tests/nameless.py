"""A device that gives no serial number any more, and is well otherwise."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import pytest

from tests.simulators import SessySimulator
from tests.simulators.modbus import ILLEGAL_ADDRESS, Refused, Silent

_SERIAL_AT: Final = {
    "victron": 800,
    "sun2000": 30015,
    "deye_modbus": 3,
    "deye_solarman": 3,
    "sma": 30057,
}
"""The register of the serial number, which is read for the comparison alone."""


TIMEOUT: Final = 0.5
"""Seconds that an answer may take in the tests with such a device."""


class Nameless:
    """A way in which a device, otherwise well, gives no serial number."""

    def __init__(self, device: Any, way: str, code: int = ILLEGAL_ADDRESS) -> None:
        """Prepare it: `refused` (over Modbus with `code`), `empty` or `silent`."""
        self._device, self._way, self._code = device, way, code
        self._patch = pytest.MonkeyPatch()

    async def begin(self) -> None:
        """Refuse the question, answer it with nothing, or do not answer it at all."""
        server = self._device.server
        if not isinstance(self._device, SessySimulator):
            read = server.units.read
            self._patch.setattr(server.units, "read", partial(self._read, read))
        elif self._way == "refused":
            await self._device.misbehave("error", count=100, path="system/info")
        elif self._way == "empty":
            number = {"sessy_serial": "unknown"}
            self._patch.setattr(server, "battery_serial", lambda: number)
        else:
            answer = server.answer
            self._patch.setattr(server, "answer", partial(self._answer_late, answer))

    async def end(self) -> None:
        """Report the serial number again."""
        self._patch.undo()
        if isinstance(self._device, SessySimulator):
            await self._device.misbehave("error", count=0)

    def _read(
        self, read: Callable[..., Sequence[int]], unit: int, start: int, count: int
    ) -> Sequence[int]:
        if start != _SERIAL_AT[self._device.type] or count > 10:
            return read(unit, start, count)
        match self._way:
            case "refused":
                raise Refused(self._code)
            case "empty":
                return [0] * count
        raise Silent

    @staticmethod
    async def _answer_late(answer: Callable[..., Awaitable[Any]], asked: Any) -> Any:
        if asked.path.endswith("system/info"):
            await asyncio.sleep(2 * TIMEOUT)
        return await answer(asked)
