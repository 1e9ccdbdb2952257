"""Sessy dongles that measure: at a smart meter's P1 port, or with current clamps."""

from typing import Any, Final

from homebattery.simulated.plant import Plant

from .http_server import Answer, Json
from .sessy_dongles import COUNTED_BEFORE, OK, Dongle

MOST_GRID_TARGET: Final = 20_000  # W
GAS: Final = 1_234_567  # dm3


class MeterDongle(Dongle):
    """The common part of P1 and CT dongles: a target for batteries that watch them."""

    def __init__(self, plant: Plant, host: str, port: int, **arguments: Any) -> None:
        """Prepare to serve."""
        super().__init__(plant, host, port, **arguments)
        self.routes |= {
            "GET /api/v1/meter/status": lambda _: Answer(OK),
            "GET /api/v1/meter/grid_target": self._target,
            "POST /api/v1/meter/grid_target": self._set_target,
        }

    def _target(self, _: Any) -> Answer:
        return Answer({**OK, "grid_target": round(self.plant.grid_target)})

    def _set_target(self, body: Any) -> Answer:
        target = body.get("grid_target") if isinstance(body, dict) else None
        if type(target) is not int or abs(target) > MOST_GRID_TARGET:
            return Answer("Invalid grid target", 400)
        self.plant.grid_target = target
        return Answer(OK)


class P1Dongle(MeterDongle):
    """The dongle at a smart meter."""

    letter = "P"

    def __init__(self, plant: Plant, host: str, port: int, **arguments: Any) -> None:
        """Prepare to serve."""
        super().__init__(plant, host, port, **arguments)
        self.state = "P1_OK"
        self.settings: Json = {"p1_hostname": "", "enable_modbus": False}
        self.routes |= {
            "GET /api/v2/p1/details": self._details,
            "GET /api/v1/p1/details": self._details_v1,
            "GET /api/v1/p1/status": self._details_v1,
            "GET /api/v1/system/settings": lambda _: Answer({**OK, **self.settings}),
        }

    def _details(self, _: Any) -> Answer:
        plant, counters = self.plant, self.plant.counters
        readable = self.state == "P1_OK"
        power = [watts if readable else 0.0 for watts in plant.grid]
        volts = [voltage if readable else 0.0 for voltage in plant.mains]
        total = sum(power)
        body: Json = {
            **OK,
            "state": self.state,
            "dsmr_version": 50,
            "tariff_indicator": 1 if plant.hour < 7 else 2,
            "power_total": round(total),
            "power_consumed": round(max(0.0, total)),
            "power_produced": round(max(0.0, -total)),
            "gas_meter_value": GAS if readable else 0,
        }
        for kind, energy in (
            ("consumed", counters.imported),
            ("produced", counters.exported),
        ):
            body[f"power_{kind}_tariff1"] = COUNTED_BEFORE if readable else 0
            body[f"power_{kind}_tariff2"] = (
                round(COUNTED_BEFORE + sum(energy)) if readable else 0
            )
        for phase, (watts, voltage) in enumerate(zip(power, volts, strict=True), 1):
            body[f"power_consumed_l{phase}"] = round(max(0.0, watts))
            body[f"power_produced_l{phase}"] = round(max(0.0, -watts))
            body[f"voltage_l{phase}"] = round(1000 * voltage)
            body[f"current_l{phase}"] = (
                round(1000 * abs(watts) / voltage) if voltage else 0
            )
        return Answer(body)

    def _details_v1(self, _: Any) -> Answer:
        power = round(sum(self.plant.grid)) if self.state == "P1_OK" else 0
        return Answer({**OK, "state": self.state, "net_power_delivered": power / 1000})


class CtDongle(MeterDongle):
    """The dongle with current clamps."""

    letter = "C"

    def __init__(self, plant: Plant, host: str, port: int, **arguments: Any) -> None:
        """Prepare to serve."""
        super().__init__(plant, host, port, **arguments)
        self.routes |= {
            "GET /api/v1/ct/details": self._details,
            "GET /api/v1/energy/status": self._energy,
        }

    def _details(self, _: Any) -> Answer:
        plant = self.plant
        body: Json = {**OK, "total_power": round(sum(plant.grid))}
        for phase, (power, voltage) in enumerate(
            zip(plant.grid, plant.mains, strict=True), 1
        ):
            body[f"power_l{phase}"] = round(power)
            body[f"voltage_l{phase}"] = round(1000 * voltage)
            body[f"current_l{phase}"] = (
                round(1000 * abs(power) / voltage) if voltage else 0
            )
        return Answer(body)

    def _energy(self, _: Any) -> Answer:
        counters = self.plant.counters
        body: Json = {**OK}
        both = zip(counters.imported, counters.exported, strict=True)
        for phase, (imported, exported) in enumerate(both, 1):
            body[f"energy_phase{phase}"] = {
                "import_wh": round(imported),
                "export_wh": round(exported),
            }
        return Answer(body)
