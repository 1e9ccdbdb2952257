"""Huawei: a SUN2000 inverter, with or without LUNA2000 batteries on its DC side.

Facts from Huawei's list of Modbus registers, its manuals, and independent open
clients of this inverter; `registers.py` has the registers. What sources
contradict, or was never measured, is marked [uncertain].

- The inverter serves one client: a second connection kills the first in silence.
  It loses what is asked within about 1.5 s after connecting.
- An SDongle needs more than a second for each answer, so requests are few.
- A forced command ends by itself after a time that is set with it, and is renewed
  well before: the device's own watchdog. One source saw it not end [uncertain], so
  this driver also stops it, and shows it.
- Hold sets both power limits to 0. They live in flash and outlast this driver: their
  former values have to be known before they are written.
- Nothing here charges from the grid, changes the working mode or any other setting
  of the user's unless that very setting is written.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Final, override

from ..battery.base import Choice, SetpointLimits, SetupField
from ..battery.controller import DeviceIssue
from ..battery.measuring import Identity
from ..battery.modbus import ModbusBattery
from ..battery.parts import Part
from ..battery.readings import Formula, Values
from ..battery.settings import Setting
from ..battery.sunshine import SUNSHINE_FIELD, Sunshine
from ..errors import (
    BatteryError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
)
from ..measurements import Poll, Value
from ..modbus.connection import ModbusConnection
from ..modbus.device import ModbusDevice
from ..modbus.probe import Detected, Probe
from ..modbus.register import Register
from ..modbus.tcp import ModbusTcpConnection
from .commands import COMMAND, PERMITTED, limits_of
from .connection import LostConnections
from .controller import DISCHARGE_FLOOR, MAX_GRID_CHARGE, Sun2000Controller
from .devices import Meter, Table
from .gateways import (
    check_inverter,
    describe,
    detect_inverters,
    dormant,
    find_inverters,
    is_dormant,
)
from .house import MANAGER_UNIT, Gateway, discover_gateway
from .limits import own_limits
from .measurements import (
    BATTERY_STATES,
    FORMULAS,
    L1_OR_TOTAL,
    LIMITS,
    MOMENTS,
    OF_THE_HOUSE,
    load_of,
    moment,
    number,
    problems,
)
from .registers import ALARMS, CHARGE, FIXED_TABLE, IDENTITY, LAYOUT, STOP, TOU_TABLE
from .settings import battery_settings, check_peak_shaving, inverter_settings
from .topology import ASKED, Topology, battery_unit, discover
from .unit import RetryingUnit

CONNECT_DELAY: Final = 1.5
"""Seconds after connecting in which the device loses requests."""
SPACING: Final = 0.05
"""Seconds of silence between two requests."""

(_SERIAL_NUMBER,) = (each for each in IDENTITY if each.name == "serial_number")
_UNKNOWN_POWER: Final = 5000
"""W, where neither inverter nor user gives a limit."""
_START_UP: Final = "start_up"
_SHUT_DOWN: Final = "shut_down"


class Sun2000Inverter(ModbusBattery):
    """A SUN2000 inverter and its batteries, directly or through an SDongle or EMMA.

    `duration_min` are the minutes after which the device ends a forced command
    that is not renewed any more.
    """

    controller: Sun2000Controller | None
    battery_type: ClassVar[str] = "sun2000"
    manufacturer: ClassVar[str] = "Huawei"
    web_page: ClassVar[bool] = False
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", required=False, advanced=True),
    )
    option_fields: ClassVar[tuple[SetupField, ...]] = (SUNSHINE_FIELD,)
    # 6607 is that of the inverter's own WLAN.
    ports: ClassVar[tuple[int, ...]] = (502, 6607)
    keep_alive_interval = 30.0
    discharge_floor = DISCHARGE_FLOOR
    # Commands that come faster made an inverter curtail its PV.
    change_interval: ClassVar[float] = 20.0
    formulas: ClassVar[Sequence[Formula]] = FORMULAS
    layout = LAYOUT
    no_setpoint = "no setpoint without a battery"
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
        sunshine: str | None = None,
    ) -> None:
        """Describe the inverter; nothing is sent.

        `sunshine` is one of `Sunshine`, None while the user has not chosen: the
        setpoint is kept then. Raises ValueError for another one.
        """
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
        self.sunshine = None if sunshine is None else Sunshine(sunshine)
        self.topology = Topology()
        self._model = ""
        self._inverter: RetryingUnit | None = None
        # A setting of a limit must not come between the writes of a command.
        self._controlling = asyncio.Lock()
        self._lost = LostConnections()
        self._add_formulas()

    @classmethod
    @override
    async def detect(cls, probe: Probe) -> list[Detected]:
        return [
            Detected(
                battery_type=cls.battery_type,
                model=model,
                serial_number=serial_number,
                setup={**probe.setup, "unit_id": unit_id},
            )
            for unit_id, model, serial_number in await detect_inverters(probe)
        ]

    @override
    async def explain(self, err: BatteryError) -> BatteryError:
        """Return that an inverter may be dormant, if it is listed; else `err`."""
        unit_id = self.unit_id
        if unit_id is None or not isinstance(
            err, UnitAbsentError | RequestTimeoutError
        ):
            return err
        where, connection = f"{self.address}:{self.port}", self._make_connection()
        try:
            await connection.open()
        except BatteryError:
            return err
        try:
            may_sleep = await is_dormant(where, connection, unit_id)
        except BatteryError:
            return err
        finally:
            await connection.close()
        if may_sleep:
            return dormant(where, unit_id, "is listed, but does not answer")
        return err

    def _add_formulas(self) -> None:
        """Add the measurements that depend on more than registers."""
        setpoint = ("forced_command", "forced_charge_power", "forced_discharge_power")
        for formula in (
            Formula("has_battery", ("model",), lambda _: self.has_battery),
            Formula("power_setpoint", (*setpoint, *LIMITS), self._setpoint_on_device),
            Formula("problem", (*ALARMS, *BATTERY_STATES, *LIMITS), self._problems),
            *(moment(key, self._now) for key in MOMENTS),
        ):
            self._formulas[formula.key] = formula

    # Setting up

    @property
    @override
    def detected_config(self) -> Mapping[str, Any]:
        return {} if self.unit_id is None else {"unit_id": self.unit_id}

    @property
    def has_battery(self) -> bool:
        """Whether a battery is connected to the inverter."""
        return bool(self.topology.products)

    @override
    def _make_connection(self) -> ModbusConnection:
        connection = ModbusTcpConnection.shared(self.address, self.port, self.timeout)
        connection.connect_delay = CONNECT_DELAY
        connection.spacing = SPACING
        return connection

    @property
    def _unit(self) -> RetryingUnit:
        """The inverter's unit, by which all of its parts are read."""
        assert self._inverter is not None
        return self._inverter

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
        """Find the inverter, and discover its topology."""
        where = f"{self.address}:{self.port}"
        if self.unit_id is None:
            self.unit_id, model = await self._find_inverter(where)
            self._inverter = RetryingUnit(self.unit(self.unit_id))
        else:
            self._inverter = RetryingUnit(self.unit(self.unit_id))
            model = await check_inverter(f"{where} unit {self.unit_id}", self._inverter)
        self._once["model"] = self._model = model
        self.topology = await self._discover()
        gateway = self._house
        self.shows_house = (
            None if gateway is None else self.claim_house(gateway.identity)
        )
        for key in OF_THE_HOUSE:
            self._formulas.pop(key, None)
        self._formulas.update((each.key, each) for each in self._house_formulas())
        self.counters.rated_power = self.topology.power or 0

    async def _find_inverter(self, where: str) -> tuple[int, str]:
        """Return unit id and model of the first inverter; offer several as choices."""
        candidates = await find_inverters(
            where, self.connection, self.unit, every=self.searches
        )
        if len(candidates) > 1:
            self.choices = {
                "unit_id": [
                    Choice(each.unit_id, await describe(self.unit(each.unit_id), each))
                    for each in candidates
                ]
            }
        return candidates[0].unit_id, candidates[0].model

    async def _discover(self, known: Topology | None = None) -> Topology:
        """Return the topology, with the gateway.

        An inverter with a meter of its own needs it for its name and advice only, and
        does not ask for it again: it has that of the topology that is `known`.
        """
        topology = await discover(self._part("SUN2000", ASKED), self._model)
        has_meter = topology.meter_phases is not None
        if has_meter and known is not None:
            return replace(topology, gateway=known.gateway)
        where = f"{self.address}:{self.port}"
        gateway = await discover_gateway(
            where,
            self.connection,
            self.unit,
            has_meter=has_meter,
            is_known=known is not None and known.gateway is not None,
        )
        if has_meter and gateway is not None:
            gateway = gateway.without_meter
        return replace(topology, gateway=gateway)

    @override
    def _make_devices(self) -> list[ModbusDevice]:
        topology = self.topology
        main = self._part("Inverter", topology.inverter)
        devices = [main, *self._meters(main)]
        if self.has_battery:
            devices += [
                self._part("Battery", topology.battery),
                self._part("Time-of-use periods", TOU_TABLE, Table),
                self._part("Fixed periods", FIXED_TABLE, Table),
            ]
        return devices

    @property
    def _house(self) -> Gateway | None:
        """The gateway that measures the house instead of a meter; None without one."""
        gateway = self.topology.gateway
        return gateway if gateway is not None and gateway.registers else None

    def _meters(self, main: ModbusDevice) -> list[ModbusDevice]:
        """Return what measures the grid: the gateway, else the meter of `main`.

        A gateway measures the house once, for the first of the inverters behind it.
        """
        gateway = self._house
        if gateway is None:
            name = f"Meter (unit {self.unit_id})"
            return [Meter(name, self._unit, self.topology.meter, LAYOUT, main)]
        if not self.shows_house:
            return []
        parts = {gateway.meter_unit: gateway.registers}
        if gateway.own_registers:
            parts[MANAGER_UNIT] = gateway.own_registers
        return [
            ModbusDevice(
                f"{gateway.identity.name} (unit {unit_id})",
                RetryingUnit(self.unit(unit_id)),
                registers,
                LAYOUT,
            )
            for unit_id, registers in parts.items()
        ]

    def _house_formulas(self) -> Iterator[Formula]:
        """Yield the formulas that depend on what measures the grid."""
        gateway = self._house
        if gateway is None:
            yield load_of("active_power")
            if self.topology.has_single_phase_meter:
                yield L1_OR_TOTAL
        elif self.shows_house and gateway.inverters_power is not None:
            yield load_of(gateway.inverters_power)

    @property
    @override
    def current_step(self) -> float:
        # The power limits are in flash.
        controller = self.controller
        is_limited = controller is not None and controller.spares_pv
        return 0.1 if is_limited else super().current_step

    @override
    def _make_controller(self) -> Sun2000Controller | None:
        if not self.has_battery:
            return None
        controller = Sun2000Controller(
            self._register(COMMAND)[0],
            self.read_registers,
            self._controlling,
            settle=self.settle,
            duration_min=self.duration_min,
            sunshine=self.sunshine or Sunshine.KEEP_SETPOINT,
            strings=self.topology.strings,
        )
        # What the battery permits has just been read with the identity.
        controller.observe(self.cache.values)
        return controller

    @override
    async def _identify(self) -> Identity:
        # The texts between the two cost no request more, and what the battery permits
        # is then known from the beginning.
        texts = {"serial_number", "part_number", "software_version", "firmware"}
        names = {*texts, *PERMITTED.values()} & self._register_names()
        values = await self._read_identity(names, "serial_number")
        serial_number = values.get("serial_number")
        if not serial_number:
            raise WrongDeviceError(
                f"{self.address}:{self.port} unit {self.unit_id}: has no serial number"
            )
        firmware = values.get("firmware")
        return Identity(
            serial_number=str(serial_number),
            manufacturer=self.manufacturer,
            model=self._model,
            firmware=str(firmware) if firmware else None,
        )

    @property
    @override
    def gateway(self) -> Identity | None:
        gateway = self.topology.gateway
        return None if gateway is None else gateway.identity

    @property
    @override
    def _serial_register(self) -> tuple[int, Register] | None:
        return None if self.unit_id is None else (self.unit_id, _SERIAL_NUMBER)

    @property
    @override
    def parts(self) -> tuple[Part, ...]:
        return tuple(
            battery_unit(unit, product, self.measurements, self._once)
            for unit, product in self.topology.products.items()
        )

    @override
    async def has_new_parts(self) -> bool:
        now = await self._discover(self.topology)
        # What was not answered is no news.
        has_more = now.is_whole and now.has_more(self.topology)
        return has_more or await super().has_new_parts()

    # Reading

    @override
    def poll_rate(self, key: str) -> Poll:
        """Return the poll rate of `key`; a setpoint is read often while it is held."""
        if key == "power_setpoint" and self.snapshot is not None:
            return Poll.FAST
        return super().poll_rate(key)

    def _now(self) -> datetime:
        """Return the time where the inverter is; whoever set it up may give another."""
        return self.local_time()

    def _problems(self, v: Values) -> tuple[str, ...]:
        """Return active alarms, battery faults and an orphaned hold."""
        return problems(v, is_held=self.snapshot is not None)

    def _setpoint_on_device(self, v: Values) -> Value:
        """Return the power that the device was sent, W; 0 while it decides itself.

        None when it does not, or no longer, show the setpoint that is held.
        """
        match v["forced_command"]:
            case None:
                return None
            case str(command) if command != STOP:
                sign = 1 if command == CHARGE else -1
                power = v[f"forced_{command}_power"]
                return None if power is None else sign * number(power)
        held = None if self.controller is None else self.controller.held
        if held is None or held.has_ended:
            return 0
        shows = not held.is_command and all(
            v[limit] == power for limit, power in limits_of(held.sent).items()
        )
        return held.grant.power if shows else None

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        settings = dict(inverter_settings(round(self.topology.power or _UNKNOWN_POWER)))
        if self.has_battery:
            settings |= battery_settings(
                self._most_power("max_charge_power"),
                self._most_power("max_discharge_power"),
                self._most_power(MAX_GRID_CHARGE),
                self.topology.products.values(),
            )
        return {
            key: setting
            for key, setting in settings.items()
            if key not in self._unsupported
        }

    def _most_power(self, name: str) -> int:
        """Return the most that the battery was seen to permit, W; else a default."""
        highest = None if self.controller is None else self.controller.highest.get(name)
        return round(highest or self.topology.power or _UNKNOWN_POWER)

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        if key in LIMITS:
            await self._write_limit(key, number(value))
        elif key == "inverter_on":
            # Its state shows it minutes later.
            name = _START_UP if value else _SHUT_DOWN
            await self._register(name)[0].write(name, 0)
        else:
            await check_peak_shaving(self.get, self.address, key, value)
            await super()._write_setting(key, value)

    async def _write_limit(self, key: str, power: float) -> None:
        """Write a power limit; while the battery is held by it, it waits."""
        async with self._controlling:
            device, _ = self._register(key)
            snapshot = self.snapshot
            own = () if snapshot is None else own_limits(snapshot)[key]
            if not own or await device.read_register(key) not in own:
                await super()._write_setting(key, power)
            if self.snapshot is not None:
                self.snapshot[key] = power

    # Control

    @property
    def _is_overruled(self) -> bool:
        """Whether a gateway, an EMMA, manages the battery by settings of its own."""
        gateway = self.topology.gateway
        return gateway is not None and gateway.is_emma

    @property
    @override
    def issues(self) -> frozenset[DeviceIssue]:
        lacks = any("forced_command" in device.missing for device in self.devices)
        has_curtailed = self.controller is not None and self.controller.has_curtailed
        wrong = {
            DeviceIssue.PV_CURTAILED: self.sunshine is None and has_curtailed,
            DeviceIssue.OLD_FIRMWARE: self.has_battery and lacks,
            DeviceIssue.CONNECTION_STOLEN: self._lost.are_frequent,
            DeviceIssue.GATEWAY_OVERRULES: self.has_battery and self._is_overruled,
        }
        return frozenset(issue for issue, applies in wrong.items() if applies)

    @override
    def _relearn_after_reconnect(self) -> None:
        if self.connection.connects != self._connects_seen:
            self._lost.note()
        super()._relearn_after_reconnect()

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if not self.has_battery:
            return None
        limits = {} if self.controller is None else self.controller.user_limits
        charge = self._most_power("max_charge_power")
        discharge = self._most_power("max_discharge_power")
        if self.topology.power is not None:
            discharge = min(discharge, round(self.topology.power))
        charge = min(charge, limits.get("charge_power_limit", charge))
        discharge = min(discharge, limits.get("discharge_power_limit", discharge))
        return self._narrowed(SetpointLimits(-discharge, charge))
