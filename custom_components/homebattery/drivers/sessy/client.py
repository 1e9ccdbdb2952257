"""The HTTP API of a Sessy dongle: Basic auth, JSON, one request at a time.

Plain HTTP on port 80. Under frequent requests a dongle is said to fall silent for
seconds, so they go one by one, and what fails is tried again after a pause.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
import json
import logging
from typing import ClassVar, Final

import aiohttp
from yarl import URL

from ..battery.identity import IdentityCheck
from ..errors import (
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    DeviceBusyError,
    DeviceRefusedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    UnknownHostError,
)
from ..modbus.priority_lock import PriorityLock
from .endpoints import SETTINGS, Answer

_LOGGER = logging.getLogger(__name__)


_ELSEWHERE: Final = (301, 302, 303, 307, 308)
"""HTTP statuses that redirect to another address; a dongle has no other."""
_BAD_REQUEST: Final = 400
"""HTTP status by which an HTTPS server, say, answers a valid request over HTTP."""
_NEVER_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)
"""Errors of a request that was not sent, for lack of a connection."""


class SessyClient:
    """The client of one dongle. A session that is given stays open when it closes."""

    retry_pause: ClassVar[float] = 1.0
    """Seconds between two tries."""
    read_tries: ClassVar[int] = 2
    write_tries: ClassVar[int] = 3

    def __init__(
        self,
        address: str,
        port: int,
        timeout: float,
        username: str,
        password: str,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Describe the dongle; nothing is sent. No log-in with an empty user name."""
        self.address = address
        self.port = port
        self.session = session
        self.check: IdentityCheck | None = None
        """The check of the device before each request; None without one."""
        self.writes = 0
        """Number of posts that arrived, or may have; a failed one may take effect."""
        # The sticker has the serial number in capitals; people type it otherwise.
        self.username = username.strip().upper()
        self._password = password
        self._timeout = timeout
        self._own: aiohttp.ClientSession | None = None
        self._is_open = False
        self._has_answered = False
        """Whether anything has ever been answered over HTTP."""
        self._lock = PriorityLock()

    def open(self) -> None:
        """Take the session into use, making one if none was given."""
        if self.session is None and self._own is None:
            self._own = aiohttp.ClientSession()
        self._is_open = True

    async def close(self) -> None:
        """Close the session if the client has made it."""
        self._is_open = False
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    async def get(self, path: str, *, is_checked: bool = True) -> Answer:
        """Return the answer of `path`; without the check it may be another device's.

        Raises CannotConnectError, RequestTimeoutError or AuthenticationError when
        the device is out of reach; NotSupportedError (404), DeviceRefusedError or
        ProtocolError when only this request fails.
        """
        return await self._request(
            "GET", path, check=self.check if is_checked else None
        )

    async def post(self, path: str, body: Answer) -> None:
        """Post `body`, again if need be: a repeated post has the same effect.

        Raises what `get` raises; a 404 is a refusal like any other, since something
        may have been written before it.
        """
        _LOGGER.debug("%s: posting %s to %s", self.address, body, path)
        await self._request("POST", path, body, check=self.check)

    async def _request(
        self,
        method: str,
        path: str,
        body: Answer | None = None,
        *,
        check: IdentityCheck | None,
    ) -> Answer:
        tries = self.read_tries if body is None else self.write_tries
        while True:
            tries -= 1
            if check is not None:
                await check.admit(is_write=body is not None)
            try:
                async with self._lock:
                    return await self._request_once(method, path, body)
            except BatteryError as err:
                if check is not None:
                    check.note_failure(err)
                if not (tries and self._is_open and _may_pass(err, body is not None)):
                    raise
                _LOGGER.debug("%s; trying again", err)
            await asyncio.sleep(self.retry_pause)

    async def _request_once(
        self, method: str, path: str, body: Answer | None
    ) -> Answer:
        where = f"{self.address}:{self.port}{path}"
        status, text = await self._exchange(where, method, path, body, self._password)
        capitals = self._password.strip().upper()
        if status == 401 and capitals != self._password:
            # The password's letters are capitals too, whatever was typed; the form
            # that worked is sent from now on.
            status, text = await self._exchange(where, method, path, body, capitals)
            if status != 401:
                self._password = capitals
        if status == 401:
            raise AuthenticationError(
                f"{where}: user name or password refused; both are on the sticker of "
                "the dongle"
            )
        if status == 404 and body is None:
            raise NotSupportedError(f"{where}: not in this device or its firmware")
        if status in _ELSEWHERE or (status == _BAD_REQUEST and body is None):
            raise ProtocolError(
                f"{where}: HTTP status {status}: another web server, not a Sessy"
            )
        if status != 200:
            error = DeviceBusyError if status == 503 else DeviceRefusedError
            raise error(f"{where}: HTTP status {status}: {text[:200]}", status)
        return _parse(where, path, text)

    async def _exchange(
        self, where: str, method: str, path: str, body: Answer | None, password: str
    ) -> tuple[int, str]:
        """Return the status and text of the answer; count posts that may arrive."""
        session = self.session or self._own
        if session is None or not self._is_open:
            raise CannotConnectError(f"{where}: not connected")
        writes = 0 if body is None else 1
        try:
            async with session.request(
                method,
                URL.build(scheme="http", host=self.address, port=self.port, path=path),
                json=body,
                headers=self._headers(password),
                timeout=aiohttp.ClientTimeout(
                    total=self._timeout, sock_connect=self._timeout / 2
                ),
                allow_redirects=False,
            ) as response:
                status, text = response.status, await response.text(errors="replace")
        except (aiohttp.ClientError, OSError, ValueError) as err:
            if isinstance(err, _NEVER_SENT):
                writes = 0
            raise self._failure(where, err) from err
        finally:
            self.writes += writes
        self._has_answered = True
        return status, text

    def _headers(self, password: str) -> Mapping[str, str]:
        if not self.username:
            return {}
        credentials = b64encode(f"{self.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {credentials}"}

    def _failure(self, where: str, err: Exception) -> BatteryError:
        """Return the error of a failed request."""
        match err:
            case aiohttp.ConnectionTimeoutError():
                return CannotConnectError(f"{where}: nothing answers. Is it on?")
            case TimeoutError():
                return RequestTimeoutError(f"{where}: no answer in {self._timeout:g} s")
            case aiohttp.ClientConnectorDNSError():
                return UnknownHostError(
                    f"{where}: the network knows no address of this name"
                )
            case aiohttp.ClientConnectorError():
                pass
            case aiohttp.ClientResponseError():
                return ProtocolError(f"{where}: the answer is not HTTP ({err})")
            case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
                kind = (
                    CannotConnectError if self._has_answered else ConnectionClosedError
                )
                return kind(f"{where}: the connection was closed. Is the dongle on?")
        return CannotConnectError(
            f"{where}: no connection ({err}). Is the dongle on, and the host right?"
        )


def _may_pass(err: BatteryError, is_write: bool) -> bool:
    """Return True when trying again may help.

    A read that timed out has cost enough time; a write is worth more of it.
    """
    match err:
        case DeviceRefusedError(code=int(code)):
            return code >= 500
        case RequestTimeoutError():
            return is_write
    return isinstance(err, CannotConnectError)


def _parse(where: str, path: str, text: str) -> Answer:
    """Return the object in an answer that reports success; else raise its error."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    match answer:
        case {"error": error}:
            hint = (
                ". The settings must be saved once in the Sessy portal, or on the "
                "dongle's own page"
                if path == SETTINGS.path
                else ""
            )
            raise DeviceRefusedError(f"{where}: {error}{hint}")
        case {"status": "ok"}:
            return dict(answer)
        case {"status": _}:
            raise DeviceRefusedError(f"{where}: {text[:200]}")
    raise ProtocolError(f"{where}: not an answer of a Sessy: {text[:100]!r}")
