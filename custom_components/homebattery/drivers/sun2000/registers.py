"""Huawei's registers, as several independent sources agree on them.

Huawei's own "Solar Inverter Modbus Interface Definitions" (issue 04) and the open
clients of this inverter; rows that only one of them has are marked (1). Physical
value = raw ÷ gain. Where Huawei writes kW with gain 1000, the raw word is W.

All are holding registers. What is 'not available' has a value of its own for each
type (0xFFFF, 0x7FFF, …). Only what this driver has a reason to write is writable.
"""

from collections.abc import Mapping
from typing import Final

from ..measurements import Poll
from ..modbus.planning import Layout
from ..modbus.register import WORD, AccessType, DataType, Register

R, RW, W = AccessType.READ, AccessType.READ_WRITE, AccessType.WRITE
FAST, SLOW, ONCE = Poll.FAST, Poll.SLOW, Poll.ONCE
INT16, UINT16 = DataType.INT16, DataType.UINT16
INT32, UINT32 = DataType.INT32, DataType.UINT32
STRING = DataType.STRING

_MINUTES: Final = 1 / 60
"""The gain of a register in minutes, shown in seconds."""

_INVALID: Final[Mapping[DataType, tuple[int, ...]]] = {
    INT16: (0x7FFF,),
    UINT16: (WORD,),
    INT32: (0x7FFF_FFFF,),
    UINT32: (0xFFFF_FFFF,),
}

# Codes -----------------------------------------------------------------------

DEVICE_STATUS = {
    0x0000: "standby_initializing",
    0x0001: "standby_detecting_insulation_resistance",
    0x0002: "standby_detecting_irradiation",
    0x0003: "standby_grid_detecting",
    0x0100: "starting",
    0x0200: "on_grid",
    0x0201: "grid_connection_power_limited",
    0x0202: "grid_connection_self_derating",
    0x0203: "off_grid_running",
    0x0300: "shutdown_fault",
    0x0301: "shutdown_command",
    0x0302: "shutdown_ovgr",
    0x0303: "shutdown_communication_disconnected",
    0x0304: "shutdown_power_limited",
    0x0305: "shutdown_manual_startup_required",
    0x0306: "shutdown_dc_switches_disconnected",
    0x0307: "shutdown_rapid_cutoff",
    0x0308: "shutdown_input_underpower",
    0x030A: "shutdown_rapid_command",
    0x030B: "shutdown_backup_abnormal",
    0x030C: "shutdown_end_of_discharge",
    0x0401: "grid_scheduling_cosphi_p_curve",
    0x0402: "grid_scheduling_q_u_curve",
    0x0403: "grid_scheduling_pf_u_curve",
    0x0404: "grid_scheduling_dry_contact",
    0x0405: "grid_scheduling_q_p_curve",
    0x0500: "spot_check_ready",
    0x0501: "spot_checking",
    0x0600: "inspecting",
    0x0700: "afci_self_check",
    0x0800: "iv_scanning",
    0x0900: "dc_input_detection",
    0x0A00: "off_grid_charging",
    0x0A01: "standby_backup_abnormal",
    0xA000: "standby_no_irradiation",
}
SHUTDOWN_COMMAND: Final = "shutdown_command"

ALARMS: Final[Mapping[str, tuple[str, ...]]] = {
    "alarms_1": (
        "High string voltage (2001)",
        "DC arc fault (2002)",
        "String reversed (2011)",
        "String backfeed (2012)",
        "Abnormal string power (2013)",
        "AFCI self-check failed (2021)",
        "Phase short-circuited to PE (2031)",
        "Grid loss (2032)",
        "Grid undervoltage (2033)",
        "Grid overvoltage (2034)",
        "Grid voltage imbalance (2035)",
        "Grid overfrequency (2036)",
        "Grid underfrequency (2037)",
        "Unstable grid frequency (2038)",
        "Output overcurrent (2039)",
        "DC component in the output (2040)",
    ),
    "alarms_2": (
        "Abnormal residual current (2051)",
        "Abnormal grounding (2061)",
        "Low insulation resistance (2062)",
        "Overtemperature (2063)",
        "Device fault (2064)",
        "Upgrade failed (2065)",
        "Licence expired (2066)",
        "Faulty monitoring unit (61440)",
        "Faulty power collector (2067)",
        "Battery abnormal (2068)",
        "Active islanding (2070)",
        "Passive islanding (2071)",
        "Transient AC overvoltage (2072)",
        "Peripheral port short-circuited (2075)",
        "Output overload (2077)",
        "Abnormal PV configuration (2080)",
    ),
    "alarms_3": (
        "Optimizer fault (2081)",
        "PID operation abnormal (2085)",
        "High string voltage to ground (2014)",
        "External fan abnormal (2086)",
        "Battery reversed (2069)",
        "On/off-grid controller abnormal (2082)",
        "String loss (2015)",
        "Internal fan abnormal (2087)",
        "DC protection unit abnormal (2088)",
        "EL unit abnormal (2089)",
        "Active power adjustment abnormal (2090)",
        "Reactive power adjustment abnormal (2091)",
        "CT wiring abnormal (2092)",
        "DC arc fault, to be cleared by hand (2003)",
        "DC switch abnormal (2093)",
        "Allowed battery discharge power is low (2094)",
    ),
}
"""The alarms of each alarm register, bit 0 first, with Huawei's id."""

METER_STATUS = {0: "offline", 1: "normal"}
METER_TYPE = {0: "single_phase", 1: "three_phase"}
METER_CHECK = {0: "recognizing", 1: "match", 2: "mismatch"}

BATTERY_STATUS = {0: "offline", 1: "standby", 2: "running", 3: "fault", 4: "sleep_mode"}
BATTERY_MODE = {
    0: "none",
    1: "forced",
    2: "time_of_use_lg",
    3: "fixed_charge_discharge",
    4: "maximise_self_consumption",
    5: "fully_fed_to_grid",
    6: "time_of_use_luna2000",
    7: "remote_maximise_self_consumption",
    8: "remote_fully_fed_to_grid",
    9: "remote_time_of_use",
    10: "ai",
    11: "remote_ai",
    12: "third_party",
}
LG_RESU, LUNA2000 = 1, 2
BATTERY_MODELS: Final[Mapping[int, tuple[str, str]]] = {
    LG_RESU: ("LG", "RESU"),
    LUNA2000: ("Huawei", "LUNA2000"),
}
"""Maker and model of a battery unit, by the number of its kind; others occur."""

WORKING_MODE = {
    0: "adaptive",
    1: "fixed_charge_discharge",
    2: "maximise_self_consumption",
    3: "time_of_use_lg",
    4: "fully_fed_to_grid",
    5: "time_of_use_luna2000",
}
MODES_OF_OTHERS: Final[Mapping[int, str]] = {
    LG_RESU: "time_of_use_luna2000",
    LUNA2000: "time_of_use_lg",
}
"""The working mode that a kind of battery does not have."""

STOP, CHARGE, DISCHARGE = "stop", "charge", "discharge"
FORCED_COMMAND = {0: STOP, 1: CHARGE, 2: DISCHARGE}
FOR_A_TIME = "duration"
FORCED_END = {0: FOR_A_TIME, 1: "target_soc"}
SURPLUS_PV_USE = {0: "feed_in", 1: "charge"}
FEED_IN_MODE = {
    0: "unlimited",
    1: "di_scheduling",
    5: "zero_export",
    6: "power_limit",
    7: "percentage_limit",
}
REMOTE_CONTROL = {
    0: "local",
    1: "remote_maximise_self_consumption",
    2: "remote_fully_fed_to_grid",
    3: "remote_time_of_use",
    4: "remote_ai",
    5: "third_party",
}
PEAK_SHAVING = {0: "off", 1: "active_power", 2: "apparent_power"}

# Registers -------------------------------------------------------------------
# A name that is a measurement is that measurement; the others feed the formulas,
# or nothing yet.


def _r(
    address: int,
    name: str,
    data_type: DataType = UINT16,
    gain: float = 1,
    unit: str | None = None,
    poll: Poll = SLOW,
    *,
    access: AccessType = R,
    persistent: bool = False,
    enum: Mapping[int, str] | None = None,
    length: int = 0,
) -> Register:
    """Return a register whose invalid value is that of its type."""
    return Register(
        address,
        name,
        data_type,
        gain,
        unit,
        access,
        poll=poll,
        persistent=persistent,
        sentinels=_INVALID.get(data_type, ()),
        enum=enum,
        length=length,
    )


def _full_bits(address: int, name: str) -> Register:
    """Return a register of bits, all of which may be set: it has no invalid value."""
    return Register(address, name, UINT16, poll=SLOW)


def _text(address: int, name: str, length: int) -> Register:
    """Return a text that does not change."""
    return _r(address, name, STRING, poll=ONCE, length=length)


def _setting(
    address: int,
    name: str,
    data_type: DataType = UINT16,
    gain: float = 1,
    unit: str | None = None,
    *,
    enum: Mapping[int, str] | None = None,
) -> Register:
    """Return a setting, which the device keeps in flash.

    Where no source says whether it is kept (40125, 40126, 42054, 42055), that is
    assumed [uncertain].
    """
    return _r(
        address,
        name,
        data_type,
        gain,
        unit,
        access=RW,
        persistent=True,
        enum=enum,
    )


def _phases(name: str, first: int) -> list[tuple[int, str]]:
    """Return addresses and names of three 32-bit registers, one a phase."""
    return [(first + 2 * phase, f"{name}_l{phase + 1}") for phase in range(3)]


_LINES: Final = ("l1_l2", "l2_l3", "l3_l1")
LINE_VOLTAGES: Final = tuple(f"line_voltage_{line}" for line in _LINES)

IDENTITY: Final = (
    _text(30000, "model", 15),
    _text(30015, "serial_number", 10),
    _text(30025, "part_number", 10),
    _text(30035, "software_version", 15),
    _text(30050, "firmware", 15),
    _r(30068, "protocol_version", UINT32, poll=ONCE),
    _r(30070, "model_id", poll=ONCE),
    _r(30071, "pv_strings", poll=ONCE),
    _r(30072, "mppts", poll=ONCE),
    _r(30073, "rated_power", UINT32, 1, "W", ONCE),
    _r(30075, "max_active_power", UINT32, 1, "W", ONCE),
    _r(30077, "max_apparent_power", UINT32, 1, "VA", ONCE),
    _r(30079, "max_reactive_power_out", INT32, 1, "var", ONCE),
    _r(30081, "max_reactive_power_in", INT32, 1, "var", ONCE),
    _r(30083, "present_max_active_power", UINT32, 1, "W"),
    _r(30085, "present_max_apparent_power", UINT32, 1, "VA"),
    # (1) The first of the texts about hardware and boards, up to 31145.
    _text(31000, "hardware_version", 15),
)

_INVERTER: Final = (
    _r(32000, "state_1"),
    _r(32002, "state_2"),
    _r(32003, "state_3", UINT32),
    _full_bits(32008, "alarms_1"),
    _full_bits(32009, "alarms_2"),
    _r(32010, "alarms_3"),
    _r(32064, "pv_power", INT32, 1, "W", FAST),
    _r(32078, "peak_power_today", INT32, 1, "W"),
    _r(32080, "active_power", INT32, 1, "W", FAST),
    _r(32082, "reactive_power", INT32, 1, "var", FAST),
    _r(32084, "power_factor", INT16, 1000, None, FAST),
    _r(32085, "grid_frequency", UINT16, 100, "Hz", FAST),
    _r(32086, "efficiency", UINT16, 100, "%"),
    _r(32087, "device_temperature", INT16, 10, "°C", FAST),
    _r(32088, "insulation_resistance", UINT16, 1000, "MΩ"),
    _r(32089, "device_status", poll=FAST, enum=DEVICE_STATUS),
    _r(32090, "fault_code"),
    # Seconds from 1970 on by the clock on the wall, with time zone and daylight saving.
    _r(32091, "started_at", UINT32, 1, "s"),
    _r(32093, "stopped_at", UINT32, 1, "s"),
    _r(32095, "active_power_fast", INT32, 1, "W", FAST),
    # AC output: with what the battery gave, without what it took.
    _r(32106, "energy_yield_total", UINT32, 100, "kWh"),
    _r(32108, "pv_energy_total", UINT32, 100, "kWh"),
    _r(32112, "energy_yield_this_hour", UINT32, 100, "kWh"),
    _r(32114, "energy_yield_today", UINT32, 100, "kWh"),
    _r(32116, "energy_yield_this_month", UINT32, 100, "kWh"),
    _r(32118, "energy_yield_this_year", UINT32, 100, "kWh"),
    _r(32176, "bus_voltage", INT16, 10, "V"),  # (1), as the next two
    _r(32177, "max_pv_voltage", INT16, 10, "V"),
    _r(32178, "min_pv_voltage", INT16, 10, "V"),
    _r(37200, "optimizers"),
    _r(37201, "optimizers_online"),
    _r(40000, "clock", UINT32, 1, "s"),
    _setting(40125, "active_power_limit_percent", INT16, 10, "%"),
    _setting(40126, "active_power_limit", UINT32, 1, "W"),
    # Any start or shutdown takes up to five minutes; the value written is 0.
    _r(40200, "start_up", access=W),
    _r(40201, "shut_down", access=W),
    _setting(42054, "mppt_scan"),
    _setting(42055, "mppt_scan_interval", UINT16, _MINUTES, "s"),
    _r(42900, "daylight_saving_time"),
    _r(43006, "time_zone", INT16, _MINUTES, "s"),
    _r(45052, "wlan_wake_up", INT16),
    _setting(47415, "feed_in_mode", enum=FEED_IN_MODE),
    _setting(47416, "max_feed_in_power", INT32, 1, "W"),
    _setting(47418, "max_feed_in_percent", INT16, 10, "%"),
    _r(47589, "remote_control_mode", INT16, enum=REMOTE_CONTROL),
    _r(47590, "dongle_max_grid_charge_power", UINT32, 1, "W"),
    _r(47604, "backup_enabled"),
    _r(47605, "backup_voltage"),
    _r(47675, "failsafe_feed_in_power", INT32, 1, "W"),
    _setting(47954, "peak_shaving_mode", enum=PEAK_SHAVING),
    _setting(47955, "peak_shaving_soc", UINT16, 10, "%"),
    # 64 words whose form is not known well enough to read them.
    _text(47956, "peak_shaving_periods", 64),
)

_GRID_3: Final = (
    *(
        _r(32066 + line, name, UINT16, 10, "V", FAST)
        for line, name in enumerate(LINE_VOLTAGES)
    ),
    *(
        _r(32069 + phase, f"grid_voltage_l{phase + 1}", UINT16, 10, "V", FAST)
        for phase in range(3)
    ),
    *(
        _r(address, name, INT32, 1000, "A", FAST)
        for address, name in _phases("grid_current", 32072)
    ),
)
# On a single-phase inverter 32066 is the grid's voltage; 32069 is about half of it.
_GRID_1: Final = (
    _r(32066, "grid_voltage_l1", UINT16, 10, "V", FAST),
    _r(32072, "grid_current_l1", INT32, 1000, "A", FAST),
)

MAX_STRINGS: Final = 24
MAX_MPPTS: Final = 10


def inverter(phases: int, strings: int, mppts: int) -> tuple[Register, ...]:
    """Return the registers of an inverter with so many phases, strings, trackers."""
    return (
        *IDENTITY,
        *_INVERTER,
        *(_GRID_1 if phases == 1 else _GRID_3),
        *(
            register
            for string in range(min(strings, MAX_STRINGS))
            for register in (
                _r(
                    32016 + 2 * string,
                    f"pv{string + 1}_voltage",
                    INT16,
                    10,
                    "V",
                ),
                _r(
                    32017 + 2 * string,
                    f"pv{string + 1}_current",
                    INT16,
                    100,
                    "A",
                ),
            )
        ),
        *(
            _r(
                32212 + 2 * mppt, f"mppt{mppt + 1}_energy_total", UINT32, 100, "kWh"
            )  # (1)
            for mppt in range(min(mppts, MAX_MPPTS))
        ),
    )


# The meter's own sign is positive = export; power and currents are turned.
_METER: Final = (
    _r(37100, "meter_status", poll=FAST, enum=METER_STATUS),
    *(
        _r(address, name, INT32, 10, "V", FAST)
        for address, name in _phases("meter_voltage", 37101)
    ),
    *(
        _r(address, name, INT32, -100, "A", FAST)
        for address, name in _phases("meter_current", 37107)
    ),
    _r(37113, "grid_power", INT32, -1, "W", FAST),
    _r(37115, "meter_reactive_power", INT32, 1, "var", FAST),
    _r(37117, "meter_power_factor", INT16, 1000, None, FAST),
    _r(37118, "meter_frequency", INT16, 100, "Hz", FAST),
    # Some meters count what they export backwards.
    _r(37119, "meter_export", INT32, 100, "kWh"),
    _r(37121, "grid_import_total", INT32, 100, "kWh"),
    _r(37123, "meter_reactive_energy", INT32, 100, "kvarh"),
    _r(37125, "meter_type", enum=METER_TYPE),
    *(
        _r(37126 + 2 * line, f"meter_line_voltage_{name}", INT32, 10, "V", FAST)
        for line, name in enumerate(_LINES)
    ),
    *(
        _r(address, name, INT32, -1, "W", FAST)
        for address, name in _phases("grid_power", 37132)
    ),
    _r(37138, "meter_check", enum=METER_CHECK),
)


def meter(phases: int) -> tuple[Register, ...]:
    """Return the registers of the power meter."""
    if phases > 1:
        return _METER
    of_others = ("_l2", "_l3", "_l3_l1")
    return tuple(
        register for register in _METER if not register.name.endswith(of_others)
    )


BATTERY_PRODUCTS: Final = (
    # 0 is none; anything else is a battery.
    _r(47000, "battery1_product", poll=ONCE),
    _r(47089, "battery2_product", poll=ONCE),
)

# Both battery units together; the battery's own sign is positive = charging.
TOTALS: Final = (
    _r(37758, "rated_capacity", UINT32, 1000, "kWh"),
    _r(37760, "battery_soc", UINT16, 10, "%", FAST),
    _r(37762, "battery_status", poll=FAST, enum=BATTERY_STATUS),
    # Of the bus between battery and inverter, not of the cells.
    _r(37763, "battery_voltage", UINT16, 10, "V", FAST),
    _r(37764, "battery_current", INT16, 10, "A", FAST),
    _r(37765, "battery_power", INT32, 1, "W", FAST),
    _r(37780, "energy_charged_total", UINT32, 100, "kWh"),
    _r(37782, "energy_discharged_total", UINT32, 100, "kWh"),
    _r(37784, "energy_charged_today", UINT32, 100, "kWh"),
    _r(37786, "energy_discharged_today", UINT32, 100, "kWh"),
)

# The same from unit 1 alone, for firmware without the block of both (LG RESU).
TOTALS_OF_UNIT_1: Final = (
    _r(37000, "battery_status", poll=FAST, enum=BATTERY_STATUS),
    _r(37001, "battery_power", INT32, 1, "W", FAST),
    _r(37003, "battery_voltage", UINT16, 10, "V", FAST),
    _r(37004, "battery_soc", UINT16, 10, "%", FAST),
    _r(37015, "energy_charged_today", UINT32, 100, "kWh"),
    _r(37017, "energy_discharged_today", UINT32, 100, "kWh"),
    _r(37021, "battery_current", INT16, 10, "A", FAST),
    _r(37066, "energy_charged_total", UINT32, 100, "kWh"),
    _r(37068, "energy_discharged_total", UINT32, 100, "kWh"),
)

# 37026 and 37036 (versions) raise errors on some models and are not here.
UNIT_1: Final = (
    _r(37000, "battery1_status", enum=BATTERY_STATUS),
    _r(37001, "battery1_power", INT32, 1, "W"),
    _r(37003, "battery1_voltage", UINT16, 10, "V"),
    _r(37004, "battery1_soc", UINT16, 10, "%"),
    _r(37006, "battery1_mode", enum=BATTERY_MODE),
    _r(37007, "battery1_rated_charge_power", UINT32, 1, "W"),
    _r(37009, "battery1_rated_discharge_power", UINT32, 1, "W"),
    _r(37014, "battery1_fault_code"),  # uncertain
    _r(37015, "battery1_charged_today", UINT32, 100, "kWh"),
    _r(37017, "battery1_discharged_today", UINT32, 100, "kWh"),
    _r(37021, "battery1_current", INT16, 10, "A"),
    _r(37022, "battery1_temperature", INT16, 10, "°C"),
    # Of the forced command; some firmware leaves it empty.
    _r(37025, "forced_time_left", UINT16, _MINUTES, "s"),
    _text(37052, "battery1_serial_number", 10),
    _r(37066, "battery1_charged_total", UINT32, 100, "kWh"),
    _r(37068, "battery1_discharged_total", UINT32, 100, "kWh"),
    _text(37814, "battery1_firmware", 15),
)

UNIT_2: Final = (
    _text(37700, "battery2_serial_number", 10),
    _r(37738, "battery2_soc", UINT16, 10, "%"),
    _r(37741, "battery2_status", enum=BATTERY_STATUS),
    _r(37743, "battery2_power", INT32, 1, "W"),
    _r(37746, "battery2_charged_today", UINT32, 100, "kWh"),
    _r(37748, "battery2_discharged_today", UINT32, 100, "kWh"),
    _r(37750, "battery2_voltage", UINT16, 10, "V"),
    _r(37751, "battery2_current", INT16, 10, "A"),
    _r(37752, "battery2_temperature", INT16, 10, "°C"),
    _r(37753, "battery2_charged_total", UINT32, 100, "kWh"),
    _r(37755, "battery2_discharged_total", UINT32, 100, "kWh"),
    _text(37799, "battery2_firmware", 15),
)
UNITS: Final[Mapping[int, tuple[Register, ...]]] = {1: UNIT_1, 2: UNIT_2}
PACKS: Final = (1, 2, 3)

_PACK_BASES: Final[Mapping[int, int]] = {1: 38200, 2: 38326}
_PACK_WORDS: Final = 42
_PACK_STATE: Final = 28
"""Words of a pack's identity, before its values."""
_PACK_TEMPERATURES: Final[Mapping[int, int]] = {1: 38452, 2: 38458}


def pack_serial_number(unit: int, pack: int) -> Register:
    """Return the register of a pack's serial number; an empty slot has none."""
    base = _PACK_BASES[unit] + _PACK_WORDS * (pack - 1)
    return _text(base, f"battery{unit}_pack{pack}_serial_number", 10)


def battery_pack(unit: int, pack: int) -> tuple[Register, ...]:
    """Return the registers of one of up to three packs of a battery unit."""
    base = _PACK_BASES[unit] + _PACK_WORDS * (pack - 1)
    warmth = _PACK_TEMPERATURES[unit] + 2 * (pack - 1)
    name = f"battery{unit}_pack{pack}"
    return (
        pack_serial_number(unit, pack),
        _text(base + 10, f"{name}_firmware", 15),
        _r(base + 28, f"{name}_status"),  # codes unknown
        _r(base + 29, f"{name}_soc", UINT16, 10, "%"),
        _r(base + 33, f"{name}_power", INT32, 1, "W"),
        _r(base + 35, f"{name}_voltage", UINT16, 10, "V"),
        _r(base + 36, f"{name}_current", INT16, 10, "A"),
        _r(base + 38, f"{name}_charged_total", UINT32, 100, "kWh"),
        _r(base + 40, f"{name}_discharged_total", UINT32, 100, "kWh"),
        _r(warmth, f"{name}_max_temperature", INT16, 10, "°C"),
        _r(warmth + 1, f"{name}_min_temperature", INT16, 10, "°C"),
    )


TOU_PERIODS: Final = 14
FIXED_PERIODS: Final = 10

TOU_TABLE: Final = (
    _r(47255, "tou_periods_count"),
    *(
        _r(47256 + 3 * period + word, f"tou_period{period + 1}_{name}")
        for period in range(TOU_PERIODS)
        # The last word: charge 0 or discharge 1 (high byte), days from Sunday (low).
        for word, name in enumerate(("start", "end", "days"))
    ),
)
FIXED_TABLE: Final = (
    _r(47200, "fixed_periods_count"),
    *(
        register
        for period in range(FIXED_PERIODS)
        for register in (
            _r(47201 + 4 * period, f"fixed_period{period + 1}_start"),
            _r(47202 + 4 * period, f"fixed_period{period + 1}_end"),
            # Listed as unsigned; whether below zero discharges is uncertain.
            _r(47203 + 4 * period, f"fixed_period{period + 1}_power", INT32, 1, "W"),
        )
    ),
)

CONTROL: Final = (
    # The smaller of what inverter and connected battery can do. Invalid or 0 while
    # the battery is offline.
    _r(37046, "max_charge_power", UINT32, 1, "W"),
    _r(37048, "max_discharge_power", UINT32, 1, "W"),
    *(_r(37920 + each, f"soh_calibration_{each + 1}") for each in range(6)),  # (1)
    _r(37926, "soh_calibration"),  # (1)
    _r(37927, "soh_calibration_soc"),  # (1), gain and unit unknown
    _setting(47075, "charge_power_limit", UINT32, 1, "W"),
    _setting(47077, "discharge_power_limit", UINT32, 1, "W"),
    _r(47079, "grid_point_power_limit", INT32, 1, "W"),
    _setting(47081, "max_soc", UINT16, 10, "%"),
    _setting(47082, "min_soc", UINT16, 10, "%"),
    _r(47083, "forced_duration", UINT16, _MINUTES, "s", access=RW),
    _r(47084, "forced_power_legacy", INT32, 1, "W"),
    _setting(47086, "working_mode", enum=WORKING_MODE),
    _setting(47087, "grid_charge"),
    _setting(47088, "grid_charge_cutoff_soc", UINT16, 10, "%"),
    _r(47100, "forced_command", access=RW, enum=FORCED_COMMAND),
    _r(47101, "forced_target_soc", UINT16, 10, "%"),
    _setting(47102, "backup_soc", UINT16, 10, "%"),
    _r(47107, "battery1_number"),  # (1), as all of these numbers
    _r(47108, "battery2_number"),
    _setting(47242, "grid_charge_power_limit", UINT32, 1, "W"),
    _r(47244, "max_grid_charge_power", UINT32, 1, "W"),
    _r(47246, "forced_end", access=RW, enum=FORCED_END),
    _r(47247, "forced_charge_power", UINT32, 1, "W", access=RW),
    _r(47249, "forced_discharge_power", UINT32, 1, "W", access=RW),
    _setting(47299, "surplus_pv_use", enum=SURPLUS_PV_USE),
    *(_r(47750 + each, f"battery_pack_number_{each + 1}") for each in range(6)),  # (1)
)

NEVER_WRITE: Final = frozenset(
    {
        # Measurements and identity, whatever the device would make of it.
        *range(30000, 40000),
        # Clock, time zone, WLAN, the key of another client's session.
        *(40000, 42900, 43006, 45052, 49999),
        # What the device itself calls read-only or obsolete, and the kinds of battery.
        *(47000, 47079, 47084, 47089, 47107, 47108, 47244),
        # Remote control, the dongle's own limit, the backup box, feed-in on failure.
        *(47589, 47590, 47604, 47605, 47675),
        # Tables of periods: many words of which none may be wrong.
        *range(47028, 47069),
        *range(47200, 47241),
        *range(47255, 47298),
        *range(47956, 48020),
    }
)

LAYOUT: Final = Layout(
    max_words=64,
    # Wide enough for 47075 to 47102, and for the meter, in one request each.
    max_gap=24,
    # Each begins a block behind addresses that raise errors on some models (37026…,
    # 37050, 37062, 37788…, 47109…), or on others (47251… with LG), or it is the meter,
    # which may break the connection, or a pack.
    borders=frozenset(
        {
            *(37046, 37052, 37066, 37100, 37799),
            *(47107, 47200, 47255),
            *(
                base + _PACK_WORDS * pack + part
                for base in _PACK_BASES.values()
                for pack in range(len(PACKS))
                for part in (0, _PACK_STATE)
            ),
            *_PACK_TEMPERATURES.values(),
        }
    ),
    # Each begins a block that was seen to work on a real device, behind addresses that
    # no client was seen to read across.
    unproven=frozenset(
        {
            *(30015, 30070, 30083),
            *(32024, 32064, 32116),
            *(37138, 37738, 37758, 37814),
            *(47075, 47242, 47299, 47604),
        }
    ),
    never_write=NEVER_WRITE,
)
