"""Deye's registers, kind by kind of inverter, as Deye's own lists have them.

Addresses, types and scales are those of Deye's Modbus documents for storage inverters
(versions 104 and 105) where other implementations and dumps of real inverters agree
with them. All are read with function 3; 32-bit values have their low word first.
Physical value = raw ÷ gain. What may be written lives in flash, and only with
function 16.

Power is split: the low words stand together, their high words ("ext") far behind; old
firmware leaves the latter 0. Both are in the table, the formulas join them.
Temperatures count from -100 °C.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from functools import cache
from typing import Final, NamedTuple

from ..measurements import Poll
from ..modbus.planning import Layout
from ..modbus.register import AccessType, DataType, Register

SLOW, ONCE = Poll.SLOW, Poll.ONCE
INT16, UINT16 = DataType.INT16, DataType.UINT16
UINT32, STRING = DataType.UINT32, DataType.STRING

SLOTS: Final = range(1, 7)
"""The slots of the time-of-use programme."""

# A request costs more than the words of a gap, and all words within a block answer.
LAYOUT: Final = Layout(
    max_gap=100,
    low_word_first=True,
    # They reset a three-phase inverter to its factory settings; the rest reset or
    # test a single-phase one, or are its grid code. None is written by any kind.
    never_write=frozenset(
        {81, 91, 92, 44, 54, 240, *range(284, 291), *range(297, 312)}
    ),
)


class Kind(Enum):
    """Kinds of inverter that differ in their registers."""

    THREE_PHASE = "three-phase, low-voltage battery"
    HIGH_VOLTAGE = "three-phase, high-voltage battery"
    SINGLE_PHASE = "single-phase"


SERIES: Final[Mapping[Kind, str]] = {
    Kind.THREE_PHASE: "SG0xLP3",
    Kind.HIGH_VOLTAGE: "SG0xHP3",
    Kind.SINGLE_PHASE: "SG0xLP1",
}
"""The end of a model's name; which digit stands for the x, no register says."""
SERIES_OF_TYPE: Final[Mapping[int, str]] = {0x0103: "OG0xLP1", 0x0104: "ESS"}
"""The same by register 0, of types that have a kind in common with others: hybrids for
use off the grid, and storage systems [uncertain]. Both have the single-phase map."""

KINDS: Final[Mapping[int, Kind]] = {
    **dict.fromkeys((0x0003, 0x0300, 0x0103, 0x0104), Kind.SINGLE_PHASE),
    **dict.fromkeys((0x0005, 0x0500), Kind.THREE_PHASE),
    **dict.fromkeys((0x0006, 0x0007, 0x0600), Kind.HIGH_VOLTAGE),
    **dict.fromkeys((0x0008, 0x0601), Kind.HIGH_VOLTAGE),
}
"""By register 0, which codes the type in either of two ways."""
OTHER_KINDS: Final[Mapping[int, str]] = {
    **dict.fromkeys((0x0002, 0x0200), "string inverter"),
    **dict.fromkeys((0x0004, 0x0400), "micro inverter"),
    0x0800: "power conversion system",
    0x0900: "balcony inverter",
}
"""Deye devices that are not read, or have no battery."""

# Codes -----------------------------------------------------------------------

DEVICE_STATUS = {
    0: "standby",
    1: "self_test",
    2: "normal",
    3: "alarm",
    4: "fault",
    5: "activating",
}
WORKING_MODE = {
    0: "selling_first",
    1: "zero_export_to_load",
    2: "zero_export_to_ct",
}
BATTERY_CHEMISTRY = {0: "lead_acid", 1: "lithium"}
BATTERY_CONTROL_MODE = {0: "voltage", 1: "capacity", 2: "no_battery"}
GEN_PORT_MODE = {0: "generator", 1: "smart_load", 2: "micro_inverter"}
SLOT_CHARGE = {0: "none", 1: "grid", 2: "generator", 3: "both"}
"""By bits 0 and 1 of a slot's flags."""
ENERGY_PATTERN = {0: "battery_first", 1: "load_first"}
"""By bit 0, the same in both ways of counting that are in the field."""
STOP_SOCS: Final = range(90, 101)
"""% that the stop SOC (267) can be [uncertain: it is in no public list]; where the
register has another word, it has another meaning."""

WARNINGS: Final[Mapping[int, str]] = {
    2: "fan",
    3: "phase order",
    4: "meter communication",
    31: "lithium battery lost",
    32: "parallel communication",
}
"""By the number on the display (W…); those not named are shown by it alone."""
FAULTS: Final[Mapping[int, str]] = {
    7: "DC soft start",
    10: "auxiliary supply",
    13: "working mode changed",
    18: "AC overcurrent",
    20: "DC overcurrent",
    22: "emergency stop",
    23: "leakage current",
    24: "insulation",
    26: "bus unbalanced",
    29: "parallel communication",
    35: "no AC grid",
    41: "parallel system stopped",
    42: "AC voltage low",
    47: "AC frequency high",
    48: "AC frequency low",
    56: "bus voltage low",
    58: "BMS communication",
    62: "DRM stop",
    63: "arc fault",
    64: "heat sink too hot",
}
"""The same for faults (F…)."""

# Registers -------------------------------------------------------------------
# A name that is a measurement is that measurement; the others feed the formulas, or
# are there because the device has them.


class Run(NamedTuple):
    """A run of registers that are read together.

    Not every firmware has the optional ones: where it lacks them, it may not answer
    at all.
    """

    name: str
    registers: tuple[Register, ...]
    optional: bool = True
    proof: tuple[str, ...] = ()
    """Registers that are never all 0, except while the inverter wakes up."""
    pack: int = 0
    """The number of the battery pack, if it is one; only those counted are there."""


type RegisterMap = tuple[Run, ...]
"""The registers of one kind of inverter."""


SPLIT_POWERS: Final[Mapping[str, tuple[int, int]]] = {
    "internal_power_l1": (604, 700),
    "internal_power_l2": (605, 701),
    "internal_power_l3": (606, 702),
    "internal_power": (607, 703),
    "external_ct_power_l1": (616, 705),
    "external_ct_power_l2": (617, 706),
    "external_ct_power_l3": (618, 707),
    "external_ct_power": (619, 708),
    "grid_power_l1": (622, 687),
    "grid_power_l2": (623, 688),
    "grid_power_l3": (624, 689),
    "grid_power": (625, 690),
    "active_power_l1": (633, 691),
    "active_power_l2": (634, 692),
    "active_power_l3": (635, 693),
    "active_power": (636, 694),
    "apparent_power": (637, 695),
    "ups_power_l1": (640, 696),
    "ups_power_l2": (641, 697),
    "ups_power_l3": (642, 698),
    "ups_power": (643, 699),
    "load_power_l1": (650, 656),
    "load_power_l2": (651, 657),
    "load_power_l3": (652, 658),
    "load_power": (653, 659),
    "generator_power_l1": (664, 668),
    "generator_power_l2": (665, 669),
    "generator_power_l3": (666, 670),
    "generator_power": (667, 671),
}
"""Three-phase power in W: the addresses of its low and its high word."""


def low(name: str) -> str:
    """Return the name of the register that holds the low word of a power."""
    return f"{name}_low"


def high(name: str) -> str:
    """Return the name of the register that holds the high word of a power."""
    return f"{name}_ext"


def _power_words() -> Iterator[Register]:
    for name, (low_word, high_word) in SPLIT_POWERS.items():
        yield Register(low_word, low(name), UINT16, 1, "W")
        yield Register(high_word, high(name), UINT16)


def _plain(names: Iterable[str], address: int) -> Iterator[Register]:
    """Return consecutive words without a scale."""
    return (
        Register(number, name, poll=SLOW) for number, name in enumerate(names, address)
    )


def _other(name: str, *addresses: int, poll: Poll = SLOW) -> Iterator[Register]:
    """Return words of which little more is known than that they are there."""
    return (Register(number, f"{name}_{number}", poll=poll) for number in addresses)


def _per_slot(
    address: int, name: str, gain: float = 1, unit: str | None = None, rw: bool = True
) -> Iterator[Register]:
    """Return the registers of the six slots."""
    return (
        _setting(address + slot - 1, f"tou_{slot}_{name}", UINT16, gain, unit, rw=rw)
        for slot in SLOTS
    )


def _setting(
    address: int,
    name: str,
    data_type: DataType = UINT16,
    gain: float = 1,
    unit: str | None = None,
    *,
    rw: bool = False,
    enum: Mapping[int, str] | None = None,
) -> Register:
    """Return a setting: flash. `rw` are those that are ever written here."""
    access_type = AccessType.READ_WRITE if rw else AccessType.READ
    return Register(
        *(address, name, data_type, gain, unit, access_type),
        poll=SLOW,
        persistent=True,
        enum=enum,
    )


def _percent(address: int, name: str) -> Register:
    """Return a setting of an SOC, %, on which a setpoint depends."""
    return replace(_setting(address, name, UINT16, 1, "%", rw=True), valid=range(101))


IDENTITY: Final = (
    Register(0, "device_type", poll=ONCE),
    Register(1, "modbus_address", poll=ONCE),
    Register(2, "protocol_version", poll=ONCE),
    Register(3, "serial_number", STRING, length=5, poll=ONCE),
    *_other("factory_option", 8, 9, 19, 23, *range(25, 37), poll=ONCE),
    Register(10, "grid_standard_version", poll=ONCE),
    Register(11, "firmware_end", poll=ONCE),
    Register(12, "afci_version", poll=ONCE),
    Register(13, "slave_mcu_version", poll=ONCE),
    Register(14, "firmware_family", poll=ONCE),
    Register(15, "firmware_release", poll=ONCE),
    Register(16, "hmi_firmware_start", poll=ONCE),
    Register(17, "hmi_firmware_family", poll=ONCE),
    Register(18, "hmi_firmware_release", poll=ONCE),
    Register(20, "rated_power", UINT32, 10, "W", poll=ONCE),
    Register(22, "mppts_and_phases", poll=ONCE),
    Register(24, "battery_inputs", poll=ONCE),
)

# 81, 91 and 92, which are never written, are in no table of three-phase inverters.

_BASIC: Final = (
    _setting(61, "self_check_time", UINT16, 1, "s"),
    _setting(62, "clock_year_month"),
    _setting(63, "clock_day_hour"),
    _setting(64, "clock_minute_second"),
    _setting(74, "modbus_address_set"),
    _setting(77, "active_power_regulation", UINT16, 10, "%"),
    _setting(80, "inverter_on"),
)


def _settings(volts: float, watts: float) -> tuple[Register, ...]:
    """Return the settings; `volts` and `watts` are the gains of this kind."""
    return (
        _setting(98, "battery_chemistry", enum=BATTERY_CHEMISTRY),
        _setting(99, "equalisation_voltage", UINT16, volts, "V"),
        _setting(100, "absorption_voltage", UINT16, volts, "V"),
        _setting(101, "float_voltage", UINT16, volts, "V"),
        _setting(102, "rated_capacity_ah", UINT16, 1, "Ah"),
        _setting(103, "empty_voltage", UINT16, volts, "V"),
        _setting(104, "zero_export_power", INT16, watts, "W", rw=True),
        _setting(105, "equalisation_cycle", UINT16, 1, "d"),
        _setting(106, "equalisation_time", UINT16, 2, "h"),
        _setting(107, "temperature_compensation", INT16, 1, "mV/°C"),
        _setting(108, "charge_current_limit", UINT16, 1, "A", rw=True),
        _setting(109, "discharge_current_limit", UINT16, 1, "A", rw=True),
        replace(_setting(110, "batteries_parallel"), valid=range(2)),
        _setting(111, "battery_control_mode", enum=BATTERY_CONTROL_MODE),
        _setting(112, "lithium_wake_up"),
        _setting(113, "battery_resistance"),
        _setting(114, "charge_efficiency", UINT16, 10, "%"),
        _percent(115, "shutdown_soc"),
        _percent(116, "restart_soc"),
        _percent(117, "low_soc"),
        _setting(118, "shutdown_voltage", UINT16, volts, "V"),
        _setting(119, "restart_voltage", UINT16, volts, "V"),
        _setting(120, "low_voltage", UINT16, volts, "V"),
        _setting(121, "generator_run_time", UINT16, 10, "h"),
        _setting(122, "generator_cooling_time", UINT16, 10, "h"),
        _setting(123, "generator_charge_start_voltage", UINT16, volts, "V"),
        _setting(124, "generator_charge_start_soc", UINT16, 1, "%"),
        _setting(125, "generator_charge_current_limit", UINT16, 1, "A"),
        _setting(126, "grid_charge_start_voltage", UINT16, volts, "V"),
        _setting(127, "grid_charge_start_soc", UINT16, 1, "%"),
        _setting(128, "grid_charge_current_limit", UINT16, 1, "A", rw=True),
        _setting(129, "generator_charge", rw=True),
        _setting(130, "grid_charge", rw=True),
        _setting(131, "ac_couple_frequency_limit", UINT16, 100, "Hz"),
        _setting(132, "generator_force"),
        _setting(133, "gen_port_mode", enum=GEN_PORT_MODE),
        _setting(134, "smart_load_off_voltage", UINT16, volts, "V"),
        _setting(135, "smart_load_off_soc", UINT16, 1, "%"),
        _setting(136, "smart_load_on_voltage", UINT16, volts, "V"),
        _setting(137, "smart_load_on_soc", UINT16, 1, "%"),
        _setting(138, "output_voltage_level"),
        _setting(139, "generator_start_solar_power", UINT16, 1, "W"),
        _setting(140, "dry_contacts"),
        _setting(141, "energy_pattern_bits"),
        _setting(142, "working_mode", enum=WORKING_MODE, rw=True),
        _setting(143, "max_sell_power", UINT16, watts, "W", rw=True),
        _setting(144, "max_sell_power_factory"),
        _setting(145, "solar_sell", rw=True),
        _setting(146, "tou_bits", rw=True),
        _setting(147, "phase_order"),
        *_per_slot(148, "hhmm", rw=False),
        *_per_slot(154, "power", watts, "W"),
        *_per_slot(160, "voltage", volts, "V", rw=False),
        *_per_slot(166, "soc", 1, "%"),
        *_per_slot(172, "flags"),
        _setting(178, "switches", rw=True),
        _setting(179, "off_grid"),
        _setting(180, "reconnect_time", UINT16, 1, "s"),
        _setting(182, "grid_standard"),
        _setting(183, "grid_frequency_set"),
        _setting(184, "grid_type"),
        _setting(185, "grid_voltage_high", UINT16, 10, "V"),
        _setting(186, "grid_voltage_low", UINT16, 10, "V"),
        _setting(187, "grid_frequency_high", UINT16, 100, "Hz"),
        _setting(188, "grid_frequency_low", UINT16, 100, "Hz"),
        _setting(189, "generator_on_grid_input"),
        _setting(190, "generator_peak_shaving_power", UINT16, watts, "W"),
        _setting(191, "grid_peak_shaving_power", UINT16, watts, "W", rw=True),
    )


SANE_VOLTS: Final[Mapping[Kind, tuple[int, int]]] = {
    Kind.THREE_PHASE: (20, 80),
    Kind.HIGH_VOLTAGE: (60, 1500),
    Kind.SINGLE_PHASE: (20, 100),
}
"""The lowest and the highest voltage, V, that a battery can have [chosen here].

Without one a BMS reports nothing: it is off the line, or the inverter fills its
registers with something else.
"""


def _bms(kind: Kind, volts: float, amps: float) -> tuple[Register, ...]:
    """Return the registers of the BMS, and the settings behind them."""
    sane = _sane_volts(kind, volts)
    return (
        Register(210, "battery_bms_charge_voltage", UINT16, volts, "V", poll=SLOW),
        Register(211, "battery_bms_discharge_voltage", UINT16, volts, "V", poll=SLOW),
        Register(212, "bms_charge_amps", UINT16, 1, "A", poll=SLOW),
        Register(213, "bms_discharge_amps", UINT16, 1, "A", poll=SLOW),
        Register(214, "battery_bms_soc", UINT16, 1, "%", poll=SLOW),
        Register(
            *(215, "battery_bms_voltage", UINT16, volts, "V"), poll=SLOW, valid=sane
        ),
        # + = charging, as seen by the BMS.
        Register(216, "battery_bms_current", INT16, amps, "A", poll=SLOW),
        Register(217, "bms_temperature_raw", UINT16, 10, "°C", poll=SLOW),
        Register(218, "bms_max_charge_current", UINT16, 1, "A", poll=SLOW),
        Register(219, "bms_max_discharge_current", UINT16, 1, "A", poll=SLOW),
        *_plain(("bms_alarm_bits", "bms_fault_bits"), 220),
        # Few of its bits are known. With any of the upper byte it is no request.
        Register(222, "bms_requests", poll=SLOW, valid=range(0x100)),
        Register(223, "bms_protocol", poll=SLOW),
        # Many say 0 % for 'unknown'.
        Register(224, "battery_soh", UINT16, 1, "%", poll=SLOW, sentinels=(0,)),
        Register(225, "bms_software", poll=SLOW),
        Register(226, "bms_rated_capacity_ah", UINT16, 1, "Ah", poll=SLOW),
        *_plain(("bms_hardware", "remote_permissions", "bms_brand"), 227),
        Register(231, "max_export_power", UINT16, 0.1, "W", poll=SLOW),
        Register(233, "max_import_power", UINT16, 0.1, "W", poll=SLOW),
        *_plain(("ac_couple", "tracked_phase"), 234),
        Register(237, "unbalanced_output", poll=SLOW),
    )


def second(name: str) -> str:
    """Return the name of the same register of the second battery's BMS."""
    return f"{name}_2"


def _bms_2(kind: Kind, volts: float, amps: float) -> tuple[Register, ...]:
    """Return the registers of a second battery's BMS: the same, 31 words on."""
    return tuple(
        replace(register, address=register.address + 31, name=second(register.name))
        for register in _bms(kind, volts, amps)
        if register.address <= 227
    )


def _counters() -> tuple[Register, ...]:
    """Return status and counters.

    The energies are read as tenths of a kWh, which they are not everywhere: see
    `counter_unit.py`.
    """
    kwh = 10
    return (
        Register(500, "device_status", enum=DEVICE_STATUS, poll=SLOW),
        # 501 to 507: which is active and which reactive energy is disputed.
        Register(501, "grid_side_energy_today_501", INT16, 10, poll=SLOW),
        Register(502, "grid_side_energy_today_502", INT16, 10, poll=SLOW),
        Register(504, "grid_side_energy_total_504", UINT32, 10, poll=SLOW),
        Register(506, "grid_side_energy_total_506", UINT32, 10, poll=SLOW),
        *(
            Register(address, name, data_type, kwh, "kWh", poll=SLOW)
            for address, name, data_type in (
                (514, "energy_charged_today", UINT16),
                (515, "energy_discharged_today", UINT16),
                (516, "energy_charged_total", UINT32),
                (518, "energy_discharged_total", UINT32),
                (520, "grid_import_today", UINT16),
                (521, "grid_export_today", UINT16),
                (522, "grid_import_total", UINT32),
                (524, "grid_export_total", UINT32),
                (526, "load_energy_today", UINT16),
                (527, "load_energy_total", UINT32),
                (529, "pv_energy_today", UINT16),
                (530, "pv1_energy_today", UINT16),
                (531, "pv2_energy_today", UINT16),
                (532, "pv3_energy_today", UINT16),
                (533, "pv4_energy_today", UINT16),
                (534, "pv_energy_total", UINT32),
                (536, "generator_energy_today", UINT16),
                (537, "generator_energy_total", UINT32),
            )
        ),
        Register(540, "dc_temperature_raw", UINT16, 10, "°C", poll=SLOW),
        Register(541, "device_temperature_raw", UINT16, 10, "°C", poll=SLOW),
        Register(548, "communication_board_errors", poll=SLOW),
        Register(551, "power_state", poll=SLOW),
        Register(552, "relays", poll=SLOW),
        *_plain(("warnings_1", "warnings_2"), 553),
        *_plain(("faults_1", "faults_2", "faults_3", "faults_4"), 555),
    )


def _sane_volts(kind: Kind, volts: float) -> range:
    """Return the words that a battery's voltage can have, in parts of a volt."""
    lowest, highest = (round(each * volts) for each in SANE_VOLTS[kind])
    return range(lowest, highest + 1)


def _live(kind: Kind, volts: float, watts: float) -> tuple[Register, ...]:
    """Return the live values; the device counts discharging positive, here negative.

    A setpoint depends on SOC and voltage: words that they cannot have are not known.
    """
    sane = _sane_volts(kind, volts)
    # 0 V is no battery.
    possible = range(sane.stop)
    percent = range(101)
    return (
        Register(586, "battery_temperature_raw", UINT16, 10, "°C"),
        Register(587, "battery_voltage", UINT16, volts, "V", valid=possible),
        Register(588, "soc", UINT16, 1, "%", valid=percent),
        Register(589, "battery_2_soc", UINT16, 1, "%", valid=percent),
        Register(590, "battery_power", INT16, -watts, "W"),
        Register(591, "battery_current", INT16, -100, "A"),
        Register(592, "corrected_capacity_ah", UINT16, 1, "Ah", poll=SLOW),
        Register(593, "battery_2_voltage", UINT16, volts, "V", valid=sane),
        Register(594, "battery_2_current", INT16, -100, "A"),
        Register(595, "battery_2_power", INT16, -watts, "W"),
        Register(596, "battery_2_temperature_raw", UINT16, 10, "°C"),
        Register(598, "grid_voltage_l1", UINT16, 10, "V"),
        Register(599, "grid_voltage_l2", UINT16, 10, "V"),
        Register(600, "grid_voltage_l3", UINT16, 10, "V"),
        Register(609, "grid_frequency", UINT16, 100, "Hz"),
        Register(610, "internal_ct_current_l1", INT16, 100, "A"),
        Register(611, "internal_ct_current_l2", INT16, 100, "A"),
        Register(612, "internal_ct_current_l3", INT16, 100, "A"),
        Register(613, "grid_current_l1", INT16, 100, "A"),
        Register(614, "grid_current_l2", INT16, 100, "A"),
        Register(615, "grid_current_l3", INT16, 100, "A"),
        Register(620, "grid_apparent_power", UINT16, 0.01, "VA"),
        Register(621, "power_factor", INT16, 1000),
        Register(627, "output_voltage_l1", UINT16, 10, "V"),
        Register(628, "output_voltage_l2", UINT16, 10, "V"),
        Register(629, "output_voltage_l3", UINT16, 10, "V"),
        Register(630, "output_current_l1", INT16, 100, "A"),
        Register(631, "output_current_l2", INT16, 100, "A"),
        Register(632, "output_current_l3", INT16, 100, "A"),
        Register(638, "output_frequency", UINT16, 100, "Hz"),
        Register(644, "load_voltage_l1", UINT16, 10, "V"),
        Register(645, "load_voltage_l2", UINT16, 10, "V"),
        Register(646, "load_voltage_l3", UINT16, 10, "V"),
        Register(655, "load_frequency", UINT16, 100, "Hz"),
        Register(661, "generator_voltage_l1", UINT16, 10, "V"),
        Register(662, "generator_voltage_l2", UINT16, 10, "V"),
        Register(663, "generator_voltage_l3", UINT16, 10, "V"),
        Register(672, "pv1_power", UINT16, watts, "W"),
        Register(673, "pv2_power", UINT16, watts, "W"),
        Register(674, "pv3_power", UINT16, watts, "W"),
        Register(675, "pv4_power", UINT16, watts, "W"),
        Register(676, "pv1_voltage", UINT16, 10, "V"),
        Register(677, "pv1_current", UINT16, 10, "A"),
        Register(678, "pv2_voltage", UINT16, 10, "V"),
        Register(679, "pv2_current", UINT16, 10, "A"),
        Register(680, "pv3_voltage", UINT16, 10, "V"),
        Register(681, "pv3_current", UINT16, 10, "A"),
        Register(682, "pv4_voltage", UINT16, 10, "V"),
        Register(683, "pv4_current", UINT16, 10, "A"),
        Register(684, "ac_coupled_power_l1", UINT16, 0.1, "W"),
        Register(685, "ac_coupled_power_l2", UINT16, 0.1, "W"),
        Register(686, "ac_coupled_power_l3", UINT16, 0.1, "W"),
        *_power_words(),
    )


ENERGIES: Final = frozenset(
    register.name for register in _counters() if register.unit == "kWh"
)
"""The counters of energy of three-phase inverters."""

PACK_COUNT: Final = "battery_pack_count"
PACKS: Final = range(1, 21)
"""The battery packs that an inverter can have."""
_FIRST_PACK: Final = 10032
_PACK_WORDS: Final = 38


def _pack(number: int) -> tuple[Register, ...]:
    """Return the registers of a battery pack.

    The scales of its voltages are disputed; the formulas tell those of cells apart.
    Temperatures count from -100 °C, as is written of the last of them [uncertain].
    """
    base = _FIRST_PACK + _PACK_WORDS * (number - 1)
    name = f"pack{number}"
    return (
        Register(base, f"{name}_serial_number", STRING, length=8, poll=SLOW),
        Register(base + 8, f"{name}_voltage_raw", poll=SLOW),
        Register(base + 9, f"{name}_current", INT16, 10, "A", poll=SLOW),
        *(
            Register(base + place, f"{name}_{key}_raw", UINT16, 10, "°C", poll=SLOW)
            for place, key in enumerate(
                (
                    "temperature",
                    "max_cell_temperature",
                    "min_cell_temperature",
                    "mos_temperature",
                ),
                10,
            )
        ),
        Register(base + 15, f"{name}_soc", UINT16, 10, "%", poll=SLOW),
        Register(base + 16, f"{name}_soh", UINT16, 10, "%", poll=SLOW),
        Register(base + 18, f"{name}_capacity_ah", UINT16, 10, "Ah", poll=SLOW),
        Register(base + 22, f"{name}_max_cell_voltage_raw", poll=SLOW),
        Register(base + 23, f"{name}_min_cell_voltage_raw", poll=SLOW),
        Register(base + 24, f"{name}_charge_cycles", poll=SLOW),
        *_other(f"{name}_alarm", base + 26, base + 27),
        *_other(f"{name}_fault", base + 28, base + 29),
    )


_RW: Final = AccessType.READ_WRITE
# Volatile; the sign of 1109 is uncertain.
_REMOTE: Final = (
    Register(1100, "remote_mode", UINT16, 1, None, _RW, poll=SLOW),
    Register(1101, "remote_watchdog", UINT16, 1, "s", _RW, poll=SLOW),
    *_other("remote", 1102, 1103),
    Register(1104, "remote_side", UINT16, 1, None, _RW, poll=SLOW),
    Register(1105, "remote_quantity", UINT16, 1, None, _RW, poll=SLOW),
    Register(1106, "remote_ac_mode", poll=SLOW),
    Register(1107, "remote_battery_voltage", UINT16, 10, "V", poll=SLOW),
    Register(1108, "remote_battery_current", UINT16, 10, "A", poll=SLOW),
    Register(1109, "remote_battery_power", INT16, 10, "%", _RW, poll=SLOW),
    Register(1110, "remote_soc", UINT16, 10, "%", poll=SLOW),
    Register(1111, "remote_output_power", INT16, 10, "%", poll=SLOW),
    Register(1112, "remote_output_power_l1", INT16, 10, "%", poll=SLOW),
    Register(1113, "remote_output_power_l2", INT16, 10, "%", poll=SLOW),
    Register(1114, "remote_output_power_l3", INT16, 10, "%", poll=SLOW),
    Register(1115, "remote_max_solar", UINT16, 10, "%", poll=SLOW),
    *_other("remote", *range(1116, 1122)),
)


FIRST_PVS: Final = range(1, 5)
MORE_PVS: Final = range(5, 9)
"""The PV inputs that larger inverters have besides the first four."""


def _more_pvs(watts: float) -> Iterator[Register]:
    """Return the registers of PV 5 to 8: voltages, currents, powers."""
    for place, number in enumerate(MORE_PVS, 719):
        yield Register(place, f"pv{number}_voltage", UINT16, 10, "V", poll=SLOW)
        yield Register(place + 4, f"pv{number}_current", UINT16, 10, "A", poll=SLOW)
        yield Register(place + 8, f"pv{number}_power", UINT16, watts, "W", poll=SLOW)


_MAY_BE_FULL: Final = frozenset(
    {
        *map(low, SPLIT_POWERS),
        *map(high, SPLIT_POWERS),
        # All of its pairs of bits may be set.
        *("switches", "remote_permissions"),
        # The watchdog is off.
        "remote_watchdog",
    }
)
"""The unsigned words that can be 0xFFFF."""


def with_absence(run: Run, may_be_full: Collection[str] = _MAY_BE_FULL) -> Run:
    """Return a run whose words of 0xFFFF mean 'not there', where they cannot be that.

    Signed ones can: it is -1.
    """
    return run._replace(
        registers=tuple(
            each
            if each.data_type.signed or each.name in may_be_full
            else replace(each, sentinels=(*each.sentinels, (1 << 16 * each.count) - 1))
            for each in run.registers
        )
    )


@cache
def three_phase(*, high_voltage: bool, more_pvs: bool = True) -> RegisterMap:
    """Return the registers of a three-phase hybrid.

    With a high-voltage battery the same registers count more coarsely. `more_pvs`: it
    may have PV 5 to 8.
    """
    kind = Kind.HIGH_VOLTAGE if high_voltage else Kind.THREE_PHASE
    volts, watts, amps = (10, 0.1, 10) if high_voltage else (100, 1, 1)
    solar = (
        _setting(340, "max_solar_power", UINT16, watts, "W", rw=True),
        _setting(341, "mppt_scan"),
        *_other("meter_option", 344, 345, 346, 347),
    )
    reactive_power = (
        *_other("reactive_power", *range(710, 716)),
        Register(716, "run_hours", UINT32, 1, "h", poll=SLOW),
    )
    runs = (
        Run("identity", IDENTITY, optional=False),
        Run("settings", _settings(volts, watts), optional=False),
        Run(
            "status",
            _counters(),
            optional=False,
            proof=("dc_temperature_raw", "device_temperature_raw"),
        ),
        Run(
            "live values",
            _live(kind, volts, watts),
            optional=False,
            proof=("battery_temperature_raw", "battery_voltage", "grid_frequency"),
        ),
        Run("basics", _BASIC),
        Run("BMS", _bms(kind, volts, amps)),
        Run("second BMS", _bms_2(kind, volts, amps)),
        Run("stop SOC", (_setting(267, "max_soc", UINT16, 1, "%", rw=True),)),
        Run("parallel operation", (_setting(336, "parallel"),)),
        Run("solar", solar),
        Run("reactive power", reactive_power),
        *([Run("PV 5 to 8", tuple(_more_pvs(watts)))] if more_pvs else []),
        Run("battery packs", (Register(10002, PACK_COUNT, poll=SLOW),)),
        *(Run(f"battery pack {each}", _pack(each), pack=each) for each in PACKS),
        Run("remote mode", _REMOTE),
    )
    return tuple(map(with_absence, runs))


@cache
def single_phase() -> RegisterMap:
    """Return the registers of a single-phase hybrid: another map altogether.

    Those called `…_raw` are words whose scale or meaning the formulas find out.
    """
    status = (
        # 1 is on; 0 or 2 is off.
        _setting(43, "on_or_2"),
        _setting(53, "max_solar_power", UINT16, 1, "W"),
        # W that power words count: 10 on large models. Older lists call it a switch
        # that erases the settings.
        Register(54, "power_ratio", poll=SLOW),
        Register(59, "device_status", enum=DEVICE_STATUS, poll=SLOW),
        *_energies(),
        # The two words of the import counter are not neighbours.
        Register(78, "grid_import_total_low", poll=SLOW),
        Register(79, "grid_frequency", UINT16, 100, "Hz"),
        Register(80, "grid_import_total_high", poll=SLOW),
        Register(90, "dc_temperature_raw", UINT16, 10, "°C", poll=SLOW),
        Register(91, "device_temperature_raw", UINT16, 10, "°C", poll=SLOW),
        *_plain(("warnings_1", "warnings_2"), 101),
        *_plain(("faults_1", "faults_2", "faults_3", "faults_4"), 103),
        Register(107, "corrected_capacity_ah", UINT16, 1, "Ah", poll=SLOW),
        Register(109, "pv1_voltage", UINT16, 10, "V"),
        Register(110, "pv1_current", UINT16, 10, "A"),
        Register(111, "pv2_voltage", UINT16, 10, "V"),
        Register(112, "pv2_current", UINT16, 10, "A"),
        Register(113, "pv3_voltage", UINT16, 10, "V"),
        Register(114, "pv3_current", UINT16, 10, "A"),
        Register(115, "pv4_voltage", UINT16, 10, "V"),
        Register(116, "pv4_current", UINT16, 10, "A"),
    )
    live = (
        Register(150, "grid_voltage_l1", UINT16, 10, "V"),
        Register(162, "meter_current_raw", INT16),
        # + = to a smart load, - = from what feeds in at the GEN port.
        Register(166, "gen_port_power", INT16, 1, "W"),
        # At the inverter's own grid port; both legs of a split phase.
        Register(167, "grid_port_l1_raw", INT16),
        Register(168, "grid_port_l2_raw", INT16),
        # The inverter's idea of the grid: meter or grid port, by its working mode.
        Register(169, "grid_raw", INT16),
        Register(172, "meter_raw", INT16),
        Register(175, "active_power", INT16, 1, "W"),
        # 175 + 169, whatever that is.
        Register(178, "load_raw", INT16),
        Register(182, "battery_temperature_raw", UINT16, 10, "°C"),
        # 0 V is no battery.
        Register(183, "battery_voltage", UINT16, 100, "V", valid=range(100 * 100 + 1)),
        Register(184, "soc", UINT16, 1, "%"),
        Register(186, "pv1_power", UINT16, 1, "W"),
        Register(187, "pv2_power", UINT16, 1, "W"),
        Register(188, "pv3_power", UINT16, 1, "W"),
        Register(189, "pv4_power", UINT16, 1, "W"),
        Register(190, "battery_power", INT16, -1, "W"),
        Register(191, "battery_current_raw", INT16, -1),
        Register(194, "grid_connected"),
    )
    settings = (
        _setting(200, "battery_chemistry", enum=BATTERY_CHEMISTRY),
        _setting(204, "rated_capacity_ah", UINT16, 1, "Ah"),
        _setting(206, "zero_export_power", INT16, 1, "W", rw=True),
        _setting(210, "charge_current_limit", UINT16, 1, "A", rw=True),
        _setting(211, "discharge_current_limit", UINT16, 1, "A", rw=True),
        _setting(213, "battery_control_mode", enum=BATTERY_CONTROL_MODE),
        _percent(217, "shutdown_soc"),
        _percent(218, "restart_soc"),
        _percent(219, "low_soc"),
        _setting(229, "grid_charge_start_soc", UINT16, 1, "%"),
        _setting(230, "grid_charge_current_limit", UINT16, 1, "A", rw=True),
        _setting(232, "grid_charge", rw=True),
        _setting(235, "gen_port_mode", enum=GEN_PORT_MODE),
        _setting(243, "energy_pattern", enum=ENERGY_PATTERN),
        _setting(244, "working_mode", enum=WORKING_MODE, rw=True),
        _setting(245, "max_sell_power", UINT16, 1, "W", rw=True),
        _setting(247, "solar_sell", rw=True),
        _setting(248, "tou_bits", rw=True),
        *_per_slot(250, "hhmm", rw=False),
        *_per_slot(256, "power", 1, "W"),
        *_per_slot(262, "voltage", 100, "V", rw=False),
        *_per_slot(268, "soc", 1, "%"),
        *_per_slot(274, "flags", rw=False),
        _setting(293, "grid_peak_shaving_power", UINT16, 1, "W", rw=True),
    )
    bms = (
        Register(312, "bms_charge_volts", UINT16, 100, "V", poll=SLOW),
        Register(313, "bms_discharge_volts", UINT16, 100, "V", poll=SLOW),
        Register(314, "bms_charge_amps", UINT16, 1, "A", poll=SLOW),
        Register(315, "bms_discharge_amps", UINT16, 1, "A", poll=SLOW),
        Register(316, "bms_soc", UINT16, 1, "%", poll=SLOW),
        Register(317, "bms_volts", UINT16, 100, "V", poll=SLOW),
        # + = charging, as seen by the BMS [uncertain].
        Register(318, "bms_amps", INT16, 1, "A", poll=SLOW),
        Register(319, "bms_temperature_raw", UINT16, 10, "°C", poll=SLOW),
        Register(320, "bms_max_charge_current", UINT16, 1, "A", poll=SLOW),
        Register(321, "bms_max_discharge_current", UINT16, 1, "A", poll=SLOW),
        *_plain(("bms_alarm_bits", "bms_fault_bits", "bms_requests"), 322),
        Register(325, "bms_protocol", poll=SLOW),
    )
    runs = (
        Run(
            "identity",
            (
                *(register for register in IDENTITY if register.address <= 3),
                *_other("firmware", *range(10, 15), poll=ONCE),
                Register(16, "rated_power", UINT32, 10, "W", poll=ONCE),
                *_plain(
                    ("clock_year_month", "clock_day_hour", "clock_minute_second"), 22
                ),
            ),
            optional=False,
        ),
        Run(
            "status",
            status,
            optional=False,
            proof=("dc_temperature_raw", "device_temperature_raw"),
        ),
        Run(
            "live values",
            live,
            optional=False,
            proof=("battery_temperature_raw", "battery_voltage", "grid_voltage_l1"),
        ),
        Run("settings", settings, optional=False),
        Run("BMS", bms),
    )
    return tuple(
        run._replace(registers=tuple(map(_with_absence, run.registers))) for run in runs
    )


def _with_absence(register: Register) -> Register:
    """Return a register whose word of 0xFFFF means 'not there'.

    Not a signed one, where it is -1, nor a half of the import counter.
    """
    if register.data_type.signed or register.name in _IMPORT_TOTAL:
        return register
    return replace(register, sentinels=((1 << 16 * register.count) - 1,))


_IMPORT_TOTAL: Final = ("grid_import_total_low", "grid_import_total_high")


def _energies() -> Iterator[Register]:
    """Return the counters of a single-phase inverter.

    Not those of a generator: only one document has them, and another implementation
    reads a temperature in the high word of the total.
    """
    for address, name in (
        (70, "energy_charged_today"),
        (71, "energy_discharged_today"),
        (76, "grid_import_today"),
        (77, "grid_export_today"),
        (84, "load_energy_today"),
        (108, "pv_energy_today"),
    ):
        yield Register(address, name, UINT16, 10, "kWh", poll=SLOW)
    for address, name in (
        (72, "energy_charged_total"),
        (74, "energy_discharged_total"),
        (81, "grid_export_total"),
        (85, "load_energy_total"),
        (96, "pv_energy_total"),
    ):
        yield Register(address, name, UINT32, 10, "kWh", poll=SLOW)
