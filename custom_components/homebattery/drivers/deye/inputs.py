"""The inputs of a three-phase Deye: batteries and their BMS, PV, the GEN port.

Most have one battery, and PV at up to four inputs. Larger ones have a second battery
input, with power, current and a BMS of its own, and four more PV inputs; and any may
have micro-inverters at its GEN port, whose power passes by its own counts of PV and
load.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
import math
from operator import itemgetter
from typing import Final

from ..battery.controller import KNOWN_FOR
from ..battery.readings import Formula, Values
from ..measurements import Value, as_number
from ..modbus.register import WORD
from .registers import FIRST_PVS, GEN_PORT_MODE, MORE_PVS, second

RESTING: Final = 50
"""W of battery power up to which a battery counts as idle."""
FORCE_CHARGE: Final = 0x02
"""The bit of the BMS's requests that asks for charging."""

BATTERIES_PARALLEL: Final = "batteries_parallel"
GEN_PORT: Final = "gen_port_mode"
_MICRO_INVERTER: Final = GEN_PORT_MODE[2]

SECOND_SOC: Final = "battery_2_soc"
_SECOND_VOLTAGE: Final = "battery_2_voltage"
_SECOND_BATTERY: Final = ("battery_2_power", "battery_2_current", _SECOND_VOLTAGE)
POWERS: Final = ("battery_power", "battery_current", *_SECOND_BATTERY)
"""The registers of the power and current of both batteries."""
BATTERY: Final = (*POWERS, "battery_voltage", BATTERIES_PARALLEL)
"""Those, and those that say whether they mean something."""
_FULL_WORDS: Final = {"power": (1, 10), "current": (0.01,)}
"""The values of 0xFFFF, -1 count of discharge: W with either kind of battery, and A."""
_CLEAR: Final = 200
"""W that a battery has at least where a power of -1 count is none [chosen here]."""
_BMS_VOLTAGE: Final = "battery_bms_voltage"
_BMS_REQUESTS: Final = "bms_requests"
BMS: Final = (_BMS_VOLTAGE, "bms_charge_amps", "bms_discharge_amps", _BMS_REQUESTS)
"""The registers of a BMS that a setpoint depends on."""
SECOND_BMS: Final = frozenset(map(second, BMS))

_FIRST_POWERS: Final = tuple(f"pv{number}_power" for number in FIRST_PVS)
_MORE_POWERS: Final = tuple(f"pv{number}_power" for number in MORE_PVS)

LASTING_POWERS: Final = frozenset(_MORE_POWERS)
LASTING_SETTINGS: Final = frozenset({BATTERIES_PARALLEL, GEN_PORT})
LASTING: Final = LASTING_SETTINGS | LASTING_POWERS
"""Registers outside of the live values on which live measurements depend: settings, and
powers."""


class SecondBattery:
    """The second battery as it was read last. Times are the event loop's, s.

    It is there while it has a voltage that a battery can have, and used while the
    user's setting is so. For `KNOWN_FOR` seconds after that it may be a damaged word
    that says otherwise.
    """

    def __init__(self) -> None:
        """Begin without one."""
        self.is_used = False
        """Whether the user's setting is to use it, or was so a short while ago."""
        self.was_there = False
        """Whether it is there, or was there a short while ago."""
        self._used_at = self._seen_at = self._soc_at = -math.inf
        self._soc: float | None = None

    def note(self, v: Values, now: float) -> None:
        """Note values that were read now."""
        if BATTERIES_PARALLEL in v:
            if v[BATTERIES_PARALLEL] == 1:
                self._used_at = now
            self.is_used = now - self._used_at < KNOWN_FOR
        if _SECOND_VOLTAGE in v:
            if v[_SECOND_VOLTAGE] is not None:
                self._seen_at = now
            self.was_there = now - self._seen_at < KNOWN_FOR
        # An inverter that does not know its SOC may leave 0 [uncertain].
        if self._seen_at == now and (soc := as_number(v.get(SECOND_SOC))):
            self._soc, self._soc_at = soc, now

    def soc(self, now: float) -> float | None:
        """Return its SOC, %; None if it has not been known for a while."""
        return self._soc if now - self._soc_at < KNOWN_FOR else None


@dataclass(frozen=True)
class Inputs:
    """The inputs that an inverter reports to have; 0 where it does not say."""

    batteries: int = 0
    mppts: int = 0
    most_power: float = math.inf
    """W that its batteries can have together."""
    second: SecondBattery = field(default_factory=SecondBattery)

    @property
    def may_have_more_pvs(self) -> bool:
        """Whether there may be PV inputs beyond the fourth."""
        return not self.mppts or self.mppts > FIRST_PVS[-1]

    def has_two_batteries(self, v: Values) -> bool:
        """Return whether two batteries are in use: by size, or by the user's setting."""
        is_set = v.get(BATTERIES_PARALLEL) == 1 or self.second.is_used
        return self.batteries == 2 or is_set


UNKNOWN: Final = Inputs()


def mppt_count(mppts_and_phases: int) -> int:
    """Return the PV inputs that an identity word counts; 0 for a count that none has."""
    count = mppts_and_phases >> 8 & 0x0F
    return count if count <= MORE_PVS[-1] and mppts_and_phases != WORD else 0


# Batteries -------------------------------------------------------------------


def battery_power(v: Values, inputs: Inputs) -> float | None:
    """Return the power of all batteries, W, + = charging; None if it is not known.

    More than the inverter can have is a damaged word. Raises KeyError with the name of
    a register that was not read.
    """
    power = _of_batteries(v, inputs, "power")
    return None if power is None or abs(power) > inputs.most_power else power


def _of_batteries(v: Values, inputs: Inputs, what: str) -> float | None:
    first = as_number(v[f"battery_{what}"])
    if first is None or not inputs.has_two_batteries(v):
        return first
    if v[_SECOND_VOLTAGE] is None:
        # Half of it would pass for all.
        return None if inputs.second.was_there else first
    other = _of_second_battery(v, what)
    if other is None or _is_filler("battery", v, what):
        return None
    return round(first + other, 2)


def _of_second_battery(v: Values, what: str) -> float | None:
    """Return a value of the second battery; None without a voltage that it can have."""
    value = as_number(v[f"battery_2_{what}"])
    if v[_SECOND_VOLTAGE] is None or _is_filler("battery_2", v, what):
        return None
    return value


def _is_filler(battery: str, v: Values, what: str) -> bool:
    """Return whether a power or current of -1 count is 0xFFFF that means nothing.

    That is so where the other of the two is 0xFFFF as well, or that of a battery in
    use.
    """
    other = "current" if what == "power" else "power"
    if v.get(f"{battery}_{what}") not in _FULL_WORDS[what]:
        return False
    value, volts = (v.get(f"{battery}_{each}") for each in (other, "voltage"))
    watts = (as_number(value) or 0) * (1 if other == "power" else as_number(volts) or 0)
    return value in _FULL_WORDS[other] or abs(watts) >= _CLEAR


def battery_status(inputs: Inputs) -> Formula:
    """Return the formula of what the batteries do together."""

    def compute(v: Values) -> Value:
        power = battery_power(v, inputs)
        if power is None:
            return None
        if abs(power) <= RESTING:
            return "idle"
        return "charging" if power > 0 else "discharging"

    return Formula(
        "battery_status", BATTERY, compute, ("idle", "charging", "discharging")
    )


def _battery_formulas(inputs: Inputs) -> Iterator[Formula]:
    yield Formula("battery_power", BATTERY, lambda v: battery_power(v, inputs))
    yield Formula(
        "battery_current",
        BATTERY,
        lambda v: _of_batteries(v, inputs, "current"),
    )
    yield battery_status(inputs)
    yield Formula(
        "battery_2_power", _SECOND_BATTERY, lambda v: _of_second_battery(v, "power")
    )
    yield Formula(
        "battery_2_current", _SECOND_BATTERY, lambda v: _of_second_battery(v, "current")
    )


# BMS -------------------------------------------------------------------------


def _of_each_bms(v: Values, name: str) -> list[float | None]:
    """Return a register of each BMS that is there; None where it does not report it.

    A BMS without a voltage that a battery can have reports nothing: neither its limits
    nor what it asks for mean anything.
    """
    names = (name, second(name))
    voltages = (_BMS_VOLTAGE, second(_BMS_VOLTAGE))
    return [
        as_number(v.get(each))
        for each, voltage in zip(names, voltages, strict=True)
        if v.get(voltage)
    ]


def _reported(v: Values, name: str) -> list[float]:
    """Return a register of each BMS, as far as they report it."""
    return [value for value in _of_each_bms(v, name) if value is not None]


def bms_limit(v: Values, name: str) -> float | None:
    """Return a limit of the BMS, A, with two of them their sum; None if not reported.

    That of one alone is less than both of them permit.
    """
    limits = _reported(v, name)
    return sum(limits) if limits else None


def _whole_bms_limit(v: Values, name: str) -> float | None:
    """Return such a limit; None also where one BMS of two does not report it."""
    return None if None in _of_each_bms(v, name) else bms_limit(v, name)


def is_charge_forced(v: Values) -> bool | None:
    """Return whether a BMS asks for charging; None if none reports it."""
    requests = _reported(v, _BMS_REQUESTS)
    return any(int(each) & FORCE_CHARGE for each in requests) if requests else None


def _of_both_bms(key: str, name: str, compute: Callable[[Values], Value]) -> Formula:
    """Return the formula of what the first BMS and, if there is one, the second report."""
    first = (name, _BMS_VOLTAGE)

    def checked(v: Values) -> Value:
        itemgetter(*first)(v)  # fails without them
        return compute(v)

    return Formula(key, (*first, *map(second, first)), checked)


def _current_limit(key: str, name: str) -> Formula:
    """Return the formula of a limit of the BMS, A."""
    return _of_both_bms(key, name, lambda v: _whole_bms_limit(v, name))


def _power_limit(key: str, name: str) -> Formula:
    """Return the formula of a limit of the BMS as power, W, at the present voltage."""

    def compute(v: Values) -> Value:
        limit, volts = _whole_bms_limit(v, name), as_number(v["battery_voltage"])
        return None if limit is None or volts is None else round(limit * volts)

    formula = _of_both_bms(key, name, compute)
    return replace(formula, needs=(*formula.needs, "battery_voltage"))


def _of_bms(key: str, name: str, base: float = 0) -> Formula:
    """Return the formula of a value of the first BMS, which counts from `base`."""

    def compute(v: Values) -> Value:
        value = as_number(v[name])
        if value is None or not v[_BMS_VOLTAGE]:
            return None
        return round(value + base, 2)

    return Formula(key, (name, _BMS_VOLTAGE), compute)


_BMS_FORMULAS: Final = (
    _current_limit("max_charge_current", "bms_charge_amps"),
    _current_limit("max_discharge_current", "bms_discharge_amps"),
    _power_limit("max_charge_power", "bms_charge_amps"),
    _power_limit("max_discharge_power", "bms_discharge_amps"),
    _of_bms("battery_bms_charge_current_limit", "bms_charge_amps"),
    _of_bms("battery_bms_discharge_current_limit", "bms_discharge_amps"),
    _of_bms("battery_bms_temperature", "bms_temperature_raw", -100),
    *(
        _of_bms(key, key)
        for key in (
            *("battery_bms_soc", "battery_soh", "battery_bms_current"),
            *("battery_bms_charge_voltage", "battery_bms_discharge_voltage"),
        )
    ),
    _of_both_bms("battery_force_charge", _BMS_REQUESTS, is_charge_forced),
)


# PV and the GEN port ---------------------------------------------------------


def _micro_inverter_power(v: Values, port: Formula) -> float:
    """Return the power, W, that micro-inverters feed in at the GEN port."""
    if v.get(GEN_PORT) != _MICRO_INVERTER:
        return 0
    return max(0, as_number(port.compute(v)) or 0)


def power_of_strings(powers: Sequence[Value], inputs: Inputs) -> float | None:
    """Return the power of all strings, W; None without one of those that are counted.

    The others would pass for all of them. Without a count all are those that are known.
    """
    if None in powers[: inputs.mppts]:
        return None
    known = [power for each in powers if (power := as_number(each)) is not None]
    return sum(known) if known else None


def _pv_power(inputs: Inputs, port: Formula) -> Formula:
    """Return the formula of the PV power: of all strings, and at the GEN port."""
    more = _MORE_POWERS if inputs.may_have_more_pvs else ()
    strings = (*_FIRST_POWERS, *more)

    def compute(v: Values) -> Value:
        power = power_of_strings(
            [v[_FIRST_POWERS[0]], *map(v.get, strings[1:])], inputs
        )
        return None if power is None else power + _micro_inverter_power(v, port)

    return Formula("pv_power", (*strings, *port.needs, GEN_PORT), compute)


def _load_power(load: Formula, port: Formula) -> Formula:
    """Return the formula of a load with what micro-inverters feed it.

    The register has only what comes from the inverter and the grid.
    """

    def compute(v: Values) -> Value:
        power = as_number(load.compute(v))
        return None if power is None else power + _micro_inverter_power(v, port)

    return Formula(load.key, (*load.needs, *port.needs, GEN_PORT), compute)


def with_inputs(powers: Sequence[Formula], inputs: Inputs) -> tuple[Formula, ...]:
    """Return the formulas of all that is connected, and `powers`, with their inputs."""
    of = {formula.key: formula for formula in powers}
    loads = {
        key: _load_power(of[key], of[key.replace("load", "generator")])
        for key in of
        if key.startswith("load_power")
    }
    return (
        *(of | loads).values(),
        *_battery_formulas(inputs),
        *_BMS_FORMULAS,
        _pv_power(inputs, of["generator_power"]),
    )
