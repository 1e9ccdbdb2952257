"""The interface of a battery, the same for all vendors.

`Battery` is what Home Assistant (or a script) calls; `ModbusBattery` is the
part that all Modbus batteries share. Values have the keys, units and signs of
`measurements.py`: power in W, current in A, positive = CHARGING for the battery
and for every setpoint.

Constructing, connecting and reading never write to a device.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from datetime import datetime
import math
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self, override

from ..errors import (
    BatteryError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    TakenOverError,
)
from ..flash import FlashWear
from ..measurements import BATTERY_VOLTAGE, MOST_POWER, Poll, Value, as_number
from ..modbus.probe import Detected, Probe
from .controller import (
    DeviceIssue,
    Grant,
    HeldSetpoint,
    Keep,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    keep_nowhere,
    loop_time,
)
from .identity import IdentityCheck
from .measuring import Identity, MeasuringDevice
from .readings import Readings
from .settings import NumberSetting, Setting

if TYPE_CHECKING:
    from aiohttp import ClientSession

VOLTAGE_FRESH: Final = 5.0
"""Seconds for which the battery voltage is not read again for a current."""
_MOST_AGAIN: Final = 3
"""Times that live values are read again while a setpoint is written."""
SCAN_INTERVAL: Final = 3600.0
"""Seconds between two checks for parts that were added, by default."""


@dataclass(frozen=True, slots=True)
class SetupField:
    """A field that a driver is set up with, named as in a configuration entry.

    The default of an `advanced` field, or its detection, suits nearly all devices.
    """

    name: str
    default: int | str | None = None
    required: bool = True
    advanced: bool = False
    choices: tuple[str, ...] = ()
    """The values that it may have; empty where any will do."""
    generated: bool = False
    """Whether connecting makes its value: no form has it, and it stays."""


class Choice(NamedTuple):
    """One of several values that would suit a field, and its text in a list."""

    value: int
    text: str


class SetpointLimits(NamedTuple):
    """The limits of device and user, W: discharging (≤ 0) and charging."""

    minimum: int
    maximum: int


class Battery(MeasuringDevice):
    """A battery that can be read, and held at a setpoint.

    `max_charge_power` and `max_discharge_power` (W, both positive) are the
    user's limits; `capacity` (Wh) is for devices that do not report theirs.
    """

    battery_type: ClassVar[str]
    """The name in a configuration entry."""
    manufacturer: ClassVar[str]
    fields: ClassVar[tuple[SetupField, ...]]
    """The fields needed to reach the device."""
    option_fields: ClassVar[tuple[SetupField, ...]] = ()
    """Further fields that the user may set; each has a default."""
    web_page: ClassVar[bool] = True
    """Whether there is a web page of the device, or of its gateway, at its address."""
    ports: ClassVar[tuple[int, ...]] = ()
    """The ports where a device of this kind usually listens; `detect` probes them."""
    keep_alive_interval: float | None = None
    """Seconds within which a held setpoint must be renewed or checked; None: it
    holds, and no other controller can change it."""
    change_interval: ClassVar[float] = 0.0
    """Seconds from one power of a setpoint to another in the same direction, whatever
    was in between."""
    searches = False
    """Whether connecting finds out what was not given of the `fields`, also where it
    can do without: while the battery is set up."""
    claim_house: Callable[[Identity], bool] = staticmethod(lambda _gateway: True)
    """Claims the house that a gateway measures; False leaves it to another battery
    behind it, for the house is counted once."""
    shows_house: bool | None = None
    """Whether it shows the house that its gateway measures; None where none does."""
    local_time: Callable[[], datetime] = staticmethod(datetime.now)
    """Returns the time where the battery is, for one that lives by the hour. Without a
    time zone, it is that of the computer."""
    choices: Mapping[str, Sequence[Choice]] = MappingProxyType({})
    """The fields for which several values would suit, as `connect` has detected."""
    no_setpoint: ClassVar[str] = "takes no setpoint"
    """The error's text for a battery that cannot be held."""
    discharge_floor: ClassVar[float] = 0
    """% at which the device may end a discharge, whatever minimum SOC is set on it."""

    def __init__(
        self,
        address: str,
        port: int | None,
        timeout: float,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
    ) -> None:
        """Describe the battery; nothing is sent."""
        super().__init__(address, port, timeout)
        self.capacity = capacity
        self.max_charge_power = max_charge_power
        self.max_discharge_power = max_discharge_power
        self.snapshot: Snapshot | None = None
        """The state that a release restores; None while there is nothing to restore."""
        self.keep_snapshot: Keep = keep_nowhere
        """Saves a snapshot that a setpoint corrects, before the first write that
        depends on it: the user has changed what a release restores."""
        self.controller: SetpointController[Any] | None = None
        """The controller that holds the device at a setpoint; None if it takes none."""
        self._last_change = 0.0, -math.inf
        """The power, W, and the loop time, s, of the last setpoint other than 0. A hold
        and a release leave it."""
        self._voltage: tuple[float, Value] = -math.inf, None
        """The loop time, s, at which the battery voltage was last read, and that, V."""
        self.wear = FlashWear()
        self.identity_check = IdentityCheck(
            address if port is None else f"{address}:{port}",
            self._read_serial_number,
            self._connection_number,
            self._must_be_certain,
        )
        """The check that the device is still the same one."""
        self._numbers: frozenset[str] | None = None
        """The settings that are numbers; None: to be determined."""
        self._shown: dict[str, tuple[float, float]] = {}
        """The lowest and the highest value of each, as the device has shown it."""
        self._is_waiting = False
        """Whether all requests wait until the serial number is answered."""
        self._is_renewing = False
        """Whether writes do not wait for that either."""

    @classmethod
    def from_setup(
        cls, setup: Mapping[str, Any], session: ClientSession | None = None
    ) -> Self:
        """Make a battery from the values of its `fields`; `session` is for HTTP."""
        arguments = {
            item.name: setup[item.name]
            for item in (*cls.fields, *cls.option_fields)
            if setup.get(item.name) is not None
        }
        for option in ("capacity", "max_charge_power", "max_discharge_power"):
            if setup.get(option) is not None:
                arguments[option] = setup[option]
        host = [arguments.pop("host")] if "host" in arguments else []
        return cls(*host, **arguments)

    @classmethod
    async def detect(cls, probe: Probe) -> list[Detected]:
        """Return the devices of this kind at a port, detected by reading alone.

        Each request must be harmless to any other device. Raises CannotConnectError
        when the port accepts no connection.
        """
        return []

    async def explain(self, err: BatteryError) -> BatteryError:
        """Return the reason why connecting failed: `err`, or a more specific error.

        Checks the address by reading only, while a battery is set up. The battery
        must not be connected.
        """
        return err

    # Identity

    async def _read_serial_number(self) -> str | None:
        """Return the serial number, by one request; None if it is not reported now.

        Raises what `read` raises. It is called before other requests, to compare; not
        for a battery whose serial number was not reported when it was connected.
        """
        return None

    def _connection_number(self) -> int | None:
        """Return the number of the present connection; None where none lasts."""
        return None

    def _must_be_certain(self, is_write: bool) -> bool:
        """Return whether a request must not go to a device that may be another one.

        A setpoint that is held is renewed while the serial number is not answered.
        """
        return self._is_waiting or (is_write and not self._is_renewing)

    @contextmanager
    def _certain(self) -> Iterator[None]:
        """Send nothing to a device that may be another one."""
        before, self._is_waiting = self._is_waiting, True
        try:
            yield
        finally:
            self._is_waiting = before

    def _accept(
        self, identity: Identity, *, is_reported: bool, connects: int | None = None
    ) -> None:
        """Take the identity that was read when connecting.

        `is_reported`: the serial number is the device's own word. Raises what
        `IdentityCheck.accept` raises.
        """
        self._identity = identity
        self.identity_check.accept(
            identity.serial_number, is_reported=is_reported, connects=connects
        )

    @override
    async def read(self, keys: Collection[str] | None = None) -> Readings:
        await self.identity_check.confirm()
        readings = await self._read_one_moment(keys)
        self.identity_check.raise_if_doubtful()
        self._note_numbers(readings, is_everything=keys is None)
        if BATTERY_VOLTAGE in readings:
            self._voltage = loop_time(), readings[BATTERY_VOLTAGE]
        return readings

    async def _read_one_moment(self, keys: Collection[str] | None) -> Readings:
        """Read `keys`, and the live ones again if anything was written meanwhile.

        Else a power from before a setpoint and one from after it would be added up. Where
        writes go on, the last of a few reads counts; where one fails, its keys do.
        """
        writes = self.writes
        readings = await super().read(keys)
        for _ in range(_MOST_AGAIN):
            if self.writes == writes or not (live := self._live_of(readings)):
                break
            writes = self.writes
            try:
                later = await super().read(live)
            except BatteryError as err:
                later = Readings({}, dict.fromkeys(live, err))
            readings = readings.updated(later)
        return readings

    def _live_of(self, readings: Readings) -> set[str]:
        """Return the keys of live values among those that were read, or failed."""
        asked = {*readings, *readings.failures}
        return {key for key in asked if self.poll_rate(key) is Poll.FAST}

    def _note_numbers(self, readings: Readings, *, is_everything: bool) -> None:
        """Note the extremes of settings: their ranges hold what the device shows."""
        if self._numbers is None or is_everything:
            self._numbers = frozenset(
                key
                for key, setting in self.settings.items()
                if isinstance(setting, NumberSetting)
            )
        values = readings.values_by_key
        for key in self._numbers.intersection(values):
            value = as_number(values[key])
            if value is not None:
                lowest, highest = self._shown.get(key, (value, value))
                self._shown[key] = min(lowest, value), max(highest, value)

    @override
    def _forget_measurements(self) -> None:
        super()._forget_measurements()
        self._numbers = None

    @property
    def gateway(self) -> Identity | None:
        """The gateway that measures the house for it; None without one."""
        return None

    @property
    def scan_interval(self) -> float:
        """Seconds between two checks for parts that were added."""
        return SCAN_INTERVAL

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Setting]:
        """The settings that the device has, by key."""

    def setting(self, key: str) -> Setting | None:
        """Return a setting; None if the device has none of that name.

        The range of a number holds each value that the device has shown: whatever it
        is set to can be set again.
        """
        setting = self.settings.get(key)
        if isinstance(setting, NumberSetting):
            return setting.extended_to(self._shown.get(key, ()))
        return setting

    @property
    def setpoint_limits(self) -> SetpointLimits | None:
        """The range of the power setpoint; None if it cannot be controlled."""
        return None

    @property
    def setpoint_phases(self) -> int:
        """Number of phases that have a setpoint of their own; 0 if none has."""
        return 0

    @property
    def current_step(self) -> float:
        """Share by which the battery voltage must change to set a held current again.

        Larger where that is known to write to flash.
        """
        return 0.01

    @property
    def issues(self) -> frozenset[DeviceIssue]:
        """Issues that the user should fix, as far as known by now."""
        return frozenset()

    # Setpoint

    @property
    def held(self) -> HeldSetpoint | None:
        """The setpoint that the battery is held at; None while it is not held."""
        return None if self.controller is None else self.controller.held

    def take_written(self, keys: Iterable[str]) -> set[str]:
        """Return those of `keys` that were written lately, and are to be read now.

        Each until it was returned long enough after the write for the device to show
        it. `keys` are not looked at while there is none.
        """
        return set()

    @property
    @abstractmethod
    def writes(self) -> int:
        """Number of requests that wrote, or may have written, so far."""

    async def take_snapshot(self) -> Snapshot:
        """Read the state that a release has to restore. Nothing is written.

        Raises NotSupportedError when the battery cannot be controlled.
        """
        return await self._controlled().take_snapshot()

    def recover(self, stored: Snapshot) -> Recovered:
        """Return the part of a stored snapshot that a release can restore.

        `stored` may be any JSON object. Of a battery that takes no setpoint now,
        nothing can be said: it is returned as it is.
        """
        if self.controller is None:
            return Recovered(stored, frozenset() if stored else frozenset({"snapshot"}))
        return self.controller.recover(stored)

    async def set_power_setpoint(self, power: float) -> Grant:
        """Hold the battery at `power` W: positive charges, negative discharges.

        0 holds it: neither charge nor discharge, PV untouched. Takes the `snapshot`
        before the first write, unless there is one. Returns the power that the device
        and the user's limits grant now. Raises NotSupportedError, and what `read`
        raises; the error says whether anything was written.
        """
        return await self._apply(SetpointRequest(self._clamp(power)))

    async def _apply(self, request: SetpointRequest) -> Grant:
        """Hold the battery at the power granted for a request; return the grant."""
        controller = self._controlled()
        before, held, writes = self.snapshot, copy(controller.held), self.writes
        try:
            if self.snapshot is None:
                self.snapshot = await controller.take_snapshot()
            snapshot = self.snapshot
            controller.keep = self.keep_snapshot
            with self._certain():
                grant = await controller.apply(request, snapshot)
        except BatteryError as err:
            err.written = self.writes != writes
            if err.restored or not err.written:
                # Nothing was begun, or all of it undone: there is nothing to restore.
                self.snapshot = before
            if not err.written:
                # The former setpoint stays in force.
                controller.held = held
            raise
        # A release in the meantime has forgotten it.
        self.snapshot = snapshot
        self._note_change()
        return grant

    def _note_change(self) -> None:
        """Note when the power of a setpoint has last changed."""
        held = self.held
        if held is not None and held.request.power != 0:
            self._last_change = held.request.power, held.changed_at

    def _controlled(self) -> SetpointController[Any]:
        """Return the controller; raises NotSupportedError if there is none."""
        if self.controller is None:
            raise NotSupportedError(f"{self.address}: {self.no_setpoint}")
        return self.controller

    async def set_current_setpoint(self, current: float) -> Grant:
        """Hold the battery at a DC `current`, A, with the present voltage.

        Returns and raises what `set_power_setpoint` does.
        """
        voltage = await self.present_voltage()
        return await self.set_power_setpoint(self._finite(current) * voltage)

    async def present_voltage(self) -> float:
        """Return the battery voltage, V, as read within `VOLTAGE_FRESH`, or now.

        Raises NotSupportedError where there is none, and what `read` raises.
        """
        read_at, voltage = self._voltage
        if loop_time() - read_at >= VOLTAGE_FRESH:
            voltage = await self.get(BATTERY_VOLTAGE)
        if not isinstance(voltage, float | int) or voltage <= 0:
            raise NotSupportedError(
                f"{self.address}: no battery voltage, so no current setpoint"
            )
        return voltage

    async def set_power_setpoint_phase(self, power: float, phase: int) -> Grant:
        """Hold one phase at `power` W (battery sign); returns the power granted."""
        raise NotSupportedError(
            f"{self.address}: phase {phase} takes no setpoint of its own ({power:g} W)"
        )

    async def set_current_setpoint_phase(self, current: float, phase: int) -> Grant:
        """Hold one phase at an AC `current`, A; returns the power granted."""
        if phase > self.setpoint_phases:
            raise NotSupportedError(
                f"{self.address}: phase {phase} takes no setpoint of its own"
            )
        voltage = await self.get_phase_voltage(phase)
        if not isinstance(voltage, float | int) or voltage <= 0:
            raise NotSupportedError(
                f"{self.address}: no voltage on phase {phase}, so no current setpoint"
            )
        power = self._finite(current) * voltage
        return await self.set_power_setpoint_phase(power, phase)

    def wears_flash(self, power: float) -> bool:
        """Return True when a setpoint of `power`, W, is known to write to flash.

        A caller that changes setpoints quickly should space those that do.
        """
        return self.controller is not None and self.controller.wears_flash(
            self._clamp(power)
        )

    def seconds_to_wait(self, power: float) -> float:
        """Return the seconds until a setpoint of `power`, W, should be sent.

        0 for the one that is held, a reversal, a hold and a first setpoint: only another
        power in the direction of the last one should wait, where the device needs that,
        also when it was held at 0 W or released since.
        """
        if self.held is not None and power == self.held.request.power:
            return 0
        last, changed_at = self._last_change
        if power * last <= 0:
            return 0
        return max(0, changed_at + self.change_interval - loop_time())

    async def is_held(self) -> bool:
        """Return False when the device surely no longer shows the setpoint.

        For a setpoint from before a restart. Nothing is written.
        """
        if self.snapshot is None:
            return False
        return await self._controlled().shows_setpoint(self.snapshot)

    async def refresh(self) -> None:
        """Read the conditions of a held setpoint that were read too long ago.

        `keep_alive` does so, too. On a slow device that takes time, so a caller that
        must renew in time may begin it beforehand: while it goes on, `keep_alive`
        does not wait for it, and does what is safe with what is known. A failed read is
        not an error: it is one of `keep_alive`.
        """
        if self.controller is not None and self.snapshot is not None:
            with suppress(BatteryError):
                await self.controller.refresh(self.snapshot)

    async def keep_alive(self) -> Grant | None:
        """Renew the held setpoint, adapted to what the device permits now.

        Returns the power granted, or None when nothing had to be done. Raises
        TakenOverError when another controller has written something else, to which
        the device is then left; and what `read` raises.
        """
        if self.snapshot is None or self.held is None:
            return None
        controller = self._controlled()
        self._is_renewing = True
        try:
            grant = await controller.renew(self.snapshot)
        except TakenOverError:
            # Another device at the address shows something else, too.
            await self.identity_check.compare_again()
            raise
        except NotConfirmedError:
            if controller.held is None:
                # The controller has restored the device: nothing is held any more.
                self.snapshot = None
            raise
        finally:
            self._is_renewing = False
        self._note_change()
        # Renewing may have needed no answer.
        self.identity_check.raise_if_doubtful()
        return grant

    async def release(self) -> None:
        """Restore the snapshot, see it confirmed, and forget it.

        Does nothing while `snapshot` is None. Raises NotConfirmedError when the device
        does not show what was restored, AnotherDeviceError, and what `read` raises; the
        snapshot is then kept for another try.
        """
        if self.snapshot is None:
            return
        controller = self._controlled()
        # Another device may show already what is to be restored.
        await self.identity_check.compare_again()
        with self._certain():
            await controller.restore(self.snapshot)
        self.snapshot = controller.held = None

    async def set_value(self, key: str, value: Value) -> None:
        """Change a setting and see it confirmed.

        Raises NotSupportedError, InvalidValueError, NotConfirmedError, and what
        `read` raises.
        """
        setting = self.setting(key)
        if setting is None:
            raise NotSupportedError(f"{self.address}: has no setting {key}")
        setting.check(key, value)
        if isinstance(setting, NumberSetting) and setting.unlimited:
            value = None if value == setting.maximum else value
        await self._write_setting(key, value)

    @abstractmethod
    async def _write_setting(self, key: str, value: Value) -> None:
        """Write a setting whose value has been checked, and read it back."""

    def _narrowed(self, limits: SetpointLimits) -> SetpointLimits:
        """Return the device's limits, W, narrowed to the user's and to possible ones."""
        charge, discharge = self.max_charge_power, self.max_discharge_power
        return SetpointLimits(
            max(limits.minimum, -MOST_POWER if discharge is None else -discharge),
            min(limits.maximum, MOST_POWER if charge is None else charge),
        )

    def _clamp(self, power: float) -> int:
        """Return `power` within `setpoint_limits`, in whole W."""
        limits = self.setpoint_limits
        if limits is None:
            raise NotSupportedError(f"{self.address}: {self.no_setpoint}")
        return round(min(max(self._finite(power), limits.minimum), limits.maximum))

    def _finite(self, setpoint: float) -> float:
        """Return a setpoint, W or A; raises InvalidValueError for a boundless one."""
        # A whole number may be too large for `float`.
        if not abs(setpoint) <= sys.float_info.max:
            raise InvalidValueError(f"{self.address}: a setpoint is a finite number")
        return setpoint
