"""The measurements computed from Deye's registers."""

from collections.abc import Iterable, Mapping
from typing import Final

from ..battery.readings import Formula, Values
from ..measurements import Value
from ..modbus.register import WORD
from .registers import (
    ENERGY_PATTERN,
    FAULTS,
    PACKS,
    SLOT_CHARGE,
    SLOTS,
    SPLIT_POWERS,
    STOP_SOCS,
    WARNINGS,
    Kind,
    high,
    low,
)

RESTING: Final = 50
"""W of battery power up to which a battery counts as idle."""
TOU_ENABLED: Final = 0x01
"""The bit of the time-of-use register that switches the programme on."""
PEAK_SHAVING: Final = 0x30
"""The two bits of `switches` that are on (11) or off (10) for the grid's peak shaving."""
GRID_RELAY: Final = 0x04
GENERATOR_RELAY: Final = 0x08
FORCE_CHARGE: Final = 0x02

_SIGN: Final = 0x8000
_PHASES: Final = (1, 2, 3)


def number(value: Value) -> float:
    """Return a register's value as a number; 0 for None."""
    return value if isinstance(value, int | float) else 0


def word(value: Value) -> int:
    """Return the word of a register without a scale."""
    return int(number(value))


# Power -----------------------------------------------------------------------


def join(low_word: int, high_word: int, *, wide: bool = False) -> int:
    """Return a power, W, from its two words.

    Old firmware leaves the high word 0, also below zero: the low word alone is then
    signed. `wide`: this inverter is large enough for more than 32767 W, and its
    firmware is known to fill the high words. A high word of 0xFFFF only ever extends
    the sign, and may come a moment before or after its low word.
    """
    if high_word == 0 and wide:
        return low_word
    if high_word in (0, WORD):
        return low_word - 0x10000 if low_word & _SIGN else low_word
    value = high_word << 16 | low_word
    return value - 0x1_0000_0000 if high_word & _SIGN else value


_HIGH_WORDS: Final = tuple(map(high, SPLIT_POWERS))


def _split_power(key: str, kind: Kind) -> Formula:
    """Return the formula of a power whose two words are apart."""
    if key.startswith("ups_power"):  # a load, never negative
        return Formula(
            key,
            (low(key), high(key)),
            lambda v: word(v.get(high(key))) << 16 | word(v[low(key)]),
        )
    if kind is Kind.THREE_PHASE:
        return Formula(
            key,
            (low(key), high(key)),
            lambda v: join(word(v[low(key)]), word(v.get(high(key)))),
        )
    return Formula(
        key,
        (low(key), *_HIGH_WORDS),
        lambda v: join(
            word(v[low(key)]),
            word(v.get(high(key))),
            wide=any(v.get(name) for name in _HIGH_WORDS),
        ),
    )


def _active_current(v: Values) -> Value:
    """Return the current of all phases at the AC side, A, + = delivering."""
    total = 0.0
    for phase in _PHASES:
        key = f"active_power_l{phase}"
        power = join(word(v[low(key)]), word(v.get(high(key))))
        current = abs(number(v[f"output_current_l{phase}"]))
        total += -current if power < 0 else current
    return round(total, 2)


# Battery ---------------------------------------------------------------------


def _temperature(key: str) -> Formula:
    """Return the formula of a temperature, °C; the register counts from -100."""
    name = f"{key}_raw"
    return Formula(
        key, (name,), lambda v: round(number(v[name]) - 100, 1) if v[name] else None
    )


def _soc(v: Values) -> Value:
    """Return the SOC, %; None without any voltage: then there is no battery."""
    return v["soc"] if v["battery_voltage"] else None


def _battery_status(v: Values) -> Value:
    power = number(v["battery_power"])
    if abs(power) <= RESTING:
        return "idle"
    return "charging" if power > 0 else "discharging"


def _bms_limit(key: str, name: str) -> Formula:
    """Return a limit of the BMS, A; void while there is none on the line."""
    return Formula(
        key,
        (name, "battery_bms_voltage"),
        lambda v: v[name] if v["battery_bms_voltage"] else None,
    )


def _bms_power_limit(key: str, name: str) -> Formula:
    """Return a limit of the BMS as power, W, at the voltage of this moment."""
    return Formula(
        key,
        (name, "battery_bms_voltage", "battery_voltage"),
        lambda v: (
            round(number(v[name]) * number(v["battery_voltage"]))
            if v["battery_bms_voltage"]
            else None
        ),
    )


def _cell_voltage(key: str) -> Formula:
    """Return a cell voltage, V: some firmware counts mV, some hundredths."""
    name = f"{key}_raw"
    return Formula(
        key,
        (name,),
        lambda v: number(v[name]) / (1000 if number(v[name]) > 1000 else 100),
    )


# Energy ----------------------------------------------------------------------


def _import_total(v: Values) -> Value:
    """Return the single-phase inverter's import counter, kWh."""
    words = word(v["grid_import_total_high"]) << 16 | word(v["grid_import_total_low"])
    return words / 10 if v["device_temperature_raw"] else None


# Warnings and faults ---------------------------------------------------------


def _numbers(v: Values, names: Iterable[str]) -> list[int]:
    """Return the numbers of the bits that are set in consecutive words, from 1."""
    return [
        16 * place + bit + 1
        for place, name in enumerate(names)
        for bit in range(16)
        if word(v[name]) >> bit & 1
    ]


_WARNING_WORDS: Final = ("warnings_1", "warnings_2")
_FAULT_WORDS: Final = ("faults_1", "faults_2", "faults_3", "faults_4")


def _codes(v: Values, letter: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return warnings or faults as the display numbers them."""
    return tuple(f"{letter}{number:02}" for number in _numbers(v, words))


def _named(
    v: Values, letter: str, words: Iterable[str], names: Mapping[int, str]
) -> Iterable[str]:
    """Return warnings or faults with their meaning, as far as it is known."""
    return (
        f"{letter}{number:02} {names.get(number, '')}".rstrip()
        for number in _numbers(v, words)
    )


# Settings --------------------------------------------------------------------


def _time(name: str) -> Formula:
    """Return the formula of a slot's start as hh:mm: 1730 is 17:30."""
    return Formula(
        f"{name}_time",
        (f"{name}_hhmm",),
        lambda v: "{:02}:{:02}".format(*divmod(word(v[f"{name}_hhmm"]), 100)),
    )


def _flag(key: str, name: str, mask: int) -> Formula:
    """Return the formula of a flag: whether all bits of `mask` are set."""
    return Formula(key, (name,), lambda v: word(v[name]) & mask == mask)


def _slot_charge(name: str) -> Formula:
    return Formula(
        f"{name}_charge",
        (f"{name}_flags",),
        lambda v: SLOT_CHARGE[word(v[f"{name}_flags"]) & 0b11],
        tuple(SLOT_CHARGE.values()),
    )


def _stop_soc(v: Values) -> Value:
    """Return the stop SOC, %; raises KeyError where its register is something else."""
    if v["max_soc"] not in STOP_SOCS:
        raise KeyError("max_soc")
    return v["max_soc"]


def firmware(v: Values) -> Value:
    """Return the control board's firmware as the display shows it."""
    family, release, end = (
        word(v[f"firmware_{part}"]) for part in ("family", "release", "end")
    )
    return f"{family:04X}-{release:04X}-{end:04X}"


def _hmi_firmware(v: Values) -> Value:
    family, release = (
        word(v[f"hmi_firmware_{part}"]) for part in ("family", "release")
    )
    return f"{family:04X}-{release:04X}"


# The formulas of each kind ---------------------------------------------------

_OTHER_PVS: Final = ("pv2_power", "pv3_power", "pv4_power")

_COMMON: Final = (
    Formula("battery_soc", ("soc", "battery_voltage"), _soc),
    Formula(
        "battery_status",
        ("battery_power",),
        _battery_status,
        ("idle", "charging", "discharging"),
    ),
    _temperature("battery_temperature"),
    _temperature("dc_temperature"),
    _temperature("device_temperature"),
    Formula(
        "pv_power",
        ("pv1_power", *_OTHER_PVS),
        lambda v: (
            number(v["pv1_power"]) + sum(number(v.get(name)) for name in _OTHER_PVS)
        ),
    ),
    Formula("alarms", _WARNING_WORDS, lambda v: _codes(v, "W", _WARNING_WORDS)),
    Formula("faults", _FAULT_WORDS, lambda v: _codes(v, "F", _FAULT_WORDS)),
    Formula(
        "problem",
        (*_FAULT_WORDS, *_WARNING_WORDS),
        lambda v: (
            *_named(v, "F", _FAULT_WORDS, FAULTS),
            *_named(v, "W", _WARNING_WORDS, WARNINGS),
        ),
    ),
    # The on-grid floor, which is the minimum SOC of other batteries.
    Formula("min_soc", ("low_soc",), lambda v: v["low_soc"]),
    _flag("tou_enabled", "tou_bits", TOU_ENABLED),
    *(_time(f"tou_{slot}") for slot in SLOTS),
    *(_slot_charge(f"tou_{slot}") for slot in SLOTS),
)

_THREE_PHASE: Final = (
    Formula(
        "active_current",
        (
            *(f"output_current_l{phase}" for phase in _PHASES),
            *(low(f"active_power_l{phase}") for phase in _PHASES),
            *(high(f"active_power_l{phase}") for phase in _PHASES),
        ),
        _active_current,
    ),
    _temperature("battery_2_temperature"),
    Formula(
        "battery_bms_temperature",
        ("bms_temperature_raw", "battery_bms_voltage"),
        lambda v: (
            round(number(v["bms_temperature_raw"]) - 100, 1)
            if v["battery_bms_voltage"]
            else None
        ),
    ),
    _bms_limit("max_charge_current", "bms_charge_amps"),
    _bms_limit("max_discharge_current", "bms_discharge_amps"),
    _bms_limit("battery_bms_charge_current_limit", "bms_charge_amps"),
    _bms_limit("battery_bms_discharge_current_limit", "bms_discharge_amps"),
    _bms_power_limit("max_charge_power", "bms_charge_amps"),
    _bms_power_limit("max_discharge_power", "bms_discharge_amps"),
    Formula("max_soc", ("max_soc",), _stop_soc),
    _flag("battery_force_charge", "bms_requests", FORCE_CHARGE),
    _flag("grid_connected", "relays", GRID_RELAY),
    _flag("generator_connected", "relays", GENERATOR_RELAY),
    _flag("grid_peak_shaving", "switches", PEAK_SHAVING),
    Formula(
        "energy_pattern",
        ("energy_pattern_bits",),
        lambda v: ENERGY_PATTERN[word(v["energy_pattern_bits"]) & 1],
        tuple(ENERGY_PATTERN.values()),
    ),
    Formula(
        "firmware", ("firmware_family", "firmware_release", "firmware_end"), firmware
    ),
    Formula(
        "hmi_firmware", ("hmi_firmware_family", "hmi_firmware_release"), _hmi_firmware
    ),
    Formula(
        "phases", ("mppts_and_phases",), lambda v: word(v["mppts_and_phases"]) & 0x0F
    ),
    *(
        make(f"pack{pack}_{key}")
        for pack in PACKS
        for make, keys in (
            (_cell_voltage, ("min_cell_voltage", "max_cell_voltage")),
            (
                _temperature,
                (
                    "temperature",
                    "min_cell_temperature",
                    "max_cell_temperature",
                    "mos_temperature",
                ),
            ),
        )
        for key in keys
    ),
)

_SINGLE_PHASE: Final = (
    Formula(
        "grid_import_total",
        (
            *("grid_import_total_low", "grid_import_total_high"),
            "device_temperature_raw",
        ),
        _import_total,
    ),
    Formula("active_power_l1", ("active_power",), lambda v: v["active_power"]),
    Formula("grid_power_l1", ("grid_power",), lambda v: v["grid_power"]),
    Formula("load_power_l1", ("load_power",), lambda v: v["load_power"]),
    Formula("inverter_on", ("on_or_2",), lambda v: v["on_or_2"] == 1),
)


def formulas(kind: Kind) -> tuple[Formula, ...]:
    """Return the formulas of a kind of inverter."""
    if kind is Kind.SINGLE_PHASE:
        return (*_COMMON, *_SINGLE_PHASE)
    powers = (
        _split_power(key, kind) for key in SPLIT_POWERS if key != "apparent_power"
    )
    return (*_COMMON, *_THREE_PHASE, *powers)
