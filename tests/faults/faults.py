"""The table of faults: what goes wrong, and what must hold with each battery.

Where a fault cannot occur, the reason stands in the place of what holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from tests.simulators.modbus import ILLEGAL_ADDRESS

from . import behaviours as does, hostile, surroundings as around
from .expectations import (
    ANOTHER,
    AWAY,
    GARBLED,
    GARBLED_UNLESS_REPEATED,
    HARMLESS,
    MACHINE,
    NO_CONNECTION,
    NO_EFFECT,
    NO_VALUES,
    PART,
    PART_PAUSED,
    REFUSED,
    REFUSED_LOGIN,
    WRITE,
    ZEROS,
    Row,
)
from .framing import Protocol
from .proxy import Behaviour
from .surroundings import Happening, on_line

# A simulated battery is not among them: no connection of it can fail.
PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "victron": "modbus",
    "sun2000": "modbus",
    "deye_modbus": "modbus",
    "deye_solarman": "solarman",
    "sessy": "http",
    "sma": "modbus",
}
"""The batteries, and the protocol of each."""


class Situation(StrEnum):
    """The state of a battery when a fault comes."""

    AT_REST = "at rest"
    HELD = "held"
    STARTING = "starting"
    """Held, when Home Assistant starts anew."""


type Holds = Row | str
"""The class of a fault, or the reason why it cannot occur."""

_NO_HTTP: Final = "there is no HTTP, and no JSON"
_NO_MODBUS: Final = "there is no Modbus"
_ONE_ANSWER: Final = "HTTP has one answer under way, and it carries no id"
_NO_RTU: Final = "RTU frames over TCP are an option of one device alone"
_ONE_LOGGER: Final = "there is no data logger"
_NO_OLD: Final = "a start makes connections of its own"
_FEW_WRITES: Final = "so many writes are not made"
_NO_SENTINEL: Final = "its maker knows no word for 'not available' but 0"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault: the event, and what holds on each protocol."""

    name: str
    happens: Happening
    modbus: Holds
    solarman: Holds
    http: Holds
    but: Mapping[str, Holds] = field(default_factory=dict)
    """The types of battery for which something else holds."""
    protocol: Protocol | None = None
    """The protocol, where it is not that of `PROTOCOLS`."""
    asks: bool = False
    """Whether a setpoint is asked for while it lasts."""
    seconds: int = 12
    """Its duration after the first poll: two polls, or more."""
    never: Callable[[str, Situation], str] = lambda _type, _situation: ""
    """The reason why a battery cannot meet it in a situation; empty if it can."""

    def holds(self, battery_type: str, situation: Situation) -> Holds:
        """Return what holds with a battery, or why the fault cannot occur."""
        if reason := self.never(battery_type, situation):
            return reason
        general: Holds = getattr(self, PROTOCOLS[battery_type])
        return self.but.get(battery_type, general)


def _line(
    name: str,
    behaviour: Behaviour,
    modbus: Holds,
    solarman: Holds | None = None,
    http: Holds | None = None,
    *,
    but: Mapping[str, Holds] | None = None,
    seconds: int = 12,
) -> Fault:
    """Return a fault of the line to the device; without others, `modbus` holds."""
    return Fault(
        name=name,
        happens=on_line(lambda _: behaviour),
        modbus=modbus,
        solarman=solarman or modbus,
        http=http or modbus,
        but=but or {},
        seconds=seconds,
    )


def _http(name: str, behaviour: Behaviour, row: Row, seconds: int = 12) -> Fault:
    """Return a fault of HTTP and JSON."""
    return _line(name, behaviour, _NO_HTTP, _NO_HTTP, row, seconds=seconds)


def _rtu(fault: Fault) -> Fault:
    """Return a fault of a line that carries RTU frames."""
    return replace(
        fault,
        name=f"{fault.name} (RTU)",
        protocol="rtu",
        modbus=_NO_RTU,
        solarman=_NO_RTU,
        http=_NO_RTU,
        but={"deye_modbus": fault.modbus},
    )


def _around(
    name: str, happens: Happening, row: Row, *, asks: bool = False, seconds: int = 12
) -> Fault:
    """Return a fault that is the same on each protocol."""
    return Fault(
        name=name,
        happens=happens,
        modbus=row,
        solarman=row,
        http=row,
        asks=asks,
        seconds=seconds,
    )


def _at_write(name: str, make: Callable[[], Behaviour], row: Row) -> Fault:
    """Return a fault of the line that meets a write; `make` counts anew in each cell."""
    return _around(name, on_line(lambda _: make()), row, asks=True)


_MOST_WRITES: Final = {
    ("sessy", Situation.AT_REST): 2,
    ("sessy", Situation.HELD): 1,
    ("sessy", Situation.STARTING): 2,
    ("victron", Situation.STARTING): 2,
    ("sun2000", Situation.STARTING): 1,
    ("sma", Situation.STARTING): 1,
}
"""The number of writes where there are less than three: that set a setpoint, or that
release the battery at a start."""


def _lost_at_write(nth: int, *, taken: bool) -> Fault:
    """Return the loss of the connection at a write, which the device has taken or not."""
    fault = _at_write(
        f"connection lost at write {nth}{'' if taken else ', not taken'}",
        lambda: does.end_at_write(nth, taken=taken),
        WRITE,
    )
    return replace(
        fault,
        never=lambda *cell: _FEW_WRITES if nth > _MOST_WRITES.get(cell, nth) else "",
    )


def _not_at_start(reason: str, fault: Fault) -> Fault:
    """Return a fault that cannot occur while Home Assistant starts."""
    return replace(
        fault,
        never=lambda _, situation: reason if situation is Situation.STARTING else "",
    )


_INSIDE: Final = {
    "victron": (225, 304),
    "sma": (3, 30849),
    "sun2000": (1, 32087),
    "deye_modbus": (1, 586),
    "deye_solarman": (1, 586),
}
"""A register inside a block: the unit and the address."""
_APART: Final = {
    "victron": (100, 2705),
    "sma": (3, 30581),
    "sun2000": (1, 47082),
    "deye_modbus": (1, 516),
    "deye_solarman": (1, 516),
}
"""A register in a block without live values, which a shown setting or counter needs."""
_TWO_ROUNDS: Final = 84
"""Seconds in which a slow value is read twice, the second time because it failed."""
_DAY: Final = timedelta(days=1)
_ENERGY: Final = b"/api/v1/energy/status"

CONNECTION: Final = (
    _around("connection refused", around.refused, NO_CONNECTION),
    _around(
        "connection refused for 11 minutes", around.refused, NO_CONNECTION, seconds=660
    ),
    _around("unreachable", around.unreachable, NO_CONNECTION),
    _line("reset at once", does.reset_at_once, AWAY),
    _line("reset in mid-frame", does.reset_in_mid_frame, AWAY),
    _line("closed in mid-frame", does.close_in_mid_frame, AWAY),
    _not_at_start(_NO_OLD, _line("half-open", does.half_open, HARMLESS)),
    _line("silence", does.silence, AWAY),
    _line("a byte at a time", does.byte_by_byte, AWAY),
    _line("answers after the time-out", does.late, AWAY),
)
FRAMES: Final = (
    _line("garbage", does.garbage, GARBLED),
    _line("garbage before", does.garbage_before, GARBLED, HARMLESS),
    _line("garbage after", does.garbage_after, HARMLESS, http=GARBLED),
    _line("truncated", does.truncated, GARBLED),
    _line("split", does.split, HARMLESS),
    _line("glued", does.glued, HARMLESS),
    _line("stale", does.stale, HARMLESS, http=_ONE_ANSWER),
    _line("id of another request", does.other_id, GARBLED, http=_ONE_ANSWER),
    _line("answer of another unit", does.other_unit, GARBLED, http=_NO_MODBUS),
    _line("answer to another function", does.other_function, GARBLED, http=_NO_MODBUS),
    _line("wrong byte count", does.wrong_byte_count, GARBLED, http=_NO_MODBUS),
    _line("frames without end", does.endless_frames, GARBLED, http=_NO_MODBUS),
    _http("no object", does.body([1, 2, 3]), GARBLED),
    _http("no JSON", does.body(hostile.HTML), GARBLED),
    _http("deep nesting", does.body(hostile.DEEP), GARBLED),
    _http("endless body", does.endless_body, GARBLED),
    _http("huge body", does.huge_body, GARBLED),
    _http("compressed body", does.bomb, GARBLED),
)
RTU: Final = (
    _rtu(_line("answers after the time-out", does.late, AWAY)),
    _rtu(_line("garbage", does.garbage, GARBLED)),
    _rtu(_line("garbage before", does.garbage_before, HARMLESS)),
    _rtu(_line("garbage after", does.garbage_after, HARMLESS)),
    _rtu(_line("truncated", does.truncated, GARBLED)),
    _rtu(_line("split", does.split, HARMLESS)),
    _rtu(_line("glued", does.glued, HARMLESS)),
    # An answer of the same length is taken for the right one: nothing tells them apart.
    _rtu(_line("stale", does.stale, GARBLED_UNLESS_REPEATED)),
    _rtu(_line("answer of another unit", does.other_unit, GARBLED)),
    _rtu(_line("answer to another function", does.other_function, GARBLED)),
    _rtu(_line("wrong byte count", does.wrong_byte_count, GARBLED)),
    _rtu(_line("frames without end", does.endless_frames, GARBLED)),
)
REFUSALS: Final = (
    *(
        _line(f"exception {code}", does.refusal(code), REFUSED, http=_NO_MODBUS)
        for code in (1, 2, 3, 4, 5, 6, 10, 11)
    ),
    _line("busy for a minute", does.refusal(6), REFUSED, http=_NO_MODBUS, seconds=60),
    Fault(
        name="illegal address inside a block",
        happens=on_line(
            lambda battery_type: does.one_register(
                *_INSIDE[battery_type], does.refusal(ILLEGAL_ADDRESS)
            )
        ),
        modbus=PART_PAUSED,
        solarman=PART_PAUSED,
        http=_NO_MODBUS,
        seconds=_TWO_ROUNDS,
    ),
    Fault(
        name="silence for one block",
        happens=on_line(
            lambda battery_type: does.one_register(*_APART[battery_type], does.silence)
        ),
        modbus=PART_PAUSED,
        solarman=PART_PAUSED,
        http=_NO_MODBUS,
        seconds=_TWO_ROUNDS,
    ),
    _http("301", does.status(301, Location="http://127.0.0.1:9/"), REFUSED),
    _http("401", does.status(401, WWW_Authenticate="Basic"), REFUSED_LOGIN),
    _http("403", does.status(403), REFUSED),
    _http("404", does.status(404), REFUSED),
    _http("429", does.status(429), REFUSED),
    _http("500", does.status(500), REFUSED),
    _http("503 for a minute", does.status(503), REFUSED, seconds=60),
    _http(
        "404 at one path", does.one_path(_ENERGY, does.status(404)), PART, _TWO_ROUNDS
    ),
    _http(
        "silence at one path",
        does.one_path(_ENERGY, does.silence),
        PART_PAUSED,
        _TWO_ROUNDS,
    ),
)
VALUES: Final = (
    _line("each word 0", does.zeros, ZEROS, http=_NO_MODBUS),
    Fault(
        name="sentinels",
        happens=around.sentinels,
        modbus=NO_VALUES,
        solarman=_NO_SENTINEL,
        http=_NO_MODBUS,
        but={"victron": _NO_SENTINEL, "deye_modbus": _NO_SENTINEL},
    ),
    _http("each value null", does.leaves(None), NO_VALUES),
    _http("each value 0", does.leaves(0), ZEROS),
    _http("each value a list", does.leaves([[], {}]), NO_VALUES),
    _http("each value a long text", does.leaves("?" * 2_000), NO_VALUES),
    _http("each number NaN", does.numbers("NaN"), NO_VALUES),
    _http("each number 1e400", does.numbers("1e400"), NO_VALUES),
    _http("each number of 400 digits", does.numbers("9" * 400), NO_VALUES),
    _http("no fields", does.body({"status": "ok"}), REFUSED),
)
FAULTS: Final = (
    *CONNECTION,
    *FRAMES,
    *RTU,
    *REFUSALS,
    *VALUES,
    _around("another device", around.another_device, ANOTHER),
    replace(
        _around("another data logger", around.another_logger, ANOTHER),
        modbus=_ONE_LOGGER,
        http=_ONE_LOGGER,
    ),
    replace(
        _around("another device at the data logger", around.another_behind, ANOTHER),
        modbus=_ONE_LOGGER,
        http=_ONE_LOGGER,
    ),
    *(_lost_at_write(nth, taken=taken) for nth in (1, 2, 3) for taken in (True, False)),
    _at_write("write without effect", lambda: does.without_effect, NO_EFFECT),
    _around("full disk", around.full_disk, MACHINE, asks=True),
    _around("clock a day ahead", around.clock_jump(_DAY), MACHINE),
    _around("clock a day behind", around.clock_jump(-_DAY), MACHINE),
)
