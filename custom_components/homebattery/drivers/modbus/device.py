"""Modbus: registers as data, the fewest reads for them, and a shared connection.

Nothing here knows a vendor. A driver brings tables of `Register` and a `Layout`
(what reads its device accepts); `ModbusDevice` turns wanted register names into
requests and words into values. `ModbusTcpConnection` is the transport over
pymodbus; anything else that offers the two methods of `ModbusUnit` will do too.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
import logging
import math
import struct
from typing import ClassVar, Final, Protocol, override

from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU

from .connection import SharedConnection, resolve
from .errors import (
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    DeviceBusyError,
    DeviceRefusedError,
    IllegalAddressError,
    InvalidValueError,
    NotSupportedError,
    PermissionDeniedError,
    ProtocolError,
    RequestTimeoutError,
    UnitAbsentError,
    UnknownHostError,
)
from .flash import FlashWear
from .modbus_log import quiet_pymodbus

_LOGGER = logging.getLogger(__name__)

type Value = float | int | str | bool | tuple[str, ...] | None
"""What a register or a measurement can be; None is 'the device does not know'."""

WORD: Final = 0xFFFF
CERTAIN_REFUSALS: Final = 2
"""So many refusals in a row, and something is not there."""
ASK_AGAIN: Final = 600.0
"""Seconds after which that, too, is doubtful again."""


class AccessType(StrEnum):
    """What a register lets us do."""

    READ = "r"
    WRITE = "w"
    READ_WRITE = "rw"


class DataType(Enum):
    """How words make a value: (words, signed). A string's length is its register's."""

    INT16 = (1, True)
    UINT16 = (1, False)
    INT32 = (2, True)
    UINT32 = (2, False)
    INT64 = (4, True)
    UINT64 = (4, False)
    STRING = (0, False)

    @property
    def words(self) -> int:
        """Number of 16-bit words; 0 for a string."""
        return self.value[0]

    @property
    def signed(self) -> bool:
        """True when the highest bit is a sign (two's complement)."""
        return self.value[1]


class Poll(IntEnum):
    """How often a register is worth reading."""

    FAST = 0
    """Live values: power, SOC."""
    SLOW = 1
    """Settings, limits, counters, alarms."""
    ONCE = 2
    """Identity: does not change while connected."""


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a device's table; value = raw ÷ gain.

    A gain below 1 is a coarse step (0.1: the register counts tens), a negative
    gain turns the sign. `sentinels` are raw values that mean 'not available'.
    `persistent` registers live in flash: they wear, and are written on change
    only. `enum` names the codes of a status register.
    """

    address: int
    name: str
    data_type: DataType = DataType.UINT16
    gain: float = 1
    unit: str | None = None
    access_type: AccessType = AccessType.READ
    poll: Poll = field(default=Poll.FAST, kw_only=True)
    persistent: bool = field(default=False, kw_only=True)
    sentinels: tuple[int, ...] = field(default=(), kw_only=True)
    enum: Mapping[int, str] | None = field(default=None, kw_only=True)
    length: int = field(default=0, kw_only=True)
    """Words of a string; 0 for numbers, whose type says it."""

    @property
    def count(self) -> int:
        """Number of words the register takes."""
        return self.data_type.words or self.length

    @property
    def end(self) -> int:
        """The first address behind the register."""
        return self.address + self.count

    @property
    def readable(self) -> bool:
        """True when the register can be read."""
        return self.access_type is not AccessType.WRITE

    @property
    def writable(self) -> bool:
        """True when the register can be written."""
        return self.access_type is not AccessType.READ

    def decode(self, words: Sequence[int], *, low_word_first: bool = False) -> Value:
        """Return the value that `words` (of this register alone) stand for.

        None for a sentinel, and for a code that the enum does not name.
        """
        if self.data_type is DataType.STRING:
            return _decode_string(words)
        raw = 0
        for word in reversed(words) if low_word_first else words:
            raw = raw << 16 | word
        if raw in self.sentinels:
            return None
        if self.data_type.signed and raw >> (16 * self.count - 1):
            raw -= 1 << 16 * self.count
        if self.enum is not None:
            return self.enum.get(raw)
        return _divide(raw, self.gain)

    def encode(self, value: Value, *, low_word_first: bool = False) -> list[int]:
        """Return the words that stand for `value`, rounded to the register's step.

        An option is given by name, 'not available' or 'no limit' as None. Raises
        InvalidValueError when the register cannot hold it.
        """
        raw = self._raw(value)
        bits = 16 * self.count
        words = [raw >> shift & WORD for shift in range(bits - 16, -1, -16)]
        return words[::-1] if low_word_first else words

    def _raw(self, value: Value) -> int:
        """Return the number that the register holds for `value`."""
        if value is None and self.sentinels:
            return self.sentinels[0]
        if isinstance(value, str):
            return self._code_of(value)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidValueError(f"{self.name} cannot be {value}")
        raw = round(_multiply(value, self.gain))
        bits = 16 * self.count
        lowest = -(1 << bits - 1) if self.data_type.signed else 0
        highest = (1 << bits - 1 if self.data_type.signed else 1 << bits) - 1
        if not lowest <= raw <= highest:
            ends = sorted(_divide(end, self.gain) for end in (lowest, highest))
            raise InvalidValueError(
                f"{self.name} cannot be {value}: register {self.address} holds "
                f"{ends[0]:.12g} to {ends[1]:.12g} {self.unit or ''}".rstrip()
            )
        return raw

    def _code_of(self, option: str) -> int:
        """Return the code that the enum names `option`."""
        for code, name in (self.enum or {}).items():
            if name == option:
                return code
        raise InvalidValueError(f"{self.name} has no option {option}")


def _decode_string(words: Sequence[int]) -> str | None:
    """Return the text in `words`, two Latin-1 characters a word, ended by a NUL."""
    text = b"".join(word.to_bytes(2) for word in words)
    return text.split(b"\0")[0].decode("latin-1").strip() or None


def _divide(raw: int, gain: float) -> float:
    """Return raw ÷ gain, exact for coarse gains (3 ÷ 0.1 would be 29.99…)."""
    if abs(gain) == 1:
        return raw * int(gain)
    return raw / gain if abs(gain) >= 1 else raw * round(1 / gain)


def _multiply(value: float, gain: float) -> float:
    """Return value × gain, the inverse of `_divide`."""
    return value * gain if abs(gain) >= 1 else value / round(1 / gain)


@dataclass(frozen=True, slots=True)
class Layout:
    """What reads a device accepts.

    `borders` are addresses that must begin a block: no read may run across one.
    `max_gap` is how many unwanted words between two wanted registers cost less
    than a request of their own.
    """

    max_words: int = 125
    max_gap: int = 16
    borders: frozenset[int] = frozenset()
    low_word_first: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Registers that are read in one request, by rising address."""

    registers: tuple[Register, ...]

    @property
    def address(self) -> int:
        """The first address of the block."""
        return self.registers[0].address

    @property
    def count(self) -> int:
        """Number of words, unwanted ones in between included."""
        return max(register.end for register in self.registers) - self.address

    def words_of(self, register: Register, words: Sequence[int]) -> Sequence[int]:
        """Return the part of the block's `words` that belongs to `register`."""
        start = register.address - self.address
        return words[start : start + register.count]

    def halves(self) -> tuple[Block, Block]:
        """Split at the widest gap, or in the middle where there is none.

        The widest gap first, because that is where a device is most likely to
        have nothing.
        """
        pairs = zip(self.registers, self.registers[1:], strict=False)
        gaps = [right.address - left.end for left, right in pairs]
        cut = gaps.index(max(gaps)) + 1 if max(gaps) > 0 else len(self.registers) // 2
        return Block(self.registers[:cut]), Block(self.registers[cut:])


def plan_blocks(
    registers: Collection[Register],
    layout: Layout,
    learned_borders: Collection[int] = (),
) -> list[Block]:
    """Return the fewest blocks that read all `registers` within `layout`."""
    borders = sorted(layout.borders.union(learned_borders))
    blocks: list[Block] = []
    current: list[Register] = []
    end = section = 0
    for register in sorted(registers, key=lambda register: register.address):
        if current and not (
            register.address - end <= layout.max_gap
            and max(end, register.end) - current[0].address <= layout.max_words
            and bisect_right(borders, register.address) == section
        ):
            blocks.append(Block(tuple(current)))
            current, end = [], 0
        if not current:
            # The number of borders up to it tells which section it lies in.
            section = bisect_right(borders, register.address)
        current.append(register)
        end = max(end, register.end)
    if current:
        blocks.append(Block(tuple(current)))
    return blocks


class ModbusUnit(Protocol):
    """One unit id of a Modbus device, whatever carries the requests.

    Each call is one request. Raises CannotConnectError, RequestTimeoutError,
    ProtocolError, or DeviceRefusedError and its kinds.
    """

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read `count` words from `address` with function 3."""

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write consecutive words with function 16."""


@dataclass
class RegisterReport:
    """What one read of a device gave: values by register name, and failures."""

    values: dict[str, Value] = field(default_factory=dict)
    failures: dict[str, BatteryError] = field(default_factory=dict)


class Refusals:
    """How often in a row something was refused, and when the last time."""

    def __init__(self) -> None:
        """Begin without any."""
        self._count = 0
        self._last = 0.0

    def note(self) -> None:
        """Note another one."""
        self._count += 1
        self._last = asyncio.get_running_loop().time()

    @property
    def are_doubtful(self) -> bool:
        """Whether what was refused may be there after all."""
        age = asyncio.get_running_loop().time() - self._last
        return self._count < CERTAIN_REFUSALS or age >= ASK_AGAIN


class ModbusDevice:
    """One unit id and its registers, read in the fewest requests.

    What the device turns out not to have is found by halving a refused block,
    once, and remembered until `forget`. A refusal may also be a passing one, so
    nothing that holds or releases a battery goes by it: that is read with `ask`, and
    what it depends on is asked for again where that is `doubtful`.
    """

    def __init__(
        self, name: str, unit: ModbusUnit, registers: Sequence[Register], layout: Layout
    ) -> None:
        """Describe the device; nothing is read."""
        self.name = name
        self.registers = {register.name: register for register in registers}
        self.missing: set[str] = set()
        self._refusals: dict[str, Refusals] = {}
        """Of what is missing, since it was read well."""
        self._read_well: set[str] = set()
        self.words: dict[int, int] = {}
        """The last words seen, by address, as they came."""
        self.wear: FlashWear | None = None
        """Where writes to flash are counted."""
        self._unit = unit
        self._layout = layout
        self._borders: set[int] = set()

    def forget(self) -> None:
        """Learn anew what the device has: it may run another firmware now."""
        self.missing.clear()
        self._refusals.clear()
        self._read_well.clear()
        self._borders.clear()

    def doubtful(self, names: Collection[str]) -> set[str]:
        """Return those that are missing, and may be there after all.

        What was read well before is there, and one refusal says little.
        """
        return {
            name
            for name in self.missing.intersection(names)
            if name in self._read_well or self._refusals[name].are_doubtful
        }

    async def read(
        self, names: Collection[str], again: Collection[str] = ()
    ) -> RegisterReport:
        """Read the registers called `names`; those that fail are in the report.

        What is missing is not asked for, unless it is among `again`.
        Raises CannotConnectError, RequestTimeoutError or ProtocolError when the
        device as a whole is out of reach.
        """
        report = RegisterReport()
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
            await self._read_block(block, report)
        return report

    async def ask(self, names: Collection[str]) -> RegisterReport:
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

    async def write(self, name: str, value: Value) -> None:
        """Write one register; more than one word always goes in one request."""
        register = self.registers[name]
        if not register.writable:
            raise NotSupportedError(f"{self.name}: {name} can only be read")
        await self.write_words(
            register.address,
            register.encode(value, low_word_first=self._layout.low_word_first),
        )

    async def write_words(self, address: int, words: list[int]) -> None:
        """Write consecutive words as one request (function 16)."""
        _LOGGER.debug("%s: writing %s from address %s", self.name, words, address)
        end = address + len(words)
        if self.wear is not None and any(
            register.persistent and register.address < end and address < register.end
            for register in self.registers.values()
        ):
            self.wear.note()
        await self._unit.write_registers(address, words)

    async def _read_block(self, block: Block, report: RegisterReport) -> bool:
        """Read a block into the report; return True when one request did it."""
        try:
            words = await self._unit.read_holding_registers(block.address, block.count)
        except IllegalAddressError:
            await self._halve(block, report)
            return False
        except DeviceRefusedError as err:
            report.failures.update((register.name, err) for register in block.registers)
            return False
        self.words.update(enumerate(words, block.address))
        for register in block.registers:
            report.values[register.name] = register.decode(
                block.words_of(register, words),
                low_word_first=self._layout.low_word_first,
            )
        there = [register.name for register in block.registers]
        for name in self.missing.intersection(there):
            self.missing.remove(name)
            del self._refusals[name]
        self._read_well.update(there)
        return True

    def _note_missing(self, register: Register, report: RegisterReport) -> None:
        """Note that the device does not have a register."""
        self.missing.add(register.name)
        self._refusals.setdefault(register.name, Refusals()).note()
        report.failures[register.name] = self._not_there(register)

    async def _halve(self, block: Block, report: RegisterReport) -> None:
        """Find what of a refused block the device has."""
        if len(block.registers) == 1:
            register = block.registers[0]
            self._note_missing(register, report)
            _LOGGER.debug(
                "%s: no register %s (%s)", self.name, register.address, register.name
            )
            return
        left, right = block.halves()
        left_whole = await self._read_block(left, report)
        right_whole = await self._read_block(right, report)
        if left_whole and right_whole:
            # Nothing is missing in either half, so it was the gap between them.
            self._borders.add(right.address)
        # A block across a missing register would be refused again.
        self._borders.update(
            register.end
            for register in block.registers
            if register.name in self.missing
        )

    def _not_there(self, register: Register) -> NotSupportedError:
        return NotSupportedError(
            f"{self.name} has no register {register.address} ({register.name})"
        )


_REFUSALS: Final[Mapping[int, type[DeviceRefusedError]]] = {
    2: IllegalAddressError,
    5: DeviceBusyError,
    6: DeviceBusyError,
    10: UnitAbsentError,
    11: UnitAbsentError,
    0x80: PermissionDeniedError,
}
_REFUSAL_TEXTS: Final[Mapping[int, str]] = {
    1: "function not supported",
    2: "no such register, or writing is switched off",
    3: "value not allowed",
    4: "device failure",
    5: "accepted, still busy",
    6: "device busy",
    10: "no device at this unit id",
    11: "no answer from this unit id",
    0x80: "no permission: the installer's login is needed",
}


_TEXT: Final = 3
"""Characters that a greeting begins with, such as those of HTTP and SSH."""


def _is_foreign(received: bytes, framer: FramerType) -> bool:
    """Return True when what was received cannot be the beginning of an answer.

    Stray bytes on a serial line are none of that: only text is no RTU for certain.
    """
    if framer is FramerType.RTU:
        return len(received) >= _TEXT and received[:_TEXT].isalnum()
    return any(received[2:4])


def refusal(where: str, code: int) -> DeviceRefusedError:
    """Return the error for a Modbus exception; `where` names device and request."""
    kind = _REFUSALS.get(code, DeviceRefusedError)
    text = _REFUSAL_TEXTS.get(code, "unknown reason")
    return kind(f"{where}: refused with exception {code} ({text})", code)


class ModbusTcpConnection(SharedConnection[AsyncModbusTcpClient]):
    """One TCP connection to a Modbus server, shared by all who talk to it.

    Many servers accept a single client, so there is one connection for each host
    and port in an event loop. The `framer` is another one than that of Modbus TCP
    behind gateways that pass on RTU frames as they are.
    """

    GREETING_PATIENCE: ClassVar = 2.0
    """Seconds to answer in, for what has said something before it was asked: some
    loggers do, and so do servers that do not speak Modbus."""

    @classmethod
    def shared(
        cls,
        host: str,
        port: int,
        timeout: float,
        framer: FramerType = FramerType.SOCKET,
    ) -> ModbusTcpConnection:
        """Return the connection for this address; made, not opened, if new."""
        return cls._shared_by(
            host, port, framer, make=lambda: cls(host, port, timeout, framer)
        )

    def __init__(
        self,
        host: str,
        port: int,
        timeout: float,
        framer: FramerType = FramerType.SOCKET,
    ) -> None:
        """Describe the connection; `timeout` is for connecting and each answer, s."""
        super().__init__(host, port, timeout)
        self._framer = framer
        self._sending: asyncio.Future[ModbusPDU] | None = None
        self._foreign = b""
        """What came lately that is no Modbus."""
        self._has_answered = False
        """Whether there was an answer on the connection."""

    @override
    def __str__(self) -> str:
        """Return the address as people write it."""
        return f"{self.host}:{self.port}"

    def unit(self, unit_id: int) -> ModbusUnit:
        """Return the view of one unit id."""
        return _TcpUnit(self, unit_id)

    async def request(
        self,
        unit_id: int,
        what: str,
        send: Callable[[AsyncModbusTcpClient], Awaitable[ModbusPDU]],
    ) -> list[int]:
        """Send one request when its turn comes and return the words of the answer.

        `what` names the request in errors. Raises what `ModbusUnit` raises.
        """
        where = f"{self} unit {unit_id}, {what}"
        async with self._turns:
            self._refuse_unless_used(where)
            client = await self._connected_client()
            await self._keep_quiet()
            self.requests += 1
            cancels = _cancels()
            try:
                # A task, so that a lost connection can end it: pymodbus would go on
                # waiting for the answer until the time is up.
                with quiet_pymodbus():
                    self._sending = asyncio.ensure_future(send(client))
                async with asyncio.timeout(
                    self.GREETING_PATIENCE if self._foreign else None
                ):
                    response = await self._sending
            except (ModbusException, asyncio.CancelledError, TimeoutError) as err:
                if _cancels() > cancels:
                    # It was us who gave up; pymodbus 3.13 makes an error of that.
                    self._disconnect()
                    raise asyncio.CancelledError from err
                raise self._failure(client, where, err) from err
            finally:
                self._sending = None
                self._keep_quiet_for(self.spacing)
        self._foreign, self._has_answered = b"", True
        if isinstance(response, ExceptionResponse):
            raise refusal(where, response.exception_code)
        return response.registers

    @override
    async def _connect(self) -> AsyncModbusTcpClient:
        # pymodbus's own reconnecting would go on behind our back; with a delay of
        # 0 it leaves that to us.
        self._foreign, self._has_answered = b"", False
        client = AsyncModbusTcpClient(
            self.host,
            port=self.port,
            framer=self._framer,
            timeout=self._timeout,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._connection_changed,
            trace_packet=self._packet_seen,
        )
        client.ctx.framer.decoder = _Decoder(is_server=False)
        try:
            with quiet_pymodbus():
                connected = await client.connect()
        except UnicodeError as err:
            raise UnknownHostError(f"{self}: not an address ({err})") from err
        except (ValueError, OverflowError) as err:
            raise CannotConnectError(f"{self}: not an address ({err})") from err
        except BaseException:
            # Cancelled, perhaps while pymodbus rests with the socket already open.
            client.close()
            raise
        if not connected:
            client.close()
            await resolve(self.host, self.port, self._timeout)
            raise CannotConnectError(
                f"{self}: no connection. Is the device on, and its Modbus TCP server?"
            )
        return client

    def _connection_changed(self, connected: bool) -> None:
        """End the request under way when the server closes the connection."""
        if not connected and self._sending is not None:
            self._sending.cancel()

    def _packet_seen(self, sending: bool, packet: bytes) -> bytes:
        """Note what is no Modbus, and end the request that it cannot be the answer to.

        Not of what has answered in Modbus before: pymodbus copes with its hiccups.
        """
        if sending or self._has_answered:
            return packet
        if _is_foreign(packet, self._framer):
            self._foreign = packet
            if self._sending is not None:
                self._sending.cancel()
        return packet

    def _failure(
        self,
        client: AsyncModbusTcpClient,
        where: str,
        err: ModbusException | asyncio.CancelledError | TimeoutError,
    ) -> BatteryError:
        """Return what a failed request really was, and drop the connection.

        Dropped, because a late answer would otherwise be taken for that of the
        next request.
        """
        lost = isinstance(err, ConnectionException) or not client.connected
        foreign, self._foreign = self._foreign, b""
        self._disconnect()
        if foreign:
            return ProtocolError(
                f"{where}: what answers does not speak Modbus: {foreign[:40]!r}"
            )
        if lost:
            kind = CannotConnectError if self._has_answered else ConnectionClosedError
            return kind(f"{where}: the connection was closed")
        if "No response" in str(err):
            return RequestTimeoutError(f"{where}: no answer in {self._timeout:g} s")
        return ProtocolError(f"{where}: {err}")


class _Decoder(DecodePDU):
    """Decodes answers; of one that makes no sense it makes an error of the connection.

    asyncio ends the connection then. Of what pymodbus itself raises it would think that
    a program has a fault, and log that with a traceback, each time.
    """

    @override
    def decode(self, frame: bytes) -> ModbusPDU:
        """Return the answer in a frame."""
        pdu = None
        with suppress(struct.error):
            pdu = super().decode(frame)
        if pdu is None:
            raise ConnectionAbortedError("an answer that makes no sense")
        return pdu


def _cancels() -> int:
    """Return how often the current task has been cancelled so far.

    A task that cleans up after a cancellation has been cancelled before, so that
    only a higher number means that it should stop.
    """
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class _TcpUnit:
    """A unit id on a shared connection."""

    def __init__(self, connection: ModbusTcpConnection, unit_id: int) -> None:
        self._connection = connection
        self._unit_id = unit_id

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read `count` words from `address` with function 3."""
        return self._whole(
            count,
            await self._connection.request(
                self._unit_id,
                f"reading {count} words from {address}",
                lambda client: client.read_holding_registers(
                    address, count=count, device_id=self._unit_id
                ),
            ),
        )

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write consecutive words with function 16."""
        await self._connection.request(
            self._unit_id,
            f"writing {values} from {address}",
            lambda client: client.write_registers(
                address, values, device_id=self._unit_id
            ),
        )

    def _whole(self, count: int, words: list[int]) -> list[int]:
        if len(words) != count:
            raise ProtocolError(
                f"{self._connection} unit {self._unit_id}: {len(words)} words came "
                f"instead of {count}"
            )
        return words
