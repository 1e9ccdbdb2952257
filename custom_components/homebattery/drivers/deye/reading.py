"""The part of a Deye driver that judges readings, by the inverter's size and firmware."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
import logging
from typing import Final, override

from ..battery.controller import loop_time
from ..battery.readings import SIGNED, Values
from ..errors import BatteryError
from ..measurements import Value, as_number
from ..report import Report
from .counter_unit import CounterUnit, CounterUnitWatch, unit_of
from .device import DeyeDevice
from .firmware import PARTS, Firmware, FirmwareWatch
from .limits import most_powers
from .measurements import word
from .registers import ENERGIES, KINDS, Kind

_LOGGER = logging.getLogger(__name__)

_WATCHED: Final = frozenset({"device_type", "serial_number", *PARTS})
"""The registers of the firmware, and those that prove them to be of this inverter."""
_BATTERY_TOTALS: Final = ("energy_charged_total", "energy_discharged_total")
"""The counters that are compared with the battery's power, to see their unit."""
_PARALLEL: Final = "parallel"
_PARALLEL_BIT: Final = 0x01
"""The bit of an inverter that works in parallel with others [uncertain]; where the
register is not there, all of its bits are set."""


def _is_parallel(bits: Value) -> bool:
    return bool(word(bits) & _PARALLEL_BIT)


class DeyeReader(DeyeDevice):
    """A Deye inverter whose firmware is watched, and whose readings are judged."""

    counter_unit = CounterUnit.AUTOMATIC
    """The user's choice of the unit of energy counters, with a high-voltage battery."""
    is_parallel = False
    """Whether it works in parallel with other inverters, as far as known by now."""

    @override
    async def _find_units(self) -> None:
        await super()._find_units()
        words = self._identity_words
        self._firmware_watch: FirmwareWatch | None = None
        if words and self.kind is not Kind.SINGLE_PHASE:
            self._firmware_watch = FirmwareWatch(
                Firmware.at_first(words), loop_time(), self.connection.connects
            )
        self._unit_watch = CounterUnitWatch()
        self._has_other_firmware = self.is_parallel = False
        self._limit_powers()

    @override
    async def has_new_parts(self) -> bool:
        """Return True also for another firmware: it may have other registers."""
        return self._has_other_firmware or await super().has_new_parts()

    # Firmware

    @override
    async def _read_report(
        self,
        names: Collection[str],
        again: Collection[str] | None = None,
        *,
        answered: bool = False,
    ) -> Report:
        """Read registers, and with them now and then those of the firmware.

        With these, be it for a measurement, whether other inverters are parallel, if
        slow registers are read anyway; then also one that was absent before.
        """
        names = frozenset(names)
        is_live = self._scopes[names].is_live
        if again is None and is_live:
            again = ()
        watch = self._watch_due(is_live=is_live)
        watched = frozenset() if watch is None else _WATCHED
        if watched or not _WATCHED.isdisjoint(names):
            # A live poll would take requests more for whether others are parallel.
            names = names.union(watched, () if is_live else (_PARALLEL,))
        if not ENERGIES.isdisjoint(names) and self._sees_unit:
            names = names.union(_BATTERY_TOTALS)
        for name in watched:
            self._once.pop(name, None)
        report = await super()._read_report(names, again, answered=answered)
        if _PARALLEL in report.values:
            await self._note_parallel(report.values[_PARALLEL])
        if watch is not None:
            watch.note_read(loop_time(), self.connection.connects)
            self._note_firmware(watch, report.values)
        if self._sees_unit:
            self._watch_counters(report.values)
        return report

    def _watch_due(self, *, is_live: bool) -> FirmwareWatch | None:
        """Return the watch when the firmware is to be read with registers.

        `is_live`: those are live ones; lasting ones do not count.
        """
        connects, watch = self.connection.connects, self._firmware_watch
        if watch is None or not watch.is_due(loop_time(), connects, is_live=is_live):
            return None
        return watch

    def _note_firmware(self, watch: FirmwareWatch, values: Values) -> None:
        """Learn anew what depends on the firmware when that is another one."""
        if (
            values.get("serial_number") != self.identity.serial_number
            or KINDS.get(word(values.get("device_type"))) is not self.kind
        ):
            # An inverter that starts, or an answer to another client.
            return
        present = Firmware.of(values)
        if present is not None and watch.is_another(present):
            _LOGGER.info("%s: has firmware %s now", self.address, present.text)
            self._has_other_firmware = True
            self.firmware_release = present.release
            self._unit_watch = CounterUnitWatch()
            if self._counter_unit is not CounterUnit.TENTHS:
                self.counters.rescale(ENERGIES, 1)
            self._identity = replace(self.identity, firmware=str(present.text))

    # Limits

    async def _note_parallel(self, bits: Value) -> None:
        """Note whether others are parallel; a change only if a second read shows it."""
        if _is_parallel(bits) is self.is_parallel:
            return
        with suppress(BatteryError, KeyError):
            again = await super()._read_report({_PARALLEL}, (), answered=True)
            self.is_parallel = _is_parallel(again.values[_PARALLEL])
            self._limit_powers()

    def _limit_powers(self) -> None:
        """Determine the most power that each measurement can have, W."""
        self._most = most_powers(self.rated_power, is_parallel=self.is_parallel)

    @override
    def _compute(self, key: str, values: Values) -> Value:
        value = super()._compute(key, values)
        if isinstance(value, (int, float)):
            if key in ENERGIES:
                return self._energy(value)
            if key in self._most and abs(value) > self._most[key]:
                return None
        return value

    # Energy counters

    @property
    def _stated_unit(self) -> CounterUnit | None:
        """The unit of energy counters by the user's choice or the firmware, if any."""
        chosen, kind = self.counter_unit, self.kind
        if kind is Kind.HIGH_VOLTAGE and chosen is not CounterUnit.AUTOMATIC:
            return chosen
        return unit_of(kind, self.firmware_release)

    @property
    def _sees_unit(self) -> bool:
        """Whether the unit is that which is seen: it may be corrected at any time."""
        return self._stated_unit is None

    @property
    def _counter_unit(self) -> CounterUnit | None:
        """The unit of energy counters; None while it is not known."""
        return self._stated_unit or self._unit_watch.unit

    def _watch_counters(self, values: Values) -> None:
        """Compare the battery's counters with its power, as far as all were read.

        With one of the counters alone, what the other one counts would be its energy.
        """
        with suppress(KeyError):
            power = as_number(self._compute(SIGNED, values))
            self._unit_watch.note_power(power, loop_time())
            totals = [as_number(values[name]) for name in _BATTERY_TOTALS]
            known = [total for total in totals if total is not None]
            if len(known) < len(totals):
                return
            before = self._unit_watch.unit
            self._unit_watch.note_counts(round(10 * sum(known)))
            if before is not None and self._unit_watch.unit is not before:
                factor = 0.1 if before is CounterUnit.WHOLE else 10
                self.counters.rescale(ENERGIES, factor)

    def _energy(self, tenths: float) -> float | None:
        """Return a counter, kWh, that was read as tenths; None in an unknown unit."""
        match self._counter_unit:
            case CounterUnit.WHOLE:
                return round(10 * tenths)
            case CounterUnit.TENTHS:
                return tenths
        return None
