"""A Sunny Island without Modbus: external control, its loss, their effect on the house.

Power and setpoints are the device's own here: positive = output (discharging).
"""

from dataclasses import dataclass
import math
from typing import Final

from homebattery.simulated.plant import HOLD, Automatic, InverterPower, Plant

from .sma_registers import SETTINGS, Setting, Tag
from .words import Value

EMERGENCY_WATTS: Final = 500.0  # power of an emergency charge


class NotTaken(Exception):
    """Raised for a value out of range."""


@dataclass
class Energies:
    """The device's own counters, Wh; those of the day start again at midnight."""

    absorbed: float = 0.0
    released: float = 0.0
    imported_today: float = 0.0
    exported_today: float = 0.0

    def count(self, output: float, grid: float, hours: float) -> None:
        """Add these powers, W, over this time."""
        self.absorbed += max(0.0, -output) * hours
        self.released += max(0.0, output) * hours
        self.imported_today += max(0.0, grid) * hours
        self.exported_today += max(0.0, -grid) * hours


class SunnyIsland:
    """The device. Call `update()` before reading; write with `write()`."""

    def __init__(
        self,
        plant: Plant,
        *,
        rated_power: float,
        meter: bool,
        min_soc: float,
        per_phase: bool,
        settings: dict[str, Value],
    ) -> None:
        """Start in the house."""
        self.plant = plant
        self.rated_power = rated_power
        self.meter = meter
        self.min_soc = min_soc
        self.per_phase = per_phase
        self.settings: dict[str, Value] = {
            **{row.name: row.default for row in SETTINGS if row.default is not None},
            "external": Tag.EXTERNAL_OFF,
            "setpoint": 0,
            **settings,
        }
        self.charge_control: int | None = Tag.YES
        """Whether the device can be controlled; None: it does not say."""
        self.operating_status: int = Tag.GRID_PARALLEL
        """Operating status while there is a grid."""
        self.ignore_writes = False
        self.ignore_setpoint = False

        self.flash_writes: dict[str, int] = {}
        """Number of writes of each setting that is kept in flash."""
        self.restarts = 0
        self.energies = Energies()
        self._renewed = plant.clock()
        self._day = int(plant.time_of_day // 24)

        plant.controller = self._control
        plant.observer = self._observe
        plant.run()

    def update(self) -> None:
        """Run the house up to the present."""
        self.plant.run()

    def number(self, name: str) -> float:
        """Return a setting that is a number."""
        value = self.settings[name]
        assert isinstance(value, (int, float))
        return value

    # Writing.

    @property
    def devices(self) -> int:
        """Number of devices in the cluster; 1: no cluster."""
        return len(self.plant.inverter_phases)

    def check(self, row: Setting, value: Value) -> float:
        """Return the value as a number, or raise NotTaken."""
        most = self.rated_power * self.devices if row.name == "setpoint" else math.inf
        if not isinstance(value, (int, float)) or abs(value) > most:
            raise NotTaken
        if not row.least <= value <= row.most or (row.only and value not in row.only):
            raise NotTaken
        return value

    def write(self, row: Setting, value: float) -> None:
        """Store a checked value.

        The time-out counts from the last setpoint, or from the start of external
        control; whether renewing `external` alone would do is uncertain, here it does
        not.
        """
        if self.ignore_writes:
            return
        if row.flash:
            self.flash_writes[row.name] = self.flash_writes.get(row.name, 0) + 1
        if row.name == "restart":
            self.restart()
            return
        begins = row.name == "external" and not self.is_external
        if row.name == "setpoint" or begins:
            self._renewed = self.plant.clock()
        self.settings[row.name] = value
        self.update()

    def restart(self) -> None:
        """Restart, without external control."""
        self.restarts += 1
        self.settings |= {"external": Tag.EXTERNAL_OFF, "setpoint": 0}
        self.update()

    # Deciding.

    @property
    def is_external(self) -> bool:
        """Return True while external control is on, whether it is followed or not."""
        return self.settings["external"] == Tag.EXTERNAL_ON

    @property
    def is_running(self) -> bool:
        """Return True while the device is started."""
        return self.settings["run"] == Tag.START

    @property
    def remaining(self) -> float | None:
        """Seconds until the setpoint lapses; None without external control."""
        if not self.is_external:
            return None
        passed = self.plant.clock() - self._renewed
        return max(0.0, self.number("time_out") - passed)

    @property
    def has_lapsed(self) -> bool:
        """Return True if the setpoint was not renewed in time."""
        return self.remaining == 0

    @property
    def falls_back(self) -> bool:
        """Return True if the setpoint has lapsed, and the device does not keep it."""
        return self.has_lapsed and self.settings.get("on_loss") == Tag.FALL_BACK

    @property
    def follows(self) -> bool:
        """Return True if the setpoint decides about the power."""
        return (
            self.is_external
            and not self.falls_back
            and not self.ignore_setpoint
            and self.charge_control != Tag.NO
            and self.settings["power_mode"] == Tag.EXTERNAL
            and self.status == Tag.GRID_PARALLEL
            and self.is_running
        )

    @property
    def status(self) -> int:
        """The operating status."""
        return Tag.BACKUP if self.plant.grid_lost else self.operating_status

    def _control(self, now: float) -> None:
        """Set the house's power by the present command."""
        plant = self.plant
        follows = self.follows
        # That min_soc is for self-consumption only is what its name says.
        floor = self.number("deep_discharge") if follows else self.min_soc
        plant.may_discharge = 0.0 if plant.soc <= floor else math.inf
        plant.may_charge = math.inf
        if follows:
            times = self.devices if self.per_phase else 1
            plant.command = self._output(times * self.number("setpoint"))
        elif self.status == Tag.EMERGENCY_CHARGE:
            plant.command = self._output(-EMERGENCY_WATTS)
        elif self._consumes_itself:
            if self.falls_back and "fallback_power" in self.settings:
                most = abs(self.number("fallback_power"))
                plant.may_charge = plant.may_discharge = most
            plant.command = Automatic()
        else:
            plant.command = HOLD
        if plant.grid_lost:
            plant.may_discharge = math.inf  # it feeds the house in any case

    @property
    def _consumes_itself(self) -> bool:
        return (
            self.meter
            and self.is_running
            and self.status == Tag.GRID_PARALLEL
            and self.settings["self_consumption"] == Tag.YES
        )

    def _output(self, power: float) -> InverterPower:
        """Return the command for this output, within the device's range."""
        most = self.rated_power * self.devices
        bounded = max(-most, min(most, power))
        return InverterPower((-bounded / self.devices,) * self.devices)

    # Measuring.

    @property
    def output(self) -> float:
        """The AC power, W; positive = output."""
        return -sum(self.plant.inverter)

    def _observe(self, hours: float) -> None:
        """Count the device's energies."""
        day = int(self.plant.time_of_day // 24)
        if day != self._day:
            self.energies.imported_today = self.energies.exported_today = 0.0
            self._day = day
        self.energies.count(self.output, sum(self.plant.grid), hours)
