"""The HTTP API of a Sessy dongle: Basic auth, JSON, one request at a time.

Plain HTTP on port 80. Under frequent requests a dongle is said to fall silent for
seconds, so they go one by one, and what fails is tried again after a pause. An answer
is read within the bounds of `answers.py`: it may be another server's, or of a dongle
that is out of order.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
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
from .answers import MAX_BYTES, decode, quoted, redacting
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
_IMPOSSIBLE: Final = (ValueError, LookupError, ArithmeticError, RuntimeError)
"""Errors of aiohttp's parts at an address that cannot be, or a closed session."""


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
        self.altered: set[str] = set()
        """Paths whose last answer was altered to keep within bounds."""
        # The sticker has the serial number in capitals; people type it otherwise.
        self.username = username.strip().upper()
        self._password = password
        self._capitals = password.strip().upper()
        self._redact = redacting(self.username, (password, self._capitals))
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
        ProtocolError when only this request fails. A password is refused when it was
        refused twice.
        """
        return await self._request(
            "GET", path, check=self.check if is_checked else None
        )

    async def post(self, path: str, body: Answer, *, insists: bool = False) -> None:
        """Post `body`, again if need be: a repeated post has the same effect.

        With `insists` also after any refusal, which may pass. Raises what `get` raises;
        a 404 is a refusal like any other, since something may have been written before
        it.
        """
        _LOGGER.debug("%s: posting %s to %s", self.address, body, path)
        await self._request("POST", path, body, check=self.check, insists=insists)

    async def _request(
        self,
        method: str,
        path: str,
        body: Answer | None = None,
        *,
        check: IdentityCheck | None,
        insists: bool = False,
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
                may_pass = self._may_pass(err, is_write=body is not None) or (
                    insists and isinstance(err, DeviceRefusedError | ProtocolError)
                )
                if not (tries and self._is_open and may_pass):
                    raise
                _LOGGER.debug("%s; trying again", err)
            await asyncio.sleep(self.retry_pause)

    async def _request_once(
        self, method: str, path: str, body: Answer | None
    ) -> Answer:
        where = f"{self.address}:{self.port}{path}"
        status, text = await self._exchange(where, method, path, body, self._password)
        if status == 401 and self._capitals != self._password:
            # The password's letters are capitals too, whatever was typed; the form
            # that worked is sent from now on.
            capitals = self._capitals
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
            raise error(
                f"{where}: HTTP status {status}: {quoted(text, self._redact)}", status
            )
        return self._parse(where, path, text)

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
                auto_decompress=False,
            ) as response:
                self._has_answered = True
                status, text = response.status, await _text_of(where, response)
        except (aiohttp.ClientError, OSError, *_IMPOSSIBLE) as err:
            if isinstance(err, _NEVER_SENT):
                writes = 0
            # Its cause may quote the device: it is quoted here, within bounds.
            raise self._failure(where, err) from None
        finally:
            self.writes += writes
        return status, text

    def _headers(self, password: str) -> Mapping[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self.username:
            credentials = b64encode(f"{self.username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {credentials}"
        return headers

    def _failure(self, where: str, err: Exception) -> BatteryError:
        """Return the error of a failed request."""
        reason = quoted(err, self._redact)
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
                return ProtocolError(f"{where}: the answer is not HTTP ({reason})")
            case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
                kind = (
                    CannotConnectError if self._has_answered else ConnectionClosedError
                )
                return kind(f"{where}: the connection was closed. Is the dongle on?")
        return CannotConnectError(
            f"{where}: no connection ({reason}). Is the dongle on, and the host right?"
        )

    def _may_pass(self, err: BatteryError, *, is_write: bool) -> bool:
        """Return True when trying again may help.

        A read that timed out has cost enough time; a write is worth more of it. A
        dongle that starts may refuse a password once that is right.
        """
        match err:
            case DeviceRefusedError(code=int(code)):
                return code >= 500
            case RequestTimeoutError():
                return is_write
            case AuthenticationError():
                return bool(self.username)
        return isinstance(err, CannotConnectError)

    def _parse(self, where: str, path: str, text: str) -> Answer:
        """Return the object in an answer that reports success; else raise its error."""
        try:
            answer, is_altered = decode(text, self._redact)
        except ValueError:
            answer, is_altered = None, False
        match answer:
            case {"error": error}:
                hint = (
                    ". The settings must be saved once in the Sessy portal, or on the "
                    "dongle's own page"
                    if path == SETTINGS.path
                    else ""
                )
                reason = quoted(error, self._redact)
                raise DeviceRefusedError(f"{where}: {reason}{hint}")
            case {"status": "ok"}:
                (self.altered.add if is_altered else self.altered.discard)(path)
                return dict(answer)
            case {"status": _}:
                raise DeviceRefusedError(f"{where}: {quoted(text, self._redact)}")
        raise ProtocolError(
            f"{where}: not an answer of a Sessy: {quoted(text, self._redact)!r}"
        )


async def _text_of(where: str, response: aiohttp.ClientResponse) -> str:
    """Return the text of an answer; raises ProtocolError when that is out of bounds."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ProtocolError(f"{where}: the answer is compressed, and may not be")
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_BYTES:
            raise ProtocolError(f"{where}: the answer is longer than {MAX_BYTES} bytes")
    return body.decode(errors="replace")
