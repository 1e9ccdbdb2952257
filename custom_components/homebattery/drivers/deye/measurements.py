"""The measurements computed from Deye's registers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ..battery.readings import Formula, Values
from ..measurements import Value
from ..modbus.register import WORD
from .inputs import UNKNOWN, Inputs, battery_status, with_inputs
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

TOU_ENABLED: Final = 0x01
"""The bit of the time-of-use register that switches the programme on."""
PEAK_SHAVING: Final = 0x30
"""The two bits of `switches` that are on (11) or off (10) for the grid's peak shaving."""
GRID_RELAY: Final = 0x04
GENERATOR_RELAY: Final = 0x08

_SIGN: Final = 0x8000
_WIDE: Final = 1.5
"""Most power of a house with a smaller inverter than 32768 W, as a multiple of the rated
one [chosen here]: the same word may be an export."""
_PHASES: Final = (1, 2, 3)


def number(value: Value) -> float:
    """Return a register's value as a number; 0 for None."""
    return value if isinstance(value, (int, float)) else 0


def word(value: Value) -> int:
    """Return the word of a register without a scale."""
    return int(number(value))


def _of_word(
    key: str,
    name: str,
    compute: Callable[[int], Value],
    options: tuple[str, ...] = (),
) -> Formula:
    """Return the formula of a measurement that one word without a scale gives."""
    return Formula(
        key,
        (name,),
        lambda v: None if v[name] is None else compute(word(v[name])),
        options,
    )


# Power -----------------------------------------------------------------------


def join(low_word: int, high_word: int, *, wide: bool = False) -> int:
    """Return a power, W, from its two words.

    Old firmware leaves the high word 0, also below zero: the low word alone is then
    signed. `wide`: this inverter, or its house, is large enough for more than 32767 W,
    and its firmware is known to fill the high words. A high word of 0xFFFF only ever
    extends the sign, and may come a moment before or after its low word.
    """
    if high_word == 0 and wide:
        return low_word
    if high_word in (0, WORD):
        return low_word - 0x10000 if low_word & _SIGN else low_word
    value = high_word << 16 | low_word
    return value - 0x1_0000_0000 if high_word & _SIGN else value


_HIGH_WORDS: Final = tuple(map(high, SPLIT_POWERS))


def _split_power(key: str, most: float) -> Formula:
    """Return the formula of a power whose two words are apart.

    `most` is the most power, W, of a low word whose high word is 0: above that it is a
    negative one, whose high word some firmware leaves 0, or fills a moment later.
    """
    low_name, high_name = low(key), high(key)
    if most < _SIGN:
        return Formula(
            key,
            (low_name, high_name),
            lambda v: join(word(v[low_name]), word(v.get(high_name))),
        )

    def compute(v: Values) -> Value:
        low_word, high_word = word(v[low_name]), word(v.get(high_name))
        is_wide = low_word <= most and any(v.get(name) for name in _HIGH_WORDS)
        return join(low_word, high_word, wide=is_wide)

    return Formula(key, (low_name, *_HIGH_WORDS), compute)


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


def _cell_voltage(key: str) -> Formula:
    """Return a cell voltage, V: some firmware counts mV, some hundredths."""
    return _of_word(key, f"{key}_raw", lambda raw: raw / (1000 if raw > 1000 else 100))


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
    return _of_word(
        f"{name}_time",
        f"{name}_hhmm",
        lambda hhmm: "{:02}:{:02}".format(*divmod(hhmm, 100)),
    )


def _flag(key: str, name: str, mask: int) -> Formula:
    """Return the formula of a flag: whether all bits of `mask` are set."""
    return _of_word(key, name, lambda bits: bits & mask == mask)


def _slot_charge(name: str) -> Formula:
    return _of_word(
        f"{name}_charge",
        f"{name}_flags",
        lambda flags: SLOT_CHARGE[flags & 0b11],
        tuple(SLOT_CHARGE.values()),
    )


def _stop_soc(v: Values) -> Value:
    """Return the stop SOC, %; raises KeyError where its register is something else."""
    if v["max_soc"] not in STOP_SOCS:
        raise KeyError("max_soc")
    return v["max_soc"]


def firmware(v: Values) -> Value:
    """Return the control board's firmware as the display shows it."""
    return _hex(v, "firmware_family", "firmware_release", "firmware_end")


def _hmi_firmware(v: Values) -> Value:
    return _hex(v, "hmi_firmware_family", "hmi_firmware_release")


def _hex(v: Values, *names: str) -> Value:
    """Return words as hex digits; None if one of them is not there."""
    words = [v[name] for name in names]
    return None if None in words else "-".join(f"{word(each):04X}" for each in words)


# The formulas of each kind ---------------------------------------------------

_OTHER_PVS: Final = ("pv2_power", "pv3_power", "pv4_power")

_COMMON: Final = (
    Formula("battery_soc", ("soc", "battery_voltage"), _soc),
    _temperature("battery_temperature"),
    _temperature("dc_temperature"),
    _temperature("device_temperature"),
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
    Formula("max_soc", ("max_soc",), _stop_soc),
    _flag("grid_connected", "relays", GRID_RELAY),
    _flag("generator_connected", "relays", GENERATOR_RELAY),
    _flag("grid_peak_shaving", "switches", PEAK_SHAVING),
    _of_word(
        "energy_pattern",
        "energy_pattern_bits",
        lambda bits: ENERGY_PATTERN[bits & 1],
        tuple(ENERGY_PATTERN.values()),
    ),
    Formula(
        "firmware", ("firmware_family", "firmware_release", "firmware_end"), firmware
    ),
    Formula(
        "hmi_firmware", ("hmi_firmware_family", "hmi_firmware_release"), _hmi_firmware
    ),
    _of_word("phases", "mppts_and_phases", lambda both: both & 0x0F),
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


def _most_of_a_word(kind: Kind, rated_power: float) -> float:
    """Return the most power, W, that a low word without its high word can mean.

    Above that it is a negative one. Only a high-voltage inverter is large enough for
    more than 32767 W, or its house is.
    """
    if kind is not Kind.HIGH_VOLTAGE:
        return 0
    return _WIDE * rated_power if 0 < rated_power < _SIGN else WORD


def formulas(
    kind: Kind, inputs: Inputs = UNKNOWN, rated_power: float = 0
) -> tuple[Formula, ...]:
    """Return the formulas of a kind of inverter with these inputs.

    `rated_power` in W; 0 while it is not known. Those of single-phase inverters besides
    the common ones are in `single_phase.py`.
    """
    if kind is Kind.SINGLE_PHASE:
        return (*_COMMON, battery_status(inputs))
    most = _most_of_a_word(kind, rated_power)
    powers = [
        _split_power(key, most) for key in SPLIT_POWERS if key != "apparent_power"
    ]
    return (*_COMMON, *_THREE_PHASE, *with_inputs(powers, inputs))
