"""A Victron GX device (Venus OS) with ESS on Modbus TCP.

The server answers as the real one does, oddities included: see `VictronUnits`.
"""

from itertools import groupby
from typing import Annotated, Any, Final, Literal

from homebattery.simulated.plant import Plant

from .modbus import ILLEGAL_ADDRESS, PATH_UNAVAILABLE, Dropped, Refused, Units
from .modbus_server import ModbusServer
from .simulator import MODBUS_FAULTS, Simulator, State
from .victron_battery_life import ACTIVE_LIMIT, MIN_SOC, STATE
from .victron_gx import (
    GENERATOR,
    GRID,
    GRID_SETPOINT,
    MODE,
    NO_CHARGE,
    NO_FEED_IN,
    OFF,
    ON,
    OVERRIDE,
    SETPOINTS,
    SOC,
    BatteryKind,
    Gx,
)
from .victron_registers import Firmware, Register, RegisterMap
from .victron_values import Values, bank_values, values

SYSTEM_UNITS: Final = (0, 100)  # both mean the GX device itself
RESERVED_WORD: Final = 0xFFFF


class VictronUnits(Units):
    """Units that answer like the vendor's server.

    - An address in no range, or a hole inside a block: exception 2, without any data.
    - A service that is not at this unit: exception 10; inside a block: exception 2.
    - A value that is not available reads 0; a reserved word reads 0xFFFF.
    - A write to a read-only register, or with write access off: exception 2.
    - A write to a path the device does not have: exception 10, *after* the paths before
      it in the same request were written.
    - A word of a 32-bit register may be written alone; the other word stays.
    """

    max_write = 125

    def __init__(
        self,
        gx: Gx,
        units: dict[str, int | None],
        firmware: Firmware,
        banks: int = 0,
    ) -> None:
        """Serve a device; `units` has the units of vebus, battery, grid, pvinverter."""
        super().__init__()
        self.banks = banks
        """Number of batteries at the units from 1, of which the battery is the sum."""
        self.gx = gx
        self.firmware = firmware
        self.map = RegisterMap(firmware)
        self.units = units
        self.write_enabled = True
        self.crash_on_absent = False

    def read(self, unit: int, address: int, count: int) -> list[int]:
        """Return words, of one service or of several at the same unit."""
        self.gx.update()
        first = self._service(address)
        if not self._is_present(unit, first):
            raise self._absent()
        addresses = range(address, address + count)
        if any(each in self.map.borders for each in addresses[1:]):
            raise Refused(ILLEGAL_ADDRESS)
        words = []
        published: dict[str, Values] = {}
        for each in addresses:
            service = self._service(each)
            if service != first and self.firmware == "old":
                words.append(
                    0
                )  # old servers take the path from the service they started with
                continue
            if not self._is_present(unit, service):
                raise Refused(ILLEGAL_ADDRESS)
            if service not in published:
                published[service] = self._values(unit, service)
            words.append(self._word(published[service], each))
        return words

    def write(self, unit: int, address: int, words: list[int]) -> None:
        """Write path after path, until one is missing."""
        self.gx.update()
        service = self._service(address)
        numbered = list(enumerate(words, address))
        registers = [self.map.registers.get(each) for each, _ in numbered]
        if not self.write_enabled or any(
            register is None
            or not register.writable
            or self.map.services[each] != service
            for register, (each, _) in zip(registers, numbered, strict=True)
        ):
            raise Refused(ILLEGAL_ADDRESS)
        if not self._is_present(unit, service):
            raise self._absent()
        for register, part in groupby(
            numbered, key=lambda item: self.map.registers[item[0]]
        ):
            self._write_register(service, register, dict(part))

    def _write_register(
        self, service: str, register: Register, given: dict[int, int]
    ) -> None:
        published = values(self.gx, service)
        if register.path not in published:
            raise Refused(PATH_UNAVAILABLE)
        have = register.encode(published[register.path])
        joined = [
            given.get(each, word) for each, word in enumerate(have, register.address)
        ]
        self.gx.write(service, register.path, register.decode(joined))

    def _word(self, published: Values, address: int) -> int:
        if address in self.map.reserved:
            return RESERVED_WORD
        register = self.map.registers.get(address)
        if register is None:
            return 0
        return register.encode(published.get(register.path))[address - register.address]

    def _service(self, address: int) -> str:
        if address not in self.map.services:
            raise Refused(ILLEGAL_ADDRESS)
        return self.map.services[address]

    def _is_bank(self, unit: int, service: str) -> bool:
        return service == "battery" and 1 <= unit <= self.banks

    def _values(self, unit: int, service: str) -> Values:
        if self._is_bank(unit, service):
            return bank_values(self.gx, unit, self.banks)
        return values(self.gx, service)

    def _is_present(self, unit: int, service: str) -> bool:
        if self._is_bank(unit, service):
            return True
        if service not in self.units:
            return unit in SYSTEM_UNITS
        at = self.units[service]
        return unit in SYSTEM_UNITS if at == SYSTEM_UNITS[-1] else unit == at

    def _absent(self) -> Refused | Dropped:
        return Dropped() if self.crash_on_absent else Refused(PATH_UNAVAILABLE)


class VictronSimulator(Simulator):
    """A GX device with a MultiPlus-II (one to three phases), battery and grid meter."""

    type = "victron"
    server_faults = MODBUS_FAULTS
    server: ModbusServer

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        firmware: Annotated[
            Firmware, "server of September 2024, of 2025 or of April 2026"
        ] = "new",
        vebus_unit: Annotated[int, "unit id of the inverter"] = 227,
        rs_unit: Annotated[
            int, "unit id of a Multi RS in place of the inverter; 0: there is none"
        ] = 0,
        battery: Annotated[
            BatteryKind, "battery service: with BMS, a shunt, or none"
        ] = "bms",
        battery_unit: Annotated[int, "unit id of the battery"] = 225,
        meter: Annotated[bool, "there is a grid meter"] = True,
        grid_unit: Annotated[int, "unit id of the grid meter"] = 40,
        pv_unit: Annotated[int, "unit id of the PV inverter; 0: there is none"] = 0,
        banks: Annotated[
            int, "batteries at the units from 1, of which the battery is the sum"
        ] = 0,
        ess: Annotated[bool, "the ESS assistant is there"] = True,
        dynamic_ess: Annotated[bool, "Dynamic ESS is on"] = False,
        write_enabled: Annotated[bool, "Modbus may write"] = True,
        ess_mode: Annotated[int, "1, 2: the GX decides; 3: external control"] = 1,
        min_soc: Annotated[float, "for ESS modes 1 and 2, %%"] = 10.0,
        grid_setpoint: Annotated[float, "of the user, W"] = 50.0,
        critical_share: Annotated[float, "share of the load on the AC output"] = 0.2,
        pv_on_output: Annotated[
            bool, "AC-coupled solar power is on the AC output"
        ] = False,
        watchdog: Annotated[float, "seconds a setpoint holds in ESS mode 3"] = 60.0,
        apply_delay: Annotated[float, "seconds until a write takes effect"] = 0.0,
        serial: Annotated[str, "12 hexadecimal digits"] = "c0619a000001",
    ) -> None:
        """Install the device in the house."""
        self.plant = plant or self.house()
        self.gx = Gx(
            self.plant,
            battery=battery,
            critical_share=critical_share,
            pv_on_output=pv_on_output,
            dynamic_ess=dynamic_ess,
            watchdog=watchdog,
            serial=serial,
            settings={MODE: ess_mode, MIN_SOC: min_soc, GRID_SETPOINT: grid_setpoint},
        )
        self.gx.is_rs = bool(rs_unit)
        self.fault_apply_delay(apply_delay)
        self.units = VictronUnits(
            self.gx,
            {
                "vebus": None if rs_unit else vebus_unit,
                "multi": rs_unit or None,
                "battery": None if battery == "none" else battery_unit,
                "grid": grid_unit if meter else None,
                "pvinverter": pv_unit or None,
                "hub4": SYSTEM_UNITS[-1] if ess and not rs_unit else None,
            },
            firmware,
            banks,
        )
        self.units.write_enabled = write_enabled
        self._home = dict(self.units.units)
        self.server = ModbusServer(self.units, host, port, clock=self.plant.clock)

    @property
    def setup(self) -> dict[str, Any]:
        """Settings that a user would enter; None where there is no such service."""
        pv_unit = self._home["pvinverter"]
        return {
            **super().setup,
            **({} if pv_unit is None else {"pv_unit_id": pv_unit}),
            "unit_id": self._home["vebus"] or self._home["multi"],
            "battery_unit_id": self._home["battery"],
            "grid_unit_id": self._home["grid"],
        }

    @property
    def mode(self) -> Literal["automatic", "controlled"]:
        """Controlled in ESS mode 3, also when the setpoint has lapsed."""
        return "controlled" if self.gx.external else "automatic"

    def device_state(self) -> State:
        """Return settings, setpoints and flags."""
        gx = self.gx
        system = values(gx, "vebus")
        return {
            "ess_mode": int(gx.settings[MODE]),
            "setpoints": [gx.vebus[path] for path in SETPOINTS[: gx.plant.phases]],
            "disable_charge": int(gx.vebus[NO_CHARGE]),
            "disable_feed_in": int(gx.vebus[NO_FEED_IN]),
            "lapsed": gx.lapsed,
            "passthru": gx.passthru,
            "state": system["/State"],
            "grid_setpoint": gx.settings[GRID_SETPOINT],
            "grid_setpoint_override": gx.hub4[OVERRIDE],
            "min_soc": gx.settings[MIN_SOC],
            "settings": gx.settings,
            "flash_writes": sum(gx.flash_writes.values()),
            "bms_exceeded": gx.bms_exceeded,
        }

    def settings_words(self) -> dict[str, Any]:
        """Return every writable register by unit and address, as in 100/2902.

        Without the SOC (30), which the Multi counts; and, in all ESS modes but 3,
        without the setpoints (37, 40, 41, 96…101), which the loop of the GX writes.
        """
        gx, units = self.gx, self.units
        gx.update()
        moving = {SOC, *(() if gx.external else SETPOINTS)}
        words = {}
        for address, register in units.map.registers.items():
            service, path = units.map.services[address], register.path
            unit = units.units.get(service, SYSTEM_UNITS[-1])
            if unit is None or not register.writable or path in moving:
                continue
            published = values(gx, service)
            if path in published:
                encoded = register.encode(published[path])
                words[f"{unit}/{address}"] = encoded[address - register.address]
        return words

    # Misbehaviour of this device.

    def fault_read_only(self, on: bool = True) -> None:
        """Refuse writes with exception 2, as with write access switched off."""
        self.units.write_enabled = not on

    def fault_ignore_writes(self, on: bool = True) -> None:
        """Answer writes, and let them have no effect."""
        self.gx.ignore_writes = on

    def fault_idle(self, on: bool = True) -> None:
        """Let the inverter rest in ESS mode 3, and take setpoints all the same."""
        self.gx.idle = on
        self.gx.update()

    def fault_apply_delay(
        self, seconds: float = 1.0, service: str | None = None
    ) -> None:
        """Let writes (to one service) take effect so long after the answer."""
        for name in ("settings", "hub4", "vebus") if service is None else (service,):
            self.gx.apply_delay[name] = seconds

    def fault_late_loop(self, seconds: float = 1.0) -> None:
        """Delay the GX loop's last setpoint by this time after mode 3 was entered."""
        self.gx.loop_lag = seconds

    def fault_absent(self, service: str = "vebus", on: bool = True) -> None:
        """Remove a service (vebus, battery, grid, pvinverter, hub4), or restore it."""
        self.units.units[service] = None if on else self._home[service]

    def fault_banks(self, count: int = 2, unit: int = 77) -> None:
        """Put batteries in parallel at the units from 1, and their sum at a unit."""
        self.units.banks = count
        self.units.units["battery"] = unit

    def fault_crash_on_absent(self, on: bool = True) -> None:
        """End the connection at a request for an absent service, as in 2025."""
        self.units.crash_on_absent = on

    def fault_grid_lost(self, on: bool = True) -> None:
        """Let the grid fail."""
        self.plant.grid_lost = on

    def fault_alarm(self, path: str, level: int = 2, service: str = "vebus") -> None:
        """Raise an alarm, e.g. /Alarms/HighTemperature: 1 warning, 2 alarm, 0 over."""
        self.gx.alarms[(service, path)] = level

    def fault_restart(self) -> None:
        """Restart the GX: connections end; only settings and flash are kept."""
        self.gx.restart()
        self.fault_cut()

    def fault_generator(self, on: bool = True) -> None:
        """Let a generator feed the AC input instead of the grid."""
        self.gx.source = GENERATOR if on else GRID

    def fault_sustain(self, on: bool = True) -> None:
        """Let the inverter only sustain its battery, whose voltage was too low."""
        self.gx.sustain = on
        self.gx.update()

    def fault_battery_life(self, state: int = 2, limit: float = 55.0) -> None:
        """Put BatteryLife in a state, with an active SOC limit of its own, %."""
        self.gx.settings |= {STATE: state, ACTIVE_LIMIT: limit}
        self.gx.update()

    def fault_setting(self, path: str, value: float = 0.0) -> None:
        """Change a setting, e.g. CGwacs/MaxFeedInPower, as a user at the display."""
        self.gx.settings[f"/Settings/{path}"] = value
        self.gx.update()

    def fault_switch(self, on: bool = False) -> None:
        """Switch the inverter itself off or on; it still accepts the GX's writes."""
        self.gx.vebus["/Mode"] = ON if on else OFF
        self.gx.update()

    def fault_no_soc(self, on: bool = True) -> None:
        """Let nothing count the charge of the battery, as without a monitor."""
        self.gx.knows_soc = not on

    def fault_ess_mode(self, mode: int = 1) -> None:
        """Change the ESS mode, as a user at the display would."""
        self.gx.settings[MODE] = mode
        self.gx.update()

    def fault_other_controller(self, power: float = 1000.0) -> None:
        """Write a setpoint as another controller (W at the AC input of each phase)."""
        for path in SETPOINTS[: self.plant.phases]:
            self.gx.write("vebus", path, power)
        for path in (NO_CHARGE, NO_FEED_IN):
            self.gx.write("vebus", path, 0)

    def fault_bms(self, charge: float = 0.0, discharge: float = 0.0) -> None:
        """Let the BMS allow these currents, A."""
        self.gx.max_charge_current = charge
        self.gx.max_discharge_current = discharge
