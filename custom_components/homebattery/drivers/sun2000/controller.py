"""The controller of an inverter's batteries, through its forced commands.

A forced command ends by itself: after its time, when the battery is full, when
it is stopped by another controller. Only the first is begun again: at 100 % that would
be a loop, and a stop is the user's wish.

A forced command may cost PV. Where the user keeps the PV, the battery is held by its
power limits instead, as a hold is; see `curtailment.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
import math
from typing import Any, Final, override

from ..battery.controller import (
    KNOWN_FOR,
    Grant,
    LimitReason,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    loop_time,
    sound_parts,
)
from ..battery.sunshine import Sunshine
from ..errors import (
    BatteryError,
    DeviceBusyError,
    DeviceRefusedError,
    NotConfirmedError,
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
    limits_of,
    power_register,
)
from .curtailment import HARVEST, LIGHT_KNOWN_FOR, Evidence, Means, Sky, decide
from .held import HeldCommand, begun, by_limits, granted, is_running
from .limits import (
    BOUNDS,
    Limits,
    are_bounds,
    bounds_until,
    costs_flash,
    own_limits,
    users_limits,
    within,
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
_JUST_PROLONGED: Final = 15.0
"""Seconds for which a command need not be prolonged again: it runs for minutes."""
_PERMITTED_FOR: Final = 300.0
"""Seconds for which the powers that the battery permits are not read again."""
_JUST_READ: Final = 2.0
"""Seconds for which a snapshot that was just taken is not read again: an SDongle
needs more than 1 s for each answer."""
SPARED_FOR: Final = 900.0
"""Seconds from power limits to the next command, unless another setpoint is asked for:
with the worst of clouds for 16 h, that costs 172 of the day's 240 writes to flash. And
from limits that did not stay to the next ones; twice as long after each further time."""
_LONGEST_SPARED: Final = 4 * 3600.0
"""The most of these seconds: what does not stay behind an EMMA may never do."""
type Reader = Callable[[Collection[str]], Awaitable[Mapping[str, Value]]]
"""Reads registers by name; those that fail are absent."""


class Sun2000Controller(SetpointController[HeldCommand]):
    """Holds the batteries of an inverter at a power.

    `duration_min` are the minutes after which the device ends a forced command;
    `sunshine` is the user's choice where one would cost PV.
    """

    def __init__(
        self,
        device: ModbusDevice,
        read: Reader,
        lock: asyncio.Lock,
        *,
        settle: float,
        duration_min: int,
        sunshine: Sunshine,
        strings: int,
    ) -> None:
        """Hold by the registers of `device`.

        `read` reads those of the whole inverter; `lock` keeps the writes of a command
        together; `settle` is as `ForcedCommands` has it; `strings` is the number of PV
        strings.
        """
        super().__init__()
        self.duration_min = duration_min
        self.sunshine = sunshine
        self.has_curtailed = False
        """Whether PV was proven to be curtailed for a setpoint so far."""
        self._sky = Sky(strings)
        self._limits_fail_for = SPARED_FOR
        self._limits_fail_until = -math.inf
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
        state = await self._commands.read_state()
        return users_limits(self._device.name, state, before)

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        async with self._lock:
            if round(request.power) != 0:
                await self._read_sky_before()
            # While a command is held, the user may have changed a limit just now.
            fresh_for = _JUST_READ if self.held is None else 0
            state = await self._commands.read_state(fresh_for)
            return await self._hold(request, state, snapshot)

    async def _hold(
        self, request: SetpointRequest, state: ControlState, snapshot: Snapshot
    ) -> Grant:
        """Hold the device at the power granted for `request`; return the grant."""
        users = users_limits(self._device.name, state, snapshot)
        await self.correct(snapshot, users)
        power, reason = within(round(request.power), snapshot, await self._permits())
        means = self._decide(power)
        limits = limits_of(power) if means is Means.LIMITS else None
        if self._device.wear is not None and costs_flash(limits, state, snapshot):
            self._device.wear.check(self._device.name)
        if means is Means.LIMITS and power != 0:
            await self._keep_bound(power, state, snapshot)
        before, self.held = self.held, None
        if means is Means.LIMITS:
            try:
                await self._commands.limit(power, state)
            except NotConfirmedError, DeviceRefusedError:
                if power == 0:
                    raise
                # As behind an EMMA: the setpoint is held at the cost of PV.
                self._note_limits_fail()
                state = await self._commands.read_state()
                return await self._hold(request, state, snapshot)
            self._limits_fail_for = SPARED_FOR
            grant = by_limits(power, reason)
            self.held = begun(request, grant, snapshot, loop_time(), means, power)
        elif before is not None and is_running(before, power, state):
            sent = await self._commands.change_power(power)
            grant = granted(power, sent, reason)
            self.held = begun(request, grant, snapshot, loop_time())
            self.held.renewed_at = before.renewed_at
            self.held.evidence = before.evidence
            self.held.curtails_pv = before.curtails_pv
        else:
            grant = Grant(power, reason)
            self.held = await self._begin(request, grant, state, snapshot)
        if power == 0 or means is Means.COMMAND:
            snapshot.pop(BOUNDS, None)
        if before is not None and before.sent == self.held.sent:
            self.held.changed_at = before.changed_at
        return self.held.grant

    def _note_limits_fail(self) -> None:
        """Note that power limits did not stay, and spare them for a while."""
        self._limits_fail_until = loop_time() + self._limits_fail_for
        self._limits_fail_for = min(2 * self._limits_fail_for, _LONGEST_SPARED)

    async def _keep_bound(
        self, power: int, state: ControlState, snapshot: Snapshot
    ) -> None:
        """Have it saved that limits of `power`, W, are not the user's."""
        await self.correct(snapshot, {BOUNDS: bounds_until(power, state, snapshot)})

    def _decide(self, power: int) -> Means:
        """Return the means by which to hold `power`, W, now."""
        limits_stay = loop_time() >= self._limits_fail_until
        return decide(
            power,
            self._sky.harvest,
            is_light=self._sky.is_light,
            sunshine=self.sunshine if limits_stay else Sunshine.KEEP_SETPOINT,
            near=self.spares_pv,
        )

    async def _read_sky(self, *wanted: str) -> None:
        """Read the harvest and the light where they are not known well enough."""
        if names := self._sky.due(*wanted):
            await self._read(names)

    async def _read_sky_before(self) -> None:
        """Read of the sky what must be known before a command: it may change that."""
        if self.sunshine is Sunshine.KEEP_PV:
            await self._read_sky()
        elif not self._is_commanding:
            await self._read_sky(HARVEST)

    @property
    def _is_commanding(self) -> bool:
        """Whether a forced command of this driver should be running."""
        return self.held is not None and self.held.is_command

    @property
    def spares_pv(self) -> bool:
        """Whether it holds a setpoint by power limits, to keep the PV."""
        held = self.held
        return held is not None and held.means is Means.LIMITS and held.sent != 0

    @override
    async def _refresh(self, snapshot: Snapshot) -> None:
        held = self.held
        if held is None or held.sent == 0 or held.has_ended:
            return
        # Where the sky decides nothing, a command that may have run out comes first.
        decides = self.sunshine is Sunshine.KEEP_PV
        if decides or loop_time() - held.seen_at <= LIGHT_KNOWN_FOR:
            await self._read_sky()

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
        held = begun(request, taken, snapshot, now)
        held.has_ended = taken.power == 0
        return held

    async def _force(
        self, grant: Grant, state: ControlState, limits: Snapshot
    ) -> Grant:
        """Start a command of the granted power, which is not 0; return the power taken.

        That is 0 where a full or an empty battery ends it at once. `limits` are the
        user's, W, and restored first where those on the device are not.
        """
        try:
            sent = await self._commands.force(
                grant.power,
                state,
                limits,
                minutes=self.duration_min,
                own=own_limits(limits),
            )
        except NotConfirmedError:
            end_reason = await self._end_reason(grant.power)
            if end_reason is None:
                raise
            return Grant(0, end_reason)
        return granted(grant.power, sent, grant.reason)

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
                seen_lately = loop_time() - held.seen_at < KNOWN_FOR
                if held.means is Means.LIMITS or not seen_lately:
                    # The device itself ends a command that is not prolonged.
                    raise
                await self._commands.prolong(held.sent, self.duration_min)
                held.renewed_at = held.written_at = loop_time()
                return held.grant
            if state.command is None:
                raise DeviceBusyError(f"{self._device.name}: does not know its command")
            held.seen_at = loop_time()
            if held.is_uncertain:
                return await self._hold_anew(held, state, snapshot)
            if held.means is Means.LIMITS:
                self._check_limits(held, state)
            else:
                self._check_command(held, state)
            if self._is_outdated(held, state, snapshot):
                return await self._hold_anew(held, state, snapshot)
            if held.means is Means.LIMITS:
                return None
            await self._renew_command(held, state)
            return held.grant

    def _is_outdated(
        self, held: HeldCommand, state: ControlState, snapshot: Snapshot
    ) -> bool:
        """Return whether the setpoint should be held by other means, or other limits.

        The sun decides, and a limit that the user has set meanwhile.
        """
        if held.sent == 0:
            return False
        power, _ = within(round(held.request.power), snapshot, {})
        if held.means is Means.LIMITS:
            if abs(power) < abs(held.sent):
                return True
            is_due = loop_time() - held.written_at >= SPARED_FOR
            return is_due and self._decide(held.sent) is Means.COMMAND
        wear = self._device.wear
        may_write = wear is None or not wear.is_used_up
        runs = state.command == direction_of(held.sent)
        return may_write and runs and self._decide(held.sent) is Means.LIMITS

    async def _hold_anew(
        self, held: HeldCommand, state: ControlState, snapshot: Snapshot
    ) -> Grant:
        """Hold the same setpoint by the means that suit now; a failure is tried again.

        Until then it is not known what the device does.
        """
        try:
            return await self._hold(held.request, state, snapshot)
        except BatteryError:
            held.is_uncertain = self.held is None or held.is_uncertain
            self.held = held
            raise

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
            as_they_are: Snapshot = dict.fromkeys(LIMITS, 0.0)
            grant = await self._force(Grant(power, cut), state, as_they_are)
            held.sent, held.has_ended = grant.power or held.sent, grant.power == 0
            held.evidence = Evidence(now)
            held.foreign.forget()
            held.renewed_at = held.written_at = now
        else:
            if power != held.sent:
                held.sent = await self._commands.change_power(power)
                held.written_at = now
            if now - held.renewed_at >= _JUST_PROLONGED:
                await self._commands.prolong(held.sent, minutes)
                held.renewed_at = held.written_at = now
            grant = granted(power, held.sent, cut)
        held.change(grant, now)

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        registers = self._device.registers
        parts: dict[str, Callable[[Any], bool]] = {
            limit: registers[limit].holds for limit in LIMITS
        }
        if BOUNDS in stored:
            parts[BOUNDS] = are_bounds
        return sound_parts(stored, parts)

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        async with self._lock:
            await self._commands.restore(
                {limit: number(snapshot.get(limit)) for limit in LIMITS},
                own_limits(snapshot),
                keep_command=self.held is not None and self.held.is_taken_over,
            )
            self.held = None

    @override
    def wears_flash(self, power: float) -> bool:
        """Return True for a change of the limits: a hold is made of them."""
        held = self.held
        by_limits = held is not None and held.means is Means.LIMITS
        present = limits_of(held.sent) if held is not None and by_limits else None
        means = self._decide(round(power))
        return present != (limits_of(round(power)) if means is Means.LIMITS else None)

    @override
    def observe(self, values: Mapping[str, Value]) -> None:
        held = self.held
        own = own_limits(held.snapshot if held else {})
        for name in values.keys() & set(LIMITS):
            # 0 is a hold, orphaned or not, and not the most that is allowed.
            if (power := number(values[name])) not in own[name]:
                self.user_limits[name] = round(power)
        for name in values.keys() & {*PERMITTED.values(), MAX_GRID_CHARGE}:
            if power := number(values[name]):
                self.highest[name] = max(power, self.highest.get(name, 0))
        self._sky.note(values, is_free=not self._is_commanding)
        if held is not None:
            self._observe_command(held, values)

    def _observe_command(self, held: HeldCommand, values: Mapping[str, Value]) -> None:
        """Note whether a command is another controller's, and is seen to cost PV."""
        held.curtails_pv = False
        if held.is_command:
            held.evidence.note(held.sent, held.changed_at, self._sky)
            held.curtails_pv = held.evidence.is_seen
            self.has_curtailed = self.has_curtailed or held.evidence.is_proven
            # 0 is no power to be forced.
            if shown := number(values.get(power_register(held.sent))):
                held.foreign.note(is_own=shown == abs(held.sent))

    def _check_limits(self, held: HeldCommand, state: ControlState) -> None:
        """Raise TakenOverError when the limits were lifted, or changed."""
        own = limits_of(held.sent)
        are_own = all(
            now is None or now == own[limit] for limit, now in state.limits.items()
        )
        if state.command != STOP or not are_own:
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
