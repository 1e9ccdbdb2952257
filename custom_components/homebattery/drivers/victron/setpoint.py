"""The setpoints at the Multi's AC input for a wanted battery power.

The point of control is the AC input: what the loads on AC-out take, and what PV
brings on the DC side, comes on top of what the battery gets. In ESS mode 3 the GX
keeps neither the battery's discharge limit nor the minimum SOC, so both are kept
here, at every renewal.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..battery.base import SetpointLimits
from ..battery.controller import Bound, Grant, LimitReason, bounded
from ..battery.readings import Values
from . import control_block
from .measurements import StateOfCharge, number, per_phase

SOC_HYSTERESIS: Final = 2.0
"""% above the minimum SOC at which discharging is allowed again."""

CONDITIONS: Final = frozenset(
    {
        *("system_voltage", "system_soc", "dc_pv_power", "charger_power"),
        *("dc_system_power", "min_soc", "working_mode"),
        *(*per_phase("output_power"), "active_input", "vebus/GridLost"),
        *("vebus_bms_expected", "vebus_bms_allow_charge", "vebus_bms_allow_discharge"),
        *("bms_voltage", "max_charge_voltage", "bms_charge_current_limit"),
        *("bms_discharge_current_limit", "allow_to_charge", "allow_to_discharge"),
        *control_block.NAMES,
    }
)
"""The registers that a setpoint depends on, and those that show it."""


class PhaseSetpoints(NamedTuple):
    """The battery power granted, and the setpoint of each phase for it."""

    grant: Grant
    setpoints: list[int]
    """W at the AC input of each phase; empty to hold the battery."""


def split(power: float, phases: int) -> list[int]:
    """Return equal shares in whole W; the first phases take 1 W more of the rest."""
    share, rest = divmod(abs(round(power)), phases)
    sign = -1 if power < 0 else 1
    return [sign * (share + (phase < rest)) for phase in range(phases)]


def within_ratings(shares: Sequence[int], ratings: Sequence[float]) -> list[int]:
    """Return shares, W, within each phase's rating; other phases take up the rest.

    A rating of 0 is unknown and bounds nothing.
    """
    bounds = [rating or float("inf") for rating in ratings]
    kept = [
        round(min(max(share, -bound), bound))
        for share, bound in zip(shares, bounds, strict=True)
    ]
    rest = sum(shares) - sum(kept)
    for phase, bound in enumerate(bounds):
        room = max(0.0, bound - abs(kept[phase]))
        shift = round(min(abs(rest), room)) * (-1 if rest < 0 else 1)
        kept[phase] += shift
        rest -= shift
    return kept


class SetpointRule:
    """Computes AC input setpoints, one for each phase, for a wanted battery power.

    `ratings` are the W that each phase can convert, 0 where unknown.
    """

    def __init__(self, ratings: Sequence[float]) -> None:
        """Begin with nothing known of the battery."""
        self._ratings = ratings
        self._soc = StateOfCharge()
        self._soc_too_low = False
        self._bms_flags_seen = False

    def setpoints(
        self, wanted: Sequence[float], limits: SetpointLimits, v: Values
    ) -> PhaseSetpoints:
        """Return the battery power granted, and the AC input setpoints for it.

        `wanted` is battery power in W, + = charging: one value for all phases
        together, or one for each. Limits are applied before loads and PV are added:
        the other way round a load would use up the limit.
        """
        if v.get("active_input") == "disconnected" or v.get("vebus/GridLost"):
            return PhaseSetpoints(Grant(0, LimitReason.NO_GRID), [])
        # The minimum SOC has a hysteresis, so it is evaluated once for each renewal.
        discharging = self._discharge_bounds(limits, v)
        total = sum(wanted)
        bounds = self._charge_bounds(limits, v) if total > 0 else discharging
        bounded_power, reason = bounded(total, bounds)
        granted = round(bounded_power)
        if granted == 0:
            return PhaseSetpoints(Grant(0, reason), [])
        # The share that the Multi converts itself, + = towards the battery.
        most = min(bound.power for bound in discharging)
        converted = max(granted - _from_dc(v), -most)
        phases = len(self._ratings)
        if len(wanted) == 1:
            shares = split(converted, phases)
        else:
            extra = split(converted - granted, phases)
            shares = [
                round(share * granted / total) + more
                for share, more in zip(wanted, extra, strict=True)
            ]
        outputs = [round(number(v.get(name))) for name in per_phase("output_power")]
        kept = within_ratings(shares, self._ratings)
        setpoints = [
            share + output for share, output in zip(kept, outputs, strict=False)
        ]
        return PhaseSetpoints(Grant(granted, reason), setpoints)

    def _discharge_bounds(self, limits: SetpointLimits, v: Values) -> list[Bound]:
        """Return the bounds of discharging now."""
        bounds = self._bounds(-limits.minimum, "discharge", v)
        soc = v.get("system_soc")
        is_known = self._soc.known(soc, v.get("bms_soc"), v.get("system_voltage"))
        if is_known and self._is_too_low(number(soc), number(v.get("min_soc"))):
            bounds.append(Bound(0, LimitReason.EMPTY))
        return bounds

    def _charge_bounds(self, limits: SetpointLimits, v: Values) -> list[Bound]:
        """Return the bounds of charging now."""
        return self._bounds(limits.maximum, "charge", v)

    def _bounds(self, limit: int, direction: str, v: Values) -> list[Bound]:
        """Return the bounds of a direction: those of the inverter and of the BMS."""
        if not v.get("system_voltage"):
            return [Bound(0, LimitReason.UNKNOWN_STATE)]
        bounds = [Bound(limit, LimitReason.INVERTER)]
        volts = number(v.get("bms_voltage")) or number(v.get("system_voltage"))
        # Without a charge voltage the BMS publishes no limits: its zeros are none.
        if v.get("max_charge_voltage"):
            amps = number(v.get(f"bms_{direction}_current_limit"))
            bounds.append(Bound(amps * volts, LimitReason.BATTERY))
        if self._bms_forbids(v, f"allow_to_{direction}") or _vebus_bms_forbids(
            v, f"vebus_bms_allow_{direction}"
        ):
            bounds.append(Bound(0, LimitReason.BATTERY))
        return bounds

    def _is_too_low(self, soc: float, minimum: float) -> bool:
        """Return True at the minimum SOC, and until it is well above it again."""
        self._soc_too_low = (
            soc < minimum + SOC_HYSTERESIS if self._soc_too_low else soc <= minimum
        )
        return self._soc_too_low

    def _bms_forbids(self, v: Values, flag: str) -> bool:
        """Return True when the BMS forbids it; 0 counts once any flag was seen on."""
        self._bms_flags_seen |= bool(
            v.get("allow_to_charge") or v.get("allow_to_discharge")
        )
        return self._bms_flags_seen and not v.get(flag)


def _vebus_bms_forbids(v: Values, flag: str) -> bool:
    """Return True when there is a BMS on the VE.Bus and it forbids it."""
    return bool(v.get("vebus_bms_expected")) and not v.get(flag)


def _from_dc(v: Values) -> float:
    """Return the power that the DC side brings besides the Multi, W."""
    return (
        number(v.get("dc_pv_power"))
        + number(v.get("charger_power"))
        - number(v.get("dc_system_power"))
    )
