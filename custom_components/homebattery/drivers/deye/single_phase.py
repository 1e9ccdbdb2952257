"""The meaning of a single-phase inverter's words, where no register says it for sure.

- Models from 10 kW on count most powers in 10 W. Register 54 says so, and is checked by
  the balance of three powers.
- Newer firmware counts the battery current in 0.1 A instead of 0.01 A. Power and
  voltage show which.
- Register 169 ("total grid") is the meter's power in one working mode, and that of the
  inverter's own grid port in another, as a dump of one house in both modes shows. So
  the meter's own register is taken wherever there is a meter, in every mode.

What was learned stays: it changes only when two reads in a row agree on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..battery.readings import Formula, Values
from ..measurements import Value, as_number
from ..modbus.register import WORD
from .inputs import FORCE_CHARGE, UNKNOWN, Inputs, battery_power, power_of_strings
from .measurements import number, word
from .registers import GEN_PORT_MODE, SANE_VOLTS, WORKING_MODE, Kind

RATIOS: Final = (1, 10)
"""W that a power word may count."""
_STATED_RATIOS: Final[Mapping[Value, int]] = {0: 1, 1: 1, 10: 10}
"""The same by register 54; other words state nothing."""
_BALANCE_FROM: Final = 500
"""W of AC power from which one ratio only fits the balance."""
_STEPS: Final = (100, 10)
"""Parts of an ampere that the battery current may count."""
_CURRENT_FROM: Final = 300
"""W of battery power from which one scale only fits power and voltage."""
_NOISE: Final = 1
"""Count up to which a meter's word may be no measurement: 0xFFFF reads as -1."""

SELLING_FIRST: Final = WORKING_MODE[0]
ZERO_EXPORT_TO_CT: Final = WORKING_MODE[2]
MICRO_INVERTER: Final = GEN_PORT_MODE[2]
_OTHER_PVS: Final = ("pv2_power", "pv3_power", "pv4_power")

DECIDING: Final = ("power_ratio", "working_mode", "gen_port_mode")
"""Registers that the meaning of others depends on; read before them."""


class SeenTwice:
    """A fact that two reads in a row prove for good, and one only for itself."""

    def __init__(self) -> None:
        """Begin without knowing."""
        self.holds = False
        """Whether the last read shows it, or two did before."""
        self.is_proven = False
        """Whether two reads in a row did."""
        self._was_shown = False

    def note(self, is_shown: bool) -> None:
        """Note whether a read shows it."""
        self.is_proven |= is_shown and self._was_shown
        self._was_shown = is_shown
        self.holds = is_shown or self.is_proven


class LearnedScale:
    """A scale that the values themselves show: two that agree change it, not one."""

    def __init__(self) -> None:
        """Begin without knowing."""
        self.value: int | None = None
        self._contrary: int | None = None

    def note(self, fitting: int | None, assumed: int | None = None) -> None:
        """Note the scale that fits the values of a read; None says nothing.

        `assumed` is the scale in use while none is known; with None the first that
        fits is taken at once.
        """
        if fitting is None:
            return
        if (self.value or assumed) in (None, fitting) or fitting == self._contrary:
            self.value, self._contrary = fitting, None
        else:
            self._contrary = fitting


def fitting_ratio(v: Values) -> int | None:
    """Return the ratio by which 178 = 175 + 169; None where both or neither do."""
    active = as_number(v.get("active_power"))
    grid, load = as_number(v.get("grid_raw")), as_number(v.get("load_raw"))
    if active is None or grid is None or load is None or abs(active) <= _BALANCE_FROM:
        return None
    margin = 0.03 * abs(active) + 50
    fitting = [each for each in RATIOS if abs(active + each * (grid - load)) < margin]
    return fitting[0] if len(fitting) == 1 else None


def fitting_step(v: Values) -> int | None:
    """Return the step of the battery current that fits power and voltage.

    None where the power is too small, or no step comes within half and double of it.
    """
    power, volts = (
        as_number(v.get("battery_power")),
        as_number(v.get("battery_voltage")),
    )
    raw = as_number(v.get("battery_current_raw"))
    if power is None or not volts or raw is None or abs(power) <= _CURRENT_FROM:
        return None
    shares = {step: abs(raw) / step * volts / abs(power) for step in _STEPS}
    nearest = min(_STEPS, key=lambda step: abs(shares[step] - 1))
    return nearest if 0.5 < shares[nearest] < 2 else None


class SinglePhase:
    """The scales and the meter of a single-phase inverter, and the formulas by them."""

    def __init__(self) -> None:
        """Begin without knowing anything."""
        self.inputs = UNKNOWN
        self._ratio = LearnedScale()
        self._stated_ratio = LearnedScale()
        self._was_read = False
        self._step = LearnedScale()
        self._working_mode: Value = None
        self._gen_port_mode: Value = None
        self._meter_by_words = SeenTwice()
        self._meter_by_mode = SeenTwice()

    @property
    def has_meter(self) -> bool:
        """Whether a meter was ever seen: at night, and without a load, it shows 0."""
        return self._meter_by_words.holds or self._meter_by_mode.is_proven

    @property
    def ratio(self) -> int:
        """The W that power words count."""
        return self._ratio.value or self._stated_ratio.value or 1

    def observe(self, v: Values) -> None:
        """Learn from the values of a read, whatever it was for."""
        self._stated_ratio.note(_STATED_RATIOS.get(v.get("power_ratio")))
        # Only the first powers correct the stated ratio at once.
        self._ratio.note(fitting_ratio(v), self.ratio if self._was_read else None)
        self._was_read |= "active_power" in v
        self._step.note(fitting_step(v))
        # A word without a meaning is damaged.
        self._working_mode = v.get("working_mode") or self._working_mode
        self._gen_port_mode = v.get("gen_port_mode") or self._gen_port_mode
        if "working_mode" in v:
            self._meter_by_mode.note(v["working_mode"] == ZERO_EXPORT_TO_CT)
        if "meter_raw" in v or "meter_current_raw" in v:
            self._meter_by_words.note(self._sees_meter(v))

    def _sees_meter(self, v: Values) -> bool:
        """Return True if the words of a meter, or of a CT, show that there is one.

        A 10K that sells first showed some power as the meter's, without any current of
        it, while its display took 169. In that mode only a current counts.
        """
        names = ["meter_current_raw"]
        if self._working_mode != SELLING_FIRST:
            names.append("meter_raw")
        return any(abs(number(v.get(name))) > _NOISE for name in names)

    # Power

    def _watts(self, raw: Value) -> float:
        return self.ratio * number(raw)

    def _fed_in(self, v: Values) -> float:
        """Return the power of a micro-inverter at the GEN port, W; 0 without one."""
        if self._gen_port_mode != MICRO_INVERTER:
            return 0
        return max(0, -number(v.get("gen_port_power")))

    def _grid_power(self, v: Values) -> float:
        return self._watts(v["meter_raw"] if self.has_meter else v["grid_raw"])

    def _load_power(self, v: Values) -> Value:
        """Return the load of the whole house, W."""
        return number(v["active_power"]) + self._grid_power(v) + self._fed_in(v)

    def _grid_port_power(self, v: Values) -> float:
        """Return the power at the inverter's own grid port, W, + = import."""
        second = number(v.get("grid_port_l2_raw"))
        return self._watts(number(v["grid_port_l1_raw"]) + second)

    def _ups_power(self, v: Values) -> Value:
        """Return the load of the backup port, W."""
        return number(v["active_power"]) + self._grid_port_power(v) + self._fed_in(v)

    def _pv_power(self, v: Values) -> Value:
        power = power_of_strings([v["pv1_power"], *map(v.get, _OTHER_PVS)], self.inputs)
        return None if power is None else power + self._fed_in(v)

    def _battery_current(self, v: Values) -> Value:
        """Return the battery current, A; by power and voltage where that is surer."""
        raw, step = number(v["battery_current_raw"]), self._step.value
        power, volts = battery_power(v, self.inputs), number(v["battery_voltage"])
        if step is not None and (power is None or fitting_step(v) in (None, step)):
            return raw / step
        return round(power / volts, 2) if volts and power is not None else None

    # The formulas

    def formulas(
        self, common: Iterable[Formula], inputs: Inputs
    ) -> tuple[Formula, ...]:
        """Return all formulas, with those in `common` that other kinds share.

        `inputs` are those of the inverter as it is now.
        Two that are read once a minute fetch the deciding registers along with theirs.
        """
        self.inputs = inputs
        also = {
            "min_soc": ("working_mode", "gen_port_mode"),
            "problem": ("power_ratio",),
        }
        return (
            *(
                replace(each, needs=(*each.needs, *also.get(each.key, ())))
                for each in common
            ),
            *_PLAIN,
            *_BMS,
            *self._powers(),
        )

    def _powers(self) -> Iterable[Formula]:
        grid = (
            "grid_raw",
            "meter_raw",
            "meter_current_raw",
            "active_power",
            "load_raw",
        )
        load = (*grid, "gen_port_power")
        port = ("grid_port_l1_raw", "grid_port_l2_raw", *load)
        current = ("battery_current_raw", "battery_power", "battery_voltage")
        return (
            Formula("grid_power", grid, self._grid_power),
            Formula("grid_power_l1", grid, self._grid_power),
            Formula("load_power", load, self._load_power),
            Formula("load_power_l1", load, self._load_power),
            Formula("internal_power", port, self._grid_port_power),
            Formula("ups_power", port, self._ups_power),
            Formula("external_ct_power", grid, lambda v: self._watts(v["meter_raw"])),
            Formula(
                "pv_power",
                ("pv1_power", *_OTHER_PVS, "gen_port_power"),
                self._pv_power,
            ),
            Formula("battery_current", current, self._battery_current),
        )


# What needs no finding out ---------------------------------------------------


def _import_total(v: Values) -> Value:
    """Return the counter of import, kWh; None where its words mean 'not there'."""
    low, high = word(v["grid_import_total_low"]), word(v["grid_import_total_high"])
    total = high << 16 | low
    return None if total == 0xFFFF_FFFF else total / 10


def _joined(words: Iterable[Value]) -> str | None:
    """Return the words of a firmware in hexadecimal digits, without empty ones."""
    parts = (f"{word(each):04X}" for each in words if each not in (None, 0, WORD))
    return "-".join(parts) or None


_BOARD: Final = (13, 12, 11)
_HMI: Final = (10, 14)


def firmware(words: Sequence[int]) -> str | None:
    """Return the control board's firmware by the first words of an inverter."""
    return _joined(words[address] for address in _BOARD)


def _firmware(key: str, addresses: Iterable[int]) -> Formula:
    """Return the formula of a board's firmware; the order is the display's [uncertain].

    An older list has a date of delivery in 10 to 12, which is 0 on some inverters.
    """
    names = tuple(f"firmware_{address}" for address in addresses)
    return Formula(key, names, lambda v: _joined(v[name] for name in names))


_IS_ON: Final[Mapping[Value, bool]] = {0: False, 1: True, 2: False}

_PLAIN: Final = (
    Formula(
        "grid_import_total",
        ("grid_import_total_low", "grid_import_total_high"),
        _import_total,
    ),
    Formula("active_power_l1", ("active_power",), lambda v: v["active_power"]),
    Formula("inverter_on", ("on_or_2",), lambda v: _IS_ON.get(v["on_or_2"])),
    # As on other inverters, what comes in at the port is positive.
    Formula(
        "generator_power", ("gen_port_power",), lambda v: -number(v["gen_port_power"])
    ),
    _firmware("firmware", _BOARD),
    _firmware("hmi_firmware", _HMI),
)


def _of_bms(key: str, name: str, compute: Callable[[Values], Value]) -> Formula:
    """Return the formula of a BMS's value; void without a sane voltage of it."""
    low, high = SANE_VOLTS[Kind.SINGLE_PHASE]
    return Formula(
        key,
        (name, "bms_volts"),
        lambda v: compute(v) if low < number(v["bms_volts"]) < high else None,
    )


def _bms_value(key: str, name: str) -> Formula:
    return _of_bms(key, name, lambda v: v[name])


def _bms_power(key: str, name: str) -> Formula:
    """Return a limit of the BMS as power, W, at the voltage of this moment."""

    def compute(v: Values) -> Value:
        amps, volts = as_number(v[name]), as_number(v["battery_voltage"])
        return None if amps is None or volts is None else round(amps * volts)

    formula = _of_bms(key, name, compute)
    return replace(formula, needs=(*formula.needs, "battery_voltage"))


_BMS: Final = (
    _bms_value("battery_bms_soc", "bms_soc"),
    _bms_value("battery_bms_voltage", "bms_volts"),
    _bms_value("battery_bms_current", "bms_amps"),
    _bms_value("battery_bms_charge_voltage", "bms_charge_volts"),
    _bms_value("battery_bms_discharge_voltage", "bms_discharge_volts"),
    _bms_value("battery_bms_charge_current_limit", "bms_charge_amps"),
    _bms_value("battery_bms_discharge_current_limit", "bms_discharge_amps"),
    _bms_value("max_charge_current", "bms_charge_amps"),
    _bms_value("max_discharge_current", "bms_discharge_amps"),
    _bms_power("max_charge_power", "bms_charge_amps"),
    _bms_power("max_discharge_power", "bms_discharge_amps"),
    _of_bms(
        "battery_bms_temperature",
        "bms_temperature_raw",
        lambda v: round(number(v["bms_temperature_raw"]) - 100, 1),
    ),
    _of_bms(
        "battery_force_charge",
        "bms_requests",
        lambda v: bool(word(v["bms_requests"]) & FORCE_CHARGE),
    ),
)
