"""One unit id of a device: its registers, read in the fewest requests, and written.

A driver brings tables of `Register` and a `Layout` (what its device accepts);
`ModbusDevice` turns wanted register names into requests, and words into values. Every
value that is read is kept in the cache; every write goes through here, where writes to
flash are counted by the table, and what must never be written is refused.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
import logging

from ..absence import Refusals
from ..errors import (
    DeviceRefusedError,
    IllegalAddressError,
    NotConfirmedError,
    NotSupportedError,
)
from ..flash import FlashWear
from ..measurements import Value
from ..report import Report
from .cache import RegisterCache
from .planning import Block, Layout, plan_blocks
from .register import Register
from .unit import ModbusUnit

_LOGGER = logging.getLogger(__name__)


class ModbusDevice:
    """One unit id and its registers, read in the fewest requests.

    Registers that the device does not have are detected by halving a refused block,
    once, and are `missing` until `forget`. A refusal may also be a passing one, so
    control does not rely on it: it reads with `ask`, and asks again for those of its
    conditions whose absence is `uncertain`.
    """

    def __init__(
        self, name: str, unit: ModbusUnit, registers: Sequence[Register], layout: Layout
    ) -> None:
        """Describe the device; nothing is read."""
        self.name = name
        self.registers = {register.name: register for register in registers}
        self.missing: set[str] = set()
        self._refusals: dict[str, Refusals] = {}
        """The refusals of each missing register since it was read well."""
        self._read_well: set[str] = set()
        self.words: dict[int, int] = {}
        """The last words seen, by address, as they came."""
        self.wear: FlashWear | None = None
        """The counter of writes to flash."""
        self.cache = RegisterCache()
        """The last value of each register; common to the devices of a battery."""
        self._unit = unit
        self._layout = layout
        self._borders: set[int] = set()

    @property
    def is_present(self) -> bool:
        """Whether the device has any of its registers, as far as known by now."""
        return True

    def forget(self) -> None:
        """Forget which registers are missing: it may run another firmware now."""
        self.missing.clear()
        self._refusals.clear()
        self._read_well.clear()
        self._borders.clear()

    def uncertain(self, names: Collection[str]) -> set[str]:
        """Return those of `names` that are missing, and may be there after all.

        A register that was read well before is there, and one refusal says little.
        """
        return {
            name
            for name in self.missing.intersection(names)
            if name in self._read_well or self._refusals[name].are_uncertain
        }

    async def read(self, names: Collection[str], again: Collection[str] = ()) -> Report:
        """Read the registers called `names`; those that fail are in the report.

        Missing registers are not asked for, unless they are among `again`. Raises
        CannotConnectError, RequestTimeoutError or ProtocolError when the device as a
        whole is out of reach.
        """
        report = Report()
        wanted = []
        for name in names:
            register = self.registers[name]
            if name in self.missing and name not in again:
                report.failures[name] = self._not_there(register)
            elif not register.readable:
                report.failures[name] = NotSupportedError(
                    f"{self.name}: {name} can only be written"
                )
            else:
                wanted.append(register)
        for block in plan_blocks(wanted, self._layout, self._borders):
            part, _ = await self._read_block(block)
            report.add(part)
        return report

    async def ask(self, names: Collection[str]) -> Report:
        """Read registers as `read` does, also those that were missing the last time."""
        return await self.read(names, again=names)

    async def read_register(self, name: str) -> Value:
        """Read one register, also if it was missing the last time.

        Raises what `ModbusUnit` raises, NotSupportedError if it is missing.
        """
        report = await self.ask([name])
        if name in report.failures:
            raise report.failures[name]
        return report.values[name]

    async def read_words(self, addresses: range) -> dict[int, int]:
        """Return consecutive words by address, read with one request."""
        began = asyncio.get_running_loop().time()
        words = await self._unit.read_holding_registers(addresses.start, len(addresses))
        seen = dict(zip(addresses, words, strict=True))
        self.words.update(seen)
        values = {
            register.name: register.decode(
                [seen[address] for address in range(register.address, register.end)],
                low_word_first=self._layout.low_word_first,
            )
            for register in self.registers.values()
            if register.address >= addresses.start and register.end <= addresses.stop
        }
        self.cache.note_read(values, began, asyncio.get_running_loop().time())
        return seen

    async def write(self, name: str, value: Value) -> None:
        """Write one register; more than one word always goes in one request.

        Raises NotSupportedError, InvalidValueError, and what `write_words` raises.
        """
        register = self.registers[name]
        if not register.writable:
            raise NotSupportedError(f"{self.name}: {name} can only be read")
        await self.write_words(
            register.address,
            register.encode(value, low_word_first=self._layout.low_word_first),
        )

    async def write_words(self, address: int, words: Sequence[int]) -> None:
        """Write consecutive words as one request (function 16).

        Raises NotSupportedError for addresses that must never be written, and what
        `ModbusUnit` raises. Counts a write of registers that live in flash.
        """
        end = address + len(words)
        if not self._layout.never_write.isdisjoint(range(address, end)):
            raise NotSupportedError(
                f"{self.name}: address {address} must never be written"
            )
        written = [
            register
            for register in self.registers.values()
            if register.address < end and address < register.end
        ]
        if self.wear is not None and any(each.persistent for each in written):
            self.wear.note()
        _LOGGER.debug("%s: writing %s from address %s", self.name, words, address)
        try:
            await self._unit.write_registers(address, list(words))
        finally:
            now = asyncio.get_running_loop().time()
            self.cache.note_written((each.name for each in written), now)

    async def write_confirmed(self, name: str, value: Value, *, settle: float) -> None:
        """Write one register, and see that the device shows it.

        A register in flash is not written when it has the value already. Raises
        FlashBudgetError before anything is written, NotConfirmedError, and what
        `write` raises.
        """
        register = self.registers[name]
        order = self._layout.low_word_first
        wanted = register.decode(
            register.encode(value, low_word_first=order), low_word_first=order
        )
        if register.persistent:
            if await self.read_register(name) == wanted:
                return
            if self.wear is not None:
                self.wear.check(self.name)
        await self.write(name, value)
        await self.confirm({name: wanted}, settle=settle)

    async def confirm(
        self,
        wanted: Mapping[str, Value],
        *,
        settle: float,
        tries: int = 1,
        besides: Collection[str] = (),
    ) -> Mapping[str, Value]:
        """Read registers until they show what was written; return them and `besides`.

        `settle` is the wait before each of `tries` reads, s. Raises NotConfirmedError
        when the last one still shows something else.
        """

        async def read() -> Mapping[str, Value]:
            report = await self.ask({*wanted, *besides})
            for failure in report.failures.values():
                if isinstance(failure, NotSupportedError):
                    # It was there when it was written.
                    raise NotConfirmedError(
                        f"{failure}, which was just written"
                    ) from failure
                raise failure
            return report.values

        return await self._until_shown(read, wanted, settle, tries)

    async def confirm_words(
        self,
        wanted: Mapping[int, int],
        addresses: range,
        *,
        settle: float,
    ) -> Mapping[int, int]:
        """Read words until those that were written are there; return all of them.

        As `confirm`, by address.
        """
        return await self._until_shown(
            lambda: self.read_words(addresses), wanted, settle, tries=1
        )

    async def _until_shown[K, V](
        self,
        read: Callable[[], Awaitable[Mapping[K, V]]],
        wanted: Mapping[K, V],
        settle: float,
        tries: int,
    ) -> Mapping[K, V]:
        wrong: dict[K, V] = {}
        for _ in range(tries):
            await asyncio.sleep(settle)
            seen = await read()
            wrong = {key: seen[key] for key in wanted if seen[key] != wanted[key]}
            if not wrong:
                return seen
        raise NotConfirmedError(
            f"{self.name}: "
            + ", ".join(
                f"{key} is still {value} after writing {wanted[key]}"
                for key, value in wrong.items()
            )
        )

    async def _read_block(self, block: Block) -> tuple[Report, bool]:
        """Return a block's values and failures, and True if one request read them."""
        began = asyncio.get_running_loop().time()
        try:
            words = await self._unit.read_holding_registers(block.address, block.count)
        except IllegalAddressError:
            return await self._halve(block), False
        except DeviceRefusedError as err:
            names = (register.name for register in block.registers)
            return Report(failures=dict.fromkeys(names, err)), False
        self.words.update(enumerate(words, block.address))
        values = {
            register.name: register.decode(
                block.words_of(register, words),
                low_word_first=self._layout.low_word_first,
            )
            for register in block.registers
        }
        self.cache.note_read(values, began, asyncio.get_running_loop().time())
        for name in self.missing.intersection(values):
            self.missing.remove(name)
            del self._refusals[name]
        self._read_well.update(values)
        return Report(values), True

    def _note_missing(self, registers: Collection[Register]) -> Report:
        """Note registers as missing; return a failure for each."""
        for register in registers:
            self.missing.add(register.name)
            self._refusals.setdefault(register.name, Refusals()).note()
            _LOGGER.debug(
                "%s: no register %s (%s)", self.name, register.address, register.name
            )
        return Report(failures={each.name: self._not_there(each) for each in registers})

    async def _halve(self, block: Block) -> Report:
        """Read the halves of a refused block, noting the registers that are missing."""
        if len(block.registers) == 1:
            return self._note_missing(block.registers)
        first, second = block.halves()
        report, is_first_whole = await self._read_block(first)
        other, is_second_whole = await self._read_block(second)
        report.add(other)
        if is_first_whole and is_second_whole:
            # Nothing is missing in either half, so it was the gap between them.
            self._borders.add(second.address)
        # A block across a missing register would be refused again.
        self._borders.update(
            register.end
            for register in block.registers
            if register.name in self.missing
        )
        return report

    def _not_there(self, register: Register) -> NotSupportedError:
        return NotSupportedError(
            f"{self.name} has no register {register.address} ({register.name})"
        )
