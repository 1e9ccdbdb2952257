"""Forced charging, forced discharging and hold, written in a harmless order.

Every order here keeps each state in between harmless, should the connection break:
it is the old command, the new one, or the user's own settings.

- The command (47100) comes last when a power is set, and is stopped first.
- Hold has no command: both power limits are 0 then. A command of 0 W would throttle
  the PV on some firmware. Where PV is to be spared, one of them is the setpoint.
- A command is bounded by the power limits, so they are restored before one starts.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ..battery.controller import loop_time
from ..errors import (
    DeviceRefusedError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
)
from ..measurements import Value
from ..modbus.device import ModbusDevice
from ..modbus.silence import Silence
from .measurements import LIMITS, number
from .registers import CHARGE, DISCHARGE, FOR_A_TIME, STOP

CONFIRM_TRIES: Final = 3
"""Number of times that a change is read back before it counts as not made."""
WAKE_UP_TRIES: Final = 3
WAKE_UP_PAUSE: Final = 2.0
"""Seconds between two reads of a battery's limits, while it does not report them."""

PERMITTED: Final[Mapping[str, str]] = {
    "charge_power_limit": "max_charge_power",
    "discharge_power_limit": "max_discharge_power",
}
"""Each power limit, and the register of its maximum."""
COMMAND: Final = "forced_command"
_DURATION: Final = "forced_duration"

_NO_BOUND: Final = (NotSupportedError, RequestTimeoutError, ProtocolError)
"""Failures of a register that then bounds nothing."""

type Limits = Mapping[str, float]
type OwnLimits = Mapping[str, Collection[float]]
"""The limits, W, that this driver may have written, by name."""


@dataclass(frozen=True, slots=True)
class ControlState:
    """The state of the device's control: a command, and both power limits, W."""

    command: Value
    limits: Mapping[str, float | None]


def direction_of(power: float) -> str:
    """Return the command for a power that is not 0."""
    return CHARGE if power > 0 else DISCHARGE


def power_register(power: float) -> str:
    """Return the name of the register for the size of a power."""
    return f"forced_{direction_of(power)}_power"


def limit_register(power: float) -> str:
    """Return the name of the limit that bounds a power."""
    return f"{direction_of(power)}_power_limit"


def limits_of(power: float) -> dict[str, float]:
    """Return the limits, W, within which a battery does no more than `power`."""
    return {
        "charge_power_limit": max(power, 0),
        "discharge_power_limit": max(0, -power),
    }


OF_A_HOLD: Final[OwnLimits] = dict.fromkeys(LIMITS, (0,))


class ForcedCommands:
    """Writes the commands of a battery, in a harmless order.

    `settle` is the time, s, from a write until the registers show it. Methods raise
    NotConfirmedError when the device does not show what was written, and the errors
    of the device.
    """

    def __init__(self, device: ModbusDevice, settle: float) -> None:
        """Control the battery whose registers are those of `device`."""
        self._device = device
        self._settle = settle

    async def read_state(self, fresh_for: float = 0) -> ControlState:
        """Return the command and the limits, read at most `fresh_for` s ago.

        The limits, which go back into flash, as two reads in a row have them.
        """
        device = self._device
        cache = device.cache
        values: Mapping[str, Value] = cache.values
        if cache.older_than(fresh_for, {COMMAND, *LIMITS}, loop_time()):
            # The duration bridges the gap between the others: one request for all.
            values = await device.steady(
                lambda: self._read({COMMAND, _DURATION, *LIMITS}),
                device.addresses(LIMITS),
            )
        return ControlState(
            values[COMMAND],
            {
                limit: None if values[limit] is None else number(values[limit])
                for limit in LIMITS
            },
        )

    async def limit(self, power: float, state: ControlState) -> None:
        """Let the battery do no more than `power`, W; 0 holds it. PV is not affected.

        The other direction is closed first.
        """
        await self._stop(state)
        wanted = limits_of(power)
        for limit in sorted(wanted, key=wanted.__getitem__):
            if state.limits[limit] != wanted[limit]:
                await self._device.write(limit, wanted[limit])
        await self._confirm({COMMAND: STOP, **wanted})

    async def force(
        self,
        power: int,
        state: ControlState,
        limits: Limits,
        *,
        minutes: int,
        own: OwnLimits = OF_A_HOLD,
    ) -> int:
        """Charge or discharge with `power` W; return the power that the device took, W.

        `limits` are the user's, `own` are replaced by them. It ends after `minutes`.
        """
        restored = await self._restore_limits(state, limits, own)
        await self._device.write(power_register(power), abs(power))
        await self._device.write(_DURATION, 60 * minutes)
        await self._device.write("forced_end", FOR_A_TIME)
        await self._device.write(COMMAND, direction_of(power))
        return await self._confirm_power(
            power, {COMMAND: direction_of(power), **restored}
        )

    async def change_power(self, power: int) -> int:
        """Change the power of the command that runs; return the power taken, W."""
        await self._device.write(power_register(power), abs(power))
        return await self._confirm_power(power, {COMMAND: direction_of(power)})

    async def prolong(self, power: int, minutes: int) -> None:
        """Prolong the command that runs, to `minutes` from now.

        Whether the duration alone would do is uncertain, so both are written.
        """
        await self._device.write(_DURATION, 60 * minutes)
        await self._device.write(COMMAND, direction_of(power))

    async def restore(
        self,
        limits: Limits,
        own: OwnLimits = OF_A_HOLD,
        *,
        keep_command: bool = False,
    ) -> None:
        """Stop any command and restore the limits that are this driver's `own`.

        Any other was set by another controller since, and stays; so does the command
        where it is another controller's (`keep_command`).
        """
        try:
            state = await self.read_state()
        except RequestTimeoutError, ProtocolError:
            if not keep_command:
                # Not seen, the battery is stopped all the same; this is tried again.
                await self._device.write(COMMAND, STOP)
            raise
        if not keep_command:
            await self._stop(state)
        restored = await self._restore_limits(state, limits, own)
        await self._confirm(restored if keep_command else {COMMAND: STOP, **restored})

    async def _stop(self, state: ControlState) -> None:
        if state.command != STOP:
            await self._device.write(COMMAND, STOP)

    async def _restore_limits(
        self, state: ControlState, limits: Limits, own: OwnLimits
    ) -> dict[str, float]:
        """Write the user's limits in place of the driver's `own`; return them, W.

        Clamped, since a limit above what the battery can do just now is refused.
        One that is refused all the same does not keep the other from being written.
        """
        replaced = [
            limit
            for limit, now in state.limits.items()
            if now in own[limit] and now != limits[limit]
        ]
        if not replaced:
            return {}
        permitted = await self._permitted(replaced)
        restored = {
            limit: min(limits[limit], permitted.get(limit, limits[limit]))
            for limit in replaced
        }
        refusals: list[DeviceRefusedError] = []
        for limit, power in restored.items():
            try:
                await self._device.write(limit, power)
            except DeviceRefusedError as err:
                refusals.append(err)
        for refusal in refusals:
            raise refusal
        return restored

    async def _permitted(self, limits: Collection[str]) -> dict[str, float]:
        """Return the most that each limit may be, W; wait for a battery that wakes up.

        A device that lacks these registers, or leaves them without an answer, bounds
        nothing: it refuses a limit that is too high.
        """
        names = {PERMITTED[limit] for limit in limits}
        for more_tries in reversed(range(WAKE_UP_TRIES)):
            # The state has just been read: without an answer, only these have none.
            report = await self._device.read(names, names, Silence(answered=True))
            known = {
                name: number(report.values.get(name))
                for name in names
                if not isinstance(report.failures.get(name), _NO_BOUND)
            }
            if all(known.values()):
                return {
                    limit: known[PERMITTED[limit]]
                    for limit in limits
                    if PERMITTED[limit] in known
                }
            if more_tries:
                await asyncio.sleep(WAKE_UP_PAUSE)
        raise NotConfirmedError(
            f"{self._device.name}: the battery does not report its limits, so its "
            "power limits cannot be restored yet; is it asleep or offline?"
        )

    async def _confirm_power(self, power: int, wanted: Mapping[str, Value]) -> int:
        """Confirm a command and return its power, W: some devices trim it silently."""
        size = power_register(power)
        seen = await self._confirm(wanted, size)
        trimmed = min(abs(power), round(number(seen[size])))
        if not trimmed:
            raise NotConfirmedError(
                f"{self._device.name}: {size} is still {seen[size]} "
                f"after writing {abs(power)}"
            )
        return trimmed if power > 0 else -trimmed

    async def _confirm(
        self, wanted: Mapping[str, Value], *besides: str
    ) -> Mapping[str, Value]:
        """Read back what was written, and registers besides; return their values."""
        return await self._device.confirm(
            wanted, settle=self._settle, tries=CONFIRM_TRIES, besides=besides
        )

    async def _read(self, names: Collection[str]) -> dict[str, Value]:
        """Return registers that must all be there; raise the first failure."""
        report = await self._device.ask(names)
        for failure in report.failures.values():
            raise failure
        return report.values
