"""The control of an SMA by a pair of registers, power and 'active'.

The pair is written as one request, and again within the device's time-out. It cannot
be read itself; whether its read-back registers in flash follow it is uncertain, so they
count only once they have.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
import logging
import math
from typing import Final, NamedTuple, Protocol, override

from ..battery.base import SetpointLimits
from ..battery.controller import (
    ForeignSetpoint,
    Grant,
    HeldSetpoint,
    LimitReason,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    SuspendedError,
    loop_time,
    sound_parts,
)
from ..battery.readings import Values
from ..errors import (
    BatteryError,
    DeviceRefusedError,
    NotConfirmedError,
    NotSupportedError,
    TakenOverError,
)
from ..measurements import Value
from ..modbus.device import ModbusDevice
from .conditions import GATE_CLOSED, Conditions
from .registers import ACTIVE, INACTIVE

_LOGGER = logging.getLogger(__name__)

_SETPOINT: Final = "setpoint"
_CONTROL: Final = "external_control"
_POWER_SHOWN: Final = "setpoint_read_back"
_CONTROL_SHOWN: Final = "external_control_read_back"
READ_BACK: Final = (_POWER_SHOWN, _CONTROL_SHOWN)
"""The registers that may show the pair; they are in flash, and never written."""
_READ_BACK_FRESH: Final = 2.0
"""Seconds after which the read-back registers are read again."""
_READ_BACK_LATE: Final = 5.0
"""Seconds that a changed setpoint may need to show there."""
_FOREIGN_READS: Final = 2
"""Reads in a row of another controller's setpoint that are no accident."""
_NO_REFUSAL: Final = frozenset({5, 11})
"""Exceptions that refuse nothing: 5 promises to do it later, 11 is a gateway's that got
no answer. After any other nothing was written, for the pair is written as one."""
_RESTARTS_APART: Final = 600.0
"""Least seconds between two restarts of the device, which switch external control off;
sooner, another controller has switched it off."""


class ReadRegisters(Protocol):
    """Reads registers by name; those that fail are absent."""

    async def __call__(
        self, names: Collection[str], again: Collection[str] | None = None
    ) -> Values:
        """Return registers; those `again` also where they were missing before."""


class Suspension(NamedTuple):
    """The reason why a device must not be held at its setpoint for now."""

    problem: str
    reason: LimitReason


@dataclass(slots=True, kw_only=True)
class SmaHeldSetpoint(HeldSetpoint):
    """The record of the setpoint that an SMA is held at."""

    overshot: bool = False
    """Whether the cluster did far more than it; that is not tried again."""
    suspended: Suspension | None = None
    """The reason why it is suspended; None while it is not."""
    is_off: bool = False
    """Whether external control was seen off, and is to be renewed."""
    off_at: float = -math.inf
    """Time when that was last so, and renewed."""
    foreign: ForeignSetpoint = field(
        default_factory=lambda: ForeignSetpoint(_FOREIGN_READS)
    )
    former: int | None = None
    """The power that it was held at before, W, until this setpoint has been seen."""
    is_ignored: bool = False
    """Whether the device still shows the former power."""


class SmaController(SetpointController[SmaHeldSetpoint]):
    """Holds a Sunny Island, or the master of a cluster, by its pair of registers."""

    def __init__(
        self,
        address: str,
        device: ModbusDevice,
        conditions: Conditions,
        read: ReadRegisters,
        limits: SetpointLimits,
        *,
        spacing: float,
        settle: float,
    ) -> None:
        """Hold `device` within `limits`; errors name it by `address`.

        `spacing` is the least time between two setpoints, `settle` the time after a
        write until reading back shows it, s.
        """
        super().__init__()
        self._address = address
        self._device = device
        self._conditions = conditions
        self._read = read
        self._limits = limits
        self._spacing = spacing
        self._settle = settle
        self._next_at = -math.inf
        """Time from which the device takes another setpoint, also after a release."""
        self._shows_setpoints = False
        """Whether the read-back registers have ever shown a setpoint written here."""

    @override
    async def take_snapshot(self) -> Snapshot:
        """Read whether the device may be controlled, and whether it already is.

        A release goes back to the device's own control in any case: the setpoint of
        another controller is for that controller to renew.
        """
        await self._read_conditions()
        self._refuse_without_gate()
        return {_CONTROL: await self._read_control()}

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        await self._read_conditions()
        self._refuse_without_gate()
        if (suspension := self._no_grid()) is not None:
            return await self._apply_suspended(request, suspension)
        grant = self._permitted(request)
        await self._wait_for_spacing()
        before, changed_at = self.held, loop_time()
        if before is not None and before.grant.power == grant.power:
            changed_at = before.changed_at
        self.held = SmaHeldSetpoint(
            request=request,
            grant=grant,
            changed_at=changed_at,
            former=None if before is None else before.grant.power,
        )
        try:
            await self._write(self.held)
        except DeviceRefusedError as err:
            if before is None:
                self.held = None
                err.restored = err.code not in _NO_REFUSAL
            raise
        return grant

    async def _apply_suspended(
        self, request: SetpointRequest, suspension: Suspension
    ) -> Grant:
        """Note a setpoint that is to be held as soon as it may be.

        Until then the device has its own control; what still holds it is ended.
        """
        before = self.held
        was_suspended = before is not None and before.suspended is not None
        if not was_suspended and (before or await self._read_control() == ACTIVE):
            await self._device.write(_CONTROL, INACTIVE)
        self.held = SmaHeldSetpoint(
            request=request,
            grant=Grant(0, suspension.reason),
            changed_at=loop_time(),
            suspended=suspension,
        )
        return self.held.grant

    @override
    async def renew(self, snapshot: Snapshot) -> Grant | None:
        """Write the setpoint again, then check whether it still is the right one.

        In this order, so that a device that is slow to read does not forget it.
        Raises TakenOverError, and SuspendedError while the setpoint must not be held
        though there is a grid. While it is suspended the device has its own control.
        """
        held = self.held
        if held is None:
            return None
        if held.foreign.is_certain:
            raise TakenOverError(
                f"{self._address}: the device shows a setpoint that another controller "
                "has written"
            )
        if held.is_off:
            held.is_off = False
            held.off_at = held.changed_at = loop_time()
        if held.suspended is None:
            await self._write(held)
        await self.refresh(snapshot)
        if (suspension := self._suspension(held)) is not None:
            return await self._suspend(held, suspension)
        grant = self._permitted(held.request)
        if grant.power != held.grant.power or held.suspended is not None:
            await self._wait_for_spacing()
            if held.suspended is None:
                held.former = held.grant.power
            held.change(grant, loop_time())
            held.suspended = None
            await self._write(held)
        elif held.is_ignored:
            held.is_ignored = False  # unless it is seen again
            raise NotConfirmedError(
                f"{self._address}: the device still shows the setpoint before"
            )
        return held.grant

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        """Return the control before the setpoint; without it a release is complete."""
        shown = self._device.registers[_CONTROL_SHOWN]
        return Recovered(sound_parts(stored, {_CONTROL: shown.holds}).snapshot)

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        """Switch external control off; the device's acceptance confirms it.

        Where that can be read back it must not show control that was not there before.
        The control of another controller that has taken over is not ended.
        """
        if self.held is not None and self.held.foreign.is_certain:
            return
        await self._device.write(_CONTROL, INACTIVE)
        await asyncio.sleep(self._settle)
        seen = await self._read_control()
        if seen == ACTIVE != snapshot.get(_CONTROL):
            raise NotConfirmedError(
                f"{self._address}: external control is still active after switching "
                "it off"
            )

    @override
    async def _refresh(self, snapshot: Snapshot) -> None:
        try:
            await self._read_conditions()
        except BatteryError as err:
            _LOGGER.debug("%s: cannot read for the setpoint: %s", self._address, err)

    @override
    def observe(self, values: Mapping[str, Value]) -> None:
        """Count the reads in a row that show a foreign setpoint.

        After a restart of the device external control is off, too, and to be renewed.
        """
        held = self.held
        if held is None or held.suspended is not None:
            return
        if any(values.get(name) is None for name in READ_BACK):
            return
        now, shown = loop_time(), self.setpoint_shown(values)
        if shown == held.grant.power:
            self._shows_setpoints, held.is_off = True, False
            held.former, held.is_ignored = None, False
            held.foreign.note(is_own=True)
        elif not self._shows_setpoints or now - held.changed_at < _READ_BACK_LATE:
            return
        elif values[_CONTROL_SHOWN] != ACTIVE and now - held.off_at >= _RESTARTS_APART:
            held.is_off = True
        elif held.former is not None and shown == held.former:
            held.is_ignored = True
        else:
            held.foreign.note(is_own=False)

    def setpoint_shown(self, values: Values) -> Value:
        """Return the battery power that the device shows to be held at, W.

        Where it cannot be read, that is the power that the device accepted.
        """
        held = self.held
        if held is None or held.suspended is not None:
            return None
        state, power = values.get(_CONTROL_SHOWN), values.get(_POWER_SHOWN)
        if state is None or not isinstance(power, int | float):
            return held.grant.power
        return 0 - power if state == ACTIVE else None

    # Conditions

    async def _read_conditions(self) -> None:
        """Read the conditions of a setpoint that were read too long ago."""
        names = self._conditions.stale(held=self.held is not None)
        if self._shows_setpoints and self._device.cache.older_than(
            _READ_BACK_FRESH, READ_BACK, loop_time()
        ):
            names |= set(READ_BACK)
        await self._read(names)

    async def _read_control(self) -> Value:
        """Return whether external control is on; None where that cannot be read."""
        shown = {_CONTROL_SHOWN}
        return (await self._read(shown, again=shown)).get(_CONTROL_SHOWN)

    def _refuse_without_gate(self) -> None:
        if self._conditions.is_gate_closed:
            raise NotSupportedError(f"{self._address}: {GATE_CLOSED}")

    def _permitted(self, request: SetpointRequest) -> Grant:
        """Return the power that device and battery permit now of a request."""
        return self._conditions.permitted(request.power, self._limits)

    def _no_grid(self) -> Suspension | None:
        """Return the suspension of a device off the grid; None on it."""
        state = self._conditions.off_grid
        if state is None:
            return None
        return Suspension(f"No setpoint off the grid ({state})", LimitReason.NO_GRID)

    def _suspension(self, held: SmaHeldSetpoint) -> Suspension | None:
        """Return the reason why the device must not be held now; None if it may be."""
        if self._conditions.is_gate_closed:
            return Suspension(GATE_CLOSED, LimitReason.REFUSED)
        if (suspension := self._no_grid()) is not None:
            return suspension
        held.overshot |= self._conditions.overshoots(held.grant.power, held.changed_at)
        if held.overshot:
            return Suspension(
                "The cluster does far more than its setpoint: it counts otherwise",
                LimitReason.NO_EFFECT,
            )
        return None

    # Writing

    async def _suspend(self, held: SmaHeldSetpoint, suspension: Suspension) -> Grant:
        """Switch external control off, written once; return the grant without a grid.

        Raises SuspendedError for any other reason: that should not have come.
        """
        if held.suspended is None:
            await self._device.write(_CONTROL, INACTIVE)
        held.suspended = suspension
        if suspension.reason is LimitReason.NO_GRID:
            held.change(Grant(0, suspension.reason), loop_time())
            return held.grant
        raise SuspendedError(
            f"{self._address}: {suspension.problem}", suspension.reason
        )

    async def _wait_for_spacing(self) -> None:
        """Wait until the device takes a new setpoint."""
        await asyncio.sleep(max(0, self._next_at - loop_time()))

    async def _write(self, held: SmaHeldSetpoint) -> None:
        """Write power and 'active' as one request."""
        setpoint, control = (
            self._device.registers[name] for name in (_SETPOINT, _CONTROL)
        )
        await self._device.write_words(
            setpoint.address,
            [*setpoint.encode(-held.grant.power), *control.encode(ACTIVE)],
        )
        held.written_at = loop_time()
        self._next_at = held.written_at + self._spacing
