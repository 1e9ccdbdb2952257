"""Holds a battery at a setpoint, renews it, and gives the battery back.

A setpoint is a lease: from before the first write until the device has been put back
as it was found, read back and confirmed. It is kept on disk all that time. All writes
of a lease happen here, one at a time, and none of them waits for a poll.
"""

import asyncio
from collections import deque
from datetime import datetime, timedelta
import logging
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.util import dt as dt_util

from ..const import (
    BATTERY_POWER,
    BATTERY_SOC,
    BATTERY_VOLTAGE,
    CONF_SETPOINT_TIMEOUT,
    DOMAIN,
    MIN_SOC,
    POWER_SETPOINT,
    ControlMode,
    ControlStatus,
    Issue,
)
from ..coordinator import BatteryCoordinator
from ..drivers.battery.controller import LimitReason
from ..drivers.errors import (
    BatteryError,
    CannotConnectError,
    FlashBudgetError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
    TakenOverError,
)
from ..drivers.measurements import as_number
from ..drivers.modbus.priority_lock import urgent
from .keep_alive import Timers
from .lease import Lease, Measured, Outcome, Setpoint
from .store import LeaseStore, NotKeptError
from .takeover import Takeovers

if TYPE_CHECKING:
    from .. import HomeBatteryConfigEntry

_LOGGER = logging.getLogger(__name__)

SETTLED: Final = 1.5
"""Seconds after a change until it is renewed and read back once more. The device's
own loop may land its last setpoint after our first."""
RETRY: Final = 30.0
"""Seconds until a release, or a setpoint the device may have missed, is tried again."""
PATIENCE: Final = 1.0
"""Seconds that a renewal waits for what it depends on to be read. A device that takes
longer is renewed with what is known, and read for the next time."""
FLASH_BURST: Final = 3
FLASH_WINDOW: Final = 60.0
"""So many changes that wear flash may be made in so many seconds; the next waits."""

_READ_BACK: Final = (POWER_SETPOINT, BATTERY_POWER)
_LOOKED_AT: Final = (*_READ_BACK, BATTERY_VOLTAGE, BATTERY_SOC, MIN_SOC)
"""What is polled while a battery is held. Some drivers only see another controller in
the setpoint that the device says it has."""


class Control:
    """Who decides what one battery does: the inverter, or a setpoint of ours."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: HomeBatteryConfigEntry,
        coordinator: BatteryCoordinator,
    ) -> None:
        """Begin with the battery left alone."""
        self._hass = hass
        self._entry = entry
        self._coordinator = coordinator
        self._battery = coordinator.battery
        self._battery.wear.today = lambda: dt_util.now().date()
        self._store = LeaseStore(hass, self._battery.identity.serial_number)
        self._lease: Lease | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self._ticking = False
        self._looking: asyncio.Task[None] | None = None
        self._failing = False
        self._release_failures = 0
        self.takeovers = Takeovers()
        self.setpoint_duration = timedelta()
        """How long a setpoint is held unless it says so itself; 0: as the options say."""
        self._flash_changes: deque[float] = deque(maxlen=FLASH_BURST)
        """When (loop time) flash was last written for a setpoint."""
        self._timers = Timers(
            hass,
            entry.title,
            tick=self._tick,
            settle=self._settled,
            expire=self._expire,
        )
        self._stop_looking: CALLBACK_TYPE | None = None

    # What is asked, and how it goes

    @property
    def mode(self) -> ControlMode:
        """Who decides; manual until the battery has really been given back."""
        if self._lease is None and self._battery.found is None:
            return ControlMode.AUTOMATIC
        return ControlMode.MANUAL

    @property
    def requested_power(self) -> int | None:
        """The power asked for, W, + = charging; None in automatic."""
        return None if self._lease is None else self._lease.setpoint.power

    @property
    def requested_current(self) -> float | None:
        """The battery current asked for, A; None unless a current was."""
        return None if self._lease is None else self._lease.setpoint.current

    def requested_phase(self, phase: int) -> int | None:
        """Return the power asked for of one phase, W; None unless one was."""
        return None if self._lease is None else self._lease.setpoint.phases.get(phase)

    @property
    def granted_power(self) -> int | None:
        """What the device was told in the end, W; None in automatic."""
        return None if self._lease is None else self._lease.granted

    @property
    def limited_by(self) -> LimitReason | None:
        """Why less was granted than asked for; None when nothing was cut."""
        return None if self._lease is None else self._lease.limited_by

    @property
    def expires(self) -> datetime | None:
        """When the setpoint ends by itself; None if it does not."""
        return None if self._lease is None else self._lease.expires

    @property
    def flash_writes_today(self) -> int:
        """How often flash of the device was written today."""
        return self._battery.wear.writes_today

    @property
    def status(self) -> ControlStatus:
        """How well the device does what is asked of it, as far as can be seen."""
        return self._status[0]

    @property
    def reason(self) -> LimitReason | None:
        """Why it does not do all of it; None when there is nothing to explain."""
        return self._status[1]

    @property
    def issues(self) -> frozenset[Issue]:
        """What its owner has to know of the control, as it is now."""
        not_released = self.status is ControlStatus.RELEASE_FAILED
        contested = self.takeovers.are_frequent(self._hass.loop.time())
        wrong = {
            Issue.RELEASE_FAILED: not_released and self._release_failures > 1,
            Issue.OTHER_CONTROLLER: not self._closed and contested,
        }
        return frozenset(issue for issue, applies in wrong.items() if applies)

    @property
    def _status(self) -> tuple[ControlStatus, LimitReason | None]:
        if self._lease is not None:
            return self._lease.status(self._hass.loop.time(), self._measured)
        if self._battery.found is not None:
            return ControlStatus.RELEASE_FAILED, None
        return ControlStatus.AUTOMATIC, None

    @property
    def _measured(self) -> Measured:
        coordinator = self._coordinator

        def is_lost(key: str) -> bool:
            failures = coordinator.data.failures
            return not coordinator.last_update_success or key in failures

        def last(key: str) -> float | None:
            return None if is_lost(key) else as_number(coordinator.data.get(key))

        return Measured(
            is_lost=is_lost(BATTERY_POWER),
            power=last(BATTERY_POWER),
            voltage=last(BATTERY_VOLTAGE),
            soc=last(BATTERY_SOC),
            min_soc=last(MIN_SOC),
        )

    # What can be asked

    def check_limits(self, power: float) -> None:
        """Raise ServiceValidationError when the battery cannot be held at `power` W."""
        limits = self._battery.setpoint_limits
        if limits is None or limits.minimum <= round(power) <= limits.maximum:
            return
        raise ServiceValidationError(
            translation_domain=DOMAIN,
            translation_key="setpoint_out_of_range",
            translation_placeholders={
                "device": self._entry.title,
                "power": f"{round(power)}",
                "minimum": f"{limits.minimum}",
                "maximum": f"{limits.maximum}",
            },
        )

    async def async_set_power(
        self, power: float, duration: timedelta | None = None
    ) -> Outcome:
        """Hold the battery at `power` W: above zero charges, below discharges, 0 holds.

        It ends after `duration`, else after `setpoint_duration` if that is above 0, else
        as the options say. Raises ServiceValidationError beyond the limits, and what the
        driver raises.
        """
        return await self._async_hold(Setpoint(power=round(power)), duration)

    async def async_set_current(self, current: float) -> Outcome:
        """Hold the battery at a DC `current`, A, following its voltage.

        Raises NotSupportedError without a voltage, and what `async_set_power` does.
        """
        with urgent():
            voltage = as_number(await self._battery.get(BATTERY_VOLTAGE))
        if not voltage:
            raise NotSupportedError(
                f"{self._entry.title}: no battery voltage, so no current setpoint"
            )
        setpoint = Setpoint(power=round(current * voltage), current=current)
        return await self._async_hold(setpoint)

    async def async_set_phase(self, phase: int, power: float) -> Outcome:
        """Hold one phase at `power` W; those that were not set are held at 0.

        Raises what `async_set_power` does.
        """
        phases = dict.fromkeys(range(1, self._battery.setpoint_phases + 1), 0)
        if self._lease is not None:
            phases |= self._lease.setpoint.phases
        phases[phase] = round(power)
        return await self._async_hold(
            Setpoint(power=sum(phases.values()), phases=phases)
        )

    async def async_set_mode(self, mode: ControlMode) -> None:
        """Choose who decides; manual without a setpoint holds at 0 W."""
        if mode is ControlMode.AUTOMATIC:
            await self.async_release()
        elif self._lease is None:
            await self.async_set_power(0)

    async def async_set_setpoint_duration(self, duration: timedelta) -> None:
        """Let setpoints end after `duration`, the held one so long from now.

        0 leaves that to the options. Raises HomeAssistantError when the new end cannot
        be kept on disk; nothing has changed then.
        """
        with urgent():
            async with self._lock:
                before, self.setpoint_duration = self.setpoint_duration, duration
                try:
                    if self._lease is not None:
                        await self._change_end(self._lease, self._expiry(None))
                except BaseException:
                    self.setpoint_duration = before
                    raise
                finally:
                    self._after_change()

    async def _change_end(self, lease: Lease, expires: datetime | None) -> None:
        """Change when a setpoint ends: on disk first, which may outlive us."""
        before, lease.expires = lease.expires, expires
        try:
            await self._keep()
        except BaseException:
            lease.expires = before
            await self.async_save()
            raise

    async def async_release(self, due: datetime | None = None) -> None:
        """Give the battery back to its own control, and see that it took it.

        With `due`, only from a setpoint that ends by itself then: another may have
        been given while this waited for its turn. Without, its owner wants it. Raises
        what the driver raises; it is then tried again until it works.
        """
        with urgent():
            async with self._lock:
                if due is None:
                    self.takeovers.note_release(self._hass.loop.time())
                if self.mode is ControlMode.AUTOMATIC:
                    return
                if due is not None:
                    if self.expires != due:
                        return
                    _LOGGER.info("%s: its setpoint has expired", self._entry.title)
                try:
                    await self._release()
                finally:
                    self._after_change()
        await self._coordinator.async_read_now(self._coordinator.subscribed)

    async def async_start(self) -> None:
        """Take up, or give back, what a Home Assistant that died has left held.

        A setpoint that was to end later than now goes on until then, unless somebody
        has ended it meanwhile; any other is released. If that fails it is tried again
        until it works.
        """
        with urgent():
            async with self._lock:
                await self._store.async_load(self._battery.wear)
                if self._store.snapshot is None:
                    return
                self._battery.found = self._store.snapshot
                try:
                    await self._go_on_or_release()
                except BatteryError as err:
                    self._coordinator.recent_errors.note(err)
                    _LOGGER.warning(
                        "%s could not be told or given back yet: %s",
                        self._entry.title,
                        err,
                    )
                self._after_change()

    async def _go_on_or_release(self) -> None:
        setpoint, expires = self._store.setpoint, self._store.expires
        if (
            setpoint is not None
            and expires is not None
            and expires > dt_util.utcnow()
            and await self._battery.is_held()
        ):
            _LOGGER.info(
                "%s was held at %s W when Home Assistant ended, and is until %s",
                self._entry.title,
                setpoint.power,
                dt_util.as_local(expires).isoformat(timespec="seconds"),
            )
            self._lease = self._new_lease(setpoint, expires)
            await self._tell(self._lease)
            return
        _LOGGER.warning(
            "%s was held at a setpoint when Home Assistant ended; it is given back to "
            "its own control now",
            self._entry.title,
        )
        await self._release()

    async def async_save(self) -> None:
        """Keep on disk what has to be given back, and what flash was written.

        A setting that is changed while a setpoint is held may change both. What
        cannot be written now is written with what changes next.
        """
        try:
            await self._save()
        except NotKeptError as err:
            _LOGGER.error(
                "%s: what is known of its setpoint could not be written to disk: %s",
                self._entry.title,
                err,
            )

    async def _save(self) -> None:
        await self._store.async_save(
            self._battery.found, self._lease, self._battery.wear
        )

    async def _keep(self) -> None:
        """Keep the lease on disk, for certain: before the device is told of it."""
        try:
            await self._save()
            await self._store.async_confirm()
        except NotKeptError as err:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="not_kept",
                translation_placeholders={
                    "device": self._entry.title,
                    "error": str(err),
                },
            ) from err

    async def async_close(self) -> None:
        """Release what is held, and take no setpoint any more."""
        self._closed = True
        with urgent():
            async with self._lock:
                for last_try in (False, True):
                    try:
                        await self._release()
                    except BatteryError as err:
                        if last_try:
                            self._say_left_held(err)
                    else:
                        break
                self._after_change()
        if self._looking is not None:
            # Not before the release: it would take the connection with it.
            self._looking.cancel()
            await asyncio.wait({self._looking})

    def _say_left_held(self, err: BatteryError) -> None:
        self._coordinator.recent_errors.note(err)
        _LOGGER.error(
            "%s could not be given back to its own control and may stay at its last "
            "setpoint until Home Assistant reaches it again; set it right on the "
            "device itself if that takes long: %s",
            self._entry.title,
            err,
        )

    # How it is done; all that writes holds the lock

    async def _async_hold(
        self, setpoint: Setpoint, duration: timedelta | None = None
    ) -> Outcome:
        """Tell the device a new setpoint; the lease begins with the first one."""
        self.check_limits(setpoint.power)
        with urgent():
            async with self._lock:
                if self._closed:
                    raise HomeAssistantError(
                        translation_domain=DOMAIN,
                        translation_key="closed",
                        translation_placeholders={"device": self._entry.title},
                    )
                try:
                    lease = await self._hold(setpoint, self._expiry(duration))
                finally:
                    self._after_change()
        self._timers.settle_in(SETTLED)
        await self._coordinator.async_read_now(_READ_BACK)
        return Outcome(
            requested=setpoint.power,
            granted=lease.granted,
            limited_by=lease.limited_by,
            expires=lease.expires,
        )

    def _expiry(self, duration: timedelta | None) -> datetime | None:
        """Return when a setpoint that is given now ends by itself."""
        timeout = timedelta(seconds=self._entry.options.get(CONF_SETPOINT_TIMEOUT) or 0)
        duration = duration or self.setpoint_duration or timeout
        return dt_util.utcnow() + duration if duration else None

    def _new_lease(self, setpoint: Setpoint, expires: datetime | None) -> Lease:
        now = self._hass.loop.time()
        return Lease(
            setpoint=setpoint, expires=expires, changed_at=now, on_target_at=now
        )

    async def _hold(self, setpoint: Setpoint, expires: datetime | None) -> Lease:
        battery, before, found = self._battery, self._lease, self._battery.found
        if found is None:
            # From here on the device is not as its owner left it: what has to be
            # put back must be known, and kept, before the first write.
            battery.found = await battery.read_found()
        lease = self._lease = self._new_lease(setpoint, expires)
        begun = False
        try:
            await self._keep()
        except BaseException:
            # Nothing was written.
            self._lease, battery.found = before, found
            await self.async_save()
            raise
        try:
            if self._wait_for_flash(setpoint.power) > 0:
                return lease
            begun = True
            await self._tell(lease)
            self._failing = False
        except BaseException as err:
            # These come before anything is written.
            begun &= not isinstance(
                err, FlashBudgetError | NotSupportedError | InvalidValueError
            )
            self._lease = before
            if before is None and begun:
                self._tick()
            elif before is None:
                battery.found = found
            elif begun:
                # What of it has arrived is not known: it is told again what it was.
                before.applied = False
            raise
        finally:
            await self.async_save()
        return lease

    async def _tell(self, lease: Lease) -> None:
        """Tell the device the setpoint, and note what came of it."""
        battery, setpoint = self._battery, lease.setpoint
        written = battery.wear.writes_today
        try:
            granted = await setpoint.apply(battery)
        finally:
            if battery.wear.writes_today != written:
                self._flash_changes.append(self._hass.loop.time())
        lease.applied = True
        lease.confirm()
        lease.grant(granted, battery.limited_by)

    def _wait_for_flash(self, power: float) -> float:
        """Return for how many seconds a setpoint has to wait, not to wear out flash."""
        changes = self._flash_changes
        if len(changes) < FLASH_BURST or not self._battery.wears_flash(power):
            return 0
        return changes[0] + FLASH_WINDOW - self._hass.loop.time()

    async def _renew(self, lease: Lease) -> None:
        """Renew the setpoint, or tell the device what it may not know yet."""
        if not lease.applied:
            if self._wait_for_flash(lease.setpoint.power) > 0:
                await self._battery.keep_alive()  # what was told before this one
                return
            if self._battery.found is None:
                self._battery.found = await self._battery.read_found()
            await self._keep()
            await self._tell(lease)
            await self.async_save()
            self._say_done("its setpoint was written again")
            return
        try:
            granted = await self._battery.keep_alive()
        finally:
            # It may have let the device go for a while, which writes to flash.
            await self.async_save()
        lease.confirm()
        if granted is not None:
            lease.grant(granted, self._battery.limited_by)
        self._say_done("its setpoint was renewed again")

    async def _release(self) -> None:
        try:
            await self._battery.release()
        except BatteryError:
            self._release_failures += 1
            raise
        else:
            self._release_failures = 0
            self._say_done("released to its own control")
        finally:
            # Given back or not: it is not renewed any more.
            self._lease = None
            await self.async_save()

    # Renewing, trying to release again, and ending in time

    def _after_change(self) -> None:
        """Tell the entities, and have the timers that are needed from now on."""
        interval: float | None = None
        if self.mode is ControlMode.MANUAL and not self._closed:
            interval = RETRY
            if self._lease is not None and self._battery.keep_alive_interval:
                interval = self._battery.keep_alive_interval
        self._timers.run(interval, None if self._closed else self.expires)
        if interval is None and self._stop_looking is not None:
            self._stop_looking()
            self._stop_looking = None
        elif interval is not None and self._stop_looking is None:
            self._stop_looking = self._coordinator.async_add_listener(
                self._look, _LOOKED_AT
            )
        self._coordinator.async_update_listeners()

    async def _expire(self, _now: datetime) -> None:
        """End a setpoint whose time has come; a failure is tried again."""
        due = self._timers.expires
        try:
            await self.async_release(due)
        except BatteryError as err:
            self._say_failing(err)

    @callback
    def _tick(self, _now: datetime | None = None) -> None:
        """Renew or release, in a task that nothing cancels half way through a write."""
        if not self._ticking:
            self._hass.async_create_task(
                self._async_tick(), f"{self._entry.title} keep-alive"
            )

    async def _async_tick(self) -> None:
        """Renew the setpoint, or release again; a failure is left to the next time."""
        self._ticking = True
        try:
            if self._lease is not None:
                await self._look_ahead()
            with urgent():
                async with self._lock:
                    if self._lease is None:
                        await self._release()
                    else:
                        await self._renew_or_note(self._lease)
        except BatteryError as err:
            self._say_failing(err)
        finally:
            self._ticking = False
        # Whether a setpoint is followed is also a matter of time, and a poll that
        # fails again and again tells nobody.
        self._after_change()

    async def _look_ahead(self) -> None:
        """Have read what a renewal depends on, without letting it be late for that."""
        if self._looking is None or self._looking.done():
            self._looking = self._hass.async_create_background_task(
                self._battery.look(), f"{self._entry.title} look"
            )
        await asyncio.wait({self._looking}, timeout=PATIENCE)

    async def _renew_or_note(self, lease: Lease) -> None:
        try:
            await self._renew(lease)
        except BatteryError as err:
            fault = _fault(err) or self._battery.limited_by
            if fault is None:
                in_vain = isinstance(err, NotConfirmedError)
                fault = LimitReason.NO_EFFECT if in_vain else LimitReason.REFUSED
            if fault is LimitReason.OTHER_CONTROLLER is not lease.fault:
                self.takeovers.note(self._hass.loop.time())
            lease.fail(fault)
            if self._battery.found is None:
                # The driver has given the battery back: there is nothing to hold.
                self._lease = None
                await self.async_save()
            raise

    def _say_failing(self, err: BatteryError) -> None:
        self._coordinator.recent_errors.note(err)
        if not self._failing:
            _LOGGER.warning(
                "%s: cannot renew or release its setpoint, and will try again: %s",
                self._entry.title,
                err,
            )
        self._failing = True

    def _say_done(self, what: str) -> None:
        """Log what was done in the end, where it was said to fail."""
        if self._failing:
            _LOGGER.info("%s: %s", self._entry.title, what)
        self._failing = False

    async def _settled(self, _now: datetime) -> None:
        """Renew once more, and see what the device made of the change."""
        await self._async_tick()
        await self._coordinator.async_read_now(_READ_BACK)

    @callback
    def _look(self) -> None:
        """Look at what was just polled."""
        lease = self._lease
        if lease is None:
            return
        was_applied = lease.applied
        lease.evaluate(
            self._hass.loop.time(), self._measured, self._battery.current_step
        )
        if was_applied and not lease.applied:
            self._tick()


def _fault(err: BatteryError) -> LimitReason | None:
    """Return what an error says about why a setpoint is not followed."""
    match err:
        case TakenOverError():
            return LimitReason.OTHER_CONTROLLER
        case FlashBudgetError():
            return LimitReason.FLASH
        case CannotConnectError() | RequestTimeoutError():
            return LimitReason.UNREACHABLE
    return None
