"""The simulated device: a house, its settings, and the setpoint that it is held at.

It does what a real one does, so that what works with it works there. It has the working
mode of its user; in external control it follows a setpoint, and returns to
self-consumption when that is not renewed. It lives as long as the process, also while
no battery is connected to it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
import math
import secrets
from typing import ClassVar, Final, NamedTuple, Self

from ..measurements import Value, as_number
from .plant import Automatic, BatteryPower, Command, Counters, Plant

SELF_CONSUMPTION: Final = "self_consumption"
IDLE: Final = "idle"
EXTERNAL_CONTROL: Final = "external_control"
CHOICES: Final = (SELF_CONSUMPTION, IDLE)
"""The working modes that a user may choose."""

MODE: Final = "working_mode"
MIN_SOC: Final = "min_soc"
CHARGE_LIMIT: Final = "charge_power_limit"

FORGETS_AFTER: Final = 60.0
"""Seconds after which a setpoint that is not renewed is no longer followed."""
_FIRST_MIN_SOC: Final = 10
_FIRST_TOTAL: Final = 1.0
"""kWh on each counter of a new device: one at 0 might not count at all."""
_HOURS_BEFORE: Final = 24.0
"""Hours that a new device has run for, so that its SOC is that of the hour."""

TOTALS: Final[Mapping[str, Callable[[Counters], float]]] = {
    "energy_charged_total": lambda counters: counters.charged,
    "energy_discharged_total": lambda counters: counters.discharged,
    "grid_import_total": lambda counters: sum(counters.imported),
    "grid_export_total": lambda counters: sum(counters.exported),
    "pv_energy_total": lambda counters: counters.pv,
    "load_energy_total": lambda counters: counters.load,
}
"""The counters of the device, by key; Wh."""


class Size(NamedTuple):
    """The size of a battery and its house, as its user chooses it."""

    battery_capacity: int = 10
    """kWh."""
    rated_power: int = 5000
    """The most that it charges or discharges with, W."""
    pv_peak: int = 2000
    """Solar power at noon, W."""
    mean_load: int = 800
    """Mean consumption of the house, W."""


class SimulatedDevice:
    """A battery in a house. Call `run()` before reading or writing."""

    _by_serial_number: ClassVar[dict[str, SimulatedDevice]] = {}

    def __init__(self, serial_number: str, plant: Plant) -> None:
        """Install the battery in the house, with its own settings."""
        self.serial_number = serial_number
        self.plant = plant
        self.local_time: Callable[[], datetime] = datetime.now
        """Returns the time of day that the sun and the consumers follow."""
        self.settings: dict[str, Value] = {
            MODE: SELF_CONSUMPTION,
            MIN_SOC: _FIRST_MIN_SOC,
            CHARGE_LIMIT: round(plant.max_charge),
        }
        self.setpoint = 0.0
        """Battery power in external control, W, + = charging."""
        self.writes = 0
        self._renewed_at = -math.inf
        self._before = dict.fromkeys(TOTALS, _FIRST_TOTAL)
        """The counters when the house was made, kWh."""
        plant.controller = self._control
        plant.run()

    @classmethod
    def shared(
        cls, serial_number: str, size: Size, local_time: Callable[[], datetime]
    ) -> SimulatedDevice:
        """Return the device of a serial number, made if there is none, of this size."""
        device = cls._by_serial_number.get(serial_number)
        if device is None:
            device = cls._after_a_day(serial_number, size, local_time())
            device.install()
        device.resize(size)
        device.local_time = local_time
        return device

    @classmethod
    def _after_a_day(cls, serial_number: str, size: Size, now: datetime) -> Self:
        """Return a new device that has run for a day, and counts from now on."""
        plant = Plant(time_of_day=_hour_of(now))
        device = cls(serial_number, plant)
        device.resize(size)
        plant.pass_hours(_HOURS_BEFORE)
        plant.counters = Counters()
        return device

    def install(self) -> None:
        """Have batteries with its serial number reach it."""
        self._by_serial_number[self.serial_number] = self

    def remove(self) -> None:
        """Have no battery reach it any more."""
        self._by_serial_number.pop(self.serial_number, None)

    def resize(self, size: Size) -> None:
        """Change the size of the battery and of the house; its SOC stays.

        So does the limit of charging, unless it was none or there cannot be more.
        """
        plant, limit = self.plant, self.settings[CHARGE_LIMIT]
        if (
            limit == round(plant.max_charge)
            or (as_number(limit) or 0) > size.rated_power
        ):
            self.settings[CHARGE_LIMIT] = size.rated_power
        plant.capacity = 1000 * size.battery_capacity
        plant.max_charge = plant.max_discharge = size.rated_power
        plant.pv_peak, plant.mean_load = size.pv_peak, size.mean_load

    def run(self) -> None:
        """Bring the house up to the present, and to the hour of the day that it is."""
        self.plant.run()
        self.plant.time_of_day = _hour_of(self.local_time())

    # Settings and setpoint

    @property
    def mode(self) -> Value:
        """The working mode."""
        return self.settings[MODE]

    def write(self, key: str, value: Value) -> None:
        """Change a setting."""
        self.settings[key] = value
        self._take_effect()

    def hold(self, power: float) -> None:
        """Follow a setpoint, W, + = charging, from now on, or go on with it."""
        self.settings[MODE] = EXTERNAL_CONTROL
        self.setpoint, self._renewed_at = power, self.plant.clock()
        self._take_effect()

    def _take_effect(self) -> None:
        self.writes += 1
        self.plant.run()

    def _control(self, now: float) -> None:
        """Give the house the limits and the command of this moment."""
        plant, settings = self.plant, self.settings
        limit, floor = settings[CHARGE_LIMIT], settings[MIN_SOC]
        plant.may_charge = limit if isinstance(limit, float | int) else math.inf
        is_empty = isinstance(floor, float | int) and plant.soc <= floor
        plant.may_discharge = 0.0 if is_empty else math.inf
        plant.command = self._command(now)

    def _command(self, now: float) -> Command:
        if self.mode == IDLE:
            return BatteryPower(0.0)
        is_renewed = now - self._renewed_at < FORGETS_AFTER
        if self.mode == EXTERNAL_CONTROL and is_renewed:
            return BatteryPower(self.setpoint)
        return Automatic()

    # Counters

    def total(self, key: str) -> float:
        """Return a counter of `TOTALS`, kWh."""
        counted = TOTALS[key](self.plant.counters) / 1000
        return round(self._before[key] + counted, 3)

    def resume(self, key: str, total: float) -> None:
        """Let a counter go on from a total, kWh, unless it is beyond that.

        A real device keeps its counters while it is off.
        """
        self._before[key] += max(0.0, total - self.total(key))


def new_serial_number() -> str:
    """Return the serial number of a device to be made."""
    return f"SIM-{secrets.token_hex(2).upper()}"


def _hour_of(now: datetime) -> float:
    """Return the hour of the day, 0…24."""
    return now.hour + now.minute / 60 + now.second / 3600
