"""A Huawei SUN2000 with LUNA2000 batteries on Modbus TCP."""

from typing import Annotated, Any, Final, Literal

from homebattery.simulated.plant import Plant

from .huawei_inverter import FORCIBLE_POWERS, BatteryStatus, Command, Meter, Sun2000
from .huawei_registers import ALARMS, PACKS
from .huawei_units import PERMISSION_DENIED, Access, HuaweiUnits, OtherUnits
from .huawei_values import Sun2000Values
from .modbus import DEVICE_BUSY, WRITE_SINGLE
from .modbus_server import ModbusServer
from .simulator import MODBUS_FAULTS, Simulator, State
from .words import Values

SMART_LOGGER_CLIENTS: Final = 5
HOUSE_METERS: Final = ("emma", "smartlogger")
"""The gateways that measure the house instead of a meter at the inverter."""
MODEL_IDS: Final = {"SUN2000-6KTL-M1": 427, "SUN2000-6KTL-L1": 343}
OTHER_MODEL: Final = 500  # the list of ids is older than many models


class HuaweiSimulator(Simulator):
    """A SUN2000 hybrid inverter with up to two LUNA2000 batteries, and a meter."""

    type = "sun2000"
    plant_defaults = {"phases": 3, "pv_dc_share": 1.0}
    server_faults = MODBUS_FAULTS
    server: ModbusServer

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        access: Annotated[Access, "what is in front; wlan: no writing"] = "sdongle",
        unit_id: Annotated[int, "of the inverter"] = 1,
        model: Annotated[str, "none: by the phases, SUN2000-6KTL-M1 or -L1"] = "",
        rated_power: Annotated[float, "of the inverter, W"] = 6000.0,
        battery_units: Annotated[int, "0, 1 or 2"] = 1,
        packs: Annotated[int, "of each of them, 1…3"] = 2,
        empty_slots: Annotated[bool, "slots without a pack read 0"] = False,
        meter: Annotated[Meter, "the inverter's; an EMMA has its own"] = "present",
        second_unit: Annotated[int, "of another inverter, 0: there is none"] = 0,
        backup: Annotated[bool, "a backup box feeds the house without grid"] = False,
        working_mode: Annotated[int, "2 self-consumption, 4 feed-in, 5 periods"] = 2,
        charge_limit: Annotated[float, "of the user, W"] = 5000.0,
        discharge_limit: Annotated[float, "of the user, W"] = 5000.0,
        grid_charge_limit: Annotated[float, "of the user, W"] = 5000.0,
        grid_charge: Annotated[bool, "periods may charge from the grid"] = False,
        max_soc: Annotated[float, "90…100 %%"] = 100.0,
        min_soc: Annotated[float, "0…20 %%"] = 5.0,
        backup_soc: Annotated[float, "kept for a grid failure, %%"] = 0.0,
        own_floor: Annotated[float, "ends a forcible discharge, %%"] = 0.0,
        curtails: Annotated[bool, "a forcible command bounds the panels"] = True,
        trims: Annotated[bool, "limits too high are trimmed, not refused"] = False,
        function_6: Annotated[bool, "single words can be written with it"] = True,
        other_units: Annotated[OtherUnits, "how other unit ids answer"] = "refuse",
        settle: Annotated[float, "seconds a new client is not heard"] = 0.0,
        refresh: Annotated[float, "seconds between new values"] = 0.0,
        serial: Annotated[str, "of the inverter"] = "HV2250123456",
    ) -> None:
        """Install the device in the house."""
        self.plant = plant or self.house()
        if access in HOUSE_METERS and meter == "present":
            meter = "offline"  # it is the gateway's
        self.device = Sun2000(
            self.plant,
            battery_units=battery_units,
            rated_power=rated_power,
            meter=meter,
            backup=backup,
            curtails=curtails,
            trims=trims,
            settings={
                "working_mode": working_mode,
                "charge_limit": charge_limit,
                "discharge_limit": discharge_limit,
                "grid_charge_limit": grid_charge_limit,
                "grid_charge": int(grid_charge),
                "max_soc": max_soc,
                "min_soc": min_soc,
                "backup_soc": backup_soc,
            },
        )
        single_phase = len(self.plant.inverter_phases) == 1
        model = model or f"SUN2000-6KTL-{'L' if single_phase else 'M'}1"
        self.device.own_floor = own_floor
        identity: Values = {
            "model": model,
            "serial": serial,
            "part_number": "01074311",
            "firmware": "V100R001C00SPC172",
            "software": "V100R001C00SPC172",
            "protocol": 0x0003_0000,
            "model_id": MODEL_IDS.get(model, OTHER_MODEL),
            "strings": 2,
            "trackers": 2,
            "rated_power": rated_power,
            "max_power": self.device.max_power,
            "max_reactive": 0.6 * self.device.max_power,
            "optimizers": 0,
        }
        self.values = Sun2000Values(self.device, identity, packs)
        self.units = HuaweiUnits(self.values, unit_id, refresh=refresh)
        self.units.other_units = other_units
        self.units.empty_slots = PACKS - packs if empty_slots else 0
        if not function_6:
            self.units.functions -= {WRITE_SINGLE}
        self.units.stand_behind(access)
        if second_unit:
            self.units.add_inverter(second_unit)
        self.server = ModbusServer(self.units, host, port, clock=self.plant.clock)
        self.server.set_faults(settle=settle)
        if access == "smartlogger":
            self.server.set_faults(max_clients=SMART_LOGGER_CLIENTS)
        else:
            self.server.set_faults(one_client=True)

    def fit(self, *, battery_units: int, packs: int) -> None:
        """Connect other batteries, each with so many packs, as an installer does."""
        self.device.battery_units, self.values.packs = battery_units, packs
        self.units.refit()

    @property
    def setup(self) -> dict[str, Any]:
        """Settings that a user would enter to reach this device."""
        return {**super().setup, "unit_id": self.units.unit}

    @property
    def mode(self) -> Literal["automatic", "controlled"]:
        """Controlled by a forcible command, or while both limits lock the battery."""
        device = self.device
        held = device.battery_units > 0 and not (
            device.number("charge_limit") or device.number("discharge_limit")
        )
        return "controlled" if device.forcible or held else "automatic"

    def device_state(self) -> State:
        """Return the forcible command, limits and settings."""
        device = self.device
        state: State = {
            "device_status": self.values.device_status,
            "alarms": sorted(self.values.alarms),
            "curtailing": device.curtailing,
            "settings": dict(device.settings),
            "words": {
                str(row.address): row.register.encode(device.settings[name])
                for name, row in device.rows.items()
            },
            "flash_writes": sum(device.flash_writes.values()),
            "flash_writes_by_setting": dict(device.flash_writes),
        }
        if not device.battery_units:
            return state
        return {
            **state,
            "battery_status": self.values.battery_status,
            "working_mode": int(device.number("working_mode")),
            "active_mode": self.values.active_mode,
            "forcible": device.forcible.name.lower(),
            "forcible_power": device.forcible_power,
            "remaining": device.remaining,
            "target_soc": device.target_soc,
            "charge_limit": device.number("charge_limit"),
            "discharge_limit": device.number("discharge_limit"),
        }

    def settings_words(self) -> dict[str, Any]:
        """Return every writable register by address, and whether the inverter is on.

        Without the duration and the two powers of a forcible command (47083, 47247,
        47249) while none runs: they have no effect then, and the next command brings
        its own.
        """
        device = self.device
        device.update()
        ended = () if device.forcible else ("forcible_minutes", *FORCIBLE_POWERS)
        words: dict[str, Any] = {"running": device.running}
        for name, row in device.rows.items():
            if row.address in self.units.absent or name in ended:
                continue
            encoded = row.register.encode(device.settings[name])
            words |= {str(at): word for at, word in enumerate(encoded, row.address)}
        return words

    # Misbehaviour of this device.

    def fault_busy(self, count: int = 1) -> None:
        """Answer the next requests with exception 6."""
        self.server.set_faults(
            exception=DEVICE_BUSY, exception_count=count, exception_unit=None
        )

    def fault_absent(
        self, first: int, last: int | None = None, code: int = 2, on: bool = True
    ) -> None:
        """Remove these registers from the firmware, or restore them."""
        for address in range(first, (last or first) + 1):
            if on:
                self.units.absent[address] = code
            else:
                self.units.absent.pop(address, None)

    def fault_unknown(self, address: int, on: bool = True) -> None:
        """Let the register at this address have no value."""
        if on:
            self.units.unknown.add(address)
        else:
            self.units.unknown.discard(address)

    def fault_sleep(self, unit: int | None = None, on: bool = True) -> None:
        """Let an inverter sleep; none: this one, else another behind the gateway."""
        at = self.units.unit if unit is None else unit
        if on:
            self.units.sleeping.add(at)
        else:
            self.units.sleeping.discard(at)

    def fault_meter(self, meter: Meter = "offline", hangs_up: bool = False) -> None:
        """Change the meter; reading one that is offline may end the connection."""
        self.device.meter = meter
        self.units.meter_hangs_up = hangs_up

    def fault_battery(self, status: BatteryStatus | None = "asleep") -> None:
        """Fix the batteries' state, which ends a forcible command; none: as it is."""
        self.device.battery_status = status
        self.device.update()

    def fault_status(self, code: int | None = 0x300) -> None:
        """Fix the device state; none: as it is."""
        self.values.status = code

    def fault_alarm(self, alarm: int = 2068, on: bool = True) -> None:
        """Raise an alarm by its id, or clear it."""
        if not any(alarm in ids for ids in ALARMS.values()):
            raise ValueError(f"There is no alarm {alarm}")
        if on:
            self.values.alarms.add(alarm)
        else:
            self.values.alarms.discard(alarm)

    def fault_grid_lost(self, on: bool = True) -> None:
        """Let the grid fail."""
        self.plant.grid_lost = on

    def fault_read_only(self, on: bool = True, code: int = PERMISSION_DENIED) -> None:
        """Refuse all writes with this code."""
        self.units.denied = code if on else None

    def fault_ignore_writes(self, on: bool = True) -> None:
        """Answer writes, and ignore them."""
        self.device.ignore_writes = on

    def fault_ignore_limits(self, on: bool = True) -> None:
        """Store the limits of charging and discharging, and ignore them."""
        self.device.ignore_limits = on

    def fault_keep_limits(
        self,
        on: bool = True,
        refused: bool = False,
        limits: tuple[str, ...] = ("charge_limit", "discharge_limit"),
    ) -> None:
        """Keep power limits as they are, as an EMMA may: answer a write, or refuse it."""
        self.device.kept = {*limits} if on and not refused else set()
        self.device.refused = {*limits} if on and refused else set()

    def fault_endless(self, on: bool = True) -> None:
        """Keep a forcible command running beyond its duration."""
        self.device.endless = on

    def fault_no_remaining(self, on: bool = True) -> None:
        """Show 0 as the remaining time of a forcible command."""
        self.values.shows_remaining = not on

    def fault_zero_totals(self, on: bool = True) -> None:
        """Show all lifetime counters as 0, as after a restart."""
        self.values.totals_are_zero = on

    def fault_negative_export(self, on: bool = True) -> None:
        """Show the meter's exported energy as a negative number."""
        self.values.exported_is_negative = on

    def fault_other_controller(self, power: float = 1000.0, minutes: int = 10) -> None:
        """Force a power (positive = charging) as another controller; 0: stop it."""
        device, charges = self.device, power > 0
        command = (Command.CHARGE if charges else Command.DISCHARGE) if power else 0
        for name, value in (
            ("forcible_charge" if charges else "forcible_discharge", abs(power)),
            ("forcible_minutes", minutes),
            ("forcible_until", 0),
            ("forcible", command),
        ):
            device.write(device.rows[name], value)

    def fault_setting(self, setting: str, value: float) -> None:
        """Change a setting (see the state), as a user with the app would."""
        if setting not in self.device.settings:
            raise ValueError(f"There is no setting {setting!r}")
        self.device.settings[setting] = value
        self.device.update()

    def fault_limits(self, power: float = 3000.0) -> None:
        """Change both power limits, as a user with the app would."""
        for setting in ("charge_limit", "discharge_limit"):
            self.fault_setting(setting, power)

    def fault_restart(self) -> None:
        """Restart: connections end, and settings that are not in flash are lost."""
        self.device.restart()
        self.fault_cut()
