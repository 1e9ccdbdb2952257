"""SMA: a Sunny Island battery inverter, through its own Modbus server.

Facts from SMA's list of parameters and measured values (`registers.py`), and from
how several open controllers of this device do it. What is neither documented nor seen
is marked [uncertain].

- The server is slow, takes four clients at most, and is said to stop for good when it
  is asked too much: one request at a time, and a good 5 s of patience.
- Control is a pair of registers, power and 'active', written as one request and again
  within the device's time-out (41195). The pair cannot be read. What can be checked is
  that the device took it, its twins in flash where they can be read [uncertain], and
  the power.
- Without us the device does what its installer chose (41193): keep the last setpoint
  for ever, or fall back. We show it and do not change it.
- The device ignores setpoints unless its active-power mode is 'external' [uncertain];
  the mode is the installer's too.
"""

import asyncio
from collections.abc import Collection, Mapping
import logging
from typing import ClassVar, Final, override

from ..battery.base import Found, Identity, SetpointLimits, SetupField
from ..battery.controller import Advice, LimitReason
from ..battery.modbus import ModbusBattery
from ..battery.readings import Formula, Values
from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from ..errors import (
    BatteryError,
    NotConfirmedError,
    NotSupportedError,
    TakenOverError,
    WrongDeviceError,
)
from ..measurements import Value
from ..modbus.probe import Detected, Visit
from .conditions import CONDITIONS, GATE_CLOSED, Conditions
from .measurements import FORMULAS, PROBLEM_NEEDS, difference, firmware, model, problems
from .registers import (
    ACTIVE,
    BATTERY_INVERTER,
    BMS_MODE,
    EXTERNAL,
    INACTIVE,
    LAYOUT,
    OPERATION,
    PLATE,
    REGISTERS,
    SMA,
    UNIT,
)

_LOGGER = logging.getLogger(__name__)

_SIGN_FROM: Final = 200
"""W of battery power from which the sign of its current must fit."""
_NEVER: Final = float("-inf")
_TWINS: Final = ("setpoint_twin", "external_control_twin")
_TWIN_FRESH: Final = 2.0
"""Seconds for which it is good to know what the twins of the setpoint say."""
_TWIN_LATE: Final = 5.0
"""Seconds that a changed setpoint may need to show in its twin."""
_STRANGE_READS: Final = 2
"""So many reads in a row that show somebody else's setpoint are no accident."""
_RESTARTS_APART: Final = 600.0
"""Seconds between two times that external control was found off, from which both may
have been a restart of the device; sooner it is somebody who switches it off."""

_IDENTITY: Final = (
    *(register.name for register in PLATE),
    *("output_rating", "input_rating", "slave_serial_l2", "slave_serial_l3"),
)


class SmaInverter(ModbusBattery):
    """A Sunny Island, alone or the master of a cluster."""

    battery_type: ClassVar[str] = "sma"
    manufacturer: ClassVar[str] = "SMA"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", UNIT, rare=True),
    )
    ports: ClassVar[tuple[int, ...]] = (502,)
    keep_alive_interval = 30.0
    registers = REGISTERS
    formulas = FORMULAS
    layout = LAYOUT
    spacing: ClassVar[float] = 1.0
    """Seconds that at least lie between two setpoints."""

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
        # Battery power wanted, W, what was granted of it, and since when (loop time).
        self._wanted: int | None = None
        self._granted: int | None = None
        self._changed_at = _NEVER
        self._written_at = _NEVER
        self._asked_off_grid = False
        self._overshot = False
        self._halted: str | None = None
        """Why the device was given back although a setpoint is wanted."""
        # Whether the twins have ever shown our setpoint, when they were read last
        # (loop time, s), and how often in a row they have shown another one since.
        self._twins_tell = False
        self._twins_read_at = _NEVER
        self._strange_reads = 0
        self._found_off_at = _NEVER
        """When (loop time, s) external control was last found off, and renewed."""
        self._is_off = False
        self._conditions = Conditions()
        self._sign_questioned = False
        for formula in (
            Formula(
                "power_setpoint",
                _TWINS,
                self._setpoint_on_device,
            ),
            Formula("problem", PROBLEM_NEEDS, self._problems),
        ):
            self._formulas[formula.key] = formula

    # Setting up

    @classmethod
    @override
    async def recognise(cls, visit: Visit) -> list[Detected]:
        """Ask once, at the usual unit, for the plate of the device."""
        plate = await visit.read(UNIT, PLATE)
        if (plate.get("device_class"), plate.get("vendor")) != (BATTERY_INVERTER, SMA):
            return []
        serial = plate["serial"]
        return [
            Detected(
                battery_type=cls.battery_type,
                model=model(plate["model_code"]),
                serial_number=str(serial) if serial else None,
                setup={**visit.setup, "unit_id": UNIT},
            )
        ]

    @override
    async def _identify(self) -> Identity:
        where = f"{self.address}:{self.port} unit {self.unit_id}"
        self._conditions.forget()
        values: dict[str, Value] = {}
        failures: dict[str, BatteryError] = {}
        await self._read_into({*_IDENTITY, *CONDITIONS}, values, failures)
        if isinstance(failure := failures.get("device_class"), NotSupportedError):
            raise WrongDeviceError(f"{where}: not an SMA inverter") from failure
        if failure is not None:
            raise failure
        for name, code in (("device_class", BATTERY_INVERTER), ("vendor", SMA)):
            if values.get(name) not in (None, code):
                raise WrongDeviceError(
                    f"{where}: not an SMA battery inverter ({name} {values[name]})"
                )
        self._conditions.begin(values)
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

    # Reading

    @override
    async def _read_into(
        self,
        names: Collection[str],
        values: dict[str, Value],
        failures: dict[str, BatteryError],
        *,
        again: Collection[str] = (),
    ) -> None:
        """Read registers, and note those that a setpoint depends on."""
        read: dict[str, Value] = {}
        try:
            await super()._read_into(names, read, failures, again=again)
        finally:
            refused = [
                name
                for name in names
                if isinstance(failures.get(name), NotSupportedError)
            ]
            self._conditions.note(read, refused, asyncio.get_running_loop().time())
            self._compare_twins(read)
            self._set_interval()
            self._compare_signs(read)
            values.update(read)

    def _set_interval(self) -> None:
        """Renew three times within the device's time-out, which is its installer's."""
        timeout, longest = self._conditions.timeout, type(self).keep_alive_interval
        if timeout is not None and longest is not None:
            self.keep_alive_interval = max(self.spacing, min(longest, timeout / 3))

    def _compare_twins(self, read: Values) -> None:
        """Count the reads in a row in which the setpoint is not ours any more.

        Whether the twins follow the setpoint is uncertain, so they say something only
        once they have. A device that has restarted is off, too, and is to be renewed.
        """
        if self._granted is None or self._halted is not None:
            return
        if any(read.get(name) is None for name in _TWINS):
            return
        now = asyncio.get_running_loop().time()
        self._twins_read_at = now
        if self._setpoint_on_device(read) == self._granted:
            self._twins_tell, self._strange_reads, self._is_off = True, 0, False
        elif not self._twins_tell or now - self._changed_at < _TWIN_LATE:
            return
        elif (
            read["external_control_twin"] != ACTIVE
            and now - self._found_off_at >= _RESTARTS_APART
        ):
            self._is_off = True
        else:
            self._strange_reads += 1

    def _compare_signs(self, read: Values) -> None:
        """Say once if the battery current runs against the battery power."""
        power = difference(read, "charge_power", "discharge_power")
        out = read.get("current_out")
        if (
            not self._sign_questioned
            and power is not None
            and abs(power) >= _SIGN_FROM
            and isinstance(out, int | float)
            and power * out > 0
        ):
            self._sign_questioned = True
            _LOGGER.warning(
                "%s: at a battery power of %s W (+ = charging) the device shows %s A, "
                "which would be the other way; please report it",
                self.address,
                power,
                -out,
            )

    def _problems(self, v: Values) -> Value:
        """Return what is wrong, with the device or with holding it at a setpoint."""
        found = list(problems(v))
        mode = self._conditions.mode
        if self._halted is not None:
            found.append(self._halted)
        elif self.found is not None and mode not in (None, EXTERNAL):
            found.append(f"The setpoint may be ignored (active-power mode: {mode})")
        return tuple(found)

    @property
    @override
    def advice(self) -> frozenset[Advice]:
        keeps = self._conditions.keeps_setpoint
        return frozenset({Advice.KEEPS_SETPOINT} if keeps else ())

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
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
            if key not in self._unsupported
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
    def setpoint_limits(self) -> SetpointLimits:
        return self._narrowed(self._conditions.ratings)

    @override
    async def read_found(self) -> Found:
        """Look whether the device may be controlled, and whether somebody does already.

        Its own control is what a release goes back to, in any case: the setpoint of
        another controller is theirs to renew.
        """
        await self._look_up()
        self._refuse_without_gate()
        return {"external_control": await self._twin()}

    async def _twin(self) -> Value:
        """Return whether external control is on; None where that cannot be read."""
        name = "external_control_twin"
        return (await self._read_registers([name], again=[name])).get(name)

    def _refuse_without_gate(self) -> None:
        if self._conditions.is_gate_closed:
            raise NotSupportedError(f"{self.address}: {GATE_CLOSED}")

    @override
    async def set_power_setpoint(self, power: float) -> int:
        wanted = self._clamp(power)
        if self.found is None:
            self.found = await self.read_found()
        else:
            await self._look_up()
            self._refuse_without_gate()
        self._asked_off_grid = self._conditions.off_grid is not None
        self._overshot = self._is_off = False
        self._strange_reads, self._found_off_at = 0, _NEVER
        self._wanted = wanted
        return await self._hold(*self._permitted(wanted))

    def _permitted(self, wanted: float) -> tuple[int, LimitReason | None]:
        """Return what device and battery permit of it now, W, and what cut it."""
        return self._conditions.permitted(wanted, self.setpoint_limits)

    @override
    async def keep_alive(self) -> int | None:
        """Renew the setpoint, then look whether it still is the right one.

        In this order, so that a device that is slow to read does not forget it.
        Raises NotConfirmedError while the setpoint makes no sense; the device is left
        to itself meanwhile. And TakenOverError.
        """
        if self.found is None or self._wanted is None or self._granted is None:
            return None
        if self._is_taken_over:
            raise TakenOverError(
                f"{self.address}: the device shows a setpoint that another controller "
                "has written"
            )
        if self._is_off:
            self._is_off = False
            self._found_off_at = self._changed_at = asyncio.get_running_loop().time()
        if self._halted is None:
            await self._write(self._granted)
        await self.look()
        if (obstacle := self._obstacle(self._granted)) is not None:
            if self._halted is None:
                await self._write_inactive()
            self._halted, self.limited_by = obstacle
            raise NotConfirmedError(f"{self.address}: {self._halted}")
        granted, reason = self._permitted(self._wanted)
        if granted != self._granted or self._halted is not None:
            await self._hold(granted, reason)
        return granted

    @property
    def _is_taken_over(self) -> bool:
        return self._strange_reads >= _STRANGE_READS

    @override
    async def _look(self) -> None:
        try:
            await self._look_up()
        except BatteryError as err:
            _LOGGER.debug("%s: cannot read for the setpoint: %s", self.address, err)

    async def _look_up(self) -> None:
        """Read again what a setpoint depends on and was read too long ago."""
        now = asyncio.get_running_loop().time()
        names = self._conditions.old(now, held=self._granted is not None)
        if self._twins_tell and now - self._twins_read_at >= _TWIN_FRESH:
            names |= set(_TWINS)
        await self._read_registers(names)

    def _obstacle(self, granted: int) -> tuple[str, LimitReason] | None:
        """Return why the device must not be held at the setpoint now."""
        if self._conditions.is_gate_closed:
            return GATE_CLOSED, LimitReason.REFUSED
        state = self._conditions.off_grid
        if state is None:
            self._asked_off_grid = False
        elif not self._asked_off_grid:
            return f"No setpoint off the grid ({state})", LimitReason.NO_GRID
        self._overshot |= self._conditions.overshoots(granted, self._changed_at)
        if self._overshot:
            return (
                "The cluster does far more than its setpoint: it counts otherwise",
                LimitReason.NO_EFFECT,
            )
        return None

    async def _hold(self, granted: int, reason: LimitReason | None) -> int:
        """Write a setpoint that is new, not too soon after the last one."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0, self._written_at + self.spacing - loop.time()))
        if granted != self._granted:
            self._changed_at = loop.time()
        self._granted, self.limited_by = granted, reason
        self._halted = None
        await self._write(granted)
        return granted

    async def _write(self, granted: int) -> None:
        """Write power and 'active' as one request."""
        device, setpoint = self._register("setpoint")
        _, control = self._register("external_control")
        await device.write_words(
            setpoint.address, [*setpoint.encode(-granted), *control.encode(ACTIVE)]
        )
        self._written_at = asyncio.get_running_loop().time()

    async def _write_inactive(self) -> None:
        """Give the device back to its own control."""
        device, control = self._register("external_control")
        await device.write(control.name, INACTIVE)

    def _setpoint_on_device(self, v: Values) -> Value:
        """Return the battery power that the device is held at, W.

        Where it cannot be read, that is what the device took.
        """
        if self.found is None or self._granted is None or self._halted is not None:
            return None
        state, power = v.get("external_control_twin"), v.get("setpoint_twin")
        if state is None or not isinstance(power, int | float):
            return self._granted
        return 0 - power if state == ACTIVE else None

    @override
    async def release(self) -> None:
        """Switch external control off; that the device took it confirms it.

        Where the twin can be read it must not show control that was not there before.
        The control of somebody else who has taken over is theirs to end.
        """
        if self.found is None:
            return
        if not self._is_taken_over:
            await self._give_back(self.found)
        self.found = None
        self._wanted = self._granted = self._halted = self.limited_by = None
        self._overshot = self._is_off = False
        self._strange_reads, self._found_off_at = 0, _NEVER

    async def _give_back(self, found: Found) -> None:
        await self._write_inactive()
        await asyncio.sleep(self.settle)
        seen = await self._twin()
        if seen == ACTIVE != found.get("external_control"):
            raise NotConfirmedError(
                f"{self.address}: external control is still active after switching it off"
            )
