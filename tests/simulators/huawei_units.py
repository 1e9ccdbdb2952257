"""The Modbus units of a SUN2000, and of a gateway in front of it."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from .huawei_gateways import (
    METER_UNIT,
    SECOND_SERIAL,
    Listed,
    list_devices,
    logger_values,
    second_inverter,
)
from .huawei_inverter import NotTaken
from .huawei_registers import (
    BATTERY,
    BATTERY_SETTINGS,
    BATTERY_SPANS,
    COMMANDS,
    DONGLE,
    DONGLE_SPANS,
    EMMA,
    EMMA_SPANS,
    IDENTITY,
    INVERTER,
    INVERTER_SETTINGS,
    INVERTER_SPANS,
    LOGGER_METER,
    LOGGER_METER_SPANS,
    METER,
    METER_SPANS,
    PEAK_SHAVING,
    SHUT_DOWN,
    SMART_LOGGER,
    SMART_LOGGER_SPANS,
    START,
    UNIT_2,
    UNIT_2_SPANS,
    Setting,
    Span,
    pack,
    pack_span,
)
from .huawei_values import Sun2000Values, dongle_values, emma_values
from .modbus import (
    DEVICE_FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    NO_RESPONSE,
    READ_HOLDING_REGISTERS,
    WRITE_MULTIPLE,
    WRITE_SINGLE,
    Dropped,
    Refused,
    Silent,
    Units,
)
from .words import Register, Value, Values, by_word

type Access = Literal["sdongle", "emma", "smartlogger", "wlan"]
type OtherUnits = Literal["refuse", "silent"]

PERMISSION_DENIED: Final = 0x80
MANAGER_UNIT: Final = 0  # EMMA, SmartLogger
DONGLE_UNIT: Final = 100
METER_VALUES: Final = range(37101, 37138)
CLOCK: Final = frozenset((40000, 40001, 42900, 43006))
"""Writable registers without effect here: the simulation's clock is always right."""


class Listener(NamedTuple):
    """Registers, spans and values of a unit id."""

    registers: Mapping[int, Register]
    spans: Callable[[], list[Span]]
    values: Callable[[], Values]


class HuaweiUnits(Units):
    """Units that answer like the inverter and a gateway in front of it.

    - A read beyond a span: exception 2, or the one in `absent`.
    - Anything asked of an inverter that sleeps: exception 4 (for a write, uncertain).
    - A read of the meter's values in a grid failure ends the connection.
    - Part of a register cannot be written (the code is uncertain: 3).
    - A value out of a fixed range: exception 3 (uncertain); a limit above the
      batteries' ability: exception 4, or trimmed.
    """

    def __init__(self, values: Sun2000Values, unit: int, *, refresh: float) -> None:
        """Serve the inverter at this unit id; `refresh` is its values' period, s."""
        super().__init__()
        self.functions = frozenset(
            (READ_HOLDING_REGISTERS, WRITE_SINGLE, WRITE_MULTIPLE)
        )
        self.values = values
        self.device = values.device
        self.unit = unit
        self.refresh = refresh
        self.settings = {
            row.address: row for row in (*INVERTER_SETTINGS, *BATTERY_SETTINGS)
        }
        self.listeners = {unit: self._inverter()}
        self.other_units: OtherUnits = "refuse"
        self.lists_devices = False
        identity = values.identity
        self.listed = [
            Listed(
                unit,
                str(identity["model"]),
                str(identity["serial"]),
                str(identity["software"]),
            )
        ]
        """The devices behind a gateway."""
        self.has_second = False
        """Whether another inverter is among them."""
        self.denied: int | None = None
        """Exception code of all writes; None: they are accepted."""
        self.meter_hangs_up = False
        self.empty_slots = 0
        """Number of slots without a pack that answer zeros."""
        first, last = PEAK_SHAVING
        self.absent = dict.fromkeys(range(first, last + 1), ILLEGAL_VALUE)
        """Address of a register that the firmware lacks → exception code."""
        self.sleeping: set[int] = set()
        """Unit ids of inverters that sleep, as at night without a battery."""
        self.unknown: set[int] = set()
        """Addresses of registers that have no value."""
        self._published: Values = {}
        self._published_at = -float("inf")

    def read(self, unit: int, address: int, count: int) -> list[int]:
        """Return the words of one span."""
        self.device.update()
        listener = self._listener(unit)
        addresses = range(address, address + count)
        for each in addresses:
            if each in self.absent and unit == self.unit:
                raise Refused(self.absent[each])
        if not any(
            first <= address and addresses[-1] <= last
            for first, last in listener.spans()
        ):
            raise Refused(ILLEGAL_ADDRESS)
        if unit == self.unit and self._hangs_up(addresses):
            raise Dropped
        values = listener.values()
        return [self._word(listener, values, each) for each in addresses]

    def write(self, unit: int, address: int, words: list[int]) -> None:
        """Accept the words if all of them are acceptable."""
        self.device.update()
        self._listener(unit)
        if self.denied is not None:
            raise Refused(self.denied)
        if unit != self.unit:
            raise Refused(ILLEGAL_ADDRESS)
        if len(words) == 1 and address in COMMANDS:
            self._command(address)
        elif not CLOCK.issuperset(range(address, address + len(words))):
            for row, value in self._granted(address, words):
                self.device.write(row, value)

    def other(self, unit: int, pdu: bytes) -> bytes:
        """List the devices, if a gateway stands in front of the inverter."""
        self._listener(unit)
        if not self.lists_devices:
            raise Refused(ILLEGAL_FUNCTION)
        return list_devices(pdu, self.listed)

    def _listener(self, unit: int) -> Listener:
        if unit in self.sleeping:
            raise Refused(DEVICE_FAILURE)
        if unit not in self.listeners:
            raise Silent if self.other_units == "silent" else Refused(NO_RESPONSE)
        return self.listeners[unit]

    def _hangs_up(self, addresses: range) -> bool:
        asked = any(each in METER_VALUES for each in addresses)
        offline = self.device.is_off_grid or (
            self.meter_hangs_up and not self.values.meter_is_online
        )
        return asked and offline

    def _word(self, listener: Listener, values: Values, address: int) -> int:
        register = listener.registers.get(address)
        if register is None:
            return 0
        unknown = register.address in self.unknown
        value = None if unknown else values.get(register.name)
        return register.encode(value)[address - register.address]

    def _granted(self, address: int, words: list[int]) -> list[tuple[Setting, Value]]:
        """Return the settings that these words belong to, and their values."""
        granted = []
        while words:
            row = self.settings.get(address)
            if row is None or row.name not in self.device.settings:
                raise Refused(ILLEGAL_ADDRESS)
            if address in self.absent:
                raise Refused(self.absent[address])
            count = row.kind.words
            if len(words) < count:
                raise Refused(ILLEGAL_VALUE)
            try:
                value = self.device.granted(row, row.register.decode(words[:count]))
            except NotTaken:
                fixed = row.most < float("inf")
                raise Refused(ILLEGAL_VALUE if fixed else DEVICE_FAILURE) from None
            granted.append((row, value))
            address, words = address + count, words[count:]
        return granted

    def _command(self, address: int) -> None:
        if address in (START, SHUT_DOWN):
            self.device.running = address == START
            self.device.update()

    # Unit ids.

    def refit(self) -> None:
        """Answer for other batteries, after they have been changed."""
        self.listeners[self.unit] = self._inverter()
        self._published_at = -float("inf")

    def _inverter(self) -> Listener:
        device = self.device
        registers = [*IDENTITY, *INVERTER, *METER, *BATTERY, *UNIT_2]
        registers += [row.register for row in self.settings.values()]
        for unit in range(1, device.battery_units + 1):
            for number in range(1, self.values.packs + 1):
                registers += pack(unit, number)
        return Listener(by_word(registers), self._spans, self._values)

    def _spans(self) -> list[Span]:
        device = self.device
        spans = list(INVERTER_SPANS)
        if device.meter != "absent":
            spans += METER_SPANS
        if device.battery_units:
            spans += BATTERY_SPANS
        if device.battery_units > 1:
            spans += UNIT_2_SPANS
        for unit in range(1, device.battery_units + 1):
            spans.append(pack_span(unit, self.values.packs + self.empty_slots))
        return spans

    def _values(self) -> Values:
        now = self.device.plant.clock()
        if now - self._published_at >= self.refresh:
            self._published, self._published_at = self.values.now(), now
        return {**self._published, **self.device.settings}

    def _house_values(self, report: Callable[[Values, float], Values]) -> Values:
        plant = self.device.plant
        values = {**self._values(), **self.values.grid()}
        if self.has_second:
            values["pv_power"] = plant.pv_dc + sum(plant.pv_ac)
            values["active_power"] = self.device.active_power + sum(plant.pv_ac)
        return report(values, sum(plant.load))

    def add_inverter(self, unit: int) -> None:
        """Put another inverter behind the gateway, without battery and meter."""
        registers = [*IDENTITY, *INVERTER, *METER]
        registers += [row.register for row in INVERTER_SETTINGS]
        self.listeners[unit] = Listener(
            by_word(registers),
            lambda: [*INVERTER_SPANS, *METER_SPANS],
            lambda: {**self.device.settings, **second_inverter(self.values)},
        )
        self.has_second = True
        model = str(self.values.identity["model"])
        self.listed.append(Listed(unit, model, SECOND_SERIAL))

    def stand_behind(self, access: Access) -> None:
        """Add the gateway between the inverter and its clients."""
        self.lists_devices = access != "wlan"
        match access:
            case "sdongle":
                self.listeners[DONGLE_UNIT] = Listener(
                    by_word(DONGLE),
                    lambda: list(DONGLE_SPANS),
                    lambda: self._house_values(dongle_values),
                )
            case "emma":
                self.listeners[MANAGER_UNIT] = Listener(
                    by_word(EMMA),
                    lambda: list(EMMA_SPANS),
                    lambda: self._house_values(emma_values),
                )
            case "smartlogger":
                self.listeners[MANAGER_UNIT] = Listener(
                    by_word(SMART_LOGGER),
                    lambda: list(SMART_LOGGER_SPANS),
                    lambda: self._house_values(logger_values),
                )
                self.listeners[METER_UNIT] = Listener(
                    by_word(LOGGER_METER),
                    lambda: list(LOGGER_METER_SPANS),
                    self.values.grid,
                )
                self.listed.append(Listed(METER_UNIT, "PowerMeter", ""))
            case "wlan":
                self.denied = PERMISSION_DENIED  # the log-in is not simulated
