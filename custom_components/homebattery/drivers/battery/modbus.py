"""The part that all Modbus batteries share: registers, formulas, settings."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, override

from ..errors import (
    BatteryError,
    CannotConnectError,
    NotConfirmedError,
    NotSupportedError,
)
from ..measurements import MEASUREMENTS, Poll, Value
from ..modbus.connection import ModbusConnection
from ..modbus.device import ModbusDevice
from ..modbus.planning import Layout
from ..modbus.recording import WatchedConnection, raw_words
from ..modbus.register import Register
from ..modbus.tcp import ModbusTcpConnection
from .base import Battery, Found, Identity, SetpointLimits, SetupField
from .readings import HALVES, Formula, Readings
from .settings import Setting

# What holds a simple battery.
_SETPOINT = "power_setpoint"


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
            names = names | HALVES.keys()
        return tuple(
            key
            for key in MEASUREMENTS
            if key not in self._unsupported and not names.isdisjoint(self._needs(key))
        )

    @override
    def poll_of(self, key: str) -> Poll:
        """How often `key` is worth reading: as often as its slowest register."""
        key = "battery_power" if key in HALVES else key
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
