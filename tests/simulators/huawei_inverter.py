"""A SUN2000 with LUNA2000 batteries, without any Modbus.

Its settings and forcible commands, and their effect on the house.

Panels and batteries are on the DC side of the one inverter. Inverter power inside this
file: positive = from AC into DC, as in the house; the device's own active power has the
opposite sign.
"""

import copy
from dataclasses import dataclass
from enum import IntEnum
import math
from typing import Final, Literal, NamedTuple

from homebattery.simulated.plant import InverterPower, Plant

from .huawei_registers import BATTERY_SETTINGS, INVERTER_SETTINGS, Setting
from .words import Value

type BatteryStatus = Literal["offline", "standby", "running", "fault", "asleep"]
type Meter = Literal["present", "offline", "absent"]


class Command(IntEnum):
    """Direction of a forcible command, or of a period."""

    STOP = 0
    CHARGE = 1
    DISCHARGE = 2


class Mode(IntEnum):
    """Working modes. Those missing here act as self-consumption."""

    FIXED = 1
    FULL_FEED_IN = 4
    TIME_OF_USE = 5


class FeedIn(IntEnum):
    """Feed-in modes that limit the export."""

    ZERO = 5
    WATTS = 6
    PERCENT = 7


UNTIL_SOC: Final = 1
WORKING: Final = ("standby", "running")
"""States in which the battery obeys."""

FORCIBLE_POWERS: Final = ("forcible_charge", "forcible_discharge")
POWERS: Final = (
    *("charge_limit", "discharge_limit", "grid_charge_limit"),
    *FORCIBLE_POWERS,
)
"""Settings whose largest value depends on the batteries."""

RESUME_AFTER: Final = 1.0
"""SOC change before a full or an empty battery works again, %."""
CURTAILED_WATTS: Final = 50.0  # less than this is not reported
CEILING: Final = 363 / 400
"""The part of a forcible charge that the panels may give (8K-MAP0, cloudless)."""
RECOVERY: Final = 7.0
"""Seconds from the end of a command until the panels give all again, as measured."""
MINUTE: Final = 60.0
THURSDAY: Final = 4  # the day on which unix time began, Sunday = 0


class Step(NamedTuple):
    """The settings after a write."""

    settings: dict[str, Value]
    """All settings after it."""
    remaining: float
    """Seconds that a forcible command still runs."""


class Outcome(NamedTuple):
    """The device's powers in a situation, W."""

    battery: float
    """Positive = charging."""
    grid: float
    """Positive = import."""


class NotTaken(Exception):
    """Raised for a value beyond the device's present range."""


@dataclass
class Energies:
    """The device's own counters, Wh; those of the day start again at midnight."""

    charged: float = 0.0
    discharged: float = 0.0
    output: float = 0.0
    pv: float = 0.0
    this_hour: float = 0.0
    charged_today: float = 0.0
    discharged_today: float = 0.0
    output_today: float = 0.0
    peak_today: float = 0.0

    def count(self, battery: float, output: float, pv: float, hours: float) -> None:
        """Add these powers, W, over this time."""
        charged = max(0.0, battery) * hours
        discharged = max(0.0, -battery) * hours
        delivered = max(0.0, output) * hours
        self.charged += charged
        self.charged_today += charged
        self.discharged += discharged
        self.discharged_today += discharged
        self.output += delivered
        self.output_today += delivered
        self.this_hour += delivered
        self.pv += pv * hours
        self.peak_today = max(self.peak_today, output)

    def start_day(self) -> None:
        """Begin a new day."""
        self.charged_today = self.discharged_today = 0.0
        self.output_today = self.peak_today = 0.0


class Sun2000:
    """The device. Call `update()` before reading; write with `write()`."""

    def __init__(
        self,
        plant: Plant,
        *,
        battery_units: int,
        rated_power: float,
        meter: Meter,
        backup: bool,
        curtails: bool,
        trims: bool,
        settings: dict[str, float],
    ) -> None:
        """Start in the house."""
        self.plant = plant
        self.battery_units = battery_units
        self.rated_power = rated_power
        self.max_power = 1.1 * rated_power
        self.meter: Meter = meter
        self.backup = backup
        self.curtails = curtails
        self.trims = trims

        self.running = True
        self.battery_status: BatteryStatus | None = None
        """A state that an experiment fixes; None follows the power."""
        self.ignore_writes = False
        self.ignore_limits = False
        self.kept: set[str] = set()
        """Settings that stay as they are: a write is answered and dropped,"""
        self.refused: set[str] = set()
        """or refused."""
        self.endless = False
        """Whether a forcible command outlasts its duration."""
        self.own_floor = 0.0
        """SOC at which a forcible discharge ends whatever minimum is set, %."""

        self.flash_writes: dict[str, int] = {}
        """Number of writes of each setting."""
        self.trail: list[Step] = []
        """The settings after every write that took effect; see `what_if`."""
        self.energies = Energies()
        self.curtailing = False
        self._ceiling = math.inf
        """The most that the panels may give under the last command, W."""
        self._recovers_at = 0.0
        self._deadline = 0.0
        self._full = self._empty = False
        self._hour = int(plant.time_of_day)

        rows: tuple[Setting, ...] = INVERTER_SETTINGS
        if battery_units:
            rows += BATTERY_SETTINGS
        self.rows = {row.name: row for row in rows}
        self.settings: dict[str, Value] = {row.name: row.default for row in rows}
        self.settings["output_limit"] = self.max_power
        if battery_units:
            self.settings |= settings
            for name in ("charge_limit", "discharge_limit", "grid_charge_limit"):
                self.settings[name] = min(self.number(name), self.most(name))

        plant.output_share = 1.0 if backup else 0.0
        plant.controller = self._control
        plant.observer = self._observe
        plant.run()

    def update(self) -> None:
        """Run the house up to the present."""
        self.plant.run()

    def number(self, name: str) -> float:
        """Return a setting that is a number."""
        value = self.settings.get(name, 0)
        assert isinstance(value, (int, float))
        return value

    # Writing.

    def most(self, name: str) -> float:
        """Return the largest number that a setting accepts now."""
        plant = self.plant
        if name in POWERS and self.battery_status == "offline":
            return 0.0
        match name:
            case "charge_limit" | "forcible_charge":
                return min(plant.max_charge, self.max_power)
            case "discharge_limit" | "forcible_discharge":
                return min(plant.max_discharge, self.max_power)
            case "grid_charge_limit":
                return self.rated_power
        return self.rows[name].most

    def granted(self, row: Setting, value: Value) -> Value:
        """Return the value that the device makes of this one, or raise NotTaken.

        More power than available: a forcible one is trimmed; a limit is refused or
        trimmed, by firmware.
        """
        if row.name in self.refused:
            raise NotTaken
        if isinstance(value, tuple):
            return value
        if not isinstance(value, (int, float)):
            raise NotTaken
        most = self.most(row.name)
        if value > most and row.name in POWERS and (row.volatile or self.trims):
            return most
        if not row.least <= value <= most or (row.only and value not in row.only):
            raise NotTaken
        return value

    def write(self, row: Setting, value: Value) -> None:
        """Store a granted value; it can be read back at once."""
        if self.ignore_writes:
            return
        if not row.volatile:
            self.flash_writes[row.name] = self.flash_writes.get(row.name, 0) + 1
        if row.name in self.kept:
            return
        self.settings[row.name] = value
        if row.name == "forcible":
            minutes = self.number("forcible_minutes")
            self._deadline = self.plant.clock() + minutes * MINUTE
        self.update()
        self.trail.append(self.step)

    @property
    def step(self) -> Step:
        """The present settings, as after a write."""
        return Step(dict(self.settings), self._deadline - self.plant.clock())

    def what_if(
        self,
        step: Step | None = None,
        *,
        soc: float | None = None,
        pv: float | None = None,
        load: float | None = None,
        later: float = 0.0,
    ) -> Outcome:
        """Return the device's powers after a step, in another situation.

        `soc` in %, `pv` and `load` in W; by default the present ones. `later` is the
        delay in seconds, in which nothing else changes. Panels have recovered.
        """
        other = copy.deepcopy(self, {id(self.trail): []})
        plant = other.plant
        other._recovers_at = 0.0
        if step is not None:
            other.settings = dict(step.settings)
            other._deadline = plant.clock() + step.remaining
        if soc is not None:
            plant.soc = soc
        if pv is not None:
            plant.fixed_pv = pv
        if load is not None:
            plant.fixed_load = load
        plant.freeze(later)
        return Outcome(plant.battery, sum(plant.grid))

    def restart(self) -> None:
        """Drop the settings that are not kept in flash."""
        for row in self.rows.values():
            if row.volatile:
                self.settings[row.name] = row.default
        self.update()

    # The forcible command.

    @property
    def forcible(self) -> Command:
        """The present command."""
        return Command(int(self.number("forcible")))

    @property
    def target_soc(self) -> float | None:
        """SOC that ends the command, %; None if its duration does, or none runs."""
        if self.forcible != Command.STOP and self.number("forcible_until") == UNTIL_SOC:
            return self.number("forcible_soc")
        return None

    @property
    def remaining(self) -> float | None:
        """Seconds that the command still runs; None if an SOC ends it, or none runs."""
        if self.forcible == Command.STOP or self.target_soc is not None:
            return None
        return max(0.0, self._deadline - self.plant.clock())

    @property
    def forcible_power(self) -> float:
        """Power of the running command, W; positive = charging, 0 if none runs."""
        match self.forcible:
            case Command.CHARGE:
                return self.number("forcible_charge")
            case Command.DISCHARGE:
                return -self.number("forcible_discharge")
        return 0.0

    def _end_forcible(self, now: float) -> None:
        """End a command that is done.

        At the lower limit of the SOC the battery stops, but a discharge stays
        commanded; at a floor of its own it ends. The meaning of a duration of 0 is
        uncertain; here it ends the command at once.
        """
        soc, target = self.plant.soc, self.target_soc
        match self.forcible:
            case Command.CHARGE:
                done = self._full or (target is not None and soc >= target)
            case Command.DISCHARGE:
                done = soc <= max(self.own_floor, target or 0.0)
            case _:
                return
        if target is None and now >= self._deadline and not self.endless:
            done = True
        if done or not self.battery_obeys:
            self.settings["forcible"] = Command.STOP

    # Deciding.

    @property
    def battery_obeys(self) -> bool:
        """Return True if there is a battery, and it is awake."""
        return self.battery_units > 0 and self.battery_status in (None, *WORKING)

    @property
    def day_of_week(self) -> int:
        """Day of the week, Sunday = 0."""
        plant = self.plant
        days = int(plant.epoch // 86_400) + int(plant.time_of_day // 24)
        return (days + THURSDAY) % 7

    @property
    def net_load(self) -> float:
        """The house's load without this inverter, W."""
        plant = self.plant
        return sum(plant.load) - sum(plant.pv_ac)

    @property
    def output_limit(self) -> float:
        """The most output on AC now, W."""
        limit = min(
            self.max_power * self.number("output_percent") / 100,
            self.number("output_limit"),
        )
        if self.meter != "present":
            return limit
        match self.number("feed_in_mode"):
            case FeedIn.ZERO:
                export = 0.0
            case FeedIn.WATTS:
                export = self.number("feed_in_limit")
            case FeedIn.PERCENT:
                export = self.max_power * self.number("feed_in_percent") / 100
            case _:
                return limit
        return min(limit, max(0.0, self.net_load + export))

    def _control(self, now: float) -> None:
        """Set the house's power by the present command."""
        self._watch_soc()
        self._end_forcible(now)
        plant = self.plant
        if now >= self._recovers_at:
            self._ceiling = math.inf
        plant.may_harvest = self._ceiling
        if not self.running:
            plant.may_harvest = 0.0
        plant.may_charge, plant.may_discharge = self._limits()
        if self.running:
            power = self._forced() if self.forcible != Command.STOP else self._by_mode()
            if self.forcible != Command.STOP:
                self._recovers_at = now + RECOVERY
        else:
            power = plant.may_discharge = plant.may_charge = 0.0
        phases = len(plant.inverter_phases)
        plant.command = InverterPower((power / phases,) * phases)

    def _watch_soc(self) -> None:
        """Notice a full or an empty battery, with some hysteresis."""
        plant = self.plant
        floor = self.number("min_soc")
        if self.forcible != Command.DISCHARGE and not plant.grid_lost:
            floor = max(floor, self.number("backup_soc"))
        again = RESUME_AFTER if self._full else 0.0
        self._full = plant.soc >= self.number("max_soc") - again
        again = RESUME_AFTER if self._empty else 0.0
        self._empty = plant.soc <= floor + again

    def _limits(self) -> tuple[float, float]:
        """Return the settings' limits of charging and discharging, W."""
        if not self.battery_obeys:
            return 0.0, 0.0
        charge = self.number("charge_limit")
        discharge = self.number("discharge_limit")
        if self.ignore_limits:
            charge = discharge = math.inf
        return 0.0 if self._full else charge, 0.0 if self._empty else discharge

    def _forced(self) -> float:
        """Return the inverter's power under a forcible command.

        The command bounds the panels too, where the firmware curtails: a charge below
        their power takes no more from them, a discharge stops them, however much light
        there is. They take a while to recover.
        """
        plant = self.plant
        if self.forcible == Command.CHARGE:
            plant.may_charge = min(plant.may_charge, self.number("forcible_charge"))
            self._curtail(CEILING * plant.may_charge)
            wanted = plant.charge_limit
        else:
            plant.may_discharge = min(
                plant.may_discharge, self.number("forcible_discharge")
            )
            self._curtail(0.0)
            wanted = -plant.discharge_limit
        return self._bounded(self._to_ac(wanted - self._sun), self._from_grid)

    def _curtail(self, ceiling: float) -> None:
        """Let the panels give no more than this, W, where the firmware curtails."""
        if self.curtails:
            self.plant.may_harvest = self._ceiling = ceiling

    def _by_mode(self) -> float:
        """Return the inverter's power by the working mode."""
        plant = self.plant
        grid_charge = bool(self.number("grid_charge")) and self.battery_obeys
        most = self._from_grid if grid_charge else 0.0
        if grid_charge and plant.soc < self.number("backup_soc"):
            return self._bounded(most, most)
        match self.number("working_mode"):
            case Mode.FIXED:
                # Sign of its periods is uncertain, so they have none here.
                plant.may_charge = plant.may_discharge = 0.0
            case Mode.FULL_FEED_IN:
                return self._bounded(-self.output_limit, 0.0)
            case Mode.TIME_OF_USE:
                return self._by_period(most)
        return self._bounded(-self.net_load, most)

    def _by_period(self, most: float) -> float:
        """Return the inverter's power by time of use; discharge in periods only."""
        plant = self.plant
        period = self._period()
        if period != Command.DISCHARGE:
            plant.may_discharge = 0.0
        cutoff = self.number("grid_charge_cutoff_soc")
        if period == Command.CHARGE and most and plant.soc < cutoff:
            return self._bounded(most, most)
        if not self.number("surplus"):  # surplus goes to the grid before the battery
            return self._bounded(min(-self.net_load, self._to_ac(-self._sun)), 0.0)
        return self._bounded(-self.net_load, most)

    def _period(self) -> Command:
        """Return the command of the present time-of-use period, or none."""
        periods = self.settings["periods"]
        if not isinstance(periods, tuple):
            return Command.STOP
        minute = self.plant.hour * 60
        for number in range(min(periods[0], 14)):
            start, end, what = periods[1 + 3 * number : 4 + 3 * number]
            if start <= minute < end and what & 0xFF & 1 << self.day_of_week:
                return Command.DISCHARGE if what >> 8 else Command.CHARGE
        return Command.STOP

    @property
    def _sun(self) -> float:
        """Solar power that would be harvested now, W."""
        return min(self.plant.sun_dc, self.plant.may_harvest)

    @property
    def _from_grid(self) -> float:
        """The most charging power from AC, W."""
        return min(self.number("grid_charge_limit"), self.rated_power)

    def _bounded(self, power: float, most: float) -> float:
        """Return the power within battery, output and AC charging limits (`most`).

        Solar power that the battery does not take goes out, as far as the output
        allows.
        """
        plant = self.plant
        most = min(most, self._to_ac(plant.charge_limit - self._sun))
        least = max(-self.output_limit, self._to_ac(-plant.discharge_limit - self._sun))
        return max(least, min(power, most))

    def _to_ac(self, power: float) -> float:
        """Return the inverter's power on AC for one on DC."""
        efficiency = self.plant.efficiency
        return power / efficiency if power > 0 else power * efficiency

    # Measuring.

    @property
    def active_power(self) -> float:
        """The inverter's output to AC, W."""
        return -sum(self.plant.inverter)

    @property
    def is_off_grid(self) -> bool:
        """Return True while the grid is lost and the backup box feeds the house."""
        return self.plant.grid_lost and self.backup

    def _observe(self, hours: float) -> None:
        """Count the device's energies."""
        plant = self.plant
        self.curtailing = plant.pv_dc < plant.sun_dc - CURTAILED_WATTS
        hour = int(plant.time_of_day)
        if hour != self._hour:
            self.energies.this_hour = 0.0
            if hour // 24 != self._hour // 24:
                self.energies.start_day()
            self._hour = hour
        self.energies.count(plant.battery, self.active_power, plant.pv, hours)
