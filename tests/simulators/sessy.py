"""A Sessy dongle on HTTP: at a battery, at a P1 port of a smart meter, or with current clamps."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from .http_server import NOT_FOUND, Answer, HangUp, Json, JsonServer, Request
from .plant import Plant
from .sessy_battery import API, MOST_WATTS, PREFIX, STRATEGIES, Firmware, SessyBattery
from .simulator import HTTP_FAULTS, Simulator, State

type Device = Literal["battery", "p1", "ct"]
type Strategy = Literal["NOM", "ROI", "API", "IDLE", "SESSY_CONNECT", "ECO"]

OK: Final[Json] = {"status": "ok"}
LETTER: Final = {"battery": "D", "p1": "P", "ct": "C"}
VERSIONS: Final = {
    "old": ("1.4.0", "1.2.0"),
    "new": ("1.12.3", "1.9.4"),
}  # dongle, battery
MOST_GRID_TARGET: Final = 20_000  # W
COUNTED_BEFORE: Final = 1_000_000  # Wh; what meters had seen before the simulation
GAS: Final = 1_234_567  # dm3
PRICES: Final = (10_235, 25_400)  # by night, by day; EUR/kWh x 100 000

# Which answers old firmware does not have.
MISSING_IN_OLD: Final = frozenset(
    {
        "GET /api/v1/energy/status",
        "GET /api/v1/system/info",
        "GET /api/v2/dynamic/schedule",
        "GET /api/v2/p1/details",
        "GET /api/v1/ct/details",
        "GET /api/v1/meter/grid_target",
        "POST /api/v1/meter/grid_target",
    }
)
FIELDS_MISSING_IN_OLD: Final = frozenset(
    {"pack_voltage", "external_power", "inverter_current_ma", "strategy_overridden"}
)

type Handler = Callable[[Any], Answer]


class Dongle(JsonServer):
    """What every dongle answers; `routes` maps "METHOD path" to a handler of the body."""

    letter = ""

    def __init__(
        self,
        plant: Plant,
        host: str,
        port: int,
        *,
        firmware: Firmware,
        serial: str,
        password: str,
    ) -> None:
        """Prepare to serve."""
        self.serial = self.letter + serial
        super().__init__(host, port, username=self.serial, password=password)
        self.plant = plant
        self.firmware = firmware
        self.restarts = 0
        self.ota_state = "OTA_UP_TO_DATE"
        self.routes: dict[str, Handler] = {
            "GET /api/v1/system/info": self._info,
            "GET /api/v1/network/status": self._network,
            "GET /api/v1/ota/status": self._ota,
            "GET /api/v1/ota/check": self._ota,
            "POST /api/v1/ota/start": self._ota_start,
            "POST /api/v1/system/restart": self._restart,
        }

    async def answer(self, request: Request) -> Answer:
        """Answer what this device and firmware know."""
        self.plant.run()
        route = f"{request.method} {request.path}"
        handler = self.routes.get(route)
        if handler is None or (self.firmware == "old" and route in MISSING_IN_OLD):
            return NOT_FOUND
        return handler(request.body)

    def battery_serial(self) -> Json:
        """Return what the system information says about the battery."""
        return {}

    def _info(self, _: Any) -> Answer:
        return Answer(
            {
                **OK,
                "version": "v5.1.1",
                "cores": 2,
                "internal_mem_available": 52744,
                "external_mem_available": 3406348,
                "self_serial": self.serial,
                "system_state": [],
                "state_last_changed": [],
                **self.battery_serial(),
            }
        )

    def _network(self, _: Any) -> Answer:
        return Answer(
            {
                **OK,
                "network_status": ["unknown", "WIFI_STA_HAS_CLIENT_IP"],
                "wifi_sta": {
                    "ip": [127, 0, 0, 1],
                    "rssi": -55,
                    "ssid": "home",
                    "mac": "AA:BB:CC:00:11:22",
                },
                "eth": {"ip": [0, 0, 0, 0], "mac": "AA:BB:CC:00:11:23"},
            }
        )

    def _ota(self, _: Any) -> Answer:
        body: Json = {**OK}
        for part, version in zip(
            ("self", "serial"), VERSIONS[self.firmware], strict=True
        ):
            body[part] = {
                "installed_firmware": {"version": version},
                "available_firmware": {"version": version},
                "state": self.ota_state,
                "update_progress": 0,
            }
        return Answer(body)

    def _ota_start(self, body: Any) -> Answer:
        if not isinstance(body, dict) or not str(body.get("target")).startswith(
            "OTA_TARGET_"
        ):
            return Answer("Invalid target", 400)
        self.ota_state = "OTA_UPDATING"
        return Answer(OK)

    def _restart(self, _: Any) -> Answer:
        self.restarts += 1
        raise HangUp


class BatteryDongle(Dongle):
    """The dongle at a battery."""

    letter = LETTER["battery"]

    def __init__(
        self, battery: SessyBattery, host: str, port: int, **arguments: Any
    ) -> None:
        """Prepare to serve."""
        super().__init__(
            battery.plant, host, port, firmware=battery.firmware, **arguments
        )
        self.battery = battery
        self.settings_saved = True
        self.routes |= {
            "GET /api/v1/power/status": self._status,
            "GET /api/v1/power/active_strategy": self._strategy,
            "POST /api/v1/power/active_strategy": self._set_strategy,
            "POST /api/v1/power/setpoint": self._set_setpoint,
            "GET /api/v1/energy/status": self._energy,
            "GET /api/v1/system/settings": self._settings,
            "POST /api/v1/system/settings": self._set_settings,
            "GET /api/v2/dynamic/schedule": self._schedule,
            "GET /api/v1/dynamic/schedule": self._schedule_v1,
        }

    def battery_serial(self) -> Json:
        """Return what the system information says about the battery."""
        return {"sessy_serial": f"A{self.serial[1:]}", "sessy_revision": 105}

    def _status(self, _: Any) -> Answer:
        battery, plant = self.battery, self.plant
        volts = plant.mains[0]
        sessy: Json = {
            "state_of_charge": 1 if plant.soc >= 100 else plant.soc / 100,
            "power": round(battery.power),
            "power_setpoint": battery.power_setpoint,
            "system_state": f"SYSTEM_STATE_{battery.system_state}",
            "system_state_details": "",
            "frequency": round(1000 * plant.frequency),
            "inverter_current_ma": round(1000 * battery.power / volts) if volts else 0,
            "pack_voltage": round(1000 * plant.voltage),
            "external_power": 0,
            "strategy_overridden": battery.override is not None,
        }
        if battery.firmware == "old":
            sessy = {
                key: sessy[key] for key in sessy if key not in FIELDS_MISSING_IN_OLD
            }
        body: Json = {**OK, "sessy": sessy}
        for phase, (power, voltage) in enumerate(
            zip(plant.pv_ac, plant.mains, strict=True), 1
        ):
            body[f"renewable_energy_phase{phase}"] = {
                "voltage_rms": round(1000 * voltage),
                "current_rms": round(1000 * power / voltage) if voltage else 0,
                "power": round(power),
            }
        return Answer(body)

    def _strategy(self, _: Any) -> Answer:
        return Answer({**OK, "strategy": PREFIX + self.battery.strategy})

    def _set_strategy(self, body: Any) -> Answer:
        strategy = str(body.get("strategy")) if isinstance(body, dict) else ""
        name = strategy.removeprefix(PREFIX)
        if strategy == name or name not in STRATEGIES[self.battery.firmware]:
            return Answer("Invalid strategy", 500)
        self.battery.strategy = name
        self.battery.update()
        return Answer(OK)

    def _set_setpoint(self, body: Any) -> Answer:
        setpoint = body.get("setpoint") if isinstance(body, dict) else None
        if type(setpoint) is not int:  # neither a float nor a bool
            return Answer("Invalid setpoint", 400)
        if self.battery.strategy != API:
            return Answer(
                "Setpoint is only accepted in strategy POWER_STRATEGY_API", 500
            )
        self.battery.setpoint = max(-MOST_WATTS, min(MOST_WATTS, setpoint))
        self.battery.update()
        return Answer(OK)

    def _energy(self, _: Any) -> Answer:
        counters = self.plant.counters
        body: Json = {
            **OK,
            "sessy_energy": {
                "import_wh": COUNTED_BEFORE + round(counters.charged),
                "export_wh": COUNTED_BEFORE + round(counters.discharged),
            },
        }
        phases = self.plant.phases
        for phase in range(3):
            made = COUNTED_BEFORE + round(counters.pv / phases) if phase < phases else 0
            body[f"energy_phase{phase + 1}"] = {"import_wh": 0, "export_wh": made}
        return Answer(body)

    def _settings(self, _: Any) -> Answer:
        if not self.settings_saved:
            return Answer({"error": "No settings saved"})
        return Answer({**OK, **self.battery.settings})

    def _set_settings(self, body: Any) -> Answer:
        """Replace all settings: what is not in the body is gone."""
        if not isinstance(body, dict):
            return Answer("Invalid settings", 400)
        self.battery.settings = {key: body[key] for key in body if key != "status"}
        self.battery.update()
        self.settings_saved = True
        return Answer(OK)

    def _schedule(self, _: Any) -> Answer:
        midnight = self._midnight()
        slots = [
            (midnight + 3600 * hour, midnight + 3600 * (hour + 1)) for hour in range(24)
        ]
        return Answer(
            {
                **OK,
                "dynamic_schedule": [
                    {
                        "start_time": start,
                        "end_time": end,
                        "power": self.battery.scheduled(hour),
                    }
                    for hour, (start, end) in enumerate(slots)
                ],
                "energy_prices": [
                    {"start_time": start, "end_time": end, "price": _price(hour)}
                    for hour, (start, end) in enumerate(slots)
                ],
            }
        )

    def _schedule_v1(self, _: Any) -> Answer:
        hours = range(24)
        day = "2026-01-01"
        power = [self.battery.scheduled(hour) for hour in hours]
        return Answer(
            {
                **OK,
                "power_strategy": [{"date": day, "power": power}],
                "energy_prices": [
                    {"date": day, "price": [_price(hour) for hour in hours]}
                ],
            }
        )

    def _midnight(self) -> int:
        """Return the unix time of the last midnight of the simulated day, to the quarter."""
        plant = self.plant
        return 900 * round((plant.unix_time - 3600 * plant.hour) / 900)


class MeterDongle(Dongle):
    """What P1 and CT dongles share: a target for the batteries that watch them."""

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

    letter = LETTER["p1"]

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
        return Answer({**OK, "state": self.state, "net_power_delivered": power})


class CtDongle(MeterDongle):
    """The dongle with current clamps."""

    letter = LETTER["ct"]

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


def _price(hour: int) -> int:
    return PRICES[7 <= hour < 23]


class SessySimulator(Simulator):
    """A Sessy dongle. A meter's dongle and a battery's may share a house."""

    type = "sessy"
    # What the dongle tells is AC power; losses would only be a difference nobody can see.
    plant_defaults = {
        "capacity": 5200.0,
        "max_charge": float(MOST_WATTS),
        "max_discharge": float(MOST_WATTS),
        "efficiency": 1.0,
        "inverter_phases": (0,),
    }
    server_faults = HTTP_FAULTS
    server: Dongle

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        device: Annotated[Device, "what the dongle is at"] = "battery",
        firmware: Annotated[Firmware, "before, or with, what came since 1.5"] = "new",
        strategy: Annotated[Strategy, "strategy at the start"] = "NOM",
        start_delay: Annotated[float, "seconds from standby to the first power"] = 0.0,
        serial: Annotated[str, "of the dongle, without its first letter"] = "ABC1234",
        password: Annotated[str, "of the dongle"] = "SECRET12",
    ) -> None:
        """Install the dongle in the house."""
        self.plant = plant or self.house()
        self.battery: SessyBattery | None = None
        options = {"serial": serial, "password": password}
        match device:
            case "battery":
                self.battery = SessyBattery(
                    self.plant,
                    firmware=firmware,
                    strategy=strategy,
                    start_delay=start_delay,
                )
                self.server = BatteryDongle(self.battery, host, port, **options)
            case "p1":
                self.server = P1Dongle(
                    self.plant, host, port, firmware=firmware, **options
                )
            case "ct":
                self.server = CtDongle(
                    self.plant, host, port, firmware=firmware, **options
                )

    @property
    def setup(self) -> dict[str, Any]:
        """What a user would enter."""
        server = self.server
        return {
            **super().setup,
            "username": server.username,
            "password": server.password,
        }

    @property
    def mode(self) -> Literal["automatic", "controlled"]:
        """The API strategy is controlled."""
        return (
            "controlled"
            if self.battery and self.battery.strategy == API
            else "automatic"
        )

    def device_state(self) -> State:
        """Return strategy, setpoint and settings."""
        state: State = {
            "restarts": self.server.restarts,
            "grid_target": self.plant.grid_target,
        }
        if self.battery is None:
            return state
        return {
            **state,
            "strategy": self.battery.strategy,
            "setpoint": self.battery.setpoint,
            "system_state": self.battery.system_state,
            "strategy_overridden": self.battery.override is not None,
            "settings": self.battery.settings,
        }

    # Misbehaviour of this device.

    def fault_override(self, power: float | None = 0.0) -> None:
        """Let the supplier run the battery at this power (positive = discharging); none: stop."""
        if self.battery:
            self.battery.override = power

    def fault_stuck(self, on: bool = True) -> None:
        """Accept setpoints and strategies, and stay idle."""
        if self.battery:
            self.battery.stuck = on

    def fault_strategy(self, strategy: Strategy) -> None:
        """Change the strategy, as somebody with the app would."""
        if self.battery:
            self.battery.strategy = strategy

    def fault_setpoint(self, power: int) -> None:
        """Change the setpoint (positive = discharging), as another controller would."""
        if self.battery:
            self.battery.setpoint = power

    def fault_unsaved_settings(self, on: bool = True) -> None:
        """Answer that settings were never saved."""
        if isinstance(self.server, BatteryDongle):
            self.server.settings_saved = not on

    def fault_meter(self, state: str = "P1_NOT_CONNECTED") -> None:
        """Change the state of the P1 port; P1_OK is well."""
        if isinstance(self.server, P1Dongle):
            self.server.state = state
