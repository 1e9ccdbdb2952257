"""A Sessy dongle on HTTP: at a battery, at a smart meter's P1 port, or with clamps."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from homebattery.simulated.plant import Plant

from .http_server import Answer
from .sessy_battery import API, MOST_WATTS, Firmware, SessyBattery
from .sessy_dongles import BatteryDongle, Dongle
from .sessy_meters import CtDongle, P1Dongle
from .simulator import HTTP_FAULTS, Simulator, State

type Device = Literal["battery", "p1", "ct"]
type SetpointRefusal = Literal["busy", "absent", "bad", "page", "status", "error"]
type Strategy = Literal["NOM", "ROI", "API", "IDLE", "SESSY_CONNECT", "ECO"]

REFUSALS: Final[Mapping[SetpointRefusal, Answer]] = {
    "busy": Answer("Busy", 500),
    "absent": Answer("Not found", 404),
    "bad": Answer("Bad request", 400),
    "page": Answer("<html>Starting</html>"),
    "status": Answer({"status": "error"}),
    "error": Answer({"error": "not now"}),
}
"""The answers to a setpoint that a dongle does not take just now."""


class SessySimulator(Simulator):
    """A Sessy dongle. A meter's dongle and a battery's may share a house."""

    type = "sessy"
    # The dongle reports AC power only; losses would be invisible.
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
        """Settings that a user would enter to reach this device."""
        server = self.server
        return {
            **super().setup,
            "username": server.username,
            "password": server.password,
        }

    @property
    def mode(self) -> Literal["automatic", "controlled"]:
        """Controlled in the API strategy."""
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

    def settings_words(self) -> dict[str, Any]:
        """Return a battery's strategy, setpoint and settings, or a meter's target.

        Includes the setpoint in other strategies than API: it takes effect when that is
        chosen next.
        """
        battery = self.battery
        if battery is None:
            return {"grid_target": self.plant.grid_target}
        settings = {
            f"settings/{name}": battery.settings[name] for name in battery.settings
        }
        return {"strategy": battery.strategy, "setpoint": battery.setpoint, **settings}

    # Misbehaviour of this device.

    def fault_override(self, power: float | None = 0.0) -> None:
        """Run the battery at this power (positive = discharging); none: stop."""
        if self.battery:
            self.battery.override = power

    def fault_stuck(self, on: bool = True) -> None:
        """Accept setpoints and strategies, and stay idle."""
        if self.battery:
            self.battery.stuck = on

    def fault_strategy(self, strategy: Strategy) -> None:
        """Change the strategy, as a user with the app would."""
        if self.battery:
            self.battery.strategy = strategy

    def fault_changing(self, refusal: SetpointRefusal = "busy", count: int = 1) -> None:
        """Refuse the next setpoints, as while the strategy changes."""
        if isinstance(self.server, BatteryDongle):
            self.server.setpoint_refusals = count * [REFUSALS[refusal]]

    def fault_setpoint(self, power: int) -> None:
        """Change the setpoint (positive = discharging), as another controller would."""
        if self.battery:
            self.battery.setpoint = power

    async def fault_restart(self, forgets: bool = False) -> None:
        """Restart the dongle: connections end. The setpoint's fate is not known."""
        self.server.restarts += 1
        if self.battery and forgets:
            self.battery.setpoint = 0
            self.battery.update()
        await self.server.stop()
        await self.server.start()

    def fault_unsaved_settings(self, on: bool = True) -> None:
        """Answer that settings were never saved."""
        if isinstance(self.server, BatteryDongle):
            self.server.settings_saved = not on

    def fault_meter(self, state: str = "P1_NOT_CONNECTED") -> None:
        """Change the state of the P1 port; P1_OK is the good one."""
        if isinstance(self.server, P1Dongle):
            self.server.state = state
