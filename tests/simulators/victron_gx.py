"""A Victron GX device and its MultiPlus with the ESS assistant, without any Modbus.

Values live in services under paths, as on the device's D-Bus. Power at the AC input and
setpoints: positive = from the grid into the inverter.
"""

from collections.abc import Mapping
import math
from typing import Final, Literal

from homebattery.simulated.plant import (
    HOLD,
    Automatic,
    BatteryPower,
    InverterPower,
    Plant,
)

from .victron_battery_life import (
    ACTIVE_LIMIT,
    GUARD_DEFAULT,
    KEEP_CHARGED,
    MIN_SOC,
    STATE as LIFE_STATE,
    BatteryLife,
)
from .victron_registers import Value

type BatteryKind = Literal["bms", "shunt", "none"]

EXTERNAL: Final = 3  # ESS mode: an outside controller writes the setpoints
ON: Final = 3  # switch positions
OFF: Final = 4
PASSTHRU: Final = 8  # states
INVERTING: Final = 9
EXTERNAL_CONTROL: Final = 252
NO_INPUT: Final = 240
GRID: Final = 1  # what feeds the AC input
GENERATOR: Final = 2
SUSTAINING: Final = 244
OUTPUT_VOLTS: Final = 230.0
IDLE_WATTS: Final = 30.0
CELLS: Final = 16

MODE: Final = "/Settings/CGwacs/Hub4Mode"
GRID_SETPOINT: Final = "/Settings/CGwacs/AcPowerSetPoint"
MAX_DISCHARGE: Final = "/Settings/CGwacs/MaxDischargePower"
MAX_FEED_IN: Final = "/Settings/CGwacs/MaxFeedInPower"
MAX_CHARGE_CURRENT: Final = "/Settings/SystemSetup/MaxChargeCurrent"
SETPOINTS: Final = tuple(f"/Hub4/L{phase}/AcPowerSetpoint" for phase in (1, 2, 3))
SOC: Final = "/Soc"
NO_CHARGE: Final = "/Hub4/DisableCharge"
NO_FEED_IN: Final = "/Hub4/DisableFeedIn"
OVERRIDE: Final = "/Overrides/Setpoint"

SETTINGS: Final[Mapping[str, float]] = {
    GRID_SETPOINT: 50,
    "/Settings/CGwacs/MaxChargePercentage": 100,
    "/Settings/CGwacs/MaxDischargePercentage": 100,
    MAX_DISCHARGE: -1,
    MAX_CHARGE_CURRENT: -1,
    MAX_FEED_IN: -1,
    "/Settings/CGwacs/OvervoltageFeedIn": 0,
    "/Settings/CGwacs/PreventFeedback": 0,
    "/Settings/SystemSetup/MaxChargeVoltage": 0,
    "/Settings/SystemSetup/AcInput1": 1,
    "/Settings/SystemSetup/AcInput2": 0,
    "/Settings/CGwacs/AcExportLimit": -1,
    "/Settings/CGwacs/AcInputLimit": -1,
    "/Settings/CGwacs/AlwaysPeakShave": 0,
    "/Settings/CGwacs/RunWithoutGridMeter": 0,
    LIFE_STATE: GUARD_DEFAULT,
    MIN_SOC: 10,
    ACTIVE_LIMIT: 10,
    MODE: 1,
}

SETTING_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    MAX_DISCHARGE: (-1, 1_000_000),
    MAX_CHARGE_CURRENT: (-1, 10_000),
    MIN_SOC: (0, 100),
    GRID_SETPOINT: (-1_000_000, 1_000_000),
}
"""Settings whose range is known: a value outside is answered well, and not taken."""
CURRENT_LIMIT: Final = "/Ac/ActiveIn/CurrentLimit"
MOST_INPUT_AMPS: Final = 32.0
"""A higher limit of the input current becomes this one, that of its transfer switch."""

# Energy counters of the inverter: the ports between which they count.
FLOWS: Final = {
    "AcIn1ToAcOut": ("in", "out"),
    "AcIn1ToInverter": ("in", "battery"),
    "InverterToAcOut": ("battery", "out"),
    "InverterToAcIn1": ("battery", "in"),
    "OutToInverter": ("out", "battery"),
    "AcOutToAcIn1": ("out", "in"),
}


class Gx:
    """The device. Call `update()` before reading; write with `write()`."""

    def __init__(
        self,
        plant: Plant,
        *,
        battery: BatteryKind,
        critical_share: float,
        pv_on_output: bool,
        dynamic_ess: bool,
        watchdog: float,
        serial: str,
        settings: Mapping[str, float],
    ) -> None:
        """Start in the house."""
        self.plant = plant
        self.battery = battery
        self.is_rs = False
        """Whether a Multi RS stands where a MultiPlus would."""
        self.critical_share = critical_share
        self.pv_on_output = pv_on_output
        self.dynamic_ess = dynamic_ess
        self.watchdog = watchdog
        self.serial = serial

        self.settings: dict[str, float] = {**SETTINGS, **settings}
        self.hub4: dict[str, float] = {OVERRIDE: 0}
        self.relay: dict[str, float] = {"/Relay/0/State": 0}
        self.battery_relay: dict[str, float] = (
            dict(self.relay) if battery == "shunt" else {}
        )
        self.vebus: dict[str, float] = {
            **dict.fromkeys(SETPOINTS[: plant.phases], 0.0),
            NO_CHARGE: 0,
            NO_FEED_IN: 0,
            "/Mode": ON,
            CURRENT_LIMIT: 25.0,
            "/PvInverter/Disable": 0,
            "/Hub4/DoNotFeedInOvervoltage": 0,
            "/Hub4/TargetPowerIsMaxFeedIn": 0,
            "/SystemReset": 0,
            "/RedetectSystem": 0,
        }
        """Writable values of the VE.Bus service."""
        self.custom_name = "MultiPlus-II"
        self.alarms: dict[tuple[str, str], int] = {}
        """(service, path) → 1 (warning) or 2 (alarm)."""

        self.max_charge_current = 100.0  # A, as the BMS says
        self.max_discharge_current = 100.0
        self.apply_delay: dict[str, float] = {}
        """Service → seconds until a write takes effect after it was answered."""
        self.loop_lag = 0.0
        """Seconds after the entry of mode 3 at which the GX loop's last setpoint
        arrives; 0: never."""
        self.ignore_writes = False
        self.idle = False
        """Whether the inverter rests in ESS mode 3, whatever its setpoint."""
        self.knows_soc = True
        """Whether anything counts the charge of the battery."""

        self.flash_writes: dict[str, int] = {}
        """Number of writes of each setting."""
        self.bms_exceeded = False
        """Whether more was ever taken from the battery than its BMS allowed."""
        self.lapsed = False
        """Whether the setpoint was not renewed in time."""
        self.flows = dict.fromkeys(FLOWS, 0.0)
        """Energies between the ports of the inverter, kWh."""
        self.source = GRID
        """The source at the AC input."""
        self.sustain = False
        """Whether the battery voltage was too low, so that it is only sustained."""
        self.battery_life = BatteryLife(self.settings)
        self._renewed = plant.clock()
        self._pending: list[tuple[float, str, str, float]] = []

        plant.output_share = critical_share
        plant.controller = self._control
        plant.observer = self._observe
        plant.run()

    def update(self) -> None:
        """Run the house up to the present."""
        self.plant.run()

    # Writing.

    def write(self, service: str, path: str, value: Value) -> None:
        """Take a value; it may take effect later."""
        if path == "/CustomName":
            self.custom_name = str(value)
            return
        if self.ignore_writes or not isinstance(value, (int, float)):
            return
        least, most = SETTING_RANGES.get(path, (-math.inf, math.inf))
        if not least <= value <= most:
            return
        if path == CURRENT_LIMIT:
            value = min(value, MOST_INPUT_AMPS)
        due = self.plant.clock() + self.apply_delay.get(service, 0.0)
        self._pending.append((due, service, path, value))
        self.update()

    def stored(self, service: str) -> dict[str, float]:
        """Return the writable paths of a service, and their values."""
        return {
            "system": self.relay,
            "settings": self.settings,
            "hub4": self.hub4,
            "vebus": self.vebus,
            "battery": self.battery_relay,
        }[service]

    def restart(self) -> None:
        """Restart: only settings are kept, and there is no setpoint.

        Until a setpoint is written, ESS mode 3 rests, as it does when one has lapsed.
        """
        self._pending.clear()
        self.hub4[OVERRIDE] = 0
        self.flows = dict.fromkeys(FLOWS, 0.0)
        self._lapse()
        self.update()

    def _lapse(self) -> None:
        self.lapsed = True
        self.vebus.update(dict.fromkeys(SETPOINTS[: self.plant.phases], 0.0))
        self.vebus[NO_CHARGE] = self.vebus[NO_FEED_IN] = 0

    def _apply_pending(self, now: float) -> None:
        due = [entry for entry in self._pending if entry[0] <= now]
        self._pending = [entry for entry in self._pending if entry[0] > now]
        for _, service, path, value in due:
            self._apply(now, service, path, value)

    def _apply(self, now: float, service: str, path: str, value: float) -> None:
        if service == "settings":
            self.flash_writes[path] = self.flash_writes.get(path, 0) + 1
        if path == MODE and value == EXTERNAL and self.settings[MODE] != EXTERNAL:
            self._leave_loop(now)
        self.stored(service)[path] = value
        if path in SETPOINTS:
            self._renewed = now
            self.lapsed = False

    def _leave_loop(self, now: float) -> None:
        """Stop the GX loop. Its last setpoint stays, or even arrives a little later."""
        self._renewed = now
        self.lapsed = False
        if self.loop_lag:
            self._pending += [
                (now + self.loop_lag, "vebus", path, self.vebus[path])
                for path in SETPOINTS[: self.plant.phases]
            ]

    # Deciding.

    @property
    def external(self) -> bool:
        """Return True while an outside controller is in charge."""
        return self.settings[MODE] == EXTERNAL

    @property
    def passthru(self) -> bool:
        """Return True while the inverter rests and the grid feeds the output."""
        if self.vebus["/Mode"] == OFF or not self.external:
            return False
        no_charge, no_feed_in = self.vebus[NO_CHARGE], self.vebus[NO_FEED_IN]
        charging = sum(self._setpoints()) > 0
        return bool(self.lapsed or (no_charge and (no_feed_in or charging)))

    def _setpoints(self) -> list[float]:
        return [self.vebus[path] for path in SETPOINTS[: self.plant.phases]]

    def _control(self, now: float) -> None:
        """Set the house's power by the present command."""
        self._apply_pending(now)
        plant = self.plant
        self.battery_life.run(plant.soc, sustain=self.sustain)
        limit = self.settings[MAX_CHARGE_CURRENT]
        current = math.inf if limit < 0 else limit
        if self.battery == "bms":
            current = min(current, self.max_charge_current)
        plant.may_charge = current * plant.voltage
        if self.vebus["/Mode"] == OFF or (self.external and self.idle):
            plant.command = HOLD
        elif self.external:
            self._follow_setpoints(now)
        else:
            self._loop()
        if plant.grid_lost:
            plant.may_discharge = (
                math.inf
            )  # the inverter then feeds its output in any case

    def _follow_setpoints(self, now: float) -> None:
        """Follow ESS mode 3, which ignores min SOC and the BMS' discharge current."""
        if not self.lapsed and now - self._renewed >= self.watchdog:
            self._lapse()
        plant = self.plant
        plant.may_discharge = math.inf
        if self.passthru:
            plant.command = HOLD
            return
        powers = []
        for phase, setpoint in enumerate(self._setpoints()):
            at_input = max(0.0, setpoint) if self.vebus[NO_FEED_IN] else setpoint
            most = self.vebus[CURRENT_LIMIT] * plant.mains[phase]
            power = min(at_input, most) - self.output(phase)
            powers.append(min(0.0, power) if self.vebus[NO_CHARGE] else power)
        plant.command = InverterPower(tuple(powers))

    def _loop(self) -> None:
        """Keep the grid at its setpoint: ESS modes 1 and 2.

        The disable flags are not the loop's: values left in them stay, and count.
        """
        plant = self.plant
        # It keeps its battery charged while a generator runs.
        rests = self.battery_life.rests or self.sustain or self.source == GENERATOR
        plant.may_discharge = 0.0 if rests else self._discharge_limit()
        if self.vebus[NO_FEED_IN]:
            plant.may_discharge = min(
                plant.may_discharge, sum(map(self.output, range(plant.phases)))
            )
        if self.vebus[NO_CHARGE]:
            plant.may_charge = 0.0
        if self.settings[LIFE_STATE] == KEEP_CHARGED:
            plant.command = BatteryPower(plant.max_charge)
        else:
            # An override of 0 gives way to the setting.
            setpoint = self.hub4[OVERRIDE] or self.settings[GRID_SETPOINT]
            if (feed_in := self.settings[MAX_FEED_IN]) >= 0:
                setpoint = max(setpoint, -feed_in)
            plant.command = Automatic(setpoint, per_phase=self.settings[MODE] == 2)
        for phase, path in enumerate(SETPOINTS[: plant.phases]):
            self.vebus[path] = float(round(self.input(phase)))

    def _discharge_limit(self) -> float:
        limit = self.settings[MAX_DISCHARGE]
        power = math.inf if limit < 0 else limit
        if self.battery == "bms":
            power = min(power, self.max_discharge_current * self.plant.voltage)
        return power

    # Measuring.

    def output(self, phase: int) -> float:
        """Return the power to the AC output; negative with solar power from there."""
        plant = self.plant
        share = 1.0 if plant.grid_lost else self.critical_share
        return plant.load[phase] * share - (
            plant.pv_ac[phase] if self.pv_on_output else 0.0
        )

    def input(self, phase: int) -> float:
        """Return the power at the AC input; positive = from the grid."""
        if self.plant.grid_lost:
            return 0.0
        return self.plant.inverter[phase] + self.output(phase)

    def _observe(self, hours: float) -> None:
        """Count the inverter's energies."""
        plant = self.plant
        allowed = self.max_discharge_current * plant.voltage
        if self.battery == "bms" and plant.battery < -1.02 * allowed - 1:
            self.bms_exceeded = True
        for phase in range(plant.phases):
            given = {
                "in": self.input(phase),
                "out": -self.output(phase),
                "battery": -plant.inverter[phase],
            }
            for flow, (source, target) in FLOWS.items():
                power = max(0.0, min(given[source], -given[target]))
                given[source] -= power
                given[target] += power
                self.flows[flow] += power * hours / 1000
