"""The table of what must hold in a fault and after it: a row a class of faults.

What holds in every cell besides: no value is shown that was never true, the log has no
traceback and no line but those that a row counts, another controller is never announced,
a lease is on disk as long as the battery is held, and in the end the device is as it was,
word by word. A start of Home Assistant amid a fault ends without an exception, and the
battery is released soon after the fault.
"""

from collections.abc import Collection, Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from .bench import POLL, Status

SLOW: Final = 70
"""Seconds within which slow values, and what failed alone, are read again."""
PAUSE: Final = 310
"""Seconds after which what failed alone for more than a minute is asked again."""
RETRY: Final = 36
"""Seconds within which each setpoint is renewed, and what failed is tried again."""


class Live(Enum):
    """The live values (SOC, powers, …) from the second failed poll on."""

    LOST = auto()
    """All are unavailable."""
    KEPT = auto()
    """None is unavailable."""
    EITHER = auto()
    """Each is true, unknown or unavailable."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A class of faults: its name, what the user sees, and what must hold."""

    title: str
    sees: str
    """In docs/reliability.md."""
    live: Live
    held: AbstractSet[Status]
    """The control status in the end of a fault while held."""
    losses: Collection[int] = (1,)
    """Number of lines in the log that say that values are lost, and that they are back:
    one for what fails together."""
    doubts: int = 1
    """Largest number of those that say that a held battery may not follow."""
    odd_values: int = 0
    """Largest number of those that quote a value that there cannot be."""
    live_back: int = POLL
    """Seconds from the fault's end until the live values are available."""
    back: int = SLOW
    """… until all values are."""
    parts: bool = False
    """Whether something must be unavailable, and not all."""
    zeros: bool = False
    """Whether a 0 that comes may be shown, except as SOC and totals."""
    at_once: bool = False
    """Whether it may be seen at the first poll."""
    recovers: bool = True
    """Whether a setpoint is held again afterwards without being set again."""


_LOST: Final = frozenset(
    (status, reason)
    for status in ("pending", "not_following")
    for reason in ("unreachable", "refused")
)
_FOLLOWING: Final = frozenset({("following", None)})

AWAY = Row(
    title="The device cannot be reached",
    sees="all values unavailable from the second poll that fails; held: *Pending*, "
    "after a while *Not following*, with the reason",
    live=Live.LOST,
    held=_LOST,
)
NO_CONNECTION = replace(AWAY, live_back=RETRY)
GARBLED = replace(
    AWAY, title="What comes makes no sense", sees="as if it could not be reached"
)
GARBLED_UNLESS_REPEATED = replace(
    GARBLED, live=Live.EITHER, held=_LOST | _FOLLOWING, losses=(0, 1)
)
REFUSED = replace(
    AWAY,
    title="The device refuses",
    sees="all live values unavailable from the second poll that fails; held: *Pending*, "
    "after a while *Not following*, with the reason",
    losses=(1, 2),
)
REFUSED_LOGIN = replace(REFUSED, live_back=SLOW)
ANOTHER = replace(
    AWAY,
    title="Another device at the address",
    sees="all values unavailable, a repair issue; held: *Not following*, with the reason",
    held={("pending", "another_device"), ("not_following", "another_device")},
    at_once=True,
)
HARMLESS = Row(
    title="Hiccups that harm nothing",
    sees="nothing",
    live=Live.KEPT,
    held=_FOLLOWING,
    losses=(0,),
    doubts=0,
)
PART = replace(
    HARMLESS,
    title="One part fails alone",
    sees="only the values that come from it unavailable",
    losses=(1, 2),
    parts=True,
)
PART_PAUSED = replace(
    PART,
    live_back=PAUSE,
    back=PAUSE,
    # What is asked for in parts is back in parts.
    losses=(1, 2, 3),
    doubts=1,
)
MACHINE = replace(
    HARMLESS,
    title="Home Assistant's own machine",
    sees="an error where a setpoint cannot be saved; else nothing",
)
WRITE = replace(
    HARMLESS,
    title="A write goes wrong",
    sees="an error where the setpoint could not be set",
    held=_FOLLOWING | {("pending", None)},
    doubts=1,
)
NO_EFFECT = replace(
    WRITE,
    title="A write is accepted and has no effect",
    sees="*Not following*, with the reason",
    held=WRITE.held | {("pending", "no_effect"), ("not_following", "no_effect")},
    recovers=False,
)
NO_VALUES = Row(
    title="Values that there cannot be",
    sees="unknown, or the last value; never the value that came",
    live=Live.EITHER,
    held=_FOLLOWING
    | _LOST
    | {("limited", "unknown_state"), ("pending", None), ("not_following", "no_effect")},
    losses=(0, 1),
    odd_values=40,
)
ZEROS = replace(NO_VALUES, zeros=True)

ROWS: Final = (
    AWAY,
    GARBLED,
    REFUSED,
    PART,
    HARMLESS,
    NO_VALUES,
    ANOTHER,
    WRITE,
    NO_EFFECT,
    MACHINE,
)
"""As in docs/reliability.md; a row of the same title is part of one of these."""
