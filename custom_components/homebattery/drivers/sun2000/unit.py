"""Retry requests that an inverter refuses while it is busy.

An inverter, or the dongle in front of it, has other things to do: it says that it
is busy, or that it failed, while it serves another client.
"""

import asyncio
from collections.abc import Iterator
import math
from typing import Final

from ..errors import (
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    IllegalAddressError,
    PermissionDeniedError,
)
from ..modbus.unit import ModbusUnit, is_on_trial

BACK_OFFS: Final = (1.0, 3.0, 10.0)
"""Seconds to wait before each further try."""
NO_RETRIES_FOR: Final = 60.0
"""Seconds for which no read is retried after one has failed in spite of all tries."""

_NO_SUCH_REGISTER: Final = 2
_NOT_HERE: Final = 3
"""On reading it means the same: this firmware does not have the register."""
_FAILED: Final = 4
"""On reading it passes, with the night at the latest: so a sleeping inverter answers
everything. On writing it may also be a value out of range."""

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
    until it answers again: one bad block must not slow down every poll. For a minute,
    so are all others: a sleeping inverter must not be waited for at each block. A read on
    trial is sent once, and its failure says nothing about others.
    """

    def __init__(self, unit: ModbusUnit, retries: int | None = None) -> None:
        """Talk to `unit`; a read is retried so many times, None: as often as usual."""
        self._unit = unit
        self._retries = retries
        self._failing: set[int] = set()
        self._retried_from = -math.inf
        """When reads are retried again, loop time, s."""

    async def read_holding_registers(self, address: int, count: int) -> Words:
        """Return words; raises the errors of `ModbusUnit`, and DeviceFailureError."""
        back_offs = self._back_offs(address)
        while True:
            try:
                words = await self._unit.read_holding_registers(address, count)
            except DeviceRefusedError as err:
                if err.code == _NOT_HERE:
                    raise IllegalAddressError(str(err), err.code) from err
                if not await _is_worth_another_try(err, back_offs):
                    if _will_pass(err) and not is_on_trial():
                        self._note_failing(address)
                    if err.code == _FAILED:
                        raise DeviceFailureError(
                            f"{err}; is it asleep?", err.code
                        ) from err
                    raise
            else:
                if not is_on_trial():
                    self._failing.discard(address)
                return words

    def _back_offs(self, address: int) -> Iterator[float]:
        """Return the waits, s, before further tries to read a block."""
        is_retried = asyncio.get_running_loop().time() >= self._retried_from
        if not is_retried or address in self._failing or is_on_trial():
            return iter(())
        return iter(BACK_OFFS[: self._retries])

    def _note_failing(self, address: int) -> None:
        """Note that a block failed in spite of all tries, or of the one it had."""
        now = asyncio.get_running_loop().time()
        if now >= self._retried_from and address not in self._failing:
            self._retried_from = now + NO_RETRIES_FOR
        self._failing.add(address)

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
