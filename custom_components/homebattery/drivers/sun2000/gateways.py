"""The search for an inverter: on its own, or behind one of Huawei's gateways.

All of these speak Modbus TCP. An SDongle and an inverter's own WLAN pass requests
on to the inverter, an EMMA and a SmartLogger too, but at units that differ from
site to site. None of the four is controlled itself; the registers of an EMMA and a
SmartLogger are here for a driver that will read them.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from ..errors import (
    BatteryError,
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    RequestTimeoutError,
    UndetectedUnitError,
    WrongUnitError,
)
from ..modbus.probe import Probe
from ..modbus.register import DataType, Register
from ..modbus.unit import ModbusUnit, Units
from .unit import RetryingUnit

UNITS: Final = (1, 0, 2, 3, 4, 5, 6, 11, 16)
"""Unit ids of an inverter: behind an SDongle, on its own WLAN, behind an EMMA, and in
a cascade."""
_LIKELY: Final = 2
"""Number of the unit ids, the first ones, that nearly all sites use."""
SDONGLE_UNIT: Final = 100
PROBE_TIMEOUT: Final = 5.0
"""Seconds to wait for a unit that may not exist; an SDongle needs 1.5 s to answer."""

_MODEL: Final = Register(30000, "model", DataType.STRING, length=15)
_SERIAL: Final = Register(30015, "serial_number", DataType.STRING, length=10)
_LOGGER_NAME: Final = 65524
_FAILED: Final = 4
_NO_SUCH_REGISTER: Final = (2, 3)

_INVERTERS: Final = ("SUN", "EDF ESS", "Powershifter", "SWI300")
_GATEWAYS: Final[Mapping[str, str]] = {
    "SmartHEMS": "an EMMA",
    "SDongle": "an SDongle",
    "SmartLogger": "a SmartLogger",
    "PowerMeter": "a power meter",
    "Meter": "a power meter",
}
_HINTS: Final[Mapping[str, str]] = {
    "an EMMA": "the inverter behind it has a unit id of its own",
    "an SDongle": "the inverter behind it usually has unit id 1",
    "a SmartLogger": "its inverters have unit ids of their own, such as 26",
}

# Values of the whole house that the gateways report, for reading. Signs differ: at
# an EMMA grid power is positive = import, battery power = charging.

_INT32, _UINT32, _UINT64 = DataType.INT32, DataType.UINT32, DataType.UINT64

EMMA: Final = (
    Register(30302, "absorbed_energy", _UINT64, 1),
    Register(30306, "charged_today", _UINT32, 100, "kWh"),
    Register(30308, "charged_total", _UINT64, 100, "kWh"),
    Register(30312, "discharged_today", _UINT32, 100, "kWh"),
    Register(30314, "discharged_total", _UINT64, 100, "kWh"),
    Register(30322, "capacity", _UINT32, 1000, "kWh"),
    Register(30354, "pv_power", _UINT32, 1, "W"),
    Register(30356, "load_power", _UINT32, 1, "W"),
    Register(30358, "feed_in_power", _INT32, 1, "W"),
    Register(30360, "battery_power", _INT32, 1, "W"),
    Register(30364, "inverter_power", _INT32, 1, "W"),
    Register(30368, "soc", DataType.UINT16, 100, "%"),
    Register(31639, "voltage_l1", _UINT32, 100, "V"),
    Register(31641, "voltage_l2", _UINT32, 100, "V"),
    Register(31643, "voltage_l3", _UINT32, 100, "V"),
    Register(31651, "current_l1", _INT32, 10, "A"),
    Register(31653, "current_l2", _INT32, 10, "A"),
    Register(31655, "current_l3", _INT32, 10, "A"),
    Register(31657, "grid_power", _INT32, 1, "W"),
    Register(40000, "storage_mode"),
    Register(40001, "surplus_pv_use"),
    Register(40002, "grid_charge_power", _UINT32, 1, "W"),
    Register(40004, "tou_periods", DataType.STRING, length=43),
    Register(40100, "feed_in_mode"),
    Register(40107, "max_feed_in_power", _INT32, 1, "W"),
    Register(40109, "max_feed_in_percent", DataType.UINT16, 10, "%"),
)
SMART_LOGGER: Final = (
    # At the unit of the meter, except the sum of the PV power, whose type is
    # uncertain. Which of the energies is which is uncertain too.
    Register(32278, "grid_power", _INT32, 1, "W"),
    Register(32349, "energy_1", DataType.INT64, 100, "kWh"),
    Register(32357, "energy_2", DataType.INT64, 100, "kWh"),
    Register(40521, "pv_power", _UINT32, 1, "W"),
)


async def find_inverter(where: str, unit: Units) -> tuple[int, str]:
    """Return the unit id and model of the first inverter that answers.

    `where` names the address in errors. Raises UndetectedUnitError, which says
    what answers instead, and RequestTimeoutError when nothing answers at all.
    """
    search = _Search(where, unit)
    for unit_id in UNITS:
        if search.is_inverter(unit_id, await search.ask(unit_id)):
            return unit_id, search.models[unit_id]
    for unit_id in tuple(search.busy):
        if search.is_inverter(unit_id, await search.ask(unit_id, retrying=True)):
            return unit_id, search.models[unit_id]
    raise await search.explanation()


async def check_inverter(where: str, unit: ModbusUnit) -> str:
    """Return the model of the inverter at a unit, which is `where` in errors.

    Raises WrongUnitError when it is something else, and the errors of reading.
    """
    try:
        model = await _read_model(unit)
    except DeviceRefusedError as err:
        if err.code not in _NO_SUCH_REGISTER:
            raise
        model = None
    if model is None or not model.startswith(_INVERTERS):
        raise WrongUnitError(f"{where}: {_described(model)}")
    return model


async def _read_model(unit: ModbusUnit) -> str | None:
    """Return the model that the device reports; None without one."""
    words = await unit.read_holding_registers(_MODEL.address, _MODEL.count)
    model = _MODEL.decode(words)
    return str(model) if model else None


def _kind_of(model: str) -> str | None:
    """Return the kind of a device other than an inverter, with its article."""
    return next(
        (kind for prefix, kind in _GATEWAYS.items() if model.startswith(prefix)), None
    )


def _described(model: str | None) -> str:
    """Return a description of the device that answers instead of an inverter."""
    if model is None:
        return "no SUN2000 inverter, which would report its model"
    kind = _kind_of(model)
    if kind is None:
        return f"{model} is not an inverter that is known here"
    hint = f"; {_HINTS[kind]}" if kind in _HINTS else ""
    return f"this is {kind} ({model}), which is not supported itself{hint}"


async def detect_inverter(probe: Probe) -> tuple[int, str, str | None] | None:
    """Return the unit id, model and serial number of the first inverter at a port.

    Units beyond the likeliest two are tried only where something speaks Modbus: each
    silent unit costs seconds.
    """
    for place, unit_id in enumerate(UNITS):
        if place >= _LIKELY and not probe.speaks_modbus:
            return None
        model = (await probe.read(unit_id, [_MODEL])).get(_MODEL.name)
        if isinstance(model, str) and model.startswith(_INVERTERS):
            serial = (await probe.read(unit_id, [_SERIAL])).get(_SERIAL.name)
            return unit_id, model, None if serial is None else str(serial)
    return None


class _Search:
    """The answers of an address's units that are asked for their model."""

    def __init__(self, where: str, unit: Units) -> None:
        self.models: dict[int, str] = {}
        self.busy: list[int] = []
        """Units that answered that they are busy, or fail."""
        self._failed: list[int] = []
        """Those that failed in spite of all tries."""
        self._where = where
        self._unit = unit
        self._nameless: list[int] = []
        """Units that have no model."""
        self._answered = False

    def is_inverter(self, unit_id: int, model: str | None) -> bool:
        """Note the model of a unit, and return True for an inverter's."""
        if model is not None:
            self.models[unit_id] = model
        return model is not None and model.startswith(_INVERTERS)

    async def ask(self, unit_id: int, *, retrying: bool = False) -> str | None:
        """Return the model of a unit; None when there is none."""
        unit = self._unit(unit_id)
        try:
            if retrying:
                return await _read_model(RetryingUnit(unit))
            async with asyncio.timeout(PROBE_TIMEOUT):
                return await _read_model(unit)
        except DeviceFailureError:
            self._failed.append(unit_id)
        except DeviceRefusedError as err:
            self._answered = True
            if isinstance(err, DeviceBusyError) or err.code == _FAILED:
                self.busy.append(unit_id)
            elif err.code in _NO_SUCH_REGISTER:
                self._nameless.append(unit_id)
        except RequestTimeoutError, TimeoutError:
            pass
        return None

    async def explanation(self) -> BatteryError:
        """Return the error that names what answers instead of an inverter."""
        if self._failed:
            return DeviceFailureError(
                f"{self._where} unit {self._failed[0]}: answers, but only that it "
                "fails; an inverter that sleeps at night is found by daylight",
                _FAILED,
            )
        tried = ", ".join(str(unit_id) for unit_id in UNITS)
        enter = f"no inverter at the units {tried}; enter its unit id"
        if self.models:
            unit_id, model = next(iter(self.models.items()))
            return UndetectedUnitError(
                f"{self._where} unit {unit_id}: {_described(model)} ({enter})"
            )
        dongle = await self.ask(SDONGLE_UNIT)
        if dongle is not None:
            return UndetectedUnitError(
                f"{self._where} unit {SDONGLE_UNIT}: {_described(dongle)} ({enter})"
            )
        for unit_id in self._nameless:
            if await self._is_logger(unit_id):
                return UndetectedUnitError(
                    f"{self._where} unit {unit_id}: {_described('SmartLogger')} "
                    f"({enter})"
                )
        if self._answered:
            return UndetectedUnitError(f"{self._where}: {enter}")
        return RequestTimeoutError(
            f"{self._where}: accepts a connection, but answers at none of the units "
            f"{tried}. Is Modbus TCP switched on, and for this address?"
        )

    async def _is_logger(self, unit_id: int) -> bool:
        """Return True for a unit with the register of a SmartLogger's name."""
        unit = self._unit(unit_id)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await unit.read_holding_registers(_LOGGER_NAME, 1)
        except DeviceRefusedError, RequestTimeoutError, TimeoutError:
            return False
        return True
