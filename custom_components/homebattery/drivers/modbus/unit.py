"""A unit id of a Modbus device, over any transport, and its refusals."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
import struct
from typing import Final, Protocol, Self, override

from ..errors import (
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceRefusedError,
    IllegalAddressError,
    PermissionDeniedError,
    ProtocolError,
    StartingError,
    UnitAbsentError,
)


class ModbusUnit(Protocol):
    """One unit id of a Modbus device, over any transport.

    Each call is one request. Raises CannotConnectError, RequestTimeoutError,
    ProtocolError, or DeviceRefusedError and its kinds.
    """

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read `count` words from `address` with function 3."""

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write consecutive words with function 16."""


MALFORMED: Final = (struct.error, ArithmeticError, LookupError, ValueError)
"""Errors of decoding an answer that does not have the form it should have."""

type Units = Callable[[int], ModbusUnit]
"""Returns the view of a unit id."""


@dataclass(frozen=True, slots=True)
class ModbusRequest:
    """One request to a unit id: to read words with function 3, or write with 16.

    Or to read objects of identification with function 43, from `first_object` on.
    """

    unit_id: int
    address: int
    count: int
    values: tuple[int, ...] | None = None
    """The words to write; None to read."""
    connects: int | None = None
    """The number of the connection that it must go over; None for any."""
    first_object: int | None = None
    """The first object to read; None for words."""

    def over(self, connects: int | None) -> Self:
        """Return the same request, to go over the connection of that number."""
        return type(self)(
            unit_id=self.unit_id,
            address=self.address,
            count=self.count,
            values=self.values,
            connects=connects,
            first_object=self.first_object,
        )

    @override
    def __str__(self) -> str:
        """Return the request as errors name it."""
        if self.first_object is not None:
            return f"unit {self.unit_id}, reading objects from {self.first_object}"
        if self.values is None:
            return (
                f"unit {self.unit_id}, reading {self.count} words from {self.address}"
            )
        return f"unit {self.unit_id}, writing {list(self.values)} from {self.address}"


class NewConnectionError(CannotConnectError):
    """The connection that a request must go over is lost, and there is a new one."""

    was_sent = False
    """Whether the request was sent over the lost one, without an answer."""


class Check(Protocol):
    """A check of the device that is connected, before each request to it."""

    async def admit(self, *, is_write: bool) -> int | None:
        """Return the connection that a request must go over; None for any.

        Raises BatteryError when nothing may be sent.
        """

    async def is_nameless(self) -> bool:
        """Return whether the device reports no serial number now, though it has one.

        Asks for it; raises BatteryError where there is no answer.
        """

    def note_answer(self) -> None:
        """Note that a request was answered."""

    def note_failure(self, err: BatteryError) -> None:
        """Note that a request failed."""


class Carrier(Protocol):
    """A connection that sends requests to a device, one at a time."""

    async def transact(self, request: ModbusRequest) -> list[int]:
        """Send a request and return the words of its answer.

        Raises what `ModbusUnit` raises, and NewConnectionError when the connection is
        another than the request must go over.
        """


_IS_TRIAL: Final = ContextVar("a read is only a trial", default=False)


@contextmanager
def on_trial() -> Iterator[None]:
    """Send each read in this context once; keep what comes of it out of recordings."""
    token = _IS_TRIAL.set(True)
    try:
        yield
    finally:
        _IS_TRIAL.reset(token)


def is_on_trial() -> bool:
    """Return whether a read is to be sent once, and its failure says nothing."""
    return _IS_TRIAL.get()


@dataclass(slots=True)
class Recording:
    """The requests of one battery, and their answers, by unit id."""

    requests: int = 0
    """Number of requests sent."""
    writes: int = 0
    """Number of those that wrote, or may have written, to the device."""
    was_answered: bool = False
    """Whether the last request was answered, be it with a refusal."""
    words: dict[int, dict[int, int]] = field(default_factory=dict)
    """The last words seen, by unit id and address."""
    refused: dict[int, dict[str, str]] = field(default_factory=dict)
    """The reads that failed, by unit id, and their errors, until they succeed."""

    def is_wiped(self, request: ModbusRequest, words: list[int]) -> bool:
        """Return whether words are nothing but zeros, and were not before."""
        seen = self.words.get(request.unit_id, {})
        span = range(request.address, request.address + request.count)
        return not any(words) and any(seen.get(each) for each in span)

    def note_read(self, request: ModbusRequest, words: list[int]) -> None:
        """Keep the words of an answer."""
        if is_on_trial():
            return
        if refused := self.refused.get(request.unit_id):
            refused.pop(_span(request), None)
        seen = self.words.setdefault(request.unit_id, {})
        seen.update(enumerate(words, request.address))

    def note_failure(self, request: ModbusRequest, err: BatteryError) -> None:
        """Keep the error of a read."""
        if is_on_trial():
            return
        code = f" {err.code}" if isinstance(err, DeviceRefusedError) else ""
        refused = self.refused.setdefault(request.unit_id, {})
        refused[_span(request)] = f"{type(err).__name__}{code}"
        if isinstance(err, IllegalAddressError):
            # Those that are there are about to be read in smaller parts.
            seen = self.words.setdefault(request.unit_id, {})
            for each in range(request.address, request.address + request.count):
                seen.pop(each, None)


def _span(request: ModbusRequest) -> str:
    return f"{request.address}+{request.count}"


class ConnectionUnit:
    """One unit id on a shared connection; requests and answers are recorded."""

    def __init__(
        self,
        carrier: Carrier,
        unit_id: int,
        recording: Recording | None = None,
        check: Check | None = None,
    ) -> None:
        """Send requests to `unit_id` over `carrier`, as far as `check` admits them."""
        self._carrier = carrier
        self._unit_id = unit_id
        self._recording = Recording() if recording is None else recording
        self._check = check

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read `count` words from `address` with function 3."""
        recording = self._recording
        recording.requests += 1
        request = ModbusRequest(self._unit_id, address, count)
        try:
            words = await self._send(request)
            if len(words) != count:
                raise ProtocolError(
                    f"{self._carrier} unit {self._unit_id}: {len(words)} words came "
                    f"instead of {count}"
                )
            if recording.is_wiped(request, words) and await self._is_starting():
                raise StartingError(
                    f"{self._carrier} {request}: nothing but zeros, also for the "
                    "serial number; is it starting?"
                )
        except BatteryError as err:
            recording.note_failure(request, err)
            raise
        recording.note_read(request, words)
        return words

    async def _is_starting(self) -> bool:
        """Return whether the device has no serial number now, unlike before."""
        return self._check is not None and await self._check.is_nameless()

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write consecutive words with function 16."""
        self._recording.requests += 1
        await self._send(
            ModbusRequest(self._unit_id, address, len(values), tuple(values))
        )

    async def _send(self, request: ModbusRequest) -> list[int]:
        """Send a request as soon as the check admits it; return the words."""
        check = self._check
        if check is None:
            return await self._transact(request)
        while True:
            connects = await check.admit(is_write=request.values is not None)
            try:
                words = await self._transact(request.over(connects))
            except NewConnectionError:
                continue
            except UnitAbsentError as err:
                # Of a unit that was never there it says nothing about the device.
                if self._unit_id in self._recording.words:
                    check.note_failure(err)
                raise
            except BatteryError as err:
                check.note_failure(err)
                raise
            check.note_answer()
            return words

    async def _transact(self, request: ModbusRequest) -> list[int]:
        """Send a request; count it if it wrote, or may have written."""
        may_have_written = request.values is not None
        was_answered = False
        try:
            words = await self._carrier.transact(request)
            was_answered = True
        except NewConnectionError as err:
            may_have_written &= err.was_sent
            raise
        except DeviceRefusedError as err:
            may_have_written &= err.code not in _NOTHING_WRITTEN
            was_answered = True
            raise
        finally:
            self._recording.writes += may_have_written
            self._recording.was_answered = was_answered
        return words


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


_NOTHING_WRITTEN: Final = frozenset({1, 2, 3, 6, 10, 0x80})
"""Exceptions by which a device, or the gateway to it, says that it did not even begin
to write. With the others it may have: 4 comes while it does, 5 promises it, 11 is that
of a gateway that got no answer."""


def refusal(where: str, code: int) -> DeviceRefusedError:
    """Return the error for a Modbus exception; `where` names device and request."""
    kind = _REFUSALS.get(code, DeviceRefusedError)
    text = _REFUSAL_TEXTS.get(code, "unknown reason")
    return kind(f"{where}: refused with exception {code} ({text})", code)
