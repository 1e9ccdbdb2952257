"""The state of the control of one battery, and its transitions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum
import logging

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util

from ..const import DOMAIN
from ..drivers.battery.base import Battery
from ..drivers.battery.controller import LimitReason, Snapshot, SuspendedError
from ..drivers.errors import (
    AnotherDeviceError,
    BatteryError,
    CannotConnectError,
    FlashBudgetError,
    NotConfirmedError,
    NotKeptError,
    RequestTimeoutError,
    TakenOverError,
    UnidentifiedError,
)
from ..drivers.modbus.priority_lock import high_priority
from .flash_spacing import FlashSpacing
from .lease import Lease, Setpoint
from .retry_log import RetryLog
from .store import LeaseStore
from .takeover import Takeovers

_LOGGER = logging.getLogger(__name__)


class ControlState(StrEnum):
    """The state of the control of a battery."""

    AUTOMATIC = "automatic"
    """The device is under its own control; there is nothing to restore."""
    HELD = "held"
    """There is a lease: the device is held at a setpoint, or will be."""
    RELEASING = "releasing"
    """The lease is over and the device is not restored yet; that is retried."""
    CLOSED = "closed"
    """No setpoint is taken any more. A lease is still released; a device that could
    not be restored is restored at the next start."""


class LeasedBattery:
    """A battery and the lease on it, which is on disk as long as there is one.

    A lease begins before the first write, and ends when the device has been restored,
    read back and confirmed. All that writes is called within `exclusive`.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        title: str,
        battery: Battery,
        retry_soon: Callable[[], None],
    ) -> None:
        """Begin in AUTOMATIC.

        `retry_soon` schedules `renew_or_release` for when no other task writes.
        """
        self._hass = hass
        self._title = title
        self._battery = battery
        self._battery.wear.today = lambda: dt_util.now().date()
        self._retry_soon = retry_soon
        battery.keep_snapshot = self._keep
        self._store = LeaseStore(hass, battery.identity.serial_number)
        self._unknown: frozenset[str] = frozenset()
        """The parts of the snapshot that are not known: until the user has set them on
        the device, it is not restored."""
        self._lock = asyncio.Lock()
        self._flash_spacing = FlashSpacing(hass, battery)
        self.state = ControlState.AUTOMATIC
        self.lease: Lease | None = None
        """The lease in HELD; in CLOSED the one that is still to be released."""
        self.retry_log = RetryLog(title)
        self.calls = 0
        """Number of calls that have applied a setpoint, or tried to release it."""
        self.release_failures = 0
        """Number of failed releases in a row."""
        self.takeovers = Takeovers()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Let one task write at a time, before all tasks that only read."""
        with high_priority():
            async with self._lock:
                yield

    # Transitions

    def _enter(self, state: ControlState) -> None:
        """Change the state, except from CLOSED."""
        if self.state is not ControlState.CLOSED:
            self.state = state

    def _begin(self, lease: Lease) -> None:
        """Enter HELD with a lease."""
        self.lease = lease
        self._enter(ControlState.HELD)

    def _end(self) -> None:
        """End the lease: enter AUTOMATIC if the device is restored, else RELEASING."""
        self.lease = None
        self._enter(
            ControlState.AUTOMATIC if self.is_restored else ControlState.RELEASING
        )

    @property
    def is_restored(self) -> bool:
        """Whether the device surely has its own settings again."""
        return self._battery.snapshot is None and not self._unknown

    def close(self) -> None:
        """Enter CLOSED."""
        self._enter(ControlState.CLOSED)

    # After a start

    async def load(self) -> bool:
        """Load the lease of an earlier run; return whether there is one.

        Enters RELEASING then: by its snapshot the device can be restored.
        """
        await self._store.async_load(self._battery.wear)
        if self._store.content.snapshot is None:
            return False
        self._battery.snapshot, self._unknown = self._store.recover(self._battery)
        self._enter(ControlState.RELEASING)
        return True

    async def resume_or_release(self) -> None:
        """Resume the loaded setpoint if it is still held and not over, else release.

        Raises what the driver raises.
        """
        setpoint, expires = self._store.content.setpoint, self._store.content.expires
        if (
            not self._unknown
            and setpoint is not None
            and expires is not None
            and expires > dt_util.utcnow()
            and await self._battery.is_held()
        ):
            _LOGGER.info(
                "%s was held at %s W when Home Assistant ended, and is until %s",
                self._title,
                setpoint.power,
                dt_util.as_local(expires).isoformat(timespec="seconds"),
            )
            lease = Lease.new(setpoint, expires, self._hass.loop.time())
            self._begin(lease)
            await self._apply(lease)
            return
        _LOGGER.warning(
            "%s was held at a setpoint when Home Assistant ended; it is released now",
            self._title,
        )
        await self.release()

    # A damaged file

    @property
    def unknown(self) -> frozenset[str]:
        """The keys of what is not known of the lease, since its file was damaged."""
        return self._store.unknown

    async def accept(self) -> None:
        """Forget what is not known: the user has set the device right by hand."""
        if self._unknown:
            self._unknown = frozenset()
            self._battery.snapshot = None
            self._end()
        self._store.content.unknown.clear()
        await self.save()

    # Setpoints

    async def hold(self, setpoint: Setpoint, expires: datetime | None) -> Lease:
        """Apply a new setpoint; the lease begins with the first one.

        Raises NotKeptError where the lease cannot be kept on disk, HomeAssistantError
        where what a release has to restore is unknown, and what the driver raises. The
        setpoint before it then stays in force; a first one is released if anything of it
        may have been written.
        """
        if self._unknown:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="snapshot_unknown",
                translation_placeholders={"device": self._title},
            )
        before, snapshot = self.lease, self._battery.snapshot
        if snapshot is None:
            # From here on the device is not under its own control: its snapshot must
            # be known, and on disk, before the first write.
            self._battery.snapshot = await self._battery.take_snapshot()
        lease = Lease.new(setpoint, expires, self._hass.loop.time())
        self._begin(lease)
        try:
            await self._keep(self._battery.snapshot)
        except BaseException:
            await self._undo(before, snapshot)
            raise
        try:
            if self._must_wait(lease):
                self._log_wait(lease)
            else:
                await self._apply(lease)
                self.retry_log.reset()
        except BaseException as err:
            self._abandon(before, snapshot, is_written=_may_have_written(err))
            raise
        finally:
            await self.save()
        self.calls += lease.applied
        return lease

    def _must_wait(self, lease: Lease) -> bool:
        """Return whether a setpoint has to wait its turn; note in the lease for what."""
        spares_flash = self._flash_spacing.seconds_to_wait(lease.setpoint.power) > 0
        lease.waits_for = LimitReason.FLASH if spares_flash else None
        return self.seconds_to_wait > 0

    @property
    def seconds_to_wait(self) -> float:
        """The seconds until the setpoint that waits should be sent.

        The device needs some between two setpoints, and its flash is to be spared.
        """
        lease = self.lease
        if lease is None or lease.applied:
            return 0
        power = lease.setpoint.power
        return max(
            self._battery.seconds_to_wait(power),
            self._flash_spacing.seconds_to_wait(power),
        )

    def _log_wait(self, lease: Lease) -> None:
        why = (
            "flash was written often just now"
            if lease.waits_for
            else "one came just now"
        )
        _LOGGER.info(
            "%s: %s, so its setpoint of %s W waits for %.0f s",
            self._title,
            why,
            lease.setpoint.power,
            self.seconds_to_wait,
        )

    async def _undo(self, before: Lease | None, snapshot: Snapshot | None) -> None:
        """Go back to the lease and the snapshot before a setpoint that was not kept."""
        self._battery.snapshot = snapshot
        if before is None:
            self._end()
        else:
            self._begin(before)
        await self.save()

    def _abandon(
        self, before: Lease | None, snapshot: Snapshot | None, *, is_written: bool
    ) -> None:
        """Go back to the lease before a setpoint that failed.

        A first one that may have been written in part is released.
        """
        if before is not None:
            # It may have arrived in part, so the former one is applied again.
            before.applied = before.applied and not is_written
            self._begin(before)
            return
        if not is_written:
            self._battery.snapshot = snapshot
        self._end()
        if is_written:
            self._retry_soon()

    async def _apply(self, lease: Lease) -> None:
        """Write the setpoint, and note the power that was granted."""
        with self._flash_spacing.watching():
            lease.grant = await lease.setpoint.apply(self._battery)
        lease.applied = True
        lease.waits_for = None
        lease.confirm()

    async def change_end(self, expires: datetime | None) -> None:
        """Let the lease end at another time: on disk first, for a crash may follow.

        Raises NotKeptError when it cannot be kept; nothing has changed then.
        """
        lease = self.lease
        if lease is None:
            return
        before = lease.expires, lease.duration
        lease.change_end(expires)
        try:
            await self._keep(self._battery.snapshot)
        except BaseException:
            lease.expires, lease.duration = before
            await self.save()
            raise

    # Renewing and releasing

    async def renew_or_release(self) -> None:
        """Renew the lease, or release what is not restored yet.

        Raises what the driver raises, and NotKeptError as `hold` does.
        """
        lease = self.lease
        if lease is None:
            await self.release()
            return
        try:
            await self._renew(lease)
        except BatteryError as err:
            await self._note_failure(lease, err)
            raise

    async def _renew(self, lease: Lease) -> None:
        """Renew the setpoint, or apply what the device may not know yet."""
        if lease.applied:
            await self._keep_alive(lease)
        elif self._must_wait(lease):
            await self._battery.keep_alive()  # renews the setpoint before this one
        else:
            await self._apply_again(lease)

    async def _apply_again(self, lease: Lease) -> None:
        if self._battery.snapshot is None:
            self._battery.snapshot = await self._battery.take_snapshot()
        await self._keep(self._battery.snapshot)
        await self._apply(lease)
        await self.save()
        self.retry_log.done("its setpoint was written again")

    async def _keep_alive(self, lease: Lease) -> None:
        try:
            grant = await self._battery.keep_alive()
        finally:
            # The driver may have suspended the setpoint, which writes to flash.
            await self.save()
        lease.confirm()
        if grant is not None:
            lease.grant = grant
        self.retry_log.done("its setpoint was renewed again")

    async def _note_failure(self, lease: Lease, err: BatteryError) -> None:
        """Note why a renewal failed, and whether the driver has ended the lease."""
        fault = _fault(err, lease)
        if fault is LimitReason.OTHER_CONTROLLER is not lease.fault:
            self.takeovers.note(self._hass.loop.time())
        lease.fail(fault)
        if self._battery.snapshot is None:
            # The driver has restored the device: there is nothing to hold.
            self._end()
            await self.save()

    async def release(self) -> None:
        """Restore the device and confirm it. Raises what the driver raises."""
        try:
            await self._battery.release()
        except BatteryError:
            self.release_failures += 1
            raise
        else:
            self.release_failures = 0
            self.retry_log.done("released to its own control")
        finally:
            # Restored or not: it is not renewed any more.
            self._end()
            await self.save()
            self.calls += 1

    # On disk

    async def save(self) -> None:
        """Save the lease, and the count of writes to flash.

        A failure is logged; what was not written now is written with the next change.
        """
        try:
            await self._save(self._battery.snapshot)
        except NotKeptError as err:
            _LOGGER.error(
                "%s: the state of its setpoint could not be written to disk: %s",
                self._title,
                err,
            )

    async def _keep(self, snapshot: Snapshot | None) -> None:
        """Save the lease and read it back: before the device is written to.

        Raises NotKeptError.
        """
        await self._save(snapshot)
        await self._store.async_confirm()

    async def _save(self, snapshot: Snapshot | None) -> None:
        if snapshot is None and self._unknown:
            snapshot = {}
        await self._store.async_save(snapshot, self.lease, self._battery.wear)


def _may_have_written(err: BaseException) -> bool:
    """Return whether a write before an error may have reached the device and stayed."""
    return not isinstance(err, BatteryError) or (err.written and not err.restored)


def _fault(err: BatteryError, lease: Lease) -> LimitReason:
    """Return the reason why a setpoint is not followed, by the error of its renewal."""
    match err:
        case TakenOverError():
            return LimitReason.OTHER_CONTROLLER
        case AnotherDeviceError():
            return LimitReason.ANOTHER_DEVICE
        case FlashBudgetError():
            return LimitReason.FLASH
        case NotKeptError():
            return LimitReason.NOT_SAVED
        case CannotConnectError() | RequestTimeoutError() | UnidentifiedError():
            return LimitReason.UNREACHABLE
        case SuspendedError():
            return err.reason
    if lease.limit_reason is not None:
        return lease.limit_reason
    in_vain = isinstance(err, NotConfirmedError)
    return LimitReason.NO_EFFECT if in_vain else LimitReason.REFUSED
