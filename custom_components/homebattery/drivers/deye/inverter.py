"""Deye hybrid inverters: the base of the drivers for both ways to reach them.

The facts come from Deye's Modbus documents for storage inverters, from other
implementations that agree with them, and from dumps of real inverters. What only one
source has, or two disagree about, is marked [uncertain].

- Register 0 gives the kind: three-phase with a low-voltage (SG04LP3, SG05LP3) or a
  high-voltage battery, or single-phase, which has another map.
- Only functions 3 and 16 exist. Registers that a firmware lacks may not be answered at
  all, so optional blocks are tried once, and never keep the rest from working.
- Settings live in flash, and there is no watchdog: the driver that changes them must
  restore them. `plans.py` has the words to write and their order. They are written
  when a setpoint changes, never again to keep it.
- A setpoint that is held may harm in one case: without the grid, a discharge current
  of 0 A may leave the backup port without a battery [uncertain]. So when the grid is
  lost, the BMS wants the battery charged or it is about to shut down, the user's
  settings are restored until that has passed.
- Newer firmware has a remote mode with a watchdog, outside of flash. Its sign is
  uncertain, so it is used only where the user says so.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Self,
    TypedDict,
    Unpack,
    override,
)

from ..battery.base import SetpointLimits, SetupField
from ..battery.controller import DeviceIssue, Grant, SetpointRequest
from ..battery.export import Export, export_field, with_export
from ..battery.measuring import Identity
from ..battery.readings import Formula, Values
from ..errors import BatteryError, NotSupportedError
from ..measurements import Value
from .conditions import ConditionReader, InverterFacts
from .controller import NO_SETPOINT, DeyeController
from .counter_unit import CounterUnit
from .measurements import number
from .methods import ByRemoteMode, BySettings, has_remote_mode
from .plans import CHEMISTRY, CONTROL_MODE, Image, goes_another_way
from .reading import DeyeReader
from .registers import Kind

if TYPE_CHECKING:
    from aiohttp import ClientSession

REQUEST_SPACING: Final = 0.1
"""Seconds between two requests; other clients leave 0.05 to 0.1."""


class DeyeOptions(TypedDict, total=False):
    """The options of an inverter besides its address."""

    unit_id: int
    export: str
    """One of `Export`: whether discharging may feed into the grid; else it follows the
    load at most."""
    allow_export: bool
    """The earlier form of `export`: always, or never."""
    counter_unit: str
    """One of `CounterUnit`: that of the energy counters with a high-voltage battery."""
    remote_mode: bool
    """Whether remote mode is used if there is one; it does not heed `export`."""


class DeyeInverter(DeyeReader):
    """A Deye hybrid inverter that can be held at a battery power."""

    # The conditions are read, and remote mode is renewed, in this time: within a third
    # of its watchdog. Settings are not written by it.
    keep_alive_interval = 20.0
    no_setpoint = NO_SETPOINT
    option_fields: ClassVar[tuple[SetupField, ...]] = (
        export_field(Export.NEVER),
        SetupField("remote_mode", False, advanced=True),
        SetupField(
            "counter_unit",
            CounterUnit.AUTOMATIC.value,
            advanced=True,
            choices=tuple(CounterUnit),
        ),
    )

    def __init__(
        self,
        address: str,
        port: int,
        timeout: float,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        **options: Unpack[DeyeOptions],
    ) -> None:
        """Describe the inverter; nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            unit_id=options.get("unit_id", 1),
        )
        self.export = Export(with_export(options).get("export", Export.NEVER))
        self.counter_unit = CounterUnit(
            options.get("counter_unit", CounterUnit.AUTOMATIC)
        )
        self.remote_mode = options.get("remote_mode", False)
        self._firmware_has_remote_mode = False

    # Setting up

    @classmethod
    @override
    def from_setup(
        cls, setup: Mapping[str, Any], session: ClientSession | None = None
    ) -> Self:
        return super().from_setup(with_export(setup), session)

    @override
    async def _identify(self) -> Identity:
        """Read the identity of the inverter, and whether it has remote mode."""
        self._firmware_has_remote_mode = await self._has_remote_mode()
        return await super()._identify()

    async def _has_remote_mode(self) -> bool:
        """Return whether remote mode is wanted, and there as far as is seen now."""
        if not self.remote_mode or self.setpoint_limits is None:
            return False
        block, _ = self._register("remote_mode")
        return await has_remote_mode(self._name, block)

    @override
    async def has_new_parts(self) -> bool:
        """Return True also for remote mode that was not seen when connecting."""
        return (
            not self._firmware_has_remote_mode and await self._has_remote_mode()
        ) or await super().has_new_parts()

    @property
    def _name(self) -> str:
        """The inverter's name in errors."""
        return f"{self.address}:{self.port} unit {self._unit_id}"

    @override
    def _make_controller(self) -> DeyeController | None:
        if self.kind is Kind.SINGLE_PHASE:
            return None
        conditions = ConditionReader(self, self._facts)
        settings, _ = self._register("working_mode")
        bms, _ = self._register("bms_requests")
        by_settings = BySettings(
            *(self._name, settings, self.settle, self.wear, conditions.read_soc),
            bms,
        )
        by_settings.works = self.setpoint_limits is not None
        block, _ = self._register("remote_mode")
        by_remote_mode = ByRemoteMode(
            self._name, block, self.settle, self.rated_power, conditions.read_now
        )
        by_remote_mode.works = self._firmware_has_remote_mode
        controller = DeyeController(
            self.address, (by_remote_mode, by_settings), conditions, self._clamp
        )
        if by_settings.works:
            self._add_formulas(controller)
        return controller

    def _facts(self) -> InverterFacts:
        """Return the properties that a setpoint depends on, as known by now."""
        return InverterFacts(
            *(self.kind, self.rated_power, self.firmware_release),
            *(self.inputs, self.export),
        )

    def _add_formulas(self, controller: DeyeController) -> None:
        """Add to two formulas the registers that show issues and the setpoint.

        Those of the issues lie beside the registers of both: they are read with the
        minimum SOC in automatic, with the setpoint while the battery is held.
        """
        judged = {CHEMISTRY, CONTROL_MODE}
        min_soc = self._formulas["min_soc"]
        self._formulas["min_soc"] = replace(
            min_soc, needs=(*min_soc.needs, *self._names_at(judged))
        )

        def compute(_: Values) -> Value:
            return controller.power_shown(self._last_words)

        self._formulas["power_setpoint"] = Formula(
            "power_setpoint",
            tuple(self._names_at(judged | controller.changes)),
            compute,
        )

    def _names_at(self, addresses: Collection[int]) -> Iterator[str]:
        """Yield the names of the registers that begin at some addresses."""
        for run in self._map:
            for register in run.registers:
                if register.address in addresses:
                    yield register.name

    # Control

    @property
    def _setpoint_controller(self) -> DeyeController | None:
        """The controller, by its own type; None where there is none."""
        controller = self.controller
        return controller if isinstance(controller, DeyeController) else None

    @property
    @override
    def current_step(self) -> float:
        # Currents are set as currents; the settings that follow the voltage are in flash.
        return 0.03

    @property
    @override
    def issues(self) -> frozenset[DeviceIssue]:
        controller = self._setpoint_controller
        by_settings = controller is not None and isinstance(
            controller.preferred, BySettings
        )
        wrong = by_settings and goes_another_way(self._last_words)
        applies = {
            DeviceIssue.NOT_BY_CAPACITY: wrong,
            DeviceIssue.PARALLEL: self.is_parallel and self.setpoint_limits is not None,
        }
        return frozenset(issue for issue in applies if applies[issue])

    @property
    def _last_words(self) -> Image:
        """The words of all registers as last read."""
        words: dict[int, int] = {}
        for device in self.devices:
            words |= device.words
        return words

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if self.kind is Kind.SINGLE_PHASE or not self.rated_power:
            return None
        rated = round(self.rated_power)
        return self._narrowed(SetpointLimits(-rated, rated))

    @override
    async def set_current_setpoint(self, current: float) -> Grant:
        """Hold the battery at a DC `current`, A, with the voltage of each moment."""
        # It is converted anew when it is applied.
        voltage = number(self.cache.values.get("battery_voltage"))
        power = self._finite(current) * voltage
        return await self._apply(SetpointRequest(self._clamp(power), current))

    @override
    async def _apply(self, request: SetpointRequest) -> Grant:
        """Hold the inverter; after a failure that was restored, keep the old snapshot.

        The caller that held it before will set it again, or release it: the snapshot
        that it keeps, over a crash too, must go on being true.
        """
        before = self.snapshot
        try:
            return await super()._apply(request)
        except BatteryError:
            controller = self._setpoint_controller
            if controller is not None and controller.held is None:
                self.snapshot = before
            elif controller is not None and self.snapshot is None:
                # It was to be suspended at once, and nothing had been written yet.
                controller.held = None
            raise

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        controller = self._setpoint_controller
        if self.snapshot is not None and controller is not None:
            method, _ = controller.method_of(self.snapshot)
            _, register = self._register(self._setting_register(key))
            if register.address in method.changes:
                raise NotSupportedError(
                    f"{self.address}: {key} is in use while the battery is held at a "
                    "setpoint; release the battery first"
                )
        await super()._write_setting(key, value)
