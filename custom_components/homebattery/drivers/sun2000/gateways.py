"""The search for an inverter: on its own, or behind one of Huawei's gateways.

All of these speak Modbus TCP. An SDongle and an inverter's own WLAN pass requests
on to the inverter, an EMMA and a SmartLogger too, but at units that differ from
site to site, and that they list. None of the four is controlled itself; what an EMMA
and a SmartLogger measure is in `house.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from ..errors import (
    BatteryError,
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    RequestTimeoutError,
    UndetectedUnitError,
    WrongUnitError,
)
from ..measurements import Value
from ..modbus.connection import ModbusConnection, patience
from ..modbus.probe import Probe
from ..modbus.register import DataType, Register
from ..modbus.unit import ModbusUnit, Units
from .device_list import INVERTERS, Listed, read_device_list
from .house import EMMAS, LOGGER_NAME, LOGGER_SERIAL, MANAGER_UNIT
from .unit import RetryingUnit

UNITS: Final = (1, 0, 2, 3, 4, 5, 6, 11, 16)
"""Unit ids of an inverter: behind an SDongle, on its own WLAN, behind an EMMA, and in
a cascade."""
_LIKELY: Final = 2
"""Number of the unit ids, the first ones, that nearly all sites use."""
_FURTHER: Final = (1, 0, 16, 2, 3, 4, 5, 6, 11)
"""The same, in the order in which there are further inverters."""
SDONGLE_UNIT: Final = 100
PROBE_TIMEOUT: Final = 5.0
"""Seconds to wait for a unit that may not exist; an SDongle needs 1.5 s to answer."""
_PATIENCE: Final = 2.5
"""The same, once an inverter has answered at the address."""
_DETECTION_LIMIT: Final = 25.0
"""Seconds after which detection ends with the inverters that have answered so far."""
_SILENCES: Final = 3
"""Number of silent units that end the search for further inverters without a list."""

_MODEL: Final = Register(30000, "model", DataType.STRING, length=15)
_SERIAL: Final = Register(30015, "serial_number", DataType.STRING, length=10)
_DONGLE_PV: Final = Register(37498, "pv_power", DataType.UINT32)
_DESCRIBED: Final = (
    Register(37760, "SOC", DataType.UINT16, 10, "%", sentinels=(0xFFFF,)),
    Register(32064, "PV", DataType.INT32, 1, "W", sentinels=(0x7FFF_FFFF,)),
    Register(32080, "AC", DataType.INT32, 1, "W", sentinels=(0x7FFF_FFFF,)),
)
"""The present values that distinguish inverters."""
_FAILED: Final = 4
_NO_SUCH_REGISTER: Final = (2, 3)

_GATEWAYS: Final[Mapping[str, str]] = {
    "SmartHEMS": "an EMMA",
    "SmartGuard": "an EMMA",
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


type Reader = Callable[[int, Register], Awaitable[Value]]
"""Returns a register of a unit; None where it is refused, or nothing answers."""


class Candidate(NamedTuple):
    """An inverter that answered, or is listed."""

    unit_id: int
    model: str
    serial_number: str | None = None


async def find_inverters(
    where: str, connection: ModbusConnection, unit: Units, *, every: bool = False
) -> list[Candidate]:
    """Return the first inverter that answers, or `every` one.

    `where` names the address in errors. Raises UndetectedUnitError, which says
    what answers instead, and RequestTimeoutError when nothing answers at all.
    """
    search = _Search(where, unit)
    first, listed = await search.first(UNITS), []
    if first is None:
        listed = [each.unit_id for each in await search.listed(connection)]
        first = await search.first(listed) or await search.first(
            tuple(search.busy), retrying=True
        )
    if first is None:
        raise await search.explanation(listed)
    return await search.all_beside(first, connection) if every else [first]


async def is_dormant(where: str, connection: ModbusConnection, unit_id: int) -> bool:
    """Return whether a gateway lists an inverter at a unit that does not answer."""
    search = _Search(where, connection.unit)
    if await search.first([unit_id, MANAGER_UNIT]) is not None:
        return False
    return any(each.unit_id == unit_id for each in await search.listed(connection))


def dormant(where: str, unit_id: int, answer: str) -> DeviceFailureError:
    """Return the error of an inverter that may sleep; `answer` is what came of it."""
    return DeviceFailureError(
        f"{where} unit {unit_id}: {answer}; an inverter that sleeps at night is found "
        "by daylight",
        _FAILED,
    )


async def describe(unit: ModbusUnit, candidate: Candidate) -> str:
    """Return what distinguishes an inverter in a list, with its present values."""
    parts = [candidate.model, candidate.serial_number]
    for register in _DESCRIBED:
        try:
            with patience(PROBE_TIMEOUT):
                words = await unit.read_holding_registers(
                    register.address, register.count
                )
        except DeviceRefusedError:
            continue
        except BatteryError:
            break
        value = register.decode(words)
        if isinstance(value, int | float):
            parts.append(f"{register.name} {value:g} {register.unit}")
    return f"{candidate.unit_id}: {', '.join(filter(None, parts))}"


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
    if model is None or not model.startswith(INVERTERS):
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


async def detect_inverters(probe: Probe) -> list[Candidate]:
    """Return the inverters at a port, each once, also those that only a list has.

    Units beyond the likeliest two are asked only where something speaks Modbus: each
    silent unit costs seconds. Once there is an inverter, three of them end it. So does
    the end of the time for it.
    """
    seen: dict[object, Candidate] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(_DETECTION_LIMIT):
            await _detect_into(seen, probe)
    return list(seen.values())


async def _detect_into(seen: dict[object, Candidate], probe: Probe) -> None:
    """Put the inverters at a port into `seen`, by serial number, one by one."""

    async def read(unit_id: int, register: Register) -> Value:
        within = _PATIENCE if seen else None
        return (await probe.read(unit_id, [register], within)).get(register.name)

    async def ask(unit_id: int) -> str | None:
        model = await read(unit_id, _MODEL)
        if isinstance(model, str) and model.startswith(INVERTERS):
            serial = await read(unit_id, _SERIAL)
            serial_number = str(serial) if serial else None
            seen.setdefault(serial or unit_id, Candidate(unit_id, model, serial_number))
        return str(model) if model else None

    models = {unit_id: await ask(unit_id) for unit_id in UNITS[:_LIKELY]}
    if not probe.speaks_modbus:
        return
    listed: Sequence[Listed] = ()
    manager = await _manager(read, models, is_silent=probe.is_silent)
    if manager is not None:
        listed = await _listed_inverters(await probe.connected(), manager)
    others = [each for each in listed if not models.get(each.unit_id)]
    # One with a serial number need not be asked, which may cost the time for all.
    for each in sorted(others, key=lambda each: each.serial_number is None):
        if each.serial_number or await ask(each.unit_id) is None:
            seen.setdefault(each.serial_number or each.unit_id, _candidate(each))
    silences = 0
    for unit_id in () if listed else _FURTHER[_LIKELY:]:
        await ask(unit_id)
        silences += bool(seen) and probe.is_silent
        if silences == _SILENCES:
            break


async def _is_logger(read: Reader, unit_id: int) -> bool:
    """Return whether a unit without a model is a SmartLogger: by its name, or serial.

    Others may have numbers there: SunSpec has its own registers from 40000 on.
    """
    for register in (LOGGER_NAME, LOGGER_SERIAL):
        text = await read(unit_id, register)
        if isinstance(text, str) and text.isascii() and text.isprintable():
            return True
    return False


async def _manager(
    read: Reader,
    models: Mapping[int, str | None],
    *,
    is_silent: bool,
) -> int | None:
    """Return the unit of the EMMA, SmartLogger or SDongle, which lists the inverters behind it.

    `models` has that of the manager's unit, if it has one; `is_silent`: it does not
    answer. It is known by its registers: others may not know the list's function.
    """
    model = models.get(MANAGER_UNIT)
    if model is not None and model.startswith(EMMAS):
        return MANAGER_UNIT
    if model is None and not is_silent and await _is_logger(read, MANAGER_UNIT):
        return MANAGER_UNIT
    if await read(SDONGLE_UNIT, _DONGLE_PV) is not None:
        return SDONGLE_UNIT
    return None


async def _listed_inverters(
    connection: ModbusConnection, unit_id: int
) -> tuple[Listed, ...]:
    """Return the inverters that a manager lists."""
    listed = await read_device_list(connection, unit_id)
    return tuple(each for each in listed or () if each.is_inverter)


def _candidate(listed: Listed) -> Candidate:
    """Return an inverter as a list has it: it may sleep."""
    return Candidate(listed.unit_id, listed.model or "", listed.serial_number)


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
        self._patience = PROBE_TIMEOUT
        """Seconds to wait for an answer."""
        self._silent: set[int] = set()
        """Units that gave no answer."""

    async def first(
        self, units: Sequence[int], *, retrying: bool = False
    ) -> Candidate | None:
        """Return the first inverter at some units; note the models of the others."""
        for unit_id in units:
            model = await self.ask(unit_id, retrying=retrying)
            if model is None:
                continue
            self.models[unit_id] = model
            if model.startswith(INVERTERS):
                return Candidate(unit_id, model)
        return None

    async def listed(self, connection: ModbusConnection) -> tuple[Listed, ...]:
        """Return the inverters that a gateway lists."""
        manager = await _manager(
            self._read, self.models, is_silent=MANAGER_UNIT in self._silent
        )
        if manager is None:
            return ()
        return await _listed_inverters(connection, manager)

    async def all_beside(
        self, first: Candidate, connection: ModbusConnection
    ) -> list[Candidate]:
        """Return the `first` inverter and all others at its address, each once.

        By the list of the gateway, also those that sleep; without one, three units
        that are silent end it.
        """
        self._patience = min(_PATIENCE, PROBE_TIMEOUT)
        seen: dict[object, Candidate] = {}

        async def add(each: Candidate) -> None:
            serial = await self._read(each.unit_id, _SERIAL)
            serial_number = str(serial) if serial else None
            seen.setdefault(
                serial or each.unit_id, each._replace(serial_number=serial_number)
            )

        await add(first)
        if MANAGER_UNIT not in self.models:
            await self.first([MANAGER_UNIT])
        listed = {each.unit_id: each for each in await self.listed(connection)}
        silences = 0
        for unit_id in listed or _FURTHER:
            if unit_id == first.unit_id:
                continue
            was_silent = unit_id in self._silent
            each = None if was_silent else await self.first([unit_id])
            if each is not None:
                await add(each)
            elif unit_id in listed:
                sleeping = _candidate(listed[unit_id])
                seen.setdefault(sleeping.serial_number or unit_id, sleeping)
            else:
                silences += unit_id in self._silent and not was_silent
            if silences == _SILENCES:
                break
        return list(seen.values())

    async def _read(self, unit_id: int, register: Register) -> Value:
        """Return a register; None where it is refused, or nothing answers."""
        with suppress(BatteryError):
            with patience(self._patience):
                words = await self._unit(unit_id).read_holding_registers(
                    register.address, register.count
                )
            return register.decode(words)
        return None

    async def ask(self, unit_id: int, *, retrying: bool = False) -> str | None:
        """Return the model of a unit; None when there is none."""
        unit = self._unit(unit_id)
        try:
            if retrying:
                return await _read_model(RetryingUnit(unit))
            with patience(self._patience):
                return await _read_model(unit)
        except DeviceFailureError:
            self._failed.append(unit_id)
        except DeviceRefusedError as err:
            self._answered = True
            if isinstance(err, DeviceBusyError) or err.code == _FAILED:
                self.busy.append(unit_id)
            elif err.code in _NO_SUCH_REGISTER:
                self._nameless.append(unit_id)
        except RequestTimeoutError:
            self._silent.add(unit_id)
        return None

    async def explanation(self, listed: Sequence[int]) -> BatteryError:
        """Return the error that names what answers instead of an inverter.

        `listed` are the unit ids of those that a gateway lists, and none of which does.
        """
        if self._failed:
            return dormant(
                self._where, self._failed[0], "answers, but only that it fails"
            )
        if listed:
            return dormant(self._where, listed[0], "is listed, but gives no model")
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
            if await _is_logger(self._read, unit_id):
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
