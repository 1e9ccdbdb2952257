"""A connection that all users of an address share, one request at a time."""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
import socket
from typing import Any, ClassVar, Final, Protocol, Self
from weakref import WeakValueDictionary

from ..errors import CannotConnectError, NotSupportedError, UnknownHostError
from .priority_lock import PriorityLock, has_high_priority
from .unit import (
    Check,
    ConnectionUnit,
    ModbusRequest,
    ModbusUnit,
    NewConnectionError,
    Recording,
)

# All users of an address must get the same connection, and drivers do not know of each
# other: hence a common, weak table.
_CONNECTIONS: Final[WeakValueDictionary[tuple[object, ...], SharedConnection[Any]]] = (
    WeakValueDictionary()
)


_PATIENCE: Final[ContextVar[float | None]] = ContextVar("patience", default=None)


@contextmanager
def patience(seconds: float | None) -> Iterator[None]:
    """Wait less than usual for each answer to this task, s; None: as usual.

    From when a request is sent: not while others are served, the connection is made
    again, or rests.
    """
    token = _PATIENCE.set(seconds)
    try:
        yield
    finally:
        _PATIENCE.reset(token)


async def resolve(host: str, port: int, timeout: float) -> None:
    """Raise UnknownHostError when the network knows no address of `host`.

    Called after a connection has failed, to find the reason. A look-up that takes
    longer than `timeout`, s, raises nothing.
    """
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().getaddrinfo(
                    host, port, type=socket.SOCK_STREAM
                )
    except (socket.gaierror, ValueError, OverflowError) as err:
        raise UnknownHostError(
            f"{host}: the network knows no address of this name"
        ) from err


class Client(Protocol):
    """The client that holds the socket."""

    @property
    def connected(self) -> bool:
        """False once the connection is known to be lost."""

    def close(self) -> None:
        """Close the connection."""


class ModbusConnection(Protocol):
    """A connection that carries Modbus requests to the units of one address."""

    @property
    def connects(self) -> int:
        """Number of times that the connection was made."""

    def unit(
        self,
        unit_id: int,
        recording: Recording | None = None,
        check: Check | None = None,
    ) -> ModbusUnit:
        """Return the view of one unit id; its requests go into `recording`.

        They are sent as far as `check` admits them.
        """

    async def read_objects(self, unit_id: int, first: int) -> list[bytes]:
        """Read objects by which a unit identifies devices, from number `first` on.

        Raises what `ModbusUnit` raises, and NotSupportedError where the transport does
        not carry this function.
        """

    async def open(self) -> None:
        """Begin to use the connection."""

    async def close(self) -> None:
        """End the use of the connection."""


class SharedConnection[C: Client](ABC):
    """One connection to a device that accepts few: `open` it before use, then `close`.

    One request is under way at a time; one of high priority waits for no other than
    that. After a failure the next try to connect waits for a back-off.
    """

    FIRST_BACK_OFF: ClassVar = 1.0
    """Seconds until the next try to connect; doubles with each failure."""
    LONGEST_BACK_OFF: ClassVar = 30.0

    def __init__(self, host: str, port: int, timeout: float) -> None:
        """Describe the connection; `timeout` is for connecting and each answer, s."""
        self.host = host
        self.port = port
        self.connect_delay = 0.0
        """Seconds of silence that the device needs after a connect."""
        self.spacing = 0.0
        """Seconds of silence that the device needs between two requests."""
        self.connects = 0
        """Number of times that it was made; a driver notices a new one by it."""
        self.requests = 0
        """Number of requests sent."""
        self._timeout = timeout
        self._client: C | None = None
        self._lock = PriorityLock()
        self._users = 0
        self._back_off = 0.0
        self._not_before = 0.0
        self._unconnected: type[CannotConnectError] = CannotConnectError
        """The kind of error that the last try to connect raised."""
        self._quiet_until = 0.0

    @classmethod
    def _shared_by(cls, *address: object, make: Callable[[], Self]) -> Self:
        """Return the connection to an address that this event loop's users share."""
        key = (asyncio.get_running_loop(), cls, *address)
        connection = _CONNECTIONS.get(key)
        if not isinstance(connection, cls):
            connection = _CONNECTIONS[key] = make()
        return connection

    async def open(self) -> None:
        """Begin to use the connection, connecting if need be.

        Raises CannotConnectError.
        """
        async with self._lock:
            await self._connected_client()
            self._users += 1

    async def close(self) -> None:
        """End the use of the connection; the last user closes the socket."""
        async with self._lock:
            self._users = max(0, self._users - 1)
            if not self._users:
                self._disconnect()

    def unit(
        self,
        unit_id: int,
        recording: Recording | None = None,
        check: Check | None = None,
    ) -> ModbusUnit:
        """Return the view of one unit id; its requests go into `recording`.

        They are sent as far as `check` admits them.
        """
        return ConnectionUnit(self, unit_id, recording, check)

    async def read_objects(self, unit_id: int, first: int) -> list[bytes]:
        """Read objects by which a unit identifies devices, from number `first` on.

        Raises NotSupportedError unless overridden.
        """
        raise NotSupportedError(
            f"{self} unit {unit_id}: no objects over this transport"
        )

    @abstractmethod
    async def transact(self, request: ModbusRequest) -> list[int]:
        """Send one request when its turn comes and return the words of the answer.

        Raises what `ModbusUnit` raises.
        """

    @abstractmethod
    async def _connect(self) -> C:
        """Return a client that is connected; raises CannotConnectError."""

    def _refuse_unless_used(self, request: ModbusRequest) -> None:
        """Raise CannotConnectError when the connection is not in use."""
        if not self._users:
            # A poll that outlives its battery must not open the socket again.
            raise CannotConnectError(f"{self} {request}: the connection is not in use")

    async def _connected_client(self) -> C:
        """Return the client, connected; raises CannotConnectError during a back-off."""
        if self._client is not None and self._client.connected:
            return self._client
        self._disconnect()
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            raise self._unconnected(
                f"{self}: no connection, next try in {self._not_before - now:.0f} s"
            )
        try:
            self._client = client = await self._connect()
        except CannotConnectError as err:
            self._unconnected = type(err)
            self._back_off = min(
                max(self.FIRST_BACK_OFF, 2 * self._back_off), self.LONGEST_BACK_OFF
            )
            self._not_before = asyncio.get_running_loop().time() + self._back_off
            raise
        self._back_off = 0
        self.connects += 1
        self._keep_quiet_for(self.connect_delay)
        return client

    async def _client_for(self, request: ModbusRequest) -> C:
        """Return the client, connected by the connection that a request must go over.

        Raises NewConnectionError when that is lost, and CannotConnectError.
        """
        client = await self._connected_client()
        if request.connects not in (None, self.connects):
            raise NewConnectionError(f"{self}: there is a new connection")
        return client

    async def _turn(self) -> PriorityLock:
        """Return the lock that a request has to take.

        One without priority waits for the end of a pause first, so that one with
        priority that comes meanwhile goes before it.
        """
        if not has_high_priority():
            await self._keep_quiet()
        return self._lock

    @property
    def _patience(self) -> float | None:
        """Seconds to wait for an answer to the present task; None: as usual."""
        return _PATIENCE.get()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _keep_quiet_for(self, seconds: float) -> None:
        self._quiet_until = asyncio.get_running_loop().time() + seconds

    async def _keep_quiet(self) -> None:
        """Wait until the device listens again."""
        wait = self._quiet_until - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)
