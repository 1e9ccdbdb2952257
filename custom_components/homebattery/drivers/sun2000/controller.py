"""The controller of an inverter's batteries, through its forced commands.

A forced command ends by itself: after its time, when the battery is full, when
it is stopped by another controller. Only the first is begun again: at 100 % that would
be a loop, and a stop is the user's wish.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, override

from ..battery.controller import (
    KNOWN_FOR,
    Bound,
    ForeignSetpoint,
    Grant,
    HeldSetpoint,
    LimitReason,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    bounded,
    loop_time,
    sound_parts,
)
from ..errors import (
    DeviceBusyError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
    TakenOverError,
)
from ..measurements import Value
from ..modbus.device import ModbusDevice
from .commands import (
    PERMITTED,
    ControlState,
    ForcedCommands,
    direction_of,
    limit_register,
    power_register,
)
from .measurements import LIMITS, number
from .registers import STOP

FULL: Final = 97
"""% from which a device may end a forced charge."""
EMPTY: Final = 1
"""% above the minimum SOC up to which a device may end a forced discharge."""
DISCHARGE_FLOOR: Final = 20.0
"""% at which a device may end a forced discharge, whatever minimum SOC is set: some end
it at 15 % without PV, some units at 20 %."""
MAX_GRID_CHARGE: Final = "max_grid_charge_power"
_RUN_OUT: Final = 0.9
"""The part of its time after which a command may have run out: devices count whole
minutes."""
_PERMITTED_FOR: Final = 300.0
"""Seconds for which the powers that the battery permits are not read again."""
_JUST_READ: Final = 2.0
"""Seconds for which a snapshot that was just taken is not read again: an SDongle
needs more than 1 s for each answer."""
_FOREIGN_READS: Final = 2
"""Reads in a row of a foreign power that mean another controller; one may have been
under way when the power was changed."""

type Limits = Mapping[str, float | None]
"""W by the name of the power limit; None where it is not known."""
type Reader = Callable[[Collection[str]], Awaitable[Mapping[str, Value]]]
"""Reads registers by name; those that fail are absent."""


@dataclass(slots=True, kw_only=True)
class HeldCommand(HeldSetpoint):
    """The forced command, or the hold, that the battery is held by."""

    snapshot: Snapshot
    """The snapshot to restore: while the limits are 0, the user's are known here."""
    sent: int
    """The power of the command, W; 0 is a hold. It may go on when nothing is granted
    any more, until it runs out."""
    renewed_at: float
    """When the time of the command was last written, loop time, s."""
    seen_at: float
    """When the command was last read, loop time, s."""
    has_ended: bool = False
    """Whether the device has ended the command."""
    is_taken_over: bool = False
    """Whether the command that runs, if any, is another controller's."""
    foreign: ForeignSetpoint = field(
        default_factory=lambda: ForeignSetpoint(_FOREIGN_READS)
    )
    """Reads of a foreign power."""


class Sun2000Controller(SetpointController[HeldCommand]):
    """Holds the batteries of an inverter at a power.

    `duration_min` are the minutes after which the device ends a forced command.
    """

    def __init__(
        self,
        device: ModbusDevice,
        read: Reader,
        lock: asyncio.Lock,
        *,
        settle: float,
        duration_min: int,
    ) -> None:
        """Hold by the registers of `device`.

        `read` reads those of the whole inverter; `lock` keeps the writes of a command
        together; `settle` is as `ForcedCommands` has it.
        """
        super().__init__()
        self.duration_min = duration_min
        self.highest: dict[str, float] = {}
        """The most that the battery was ever seen to permit, W, by register."""
        self.user_limits: dict[str, int] = {}
        """The user's power limits as last polled, W: the cache has 0 during a hold."""
        self._device = device
        self._commands = ForcedCommands(device, settle)
        self._read = read
        self._lock = lock

    @override
    async def take_snapshot(self) -> Snapshot:
        before = self.held.snapshot if self.held else {}
        return self._limits_to_restore(await self._commands.read_state(), before)

    def _limits_to_restore(self, state: ControlState, before: Snapshot) -> Snapshot:
        """Return the user's power limits, W.

        While the battery is held a limit of 0 is the hold's: that of `before` counts.
        """
        limits: Snapshot = {}
        for limit, power in state.limits.items():
            power = power or before.get(limit, power)
            if power is None:
                raise NotSupportedError(
                    f"{self._device.name}: the device does not report its {limit} at "
                    "present, so it could not be restored later"
                )
            limits[limit] = power
        return limits

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        async with self._lock:
            # While a command is held, the user may have changed a limit just now.
            fresh_for = _JUST_READ if self.held is None else 0
            state = await self._commands.read_state(fresh_for)
            await self.correct(snapshot, self._limits_to_restore(state, snapshot))
            power, reason = within(
                round(request.power), snapshot, await self._permits()
            )
            if self._device.wear is not None and _costs_flash(power, state, snapshot):
                self._device.wear.check(self._device.name)
            before, self.held = self.held, None
            if power == 0:
                await self._commands.hold(state)
                self.held = _begun(request, Grant(0, reason), snapshot, loop_time())
            elif before is not None and _is_running(before, power, state):
                sent = await self._commands.change_power(power)
                grant = _granted(power, sent, reason)
                self.held = _begun(request, grant, snapshot, loop_time())
                self.held.renewed_at = before.renewed_at
            else:
                grant = Grant(power, reason)
                self.held = await self._begin(request, grant, state, snapshot)
            return self.held.grant

    async def _begin(
        self,
        request: SetpointRequest,
        grant: Grant,
        state: ControlState,
        snapshot: Snapshot,
    ) -> HeldCommand:
        """Start a command of the granted power; a full or an empty battery ends it."""
        now = loop_time()
        taken = await self._force(grant, state, snapshot)
        held = _begun(request, taken, snapshot, now)
        held.has_ended = taken.power == 0
        return held

    async def _force(
        self, grant: Grant, state: ControlState, limits: Mapping[str, float]
    ) -> Grant:
        """Start a command of the granted power, which is not 0; return the power taken.

        That is 0 where a full or an empty battery ends it at once. `limits` are the
        user's, W, to be restored first where they are 0.
        """
        power, reason = grant
        try:
            sent = await self._commands.force(
                power, state, limits, minutes=self.duration_min
            )
        except NotConfirmedError:
            end_reason = await self._end_reason(power)
            if end_reason is None:
                raise
            return Grant(0, end_reason)
        return _granted(power, sent, reason)

    @override
    async def renew(self, snapshot: Snapshot) -> Grant | None:
        async with self._lock:
            held = self.held
            if held is None or held.has_ended:
                return None
            if held.is_taken_over:
                self._give_up(held, "its setpoint is not in force any more")
            try:
                state = await self._commands.read_state()
            except RequestTimeoutError:
                if held.sent == 0 or loop_time() - held.seen_at >= KNOWN_FOR:
                    # The device itself ends a command that is not prolonged.
                    raise
                await self._commands.prolong(held.sent, self.duration_min)
                held.renewed_at = held.written_at = loop_time()
                return held.grant
            if state.command is None:
                raise DeviceBusyError(f"{self._device.name}: does not know its command")
            held.seen_at = loop_time()
            if held.sent == 0:
                self._check_hold(held, state)
                return None
            self._check_command(held, state)
            await self._renew_command(held, state)
            return held.grant

    async def _renew_command(self, held: HeldCommand, state: ControlState) -> None:
        """Prolong the command that runs, or begin it again where its time was over."""
        minutes = self.duration_min
        if state.command == STOP:
            if loop_time() - held.renewed_at < _RUN_OUT * 60 * minutes:
                held.has_ended = True
                reason = await self._end_reason(held.sent) or LimitReason.ENDED
                held.change(Grant(0, reason), loop_time())
                return
        # A limit that was set to 0 meanwhile is the user's, and not written.
        power, cut = within(
            round(held.request.power), state.limits, await self._permits()
        )
        if power == 0:
            held.change(Grant(0, cut), loop_time())
            return
        now = loop_time()
        if state.command == STOP:
            as_they_are = dict.fromkeys(LIMITS, 0.0)
            grant = await self._force(Grant(power, cut), state, as_they_are)
            held.sent, held.has_ended = grant.power or held.sent, grant.power == 0
            held.foreign.forget()
        else:
            if power != held.sent:
                held.sent = await self._commands.change_power(power)
            await self._commands.prolong(held.sent, minutes)
            grant = _granted(power, held.sent, cut)
        held.renewed_at = held.written_at = now
        held.change(grant, now)

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        registers = self._device.registers
        return sound_parts(stored, {limit: registers[limit].holds for limit in LIMITS})

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        async with self._lock:
            await self._commands.restore(
                {limit: number(snapshot.get(limit)) for limit in LIMITS},
                keep_command=self.held is not None and self.held.is_taken_over,
            )
            self.held = None

    @override
    def wears_flash(self, power: float) -> bool:
        """Return True for a change of the limits: a hold is made of them."""
        held = self.held
        holds = held is not None and held.sent == 0 and not held.has_ended
        return (power == 0) != holds

    @override
    def observe(self, values: Mapping[str, Value]) -> None:
        for name in values.keys() & set(LIMITS):
            # 0 is a hold, orphaned or not, and not the most that is allowed.
            if power := number(values[name]):
                self.user_limits[name] = round(power)
        for name in values.keys() & {*PERMITTED.values(), MAX_GRID_CHARGE}:
            if power := number(values[name]):
                self.highest[name] = max(power, self.highest.get(name, 0))
        held = self.held
        if held is not None and held.sent and not held.has_ended:
            # 0 is no power to be forced.
            if shown := number(values.get(power_register(held.sent))):
                held.foreign.note(is_own=shown == abs(held.sent))

    def _check_hold(self, held: HeldCommand, state: ControlState) -> None:
        """Raise TakenOverError when the hold was lifted."""
        if state.command != STOP or any(state.limits.values()):
            self._give_up(held, "the battery is not held any more")

    def _check_command(self, held: HeldCommand, state: ControlState) -> None:
        """Raise TakenOverError when another controller's command runs."""
        if state.command not in (STOP, direction_of(held.sent)):
            self._give_up(held, f"has the command {state.command}")
        # A device that has restarted has forgotten its power with its command.
        if state.command != STOP and held.foreign.is_certain:
            self._give_up(held, "has another power")

    def _give_up(self, held: HeldCommand, reason: str) -> None:
        """Note that another controller has taken over; raise TakenOverError."""
        held.is_taken_over = True
        raise TakenOverError(
            f"{self._device.name}: {reason}; another controller has changed it"
        )

    async def _permits(self) -> Limits:
        """Return the most that each direction's limit may be now, W, where known."""
        names = PERMITTED.values()
        cache = self._device.cache
        values = cache.values
        # Invalid or 0 says nothing, such as while the battery is offline.
        is_known = all(number(values.get(name)) for name in names)
        if not is_known or cache.older_than(_PERMITTED_FOR, names, loop_time()):
            # The last powers count where they get no answer: the device itself takes
            # no more than its battery.
            values = {**values, **await self._read(names)}
        return {
            limit: power
            for limit, name in PERMITTED.items()
            if (power := number(values.get(name)))
        }

    async def _end_reason(self, power: int) -> LimitReason | None:
        """Return the reason why the device has ended a command; None if it has none.

        A full or an empty battery is a reason.
        """
        state = await self._commands.read_state()
        values = await self._read({"battery_soc", "min_soc", "max_soc"})
        soc = values.get("battery_soc")
        if state.command != STOP or soc is None:
            return None
        if power > 0:
            full = min(FULL, number(values.get("max_soc")) or FULL)
            return LimitReason.FULL if number(soc) >= full else None
        lowest = max(number(values.get("min_soc")), DISCHARGE_FLOOR) + EMPTY
        return LimitReason.EMPTY if number(soc) <= lowest else None


def within(
    power: int, settings: Limits, permits: Limits
) -> tuple[int, LimitReason | None]:
    """Return the part of `power`, W, that is granted, and the reason of a cut.

    `settings` are the limits set on the device, `permits` those of the battery now.
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


def _begun(
    request: SetpointRequest, grant: Grant, snapshot: Snapshot, now: float
) -> HeldCommand:
    """Return the record of what has just been written."""
    return HeldCommand(
        request=request,
        grant=grant,
        changed_at=now,
        written_at=now,
        snapshot=snapshot,
        sent=grant.power,
        renewed_at=now,
        seen_at=now,
    )


def _granted(power: int, sent: int, reason: LimitReason | None) -> Grant:
    """Return the grant where the device took `sent` of a power, W."""
    is_trimmed = abs(sent) < abs(power)
    return Grant(sent, LimitReason.BATTERY if is_trimmed else reason)


def _costs_flash(power: int, state: ControlState, limits: Snapshot) -> bool:
    """Return True when power limits are to be written: into a hold or out of it."""
    if power == 0:
        return any(limit != 0 for limit in state.limits.values())
    return any(now == 0 and bool(limits[limit]) for limit, now in state.limits.items())


def _is_running(held: HeldCommand, power: int, state: ControlState) -> bool:
    """Return True when `power` is only another size of the command that runs."""
    return (
        held.sent * power > 0
        and state.command == direction_of(power)
        and all(state.limits.values())
    )
