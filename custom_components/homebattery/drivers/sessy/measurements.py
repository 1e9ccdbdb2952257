"""The measurements in the answers of a Sessy dongle, for each kind of dongle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ..battery.readings import SOC, Formula, Values
from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from ..measurements import Value
from .endpoints import (
    CT,
    ENERGY,
    GRID_TARGET,
    INFO,
    MODBUS,
    NETWORK,
    OTA,
    P1,
    PHASES,
    POWER,
    SCHEDULE,
    SETTINGS,
    STRATEGY,
    Endpoint,
    Field,
    States,
)

# States ----------------------------------------------------------------------

_WRONG: Final = (
    "error",
    "override_overfrequency",
    "override_underfrequency",
    "override_battery_undervoltage",
)
SYSTEM_STATES: Final = States(
    "SYSTEM_STATE_",
    (
        "running_safe",
        "standby",
        "waiting_for_safe_situation",
        "waiting_in_safe_situation",
        "wait_for_peripherals",
        "init",
        "disconnect",
        "reconnect",
        "battery_full",
        "battery_empty",
        "battery_empty_or_full",  # older firmware
        *_WRONG,
    ),
)
STRATEGIES: Final = States(
    "POWER_STRATEGY_", ("api", "nom", "roi", "idle", "sessy_connect", "eco")
)
P1_STATES: Final = States(
    "P1_", ("ok", "not_connected", "datavalidity_err", "version_err", "parse_err")
)
MODBUS_STATES: Final = States("MODBUS_", ("ok", "error", "disabled", "unsupported"))
BATTERY_STATUS: Final = ("idle", "charging", "discharging")

# Formulas --------------------------------------------------------------------


def _names(key: str) -> tuple[str, ...]:
    """Return the keys of the three phases."""
    return tuple(f"{key}_l{phase}" for phase in PHASES)


def _per_phase(*fields: Field) -> Iterator[Field]:
    """Repeat fields for the three phases, whose number replaces {} in the path."""
    for phase in PHASES:
        for one in fields:
            key, path = f"{one.key}_l{phase}", one.path.format(phase)
            yield replace(one, key=key, path=path)


def _sum_of(key: str, names: tuple[str, ...], *, whole: bool = True) -> Formula:
    """Return the formula of a sum; unless `whole`, unknown values add nothing."""

    def compute(values: Values) -> Value:
        parts = [values[name] for name in names]
        numbers = [part for part in parts if isinstance(part, int | float)]
        if whole and len(numbers) < len(parts):
            return None
        return round(sum(numbers), 3)

    return Formula(key, names, compute)


def _net(taken: Value, given: Value) -> Value:
    """Return import minus export, W; None if either is unknown."""
    if isinstance(taken, int | float) and isinstance(given, int | float):
        return taken - given
    return None


def _signed(current: Value, power: Value) -> Value:
    """Return a meter's current, A, with the sign that only its power has."""
    if not isinstance(current, int | float):
        return None
    exporting = isinstance(power, int | float) and power < 0
    return -abs(current) if exporting else abs(current)


def _net_power(phase: int) -> Formula:
    taken, given = f"grid_import_power_l{phase}", f"grid_export_power_l{phase}"
    return Formula(
        f"grid_power_l{phase}",
        (taken, given),
        lambda values: _net(values[taken], values[given]),
    )


def _current_by_net(phase: int) -> Formula:
    key = f"grid_current_l{phase}"
    taken, given = f"grid_import_power_l{phase}", f"grid_export_power_l{phase}"
    return Formula(
        key,
        (key, taken, given),
        lambda values: _signed(values[key], _net(values[taken], values[given])),
    )


def _current_by_power(phase: int) -> Formula:
    key, power = f"grid_current_l{phase}", f"grid_power_l{phase}"
    return Formula(
        key, (key, power), lambda values: _signed(values[key], values[power])
    )


def _charging(values: Values) -> Value:
    """Return the battery's status, by its power."""
    power = values["battery_power"]
    if not isinstance(power, int | float):
        return None
    return BATTERY_STATUS[(power > 0) - (power < 0)]  # -1 is the last


def _problems(values: Values) -> Value:
    """Return the problem that the system's state stands for, if any."""
    status = values["device_status"]
    if not isinstance(status, str):
        return None
    return (status,) if status in _WRONG else ()


# Kinds of dongle -------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """A kind of dongle: `live` answers on no other.

    `letter` begins its serial number. With a state in `unused` the dongle could
    measure this way, but is not wired so. `settings` are those that some firmware
    offers; `ahead` is read when connecting, to know which this one does.
    """

    model: str
    letter: str
    live: Endpoint
    fields: tuple[Field, ...]
    formulas: tuple[Formula, ...]
    settings: Mapping[str, Setting]
    ahead: tuple[Endpoint, ...]
    unused: tuple[str, ...] = ()


_OF_ANY_DONGLE: Final = (
    Field("firmware", OTA, "self.installed_firmware.version"),
    Field("wifi_signal_strength", NETWORK, "wifi_sta.rssi", missing=(0,)),
    Field("internal_memory", INFO, "internal_mem_available"),
    Field("external_memory", INFO, "external_mem_available"),
)

BATTERY: Final = Kind(
    model="Sessy",
    letter="D",
    live=POWER,
    fields=(
        Field("battery_soc", POWER, "sessy.state_of_charge", 0.01, digits=1),
        Field("battery_power", POWER, "sessy.power", -1),
        Field("active_power", POWER, "sessy.power"),
        Field("power_setpoint", POWER, "sessy.power_setpoint", -1),
        Field("battery_voltage", POWER, "sessy.pack_voltage", 1000),
        # Of the AC side: 8.725 A was seen with 2037 W, and with the same sign.
        Field("inverter_current", POWER, "sessy.inverter_current_ma", 1000),
        Field("active_current", POWER, "sessy.inverter_current_ma", 1000),
        Field("grid_frequency", POWER, "sessy.frequency", 1000),
        # No source says what is external about it [uncertain].
        Field("external_power", POWER, "sessy.external_power"),
        Field("device_status", POWER, "sessy.system_state", states=SYSTEM_STATES),
        Field("status_details", POWER, "sessy.system_state_details"),
        Field("strategy_overridden", POWER, "sessy.strategy_overridden"),
        Field("working_mode", STRATEGY, "strategy", states=STRATEGIES),
        *_per_phase(
            # The inputs for 'renewable' energy. Some users clamp other things than
            # panels, and either way round: the sign is as it comes. A current has
            # none.
            Field("grid_voltage", POWER, "renewable_energy_phase{}.voltage_rms", 1000),
            Field("pv_voltage", POWER, "renewable_energy_phase{}.voltage_rms", 1000),
            Field("pv_current", POWER, "renewable_energy_phase{}.current_rms", 1000),
            Field("pv_power", POWER, "renewable_energy_phase{}.power"),
            Field("pv_imported", ENERGY, "energy_phase{}.import_wh", 1000),
            Field("pv_exported", ENERGY, "energy_phase{}.export_wh", 1000),
        ),
        Field("energy_charged_total", ENERGY, "sessy_energy.import_wh", 1000),
        Field("energy_discharged_total", ENERGY, "sessy_energy.export_wh", 1000),
        # One limit for both directions.
        Field("charge_power_limit", SETTINGS, "max_power"),
        Field("discharge_power_limit", SETTINGS, "max_power"),
        Field("min_power", SETTINGS, "min_power"),
        Field("min_soc", SETTINGS, "min_soc"),
        Field("noise_level", SETTINGS, "allowed_noise_level", missing=(101,)),
        Field("limit_noise", SETTINGS, "disable_noise_level", inverted=True),
        Field("eco_nom_charge", SETTINGS, "eco_nom_charge"),
        Field("eco_charge_power", SETTINGS, "eco_charge_power"),
        Field("eco_charge_hours", SETTINGS, "eco_charge_hours"),
        Field("limit_pack_temperature", SETTINGS, "pack_temp_limit_enabled"),
        Field("scheduled_power", SCHEDULE, "power", -1),
        Field("energy_price", SCHEDULE, "price", 100_000),
        Field("battery_firmware", OTA, "serial.installed_firmware.version"),
        *_OF_ANY_DONGLE,
    ),
    formulas=(
        SOC,
        Formula("battery_status", ("battery_power",), _charging, BATTERY_STATUS),
        Formula("problem", ("device_status",), _problems, _WRONG),
        _sum_of("pv_power", _names("pv_power"), whole=False),
        _sum_of("pv_energy_total", _names("pv_exported")),
    ),
    settings={
        "working_mode": SelectSetting(options=STRATEGIES.options),
        "charge_power_limit": NumberSetting(minimum=50, maximum=2200),
        "discharge_power_limit": NumberSetting(minimum=50, maximum=2200),
        "min_power": NumberSetting(minimum=50, maximum=2000),
        "min_soc": NumberSetting(minimum=0, maximum=100),
        "noise_level": NumberSetting(minimum=1, maximum=5),
        "limit_noise": SwitchSetting(),
        "eco_nom_charge": SwitchSetting(),
        "eco_charge_power": NumberSetting(minimum=0, maximum=2200),
        "eco_charge_hours": NumberSetting(minimum=0, maximum=24),
        "limit_pack_temperature": SwitchSetting(),
    },
    ahead=(STRATEGY, SETTINGS, OTA),
)

_OF_ANY_METER: Final = (
    Field("grid_target", GRID_TARGET, "grid_target"),
    *_OF_ANY_DONGLE,
)
_METER_SETTINGS: Final[Mapping[str, Setting]] = {
    "grid_target": NumberSetting(minimum=-20_000, maximum=20_000)
}

P1_METER: Final = Kind(
    model="Sessy P1",
    letter="P",
    live=P1,
    unused=("P1_NOT_CONNECTED",),
    fields=(
        Field("meter_status", P1, "state", states=P1_STATES),
        Field("grid_power", P1, "power_total"),
        *_per_phase(
            Field("grid_voltage", P1, "voltage_l{}", 1000),
            Field("grid_current", P1, "current_l{}", 1000),
            Field("grid_import_power", P1, "power_consumed_l{}"),
            Field("grid_export_power", P1, "power_produced_l{}"),
        ),
        Field("grid_import_tariff_1", P1, "power_consumed_tariff1", 1000),
        Field("grid_import_tariff_2", P1, "power_consumed_tariff2", 1000),
        Field("grid_export_tariff_1", P1, "power_produced_tariff1", 1000),
        Field("grid_export_tariff_2", P1, "power_produced_tariff2", 1000),
        Field("gas_total", P1, "gas_meter_value", 1000, missing=(0,)),
        Field("active_tariff", P1, "tariff_indicator", missing=(0,)),
        *_OF_ANY_METER,
    ),
    formulas=(
        *map(_net_power, PHASES),
        *map(_current_by_net, PHASES),
        _sum_of("grid_import_total", ("grid_import_tariff_1", "grid_import_tariff_2")),
        _sum_of("grid_export_total", ("grid_export_tariff_1", "grid_export_tariff_2")),
    ),
    settings=_METER_SETTINGS,
    ahead=(GRID_TARGET, OTA),
)

MODBUS_METER: Final = Kind(
    model="Sessy Modbus",  # read by a P1 dongle, in place of a P1 port
    letter="P",
    live=MODBUS,
    unused=("MODBUS_DISABLED", "MODBUS_UNSUPPORTED"),
    fields=(
        Field("meter_status", MODBUS, "state", states=MODBUS_STATES),
        Field("grid_power", MODBUS, "total_power"),
        *_per_phase(
            Field("grid_power", MODBUS, "phase_{}.power"),
            Field("grid_voltage", MODBUS, "phase_{}.voltage", 1000),
            Field("grid_current", MODBUS, "phase_{}.current", 1000),
        ),
        Field("grid_import_total", MODBUS, "total_import", 1000),
        Field("grid_export_total", MODBUS, "total_export", 1000),
        *_OF_ANY_METER,
    ),
    formulas=tuple(map(_current_by_power, PHASES)),
    settings=_METER_SETTINGS,
    ahead=(GRID_TARGET, OTA),
)

CT_METER: Final = Kind(
    model="Sessy CT",
    letter="C",
    live=CT,
    fields=(
        Field("grid_power", CT, "total_power"),
        *_per_phase(
            Field("grid_power", CT, "power_l{}"),
            Field("grid_voltage", CT, "voltage_l{}", 1000),
            Field("grid_current", CT, "current_l{}", 1000),
            Field("grid_import", ENERGY, "energy_phase{}.import_wh", 1000),
            Field("grid_export", ENERGY, "energy_phase{}.export_wh", 1000),
        ),
        *_OF_ANY_METER,
    ),
    formulas=(
        *map(_current_by_power, PHASES),
        _sum_of("grid_import_total", _names("grid_import")),
        _sum_of("grid_export_total", _names("grid_export")),
    ),
    settings=_METER_SETTINGS,
    ahead=(GRID_TARGET, OTA),
)

KINDS: Final = (BATTERY, P1_METER, MODBUS_METER, CT_METER)
