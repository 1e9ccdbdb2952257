"""The measurements computed from Victron's registers."""

from collections.abc import Callable, Iterable
from typing import Final

from ..battery.readings import Formula, Values
from ..measurements import Value
from .registers import (
    BATTERY_ALARMS,
    BATTERY_LIFE_MODES,
    BATTERY_STATUS,
    ESS_STATE,
    VEBUS_ALARMS,
)
from .settings import LARGEST

_PHASES: Final = (1, 2, 3)
_NEARLY_EMPTY: Final = 5.0
"""% from which a battery may have gone to 0."""


def per_phase(name: str) -> tuple[str, ...]:
    """Return a register's names for the three phases."""
    return tuple(f"{name}_l{phase}" for phase in _PHASES)


def number(value: Value) -> float:
    """Return a register's value as a number; 0, Victron's 'unknown', for None."""
    return value if isinstance(value, int | float) else 0


def _sum(values: Values, names: Iterable[str]) -> float:
    """Return the sum of those registers that the device has."""
    return sum(number(values.get(name)) for name in names)


def _known_battery(name: str) -> Formula:
    """Return the formula of a system register that is void without a battery."""
    options = tuple(BATTERY_STATUS.values()) if name == "status" else ()
    return Formula(
        f"battery_{name}",
        (f"system_{name}", "system_voltage"),
        lambda v: v[f"system_{name}"] if v["system_voltage"] else None,
        options,
    )


class StateOfCharge:
    """The SOC of the system; without a battery monitor it reads 0, too.

    A 0 is believed of a battery that was nearly empty before, or has a low voltage.
    """

    def __init__(self) -> None:
        """Begin with no SOC seen."""
        self._last: float | None = None
        """The last SOC that was not 0, %."""

    @property
    def formula(self) -> Formula:
        """The formula of the SOC, %."""
        needs = ("system_soc", "bms_soc", "system_voltage")
        return Formula("battery_soc", needs, self._compute)

    def _compute(self, v: Values) -> Value:
        """Return the SOC, in tenths where the battery's own service agrees with it."""
        fine = v.get("bms_soc")
        is_known = self.known(v["system_soc"], fine, v["system_voltage"])
        if is_known and fine is not None and _agree(v["system_soc"], fine):
            return fine
        return v["system_soc"] if is_known else None

    def known(self, soc: Value, fine: Value, voltage: Value) -> bool:
        """Return whether the system's SOC, %, is one, beside that of the battery.

        `voltage` is that of the system, V.
        """
        volts = number(voltage)
        if not volts:
            return False
        if soc or (fine and _agree(soc, fine)):
            self._last = number(soc)
            return True
        was_low = self._last is not None and self._last <= _NEARLY_EMPTY
        return was_low or volts < _empty_below(volts)


def _agree(soc: Value, fine: Value) -> bool:
    """Return whether an SOC in whole % and one in tenths can be of one battery."""
    return abs(number(fine) - number(soc)) <= 1


def _empty_below(volts: float) -> float:
    """Return the voltage below which a battery of 12, 24 or 48 V may be empty, V."""
    return next((each for each in (12, 24) if volts < 1.5 * each), 48)


def _vebus_soc(v: Values) -> Value:
    """Return the SOC, %, as the inverter counts it; 0 as `StateOfCharge` has it."""
    volts = number(v.get("vebus_dc_voltage"))
    is_known = v["vebus_soc"] or volts < _empty_below(volts)
    return v["vebus_soc"] if is_known else None


def _voltage(v: Values) -> Value:
    """Return the battery voltage, V, from the finest source that knows it."""
    return (
        v.get("bms_voltage") or v["system_voltage"] or v.get("vebus_dc_voltage") or None
    )


def _wide(name: str, key: str = "") -> Formula:
    """Return a power of one phase, W: 32 bits where the server has them.

    Sites beyond 32 kW a phase wrap in the 16-bit register. The measurement is `key`, or
    named as `grid_power_l1` is by the register `grid_l1`.
    """
    kind, phase = name.rsplit("_l", 1)
    wide = f"{name}_wide"
    return Formula(
        key or f"{kind}_power_l{phase}",
        (name, wide),
        lambda v: v[name] if v.get(wide) is None else v[wide],
    )


def _wide_total(key: str, name: str) -> Formula:
    """Return the power of all phases, W."""
    parts = [_wide(part) for part in per_phase(name)]
    return Formula(
        key,
        tuple(need for part in parts for need in part.needs),
        lambda v: sum(number(part.compute(v)) for part in parts),
    )


def phase_powers(v: Values, name: str) -> list[float]:
    """Return a power of each phase, W, that is called unsigned in Victron's list.

    32 bits where the server has them. Small negative values come as the largest ones.
    """
    powers = []
    for coarse in per_phase(name):
        wide, bits = v.get(f"{coarse}_wide"), 32
        if wide is None:
            wide, bits = v.get(coarse), 16
        power = number(wide)
        powers.append(power - (1 << bits) if power >= 0xF << bits - 4 else power)
    return powers


def _active_power(phase: int) -> Formula:
    """Return the power of a phase at the AC input, W, + = the Multi delivers."""
    name = f"input_power_l{phase}"
    return Formula(f"active_power_l{phase}", (name,), lambda v: -number(v[name]))


class BatteryTemperature:
    """The temperature of a battery that may have no sensor, which reads 0 °C, too.

    Without a service of the battery it is that of the inverter's sensor at the battery.
    """

    def __init__(self, *, has_service: Callable[[], bool]) -> None:
        """Begin with no sensor seen; the battery may have a service of its own."""
        self._has_service = has_service
        self._has_sensor = False

    @property
    def formula(self) -> Formula:
        """The formula of the battery's temperature, °C."""
        needs = ("bms_temperature", "vebus_temperature")
        return Formula("battery_temperature", needs, self._compute)

    def _compute(self, v: Values) -> Value:
        """Return the temperature, °C.

        0 °C to the tenth is 'unknown', unless this sensor is known to exist.
        """
        if not self._has_service():
            return v["vebus_temperature"]
        degrees = v["bms_temperature"]
        self._has_sensor |= bool(degrees)
        return degrees if self._has_sensor else None


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
            round(number(current.compute(v)) * number(v["bms_voltage"]))
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
    """Return the active alarms of inverter and battery, and the VE.Bus error."""
    error = v["vebus_error"]
    return (
        *_active(v, "vebus"),
        *(f"Battery {name}" for name in _active(v, "battery")),
        *([f"VE.Bus error: {error}"] if error not in ("none", None) else []),
    )


def firmware(v: Values) -> Value:
    """Return the GX firmware as text: 0x0373 is 3.73, with beta 42 it is 3.73~42."""
    version, beta = v["firmware_version"], v.get("firmware_beta")
    if not isinstance(version, int):
        return None
    return f"{version >> 8:x}.{version & 0xFF:02x}" + (f"~{beta}" if beta else "")


def _unlimited_is_negative(v: Values, name: str) -> Value:
    """Return a limit, W; None for no limit, and for 0 where -1 reads as 0."""
    wide = v.get(f"{name}_wide")
    limit = v[f"{name}_coarse"] if wide is None else wide
    is_none = number(limit) < 0 or number(limit) >= LARGEST[name]
    return None if is_none or (wide is None and not limit) else limit


def _battery_life_mode(v: Values) -> Value:
    """Return the battery life mode that the user chose, by its present state."""
    state = number(v["battery_life_state"])
    if state == BATTERY_LIFE_MODES["keep_charged"]:
        return "keep_charged"
    if state > BATTERY_LIFE_MODES["keep_charged"]:
        return "without_battery_life"
    return "with_battery_life" if state else None


def _rated_capacity(v: Values) -> Value:
    """Return an estimate of the capacity, kWh, at the charge or nominal voltage."""
    if v["rated_capacity_ah"] is None:
        return None
    volts = number(v["max_charge_voltage"]) or 51.2
    return round(number(v["rated_capacity_ah"]) * volts / 1000, 2)


_INPUT_POWERS = per_phase("input_power")
_PV_POWERS = (*per_phase("pv_on_output"), *per_phase("pv_on_grid"))
_PV_ENERGIES = per_phase("pv_inverter_energy")

FORMULAS: Final = (
    Formula("vebus_soc", ("vebus_soc", "vebus_dc_voltage"), _vebus_soc),
    _known_battery("power"),
    _known_battery("current"),
    _known_battery("status"),
    Formula(
        "battery_voltage",
        ("bms_voltage", "system_voltage", "vebus_dc_voltage"),
        _voltage,
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
        lambda v: -(number(v["input_power_l1"]) + _sum(v, _INPUT_POWERS[1:])),
    ),
    Formula(
        "active_current",
        per_phase("grid_current"),
        lambda v: (
            -(number(v["grid_current_l1"]) + _sum(v, per_phase("grid_current")[1:]))
        ),
    ),
    *(_wide(name) for name in (*per_phase("grid"), *per_phase("load"))),
    *(_wide(name, name) for name in per_phase("meter_power")),
    _wide_total("grid_power", "grid"),
    _wide_total("load_power", "load"),
    Formula(
        "pv_power",
        (*_PV_POWERS, *(f"{name}_wide" for name in _PV_POWERS), "dc_pv_power"),
        lambda v: (
            number(v["dc_pv_power"])
            + sum(phase_powers(v, "pv_on_output"))
            + sum(phase_powers(v, "pv_on_grid"))
        ),
    ),
    Formula(
        "pv_energy_total",
        _PV_ENERGIES,
        lambda v: number(v["pv_inverter_energy_l1"]) + _sum(v, _PV_ENERGIES[1:]),
    ),
    Formula(
        "rated_power",
        ("rated_power", "rated_power_l1"),
        # Where the phase's is none, both are other things.
        lambda v: v["rated_power"] if v.get("rated_power_l1") else None,
    ),
    Formula("firmware", ("firmware_version", "firmware_beta"), firmware),
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
        lambda v: (
            None
            if v["battery_life_state"] is None
            else ESS_STATE.get(int(number(v["battery_life_state"])))
        ),
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
