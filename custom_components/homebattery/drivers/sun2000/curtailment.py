"""PV under a setpoint: whether a forced command costs some, and what spares it.

Measured on a SUN2000-8K-MAP0 under a clear sky, with an irradiance sensor and other
panels to compare: a forced charge is a ceiling for the PV (1839 W of PV, then a charge
of 400 W: 363 W of PV; a charge of 3000 W: 2020 W), and any forced discharge in light
stops the trackers (374 V at 0.00 A). Owners of a 10KTL-M1 say the same. A command that
is above the harvest costs nothing, and power limits cost nothing either: with them the
inverter charges or discharges by itself, up to the limit.

Other firmware was seen to curtail nothing [uncertain]. So there are two questions:
whether a command may cost PV, which decides where PV is to be kept, and whether one
that stands is seen to cost some, which is what the user is told.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
import math
from typing import Final

from ..battery.controller import loop_time
from ..battery.sunshine import Sunshine
from ..measurements import Value
from .measurements import number

LIGHT: Final = 100.0
"""V of a string from which it is light, whatever is harvested; W that prove it, too."""
MARGIN: Final = 30.0
"""W below the power of a charge from which the harvest may be at its ceiling,"""
MARGIN_SHARE: Final = 0.1
"""or this share of the power: 288 W were seen under 315 W, and 363 W under 400 W."""
OVERSHOOT: Final = 15.0
"""W above the power of a charge up to which the harvest equals it [uncertain],"""
OVERSHOOT_SHARE: Final = 0.02
"""or this share of the power. More than that is not bounded by the charge."""
IDLE_CURRENT: Final = 0.3
"""A of a string below which next to nothing flows: 0.00 A was seen [uncertain]."""
IDLE_HARVEST: Final = 2.0
"""W of all strings below which nothing is harvested [uncertain]: the current of a
string reads 0 below about 100 W, and a rainy dawn gives some W for long where nothing
is curtailed."""
FALLEN_HARVEST: Final = 50.0
"""The same, where far more was harvested shortly before [uncertain]."""
FALL: Final = 100.0
"""W that the harvest falls by, for a command and not for the weather [uncertain]."""
SHORTLY: Final = 300.0
"""Seconds after which a higher harvest says nothing any more."""
LONG: Final = 900.0
"""Seconds for which a cost must be seen where the harvest has not fallen with the
command: dusk and dawn look the same for some minutes [uncertain]."""
STEADINESS: Final = 0.03
"""Share of a charge by which a bounded harvest varies at most [uncertain]; one that
only passes the power of the charge varies more in that time."""
STEADY_AFTER: Final = 20.0
"""Seconds that the trackers may take to follow a command [uncertain]: they needed 7
to recover from one, and the battery 11 to 20 to reach its power."""
NATURAL_FOR: Final = 3600.0
"""Seconds after which the harvest from before a charge says nothing of it any more
[uncertain]: it may have risen to a ceiling so near."""
HARVEST_KNOWN_FOR: Final = 20.0
LIGHT_KNOWN_FOR: Final = 60.0
"""Seconds for which the harvest, and the strings, are not read again."""
FORGOTTEN_AFTER: Final = 300.0
"""Seconds after which a value that is not reported any more is unknown."""
HARVEST: Final = "pv_power"


class Means(Enum):
    """The means by which a battery is held at a setpoint."""

    COMMAND = "command"
    """A forced charge or discharge."""
    LIMITS = "limits"
    """The power limits: 0 in the other direction, and the setpoint in its own."""


def may_curtail(power: float, harvest: float, *, is_light: bool, near: bool) -> bool:
    """Return whether a forced command of `power`, W, may cost PV.

    `harvest` is the PV power, W. A command of another size may bound that just now: a
    high harvest proves much sun, a low one nothing. So where PV was found to be at
    stake (`near`), it is until the harvest is lower by the margin once more.
    """
    if not is_light or power == 0:
        return False
    if power < 0:
        return True
    margin = max(MARGIN, MARGIN_SHARE * power)
    return harvest >= power - (2 * margin if near else margin)


def is_curtailed(
    power: float, harvest: float, *, is_idle: bool, has_fallen: bool
) -> bool:
    """Return whether a forced command of `power`, W, that stands is seen to cost PV.

    The harvest, W, equals a charge that bounds it. Under a discharge there is none,
    while a string in the light gives no current (`is_idle`); `has_fallen`: it was far
    higher shortly before.
    """
    if power > 0:
        bounded = harvest > power * (1 - MARGIN_SHARE)
        return bounded and harvest >= LIGHT and not exceeds(harvest, power)
    idle = FALLEN_HARVEST if has_fallen else IDLE_HARVEST
    return power < 0 and is_idle and harvest < idle


def exceeds(harvest: float, power: float) -> bool:
    """Return whether a harvest is larger than a charge that would bound it, both W."""
    return harvest > power + max(OVERSHOOT, OVERSHOOT_SHARE * power)


def decide(
    power: float,
    harvest: float,
    *,
    is_light: bool,
    sunshine: Sunshine,
    near: bool = False,
) -> Means:
    """Return the means by which to hold `power`, W; 0 is always held by limits.

    The others are as `may_curtail` has them; `sunshine` is the user's choice.
    """
    if power == 0:
        return Means.LIMITS
    if sunshine is Sunshine.KEEP_SETPOINT:
        return Means.COMMAND
    may_cost = may_curtail(power, harvest, is_light=is_light, near=near)
    return Means.LIMITS if may_cost else Means.COMMAND


class Sky:
    """The harvest and the strings, as last read; what was read long ago is unknown."""

    def __init__(self, strings: int) -> None:
        """Begin in the dark; `strings` is the number of PV strings."""
        self._strings = [
            (f"pv{each + 1}_voltage", f"pv{each + 1}_current")
            for each in range(strings)
        ]
        self._known_for = {HARVEST: HARVEST_KNOWN_FOR} | {
            name: LIGHT_KNOWN_FOR for string in self._strings for name in string
        }
        self._values = dict.fromkeys(self._known_for, 0.0)
        self._read_at = dict.fromkeys(self._known_for, -math.inf)
        self._asked_at = dict(self._read_at)
        self._free = 0.0
        self._free_at = -math.inf

    @property
    def harvest(self) -> float:
        """The PV power, W."""
        return self._value(HARVEST)

    @property
    def harvest_read_at(self) -> float:
        """The loop time of the last harvest, s."""
        return self._read_at[HARVEST]

    @property
    def is_light(self) -> bool:
        """Whether the sun shines on the panels."""
        voltages = (self._value(voltage) for voltage, _ in self._strings)
        return max((self.harvest, *voltages)) >= LIGHT

    @property
    def has_fallen(self) -> bool:
        """Whether far more was harvested shortly before, while no command stood."""
        is_known = loop_time() - self._free_at <= SHORTLY
        return is_known and self._free - self.harvest >= FALL

    @property
    def unchanged(self) -> float:
        """The harvest shortly before, while no command stood, if it is the same now, W.

        0 where it is not, or not known.
        """
        is_known = loop_time() - self._free_at <= SHORTLY
        most = max(OVERSHOOT, STEADINESS * self._free)
        return self._free * (is_known and abs(self._free - self.harvest) <= most)

    def _value(self, name: str) -> float:
        """Return a value; 0 where it was read too long ago, as by strings at night."""
        is_known = loop_time() - self._read_at[name] <= FORGOTTEN_AFTER
        return self._values[name] if is_known else 0.0

    def is_idle(self, since: float) -> bool:
        """Return whether a string in the light was seen without current `since` then."""
        return any(
            min(self._read_at[voltage], self._read_at[current]) >= since
            and self._value(voltage) >= LIGHT
            and abs(self._value(current)) < IDLE_CURRENT
            for voltage, current in self._strings
        )

    def note(self, values: Mapping[str, Value], *, is_free: bool) -> None:
        """Take what was just read; what is unknown is no news.

        `is_free`: no command stands that may bound the harvest.
        """
        now = loop_time()
        for name in self._values.keys() & values.keys():
            if values[name] is not None:
                self._values[name] = number(values[name])
                self._read_at[name] = self._asked_at[name] = now
        if is_free and self._read_at[HARVEST] == now:
            self._free, self._free_at = self.harvest, now

    def due(self, *wanted: str) -> Collection[str]:
        """Return the registers to be read now, of all or of those that are wanted.

        Each is due again after its time.
        """
        now = loop_time()
        names = {
            name
            for name in wanted or self._known_for
            if now - self._asked_at[name] >= self._known_for[name]
        }
        self._asked_at |= dict.fromkeys(names, now)
        return names


@dataclass(slots=True)
class Evidence:
    """The evidence that a command costs PV, whatever power it has had since it began.

    Loop times, s.
    """

    begun_at: float
    is_seen: bool = False
    """Whether it is seen to cost PV now."""
    is_proven: bool = False
    """Whether it was seen for long, or to begin with the command: neither dusk and dawn
    nor a passing cloud look so."""
    _since: float = math.inf
    _share: float = 0.0
    """Since when it was seen, and the share of the harvest in the power then."""
    _natural: float | None = None
    """The harvest, W, that a charge did not change when it had begun: near its power by
    itself, and no ceiling. 0 without one: after a long time, too, or once the power was
    far from it. None before that was seen."""
    _is_bounded: bool = True
    """False once more was harvested than a charge would have allowed."""

    def note(self, power: float, changed_at: float, sky: Sky) -> None:
        """Take what is seen now of a command of `power`, W, changed at that time.

        What was read before the device could follow shows nothing.
        """
        steady_at = self.begun_at + STEADY_AFTER
        if sky.harvest_read_at < steady_at:
            return
        harvest = sky.harvest
        if self._natural is None:
            self._natural = sky.unchanged
        has_followed = sky.harvest_read_at >= changed_at + STEADY_AFTER
        if has_followed and power > 0 and exceeds(harvest, power):
            self._is_bounded = False
        is_natural = is_curtailed(power, self._natural, is_idle=False, has_fallen=False)
        if not is_natural or loop_time() - self.begun_at >= NATURAL_FOR:
            self._natural = 0.0
        may_cost = self._is_bounded and not is_natural
        self.is_seen = may_cost and is_curtailed(
            power,
            harvest,
            is_idle=sky.is_idle(steady_at),
            has_fallen=sky.has_fallen,
        )
        lasts = self._lasts(harvest / power)
        self.is_proven = self.is_seen and (lasts or sky.has_fallen)

    def _lasts(self, share: float) -> bool:
        """Return whether it is seen for long, at a steady share of the power."""
        now = loop_time()
        if not self.is_seen:
            self._since = math.inf
        elif self._since == math.inf or abs(share - self._share) > STEADINESS:
            self._since, self._share = now, share
        return now - self._since >= LONG
