"""Victron's registers, service by service, as Victron's own list has them.

Addresses, types and scales are those of the published Modbus TCP register list
(revision 52) and of attributes.csv in the server's source (1.0.101, April 2026);
rows that say nothing about a battery, its grid or its PV are left out. Physical
value = raw ÷ gain.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from ..measurements import Poll
from ..modbus.planning import Layout
from ..modbus.register import WORD, AccessType, DataType, Register

SYSTEM_UNIT: Final = 100
"""The GX itself: services system, settings and hub4 (0 would be the same)."""

RW = AccessType.READ_WRITE
SLOW, ONCE = Poll.SLOW, Poll.ONCE
INT16, UINT16 = DataType.INT16, DataType.UINT16
INT32, UINT32, UINT64 = DataType.INT32, DataType.UINT32, DataType.UINT64
STRING = DataType.STRING

# Codes -----------------------------------------------------------------------

BATTERY_STATUS = {0: "idle", 1: "charging", 2: "discharging"}
INPUT_SOURCE = {
    0: "unknown",
    1: "grid",
    2: "generator",
    3: "shore",
    240: "not_connected",
}
INPUT_TYPE = {0: "not_used", 1: "grid", 2: "generator", 3: "shore"}
ACTIVE_INPUT = {0: "ac_in_1", 1: "ac_in_2", 240: "disconnected"}
DEVICE_STATUS = {
    0: "off",
    1: "low_power",
    2: "fault",
    3: "bulk",
    4: "absorption",
    5: "float",
    6: "storage",
    7: "equalize",
    8: "passthru",
    9: "inverting",
    10: "power_assist",
    11: "power_supply",
    244: "sustain",
    252: "external_control",
}
SWITCH_POSITION = {1: "charger_only", 2: "inverter_only", 3: "on", 4: "off"}
CHARGE_STATE = {
    0: "initialising",
    1: "bulk",
    2: "absorption",
    3: "float",
    4: "storage",
    5: "repeated_absorption",
    6: "forced_absorption",
    7: "equalise",
    8: "bulk_stopped",
    9: "unknown",
}
VEBUS_ERROR = {
    0: "none",
    1: "other_phase_off",
    2: "mixed_mk2",
    3: "wrong_number_of_devices",
    4: "no_other_device",
    5: "overvoltage_ac_out",
    6: "ddc_program",
    7: "vebus_bms_without_assistant",
    10: "time_synchronisation",
    14: "cannot_transmit",
    16: "dongle_missing",
    17: "master_lost",
    18: "slave_overvoltage",
    22: "cannot_be_slave",
    24: "switch_over_protection",
    25: "firmware_incompatible",
    26: "internal",
}
ESS_MODE = {
    1: "self_consumption",
    2: "self_consumption_no_phase_compensation",
    3: "external_control",
}
SELF_CONSUMPTION: Final = "self_consumption"
EXTERNAL_CONTROL: Final = "external_control"
ESS_STATE = {
    0: "unused",
    1: "restarting",
    2: "battery_life",
    3: "battery_life_high_soc",
    4: "battery_life_full",
    5: "discharge_disabled",
    6: "force_charge",
    7: "sustain",
    8: "low_soc_recharge",
    9: "keep_charged",
    10: "self_consumption",
    11: "low_soc",
    12: "low_soc_recharge",
}
# The values that may be written to 2900, by the name that a user chooses.
BATTERY_LIFE_MODES = {
    "with_battery_life": 1,
    "without_battery_life": 10,
    "keep_charged": 9,
}
BMS_STATE = {
    **dict.fromkeys(range(9), "initialising"),
    9: "running",
    10: "error",
    11: "unused",
    12: "shutdown",
    **dict.fromkeys(range(13, 18), "changing"),
}
BATTERY_MODE = {3: "on", 252: "standby"}
DYNAMIC_ESS_ERROR = {
    0: "none",
    1: "no_ess",
    2: "ess_mode",
    3: "no_schedule",
    4: "soc_low",
    5: "capacity_not_set",
}
DYNAMIC_ESS_STRATEGY = {
    0: "target_soc",
    1: "self_consumption",
    2: "pro_battery",
    3: "pro_grid",
}
PEAK_SHAVING = {0: "above_min_soc", 1: "always"}
GRID_METERING = {0: "external_meter", 1: "inverter"}

# Registers -------------------------------------------------------------------
# A name that is a measurement is that measurement; the others feed the formulas.

_FLAG: Final = range(2)
_ALARM: Final = range(3)
"""0 fine, 1 warning, 2 alarm; servers of 2025 fill some with 0xFFFF."""
_PHASE_RATING: Final = range(500, 50_001)
"""W that a phase can be rated at; servers of 2023 have other things at its place."""
_RATING: Final = range(500, 150_001)


def _unsigned(address: int, name: str, data_type: DataType = UINT16) -> Register:
    """Return a power, W, that is called unsigned in the list.

    At night it may be a little below 0, which comes as the largest numbers.
    """
    negative_from = 0xF << 16 * data_type.words - 4
    return Register(address, name, data_type, unit="W", negative_from=negative_from)


def _flag(
    address: int,
    name: str,
    access_type: AccessType = AccessType.READ,
    poll: Poll = Poll.FAST,
) -> Register:
    """Return a register that is 0 or 1; another word is no value."""
    return Register(address, name, access_type=access_type, poll=poll, valid=_FLAG)


SYSTEM: Final = (
    Register(800, "serial_number", STRING, length=6, poll=ONCE),
    _flag(806, "relay_1", poll=SLOW),
    _flag(807, "relay_2", poll=SLOW),
    _unsigned(808, "pv_on_output_l1"),
    _unsigned(809, "pv_on_output_l2"),
    _unsigned(810, "pv_on_output_l3"),
    _unsigned(811, "pv_on_grid_l1"),
    _unsigned(812, "pv_on_grid_l2"),
    _unsigned(813, "pv_on_grid_l3"),
    _unsigned(814, "pv_on_genset_l1"),
    _unsigned(815, "pv_on_genset_l2"),
    _unsigned(816, "pv_on_genset_l3"),
    _unsigned(817, "load_l1"),
    _unsigned(818, "load_l2"),
    _unsigned(819, "load_l3"),
    Register(820, "grid_l1", INT16, unit="W"),
    Register(821, "grid_l2", INT16, unit="W"),
    Register(822, "grid_l3", INT16, unit="W"),
    Register(823, "genset_power_l1", INT16, unit="W"),
    Register(824, "genset_power_l2", INT16, unit="W"),
    Register(825, "genset_power_l3", INT16, unit="W"),
    Register(826, "active_input_source", INT16, enum=INPUT_SOURCE),
    Register(830, "clock", UINT64, unit="s", poll=SLOW),
    Register(834, "firmware_version", UINT16, sentinels=(WORD,), poll=ONCE),
    Register(835, "firmware_beta", UINT16, sentinels=(WORD,), poll=ONCE),
    Register(840, "system_voltage", UINT16, 10, "V"),
    Register(841, "system_current", INT16, 10, "A"),
    Register(842, "system_power", INT16, 1, "W"),
    Register(843, "system_soc", UINT16, 1, "%"),
    Register(844, "system_status", UINT16, enum=BATTERY_STATUS),
    Register(845, "system_consumed_ah", UINT16, -10, "Ah", poll=SLOW),
    Register(846, "system_time_to_go", UINT16, 0.01, "s", sentinels=(0,), poll=SLOW),
    _unsigned(850, "dc_pv_power"),
    Register(851, "dc_pv_current", INT16, 10, "A"),
    Register(855, "charger_power", UINT16, 1, "W", poll=SLOW),
    Register(860, "dc_system_power", INT16, 1, "W", poll=SLOW),
    Register(865, "vebus_dc_current", INT16, 10, "A", poll=SLOW),
    Register(866, "vebus_dc_power", INT16, 1, "W", poll=SLOW),
    Register(868, "inverter_charger_dc_current", INT32, 10, "A", poll=SLOW),
    Register(870, "inverter_charger_dc_power", INT32, 1, "W", poll=SLOW),
    Register(872, "load_on_input_l1", INT32, 1, "W", poll=SLOW),
    Register(874, "load_on_input_l2", INT32, 1, "W", poll=SLOW),
    Register(876, "load_on_input_l3", INT32, 1, "W", poll=SLOW),
    Register(878, "load_on_output_l1", INT32, 1, "W", poll=SLOW),
    Register(880, "load_on_output_l2", INT32, 1, "W", poll=SLOW),
    Register(882, "load_on_output_l3", INT32, 1, "W", poll=SLOW),
    _unsigned(884, "pv_on_output_l1_wide", UINT32),
    _unsigned(886, "pv_on_output_l2_wide", UINT32),
    _unsigned(888, "pv_on_output_l3_wide", UINT32),
    _unsigned(890, "pv_on_grid_l1_wide", UINT32),
    _unsigned(892, "pv_on_grid_l2_wide", UINT32),
    _unsigned(894, "pv_on_grid_l3_wide", UINT32),
    _unsigned(896, "pv_on_genset_l1_wide", UINT32),
    _unsigned(898, "pv_on_genset_l2_wide", UINT32),
    _unsigned(900, "pv_on_genset_l3_wide", UINT32),
    _unsigned(902, "load_l1_wide", UINT32),
    _unsigned(904, "load_l2_wide", UINT32),
    _unsigned(906, "load_l3_wide", UINT32),
    Register(908, "grid_l1_wide", INT32, 1, "W"),
    Register(910, "grid_l2_wide", INT32, 1, "W"),
    Register(912, "grid_l3_wide", INT32, 1, "W"),
    Register(914, "genset_l1_wide", INT32, 1, "W"),
    Register(916, "genset_l2_wide", INT32, 1, "W"),
    Register(918, "genset_l3_wide", INT32, 1, "W"),
    _flag(5400, "dynamic_ess_active", poll=SLOW),
    _flag(5402, "dynamic_ess_available", poll=SLOW),
    Register(5404, "dynamic_ess_error", enum=DYNAMIC_ESS_ERROR, poll=SLOW),
    Register(5406, "dynamic_ess_strategy", enum=DYNAMIC_ESS_STRATEGY, poll=SLOW),
    Register(5407, "dynamic_ess_target_soc", unit="%", poll=SLOW),
)


def _setting(
    address: int,
    name: str,
    data_type: DataType = UINT16,
    gain: float = 1,
    unit: str | None = None,
    access_type: AccessType = RW,
    *,
    enum: Mapping[int, str] | None = None,
    sentinels: tuple[int, ...] = (),
    valid: range | None = None,
) -> Register:
    """Return a register of the settings service: flash, each write is logged."""
    return Register(
        address,
        name,
        data_type,
        gain,
        unit,
        access_type,
        poll=SLOW,
        persistent=True,
        enum=enum,
        sentinels=sentinels,
        valid=valid,
    )


# -1 is 'no limit'. Where the step is coarse (2704, 2706) the server returns -1 as 0,
# the same as 'nothing allowed': only the 32-bit registers of 2026 tell them apart.
SETTINGS: Final = (
    _setting(2700, "grid_setpoint_kept", INT16, 1, "W"),
    _setting(2701, "legacy_charge_percentage", UINT16, 1, "%"),
    _setting(2702, "legacy_discharge_percentage", UINT16, 1, "%"),
    _setting(2703, "grid_setpoint_kept_coarse", INT16, 0.01, "W"),
    _setting(2704, "discharge_power_limit_coarse", INT16, 0.1, "W", sentinels=(WORD,)),
    _setting(2705, "charge_current_limit", INT16, 1, "A", sentinels=(WORD,)),
    _setting(2706, "max_feed_in_power_coarse", INT16, 0.01, "W", sentinels=(WORD,)),
    _setting(2707, "feed_in_dc_pv", valid=_FLAG),
    _setting(2708, "prevent_ac_pv_feed_in", valid=_FLAG),
    _setting(2710, "charge_voltage_limit", UINT16, 10, "V", sentinels=(0,)),
    _setting(2711, "ac_input_1_type", enum=INPUT_TYPE),
    _setting(2712, "ac_input_2_type", enum=INPUT_TYPE),
    _setting(2713, "ac_export_limit", INT16, 1, "A", sentinels=(WORD,)),
    _setting(2714, "ac_import_limit", INT16, 1, "A", sentinels=(WORD,)),
    _setting(2715, "peak_shaving_mode", enum=PEAK_SHAVING),
    _setting(2718, "grid_metering", enum=GRID_METERING),
    _setting(2720, "discharge_power_limit_wide", INT32, 1, "W"),
    _setting(2722, "max_feed_in_power_wide", INT32, 1, "W"),
    _setting(2900, "battery_life_state", valid=range(len(ESS_STATE))),
    _setting(2901, "min_soc", UINT16, 10, "%"),
    _setting(2902, "working_mode", enum=ESS_MODE),
    _setting(2903, "active_soc_limit", UINT16, 10, "%", AccessType.READ),
)

# Present only with an ESS assistant in the Multi.
HUB4: Final = (
    _flag(2709, "feed_in_limiting_active", poll=SLOW),
    Register(2716, "grid_setpoint_volatile", INT32, 1, "W", RW, poll=SLOW),
    _flag(2724, "disable_pv_inverters", poll=SLOW),
)


def _alarms(service: str, names: Mapping[int, str]) -> Iterable[Register]:
    """Return alarm registers by Victron's own names."""
    return (
        Register(address, f"{service}/{name}", poll=SLOW, valid=_ALARM)
        for address, name in names.items()
    )


_PHASE_ALARMS = ("HighTemperature", "LowBattery", "Overload", "Ripple")
VEBUS_ALARMS: Final = {
    34: "HighTemperature",
    35: "LowBattery",
    36: "Overload",
    42: "TemperatureSensor",
    43: "VoltageSensor",
    **{
        44 + 4 * phase + place: f"L{phase + 1}/{name}"
        for phase in range(3)
        for place, name in enumerate(_PHASE_ALARMS)
    },
    63: "PhaseRotation",
    64: "GridLost",
    94: "BmsPreAlarm",
}
BATTERY_ALARMS: Final = {
    267: "Alarm",
    268: "LowVoltage",
    269: "HighVoltage",
    270: "LowStarterVoltage",
    271: "HighStarterVoltage",
    272: "LowSoc",
    273: "LowTemperature",
    274: "HighTemperature",
    275: "MidVoltage",
    278: "FuseBlown",
    279: "HighInternalTemperature",
    320: "HighChargeCurrent",
    321: "HighDischargeCurrent",
    322: "CellImbalance",
    323: "InternalFailure",
    324: "HighChargeTemperature",
    325: "LowChargeTemperature",
    326: "LowCellVoltage",
    327: "BmsCable",
    328: "Contactor",
    329: "HighCurrent",
}

VEBUS: Final = (
    *_alarms("vebus", VEBUS_ALARMS),
    Register(3, "grid_voltage_l1", UINT16, 10, "V"),
    Register(4, "grid_voltage_l2", UINT16, 10, "V"),
    Register(5, "grid_voltage_l3", UINT16, 10, "V"),
    Register(6, "grid_current_l1", INT16, 10, "A"),
    Register(7, "grid_current_l2", INT16, 10, "A"),
    Register(8, "grid_current_l3", INT16, 10, "A"),
    Register(9, "grid_frequency", INT16, 100, "Hz"),
    Register(10, "grid_frequency_l2", INT16, 100, "Hz"),
    Register(11, "grid_frequency_l3", INT16, 100, "Hz"),
    Register(12, "input_power_l1", INT16, 0.1, "W"),
    Register(13, "input_power_l2", INT16, 0.1, "W"),
    Register(14, "input_power_l3", INT16, 0.1, "W"),
    Register(15, "output_voltage_l1", UINT16, 10, "V"),
    Register(16, "output_voltage_l2", UINT16, 10, "V"),
    Register(17, "output_voltage_l3", UINT16, 10, "V"),
    Register(18, "output_current_l1", INT16, 10, "A"),
    Register(19, "output_current_l2", INT16, 10, "A"),
    Register(20, "output_current_l3", INT16, 10, "A"),
    Register(21, "output_frequency", INT16, 100, "Hz"),
    # Whether the limit is kept in flash is not documented: treated as if it were.
    Register(
        22, "ac_input_current_limit", INT16, 10, "A", RW, poll=SLOW, persistent=True
    ),
    Register(23, "output_power_l1", INT16, 0.1, "W"),
    Register(24, "output_power_l2", INT16, 0.1, "W"),
    Register(25, "output_power_l3", INT16, 0.1, "W"),
    Register(26, "vebus_dc_voltage", UINT16, 100, "V"),
    Register(27, "vebus_battery_current", INT16, 10, "A"),
    Register(28, "phases", poll=SLOW),
    Register(29, "active_input", enum=ACTIVE_INPUT),
    # Writable in the list, but never written here.
    Register(30, "vebus_soc", UINT16, 10, "%", poll=SLOW),
    Register(31, "device_status", enum=DEVICE_STATUS),
    Register(32, "vebus_error", enum=VEBUS_ERROR),
    Register(
        33, "switch_position", UINT16, 1, None, RW, enum=SWITCH_POSITION, poll=SLOW
    ),
    # The control block: AC input setpoint (+ = from the grid, charging) and the two
    # flags that win over it; volatile.
    Register(37, "setpoint_l1", INT16, 1, "W", RW),
    _flag(38, "disable_charge", RW),
    _flag(39, "disable_feed_in", RW),
    Register(40, "setpoint_l2", INT16, 1, "W", RW),
    Register(41, "setpoint_l3", INT16, 1, "W", RW),
    _flag(56, "disable_pv_inverter", RW, poll=SLOW),
    _flag(57, "vebus_bms_allow_charge"),
    _flag(58, "vebus_bms_allow_discharge"),
    _flag(59, "vebus_bms_expected"),
    Register(60, "vebus_bms_error"),
    Register(61, "vebus_temperature", INT16, 10, "°C", sentinels=(0,)),
    # Any write to it restarts the Multi: never written here.
    Register(62, "vebus_reset", access_type=AccessType.WRITE),
    _flag(65, "no_overvoltage_feed_in", RW, poll=SLOW),
    Register(66, "max_overvoltage_feed_in_l1", UINT16, 0.01, "W", RW, poll=SLOW),
    _flag(71, "setpoint_is_feed_in_limit", RW, poll=SLOW),
    _flag(73, "sustain_active", poll=SLOW),
    # Volatile counters: they start at 0 when the Multi or the GX restarts.
    Register(74, "energy_ac_in_1_to_ac_out", UINT32, 100, "kWh", poll=SLOW),
    Register(76, "energy_ac_in_1_to_inverter", UINT32, 100, "kWh", poll=SLOW),
    Register(78, "energy_ac_in_2_to_ac_out", UINT32, 100, "kWh", poll=SLOW),
    Register(80, "energy_ac_in_2_to_inverter", UINT32, 100, "kWh", poll=SLOW),
    Register(82, "energy_ac_out_to_ac_in_1", UINT32, 100, "kWh", poll=SLOW),
    Register(84, "energy_ac_out_to_ac_in_2", UINT32, 100, "kWh", poll=SLOW),
    Register(86, "energy_inverter_to_ac_in_1", UINT32, 100, "kWh", poll=SLOW),
    Register(88, "energy_inverter_to_ac_in_2", UINT32, 100, "kWh", poll=SLOW),
    Register(90, "energy_inverter_to_ac_out", UINT32, 100, "kWh", poll=SLOW),
    Register(92, "energy_ac_out_to_inverter", UINT32, 100, "kWh", poll=SLOW),
    Register(95, "charge_state", enum=CHARGE_STATE, poll=SLOW),
    Register(96, "setpoint_l1_wide", INT32, 1, "W", RW, poll=SLOW),
    Register(98, "setpoint_l2_wide", INT32, 1, "W", RW, poll=SLOW),
    Register(100, "setpoint_l3_wide", INT32, 1, "W", RW, poll=SLOW),
    # A button, like 62.
    Register(105, "vebus_redetect", access_type=AccessType.WRITE),
    Register(130, "rated_power", UINT32, 1, "W", valid=_RATING, poll=ONCE),
    Register(132, "rated_power_l1", UINT32, 1, "W", valid=_PHASE_RATING, poll=ONCE),
    Register(134, "rated_power_l2", UINT32, 1, "W", valid=_PHASE_RATING, poll=ONCE),
    Register(136, "rated_power_l3", UINT32, 1, "W", valid=_PHASE_RATING, poll=ONCE),
    Register(140, "custom_name", STRING, length=8, poll=ONCE),
)

BATTERY: Final = (
    *_alarms("battery", BATTERY_ALARMS),
    Register(256, "bms_power_wide", INT32, 1, "W", poll=SLOW),
    Register(258, "bms_power", INT16, 1, "W", poll=SLOW),
    Register(259, "bms_voltage", UINT16, 100, "V"),
    Register(
        260, "starter_battery_voltage", UINT16, 100, "V", sentinels=(0,), poll=SLOW
    ),
    Register(261, "bms_current", INT16, 10, "A"),
    Register(262, "bms_temperature", INT16, 10, "°C"),
    Register(263, "battery_mid_voltage", UINT16, 100, "V", sentinels=(0,), poll=SLOW),
    Register(265, "bms_consumed_ah", UINT16, -10, "Ah", poll=SLOW),
    Register(266, "bms_soc", UINT16, 10, "%"),
    _flag(280, "battery_relay", RW, poll=SLOW),
    Register(284, "charge_cycles", sentinels=(0,), poll=SLOW),
    # A BMS on the CAN bus keeps no history and reads 0. Wraps at 6553.6 kWh.
    Register(
        301, "energy_discharged_total", UINT16, 10, "kWh", sentinels=(0,), poll=SLOW
    ),
    Register(302, "energy_charged_total", UINT16, 10, "kWh", sentinels=(0,), poll=SLOW),
    Register(303, "bms_time_to_go", UINT16, 0.01, "s", sentinels=(0,), poll=SLOW),
    Register(304, "battery_soh", UINT16, 10, "%", sentinels=(0,), poll=SLOW),
    # 0 V means that no limits are published (a shunt): 306 to 308 are void then.
    Register(305, "max_charge_voltage", UINT16, 10, "V", sentinels=(0,), poll=SLOW),
    Register(306, "low_voltage_limit", UINT16, 10, "V", sentinels=(0,), poll=SLOW),
    Register(307, "bms_charge_current_limit", UINT16, 10, "A", poll=SLOW),
    Register(308, "bms_discharge_current_limit", UINT16, 10, "A", poll=SLOW),
    Register(309, "rated_capacity_ah", UINT16, 10, "Ah", sentinels=(0,), poll=SLOW),
    Register(318, "min_cell_temperature", INT16, 10, "°C", sentinels=(0,), poll=SLOW),
    Register(319, "max_cell_temperature", INT16, 10, "°C", sentinels=(0,), poll=SLOW),
    Register(1282, "battery_bms_state", enum=BMS_STATE, poll=SLOW),
    Register(1283, "battery_error", poll=SLOW),
    Register(1290, "min_cell_voltage", UINT16, 100, "V", sentinels=(0,), poll=SLOW),
    Register(1291, "max_cell_voltage", UINT16, 100, "V", sentinels=(0,), poll=SLOW),
    _flag(1297, "allow_to_charge", poll=SLOW),
    _flag(1298, "allow_to_discharge", poll=SLOW),
    Register(1302, "modules_offline", poll=SLOW),
    Register(1303, "modules_online", poll=SLOW),
    Register(1304, "modules_blocking_charge", poll=SLOW),
    Register(1305, "modules_blocking_discharge", poll=SLOW),
    # At 1319 before 2026, where something else sits now: only read at its new place.
    Register(1322, "battery_mode", enum=BATTERY_MODE, poll=SLOW),
)

GRID_METER: Final = (
    Register(2600, "meter_power_l1", INT16, 1, "W", poll=SLOW),
    Register(2601, "meter_power_l2", INT16, 1, "W", poll=SLOW),
    Register(2602, "meter_power_l3", INT16, 1, "W", poll=SLOW),
    Register(2609, "grid_meter_serial", STRING, length=7, poll=ONCE),
    Register(2616, "meter_voltage_l1", UINT16, 10, "V", poll=SLOW),
    Register(2617, "meter_current_l1", INT16, 10, "A", poll=SLOW),
    Register(2618, "meter_voltage_l2", UINT16, 10, "V", poll=SLOW),
    Register(2619, "meter_current_l2", INT16, 10, "A", poll=SLOW),
    Register(2620, "meter_voltage_l3", UINT16, 10, "V", poll=SLOW),
    Register(2621, "meter_current_l3", INT16, 10, "A", poll=SLOW),
    Register(2622, "grid_import_l1", UINT32, 100, "kWh", poll=SLOW),
    Register(2624, "grid_import_l2", UINT32, 100, "kWh", poll=SLOW),
    Register(2626, "grid_import_l3", UINT32, 100, "kWh", poll=SLOW),
    Register(2628, "grid_export_l1", UINT32, 100, "kWh", poll=SLOW),
    Register(2630, "grid_export_l2", UINT32, 100, "kWh", poll=SLOW),
    Register(2632, "grid_export_l3", UINT32, 100, "kWh", poll=SLOW),
    Register(2634, "grid_import_total", UINT32, 100, "kWh", poll=SLOW),
    Register(2636, "grid_export_total", UINT32, 100, "kWh", poll=SLOW),
    Register(2638, "meter_power_l1_wide", INT32, 1, "W", poll=SLOW),
    Register(2640, "meter_power_l2_wide", INT32, 1, "W", poll=SLOW),
    Register(2642, "meter_power_l3_wide", INT32, 1, "W", poll=SLOW),
    Register(2644, "meter_frequency", UINT16, 100, "Hz", poll=SLOW),
)

PV_INVERTER: Final = (
    Register(1026, "pv_position", poll=SLOW),
    Register(1029, "pv_inverter_l1", UINT16, 1, "W", poll=SLOW),
    Register(1033, "pv_inverter_l2", UINT16, 1, "W", poll=SLOW),
    Register(1037, "pv_inverter_l3", UINT16, 1, "W", poll=SLOW),
    Register(1046, "pv_inverter_energy_l1", UINT32, 100, "kWh", poll=SLOW),
    Register(1048, "pv_inverter_energy_l2", UINT32, 100, "kWh", poll=SLOW),
    Register(1050, "pv_inverter_energy_l3", UINT32, 100, "kWh", poll=SLOW),
    # The list says kW, the scale says W.
    Register(1052, "pv_inverter_power", INT32, 1, "W", poll=SLOW),
    Register(1054, "pv_inverter_rated_power", UINT32, 1, "W", poll=SLOW),
    Register(1056, "pv_inverter_power_limit", UINT32, 1, "W", poll=SLOW),
)

# The Multi RS, another family: read only here. It would be controlled by 4609 = 3 and
# 4610, which is untested with this code.
MULTI_RS: Final = (
    Register(4500, "grid_voltage_l1", UINT16, 10, "V"),
    Register(4501, "grid_voltage_l2", UINT16, 10, "V"),
    Register(4502, "grid_voltage_l3", UINT16, 10, "V"),
    Register(4506, "input_power_l1", INT16, 0.1, "W"),
    Register(4507, "input_power_l2", INT16, 0.1, "W"),
    Register(4508, "input_power_l3", INT16, 0.1, "W"),
    Register(4516, "output_power_l1", INT16, 0.1, "W"),
    Register(4517, "output_power_l2", INT16, 0.1, "W"),
    Register(4518, "output_power_l3", INT16, 0.1, "W"),
    Register(4524, "phases", poll=SLOW),
    Register(4526, "vebus_dc_voltage", UINT16, 100, "V"),
    Register(4527, "vebus_battery_current", INT16, 10, "A"),
    Register(4528, "vebus_temperature", INT16, 10, "°C", sentinels=(0,)),
    Register(4529, "vebus_soc", UINT16, 10, "%", poll=SLOW),
    Register(4530, "device_status", enum=DEVICE_STATUS),
    Register(4531, "switch_position", enum=SWITCH_POSITION, poll=SLOW),
    Register(4540, "rs_pv_power", UINT16, 1, "W"),
    Register(4545, "rs_error", poll=SLOW),
    Register(4609, "rs_ess_mode", poll=SLOW),
    Register(4610, "rs_setpoint", INT32, 1, "W", poll=SLOW),
    _flag(4612, "rs_disable_feed_in", poll=SLOW),
    _flag(4613, "rs_disable_charge", poll=SLOW),
    Register(4614, "rs_min_soc", unit="%", poll=SLOW),
)

LAYOUT: Final = Layout(
    max_gap=64,
    # An overlap fault.
    borders=frozenset({1319}),
    # Faults of earlier servers, which newer ones do not have. 872: an overlap until
    # 1.0.95. 2709, 2716, 2724 belong to hub4: before 1.0.89 a block that runs into them
    # from the settings is answered with 0 for them, wrong data without an error; so 0
    # proves nothing, unless there is 2720, which came with 1.0.97. 2718 overlapped 2716.
    unproven=frozenset({872, 2709, 2710, 2716, 2718, 2724}),
    true_zeros=2720,
    # 30: the SOC of the inverter would count from there. 62 and 105: any write restarts
    # the inverter, or makes it search its devices again. 2701, 2702: without effect
    # while DVCC is on. 2703: the grid setpoint in flash, in steps of 100 W.
    never_write=frozenset({30, 62, 105, 2701, 2702, 2703}),
)
