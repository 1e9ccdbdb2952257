"""The part of a Deye driver that reads: identity, registers, parts and settings."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
import re
from typing import ClassVar, Final, NamedTuple, override

from ..battery.controller import KNOWN_FOR, loop_time
from ..battery.measuring import Identity
from ..battery.modbus import ModbusBattery
from ..battery.parts import Part, PartKind
from ..battery.readings import Values
from ..battery.settings import Setting
from ..errors import (
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    IllegalAddressError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    UnknownHostError,
    WrongDeviceError,
)
from ..kept import Kept
from ..measurements import Poll, Value
from ..modbus.device import ModbusDevice
from ..modbus.register import Register
from ..modbus.unit import ModbusUnit
from ..report import Report
from .blocks import BatteryPack, ChunkedUnit, RegisterBlock, answers
from .firmware import release_number
from .inputs import (
    LASTING,
    LASTING_POWERS,
    LASTING_SETTINGS,
    SECOND_BMS,
    UNKNOWN,
    Inputs,
    mppt_count,
)
from .limits import most_battery_power
from .measurements import firmware, formulas, number, word
from .registers import (
    IDENTITY,
    KINDS,
    LAYOUT,
    OTHER_KINDS,
    PACK_COUNT,
    SERIES,
    SERIES_OF_TYPE,
    STOP_SOCS,
    Kind,
    RegisterMap,
    Run,
    single_phase,
    three_phase,
)
from .settings import register_of, settings, word_maker
from .single_phase import DECIDING, SinglePhase, firmware as single_phase_firmware

_IDENTITY_WORDS: Final = 37
_CONSTANT_WORDS: Final[Mapping[Kind, int]] = {
    Kind.THREE_PHASE: 25,
    Kind.HIGH_VOLTAGE: 25,
    # Its clock comes next.
    Kind.SINGLE_PHASE: 22,
}
"""Number of those that stay the same: kind to firmware, size and inputs."""
_MOST_READS: Final = 5
"""Reads of which two in a row must agree."""
_LIVE: Final = 586
"""Where the live values of a three-phase inverter begin."""

_NO_POWER: Final = 0xFFFF_FFFF
"""The two words of a rated power that is not there."""
_LASTS: Final = 90.0
"""Seconds for which a lasting register is not read again for its own sake."""
_LASTS_SLOW: Final = 30.0
"""The same where slow registers are read anyway, once a minute."""

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


def _constant(words: Sequence[int]) -> Sequence[int]:
    """Return those of an inverter's first words that stay the same; none of others."""
    kind = KINDS.get(words[0]) if words else None
    return () if kind is None else words[: _CONSTANT_WORDS[kind]]


def _do_agree(before: Values, last: Values) -> bool:
    """Return whether two reads agree on the registers that both have."""
    return all(before[name] == last[name] for name in before.keys() & last.keys())


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


class Scope(NamedTuple):
    """The kinds of registers that a read is of."""

    is_live: bool
    """Whether all that are not lasting are live ones."""
    is_slow: bool
    """Whether slow ones are among those."""
    lasting: frozenset[str]
    """The lasting ones."""
    alone: frozenset[str]
    """Those of them that take a request of their own."""


class DeyeDevice(ModbusBattery):
    """The identity, registers, parts and settings of a Deye inverter."""

    manufacturer: ClassVar[str] = "Deye"
    layout = LAYOUT

    kind = Kind.THREE_PHASE
    rated_power: float = 0
    """W; 0 while it is not known."""
    inputs: Inputs = UNKNOWN
    firmware_release = 0
    """The firmware's release, as its hex digits read; 0 where that is no number."""
    _had_two_batteries = False
    """Whether there were two when the registers of measurements were determined."""
    _single_phase: SinglePhase | None = None
    """The scales of a single-phase inverter as learned, reconnects included."""

    # Setting up

    @override
    async def _find_units(self) -> None:
        """Read the kind, size and firmware of the inverter."""
        self._unit = unit = ChunkedUnit(self.unit(self._unit_id))
        words = await self._agreed(
            self._read_first_words,
            lambda before, last: _constant(before) == _constant(last),
        )
        if not words:
            # Behind some gateways only the live values can be read. An inverter
            # that has those is a three-phase one, probably of the usual kind
            # [uncertain].
            await self._see_live_values(unit)
        self._learn(words)
        self.counters.rated_power = self.rated_power

    async def _read_first_words(self) -> list[int]:
        """Return the words of kind, size and firmware; none where they are refused."""
        with suppress(IllegalAddressError):
            return await self._unit.read_holding_registers(0, _IDENTITY_WORDS)
        return []

    async def _agreed[T](
        self, read: Callable[[], Awaitable[T]], agree: Callable[[T, T], bool]
    ) -> T:
        """Return what is read, as two reads in a row `agree` on it.

        A word may be damaged, and one refusal says little. After the first answer one
        may be lost. Raises ProtocolError when no two agree, and what `read` raises.
        """
        last = await read()
        is_lost = False
        for _ in range(_MOST_READS - 1):
            try:
                before, last = last, await read()
            except RequestTimeoutError:
                if is_lost:
                    raise
                is_lost = True
                continue
            if agree(before, last):
                return last
        raise ProtocolError(f"{self.address}:{self.port}: each answer is another one")

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
        self._meant: dict[str, tuple[Value, float]] = {}
        """The last value of each lasting setting that had one, and the time, s."""
        self.inputs = Inputs()
        if not words:
            self.kind, self.rated_power, self.firmware_release = Kind.THREE_PHASE, 0, 0
        else:
            self.kind = self._kind_of(words[0])
            where = 16 if self.kind is Kind.SINGLE_PHASE else 20
            rated = words[where] | words[where + 1] << 16
            self.rated_power = 0 if rated == _NO_POWER else rated / 10
            is_single = self.kind is Kind.SINGLE_PHASE
            self.firmware_release = 0 if is_single else release_number(words[15])
            self.inputs = Inputs(
                batteries=0 if is_single else words[24],
                mppts=mppt_count(words[18 if is_single else 22]),
                most_power=most_battery_power(self.rated_power),
            )
        all_formulas = formulas(self.kind, self.inputs, self.rated_power)
        if self.kind is Kind.SINGLE_PHASE:
            self._single_phase = self._single_phase or SinglePhase()
            all_formulas = self._single_phase.formulas(all_formulas, self.inputs)
        self._formulas = {formula.key: formula for formula in all_formulas}

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
        return three_phase(
            high_voltage=self.kind is Kind.HIGH_VOLTAGE,
            more_pvs=self.inputs.may_have_more_pvs,
        )

    @override
    def _make_devices(self) -> list[ModbusDevice]:
        self._scopes.clear()
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
        return number(self.cache.values.get(PACK_COUNT)) >= pack

    async def _lives(self) -> bool:
        """Return True when the inverter answers."""
        return await answers(self.unit(self._unit_id))

    @override
    async def _identify(self) -> Identity:
        words = self._identity_words
        series = SERIES[self.kind]
        if self.kind is Kind.SINGLE_PHASE:
            # The polls read them as well, and go on to learn from them.
            with suppress(ProtocolError):
                await self._agreed(lambda: self.read_registers(DECIDING), _do_agree)
            series = SERIES_OF_TYPE.get(words[0], series)
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
            model=power + series,
            name="Deye",
            firmware=self._firmware(values),
        )

    def _firmware(self, values: Mapping[str, Value]) -> str | None:
        """Return the control board's firmware as the display shows it, if it is known."""
        if self.kind is Kind.SINGLE_PHASE:
            return single_phase_firmware(self._identity_words)
        return str(firmware(values)) if values.get("firmware_release") else None

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
    def _observe(self, report: Report) -> None:
        super()._observe(report)
        self.inputs.second.note(report.values, loop_time())
        if self._single_phase is not None:
            self._single_phase.observe(report.values)

    @override
    def _register_names(self) -> set[str]:
        """Return the registers that the inverter has, as far as is known."""
        return {
            name
            for device in self.devices
            if device.is_present
            for name in device.registers
        }

    @override
    def _needs(self, key: str) -> tuple[str, ...]:
        """Return the registers of `key`; those of a second BMS only if there may be one."""
        needs = super()._needs(key)
        if SECOND_BMS.isdisjoint(needs) or self.inputs.has_two_batteries(
            self.cache.values
        ):
            return needs
        return tuple(name for name in needs if name not in SECOND_BMS)

    @override
    def _names_of(self, keys: frozenset[str]) -> frozenset[str]:
        """Return the names; determined anew when a second battery is used, or no more."""
        has_two = self.inputs.has_two_batteries(self.cache.values)
        if has_two is not self._had_two_batteries:
            self._had_two_batteries = has_two
            self._forget_measurements()
        return super()._names_of(keys)

    @override
    def _find_poll_rate(self, key: str) -> Poll:
        """Return the rate of `key`: that of its slowest register that is not lasting."""
        return self._slowest(set(self._needs(key)) - LASTING)

    @override
    async def _read_report(
        self,
        names: Collection[str],
        again: Collection[str] | None = None,
        *,
        answered: bool = False,
    ) -> Report:
        """Read registers; of lasting ones that live values need, the last value serves.

        So live values take one request. It is read again with the slow registers, or
        after a while. While it gets no answer the last value counts; for `KNOWN_FOR`
        seconds that of a power, and of a setting whose word has no meaning.
        """
        names = frozenset(names)
        report = await super()._read_report(
            names - self._spared(names), again, answered=answered
        )
        lasting = self._scopes[names].lasting - report.values.keys()
        old = self.cache.older_than(KNOWN_FOR, lasting & LASTING_POWERS, loop_time())
        values = self.cache.values
        kept = {name: values[name] for name in lasting - old if name in values}
        known = {**report.values, **kept}
        known.update(self._settings_of(known))
        return Report(known, report.failures)

    def _settings_of(self, v: Values) -> Values:
        """Return the lasting settings among values, as their last words that meant one."""
        now = loop_time()
        meant: dict[str, Value] = {}
        for name in LASTING_SETTINGS & v.keys():
            if v[name] is not None:
                self._meant[name] = v[name], now
            value, since = self._meant.get(name, (None, now))
            meant[name] = value if now - since < KNOWN_FOR else None
        return meant

    def _spared(self, names: frozenset[str]) -> frozenset[str]:
        """Return the lasting registers that need not be read with the others now."""
        scope = self._scopes[names]
        seconds = _LASTS_SLOW if scope.is_slow else _LASTS
        return scope.alone - self.cache.older_than(seconds, scope.alone, loop_time())

    @cached_property
    def _scopes(self) -> Kept[frozenset[str], Scope]:
        """The scopes of sets of registers that were read."""
        return Kept(self._find_scope)

    def _find_scope(self, names: frozenset[str]) -> Scope:
        others = names - LASTING
        rates = {
            device.registers[name].poll
            for device in self.devices
            for name in device.names & others
        }
        alone = (
            device.names & names & LASTING
            for device in self.devices
            if device.names.isdisjoint(others)
        )
        return Scope(
            is_live=rates <= {Poll.FAST},
            is_slow=Poll.SLOW in rates,
            lasting=names & LASTING,
            alone=frozenset().union(*alone),
        )

    @override
    def _is_new(self, values: Values) -> bool:
        return super()._is_new(
            {name: value for name, value in values.items() if name not in LASTING}
        )

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
        seen = await device.read_steady(register.name)
        if seen is None:
            raise NotSupportedError(
                f"{self.address}: register {register.address} is not there"
            )
        old = word(seen)
        if (new := make(old, value)) == old:
            return
        if register.persistent:
            self.wear.check(device.name)
        await device.write(register.name, new)
        await device.confirm({register.name: new}, settle=self.settle)
