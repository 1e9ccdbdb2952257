"""The answers of a device as a bare socket gets them: no client has them earlier."""

from collections.abc import Sequence
import socket
from statistics import median
import time
from typing import Final

from .devices import Setup

_CHUNK: Final = 65536
_PAUSE: Final = 0.01
"""Seconds after which the rest of an answer has come."""


def answer_time(
    setup: Setup, requests: Sequence[bytes], *, rounds: int, spacing: float
) -> float:
    """Return the median time from a request until the first bytes of its answer, s.

    `requests` are those of a poll, `spacing` is the pause before each, s. Blocks.
    """
    times = []
    with socket.create_connection((setup["host"], setup["port"])) as bare:
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in (1 + rounds) * list(requests):
            time.sleep(max(_PAUSE, spacing))
            _drop_rest(bare)
            began = time.perf_counter()
            bare.sendall(request)
            bare.recv(_CHUNK)
            times.append(time.perf_counter() - began)
    # The first round makes the connection, at the relay too.
    return median(times[len(requests) :])


def _drop_rest(bare: socket.socket) -> None:
    """Drop the rest of the last answer."""
    bare.setblocking(False)
    try:
        while bare.recv(_CHUNK):
            pass
    except BlockingIOError:
        pass
    bare.setblocking(True)
