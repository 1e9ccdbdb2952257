"""BatteryLife: the states in which a GX device keeps the SOC of a battery.

As in Victron's dbus-systemcalc-py, `delegates/batterylife.py`. It goes on in ESS mode
3, where nothing follows from it. Its flags are not cleared at midnight, and a battery
that stays discharged is not charged by force after a day.
"""

from collections.abc import Callable
from typing import Final

STATE: Final = "/Settings/CGwacs/BatteryLife/State"
MIN_SOC: Final = "/Settings/CGwacs/BatteryLife/MinimumSocLimit"
ACTIVE_LIMIT: Final = "/Settings/CGwacs/BatteryLife/SocLimit"

RESTART: Final = 1
DEFAULT: Final = 2
ABSORPTION: Final = 3
FLOAT: Final = 4
DISCHARGED: Final = 5
FORCE_CHARGE: Final = 6
SUSTAIN: Final = 7
LOW_SOC_CHARGE: Final = 8
KEEP_CHARGED: Final = 9
GUARD_DEFAULT: Final = 10
GUARD_DISCHARGED: Final = 11
GUARD_LOW_SOC_CHARGE: Final = 12
RESTING: Final = frozenset({5, 6, 7, 8, 9, 11, 12})
"""The states in which the battery is not discharged."""

SWITCH_OFFSET: Final = 3.0  # %
INCREMENT: Final = 5.0
LOW_SOC_OFFSET: Final = 5.0
ABSORPTION_LEVEL: Final = 85.0
FLOAT_LEVEL: Final = 95.0
HIGHEST_LIMIT: Final = ABSORPTION_LEVEL - INCREMENT


class BatteryLife:
    """The states, in the settings of the device."""

    def __init__(self, settings: dict[str, float]) -> None:
        """Begin with the settings as they are."""
        self._settings = settings
        self._soc = 0.0
        self._sustain = False
        self._discharged_at = -1.0
        self._adjusted: set[int] = set()

    @property
    def rests(self) -> bool:
        """Whether the battery must not be discharged."""
        return int(self._settings[STATE]) in RESTING

    def run(self, soc: float, *, sustain: bool) -> None:
        """Go on to the state for a SOC, %."""
        self._soc, self._sustain = soc, sustain
        for _ in range(5):
            state = int(self._settings[STATE])
            new = self._next(state)
            self._settings[STATE] = new
            if new == state:
                return

    def _next(self, state: int) -> int:
        steps: dict[int, Callable[[], int]] = {
            RESTART: lambda: self._default(adjust=False),
            DEFAULT: self._default,
            ABSORPTION: self._charged,
            FLOAT: self._charged,
            DISCHARGED: lambda: self._discharged(state),
            SUSTAIN: lambda: self._discharged(state),
            LOW_SOC_CHARGE: self._low_soc_charge,
            GUARD_DEFAULT: lambda: self._guard(state),
            GUARD_DISCHARGED: lambda: self._guard(state),
            GUARD_LOW_SOC_CHARGE: lambda: self._guard(state),
        }
        return steps[state]() if state in steps else state

    @property
    def _limit(self) -> float:
        minimum = self._settings[MIN_SOC]
        if minimum > HIGHEST_LIMIT:
            return minimum
        return min(max(minimum, self._settings[ACTIVE_LIMIT]), HIGHEST_LIMIT)

    @property
    def _is_low(self) -> bool:
        return self._sustain or (self._soc <= self._limit and self._soc < 100)

    def _default(self, *, adjust: bool = True) -> int:
        if self._is_low:
            return self._on_discharged(adjust=adjust)
        return self._charged() if self._soc >= ABSORPTION_LEVEL else DEFAULT

    def _charged(self) -> int:
        if self._is_low:
            return self._on_discharged(adjust=True)
        if self._soc >= FLOAT_LEVEL:
            self._lower(ABSORPTION, FLOAT)
            return FLOAT
        if self._soc >= ABSORPTION_LEVEL - SWITCH_OFFSET:
            self._lower(ABSORPTION)
            return ABSORPTION
        return DEFAULT

    def _lower(self, *levels: int) -> None:
        for level in levels:
            if level not in self._adjusted:
                self._adjusted.add(level)
                self._adjust(-INCREMENT)

    def _adjust(self, change: float) -> None:
        limit = max(self._settings[MIN_SOC], self._settings[ACTIVE_LIMIT]) + change
        self._settings[ACTIVE_LIMIT] = max(0.0, min(limit, HIGHEST_LIMIT))

    def _on_discharged(self, *, adjust: bool) -> int:
        limit = self._limit
        if not 0 <= self._discharged_at <= limit:
            self._discharged_at = limit
        if adjust and DISCHARGED not in self._adjusted:
            self._adjusted.add(DISCHARGED)
            self._adjust(INCREMENT)
        return SUSTAIN if self._sustain else DISCHARGED

    def _discharged(self, state: int) -> int:
        if not self._sustain and (
            self._soc > self._limit + SWITCH_OFFSET or self._soc >= 100
        ):
            self._discharged_at = -1.0
            return DEFAULT
        if self._soc <= 0 or self._soc < self._discharged_at - LOW_SOC_OFFSET:
            return LOW_SOC_CHARGE
        return state

    def _low_soc_charge(self) -> int:
        until = min(100.0, max(self._discharged_at, SWITCH_OFFSET))
        return DISCHARGED if self._soc >= until else LOW_SOC_CHARGE

    def _guard(self, state: int) -> int:
        minimum = self._settings[MIN_SOC]
        if state == GUARD_DEFAULT:
            is_low = self._soc < 100 and self._soc <= minimum
            return GUARD_DISCHARGED if is_low else state
        if state == GUARD_LOW_SOC_CHARGE:
            return GUARD_DISCHARGED if self._soc >= min(100, minimum) else state
        if self._soc >= min(100, minimum + SWITCH_OFFSET):
            return GUARD_DEFAULT
        if self._soc < minimum - LOW_SOC_OFFSET:
            return GUARD_LOW_SOC_CHARGE
        return state
