"""Changes of a request and its answer, one function a fault."""

import asyncio
from collections.abc import Callable, Mapping
import json
import struct
from typing import Final

from tests.simulators.modbus import READ_HOLDING_REGISTERS

from . import hostile
from .framing import BusFraming, HttpFraming
from .proxy import Behaviour, Exchange, pass_on

TIMEOUT: Final = 0.1
"""Seconds that the integration waits for an answer in these tests."""
_HALF: Final = 2
_MARK: Final = 8_642_013_579
"""A number in the place of one that JSON libraries do not write."""


def bus(exchange: Exchange) -> BusFraming:
    """Return the framing of an exchange that carries Modbus."""
    assert isinstance(exchange.framing, BusFraming)
    return exchange.framing


def http(exchange: Exchange) -> HttpFraming:
    """Return the framing of an exchange over HTTP."""
    assert isinstance(exchange.framing, HttpFraming)
    return exchange.framing


# Connections that end, or say nothing


async def reset_at_once(exchange: Exchange) -> None:
    """Reset the connection instead of answering."""
    exchange.reset()


async def reset_in_mid_frame(exchange: Exchange) -> None:
    """Reset the connection in the midst of the answer."""
    answer = await exchange.ask()
    await exchange.send(answer[: len(answer) // _HALF])
    await asyncio.sleep(0)
    exchange.reset()


async def close_in_mid_frame(exchange: Exchange) -> None:
    """Close the connection in the midst of the answer."""
    answer = await exchange.ask()
    await exchange.send(answer[: len(answer) // _HALF])
    exchange.close()


async def half_open(exchange: Exchange) -> None:
    """Lose what comes over connections from before: the other end has forgotten them."""
    if exchange.is_old:
        await exchange.ignore()
    await pass_on(exchange)


async def silence(exchange: Exchange) -> None:
    """Take requests and answer none."""
    await exchange.ignore()


async def byte_by_byte(exchange: Exchange) -> None:
    """Send a byte at a time, each a fifth of the time-out after the one before."""
    answer = await exchange.ask()
    await exchange.send(
        *(answer[each : each + 1] for each in range(len(answer))), pause=TIMEOUT / 5
    )


async def late(exchange: Exchange) -> None:
    """Answer when the time is up; the next request may have been sent by then."""
    answer = await exchange.ask()
    await asyncio.sleep(1.5 * TIMEOUT)
    await exchange.send(answer)


# Frames that are not right


async def garbage(exchange: Exchange) -> None:
    """Answer with bytes of no protocol."""
    await exchange.send(hostile.GARBAGE)


async def garbage_before(exchange: Exchange) -> None:
    """Send garbage in front of the answer."""
    await exchange.send(hostile.GARBAGE + await exchange.ask())


async def garbage_after(exchange: Exchange) -> None:
    """Send garbage behind the answer."""
    await exchange.send(await exchange.ask() + hostile.GARBAGE)


async def truncated(exchange: Exchange) -> None:
    """Send all but the last bytes of the answer."""
    await exchange.send((await exchange.ask())[:-2])


async def split(exchange: Exchange) -> None:
    """Send the answer in two segments."""
    answer = await exchange.ask()
    await exchange.send(answer[:5], answer[5:])


async def glued(exchange: Exchange) -> None:
    """Send the answer twice, in one segment."""
    answer = await exchange.ask()
    await exchange.send(answer + answer)


async def stale(exchange: Exchange) -> None:
    """Send the answer before in front of this one."""
    previous = exchange.previous
    await exchange.send(previous + await exchange.ask())


async def other_id(exchange: Exchange) -> None:
    """Answer with the id of another request."""
    await exchange.send(bus(exchange).with_other_id(await exchange.ask()))


async def other_unit(exchange: Exchange) -> None:
    """Answer as another unit."""
    unit, pdu = bus(exchange).answered(await exchange.ask())
    await exchange.send(bus(exchange).answer(exchange.request, unit ^ 1, pdu))


async def other_function(exchange: Exchange) -> None:
    """Answer to another function, of the same shape."""
    unit, pdu = bus(exchange).answered(await exchange.ask())
    other = bytes((pdu[0] ^ 7 if pdu[0] < 8 else pdu[0] ^ 22,)) + pdu[1:]
    await exchange.send(bus(exchange).answer(exchange.request, unit, other))


async def wrong_byte_count(exchange: Exchange) -> None:
    """Count two bytes less than there are."""
    unit, pdu = bus(exchange).answered(await exchange.ask())
    other = pdu[:1] + bytes((pdu[1] - 2 & 0xFF,)) + pdu[2:]
    await exchange.send(bus(exchange).answer(exchange.request, unit, other))


async def endless_frames(exchange: Exchange) -> None:
    """Send answers to nothing without an end."""
    answer = bus(exchange).with_other_id(await exchange.ask())
    while True:
        exchange.taken = 0  # each is an answer of its own
        await exchange.send(answer * 16)
        await asyncio.sleep(0)


# Refusals


def refusal(code: int) -> Behaviour:
    """Refuse each request with a Modbus exception."""

    async def refuse(exchange: Exchange) -> None:
        framing = bus(exchange)
        unit, pdu = framing.asked(exchange.request)
        said = bytes((pdu[0] | 0x80, code))
        await exchange.send(framing.answer(exchange.request, unit, said))

    return refuse


def one_register(unit: int, address: int, behaviour: Behaviour) -> Behaviour:
    """Behave so at each read across one register alone."""

    async def answer(exchange: Exchange) -> None:
        asked_unit, pdu = bus(exchange).asked(exchange.request)
        first, count = struct.unpack(">HH", pdu[1:5])
        reads = pdu[0] == READ_HOLDING_REGISTERS
        is_it = reads and asked_unit == unit and first <= address < first + count
        await (behaviour if is_it else pass_on)(exchange)

    return answer


def status(code: int, **headers: str) -> Behaviour:
    """Answer each request with an HTTP status; headers have _ for -."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(http(exchange).answer("No", code, **headers))

    return answer


def one_path(path: bytes, behaviour: Behaviour) -> Behaviour:
    """Behave so at one path alone."""

    async def answer(exchange: Exchange) -> None:
        is_it = exchange.request.split(b" ", 2)[1] == path
        await (behaviour if is_it else pass_on)(exchange)

    return answer


# Answers of the right form


async def zeros(exchange: Exchange) -> None:
    """Answer each read with zeros, as some devices do that have just started."""
    await _read_as(exchange, lambda _: 0)


def sentinels(words: Mapping[int, int]) -> Behaviour:
    """Answer reads with these words, by address, for what is not available."""

    async def answer(exchange: Exchange) -> None:
        await _read_as(exchange, words.get)

    return answer


async def _read_as(exchange: Exchange, word_at: Callable[[int], int | None]) -> None:
    """Answer a read with other words; None leaves the right one."""
    frame = await exchange.ask()
    if (words := bus(exchange).words(frame)) is not None:
        _, pdu = bus(exchange).asked(exchange.request)
        (first,) = struct.unpack(">H", pdu[1:3])
        others = map(word_at, range(first, first + len(words)))
        said = [
            word if other is None else other
            for word, other in zip(words, others, strict=True)
        ]
        frame = bus(exchange).with_words(exchange.request, said)
    await exchange.send(frame)


def body(content: object) -> Behaviour:
    """Answer each request with a body of its own; JSON, text, or bytes."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(http(exchange).answer(content))

    return answer


def leaves(leaf: object) -> Behaviour:
    """Answer with the right object, in which each value is this one."""

    async def answer(exchange: Exchange) -> None:
        said = http(exchange).body(await exchange.ask())
        await exchange.send(http(exchange).answer(hostile.altered(said, leaf)))

    return answer


def numbers(text: str) -> Behaviour:
    """Answer with the right object, in which this stands for each number."""

    async def answer(exchange: Exchange) -> None:
        said = http(exchange).body(await exchange.ask())
        marked = json.dumps(hostile.with_numbers(said, _MARK))
        await exchange.send(http(exchange).answer(marked.replace(str(_MARK), text)))

    return answer


async def huge_body(exchange: Exchange) -> None:
    """Answer with the right object, and many spaces behind it."""
    right = json.dumps(http(exchange).body(await exchange.ask()))
    length = len(right) + hostile.HUGE * len(hostile.SPACES)
    await exchange.send(http(exchange).answer(right, Content_Length=f"{length}"))
    for _ in range(hostile.HUGE):
        await exchange.send(hostile.SPACES)


async def endless_body(exchange: Exchange) -> None:
    """Answer with a body that has no end."""
    await exchange.send(http(exchange).answer("", Content_Length=None))
    while True:
        await exchange.send(hostile.SPACES)


async def bomb(exchange: Exchange) -> None:
    """Answer with gzip that unpacks to 64 MB."""
    answer = http(exchange).answer(hostile.bomb(), Content_Encoding="gzip")
    await exchange.send(answer)


# Writes


def end_at_write(nth: int, *, taken: bool) -> Behaviour:
    """Reset the connection at the nth write, which the device has taken or not."""
    count = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal count
        count += exchange.is_write
        if exchange.is_write and count == nth:
            if taken:
                await exchange.ask()
            exchange.reset()
        await pass_on(exchange)

    return answer


async def without_effect(exchange: Exchange) -> None:
    """Accept each write without passing it on."""
    if exchange.is_write:
        await exchange.send(exchange.framing.accepted(exchange.request))
    else:
        await pass_on(exchange)
