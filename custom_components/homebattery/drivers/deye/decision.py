"""The power that a Deye three-phase hybrid is granted, and the plan for it.

All this is pure: conditions and words in, a plan out.
"""

from dataclasses import dataclass
import math

from ..battery.controller import Bound, LimitReason, bounded
from ..battery.export import Export
from .plans import (
    CURRENTS,
    FLAGS,
    FULL_SOC,
    MAX_SELL_POWER,
    PEAK_SHAVING_BITS,
    PEAK_SHAVING_POWER,
    SELL_FLAG,
    SWITCHES,
    Image,
    Plan,
    charge,
    follow_load,
    is_grid_charge_latent,
    replaces_import,
    sell,
    sells,
)

_CHARGE_CURRENT, _DISCHARGE_CURRENT = CURRENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditions of a setpoint besides the settings. Unknown limits are None."""

    volts: float
    soc: float
    """%; with two batteries that of the lower one."""
    battery_power: float | None
    """W, + = charging; None if it is not known now."""
    rated_power: float
    """W"""
    min_soc: int
    """% at which discharging ends"""
    higher_soc: float | None = None
    """%, that of the fuller of two batteries; None: as `soc`."""
    bms_charge_amps: float | None = None
    bms_discharge_amps: float | None = None
    watts_per_word: int = 1
    """W for each count of the power settings."""
    export: Export = Export.NEVER
    sell_flag: bool = False
    """Whether the firmware wants a slot's own permission to sell."""

    def permitted(self, power: float) -> tuple[float, LimitReason | None]:
        """Return the part of `power`, W, that is permitted, and the reason of a cut.

        It is 0 where the battery is full or empty: a target below the present SOC
        would turn charging into its opposite.
        """
        bounds = [Bound(self.rated_power, LimitReason.INVERTER)]
        amps = self.bms_charge_amps if power > 0 else self.bms_discharge_amps
        if amps is not None:
            bounds.append(Bound(amps * self.volts, LimitReason.BATTERY))
        if power > 0 and (self.higher_soc or self.soc) >= FULL_SOC:
            bounds = [Bound(0, LimitReason.FULL)]
        if power < 0 and self.soc <= self.min_soc:
            bounds = [Bound(0, LimitReason.EMPTY)]
        return bounded(power, bounds)


@dataclass(frozen=True, slots=True)
class Decision:
    """The granted power, W, + = charging, and the plan for it; no plan means hold."""

    granted: int = 0
    plan: Plan | None = None
    reason: LimitReason | None = None
    """The reason for less than was asked."""
    follows_load: bool = False
    """Whether a discharge gives no more than the house takes."""
    replaces_import: bool = False
    """Whether it gives all of that, and not only what is behind the inverter."""


def decide(
    power: float,
    snapshot: Image,
    settings: Image,
    now: Conditions,
    *,
    amps: int | None = None,
) -> Decision:
    """Return the decision for a battery power, W, + = charging.

    `amps` is the current it comes from, if any. Less than one ampere is hold, too.
    """
    permitted, reason = now.permitted(power)
    if permitted > 0:
        return _decide_charge(permitted, reason, snapshot, settings, now, amps)
    if permitted < 0:
        return _decide_discharge(permitted, reason, snapshot, settings, now, amps)
    return Decision(reason=reason)


def _decide_charge(
    permitted: float,
    reason: LimitReason | None,
    snapshot: Image,
    settings: Image,
    now: Conditions,
    amps: int | None,
) -> Decision:
    bounds = [Bound(snapshot[_CHARGE_CURRENT] * now.volts, LimitReason.SETTING)]
    if settings[SWITCHES] & PEAK_SHAVING_BITS == PEAK_SHAVING_BITS:
        # While peak shaving is on, its power limits charging from the grid as well.
        most = settings[PEAK_SHAVING_POWER] * now.watts_per_word
        bounds.append(Bound(most, LimitReason.SETTING))
    power, cut = bounded(permitted, bounds)
    reason = cut or reason
    amps = _amps(power, now.volts, amps)
    if amps < 1:
        return Decision(reason=reason or LimitReason.TOO_LITTLE)
    words = math.ceil(round(power, 3) / now.watts_per_word)
    grid_charge_latent = is_grid_charge_latent(snapshot, settings, now.soc)
    plan = charge(
        snapshot,
        amps=amps,
        words=words,
        grid_charge_latent=grid_charge_latent,
    )
    return Decision(_sent_power(power, amps, now), plan, reason)


def _decide_discharge(
    permitted: float,
    reason: LimitReason | None,
    snapshot: Image,
    settings: Image,
    now: Conditions,
    amps: int | None,
) -> Decision:
    bounds = [Bound(snapshot[_DISCHARGE_CURRENT] * now.volts, LimitReason.SETTING)]
    sellable = settings[MAX_SELL_POWER] * now.watts_per_word
    # Where nothing may be sold, discharging follows the load.
    permitted_by = {
        Export.NEVER: False,
        Export.AS_PERMITTED: sells(snapshot),
        Export.ALWAYS: True,
    }
    export = permitted_by[now.export] and sellable > 0
    if export:
        bounds.append(Bound(sellable, LimitReason.SETTING))
    granted, cut = bounded(permitted, bounds)
    power, reason = -granted, cut or reason
    words = int(round(power, 3) / now.watts_per_word)
    most = _amps(power, now.volts, amps)
    if words < 1 or most < 1:
        return Decision(reason=reason or LimitReason.TOO_LITTLE)
    if export:
        flag = now.sell_flag or any(snapshot[flags] & SELL_FLAG for flags in FLAGS)
        plan = sell(snapshot, words=words, min_soc=now.min_soc, flag=flag, amps=amps)
        return Decision(-words * now.watts_per_word, plan, reason)
    grid_charge_latent = is_grid_charge_latent(snapshot, settings, now.soc)
    plan = follow_load(
        snapshot,
        words=words,
        amps=most,
        min_soc=now.min_soc,
        grid_charge_latent=grid_charge_latent,
    )
    return Decision(
        -_sent_power(power, most, now),
        plan,
        reason,
        follows_load=True,
        replaces_import=replaces_import(plan.target),
    )


def _amps(power: float, volts: float, most: int | None) -> int:
    """Return whole amperes; a current times this voltage gives that very current."""
    amps = int(power / volts + 1e-6)
    return amps if most is None else min(amps, most)


def _sent_power(power: float, amps: int, now: Conditions) -> int:
    """Return the power that is sent to the inverter, W.

    The power itself; but where one ampere is much (a high voltage), the power of the
    whole amperes.
    """
    sent = amps * now.volts
    return round(power if sent >= 0.9 * power else sent)
