"""The house of a simulated battery: battery, panels, consumers, grid meter.

It is also the house behind each simulated device of the tests. Signs, unless a
device's own protocol says otherwise:
    battery power   positive = charging          (DC, at the battery)
    inverter power  positive = from AC into DC   (AC, at the inverter; charging)
    grid power      positive = import
    pv and load     never negative

The balance that holds on every phase:  grid = load - pv_ac + inverter
and at the battery:                     battery = inverter (less losses) + pv_dc

Nothing runs in the background. Each reader calls `run()`, which works off the time
since the last call in slices. So the same clock gives the same numbers, and a test
moves the clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
import math
import time
from typing import Annotated, Final

type Clock = Callable[[], float]

# Load of the house by hour of the day, as a share of its mean.
_LOAD_SHAPE: Final = (
    *(0.5, 0.4, 0.4, 0.4, 0.4, 0.5, 0.9, 1.3, 1.2, 0.9, 0.8, 0.8),
    *(1.0, 0.9, 0.8, 0.8, 1.0, 1.7, 2.2, 2.0, 1.8, 1.6, 1.1, 0.7),
)
_SUNRISE: Final = 6.0  # o'clock
_SUNSET: Final = 20.0
_SLICE: Final = 1.0  # s; the longest step of the simulation,
_SLICE_OF_DAY: Final = 60.0  # … also where the day runs faster,
_SLICES: Final = 5000  # … unless this many do not suffice
_SPLIT: Final = {1: (1.0,), 2: (0.6, 0.4), 3: (0.5, 0.3, 0.2)}  # load over the phases
_FREQUENCY: Final = 50.0  # Hz
_MAINS: Final = (231.0, 230.0, 229.0)  # V
_TAPER: Final = 5.0  # % of SOC below full over which charging fades out,
_TRICKLE: Final = 0.05  # … down to this share of the power, until it is full


@dataclass(frozen=True)
class Automatic:
    """Self-consumption: keep the grid at a power, W."""

    grid: float = 0.0
    per_phase: bool = False
    """Keep each phase at its share of it, instead of the sum."""


@dataclass(frozen=True)
class BatteryPower:
    """Charge (positive) or discharge the battery with a power, W."""

    power: float


@dataclass(frozen=True)
class InverterPower:
    """Take (positive) or deliver an AC power on each of the inverter's phases, W."""

    power: tuple[float, ...]


HOLD: Final = InverterPower(())
"""Neither charge nor discharge from AC. Solar power on the DC side still charges."""

type Command = Automatic | BatteryPower | InverterPower


@dataclass
class Counters:
    """Energy since the start, Wh."""

    charged: float = 0.0
    discharged: float = 0.0
    imported: list[float] = field(default_factory=lambda: [0.0] * 3)
    exported: list[float] = field(default_factory=lambda: [0.0] * 3)
    pv: float = 0.0
    load: float = 0.0


class Plant:
    """The house. Read its attributes after `run()`."""

    def __init__(
        self,
        *,
        phases: Annotated[int, "phases of the house: 1, 2 or 3"] = 1,
        capacity: Annotated[float, "energy of the full battery, Wh"] = 10_000.0,
        soc: Annotated[float, "state of charge at the start, %%"] = 50.0,
        max_charge: Annotated[float, "most charging power of the device, W"] = 5000.0,
        max_discharge: Annotated[
            float, "most discharging power of the device, W"
        ] = 5000.0,
        efficiency: Annotated[float, "of the inverter, one way, 0…1"] = 0.95,
        pv_peak: Annotated[float, "solar power at noon, W"] = 3000.0,
        pv_dc_share: Annotated[float, "share of it on the battery's side, 0…1"] = 0.0,
        mean_load: Annotated[float, "mean consumption of the house, W"] = 500.0,
        time_of_day: Annotated[float, "hour at the start, 0…24"] = 12.0,
        speed: Annotated[float, "how much faster the day, SOC and counters run"] = 1.0,
        ramp: Annotated[float, "how fast the power follows, W/s"] = math.inf,
        inverter_phases: Sequence[int] | None = None,
        clock: Clock = time.monotonic,
        epoch: float = 1_790_000_000.0,
    ) -> None:
        """Build the house; `inverter_phases` (0…2) are all phases unless given.

        `epoch` is the unix time when the clock stood at 0.
        """
        if phases not in _SPLIT:
            raise ValueError(f"A house has 1, 2 or 3 phases, not {phases}")
        self.phases = phases
        self.capacity = capacity
        self.soc = soc
        self.max_charge = max_charge
        self.max_discharge = max_discharge
        self.efficiency = efficiency
        self.pv_peak = pv_peak
        self.pv_dc_share = pv_dc_share
        self.mean_load = mean_load
        self.time_of_day = time_of_day
        self.speed = speed
        self.ramp = ramp
        self.inverter_phases = tuple(
            range(phases) if inverter_phases is None else inverter_phases
        )
        self.clock = clock
        self.epoch = epoch

        # Commands and limits that a device sets.
        self.command: Command = HOLD
        self.may_charge = math.inf
        """The most charging power that the device allows at the moment, W."""
        self.may_discharge = math.inf
        self.may_harvest = math.inf
        """The most solar power that the device harvests on the DC side at the moment,
        W."""
        self.dead_band = 0.0
        """Inverter power below which starting is not worthwhile, W."""
        self.controller: Callable[[float], None] = lambda now: None
        """Called with the time before each slice, to set the commands and limits
        above."""
        self.observer: Callable[[float], None] = lambda hours: None
        """Called with the length of each slice after it, h, to count a device's own
        energies."""

        # Values that an experiment fixes; None follows the day.
        self.fixed_pv: float | None = None
        self.fixed_load: float | None = None
        self.grid_lost = False
        self.grid_target = 0.0
        """Grid power that a meter sets as the target of automatic control, W."""
        self.output_share = 1.0
        """Share of the load that an inverter can feed when the grid is lost."""

        # Results.
        self.inverter = [0.0] * 3
        self.grid = [0.0] * 3
        self.load = [0.0] * 3
        self.pv_ac = [0.0] * 3
        self.pv_dc = 0.0
        self.sun_dc = 0.0
        """Power that the panels on the DC side could deliver, harvested or not, W."""
        self.battery = 0.0
        self.counters = Counters()
        self._ran_until = clock()
        self.run()

    # Values that can be read any time.

    @property
    def hour(self) -> float:
        """The hour of the day, 0…24."""
        return self.time_of_day % 24

    @property
    def unix_time(self) -> float:
        """Present time as unix time. `speed` does not affect it."""
        return self.epoch + self.clock()

    @property
    def pv(self) -> float:
        """All solar power, W."""
        return sum(self.pv_ac) + self.pv_dc

    @property
    def current(self) -> float:
        """Battery current, A; positive = charging."""
        return self.battery / self.voltage

    @property
    def voltage(self) -> float:
        """Battery voltage, V: follows the SOC, and slightly the power."""
        return 49.5 + 0.045 * self.soc + 0.0002 * self.battery

    @property
    def mains(self) -> list[float]:
        """Voltage of each of three phases, V; 0 where there is none."""
        on = 0 if self.grid_lost else self.phases
        return [volts if phase < on else 0.0 for phase, volts in enumerate(_MAINS)]

    @property
    def frequency(self) -> float:
        """Grid frequency, Hz; 0 without grid."""
        return 0.0 if self.grid_lost else _FREQUENCY

    # Time.

    def run(self) -> None:
        """Work off the time that has passed since the last call."""
        now = self.clock()
        passed = now - self._ran_until
        longest = min(_SLICE, _SLICE_OF_DAY / self.speed)
        slices = min(max(1, math.ceil(passed / longest)), _SLICES)
        for number in range(slices):
            self.controller(now - passed + passed * number / slices)
            self._step(passed / slices)
        self.controller(now)
        self._step(
            0
        )  # what was decided just now shows at once, as far as the ramp allows
        self._ran_until = now

    def pass_hours(self, hours: float) -> None:
        """Let hours of the day pass at once, in slices of a minute."""
        minutes = math.ceil(hours * 60)
        for _ in range(minutes):
            self.controller(self._ran_until)
            self._step(hours * 3600 / minutes / self.speed)

    def freeze(self, seconds: float = 0.0) -> None:
        """Stop the clock this many seconds from now, and settle at once."""
        until = self._ran_until = self.clock() + seconds
        self.clock = lambda: until
        self.run()

    def _step(self, seconds: float) -> None:
        hours = seconds * self.speed / 3600
        self.time_of_day += hours
        self._weather()
        wanted = self._bounded(self._wanted())
        most = math.inf if math.isinf(self.ramp) else self.ramp * seconds
        self.inverter = [
            have + max(-most, min(most, want - have))
            for have, want in zip(self.inverter, wanted, strict=True)
        ]
        self._settle()
        self._count(hours)

    def _weather(self) -> None:
        """Set sun and consumption for the hour."""
        pv, load = self.fixed_pv, self.fixed_load
        if pv is None:
            day = (self.hour - _SUNRISE) / (_SUNSET - _SUNRISE)
            pv = self.pv_peak * math.sin(math.pi * day) if 0 < day < 1 else 0.0
        if load is None:
            hour, part = int(self.hour), self.hour % 1
            now, later = _LOAD_SHAPE[hour], _LOAD_SHAPE[(hour + 1) % 24]
            load = self.mean_load * (now + (later - now) * part)
        self.sun_dc = pv * self.pv_dc_share
        self.pv_dc = min(self.sun_dc, self.may_harvest)
        pv_ac = 0.0 if self.grid_lost else pv - self.sun_dc
        if self.grid_lost:
            load *= self.output_share
        split = (*_SPLIT[self.phases], 0.0, 0.0)[:3]
        self.load = [load * share for share in split]
        self.pv_ac = [pv_ac / self.phases if share else 0.0 for share in split]

    # Power.

    def _wanted(self) -> list[float]:
        """Return the power of each of the inverter's phases before limits."""
        need = [pv - load for pv, load in zip(self.pv_ac, self.load, strict=True)]
        if self.grid_lost:
            return need  # the inverter alone feeds the house
        match self.command:
            case Automatic(grid, per_phase=True):
                share = grid / len(self.inverter_phases)
                return self._on_phases(
                    need[phase] + share for phase in self.inverter_phases
                )
            case Automatic(grid):
                return self._spread(grid + sum(need))
            case BatteryPower(power):
                return self._spread(self._to_ac(power - self.pv_dc))
            case InverterPower(power):
                return self._on_phases(power)

    def _bounded(self, wanted: list[float]) -> list[float]:
        """Return powers within the limits of battery, device and controller."""
        most = self._to_ac(max(0.0, self.charge_limit - self.pv_dc))
        least = self._to_ac(-self.discharge_limit - self.pv_dc)
        total = sum(wanted)
        bounded = min(max(total, least), most)
        if abs(bounded) < self.dead_band:
            return [0.0] * 3
        shift = self._spread(total - bounded)
        return [want - part for want, part in zip(wanted, shift, strict=True)]

    @property
    def charge_limit(self) -> float:
        """The most charging power now, W."""
        if self.soc >= 100:
            return 0.0
        fading = min(1.0, max(_TRICKLE, (100 - self.soc) / _TAPER))
        return max(0.0, min(self.max_charge * fading, self.may_charge))

    @property
    def discharge_limit(self) -> float:
        """The most discharging power now, W."""
        if self.soc <= 0:
            return 0.0
        return max(0.0, min(self.max_discharge, self.may_discharge))

    def _settle(self) -> None:
        """Derive battery and grid from the inverter's power."""
        from_ac = self._to_dc(sum(self.inverter))
        # Solar power without a consumer is not harvested.
        self.pv_dc = min(self.pv_dc, max(0.0, self.charge_limit - from_ac))
        self.battery = from_ac + self.pv_dc
        self.grid = [
            0.0 if self.grid_lost else load - pv + inverter
            for load, pv, inverter in zip(
                self.load, self.pv_ac, self.inverter, strict=True
            )
        ]

    def _count(self, hours: float) -> None:
        energy = self.battery * hours
        self.soc = min(100.0, max(0.0, self.soc + 100 * energy / self.capacity))
        counters = self.counters
        counters.charged += max(0.0, energy)
        counters.discharged += max(0.0, -energy)
        counters.pv += self.pv * hours
        counters.load += sum(self.load) * hours
        for phase, power in enumerate(self.grid):
            counters.imported[phase] += max(0.0, power) * hours
            counters.exported[phase] += max(0.0, -power) * hours
        self.observer(hours)

    def _to_dc(self, power: float) -> float:
        return power * self.efficiency if power > 0 else power / self.efficiency

    def _to_ac(self, power: float) -> float:
        return power / self.efficiency if power > 0 else power * self.efficiency

    def _spread(self, power: float) -> list[float]:
        """Share a power equally over the inverter's phases."""
        return self._on_phases(
            power / len(self.inverter_phases) for _ in self.inverter_phases
        )

    def _on_phases(self, powers: Iterable[float]) -> list[float]:
        """Return the inverter's powers by phase of the house, 0 where it has none."""
        result = [0.0] * 3
        for phase, power in zip(self.inverter_phases, powers, strict=False):
            result[phase] = power
        return result
