"""The setpoints at the Multi's AC input for a wanted battery power.

The point of control is the AC input: what the loads on AC-out take, and what PV
brings on the DC side, comes on top of what the battery gets. In ESS mode 3 the GX
does not keep the battery's discharge limit, so it is kept here, at every renewal, with
all that `protections.py` has.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..battery.base import SetpointLimits
from ..battery.controller import Bound, Grant, LimitReason, bounded
from ..battery.export import Export
from ..battery.readings import Values
from . import control_block, protections
from .measurements import number, per_phase
from .protections import (
    DISCHARGE_EFFICIENCY,
    Protections,
    has_input,
    is_generator,
    is_island,
)

CONDITIONS: Final = protections.CONDITIONS | frozenset(
    {
        *("system_voltage", "dc_pv_power", "charger_power"),
        *("dc_system_power", "working_mode"),
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

    def __init__(
        self, ratings: Sequence[float], export: Export = Export.AS_PERMITTED
    ) -> None:
        """Begin with nothing known of the battery; `export` is the user's choice."""
        self._ratings = ratings
        self._protections = Protections(export, len(ratings))
        self._bms_flags_seen = False

    def setpoints(
        self, wanted: Sequence[float], limits: SetpointLimits, v: Values
    ) -> PhaseSetpoints:
        """Return the battery power granted, and the AC input setpoints for it.

        `wanted` is battery power in W, + = charging: one value for all phases
        together, or one for each. Limits are applied before loads and PV are added:
        the other way round a load would use up the limit.
        """
        if is_island(v):
            # Without the flags of a hold, which would forbid to carry the house.
            return PhaseSetpoints(
                Grant(0, LimitReason.NO_GRID), [0] * len(self._ratings)
            )
        if not has_input(v):
            return PhaseSetpoints(Grant(0, LimitReason.NO_GRID), [])
        # The SOC limit has a hysteresis, so it is evaluated once for each renewal.
        discharging = self._discharge_bounds(limits, v)
        total = sum(wanted)
        bounds = self._charge_bounds(limits, v) if total > 0 else discharging
        power, reason = bounded(total, bounds)
        if round(power) == 0:
            return PhaseSetpoints(Grant(0, reason), [])
        from_dc = _from_dc(v)
        # The share that the Multi converts itself, + = towards the battery.
        converted, cut = power - from_dc, None
        if converted < 0:
            most = self._inverting_bounds(power, from_dc, limits, discharging, v)
            converted, cut = bounded(converted, most)
        if cut is not None:
            reason = cut
        if power < 0:
            power = min(0.0, converted + from_dc)
        granted = round(power)
        if granted == 0 and converted >= 0:
            return PhaseSetpoints(Grant(0, reason), [])
        return PhaseSetpoints(
            Grant(granted, reason),
            self._at_input(wanted, granted, round(converted), v),
        )

    def _at_input(
        self, wanted: Sequence[float], granted: int, converted: int, v: Values
    ) -> list[int]:
        """Return the setpoint of each phase, W, for the power that it converts."""
        phases, total = len(self._ratings), sum(wanted)
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
        if is_generator(v):
            return [max(0, setpoint) for setpoint in setpoints]
        return setpoints

    def _discharge_bounds(self, limits: SetpointLimits, v: Values) -> list[Bound]:
        """Return the bounds of discharging now."""
        bounds = self._bounds(-limits.minimum, "discharge", v)
        return [*bounds, *self._protections.of_discharging(v)]

    def _charge_bounds(self, limits: SetpointLimits, v: Values) -> list[Bound]:
        """Return the bounds of charging now."""
        bounds = self._bounds(limits.maximum, "charge", v)
        return [
            *bounds,
            *self._protections.of_charging(v),
            *self._protections.of_input(_from_dc(v), v),
        ]

    def _inverting_bounds(
        self,
        power: float,
        from_dc: float,
        limits: SetpointLimits,
        discharging: Sequence[Bound],
        v: Values,
    ) -> list[Bound]:
        """Return the bounds of the power that the Multi puts out.

        Nothing where discharging is forbidden: PV may be gone at any moment.
        """
        rated = sum(self._ratings) if all(self._ratings) else -limits.minimum
        return [
            Bound(rated, LimitReason.INVERTER),
            *(bound for bound in discharging if bound.power == 0),
            *self._protections.of_inverting(power, from_dc, v),
        ]

    def _bounds(self, limit: int, direction: str, v: Values) -> list[Bound]:
        """Return the bounds of a direction: those of the inverter and of the BMS."""
        if not v.get("system_voltage"):
            return [Bound(0, LimitReason.UNKNOWN_STATE)]
        bounds = [Bound(limit, LimitReason.INVERTER)]
        volts = number(v.get("bms_voltage")) or number(v.get("system_voltage"))
        # Without a charge voltage the BMS publishes no limits: its zeros are none.
        if v.get("max_charge_voltage"):
            amps = number(v.get(f"bms_{direction}_current_limit"))
            share = DISCHARGE_EFFICIENCY if direction == "discharge" else 1
            bounds.append(Bound(amps * volts * share, LimitReason.BATTERY))
        if self._bms_forbids(v, f"allow_to_{direction}") or _vebus_bms_forbids(
            v, f"vebus_bms_allow_{direction}"
        ):
            bounds.append(Bound(0, LimitReason.BATTERY))
        return bounds

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
