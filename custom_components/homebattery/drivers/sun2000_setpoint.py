"""A setpoint that is held: begun, renewed, and seen to end.

A forced command ends by itself: after its time, when the battery is full, when
somebody stops it. Only the first is begun again: at 100 % that would be a loop, and
the last is somebody's wish.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from .battery import NotConfirmedError, Value
from .sun2000_commands import ControlState, ForcedControl, direction_of, limit_register
from .sun2000_formulas import LIMITS, number
from .sun2000_registers import STOP

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
    to_soc: bool = False
    """It runs until a SOC is reached instead of being renewed."""
    ended: bool = False
    """The device has ended it."""


class Setpoint:
    """Holds a battery at a power, through its forced commands.

    Methods raise NotConfirmedError, and what the device raises.
    """

    def __init__(self, control: ForcedControl, read: Reader) -> None:
        """Begin with a battery left alone; `read` tells how full it is."""
        self.held: Held | None = None
        self._control = control
        self._read = read

    async def hold(self, wanted: int, state: ControlState) -> None:
        """Keep the battery still, whatever was `wanted`."""
        self.held = None
        await self._control.hold(state)
        self.held = Held(wanted, 0, _now())

    async def force(
        self,
        wanted: int,
        granted: int,
        state: ControlState,
        found: Mapping[str, float],
        minutes: int,
        target_soc: float | None = None,
    ) -> int:
        """Charge or discharge with what is `granted`, W; return what came of it."""
        before, self.held = self.held, None
        held = Held(wanted, granted, _now(), to_soc=target_soc is not None)
        if not held.to_soc and _is_running(before, granted, state):
            held.granted = await self._control.change_power(granted)
            held.renewed = before.renewed if before else held.renewed
        else:
            try:
                held.granted = await self._control.force(
                    granted, state, found, minutes=minutes, target_soc=target_soc
                )
            except NotConfirmedError:
                if not await self._has_ended(granted):
                    raise
                held.granted, held.ended = 0, True
        self.held = held
        return held.granted

    async def renew(
        self, permits: Callable[[], Awaitable[Limits]], minutes: int
    ) -> int | None:
        """Renew the command, as far as it runs; return its power, W.

        None when there is nothing to renew. `permits` tells what the device allows
        now. Raises NotConfirmedError when somebody else commands the battery.
        """
        held = self.held
        if held is None or held.granted == 0 or held.ended:
            return None
        state = await self._control.look()
        if state.command == STOP:
            if held.to_soc or _now() - held.renewed < _RUN_OUT * 60 * minutes:
                held.ended = True
                return 0
        elif state.command != direction_of(held.granted):
            raise NotConfirmedError(
                f"{self._control.name}: is told to {state.command}; somebody else has "
                "changed the forced command"
            )
        elif held.to_soc:
            return held.granted
        # A limit that somebody has set to 0 meanwhile is theirs, and not written.
        granted = within(held.wanted, state.limits, await permits())
        if granted == 0:
            return 0
        held.renewed = _now()
        if state.command == STOP:
            as_they_are = dict.fromkeys(LIMITS, 0.0)
            held.granted = await self._control.force(
                granted, state, as_they_are, minutes=minutes
            )
        else:
            if granted != held.granted:
                held.granted = await self._control.change_power(granted)
            await self._control.refresh(held.granted, minutes)
        return held.granted

    async def _has_ended(self, power: int) -> bool:
        """Return True when the device has ended a command at once, as it should."""
        state = await self._control.look()
        values = await self._read({"battery_soc", "min_soc", "max_soc"})
        soc = values.get("battery_soc")
        if state.command != STOP or soc is None:
            return False
        if power > 0:
            return number(soc) >= min(FULL, number(values.get("max_soc")) or FULL)
        return number(soc) <= number(values.get("min_soc")) + EMPTY


def within(power: int, *limits: Limits) -> int:
    """Return what is granted of `power` within the limits of its direction, W."""
    name = limit_register(power)
    bounds = [abs(power), *(each.get(name) for each in limits)]
    granted = round(min(bound for bound in bounds if bound is not None))
    return granted if power > 0 else -granted


def _is_running(held: Held | None, power: int, state: ControlState) -> bool:
    """Return True when `power` is only another size of what runs already."""
    return (
        held is not None
        and held.granted * power > 0
        and not held.to_soc
        and state.command == direction_of(power)
        and all(state.limits.values())
    )


def _now() -> float:
    """Return the time of the event loop, s."""
    return asyncio.get_running_loop().time()
