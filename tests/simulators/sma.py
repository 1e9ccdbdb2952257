"""An SMA Sunny Island battery inverter on Modbus TCP."""

from typing import Annotated, Any, Final, Literal

from homebattery.simulated.plant import Plant

from .modbus_server import ModbusServer
from .simulator import MODBUS_FAULTS, Simulator, State
from .sma_inverter import SunnyIsland
from .sma_registers import STORAGES, Tag
from .sma_units import UNIT, OtherUnits, SmaUnits, WriteOnly
from .sma_values import SunnyIslandValues
from .words import Value

type OnLoss = Literal["keep", "fall_back"]
type ChargeControl = Literal["yes", "no", "unknown"]

MAX_CLIENTS: Final = 4
ON_LOSS: Final = {"keep": Tag.KEEP, "fall_back": Tag.FALL_BACK}
CHARGE_CONTROL: Final = {"yes": Tag.YES, "no": Tag.NO, "unknown": None}


class SmaSimulator(Simulator):
    """A Sunny Island, or three in a cluster, with a battery and a meter."""

    type = "sma"
    server_faults = MODBUS_FAULTS
    server: ModbusServer

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        model: Annotated[
            int, "9476 SI8.0H-13, 9278 one of series -11, 9356 SBS3.7-10"
        ] = 9476,
        rated_power: Annotated[float, "of one device, W"] = 6000.0,
        meter: Annotated[bool, "a meter tells it about the house"] = True,
        min_soc: Annotated[float, "of self-consumption, %%"] = 15.0,
        power_mode: Annotated[int, "1079: it can be controlled"] = 1079,
        charge_control: Annotated[ChargeControl, "is possible, as it says"] = "yes",
        on_loss: Annotated[OnLoss, "of setpoints"] = "fall_back",
        time_out: Annotated[float, "seconds a setpoint holds, 1…1800"] = 600.0,
        read_back: Annotated[bool, "copies of write-only registers are there"] = True,
        write_only: Annotated[WriteOnly, "how reading such registers ends"] = "refuse",
        per_phase: Annotated[bool, "a cluster gives the setpoint per device"] = False,
        other_units: Annotated[OtherUnits, "how other unit ids answer"] = "refuse",
        firmware: Annotated[str, "such as 3.20.9.R"] = "3.20.9.R",
        serial: Annotated[int, "of the device"] = 3012345678,
    ) -> None:
        """Install the device in the house, on the phases where its inverter is."""
        self.plant = plant or self.house()
        settings: dict[str, Value] = {
            "power_mode": power_mode,
            "on_loss": ON_LOSS[on_loss],
            "time_out": time_out,
        }
        self.device = SunnyIsland(
            self.plant,
            rated_power=rated_power,
            meter=meter,
            min_soc=min_soc,
            per_phase=per_phase,
            settings=settings,
        )
        self.device.ignore_setpoint = model in STORAGES
        self.fault_charge_control(charge_control)
        self.values = SunnyIslandValues(
            self.device, model=model, serial=serial, firmware=firmware
        )
        self.units = SmaUnits(self.values, read_back=read_back)
        self.units.other_units = other_units
        self.units.write_only = write_only
        self.server = ModbusServer(self.units, host, port, clock=self.plant.clock)
        self.server.set_faults(max_clients=MAX_CLIENTS)

    @property
    def setup(self) -> dict[str, Any]:
        """Settings that a user would enter to reach this device."""
        return {**super().setup, "unit_id": UNIT}

    @property
    def mode(self) -> Literal["automatic", "controlled"]:
        """Controlled while external control is on, even with a lapsed setpoint."""
        return "controlled" if self.device.is_external else "automatic"

    def device_state(self) -> State:
        """Return external control, time-out and settings; signs are the device's."""
        device = self.device
        return {
            "external": device.is_external,
            "setpoint": device.settings["setpoint"],
            "output": round(device.output, 1),
            "follows": device.follows,
            "remaining": device.remaining,
            "lapsed": device.has_lapsed,
            "on_loss": device.settings.get("on_loss"),
            "time_out": device.settings["time_out"],
            "power_mode": device.settings["power_mode"],
            "charge_control": device.charge_control,
            "operating_status": device.status,
            "health": self.values.health_now,
            "settings": dict(device.settings),
            "flash_writes": sum(device.flash_writes.values()),
            "flash_writes_by_setting": dict(device.flash_writes),
            "locked_up": self.units.locked_up,
            "restarts": device.restarts,
        }

    def settings_words(self) -> dict[str, Any]:
        """Return every setting by address, also write-only ones.

        Without the setpoint (40149, 44425) while external control is off: it has no
        effect then.
        """
        device = self.device
        device.update()
        words: dict[str, Any] = {}
        for address, row in self.units.settings.items():
            unheeded = row.name == "setpoint" and not device.is_external
            if address in self.units.absent or unheeded:
                continue
            encoded = row.register.encode(device.settings.get(row.name))
            words |= {str(at): word for at, word in enumerate(encoded, address)}
        return words

    # Misbehaviour of this device.

    def fault_absent(self, address: int, on: bool = True) -> None:
        """Remove the register at this address, or restore it."""
        _put(self.units.absent, address, on)

    def fault_unknown(self, address: int, on: bool = True) -> None:
        """Let the register at this address have no value."""
        _put(self.units.unknown, address, on)

    def fault_standby(self, on: bool = True) -> None:
        """Report no power, current or energy of the battery, as in standby."""
        self.values.in_standby = on

    def fault_reversed_current(self, on: bool = True) -> None:
        """Show the battery current with the other sign."""
        self.values.current_is_reversed = on

    def fault_negative_rating(self, on: bool = True) -> None:
        """Show the rated charging power as a negative number."""
        self.values.rated_charge_is_negative = on

    def fault_health(self, code: int | None = 455) -> None:
        """Fix the device's health: 35 fault, 303 off, 455 warning; none: as it is."""
        self.values.health = code

    def fault_operating_status(self, code: int = 2677) -> None:
        """Leave grid-parallel operation (235): 2677 generator, 3664 emergency."""
        self.device.operating_status = code
        self.device.update()

    def fault_grid_lost(self, on: bool = True) -> None:
        """Let the grid fail; the battery feeds the house."""
        self.plant.grid_lost = on

    def fault_charge_control(self, charge_control: ChargeControl = "no") -> None:
        """Report whether the device can be controlled, and act so; or stay silent."""
        self.device.charge_control = CHARGE_CONTROL[charge_control]
        self.device.update()

    def fault_power_mode(self, mode: int = 303) -> None:
        """Change the mode of active power; only 1079 permits control."""
        self.device.settings["power_mode"] = mode
        self.device.update()

    def fault_ignore_writes(self, on: bool = True) -> None:
        """Answer writes, and ignore them."""
        self.device.ignore_writes = on

    def fault_ignore_setpoint(self, on: bool = True) -> None:
        """Accept setpoints, and ignore them."""
        self.device.ignore_setpoint = on
        self.device.update()

    def fault_other_controller(self, power: float = 1000.0, on: bool = True) -> None:
        """Set a power (positive = output) as another controller, or end its control."""
        external = Tag.EXTERNAL_ON if on else Tag.EXTERNAL_OFF
        for row, value in ((40149, power), (40151, external)):
            self.device.write(self.units.settings[row], value)

    def fault_setting(self, setting: str, value: float) -> None:
        """Change a setting (see the state), as the installer would."""
        if setting not in self.device.settings:
            raise ValueError(f"There is no setting {setting!r}")
        self.device.settings[setting] = value
        self.device.update()

    def fault_lock_up(self, requests: int | None = 50) -> None:
        """Fall silent after more requests in ten seconds, until power-cycled."""
        self.units.locks_up_above = requests

    def fault_power_cycle(self) -> None:
        """Switch off and on: connections end, and so does external control."""
        self.device.restart()
        self.units.power_cycle()
        self.fault_cut()


def _put(addresses: set[int], address: int, on: bool) -> None:
    if on:
        addresses.add(address)
    else:
        addresses.discard(address)
