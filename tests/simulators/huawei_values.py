"""Values of a SUN2000 and of gateways in front of it, by their registers' names."""

from collections.abc import Iterator
from typing import Final

from .huawei_inverter import Command, Sun2000
from .huawei_registers import ALARMS, PACKS
from .words import Value, Values

BUS_RATIO: Final = 8.5
"""Ratio of the DC bus voltage to that of the house's battery."""
IDLE_WATTS: Final = 30.0
COUNTED_BEFORE: Final = 1000.0
"""Lifetime counters at the start of the simulation, kWh."""
UNSEEN_WATTS: Final = 660.0
"""Load that an EMMA did not see where storage of another maker fed the house."""
TIME_ZONE: Final = 60  # min
STARTED: Final = 1_789_970_000 + 60 * TIME_ZONE
"""Seconds from 1970 on by its clock, which is set to the time zone."""
REACTIVE_ENERGY: Final = -123.45  # kvarh
PACK_STATUS: Final = 0x0202
STRINGS: Final = ((0.55, 400.0), (0.45, 380.0))  # share of the power, V
DARK_VOLTS: Final = 35.0
UNSEEN_STRING_WATTS: Final = 100.0
"""Power below which the current of a string reads 0, about."""

BATTERY_STATUS: Final = {
    "offline": 0,
    "standby": 1,
    "running": 2,
    "fault": 3,
    "asleep": 4,
}
ACTIVE_MODE: Final = {0: 4, 1: 3, 2: 4, 3: 2, 4: 5, 5: 6}
"""Working mode → active mode; that of the adaptive mode is uncertain."""
FORCED: Final = 1

# Device states.
GRID_DETECTING: Final = 0x0003
ON_GRID: Final = 0x0200
POWER_LIMITED: Final = 0x0201
OFF_GRID: Final = 0x0203
SHUT_DOWN: Final = 0x0301
NO_IRRADIATION: Final = 0xA000

# Bits of state 1.
STANDBY_BIT: Final = 1
ON_GRID_BITS: Final = 0b110
SHUT_DOWN_BIT: Final = 1 << 8
GRID_LOSS_ALARM: Final = 2032


class Sun2000Values:
    """The device's values."""

    def __init__(self, device: Sun2000, identity: Values, packs: int) -> None:
        """Take over the device; every battery unit has this many packs."""
        self.device = device
        self.identity = identity
        self.packs = packs
        self.alarms: set[int] = set()
        """Ids of raised alarms."""
        self.status: int | None = None
        """A device state that an experiment fixes."""
        self.shows_remaining = True
        self.exported_is_negative = False
        self.totals_are_zero = False

    def now(self) -> Values:
        """Return all measurements, without settings."""
        values = {**self.identity, **self._inverter(), **self._meter()}
        if self.device.battery_units:
            values |= self._battery()
        if self.totals_are_zero:
            for name in ("yield_total", "pv_total", "charged", "discharged"):
                values[name] = 0
        return values

    # The inverter.

    def _inverter(self) -> dict[str, Value]:
        device, plant = self.device, self.device.plant
        energies = device.energies
        power = device.active_power
        status = self.device_status
        return {
            "local_time": int(plant.unix_time) + 60 * TIME_ZONE,
            "time_zone": TIME_ZONE,
            "daylight_saving": 0,
            "product_1": 2 if device.battery_units else 0,
            "product_2": 2 if device.battery_units > 1 else 0,
            "state_1": self._state_1(status),
            "state_2": 0b111 if plant.sun_dc else 0b101,
            "state_3": int(device.is_off_grid),
            **self._alarm_words(),
            **self._strings(),
            **self._phases(),
            "pv_power": plant.pv_dc,
            "peak_today": energies.peak_today,
            "active_power": power,
            "reactive_power": 0,
            "power_factor": 1,
            "frequency": plant.frequency or (50.0 if device.is_off_grid else 0.0),
            "efficiency": 100 * plant.efficiency,
            "temperature": 43.5,
            "insulation": 3,
            "device_status": status,
            "fault_code": 0,
            "start_time": STARTED,
            "yield_total": COUNTED_BEFORE + energies.output / 1000,
            "yield_hour": energies.this_hour / 1000,
            "yield_today": energies.output_today / 1000,
            "yield_month": 100 + energies.output / 1000,
            "yield_year": 500 + energies.output / 1000,
            "pv_total": COUNTED_BEFORE + energies.pv / 1000,
            "tracker_1_total": COUNTED_BEFORE / 2 + energies.pv / 2000,
            "tracker_2_total": COUNTED_BEFORE / 2 + energies.pv / 2000,
            "bus_voltage": 620,
        }

    @property
    def device_status(self) -> int:
        """Return the device's state."""
        device, plant = self.device, self.device.plant
        if self.status is not None:
            return self.status
        if not device.running:
            return SHUT_DOWN
        if plant.grid_lost:
            return OFF_GRID if device.backup else GRID_DETECTING
        if plant.sun_dc < IDLE_WATTS and abs(device.active_power) < IDLE_WATTS:
            return NO_IRRADIATION
        return POWER_LIMITED if device.curtailing else ON_GRID

    def _state_1(self, status: int) -> int:
        if status in (ON_GRID, POWER_LIMITED):
            return ON_GRID_BITS
        return SHUT_DOWN_BIT if status == SHUT_DOWN else STANDBY_BIT

    def _alarm_words(self) -> dict[str, Value]:
        raised = set(self.alarms)
        if self.device.plant.grid_lost:
            raised.add(GRID_LOSS_ALARM)
        return {
            name: sum(1 << bit for bit, alarm in enumerate(ids) if alarm in raised)
            for name, ids in ALARMS.items()
        }

    def _strings(self) -> dict[str, Value]:
        plant = self.device.plant
        values: dict[str, Value] = {}
        for number, (share, volts) in enumerate(STRINGS, 1):
            lit = plant.sun_dc > 0
            values[f"string_{number}_voltage"] = volts if lit else DARK_VOLTS
            watts = share * plant.pv_dc
            seen = watts if watts >= UNSEEN_STRING_WATTS else 0.0
            values[f"string_{number}_current"] = seen / volts
        return values

    def _phases(self) -> dict[str, Value]:
        """Return the measurements of the inverter's phases.

        With a single phase, the register of the line voltage has the phase voltage, and
        those of the phase voltages have no meaning.
        """
        plant = self.device.plant
        volts, phases = plant.mains, plant.inverter_phases
        values: dict[str, Value] = {}
        if len(phases) == 1:
            at = volts[phases[0]]
            values |= {"line_voltage_1": at, "line_voltage_2": 0, "line_voltage_3": 0}
            values |= {"phase_voltage_1": at / 2, "phase_voltage_2": 0.2}
            values |= {"phase_voltage_3": 0}
        else:
            values |= _line_voltages("line_voltage", volts)
            values |= {f"phase_voltage_{phase + 1}": volts[phase] for phase in range(3)}
        for number in range(3):
            phase = phases[number] if number < len(phases) else None
            current = 0.0
            if phase is not None and volts[phase]:
                current = abs(plant.inverter[phase]) / volts[phase]
            values[f"phase_current_{number + 1}"] = current
        return values

    # The meter.

    @property
    def meter_is_online(self) -> bool:
        """Return True if the meter answers the inverter."""
        device = self.device
        return device.meter == "present" and not device.plant.grid_lost

    def _meter(self) -> dict[str, Value]:
        """Return the values of the inverter's meter. Offline, all are 0."""
        values = self.grid()
        if not self.meter_is_online:
            values = dict.fromkeys(values, 0)
        return {**values, "meter_match": 1}

    def grid(self) -> dict[str, Value]:
        """Return what a meter measures at the grid: export is positive.

        A single-phase meter leaves the powers of the phases without a value.
        """
        plant = self.device.plant
        power = -sum(plant.grid)
        exported = COUNTED_BEFORE + sum(plant.counters.exported) / 1000
        values: dict[str, Value] = {
            "meter_status": 1,
            "export_power": power,
            "meter_reactive": 0,
            "meter_power_factor": 1,
            "meter_frequency": plant.frequency,
            "exported": -exported if self.exported_is_negative else exported,
            "imported": COUNTED_BEFORE + sum(plant.counters.imported) / 1000,
            "meter_reactive_total": REACTIVE_ENERGY,
            "meter_type": int(plant.phases > 1),
            **_line_voltages("meter_line_voltage", plant.mains),
        }
        for phase, volts in enumerate(plant.mains):
            watts = -plant.grid[phase]
            values[f"meter_voltage_{phase + 1}"] = volts
            values[f"meter_current_{phase + 1}"] = watts / volts if volts else 0
            values[f"export_power_{phase + 1}"] = watts if plant.phases > 1 else None
        return values

    # The batteries.

    @property
    def battery_status(self) -> str:
        """The state of the batteries."""
        device = self.device
        if device.battery_status is not None:
            return device.battery_status
        return "running" if abs(device.plant.battery) >= IDLE_WATTS else "standby"

    @property
    def active_mode(self) -> int:
        """The mode that controls the batteries."""
        device = self.device
        if device.forcible != Command.STOP:
            return FORCED
        return ACTIVE_MODE[int(device.number("working_mode"))]

    def _battery(self) -> dict[str, Value]:
        device, plant = self.device, self.device.plant
        units, status = device.battery_units, self.battery_status
        volts = BUS_RATIO * plant.voltage
        measured: dict[str, Value] = {
            "battery_soc": plant.soc,
            "battery_voltage": volts,
            "battery_temperature": 27.4,
            "battery_power": plant.battery,
            "battery_current": plant.battery / volts,
            "unit_power": plant.battery / units,
            "unit_current": plant.battery / volts / units,
            "pack_power": plant.battery / units / self.packs,
            "pack_current": plant.battery / volts / units,
            "pack_voltage": volts,
            "charged_today": device.energies.charged_today / 1000,
            "discharged_today": device.energies.discharged_today / 1000,
            "unit_charged_today": device.energies.charged_today / units / 1000,
            "unit_discharged_today": device.energies.discharged_today / units / 1000,
        }
        if status in ("offline", "asleep"):
            measured = dict.fromkeys(measured)
        there = status != "offline"
        return {
            **measured,
            "battery_status": BATTERY_STATUS[status],
            "active_mode": self.active_mode,
            "capacity": plant.capacity,
            "max_charge": device.most("charge_limit") if there else None,
            "max_discharge": device.most("discharge_limit") if there else None,
            "unit_max_charge": plant.max_charge / units,
            "unit_max_discharge": plant.max_discharge / units,
            "unit_fault": 0,
            "unit_number": 1,
            "grid_point_limit": 0,
            "legacy_power": 0,
            "max_grid_charge": device.rated_power,
            "remaining_minutes": self._remaining_minutes(),
            **self._totals(),
            **dict(self._names()),
        }

    def _remaining_minutes(self) -> int:
        remaining = self.device.remaining
        if remaining is None or not self.shows_remaining:
            return 0
        return -int(-remaining // 60)

    def _totals(self) -> dict[str, Value]:
        energies, units = self.device.energies, self.device.battery_units
        charged = COUNTED_BEFORE + energies.charged / 1000
        discharged = COUNTED_BEFORE + energies.discharged / 1000
        values: dict[str, Value] = {}
        for prefix, parts in (("", 1), ("unit_", units), ("pack_", units * self.packs)):
            values[f"{prefix}charged"] = charged / parts
            values[f"{prefix}discharged"] = discharged / parts
        return values

    def _names(self) -> Iterator[tuple[str, Value]]:
        yield "unit_software", "V100R002C00SPC132"
        yield "pack_software", "V100R002C00SPC132"
        yield "pack_status", PACK_STATUS
        for unit in range(1, self.device.battery_units + 1):
            yield f"unit_{unit}_serial", f"TA2250{unit:06}"
            for number in range(1, min(self.packs, PACKS) + 1):
                yield f"pack_{unit}_{number}_serial", f"BM2250{unit:03}{number:03}"


def emma_values(values: Values, plant_load: float) -> Values:
    """Return an EMMA's values of the same house.

    Its load lacks what it does not control: another battery, an inverter of another
    maker. Here it is always 660 W too low, as it was seen.
    """
    return {
        **values,
        "model": "SmartHEMS",
        "serial": "EM2250000001",
        "software": "SmartHEMS V100R024C00",
        "variant": "EMMA-A02",
        "load_power": max(0.0, plant_load - UNSEEN_WATTS),
    }


def dongle_values(values: Values, plant_load: float) -> Values:
    """Return an SDongle's values of the same house."""
    return {**values, "model": "SDongleA-05", "load_power": plant_load}


def _line_voltages(name: str, volts: list[float]) -> dict[str, Value]:
    """Return the voltages between the phases, 0 where one is missing."""
    return {
        f"{name}_{phase + 1}": 3**0.5 * (volts[phase] + volts[(phase + 1) % 3]) / 2
        if volts[phase] and volts[(phase + 1) % 3]
        else 0
        for phase in range(3)
    }
