"""A plain Modbus TCP client without retries or checks, to test the simulators with."""

import asyncio
import contextlib
import struct
from typing import Self


class ModbusError(Exception):
    """The device answered with an exception code."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        super().__init__(f"exception {code}")
        self.code = code


class RawClient:
    """One connection; frames are written and read as they are."""

    def __init__(self, host: str, port: int) -> None:
        """Prepare to connect."""
        self.host = host
        self.port = port
        self.transaction = 0

    async def __aenter__(self) -> Self:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):  # the other side was faster
            await self.writer.wait_closed()

    def send(self, unit: int, pdu: bytes) -> None:
        """Send a request."""
        self.transaction += 1
        self.writer.write(
            struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, unit) + pdu
        )

    async def receive(self) -> tuple[int, bytes]:
        """Return the transaction id and the PDU of the next answer."""
        header = await self.reader.readexactly(7)
        transaction, _, length, _ = struct.unpack(">HHHB", header)
        return transaction, await self.reader.readexactly(length - 1)

    async def ask(self, unit: int, pdu: bytes) -> bytes:
        """Send a request and return the answer's PDU; an exception code is raised."""
        self.send(unit, pdu)
        _, answer = await self.receive()
        if answer[0] & 0x80:
            raise ModbusError(answer[1])
        return answer

    async def read(
        self, unit: int, address: int, count: int = 1, *, function: int = 3
    ) -> list[int]:
        """Read words."""
        answer = await self.ask(unit, struct.pack(">BHH", function, address, count))
        return list(struct.unpack(f">{answer[1] // 2}H", answer[2:]))

    async def write(self, unit: int, address: int, *words: int) -> None:
        """Write words with function 16."""
        count = len(words)
        head = struct.pack(">BHHB", 16, address, count, 2 * count & 0xFF)
        await self.ask(unit, head + struct.pack(f">{count}H", *words))

    async def write_one(self, unit: int, address: int, word: int) -> None:
        """Write one word with function 6."""
        await self.ask(unit, struct.pack(">BHH", 6, address, word))
