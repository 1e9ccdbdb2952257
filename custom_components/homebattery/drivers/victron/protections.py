"""The protections that the GX's own loop keeps, and ESS mode 3 does not.

While a battery is held, this driver keeps them, at every renewal. Sources: the GX's
own program (dbus-systemcalc-py, `batterylife.py` for the SOC limits), the published
register list, and reports of owners. What is uncertain takes the safe reading.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from ..battery.controller import Bound, LimitReason
from ..battery.export import Export
from ..battery.readings import Values
from .measurements import StateOfCharge, number, per_phase, phase_powers

SOC_HYSTERESIS: Final = 3.0
"""% above the SOC limit at which discharging is allowed again, as the GX has it."""
_HIGHEST_ACTIVE_LIMIT: Final = 80.0
"""% above which BatteryLife does not raise its limit; a higher minimum SOC stays."""
_WITHOUT_BATTERY_LIFE: Final = range(10, 13)
_NO_DISCHARGE: Final[Mapping[int, LimitReason]] = {
    5: LimitReason.BATTERY_LIFE,
    6: LimitReason.BATTERY_LIFE,
    7: LimitReason.SUSTAIN,
    8: LimitReason.BATTERY_LIFE,
    9: LimitReason.KEEP_CHARGED,
    11: LimitReason.EMPTY,
    12: LimitReason.EMPTY,
}
"""The states of BatteryLife, which go on in ESS mode 3, that forbid discharging."""
_LOW_VOLTAGE: Final = (
    "vebus/LowBattery",
    *(f"vebus/L{n}/LowBattery" for n in (1, 2, 3)),
)
_LOW: Final = ("battery/LowVoltage", "battery/LowSoc", "battery/LowCellVoltage")
_ALARM: Final = 2
_MAINS: Final = 230.0
"""V of a phase that reports none."""
DISCHARGE_EFFICIENCY: Final = 0.93
"""Share of the battery's power that arrives at the AC side, at least: a setpoint acts
there, and losses are on top of it."""

SETTINGS: Final = frozenset(
    {
        *("discharge_power_limit_coarse", "discharge_power_limit_wide"),
        *("max_feed_in_power_coarse", "max_feed_in_power_wide"),
        *("charge_current_limit", "feed_in_dc_pv", "ac_export_limit"),
    }
)
"""The user's limits on the GX that a setpoint depends on: they rarely change."""
FEED_IN_SETTINGS: Final = frozenset(
    {
        *("max_feed_in_power_coarse", "max_feed_in_power_wide"),
        *("feed_in_dc_pv", "ac_export_limit"),
    }
)
"""Those that bound feeding in: they count for a while only once they are not read."""
_POWERS: Final = frozenset(
    {*per_phase("load"), *per_phase("pv_on_output"), *per_phase("pv_on_grid")}
)
WIDE: Final = frozenset(f"{name}_wide" for name in _POWERS)
"""Conditions that a narrower register has, too: needed once they were answered."""
OF_DISCHARGING: Final = frozenset(
    {
        *("system_soc", "min_soc", "active_soc_limit", "battery_life_state"),
        *("sustain_active", *_LOW_VOLTAGE, *_LOW),
    }
)
"""Conditions that bound a discharge alone."""
CONDITIONS: Final = (
    frozenset(
        {
            *("active_input_source", "device_status", "switch_position"),
            *("ac_input_current_limit", *per_phase("grid_voltage")),
        }
    )
    | OF_DISCHARGING
    | _POWERS
    | WIDE
)
"""The registers that the protections depend on, besides the settings."""
_CONNECTED: Final = ("grid", "shore", "generator")


def is_island(v: Values) -> bool:
    """Return whether the house surely has no grid: the battery must carry it."""
    return (
        v.get("active_input") == "disconnected"
        or v.get("active_input_source") == "not_connected"
        or bool(v.get("vebus/GridLost"))
    )


def has_input(v: Values) -> bool:
    """Return False when nothing feeds the AC input, so no setpoint can be followed.

    A source that is unknown may be one of those that must not be fed.
    """
    return not is_island(v) and v.get("active_input_source", "grid") in _CONNECTED


def is_generator(v: Values) -> bool:
    """Return whether the AC input is a generator: no power must be pushed into it."""
    return v.get("active_input_source") == "generator"


class Protections:
    """Bounds of a setpoint besides those of inverter and BMS."""

    def __init__(self, export: Export, phases: int) -> None:
        """Begin with nothing known of the battery; `export` is the user's choice."""
        self._export = export
        self._phases = phases
        self._soc = StateOfCharge()
        self._soc_too_low = False

    def of_discharging(self, v: Values) -> Iterator[Bound]:
        """Yield the bounds of discharging now, those that forbid it first."""
        if is_generator(v):
            yield Bound(0, LimitReason.GENERATOR)
        if v.get("switch_position") in ("charger_only", "off"):
            yield Bound(0, LimitReason.SWITCH)
        if v.get("device_status") == "sustain" or v.get("sustain_active"):
            yield Bound(0, LimitReason.SUSTAIN)
        if _is_low(v):
            yield Bound(0, LimitReason.LOW_BATTERY)
        state = int(number(v.get("battery_life_state")))
        if state in _NO_DISCHARGE:
            yield Bound(0, _NO_DISCHARGE[state])
        limit, reason = _soc_limit(state, v)
        soc = v.get("system_soc")
        is_known = self._soc.known(soc, v.get("bms_soc"), v.get("system_voltage"))
        if is_known and self._is_too_low(number(soc), limit):
            yield Bound(0, reason)

    def of_charging(self, v: Values) -> Iterator[Bound]:
        """Yield the bounds of charging now."""
        if v.get("switch_position") in ("inverter_only", "off"):
            yield Bound(0, LimitReason.SWITCH)
        amps = v.get("charge_current_limit")
        if amps is not None:
            volts = number(v.get("system_voltage"))
            yield Bound(number(amps) * volts, LimitReason.SETTING)

    def of_input(self, from_dc: float, v: Values) -> Iterator[Bound]:
        """Yield the bounds of a charge by what may be taken at the AC input.

        The loads on the output of the Multi are taken there, too.
        """
        amps = number(v.get("ac_input_current_limit"))
        if amps > 0:
            volts = sum(_voltages(v)[: self._phases])
            loads = sum(number(v.get(name)) for name in per_phase("output_power"))
            yield Bound(max(0, amps * volts - loads + from_dc), LimitReason.SETTING)

    def of_inverting(
        self, granted: float, from_dc: float, v: Values
    ) -> Iterator[Bound]:
        """Yield the bounds of the power that the Multi puts out on its AC side, W.

        The battery's power, `granted` (W, + = charging), and PV of the DC side,
        `from_dc` (W), count together.
        """
        if is_generator(v):
            yield Bound(0, LimitReason.GENERATOR)
        # By its name in Victron's list a limit of discharging, it is one of inverting.
        most = _limit(v, "discharge_power_limit")
        if most is not None:
            yield Bound(most, LimitReason.SETTING)
        elif not _is_known(v, "discharge_power_limit"):
            yield Bound(max(0, sum(_own_use(v))), LimitReason.UNKNOWN_STATE)
        if self._export is Export.NEVER:
            yield Bound(max(0, sum(_own_use(v))), LimitReason.EXPORT)
        if self._export is Export.AS_PERMITTED:
            yield from _feed_in(granted, from_dc, self._phases, v)

    def _is_too_low(self, soc: float, limit: float) -> bool:
        """Return True at the SOC limit, and until it is well above it again."""
        self._soc_too_low = soc < 100 and (
            soc < limit + SOC_HYSTERESIS if self._soc_too_low else soc <= limit
        )
        return self._soc_too_low


def _is_low(v: Values) -> bool:
    """Return whether the battery is low by an alarm, or a warning of the inverter.

    A warning of the battery itself comes early, at a SOC that its maker chose.
    """
    return any(number(v.get(name)) for name in _LOW_VOLTAGE) or any(
        v.get(name) == _ALARM for name in _LOW
    )


def _soc_limit(state: int, v: Values) -> tuple[float, LimitReason]:
    """Return the SOC, %, at which discharging ends, by the state of BatteryLife.

    Without BatteryLife its own limit is a leftover; above 80 % only the user's counts.
    """
    minimum = number(v.get("min_soc"))
    active = min(number(v.get("active_soc_limit")), _HIGHEST_ACTIVE_LIMIT)
    if state in _WITHOUT_BATTERY_LIFE or active <= minimum:
        return minimum, LimitReason.EMPTY
    return active, LimitReason.BATTERY_LIFE


def _limit(v: Values, name: str) -> float | None:
    """Return a limit of the user, W; None for none, or an unknown one.

    Servers before 2026 have it in coarse steps only, and 0 for no limit, too: then 0 is
    no limit, since most users have none.
    """
    wide = v.get(f"{name}_wide")
    if wide is not None:
        return number(wide) if number(wide) >= 0 else None
    return number(v.get(f"{name}_coarse")) or None


def _is_known(v: Values, name: str) -> bool:
    """Return whether it is known if there is such a limit of the user."""
    coarse, wide = f"{name}_coarse", f"{name}_wide"
    # A server surely lacks what is None; beside an unknown one, coarse 0 says nothing.
    return v.get(wide) is not None or (
        coarse in v and (wide in v or bool(v.get(coarse)))
    )


def _voltages(v: Values) -> list[float]:
    """Return the voltage of each phase at the input, V."""
    return [number(v.get(name)) or _MAINS for name in per_phase("grid_voltage")]


def _own_use(v: Values) -> list[float]:
    """Return the load of each phase of the house less its AC-coupled PV, W."""
    pairs = zip(
        phase_powers(v, "load"),
        phase_powers(v, "pv_on_output"),
        phase_powers(v, "pv_on_grid"),
        strict=True,
    )
    return [load - on_output - on_grid for load, on_output, on_grid in pairs]


def _feed_in(granted: float, from_dc: float, phases: int, v: Values) -> Iterator[Bound]:
    """Yield the bounds by the limits of feeding in that are set on the GX."""
    own_use = _own_use(v)
    limit, amps = _limit(v, "max_feed_in_power"), v.get("ac_export_limit")
    if not _is_known(v, "max_feed_in_power") or "ac_export_limit" not in v:
        yield Bound(max(0, sum(own_use)), LimitReason.UNKNOWN_STATE)
    if limit is not None:
        yield Bound(max(0, limit + sum(own_use)), LimitReason.FEED_IN)
    if amps is not None:
        # The phases share a setpoint equally.
        volts = _voltages(v)
        rooms = [number(amps) * volts[n] + own_use[n] for n in range(phases)]
        yield Bound(max(0, phases * min(rooms)), LimitReason.FEED_IN)
    if not v.get("feed_in_dc_pv") and from_dc > 0:
        # PV of the DC side may serve the loads, and must not be fed in on purpose.
        usable = min(from_dc, max(0, sum(own_use)))
        yield Bound(max(0, -granted) + usable, LimitReason.FEED_IN)
