"""The control of a simulated battery: external control and a power, renewed in time."""

from collections.abc import Iterator
from typing import Final, override

from ..battery.controller import (
    Bound,
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
from ..errors import TakenOverError
from ..measurements import as_number
from .device import CHARGE_LIMIT, CHOICES, EXTERNAL_CONTROL, MODE, SimulatedDevice

_FULL: Final = 100.0


class SimulatedController(SetpointController[HeldSetpoint]):
    """Holds a simulated device in external control, at a power."""

    def __init__(self, device: SimulatedDevice) -> None:
        """Hold `device`."""
        super().__init__()
        self._device = device

    @override
    async def take_snapshot(self) -> Snapshot:
        self._device.run()
        return {MODE: self._device.mode}

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        device = self._device
        device.run()
        if device.mode != EXTERNAL_CONTROL:
            # Another mode than the snapshot's was chosen since: it is restored.
            await self.correct(snapshot, {MODE: device.mode})
        now = loop_time()
        grant = self._granted(request)
        held = self.held or HeldSetpoint(request=request, grant=grant, changed_at=now)
        held.request = request
        self._write(held, grant)
        self.held = held
        return grant

    @override
    async def renew(self, snapshot: Snapshot) -> Grant | None:
        device, held = self._device, self.held
        if held is None:
            return None
        device.run()
        if device.mode != EXTERNAL_CONTROL:
            raise TakenOverError(
                f"{device.serial_number}: the working mode is {device.mode}; another "
                "controller has changed it"
            )
        grant = self._granted(held.request)
        self._write(held, grant)
        return grant

    def _write(self, held: HeldSetpoint, grant: Grant) -> None:
        self._device.hold(grant.power)
        held.written_at = loop_time()
        held.change(grant, held.written_at)

    def _granted(self, request: SetpointRequest) -> Grant:
        """Return the power that the device permits now of a request."""
        power, reason = bounded(request.power, self._bounds(charges=request.power > 0))
        return Grant(round(power), reason)

    def _bounds(self, *, charges: bool) -> Iterator[Bound]:
        plant = self._device.plant
        if not charges:
            yield Bound(plant.discharge_limit, LimitReason.EMPTY)
            return
        if (limit := as_number(self._device.settings[CHARGE_LIMIT])) is not None:
            yield Bound(limit, LimitReason.SETTING)
        is_full = plant.soc >= _FULL
        reason = LimitReason.FULL if is_full else LimitReason.BATTERY
        yield Bound(plant.charge_limit, reason)

    @override
    async def shows_setpoint(self, snapshot: Snapshot) -> bool:
        self._device.run()
        return self._device.mode == EXTERNAL_CONTROL

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        return sound_parts(stored, {MODE: lambda mode: mode in CHOICES})

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        """Restore the working mode, unless another one was chosen since."""
        self._device.run()
        if self._device.mode == EXTERNAL_CONTROL:
            self._device.write(MODE, snapshot.get(MODE, CHOICES[0]))
