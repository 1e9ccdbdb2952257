"""The part that all Modbus batteries share: registers, formulas, settings."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, override

from ..address import check_unit_ids
from ..errors import CannotConnectError, NotSupportedError, RequestTimeoutError
from ..kept import Kept
from ..measurements import MEASUREMENTS, Poll, Value
from ..modbus.cache import RegisterCache
from ..modbus.connection import ModbusConnection
from ..modbus.device import ModbusDevice
from ..modbus.learned import LearnedByUnit
from ..modbus.planning import Layout
from ..modbus.recording import raw_words
from ..modbus.register import Register
from ..modbus.silence import MOST_AT_FIRST, MOST_TIMEOUTS, Silence
from ..modbus.tcp import ModbusTcpConnection
from ..modbus.unit import ModbusUnit, Recording
from ..report import Report
from .base import Battery, SetpointLimits, SetupField
from .controller import (
    Grant,
    HeldSetpoint,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    loop_time,
    sound_parts,
)
from .measuring import Identity
from .readings import Formula, Values
from .settings import Setting

# The register that holds a simple battery.
_SETPOINT = "power_setpoint"
_ESSENTIAL: Final = ("battery_soc", "battery_power", "battery_voltage")
"""The keys that a battery is nothing without; some hold a current, by its voltage."""


class ModbusBattery(Battery):
    """The part that all Modbus batteries share: registers, formulas, settings.

    A simple one gives `registers` and is done: one called `power_setpoint` holds the
    battery, within `power_limits`. A device of several units makes its own `devices`.
    """

    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", 1, advanced=True),
    )
    power_limits: ClassVar[SetpointLimits | None] = None
    """The range of the register `power_setpoint`, W; None without such a register."""
    registers: ClassVar[Sequence[Register]] = ()
    formulas: ClassVar[Sequence[Formula]] = ()
    layout: ClassVar[Layout] = Layout()
    settle: ClassVar[float] = 1.0
    """Seconds after a write until reading back shows it."""

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
        check_unit_ids(address, unit_id)
        self.unit_id = unit_id
        self.devices: list[ModbusDevice] = []
        self._formulas = {formula.key: formula for formula in self.formulas}
        self.recording = Recording()
        """The requests since it was connected, and their answers."""
        self.cache = RegisterCache()
        """The last value of each register."""
        self._connection: ModbusConnection | None = None
        self._connects_seen = 0
        self._was_read = False
        """Whether there was a read since connecting, and the last one was answered."""
        self._once: dict[str, Value] = {}
        self._learned = LearnedByUnit()
        self._kept: Mapping[str, Any] = {}
        """The content of `learned` when it was kept last."""
        self._lacking: dict[ModbusDevice, frozenset[str]] = {}
        """The registers that each device lacks, as far as known at its last read."""
        self._by_device = Kept(self._find_by_device)
        """Sets of registers that were read, by device, in the devices' order."""

    @property
    def connection(self) -> ModbusConnection:
        """The open connection; raises CannotConnectError when there is none."""
        if self._connection is None:
            raise CannotConnectError(f"{self.address}:{self.port}: not connected yet")
        return self._connection

    def _make_connection(self) -> ModbusConnection:
        """Return the connection to the device; Modbus TCP unless overridden."""
        return ModbusTcpConnection.shared(self.address, self.port, self.timeout)

    def _make_devices(self) -> list[ModbusDevice]:
        """Return the units that the battery consists of."""
        unit_id = 1 if self.unit_id is None else self.unit_id
        return [self._device(self.manufacturer, unit_id, self.registers)]

    def _device(
        self, name: str, unit_id: int, registers: Sequence[Register]
    ) -> ModbusDevice:
        return ModbusDevice(
            f"{name} (unit {unit_id})", self.unit(unit_id), registers, self.layout
        )

    def unit(self, unit_id: int) -> ModbusUnit:
        """Return the view of a unit id; raises CannotConnectError if not connected."""
        return self.connection.unit(unit_id, self.recording, self.identity_check)

    @override
    async def connect(self) -> None:
        if self._connection is None:
            connection = self._make_connection()
            await connection.open()
            self._connection = connection
            self.recording = Recording()
        # It may be another device by now, or have another firmware.
        self._once.clear()
        self._unsupported.clear()
        self._forget_measurements()
        self.cache.forget()
        self.identity_check.reset()
        connects = self.connection.connects
        try:
            await self._find_units()
            self.devices = self._make_devices()
            self._by_device.clear()
            self._lacking.clear()
            for device in self.devices:
                device.wear, device.cache = self.wear, self.cache
            self.controller = None
            # What `_find_units` has learned is of this connection.
            self._connects_seen = self.connection.connects
            self._accept_identity(await self._identify(), connects)
            self._use_learned()
            self.controller = self._make_controller()
            # Registers and formulas are those of the devices only now.
            self._forget_measurements()
        except BaseException:
            await self.close()
            raise
        self._connects_seen = self.connection.connects
        self._was_read = False

    def _use_learned(self) -> None:
        """Use what was learned of this firmware, for polls only."""
        self._learned.use_for(self.identity.firmware)
        essential = self._essential()
        for device in self.devices:
            device.recall(self._learned.of(device.name), essential)

    def _essential(self) -> set[str]:
        """Return the registers that are asked for whatever was learned.

        Each that can be written is, too, and each that control has read.
        """
        return {name for key in _ESSENTIAL for name in self._needs(key)}

    async def _find_units(self) -> None:
        """Detect unit ids that were not given; most batteries have a fixed one."""

    async def _identify(self) -> Identity:
        """Read the identity of the device."""
        names = {"serial_number", "firmware"} & self._register_names()
        values = await self._read_identity(names, "serial_number")
        return Identity(
            serial_number=str(values.get("serial_number") or self.address),
            manufacturer=self.manufacturer,
            model=self.manufacturer,
            firmware=str(values["firmware"]) if values.get("firmware") else None,
        )

    def _accept_identity(self, identity: Identity, connects: int) -> None:
        """Take the identity that was read over a connection; raises as `_accept` does.

        Where the device reports no serial number, its address stands for it.
        """
        is_reported = identity.serial_number != self.address
        self._accept(identity, is_reported=is_reported, connects=connects)

    @property
    def _serial_register(self) -> tuple[int, Register] | None:
        """The unit id and the register of the serial number; None if it has none."""
        unit_id = 1 if self.unit_id is None else self.unit_id
        for register in self.registers:
            if register.name == "serial_number":
                return unit_id, register
        return None

    @override
    async def _read_serial_number(self) -> str | None:
        if self._serial_register is None:
            return None
        unit_id, register = self._serial_register
        unit = self.connection.unit(unit_id, self.recording)
        words = await unit.read_holding_registers(register.address, register.count)
        value = register.decode(words, low_word_first=self.layout.low_word_first)
        return str(value) if value else None

    @override
    def _connection_number(self) -> int | None:
        return self.connection.connects

    @override
    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    @property
    @override
    def raw(self) -> Mapping[str, Any]:
        """The last words of each unit, and the registers that are missing.

        `units` has consecutive words as lists, by unit and address of the first.
        """
        if self._connection is None:
            return {}
        return raw_words(self.recording, self.connection.connects, self.devices)

    # Learning

    @override
    def recall(self, learned: object) -> None:
        self._learned.recall(learned)
        self._kept = self.learned

    @property
    @override
    def learned(self) -> Mapping[str, Any]:
        return self._learned.as_json()

    @override
    async def learn(self) -> None:
        if self._may_try():
            await self._try_wider_read()
        learned = self.learned
        if learned != self._kept:
            self._kept = learned
            self.keep_learned(learned)

    def _may_try(self) -> bool:
        """Return whether nothing is held, and all that was read last was answered."""
        return (
            self.held is None
            and self.snapshot is None
            and self._was_read
            and not any(device.is_failing for device in self.devices)
        )

    async def _try_wider_read(self) -> None:
        """Send one request that would be one less in each poll, if there may be one."""
        for live in (True, False):
            for device in self.devices:
                if (blocks := device.next_trial(live=live)) is not None:
                    await device.attempt(*blocks)
                    return

    # Reading

    def _register_names(self) -> set[str]:
        return {name for device in self.devices for name in device.registers}

    def _register(self, name: str) -> tuple[ModbusDevice, Register]:
        """Return a register and the device that has it; raises NotSupportedError."""
        for device in self.devices:
            if name in device.registers:
                return device, device.registers[name]
        raise NotSupportedError(f"{self.address}: has no {name}")

    @override
    def _measurable(self) -> Collection[str]:
        names = self._register_names()
        return {key for key in MEASUREMENTS if not names.isdisjoint(self._needs(key))}

    @override
    def _find_poll_rate(self, key: str) -> Poll:
        """Return the rate of `key`: that of its slowest register."""
        return self._slowest(self._needs(key))

    def _slowest(self, names: Collection[str]) -> Poll:
        """Return the slowest rate of registers; slow for none."""
        return max(
            (
                device.registers[name].poll
                for name in names
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
    async def _read_report(
        self,
        names: Collection[str],
        again: Collection[str] | None = None,
        *,
        answered: bool = False,
    ) -> Report:
        """Read registers of all devices; identity only once.

        Missing registers, and those that failed alone a while ago, are only asked for
        if they are among `again`; without it one of them in its turn, and one of what is
        absent as a whole. Where the device has just `answered` something else, a time-out
        is one of these registers alone. A read ends after a few time-outs, so what gave
        no answer comes last.
        """
        self._relearn_after_reconnect()
        # Only polls rely on what was learned.
        is_poll = again is None
        if again is None:
            again = self._due_again()
        once = self._once
        report = Report({name: once[name] for name in once.keys() & names})
        most = MOST_TIMEOUTS if self._was_read else MOST_AT_FIRST
        silence = Silence(answered=answered, most_unanswered=most)
        self._was_read = False
        writes = self.writes
        wanted = self._by_device[frozenset(names).union(again).difference(once)]
        try:
            for device in sorted(wanted, key=lambda each: bool(each.silent)):
                part = await device.read(wanted[device], again, silence, widely=is_poll)
                report.add(part)
                once.update(
                    (name, part.values[name])
                    for name in device.constant & part.values.keys()
                )
            silence.conclude()
            self._was_read = True
        finally:
            # What was read while something was written may be from before that.
            if self.writes == writes:
                self._observe(report)
        # Others may have come back, or gone, in reads that failed or are no polls.
        self._note_presence(self.devices if is_poll else wanted)
        return report

    def _find_by_device(
        self, names: frozenset[str]
    ) -> Mapping[ModbusDevice, frozenset[str]]:
        """Return those of `names` that are registers, by device."""
        own = {device: device.names & names for device in self.devices}
        return {device: each for device, each in own.items() if each}

    def _due_again(self) -> set[str]:
        """Return what to try again: a missing register, and one of an absent device.

        Of each those whose pause ended first. Neither waits for the other.
        """
        due: dict[bool, list[tuple[float, str]]] = {True: [], False: []}
        for device in self.devices:
            if (each := device.due_again()) is not None:
                due[device.is_present].append(each)
        return {min(each)[1] for each in due.values() if each}

    def _note_presence(self, devices: Iterable[ModbusDevice]) -> None:
        """Determine the measurements anew when a block or register is back, or gone."""
        for device in devices:
            lacks = device.missing if device.is_present else device.names
            before = self._lacking.get(device)
            if lacks == before:
                continue
            if before is not None and before - lacks:
                self._unsupported.clear()
            self._lacking[device] = frozenset(lacks)
            self._forget_measurements()

    @override
    def _is_new(self, values: Values) -> bool:
        return not values.keys() <= self._once.keys()

    @override
    def _forget_absences(self) -> None:
        super()._forget_absences()
        for device in self.devices:
            device.forget()

    def _observe(self, report: Report) -> None:
        """Pass values just read to the controller, whatever they were read for."""
        if self.controller is not None:
            self.controller.observe(report.values)

    async def read_registers(
        self, names: Collection[str], again: Collection[str] | None = None
    ) -> Values:
        """Read registers by name, for a driver's own use; those that fail are absent.

        Missing registers are asked for if they are among `again`, by default if they
        are doubtful: a setpoint may depend on them. Raises what `read` raises when the
        device as a whole is out of reach.
        """
        for device in self.devices:
            device.note_essential(names)
        if again is None:
            again = {
                name for device in self.devices for name in device.uncertain(names)
            }
        answered = self.recording.was_answered
        return (await self._read_report(names, again, answered=answered)).values

    async def _read_identity(self, names: Collection[str], needed: str) -> Values:
        """Read registers when connecting; those that fail are absent.

        Raises the failure of the one that is `needed`, unless it is missing.
        """
        report = await self._read_report(names)
        values, failure = report.values, report.failures.get(needed)
        if isinstance(failure, RequestTimeoutError):
            # One of those read with it may be the reason.
            report = await self._read_report({needed}, answered=True)
            values, failure = values | report.values, report.failures.get(needed)
        if failure is not None and not isinstance(failure, NotSupportedError):
            raise failure
        return values

    def _relearn_after_reconnect(self) -> None:
        """Forget what the device lacks when the connection is a new one.

        In between the device may have been given another firmware.
        """
        connects = self.connection.connects
        if connects == self._connects_seen:
            return
        self._connects_seen = connects
        self._once.clear()
        self._forget_absences()

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
        await device.write_confirmed(register.name, value, settle=self.settle)

    # Setpoint: the register `power_setpoint` of a simple battery

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        return None if self.power_limits is None else self._narrowed(self.power_limits)

    def _make_controller(self) -> SetpointController[Any] | None:
        """Return the controller of the battery; None if it takes no setpoint."""
        if self.power_limits is None:
            return None
        return RegisterController(*self._register(_SETPOINT), self.settle)

    @override
    def take_written(self, keys: Iterable[str]) -> set[str]:
        if not (names := self.cache.written.take(loop_time())):
            return set()
        return {key for key in keys if not names.isdisjoint(self._needs(key))}

    @property
    @override
    def writes(self) -> int:
        return self.recording.writes


class RegisterController(SetpointController[HeldSetpoint]):
    """Holds a simple battery by one register."""

    def __init__(self, device: ModbusDevice, register: Register, settle: float) -> None:
        """Hold by `register` of `device`; `settle` as `ModbusBattery` has it, s."""
        super().__init__()
        self._device = device
        self._name = register.name
        self._is_persistent = register.persistent
        self._settle = settle

    @override
    async def take_snapshot(self) -> Snapshot:
        return {self._name: await self._device.read_steady(self._name)}

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        grant = Grant(round(request.power))
        await self._device.write_confirmed(self._name, grant.power, settle=self._settle)
        now = loop_time()
        self.held = HeldSetpoint(
            request=request, grant=grant, changed_at=now, written_at=now
        )
        return grant

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        register = self._device.registers[self._name]
        return sound_parts(stored, {self._name: register.holds})

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        """Write the value of the snapshot, however often flash was written today."""
        if self._name not in snapshot:
            return
        wanted = {self._name: snapshot[self._name]}
        if self._is_persistent:
            if await self._device.read_register(self._name) == wanted[self._name]:
                return
        await self._device.write(self._name, wanted[self._name])
        await self._device.confirm(wanted, settle=self._settle)
