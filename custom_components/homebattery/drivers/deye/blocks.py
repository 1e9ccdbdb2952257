"""Register blocks of a Deye whose firmware lacks some, or whose gateway is small."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
import logging
import math
from typing import Final, override

from ..absence import BackOff, Refusals
from ..errors import (
    DeviceRefusedError,
    IllegalAddressError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    StartingError,
    UnitAbsentError,
)
from ..measurements import as_number
from ..modbus.device import ModbusDevice
from ..modbus.learned import Learned
from ..modbus.silence import Silence
from ..modbus.unit import ModbusUnit
from ..report import Report
from .registers import LAYOUT, PACK_COUNT, Run

_LOGGER = logging.getLogger(__name__)

PROBE_TIMEOUTS: Final = (1.0, 2.0)
"""Seconds for a word that may get no answer, try by try; real answers take 0.5 s."""
SMALLEST_READ: Final = 20
"""Words that every inverter and gateway in the field can read at once."""
_ILLEGAL_VALUE: Final = 3


async def probe(unit: ModbusUnit, address: int) -> None:
    """Read one word that may get no answer, with short timeouts.

    Raises RequestTimeoutError, or UnitAbsentError when a gateway says that there was
    none, and the other errors of reading.
    """
    for wait in PROBE_TIMEOUTS:
        try:
            async with asyncio.timeout(wait):
                await unit.read_holding_registers(address, 1)
        except TimeoutError, RequestTimeoutError:
            continue
        return
    raise RequestTimeoutError(f"register {address}: no answer")


async def answers(unit: ModbusUnit) -> bool:
    """Return True when the inverter answers at all, be it with a refusal."""
    try:
        await probe(unit, 0)
    except RequestTimeoutError, UnitAbsentError:
        return False
    except DeviceRefusedError:
        pass
    return True


class ChunkedUnit:
    """A unit whose longest reads are halved when they get no answer, or are refused.

    Not after a single loss, but after two in a row while a short read was answered.
    """

    def __init__(self, unit: ModbusUnit) -> None:
        """Begin without halving."""
        self._unit = unit
        self._longest = 125
        self._lost = 0

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read `count` words from `address`, in as many requests as it takes."""
        words: list[int] = []
        while len(words) < count:
            part = min(self._longest, count - len(words))
            try:
                words += await self._unit.read_holding_registers(
                    address + len(words), part
                )
            except RequestTimeoutError:
                await self._was_lost(part)
                raise
            except DeviceRefusedError as err:
                if err.code != _ILLEGAL_VALUE or part <= SMALLEST_READ:
                    raise
                self._halve(part)
            else:
                self._lost = 0 if part > SMALLEST_READ else self._lost
        return words

    async def _was_lost(self, count: int) -> None:
        if count <= SMALLEST_READ or not await answers(self._unit):
            return
        self._lost += 1
        if self._lost > 1:
            self._lost = 0
            self._halve(count)

    def _halve(self, count: int) -> None:
        self._longest = max(SMALLEST_READ, (count + 1) // 2)
        _LOGGER.debug("Reads of %s words do not work: at most %s", count, self._longest)

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write consecutive words with function 16."""
        await self._unit.write_registers(address, values)


class RegisterBlock(ModbusDevice):
    """A block of registers that an inverter may lack as a whole.

    So up to three single words are read first; of a block that is not `optional` only
    after it was refused. Where an `optional` block gets no answer while the inverter
    `lives`, it is not there, and is seldom tried again. While all of its `proof` is 0,
    the inverter has not filled it yet, and its values are dropped.
    """

    def __init__(
        self,
        name: str,
        unit: ModbusUnit,
        run: Run,
        lives: Callable[[], Awaitable[bool]],
    ) -> None:
        """Describe the block; nothing is read."""
        super().__init__(name, unit, run.registers, LAYOUT)
        self.there: bool | None = None
        """Whether the inverter has the block; None before it was tried."""
        self._absences = Refusals()
        self._pause = BackOff()
        self._optional = run.optional
        self._tries_word_first = run.optional
        """Whether a single word is read before it is known that the block is there."""
        self._proof = run.proof
        self._lives = lives

    @property
    @override
    def is_present(self) -> bool:
        return self.there is not False

    @override
    def uncertain(self, names: Collection[str]) -> set[str]:
        if self.is_present:
            return super().uncertain(names)
        return set(names) if self._absences.are_uncertain else set()

    @override
    def due_again(self) -> tuple[float, str] | None:
        """Return a register to try again, after the time that its pause ended, s.

        A try of a block that is absent takes up to three requests.
        """
        if self.is_present:
            return super().due_again()
        pause = self._pause
        return (pause.until, next(iter(self.registers))) if pause.is_over else None

    @override
    def recall(self, learned: Learned, essential: Collection[str]) -> None:
        super().recall(learned, essential)
        if self.registers.keys() <= self.missing:
            self.forget()
            self.there = False
            self._rest_if_stored()

    def _rest_if_stored(self) -> None:
        """Pause for as long as all registers are stored as missing."""
        rest_of = self._learned.rest_of
        if rest := min(rest_of(each.address) for each in self.registers.values()):
            self._pause.rest(rest)

    @override
    async def read(
        self,
        names: Collection[str],
        again: Collection[str] = (),
        silence: Silence | None = None,
        *,
        widely: bool = False,
    ) -> Report:
        if not names:
            return Report()
        wanted, first = frozenset(names), Report()
        if not wanted.issuperset(self._proof):
            wanted = wanted.union(self._proof)
        if not self.there and self._is_to_be_tried(names, again):
            whole = Silence() if silence is None else silence
            try:
                if self.there is None and not self._tries_word_first:
                    first = await self._read_first(wanted, whole)
                if not self.there and not first.failures:
                    await self._check_presence(whole)
            except (RequestTimeoutError, ProtocolError) as err:
                asked = [self.registers[name] for name in wanted]
                whole.note(err, partial(self._note_failed, asked, err))
                report = Report(failures={each.name: err for each in asked})
                if silence is None:
                    whole.conclude()
                return report
        if not self.is_present:
            missing = NotSupportedError(f"{self.name}: not on this inverter")
            return Report(failures=dict.fromkeys(names, missing))
        if was_read := first.names:
            wanted -= was_read
        report = await super().read(wanted, again, silence, widely=widely)
        report.add(first)
        proof = [report.values[name] for name in self._proof if name in report.values]
        if proof and all(value == 0 for value in proof):
            now = asyncio.get_running_loop().time()
            self.cache.note_missing({*names, *self._proof}, now)
            zeros = StartingError(f"{self.name}: nothing but zeros")
            return Report(failures=dict.fromkeys(names, zeros))
        return report

    def _is_to_be_tried(self, names: Collection[str], again: Collection[str]) -> bool:
        """Return whether a read finds out whether the block is there."""
        if self.there is None:
            return any(name in again or not self._is_paused(name) for name in names)
        return not self.registers.keys().isdisjoint(again)

    async def _read_first(self, names: Collection[str], silence: Silence) -> Report:
        """Read the first of the blocks that registers are in: mostly it is there.

        A failure is an answer of it, but not of a unit that is away. Raises
        RequestTimeoutError or ProtocolError.
        """
        if silence.is_over:
            return Report()
        block = self._plan(frozenset(names))[0]
        # One word of it may hang: the others are to be found the next time.
        self._tries_word_first = True
        try:
            report = await self._request(block, Silence(most_unanswered=1))
        except IllegalAddressError:
            return Report()
        silence.answered = True
        failures = report.failures.values()
        if not any(isinstance(err, UnitAbsentError) for err in failures):
            self.there = True
        return report

    async def _check_presence(self, silence: Silence) -> None:
        """Find out whether the block is there; raises when the inverter is away."""
        if silence.is_over:
            raise RequestTimeoutError(f"{self.name}: not asked") from silence.error
        self.there = await self._is_there()
        silence.answered = True
        if not self.there:
            self._absences.note()
            self._pause.note()
            self._rest_if_stored()
        _LOGGER.debug("%s: %s", self.name, "there" if self.there else "not there")

    async def _is_there(self) -> bool:
        """Return True when the block is there; raises when the inverter is away.

        It is not there when its first, middle and last word are refused: to try each
        register would take hundreds of requests. Only that is stored: answers get lost.
        """
        rows = [row.address for row in self.registers.values()]
        for address in dict.fromkeys((rows[0], rows[len(rows) // 2], rows[-1])):
            try:
                await probe(self._unit, address)
            except IllegalAddressError:
                continue
            except (RequestTimeoutError, UnitAbsentError) as err:
                if self._optional and await self._lives():
                    return False
                raise RequestTimeoutError(f"{self.name}: no answer") from err
            except DeviceRefusedError:
                pass
            return True
        self._store_absences()
        return False

    def _store_absences(self) -> None:
        """Note that all registers were refused, if the absence of each may be stored."""
        registers = self.registers.values()
        if all(map(self._is_storable, registers)):
            for register in registers:
                self._store_absence(register)


class BatteryPack(RegisterBlock):
    """The registers of a battery pack, there if so many packs are counted."""

    def __init__(
        self,
        name: str,
        unit: ModbusUnit,
        run: Run,
        lives: Callable[[], Awaitable[bool]],
        is_counted: Callable[[int], Awaitable[bool]],
    ) -> None:
        """Describe the pack; nothing is read."""
        super().__init__(name, unit, run, lives)
        self.number = run.pack
        self._is_counted = is_counted

    @override
    def due_again(self) -> tuple[float, str] | None:
        """Return a register to try again; after all others if it is not counted."""
        due = super().due_again()
        count = as_number(self.cache.values.get(PACK_COUNT)) or 0
        if due is None or self.is_present or count >= self.number:
            return due
        return math.inf, due[1]

    @override
    async def _is_there(self) -> bool:
        return await self._is_counted(self.number) and await super()._is_there()
