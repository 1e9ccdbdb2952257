"""The settings of a Deye inverter, and the words of their registers."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
import math
from typing import Final

from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from ..measurements import Value
from .measurements import TOU_ENABLED
from .plans import GRID_FLAG, PEAK_SHAVING_BITS, SELL_FLAG
from .registers import SLOT_CHARGE, SLOTS, STOP_SOCS, WORKING_MODE, Kind

_ANY_DAY: Final = 0xFE
_EXPORT_TARGET: Final = 500
"""W either way to which the zero-export target can be set [uncertain]."""
_NEGATIVE_TARGET_RELEASE: Final = 0x1183
"""The firmware from which the zero-export target may be below zero."""
_MOST_AMPS: Final = ((12_000, 240), (math.inf, 350))
"""Most battery current, A, by rated power, W, with a low-voltage battery: 290 A are
those of a single-phase inverter of 16 kW."""
_MOST_AMPS_HIGH_VOLTAGE: Final = 350
"""The same with a high-voltage battery, A, whatever the size."""
_MOST_SOLAR: Final = {Kind.THREE_PHASE: 32_000, Kind.HIGH_VOLTAGE: 128_000}
"""Most PV power, W: inverters take more than their rated power."""


def settings(
    kind: Kind, registers: Collection[str], rated_power: float, release: int
) -> dict[str, Setting]:
    """Return the settings of an inverter that has these registers.

    `rated_power` in W; `release` is the firmware's, as its hex digits read.
    """
    amps = NumberSetting(minimum=0, maximum=_most_amps(kind, rated_power))
    watts = NumberSetting(
        minimum=0,
        maximum=rated_power or 100_000,
        step=10 if kind is Kind.HIGH_VOLTAGE else 1,
    )
    percent = NumberSetting(minimum=0, maximum=100)
    known: dict[str, Setting] = {
        "charge_current_limit": amps,
        "discharge_current_limit": amps,
        "grid_charge_current_limit": amps,
        "grid_charge": SwitchSetting(),
        "generator_charge": SwitchSetting(),
        "min_soc": percent,
        "shutdown_soc": percent,
        "restart_soc": percent,
        "max_soc": NumberSetting(minimum=STOP_SOCS[0], maximum=STOP_SOCS[-1]),
        "working_mode": SelectSetting(options=tuple(WORKING_MODE.values())),
        "zero_export_power": NumberSetting(
            minimum=-_EXPORT_TARGET if release >= _NEGATIVE_TARGET_RELEASE else 0,
            maximum=_EXPORT_TARGET,
            step=watts.step,
        ),
        "max_sell_power": watts,
        "solar_sell": SwitchSetting(),
        "tou_enabled": SwitchSetting(),
        "grid_peak_shaving": SwitchSetting(),
        "grid_peak_shaving_power": NumberSetting(
            minimum=0, maximum=100_000, step=watts.step
        ),
        **{f"tou_{slot}_power": watts for slot in SLOTS},
        **{f"tou_{slot}_soc": percent for slot in SLOTS},
    }
    if kind is not Kind.SINGLE_PHASE:
        charge = SelectSetting(options=tuple(SLOT_CHARGE.values()))
        known |= {f"tou_{slot}_charge": charge for slot in SLOTS}
        known["max_solar_power"] = replace(watts, maximum=_MOST_SOLAR[kind])
    return {
        key: setting for key, setting in known.items() if register_of(key) in registers
    }


def _most_amps(kind: Kind, rated_power: float) -> int:
    if kind is Kind.HIGH_VOLTAGE:
        return _MOST_AMPS_HIGH_VOLTAGE
    return next(amps for most, amps in _MOST_AMPS if rated_power <= most)


def register_of(key: str) -> str:
    """Return the name of the register that holds a setting."""
    if key.startswith("tou_") and key.endswith("_charge"):
        return f"{key.removesuffix('_charge')}_flags"
    return _REGISTERS.get(key, key)


_REGISTERS: Final[Mapping[str, str]] = {
    "min_soc": "low_soc",
    "tou_enabled": "tou_bits",
    "grid_peak_shaving": "switches",
}


# Settings that share a register with others: the new word of it --------------


def word_maker(key: str) -> Callable[[int, Value], int] | None:
    """Return the function that makes a setting's new word from the old one.

    None for a setting that has a register of its own.
    """
    if key.startswith("tou_") and key.endswith("_charge"):
        return _slot_flags
    return _WORD_MAKERS.get(key)


def _slot_flags(old: int, option: Value) -> int:
    """Return the flags with another source to charge from; with the grid, no sale."""
    code = next(code for code, name in SLOT_CHARGE.items() if name == option)
    return old & ~0b11 & ~(SELL_FLAG if code & GRID_FLAG else 0) | code


def _tou_bits(old: int, on: Value) -> int:
    """Return the bits with time of use switched; without any day, all are added."""
    if not on:
        return old & ~TOU_ENABLED
    return old | TOU_ENABLED | (0 if old & _ANY_DAY else _ANY_DAY)


def _peak_shaving(old: int, on: Value) -> int:
    """Return the word with both bits for on, the upper one for off."""
    return old & ~PEAK_SHAVING_BITS | (PEAK_SHAVING_BITS if on else 0b10 << 4)


_WORD_MAKERS: Final[Mapping[str, Callable[[int, Value], int]]] = {
    "tou_enabled": _tou_bits,
    "grid_peak_shaving": _peak_shaving,
}
