"""The house as an EMMA or a SmartLogger measures it, for inverters without a meter.

Signs differ: grid power is positive = import here, at the meter of an inverter it is
positive = export. Sources: evcc's templates huawei-emma and huawei-smartlogger, the
open library huawei-solar, ioBroker.sun2000. [uncertain] is the sign of a SmartLogger's
grid power (evcc takes it as here, ioBroker the other way round) and which of its meter's
two energies is the import; so these are not read.

The AC power of all inverters is 30364 at an EMMA (that it is their sum is inferred
[uncertain]: it stands beside other values of the whole house), and 40525 at a
SmartLogger: that of its inverters and PCS [huawei-solar; Huawei's list of SmartLogger
registers, issue 47].

A SmartGuard has an EMMA inside; that it answers as one is inferred [uncertain].
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ..absence import CERTAIN_REFUSALS
from ..battery.measuring import Identity
from ..errors import BatteryError, DeviceRefusedError
from ..measurements import Poll, Value
from ..modbus.connection import ModbusConnection, patience
from ..modbus.planning import Block
from ..modbus.register import DataType, Register
from ..modbus.unit import ModbusUnit, Units
from .device_list import read_device_list
from .unit import RetryingUnit

MANAGER_UNIT: Final = 0
"""The unit id of an EMMA and of a SmartLogger."""
PROBE_TIMEOUT: Final = 5.0
"""Seconds to wait for an answer of a unit that may not exist."""
_RETRIES: Final = 2
"""Number of further tries while it is busy."""
EMMA: Final = "EMMA"
SMART_LOGGER: Final = "SmartLogger"
EMMAS: Final = ("SmartHEMS", "SmartGuard")
"""The models of what is an EMMA."""

_INT32, _UINT16, _UINT32 = DataType.INT32, DataType.UINT16, DataType.UINT32
_INT64, _UINT64, _STRING = DataType.INT64, DataType.UINT64, DataType.STRING
_FAST, _SLOW, _ONCE = Poll.FAST, Poll.SLOW, Poll.ONCE
_NO_VALUE: Final[Mapping[DataType, int]] = {
    _INT32: 0x7FFF_FFFF,
    _INT64: 0x7FFF_FFFF_FFFF_FFFF,
    _UINT16: 0xFFFF,
    _UINT32: 0xFFFF_FFFF,
    _UINT64: 0xFFFF_FFFF_FFFF_FFFF,
}
_NO_SUCH_REGISTER: Final = (2, 3)
_METER_UNITS: Final = (11, 1, 2, 3, 4, 5, 6, 16)
"""Unit ids of the meter, in the search for one that a SmartLogger does not list."""
_SILENCES: Final = 3
"""Number of silent units that end this: each costs seconds."""
INVERTERS_POWER: Final = "inverters_power"


def _r(
    address: int,
    name: str,
    data_type: DataType = _UINT16,
    gain: float = 1,
    unit: str | None = None,
    poll: Poll = _SLOW,
) -> Register:
    """Return a register whose invalid value is that of its type."""
    return Register(
        address,
        name,
        data_type,
        gain,
        unit,
        poll=poll,
        sentinels=(_NO_VALUE[data_type],),
    )


def _text(address: int, name: str, length: int) -> Register:
    return Register(address, name, _STRING, poll=_ONCE, length=length)


# A name that is a measurement is that measurement. The house's others (house_…) are
# not read: the inverter has its own, and the load (30356) lacks what the EMMA does not
# control.

_EMMA_METER: Final = (
    *(
        _r(31639 + 2 * phase, f"meter_voltage_l{phase + 1}", _UINT32, 100, "V", _FAST)
        for phase in range(3)
    ),
    *(
        _r(31651 + 2 * phase, f"meter_current_l{phase + 1}", _INT32, 10, "A", _FAST)
        for phase in range(3)
    ),
    _r(31657, "grid_power", _INT32, 1, "W", _FAST),
)
_EMMA_HOUSE: Final = (
    _r(30302, "house_absorbed_energy", _UINT64, 100, "kWh"),
    _r(30306, "house_charged_today", _UINT32, 100, "kWh"),
    _r(30308, "house_charged_total", _UINT64, 100, "kWh"),
    _r(30312, "house_discharged_today", _UINT32, 100, "kWh"),
    _r(30314, "house_discharged_total", _UINT64, 100, "kWh"),
    _r(30322, "house_capacity", _UINT32, 1000, "kWh"),
    _r(30354, "house_pv_power", _UINT32, 1, "W"),
    _r(30356, "house_load_power", _UINT32, 1, "W"),
    _r(30358, "house_feed_in_power", _INT32, 1, "W"),
    _r(30360, "house_battery_power", _INT32, 1, "W"),
    _r(30364, INVERTERS_POWER, _INT32, 1, "W", _FAST),
    _r(30368, "house_soc", _UINT16, 100, "%"),
    _r(40000, "house_storage_mode"),
    _r(40001, "house_surplus_pv_use"),
    _r(40002, "house_grid_charge_power", _UINT32, 1, "W"),
    _text(40004, "house_tou_periods", 43),
    _r(40100, "house_feed_in_mode"),
    _r(40107, "house_max_feed_in_power", _INT32, 1, "W"),
    _r(40109, "house_max_feed_in_percent", _UINT16, 10, "%"),
)
_EMMA_TOTALS: Final = (
    _r(30332, "meter_export", _UINT64, 100, "kWh"),
    _r(30338, "grid_import_total", _UINT64, 100, "kWh"),
)
# Those of the built-in sensor: its negative energy is the export.
_SENSOR_TOTALS: Final = (
    _r(31679, "meter_export", _INT64, 100, "kWh"),
    _r(31687, "grid_import_total", _INT64, 100, "kWh"),
)
_LOGGER_METER: Final = (
    *(
        _r(32260 + 2 * phase, f"meter_voltage_l{phase + 1}", _UINT32, 100, "V", _FAST)
        for phase in range(3)
    ),
    *(
        _r(32272 + 2 * phase, f"meter_current_l{phase + 1}", _INT32, 10, "A", _FAST)
        for phase in range(3)
    ),
    _r(32278, "grid_power", _INT32, 1, "W", _FAST),
)
_LOGGER_POWER: Final = _r(40525, INVERTERS_POWER, _INT32, 1, "W", _FAST)

_MODEL: Final = _text(30000, "model", 15)
_SERIAL: Final = _text(30015, "serial_number", 10)
_FIRMWARE: Final = _text(30035, "software_version", 15)
_EMMA_MODEL: Final = _text(30222, "emma_model", 20)
LOGGER_NAME: Final = _text(65524, "name", 10)
LOGGER_SERIAL: Final = _text(40713, "serial_number", 10)
"""The texts that identify a SmartLogger, which has no model: some answer only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """An EMMA or a SmartLogger, and the registers by which it measures the house.

    There are none where no meter is known, or where the inverter has its own.
    """

    identity: Identity
    meter_unit: int = MANAGER_UNIT
    registers: tuple[Register, ...] = ()
    own_registers: tuple[Register, ...] = ()
    """Those at its own unit, of one whose meter has another."""
    inverters: int | None = None
    """The number of those behind a SmartLogger; None without a list, or a whole one."""
    is_certain: bool = True
    """False where an answer that says which registers these are, or where, is missing."""
    has_serial_number: bool = True
    """False where the address identifies it, for now at least."""

    @property
    def is_emma(self) -> bool:
        """Whether it manages energy, and may overrule the inverter's settings."""
        return self.identity.name == EMMA

    @property
    def inverters_power(self) -> str | None:
        """The register of the AC power of all inverters, W; None if it is unknown.

        That of a single inverter is its own, but only a list can say that it is one.
        """
        if any(
            each.name == INVERTERS_POWER
            for each in (*self.registers, *self.own_registers)
        ):
            return INVERTERS_POWER
        return "active_power" if self.inverters == 1 else None

    def is_elsewhere(self, before: Gateway) -> bool:
        """Return True if the meter surely has other registers or another unit id."""
        now, then = ((each.meter_unit, each.registers) for each in (self, before))
        return self.is_certain and bool(self.registers) and now != then

    def is_another(self, before: Gateway) -> bool:
        """Return True if it surely is not the gateway that was there `before`."""
        now, then = (each.identity.serial_number for each in (self, before))
        return self.has_serial_number and now != then

    @property
    def without_meter(self) -> Gateway:
        """The gateway of an inverter that has a meter of its own."""
        return replace(self, registers=(), own_registers=())


async def discover_gateway(
    where: str,
    connection: ModbusConnection,
    unit: Units,
    *,
    has_meter: bool = False,
    is_known: bool = False,
) -> Gateway | None:
    """Return the gateway that answers at its unit; None without one, or an answer.

    `where` is the address, which identifies a gateway without a serial number. One that
    does not answer what that is would be another one the next time: it is none yet.
    A meter that it does not list is searched for: not for an inverter that has one of
    its own, nor again where the gateway `is_known` and has a list.
    """
    asked = _Asked(unit(MANAGER_UNIT))
    model = await asked.text(_MODEL)
    if model is not None and model.startswith(EMMAS):
        return await _emma(where, asked, model)
    if model is not None or not asked.answers:
        return None
    name = await asked.text(LOGGER_NAME)
    tries = 1 if name is None else CERTAIN_REFUSALS
    serial_number = await asked.text(LOGGER_SERIAL, tries)
    if (name is None and serial_number is None) or not asked.answers:
        return None
    identity = Identity(
        serial_number=serial_number or where,
        manufacturer="Huawei",
        model=name or SMART_LOGGER,
        name=SMART_LOGGER,
    )
    listed = await read_device_list(connection, MANAGER_UNIT)
    listed_meter = next((each.unit_id for each in listed or () if each.is_meter), None)
    meter_unit = listed_meter
    if meter_unit is None and not has_meter and (listed is None or not is_known):
        meter_unit = await _meter_unit(unit)
    if meter_unit is None:
        return Gateway(identity=identity, has_serial_number=serial_number is not None)
    # A list that lacks the meter may lack inverters, too.
    inverters = (
        None if listed_meter is None else sum(each.is_inverter for each in listed or ())
    )
    has_power = inverters != 1 and await asked.has(_LOGGER_POWER)
    return Gateway(
        identity=identity,
        meter_unit=meter_unit,
        registers=_LOGGER_METER,
        own_registers=(_LOGGER_POWER,) if has_power else (),
        inverters=inverters,
        is_certain=listed_meter is not None,
        has_serial_number=serial_number is not None,
    )


async def _emma(where: str, asked: _Asked, model: str) -> Gateway | None:
    serial_number = await asked.text(_SERIAL, CERTAIN_REFUSALS)
    if not asked.answers:
        return None
    identity = Identity(
        serial_number=serial_number or where,
        manufacturer="Huawei",
        model=await asked.text(_EMMA_MODEL) or model,
        name=EMMA,
        firmware=await asked.text(_FIRMWARE),
    )
    has_totals = await asked.has(_EMMA_TOTALS[0])
    return Gateway(
        identity=identity,
        registers=(
            *_EMMA_METER,
            *_EMMA_HOUSE,
            *(_EMMA_TOTALS if has_totals else _SENSOR_TOTALS),
        ),
        is_certain=asked.answers,
        has_serial_number=serial_number is not None,
    )


async def _meter_unit(unit: Units) -> int | None:
    """Return the unit id of a meter that a SmartLogger does not list; None without one.

    That of the first unit which has a meter's grid power: inverters do not [huawei-solar,
    which detects meters by it].
    """
    silences = 0
    for unit_id in _METER_UNITS:
        asked = _Asked(unit(unit_id))
        if await asked.words(_LOGGER_METER[-1]) is not None:
            return unit_id
        silences += not asked.answers
        if silences == _SILENCES:
            break
    return None


class _Asked:
    """A unit that may not exist, and is asked for what identifies it."""

    def __init__(self, unit: ModbusUnit) -> None:
        """Ask `unit`, with patience while it is busy."""
        self._unit = RetryingUnit(unit, _RETRIES)
        self.answers = True
        """Whether the last question was answered, be it with a refusal."""

    async def text(self, register: Register, tries: int = 1) -> str | None:
        """Return a text; None where it is refused, or empty, or nothing answers."""
        words = await self.words(register, tries)
        value: Value = None if words is None else register.decode(words)
        return str(value) if value else None

    async def has(self, register: Register) -> bool:
        """Return False for a register that the device does not have."""
        words = await self.words(register, CERTAIN_REFUSALS)
        return words is not None or not self.answers

    async def words(self, register: Register, tries: int = 1) -> list[int] | None:
        """Return the words of a register; None as for a text.

        A single refusal may be a passing one, which needs further `tries`.
        """
        for _ in range(tries):
            words = await self._words(Block((register,)))
            if words is not None or not self.answers:
                return words
        return None

    async def _words(self, block: Block) -> list[int] | None:
        try:
            with patience(PROBE_TIMEOUT):
                words = await self._unit.read_holding_registers(
                    block.address, block.count
                )
        except DeviceRefusedError as err:
            self.answers = err.code in _NO_SUCH_REGISTER
        except BatteryError:
            self.answers = False
        else:
            self.answers = True
            return words
        return None
