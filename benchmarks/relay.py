"""A relay in front of a device: it counts requests, and delays answers.

    python -m benchmarks.relay modbus_tcp 127.0.0.1 1502

It prints its port. Each line that it reads is JSON: `{"answer": 0.02}` has answers come
so long after their requests from then on, s; `{"log": true}` has the requests since the
last time printed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import astuple, dataclass
import json
import sys
import time

from .framing import FRAMINGS, Request

LONGEST_LINE = 16_000_000
_CHUNK = 65536
_NEAR = 0.003
"""Seconds in which a timer of the loop may be late: it counts whole milliseconds."""


@dataclass
class Seen:
    """A request at the device, and its times on the monotonic clock, s."""

    request: Request
    arrived: float
    answered: float | None = None
    """The time at which the last bytes of the answer are sent."""
    sent: str = ""
    """The bytes that came with it, as hexadecimal digits."""


class Relay:
    """Passes bytes on between clients and one device."""

    def __init__(
        self,
        framing: str,
        host: str,
        port: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to listen in front of a device at this address."""
        self.answer = 0.0
        """Seconds from a request until its answer; 0 passes it on at once."""
        self.port = 0
        self._framing = FRAMINGS[framing]
        self._device = (host, port)
        self._clock = clock
        self._seen: list[Seen] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen at a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
            self._server.close_clients()
            await self._server.wait_closed()

    def take(self) -> list[Seen]:
        """Return the requests since the last time, oldest first."""
        seen, self._seen = self._seen, []
        return seen

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            device, to_device = await asyncio.open_connection(*self._device)
        except OSError:
            writer.close()
            return
        asked: list[Seen] = []
        forth = asyncio.create_task(self._carry_requests(reader, to_device, asked))
        try:
            await self._carry_answers(device, writer, asked)
        except OSError:
            pass  # One of both is gone.
        finally:
            forth.cancel()
            for each in (writer, to_device):
                each.close()

    async def _carry_requests(
        self,
        reader: asyncio.StreamReader,
        device: asyncio.StreamWriter,
        asked: list[Seen],
    ) -> None:
        """Pass requests on; `asked` has those of the connection."""
        rest = b""
        while data := await reader.read(_CHUNK):
            requests, rest = self._framing(rest + data)
            now = self._clock()
            asked[:] = [
                *asked[-1:],
                *(Seen(each, now, sent=data.hex()) for each in requests),
            ]
            self._seen += asked[-len(requests) :] if requests else []
            device.write(data)
        device.close()

    async def _carry_answers(
        self,
        device: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: list[Seen],
    ) -> None:
        """Pass answers on, each as late as it is to be."""
        while data := await device.read(_CHUNK):
            last = asked[-1] if asked else None
            if self.answer and last is not None and last.answered is None:
                await self._reach(last.arrived + self.answer)
            if last is not None:
                last.answered = self._clock()
            writer.write(data)

    async def _reach(self, due: float) -> None:
        """Wait until a time of the clock, to within a tenth of a millisecond."""
        await asyncio.sleep(max(0.0, due - self._clock() - _NEAR))
        while self._clock() < due:
            await asyncio.sleep(0)


async def _main(framing: str, host: str, port: str) -> None:
    """Relay until the standard input ends."""
    relay = Relay(framing, host, int(port))
    await relay.start()
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    _print({"port": relay.port})
    while line := await reader.readline():
        wish = json.loads(line)
        relay.answer = wish.get("answer", relay.answer)
        _print([astuple(each) for each in relay.take()] if "log" in wish else {})
    await relay.stop()


def _print(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
