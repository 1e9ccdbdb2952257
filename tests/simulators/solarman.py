"""A Solarman data logger (stick): Modbus RTU packed into V5 frames, on TCP.

Its faults are those of real ones: see `LoggerFaults`.
"""

import asyncio
from collections.abc import Callable
import struct
import time
from typing import Final

from .modbus import NO_RESPONSE, READ_HOLDING_REGISTERS, Dropped, Traffic, Units
from .modbus_server import ModbusServer, TcpServer
from .rtu import framed, unframed
from .solarman_faults import OTHER_SEQUENCE, LoggerFaults, corrupted, corrupted_rtu
from .solarman_frames import (
    ANSWER,
    HEARTBEAT,
    HEARTBEAT_ANSWER,
    OVERHEAD,
    REQUEST,
    START,
    Frame,
    answered,
    asked,
    length_of,
    unpack,
)

SERIAL: Final = 2_718_281_828
MAC: Final = "34EAE7000001"
WRONG_SERIAL: Final = bytes((6, 0))
WRONG_UNIT: Final = bytes((5, 0))
EXCEPTION: Final = 0x80
MAX_CHUNK: Final = 1024
PAUSE: Final = 0.02  # s; enough for a segment to arrive by itself
HELLOS: Final = (b"WIFIKIT-214028-READ", b"HF-A11ASSISTHREAD")


class SolarmanLogger(TcpServer):
    """A logger in front of an inverter."""

    faults: LoggerFaults

    def __init__(
        self,
        units: Units,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        serial: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve an inverter; `serial` is the logger's own."""
        super().__init__(host, port, clock=clock)
        self.faults = LoggerFaults()
        self.units = units
        self.serial = serial
        self.acknowledged = 0
        """Number of heartbeats that were answered."""
        self._counter = 0
        self._started = clock()

    @property
    def traffic(self) -> Traffic:
        """Requests that reached the inverter, without those that a fault answered."""
        return self.units.traffic

    def send_heartbeat(self) -> None:
        """Send a heartbeat to every client now."""
        for writer in self._open:
            writer.write(self._heartbeat().packed())

    def close_idle(self) -> None:
        """Close every connection in an orderly way, as after a long silence."""
        for writer in self._open:
            writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float
    ) -> None:
        if len(self._open) > self.faults.sockets:
            return
        heard, held = b"", b""
        while chunk := await self._listen(reader):
            heard += chunk
            while (length := _next(heard)) and length <= len(heard):
                frame, heard = unpack(heard[:length]), heard[length:]
                if frame is None or frame.control != REQUEST:
                    self.acknowledged += bool(
                        frame and frame.control == HEARTBEAT_ANSWER
                    )
                    continue
                if self._is_lost(since):
                    self.lost += 1
                    continue
                await self._pause()
                answer = self._answered(frame)
                if answer is not None:
                    held = await self._send(writer, frame, answer, held)

    async def _listen(self, reader: asyncio.StreamReader) -> bytes:
        """Return the next bytes; none at the end."""
        try:
            async with asyncio.timeout(self.faults.idle_timeout):
                return await reader.read(MAX_CHUNK)
        except TimeoutError:
            return b""

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        request: Frame,
        answer: bytes,
        held: bytes,
    ) -> bytes:
        """Send an answer as the faults demand; return the bytes that are held back."""
        if self._is_due("late"):
            return held + answer
        segments = self._segments(request, answer, held)
        if splits := self._is_due("split"):
            joined, at = b"".join(segments), self.faults.split_at
            segments = [joined[:at], joined[at:]]
        for number, segment in enumerate(segments):
            if number:
                await asyncio.sleep(PAUSE)
                if splits and not self.faults.split_rest:
                    raise Dropped
            writer.write(segment)
            await writer.drain()
        return b""

    def _segments(self, request: Frame, answer: bytes, held: bytes) -> list[bytes]:
        """Return the segments to send."""
        segments = [answer]
        if held:
            segments = [held + answer] if self.faults.late_glued else [held, answer]
        if self._is_due("foreign"):
            foreign = self._foreign(request).packed()
            segments = (
                [foreign] if self.faults.foreign_instead else [foreign, *segments]
            )
        if self._is_due("banner"):
            segments.insert(0, self.faults.banner_text.encode("ascii"))
        if self._is_due("heartbeat"):
            same = request.sequence[0] if self.faults.heartbeat_same else None
            heartbeat = self._heartbeat(same).packed()
            match self.faults.heartbeat_where:
                case "before":
                    segments.insert(0, heartbeat)
                case "after":
                    segments.append(heartbeat)
                case "glued_before":
                    segments[0] = heartbeat + segments[0]
                case "glued_after":
                    segments[-1] += heartbeat
        return segments

    def _answered(self, request: Frame) -> bytes | None:
        """Return the answer to a request, None for silence."""
        rtu = self._rtu(request)
        if rtu is None:
            return None
        wrong = self.faults.corrupt_what if self._is_due("corrupt") else None
        if wrong:
            rtu = corrupted_rtu(rtu, wrong)
        frame = self._frame(ANSWER, request.sequence[0], self._payload(rtu))
        return corrupted(frame, wrong) if wrong else frame.packed()

    def _rtu(self, request: Frame) -> bytes | None:
        """Return the payload: an RTU frame, or two bytes of the logger's own."""
        if request.serial != self.serial:
            return WRONG_SERIAL
        question = unframed(asked(request.payload) or b"")
        if question is None:
            return None
        unit, pdu = question
        answer = self._answer(self.units, unit, pdu)
        if answer is None:
            return None
        if answer[0] & EXCEPTION and answer[1] == NO_RESPONSE:
            return WRONG_UNIT
        return framed(unit, answer) + b"\0\0" * self.faults.double_crc

    def _foreign(self, request: Frame) -> Frame:
        """Return an answer to another client: a word longer than the requested one."""
        unit, pdu = unframed(asked(request.payload) or b"") or (1, b"")
        words = 1
        if pdu[:1] == bytes((READ_HOLDING_REGISTERS,)):
            words += struct.unpack(">HH", pdu[1:])[1]
        answer = bytes((READ_HOLDING_REGISTERS, 2 * words & 0xFF)) + b"\x11\x22" * words
        sequence = request.sequence[0]
        if not self.faults.foreign_same:
            sequence ^= OTHER_SEQUENCE
        return self._frame(ANSWER, sequence, self._payload(framed(unit, answer)))

    def _heartbeat(self, sequence: int | None = None) -> Frame:
        """Return an unsolicited frame."""
        return self._frame(
            HEARTBEAT, self._counter if sequence is None else sequence, b"\0"
        )

    def _payload(self, rtu: bytes) -> bytes:
        now = int(self.clock() - self._started)
        return answered(rtu, working=now, powered=now, offset=int(self._started))

    def _frame(self, control: int, sequence: int, payload: bytes) -> Frame:
        self._counter = self._counter + 1 & 0xFF
        return Frame(control, (sequence, self._counter), self.serial, payload)

    def _is_due(self, fault: str) -> bool:
        """Return True if a counted fault happens now, and count."""
        remaining: int = getattr(self.faults, fault)
        if remaining:
            setattr(self.faults, fault, remaining - 1)
        return remaining > 0


class EthernetLogger(ModbusServer):
    """A logger of the kind LSE-3: plain Modbus TCP, on the port of the others.

    A V5 request is read as Modbus TCP: the answer repeats its first five bytes, with an
    exception to the byte in the function's place.
    """

    def __init__(
        self,
        units: Units,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        serial: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve an inverter; only discovery uses `serial`."""
        super().__init__(units, host, port, clock=clock)
        self.serial = serial

    async def _take_foreign(
        self, header: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        length = length_of(header)
        if header[0] != START or length is None or length < OVERHEAD:
            return False
        rest = await reader.readexactly(length - len(header))
        await self._pause()
        said = bytes((header[6], rest[0] | EXCEPTION, 2))
        writer.write(header[:5] + bytes((len(said),)) + said)
        await writer.drain()
        return True


class Discovery(asyncio.DatagramProtocol):
    """Answers UDP discovery."""

    def __init__(self, answer: Callable[[], str | None]) -> None:
        """Keep `answer`, which returns the text to send, None for nothing."""
        self.answer = answer
        self.transport: asyncio.DatagramTransport | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(host, port)
        )
        bound: int = self.transport.get_extra_info("sockname")[1]
        return bound

    def stop(self) -> None:
        """Stop listening."""
        if self.transport:
            self.transport.close()
            self.transport = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        answer = self.answer() if data.strip() in HELLOS else None
        if answer is not None and self.transport:
            self.transport.sendto(answer.encode("ascii"), addr)


def _next(heard: bytes) -> int | None:
    """Return the length of the next frame; bytes that are none count whole."""
    if heard and heard[0] != START:
        return len(heard)
    return length_of(heard)
