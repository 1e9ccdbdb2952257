"""Values of a GX device's services: every path that they publish (None: unknown)."""

from typing import Final

from homebattery.simulated.plant import Plant

from .victron_battery_life import MIN_SOC
from .victron_gx import (
    CELLS,
    EXTERNAL_CONTROL,
    IDLE_WATTS,
    INVERTING,
    NO_INPUT,
    OFF,
    OUTPUT_VOLTS,
    PASSTHRU,
    SUSTAINING,
    Gx,
)
from .victron_registers import Value

type Values = dict[str, Value]

NOMINAL_VOLTS: Final = 51.2
EPOCH: Final = 1_790_000_000  # the device's clock when the simulation starts at 0
FIRMWARE: Final = 0x0373
CYCLES: Final = 30
COUNTED_BEFORE: Final = 1000.0  # kWh; lifetime counters at the start of the simulation
MAX_TIME_TO_GO: Final = 864_000.0  # s


def values(gx: Gx, service: str) -> Values:
    """Return a service's present values by path."""
    return {**_SERVICES[service](gx), **_alarms(gx, service)}


def _alarms(gx: Gx, service: str) -> Values:
    return {path: level for (of, path), level in gx.alarms.items() if of == service}


def _system(gx: Gx) -> Values:
    plant = gx.plant
    # The solar power of a Multi RS is its own.
    inverter = plant.battery - (0.0 if gx.is_rs else plant.pv_dc)
    error = 2 if gx.dynamic_ess and gx.external else 0
    result: Values = {
        "/Serial": gx.serial,
        **gx.relay,
        "/Ac/ActiveIn/Source": NO_INPUT if plant.grid_lost else gx.source,
        "/DateAndTime": int(plant.unix_time),
        "/FirmwareVersion": FIRMWARE,
        "/Dc/Battery/Voltage": plant.voltage,
        "/Dc/Battery/Current": plant.current,
        "/Dc/Battery/Power": plant.battery,
        "/Dc/Battery/Soc": _soc(gx),
        "/Dc/Battery/State": _battery_state(plant),
        "/Dc/Battery/ConsumedAmphours": _consumed(plant),
        "/Dc/Battery/TimeToGo": _time_to_go(plant),
        "/Dc/Pv/Power": plant.pv_dc,
        "/Dc/Pv/Current": plant.pv_dc / plant.voltage,
        "/Dc/InverterCharger/Current": inverter / plant.voltage,
        "/Dc/InverterCharger/Power": inverter,
        "/DynamicEss/Active": int(gx.dynamic_ess and not gx.external),
        "/DynamicEss/Available": int(gx.dynamic_ess),
        "/DynamicEss/ErrorCode": error,
    }
    if not gx.is_rs:
        result["/Dc/Vebus/Current"] = inverter / plant.voltage
        result["/Dc/Vebus/Power"] = inverter
    for phase in range(plant.phases):
        name = f"L{phase + 1}"
        pv, load = plant.pv_ac[phase], plant.load[phase]
        output = gx.output(phase) + (pv if gx.pv_on_output else 0.0)
        result |= {
            f"/Ac/PvOnOutput/{name}/Power": pv if gx.pv_on_output else None,
            f"/Ac/PvOnGrid/{name}/Power": None if gx.pv_on_output else pv,
            f"/Ac/Consumption/{name}/Power": load,
            f"/Ac/ConsumptionOnInput/{name}/Power": load - output,
            f"/Ac/ConsumptionOnOutput/{name}/Power": output,
            f"/Ac/Grid/{name}/Power": plant.grid[phase],
        }
    return result


def _settings(gx: Gx) -> Values:
    return {**gx.settings}


def _hub4(gx: Gx) -> Values:
    stored: Values = {**gx.hub4}
    return {**stored, "/PvPowerLimiterActive": 0, "/Pv/Disable": 0}


def _vebus(gx: Gx) -> Values:
    plant = gx.plant
    inverter = plant.battery - plant.pv_dc
    nominal = max(plant.max_charge, plant.max_discharge)
    stored: Values = {**gx.vebus}
    result: Values = {
        **stored,
        **{f"/Energy/{flow}": energy for flow, energy in gx.flows.items()},
        "/Ac/Out/L1/F": plant.frequency or 50.0,
        "/Ac/Out/NominalInverterPower": nominal,
        "/Ac/NumberOfPhases": plant.phases,
        "/Ac/ActiveIn/ActiveInput": NO_INPUT if plant.grid_lost else 0,
        "/Dc/0/Voltage": plant.voltage,
        "/Dc/0/Current": inverter / plant.voltage,
        "/Soc": _soc(gx),
        "/State": _state(gx),
        "/VebusError": 0,
        "/Hub4/Sustain": int(gx.sustain),
        "/Alarms/GridLost": 2 if plant.grid_lost else 0,
        "/CustomName": gx.custom_name,
    }
    mains = plant.mains
    for phase in range(plant.phases):
        name = f"L{phase + 1}"
        at_input, output = gx.input(phase), gx.output(phase)
        result |= {
            f"/Ac/ActiveIn/{name}/V": mains[phase],
            f"/Ac/ActiveIn/{name}/I": at_input / mains[phase] if mains[phase] else 0.0,
            f"/Ac/ActiveIn/{name}/F": plant.frequency,
            f"/Ac/ActiveIn/{name}/P": at_input,
            f"/Ac/Out/{name}/V": mains[phase] or OUTPUT_VOLTS,
            f"/Ac/Out/{name}/I": output / (mains[phase] or OUTPUT_VOLTS),
            f"/Ac/Out/{name}/P": output,
            f"/Ac/Out/{name}/NominalInverterPower": nominal / plant.phases,
        }
    return result


def _battery(gx: Gx) -> Values:
    plant = gx.plant
    result: Values = {
        "/Dc/0/Power": plant.battery,
        "/Dc/0/Voltage": plant.voltage,
        "/Dc/0/Current": plant.current,
        "/Dc/0/Temperature": 21.5,
        "/ConsumedAmphours": _consumed(plant),
        "/Soc": _soc(gx),
        "/TimeToGo": _time_to_go(plant),
        "/Capacity": plant.capacity / NOMINAL_VOLTS,
    }
    return result | (_bms(gx) if gx.battery == "bms" else _shunt(gx))


def _bms(gx: Gx) -> Values:
    cell = gx.plant.voltage / CELLS
    return {
        "/Soh": 98.0,
        "/Info/MaxChargeVoltage": 56.8,
        "/Info/BatteryLowVoltage": 46.0,
        "/Info/MaxChargeCurrent": gx.max_charge_current,
        "/Info/MaxDischargeCurrent": gx.max_discharge_current,
        "/System/MinCellTemperature": 21.0,
        "/System/MaxCellTemperature": 22.0,
        "/System/MinCellVoltage": cell - 0.01,
        "/System/MaxCellVoltage": cell + 0.01,
        "/System/NrOfModulesOnline": 2,
        "/State": 9,
        "/ErrorCode": 0,
        "/Io/AllowToCharge": int(gx.max_charge_current > 0),
        "/Io/AllowToDischarge": int(gx.max_discharge_current > 0),
    }


def _shunt(gx: Gx) -> Values:
    """Return a shunt's additional values: it counts energy, and has no limits."""
    counters = gx.plant.counters
    return {
        **gx.battery_relay,
        "/History/ChargeCycles": CYCLES,
        "/History/DischargedEnergy": COUNTED_BEFORE + counters.discharged / 1000,
        "/History/ChargedEnergy": COUNTED_BEFORE + counters.charged / 1000,
    }


def _grid(gx: Gx) -> Values:
    plant = gx.plant
    counters = plant.counters
    result: Values = {
        "/Serial": "BX00000001",
        "/Ac/Frequency": plant.frequency,
        "/Ac/Energy/Forward": COUNTED_BEFORE + sum(counters.imported) / 1000,
        "/Ac/Energy/Reverse": COUNTED_BEFORE + sum(counters.exported) / 1000,
    }
    for phase in range(plant.phases):
        name = f"L{phase + 1}"
        volts = plant.mains[phase]
        share = COUNTED_BEFORE / plant.phases
        result |= {
            f"/Ac/{name}/Power": plant.grid[phase],
            f"/Ac/{name}/Voltage": volts,
            f"/Ac/{name}/Current": plant.grid[phase] / volts if volts else 0.0,
            f"/Ac/{name}/Energy/Forward": share + counters.imported[phase] / 1000,
            f"/Ac/{name}/Energy/Reverse": share + counters.exported[phase] / 1000,
        }
    return result


def _pvinverter(gx: Gx) -> Values:
    """Return the PV inverter: all of the solar power on the AC side."""
    plant = gx.plant
    result: Values = {
        "/Position": 1 if gx.pv_on_output else 0,
        "/Serial": "28060001",
        "/CustomName": "Roof",
        "/Ac/Power": sum(plant.pv_ac),
        "/Ac/MaxPower": plant.pv_peak,
        "/Ac/Frequency": plant.frequency,
    }
    for phase in range(plant.phases):
        name, volts = f"L{phase + 1}", plant.mains[phase]
        power = plant.pv_ac[phase]
        counted = COUNTED_BEFORE + plant.counters.pv / 1000
        result |= {
            f"/Ac/{name}/Voltage": volts,
            f"/Ac/{name}/Current": power / volts if volts else 0.0,
            f"/Ac/{name}/Power": power,
            f"/Ac/{name}/Energy/Forward": counted / plant.phases,
        }
    return result


def _multi(gx: Gx) -> Values:
    """Return a Multi RS, whose solar power charges the battery at its DC side."""
    plant = gx.plant
    result: Values = {
        "/Ac/In/1/L1/F": plant.frequency,
        "/Ac/Out/L1/F": plant.frequency or 50.0,
        "/Ac/In/1/Type": 1,
        "/Ac/NumberOfPhases": plant.phases,
        "/Ac/ActiveIn/ActiveInput": NO_INPUT if plant.grid_lost else 0,
        "/Dc/0/Voltage": plant.voltage,
        "/Dc/0/Current": plant.current,
        "/Soc": plant.soc,
        "/State": _state(gx),
        "/Mode": gx.vebus["/Mode"],
        "/Yield/Power": plant.pv_dc,
        "/ErrorCode": 0,
        "/Settings/Ess/Mode": 1,
        "/Settings/Ess/MinimumSocLimit": gx.settings[MIN_SOC],
        "/CustomName": "RS",
    }
    for phase in range(plant.phases):
        name, volts = f"L{phase + 1}", plant.mains[phase]
        at_input, output = gx.input(phase), gx.output(phase)
        result |= {
            f"/Ac/In/1/{name}/V": volts,
            f"/Ac/In/1/{name}/I": at_input / volts if volts else 0.0,
            f"/Ac/In/1/{name}/P": at_input,
            f"/Ac/Out/{name}/V": volts or OUTPUT_VOLTS,
            f"/Ac/Out/{name}/I": output / (volts or OUTPUT_VOLTS),
            f"/Ac/Out/{name}/P": output,
        }
    return result


def bank_values(gx: Gx, number: int, banks: int) -> Values:
    """Return one of several equal batteries in parallel; `number` counts from 1."""
    whole = values(gx, "battery")
    shared: Values = {
        path: value / banks
        for path in _SHARED
        if isinstance(value := whole.get(path), int | float)
    }
    return {**whole, **shared, "/CustomName": f"Bank {number}"}


_SHARED: Final = (
    "/Dc/0/Power",
    "/Dc/0/Current",
    "/ConsumedAmphours",
    "/Capacity",
    "/Info/MaxChargeCurrent",
    "/Info/MaxDischargeCurrent",
)
"""The values of batteries in parallel that add up."""

_SERVICES: Final = {
    "system": _system,
    "settings": _settings,
    "hub4": _hub4,
    "vebus": _vebus,
    "battery": _battery,
    "grid": _grid,
    "pvinverter": _pvinverter,
    "multi": _multi,
}


def _soc(gx: Gx) -> float | None:
    return gx.plant.soc if gx.knows_soc else None


def _state(gx: Gx) -> int:
    """Return the state of the inverter."""
    if gx.vebus["/Mode"] == OFF:
        return 0
    if gx.plant.grid_lost:
        return INVERTING
    if gx.sustain:
        return SUSTAINING
    return PASSTHRU if gx.passthru else EXTERNAL_CONTROL


def _battery_state(plant: Plant) -> int:
    if abs(plant.battery) < IDLE_WATTS:
        return 0
    return 1 if plant.battery > 0 else 2


def _consumed(plant: Plant) -> float:
    """Return the charge taken out since the battery was full, Ah (negative)."""
    return -(100 - plant.soc) / 100 * plant.capacity / NOMINAL_VOLTS


def _time_to_go(plant: Plant) -> float | None:
    """Return the seconds until empty, None while charging."""
    if plant.battery > -IDLE_WATTS:
        return None
    return min(MAX_TIME_TO_GO, 36 * plant.soc * plant.capacity / -plant.battery)
