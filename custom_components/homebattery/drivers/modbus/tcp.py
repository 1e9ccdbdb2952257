"""The transport over pymodbus: Modbus TCP, quiet unless it is debugged.

pymodbus logs every failure by itself, with the last frames of every client in the
process, as often as it happens. Here a failure is an error that says what failed, and
polling logs it once. Others in the same process use pymodbus, too: their lines are left
alone.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
import logging
import math
import struct
from typing import ClassVar, Final, NoReturn, override

from pymodbus import FramerType, __version__ as PYMODBUS_VERSION
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.logging import Log
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse

from ..errors import (
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    ProtocolError,
    RequestTimeoutError,
    UnknownHostError,
)
from .connection import SharedConnection, resolve
from .unit import MALFORMED, ModbusRequest, refusal

__all__ = ["PYMODBUS_VERSION", "FramerType", "ModbusTcpConnection", "quiet_pymodbus"]

_PYMODBUS: Final = logging.getLogger(Log.__module__)
_DEBUGGED: Final = (logging.getLogger(__name__), _PYMODBUS)
"""The loggers of which one at debug level lets all lines pass."""

_BEGUN_HERE: Final = ContextVar("pymodbus was called here", default=False)


@contextmanager
def quiet_pymodbus() -> Iterator[None]:
    """Keep pymodbus from logging in this context, unless at debug level.

    That goes for tasks and connections that are begun here, too, as long as they last:
    asyncio calls what receives their data in the context in which they were made.
    """
    token = _BEGUN_HERE.set(True)
    try:
        yield
    finally:
        _BEGUN_HERE.reset(token)


def _is_wanted(_: logging.LogRecord) -> bool:
    """Return False for a record of pymodbus that `quiet_pymodbus` suppresses."""
    if not _BEGUN_HERE.get() or any(
        each.isEnabledFor(logging.DEBUG) for each in _DEBUGGED
    ):
        return True
    # pymodbus leaves out a text that it has just logged; this one was not logged.
    Log.last_log_text = ""
    return False


_PYMODBUS.addFilter(_is_wanted)


FRAMINGS: Final[Mapping[str, FramerType]] = {
    "tcp": FramerType.SOCKET,
    "rtu": FramerType.RTU,
}
"""`rtu`: the gateway passes on serial frames as they are ('transparent')."""

_READ: Final = 3
_WRITE: Final = 16
_IDENTIFY: Final = 43
_ALL_OBJECTS: Final = b"\x0e\x03"
"""The kind of an answer with objects (MEI type 14), and the code that reads them all."""
_MORE: Final = 0xFF
"""Further objects follow."""
_MOST_ANSWERS: Final = 32
"""Number of answers that a device may spread its objects over."""
_EXCEPTION: Final = 0x80
_QUOTED: Final = 24
"""Number of bytes of an answer that an error quotes."""
_MOST_SERIAL: Final = 3 * 256
"""Number of bytes, of three frames, that are searched for an answer: for a hundred
thousand that takes a minute."""
_TEXT: Final = 3
"""Number of characters that a greeting begins with, such as those of HTTP and SSH."""


def _is_foreign(received: bytes, framer: FramerType) -> bool:
    """Return True when received bytes cannot be the beginning of an answer.

    A serial line has stray bytes: there, only text is certain not to be RTU.
    """
    if framer is FramerType.RTU:
        return len(received) >= _TEXT and received[:_TEXT].isalnum()
    return any(received[2:4])


class ModbusTcpConnection(SharedConnection[AsyncModbusTcpClient]):
    """One TCP connection to a Modbus server, shared by all its users.

    Many servers accept a single client, so there is one connection for each host
    and port in an event loop. Gateways that pass on RTU frames as they are need
    another `framer` than Modbus TCP.
    """

    GREETING_TIMEOUT: ClassVar = 2.0
    """Seconds for an answer of a device that sends something before it is asked: some
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
        self._limit: asyncio.Timeout | None = None
        """The end of the wait for the answer to the request under way."""
        self._foreign = b""
        """The last packet, if it is no Modbus; else empty."""
        self._has_answered = False
        """Whether there was an answer on the connection."""
        self._answers = _Answers()

    @override
    def __str__(self) -> str:
        """Return the address as people write it."""
        return f"{self.host}:{self.port}"

    @override
    async def transact(self, request: ModbusRequest) -> list[int]:
        return (await self._exchange(request)).registers

    @override
    async def read_objects(self, unit_id: int, first: int) -> list[bytes]:
        objects: list[bytes] = []
        for _ in range(_MOST_ANSWERS):
            request = ModbusRequest(unit_id, 0, 0, first_object=first)
            answer = await self._exchange(request)
            assert isinstance(answer, ReadDeviceInformationResponse)
            for each in answer.information.values():
                objects.extend(each if isinstance(each, list) else [each])
            if answer.more_follows != _MORE or answer.next_object_id <= first:
                break
            first = answer.next_object_id
        return objects

    async def _exchange(self, request: ModbusRequest) -> ModbusPDU:
        """Send one request when its turn comes; return the answer, no exception.

        Raises what `transact` raises.
        """
        async with await self._turn():
            self._refuse_unless_used(request)
            client = await self._client_for(request)
            await self._keep_quiet()
            self.requests += 1
            self._answers.begin(request)
            cancels = _cancels()
            limit = asyncio.timeout(
                self.GREETING_TIMEOUT if self._foreign else self._patience
            )
            try:
                response = await self._answer(client, request, limit)
            except (
                ModbusException,
                asyncio.CancelledError,
                TimeoutError,
                *MALFORMED,
            ) as err:
                if _cancels() > cancels:
                    # This task was cancelled; pymodbus 3.13 makes an error of that.
                    self._disconnect()
                    raise asyncio.CancelledError from err
                raise self._failure(
                    client, request, err, is_late=limit.expired()
                ) from err
            finally:
                self._keep_quiet_for(self.spacing)
        self._foreign, self._has_answered = b"", True
        if isinstance(response, ExceptionResponse):
            raise refusal(f"{self} {request}", response.exception_code)
        return response

    async def _answer(
        self,
        client: AsyncModbusTcpClient,
        request: ModbusRequest,
        limit: asyncio.Timeout,
    ) -> ModbusPDU:
        """Send a request, and return the answer; a lost connection ends the `limit`.

        pymodbus would go on waiting until the time is up.
        """
        async with limit:
            self._limit = limit
            try:
                with quiet_pymodbus():
                    return await _send(client, request)
            finally:
                self._limit = None

    @override
    async def _connect(self) -> AsyncModbusTcpClient:
        # With a delay of 0 pymodbus does not reconnect by itself, which would go
        # unnoticed here.
        self._foreign, self._has_answered = b"", False
        self._answers = answers = _Answers()
        client = AsyncModbusTcpClient(
            self.host,
            port=self.port,
            framer=self._framer,
            timeout=self._timeout,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._connection_changed,
            trace_packet=self._packet_seen,
            trace_pdu=answers.trace,
        )
        client.ctx.framer.decoder = answers
        try:
            with quiet_pymodbus():
                connected = await client.connect()
        except ValueError as err:
            raise UnknownHostError(f"{self}: not an address ({err})") from err
        except OverflowError as err:
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
        if not connected:
            self._end_wait()

    def _end_wait(self) -> None:
        """End the wait for an answer, if there is one."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(-math.inf)

    def _packet_seen(self, sending: bool, packet: bytes) -> bytes:
        """Note a packet that is no Modbus, and end the request under way.

        Not on a serial line that has answered: there pymodbus finds the answer among
        other bytes.
        """
        is_serial = self._framer is FramerType.RTU
        if not sending and is_serial and len(packet) > _MOST_SERIAL:
            self._answers.refuse(f"{len(packet)} bytes came at once")
        if sending or (self._has_answered and is_serial):
            return packet
        if _is_foreign(packet, self._framer):
            self._foreign = packet
            self._end_wait()
        return packet

    def _failure(
        self,
        client: AsyncModbusTcpClient,
        request: ModbusRequest,
        err: BaseException,
        *,
        is_late: bool,
    ) -> BatteryError:
        """Return the error of a failed request, and drop the connection.

        `is_late`: the wait is over, in time or because the connection is lost.

        Dropped, because a late answer would otherwise be taken for that of the
        next request.
        """
        where = f"{self} {request}"
        lost = isinstance(err, ConnectionException) or not client.connected
        foreign, self._foreign = self._foreign, b""
        self._disconnect()
        if foreign:
            return ProtocolError(f"{where}: the answer is not Modbus: {foreign[:40]!r}")
        if self._answers.fault:
            return ProtocolError(f"{where}: {self._answers.fault}")
        if lost:
            kind = CannotConnectError if self._has_answered else ConnectionClosedError
            return kind(f"{where}: the connection was closed")
        if is_late or "No response" in str(err):
            waited = self._patience or self._timeout
            return RequestTimeoutError(f"{where}: no answer in {waited:g} s")
        return ProtocolError(f"{where}: {err}")


class _Answers(DecodePDU):
    """Decodes the answers to one request at a time, and refuses all others.

    For those it raises an error of the connection, upon which asyncio ends that: errors
    of pymodbus's own it would take for faults of the program, and log with a traceback,
    each time.
    """

    def __init__(self) -> None:
        """Begin without a request."""
        super().__init__(is_server=False)
        self.fault = ""
        """The reason why the last answer was refused; empty for none."""
        self._request = ModbusRequest(0, 0, 0)
        self._transaction = 0

    def begin(self, request: ModbusRequest) -> None:
        """Take answers to `request` from now on."""
        self._request, self.fault = request, ""

    @property
    def _function(self) -> int:
        """The function of the request."""
        if self._request.first_object is not None:
            return _IDENTIFY
        return _READ if self._request.values is None else _WRITE

    @override
    def lookupPduClass(self, data: bytes) -> type[ModbusPDU] | None:
        """Return the class of an RTU frame, which has its length; None for no answer.

        pymodbus looks for an answer from each byte on.
        """
        if len(data) < 2 or data[1] & ~_EXCEPTION != self._function:
            return None
        return super().lookupPduClass(data)

    @override
    def decode(self, frame: bytes) -> ModbusPDU:
        """Return the answer in a frame, without its envelope."""
        if fault := self._fault_of(frame):
            self.refuse(f"{fault} came: {frame[:_QUOTED].hex(' ')}")
        pdu = None
        with suppress(*MALFORMED):
            pdu = super().decode(frame)
        if pdu is None:
            self.refuse(f"nonsense came: {frame[:_QUOTED].hex(' ')}")
        return pdu

    def trace(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        """Compare the transaction of an answer with that of the request.

        pymodbus itself leaves out answers to other transactions, but takes a 0 for any.
        """
        if sending:
            self._transaction = pdu.transaction_id
        elif pdu.transaction_id != self._transaction:
            self.refuse(f"an answer to transaction {pdu.transaction_id} came")
        return pdu

    def refuse(self, fault: str) -> NoReturn:
        """End the connection for a fault."""
        self.fault = fault
        raise ConnectionAbortedError(fault)

    def _fault_of(self, frame: bytes) -> str:
        """Return what is wrong with an answer; nothing if it fits the request."""
        request = self._request
        if not frame or frame[0] & ~_EXCEPTION != self._function:
            return "an answer to another function"
        if frame[0] & _EXCEPTION:
            return "" if len(frame) > 1 else "an exception without a code"
        if request.first_object is not None:
            return "" if frame[1:3] == _ALL_OBJECTS else "an answer without objects"
        if request.values is None:
            size = len(frame) - 2
            if size != 2 * request.count or frame[1] != size:
                words = max(0, size) // 2
                return f"an answer of {words} words instead of {request.count}"
        elif frame[1:] != struct.pack(">HH", request.address, request.count):
            return "an answer to a write of other registers"
        return ""


def _cancels() -> int:
    """Return the number of times that the current task has been cancelled so far.

    A task that cleans up after a cancellation has been cancelled before, so that
    only a higher number means that it should stop.
    """
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def _send(client: AsyncModbusTcpClient, request: ModbusRequest) -> ModbusPDU:
    """Send a request, and return the answer."""
    if request.first_object is not None:
        return await client.read_device_information(
            read_code=_ALL_OBJECTS[1],
            object_id=request.first_object,
            device_id=request.unit_id,
        )
    if request.values is None:
        return await client.read_holding_registers(
            request.address, count=request.count, device_id=request.unit_id
        )
    return await client.write_registers(
        request.address, list(request.values), device_id=request.unit_id
    )
