"""Victron: a MultiPlus-II (or another VE.Bus system with ESS) behind a GX device.

Facts from Victron's published Modbus TCP register list and its open server
program (dbus_modbustcp), whose behaviour was observed with versions of September
2024 and April 2026, and from Victron's page on ESS mode 2 and 3. What is neither
documented nor seen on hardware is marked [uncertain].

- A request is routed by its register's service type and the unit id. The GX itself
  (system, settings, hub4) is unit 100; where the VE.Bus system, the battery and
  the grid meter sit differs from site to site and is found by probing, once.
- There is no 'not available' marker: what the GX does not know reads 0.
- Control is ESS mode 3 (external control): we write the AC input setpoint of each
  phase, and the Multi forgets it after 60 s by Victron's word, after 10 to 14 s in
  reports from the field. It then passes grid power through, battery idle.
- The point of control is the AC input. To hold the battery at a power, the loads
  on AC-out and the DC-coupled PV are added to the setpoint at every renewal. This
  follows from Victron's description but has not been proven on hardware.
- In mode 3 the GX ignores the battery's discharge limit and the minimum SOC, so
  both are kept here.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
import logging
from typing import Any, ClassVar, Final, override

from .battery import (
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    Formula,
    Found,
    Identity,
    ModbusBattery,
    NotConfirmedError,
    NotSupportedError,
    NumberSetting,
    RequestTimeoutError,
    SelectSetting,
    SetpointLimits,
    Setting,
    SetupField,
    SwitchSetting,
    Value,
    Values,
    WrongDeviceError,
)
from .modbus import WORD, ModbusDevice, Register
from .victron_registers import (
    BATTERY,
    BATTERY_ALARMS,
    BATTERY_LIFE_MODES,
    BATTERY_STATUS,
    ESS_STATE,
    EXTERNAL_CONTROL,
    GRID_METER,
    HUB4,
    LAYOUT,
    MULTI_RS,
    PV_INVERTER,
    SETTINGS,
    SYSTEM,
    SYSTEM_UNIT,
    VEBUS,
    VEBUS_ALARMS,
)

_LOGGER = logging.getLogger(__name__)

# Formulas --------------------------------------------------------------------

_PHASES: Final = (1, 2, 3)


def _per_phase(name: str, suffix: str = "") -> tuple[str, ...]:
    """Return a register's names for the three phases."""
    return tuple(f"{name}_l{phase}{suffix}" for phase in _PHASES)


def _number(value: Value) -> float:
    """Return a register's value as a number; 0, Victron's 'unknown', for None."""
    return value if isinstance(value, int | float) else 0


def _sum(values: Values, names: Iterable[str]) -> float:
    """Return the sum of those registers that the device has."""
    return sum(_number(values.get(name)) for name in names)


def _known_battery(name: str) -> Formula:
    """Return the formula of a system register that is void without a battery."""
    options = tuple(BATTERY_STATUS.values()) if name == "status" else ()
    return Formula(
        f"battery_{name}",
        (f"system_{name}", "system_voltage"),
        lambda v: v[f"system_{name}"] if v["system_voltage"] else None,
        options,
    )


def _soc(v: Values) -> Value:
    """Return the SOC, %, by tenths where the battery that tells them is the one."""
    soc, fine = v["system_soc"], v.get("bms_soc")
    if not v["system_voltage"]:
        return None
    if fine is not None and abs(_number(fine) - _number(soc)) <= 1:
        return fine
    return soc


def _voltage(v: Values) -> Value:
    """Return the battery voltage, V, from the finest source that knows it."""
    return (
        v.get("bms_voltage") or v["system_voltage"] or v.get("vebus_dc_voltage") or None
    )


def _wide(name: str) -> Formula:
    """Return a power of one phase, W: 32 bits where the server has them.

    Sites beyond 32 kW a phase wrap in the 16-bit register.
    """
    key, phase = name.rsplit("_l", 1)
    coarse, wide = f"{key}_l{phase}", f"{key}_l{phase}_wide"
    return Formula(
        f"{key}_power_l{phase}",
        (coarse, wide),
        lambda v: v[coarse] if v.get(wide) is None else v[wide],
    )


def _wide_total(key: str, name: str) -> Formula:
    """Return the power of all phases, W."""
    parts = [_wide(part) for part in _per_phase(name)]
    return Formula(
        key,
        tuple(need for part in parts for need in part.needs),
        lambda v: sum(_number(part.compute(v)) for part in parts),
    )


def _active_power(phase: int) -> Formula:
    """Return the power of a phase at the AC input, W, + = the Multi delivers."""
    name = f"input_power_l{phase}"
    return Formula(f"active_power_l{phase}", (name,), lambda v: -_number(v[name]))


def _limit(name: str) -> Formula:
    """Return a current limit of the BMS, A; void while it publishes no CVL."""
    register = f"bms_{name}_current_limit"
    return Formula(
        f"max_{name}_current",
        (register, "max_charge_voltage"),
        lambda v: v[register] if v["max_charge_voltage"] else None,
    )


def _power_limit(name: str) -> Formula:
    """Return a limit of the BMS as power, W, at the voltage of this moment."""
    current = _limit(name)
    return Formula(
        f"max_{name}_power",
        (*current.needs, "bms_voltage"),
        lambda v: (
            round(_number(current.compute(v)) * _number(v["bms_voltage"]))
            if v["max_charge_voltage"]
            else None
        ),
    )


def _names(service: str, alarms: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{service}/{name}" for name in alarms)


def _active(v: Values, service: str) -> tuple[str, ...]:
    """Return the alarms and warnings of a service that are on, by name."""
    return tuple(
        sorted(
            name.removeprefix(f"{service}/")
            for name, value in v.items()
            if name.startswith(f"{service}/") and value
        )
    )


def _problem(v: Values) -> tuple[str, ...]:
    """Return all that is wrong."""
    error = v["vebus_error"]
    return (
        *_active(v, "vebus"),
        *(f"Battery {name}" for name in _active(v, "battery")),
        *([f"VE.Bus error: {error}"] if error not in ("none", None) else []),
    )


def _firmware(v: Values) -> Value:
    """Return the GX firmware as people write it: 0x0373 is 3.73, with 42 3.73~42."""
    version, beta = v["firmware_version"], v.get("firmware_beta")
    if not isinstance(version, int):
        return None
    return f"{version >> 8:x}.{version & 0xFF:02x}" + (f"~{beta}" if beta else "")


def _unlimited_is_negative(v: Values, name: str) -> Value:
    """Return a limit, W; None for no limit, and where -1 and 0 look the same."""
    wide = v.get(f"{name}_wide")
    if wide is not None:
        return wide if _number(wide) >= 0 else None
    return v[f"{name}_coarse"] or None


def _battery_life_mode(v: Values) -> Value:
    """Return the ESS mode that an owner chose, from the state it is in."""
    state = _number(v["battery_life_state"])
    if state == BATTERY_LIFE_MODES["keep_charged"]:
        return "keep_charged"
    if state > BATTERY_LIFE_MODES["keep_charged"]:
        return "without_battery_life"
    return "with_battery_life" if state else None


def _rated_capacity(v: Values) -> Value:
    """Return an estimate of the capacity, kWh, at the charge or nominal voltage."""
    if v["rated_capacity_ah"] is None:
        return None
    volts = _number(v["max_charge_voltage"]) or 51.2
    return round(_number(v["rated_capacity_ah"]) * volts / 1000, 2)


_INPUT_POWERS = _per_phase("input_power")
_PV_POWERS = (*_per_phase("pv_on_output"), *_per_phase("pv_on_grid"))
_PV_ENERGIES = _per_phase("pv_inverter_energy")

FORMULAS: Final = (
    Formula("battery_soc", ("system_soc", "bms_soc", "system_voltage"), _soc),
    _known_battery("power"),
    _known_battery("current"),
    _known_battery("status"),
    Formula(
        "battery_voltage",
        ("bms_voltage", "system_voltage", "vebus_dc_voltage"),
        _voltage,
    ),
    Formula(
        "battery_temperature",
        ("bms_temperature", "vebus_temperature"),
        lambda v: (
            v["vebus_temperature"]
            if v.get("bms_temperature") is None
            else v["bms_temperature"]
        ),
    ),
    Formula("consumed_ah", ("system_consumed_ah",), lambda v: v["system_consumed_ah"]),
    Formula("time_to_go", ("system_time_to_go",), lambda v: v["system_time_to_go"]),
    _limit("charge"),
    _limit("discharge"),
    _power_limit("charge"),
    _power_limit("discharge"),
    Formula(
        "rated_capacity", ("rated_capacity_ah", "max_charge_voltage"), _rated_capacity
    ),
    *(_active_power(phase) for phase in _PHASES),
    Formula(
        "active_power",
        _INPUT_POWERS,
        lambda v: -(_number(v["input_power_l1"]) + _sum(v, _INPUT_POWERS[1:])),
    ),
    Formula(
        "active_current",
        _per_phase("grid_current"),
        lambda v: (
            -(_number(v["grid_current_l1"]) + _sum(v, _per_phase("grid_current")[1:]))
        ),
    ),
    *(_wide(name) for name in (*_per_phase("grid"), *_per_phase("load"))),
    _wide_total("grid_power", "grid"),
    _wide_total("load_power", "load"),
    Formula(
        "pv_power",
        (*_PV_POWERS, "dc_pv_power"),
        lambda v: _number(v["dc_pv_power"]) + _sum(v, _PV_POWERS),
    ),
    Formula(
        "pv_energy_total",
        _PV_ENERGIES,
        lambda v: _number(v["pv_inverter_energy_l1"]) + _sum(v, _PV_ENERGIES[1:]),
    ),
    Formula("firmware", ("firmware_version", "firmware_beta"), _firmware),
    Formula(
        "vebus_alarms",
        _names("vebus", VEBUS_ALARMS.values()),
        lambda v: _active(v, "vebus"),
    ),
    Formula(
        "battery_alarms",
        _names("battery", BATTERY_ALARMS.values()),
        lambda v: _active(v, "battery"),
    ),
    Formula(
        "problem",
        (
            *_names("vebus", VEBUS_ALARMS.values()),
            *_names("battery", BATTERY_ALARMS.values()),
            "vebus_error",
        ),
        _problem,
    ),
    Formula(
        "ess_state",
        ("battery_life_state",),
        lambda v: ESS_STATE.get(int(_number(v["battery_life_state"]))),
        tuple(dict.fromkeys(ESS_STATE.values())),
    ),
    Formula(
        "ess_battery_life_mode",
        ("battery_life_state",),
        _battery_life_mode,
        tuple(BATTERY_LIFE_MODES),
    ),
    Formula(
        "discharge_power_limit",
        ("discharge_power_limit_coarse", "discharge_power_limit_wide"),
        lambda v: _unlimited_is_negative(v, "discharge_power_limit"),
    ),
    Formula(
        "max_feed_in_power",
        ("max_feed_in_power_coarse", "max_feed_in_power_wide"),
        lambda v: _unlimited_is_negative(v, "max_feed_in_power"),
    ),
    Formula(
        "grid_setpoint",
        ("grid_setpoint_kept", "grid_setpoint_volatile"),
        lambda v: v.get("grid_setpoint_volatile") or v["grid_setpoint_kept"],
    ),
)

# Finding the units -----------------------------------------------------------
# Unit ids by likelihood: first where the usual GX models have the service, then
# what the server's table maps, then the low numbers that are given out since 2.60.

_USB_UNITS: Final[tuple[int, ...]] = (239, 238, 237, 236, 235, 234, 233, 232, 231)
VEBUS_UNITS: Final[tuple[int, ...]] = (
    *(227, 228, 242, 246),
    *_USB_UNITS,
    *range(204, 227),
    *(229, 230, 243, 244, 245, 247),
    *range(1, 61),
)
BATTERY_UNITS: Final[tuple[int, ...]] = (
    *(225, 223, 224, 226, 229, 230),
    *_USB_UNITS,
    *(243, 245, 247),
    *range(1, 61),
)
GRID_UNITS: Final[tuple[int, ...]] = (30, 31, 32, 33, 34, 40, 28, 29, *range(35, 40), *range(41, 46))

# A server that crashes when it is asked for an absent service (14 October to
# 4 December 2025) needs this long to come back, seconds.
_SERVER_RESTART: Final = 3.0
_RESTART_TRIES: Final = 5

# Control ---------------------------------------------------------------------

_CONTROL_BLOCK: Final = 37
_DEFAULT_PHASE_RATING: Final = 5000
"""W a phase, where neither the device nor the owner tells."""
_FRESH: Final = 6.0
"""Seconds that a reading may be used for a renewal without reading it again."""
_TOO_OLD: Final = 15.0
"""Seconds after which a reading no longer justifies a setpoint."""
_NEVER: Final = float("-inf")
_SOC_HYSTERESIS: Final = 2.0
"""% above the minimum SOC at which discharging is allowed again."""
_RELEASE_TRIES: Final = 3

# What a setpoint depends on, beside what was asked for.
_CONTROL_INPUTS: Final = (
    *("system_voltage", "system_soc", "dc_pv_power", "charger_power"),
    *("dc_system_power", "min_soc", "working_mode"),
    *(*_per_phase("output_power"), "active_input", "vebus/GridLost"),
    *("vebus_bms_expected", "vebus_bms_allow_charge", "vebus_bms_allow_discharge"),
    *("bms_voltage", "max_charge_voltage", "bms_charge_current_limit"),
    *("bms_discharge_current_limit", "allow_to_charge", "allow_to_discharge"),
)


def split(power: float, phases: int) -> list[int]:
    """Share whole W equally, the remainder one watt each to the first phases."""
    share, rest = divmod(abs(round(power)), phases)
    sign = -1 if power < 0 else 1
    return [sign * (share + (phase < rest)) for phase in range(phases)]


def within_ratings(shares: Sequence[int], ratings: Sequence[float]) -> list[int]:
    """Keep each share within its phase's rating; others take what they can of the rest.

    A rating of 0 is unknown and bounds nothing.
    """
    bounds = [rating or float("inf") for rating in ratings]
    kept = [
        round(min(max(share, -bound), bound))
        for share, bound in zip(shares, bounds, strict=True)
    ]
    rest = sum(shares) - sum(kept)
    for phase, bound in enumerate(bounds):
        room = max(0.0, bound - abs(kept[phase]))
        moved = round(min(abs(rest), room)) * (-1 if rest < 0 else 1)
        kept[phase] += moved
        rest -= moved
    return kept


class VictronInverter(ModbusBattery):
    """A VE.Bus system with ESS, through the Modbus TCP server of its GX device.

    Unit ids that are left out are found by probing when connecting; a VE.Bus unit
    id that is given stops that, so that a start never probes.
    """

    battery_type: ClassVar[str] = "victron"
    manufacturer: ClassVar[str] = "Victron Energy"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", required=False, rare=True),
        SetupField("battery_unit_id", required=False, rare=True),
        SetupField("grid_unit_id", required=False, rare=True),
        SetupField("pv_unit_id", required=False, rare=True),
    )
    keep_alive_interval: ClassVar[float | None] = 5.0
    formulas: ClassVar[Sequence[Formula]] = FORMULAS
    layout = LAYOUT

    def __init__(
        self,
        address: str,
        port: int = 502,
        timeout: float = 5,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        unit_id: int | None = None,
        battery_unit_id: int | None = None,
        grid_unit_id: int | None = None,
        pv_unit_id: int | None = None,
    ) -> None:
        """Describe the system; nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            unit_id=unit_id,
        )
        self.battery_unit_id = battery_unit_id
        self.grid_unit_id = grid_unit_id
        self.pv_unit_id = pv_unit_id
        self.phases = 1
        self.ratings: tuple[float, ...] = ()
        """W of each phase, 0 where the device does not tell."""
        self._has_ess = True
        self._is_rs = False
        self._has_history = True
        # What is asked for, per phase; what was granted of it and written.
        self._wanted: list[float] = []
        self._split_wanted = True
        self._granted: int | None = None
        self._written: list[int] = []
        # Control inputs as last read, and when (loop time, s).
        self._inputs: dict[str, Value] = {}
        self._inputs_at: dict[str, float] = {}
        self._soc_too_low = False
        self._bms_flags_seen = False
        self._bms_temperature_seen = False
        self._formulas["power_setpoint"] = Formula(
            "power_setpoint",
            (*_per_phase("setpoint"), "disable_charge", "disable_feed_in"),
            self._setpoint_on_device,
        )

    # Setting up

    @property
    @override
    def setup_found(self) -> Mapping[str, Any]:
        units = {
            "unit_id": self.unit_id,
            "battery_unit_id": self.battery_unit_id,
            "grid_unit_id": self.grid_unit_id,
        }
        return {name: unit for name, unit in units.items() if unit is not None}

    @override
    async def _find_units(self) -> None:
        """Find the units that were not given, and what they are capable of."""
        if self.unit_id is None:
            await self._discover()
        assert self.unit_id is not None
        phases = await self._probe(self.unit_id, 28)
        self._is_rs = phases is None
        if phases is None:
            phases = await self._probe(self.unit_id, 4524)
        if phases is None:
            raise WrongDeviceError(
                f"{self.address}:{self.port}: no VE.Bus system at unit {self.unit_id}"
            )
        self.phases = min(max(phases[0], 1), 3)
        # 2709 belongs to the ESS assistant's service; without it there is no mode 3.
        self._has_ess = await self._probe(SYSTEM_UNIT, 2709) is not None
        if self.battery_unit_id is not None:
            history = await self._probe(self.battery_unit_id, 301, 2)
            self._has_history = history is not None and any(history)

    async def _discover(self) -> None:
        """Probe for the VE.Bus system, the battery and the grid meter.

        Each failed probe leaves a harmless line in the GX's 'last error' box.
        """
        if await self._probe(SYSTEM_UNIT, 800, 6) is None:
            raise WrongDeviceError(
                f"{self.address}:{self.port}: no GX device answers at unit {SYSTEM_UNIT}"
            )
        self.unit_id = await self._first(VEBUS_UNITS, 28, range(1, 4))
        if self.unit_id is None:
            self.unit_id = await self._first(VEBUS_UNITS, 4524, range(1, 4))
        if self.unit_id is None:
            raise WrongDeviceError(
                f"{self.address}:{self.port}: this GX device shows no VE.Bus system. "
                "Its unit id is listed on the GX under Modbus TCP, available services"
            )
        if self.battery_unit_id is None:
            self.battery_unit_id = await self._find_battery()
        if self.grid_unit_id is None:
            self.grid_unit_id = await self._first(GRID_UNITS, 2600)

    async def _find_battery(self) -> int | None:
        """Return the battery service that the GX itself takes its values from."""
        system = await self._probe(SYSTEM_UNIT, 840, 4)
        first: int | None = None
        for unit_id in BATTERY_UNITS:
            words = await self._probe(unit_id, 259, 8)
            if words is None:
                continue
            first = unit_id if first is None else first
            if (
                system is not None
                and abs(words[0] / 100 - system[0] / 10) <= 0.1
                and abs(words[7] / 10 - system[3]) <= 1
            ):
                return unit_id
        return first

    async def _first(
        self, unit_ids: Iterable[int], address: int, accept: range = range(WORD + 1)
    ) -> int | None:
        """Return the first unit whose register holds an accepted value."""
        for unit_id in unit_ids:
            words = await self._probe(unit_id, address)
            if words is not None and words[0] in accept:
                return unit_id
        return None

    async def _probe(
        self, unit_id: int, address: int, count: int = 1
    ) -> list[int] | None:
        """Read words that may not be there; None if they are not."""
        unit = self.connection.unit(unit_id)
        try:
            return await unit.read_holding_registers(address, count)
        except DeviceRefusedError:
            return None
        except CannotConnectError:
            if unit_id == SYSTEM_UNIT:
                raise
            await self._await_server()
            return None

    async def _await_server(self) -> None:
        """Wait for a server that has crashed over the question, and go on."""
        for attempt in range(_RESTART_TRIES):
            await asyncio.sleep(_SERVER_RESTART)
            try:
                await self._probe(SYSTEM_UNIT, 800)
            except CannotConnectError:
                if attempt + 1 == _RESTART_TRIES:
                    raise
            else:
                return

    @override
    def _make_devices(self) -> list[ModbusDevice]:
        assert self.unit_id is not None
        inverter = [
            register
            for register in (MULTI_RS if self._is_rs else VEBUS)
            if not register.name.endswith(_per_phase("")[self.phases :])
        ]
        battery = [
            register
            for register in BATTERY
            if self._has_history or register.address not in (301, 302)
        ]
        gx = (*SYSTEM, *SETTINGS, *(HUB4 if self._has_ess else ()))
        devices = [
            self._device("GX", SYSTEM_UNIT, gx),
            self._device("VE.Bus", self.unit_id, inverter),
        ]
        optional: tuple[tuple[str, int | None, Sequence[Register]], ...] = (
            ("Battery", self.battery_unit_id, battery),
            ("Grid meter", self.grid_unit_id, GRID_METER),
            ("PV inverter", self.pv_unit_id, PV_INVERTER),
        )
        devices.extend(
            self._device(name, unit_id, registers)
            for name, unit_id, registers in optional
            if unit_id is not None
        )
        return devices

    @override
    async def _identify(self) -> Identity:
        names = {"serial_number", "firmware_version", "firmware_beta", "custom_name"}
        ratings = ("rated_power", *_per_phase("rated_power"))
        values = await self._read_registers(self._register_names() & {*names, *ratings})
        serial_number = values.get("serial_number")
        if not serial_number:
            raise WrongDeviceError(
                f"{self.address}:{self.port}: unit {SYSTEM_UNIT} has no serial number"
            )
        self.ratings = tuple(
            _number(values.get(name)) for name in ratings[1 : self.phases + 1]
        )
        name = values.get("custom_name")
        firmware = _firmware(values) if "firmware_version" in values else None
        return Identity(
            serial_number=str(serial_number),
            manufacturer=self.manufacturer,
            model="Multi RS (GX device)"
            if self._is_rs
            else "VE.Bus system (GX device)",
            name=str(name) if name else "Victron",
            firmware=str(firmware) if firmware else None,
        )

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        rated = self._rated_power
        settings: dict[str, Setting] = {
            "working_mode": SelectSetting(options=self.options("working_mode")),
            "ess_battery_life_mode": SelectSetting(options=tuple(BATTERY_LIFE_MODES)),
            "min_soc": NumberSetting(minimum=0, maximum=100),
            "discharge_power_limit": NumberSetting(
                minimum=0, maximum=rated, step=10, unlimited=True
            ),
            "charge_current_limit": NumberSetting(
                minimum=0, maximum=1000, unlimited=True
            ),
            "max_feed_in_power": NumberSetting(
                minimum=0, maximum=100_000, step=100, unlimited=True
            ),
            "feed_in_dc_pv": SwitchSetting(),
            "prevent_ac_pv_feed_in": SwitchSetting(),
            "ac_export_limit": NumberSetting(minimum=0, maximum=400, unlimited=True),
            "ac_import_limit": NumberSetting(minimum=0, maximum=400, unlimited=True),
            "peak_shaving_mode": SelectSetting(
                options=self.options("peak_shaving_mode")
            ),
        }
        if self._has_ess:
            settings["grid_setpoint"] = NumberSetting(minimum=-50_000, maximum=50_000)
        if not self._is_rs:
            settings["ac_input_current_limit"] = NumberSetting(
                minimum=0, maximum=400, step=0.1
            )
            settings["switch_position"] = SelectSetting(
                options=self.options("switch_position")
            )
        return {
            key: setting
            for key, setting in settings.items()
            if key not in self._unsupported
        }

    @override
    def _setting_register(self, key: str) -> str:
        return {
            "discharge_power_limit": "discharge_power_limit_coarse",
            "max_feed_in_power": "max_feed_in_power_coarse",
            "grid_setpoint": "grid_setpoint_volatile",
        }.get(key, key)

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        if key == "ess_battery_life_mode":
            await self._write_battery_life_mode(str(value))
        elif key == "max_feed_in_power" and value is None:
            # 2706 was never seen to take 'no limit'; the register of 2026 does.
            await super()._write_setting("max_feed_in_power_wide", -1)
        else:
            if key == "grid_setpoint":
                await self._refuse_with_dynamic_ess()
            await super()._write_setting(key, value)

    async def _write_battery_life_mode(self, mode: str) -> None:
        """Write 2900: the GX moves on from there by itself to a state of the mode."""
        device, register = self._register("battery_life_state")
        if await self.get("ess_battery_life_mode") == mode:
            return
        await device.write(register.name, BATTERY_LIFE_MODES[mode])
        await asyncio.sleep(self.settle)
        if (seen := await self.get("ess_battery_life_mode")) != mode:
            raise NotConfirmedError(
                f"{device.name}: ESS is still {seen} after choosing {mode}"
            )

    async def _refuse_with_dynamic_ess(self) -> None:
        """Dynamic ESS writes the same setpoint each cycle: do not fight it."""
        values = await self._read_registers(["dynamic_ess_active"])
        if values.get("dynamic_ess_active"):
            raise NotSupportedError(
                f"{self.address}: Dynamic ESS is active and sets the grid setpoint "
                "itself; switch it off on the GX first"
            )

    # Control

    @property
    def _rated_power(self) -> int:
        """W that the system can convert, as far as it is known."""
        known = sum(self.ratings)
        return (
            round(known)
            if all(self.ratings) and known
            else (_DEFAULT_PHASE_RATING * self.phases)
        )

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if self._is_rs or not self._has_ess:
            return None
        known = all(self.ratings) and bool(self.ratings)

        def limit(owner: int | None) -> int:
            if owner is None:
                return self._rated_power
            return min(owner, self._rated_power) if known else owner

        return SetpointLimits(
            -limit(self.max_discharge_power), limit(self.max_charge_power)
        )

    @property
    @override
    def setpoint_phases(self) -> int:
        return self.phases if self.setpoint_limits else 0

    @override
    async def read_found(self) -> Found:
        if self.setpoint_limits is None:
            raise NotSupportedError(
                f"{self.address}: no setpoint without a VE.Bus system with ESS assistant"
            )
        device, _ = self._register("working_mode")
        return {"working_mode": await device.read_register("working_mode")}

    @override
    async def set_power_setpoint(self, power: float) -> int:
        return await self._hold([float(self._clamp(power))], split_wanted=True)

    @override
    async def set_power_setpoint_phase(self, power: float, phase: int) -> int:
        if not 1 <= phase <= self.setpoint_phases:
            return await super().set_power_setpoint_phase(power, phase)
        wanted = [0.0] * self.phases if self._split_wanted else list(self._wanted)
        wanted[phase - 1] = power
        total = sum(wanted)
        if total:
            wanted = [share * self._clamp(total) / total for share in wanted]
        return await self._hold(wanted, split_wanted=False)

    async def _hold(self, wanted: list[float], *, split_wanted: bool) -> int:
        """Enter external control if need be, and write the first setpoint."""
        found = await self.read_found()
        if self.found is None or found["working_mode"] != EXTERNAL_CONTROL:
            # The latter: somebody changed the mode since; theirs is what to put back.
            self.found = found
        self._wanted, self._split_wanted = wanted, split_wanted
        if found["working_mode"] != EXTERNAL_CONTROL:
            gx, _ = self._register("working_mode")
            await gx.write("working_mode", EXTERNAL_CONTROL)
            self._note({"working_mode": EXTERNAL_CONTROL})
        return await self._renew()

    @override
    async def keep_alive(self) -> int | None:
        if self.found is None or not self._wanted:
            return None
        return await self._renew()

    async def _renew(self) -> int:
        """Write the setpoint for what is wanted, under the conditions of this moment.

        Raises NotConfirmedError when somebody else has left external control: the
        setpoint registers then belong to the GX's own loop.
        """
        conditions = await self._conditions()
        if conditions is not None and conditions["working_mode"] != EXTERNAL_CONTROL:
            raise NotConfirmedError(
                f"{self.address}: ESS mode is {conditions['working_mode']} instead of "
                "external control; somebody else has changed it"
            )
        if conditions is None:
            _LOGGER.debug("%s: readings are too old, holding", self.address)
            granted, setpoints = 0, list[int]()
        else:
            granted, setpoints = self._setpoints(conditions)
        await self._write_block(setpoints, hold=not setpoints)
        self._granted = granted
        return granted

    async def _conditions(self) -> dict[str, Value] | None:
        """Return what a setpoint depends on; None when it is not known well enough."""
        now = asyncio.get_running_loop().time
        names = self._register_names().intersection(_CONTROL_INPUTS)
        names -= {name for device in self.devices for name in device.missing}
        names -= {
            name for name in names if now() - self._inputs_at.get(name, _NEVER) < _FRESH
        }
        try:
            await self._read_into(names, {}, {})
        except (CannotConnectError, RequestTimeoutError) as err:
            _LOGGER.debug("%s: cannot read for the setpoint: %s", self.address, err)
        needed = self._register_names().intersection(_CONTROL_INPUTS)
        needed -= {name for device in self.devices for name in device.missing}
        if any(
            now() - self._inputs_at.get(name, _NEVER) >= _TOO_OLD for name in needed
        ):
            return None
        return self._inputs

    @override
    async def _read_into(
        self,
        names: Collection[str],
        values: dict[str, Value],
        failures: dict[str, BatteryError],
    ) -> None:
        """Read registers, and note those that a setpoint depends on."""
        read: dict[str, Value] = {}
        try:
            await super()._read_into(names, read, failures)
        finally:
            # 0 °C to the tenth is 'unknown', unless this sensor is known to exist.
            if read.get("bms_temperature") == 0 and not self._bms_temperature_seen:
                read["bms_temperature"] = None
            self._bms_temperature_seen |= bool(read.get("bms_temperature"))
            self._note(read)
            values.update(read)

    def _note(self, values: Mapping[str, Value]) -> None:
        """Remember control inputs with the time of reading."""
        now = asyncio.get_running_loop().time()
        for name in values.keys() & set(_CONTROL_INPUTS):
            self._inputs[name] = values[name]
            self._inputs_at[name] = now
        self._bms_flags_seen |= bool(
            values.get("allow_to_charge") or values.get("allow_to_discharge")
        )

    def _setpoints(self, v: Values) -> tuple[int, list[int]]:
        """Return the battery power granted, W, and the AC input setpoint per phase.

        No setpoints mean hold. Limits first, then the loads on AC-out and the DC
        side: the other way round a load would eat the limit.
        """
        if v.get("active_input") == "disconnected" or v.get("vebus/GridLost"):
            return 0, []
        discharge, charge = self._allowed(v)
        total = sum(self._wanted)
        granted = round(min(max(total, -discharge), charge))
        if granted == 0:
            return 0, []
        # The share that the Multi converts itself, + = towards the battery.
        dc = (
            _number(v.get("dc_pv_power"))
            + _number(v.get("charger_power"))
            - _number(v.get("dc_system_power"))
        )
        converted = max(granted - dc, -discharge)
        if self._split_wanted:
            shares = split(converted, self.phases)
        else:
            extra = split(converted - granted, self.phases)
            shares = [
                round(share * granted / total) + more
                for share, more in zip(self._wanted, extra, strict=True)
            ]
        outputs = [
            round(_number(v.get(name)))
            for name in _per_phase("output_power")[: self.phases]
        ]
        kept = within_ratings(shares, self.ratings)
        return granted, [
            share + output for share, output in zip(kept, outputs, strict=True)
        ]

    def _allowed(self, v: Values) -> tuple[float, float]:
        """Return what may be discharged and charged now, W, both ≥ 0.

        In external control nobody else keeps the discharge limit and minimum SOC.
        """
        limits = self.setpoint_limits
        if limits is None or not v.get("system_voltage"):
            return 0, 0
        discharge, charge = float(-limits.minimum), float(limits.maximum)
        volts = _number(v.get("bms_voltage")) or _number(v.get("system_voltage"))
        if v.get("max_charge_voltage"):
            discharge = min(
                discharge, _number(v.get("bms_discharge_current_limit")) * volts
            )
            charge = min(charge, _number(v.get("bms_charge_current_limit")) * volts)
        soc, minimum = _number(v["system_soc"]), _number(v["min_soc"])
        self._soc_too_low = (
            soc < minimum + _SOC_HYSTERESIS if self._soc_too_low else soc <= minimum
        )
        vebus_bms = bool(v.get("vebus_bms_expected"))
        if (
            self._soc_too_low
            or (self._bms_flags_seen and not v.get("allow_to_discharge"))
            or (vebus_bms and not v.get("vebus_bms_allow_discharge"))
        ):
            discharge = 0
        if (self._bms_flags_seen and not v.get("allow_to_charge")) or (
            vebus_bms and not v.get("vebus_bms_allow_charge")
        ):
            charge = 0
        return discharge, charge

    async def _write_block(self, setpoints: Sequence[int], *, hold: bool) -> None:
        """Write the setpoints of all phases and both flags as one request.

        Both flags on make the Multi pass through: no charge, no discharge. They
        expire with the setpoint [uncertain], so they are sent each time.
        """
        words = [
            min(max(setpoint, -0x8000), 0x7FFF) & WORD
            for setpoint in setpoints or [0] * self.phases
        ]
        flag = int(hold)
        block = [words[0], flag, flag, *words[1:]]
        vebus, _ = self._register("setpoint_l1")
        await vebus.write_words(_CONTROL_BLOCK, block)
        self._written = block

    async def _read_block(self) -> list[int]:
        """Return the control block as the device has it."""
        assert self.unit_id is not None
        unit = self.connection.unit(self.unit_id)
        return await unit.read_holding_registers(_CONTROL_BLOCK, 2 + self.phases)

    def _setpoint_on_device(self, v: Values) -> Value:
        """Return the battery power that the device is held at, W.

        None when it is not held, or no longer at what was last written.
        """
        setpoints = [
            v[name] for name in _per_phase("setpoint")[: self.phases] if name in v
        ]
        if self.found is None or self._granted is None:
            return None
        flags = [v["disable_charge"], v["disable_feed_in"]]
        seen = [setpoints[0], *flags, *setpoints[1:]]
        same = [int(_number(value)) & WORD for value in seen] == self._written
        return self._granted if same else None

    @override
    async def release(self) -> None:
        """Zero the setpoints, clear the flags, see it, then give the mode back.

        In this order, since a flag left behind might stop the GX's own loop from
        charging. External control that was found is left as it was found. If
        somebody else has changed the mode meanwhile, it is theirs.
        """
        if self.found is None:
            return
        gx, _ = self._register("working_mode")
        mode = await gx.read_register("working_mode")
        failure: BatteryError | None = None
        try:
            await self._clear_block(in_control=mode == EXTERNAL_CONTROL)
        except DeviceRefusedError as err:
            # Without the VE.Bus system there is nothing to clear yet, and the mode
            # must not wait for it.
            failure = err
        found = self.found["working_mode"]
        if mode == EXTERNAL_CONTROL != found:
            await gx.write("working_mode", found)
            await asyncio.sleep(self.settle)
            if (mode := await gx.read_register("working_mode")) != found:
                raise NotConfirmedError(
                    f"{self.address}: ESS mode is still {mode} after giving back {found}"
                )
        if failure is not None:
            raise failure
        self.found = None
        self._wanted, self._granted, self._written = [], None, []

    async def _clear_block(self, *, in_control: bool) -> None:
        """Write zeros and see them; the GX's own loop may set setpoints, not flags."""
        seen: list[int] = []
        for _ in range(_RELEASE_TRIES):
            await self._write_block([], hold=False)
            await asyncio.sleep(self.settle)
            seen = await self._read_block()
            if not any(seen if in_control else seen[1:3]):
                return
        raise NotConfirmedError(
            f"{self.address}: registers {_CONTROL_BLOCK}.. still read {seen} instead of 0"
        )
