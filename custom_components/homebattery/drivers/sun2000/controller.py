"""A setpoint that is held: begun, renewed, and seen to end.

A forced command ends by itself: after its time, when the battery is full, when
somebody stops it. Only the first is begun again: at 100 % that would be a loop, and
the last is somebody's wish.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ..battery.controller import Bound, LimitReason, bounded
from ..errors import NotConfirmedError, TakenOverError
from ..measurements import Value
from .commands import (
    ControlState,
    ForcedControl,
    direction_of,
    limit_register,
    power_register,
)
from .measurements import LIMITS, number
from .registers import STOP

FULL: Final = 97
"""% from which a device may end a forced charge."""
EMPTY: Final = 1
"""% above the minimum SOC from which it may end a forced discharge."""
_RUN_OUT: Final = 0.9
"""The part of its time after which a command may have run out: devices count whole
minutes."""

type Limits = Mapping[str, float | None]
"""W by the name of the power limit; None where it is not known."""
type Reader = Callable[[Collection[str]], Awaitable[Mapping[str, Value]]]
"""Reads registers by name; those that fail are absent."""


@dataclass(slots=True)
class Held:
    """What the battery is held at."""

    wanted: int
    granted: int
    renewed: float
    """When it was last written, loop time, s."""
    reason: LimitReason | None = None
    """Why less is granted than was wanted."""
    ended: bool = False
    """The device has ended it."""
    strange_reads: int = 0
    """How often in a row another power than ours was read."""


class Setpoint:
    """Holds a battery at a power, through its forced commands.

    Methods raise NotConfirmedError, and what the device raises.
    """

    def __init__(self, control: ForcedControl, read: Reader) -> None:
        """Begin with a battery left alone; `read` tells how full it is."""
        self.held: Held | None = None
        self.taken_over = False
        """Whether the command that runs, if any, is somebody else's."""
        self._control = control
        self._read = read

    async def hold(
        self, wanted: int, state: ControlState, reason: LimitReason | None
    ) -> None:
        """Keep the battery still, whatever was `wanted`."""
        self.held, self.taken_over = None, False
        await self._control.hold(state)
        self.held = Held(wanted, 0, _now(), reason=reason)

    async def force(
        self,
        wanted: int,
        granted: int,
        state: ControlState,
        found: Mapping[str, float],
        minutes: int,
        reason: LimitReason | None = None,
    ) -> int:
        """Charge or discharge with what is `granted`, W; return what came of it."""
        before, self.held = self.held, None
        self.taken_over = False
        held = Held(wanted, granted, _now(), reason=reason)
        if _is_running(before, granted, state):
            held.granted = await self._control.change_power(granted)
            held.renewed = before.renewed if before else held.renewed
        else:
            try:
                held.granted = await self._control.force(
                    granted, state, found, minutes=minutes
                )
            except NotConfirmedError:
                why = await self._why_ended(granted)
                if why is None:
                    raise
                held.granted, held.ended, held.reason = 0, True, why
        if abs(held.granted) < abs(granted) and not held.ended:
            held.reason = LimitReason.BATTERY
        self.held = held
        return held.granted

    async def renew(
        self, permits: Callable[[], Awaitable[Limits]], minutes: int
    ) -> int | None:
        """Renew the command, as far as it runs; return its power, W.

        None when there is nothing to renew. `permits` tells what the device allows
        now. Raises TakenOverError when somebody else commands the battery.
        """
        held = self.held
        if held is None or held.ended:
            return None
        if self.taken_over:
            self._give_up("is not ours any more")
        state = await self._control.look()
        if held.granted == 0:
            self._see_hold(state)
            return None
        self._see_command(held, state)
        if state.command == STOP:
            if _now() - held.renewed < _RUN_OUT * 60 * minutes:
                held.ended = True
                held.reason = await self._why_ended(held.granted) or LimitReason.ENDED
                return 0
        # A limit that somebody has set to 0 meanwhile is theirs, and not written.
        granted, held.reason = within(held.wanted, state.limits, await permits())
        if granted == 0:
            return 0
        now = _now()
        if state.command == STOP:
            as_they_are = dict.fromkeys(LIMITS, 0.0)
            held.granted = await self._control.force(
                granted, state, as_they_are, minutes=minutes
            )
            held.strange_reads = 0
        else:
            if granted != held.granted:
                held.granted = await self._control.change_power(granted)
                if abs(held.granted) < abs(granted):
                    held.reason = LimitReason.BATTERY
            await self._control.refresh(held.granted, minutes)
        held.renewed = now
        return held.granted

    def note(self, read: Mapping[str, Value]) -> None:
        """Look whether the power that was just read is still ours."""
        held = self.held
        if held is None or held.granted == 0 or held.ended:
            return
        power = read.get(power_register(held.granted))
        if power is not None:
            ours = number(power) == abs(held.granted)
            held.strange_reads = 0 if ours else held.strange_reads + 1

    def _see_hold(self, state: ControlState) -> None:
        """Raise TakenOverError when somebody has lifted the hold."""
        if state.command != STOP or any(state.limits.values()):
            self._give_up("the battery is not held any more")

    def _see_command(self, held: Held, state: ControlState) -> None:
        """Raise TakenOverError when the command that runs is not ours."""
        if state.command not in (STOP, direction_of(held.granted)):
            self._give_up(f"is told to {state.command}")
        # One may be a read that was under way when the power was changed. And a device
        # that has restarted has forgotten its power with its command.
        if state.command != STOP and held.strange_reads > 1:
            self._give_up("is told another power")

    def _give_up(self, what: str) -> None:
        self.taken_over = True
        raise TakenOverError(
            f"{self._control.name}: {what}; somebody else has changed it"
        )

    async def _why_ended(self, power: int) -> LimitReason | None:
        """Return why the device has ended a command, as it should; None if it has not.

        A full or an empty battery is a reason.
        """
        state = await self._control.look()
        values = await self._read({"battery_soc", "min_soc", "max_soc"})
        soc = values.get("battery_soc")
        if state.command != STOP or soc is None:
            return None
        if power > 0:
            full = min(FULL, number(values.get("max_soc")) or FULL)
            return LimitReason.FULL if number(soc) >= full else None
        lowest = number(values.get("min_soc")) + EMPTY
        return LimitReason.EMPTY if number(soc) <= lowest else None


def within(
    power: int, settings: Limits, permits: Limits
) -> tuple[int, LimitReason | None]:
    """Return what is granted of `power`, W, and what cut it.

    `settings` are the limits that are set on the device, `permits` what it may be now.
    """
    name = limit_register(power)
    bounds = [
        Bound(most, reason)
        for limits, reason in (
            (settings, LimitReason.SETTING),
            (permits, LimitReason.BATTERY),
        )
        if (most := limits.get(name)) is not None
    ]
    granted, reason = bounded(power, bounds)
    return round(granted), reason


def _is_running(held: Held | None, power: int, state: ControlState) -> bool:
    """Return True when `power` is only another size of what runs already."""
    return (
        held is not None
        and held.granted * power > 0
        and state.command == direction_of(power)
        and all(state.limits.values())
    )


def _now() -> float:
    """Return the time of the event loop, s."""
    return asyncio.get_running_loop().time()
