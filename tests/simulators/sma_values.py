"""Values of a Sunny Island by the names of their registers (None: not available)."""

from typing import Final

from .sma_inverter import SunnyIsland
from .sma_registers import Tag
from .words import Value, Values

NOMINAL_VOLTS: Final = 51.2
IDLE_WATTS: Final = 30.0
COUNTED_BEFORE: Final = 1_000_000.0
"""Lifetime counters at the start of the simulation, Wh."""
RELEASE_TYPES: Final = "NEABRS"
POWERS: Final = frozenset(
    (
        *("power", "power_1", "power_2", "power_3", "load", "drawn", "fed_in", "pv"),
        *("charge_power", "discharge_power", "charged", "discharged"),
        *("current_1", "current_2", "current_3", "battery_status"),
    )
)
"""Values that a device in standby does not report."""


def firmware_word(version: str) -> int:
    """Return the word of 3.20.9.R: two BCD bytes, a binary one, release type."""
    major, minor, build, release = version.split(".")
    return (
        int(major, 16) << 24
        | int(minor, 16) << 16
        | int(build) << 8
        | RELEASE_TYPES.index(release)
    )


class SunnyIslandValues:
    """The device's values."""

    def __init__(
        self, device: SunnyIsland, *, model: int, serial: int, firmware: str
    ) -> None:
        """Take over the device."""
        self.device = device
        self.model = model
        self.serial = serial
        self.firmware = firmware_word(firmware)
        self.health: int | None = None
        """A health that an experiment fixes; None: as it is."""
        self.in_standby = False
        self.current_is_reversed = False
        self.rated_charge_is_negative = False

    def now(self) -> Values:
        """Return everything that can be measured or read back."""
        values = {
            **self.device.settings,
            **self._identity(),
            **self._state(),
            **self._ac(),
            **self._battery(),
            **self._energies(),
        }
        if self.in_standby:
            values |= dict.fromkeys(POWERS)
        return values

    def _identity(self) -> dict[str, Value]:
        device, plant = self.device, self.device.plant
        rated = device.rated_power
        slaves = [self.serial + number for number in range(1, device.devices)]
        return {
            "device_class": Tag.BATTERY_INVERTER,
            "model": self.model,
            "vendor": Tag.SMA,
            "serial": self.serial,
            "serial_2": slaves[0] if slaves else None,
            "serial_3": slaves[1] if slaves[1:] else None,
            "firmware": self.firmware,
            "rated_power": rated,
            "rated_charge": -rated if self.rated_charge_is_negative else rated,
            "power_limit": rated,
            "capacity": plant.capacity,
            "capacity_ah": plant.capacity / NOMINAL_VOLTS,
            "battery_type": Tag.LITHIUM,
            "max_charge": plant.max_charge,
            "max_discharge": plant.max_discharge,
        }

    def _state(self) -> dict[str, Value]:
        device, plant = self.device, self.device.plant
        lost = plant.grid_lost
        health = self.health_now
        return {
            "wait_until_feed_in": 0,
            "health": health,
            **{f"health_{number + 1}": health for number in range(device.devices)},
            "action": Tag.NO_ACTION,
            "message": Tag.NO_MESSAGE,
            "fix": Tag.NO_FIX,
            "event": 0,
            "backup_status": Tag.BACKUP if lost else Tag.MAINS,
            "grid_status": Tag.SEPARATED if lost else Tag.PUBLIC_GRID,
            "min_soc": device.min_soc,
            "usage_area": Tag.SELF_USE if plant.soc > device.min_soc else Tag.CONSERVE,
            "charge_control": device.charge_control,
            "operating_status": device.status,
            "run_state": Tag.ACTIVE if device.is_running else Tag.STANDBY,
        }

    @property
    def health_now(self) -> int:
        """The device's health."""
        if self.health is not None:
            return self.health
        return Tag.OK if self.device.is_running else Tag.OFF

    def _ac(self) -> dict[str, Value]:
        device, plant = self.device, self.device.plant
        grid = sum(plant.grid)
        volts = [230.0 if plant.grid_lost and v == 0 else v for v in plant.mains]
        values: dict[str, Value] = {
            "power": device.output,
            "frequency": plant.frequency or 50.0,
            "load": sum(plant.load) if device.meter else None,
            "drawn": max(0.0, grid) if device.meter else None,
            "fed_in": max(0.0, -grid) if device.meter else None,
            "pv": plant.pv if device.meter and plant.pv_peak else None,
        }
        for number, phase in enumerate(plant.inverter_phases, 1):
            output = -plant.inverter[phase]
            values[f"power_{number}"] = output
            values[f"reactive_{number}"] = 0
            values[f"voltage_{number}"] = volts[phase]
            values[f"current_{number}"] = output / volts[phase]
        return values

    def _battery(self) -> dict[str, Value]:
        plant = self.device.plant
        power = plant.battery
        status = Tag.CHARGING if power > 0 else Tag.DISCHARGING
        sign = 1 if self.current_is_reversed else -1
        return {
            "soc": plant.soc,
            "present_capacity": 98,
            "temperature": 21.4,
            "battery_voltage": plant.voltage,
            "battery_current": sign * plant.current,
            "battery_status": status if abs(power) >= IDLE_WATTS else None,
            "charge_power": max(0.0, power),
            "discharge_power": max(0.0, -power),
        }

    def _energies(self) -> dict[str, Value]:
        device = self.device
        energies, counters = device.energies, device.plant.counters
        values: dict[str, Value] = {
            "absorbed": COUNTED_BEFORE + energies.absorbed,
            "released": COUNTED_BEFORE + energies.released,
            "charged": COUNTED_BEFORE + counters.charged,
            "discharged": COUNTED_BEFORE + counters.discharged,
        }
        if device.meter:
            values |= {
                "imported": COUNTED_BEFORE + sum(counters.imported),
                "exported": COUNTED_BEFORE + sum(counters.exported),
                "imported_today": energies.imported_today,
                "exported_today": energies.exported_today,
            }
        return values
