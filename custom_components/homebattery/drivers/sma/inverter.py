"""SMA: a Sunny Island battery inverter, through its own Modbus server.

A Sunny Boy Storage, and any other model, is read only: see `takes_setpoint`.

Facts from SMA's list of parameters and measured values (`registers.py`), and from
how several open controllers of this device do it. What is neither documented nor seen
is marked [uncertain].

- The server is slow, takes four clients at most, and is said to stop for good when it
  is asked too much: one request at a time, with a timeout of 5 s.
- Control is a pair of registers, power and 'active', written as one request and again
  within the device's time-out (41195). The pair cannot be read. What can be checked is
  that the device took it, its read-back registers in flash where they can be read
  [uncertain], and the power.
- Without a controller the device does what its installer chose (41193): keep the last
  setpoint for ever, or fall back. That is shown and not changed.
- The device ignores setpoints unless its active-power mode is 'external' [uncertain];
  the mode is the installer's too.
"""

from collections.abc import Mapping
import logging
from typing import ClassVar, Final, override

from ..battery.base import SetpointLimits, SetupField
from ..battery.controller import DeviceIssue, loop_time
from ..battery.measuring import Identity
from ..battery.modbus import ModbusBattery
from ..battery.readings import Formula, Values
from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from ..errors import NotSupportedError, WrongDeviceError
from ..measurements import Value
from ..modbus.probe import Detected, Probe
from ..modbus.register import Register
from ..report import Report
from .conditions import CONDITIONS, Conditions
from .controller import READ_BACK, SmaController
from .measurements import (
    FORMULAS,
    PROBLEM_NEEDS,
    difference,
    energy_counters,
    firmware,
    model,
    problems,
)
from .registers import (
    BATTERY_INVERTER,
    BMS_MODE,
    EXTERNAL,
    LAYOUT,
    OLD_MODELS,
    OPERATION,
    PLATE,
    REGISTERS,
    SMA,
    SUNNY_ISLANDS,
    UNIT,
)

_LOGGER = logging.getLogger(__name__)

(_SERIAL_NUMBER,) = (each for each in PLATE if each.name == "serial")
_NOT_IN_OLD_MODELS: Final = frozenset(
    {"bms_mode", "active_power_upper_limit", "active_power_lower_limit"}
)
_SIGN_FROM: Final = 200
"""Battery power, W, from which the sign of its current must fit."""
_SIGN_READS: Final = 2
"""Reads in a row after which it does not."""
_IDENTITY: Final = (
    *(register.name for register in PLATE),
    *("output_rating", "input_rating", "slave_serial_l2", "slave_serial_l3"),
)


class SmaInverter(ModbusBattery):
    """A Sunny Island, alone or the master of a cluster; other models are read only."""

    battery_type: ClassVar[str] = "sma"
    manufacturer: ClassVar[str] = "SMA"
    no_setpoint: ClassVar[str] = "this model of SMA takes no setpoint by 40149"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", UNIT, advanced=True),
    )
    ports: ClassVar[tuple[int, ...]] = (502,)
    keep_alive_interval = 30.0
    registers = REGISTERS
    formulas = FORMULAS
    layout = LAYOUT
    spacing: ClassVar[float] = 1.0
    """Least seconds between two setpoints."""
    controller: SmaController | None

    def __init__(
        self,
        address: str,
        port: int = 502,
        timeout: float = 5,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        unit_id: int = UNIT,
    ) -> None:
        """Describe the inverter; nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            unit_id=unit_id,
        )
        self._conditions = Conditions(self.cache)
        self._unread: set[str] = set()
        """The registers of its plate that were not read when connecting."""
        self._reads_against = 0
        """Number of reads in a row with the battery current against the power."""
        self._model_code: Value = None
        self._energy_counters = energy_counters()
        for formula in (
            *(counter.formula for counter in self._energy_counters),
            Formula("power_setpoint", READ_BACK, self._setpoint_shown),
            Formula("problem", PROBLEM_NEEDS, self._problems),
        ):
            self._formulas[formula.key] = formula

    # Setting up

    @classmethod
    @override
    async def detect(cls, probe: Probe) -> list[Detected]:
        """Return the device at the usual unit, by one request for its plate."""
        plate = await probe.read(UNIT, PLATE)
        if (plate.get("device_class"), plate.get("vendor")) != (BATTERY_INVERTER, SMA):
            return []
        serial = plate["serial"]
        return [
            Detected(
                battery_type=cls.battery_type,
                model=model(plate["model_code"]),
                serial_number=str(serial) if serial else None,
                setup={**probe.setup, "unit_id": UNIT},
            )
        ]

    @override
    async def _identify(self) -> Identity:
        where = f"{self.address}:{self.port} unit {self.unit_id}"
        self._conditions = Conditions(self.cache)
        report = await self._read_report({*_IDENTITY, *CONDITIONS})
        values, failures = report.values, report.failures
        if isinstance(failure := failures.get("device_class"), NotSupportedError):
            raise WrongDeviceError(f"{where}: not an SMA inverter") from failure
        if failure is not None:
            raise failure
        for name, code in (("device_class", BATTERY_INVERTER), ("vendor", SMA)):
            if values.get(name) not in (None, code):
                raise WrongDeviceError(
                    f"{where}: not an SMA battery inverter ({name} {values[name]})"
                )
        self._unread = set(_IDENTITY) - values.keys()
        self._conditions = Conditions(self.cache, values)
        self._model_code = values.get("model_code")
        if self._conditions.is_cluster:
            _LOGGER.warning(
                "%s is the master of a cluster: whether its setpoint counts for all "
                "inverters together is not known; watch the first one",
                where,
            )
        return Identity(
            serial_number=str(values.get("serial") or self.address),
            manufacturer=self.manufacturer,
            model=model(values.get("model_code")),
            firmware=firmware(values.get("firmware_code")),
        )

    @property
    @override
    def _serial_register(self) -> tuple[int, Register]:
        return UNIT if self.unit_id is None else self.unit_id, _SERIAL_NUMBER

    @override
    async def has_new_parts(self) -> bool:
        """Return True also for a rating, or a part of the plate, that is there now."""
        plate = await self.read_registers(self._unread, self._unread)
        return (
            any(value is not None for value in plate.values())
            or await super().has_new_parts()
        )

    # Reading

    @override
    def _essential(self) -> set[str]:
        """Return also the conditions of a setpoint.

        A refusal counts as a read of one; a stored one would do so all day.
        """
        return super()._essential() | CONDITIONS

    @override
    def _observe(self, report: Report) -> None:
        super()._observe(report)
        self._set_interval()
        self._compare_signs(report.values)
        refused = {
            name
            for name, failure in report.failures.items()
            if isinstance(failure, NotSupportedError)
        }
        for counter in self._energy_counters:
            counter.choose(report.values, refused)
        # A condition of a setpoint that is refused counts as read: it would be asked
        # for at each renewal otherwise, of a slow device.
        self.cache.note_refused(CONDITIONS & refused, loop_time())

    def _set_interval(self) -> None:
        """Set the interval of renewals to a third of the time-out set on the device."""
        timeout, longest = self._conditions.timeout, type(self).keep_alive_interval
        if timeout is not None and longest is not None:
            self.keep_alive_interval = max(self.spacing, min(longest, timeout / 3))

    def _compare_signs(self, read: Values) -> None:
        """Log once if the battery current runs against the battery power.

        Not after a single read: the power may turn round in the midst of it.
        """
        power = difference(read, "charge_power", "discharge_power")
        out = read.get("current_out")
        if (
            self._reads_against >= _SIGN_READS
            or power is None
            or abs(power) < _SIGN_FROM
            or not isinstance(out, int | float)
        ):
            return
        self._reads_against = self._reads_against + 1 if power * out > 0 else 0
        if self._reads_against == _SIGN_READS:
            _LOGGER.warning(
                "%s: at a battery power of %s W (+ = charging) the device shows %s A, "
                "which would be the other way; please report it",
                self.address,
                power,
                -out,
            )

    def _problems(self, v: Values) -> Value:
        """Return the problems of the device, and of its control."""
        mode = self._conditions.mode
        held = None if self.controller is None else self.controller.held
        if held is not None and held.suspended is not None:
            return (*problems(v), held.suspended.problem)
        if self.snapshot is not None and mode not in (None, EXTERNAL):
            ignored = f"The setpoint may be ignored (active-power mode: {mode})"
            return (*problems(v), ignored)
        return problems(v)

    def _setpoint_shown(self, v: Values) -> Value:
        """Return the battery power that the device is held at, W; None if it is not."""
        return None if self.controller is None else self.controller.setpoint_shown(v)

    @property
    def takes_setpoint(self) -> bool:
        """Whether the model is known to follow a setpoint by 40149.

        One that does not report its model may be a Sunny Island [uncertain].
        """
        return self._model_code is None or self._model_code in SUNNY_ISLANDS

    @property
    @override
    def issues(self) -> frozenset[DeviceIssue]:
        if not self.takes_setpoint:
            return frozenset({DeviceIssue.MODEL_READ_ONLY})
        wrong = {
            DeviceIssue.KEEPS_SETPOINT: self._conditions.keeps_setpoint,
            DeviceIssue.FALLBACK_UNKNOWN: self._conditions.is_fallback_unknown,
        }
        return frozenset(issue for issue, applies in wrong.items() if applies)

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        """Those of a Sunny Island: the list of other models is another one."""
        if not self.takes_setpoint:
            return {}
        absent = _NOT_IN_OLD_MODELS if self._model_code in OLD_MODELS else ()
        rated = self._conditions.ratings
        settings: dict[str, Setting] = {
            # Limits that count in some modes of the BMS only [uncertain].
            "charge_power_limit": NumberSetting(minimum=0, maximum=rated.maximum),
            "discharge_power_limit": NumberSetting(minimum=0, maximum=-rated.minimum),
            # The device knows its own maximum, and refuses more.
            "ac_charge_current_limit": NumberSetting(
                minimum=0, maximum=100, step=0.001
            ),
            "active_power_upper_limit": NumberSetting(
                minimum=-100, maximum=100, step=0.01
            ),
            "active_power_lower_limit": NumberSetting(
                minimum=-100, maximum=100, step=0.01
            ),
            "feed_in_resume_soc": NumberSetting(minimum=0, maximum=90),
            "deep_discharge_protection_width": NumberSetting(minimum=2, maximum=50),
            "backup_width": NumberSetting(minimum=0, maximum=100),
            "conservation_width": NumberSetting(minimum=4, maximum=20),
            "self_consumption_width": NumberSetting(minimum=0, maximum=100),
            "operation": SelectSetting(options=tuple(OPERATION.values())),
            "bms_mode": SelectSetting(options=tuple(BMS_MODE.values())),
            "self_consumption_increase": SwitchSetting(),
        }
        return {
            key: setting
            for key, setting in settings.items()
            if key not in self._unsupported and key not in absent
        }

    @override
    def _setting_register(self, key: str) -> str:
        return {"self_consumption_increase": "self_consumption_increase_tag"}.get(
            key, key
        )

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        if isinstance(value, bool):
            value = "yes" if value else "no"
        await super()._write_setting(key, value)

    # Control

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if not self.takes_setpoint:
            return None
        return self._narrowed(self._conditions.ratings)

    @override
    def _make_controller(self) -> SmaController:
        """Return the controller, which also releases a model that takes no setpoint.

        One may be held from an earlier time.
        """
        (device,) = self.devices
        return SmaController(
            self.address,
            device,
            self._conditions,
            self.read_registers,
            self._narrowed(self._conditions.ratings),
            spacing=self.spacing,
            settle=self.settle,
        )
