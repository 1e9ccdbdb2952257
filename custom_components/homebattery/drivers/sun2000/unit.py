"""Retry requests that an inverter refuses while it is busy.

An inverter, or the dongle in front of it, has other things to do: it says that it
is busy, or that it failed, while it serves another client.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from ..errors import (
    DeviceBusyError,
    DeviceRefusedError,
    IllegalAddressError,
    PermissionDeniedError,
)
from ..modbus.unit import ModbusUnit

BACK_OFFS: Final = (1.0, 3.0, 10.0)
"""Seconds to wait before each further try."""

_NO_SUCH_REGISTER: Final = 2
_NOT_HERE: Final = 3
"""On reading it means the same: this firmware does not have the register."""
_FAILED: Final = 4
"""On reading it passes; on writing it may also be a value out of range."""

_OTHER_WAYS: Final = (
    "Connect through the SDongle, an EMMA or RS485 instead of the inverter's own WLAN"
)
_MAYBE_NOT_PERMITTED: Final = (
    "If every change is refused, Modbus TCP has no permission to write, and the "
    f"installer's login is needed. {_OTHER_WAYS}"
)

type Words = list[int]


class RetryingUnit:
    """A unit whose requests are retried while it is busy.

    A block that has just failed in spite of all retries is then read without any,
    until it answers again: one bad block must not slow down every poll.
    """

    def __init__(self, unit: ModbusUnit) -> None:
        """Talk to `unit`."""
        self._unit = unit
        self._failing: set[int] = set()

    async def read_holding_registers(self, address: int, count: int) -> Words:
        """Return words; raises the errors of `ModbusUnit`."""
        back_offs = iter(() if address in self._failing else BACK_OFFS)
        while True:
            try:
                words = await self._unit.read_holding_registers(address, count)
            except DeviceRefusedError as err:
                if err.code == _NOT_HERE:
                    raise IllegalAddressError(str(err), err.code) from err
                if not await _is_worth_another_try(err, back_offs):
                    if _will_pass(err):
                        self._failing.add(address)
                    raise
            else:
                self._failing.discard(address)
                return words

    async def write_registers(self, address: int, values: Words) -> None:
        """Write consecutive words; raises the errors of `ModbusUnit`."""
        back_offs = iter(BACK_OFFS)
        while True:
            try:
                return await self._unit.write_registers(address, values)
            except PermissionDeniedError as err:
                raise PermissionDeniedError(f"{err}. {_OTHER_WAYS}", err.code) from err
            except DeviceRefusedError as err:
                if await _is_worth_another_try(err, back_offs):
                    continue
                if err.code in (_NO_SUCH_REGISTER, _FAILED):
                    raise DeviceRefusedError(
                        f"{err}. {_MAYBE_NOT_PERMITTED}", err.code
                    ) from err
                raise


def _will_pass(err: DeviceRefusedError) -> bool:
    """Return True for a refusal that may be none the next time."""
    return isinstance(err, DeviceBusyError) or err.code == _FAILED


async def _is_worth_another_try(
    err: DeviceRefusedError, back_offs: Iterator[float]
) -> bool:
    """Wait before the next try; return False when another one is of no use."""
    if not _will_pass(err):
        return False
    for seconds in back_offs:
        await asyncio.sleep(seconds)
        return True
    return False
