"""A battery as everybody sees it, whoever made it.

`Battery` is what Home Assistant (or a script) talks to; `ModbusBattery` is the
part that all Modbus batteries share. Values go by the keys, units and signs of
`measurements.py`: power in W, current in A, positive = CHARGING for the battery
and for every setpoint.

Constructing, connecting and reading never write to a device.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from ..errors import (
    BatteryError,
    CannotConnectError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
)
from ..flash import FlashWear
from ..measurements import MEASUREMENTS, Poll, Value, as_number
from ..modbus.probe import Detected, Visit
from ..report import Report
from .controller import (
    Advice,
    Grant,
    HeldSetpoint,
    SetpointController,
    SetpointRequest,
    Snapshot,
)
from .counters import CounterWatch
from .parts import Part
from .readings import HALVES, SIGNED, Formula, Readings, Values, clean, half
from .settings import NumberSetting, Setting

if TYPE_CHECKING:
    from aiohttp import ClientSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a device is. `serial_number` identifies it for ever."""

    serial_number: str
    manufacturer: str
    model: str
    name: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    mac: str | None = None
    """Its address on the Ethernet; only of devices that tell it."""


@dataclass(frozen=True, slots=True)
class SetupField:
    """Something a driver must be told, named as in a configuration entry.

    `rare` fields have a default, or are found out, for nearly everybody.
    """

    name: str
    default: int | str | None = None
    required: bool = True
    rare: bool = False


class SetpointLimits(NamedTuple):
    """What device and owner allow at most, W: discharging (≤ 0) and charging."""

    minimum: int
    maximum: int


class Battery(ABC):
    """A battery that can be read, and held at a setpoint.

    `max_charge_power` and `max_discharge_power` (W, both positive) are the
    owner's limits; `capacity` (Wh) is for devices that do not tell theirs.
    """

    battery_type: ClassVar[str]
    """The name in a configuration entry."""
    manufacturer: ClassVar[str]
    fields: ClassVar[tuple[SetupField, ...]]
    """What it takes to reach the device."""
    owner_options: ClassVar[tuple[SetupField, ...]] = ()
    """What its owner may choose besides; each has a default."""
    web_page: ClassVar[bool] = True
    """Whether people find a page of the device, or of its gateway, at its address."""
    ports: ClassVar[tuple[int, ...]] = ()
    """Where a device of this kind usually listens; `recognise` is asked there."""
    keep_alive_interval: float | None = None
    """Seconds within which a held setpoint must be renewed or looked after; None:
    it holds, and nobody else can change it."""
    no_setpoint: ClassVar[str] = "takes no setpoint"
    """Why it cannot be held, where it cannot."""
    current_step: ClassVar[float] = 0.01
    """Share that the battery voltage must move until a held current is set again."""

    def __init__(
        self,
        address: str,
        port: int,
        timeout: float,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
    ) -> None:
        """Describe the battery; nothing is sent."""
        self.address = address
        self.port = port
        self.timeout = timeout
        self.capacity = capacity
        self.max_charge_power = max_charge_power
        self.max_discharge_power = max_discharge_power
        self.snapshot: Snapshot | None = None
        """What a release restores; None while the device is left alone."""
        self.controller: SetpointController[Any] | None = None
        """Holds the device at a setpoint; None where it takes none."""
        self.wear = FlashWear()
        self.counters = CounterWatch()
        """Keeps what cannot be from being read as a counter's value."""
        self._identity: Identity | None = None
        self._unsupported: set[str] = set()
        self._formulas: dict[str, Formula] = {}
        self._measurements: tuple[str, ...] | None = None
        self._poll_rates: dict[str, Poll] = {}

    @classmethod
    def from_setup(
        cls, setup: Mapping[str, Any], session: ClientSession | None = None
    ) -> Self:
        """Make a battery from what its `fields` hold; `session` is for HTTP ones."""
        arguments = {
            item.name: setup[item.name]
            for item in (*cls.fields, *cls.owner_options)
            if setup.get(item.name) is not None
        }
        for option in ("capacity", "max_charge_power", "max_discharge_power"):
            if setup.get(option) is not None:
                arguments[option] = setup[option]
        return cls(arguments.pop("host"), **arguments)

    @classmethod
    async def recognise(cls, visit: Visit) -> list[Detected]:
        """Return the devices of this kind at a port, found by reading alone.

        Each question must be harmless to any other device. Raises CannotConnectError
        when nobody is there to be asked.
        """
        return []

    async def explain(self, err: BatteryError) -> BatteryError:
        """Return why connecting failed: `err`, or what says it better.

        Looks at the address by reading only, for whoever sets a battery up. The
        battery must not be connected.
        """
        return err

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    # Who and what it is

    @property
    def identity(self) -> Identity:
        """Who the device is; known once connected."""
        if self._identity is None:
            raise CannotConnectError(f"{self.address}: not connected yet")
        return self._identity

    @property
    def detected_config(self) -> Mapping[str, Any]:
        """What `connect` found out of `fields` that were left empty."""
        return {}

    @property
    def raw(self) -> Mapping[str, Any]:
        """What the device said last, as it came, to find mistakes and to replay it.

        As JSON can hold it, with placeholders for serial numbers and names.
        """
        return {}

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its parts with an identity of their own, as far as has been read by now."""
        return ()

    async def has_new_parts(self) -> bool:
        """Return True for a part that was not there when it was connected.

        Asks a little; raises what `read` raises.
        """
        return False

    @property
    def measurements(self) -> tuple[str, ...]:
        """The keys that the device can measure, as far as is known by now."""
        if self._measurements is None:
            able = self._measurable()
            self._measurements = tuple(
                key
                for key in MEASUREMENTS
                if key in able and key not in self._unsupported
            )
        return self._measurements

    @abstractmethod
    def _measurable(self) -> Collection[str]:
        """Return the keys that such a device can measure."""

    def _forget_measurements(self) -> None:
        """Have `measurements` and `poll_rate` found out anew."""
        self._measurements = None
        self._poll_rates.clear()

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Setting]:
        """The settings that the device has, by key."""

    @property
    def setpoint_limits(self) -> SetpointLimits | None:
        """The range of the power setpoint; None if it cannot be controlled."""
        return None

    @property
    def setpoint_phases(self) -> int:
        """How many phases have a setpoint of their own; 0 if none has."""
        return 0

    @property
    def advice(self) -> frozenset[Advice]:
        """What its owner should put right, as far as it is known by now."""
        return frozenset()

    def poll_rate(self, key: str) -> Poll:
        """Return how often `key` is worth reading."""
        rate = self._poll_rates.get(key)
        if rate is None:
            rate = self._poll_rates[key] = self._find_poll_rate(key)
        return rate

    @abstractmethod
    def _find_poll_rate(self, key: str) -> Poll:
        """Return how often the registers or fields that `key` needs are worth reading."""

    @abstractmethod
    def options(self, key: str) -> tuple[str, ...]:
        """Return the states that the measurement `key` (a STATUS) can have."""

    # Talking to it

    @abstractmethod
    async def connect(self) -> None:
        """Connect and learn who the device is.

        Raises CannotConnectError, RequestTimeoutError, AuthenticationError,
        WrongDeviceError.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connection; a setpoint that is held stays as it is."""

    async def read(self, keys: Collection[str] | None = None) -> Readings:
        """Read `keys`, or everything, in the fewest requests, as one snapshot.

        What fails on its own is in the snapshot's `failures`. Raises
        CannotConnectError, RequestTimeoutError, AuthenticationError or
        ProtocolError when the device as a whole is out of reach.
        """
        wanted = set(self.measurements if keys is None else keys)
        report = await self._read_report(
            {name for key in wanted for name in self._needs(key)}
        )
        values: dict[str, Value] = {}
        failures: dict[str, BatteryError] = {}
        for key in wanted:
            try:
                values[key] = self._compute(key, report.values)
            except KeyError as missing:
                name = missing.args[0]
                failures[key] = report.failures.get(
                    name, NotSupportedError(f"{self.address}: has no {name}")
                )
        if rated_power := as_number(values.get("rated_power")):
            self.counters.rated_power = rated_power
        now = asyncio.get_running_loop().time()
        values.update(self.counters.checked(values, now))
        self._note_unsupported(failures)
        return Readings(values, failures)

    def _needs(self, key: str) -> tuple[str, ...]:
        """Return the names of the registers or fields that `key` comes from."""
        key = SIGNED if key in HALVES else key
        formula = self._formulas.get(key)
        return (key,) if formula is None else formula.needs

    def _compute(self, key: str, values: Values) -> Value:
        """Return a measurement; raises KeyError with the name that it lacks."""
        if key in HALVES:
            return half(self._compute(SIGNED, values), HALVES[key])
        formula = self._formulas.get(key)
        return clean(key, values[key] if formula is None else formula.compute(values))

    def _note_unsupported(self, failures: Mapping[str, BatteryError]) -> None:
        """Note what turned out not to be there."""
        lacking = {
            key for key, err in failures.items() if isinstance(err, NotSupportedError)
        }
        if not lacking <= self._unsupported:
            self._unsupported |= lacking
            self._forget_measurements()

    @abstractmethod
    async def _read_report(self, names: Collection[str]) -> Report:
        """Read registers or fields by name; each has a value or a failure."""

    async def get(self, key: str) -> Value:
        """Read one measurement; raises what `read` does and its own failure."""
        readings = await self.read([key])
        if key in readings.failures:
            raise readings.failures[key]
        return readings[key]

    async def get_active_power_total(self) -> Value:
        """Return the power at the AC side, W, positive = delivering."""
        return await self.get("active_power")

    async def get_active_current_total(self) -> Value:
        """Return the current at the AC side, A, positive = delivering."""
        return await self.get("active_current")

    async def get_active_power_phase(self, phase: int) -> Value:
        """Return the power of one phase (1 to 3) at the AC side, W."""
        return await self.get(f"active_power_l{phase}")

    async def get_phase_voltage(self, phase: int) -> Value:
        """Return the voltage of one grid phase (1 to 3), V."""
        return await self.get(f"grid_voltage_l{phase}")

    async def get_phase_current(self, phase: int) -> Value:
        """Return the current of one grid phase (1 to 3), A, positive = import."""
        return await self.get(f"grid_current_l{phase}")

    async def get_battery_soc(self) -> Value:
        """Return the state of charge, %."""
        return await self.get("battery_soc")

    # Holding it at a setpoint

    @property
    def held(self) -> HeldSetpoint | None:
        """What the battery is held at; None while it is left alone."""
        return None if self.controller is None else self.controller.held

    @property
    @abstractmethod
    def writes(self) -> int:
        """How often something was written, or may have been, since it was made."""

    async def take_snapshot(self) -> Snapshot:
        """Read what a release has to restore. Nothing is written.

        Raises NotSupportedError when the battery cannot be controlled.
        """
        return await self._controlled().take_snapshot()

    async def set_power_setpoint(self, power: float) -> Grant:
        """Hold the battery at `power` W: positive charges, negative discharges.

        0 holds it: neither charge nor discharge, PV untouched. Takes the `snapshot`
        before the first write, unless there is one. Returns the power that the device
        and the owner's limits grant now. Raises NotSupportedError, and what `read`
        raises; the error says whether anything was written.
        """
        return await self._apply(SetpointRequest(self._clamp(power)))

    async def _apply(self, request: SetpointRequest) -> Grant:
        """Hold the battery at what is granted of a request; return that."""
        controller = self._controlled()
        before, writes = self.snapshot, self.writes
        try:
            if self.snapshot is None:
                self.snapshot = await controller.take_snapshot()
            snapshot = self.snapshot
            grant = await controller.apply(request, snapshot)
        except BatteryError as err:
            err.written = self.writes != writes
            if err.restored or not err.written:
                # Nothing was begun, or all of it undone: there is nothing to restore.
                self.snapshot = before
            raise
        # A release that was under way meanwhile has forgotten it.
        self.snapshot = snapshot
        return grant

    def _controlled(self) -> SetpointController[Any]:
        """Return what holds the battery; raises NotSupportedError if nothing can."""
        if self.controller is None:
            raise NotSupportedError(f"{self.address}: {self.no_setpoint}")
        return self.controller

    async def set_current_setpoint(self, current: float) -> Grant:
        """Hold the battery at a DC `current`, A, with the voltage of this moment.

        Returns what `set_power_setpoint` does.
        """
        voltage = await self.get("battery_voltage")
        if not isinstance(voltage, float | int) or voltage <= 0:
            raise NotSupportedError(
                f"{self.address}: no battery voltage, so no current setpoint"
            )
        return await self.set_power_setpoint(current * voltage)

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
        return await self.set_power_setpoint_phase(current * voltage, phase)

    def wears_flash(self, power: float) -> bool:
        """Return True when holding at `power` W would write to flash, as far as known.

        Whoever changes setpoints quickly should space those that do.
        """
        return self.controller is not None and self.controller.wears_flash(
            self._clamp(power)
        )

    async def is_held(self) -> bool:
        """Return False when the device is surely no longer as a setpoint left it.

        For one who finds a setpoint of an earlier life. Nothing is written.
        """
        if self.snapshot is None:
            return False
        return await self._controlled().shows_setpoint(self.snapshot)

    async def look(self) -> None:
        """Read what a held setpoint depends on, as far as it was read too long ago.

        `keep_alive` does so, too. On a slow device that takes time, so whoever must
        renew in time may begin it beforehand: while it goes on, `keep_alive` does
        not wait for it, and does what is safe with what is known.
        """
        if self.controller is not None and self.snapshot is not None:
            await self.controller.refresh(self.snapshot)

    async def keep_alive(self) -> Grant | None:
        """Renew the held setpoint, adapted to what the device permits now.

        Returns the power granted, or None when nothing had to be done. Raises
        TakenOverError when another controller has written something else; the device
        is then left to it. And what `read` raises.
        """
        if self.snapshot is None or self.held is None:
            return None
        controller = self._controlled()
        try:
            return await controller.renew(self.snapshot)
        except NotConfirmedError:
            if controller.held is None:
                # It has restored the device: there is nothing to hold any more.
                self.snapshot = None
            raise

    async def release(self) -> None:
        """Put back what was found, see it confirmed, and forget the snapshot.

        Does nothing while `snapshot` is None. Raises NotConfirmedError when the device
        does not show what was put back; the snapshot is then kept for another try.
        """
        if self.snapshot is None:
            return
        controller = self._controlled()
        await controller.restore(self.snapshot)
        self.snapshot = controller.held = None

    async def set_value(self, key: str, value: Value) -> None:
        """Change a setting and see it confirmed.

        Raises NotSupportedError, InvalidValueError, NotConfirmedError, and what
        `read` raises.
        """
        setting = self.settings.get(key)
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
        """Return what the device allows, within what its owner does."""
        charge, discharge = self.max_charge_power, self.max_discharge_power
        return SetpointLimits(
            limits.minimum if discharge is None else max(limits.minimum, -discharge),
            limits.maximum if charge is None else min(limits.maximum, charge),
        )

    def _clamp(self, power: float) -> int:
        """Return `power` within `setpoint_limits`, in whole W."""
        limits = self.setpoint_limits
        if limits is None:
            raise NotSupportedError(f"{self.address}: {self.no_setpoint}")
        if not math.isfinite(power):
            raise InvalidValueError(f"{self.address}: {power} W is not a power")
        return round(min(max(power, limits.minimum), limits.maximum))
