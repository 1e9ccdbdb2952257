"""Huawei: a SUN2000 inverter, with or without LUNA2000 batteries on its DC side.

Facts from Huawei's list of Modbus registers, its manuals, and independent open
clients of this inverter; `registers.py` has the registers. What sources
contradict, or nobody measured, is marked [uncertain].

- The inverter serves one client: a second connection kills the first in silence.
  It loses what is asked within about 1.5 s after connecting.
- An SDongle needs more than a second for each answer, so requests are few.
- A forced command ends by itself after a time that is set with it, and is renewed
  well before: the device's own watchdog. One source saw it not end [uncertain], so
  it is also stopped by us, and shown.
- Hold sets both power limits to 0. They live in flash and outlast us: what was there
  before has to be known before they are written.
- Nothing here charges from the grid, changes the working mode or any other setting
  of the owner's unless that very setting is written.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, override

from ..battery.base import SetpointLimits, SetupField
from ..battery.controller import Advice, Snapshot
from ..battery.measuring import Identity
from ..battery.modbus import ModbusBattery
from ..battery.parts import Part, PartKind
from ..battery.readings import Formula, Values
from ..battery.settings import Setting
from ..errors import (
    BatteryError,
    InvalidValueError,
    NotSupportedError,
    WrongDeviceError,
)
from ..measurements import Poll, Value
from ..modbus.connection import ModbusConnection
from ..modbus.device import ModbusDevice
from ..modbus.probe import Detected, Visit
from ..modbus.register import Register
from ..modbus.tcp import ModbusTcpConnection
from .commands import PERMITTED, ControlState, ForcedControl
from .controller import Limits, Setpoint, within
from .devices import Meter, Table
from .gateways import check_inverter, find_inverter, recognise_inverter
from .measurements import (
    BATTERY_STATES,
    FORMULAS,
    LIMITS,
    active_alarms,
    battery_faults,
    is_locked,
    number,
)
from .registers import (
    ALARMS,
    BATTERY_MODELS,
    CHARGE,
    FIXED_TABLE,
    LAYOUT,
    PEAK_SHAVING,
    STOP,
    TOU_TABLE,
)
from .settings import battery_settings, inverter_settings
from .topology import ASKED, Anatomy, explore, explore_batteries
from .unit import PatientUnit

CONNECT_DELAY: Final = 1.5
"""Seconds after connecting in which the device loses what it is asked."""
SPACING: Final = 0.05
"""Seconds of silence between two requests."""

_PERMITTED_FOR: Final = 300.0
"""Seconds for which it is good to know what the battery permits."""
_LOST_OFTEN: Final = 5
_LOST_WITHIN: Final = 600.0
"""So many lost connections in so many seconds are another client's doing."""
_UNKNOWN_POWER: Final = 5000
"""W, where neither inverter nor owner tells what is possible."""
_START_UP: Final = "start_up"
_SHUT_DOWN: Final = "shut_down"
_MAX_GRID_CHARGE: Final = "max_grid_charge_power"


class Sun2000Inverter(ModbusBattery):
    """A SUN2000 inverter and its batteries, directly or through an SDongle or EMMA.

    `duration_min` are the minutes after which the device ends a forced command
    that is not renewed any more.
    """

    battery_type: ClassVar[str] = "sun2000"
    manufacturer: ClassVar[str] = "Huawei"
    web_page: ClassVar[bool] = False
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", required=False, rare=True),
    )
    # 6607 is that of the inverter's own WLAN.
    ports: ClassVar[tuple[int, ...]] = (502, 6607)
    keep_alive_interval = 30.0
    formulas: ClassVar[Sequence[Formula]] = FORMULAS
    layout = LAYOUT
    settle = 0.5

    def __init__(
        self,
        address: str,
        port: int = 502,
        timeout: float = 10,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        unit_id: int | None = None,
        duration_min: int = 10,
    ) -> None:
        """Describe the inverter; nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            unit_id=unit_id,
        )
        self.duration_min = duration_min
        self.anatomy = Anatomy()
        self._control: ForcedControl | None = None
        self._setpoint: Setpoint | None = None
        # A setting of a limit must not come between the writes of a command.
        self._controlling = asyncio.Lock()
        # What the battery was seen to permit, W, and when: the last, and the most.
        self._permitted: dict[str, tuple[float, float]] = {}
        self._most: dict[str, float] = {}
        # When (loop time, s) the connection turned out to have been lost.
        self._lost: deque[float] = deque(maxlen=_LOST_OFTEN)
        # The owner's power limits as last read, W.
        self._limits: dict[str, int] = {}
        self._add_formulas()

    @classmethod
    @override
    async def recognise(cls, visit: Visit) -> list[Detected]:
        found = await recognise_inverter(visit)
        if found is None:
            return []
        unit_id, model, serial_number = found
        return [
            Detected(
                battery_type=cls.battery_type,
                model=model,
                serial_number=serial_number,
                setup={**visit.setup, "unit_id": unit_id},
            )
        ]

    def _add_formulas(self) -> None:
        """Add the measurements that depend on more than registers."""
        setpoint = ("forced_command", "forced_charge_power", "forced_discharge_power")
        for formula in (
            Formula("has_battery", ("model",), lambda _: self.has_battery),
            Formula("power_setpoint", (*setpoint, *LIMITS), self._setpoint_on_device),
            Formula("problem", (*ALARMS, *BATTERY_STATES, *LIMITS), self._problem),
        ):
            self._formulas[formula.key] = formula

    # Setting up

    @property
    @override
    def detected_config(self) -> Mapping[str, Any]:
        return {} if self.unit_id is None else {"unit_id": self.unit_id}

    @property
    def has_battery(self) -> bool:
        """True when a battery is connected to the inverter."""
        return bool(self.anatomy.products)

    @override
    def _make_connection(self) -> ModbusConnection:
        connection = ModbusTcpConnection.shared(self.address, self.port, self.timeout)
        connection.connect_delay = CONNECT_DELAY
        connection.spacing = SPACING
        return connection

    @property
    def _unit(self) -> PatientUnit:
        """The inverter's unit, which all of its parts are asked at."""
        assert self.unit_id is not None
        return PatientUnit(self.unit(self.unit_id))

    def _part(
        self,
        name: str,
        registers: Sequence[Register],
        kind: type[ModbusDevice] = ModbusDevice,
    ) -> ModbusDevice:
        """Return a part of the inverter."""
        return kind(f"{name} (unit {self.unit_id})", self._unit, registers, LAYOUT)

    @override
    async def _find_units(self) -> None:
        """Find the inverter, and out of what it consists."""
        where = f"{self.address}:{self.port}"
        if self.unit_id is None:
            self.unit_id, model = await find_inverter(where, self.unit)
        else:
            model = await check_inverter(where, self.unit, self.unit_id)
        self._once["model"] = model
        self.anatomy = await explore(self._part("SUN2000", ASKED), model)
        self._permitted.clear()
        self._most.clear()
        self._limits.clear()
        self.counters.rated_power = self.anatomy.power or 0

    @override
    def _make_devices(self) -> list[ModbusDevice]:
        anatomy = self.anatomy
        main = self._part("Inverter", anatomy.inverter)
        name = f"Meter (unit {self.unit_id})"
        devices = [main, Meter(name, self._unit, anatomy.meter, LAYOUT, main)]
        self._control = self._setpoint = None
        if self.has_battery:
            battery = self._part("Battery", anatomy.battery)
            self._control = ForcedControl(battery, self.settle)
            self._setpoint = Setpoint(self._control, self._read_registers)
            devices += [
                battery,
                self._part("Time-of-use periods", TOU_TABLE, Table),
                self._part("Fixed periods", FIXED_TABLE, Table),
            ]
        return devices

    @override
    async def _identify(self) -> Identity:
        # The texts between the two cost no request more; what the battery permits is
        # noted as it is read.
        texts = {"serial_number", "part_number", "software_version", "firmware"}
        names = {*texts, *PERMITTED.values()}
        values: dict[str, Value] = {}
        failures: dict[str, BatteryError] = {}
        await self._read_into(names & self._register_names(), values, failures)
        for failure in failures.values():
            if not isinstance(failure, NotSupportedError):
                raise failure
        serial_number = values.get("serial_number")
        if not serial_number:
            raise WrongDeviceError(
                f"{self.address}:{self.port} unit {self.unit_id}: has no serial number"
            )
        firmware = values.get("firmware")
        return Identity(
            serial_number=str(serial_number),
            manufacturer=self.manufacturer,
            model=str(self._once["model"]),
            firmware=str(firmware) if firmware else None,
        )

    @property
    @override
    def parts(self) -> tuple[Part, ...]:
        return tuple(map(self._battery_unit, self.anatomy.products))

    def _battery_unit(self, unit: int) -> Part:
        """Return a battery unit; who it is has been read with everything else."""
        name = f"battery{unit}_"
        manufacturer, model = BATTERY_MODELS.get(
            self.anatomy.products[unit], (None, None)
        )
        return Part(
            kind=PartKind.BATTERY_UNIT,
            number=unit,
            keys=frozenset(key for key in self.measurements if key.startswith(name)),
            manufacturer=manufacturer,
            model=model,
            serial_number=self._text(f"{name}serial_number"),
            firmware=self._text(f"{name}firmware"),
        )

    def _text(self, name: str) -> str | None:
        """Return what a part was seen to be called."""
        text = self._once.get(name)
        return str(text) if text else None

    @override
    async def has_new_parts(self) -> bool:
        now = await explore_batteries(self._part("SUN2000", ASKED))
        return not now <= self.anatomy.batteries

    # Reading

    @override
    def poll_rate(self, key: str) -> Poll:
        """How often `key` is worth reading; a setpoint often while we hold it."""
        if key == "power_setpoint" and self.snapshot is not None:
            return Poll.FAST
        return super().poll_rate(key)

    @override
    async def _read_into(
        self,
        names: Collection[str],
        values: dict[str, Value],
        failures: dict[str, BatteryError],
        *,
        again: Collection[str] = (),
    ) -> None:
        """Read registers, and note what is permitted."""
        read: dict[str, Value] = {}
        await super()._read_into(names, read, failures, again=again)
        now = asyncio.get_running_loop().time()
        if self._setpoint is not None:
            self._setpoint.note(read)
        for name in read.keys() & set(LIMITS):
            # 0 is a hold, ours or a stranded one, and not what may be done at most.
            if power := number(read[name]):
                self._limits[name] = round(power)
        for name in read.keys() & {*PERMITTED.values(), _MAX_GRID_CHARGE}:
            if power := number(read[name]):
                self._permitted[name] = (power, now)
                self._most[name] = max(power, self._most.get(name, 0))
        values.update(read)

    def _problem(self, v: Values) -> tuple[str, ...]:
        """Return all that is wrong, also what a controller has left behind.

        Both limits at 0 without a setpoint of ours is a hold that nobody ended.
        """
        stranded = self.snapshot is None and is_locked(v)
        return (
            *active_alarms(v),
            *battery_faults(v),
            *(["Charge and discharge power limits are 0"] if stranded else []),
        )

    def _setpoint_on_device(self, v: Values) -> Value:
        """Return the power that the device is told, W; 0 while it decides itself.

        None when it is not, or no longer, at what we hold it at.
        """
        match v["forced_command"]:
            case None:
                return None
            case str(command) if command != STOP:
                sign = 1 if command == CHARGE else -1
                power = v[f"forced_{command}_power"]
                return None if power is None else sign * number(power)
        held = self._setpoint.held if self._setpoint else None
        if held is None or held.ended:
            return 0
        return 0 if held.granted == 0 and is_locked(v) else None

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        settings = dict(inverter_settings(round(self.anatomy.power or _UNKNOWN_POWER)))
        if self.has_battery:
            settings |= battery_settings(
                self._most_power("max_charge_power"),
                self._most_power("max_discharge_power"),
                self._most_power(_MAX_GRID_CHARGE),
                self.anatomy.products.values(),
            )
        return {
            key: setting
            for key, setting in settings.items()
            if key not in self._unsupported
        }

    def _most_power(self, name: str) -> int:
        """Return the most that the battery was seen to permit, W, or may."""
        return round(self._most.get(name) or self.anatomy.power or _UNKNOWN_POWER)

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        if key in LIMITS:
            await self._write_limit(key, number(value))
        elif key == "inverter_on":
            await self._switch(on=bool(value))
        else:
            await self._check_peak_shaving(key, value)
            await super()._write_setting(key, value)

    async def _write_limit(self, key: str, power: float) -> None:
        """Write a power limit; while it is held at 0, it waits for the release."""
        async with self._controlling:
            device, _ = self._register(key)
            held = self.snapshot is not None and await device.read_register(key) == 0
            if not held:
                await super()._write_setting(key, power)
            if self.snapshot is not None:
                self.snapshot[key] = power

    async def _switch(self, *, on: bool) -> None:
        """Start the inverter, or shut it down; its state shows it minutes later."""
        device, register = self._register(_START_UP if on else _SHUT_DOWN)
        await device.write(register.name, 0)

    async def _check_peak_shaving(self, key: str, value: Value) -> None:
        """Refuse what the device would not do without another setting."""
        if key == "peak_shaving_mode" and value == PEAK_SHAVING[1]:
            if not await self.get("grid_charge"):
                raise InvalidValueError(
                    f"{self.address}: peak shaving of active power needs charging "
                    "from the grid to be allowed first"
                )
        elif key == "peak_shaving_soc":
            lowest = number(await self.get("min_soc"))
            if number(value) < lowest:
                raise InvalidValueError(
                    f"{key} cannot be {value}: not below the minimum SOC, {lowest:g}"
                )

    # Control

    @property
    @override
    def advice(self) -> frozenset[Advice]:
        lacks = any("forced_command" in device.missing for device in self.devices)
        lost = self._lost
        often = len(lost) == _LOST_OFTEN and lost[-1] - lost[0] <= _LOST_WITHIN
        recently = (
            often and lost[-1] >= asyncio.get_running_loop().time() - _LOST_WITHIN
        )
        wrong = {
            Advice.OLD_FIRMWARE: self.has_battery and lacks,
            Advice.CONNECTION_STOLEN: recently,
        }
        return frozenset(advice for advice, applies in wrong.items() if applies)

    @override
    def _relearn_after_reconnect(self) -> None:
        if self.connection.connects != self._connects_seen:
            self._lost.append(asyncio.get_running_loop().time())
        super()._relearn_after_reconnect()

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if not self.has_battery:
            return None
        charge = self._most_power("max_charge_power")
        discharge = self._most_power("max_discharge_power")
        if self.anatomy.power is not None:
            discharge = min(discharge, round(self.anatomy.power))
        charge = min(charge, self._limits.get("charge_power_limit", charge))
        discharge = min(discharge, self._limits.get("discharge_power_limit", discharge))
        return self._narrowed(SetpointLimits(-discharge, charge))

    @property
    def _controls(self) -> tuple[ForcedControl, Setpoint]:
        """What tells the battery; raises NotSupportedError when there is none."""
        if self._control is None or self._setpoint is None:
            raise NotSupportedError(f"{self.address}: no setpoint without a battery")
        return self._control, self._setpoint

    @override
    async def take_snapshot(self) -> Snapshot:
        control, _ = self._controls
        return self._found_in(await control.look())

    def _found_in(self, state: ControlState) -> Snapshot:
        """Return the owner's power limits, W.

        A limit of 0 is ours while we hold the battery: what was found before counts.
        """
        before = self.snapshot or {}
        found: Snapshot = {}
        for limit, power in state.limits.items():
            power = power or before.get(limit, power)
            if power is None:
                raise NotSupportedError(
                    f"{self.address}: the device does not tell its {limit} at present, "
                    "so it could not be put back later"
                )
            found[limit] = power
        return found

    @override
    async def set_power_setpoint(self, power: float) -> int:
        async with self._controlling:
            return await self._hold_at(power)

    async def _hold_at(self, power: float) -> int:
        """Hold the battery at what is granted of `power`; 0 is hold."""
        control, setpoint = self._controls
        wanted = self._clamp(power)
        state = await control.look()
        self.snapshot = self._found_in(state)
        granted, reason = within(wanted, self.snapshot, await self._permits())
        if self._costs_flash(granted, state, self.snapshot):
            self.wear.check(control.name)
        if granted == 0:
            await setpoint.hold(wanted, state, reason)
            self.limited_by = reason
            return 0
        granted = await setpoint.force(
            wanted,
            granted,
            state,
            self.snapshot,
            self.duration_min,
            reason=reason,
        )
        self.limited_by = setpoint.held.reason if setpoint.held else None
        return granted

    def _costs_flash(self, granted: int, state: ControlState, found: Snapshot) -> bool:
        """Return True when power limits are to be written: into a hold or out of it."""
        if granted == 0:
            return any(power != 0 for power in state.limits.values())
        return any(
            power == 0 and bool(found[limit]) for limit, power in state.limits.items()
        )

    @override
    def wears_flash(self, power: float) -> bool:
        """Say yes to what changes the limits: a hold is made of them, a command is not."""
        held = self._setpoint.held if self._setpoint else None
        holds = held is not None and held.granted == 0 and not held.ended
        return (self._clamp(power) == 0) != holds

    async def _permits(self) -> Limits:
        """Return the most that each direction's limit may be now, W, where known."""
        now = asyncio.get_running_loop().time()
        if any(
            now - self._permitted.get(name, (0, float("-inf")))[1] > _PERMITTED_FOR
            for name in PERMITTED.values()
        ):
            # Invalid or 0 says nothing, such as while the battery is offline.
            self._permitted.clear()
            await self._read_registers(PERMITTED.values())
        return {
            limit: self._permitted[name][0]
            for limit, name in PERMITTED.items()
            if name in self._permitted
        }

    @override
    async def keep_alive(self) -> int | None:
        async with self._controlling:
            if self.snapshot is None or self._setpoint is None:
                return None
            granted = await self._setpoint.renew(self._permits, self.duration_min)
            if self._setpoint.held is not None:
                self.limited_by = self._setpoint.held.reason
            return granted

    @override
    async def release(self) -> None:
        async with self._controlling:
            if self.snapshot is None:
                return
            control, setpoint = self._controls
            await control.release(
                {limit: number(self.snapshot.get(limit)) for limit in LIMITS},
                theirs=setpoint.taken_over,
            )
            self.snapshot = setpoint.held = self.limited_by = None
            setpoint.taken_over = False
