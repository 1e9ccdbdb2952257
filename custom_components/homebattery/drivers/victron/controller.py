"""The controller of a VE.Bus system: ESS mode 3 and its control block.

The control block is volatile, and written at every renewal. The ESS mode is a setting in
flash: it is written when a battery is first held, and when it is released.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
import logging
import math
from typing import Final, override

from ..battery.controller import (
    ForeignSetpoint,
    Grant,
    HeldSetpoint,
    LimitReason,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    loop_time,
    sound_parts,
)
from ..battery.export import Export
from ..battery.modbus import ModbusBattery
from ..battery.readings import Values
from ..errors import (
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    IllegalAddressError,
    NotConfirmedError,
    ProtocolError,
    RequestTimeoutError,
    StartingError,
    TakenOverError,
)
from ..measurements import Value
from ..modbus.device import ModbusDevice
from . import control_block
from .protections import FEED_IN_SETTINGS, OF_DISCHARGING, SETTINGS, WIDE
from .registers import EXTERNAL_CONTROL, SELF_CONSUMPTION
from .setpoint import CONDITIONS, PhaseSetpoints, SetpointRule

_LOGGER = logging.getLogger(__name__)

_MODE: Final = "working_mode"
_FRESH: Final = 6.0
"""Seconds that a reading may be used for a renewal without reading it again."""
_TOO_OLD: Final = 15.0
"""Seconds after which a reading no longer justifies a setpoint."""
_SETTINGS_FRESH: Final = 70.0
"""Seconds until a renewal reads the user's limits, unless a poll does."""
_SETTINGS_TOO_OLD: Final = 300.0
"""Seconds after which the user's limits count as unknown."""
_JUST_READ: Final = 2.0
"""Seconds that the ESS mode read for the snapshot serves the first setpoint, too."""
_SETTLED: Final = 1.5
"""Seconds after a write until the registers show its effect."""
_RELEASE_TRIES: Final = 3
_FOREIGN_READS: Final = 3
_FOREIGN_WITHIN: Final = 60.0
"""Seconds in which so many reads of a foreign setpoint mean another controller; a
single one may be the last of the GX's own loop."""
_BLOCKS_KEPT: Final = 8


def _foreign_setpoint() -> ForeignSetpoint:
    # Own setpoints in between mean nothing: both controllers write.
    return ForeignSetpoint(_FOREIGN_READS, _FOREIGN_WITHIN, in_a_row=False)


def _blocks() -> deque[list[int]]:
    return deque(maxlen=_BLOCKS_KEPT)


@dataclass(slots=True, kw_only=True)
class HeldBlock(HeldSetpoint):
    """A setpoint in external control, and the control block that was written for it."""

    block: list[int] = field(default_factory=list)
    """The control block as last written; empty before the first."""
    recent: deque[list[int]] = field(default_factory=_blocks)
    """The blocks sent lately: a slow read may still show an older one."""
    foreign: ForeignSetpoint = field(default_factory=_foreign_setpoint)
    taken_over: str = ""
    """The takeover by another controller since the setpoint was applied, if any."""
    mode_written_at: float = -math.inf
    """Loop time, s, when external control was written; -inf if it was on already."""
    mode_confirmed: bool = True
    """False from the writing of external control until it is read."""


class VictronController(SetpointController[HeldBlock]):
    """Holds a VE.Bus system through the control block, in external control."""

    def __init__(
        self,
        battery: ModbusBattery,
        gx: ModbusDevice,
        vebus: ModbusDevice,
        ratings: Sequence[float],
        export: Export,
    ) -> None:
        """Hold `battery`, whose phases convert `ratings` W each, 0 where unknown.

        `gx` has the ESS mode, `vebus` the control block. `export` is the user's choice.
        """
        super().__init__()
        self.writes_refused = False
        """True when a register that can be read was refused the last time it was
        written: writing is switched off on the GX."""
        self._battery = battery
        self._gx = gx
        self._vebus = vebus
        self._phases = len(ratings)
        self._rule = SetpointRule(ratings, export)
        self._block_read_at = -math.inf
        self._settings_asked_at = -math.inf
        self._refreshed_at = -math.inf
        self._lacking: set[str] = set()
        """The user's limits that the GX surely does not have."""

    @override
    async def take_snapshot(self) -> Snapshot:
        await self._gx.read_steady(_MODE)
        return {_MODE: self._mode_seen}

    @override
    async def shows_setpoint(self, snapshot: Snapshot) -> bool:
        return await self._gx.read_register(_MODE) == EXTERNAL_CONTROL

    @override
    def wears_flash(self, power: float) -> bool:
        """Return True for a first setpoint: it writes the mode, a change does not."""
        return self.held is None or bool(self.held.taken_over)

    # The setpoint

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        """Enter external control if need be, and write the first setpoint."""
        mode = await self._read_mode()
        if mode != EXTERNAL_CONTROL:
            self._battery.wear.check(self._battery.address)
            # Another mode than the snapshot's was chosen since: it is restored.
            await self.correct(snapshot, {_MODE: mode})
        is_first, writes = self.held is None, self._battery.writes
        held = self._record(request)
        try:
            if mode != EXTERNAL_CONTROL:
                await self._enter_external_control(held)
            await self._refresh(snapshot)
            # What was seen so far is what is replaced now.
            held.foreign.forget()
            held.taken_over = ""
            return await self._write_setpoint(held)
        except BatteryError:
            if is_first and self._battery.writes == writes:
                self.held = None
            raise

    @override
    async def renew(self, snapshot: Snapshot) -> Grant | None:
        """Write the control block for the conditions of this moment.

        Raises TakenOverError when external control was left (the setpoint registers
        then belong to the GX's own loop), or when another controller writes setpoints,
        too; NotConfirmedError while the device does not show external control.
        """
        await self.refresh(snapshot)
        return None if self.held is None else await self._write_setpoint(self.held)

    async def _read_mode(self) -> Value:
        """Return the ESS mode; the first time that of the snapshot just taken."""
        cache = self._battery.cache
        if (
            self.held is not None
            or cache.seconds_since_read(_MODE, loop_time()) >= _JUST_READ
        ):
            await self._gx.read_steady(_MODE)
        return self._mode_seen

    @property
    def _mode_seen(self) -> Value:
        """The ESS mode as last read: its name, or its word where it has no name.

        None from the time when it was written until it is read.
        """
        values = self._battery.cache.values
        if _MODE not in values:
            return None
        name = values[_MODE]
        return self._gx.words[self._mode_address] if name is None else name

    @property
    def _mode_address(self) -> int:
        return self._gx.registers[_MODE].address

    def _record(self, request: SetpointRequest) -> HeldBlock:
        """Return the record of what is held, with its new request."""
        if self.held is None:
            self.held = HeldBlock(
                request=request,
                grant=Grant(0, LimitReason.UNKNOWN_STATE),
                changed_at=loop_time(),
            )
        self.held.request = request
        return self.held

    async def _enter_external_control(self, held: HeldBlock) -> None:
        await self._write_mode(EXTERNAL_CONTROL)
        held.mode_written_at = loop_time()
        held.mode_confirmed = False

    async def _write_mode(self, mode: Value) -> None:
        """Write the ESS mode; a refusal means that writing is switched off.

        It has just been read, so it is there.
        """
        self.writes_refused = False
        try:
            await self._gx.write(_MODE, mode)
        except IllegalAddressError:
            self.writes_refused = True
            raise

    async def _write_setpoint(self, held: HeldBlock) -> Grant:
        """Write the control block for the present grant; return the grant."""
        self._check_control(held)
        grant, setpoints = self._granted(held.request)
        block = control_block.encode(setpoints, self._phases, hold=not setpoints)
        await self._write_block(block)
        held.change(grant, loop_time())
        return grant

    def _check_control(self, held: HeldBlock) -> None:
        """Raise an error unless this driver alone controls the device, in mode 3."""
        mode = self._mode_seen
        # A mode that has not been read since it was written is taken for written.
        is_external = mode in (None, EXTERNAL_CONTROL)
        if not (is_external or held.mode_confirmed):
            raise NotConfirmedError(
                f"{self._battery.address}: ESS mode is still {mode} after writing "
                f"{EXTERNAL_CONTROL}"
            )
        if not held.taken_over and not is_external:
            held.taken_over = (
                f"ESS mode is {mode} instead of external control; "
                "another controller has changed it"
            )
        elif not held.taken_over and held.foreign.is_certain:
            held.taken_over = (
                "another controller writes setpoints to registers "
                f"{control_block.ADDRESS}.."
            )
        if held.taken_over:
            raise TakenOverError(f"{self._battery.address}: {held.taken_over}")

    def _granted(self, request: SetpointRequest) -> PhaseSetpoints:
        """Return the grant and its setpoints, under the conditions that are known."""
        limits = self._battery.setpoint_limits
        wanted = request.phases or (request.power,)
        needed = self._present - (WIDE - self._battery.cache.values.keys())
        if sum(wanted) > 0:
            needed -= OF_DISCHARGING
        old = self._older_than(_TOO_OLD, needed)
        if limits is None or old:
            _LOGGER.debug("%s: too old, holding: %s", self._battery.address, old)
            return PhaseSetpoints(Grant(0, LimitReason.UNKNOWN_STATE), [])
        return self._rule.setpoints(wanted, limits, self._known)

    @property
    def _known(self) -> Values:
        """The values that a setpoint is computed from.

        Without limits of feeding in that are too old; one that the GX lacks is None.
        """
        values = self._battery.cache.values
        old = self._older_than(_SETTINGS_TOO_OLD, FEED_IN_SETTINGS)
        known = {name: values[name] for name in values.keys() - old}
        # Refused more than once; after a while they are only asked for again.
        self._lacking |= SETTINGS & self._gx.missing - self._gx.uncertain(SETTINGS)
        self._lacking &= self._gx.missing
        return dict.fromkeys(self._lacking) | known

    # Reading

    @property
    def _conditions(self) -> set[str]:
        """The registers that a setpoint depends on, of those that the device has."""
        return {
            name
            for device in self._battery.devices
            for name in CONDITIONS & device.registers.keys()
        }

    @property
    def _present(self) -> set[str]:
        """Those of the conditions that are not missing, as far as known by now."""
        missing = (device.missing for device in self._battery.devices)
        return self._conditions.difference(*missing)

    @override
    async def _refresh(self, snapshot: Snapshot) -> None:
        # One that has just ended, of a slow device, must not begin anew: a setpoint
        # that is not renewed lapses.
        if loop_time() - self._refreshed_at < _FRESH / 2:
            return
        if self._older_than(_FRESH, self._present):
            # Neighbours that would be due next time cost no more requests now.
            await self._read(self._older_than(_FRESH / 2, self._conditions))
        # A block of settings that is not answered must not delay each renewal.
        if loop_time() - self._settings_asked_at >= _SETTINGS_FRESH:
            self._settings_asked_at = loop_time()
            await self._read(
                self._older_than(_SETTINGS_FRESH, SETTINGS), self._gx.missing
            )
            # One refusal says little, and a setpoint depends on it.
            if doubtful := self._gx.uncertain(SETTINGS) & self._gx.missing:
                await self._read(doubtful, doubtful)
        self._refreshed_at = loop_time()

    async def _read(
        self, names: Collection[str], again: Collection[str] | None = None
    ) -> None:
        """Read registers; a failed read is not an error.

        Those that are doubtful are asked for again if they are among `again`.
        """
        doubtful = self._gx.uncertain(names)
        try:
            await self._battery.read_registers(
                names, None if again is None else doubtful.intersection(again)
            )
        except (
            CannotConnectError,
            ProtocolError,
            RequestTimeoutError,
            StartingError,
        ) as err:
            _LOGGER.debug(
                "%s: cannot read for the setpoint: %s", self._battery.address, err
            )

    def _older_than(self, seconds: float, names: Collection[str]) -> set[str]:
        """Return those of `names` last known more than `seconds` ago, or never.

        The mode is known when it is written. The control block is written at each
        renewal and must not be read each time: its last read counts.
        """
        now = loop_time()
        old = self._battery.cache.older_than(seconds, names, now)
        if now - self._block_read_at < seconds:
            old.difference_update(control_block.NAMES)
        if self.held is not None and now - self.held.mode_written_at < seconds:
            old.discard(_MODE)
        return old

    @override
    def observe(self, values: Mapping[str, Value]) -> None:
        now = loop_time()
        if not values.keys().isdisjoint(control_block.NAMES):
            self._block_read_at = now
        if self.held is not None:
            self._observe_held(self.held, values, now)

    def _observe_held(self, held: HeldBlock, values: Values, now: float) -> None:
        """Note whether the mode that was written is there, and foreign setpoints."""
        # Not in `values`: they may have been read before it was written.
        if self._battery.cache.values.get(_MODE) == EXTERNAL_CONTROL:
            held.mode_confirmed = True
        block = control_block.decode(values, self._phases)
        # Zeros remain where the Multi has forgotten a setpoint.
        is_own = not any(block) or block in held.recent
        if now - held.written_at >= _SETTLED:
            held.foreign.note(is_own=is_own)

    def setpoint_in(self, values: Values) -> int | None:
        """Return the battery power that the device is held at, W.

        None when it is not held, or no longer at what was last written.
        """
        held = self.held
        if (
            held is None
            or not held.block
            or control_block.decode(values, self._phases) != held.block
        ):
            return None
        return held.grant.power

    async def _write_block(self, block: list[int]) -> None:
        """Write the control block as one request, and record it."""
        held = self.held
        if held is not None:
            held.recent.append(block)
        await self._vebus.write_words(control_block.ADDRESS, block)
        if held is not None:
            held.block, held.written_at = block, loop_time()

    # Restoring

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        return sound_parts(stored, {_MODE: self._gx.registers[_MODE].holds})

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        """Zero the setpoints, clear the flags, confirm both, then restore the mode.

        In this order, since a remaining flag might stop the GX's own loop from
        charging. External control in the snapshot stays. A mode that was changed
        meanwhile stays; so do the setpoints that another controller writes in external
        control.
        """
        mode = await self._gx.read_register(_MODE)
        in_control = mode == EXTERNAL_CONTROL
        is_taken_over = self.held is not None and bool(self.held.taken_over)
        failure: BatteryError | None = None
        try:
            if not (is_taken_over and in_control):
                await self._clear_block(in_control=in_control)
        except DeviceRefusedError as err:
            # Without the VE.Bus system there is nothing to clear yet, and the mode
            # must not wait for it.
            failure = err
        former = snapshot.get(_MODE, EXTERNAL_CONTROL)
        if in_control and former != EXTERNAL_CONTROL:
            await self._restore_mode(former)
        if failure is not None:
            raise failure

    async def _restore_mode(self, mode: Value) -> None:
        """Write the ESS mode of the snapshot, and confirm it.

        One without a name may not be taken. Then the GX decides as it does by default,
        since external control must not stay.
        """
        if isinstance(mode, str):
            await self._write_confirmed(mode)
            return
        try:
            await self._write_confirmed(mode)
        except (DeviceRefusedError, NotConfirmedError) as err:
            _LOGGER.warning("%s, so %s is chosen instead", err, SELF_CONSUMPTION)
            await self._write_confirmed(SELF_CONSUMPTION)

    async def _write_confirmed(self, mode: Value) -> None:
        """Write the ESS mode, and see that the GX shows it."""
        await self._write_mode(mode)
        wanted = self._gx.registers[_MODE].encode(mode)
        address = self._mode_address
        try:
            await self._gx.confirm_words(
                dict(enumerate(wanted, address)),
                range(address, address + len(wanted)),
                settle=self._battery.settle,
            )
        except NotConfirmedError as err:
            raise NotConfirmedError(
                f"{self._battery.address}: ESS mode is still {self._mode_seen} "
                f"after restoring {mode}"
            ) from err

    async def _clear_block(self, *, in_control: bool) -> None:
        """Write zeros and confirm them; the GX's own loop may set setpoints only."""
        block = control_block.addresses(self._phases)
        zeros = dict.fromkeys(block if in_control else control_block.FLAGS, 0)
        for more_tries in reversed(range(_RELEASE_TRIES)):
            await self._write_block(control_block.encode([], self._phases))
            try:
                await self._vebus.confirm_words(
                    zeros, block, settle=self._battery.settle
                )
            except NotConfirmedError as err:
                if not more_tries:
                    seen = [self._vebus.words[address] for address in block]
                    raise NotConfirmedError(
                        f"{self._battery.address}: registers {block.start}.. still read "
                        f"{seen} instead of 0"
                    ) from err
            else:
                return
