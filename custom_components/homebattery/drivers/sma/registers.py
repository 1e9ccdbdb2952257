"""The registers of an SMA Sunny Island, as SMA's own list has them.

SMA's "Modbus parameters and measured values" for SI4.4M, SI6.0H and SI8.0H (-12 and
-13), from firmware 3.20.09.R on. Physical value = raw ÷ gain; each type has a 'not
available' of its own. The installer's Grid Guard code (43090) is left out: it can only
be written, and this driver never does. Registers that the device allows to be written,
but that are its installer's to write, are read-only here.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ..measurements import Poll
from ..modbus.planning import Layout
from ..modbus.register import AccessType, DataType, Register

R, W, RW = AccessType.READ, AccessType.WRITE, AccessType.READ_WRITE
FAST, SLOW, ONCE = Poll.FAST, Poll.SLOW, Poll.ONCE

UNIT: Final = 3
"""The unit id of the device's own profile (126 would be SunSpec's)."""

# Codes -----------------------------------------------------------------------

BATTERY_INVERTER: Final = 8007
SMA: Final = 461
SUNNY_ISLANDS: Final[Mapping[int, str]] = {
    # The order of the four -11 is that of their ratings in an open implementation:
    # uncertain which is which.
    9278: "SI3.0M-11",
    9279: "SI4.4M-11",
    9223: "SI6.0H-11",
    9224: "SI8.0H-11",
    9331: "SI3.0M-12",
    9332: "SI4.4M-12",
    9333: "SI6.0H-12",
    9334: "SI8.0H-12",
    9474: "SI4.4M-13",
    9475: "SI6.0H-13",
    9476: "SI8.0H-13",
    9486: "SI5.0H-13",
}
"""The models that take a setpoint by 40149 and 40151."""
SUNNY_BOY_STORAGES: Final[Mapping[int, str]] = {
    # Of the codes between them nothing is known but that they are of this family.
    **dict.fromkeys(range(9324, 9327), "Sunny Boy Storage"),
    9326: "SBS2.5-1VL-40",
    **dict.fromkeys(range(9356, 9363), "Sunny Boy Storage"),
    9356: "SBS3.7-10",
    9358: "SBS5.0-10",
    9359: "SBS6.0-10",
}
"""Models of the same class, which accept the pair and do nothing: they are controlled by
40236 and 40793 to 40801, which is untested with this code."""
MODELS: Final = {**SUNNY_ISLANDS, **SUNNY_BOY_STORAGES}
OLD_MODELS: Final = frozenset({9278, 9279, 9223, 9224})
"""The models -11. They lack the BMS mode (41259); one refused 44039 and 44041."""
RATINGS: Final[Mapping[int, int]] = {9278: 2300, 9279: 3300, 9223: 4600, 9224: 6000}
"""Rated power of the models that do not report it, W."""
LEAST_RATING: Final = min(RATINGS.values())

RELEASE_TYPES: Final = "NEABRS"
"""The letter behind a firmware version, by its code."""

ON_OFF = {303: "off", 308: "on"}
YES_NO = {1129: "yes", 1130: "no"}
CONDITION = {35: "fault", 303: "off", 307: "ok", 455: "warning"}
ACTION = {
    336: "contact_manufacturer",
    337: "contact_installer",
    338: "invalid",
    887: "none",
}
BLOCK_STATUS = {1690: "fast_stop", 1796: "locked_after_error"}
EXTERNAL: Final = "external"
POWER_MODE = {303: "off", 1077: "manual_watts", 1078: "manual_percent", 1079: EXTERNAL}
MAINTENANCE_CHARGE = {
    803: "inactive",
    1771: "charging_with_pv",
    1772: "charging_with_pv_and_grid",
}
MAINS: Final = "mains"
GRID_MODE = {303: "off", 1461: MAINS, 1462: "no_backup", 1463: "backup"}
GRID_CONNECTION = {1779: "separated", 1780: "public_grid", 1781: "island"}
BATTERY_STATUS = {
    303: "off",
    2291: "standby",
    2292: "charging",
    2293: "discharging",
    3664: "emergency_charge",
}
USAGE_AREA = {
    2614: "self_consumption",
    2615: "conservation",
    2616: "backup",
    2617: "deep_discharge_protection",
    2618: "deep_discharge",
}
STANDBY_STATUS = {
    35: "fault",
    1394: "waiting_for_grid",
    2531: "energy_saving",
    4570: "waiting_for_enable",
}
OPERATING_STATUS = {
    235: "parallel_grid_operation",
    1463: "backup",
    2677: "generator",
    3664: "emergency_charge",
}
GENERAL_STATUS = {303: "off", 569: "active", 1295: "standby", 1795: "locked"}
BATTERY_CHEMISTRY = {
    1782: "lead_acid_vrla",
    1783: "lead_acid_flooded",
    1785: "lithium_ion",
}
OPERATION = {381: "stop", 1467: "start"}
ACTIVE: Final = "active"
INACTIVE: Final = "inactive"
EXTERNAL_CONTROL = {802: ACTIVE, 803: INACTIVE}
BMS_MODE = {303: "off", 308: "on", 2289: "charge", 2290: "discharge", 2424: "default"}
KEEP_VALUES: Final = "keep_values"
FALLBACK_MODE = {2506: KEEP_VALUES, 2507: "use_fallback"}

# Types -----------------------------------------------------------------------
# Each with its 'not available'; a signed one also as some clients have seen it.

_U32_NAN = (0xFFFF_FFFF,)
_S32_NAN = (0x8000_0000, 0x7FFF_FFFF)
_U64_NAN = (0xFFFF_FFFF_FFFF_FFFF,)
_TAG_NAN = (0x00FF_FFFD, 0xFFFF_FFFF)


def _u32(
    address: int,
    name: str,
    gain: float = 1,
    unit: str | None = None,
    access: AccessType = R,
    poll: Poll = SLOW,
) -> Register:
    return Register(
        address,
        name,
        DataType.UINT32,
        gain,
        unit,
        access,
        poll=poll,
        sentinels=_U32_NAN,
    )


def _s32(
    address: int,
    name: str,
    gain: float = 1,
    unit: str | None = None,
    access: AccessType = R,
    poll: Poll = SLOW,
) -> Register:
    return Register(
        address, name, DataType.INT32, gain, unit, access, poll=poll, sentinels=_S32_NAN
    )


def _u64(address: int, name: str, gain: float, unit: str) -> Register:
    return Register(
        address, name, DataType.UINT64, gain, unit, poll=SLOW, sentinels=_U64_NAN
    )


def _tag(
    address: int,
    name: str,
    enum: Mapping[int, str] | None,
    access: AccessType = R,
    poll: Poll = SLOW,
) -> Register:
    """Return a register that holds one of SMA's tags; without `enum`, its number."""
    return Register(
        address,
        name,
        DataType.UINT32,
        access_type=access,
        poll=poll,
        sentinels=_TAG_NAN,
        enum=enum,
    )


def _s16(
    address: int, name: str, gain: float, unit: str, access: AccessType
) -> Register:
    return Register(
        address,
        name,
        DataType.INT16,
        gain,
        unit,
        access,
        poll=SLOW,
        sentinels=(0x8000,),
    )


# Registers -------------------------------------------------------------------
# A name that is a measurement is that measurement; the others feed the formulas.

PLATE: Final = (
    _tag(30051, "device_class", None, poll=ONCE),
    _tag(30053, "model_code", None, poll=ONCE),
    _tag(30055, "vendor", None, poll=ONCE),
    _u32(30057, "serial", poll=ONCE),
    _u32(30059, "firmware_code", poll=ONCE),
)

_RATINGS: Final = (
    _u32(30231, "output_rating", unit="W", poll=ONCE),
    # Its sign is not stated.
    _s32(33019, "input_rating", unit="W", poll=ONCE),
    # One that is known and not 0 makes it the master of a cluster.
    _u32(40783, "slave_serial_l2", poll=ONCE),
    _u32(40785, "slave_serial_l3", poll=ONCE),
)

_STATE: Final = (
    _u32(30199, "time_to_feed_in", unit="s"),
    _tag(30201, "device_status", CONDITION),
    _tag(30211, "recommended_action", ACTION),
    # 886 and 885 are 'none'; what the other numbers say is in SMA's manuals.
    _tag(30213, "message", None),
    _tag(30215, "remedy", None),
    _u32(30233, "output_power_limit", unit="W"),
    _u32(30247, "event_number"),
    _tag(30251, "block_status", BLOCK_STATUS),
    _tag(30835, "active_power_mode", POWER_MODE),
    _tag(30859, "maintenance_charge", MAINTENANCE_CHARGE),
    _tag(30877, "grid_mode", GRID_MODE),
    _tag(30881, "grid_connection", GRID_CONNECTION),
    _tag(30955, "battery_status", BATTERY_STATUS),
    _tag(31015, "health_l1", CONDITION),
    _tag(31053, "health_l2", CONDITION),
    _tag(31055, "health_l3", CONDITION),
    _tag(31057, "battery_usage_area", USAGE_AREA),
    _tag(31059, "absorption_phase_tag", YES_NO),
    _tag(31061, "charge_control_tag", YES_NO),
    _tag(34669, "charge_control_copy", YES_NO),
    _tag(33001, "standby_status", STANDBY_STATUS),
    _tag(33003, "operating_status", OPERATING_STATUS),
    _tag(40029, "general_status", GENERAL_STATUS),
)

_ENERGY: Final = (
    _u64(30513, "energy_delivered_total", 1000, "kWh"),
    _u32(30577, "grid_import_today", 1000, "kWh"),
    _u32(30579, "grid_export_today", 1000, "kWh"),
    _u32(30581, "grid_import_total", 1000, "kWh"),
    _u32(30583, "grid_export_total", 1000, "kWh"),
    # At the AC side.
    _u32(30595, "energy_absorbed_total", 1000, "kWh"),
    _u32(30597, "energy_released_total", 1000, "kWh"),
    # At the battery.
    _u64(31397, "battery_energy_charged", 1000, "kWh"),
    _u64(31401, "battery_energy_discharged", 1000, "kWh"),
)

_POWER: Final = (
    # + = the inverter delivers.
    _s32(30775, "active_power", unit="W", poll=FAST),
    _s32(30777, "active_power_l1", unit="W", poll=FAST),
    _s32(30779, "active_power_l2", unit="W", poll=FAST),
    _s32(30781, "active_power_l3", unit="W", poll=FAST),
    _u32(30783, "grid_voltage_l1", 100, "V", poll=FAST),
    _u32(30785, "grid_voltage_l2", 100, "V", poll=FAST),
    _u32(30787, "grid_voltage_l3", 100, "V", poll=FAST),
    _u32(30803, "grid_frequency", 100, "Hz", poll=FAST),
    _s32(30807, "reactive_power_l1", unit="var"),
    _s32(30809, "reactive_power_l2", unit="var"),
    _s32(30811, "reactive_power_l3", unit="var"),
    _s32(30861, "load_power", unit="W", poll=FAST),
    _s32(30865, "power_drawn", unit="W", poll=FAST),
    _s32(30867, "power_fed_in", unit="W", poll=FAST),
    _s32(30869, "pv_power", unit="W", poll=FAST),
    # + = the inverter delivers, unlike power from the grid.
    _s32(30977, "grid_current_l1", 1000, "A", poll=FAST),
    _s32(30979, "grid_current_l2", 1000, "A", poll=FAST),
    _s32(30981, "grid_current_l3", 1000, "A", poll=FAST),
)

_BATTERY: Final = (
    # + = discharging, by older manuals and open projects; SMA's list gives no sign.
    _s32(30843, "current_out", 1000, "A", poll=FAST),
    _u32(30845, "battery_soc", unit="%", poll=FAST),
    # 0 to 200 %: whether this is the state of health is uncertain.
    _u32(30847, "battery_soh", unit="%"),
    _s32(30849, "battery_temperature", 10, "°C", poll=FAST),
    _u32(30851, "battery_voltage", 100, "V", poll=FAST),
    _s32(30997, "lowest_battery_temperature", 10, "°C"),
    _s32(30999, "highest_battery_temperature", 10, "°C"),
    _u32(31009, "min_soc", unit="%"),
    _u32(31393, "charge_power", unit="W", poll=FAST),
    _u32(31395, "discharge_power", unit="W", poll=FAST),
    _u32(40031, "rated_capacity_ah", unit="Ah"),
    _tag(40035, "battery_chemistry", BATTERY_CHEMISTRY),
    _u32(40187, "rated_capacity", 1000, "kWh"),
    _u32(40189, "max_charge_power", unit="W"),
    _u32(40191, "max_discharge_power", unit="W"),
)

# Control objects: made for being written again and again. They cannot be read.
_CONTROL: Final = (
    _s16(40016, "power_limit_whole", 1, "%", W),
    _s16(40023, "power_limit_fine", 100, "%", W),
    # - = charging. The pair that holds the battery at a setpoint.
    _s32(40149, "setpoint", unit="W", access=W),
    _tag(40151, "external_control", EXTERNAL_CONTROL, W),
    _s32(40153, "reactive_setpoint", unit="var", access=W),
    _tag(40236, "bms_mode_cyclic", BMS_MODE, W),
    _u32(40795, "charge_limit_cyclic", unit="W", access=W),
    _u32(40799, "discharge_limit_cyclic", unit="W", access=W),
    _s32(40801, "grid_target_cyclic", unit="W", access=W),
    _s32(41175, "setpoint_l1", unit="W", access=W),
    _s32(41177, "setpoint_l2", unit="W", access=W),
    _s32(41179, "setpoint_l3", unit="W", access=W),
    _s32(41251, "consumption_limit", unit="W", access=W),
)

# Their read-back registers, which live in flash: to be read, not written. That they
# read back what was written to the others is uncertain.
_READ_BACK_REGISTERS: Final = (
    _s16(41255, "power_limit_read_back", 100, "%", R),
    _s32(44425, "setpoint_read_back", unit="W", poll=FAST),
    _tag(44427, "external_control_read_back", EXTERNAL_CONTROL, poll=FAST),
    # The sign of this one is not stated.
    _s32(44439, "grid_target_read_back", unit="W"),
)

# The installer's, in flash: the fallback without a controller, and how slowly setpoints
# are followed.
_INSTALLER: Final = (
    _tag(40077, "restart", None),
    _tag(40210, "active_power_mode_setting", POWER_MODE),
    _tag(41189, "setpoints_by_phase", ON_OFF),
    _tag(41193, "fallback_mode", FALLBACK_MODE),
    _u32(41195, "fallback_timeout", unit="s"),
    _tag(44025, "setpoint_filter", ON_OFF),
    _u32(44027, "setpoint_filter_time", 100, "s"),
    _tag(44029, "setpoint_ramp", ON_OFF),
    _u32(44031, "setpoint_ramp_up", 100, "%/s"),
    _u32(44033, "setpoint_ramp_down", 100, "%/s"),
    _s32(44037, "fallback_max_power", 100, "W"),
    _u32(40707, "feed_in_lock_soc", unit="%"),
    _u32(40719, "deep_discharge_limit", unit="%"),
)

# The user's, and the device warns of writing them again and again: flash.
_SETTINGS: Final = tuple(
    replace(register, access_type=RW, persistent=True)
    for register in (
        _tag(40009, "operation", OPERATION),
        _tag(40075, "self_consumption_increase_tag", YES_NO),
        _u32(40705, "feed_in_resume_soc", unit="%"),
        _u32(40721, "deep_discharge_protection_width", unit="%"),
        _u32(40723, "backup_width", unit="%"),
        _u32(40725, "conservation_width", unit="%"),
        _u32(40727, "self_consumption_width", unit="%"),
        _u32(40755, "ac_charge_current_limit", 1000, "A"),
        _s32(44039, "active_power_upper_limit", 100, "%"),
        _s32(44041, "active_power_lower_limit", 100, "%"),
        _u32(44433, "charge_power_limit", unit="W"),
        _u32(44437, "discharge_power_limit", unit="W"),
    )
)

REGISTERS: Final[tuple[Register, ...]] = (
    *PLATE,
    *_RATINGS,
    *_STATE,
    *_ENERGY,
    *_POWER,
    *_BATTERY,
    *_CONTROL,
    *_READ_BACK_REGISTERS,
    *_INSTALLER,
    *_SETTINGS,
    # The one such mode that may be written again and again, and read.
    _tag(41259, "bms_mode", BMS_MODE, RW),
)

_NEVER_WRITE: Final = frozenset(
    {
        # Behind Grid Guard, and the installer's code itself.
        *(40210, 40211, *range(44025, 44035), 43090, 43091),
        # Restarts the device.
        *(40077, 40078),
        # The fallback without a controller: the installer's choice.
        *(*range(41193, 41197), 44037, 44038),
        # The read-back registers of the cyclic setpoint and grid target: flash.
        *(*range(44425, 44429), 44439, 44440),
        # Other devices have these.
        *(30953, 31391, 40073, 40212, 40216, 40793, 40797),
    }
)

LAYOUT: Final = Layout(
    # As wide as the gaps in blocks that open controllers read in one go.
    max_gap=18,
    # Blocks begin and end with a register. Unused words in between are harmless,
    # registers that can only be written are not.
    borders=frozenset(
        register.address for register in REGISTERS if not register.readable
    ),
    blanks=frozenset({0, 0xFFFF}),
    # 'Information not available', which only registers of codes have.
    distinct=frozenset({(0x00FF, 0xFFFD)}),
    never_write=_NEVER_WRITE,
)
