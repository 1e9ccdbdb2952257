"""A dongle that answers one path with bytes of a test's own, or not at all."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
import json
from typing import Any, Final, Self

USERNAME: Final = "DABC1234"
PASSWORD: Final = "SECRET12"

type Body = bytes | Iterator[bytes] | None
"""All of an answer with its head, in parts if it is endless; None for silence."""


def answer(body: bytes | str, status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer; the headers have _ for -."""
    content = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(content)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + content


class HostileDongle:
    """A battery's dongle; `hostile` has the paths that get other answers."""

    def __init__(self, responses: Mapping[str, Any]) -> None:
        """Prepare to answer each GET as in a vector."""
        self.hostile: dict[str, Body] = {}
        self.asked: Counter[str] = Counter()
        """The number of requests of each path."""
        self.sent = 0
        """Bytes of endless answers that were sent."""
        self._responses = responses
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def setup(self) -> dict[str, Any]:
        """The arguments that a driver reaches it with."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return {
            "host": host,
            "port": port,
            "username": USERNAME,
            "password": PASSWORD,
        }

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening, and close all connections."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        self.asked[path] += 1
        if path in self.hostile:
            await self._be_hostile(self.hostile[path], reader, writer)
            return False
        body = self._responses.get(f"{method} {path}")
        writer.write(
            answer("", "404 Not Found") if body is None else answer(json.dumps(body))
        )
        await writer.drain()
        return True

    async def _be_hostile(
        self, body: Body, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match body:
            case None:
                await reader.read()  # until the client hangs up
            case bytes():
                writer.write(body)
                await writer.drain()
            case _:
                for part in body:
                    writer.write(part)
                    self.sent += len(part)
                    await writer.drain()
