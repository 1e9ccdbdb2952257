"""A Deye hybrid inverter (SUN-5…12K-SG04LP3 and alike) on Modbus or behind a logger.

It knows two functions only: reading holding registers, and writing several registers.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from homebattery.simulated.plant import Plant

from .deye_control import REMOTE, REMOTE_MODE, Habits, SellFlag, SlotPower
from .deye_inverter import DeyeInverter, FedBy, Step
from .deye_registers import (
    MICRO_INVERTER,
    SELLING_FIRST,
    SLOTS,
    TOU_EVERY_DAY,
    ZERO_EXPORT_TO_CT,
    ZERO_EXPORT_TO_LOAD,
    Model,
    Variant,
)
from .deye_units import Absent, DeyeUnits, OutOfRange
from .deye_values import Identity, live
from .modbus import Silent
from .modbus_server import ModbusServer
from .rtu import RtuServer
from .simulator import MODBUS_FAULTS, Simulator, State

type Framing = Literal["tcp", "rtu"]
type WorkMode = Literal["selling_first", "zero_export_to_load", "zero_export_to_ct"]
type Energies = Literal["auto", "tenths", "whole"]
type SellBit = Literal["auto", "ignored", "needed", "enough"]

SELL_BIT_SINCE: Final = 0x1184
WHOLE_KWH_SINCE: Final = 0x1098
"""Main firmware from which on a high-voltage inverter counts energy in kWh."""
WORK_MODES: Final[Mapping[WorkMode, int]] = {
    "selling_first": SELLING_FIRST,
    "zero_export_to_load": ZERO_EXPORT_TO_LOAD,
    "zero_export_to_ct": ZERO_EXPORT_TO_CT,
}
STEPS_SHOWN: Final = 20


class DeyeSimulator(Simulator):
    """A Deye inverter, whatever the way to reach it."""

    plant_defaults = {
        "phases": 3,
        "capacity": 15_360.0,
        "max_charge": 12_000.0,
        "max_discharge": 12_000.0,
        "pv_peak": 8000.0,
        "pv_dc_share": 1.0,
        "mean_load": 800.0,
    }
    server: Any

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        variant: Annotated[
            Variant, "low or high voltage with three phases, or single-phase"
        ] = "lv",
        rated_power: Annotated[int, "W"] = 12_000,
        max_current: Annotated[int, "most that the current settings take, A"] = 240,
        unit: Annotated[int, "unit id"] = 1,
        serial: Annotated[str, "of the inverter, 10 characters"] = "2207112233",
        release: Annotated[str, "of the main firmware, 4 hexadecimal digits"] = "1170",
        energies: Annotated[
            Energies,
            "what counters count; auto: whole kWh with high voltage from release "
            f"{WHOLE_KWH_SINCE:x}, else tenths (after a release with a letter, too)",
        ] = "auto",
        extension: Annotated[
            bool, "powers have high words, unlike old firmware"
        ] = True,
        remote: Annotated[bool, "it has the remote mode of newer firmware"] = False,
        remote_charge_sign: Annotated[
            int, "sign of remote battery power that means charging"
        ] = -1,
        remote_fed_by: Annotated[FedBy, "what the remote watchdog waits for"] = "write",
        two_batteries: Annotated[bool, "half of the battery at each of two inputs"] = (
            False
        ),
        more_strings: Annotated[bool, "PV at eight inputs instead of two"] = False,
        micro_inverters: Annotated[
            bool, "AC-coupled PV is at the GEN port, and counted there"
        ] = False,
        packs: Annotated[int, "battery packs that tell of themselves"] = 0,
        bms_charge: Annotated[int, "charge current that the BMS allows, A"] = 200,
        absent: Annotated[Absent, "what registers do that are not there"] = "refused",
        out_of_range: Annotated[
            OutOfRange, "what writes do that are out of range"
        ] = "refused",
        work_mode: Annotated[WorkMode, "of the user"] = "zero_export_to_ct",
        tou: Annotated[bool, "the user has time of use on, every day"] = True,
        sell_bit: Annotated[
            SellBit,
            f"of a slot: auto means needed from release {SELL_BIT_SINCE:x}, else ignored",
        ] = "auto",
        slot_power: Annotated[
            SlotPower, "what the power of a slot limits; both: charging from grid too"
        ] = "selling",
        discharges_without_tou: Annotated[
            bool, "time of use off does not stop the battery, as with older firmware"
        ] = False,
        honours_start_soc: Annotated[
            bool, "with time of use off, register 127 lets it charge from the grid"
        ] = True,
        charges_when_selling_first: Annotated[
            bool, "the grid may charge in selling first"
        ] = False,
        charge_current_caps_grid: Annotated[
            bool, "register 108 limits charging from the grid too"
        ] = True,
        backup_share: Annotated[float, "share of the load on the backup port"] = 0.2,
        power_ratio: Annotated[
            int, "with one phase, the W that most power words count"
        ] = 1,
        amp_steps: Annotated[
            int, "with one phase, parts of an ampere the battery current counts"
        ] = 100,
        meter: Annotated[bool, "with one phase, there is a meter or CT"] = True,
        settings: Mapping[int, int] | None = None,
    ) -> None:
        """Install the inverter in the house; `settings` are words set by the user."""
        if plant is None:
            plant = self.house(**({"phases": 1} if variant == "single" else {}))
        self.plant = plant
        model = Model(variant, rated_power, max_current)
        code = int(release, 16)
        self._variant, self._sell_bit = variant, sell_bit
        chosen = {
            model.address("work_mode"): WORK_MODES[work_mode],
            model.address("tou"): TOU_EVERY_DAY * tou,
            model.address("batteries_parallel"): int(two_batteries),
            model.address("gen_port"): MICRO_INVERTER * micro_inverters,
        }
        self.inverter = DeyeInverter(
            plant,
            model,
            habits=Habits(
                sell_flag=self._sell_flag(code),
                slot_power=slot_power,
                discharges_without_tou=discharges_without_tou,
                honours_start_soc=honours_start_soc,
                charges_when_selling_first=charges_when_selling_first,
                charge_current_caps_grid=charge_current_caps_grid,
                remote_charge_sign=remote_charge_sign,
            ),
            backup_share=backup_share,
            two_batteries=two_batteries,
            more_strings=more_strings,
            remote=remote,
            fed_by=remote_fed_by,
            settings={address: word for address, word in chosen.items() if address}
            | dict(settings or {}),
        )
        self.inverter.bms.charge_current = bms_charge
        self.units = DeyeUnits(
            self.inverter,
            Identity(
                *(serial, code, unit, extension, packs),
                self._is_whole(code, energies),
                *(power_ratio, amp_steps, meter),
            ),
            absent=absent,
            out_of_range=out_of_range,
        )

    @property
    @abstractmethod
    def setup(self) -> dict[str, Any]:
        """Settings that a user would enter to reach this device."""
        return {**super().setup, "unit_id": self.units.identity.unit}

    @property
    def mode(self) -> Literal["automatic", "controlled"]:
        """Controlled in remote mode, or while any setting differs from the user's."""
        inverter = self.inverter
        return "controlled" if inverter.remote_on or inverter.borrowed else "automatic"

    @property
    def trail(self) -> list[Step]:
        """Every write that took effect, and its result; see `DeyeInverter.what_if`."""
        return self.inverter.trail

    def device_state(self) -> State:
        """Return the settings that decide, the resulting powers, and the writes."""
        inverter = self.inverter
        settings = inverter.settings
        names = {word: name for name, word in WORK_MODES.items()}
        return {
            "activity": inverter.activity,
            "charge_current": settings["charge_current"],
            "discharge_current": settings["discharge_current"],
            "grid_charge": settings["grid_charge"],
            "grid_charge_current": settings["grid_charge_current"],
            "work_mode": names.get(settings["work_mode"]),
            "max_sell_power": settings.power("max_sell_power"),
            "solar_sell": settings["solar_sell"],
            "battery_mode": settings["battery_mode"],
            "low_soc": settings["low_soc"],
            "tou": settings["tou"],
            "slots": [
                {
                    "time": settings.slot("slot_time", slot),
                    "power": settings.power("slot_power", slot),
                    "soc": settings.slot("slot_soc", slot),
                    "flags": settings.slot("slot_flags", slot),
                }
                for slot in range(SLOTS)
            ],
            "borrowed": {str(at): both for at, both in inverter.borrowed.items()},
            "remote": inverter.remote
            and {str(at): word for at, word in inverter.remote.items() if word},
            "clock": inverter.now.isoformat(),
            "flash_writes": sum(inverter.flash_writes.values()),
            "needless_writes": inverter.needless_writes,
            "resets": inverter.resets,
            "below_low_soc": inverter.below_low_soc,
            "bms_exceeded": inverter.bms_exceeded,
            "trail": [
                {
                    "address": step.address,
                    "words": step.written,
                    "activity": step.decision.activity,
                    "battery_power": round(step.decision.battery, 1),
                    "grid_power": round(step.decision.grid, 1),
                }
                for step in inverter.trail[-STEPS_SHOWN:]
            ],
        }

    def settings_words(self) -> dict[str, Any]:
        """Return every writable register by address.

        Without those that show a measurement, whatever is written there: the clock
        (62…64; 22…24 with one phase) and the values of the BMS (210…229). While remote
        mode is off, only its switch counts: the inverter ignores the rest then.
        """
        inverter = self.inverter
        inverter.update()
        measured = live(inverter, self.units.identity)
        words = {at: word for at, word in inverter.words.items() if at not in measured}
        if inverter.remote is not None:
            heeded = REMOTE if inverter.remote_on else (REMOTE_MODE,)
            words |= {at: inverter.remote[at] for at in heeded}
        return {str(at): word for at, word in words.items()}

    def _sell_flag(self, release: int) -> SellFlag:
        """Return what a slot's permission to sell does with a release."""
        if self._sell_bit != "auto":
            return self._sell_bit
        has_it = release >= SELL_BIT_SINCE and self._variant == "lv"
        return "needed" if has_it else "ignored"

    def _is_whole(self, release: int, energies: Energies) -> bool:
        """Return whether energies are counted in whole kWh with a release."""
        if energies != "auto":
            return energies == "whole"
        is_number = f"{release:04x}".isdecimal()
        return self._variant == "hv" and is_number and release >= WHOLE_KWH_SINCE

    def fault_firmware(
        self, release: str = "1184", energies: Energies = "auto"
    ) -> None:
        """Update the main firmware from afar; the connection to a gateway stays."""
        code = int(release, 16)
        units, inverter = self.units, self.inverter
        units.identity = replace(
            units.identity, release=code, whole_kwh=self._is_whole(code, energies)
        )
        inverter.habits = replace(inverter.habits, sell_flag=self._sell_flag(code))

    # Misbehaviour of the inverter.

    def fault_ignore_writes(self, on: bool = True) -> None:
        """Answer writes, and let them have no effect."""
        self.inverter.ignore_writes = on

    def fault_apply_delay(self, seconds: float = 1.0) -> None:
        """Let writes take effect this many seconds after they were answered."""
        self.inverter.apply_delay = seconds

    def fault_no_amps(
        self, how: Literal["refused", "kept", "taken"] = "refused"
    ) -> None:
        """Refuse a charge or discharge current of 0, or answer it and ignore it."""
        self.units.refuses_no_amps = how == "refused"
        self.inverter.keeps_amps = how == "kept"

    def fault_half_answers(self, on: bool = True) -> None:
        """Answer function 6 (write one register) with half a frame."""
        self.units.half_answers = on

    def fault_silent(self, first: int = 586, last: int = 708) -> None:
        """Leave reads of these registers without an answer; last < first: none."""
        self.units.silent = range(first, last + 1)

    def fault_most_words(self, count: int = 60) -> None:
        """Leave reads of more words without an answer."""
        self.units.most_words = count

    def fault_zeros(self, count: int = 1) -> None:
        """Answer this many reads of live values with zeros only."""
        self.units.zero_reads = count

    def fault_settings(self, address: int, words: Sequence[int]) -> None:
        """Change settings, as the user does at the display."""
        self.inverter.set_by_user(address, words)

    def fault_restart(self) -> None:
        """Power-cycle the inverter: settings stay, remote mode does not."""
        self.inverter.restart()
        self.server.cut()

    def fault_grid_lost(self, on: bool = True) -> None:
        """Let the grid fail."""
        self.plant.grid_lost = on

    def fault_bms(
        self, charge: int = 0, discharge: int = 0, force_charge: bool = False
    ) -> None:
        """Let the BMS allow these currents, A, and ask for charging."""
        bms = self.inverter.bms
        bms.charge_current, bms.discharge_current = charge, discharge
        bms.force_charge = force_charge

    def fault_blank_bms(self, on: bool = True) -> None:
        """Answer 0xFFFF for all that the BMS reports, while the battery works."""
        self.inverter.bms.blank = on

    def fault_backup_feed(self, power: float = 900.0) -> None:
        """Let another inverter feed in at the backup port, W."""
        self.inverter.backup_feed = power

    def fault_battery_lost(self, on: bool = True) -> None:
        """Cut the battery's communication."""
        self.inverter.bms.lost = on

    def fault_warning(self, number: int = 2, on: bool = True) -> None:
        """Raise a warning (1…32); it goes on working."""
        (self.inverter.alarms.add if on else self.inverter.alarms.discard)(number)

    def fault_trip(self, number: int = 18, on: bool = True) -> None:
        """Raise a fault (1…64); the inverter stops."""
        (self.inverter.faults.add if on else self.inverter.faults.discard)(number)

    def fault_temperature(self, celsius: float = 75.0, battery: float = 24.0) -> None:
        """Change the temperature of the heat sink and of the battery."""
        self.inverter.temperature = celsius
        self.inverter.bms.temperature = battery


class DeyeModbusSimulator(DeyeSimulator):
    """A Deye hybrid inverter on Modbus TCP, or behind a gateway for RTU frames."""

    type = "deye_modbus"
    server_faults = MODBUS_FAULTS
    server: ModbusServer | RtuServer

    def __init__(
        self,
        plant: Plant | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        framing: Annotated[Framing, "Modbus TCP, or RTU frames in a stream"] = "tcp",
        **inverter: Any,
    ) -> None:
        """Connect the inverter; `inverter` are the options of `DeyeSimulator`."""
        super().__init__(plant, **inverter)
        self.framing = framing
        clock = self.plant.clock
        if framing == "rtu":
            self.units.other_unit = Silent
            self.server = RtuServer(self.units, host, port, clock=clock)
        else:
            self.server = ModbusServer(self.units, host, port, clock=clock)

    @property
    def setup(self) -> dict[str, Any]:
        """Settings that a user would enter to reach this device."""
        framing = {} if self.framing == "tcp" else {"framing": self.framing}
        return {**super().setup, **framing}
