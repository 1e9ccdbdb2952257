"""The table of faults: what goes wrong, and what must hold on each protocol.

Where a fault cannot occur on a protocol, the reason stands in the place of what holds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from . import behaviours as does, hostile
from .expectations import Row
from .framing import Protocol
from .proxy import Behaviour

type Holds = Row | str
"""What holds, or why the fault cannot occur."""

_NO_HTTP: Final = "there is no HTTP"
_NO_MODBUS: Final = "there is no Modbus"
_ONE_ANSWER: Final = "an answer of HTTP has no id, and is the only one on its way"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault: what it does, and what holds on each protocol."""

    name: str
    modbus: Holds
    solarman: Holds
    http: Holds
    behaves: Callable[[str], Behaviour] | None = None
    """Returns what the line does, for a type of battery."""
    begin: str = ""
    """The name of what the test does instead, for a fault that is not on the line."""
    asks: bool = False
    """Whether a setpoint is asked for while it lasts."""
    seconds: int = 0
    """Duration; 0 for three polls."""

    def on(self, protocol: Protocol) -> Holds:
        """Return what holds on a protocol, or why the fault cannot occur."""
        holds: Holds = getattr(self, protocol)
        return holds


def _same(behaviour: Behaviour) -> Callable[[str], Behaviour]:
    return lambda _: behaviour


def everywhere(
    name: str,
    row: Row,
    behaviour: Behaviour | None = None,
    *,
    http: Holds | None = None,
    solarman: Holds | None = None,
    **more: Any,
) -> Fault:
    """Return a fault that can occur on each protocol."""
    return Fault(
        name=name,
        modbus=row,
        solarman=row if solarman is None else solarman,
        http=row if http is None else http,
        behaves=None if behaviour is None else _same(behaviour),
        **more,
    )


def of_modbus(
    name: str,
    row: Row,
    behaviour: Behaviour,
    *,
    solarman: Holds | None = None,
    why: str = _NO_MODBUS,
    **more: Any,
) -> Fault:
    """Return a fault of Modbus, over either transport."""
    return everywhere(name, row, behaviour, http=why, solarman=solarman, **more)


def of_http(name: str, row: Row, behaviour: Behaviour, **more: Any) -> Fault:
    """Return a fault of HTTP and JSON."""
    return Fault(
        name=name,
        modbus=_NO_HTTP,
        solarman=_NO_HTTP,
        http=row,
        behaves=_same(behaviour),
        **more,
    )


INSIDE: Final = {
    "victron": (225, 262),
    "sma": (3, 30849),
    "sun2000": (1, 37022),
    "deye_modbus": (1, 586),
    "deye_solarman": (1, 586),
}
"""A register inside a block: the unit and the address."""
_STATUS: Final = b"/api/v1/power/status"
_ASIDE: Final = b"/api/v1/ota/status"


def _illegal_inside(battery_type: str) -> Behaviour:
    return does.illegal_address(*INSIDE[battery_type])


FAULTS: Final = (
    # The connection
    everywhere("refused", Row.AWAY, begin="refuse"),
    everywhere("unreachable", Row.AWAY, begin="drop"),
    everywhere("reset at once", Row.AWAY, does.reset_at_once),
    everywhere("reset in mid-frame", Row.AWAY, does.reset_in_mid_frame),
    everywhere("closed in mid-frame", Row.AWAY, does.close_in_mid_frame),
    everywhere("half-open", Row.HICCUP, does.half_open),
    everywhere("silence", Row.AWAY, does.silence),
    everywhere("a byte at a time", Row.AWAY, does.byte_by_byte),
    everywhere("late answers", Row.AWAY, does.late),
    # Frames
    everywhere("garbage", Row.GARBLED, does.garbage),
    everywhere("garbage before", Row.GARBLED, does.garbage_before),
    everywhere("garbage after", Row.GARBLED, does.garbage_after),
    everywhere("truncated", Row.GARBLED, does.truncated),
    everywhere("split", Row.HARMLESS, does.split),
    everywhere("glued", Row.HARMLESS, does.glued),
    of_modbus("stale", Row.GARBLED, does.stale, why=_ONE_ANSWER),
    of_modbus("id of another request", Row.GARBLED, does.other_id, why=_ONE_ANSWER),
    of_modbus("answer of another unit", Row.GARBLED, does.other_unit),
    of_modbus("answer to another function", Row.GARBLED, does.other_function),
    of_modbus("wrong byte count", Row.GARBLED, does.wrong_byte_count),
    of_modbus("frames without end", Row.GARBLED, does.endless_frames),
    # Refusals
    *(
        of_modbus(f"exception {code}", Row.REFUSED, does.refusal(code))
        for code in (1, 2, 3, 4, 5, 6, 10, 11)
    ),
    of_modbus("busy for a minute", Row.REFUSED, does.refusal(6), seconds=60),
    Fault(
        name="illegal address inside a block",
        modbus=Row.PART,
        solarman=Row.PART,
        http=_NO_MODBUS,
        behaves=_illegal_inside,
    ),
    of_http("301", Row.REFUSED, does.status(301, Location="http://127.0.0.1:9/")),
    of_http("401", Row.REFUSED, does.status(401, WWW_Authenticate="Basic")),
    of_http("403", Row.REFUSED, does.status(403)),
    of_http("404", Row.REFUSED, does.status(404)),
    of_http("429", Row.REFUSED, does.status(429)),
    of_http("500", Row.REFUSED, does.status(500)),
    of_http("503 for a minute", Row.REFUSED, does.status(503), seconds=60),
    of_http("one path 404", Row.PART, does.one_path(_ASIDE, does.status(404))),
    of_http("one path silent", Row.PART, does.one_path(_ASIDE, does.silence)),
    # Values
    of_modbus("words FFFF", Row.NO_VALUES, does.words(0xFFFF)),
    of_modbus("words 8000", Row.NO_VALUES, does.words(0x8000)),
    of_modbus("words 7FFF", Row.NO_VALUES, does.words(0x7FFF)),
    of_modbus("words 0", Row.NO_VALUES, does.words(0)),
    of_http("values null", Row.NO_VALUES, does.leaves(None)),
    of_http("values 0", Row.NO_VALUES, does.leaves(0)),
    of_http("values lists", Row.NO_VALUES, does.leaves([[], {}])),
    of_http("values texts", Row.NO_VALUES, does.leaves("?" * 200_000)),
    of_http("values NaN", Row.NO_VALUES, does.numbers("NaN")),
    of_http("values 1e400", Row.NO_VALUES, does.numbers("1e400")),
    of_http("values of 400 digits", Row.NO_VALUES, does.numbers("9" * 400)),
    of_http("no object", Row.GARBLED, does.body([1, 2, 3])),
    of_http("no fields", Row.NO_VALUES, does.body({"status": "ok"})),
    of_http("no JSON", Row.GARBLED, does.body(hostile.HTML)),
    of_http("deep nesting", Row.GARBLED, does.body(hostile.DEEP)),
    of_http("endless body", Row.GARBLED, does.endless_body),
    of_http("huge body", Row.GARBLED, does.body(b" " * 4_000_000)),
    of_http("compressed body", Row.GARBLED, does.bomb),
    # Another device
    everywhere("another device", Row.ANOTHER, begin="exchange"),
    # Writes
    *(
        everywhere(
            f"connection lost at write {nth}{'' if taken else ', not taken'}",
            Row.WRITE,
            behaves=None,
            asks=True,
        )
        for nth in ()
        for taken in (True, False)
    ),
    # The machine of Home Assistant
    everywhere("disk full", Row.HARMLESS, begin="fill_disk", asks=True),
    everywhere("clock a day ahead", Row.HARMLESS, begin="clock_ahead"),
    everywhere("clock a day behind", Row.HARMLESS, begin="clock_behind"),
)


def write_faults() -> Iterator[Fault]:
    """Yield the faults at a write; each cell counts its own writes."""
    for nth in (1, 2):
        for taken in (True, False):
            yield Fault(
                name=f"lost at write {nth}{'' if taken else ', not taken'}",
                modbus=Row.WRITE,
                solarman=Row.WRITE,
                http=Row.WRITE,
                behaves=lambda _, nth=nth, taken=taken: does.end_at_write(
                    nth, taken=taken
                ),
                asks=True,
            )
    yield everywhere("write without effect", Row.WRITE, does.without_effect, asks=True)
