"""Control of one battery: hold it at a setpoint, renew that, and release it.

A setpoint is a lease: from before the first write until the device has been restored
from its snapshot, read back and confirmed. It is kept on disk all that time. All writes
of a lease are made by one `LeasedBattery`, one at a time, and none waits for a poll.
"""

from datetime import datetime, timedelta
import logging

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.util import dt as dt_util

from ..const import CONF_SETPOINT_TIMEOUT, DOMAIN, ControlMode, ControlStatus, Issue
from ..coordinator import BatteryCoordinator
from ..drivers.battery.controller import LimitReason
from ..drivers.errors import BatteryError
from ..drivers.modbus.priority_lock import high_priority
from .keep_alive import KeepAlive
from .lease import Lease, Outcome, Setpoint
from .measured import READ_BACK, measured
from .state import ControlState, LeasedBattery
from .takeover import Takeovers

__all__ = ["Control", "ControlState"]

_LOGGER = logging.getLogger(__name__)


class Control:
    """Control of one battery: by its inverter, or by a setpoint that is held."""

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, coordinator: BatteryCoordinator
    ) -> None:
        """Begin in automatic; nothing is written."""
        self._hass = hass
        self._entry = entry
        self._coordinator = coordinator
        self._battery = coordinator.battery
        self._leased = LeasedBattery(hass, entry.title, self._battery, self._retry_soon)
        self._keep_alive = KeepAlive(
            hass, entry.title, coordinator, self._leased, release=self.async_release
        )
        self.setpoint_duration = timedelta()
        """Default duration of a setpoint; 0: as the options say."""

    def _retry_soon(self) -> None:
        self._keep_alive.tick()

    # The setpoint, and its status

    @property
    def state(self) -> ControlState:
        """The state of the control."""
        return self._leased.state

    @property
    def mode(self) -> ControlMode:
        """The control mode; manual until the device has really been restored."""
        if self.state is ControlState.CLOSED:
            is_restored = self._leased.is_restored
        else:
            is_restored = self.state is ControlState.AUTOMATIC
        return ControlMode.AUTOMATIC if is_restored else ControlMode.MANUAL

    @property
    def _lease(self) -> Lease | None:
        return self._leased.lease

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
        """The power that was granted in the end, W; None in automatic."""
        return None if self._lease is None else self._lease.granted

    @property
    def limit_reason(self) -> LimitReason | None:
        """The reason why less was granted than asked for; None when nothing was cut."""
        return None if self._lease is None else self._lease.limit_reason

    @property
    def expires(self) -> datetime | None:
        """The time at which the setpoint ends by itself; None: never."""
        return None if self._lease is None else self._lease.expires

    @property
    def flash_writes_today(self) -> int:
        """Number of writes to the device's flash today."""
        return self._battery.wear.writes_today

    @property
    def takeovers(self) -> Takeovers:
        """The takeovers by other controllers since the start."""
        return self._leased.takeovers

    @property
    def status(self) -> ControlStatus:
        """The control status, by the last poll."""
        return self._status[0]

    @property
    def reason(self) -> LimitReason | None:
        """The reason why the setpoint is not followed in full; None without one."""
        return self._status[1]

    @property
    def _status(self) -> tuple[ControlStatus, LimitReason | None]:
        if self._lease is not None:
            now = self._hass.loop.time()
            return self._lease.status(now, measured(self._coordinator))
        if self.mode is ControlMode.MANUAL:
            return ControlStatus.RELEASE_FAILED, None
        return ControlStatus.AUTOMATIC, None

    @property
    def issues(self) -> frozenset[Issue]:
        """The issues that a user has to know of, as they are now."""
        not_released = self.status is ControlStatus.RELEASE_FAILED
        contested = self.takeovers.are_frequent(self._hass.loop.time())
        wrong = {
            Issue.RELEASE_FAILED: not_released and self._leased.release_failures > 1,
            Issue.ANOTHER_DEVICE: self._battery.identity_check.present is not None,
            Issue.OTHER_CONTROLLER: self.state is not ControlState.CLOSED and contested,
            Issue.LEASE_DAMAGED: bool(self.unknown),
        }
        return frozenset(issue for issue, applies in wrong.items() if applies)

    @property
    def unknown(self) -> frozenset[str]:
        """The keys of what is not known of the lease, since its file was damaged."""
        return self._leased.unknown

    async def async_accept(self) -> None:
        """Take the battery for restored: the user has set by hand what is unknown."""
        async with self._leased.exclusive():
            await self._leased.accept()
            self._keep_alive.update()

    # Requests

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

        It ends after `duration`, else after `setpoint_duration` if that is above 0,
        else as the options say. Raises ServiceValidationError beyond the limits, and
        what the driver raises.
        """
        return await self._async_hold(Setpoint(power=round(power)), duration)

    async def async_set_current(self, current: float) -> Outcome:
        """Hold the battery at a DC `current`, A, following its voltage.

        Raises NotSupportedError without a voltage, and what `async_set_power` does.
        """
        with high_priority():
            voltage = await self._battery.present_voltage()
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
        """Choose the control mode; manual without a setpoint holds at 0 W."""
        if mode is ControlMode.AUTOMATIC:
            await self.async_release()
        elif self._lease is None:
            await self.async_set_power(0)

    async def async_set_setpoint_duration(self, duration: timedelta) -> None:
        """Let setpoints end after `duration`, the held one `duration` from now.

        0 leaves that to the options. Raises NotKeptError when the new end cannot be
        kept on disk; nothing has changed then.
        """
        async with self._leased.exclusive():
            before, self.setpoint_duration = self.setpoint_duration, duration
            try:
                await self._leased.change_end(self._expiry(None))
            except BaseException:
                self.setpoint_duration = before
                raise
            finally:
                self._keep_alive.update()

    async def async_release(self, due: datetime | None = None) -> None:
        """Restore the device to its own control, and confirm that by reading back.

        With `due`, only a setpoint that ends by itself then is released: another may
        have been set while this waited for its turn. Without, the user asks for it.
        What the release changed is read at once, the rest at the next poll. Raises what
        the driver raises; it is then retried until it works.
        """
        async with self._leased.exclusive():
            if due is None:
                self.takeovers.note_release(self._hass.loop.time())
            if self.mode is ControlMode.AUTOMATIC:
                return
            if due is not None:
                if self.expires != due:
                    return
                _LOGGER.info("%s: its setpoint has expired", self._entry.title)
            try:
                await self._leased.release()
            finally:
                self._keep_alive.update()
        self._coordinator.expire()
        await self._coordinator.async_read_now(READ_BACK)

    async def async_start(self) -> None:
        """Resume, or release, a setpoint that was held when Home Assistant died.

        A setpoint that was to end later than now is held until then, unless it was
        ended on the device meanwhile; any other is released. A failure is retried.
        """
        async with self._leased.exclusive():
            if not await self._leased.load():
                return
            try:
                await self._leased.resume_or_release()
            except BatteryError as err:
                self._coordinator.recent_errors.note(err)
                self._leased.retry_log.failed(err)
            self._keep_alive.update()

    async def async_save(self) -> None:
        """Save the snapshot, and the count of writes to flash.

        A setting that is changed while a setpoint is held may change both.
        """
        await self._leased.save()

    async def async_close(self) -> None:
        """Release the battery, and take no setpoint any more."""
        self._leased.close()
        async with self._leased.exclusive():
            for last_try in (False, True):
                try:
                    await self._leased.release()
                except BatteryError as err:
                    if last_try:
                        self._log_still_held(err)
                else:
                    break
            self._keep_alive.update()
        # Not before the release: it would take the connection with it.
        await self._keep_alive.async_stop()

    def _log_still_held(self, err: BatteryError) -> None:
        self._coordinator.recent_errors.note(err)
        _LOGGER.error(
            "%s could not be released and may stay at its last setpoint until Home "
            "Assistant reaches it again; set its working mode on the device itself if "
            "that takes long: %s",
            self._entry.title,
            err,
        )

    async def _async_hold(
        self, setpoint: Setpoint, duration: timedelta | None = None
    ) -> Outcome:
        """Hold a new setpoint; raises what `async_set_power` does."""
        self.check_limits(setpoint.power)
        async with self._leased.exclusive():
            # While Home Assistant stops, its storage does not reach the disk at once.
            if self.state is ControlState.CLOSED or self._hass.is_stopping:
                raise HomeAssistantError(
                    translation_domain=DOMAIN,
                    translation_key="closed",
                    translation_placeholders={"device": self._entry.title},
                )
            try:
                lease = await self._leased.hold(setpoint, self._expiry(duration))
            finally:
                self._keep_alive.update()
        self._keep_alive.settle_soon()
        await self._coordinator.async_read_now(READ_BACK)
        return Outcome(
            requested=setpoint.power,
            granted=lease.granted,
            limit_reason=lease.limit_reason or lease.waits_for,
            expires=lease.expires,
        )

    def _expiry(self, duration: timedelta | None) -> datetime | None:
        """Return the time at which a setpoint that is set now ends; None: never."""
        timeout = timedelta(seconds=self._entry.options.get(CONF_SETPOINT_TIMEOUT) or 0)
        duration = duration or self.setpoint_duration or timeout
        return dt_util.utcnow() + duration if duration else None
