"""Devices that not every inverter has, or not always: tables, the power meter."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final, override

from ..errors import BatteryError, IllegalAddressError, RequestTimeoutError
from ..measurements import Value
from ..modbus.device import ModbusDevice
from ..modbus.learned import Learned
from ..modbus.planning import Block, Layout
from ..modbus.register import Register
from ..modbus.silence import Silence
from ..modbus.unit import ModbusUnit
from ..report import Report
from .registers import METER_STATUS

RECHECK: Final = 60.0
"""Seconds after which an offline meter is checked again."""
_STATUS: Final = "meter_status"
_ONLINE: Final = METER_STATUS[1]
_DEVICE_STATUS: Final = 32089


class Table(ModbusDevice):
    """Registers of which a firmware has all or none: one refusal counts for all."""

    @override
    async def _halve(
        self, block: Block, err: IllegalAddressError, silence: Silence
    ) -> Report:
        refused = self._note_refused(self.registers.values(), err)
        names = (register.name for register in block.registers)
        return Report(failures={name: refused.failures[name] for name in names})


class Meter(ModbusDevice):
    """The power meter; all but its state is unknown while it is offline.

    Reading an offline meter made inverters close the connection, as in a grid
    failure with a backup box. So its state is read alone whenever it may have
    changed.
    """

    def __init__(
        self,
        name: str,
        unit: ModbusUnit,
        registers: Sequence[Register],
        layout: Layout,
        inverter: ModbusDevice,
    ) -> None:
        """Describe the meter of `inverter`, which is read before it in each poll."""
        super().__init__(name, unit, registers, layout)
        self._inverter = inverter
        self._inverter_status: int | None = None
        self._online = False
        self._status: Value = None
        """The state when it was last read; None for one that there cannot be."""
        self._recheck_at = 0.0

    @override
    def recall(self, learned: Learned, essential: Collection[str]) -> None:
        """Use what was learned; the state, which decides on all, is always asked for."""
        super().recall(learned, {*essential, _STATUS})

    @override
    def forget(self) -> None:
        super().forget()
        self._online, self._recheck_at = False, 0.0

    @override
    async def read(
        self,
        names: Collection[str],
        again: Collection[str] = (),
        silence: Silence | None = None,
        *,
        widely: bool = False,
    ) -> Report:
        if not names:
            return Report()
        status = self._inverter.words.get(_DEVICE_STATUS)
        if status != self._inverter_status:
            # Something has happened to the inverter, so perhaps to its meter too.
            self._inverter_status = status
            self._online, self._recheck_at = False, 0.0
        now = asyncio.get_running_loop().time()
        if not self._online and now >= self._recheck_at:
            try:
                report = await super().read([_STATUS], silence=silence)
            finally:
                # Not before: another read meanwhile must not take it for offline.
                self._recheck_at = now + RECHECK
            if _STATUS in report.failures:
                return self._failed(names, report)
            self._status = report.values[_STATUS]
            self._online = self._status == _ONLINE
        if not self._online:
            return self._offline(names)
        try:
            report = await super().read(
                {*names, _STATUS}, again, silence, widely=widely
            )
        except BatteryError:
            self._check_state_first()
            raise
        if any(
            isinstance(err, RequestTimeoutError) for err in report.failures.values()
        ):
            self._check_state_first()
        self._status = report.values.get(_STATUS, self._status)
        if self._status != _ONLINE:
            self._online, self._recheck_at = False, now + RECHECK
            return self._offline(names)
        return report

    def _check_state_first(self) -> None:
        """Check the state before the next read: the meter may break the connection."""
        self._online, self._recheck_at = False, 0.0

    def _offline(self, names: Collection[str]) -> Report:
        """Return no values but the state."""
        return Report({**dict.fromkeys(names), _STATUS: self._status})

    def _failed(self, names: Collection[str], report: Report) -> Report:
        """Return that all failed as the status did, which is then read each time."""
        self._recheck_at = 0.0
        return Report(failures=dict.fromkeys(names, report.failures[_STATUS]))
