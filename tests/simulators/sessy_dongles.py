"""The HTTP answers of Sessy dongles: the common ones, and those at a battery."""

from collections.abc import Callable
from typing import Any, Final

from homebattery.simulated.plant import Plant

from .http_server import UNKNOWN_PATH, Answer, HangUp, Json, JsonServer, Request
from .sessy_battery import API, MOST_WATTS, PREFIX, STRATEGIES, Firmware, SessyBattery

OK: Final[Json] = {"status": "ok"}
VERSIONS: Final = {
    "old": ("1.4.0", "1.2.0"),
    "new": ("1.12.3", "1.9.4"),
}  # dongle, battery
COUNTED_BEFORE: Final = 1_000_000  # Wh; meters at the start of the simulation
PRICES: Final = (10_235, 25_400)  # by night, by day; EUR/kWh x 100 000

# Answers that old firmware does not have.
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
    """A dongle; `routes` maps "METHOD path" to a handler of the body."""

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
        """Answer the requests that this device and firmware know."""
        self.plant.run()
        route = f"{request.method} {request.path}"
        handler = self.routes.get(route)
        if handler is None or (self.firmware == "old" and route in MISSING_IN_OLD):
            return UNKNOWN_PATH
        return handler(request.body)

    def battery_serial(self) -> Json:
        """Return the battery's serial number for the system information."""
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

    letter = "D"

    def __init__(
        self, battery: SessyBattery, host: str, port: int, **arguments: Any
    ) -> None:
        """Prepare to serve."""
        super().__init__(
            battery.plant, host, port, firmware=battery.firmware, **arguments
        )
        self.battery = battery
        self.settings_saved = True
        self.setpoint_refusals: list[Answer] = []
        """The next answers to setpoints, while a change of strategy is under way."""
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
        """Return the battery's serial number for the system information."""
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
        if self.setpoint_refusals:
            return self.setpoint_refusals.pop(0)
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
        """Replace all settings: those missing in the body are gone."""
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
        """Return the unix time of the simulated day's start, to the quarter."""
        plant = self.plant
        return 900 * round((plant.unix_time - 3600 * plant.hour) / 900)


def _price(hour: int) -> int:
    return PRICES[7 <= hour < 23]
