"""The power flows of a Deye hybrid inverter, as its settings decide them.

One pure function, so that any state of the settings can be evaluated. Power on the
battery's side (DC) and on the grid's side (AC) differ by the losses of the inverter.

Where the documents disagree about the inverter, `Habits` holds this one's behaviour.
"""

from dataclasses import dataclass
import math
from typing import Final, Literal, NamedTuple

from .deye_registers import (
    BY_SOC,
    BY_VOLTAGE,
    FLAG_GRID,
    NO_BATTERY,
    SELLING_FIRST,
    SLOTS,
    TOU_ON,
    ZERO_EXPORT_TO_LOAD,
    Model,
    Settings,
    Words,
)

type Activity = Literal[
    "off",
    "idle",
    "charging from solar",
    "charging from grid",
    "following load",
    "shaving peaks",
    "selling",
    "remote",
    "off grid",
]
type SellFlag = Literal["ignored", "needed", "enough"]
type SlotPower = Literal["selling", "discharge", "both"]

IDLE_WATTS: Final = 30.0
LOAD_FIRST: Final = 1  # energy_pattern, bit 0 in both ways of counting it
PEAK_SHAVING: Final = 4  # switches, where its two bits are
SWITCHED_ON: Final = 3

# Remote mode: addresses of its words, and their values.
REMOTE: Final = range(1100, 1122)
REMOTE_MODE: Final = 1100
REMOTE_WATCHDOG: Final = 1101
REMOTE_SIDE: Final = 1104
REMOTE_KIND: Final = 1105
REMOTE_BATTERY_POWER: Final = 1109
REMOTE_OUTPUT_POWER: Final = 1111
AC_SIDE: Final = 0
BATTERY_SIDE: Final = 1
BY_POWER: Final = (2, 5)


@dataclass(frozen=True)
class Habits:
    """Behaviour that is disputed, or depends on the firmware."""

    sell_flag: SellFlag = "ignored"
    """Selling from the battery: the flag of a slot is ignored; it is needed besides
    selling first; or it is enough by itself."""
    slot_power: SlotPower = "selling"
    """Actions that the power of a slot limits."""
    discharges_without_tou: bool = False
    honours_start_soc: bool = True
    """Without time of use, `grid_charge_start_soc` decides about charging from the
    grid."""
    charges_when_selling_first: bool = False
    """… from the grid."""
    charge_current_caps_grid: bool = True
    """`charge_current` limits charging from the grid too, not only solar charging."""
    remote_charge_sign: int = -1


@dataclass(frozen=True)
class Situation:
    """The conditions of a decision. Power in W."""

    soc: float
    voltage: float
    """Of the battery, V."""
    pv: float
    """Power that the panels could deliver, DC."""
    load: float
    """Load of the whole house at its meter: less the solar power on its AC side."""
    backup: float
    """The part of the load on the backup port."""
    charge_limit: float
    """The most that the battery and its BMS take."""
    discharge_limit: float
    minute: int
    """Of the day."""
    weekday: int
    """Monday is 0."""
    efficiency: float
    grid_lost: bool = False
    empty: bool = False
    """Off grid the battery is shut down."""
    tripped: bool = False
    """There is a fault."""


class Decision(NamedTuple):
    """The resulting powers, W."""

    activity: Activity
    battery: float
    """Positive = charging."""
    grid: float
    """Positive = import."""
    inverter: float
    """AC; positive = taking."""


def decide(
    model: Model,
    words: Words,
    remote: Words | None,
    habits: Habits,
    at: Situation,
) -> Decision:
    """Return the power flows of these settings in this situation."""
    return _Rules(Settings(model, words), remote, habits, at).decide()


def current_slot(settings: Settings, minute: int) -> int:
    """Return the slot (0…5) of a minute of the day; it lasts until the next starts."""
    starts = [time // 100 * 60 + time % 100 for time in settings.slots("slot_time")]
    begun = [number for number in range(SLOTS) if starts[number] <= minute]
    return max(begun, key=lambda number: starts[number], default=SLOTS - 1)


class _Rules:
    def __init__(
        self, settings: Settings, remote: Words | None, habits: Habits, at: Situation
    ) -> None:
        self.settings = settings
        self.remote = remote
        self.habits = habits
        self.at = at
        self.slot = current_slot(settings, at.minute)
        self.rated = (
            settings.model.rated_power * settings["active_power_regulation"] / 1000
        )

    def decide(self) -> Decision:
        at, settings = self.at, self.settings
        if (
            at.tripped
            or not settings.is_on
            or settings["battery_mode"] == NO_BATTERY  # trips the inverter
        ):
            return Decision("off", 0.0, 0.0 if at.grid_lost else at.load, 0.0)
        if at.grid_lost:
            return self._off_grid()
        if self.remote is not None and self.remote[REMOTE_MODE]:
            return self._obey(self.remote)
        if self._charges_from_grid:
            return self._charge()
        if self._sells and (power := min(self._slot_power, self._discharge)) > 0:
            return self._flow("selling", -power, self._most_output)
        return self._follow()

    # What the settings say.

    @property
    def _tou(self) -> bool:
        """Return True if the slots count today."""
        word = self.settings["tou"]
        return bool(word & TOU_ON and word >> self.at.weekday + 1 & 1)

    @property
    def _flags(self) -> int:
        return self.settings.slot("slot_flags", self.slot)

    @property
    def _slot_power(self) -> float:
        return self.settings.power("slot_power", self.slot)

    @property
    def _over_target(self) -> float:
        """Return the distance above the slot's target: V or % SOC, by battery mode."""
        if self.settings["battery_mode"] == BY_VOLTAGE:
            return self.at.voltage - self.settings.voltage("slot_voltage", self.slot)
        return self.at.soc - self.settings.slot("slot_soc", self.slot)

    @property
    def _may_discharge(self) -> bool:
        """Return True if the battery may serve the load on grid.

        The low-battery SOC is no floor of its own: it is promised only while the slot
        SOC is not below it, and then the slot SOC stops the battery.
        """
        if not self._tou:
            return (
                self.habits.discharges_without_tou
                and self.at.soc > self.settings["low_soc"]
            )
        return self._over_target > 0

    @property
    def _charges_from_grid(self) -> bool:
        settings = self.settings
        if not settings["grid_charge"] or settings["grid_charge_current"] == 0:
            return False
        if self._selling_first and not self.habits.charges_when_selling_first:
            return False
        if self._tou:
            return self._over_target < 0 and bool(self._flags & FLAG_GRID)
        return (
            self.habits.honours_start_soc
            and self.settings["battery_mode"] == BY_SOC
            and self.at.soc < settings["grid_charge_start_soc"]
        )

    @property
    def _selling_first(self) -> bool:
        return self.settings["work_mode"] == SELLING_FIRST

    @property
    def _sells(self) -> bool:
        """Return True if the battery may be sold."""
        if not self._tou or self._over_target <= 0:
            return False
        flag = bool(self._flags & self.settings.model.sell_flag) and not (
            self._flags & FLAG_GRID  # they exclude each other
        )
        match self.habits.sell_flag:
            case "needed":
                return self._selling_first and flag
            case "enough":
                return self._selling_first or flag
        return self._selling_first

    @property
    def _shave_at(self) -> float:
        """Return the import that peak shaving allows, W; infinity without it."""
        if self.settings["switches"] >> PEAK_SHAVING & 3 != SWITCHED_ON:
            return math.inf
        return self.settings.power("peak_shaving_power")

    # Limits, W on the battery's side.

    @property
    def _charge_limit(self) -> float:
        """Return the most that the battery takes from any source."""
        if self.at.soc >= self.settings["stop_soc"]:
            return 0.0
        return self.at.charge_limit

    @property
    def _solar_charge(self) -> float:
        return min(
            self.settings["charge_current"] * self.at.voltage, self._charge_limit
        )

    @property
    def _discharge(self) -> float:
        """Return the most that the battery delivers."""
        return min(
            self.settings["discharge_current"] * self.at.voltage,
            self.at.discharge_limit,
        )

    @property
    def _most_output(self) -> float:
        """Return the most AC output while the surplus may be fed in, W."""
        most = self.at.load + self.settings.power("max_sell_power")
        return max(0.0, min(self.rated, most))

    # Rules.

    def _charge(self) -> Decision:
        """Charge from the grid; solar power serves the load first, then the battery."""
        at, settings = self.at, self.settings
        surplus = max(0.0, at.pv - self._dc(self._served))
        grid_part = settings["grid_charge_current"] * at.voltage
        if not math.isinf(self._shave_at):
            # What exceeds the grid's limit, with the present load.
            most = at.pv - self._dc(at.load - self._shave_at) - surplus
            grid_part = max(0.0, min(grid_part, most))
        if self.habits.slot_power == "both" and self._tou:
            grid_part = min(grid_part, self._slot_power)
        solar_part = min(surplus, self._solar_charge)
        charge = min(solar_part + grid_part, self._charge_limit)
        if self.habits.charge_current_caps_grid:
            charge = min(charge, self._solar_charge)
        if charge <= solar_part:
            return self._follow()
        charge = min(charge, at.pv - self._dc(-self.rated))
        return self._flow("charging from grid", charge, self._surplus_output)

    def _follow(self) -> Decision:
        """Serve the load; charge with the solar power beyond it."""
        at = self.at
        discharge = self._discharge if self._may_discharge else 0.0
        limited = self._selling_first or self.habits.slot_power != "selling"
        if limited and self._tou:
            discharge = min(discharge, self._slot_power)
        need = self._dc(min(self._served, self.rated))
        battery = max(-discharge, min(at.pv - need, self._solar_charge))
        if self._battery_first and not discharge:
            battery = min(at.pv, self._solar_charge)
        peak = at.pv - self._dc(at.load - self._shave_at)
        if battery > peak and at.soc > self.settings["low_soc"]:
            battery = max(peak, -self._discharge)
            return self._flow("shaving peaks", battery, self._surplus_output)
        return self._flow("following load", battery, self._surplus_output)

    def _obey(self, remote: Words) -> Decision:
        """Follow the remote words; the slots do not count."""
        at, rated = self.at, self.settings.model.rated_power
        if remote[REMOTE_SIDE] == BATTERY_SIDE and remote[REMOTE_KIND] in BY_POWER:
            share = _signed(remote[REMOTE_BATTERY_POWER]) / 1000
            wanted = self.habits.remote_charge_sign * share * rated
        elif remote[REMOTE_SIDE] == AC_SIDE:
            wanted = at.pv - self._dc(
                _signed(remote[REMOTE_OUTPUT_POWER]) / 1000 * rated
            )
        else:
            wanted = 0.0
        wanted = max(-self._discharge, min(wanted, self._solar_charge))
        return self._flow("remote", wanted, self._most_output)

    def _off_grid(self) -> Decision:
        """Feed the backup port; without discharge current nothing [uncertain]."""
        at = self.at
        discharge = 0.0 if at.empty else self._discharge
        need = self._dc(min(at.backup, self.rated))
        battery = max(-discharge, min(at.pv - need, self._solar_charge))
        decision = self._flow("off grid", battery, min(at.backup, self.rated))
        return decision._replace(grid=0.0)

    @property
    def _served(self) -> float:
        """Return the wanted AC output, W."""
        if self._selling_first:
            return max(0.0, self.at.load)
        if self.settings["work_mode"] == ZERO_EXPORT_TO_LOAD:
            return self.at.backup
        return max(0.0, self.at.load - self.settings.power("zero_export_power"))

    @property
    def _surplus_output(self) -> float:
        """Return the most AC output, W: without solar sell nothing beyond the load."""
        if self._selling_first or self.settings["solar_sell"]:
            return self._most_output
        return min(self._served, self._most_output)

    @property
    def _battery_first(self) -> bool:
        pattern, charging = (
            self.settings["energy_pattern"],
            self.settings["grid_charge"],
        )
        return not pattern & LOAD_FIRST and not charging

    def _flow(self, activity: Activity, battery: float, most_output: float) -> Decision:
        """Bring the battery to a power, and the solar power beside it to the AC side.

        Power beyond the allowed output is taken off the battery first, then off the
        panels.
        """
        most, pv = self._dc(most_output), self.at.pv
        if pv - battery > most:
            into_battery = max(0.0, battery)
            if activity == "selling":
                into_battery = self._solar_charge
            battery = max(battery, min(pv - most, into_battery))
            pv = min(pv, most + battery)
        delivered = self._ac(pv - battery)
        grid = self.at.load - delivered
        return Decision(_named(activity, battery, grid), battery, grid, -delivered)

    def _dc(self, power: float) -> float:
        """Return the battery-side power of an AC power, either way."""
        efficiency = self.at.efficiency
        return power / efficiency if power > 0 else power * efficiency

    def _ac(self, power: float) -> float:
        efficiency = self.at.efficiency
        return power * efficiency if power > 0 else power / efficiency


def _named(activity: Activity, battery: float, grid: float) -> Activity:
    """Return the activity that a rule's powers amount to."""
    if activity in ("off grid", "remote"):
        return activity
    if abs(battery) < IDLE_WATTS:
        return "idle"
    if battery > 0:
        return (
            "charging from grid"
            if activity == "charging from grid"
            else ("charging from solar")
        )
    if activity == "selling" and grid > -IDLE_WATTS:
        return "following load"
    return activity


def _signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word
