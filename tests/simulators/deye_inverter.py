"""A Deye hybrid inverter in its house, without Modbus: its words and their effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
import struct
from typing import Any, Final, Literal

from homebattery.simulated.plant import InverterPower, Plant

from .deye_control import (
    REMOTE,
    REMOTE_MODE,
    REMOTE_WATCHDOG,
    Activity,
    Decision,
    Habits,
    Situation,
    decide,
)
from .deye_registers import (
    FULL_WORD,
    MICRO_INVERTER,
    NEVER_WRITE,
    Model,
    Settings,
    Words,
)

type FedBy = Literal["write", "any"]
"""Requests that feed the watchdog: writes to remote mode's words, or any request."""

ENERGIES: Final = ("charged", "discharged", "imported", "exported", "load", "pv")
NO_WATCHDOG: Final = FULL_WORD
PACK_ADDRESS: Final = 10032
PACK_WORDS: Final = 38
RESTING_TEMPERATURE: Final = 24.0  # °C

# Range of each remote word: address → least, most, signed.
REMOTE_RANGES: Final[Mapping[int, tuple[int, int]]] = {
    1100: (0, 3),
    1104: (0, 2),
    1105: (0, 5),
    1106: (0, 1),
    1109: (-1200, 1200),
    1110: (0, 1000),
    **dict.fromkeys(range(1111, 1115), (-1200, 1200)),
    1115: (0, 1000),
}
LEAST_WATCHDOG: Final = 10  # s
MOST_WATCHDOG: Final = 18000


@dataclass(frozen=True)
class Step:
    """A write, and its result."""

    address: int
    written: list[int]
    words: Words
    """All settings after it."""
    remote: Words | None
    decision: Decision
    """The inverter's decision from now on, once it has got there."""


@dataclass
class Bms:
    """The battery's limits and requests, as its BMS reports them."""

    charge_current: int = 200
    """Most it takes, A."""
    discharge_current: int = 200
    temperature: float = RESTING_TEMPERATURE
    force_charge: bool = False
    lost: bool = False
    """Whether the BMS has stopped communicating."""
    blank: bool = False
    """Whether all its words are 0xFFFF, while the battery works."""


@dataclass
class Energies:
    """Energies by kind, Wh."""

    total: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ENERGIES, 0))
    today: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ENERGIES, 0))


class DeyeInverter:
    """The device. Call `update()` before reading; write with `write()`."""

    def __init__(
        self,
        plant: Plant,
        model: Model,
        *,
        habits: Habits,
        backup_share: float,
        two_batteries: bool = False,
        more_strings: bool = False,
        remote: bool,
        fed_by: FedBy,
        settings: Mapping[int, int],
    ) -> None:
        """Start in the house, with the user's settings."""
        self.plant = plant
        self.model = model
        self.habits = habits
        self.backup_share = backup_share
        self.two_batteries = two_batteries
        """Whether the battery is one half at each of two inputs."""
        self.more_strings = more_strings
        """Whether the PV is at eight inputs."""
        self.backup_feed = 0.0
        """Power that another inverter feeds in at the backup port, W."""
        self.fed_by = fed_by
        self.words: Words = model.defaults() | dict(settings)
        self.remote: Words | None = _remote_words() if remote else None
        self.user_words: Words = dict(self.words)
        """The settings as the user wants them; a controller is to restore them."""
        self.bms = Bms()
        self.temperature = 38.5
        """Of the heat sink, °C."""
        self.alarms: set[int] = set()
        """Warnings by number, 1…32."""
        self.faults: set[int] = set()
        """Faults by number, 1…64. The inverter stops."""
        self.energies = Energies()

        self.apply_delay = 0.0
        """Seconds until a write takes effect after it was answered."""
        self.ignore_writes = False
        self.keeps_amps = False
        """A charge or discharge current of 0 is answered, and the old one kept."""

        self.flash_writes: dict[int, int] = {}
        """Number of writes of each setting."""
        self.needless_writes = 0
        """Number of writes that changed no setting."""
        self.resets = 0
        """Number of writes that reset the inverter to its factory settings."""
        self.below_low_soc = False
        """Whether the battery was ever discharged below the low-battery SOC on grid."""
        self.bms_exceeded = False
        """Whether more was ever asked of the battery than its BMS allowed."""
        self.trail: list[Step] = []
        """Every write that took effect, and its result."""
        self.decision = Decision("idle", 0.0, 0.0, 0.0)
        self._fed = plant.clock()
        self._empty = False
        self._pending: list[tuple[float, int, list[int]]] = []
        self._clock_shift = timedelta()
        midnight = datetime.fromtimestamp(plant.unix_time, UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        self._midnight = midnight - timedelta(days=plant.time_of_day // 24)
        self._today = self.now.date()

        plant.controller = self._control
        plant.observer = self._observe
        plant.run()

    def update(self) -> None:
        """Run the house up to the present."""
        self.plant.run()

    @property
    def settings(self) -> Settings:
        """The settings by name."""
        return Settings(self.model, self.words)

    @property
    def now(self) -> datetime:
        """The inverter's clock: the house's hour of the day, with its own shift."""
        return (
            self._midnight + timedelta(hours=self.plant.time_of_day) + self._clock_shift
        )

    @property
    def activity(self) -> Activity:
        """The inverter's present activity."""
        return self.decision.activity

    @property
    def voltage(self) -> float:
        """Of the battery, V."""
        return self.plant.voltage * self.model.cells

    @property
    def remote_on(self) -> bool:
        """Return True if an outside controller holds the inverter in remote mode."""
        return self.remote is not None and self.remote[REMOTE_MODE] != 0

    @property
    def borrowed(self) -> dict[int, tuple[int, int]]:
        """Settings that differ from the user's: address → user's word, present word."""
        return {
            address: (self.user_words[address], word)
            for address, word in self.words.items()
            if word != self.user_words[address]
        }

    # Writing.

    def accepts(self, address: int, words: Sequence[int]) -> bool:
        """Return True if all words are in range; slots must start one after another."""
        written = dict(enumerate(words, address))
        if address in REMOTE:
            return all(_is_valid_remote(each, word) for each, word in written.items())
        if address == self.model.clock and _time(words) is None:
            return False
        after = Settings(self.model, self.words | written)
        starts = after.slots("slot_time")
        return starts == sorted(set(starts)) and all(
            self.model.is_valid(each, word) for each, word in written.items()
        )

    def write(self, address: int, words: list[int]) -> None:
        """Accept words; they may take effect later."""
        if address in REMOTE:
            self.feed("write")
        if self.ignore_writes:
            return
        due = self.plant.clock() + self.apply_delay
        self._pending.append((due, address, words))
        self.update()

    def set_by_user(self, address: int, words: Sequence[int]) -> None:
        """Set words at the display."""
        written = dict(enumerate(words, address))
        self.words |= written
        self.user_words |= written
        self.update()

    def feed(self, what: FedBy) -> None:
        """Restart the watchdog, if it counts this kind of request."""
        if what == "write" or self.fed_by == "any":
            self._fed = self.plant.clock()

    def restart(self) -> None:
        """Power-cycle: settings stay."""
        self._pending.clear()
        if self.remote is not None:
            self.remote = _remote_words()
        self.update()

    def _apply(self, address: int, words: list[int]) -> None:
        if address in REMOTE and self.remote is not None:
            self.remote |= dict(enumerate(words, address))
        else:
            self._store(dict(enumerate(words, address)))
        self.trail.append(
            Step(
                address,
                words,
                dict(self.words),
                None if self.remote is None else dict(self.remote),
                self.what_if(),
            )
        )

    def _store(self, written: Words) -> None:
        if any(
            written.get(address) for address in NEVER_WRITE if not self.model.single
        ):
            self.resets += 1
            self.words = self.model.defaults()
            return
        clock = range(self.model.clock, self.model.clock + 3)
        if self.keeps_amps:
            currents = {
                self.model.address("charge_current"),
                self.model.address("discharge_current"),
            }
            written = {
                address: word
                for address, word in written.items()
                if word or address not in currents
            }
        if all(self.words[address] == word for address, word in written.items()):
            self.needless_writes += 1
        for address in written.keys() - set(clock):
            self.flash_writes[address] = self.flash_writes.get(address, 0) + 1
        self.words |= written
        given = _time([written.get(address, 0) for address in clock])
        if given is not None:
            self._clock_shift += given - self.now

    # Deciding.

    def what_if(
        self, words: Words | None = None, remote: Words | None = None, **situation: Any
    ) -> Decision:
        """Return the inverter's decision with such settings in another situation.

        `situation` changes fields of the present `Situation`: `soc=90, pv=0, load=500,
        …`
        """
        return decide(
            self.model,
            self.words if words is None else words,
            self.remote if remote is None else remote,
            self.habits,
            replace(self._situation(), **situation),
        )

    def _situation(self) -> Situation:
        plant = self.plant
        now = self.now
        load = sum(plant.load)
        given = plant.may_charge, plant.may_discharge
        volts = self.voltage
        plant.may_charge = 0.0 if self.bms.lost else self.bms.charge_current * volts
        plant.may_discharge = (
            0.0 if self.bms.lost else self.bms.discharge_current * volts
        )
        limits = plant.charge_limit, plant.discharge_limit
        plant.may_charge, plant.may_discharge = given
        return Situation(
            soc=plant.soc,
            voltage=volts,
            pv=plant.sun_dc,
            load=load - sum(plant.pv_ac),
            backup=load if plant.grid_lost else load * self.backup_share,
            charge_limit=limits[0],
            discharge_limit=limits[1],
            minute=now.hour * 60 + now.minute,
            weekday=now.weekday(),
            efficiency=plant.efficiency,
            grid_lost=plant.grid_lost,
            empty=self._empty,
            tripped=bool(self.faults),
        )

    def _control(self, now: float) -> None:
        """Set the house's power by the inverter's decision."""
        self._take_pending(now)
        self._watch(now)
        self._rest_when_empty()
        decision = self.decision = self.what_if()
        plant = self.plant
        plant.may_charge = max(0.0, decision.battery)
        plant.may_discharge = max(0.0, -decision.battery)
        phases = len(plant.inverter_phases)
        plant.command = InverterPower((decision.inverter / phases,) * phases)

    def _take_pending(self, now: float) -> None:
        due = [entry for entry in self._pending if entry[0] <= now]
        self._pending = [entry for entry in self._pending if entry[0] > now]
        for _, address, words in due:
            self._apply(address, words)

    def _watch(self, now: float) -> None:
        """Leave remote mode if it was not renewed in time."""
        if self.remote is None or not self.remote_on:
            return
        time = self.remote[REMOTE_WATCHDOG]
        if time != NO_WATCHDOG and now - self._fed >= time:
            self.remote[REMOTE_MODE] = 0

    def _rest_when_empty(self) -> None:
        """Stop at the shutdown SOC off grid, until the restart SOC."""
        plant, settings = self.plant, self.settings
        least = settings["restart_soc" if self._empty else "shutdown_soc"]
        self._empty = plant.grid_lost and plant.soc <= least
        stopped = self._empty or bool(self.faults) or not settings.is_on
        plant.output_share = 0.0 if stopped else self.backup_share

    # Measuring.

    @property
    def backup(self) -> list[float]:
        """Load on the backup port on each phase, W; negative while more is fed in."""
        share = 1.0 if self.plant.grid_lost else self.backup_share
        load = self.plant.load
        return [each * share - self.backup_feed / len(load) for each in load]

    @property
    def micro_inverters(self) -> list[float]:
        """Power of micro-inverters at the GEN port on each phase, W."""
        has_them = self.settings["gen_port"] == MICRO_INVERTER
        return [power * has_them for power in self.plant.pv_ac]

    def _observe(self, hours: float) -> None:
        plant = self.plant
        if self.now.date() != self._today:
            self._today = self.now.date()
            self.energies.today = dict.fromkeys(ENERGIES, 0.0)
        grid = sum(plant.grid)
        powers = (
            *(max(0.0, plant.battery), max(0.0, -plant.battery)),
            *(max(0.0, grid), max(0.0, -grid)),
            *(sum(plant.load), plant.pv),
        )
        for name, power in zip(ENERGIES, powers, strict=True):
            self.energies.total[name] += power * hours
            self.energies.today[name] += power * hours
        if not plant.grid_lost and plant.battery < -1:
            self.below_low_soc |= plant.soc < self.settings["low_soc"]
        allowed = self.bms.discharge_current, self.bms.charge_current
        current = plant.battery / self.voltage
        if not -1.02 * allowed[0] - 1 <= current <= 1.02 * allowed[1] + 1:
            self.bms_exceeded = True


def _remote_words() -> Words:
    return dict.fromkeys(REMOTE, 0) | {REMOTE_WATCHDOG: NO_WATCHDOG}


def _is_valid_remote(address: int, word: int) -> bool:
    if address == REMOTE_WATCHDOG:
        return word == NO_WATCHDOG or LEAST_WATCHDOG <= word <= MOST_WATCHDOG
    if address not in REMOTE_RANGES:
        return True
    least, most = REMOTE_RANGES[address]
    return least <= (word - 0x10000 if least < 0 and word & 0x8000 else word) <= most


def _time(words: Sequence[int]) -> datetime | None:
    """Read the three words of the clock; None if they are no time."""
    if len(words) != 3:
        return None
    year, month, day, hour, minute, second = struct.pack(">3H", *words)
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
