"""The requests to a simulated device, each seen before the device takes it."""

from collections.abc import Callable
from typing import Any

from tests.simulators import Simulator
from tests.simulators.http_server import Answer, HangUp, JsonServer, Request
from tests.simulators.modbus import Dropped, Units
from tests.simulators.modbus_server import WRITES

type Take = Callable[[bool], bool]
"""Is called with whether a request writes; returns whether the device takes it."""


def intercept(simulator: Simulator, take: Take) -> None:
    """Ask `take` about each request from now on; False ends the connection instead.

    Of several calls for the same device, the last is asked first.
    """
    server: Any = simulator.server
    if isinstance(simulator.server, JsonServer):
        answer = server.answer

        async def answer_if_taken(request: Request) -> Answer:
            if not take(request.method != "GET"):
                raise HangUp
            answered: Answer = await answer(request)
            return answered

        server.answer = answer_if_taken
        return
    answer_frame = server._answer

    def answer_frame_if_taken(units: Units, unit: int, pdu: bytes) -> bytes | None:
        if not take(pdu[0] in WRITES):
            raise Dropped
        answered: bytes | None = answer_frame(units, unit, pdu)
        return answered

    server._answer = answer_frame_if_taken
