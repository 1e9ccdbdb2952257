"""The part of a Deye driver that reads: identity, registers, parts and settings."""

from collections.abc import Mapping
from contextlib import suppress
import re
from typing import ClassVar, Final, override

from ..absence import CERTAIN_REFUSALS
from ..battery.measuring import Identity
from ..battery.modbus import ModbusBattery
from ..battery.parts import Part, PartKind
from ..battery.settings import Setting
from ..errors import (
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    IllegalAddressError,
    ProtocolError,
    RequestTimeoutError,
    UnknownHostError,
    WrongDeviceError,
)
from ..measurements import Value
from ..modbus.device import ModbusDevice
from ..modbus.register import Register
from ..modbus.unit import ModbusUnit
from .blocks import BatteryPack, ChunkedUnit, RegisterBlock, answers
from .firmware import release_number
from .measurements import firmware, formulas, word
from .registers import (
    IDENTITY,
    KINDS,
    LAYOUT,
    OTHER_KINDS,
    PACK_COUNT,
    SERIES,
    STOP_SOCS,
    Kind,
    RegisterMap,
    Run,
    single_phase,
    three_phase,
)
from .settings import register_of, settings, word_maker

_IDENTITY_WORDS: Final = 37
_LIVE: Final = 586
"""Where the live values of a three-phase inverter begin."""

MODEL: Final = "Deye hybrid inverter"
"""The model where only the plate is known."""
_SERIAL_NUMBER: Final = next(
    register for register in IDENTITY if register.name == "serial_number"
)
PLATE: Final = tuple(register for register in IDENTITY if register.end <= 8)
"""Device type to serial number: the registers that identify a Deye."""


def detected_serial(plate: Mapping[str, Value]) -> str | None:
    """Return the serial number if these are the first registers of a Deye hybrid.

    A known type, and ten letters or digits beside it, are no other device's.
    """
    serial = plate.get("serial_number")
    if plate.get("device_type") not in KINDS or not isinstance(serial, str):
        return None
    return serial if re.fullmatch("[0-9A-Za-z]{10}", serial) else None


def ports_of_another_way(err: BatteryError, port: int, usual: int) -> tuple[int, ...]:
    """Return the ports where a Deye may speak another protocol, after `err` at `port`.

    `usual` is the port of that protocol. A port that accepts no connection is not
    tried again.
    """
    match err:
        case UnknownHostError():
            return ()
        case ConnectionClosedError() | RequestTimeoutError() | ProtocolError():
            return tuple(dict.fromkeys((port, usual)))
        case CannotConnectError():
            return () if port == usual else (usual,)
    return ()


class DeyeDevice(ModbusBattery):
    """The identity, registers, parts and settings of a Deye inverter."""

    manufacturer: ClassVar[str] = "Deye"
    layout = LAYOUT

    kind = Kind.THREE_PHASE
    rated_power: float = 0
    """W; 0 while it is not known."""
    firmware_release = 0
    """The firmware's release, as its hex digits read; 0 where that is no number."""

    # Setting up

    @override
    async def _find_units(self) -> None:
        """Read the kind, size and firmware of the inverter."""
        self._unit = unit = ChunkedUnit(self.unit(self._unit_id))
        words = await self._read_first_words()
        if not words:
            # Behind some gateways only the live values can be read. An inverter
            # that has those is a three-phase one, probably of the usual kind
            # [uncertain].
            await self._see_live_values(unit)
        self._learn(words)
        self.counters.rated_power = self.rated_power

    async def _read_first_words(self) -> list[int]:
        """Return the words of kind, size and firmware; none where they are refused.

        One refusal says little.
        """
        for _ in range(CERTAIN_REFUSALS):
            with suppress(IllegalAddressError):
                return await self._unit.read_holding_registers(0, _IDENTITY_WORDS)
        return []

    @override
    async def has_new_parts(self) -> bool:
        """Return True also for kind, size and firmware that were refused before."""
        is_unknown = not self._identity_words
        return (
            is_unknown and bool(await self._read_first_words())
        ) or await super().has_new_parts()

    @property
    def _unit_id(self) -> int:
        return 1 if self.unit_id is None else self.unit_id

    async def _see_live_values(self, unit: ModbusUnit) -> None:
        try:
            await unit.read_holding_registers(_LIVE, 1)
        except IllegalAddressError as err:
            raise WrongDeviceError(
                f"{self.address}:{self.port}: unit {self._unit_id} is not a Deye "
                "hybrid inverter"
            ) from err

    def _learn(self, words: list[int]) -> None:
        """Take over kind, size and firmware from the first words of the inverter."""
        self._identity_words = words
        if not words:
            self.kind, self.rated_power, self.firmware_release = Kind.THREE_PHASE, 0, 0
        else:
            self.kind = self._kind_of(words[0])
            where = 16 if self.kind is Kind.SINGLE_PHASE else 20
            self.rated_power = (words[where] | words[where + 1] << 16) / 10
            is_single = self.kind is Kind.SINGLE_PHASE
            self.firmware_release = 0 if is_single else release_number(words[15])
        self._formulas = {formula.key: formula for formula in formulas(self.kind)}

    def _kind_of(self, device_type: int) -> Kind:
        if device_type in KINDS:
            return KINDS[device_type]
        what = OTHER_KINDS.get(device_type, f"unknown device type {device_type:#06x}")
        raise WrongDeviceError(
            f"{self.address}:{self.port}: unit {self._unit_id} is not a Deye hybrid "
            f"inverter with a battery ({what})"
        )

    @property
    def _map(self) -> RegisterMap:
        if self.kind is Kind.SINGLE_PHASE:
            return single_phase()
        return three_phase(high_voltage=self.kind is Kind.HIGH_VOLTAGE)

    @override
    def _make_devices(self) -> list[ModbusDevice]:
        return [self._block(run) for run in self._map]

    def _block(self, run: Run) -> RegisterBlock:
        name = f"{self.manufacturer} (unit {self._unit_id}) {run.name}"
        if run.pack:
            return BatteryPack(name, self._unit, run, self._lives, self._is_counted)
        return RegisterBlock(name, self._unit, run, self._lives)

    async def _is_counted(self, pack: int) -> bool:
        """Return True when there are so many battery packs."""
        device, register = self._register(PACK_COUNT)
        if register.address not in device.words:
            await device.read([PACK_COUNT])
        return device.words.get(register.address, 0) >= pack

    async def _lives(self) -> bool:
        """Return True when the inverter answers."""
        return await answers(self.unit(self._unit_id))

    @override
    async def _identify(self) -> Identity:
        words = self._identity_words
        values: dict[str, Value] = {
            register.name: register.decode(
                words[register.address : register.end], low_word_first=True
            )
            for register in IDENTITY
            if words
        }
        power = f"SUN-{self.rated_power / 1000:g}K-" if self.rated_power else ""
        return Identity(
            serial_number=str(values.get("serial_number") or self.address),
            manufacturer=self.manufacturer,
            model=power + SERIES[self.kind],
            name="Deye",
            firmware=str(firmware(values)) if values.get("firmware_release") else None,
        )

    @property
    @override
    def _serial_register(self) -> tuple[int, Register]:
        return self._unit_id, _SERIAL_NUMBER

    @property
    @override
    def parts(self) -> tuple[Part, ...]:
        return tuple(
            self._pack(device)
            for device in self.devices
            if isinstance(device, BatteryPack) and device.there
        )

    def _pack(self, device: BatteryPack) -> Part:
        """Return a battery pack; its identity has been read with everything else."""
        name = f"pack{device.number}_"
        register = device.registers[f"{name}serial_number"]
        words = [
            device.words.get(each, 0) for each in range(register.address, register.end)
        ]
        serial_number = register.decode(words, low_word_first=True)
        return Part(
            kind=PartKind.BATTERY_PACK,
            number=device.number,
            keys=frozenset(key for key in self.measurements if key.startswith(name)),
            serial_number=str(serial_number) if serial_number else None,
        )

    # Reading

    @override
    def _register_names(self) -> set[str]:
        """Return the registers that the inverter has, as far as is known."""
        return {
            name
            for device in self.devices
            if device.is_present
            for name in device.registers
        }

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        known = settings(
            self.kind, self._register_names(), self.rated_power, self.firmware_release
        )
        return {
            key: setting
            for key, setting in known.items()
            if key not in self._unsupported
            and (key != "max_soc" or self.cache.values.get(key) in STOP_SOCS)
        }

    @override
    def _setting_register(self, key: str) -> str:
        return register_of(key)

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        make = word_maker(key)
        if make is None:
            await super()._write_setting(key, value)
            return
        device, register = self._register(register_of(key))
        old = word(await device.read_register(register.name))
        if (new := make(old, value)) == old:
            return
        if register.persistent:
            self.wear.check(device.name)
        await device.write(register.name, new)
        await device.confirm({register.name: new}, settle=self.settle)
