"""The simulated battery as a device for the tests over all drivers.

The devices of `tests/simulators` listen on a socket. This one is a part of the driver,
so its tests show how driver and Home Assistant get on with it, and not that it does what
a real device does.
"""

from typing import Any, Final, Literal

from custom_components.homebattery.drivers.errors import (
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    RequestTimeoutError,
)
from custom_components.homebattery.drivers.measurements import Value
from custom_components.homebattery.drivers.simulated.device import (
    EXTERNAL_CONTROL,
    IDLE,
    MODE,
    SimulatedDevice,
)
from custom_components.homebattery.drivers.simulated.plant import BatteryPower, Plant
from tests.simulators import Simulator

SERIAL: Final = "SIM-4F2A"


class _FaultyDevice(SimulatedDevice):
    """A device that can be out of reach, and notes all that is written to it."""

    failure: BatteryError | None = None
    """The error of each read and write; None while it answers."""
    refusal: BatteryError | None = None
    """The error of each write alone."""

    def __init__(self, serial_number: str, plant: Plant) -> None:
        """Begin with nothing written."""
        super().__init__(serial_number, plant)
        self.written: list[tuple[str, Value]] = []

    def run(self) -> None:
        if self.failure is not None:
            raise self.failure
        super().run()

    def write(self, key: str, value: Value) -> None:
        self._note(key, value)
        super().write(key, value)

    def hold(self, power: float) -> None:
        self._note("power_setpoint", power)
        super().hold(power)

    def _note(self, key: str, value: Value) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.written.append((key, value))


class InProcessDevice(Simulator):
    """A simulated battery, reached by its serial number while started."""

    type = "simulated"
    server_faults = {}
    # Those of the driver's own module: the others take them from the library by itself.
    plant: Any
    server: Any = None

    def __init__(self, plant: Any = None, *, serial: str = SERIAL) -> None:
        """Install the battery in the house."""
        self.plant = plant or self.house()
        self.device = _FaultyDevice(serial, self.plant)

    @classmethod
    def house(cls, **arguments: Any) -> Any:
        """Return a house of the driver's own kind."""
        return Plant(**arguments)

    @property
    def setup(self) -> dict[str, Any]:
        """Settings that an entry has of it; its serial number is on no form."""
        return {
            "battery_capacity": round(self.plant.capacity / 1000),
            "rated_power": round(self.plant.max_charge),
            "pv_peak": round(self.plant.pv_peak),
            "mean_load": round(self.plant.mean_load),
            "serial_number": self.device.serial_number,
        }

    @property
    def mode(self) -> Literal["automatic", "controlled"]:
        """Controlled while it follows a setpoint."""
        self.plant.run()
        follows = isinstance(self.plant.command, BatteryPower)
        in_control = self.device.mode == EXTERNAL_CONTROL
        return "controlled" if follows and in_control else "automatic"

    def device_state(self) -> dict[str, Any]:
        """Return its settings."""
        return dict(self.device.settings)

    def settings_words(self) -> dict[str, Any]:
        """Return its settings; a setpoint is none."""
        return dict(self.device.settings)

    async def start(self) -> None:
        """Let a driver reach it."""
        self.device.install()

    async def stop(self) -> None:
        """Be gone, as with its process."""
        self.device.remove()

    async def fault_away(self, on: bool = True) -> None:
        """Refuse each request, as if it were away."""
        away = CannotConnectError(f"{self.device.serial_number}: away")
        self.device.failure = away if on else None

    def fault_hang(self, on: bool = True) -> None:
        """Leave each request without an answer."""
        silent = RequestTimeoutError(f"{self.device.serial_number}: no answer")
        self.device.failure = silent if on else None

    def fault_refuse_writes(self, code: int = 4) -> None:
        """Refuse each write with this code; 0: they are taken again."""
        refusal = DeviceRefusedError(f"{self.device.serial_number}: refused", code)
        self.device.refusal = refusal if code else None

    def fault_other_controller(self) -> None:
        """End external control, as another controller would."""
        self.device.settings[MODE] = IDLE
