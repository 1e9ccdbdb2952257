"""A battery as everybody sees it, whoever made it.

`Battery` is what Home Assistant (or a script) talks to; `ModbusBattery` is the
part that all Modbus batteries share. Values go by the keys, units and signs of
`measurements.py`: power in W, current in A, positive = CHARGING for the battery
and for every setpoint.

Constructing, connecting and reading never write to a device.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import logging
import math
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, override

from .counters import CounterWatch
from .errors import (
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    DeviceBusyError,
    DeviceRefusedError,
    FlashBudgetError,
    IllegalAddressError,
    InvalidValueError,
    LoggerSerialNeededError,
    LoggerSerialRefusedError,
    ModbusSpokenError,
    NotConfirmedError,
    NotSupportedError,
    PermissionDeniedError,
    ProtocolError,
    RequestTimeoutError,
    SolarmanSpokenError,
    TakenOverError,
    UnitAbsentError,
    UnitNotFoundError,
    UnknownHostError,
    WrongDeviceError,
    WrongLoggerError,
    WrongUnitError,
)
from .flash import FlashWear
from .holding import Advice, Bound, Reason, bounded
from .measurements import MEASUREMENTS, PLAUSIBLE, Quantity
from .modbus import (
    Layout,
    ModbusDevice,
    ModbusTcpConnection,
    ModbusUnit,
    Poll,
    Register,
    Value,
)
from .parts import Part, PartKind
from .raw import WatchedConnection, raw_words
from .recognition import Detected, Visit

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = [
    "Advice",
    "AuthenticationError",
    "Battery",
    "BatteryError",
    "Bound",
    "CannotConnectError",
    "ConnectionClosedError",
    "Detected",
    "DeviceBusyError",
    "DeviceRefusedError",
    "FlashBudgetError",
    "FlashWear",
    "Formula",
    "Found",
    "Identity",
    "IllegalAddressError",
    "InvalidValueError",
    "LoggerSerialNeededError",
    "LoggerSerialRefusedError",
    "MEASUREMENTS",
    "ModbusBattery",
    "ModbusSpokenError",
    "NotConfirmedError",
    "NotSupportedError",
    "NumberSetting",
    "Part",
    "PartKind",
    "PermissionDeniedError",
    "Poll",
    "ProtocolError",
    "Quantity",
    "Readings",
    "Reason",
    "RequestTimeoutError",
    "SelectSetting",
    "SetpointLimits",
    "Setting",
    "SetupField",
    "SolarmanSpokenError",
    "SwitchSetting",
    "TakenOverError",
    "UnitAbsentError",
    "UnitNotFoundError",
    "UnknownHostError",
    "Value",
    "Visit",
    "WrongDeviceError",
    "WrongLoggerError",
    "WrongUnitError",
    "as_number",
    "bounded",
]

_LOGGER = logging.getLogger(__name__)


def as_number(value: Value) -> float | None:
    """Return a reading as a number; None for what is none."""
    return value if isinstance(value, int | float) else None


type Found = dict[str, Any]
"""What a release puts back, as JSON can hold it; each driver knows its own keys."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSetting:
    """A number that can be set, in the unit of its measurement.

    With `unlimited`, None (no limit at all) is a value too, and so is the maximum
    for those who cannot say None.
    """

    minimum: float
    maximum: float
    step: float = 1
    unlimited: bool = False

    def check(self, key: str, value: Value) -> None:
        """Raise InvalidValueError when `value` cannot be set."""
        if value is None and self.unlimited:
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, float | int)
            or not self.minimum <= value <= self.maximum
        ):
            raise InvalidValueError(
                f"{key} cannot be {value}: {self.minimum:g} to {self.maximum:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectSetting:
    """One of several options, by name."""

    options: tuple[str, ...]

    def check(self, key: str, value: Value) -> None:
        """Raise InvalidValueError when `value` cannot be set."""
        if value not in self.options:
            raise InvalidValueError(
                f"{key} cannot be {value}: one of {', '.join(self.options)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSetting:
    """On or off."""

    def check(self, key: str, value: Value) -> None:
        """Raise InvalidValueError when `value` cannot be set."""
        if not isinstance(value, bool):
            raise InvalidValueError(f"{key} cannot be {value}: on or off")


type Setting = NumberSetting | SelectSetting | SwitchSetting


class SetpointLimits(NamedTuple):
    """What device and owner allow at most, W: discharging (≤ 0) and charging."""

    minimum: int
    maximum: int


@dataclass(frozen=True)
class Readings(Mapping[str, Value]):
    """One snapshot: values by key, and for each key that failed the reason.

    A value of None was read, and means that the device does not know it.
    """

    values_by_key: Mapping[str, Value] = field(default_factory=dict)
    failures: Mapping[str, BatteryError] = field(default_factory=dict)

    @override
    def __getitem__(self, key: str) -> Value:
        return self.values_by_key[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_key)

    @override
    def __len__(self) -> int:
        return len(self.values_by_key)


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
        self.found: Found | None = None
        """What a release will put back; None while the device is left alone."""
        self.limited_by: Reason | None = None
        """Why less was granted last than was wanted; None when nothing was cut."""
        self.wear = FlashWear()
        self.counters = CounterWatch()
        """Keeps what cannot be from being read as a counter's value."""
        self._looking = False
        self._identity: Identity | None = None
        self._unsupported: set[str] = set()

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
    def setup_found(self) -> Mapping[str, Any]:
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
    @abstractmethod
    def measurements(self) -> tuple[str, ...]:
        """The keys that the device can measure, as far as is known by now."""

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

    @abstractmethod
    def poll_of(self, key: str) -> Poll:
        """How often `key` is worth reading."""

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
        halves = wanted & _HALVES.keys()
        snapshot = await self._read(
            wanted - halves | ({"battery_power"} if halves else set())
        )
        values = {key: _clean(key, value) for key, value in snapshot.items()}
        if rated_power := as_number(values.get("rated_power")):
            self.counters.rated_power = rated_power
        now = asyncio.get_running_loop().time()
        values.update(self.counters.checked(values, now))
        failures = dict(snapshot.failures)
        for key in halves:
            if "battery_power" in values:
                values[key] = _half(values["battery_power"], _HALVES[key])
            else:
                failures[key] = failures["battery_power"]
        self._unsupported.update(
            key for key, err in failures.items() if isinstance(err, NotSupportedError)
        )
        return Readings(values, failures)

    @abstractmethod
    async def _read(self, keys: Collection[str]) -> Readings:
        """Read `keys`; each is in the result's values or in its failures."""

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

    async def read_found(self) -> Found:
        """Read what a release has to put back. Nothing is written.

        Raises NotSupportedError when the battery cannot be controlled.
        """
        raise NotSupportedError(f"{self.address}: takes no setpoint")

    async def set_power_setpoint(self, power: float) -> int:
        """Hold the battery at `power` W: positive charges, negative discharges.

        0 holds it: neither charge nor discharge, PV untouched. Keeps what it finds
        on the device in `found` before the first write. Returns the power that the
        device and the owner's limits grant now. Raises NotSupportedError, and what
        `read` raises.
        """
        raise NotSupportedError(f"{self.address}: takes no setpoint ({power:g} W)")

    async def set_current_setpoint(self, current: float) -> int:
        """Hold the battery at a DC `current`, A, with the voltage of this moment.

        Returns the power granted, W.
        """
        voltage = await self.get("battery_voltage")
        if not isinstance(voltage, float | int) or voltage <= 0:
            raise NotSupportedError(
                f"{self.address}: no battery voltage, so no current setpoint"
            )
        return await self.set_power_setpoint(current * voltage)

    async def set_power_setpoint_phase(self, power: float, phase: int) -> int:
        """Hold one phase at `power` W (battery sign); returns the power granted."""
        raise NotSupportedError(
            f"{self.address}: phase {phase} takes no setpoint of its own ({power:g} W)"
        )

    async def set_current_setpoint_phase(self, current: float, phase: int) -> int:
        """Hold one phase at an AC `current`, A; returns the power granted, W."""
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
        return False

    async def is_held(self) -> bool:
        """Return False when the device is surely no longer as a setpoint left it.

        For one who finds a setpoint of an earlier life. Nothing is written.
        """
        return True

    async def look(self) -> None:
        """Read what a held setpoint depends on, as far as it was read too long ago.

        `keep_alive` does so first. On a slow device that takes time, so whoever must
        renew in time may begin it beforehand: while it goes on, `keep_alive` does
        not wait for it, and does what is safe with what is known.
        """
        if self._looking:
            return
        self._looking = True
        try:
            await self._look()
        finally:
            self._looking = False

    async def _look(self) -> None:
        """Read what a held setpoint depends on; what cannot be read is not an error."""

    async def keep_alive(self) -> int | None:
        """Renew the held setpoint, adapted to what the device permits now.

        Returns the power granted, W, or None when nothing had to be done. Raises
        TakenOverError when somebody else has told the device something else; the
        device is then left to them. And what `read` raises.
        """
        return None

    async def release(self) -> None:
        """Put back what was found, see it confirmed, and forget `found`.

        Does nothing while `found` is None. Raises NotConfirmedError when the device
        does not show what was put back; `found` is then kept for another try.
        """

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
            raise NotSupportedError(f"{self.address}: takes no setpoint")
        if not math.isfinite(power):
            raise InvalidValueError(f"{self.address}: {power} W is not a power")
        return round(min(max(power, limits.minimum), limits.maximum))


# The two unsigned powers, for those who cannot use a signed one.
_HALVES = {"battery_charge_power": 1, "battery_discharge_power": -1}


def _half(power: Value, sign: int) -> Value:
    """Return the part of a signed power that runs one way."""
    return max(0, sign * power) if isinstance(power, float | int) else None


def _clean(key: str, value: Value) -> Value:
    """Return the value as its measurement defines it; None for an impossible one."""
    quantity = MEASUREMENTS[key].quantity
    if value is None:
        return None
    if quantity is Quantity.FLAG:
        return bool(value)
    if quantity in PLAUSIBLE and isinstance(value, float | int):
        lowest, highest = PLAUSIBLE[quantity]
        if not lowest <= value <= highest:
            _LOGGER.debug("%s of %s is impossible and left out", key, value)
            return None
    return value


type Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Formula:
    """A measurement that is computed from registers.

    `compute` is given the registers read, by name: take with [] what must be there
    (missing, the measurement fails with that register), with .get() what may be.
    """

    key: str
    needs: tuple[str, ...]
    compute: Callable[[Values], Value]
    options: tuple[str, ...] = ()


# What holds a simple battery.
_SETPOINT = "power_setpoint"


class ModbusConnection(Protocol):
    """What carries Modbus requests to the units of one address."""

    @property
    def connects(self) -> int:
        """How often a connection was made."""

    def unit(self, unit_id: int) -> ModbusUnit:
        """Return the view of one unit id."""

    async def open(self) -> None:
        """Take the connection into use."""

    async def close(self) -> None:
        """Give the connection back."""


class ModbusBattery(Battery):
    """What all Modbus batteries share: registers, formulas, settings.

    A simple one gives `registers` and is done: one called `power_setpoint` holds the
    battery, within `power_limits`. A device of several units makes its own `devices`.
    """

    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", 1, rare=True),
    )
    power_limits: ClassVar[SetpointLimits | None] = None
    """What the register `power_setpoint` takes, W; None without such a register."""
    registers: ClassVar[Sequence[Register]] = ()
    formulas: ClassVar[Sequence[Formula]] = ()
    layout: ClassVar[Layout] = Layout()
    settle: ClassVar[float] = 1.0
    """Seconds after a write until reading back tells the truth."""

    def __init__(
        self,
        address: str,
        port: int = 502,
        timeout: float = 5,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        unit_id: int | None = None,
    ) -> None:
        """Describe the battery; nothing is sent."""
        super().__init__(
            address, port, timeout, capacity, max_charge_power, max_discharge_power
        )
        self.unit_id = unit_id
        self.devices: list[ModbusDevice] = []
        self._formulas = {formula.key: formula for formula in self.formulas}
        self._connection: WatchedConnection | None = None
        self._connects_seen = 0
        self._once: dict[str, Value] = {}

    @property
    def connection(self) -> WatchedConnection:
        """The open connection; raises CannotConnectError when there is none."""
        if self._connection is None:
            raise CannotConnectError(f"{self.address}:{self.port}: not connected yet")
        return self._connection

    def _make_connection(self) -> ModbusConnection:
        """Return the way to the device; Modbus TCP unless a driver knows better."""
        return ModbusTcpConnection.shared(self.address, self.port, self.timeout)

    def _make_devices(self) -> list[ModbusDevice]:
        """Return the units that the battery consists of."""
        unit_id = 1 if self.unit_id is None else self.unit_id
        return [self._device(self.manufacturer, unit_id, self.registers)]

    def _device(
        self, name: str, unit_id: int, registers: Sequence[Register]
    ) -> ModbusDevice:
        unit = self.connection.unit(unit_id)
        return ModbusDevice(f"{name} (unit {unit_id})", unit, registers, self.layout)

    @override
    async def connect(self) -> None:
        if self._connection is None:
            connection = WatchedConnection(self._make_connection())
            await connection.open()
            self._connection = connection
        # It may be another device by now, or have another firmware.
        self._once.clear()
        self._unsupported.clear()
        try:
            await self._find_units()
            self.devices = self._make_devices()
            for device in self.devices:
                device.wear = self.wear
            self._identity = await self._identify()
        except BaseException:
            await self.close()
            raise
        self._connects_seen = self.connection.connects

    async def _find_units(self) -> None:
        """Find out unit ids that were not given; most batteries have a fixed one."""

    async def _identify(self) -> Identity:
        """Read who the device is."""
        names = {"serial_number", "firmware"} & self._register_names()
        values = await self._read_registers(names)
        return Identity(
            serial_number=str(values.get("serial_number") or self.address),
            manufacturer=self.manufacturer,
            model=self.manufacturer,
            firmware=str(values["firmware"]) if values.get("firmware") else None,
        )

    @override
    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    @property
    @override
    def raw(self) -> Mapping[str, Any]:
        """The words last seen of each unit, and what is missing.

        `units` has consecutive words as lists, by unit and address of the first.
        """
        if self._connection is None:
            return {}
        return raw_words(self._connection, self.devices)

    # Reading

    def _register_names(self) -> set[str]:
        return {name for device in self.devices for name in device.registers}

    def _register(self, name: str) -> tuple[ModbusDevice, Register]:
        """Return a register and the device that has it; raises NotSupportedError."""
        for device in self.devices:
            if name in device.registers:
                return device, device.registers[name]
        raise NotSupportedError(f"{self.address}: has no {name}")

    def _needs(self, key: str) -> tuple[str, ...]:
        """Return the names of the registers that `key` comes from."""
        formula = self._formulas.get(key)
        return (key,) if formula is None else formula.needs

    @property
    @override
    def measurements(self) -> tuple[str, ...]:
        names = self._register_names()
        if not names.isdisjoint(self._needs("battery_power")):
            names = names | _HALVES.keys()
        return tuple(
            key
            for key in MEASUREMENTS
            if key not in self._unsupported and not names.isdisjoint(self._needs(key))
        )

    @override
    def poll_of(self, key: str) -> Poll:
        """How often `key` is worth reading: as often as its slowest register."""
        key = "battery_power" if key in _HALVES else key
        return max(
            (
                device.registers[name].poll
                for name in self._needs(key)
                for device in self.devices
                if name in device.registers
            ),
            default=Poll.SLOW,
        )

    @override
    def options(self, key: str) -> tuple[str, ...]:
        if key in self._formulas:
            return self._formulas[key].options
        _, register = self._register(key)
        return tuple(dict.fromkeys((register.enum or {}).values()))

    @override
    async def _read(self, keys: Collection[str]) -> Readings:
        self._relearn_after_reconnect()
        values: dict[str, Value] = {}
        failures: dict[str, BatteryError] = {}
        await self._read_into(
            {name for key in keys for name in self._needs(key)}, values, failures
        )
        readings: dict[str, Value] = {}
        failed: dict[str, BatteryError] = {}
        for key in keys:
            try:
                readings[key] = (
                    self._formulas[key].compute(values)
                    if key in self._formulas
                    else values[key]
                )
            except KeyError as missing:
                name = missing.args[0]
                failed[key] = failures.get(
                    name, NotSupportedError(f"{self.address}: has no {name}")
                )
        return Readings(readings, failed)

    async def _read_into(
        self,
        names: Collection[str],
        values: dict[str, Value],
        failures: dict[str, BatteryError],
        *,
        again: Collection[str] = (),
    ) -> None:
        """Read registers of all devices; identity only once.

        Of what is missing only what is among `again` is asked for.
        """
        values.update((name, self._once[name]) for name in names if name in self._once)
        for device in self.devices:
            wanted = [
                name
                for name in names
                if name in device.registers and name not in self._once
            ]
            report = await device.read(wanted, again)
            values.update(report.values)
            failures.update(report.failures)
            self._once.update(
                (name, value)
                for name, value in report.values.items()
                if device.registers[name].poll is Poll.ONCE
            )

    async def _read_registers(
        self, names: Collection[str], again: Collection[str] | None = None
    ) -> dict[str, Value]:
        """Read registers by name, for a driver's own use; those that fail are absent.

        Of what is missing, what is among `again` is asked for, or else what is
        doubtful: a setpoint may depend on it.
        """
        values: dict[str, Value] = {}
        if again is None:
            again = {name for device in self.devices for name in device.doubtful(names)}
        await self._read_into(names, values, {}, again=again)
        return values

    def _relearn_after_reconnect(self) -> None:
        """Forget what the device lacks when the connection is a new one.

        Between the two the device may have been given another firmware.
        """
        connects = self.connection.connects
        if connects == self._connects_seen:
            return
        self._connects_seen = connects
        self._once.clear()
        self._unsupported.clear()
        for device in self.devices:
            device.forget()

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        return {}

    def _setting_register(self, key: str) -> str:
        """Return the name of the register that holds a setting."""
        return key

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        device, register = self._register(self._setting_register(key))
        wanted = register.decode(register.encode(value))
        if register.persistent:
            if await device.read_register(register.name) == wanted:
                return
            self.wear.check(device.name)
        await device.write(register.name, value)
        await asyncio.sleep(self.settle)
        try:
            seen = await device.read_register(register.name)
        except NotSupportedError as err:
            # It was there when it was written.
            raise NotConfirmedError(f"{err}, which was just written") from err
        if seen != wanted:
            raise NotConfirmedError(
                f"{device.name}: {key} is still {seen} after writing {value}"
            )

    # Holding it at a setpoint: the register `power_setpoint` of a simple battery

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        return None if self.power_limits is None else self._narrowed(self.power_limits)

    @override
    async def read_found(self) -> Found:
        if self.setpoint_limits is None:
            return await super().read_found()
        device, register = self._register(_SETPOINT)
        return {_SETPOINT: await device.read_register(register.name)}

    @override
    async def set_power_setpoint(self, power: float) -> int:
        granted = self._clamp(power)
        if self.found is None:
            self.found = await self.read_found()
        await self._write_setting(_SETPOINT, granted)
        return granted

    @override
    async def release(self) -> None:
        if self.found is not None:
            await self._write_setting(_SETPOINT, self.found[_SETPOINT])
            self.found = None
