"""The measurements that all vendors share: key, quantity, and whether shown by default.

A measurement has the same key, unit and sign whatever the device. Signs:
battery power and current are positive while CHARGING; grid power and current
are positive while importing; active power is positive while the inverter
delivers to its AC side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum, auto
from typing import Final

type Value = float | int | str | bool | datetime | tuple[str, ...] | None
"""The value of a register or a measurement; None is 'the device does not know'."""


def as_number(value: Value) -> float | None:
    """Return a value as a number; None when it is not one."""
    return value if isinstance(value, (int, float)) else None


class Poll(IntEnum):
    """The rate at which a register is polled."""

    FAST = 0
    """Live values: power, SOC."""
    SLOW = 1
    """Settings, limits, counters, alarms."""
    ONCE = 2
    """Identity: does not change while connected."""


class Quantity(Enum):
    """The kind of a measurement; a platform has a description of each."""

    POWER = auto()
    """W"""
    ENERGY_TOTAL = auto()
    """kWh over the device's life; never falls."""
    ENERGY_TODAY = auto()
    """kWh since midnight; starts again at 0."""
    ENERGY_SINCE_START = auto()
    """kWh since the device started; starts again at 0 with it."""
    VOLTAGE = auto()
    """V"""
    CELL_VOLTAGE = auto()
    """V of a single cell, to the millivolt"""
    CURRENT = auto()
    """A"""
    FREQUENCY = auto()
    """Hz"""
    TEMPERATURE = auto()
    """°C"""
    SOC = auto()
    """% of the battery that is charged; one per device"""
    SOC_LEVEL = auto()
    """% of the battery at which something happens, or is to"""
    PERCENT = auto()
    """% of anything else"""
    CHARGE = auto()
    """Ah"""
    CAPACITY = auto()
    """kWh that a full battery holds"""
    DURATION = auto()
    """s"""
    TIMESTAMP = auto()
    """a moment that has passed, with its time zone"""
    SIGNAL_STRENGTH = auto()
    """dBm"""
    PRICE = auto()
    """EUR/kWh"""
    VOLUME_GAS = auto()
    """m³ of gas in all"""
    MEMORY = auto()
    """bytes"""
    REACTIVE_POWER = auto()
    """var"""
    REACTIVE_ENERGY = auto()
    """kvarh over the device's life; rises and falls"""
    POWER_FACTOR = auto()
    """between -1 and 1"""
    RESISTANCE = auto()
    """MΩ, of an insulation"""
    COUNT = auto()
    """a number of things"""
    CYCLES = auto()
    """a number of cycles over the device's life; never falls"""
    CODE = auto()
    """a number without an average: that of an error or a tariff, how many phases"""
    TEXT = auto()
    """words for people, such as a firmware version"""
    STATUS = auto()
    """one of the driver's options"""
    FLAG = auto()
    """yes or no"""
    PROBLEMS = auto()
    """the names of what is wrong just now; empty when all is well"""


UNITS: Final[Mapping[Quantity, str]] = {
    Quantity.POWER: "W",
    Quantity.ENERGY_TOTAL: "kWh",
    Quantity.ENERGY_TODAY: "kWh",
    Quantity.ENERGY_SINCE_START: "kWh",
    Quantity.VOLTAGE: "V",
    Quantity.CELL_VOLTAGE: "V",
    Quantity.CURRENT: "A",
    Quantity.FREQUENCY: "Hz",
    Quantity.TEMPERATURE: "°C",
    Quantity.SOC: "%",
    Quantity.SOC_LEVEL: "%",
    Quantity.PERCENT: "%",
    Quantity.CHARGE: "Ah",
    Quantity.CAPACITY: "kWh",
    Quantity.DURATION: "s",
    Quantity.SIGNAL_STRENGTH: "dBm",
    Quantity.PRICE: "EUR/kWh",
    Quantity.VOLUME_GAS: "m³",
    Quantity.MEMORY: "B",
    Quantity.REACTIVE_POWER: "var",
    Quantity.REACTIVE_ENERGY: "kvarh",
    Quantity.RESISTANCE: "MΩ",
}
"""The unit of each quantity that has one."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value that a battery can report.

    `enabled`: shown by default. `diagnostic`: about the device's inside, or how it is
    set, rather than about energy.
    """

    key: str
    quantity: Quantity
    enabled: bool = True
    diagnostic: bool = False


BATTERY_VOLTAGE: Final = "battery_voltage"
MOST_POWER: Final = 500_000
"""W; no battery here has more."""
# Values beyond these are a device's way of saying 'not available', or a fault on
# the line; they never leave a driver. Currents and powers are left wide: three
# phases of a large house, and then some.
PLAUSIBLE: Final[Mapping[Quantity, tuple[float, float]]] = {
    Quantity.POWER: (-MOST_POWER, MOST_POWER),
    Quantity.ENERGY_TOTAL: (0, 10_000_000),
    Quantity.ENERGY_TODAY: (0, 10_000),
    Quantity.ENERGY_SINCE_START: (0, 43_000_000),
    Quantity.VOLTAGE: (0, 1_500),
    Quantity.CELL_VOLTAGE: (0, 10),
    Quantity.CURRENT: (-3_300, 3_300),
    Quantity.FREQUENCY: (0, 100),
    Quantity.TEMPERATURE: (-60, 200),
    Quantity.SOC: (0, 100),
    Quantity.SOC_LEVEL: (0, 100),
    Quantity.PERCENT: (-100, 200),
}

_P, _V, _I, _T = (
    Quantity.POWER,
    Quantity.VOLTAGE,
    Quantity.CURRENT,
    Quantity.TEMPERATURE,
)


def _usual(quantity: Quantity, *keys: str) -> list[Measurement]:
    """Return measurements that are shown by default."""
    return [Measurement(key, quantity) for key in keys]


def _unusual(quantity: Quantity, *keys: str) -> list[Measurement]:
    """Return measurements that a user may enable."""
    return [Measurement(key, quantity, enabled=False) for key in keys]


def _inside(quantity: Quantity, *keys: str, enabled: bool = False) -> list[Measurement]:
    """Return diagnostic measurements, to be enabled by the user unless `enabled`."""
    return [Measurement(key, quantity, enabled, diagnostic=True) for key in keys]


def _phases(key: str) -> tuple[str, ...]:
    """Return the keys of the three phases."""
    return tuple(f"{key}_l{phase}" for phase in (1, 2, 3))


def _lines(key: str) -> tuple[str, ...]:
    """Return the keys of the voltages between phases."""
    return tuple(f"{key}_{line}" for line in ("l1_l2", "l2_l3", "l3_l1"))


def _slots(key: str) -> tuple[str, ...]:
    """Return the keys of the six slots of a time-of-use programme."""
    return tuple(f"tou_{slot}_{key}" for slot in range(1, 7))


MEASUREMENTS: Final[Mapping[str, Measurement]] = {
    measurement.key: measurement
    for measurement in [
        # Battery
        *_usual(Quantity.SOC, "battery_soc"),
        *_usual(_P, "battery_power"),
        *_unusual(_P, "battery_charge_power", "battery_discharge_power"),
        *_usual(_V, "battery_voltage"),
        *_usual(_I, "battery_current"),
        *_usual(_T, "battery_temperature"),
        *_usual(Quantity.STATUS, "battery_status"),
        *_inside(Quantity.PERCENT, "battery_soh", enabled=True),
        *_inside(_P, "max_charge_power", "max_discharge_power"),
        *_inside(_I, "max_charge_current", "max_discharge_current"),
        *_inside(_V, "max_charge_voltage", "low_voltage_limit"),
        *_inside(Quantity.CHARGE, "rated_capacity_ah", "consumed_ah"),
        *_inside(Quantity.CAPACITY, "rated_capacity"),
        *_inside(Quantity.DURATION, "time_to_go"),
        *_inside(Quantity.CYCLES, "charge_cycles"),
        *_inside(Quantity.COUNT, "modules_online", "modules_offline"),
        *_inside(
            Quantity.COUNT, "modules_blocking_charge", "modules_blocking_discharge"
        ),
        *_inside(Quantity.CELL_VOLTAGE, "min_cell_voltage", "max_cell_voltage"),
        *_inside(_T, "min_cell_temperature", "max_cell_temperature"),
        *_inside(_V, "battery_mid_voltage", "starter_battery_voltage"),
        *_inside(
            Quantity.FLAG, "allow_to_charge", "allow_to_discharge", "battery_relay"
        ),
        *_inside(Quantity.STATUS, "battery_bms_state", "battery_mode"),
        *_inside(Quantity.CODE, "battery_error"),
        # Energy
        *_usual(
            Quantity.ENERGY_TOTAL,
            "energy_charged_total",
            "energy_discharged_total",
            "grid_import_total",
            "grid_export_total",
            "pv_energy_total",
        ),
        *_unusual(
            Quantity.ENERGY_TODAY, "energy_charged_today", "energy_discharged_today"
        ),
        # Inverter
        *_usual(_P, "active_power"),
        *_unusual(_P, *_phases("active_power")),
        *_unusual(_I, "active_current"),
        *_usual(Quantity.STATUS, "device_status"),
        *_inside(_T, "device_temperature", enabled=True),
        *_inside(_P, "rated_power"),
        *_inside(_P, *_phases("rated_power")),
        *_inside(Quantity.CODE, "phases"),
        # Grid, PV, house
        *_usual(_P, "grid_power", "pv_power", "load_power"),
        *_unusual(_P, *_phases("grid_power"), *_phases("load_power")),
        *_unusual(_V, *_phases("grid_voltage")),
        *_unusual(_I, *_phases("grid_current")),
        *_unusual(Quantity.FREQUENCY, "grid_frequency"),
        # Problems, and identity
        *_inside(Quantity.PROBLEMS, "problem", enabled=True),
        *_inside(Quantity.TEXT, "serial_number", "firmware", "battery_firmware"),
        # Victron: GX system
        *_inside(Quantity.FLAG, "relay_1", "relay_2"),
        *_inside(Quantity.STATUS, "active_input_source"),
        *_inside(
            _P,
            *_phases("pv_on_output"),
            *_phases("pv_on_grid"),
            *_phases("pv_on_genset"),
            *_phases("genset_power"),
            *_phases("load_on_input"),
            *_phases("load_on_output"),
            "dc_pv_power",
            "charger_power",
            "dc_system_power",
            "vebus_dc_power",
            "inverter_charger_dc_power",
        ),
        *_inside(
            _I, "dc_pv_current", "vebus_dc_current", "inverter_charger_dc_current"
        ),
        *_inside(Quantity.FLAG, "dynamic_ess_active", "dynamic_ess_available"),
        *_inside(Quantity.STATUS, "dynamic_ess_error", "dynamic_ess_strategy"),
        *_inside(Quantity.SOC_LEVEL, "dynamic_ess_target_soc"),
        *_inside(Quantity.CODE, "battery_life_state"),
        *_inside(Quantity.STATUS, "ess_state", enabled=True),
        *_inside(Quantity.SOC_LEVEL, "active_soc_limit"),
        *_inside(Quantity.FLAG, "feed_in_limiting_active", "disable_pv_inverters"),
        # Victron: VE.Bus
        *_inside(Quantity.FREQUENCY, "grid_frequency_l2", "grid_frequency_l3"),
        *_inside(Quantity.FREQUENCY, "output_frequency"),
        *_inside(_V, *_phases("output_voltage"), "vebus_dc_voltage"),
        *_inside(_I, *_phases("output_current"), "vebus_battery_current"),
        *_inside(_P, *_phases("output_power")),
        *_inside(Quantity.STATUS, "active_input", "charge_state"),
        *_inside(Quantity.PERCENT, "vebus_soc"),
        *_inside(Quantity.STATUS, "vebus_error"),
        *_inside(Quantity.PROBLEMS, "vebus_alarms", "battery_alarms"),
        *_inside(_T, "vebus_temperature"),
        *_inside(
            Quantity.FLAG,
            "vebus_bms_expected",
            "vebus_bms_allow_charge",
            "vebus_bms_allow_discharge",
            "sustain_active",
        ),
        *_inside(Quantity.CODE, "vebus_bms_error"),
        *_inside(
            Quantity.ENERGY_SINCE_START,
            "energy_ac_in_1_to_ac_out",
            "energy_ac_in_1_to_inverter",
            "energy_ac_in_2_to_ac_out",
            "energy_ac_in_2_to_inverter",
            "energy_ac_out_to_ac_in_1",
            "energy_ac_out_to_ac_in_2",
            "energy_inverter_to_ac_in_1",
            "energy_inverter_to_ac_in_2",
            "energy_inverter_to_ac_out",
            "energy_ac_out_to_inverter",
        ),
        *_inside(Quantity.TEXT, "custom_name", "grid_meter_serial"),
        # Victron: grid meter
        *_inside(_P, *_phases("meter_power")),
        *_inside(_V, *_phases("meter_voltage")),
        *_inside(_I, *_phases("meter_current")),
        *_inside(Quantity.FREQUENCY, "meter_frequency"),
        *_inside(
            Quantity.ENERGY_TOTAL, *_phases("grid_import"), *_phases("grid_export")
        ),
        # Sessy
        *_inside(Quantity.CURRENT, "inverter_current"),
        *_inside(_P, "external_power", *_phases("pv_power")),
        *_inside(_V, *_phases("pv_voltage")),
        *_inside(_I, *_phases("pv_current")),
        *_inside(
            Quantity.ENERGY_TOTAL, *_phases("pv_imported"), *_phases("pv_exported")
        ),
        *_inside(Quantity.FLAG, "strategy_overridden", enabled=True),
        *_inside(Quantity.TEXT, "status_details"),
        *_inside(Quantity.SIGNAL_STRENGTH, "wifi_signal_strength"),
        *_inside(Quantity.MEMORY, "internal_memory", "external_memory"),
        *_inside(_P, "scheduled_power"),
        *_inside(Quantity.PRICE, "energy_price"),
        # Meters of a Sessy
        *_usual(Quantity.VOLUME_GAS, "gas_total"),
        *_inside(Quantity.CODE, "active_tariff"),
        *_inside(Quantity.STATUS, "meter_status"),
        *_inside(
            Quantity.ENERGY_TOTAL,
            "grid_import_tariff_1",
            "grid_import_tariff_2",
            "grid_export_tariff_1",
            "grid_export_tariff_2",
        ),
        *_inside(_P, *_phases("grid_import_power"), *_phases("grid_export_power")),
        # SMA
        *_unusual(Quantity.ENERGY_TODAY, "grid_import_today", "grid_export_today"),
        *_inside(Quantity.STATUS, "operating_status", "grid_mode"),
        *_inside(Quantity.STATUS, "active_power_mode", "fallback_mode", enabled=True),
        *_inside(Quantity.FLAG, "charge_control_available"),
        *_inside(Quantity.DURATION, "fallback_timeout", enabled=True),
        *_inside(
            Quantity.STATUS,
            *("general_status", "standby_status", "block_status", "grid_connection"),
            *("health_l1", "health_l2", "health_l3", "recommended_action"),
            *("battery_chemistry", "battery_usage_area", "maintenance_charge"),
        ),
        *_inside(Quantity.FLAG, "absorption_phase", "cluster"),
        *_inside(Quantity.CODE, "event_number"),
        *_inside(Quantity.DURATION, "time_to_feed_in"),
        *_inside(_P, "output_power_limit", "fallback_max_power"),
        *_inside(_T, "lowest_battery_temperature", "highest_battery_temperature"),
        *_inside(
            Quantity.ENERGY_TOTAL,
            "energy_delivered_total",
            "energy_absorbed_total",
            "energy_released_total",
        ),
        *_inside(Quantity.SOC_LEVEL, "feed_in_lock_soc", "deep_discharge_limit"),
        *_inside(Quantity.STATUS, "operation", "bms_mode"),
        *_inside(Quantity.FLAG, "self_consumption_increase"),
        *_inside(_I, "ac_charge_current_limit"),
        *_inside(Quantity.SOC_LEVEL, "feed_in_resume_soc"),
        *_inside(
            Quantity.PERCENT,
            "deep_discharge_protection_width",
            "backup_width",
            "conservation_width",
            "self_consumption_width",
            "active_power_upper_limit",
            "active_power_lower_limit",
        ),
        # Huawei: inverter and its meter
        *_inside(Quantity.TEXT, "model", "part_number"),
        *_inside(Quantity.FLAG, "has_battery", "grid_connected", "pv_connected"),
        *_inside(Quantity.FLAG, "off_grid", "power_derated", "backup_enabled"),
        *_inside(Quantity.PROBLEMS, "alarms"),
        *_inside(Quantity.CODE, "fault_code"),
        *_inside(Quantity.TIMESTAMP, "started_at", "stopped_at"),
        *_inside(Quantity.COUNT, "optimizers", "optimizers_online"),
        *_inside(_P, "max_active_power", "present_max_active_power"),
        *_inside(_P, "peak_power_today", "active_power_fast"),
        *_inside(Quantity.REACTIVE_POWER, "reactive_power", "meter_reactive_power"),
        *_inside(Quantity.REACTIVE_ENERGY, "meter_reactive_energy"),
        *_inside(Quantity.POWER_FACTOR, "power_factor", "meter_power_factor"),
        *_inside(Quantity.PERCENT, "efficiency"),
        *_inside(Quantity.RESISTANCE, "insulation_resistance"),
        *_inside(_V, "bus_voltage", "max_pv_voltage", "min_pv_voltage"),
        *_inside(_V, *_lines("line_voltage"), *_lines("meter_line_voltage")),
        *_inside(Quantity.STATUS, "meter_type", "meter_check", "remote_control_mode"),
        *_inside(_P, "dongle_max_grid_charge_power", "failsafe_feed_in_power"),
        *_unusual(Quantity.ENERGY_TOTAL, "energy_yield_total"),
        *_unusual(Quantity.ENERGY_TODAY, "energy_yield_today"),
        *_inside(
            Quantity.ENERGY_SINCE_START,
            "energy_yield_this_hour",
            "energy_yield_this_month",
            "energy_yield_this_year",
        ),
        *_inside(_V, *(f"pv{string}_voltage" for string in range(1, 25))),
        *_inside(_I, *(f"pv{string}_current" for string in range(1, 25))),
        *_inside(
            Quantity.ENERGY_TOTAL,
            *(f"mppt{mppt}_energy_total" for mppt in range(1, 11)),
        ),
        # Huawei: battery units, and the packs in them
        *_inside(Quantity.STATUS, "battery1_status", "battery2_status"),
        *_inside(Quantity.STATUS, "battery1_mode", "forced_command", "forced_end"),
        *_inside(Quantity.CODE, "battery1_fault_code"),
        *_inside(_P, "battery1_rated_charge_power", "battery1_rated_discharge_power"),
        *_inside(_P, "forced_charge_power", "forced_discharge_power"),
        *_inside(_P, "max_grid_charge_power", "grid_point_power_limit"),
        *_inside(Quantity.DURATION, "forced_duration", "forced_time_left"),
        *_inside(Quantity.SOC_LEVEL, "forced_target_soc"),
        *_inside(Quantity.TEXT, "tou_periods", "fixed_periods"),
        *(
            measurement
            for part in (
                *("battery1", "battery2"),
                *(f"battery{unit}_pack{pack}" for unit in (1, 2) for pack in (1, 2, 3)),
            )
            for measurement in (
                *_inside(Quantity.PERCENT, f"{part}_soc"),
                *_inside(_P, f"{part}_power"),
                *_inside(_V, f"{part}_voltage"),
                *_inside(_I, f"{part}_current"),
                *_inside(Quantity.ENERGY_TOTAL, f"{part}_charged_total"),
                *_inside(Quantity.ENERGY_TOTAL, f"{part}_discharged_total"),
                *_inside(Quantity.TEXT, f"{part}_serial_number", f"{part}_firmware"),
                *(
                    _inside(_T, f"{part}_max_temperature", f"{part}_min_temperature")
                    if "pack" in part
                    else (
                        *_inside(_T, f"{part}_temperature"),
                        *_inside(Quantity.ENERGY_TODAY, f"{part}_charged_today"),
                        *_inside(Quantity.ENERGY_TODAY, f"{part}_discharged_today"),
                    )
                ),
            )
        ),
        # Deye
        *_unusual(
            Quantity.ENERGY_TODAY,
            "load_energy_today",
            "pv_energy_today",
            "generator_energy_today",
        ),
        *_unusual(Quantity.ENERGY_TOTAL, "load_energy_total", "generator_energy_total"),
        *_unusual(_P, "ups_power", *_phases("ups_power")),
        *_unusual(_P, "generator_power", *_phases("generator_power")),
        *_unusual(_P, *(f"pv{number}_power" for number in range(1, 9))),
        *_unusual(
            Quantity.ENERGY_TODAY,
            *(f"pv{number}_energy_today" for number in range(1, 5)),
        ),
        *_inside(
            _P,
            "internal_power",
            *_phases("internal_power"),
            "external_ct_power",
            *_phases("external_ct_power"),
            *_phases("ac_coupled_power"),
        ),
        *_inside(_I, *_phases("internal_ct_current")),
        *_inside(_V, *_phases("load_voltage"), *_phases("generator_voltage")),
        *_inside(Quantity.FREQUENCY, "load_frequency"),
        *_inside(_T, "dc_temperature"),
        *_inside(Quantity.FLAG, "generator_connected", "remote_mode"),
        *_inside(Quantity.PROBLEMS, "faults"),
        *_inside(Quantity.TEXT, "hmi_firmware"),
        *_inside(Quantity.PERCENT, "battery_bms_soc", "battery_2_soc"),
        *_inside(
            _V,
            "battery_bms_voltage",
            "battery_bms_charge_voltage",
            "battery_bms_discharge_voltage",
            "battery_2_voltage",
        ),
        *_inside(
            _I,
            "battery_bms_current",
            "battery_bms_charge_current_limit",
            "battery_bms_discharge_current_limit",
            "battery_2_current",
        ),
        *_inside(_P, "battery_2_power"),
        *_inside(_T, "battery_bms_temperature", "battery_2_temperature"),
        *_inside(Quantity.FLAG, "battery_force_charge"),
        *_inside(Quantity.CHARGE, "corrected_capacity_ah"),
        *_inside(Quantity.COUNT, "battery_pack_count"),
        *(
            measurement
            for pack in range(1, 21)
            for measurement in (
                *_inside(Quantity.PERCENT, f"pack{pack}_soc"),
                *_inside(Quantity.PERCENT, f"pack{pack}_soh"),
                *_inside(
                    _T,
                    f"pack{pack}_temperature",
                    f"pack{pack}_min_cell_temperature",
                    f"pack{pack}_max_cell_temperature",
                    f"pack{pack}_mos_temperature",
                ),
                *_inside(
                    Quantity.CELL_VOLTAGE,
                    f"pack{pack}_min_cell_voltage",
                    f"pack{pack}_max_cell_voltage",
                ),
                *_inside(Quantity.CHARGE, f"pack{pack}_capacity_ah"),
                *_inside(Quantity.CYCLES, f"pack{pack}_charge_cycles"),
                *_inside(Quantity.TEXT, f"pack{pack}_serial_number"),
            )
        ),
        *_inside(_P, "max_export_power", "max_import_power"),
        *_inside(Quantity.SOC_LEVEL, "low_soc", "grid_charge_start_soc"),
        *_inside(
            Quantity.STATUS,
            "battery_control_mode",
            "energy_pattern",
            "gen_port_mode",
        ),
        *_inside(Quantity.FLAG, "generator_charge"),
        *_inside(_I, "grid_charge_current_limit"),
        *_inside(Quantity.SOC_LEVEL, "shutdown_soc", "restart_soc"),
        *_inside(
            _P,
            "zero_export_power",
            "max_sell_power",
            "max_solar_power",
            "grid_peak_shaving_power",
        ),
        *_inside(Quantity.FLAG, "solar_sell", "tou_enabled", "grid_peak_shaving"),
        *_inside(_P, *_slots("power")),
        *_inside(Quantity.SOC_LEVEL, *_slots("soc")),
        *_inside(Quantity.STATUS, *_slots("charge")),
        *_inside(Quantity.TEXT, *_slots("time")),
        # Setpoints and settings, as the device reports them
        *_inside(_P, "power_setpoint"),
        *_usual(_P, "grid_setpoint", "grid_target"),
        *_inside(_P, "charge_power_limit", "discharge_power_limit", enabled=True),
        *_inside(_I, "charge_current_limit", "discharge_current_limit", enabled=True),
        *_inside(Quantity.SOC_LEVEL, "min_soc", "backup_soc", enabled=True),
        *_inside(Quantity.SOC_LEVEL, "max_soc"),
        *_inside(Quantity.STATUS, "working_mode", enabled=True),
        *_inside(_P, "max_feed_in_power", "min_power", "eco_charge_power"),
        *_inside(_I, "ac_input_current_limit", "ac_export_limit", "ac_import_limit"),
        *_inside(_V, "charge_voltage_limit"),
        *_inside(Quantity.COUNT, "noise_level", "eco_charge_hours"),
        *_inside(
            Quantity.STATUS,
            "ess_battery_life_mode",
            "peak_shaving_mode",
            "grid_metering",
            "ac_input_1_type",
            "ac_input_2_type",
            "switch_position",
        ),
        *_inside(
            Quantity.FLAG,
            "feed_in_dc_pv",
            "prevent_ac_pv_feed_in",
            "limit_noise",
            "eco_nom_charge",
            "limit_pack_temperature",
        ),
        # Settings of Huawei
        *_inside(Quantity.FLAG, "grid_charge", enabled=True),
        *_inside(Quantity.FLAG, "inverter_on", "mppt_scan"),
        *_inside(Quantity.STATUS, "surplus_pv_use", "feed_in_mode"),
        *_inside(_P, "grid_charge_power_limit", "active_power_limit"),
        *_inside(Quantity.SOC_LEVEL, "grid_charge_cutoff_soc", "peak_shaving_soc"),
        *_inside(
            Quantity.PERCENT,
            "max_feed_in_percent",
            "active_power_limit_percent",
        ),
        *_inside(Quantity.DURATION, "mppt_scan_interval"),
    ]
}
