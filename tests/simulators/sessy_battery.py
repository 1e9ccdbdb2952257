"""A Sessy battery without its dongle: strategies, settings, and their effect.

Signs are the device's own: power and setpoint positive = discharging.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from homebattery.simulated.plant import HOLD, Automatic, InverterPower, Plant

type Firmware = Literal["old", "new"]
type Json = dict[str, Any]

API: Final = "API"
PREFIX: Final = "POWER_STRATEGY_"
STRATEGIES: Final[Mapping[Firmware, tuple[str, ...]]] = {
    "old": ("NOM", "ROI", API, "IDLE", "SESSY_CONNECT"),
    "new": ("NOM", "ROI", API, "IDLE", "SESSY_CONNECT", "ECO"),
}
MOST_WATTS: Final = 2200
MOST_DC_AMPS: Final = 37.5  # the true bound of discharging

# The dynamic strategy's plan: from hour, to hour, W.
SCHEDULE: Final = ((2, 5, -MOST_WATTS), (13, 15, -1000), (17, 21, 1700))
ECO_STARTS_AT: Final = 1  # o'clock

SETTINGS: Final[Mapping[str, Any]] = {
    "p1_hostname": "192.168.1.20",
    "pv_hostname": "192.168.1.21",
    "group_current": 16,
    "phase_current": 25,
    "group_sessys": 1,
    "phase_sessys": 1,
    "total_sessys": 1,
    "active_phase": 1,
    "min_power": 50,
    "max_power": MOST_WATTS,
    "enabled_time": "00:00-23:59",
}
SETTINGS_NEW: Final[Mapping[str, Any]] = {
    "disable_noise_level": False,
    "allowed_noise_level": 5,
    "sessy_enabled": True,
    "cloud_enabled": True,
    "eco_charge_hours": 4,
    "eco_charge_power": 1500,
    "eco_nom_charge": False,
    "pack_temp_limit_enabled": False,
    "min_soc": 0,
}


class SessyBattery:
    """The battery. Call `update()` before reading."""

    def __init__(
        self, plant: Plant, *, firmware: Firmware, strategy: str, start_delay: float
    ) -> None:
        """Start in the house."""
        self.plant = plant
        self.firmware = firmware
        self.strategy = strategy
        self.start_delay = start_delay
        self.setpoint = 0
        """Setpoint of the API strategy, W; it stays while others run."""
        self.settings: Json = {
            **SETTINGS,
            **(SETTINGS_NEW if firmware == "new" else {}),
        }
        self.override: float | None = None
        """Power that the supplier makes the battery run at, W."""
        self.stuck = False
        """Whether setpoints are accepted and not followed."""
        self._awake_at = 0.0
        self._wanted = False
        plant.controller = self._control
        plant.run()

    def update(self) -> None:
        """Run the house up to the present."""
        self.plant.run()

    @property
    def power(self) -> float:
        """AC power, W."""
        return -sum(self.plant.inverter)

    @property
    def power_setpoint(self) -> int:
        """Power that the battery is trying to reach, W."""
        return self.setpoint if self.strategy == API else round(self.power)

    @property
    def system_state(self) -> str:
        """The state in the device's words, without prefix."""
        if abs(self.power) >= 1:
            return "RUNNING_SAFE"
        if self._wanted and self.plant.clock() < self._awake_at:
            return "WAITING_FOR_SAFE_SITUATION"
        if self.plant.soc >= 100:
            return "BATTERY_FULL"
        return "BATTERY_EMPTY" if self.plant.soc <= self._min_soc else "STANDBY"

    @property
    def _min_soc(self) -> float:
        return float(self.settings.get("min_soc", 0))

    def scheduled(self, hour: float) -> int:
        """Return the dynamic strategy's power at an hour of the day, W."""
        return next((watts for start, end, watts in SCHEDULE if start <= hour < end), 0)

    def _control(self, now: float) -> None:
        plant = self.plant
        limit = float(self.settings.get("max_power", MOST_WATTS))
        plant.may_charge = limit
        plant.may_discharge = min(limit, MOST_DC_AMPS * plant.voltage)
        if plant.soc <= self._min_soc:
            plant.may_discharge = 0.0
        plant.dead_band = float(self.settings.get("min_power", 0))
        plant.command = self._awake(now, self._command())

    def _command(self) -> Automatic | InverterPower:
        """Return the command of the present strategy."""
        if self.override is not None:
            return self._run_at(self.override)
        if self.stuck or not self.settings.get("sessy_enabled", True):
            return HOLD
        match self.strategy:
            case "API":
                return self._run_at(self.setpoint)
            case "NOM":
                return Automatic(self.plant.grid_target)
            case "ROI":
                return self._run_at(self.scheduled(self.plant.hour))
            case "ECO":
                return self._eco()
            case _:
                return HOLD

    def _eco(self) -> Automatic | InverterPower:
        """Return the eco command: charge in cheap hours, else keep the grid at zero."""
        hours = self.settings.get("eco_charge_hours", 0)
        if ECO_STARTS_AT <= self.plant.hour < ECO_STARTS_AT + hours:
            return self._run_at(-self.settings.get("eco_charge_power", 0))
        return Automatic(self.plant.grid_target)

    def _run_at(self, power: float) -> InverterPower:
        # Below its least power the battery does not start: as with the hold command.
        if abs(power) < self.settings.get("min_power", 0):
            return HOLD
        return InverterPower((-power,))

    def _awake(
        self, now: float, command: Automatic | InverterPower
    ) -> Automatic | InverterPower:
        """Return the command, or hold while the battery still wakes from standby."""
        wanted = command != HOLD
        if wanted and not self._wanted:
            self._awake_at = now + self.start_delay
        self._wanted = wanted
        return HOLD if now < self._awake_at else command
