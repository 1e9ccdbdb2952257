"""An HTTP server with JSON bodies and Basic auth, and the faults of real devices."""

from abc import ABC, abstractmethod
import asyncio
import base64
import binascii
from collections import deque
from dataclasses import dataclass
import json
from typing import Any, Final, NamedTuple, Self

from aiohttp import web

LOG_LENGTH: Final = 100_000

type Json = dict[str, Any]


class Request(NamedTuple):
    """A request with the right password; equal to a tuple (method, path, body)."""

    method: str
    path: str
    body: Json | None


class Answer(NamedTuple):
    """A device's answer: a JSON object, or text with a status other than 200."""

    body: Json | str
    status: int = 200


class HangUp(Exception):
    """Raised to close the connection instead of answering."""


UNKNOWN_PATH: Final = Answer("Not found", 404)


@dataclass
class HttpFaults:
    """Faults of the server at the moment."""

    delay: float = 0.0
    """Seconds that each answer is late."""
    hang: bool = False
    """Whether to hold answers back until this is switched off."""
    cut_request: int = 0
    """Number of coming requests that end their connection instead of getting an
    answer."""
    error_status: int = 500
    """Status of the answers that `error` spoils."""
    error: int = 0
    """Number of coming requests that are answered with `error_status` and a text."""
    error_path: str = ""
    """Part of the path of the requests that `error` and `non_json` spoil."""
    non_json: int = 0
    """Number of coming requests that are answered with status 200 and no JSON."""
    unauthorized: bool = False
    """Whether every password is refused, as after the user changed it."""


class JsonServer(ABC):
    """An HTTP server on one port; subclasses answer the requests."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        username: str | None = None,
        password: str = "",
    ) -> None:
        """Prepare to listen; port 0 takes any free one. No user name: no password."""
        self.host = host
        self.port = port
        self.username = username
        self.password = password
        self.faults = HttpFaults()
        self.log: deque[Request] = deque(maxlen=LOG_LENGTH)
        self.rejected = 0
        """Number of requests with no or a wrong password."""
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()

    @property
    def requests(self) -> list[Request]:
        """All requests with the right password, oldest first."""
        return list(self.log)

    @property
    def posts(self) -> list[Request]:
        """Requests that change something, oldest first."""
        return [request for request in self.log if request.method != "GET"]

    @abstractmethod
    async def answer(self, request: Request) -> Answer:
        """Answer one request."""

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        if self._runner is not None:
            return
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and close all connections: connecting is refused now."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._wake()
            await runner.cleanup()

    def cut(self) -> None:
        """Reset all open connections."""
        if self._runner is not None and self._runner.server is not None:
            for connection in self._runner.server.connections:
                connection.force_close()
                if connection.transport is not None:
                    connection.transport.abort()

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self.stop()

    def set_faults(self, **changes: object) -> None:
        """Change faults; hanging requests check them again."""
        for name, value in changes.items():
            if not hasattr(self.faults, name):
                raise ValueError(f"No such fault: {name}")
            setattr(self.faults, name, value)
        self._wake()

    def _wake(self) -> None:
        """Let hanging requests check the faults again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _handle(self, request: web.Request) -> web.Response:
        if not self._may_ask(request):
            self.rejected += 1
            return web.Response(
                status=401, text="Unauthorized", headers={"WWW-Authenticate": "Basic"}
            )
        text = await request.text()
        try:
            body = json.loads(text) if text else None
        except ValueError:
            return web.Response(status=400, text="Invalid JSON")
        asked = Request(request.method, request.path, body)
        self.log.append(asked)
        try:
            await self._pause()
            return self._spoilt(request) or self._said(await self.answer(asked))
        except HangUp:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # its client is gone

    async def _pause(self) -> None:
        """Wait before an answer, as long as the faults demand."""
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        while self.faults.hang:
            await self._changed.wait()
            if self._runner is None:
                raise HangUp

    def _may_ask(self, request: web.Request) -> bool:
        if self.username is None:
            return True
        if self.faults.unauthorized:
            return False
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            decoded = base64.b64decode(given, validate=True).decode()
        except binascii.Error, UnicodeDecodeError:
            return False
        return (
            scheme.lower() == "basic" and decoded == f"{self.username}:{self.password}"
        )

    def _spoilt(self, request: web.Request) -> web.Response | None:
        """Return the answer of a fault that is due, None without one."""
        faults = self.faults
        if faults.cut_request:
            faults.cut_request -= 1
            raise HangUp
        if faults.error_path not in request.path:
            return None
        if faults.error:
            faults.error -= 1
            return web.Response(status=faults.error_status, text="Device unavailable")
        if faults.non_json:
            faults.non_json -= 1
            return web.Response(text="<html>Starting</html>", content_type="text/html")
        return None

    def _said(self, answer: Answer) -> web.Response:
        if isinstance(answer.body, str):
            return web.Response(status=answer.status, text=answer.body)
        return web.json_response(answer.body, status=answer.status)
