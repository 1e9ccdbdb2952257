"""The register lists of a SUN2000 inverter, and of a gateway in front of it.

A read has to stay within one span. The spans are those that real devices answer as one
block; whether a device also answers across their borders is uncertain, so this one does
not. Inside a span, a word of no register reads 0.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from .words import Number, Register, Text, Words

U16: Final = Number(1, signed=False, unknown=0xFFFF)
I16: Final = Number(1, signed=True, unknown=0x7FFF)
U32: Final = Number(2, signed=False, unknown=0xFFFF_FFFF)
I32: Final = Number(2, signed=True, unknown=0x7FFF_FFFF)
I64: Final = Number(4, signed=True, unknown=0x7FFF_FFFF_FFFF_FFFF)
U64: Final = Number(4, signed=False, unknown=0xFFFF_FFFF_FFFF_FFFF)

type Span = tuple[int, int]

PACKS: Final = 3  # slots of a battery unit
_PACK_WORDS: Final = 42
_PACKS_AT: Final = {1: 38200, 2: 38326}
_PACK_TEMPERATURES_AT: Final = {1: 38452, 2: 38458}  # those of empty slots read 0


def _each(
    address: int, kind: Number, scale: float, name: str, count: int = 3, step: int = 0
) -> Iterator[Register]:
    """Yield equal rows, one a phase or a string; # in the name is its number."""
    for number in range(count):
        at = address + number * (step or kind.words)
        yield Register(at, kind, scale, name.replace("#", str(number + 1)))


IDENTITY: Final = (
    Register(30000, Text(15), 1, "model"),
    Register(30015, Text(10), 1, "serial"),
    Register(30025, Text(10), 1, "part_number"),
    Register(30035, Text(15), 1, "firmware"),
    Register(30050, Text(15), 1, "software"),
    Register(30068, U32, 1, "protocol"),
    Register(30070, U16, 1, "model_id"),
    Register(30071, U16, 1, "strings"),
    Register(30072, U16, 1, "trackers"),
    Register(30073, U32, 1, "rated_power"),
    Register(30075, U32, 1, "max_power"),
    Register(30077, U32, 1, "max_power"),
    Register(30079, I32, 1, "max_reactive"),
    Register(30081, I32, -1, "max_reactive"),
    Register(30083, U32, 1, "max_power"),
    Register(30085, U32, 1, "max_power"),
    Register(37200, U16, 1, "optimizers"),
    Register(37201, U16, 1, "optimizers"),
    Register(40000, U32, 1, "local_time"),
    Register(42900, U16, 1, "daylight_saving"),
    Register(43006, I16, 1, "time_zone"),
    Register(47000, U16, 1, "product_1"),
    Register(47089, U16, 1, "product_2"),
)

INVERTER: Final = (
    Register(32000, U16, 1, "state_1"),
    Register(32002, U16, 1, "state_2"),
    Register(32003, U32, 1, "state_3"),
    Register(32008, U16, 1, "alarm_1"),
    Register(32009, U16, 1, "alarm_2"),
    Register(32010, U16, 1, "alarm_3"),
    *_each(32016, I16, 10, "string_#_voltage", count=2, step=2),
    *_each(32017, I16, 100, "string_#_current", count=2, step=2),
    Register(32064, I32, 1, "pv_power"),
    *_each(32066, U16, 10, "line_voltage_#"),
    *_each(32069, U16, 10, "phase_voltage_#"),
    *_each(32072, I32, 1000, "phase_current_#"),
    Register(32078, I32, 1, "peak_today"),
    Register(32080, I32, 1, "active_power"),
    Register(32082, I32, 1, "reactive_power"),
    Register(32084, I16, 1000, "power_factor"),
    Register(32085, U16, 100, "frequency"),
    Register(32086, U16, 100, "efficiency"),
    Register(32087, I16, 10, "temperature"),
    Register(32088, U16, 1000, "insulation"),
    Register(32089, U16, 1, "device_status"),
    Register(32090, U16, 1, "fault_code"),
    Register(32091, U32, 1, "start_time"),
    Register(32093, U32, 1, "stop_time"),
    Register(32095, I32, 1, "active_power"),
    Register(32106, U32, 100, "yield_total"),
    Register(32108, U32, 100, "pv_total"),
    Register(32112, U32, 100, "yield_hour"),
    Register(32114, U32, 100, "yield_today"),
    Register(32116, U32, 100, "yield_month"),
    Register(32118, U32, 100, "yield_year"),
    Register(32176, I16, 10, "bus_voltage"),
    Register(32177, I16, 10, "string_1_voltage"),
    Register(32178, I16, 10, "string_2_voltage"),
    *_each(32212, U32, 100, "tracker_#_total", count=2),
)

METER: Final = (
    Register(37100, U16, 1, "meter_status"),
    *_each(37101, I32, 10, "meter_voltage_#"),
    *_each(37107, I32, 100, "meter_current_#"),
    Register(37113, I32, 1, "export_power"),
    Register(37115, I32, 1, "meter_reactive"),
    Register(37117, I16, 1000, "meter_power_factor"),
    Register(37118, I16, 100, "meter_frequency"),
    Register(37119, I32, 100, "exported"),
    Register(37121, I32, 100, "imported"),
    Register(37123, I32, 100, "meter_reactive_total"),
    Register(37125, U16, 1, "meter_type"),
    *_each(37126, I32, 10, "meter_line_voltage_#"),
    *_each(37132, I32, 1, "export_power_#"),
    Register(37138, U16, 1, "meter_match"),
)

# Positive = charging. "unit" is the share of one of several equal units.
BATTERY: Final = (
    Register(37000, U16, 1, "battery_status"),
    Register(37001, I32, 1, "unit_power"),
    Register(37003, U16, 10, "battery_voltage"),
    Register(37004, U16, 10, "battery_soc"),
    Register(37006, U16, 1, "active_mode"),
    Register(37007, U32, 1, "unit_max_charge"),
    Register(37009, U32, 1, "unit_max_discharge"),
    Register(37014, U16, 1, "unit_fault"),
    Register(37015, U32, 100, "unit_charged_today"),
    Register(37017, U32, 100, "unit_discharged_today"),
    Register(37021, I16, 10, "unit_current"),
    Register(37022, I16, 10, "battery_temperature"),
    Register(37025, U16, 1, "remaining_minutes"),
    Register(37046, U32, 1, "max_charge"),
    Register(37048, U32, 1, "max_discharge"),
    Register(37052, Text(10), 1, "unit_1_serial"),
    Register(37066, U32, 100, "unit_charged"),
    Register(37068, U32, 100, "unit_discharged"),
    Register(37758, U32, 1, "capacity"),
    Register(37760, U16, 10, "battery_soc"),
    Register(37762, U16, 1, "battery_status"),
    Register(37763, U16, 10, "battery_voltage"),
    Register(37764, I16, 10, "battery_current"),
    Register(37765, I32, 1, "battery_power"),
    Register(37780, U32, 100, "charged"),
    Register(37782, U32, 100, "discharged"),
    Register(37784, U32, 100, "charged_today"),
    Register(37786, U32, 100, "discharged_today"),
    Register(37814, Text(15), 1, "unit_software"),
    Register(47079, I32, 1, "grid_point_limit"),
    Register(47084, I32, 1, "legacy_power"),
    Register(47107, U16, 1, "unit_number"),
    Register(47108, U16, 1, "no_number"),
    Register(47244, U32, 1, "max_grid_charge"),
)

UNIT_2: Final = (
    Register(37700, Text(10), 1, "unit_2_serial"),
    Register(37738, U16, 10, "battery_soc"),
    Register(37741, U16, 1, "battery_status"),
    Register(37743, I32, 1, "unit_power"),
    Register(37746, U32, 100, "unit_charged_today"),
    Register(37748, U32, 100, "unit_discharged_today"),
    Register(37750, U16, 10, "battery_voltage"),
    Register(37751, I16, 10, "unit_current"),
    Register(37752, I16, 10, "battery_temperature"),
    Register(37753, U32, 100, "unit_charged"),
    Register(37755, U32, 100, "unit_discharged"),
    Register(37799, Text(15), 1, "unit_software"),
)


def pack(unit: int, number: int) -> Iterator[Register]:
    """Yield the rows of a battery pack; both numbers count from 1."""
    base = _PACKS_AT[unit] + _PACK_WORDS * (number - 1)
    temperatures = _PACK_TEMPERATURES_AT[unit] + 2 * (number - 1)
    yield Register(base, Text(10), 1, f"pack_{unit}_{number}_serial")
    yield Register(base + 10, Text(15), 1, "pack_software")
    yield Register(base + 28, U16, 1, "pack_status")
    yield Register(base + 29, U16, 10, "battery_soc")
    yield Register(base + 33, I32, 1, "pack_power")
    yield Register(base + 35, U16, 10, "pack_voltage")
    yield Register(base + 36, I16, 10, "pack_current")
    yield Register(base + 38, U32, 100, "pack_charged")
    yield Register(base + 40, U32, 100, "pack_discharged")
    yield Register(temperatures, I16, 10, "battery_temperature")
    yield Register(temperatures + 1, I16, 10, "battery_temperature")


def pack_span(unit: int, packs: int) -> Span:
    """Return the span of the first so many slots of a battery unit."""
    return _PACKS_AT[unit], _PACKS_AT[unit] + _PACK_WORDS * packs - 1


class Setting(NamedTuple):
    """A register that can be written."""

    address: int
    kind: Number | Words
    scale: float
    name: str
    default: float = 0
    least: float = 0
    most: float = float("inf")
    only: tuple[float, ...] = ()
    """The accepted values, if not all between least and most."""
    volatile: bool = False
    """Whether it is kept in RAM: writes wear no flash, and a restart clears it."""

    @property
    def register(self) -> Register:
        """The register of this setting."""
        return Register(self.address, self.kind, self.scale, self.name)


_RAM: Final = True

# A register counts as kept in flash where no document says otherwise.
INVERTER_SETTINGS: Final = (
    Setting(40125, I16, 10, "output_percent", 100, 0, 100),
    Setting(40126, U32, 1, "output_limit", 0),
    Setting(42054, U16, 1, "scan", 0, 0, 1),
    Setting(42055, U16, 1, "scan_interval", 15, 5, 30),
    Setting(45052, I16, 1, "wlan_wake_up"),
    Setting(47415, U16, 1, "feed_in_mode", 0, 0, 7, only=(0, 1, 5, 6, 7)),
    Setting(47416, I32, 1, "feed_in_limit", 0, -1000),
    Setting(47418, I16, 10, "feed_in_percent", 0, -100, 100),
    Setting(47675, I32, 1, "feed_in_limit_on_failure", 0, -1000),
)

BATTERY_SETTINGS: Final = (
    Setting(47028, Words(41), 1, "prices"),
    Setting(47075, U32, 1, "charge_limit", 5000),
    Setting(47077, U32, 1, "discharge_limit", 5000),
    Setting(47081, U16, 10, "max_soc", 100, 90, 100),
    Setting(47082, U16, 10, "min_soc", 5, 0, 20),
    Setting(47083, U16, 1, "forcible_minutes", 0, 0, 1440, volatile=_RAM),
    Setting(47086, U16, 1, "working_mode", 2, 0, 5),
    Setting(47087, U16, 1, "grid_charge", 0, 0, 1),
    Setting(47088, U16, 10, "grid_charge_cutoff_soc", 80, 20, 100),
    Setting(47100, U16, 1, "forcible", 0, 0, 2, volatile=_RAM),
    Setting(47101, U16, 10, "forcible_soc", 0, 0, 100, volatile=_RAM),
    Setting(47102, U16, 10, "backup_soc", 0, 0, 100),
    Setting(47200, Words(41), 1, "fixed_periods"),
    Setting(47242, U32, 1, "grid_charge_limit", 5000),
    Setting(47246, U16, 1, "forcible_until", 0, 0, 1, volatile=_RAM),
    Setting(47247, U32, 1, "forcible_charge", 0, volatile=_RAM),
    Setting(47249, U32, 1, "forcible_discharge", 0, volatile=_RAM),
    Setting(47255, Words(43), 1, "periods"),
    Setting(47299, U16, 1, "surplus", 1, 0, 1),
    Setting(47589, I16, 1, "remote_control", 0, 0, 4),
    Setting(47590, U32, 1, "dongle_grid_charge"),
    Setting(47604, U16, 1, "backup_switch", 0, 0, 1),
    Setting(47605, U16, 1, "backup_voltage", 0, 0, 1),
    Setting(47954, U16, 1, "peak_shaving", 0, 0, 2),
    Setting(47955, U16, 10, "peak_shaving_soc", 0, 0, 100),
    Setting(47956, Words(64), 1, "peak_shaving_periods"),
)

# Write-only, and none of them is kept.
START: Final = 40200
SHUT_DOWN: Final = 40201
STAY_LOGGED_IN: Final = 49999
COMMANDS: Final = frozenset((START, SHUT_DOWN, STAY_LOGGED_IN))

INVERTER_SPANS: Final[tuple[Span, ...]] = (
    *((30000, 30082), (30083, 30086), (32000, 32063), (32064, 32115), (32116, 32119)),
    *((32176, 32178), (32212, 32231), (37200, 37201), (40000, 40001), (40125, 40127)),
    *((42054, 42055), (42900, 42900), (43006, 43006), (45052, 45052)),
    *((47000, 47000), (47089, 47089), (47415, 47418), (47675, 47676)),
)
METER_SPANS: Final[tuple[Span, ...]] = ((37100, 37137), (37138, 37138))
BATTERY_SPANS: Final[tuple[Span, ...]] = (
    *((37000, 37025), (37046, 37049), (37052, 37061), (37066, 37069)),
    *((37758, 37787), (37814, 37828), (37920, 37927), (38452, 38463)),
    *((47028, 47068), (47075, 47108), (47200, 47240), (47242, 47299)),
    *((47589, 47591), (47604, 47605), (47954, 48019)),
)
UNIT_2_SPANS: Final[tuple[Span, ...]] = (
    (37700, 37709),
    (37738, 37756),
    (37799, 37813),
)
PEAK_SHAVING: Final[Span] = (47954, 48019)

# Bit 0 first.
ALARMS: Final = {
    "alarm_1": (
        *(2001, 2002, 2011, 2012, 2013, 2021, 2031, 2032),
        *(2033, 2034, 2035, 2036, 2037, 2038, 2039, 2040),
    ),
    "alarm_2": (
        *(2051, 2061, 2062, 2063, 2064, 2065, 2066, 61440),
        *(2067, 2068, 2070, 2071, 2072, 2075, 2077, 2080),
    ),
    "alarm_3": (
        *(2081, 2085, 2014, 2086, 2069, 2082, 2015, 2087),
        *(2088, 2089, 2090, 2091, 2092, 2003, 2093, 2094),
    ),
}

# Gateways in front of an inverter. Signs are their own.
EMMA: Final = (
    Register(30000, Text(15), 1, "model"),
    Register(30015, Text(10), 1, "serial"),
    Register(30035, Text(15), 1, "software"),
    Register(30222, Text(20), 1, "variant"),
    Register(30306, U32, 100, "charged_today"),
    Register(30308, U64, 100, "charged"),
    Register(30312, U32, 100, "discharged_today"),
    Register(30314, U64, 100, "discharged"),
    Register(30322, U32, 1, "capacity"),
    Register(30332, U64, 100, "exported"),
    Register(30338, U64, 100, "imported"),
    Register(30354, U32, 1, "pv_power"),
    Register(30356, U32, 1, "load_power"),
    Register(30358, I32, 1, "export_power"),
    Register(30360, I32, 1, "battery_power"),
    Register(30364, I32, 1, "active_power"),
    Register(30368, U16, 100, "battery_soc"),
    *_each(31639, U32, 100, "meter_voltage_#"),
    *_each(31651, I32, -10, "meter_current_#"),
    Register(31657, I32, -1, "export_power"),
    Register(31679, I64, 100, "exported"),
    Register(31687, I64, 100, "imported"),
    Register(40000, U16, 1, "working_mode"),
)
EMMA_SPANS: Final[tuple[Span, ...]] = (
    *((30000, 30049), (30222, 30241), (30302, 30368), (31639, 31690)),
    (40000, 40000),
)
DONGLE: Final = (
    Register(30000, Text(15), 1, "model"),
    Register(37498, U32, 1, "pv_power"),
    Register(37500, I32, 1, "load_power"),
    Register(37502, I32, -1, "export_power"),
    Register(37504, I32, 1, "battery_power"),
    Register(37516, I32, 1, "active_power"),
)
DONGLE_SPANS: Final[tuple[Span, ...]] = ((30000, 30014), (37498, 37517))
# The length of the name is uncertain.
SMART_LOGGER: Final = (
    Register(40521, U32, 1, "pv_power"),
    Register(40525, I32, 1, "active_power"),
    Register(40713, Text(10), 1, "serial"),
    Register(65524, Text(10), 1, "model"),
)
SMART_LOGGER_SPANS: Final[tuple[Span, ...]] = (
    *((40521, 40526), (40713, 40722), (65524, 65533)),
)
# A meter of a SmartLogger, at a unit of its own. The sign of its power and which of its
# energies is the import are uncertain: here positive = import, as evcc takes it.
LOGGER_METER: Final = (
    *_each(32260, U32, 100, "meter_voltage_#"),
    *_each(32272, I32, -10, "meter_current_#"),
    Register(32278, I32, -1, "export_power"),
    Register(32349, I64, 100, "exported"),
    Register(32357, I64, 100, "imported"),
)
LOGGER_METER_SPANS: Final[tuple[Span, ...]] = ((32260, 32364),)
