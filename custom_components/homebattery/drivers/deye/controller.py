"""The controller of a Deye inverter, by the method that the inverter allows.

`methods.py` has the two ways. The controller chooses between them, and suspends a
setpoint while it would do harm.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
import logging
import math
from typing import Final, NamedTuple, override

from ..battery.controller import (
    Grant,
    LimitReason,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    loop_time,
    sound_parts,
)
from ..battery.readings import Values
from ..errors import BatteryError, NotConfirmedError, NotSupportedError, TakenOverError
from .conditions import ConditionReader, Suspension, reason_to_suspend
from .measurements import number
from .methods import SNAPSHOT_FRESH, BySettings, Method
from .plans import Image
from .setpoint import DeyeSetpoint, Span, Wanted

_LOGGER = logging.getLogger(__name__)

NO_SETPOINT: Final = (
    "no setpoint: how to hold an inverter that is single-phase, or does not report its "
    "rated power, is not known well enough"
)
RESUME_AFTER: Final = 60.0
"""Seconds without a reason to suspend before a setpoint is resumed; and from a write
to the next decision on one whose conditions were not known."""
_MOST_READS: Final = 3
"""Reads of the conditions of which two must agree."""
_FRESH: Final = 10.0
"""Seconds for which the conditions of a setpoint are not read again."""


class _Verdict(NamedTuple):
    """The outcome of conditions for a setpoint, before the settings."""

    power: float
    """W that are permitted."""
    reason: LimitReason | None
    """The reason of a cut."""
    suspension: Suspension | None
    volts: float
    """0 where the conditions are not known."""

    @property
    def permitted(self) -> float:
        """The power, W, without sign; 0 where the setpoint is to be suspended."""
        return 0 if self.suspension else abs(self.power)

    def agrees_with(self, other: _Verdict) -> bool:
        """Return whether both come to about the same."""
        return (
            (self.reason, self.suspension) == (other.reason, other.suspension)
            and _is_about(self.power, other.power)
            and _is_about(self.volts, other.volts)
        )


class DeyeController(SetpointController[DeyeSetpoint]):
    """Holds an inverter by one of two methods, and suspends a harmful setpoint."""

    def __init__(
        self,
        name: str,
        methods: Sequence[Method],
        conditions: ConditionReader,
        clamp: Callable[[float], int],
    ) -> None:
        """Hold by one of `methods`, the preferred one first; nothing is read.

        `name` is the inverter's in errors; `clamp` returns a power, W, within what
        device and user allow.
        """
        super().__init__()
        self._name = name
        self._methods = methods
        self._conditions = conditions
        self._clamp = clamp

    # The method

    @property
    def preferred(self) -> Method | None:
        """The method by which a setpoint would be held now."""
        return next((method for method in self._methods if method.works), None)

    @property
    def changes(self) -> frozenset[int]:
        """The registers that a setpoint may change."""
        return frozenset(
            address
            for method in self._methods
            if method.works
            for address in method.changes
        )

    def method_of(self, snapshot: Snapshot) -> tuple[Method, Image]:
        """Return the method of a snapshot, and its words by address."""
        for method in self._methods:
            if words := snapshot.get(method.key):
                return method, {int(each): words[each] for each in words}
        raise NotSupportedError(
            f"{self._name}: the snapshot is of another kind of inverter: {snapshot}"
        )

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        for method in self._methods:
            words = stored.get(method.key)
            if not isinstance(words, dict) or not words:
                continue
            sound, unknown = sound_parts(
                words, {str(each): _is_word for each in method.restores}
            )
            named = frozenset(f"{method.key}.{each}" for each in unknown)
            return Recovered({method.key: sound} if sound else {}, named)
        return Recovered({}, frozenset({BySettings.key}))

    def power_shown(self, words: Image) -> int | None:
        """Return the power that the inverter is held at by its last `words`, W.

        None when it is not held, or shows something else.
        """
        held = self.held
        if held is None or not held.target:
            return None
        same = all(words.get(each) == word for each, word in held.target.items())
        return held.grant.power if same else None

    @override
    def wears_flash(self, power: float) -> bool:
        """Return True for every change of the settings; remote mode is outside of flash."""
        same = self.held is not None and self.held.request == SetpointRequest(power)
        return isinstance(self.preferred, BySettings) and not same

    @override
    async def take_snapshot(self) -> Snapshot:
        method = self.preferred
        if method is None:
            raise NotSupportedError(f"{self._name}: {NO_SETPOINT}")
        words = await method.take_snapshot()
        return {method.key: {str(each): words[each] for each in words}}

    @override
    async def shows_setpoint(self, snapshot: Snapshot) -> bool:
        method, words = self.method_of(snapshot)
        return await method.has_changed(words)

    # The setpoint

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        """Hold the inverter at a setpoint; restore it when that fails half way.

        `held` is then None, unless restoring fails as well.
        """
        before = self.held
        held = self._next(request, before)
        method, words = self.method_of(snapshot)
        if held.replaces:
            await method.prepare()
        v = await self._read_to_decide(held)
        if request.current is not None and not v.get("battery_voltage"):
            raise NotSupportedError(
                f"{self._name}: no battery voltage, so no current setpoint"
            )
        wanted = self._wanted(request, v)
        if reason := self._reason_to_suspend(held, wanted.power, v):
            self.held = held
            return await self._suspend(held, reason, snapshot)
        held.suspended_at = None
        self.held = held
        try:
            grant = await method.hold(held, words, wanted, self._conditions.of(v))
        except BatteryError:
            if held.is_begun:
                await self._abandon(method, words, snapshot)
            else:
                self.held = before
            raise
        held.change(grant, loop_time())
        return grant

    async def _read_to_decide(self, held: DeyeSetpoint) -> Values:
        """Read the conditions; what cuts the setpoint, as two reads of three have it.

        One answer may be damaged, and what follows from it is written into flash. Also
        where the voltage is unlike that of the read before: amperes follow from it.
        Where no two reads agree, that counts which permits least.
        """
        volts = self._conditions.last_volts
        # Some have just been read with the snapshot, or the present settings.
        v = await self._conditions.read(SNAPSHOT_FRESH)
        verdict = self._judge(held, v)
        is_cut = verdict.reason or verdict.suspension or v.get("low_soc") is None
        if not is_cut and _is_about(verdict.volts, volts):
            return v
        reads = [(verdict, v)]
        with suppress(BatteryError):
            while len(reads) < _MOST_READS:
                v = await self._conditions.read()
                verdict = self._judge(held, v)
                if any(verdict.agrees_with(other) for other, _ in reads):
                    return v
                reads.append((verdict, v))
        return min(reads, key=lambda read: read[0].permitted)[1]

    def _judge(self, held: DeyeSetpoint, v: Values) -> _Verdict:
        """Return what a setpoint would be under these conditions."""
        now, power = self._conditions.of(v), self._wanted(held.request, v).power
        suspension = self._reason_to_suspend(held, power, v)
        if now is None:
            return _Verdict(0, LimitReason.UNKNOWN_STATE, suspension, 0)
        return _Verdict(*now.permitted(power), suspension, now.volts)

    async def _read_again(self, v: Values) -> Values:
        """Read the conditions once more: one answer may be damaged.

        Without an answer the last ones, `v`, count.
        """
        with suppress(BatteryError):
            return await self._conditions.read()
        return v

    def _next(
        self, request: SetpointRequest, before: DeyeSetpoint | None
    ) -> DeyeSetpoint:
        """Return the record of a setpoint that comes after another, or the first one."""
        held = DeyeSetpoint(
            request=request,
            grant=Grant(0),
            changed_at=loop_time(),
            firmware_release=self._conditions.firmware_release,
        )
        if before is not None:
            held.replaces = True
            held.suspended_at, held.unchecked = before.suspended_at, before.unchecked
        return held

    def _wanted(self, request: SetpointRequest, v: Values) -> Wanted:
        """Return the power of a request; that of a current at this voltage."""
        if request.current is None:
            return Wanted(request.power)
        power = request.current * number(v.get("battery_voltage"))
        clamped = self._clamp(power)
        # Whole W would make less than whole A of it.
        exact = power if abs(clamped - power) < 1 else clamped
        return Wanted(exact, int(abs(request.current)))

    async def _abandon(self, method: Method, words: Image, snapshot: Snapshot) -> None:
        """Restrict and restore after a failure half way, as far as that is taken."""
        with suppress(BatteryError):
            await method.restrict(words)
            await self.restore(snapshot)
            self.held = None

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        """Write each word of the snapshot, in an order that opens nothing early."""
        if not snapshot:
            return
        method, words = self.method_of(snapshot)
        if self.held is not None:
            self.held.begin_write()
        await method.restore(words)

    # While it is held

    @override
    async def _refresh(self, snapshot: Snapshot) -> None:
        held, began = self.held, loop_time()
        if held is None:
            return
        if held.conditions_read and began - held.conditions_read.ended < _FRESH:
            return
        held.conditions_read = None
        method, _ = self.method_of(snapshot)
        try:
            await self._conditions.read()
            held.conditions_read = Span(began, loop_time())
            await method.refresh(held)
        except BatteryError as err:
            _LOGGER.debug("%s: cannot read for the setpoint: %s", self._name, err)

    @override
    async def renew(self, snapshot: Snapshot) -> Grant | None:
        """Suspend a setpoint that cannot be held, resume it, renew it in remote mode.

        One that was cut since the conditions were not known is decided anew when they
        are, a while after the last write at the earliest.
        """
        await self.refresh(snapshot)
        held = self.held
        if held is None:
            return None
        span, held.conditions_read = held.conditions_read, None
        v = {} if span is None else self._conditions.last(span.began)
        if held.suspended_at is not None:
            return await self._resume(held, held.suspended_at, v, snapshot)
        if held.foreign.is_certain:
            raise TakenOverError(
                f"{self._name}: the settings that hold the battery differ from those "
                "written; another controller has changed them"
            )
        if self._reason_to_suspend(held, held.grant.power, v):
            v = await self._read_again(v)
            if reason := self._reason_to_suspend(held, held.grant.power, v):
                return await self._suspend(held, reason, snapshot)
        method, _ = self.method_of(snapshot)
        if method.is_worn:
            return await self._renew(held, v, snapshot)
        if self._is_known_by_now(held, v):
            _LOGGER.info("%s: its state is known, setpoint decided anew", self._name)
            return await self._apply_again(held, snapshot)
        if held.firmware_release != self._conditions.firmware_release:
            _LOGGER.info("%s: has other firmware, setpoint written anew", self._name)
            return await self._apply_again(held, snapshot)
        return await self._renew(held, v, snapshot)

    def _is_known_by_now(self, held: DeyeSetpoint, v: Values) -> bool:
        """Return whether conditions that were not known can decide a setpoint now."""
        return (
            held.grant.reason is LimitReason.UNKNOWN_STATE
            and loop_time() - held.written_at >= RESUME_AFTER
            and self._conditions.of(v) is not None
        )

    async def _renew(
        self, held: DeyeSetpoint, v: Values, snapshot: Snapshot
    ) -> Grant | None:
        """Renew by the method; restore the inverter for good where that does not work."""
        method, _ = self.method_of(snapshot)
        try:
            wanted = self._wanted(held.request, v)
            grant = await method.renew(held, wanted, self._conditions.of(v))
        except NotConfirmedError:
            await self.restore(snapshot)
            self.held = None
            raise
        if grant is not None:
            held.change(grant, loop_time())
        return grant

    def _reason_to_suspend(
        self, held: DeyeSetpoint, power: float, v: Values
    ) -> Suspension | None:
        if v and self._conditions.are_lost:
            return Suspension(
                "the conditions of the setpoint get no answer",
                LimitReason.UNKNOWN_STATE,
            )
        return reason_to_suspend(power, v, is_suspended=held.suspended_at is not None)

    async def _suspend(
        self, held: DeyeSetpoint, suspension: Suspension, snapshot: Snapshot
    ) -> Grant:
        """Restore the inverter for as long as the reason lasts."""
        if held.suspended_at is None:
            _LOGGER.warning("%s: %s, setpoint suspended", self._name, suspension.text)
        # Noted first: should the connection be lost now, restoring is tried again.
        held.suspended_at = loop_time()
        held.change(Grant(0, suspension.reason), held.suspended_at)
        await self.restore(snapshot)
        return held.grant

    async def _resume(
        self, held: DeyeSetpoint, suspended_at: float, v: Values, snapshot: Snapshot
    ) -> Grant:
        """Hold the setpoint again after a while without a reason to suspend it."""
        now = loop_time()
        if not v:
            held.suspended_at = now
        elif reason := self._reason_to_suspend(
            held, self._wanted(held.request, v).power, v
        ):
            return await self._suspend(held, reason, snapshot)
        elif now - suspended_at >= RESUME_AFTER:
            _LOGGER.info("%s: resuming the setpoint", self._name)
            return await self._apply_again(held, snapshot)
        return held.grant

    async def _apply_again(self, held: DeyeSetpoint, snapshot: Snapshot) -> Grant:
        """Apply a setpoint anew; where that fails it is suspended, and still wanted."""
        try:
            return await self.apply(held.request, snapshot)
        except BatteryError:
            self.held, held.suspended_at = held, loop_time()
            raise


def _is_about(value: float, other: float) -> bool:
    """Return whether two powers or voltages are the same but for 10 %."""
    return math.isclose(value, other, rel_tol=0.1)


def _is_word(value: object) -> bool:
    """Return whether a stored value is a word of a register."""
    return type(value) is int and 0 <= value <= 0xFFFF
