"""One unit id of a device: its registers, read in the fewest requests, and written.

A driver brings tables of `Register` and a `Layout` (what its device accepts);
`ModbusDevice` turns wanted register names into requests, and words into values. Every
value that is read is kept in the cache; every write goes through here, where writes to
flash are counted by the table, and what must never be written is refused.
"""

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from dataclasses import replace
from functools import partial
from itertools import pairwise
import logging
from typing import Final, NamedTuple

from ..absence import BackOff, Refusals
from ..errors import (
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    IllegalAddressError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    StartingError,
    UnitAbsentError,
)
from ..flash import FlashWear
from ..kept import Kept
from ..measurements import Poll, Value
from ..report import Report
from .cache import RegisterCache
from .learned import Learned
from .planning import Block, Layout, plan_blocks
from .register import Register
from .silence import Silence
from .trial import is_provable, is_proven
from .unit import ModbusUnit, on_trial

_LOGGER = logging.getLogger(__name__)

_SILENCE: Final = (RequestTimeoutError, ProtocolError)
"""Failures of a register that gets no answer, or none that makes sense."""
_REFUSED: Final = (IllegalAddressError, NotSupportedError)
"""Failures of a register that is refused, whether it is missing or not."""
_NOT_ACROSS: Final = (*_SILENCE, CannotConnectError, DeviceRefusedError)
"""Failures of a wider read after which it is never tried again."""
_PASSING: Final = (
    StartingError,
    UnitAbsentError,
    DeviceBusyError,
    DeviceFailureError,
)
"""Those of them that prove nothing."""
_STEADY_TRIES: Final = 4
"""Reads within which two in a row must agree."""
_TRIES: Final = 3
"""Number of time-outs, from the second in a row on, that cause no pause yet."""


class _Facts(NamedTuple):
    """All that a plan of reads depends on: registers by name, addresses."""

    wanted: frozenset[str]
    silent: frozenset[str]
    """Those that got no answer last."""
    tried: frozenset[str]
    """Those of them that go on hanging: one is tried for all."""
    borders: frozenset[int]
    cuts: frozenset[int]
    reads: tuple[tuple[int, ...], ...] | None
    """The reads that are learned; None for one as if nothing was."""


class ModbusDevice:
    """One unit id and its registers, read in the fewest requests.

    A register that was never read well and is refused is `missing`, found by halving a
    refused block. One that was read well is there: it fails for now. Of a block that
    hung twice one register is tried alone; if that answers, the parts of the block are
    read from then on. What fails on is asked for by polls after a pause only, which
    grows from one to ten minutes. Control does not rely on any of that: it reads with
    `ask`, and asks again for those of its conditions whose absence is `uncertain`.

    What it learns lasts over restarts: blocks that may be read in one request, though
    the layout is cautious, and registers that were refused over two connections, which
    polls ask for once a day.
    """

    def __init__(
        self, name: str, unit: ModbusUnit, registers: Sequence[Register], layout: Layout
    ) -> None:
        """Describe the device; nothing is read."""
        self.name = name
        self.registers = {register.name: register for register in registers}
        self.names = frozenset(self.registers)
        """The names of all its registers."""
        self.constant = frozenset(
            each.name for each in registers if each.poll is Poll.ONCE
        )
        """The names of those that never change, and are read once."""
        self._write_only = {each.name for each in registers if not each.readable}
        self.missing: set[str] = set()
        """Registers that were refused, and never read well."""
        self._refusals: dict[str, Refusals] = {}
        """The refusals of each missing register."""
        self._last_failures: dict[str, BatteryError] = {}
        """The failure of each register whose last read failed while others did not."""
        self._pauses: dict[str, BackOff] = {}
        """The pauses of missing registers, and of those that failed twice in a row."""
        self._tried_alone = 0
        """Number of single registers tried to see whether all are refused, or hang."""
        self.words: dict[int, int] = {}
        """The last words seen, by address, as they came. What is in it is there."""
        self.wear: FlashWear | None = None
        """The counter of writes to flash."""
        self.cache = RegisterCache()
        """The last value of each register; common to the devices of a battery."""
        self._unit = unit
        self._layout = layout
        self._borders: set[int] = set()
        """Addresses that no request may cross, as refusals have shown."""
        self._cuts: set[int] = set()
        """The same of blocks that gave no answer; a new connection says nothing new."""
        self._rejoin = BackOff()
        """The pause until parts that answer are read in one request again."""
        self._plans = Kept(self._make_plan)
        """Plans by all that they depend on."""
        self._learned = Learned()
        """The lessons of this connection and earlier ones."""
        self._counted: set[int] = set()
        """The registers whose refusal was counted on this connection."""
        self._essential: set[str] = set()
        """The registers whose absence is not stored, besides writable ones."""
        self._wide_lost: set[range] = set()
        """The wide blocks that got no answer the last time."""
        self._asked: frozenset[str] = frozenset()
        """The registers that the last read asked for."""

    @property
    def is_present(self) -> bool:
        """Whether the device has any of its registers, as far as known by now."""
        return True

    @property
    def silent(self) -> set[str]:
        """The registers whose last read got no answer."""
        return _silent_in(self._last_failures) if self._last_failures else set()

    def forget(self) -> None:
        """Forget which registers are missing: it may run another firmware now."""
        for name in self.missing:
            self._pauses.pop(name, None)
            self._last_failures.pop(name, None)
        self.missing.clear()
        self._refusals.clear()
        self._borders.clear()
        self._counted.clear()

    @property
    def is_failing(self) -> bool:
        """Whether a register that is there failed in the last read."""
        return not self._asked.isdisjoint(self._last_failures.keys() - self.missing)

    def recall(self, learned: Learned, essential: Collection[str]) -> None:
        """Use what was learned over earlier connections, and go on learning there.

        The absence of `essential` registers is neither stored nor taken for granted,
        nor that of those that were read well meanwhile.
        """
        self._learned = learned
        self.note_essential(essential)
        for register in self.registers.values():
            if self._was_read(register):
                learned.absences.pop(register.address, None)
            elif self._is_storable(register):
                if rest := learned.rest_of(register.address):
                    self._take_for_missing(register).rest(rest)

    def note_essential(self, names: Collection[str]) -> None:
        """Note registers that control needs: their absence is not stored from now on."""
        for name in (self.registers.keys() & set(names)) - self._essential:
            self._essential.add(name)
            self._learned.absences.pop(self.registers[name].address, None)

    def _is_storable(self, register: Register) -> bool:
        """Return whether the absence of a register may be stored."""
        return not register.writable and register.name not in self._essential

    def _take_for_missing(self, register: Register) -> BackOff:
        """Note a register as missing; return the pause until it is asked for again."""
        self.missing.add(register.name)
        self._refusals.setdefault(register.name, Refusals())
        self._last_failures[register.name] = NotSupportedError(
            f"{self.name} has no register {register.address} ({register.name})"
        )
        return self._pauses.setdefault(register.name, BackOff())

    def _store_absence(self, register: Register) -> float:
        """Note that a register was refused; return the seconds until it is asked again.

        0 while it is not stored as missing.
        """
        address = register.address
        if not self._is_storable(register):
            return 0.0
        if self._learned.note_refused(address, anew=address not in self._counted):
            self._counted.add(address)
        return self._learned.rest_of(address)

    def uncertain(self, names: Collection[str]) -> set[str]:
        """Return those of `names` that are not polled now, and may be there after all.

        A register that was read well before is there, and one refusal says little. One
        that gets no answer waits for the end of its pause: each try costs a time-out.
        """
        return {
            name
            for name in self._pauses.keys() & set(names)
            if (
                self._refusals[name].are_uncertain
                if name in self.missing
                else isinstance(self._last_failures[name], _REFUSED)
            )
        }

    def due_again(self) -> tuple[float, str] | None:
        """Return the missing register whose pause ended first, after the time of that, s.

        None while all pause. No more than one, so that a poll costs one request more at
        most.
        """
        due = (
            (pause.until, name)
            for name, pause in self._pauses.items()
            if name in self.missing and pause.is_over
        )
        return min(due, default=None)

    async def read(
        self,
        names: Collection[str],
        again: Collection[str] = (),
        silence: Silence | None = None,
        *,
        widely: bool = False,
    ) -> Report:
        """Read the registers called `names`; those that fail are in the report.

        Registers that are missing, or whose pause is not over, are not asked for,
        unless they are among `again`. `silence` is that of a read of several devices;
        `widely`: also in requests that are only accepted as far as was learned.
        Raises CannotConnectError, RequestTimeoutError or ProtocolError when the device
        as a whole is out of reach, StartingError when it has just started.
        """
        whole = Silence() if silence is None else silence
        wanted = frozenset(names)
        failures = self._not_asked(wanted, again)
        if failures:
            wanted = wanted.difference(failures)
        self._asked = wanted
        report = await self._read_blocks(wanted, whole, widely=widely)
        report.failures |= failures
        if silence is None:
            whole.conclude()
        return report

    def _not_asked(
        self, names: frozenset[str], again: Collection[str]
    ) -> dict[str, BatteryError]:
        """Return the failures of those of `names` that are not asked for now."""
        failures = {
            name: self._last_failures[name]
            for name in names.intersection((*self.missing, *self._pauses))
            if name not in again and self._is_paused(name)
        }
        for name in names & self._write_only:
            failures[name] = NotSupportedError(
                f"{self.name}: {name} can only be written"
            )
        return failures

    def _is_paused(self, name: str) -> bool:
        """Return True for a register that polls do not ask for now."""
        if name in self.missing:
            return True
        pause = self._pauses.get(name)
        return pause is not None and not pause.is_over

    async def ask(self, names: Collection[str]) -> Report:
        """Read registers as `read` does, also those that were missing the last time.

        This is for control, which relies on nothing that was learned.
        """
        self.note_essential(names)
        return await self.read(names, again=names)

    async def read_register(self, name: str) -> Value:
        """Read one register, also if it was missing the last time.

        Raises what `ModbusUnit` raises, NotSupportedError if it is missing.
        """
        report = await self.ask([name])
        if name in report.failures:
            raise report.failures[name]
        return report.values[name]

    async def read_words(
        self, addresses: range, *neighbours: ModbusDevice
    ) -> dict[int, int]:
        """Return consecutive words by address, read with one request.

        Those of `neighbours`, whose registers lie beside its own, count as read by them.
        """
        began = asyncio.get_running_loop().time()
        words = await self._unit.read_holding_registers(addresses.start, len(addresses))
        seen = dict(zip(addresses, words, strict=True))
        for device in (self, *neighbours):
            device.note_words(seen, began)
        return seen

    def note_words(self, seen: Mapping[int, int], began: float) -> None:
        """Keep those words that are its own, of a request that was sent at `began`."""
        values: dict[str, Value] = {}
        for register in self.registers.values():
            own = range(register.address, register.end)
            if seen.keys() >= set(own):
                words = [seen[address] for address in own]
                self.words.update(zip(own, words, strict=True))
                values[register.name] = register.decode(
                    words, low_word_first=self._layout.low_word_first
                )
        self.cache.note_read(values, began, asyncio.get_running_loop().time())

    def addresses(self, names: Collection[str]) -> list[int]:
        """Return the addresses of all words of registers."""
        registers = [self.registers[name] for name in names]
        return [each for row in registers for each in range(row.address, row.end)]

    async def read_steady(self, name: str) -> Value:
        """Read one register as `read_register` does, and as `steady` says."""
        return await self.steady(
            lambda: self.read_register(name), self.addresses([name])
        )

    async def steady[T](
        self, read: Callable[[], Awaitable[T]], addresses: Collection[int]
    ) -> T:
        """Return the result of a read whose words agree with those of the read before.

        One answer may be damaged. An earlier read of `addresses`, also by a poll, counts:
        there is a second request only where they were not read yet, or differ.
        Raises ProtocolError when reads go on to differ, and what `read` raises.
        """
        for _ in range(_STEADY_TRIES):
            before = {address: self.words.get(address) for address in addresses}
            result = await read()
            after = {address: self.words.get(address) for address in addresses}
            if after == before:
                return result
        raise ProtocolError(
            f"{self.name}: each read shows other settings, so none counts; try "
            "again later"
        )

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
                if isinstance(failure, _REFUSED):
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
        tries: int = 1,
    ) -> Mapping[int, int]:
        """Read words until those that were written are there; return all of them.

        As `confirm`, by address.
        """
        return await self._until_shown(
            lambda: self.read_words(addresses), wanted, settle, tries
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

    def next_trial(self, *, live: bool) -> tuple[Block, Block] | None:
        """Return two blocks of the last read that one request may read; None for none.

        If `live`, of the plan for live values alone.
        """
        wanted = frozenset(
            name
            for name in self._asked
            if self.registers[name].poll is Poll.FAST or not live
        )
        pairs = pairwise(self._plan(wanted, widely=True))
        return min(
            (pair for pair in pairs if self._may_try(*pair)),
            key=lambda pair: self._learned.trials_of(pair[1].address),
            default=None,
        )

    def _may_try(self, first: Block, second: Block) -> bool:
        """Return whether no fact forbids to read two blocks in one request.

        And whether an answer would prove anything: zeros would not.
        """
        borders = self._layout.borders | self._borders | self._cuts
        return (
            first.address < second.address
            and second.end - first.address <= self._layout.max_words
            and borders.isdisjoint(range(first.address + 1, second.address + 1))
            and not self._learned.forbids(first.span, second.span)
            and self._was_read(first)
            and self._was_read(second)
            and is_provable(self._plan(second.names), self.words, self._layout)
        )

    async def attempt(self, first: Block, second: Block) -> None:
        """Read two blocks, which have just been read, in one request, and learn from it.

        After a refusal or silence no request may run across both. The words of an answer
        are not used. Raises no BatteryError.
        """
        span = range(first.address, second.end)
        try:
            with on_trial():
                words = await self._unit.read_holding_registers(span.start, len(span))
        except BatteryError as err:
            _LOGGER.debug("%s: not read across %s: %s", self.name, first.end, err)
            if isinstance(err, _NOT_ACROSS) and not isinstance(err, _PASSING):
                self._learned.add_gap(first.span, second.span)
            else:
                self._learned.note_unproven(second.address)
            return
        seconds = self._plan(second.names)
        if is_proven(first, seconds, self.words, words, self._layout):
            self._learned.note_proven(first.addresses, second.addresses)
        else:
            self._learned.note_unproven(second.address)

    async def _read_blocks(
        self, wanted: frozenset[str], silence: Silence, *, widely: bool = False
    ) -> Report:
        """Read registers in the fewest requests."""
        report = Report()
        refused: list[tuple[Block, IllegalAddressError]] = []
        for block in self._plan(wanted, widely=widely):
            read = self._read_wide if block.is_wide else self._read_block
            try:
                report.add(await read(block, silence))
            except IllegalAddressError as err:
                refused.append((block, err))
        blocks = [block for block, _ in refused]
        is_ill = not report.values and await self._refuses_all(blocks, silence)
        for block, refusal in refused:
            report.add(
                _failures(block.registers, refusal)
                if is_ill
                else await self._examine(block, refusal, silence)
            )
        return report

    async def _read_wide(self, block: Block, silence: Silence) -> Report:
        """Return the values or failures of a block that is one request as was learned.

        Where that fails, and its parts do not, it is forgotten; but where it only got
        no answer, the second time in a row.
        """
        try:
            report = await self._request(block, silence)
        except IllegalAddressError as err:
            report = _failures(block.registers, err)
        except CannotConnectError:
            # Maybe because of this very request.
            self._learned.drop_reads(block.addresses)
            raise
        if report.values:
            self._wide_lost.discard(block.span)
            return report
        is_lost = block.names <= _silent_in(report.failures)
        report = await self._read_blocks(block.names, silence)
        if report.values:
            self._note_not_wide(block, is_lost=is_lost)
        return report

    def _note_not_wide(self, block: Block, *, is_lost: bool) -> None:
        """Note that the parts of a wide block were read, and the whole was not.

        Answers get lost: if that `is_lost`, once is no reason to forget the block.
        """
        if is_lost and block.span not in self._wide_lost:
            self._wide_lost.add(block.span)
            return
        self._wide_lost.discard(block.span)
        self._learned.drop_reads(block.addresses)
        for _, second in pairwise(self._plan(block.names)):
            self._learned.note_unproven(second.address)

    def _plan(self, wanted: frozenset[str], *, widely: bool = False) -> Sequence[Block]:
        """Return the fewest blocks, those that got no answer last.

        A read ends after a few time-outs: what answers comes before that. The plan is
        made anew when something has changed, not for each poll.
        """
        silent = self.silent
        if self._cuts and self._rejoin.is_over:
            self._cuts &= {
                edge
                for name in silent
                for edge in (self.registers[name].address, self.registers[name].end)
            }
        facts = _Facts(
            wanted,
            silent=frozenset(silent),
            tried=frozenset(silent & self._pauses.keys()),
            borders=frozenset(self._borders),
            cuts=frozenset(self._cuts),
            reads=tuple(self._learned.reads) if widely else None,
        )
        return self._plans[facts]

    def _make_plan(self, facts: _Facts) -> tuple[Block, ...]:
        """Return the blocks of `_plan`."""
        wanted, silent, tried = facts.wanted, facts.silent, facts.tried
        split = facts.borders | facts.cuts
        learned = None if facts.reads is None else self._learned

        def rows(names: AbstractSet[str]) -> list[Register]:
            return [self.registers[name] for name in wanted & names]

        def as_learned(block: Block) -> Block:
            usual = plan_blocks(block.registers, self._layout, split)
            return replace(block, is_wide=len(usual) > 1)

        answered = rows(wanted - silent)
        blocks = plan_blocks(answered, self._layout, split, learned)
        return (
            *(blocks if learned is None else map(as_learned, blocks)),
            *plan_blocks(rows(silent - tried), self._layout, split),
            # Of those that go on hanging one is tried for all of them.
            *plan_blocks(rows(tried), self._layout, facts.borders),
        )

    async def _read_block(self, block: Block, silence: Silence) -> Report:
        """Return a block's values or failures; raises IllegalAddressError.

        Answers get lost. Of a block that goes on hanging the parts are read, at once if
        live values are in it.
        """
        if len(block.parts) == 1:
            return await self._request(block, silence)
        was_silent = block.names <= self.silent
        if not (was_silent and block.names <= self._pauses.keys()):
            report = await self._request(block, silence)
            if not block.names <= _silent_in(report.failures) or not block.is_live:
                return report
            if not was_silent and self._was_read(block):
                return report
        return await self._read_parts(block, silence)

    async def _read_parts(self, block: Block, silence: Silence) -> Report:
        """Try one register of a block that hangs, and if it answers read the parts.

        Another register each time; as long as none answers they hang all.
        """
        first, middle, last = 0, len(block.registers) // 2, -1
        register = block.registers[(first, last, middle)[self._tried_alone % 3]]
        self._tried_alone += 1
        report = await self._request(Block((register,)), silence, block)
        if register.name not in report.values:
            return report
        self._cuts.update(*((part.address, part.end) for part in block.parts))
        self._rejoin.note()
        for name in block.names:
            self._pauses.pop(name, None)
        report.add(await self._read_blocks(block.names - {register.name}, silence))
        return report

    async def _request(
        self, block: Block, silence: Silence, whole: Block | None = None
    ) -> Report:
        """Return a block's values or failures; raises IllegalAddressError.

        If it gets no answer, that is taken for one of the `whole`.
        """
        failing = whole or block
        if silence.is_over:
            return _failures(failing.registers, silence.error)
        began = asyncio.get_running_loop().time()
        try:
            words = await self._unit.read_holding_registers(block.address, block.count)
        except StartingError:
            # Nothing that it answers now is a value.
            raise
        except DeviceRefusedError as err:
            silence.answered = True
            if isinstance(err, IllegalAddressError):
                raise
            return _failures(failing.registers, err)
        except _SILENCE as err:
            silence.note(err, partial(self._note_silent, failing, err, began))
            return _failures(failing.registers, err)
        silence.answered = True
        self.words.update(enumerate(words, block.address))
        values = {
            register.name: register.decode(
                words[place], low_word_first=self._layout.low_word_first
            )
            for register, place in block.places
        }
        self.cache.note_read(values, began, asyncio.get_running_loop().time())
        self._note_read_well(values)
        return Report(values)

    def _was_read(self, part: Register | Block) -> bool:
        """Return True if all of a register or block was read well, at any time."""
        return all(each in self.words for each in range(part.address, part.end))

    def _note_read_well(self, names: Collection[str]) -> None:
        """Note registers as there; a missing one makes all missing ones doubtful."""
        if not self.missing.isdisjoint(names):
            # They were refused at a time when one that is there was refused, too.
            self.forget()
            self._learned.absences.clear()
        for name in names if self._learned.absences else ():
            self._learned.absences.pop(self.registers[name].address, None)
        for name in self._last_failures.keys() & set(names):
            del self._last_failures[name]
            self._pauses.pop(name, None)
            # Borders around it cost a request each; they are learned again if need be.
            register = self.registers[name]
            self._borders -= {register.address, register.end}

    def _note_failed(self, registers: Collection[Register], err: BatteryError) -> None:
        """Note that registers failed while others did not; pause from the second time.

        Once is no reason: answers get lost.
        """
        for register in registers:
            if register.name in self._last_failures:
                self._pauses.setdefault(register.name, BackOff()).note()
            if register.name not in self.missing:
                self._last_failures[register.name] = err

    def _note_silent(self, block: Block, err: BatteryError, began: float) -> None:
        """Note that a request sent at `began`, s, got no answer while others did.

        From the second time in a row on its registers are tried before it pauses.
        """
        now = asyncio.get_running_loop().time()
        names = self.cache.older_than(now - began, block.names, now)
        if len(block.registers) > 1:
            for name in names & self.silent:
                self._pauses.setdefault(name, BackOff(free=_TRIES))
        self._note_failed([self.registers[name] for name in names], err)

    async def _refuses_all(self, blocks: Collection[Block], silence: Silence) -> bool:
        """Return True if registers that were read well are refused, too, each by itself.

        Then the device is ill, and nothing is to be learned from its refusals. One
        register is tried, another one each time.
        """
        known = [
            (block, register)
            for block in blocks
            for register in block.registers
            if self._was_read(register)
        ]
        if not known:
            return False
        inside = [register for block, register in known if len(block.registers) > 1]
        if not inside:
            return True
        self._tried_alone += 1
        alone = Block((inside[self._tried_alone % len(inside)],))
        try:
            return not (await self._request(alone, silence)).values
        except IllegalAddressError:
            return True

    async def _examine(
        self, block: Block, err: IllegalAddressError, silence: Silence
    ) -> Report:
        """Return the failures of a refused block, or what can be read of it.

        All of it was there when it was read well, so it only fails the first time.
        """
        names = {register.name for register in block.registers}
        if self._was_read(block) and names.isdisjoint(self._last_failures):
            self._note_failed(block.registers, err)
            return _failures(block.registers, err)
        return await self._halve(block, err, silence)

    async def _halve(
        self, block: Block, err: IllegalAddressError, silence: Silence
    ) -> Report:
        """Read the halves of a refused block, noting the registers that are missing."""
        if len(block.registers) == 1:
            return self._note_refused(block.registers, err)
        report = Report()
        first, second = block.halves()
        is_whole = True
        for half in (first, second):
            try:
                report.add(await self._request(half, silence))
            except IllegalAddressError as refusal:
                is_whole = False
                report.add(await self._halve(half, refusal, silence))
        if is_whole and not report.failures:
            # Nothing is missing in either half, so it was the gap between them.
            self._borders.add(second.address)
        # A block across a register that is refused would be refused again.
        for register in block.registers:
            if isinstance(self._last_failures.get(register.name), _REFUSED):
                self._borders |= {register.address, register.end}
        return report

    def _note_refused(
        self, registers: Collection[Register], err: IllegalAddressError
    ) -> Report:
        """Note registers that are refused by themselves; return a failure for each."""
        for register in registers:
            if self._was_read(register):
                self._note_failed([register], err)
                continue
            pause = self._take_for_missing(register)
            self._refusals[register.name].note()
            pause.note()
            if rest := self._store_absence(register):
                pause.rest(rest)
            _LOGGER.debug("%s", self._last_failures[register.name])
        return Report(
            failures={each.name: self._last_failures[each.name] for each in registers}
        )


def _silent_in(failures: Mapping[str, BatteryError]) -> set[str]:
    """Return the registers that got no answer."""
    return {name for name, err in failures.items() if isinstance(err, _SILENCE)}


def _failures(registers: Collection[Register], err: BatteryError) -> Report:
    """Return that registers failed for one reason."""
    return Report(failures={register.name: err for register in registers})
