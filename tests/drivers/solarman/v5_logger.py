"""A data logger that answers with exactly the bytes of a test."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import struct
from typing import Final, Self

from pymodbus.framer import FramerRTU

SERIAL: Final = 2712345678
HEARTBEAT: Final = bytes.fromhex("a5010010478d69b5b50aa2006415")
BANNER: Final = b"AT+YZCMPVER=LSW3_14_FFFF_1.0.9E\r\n\r\n"

HANG_UP: Final = b"hang up"
"""In place of bytes: the logger closes the connection."""

type Segments = Sequence[bytes]
"""The logger's bytes, in TCP segments of their own."""
type Reply = Callable[["Request"], Segments]


@dataclass(frozen=True)
class Request:
    """A V5 request that came in."""

    frame: bytes

    @property
    def sequence(self) -> int:
        """The byte that its answer repeats."""
        return self.frame[5]

    @property
    def serial(self) -> int:
        """Serial number of the addressed logger."""
        return int.from_bytes(self.frame[7:11], "little")

    @property
    def rtu(self) -> bytes:
        """The Modbus request, CRC included."""
        return self.frame[26:-2]


def rtu(*body: int) -> bytes:
    """Return a Modbus RTU frame: unit, function and the rest, with its CRC."""
    return bytes(body) + FramerRTU.compute_CRC(bytes(body)).to_bytes(2)


def v5(
    request: Request,
    payload: bytes,
    *,
    serial: int = SERIAL,
    sequence: int | None = None,
    control: int = 0x1510,
) -> bytes:
    """Return the logger's answer to a request: `payload` in a V5 frame."""
    body = (
        struct.pack(
            "<HHBBI",
            14 + len(payload),
            control,
            request.sequence if sequence is None else sequence,
            7,
            serial,
        )
        + bytes((2, 1))
        + struct.pack("<III", 100, 200, 1_700_000_000)
        + payload
    )
    return b"\xa5" + body + bytes((sum(body) & 0xFF, 0x15))


def words(request: Request, *values: int) -> bytes:
    """Return the RTU answer to a read."""
    unit, function = request.rtu[:2]
    return rtu(
        unit, function, 2 * len(values), *struct.pack(f">{len(values)}H", *values)
    )


def reads(*values: int) -> Reply:
    """Answer a read with these words."""
    return lambda request: [v5(request, words(request, *values))]


def silence(request: Request) -> Segments:
    """Answer nothing."""
    return []


class ScriptedLogger:
    """A logger with one reply per request; the last reply answers all later ones."""

    def __init__(self, *replies: Reply) -> None:
        """Prepare the replies."""
        self.replies = list(replies)
        self.requests: list[Request] = []
        self.connections = 0
        self.host = "127.0.0.1"
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server.abort_clients()
        await self._server.wait_closed()

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except ConnectionError, asyncio.IncompleteReadError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readexactly(11)
            rest = await reader.readexactly(int.from_bytes(head[1:3], "little") + 2)
            request = Request(head + rest)
            self.requests.append(request)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            for segment in reply(request):
                if segment is HANG_UP:
                    return
                writer.write(segment)
                await writer.drain()
                # Long enough to be read on its own.
                await asyncio.sleep(0.01)
