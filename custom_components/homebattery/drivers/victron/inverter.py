"""Victron: a MultiPlus-II (or another VE.Bus system with ESS) behind a GX device.

Facts from Victron's published Modbus TCP register list and its open server
program (dbus_modbustcp), whose behaviour was observed with versions of September
2024 and April 2026, and from Victron's page on ESS mode 2 and 3. What is neither
documented nor seen on hardware is marked [uncertain].

- A request is routed by its register's service type and the unit id. The GX itself
  (system, settings, hub4) is unit 100; where the VE.Bus system, the battery and
  the grid meter sit differs from site to site and is found by probing, once.
- There is no 'not available' marker: what the GX does not know reads 0.
- Control is ESS mode 3 (external control): this driver writes the AC input setpoint
  of each phase, and the Multi forgets it after 60 s by Victron's word, after 10 to
  14 s in reports from the field. It then passes grid power through, battery idle.
- The point of control is the AC input. To hold the battery at a power, the loads
  on AC-out and the DC-coupled PV are added to the setpoint at every renewal. This
  follows from Victron's description but has not been proven on hardware.
- In mode 3 the GX does not keep its own protections (minimum SOC, discharge limit of
  the battery, feed-in limits, a generator at the input), so they are kept here: see
  `protections.py`.
"""

import asyncio
from collections.abc import Mapping, Sequence
import logging
import re
from typing import Any, ClassVar, Final, override

from ..address import check_unit_ids
from ..battery.base import SetpointLimits, SetupField
from ..battery.controller import DeviceIssue, Grant, SetpointRequest
from ..battery.counters import is_counter
from ..battery.export import Export, export_field
from ..battery.measuring import Identity
from ..battery.modbus import ModbusBattery
from ..battery.parts import Part, PartKind
from ..battery.readings import Formula, Values
from ..battery.settings import Setting
from ..errors import (
    IllegalAddressError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    WrongDeviceError,
)
from ..measurements import MOST_POWER, Value
from ..modbus.device import ModbusDevice
from ..modbus.probe import Detected, Probe
from ..modbus.register import Register
from . import control_block
from .controller import VictronController
from .measurements import (
    FORMULAS,
    BatteryTemperature,
    StateOfCharge,
    firmware,
    number,
    per_phase,
)
from .registers import (
    BATTERY,
    BATTERY_LIFE_MODES,
    GRID_METER,
    LAYOUT,
    PV_INVERTER,
    SYSTEM,
    SYSTEM_UNIT,
)
from .search import Candidate, Search
from .services import BATTERIES, GRID_METERS, PV_INVERTERS, Kind
from .settings import (
    ESS_SETTINGS,
    LARGEST,
    OF_UNKNOWN_RANGE,
    ROUNDED_TO,
    SETTING_REGISTERS,
    VEBUS_SETTINGS,
    gx_settings,
)
from .units import Capabilities, GxUnits

_LOGGER = logging.getLogger(__name__)

_GX_SERIAL: Final = re.compile("[0-9a-f]{12}")
(_SERIAL_NUMBER,) = (each for each in SYSTEM if each.name == "serial_number")
_ESS_SCAN: Final = 600.0
_NO_LIMIT: Final = -1
_DEFAULT_PHASE_RATING: Final = 5000
"""W a phase, where neither the device nor the user gives a rating."""


class VictronInverter(ModbusBattery):
    """A VE.Bus system with ESS, through the Modbus TCP server of its GX device.

    Unit ids that are not given are searched when connecting; a given VE.Bus unit id
    prevents that unless it `searches`, so that a restart never probes.
    """

    battery_type: ClassVar[str] = "victron"
    manufacturer: ClassVar[str] = "Victron Energy"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", required=False, advanced=True),
        SetupField("battery_unit_id", required=False, advanced=True),
        SetupField("grid_unit_id", required=False, advanced=True),
        SetupField("pv_unit_id", required=False, advanced=True),
    )
    ports: ClassVar[tuple[int, ...]] = (502,)
    option_fields: ClassVar[tuple[SetupField, ...]] = (
        export_field(Export.AS_PERMITTED),
    )
    keep_alive_interval = 5.0
    no_setpoint = "no setpoint without a VE.Bus system with ESS assistant"
    formulas: ClassVar[Sequence[Formula]] = FORMULAS
    layout = LAYOUT

    def __init__(
        self,
        address: str,
        port: int = 502,
        timeout: float = 5,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        unit_id: int | None = None,
        battery_unit_id: int | None = None,
        grid_unit_id: int | None = None,
        pv_unit_id: int | None = None,
        export: str = Export.AS_PERMITTED,
    ) -> None:
        """Describe the system; nothing is sent.

        `export` is one of `Export`; raises ValueError for another one.
        """
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            unit_id=unit_id,
        )
        check_unit_ids(address, battery_unit_id, grid_unit_id, pv_unit_id)
        self.battery_unit_id = battery_unit_id
        self.grid_unit_id = grid_unit_id
        self.pv_unit_id = pv_unit_id
        self.export = Export(export)
        self.ratings: tuple[float, ...] = ()
        """W of each phase, 0 where the device does not report it."""
        self._capabilities = Capabilities()
        self._formulas["battery_temperature"] = BatteryTemperature(
            has_service=lambda: self.battery_unit_id is not None
        ).formula
        self._formulas["battery_soc"] = StateOfCharge().formula
        self._formulas["power_setpoint"] = Formula(
            "power_setpoint", control_block.NAMES, self._setpoint_on_device
        )

    # Setting up

    @classmethod
    @override
    async def detect(cls, probe: Probe) -> list[Detected]:
        """Read the serial number alone, which every GX has.

        Some servers crash when they are asked for an absent service, so the services
        are only located at set-up.
        """
        plate = await probe.read(SYSTEM_UNIT, [_SERIAL_NUMBER])
        serial = plate.get(_SERIAL_NUMBER.name)
        if not isinstance(serial, str) or not _GX_SERIAL.fullmatch(serial):
            return []
        return [
            Detected(
                battery_type=cls.battery_type,
                model="GX device",
                serial_number=serial,
                setup=probe.setup,
            )
        ]

    @property
    @override
    def detected_config(self) -> Mapping[str, Any]:
        units = {
            "unit_id": self.unit_id,
            "battery_unit_id": self.battery_unit_id,
            "grid_unit_id": self.grid_unit_id,
            "pv_unit_id": self.pv_unit_id,
        }
        return {name: unit for name, unit in units.items() if unit is not None}

    @property
    def _units(self) -> GxUnits:
        """The services of the GX device."""
        return GxUnits(f"{self.address}:{self.port}", self.unit)

    @property
    @override
    def scan_interval(self) -> float:
        """Seconds until it is asked again for an ESS assistant that is not there.

        When a GX starts, its service may come after this driver has connected.
        """
        return _ESS_SCAN if self._may_get_ess else super().scan_interval

    @property
    def _may_get_ess(self) -> bool:
        return not (self._capabilities.has_ess or self._capabilities.is_rs)

    @override
    async def has_new_parts(self) -> bool:
        """Return True for a capability, too, that there was not when connecting."""
        return await self._has_more() or await super().has_new_parts()

    async def _has_more(self) -> bool:
        """Return True for an ESS assistant, an energy count or a rating that is new."""
        has, units = self._capabilities, self._units
        if self._may_get_ess and await units.has_ess(tries=1):
            return True
        if not has.has_history and await units.has_history(
            self.battery_unit_id, tries=1
        ):
            return True
        if all(self.ratings):
            return False
        unknown = {
            name
            for name, rating in zip(
                per_phase("rated_power"), self.ratings, strict=False
            )
            if not rating
        }
        values = await self.read_registers(self._register_names() & unknown, unknown)
        return any(number(values.get(name)) for name in unknown)

    @override
    async def _find_units(self) -> None:
        """Find the units that were not given, and the capabilities of all."""
        units = self._units
        if self.unit_id is None or self.searches:
            await self._search_units(Search(units))
        assert self.unit_id is not None
        self._capabilities = await units.find_capabilities(
            self.unit_id, self.battery_unit_id
        )

    async def _search_units(self, search: Search) -> None:
        """Search the services whose units were not given.

        Of several that would suit the first is taken; of PV inverters none, since each
        counts its own yield.
        """
        detected: dict[str, tuple[Kind, list[Candidate]]] = {}
        if self.unit_id is None:
            detected["unit_id"] = await search.find_inverter()
        if self.battery_unit_id is None:
            detected["battery_unit_id"] = BATTERIES, await search.find(BATTERIES)
        if self.grid_unit_id is None:
            detected["grid_unit_id"] = GRID_METERS, await search.find(GRID_METERS)
        if self.pv_unit_id is None:
            detected["pv_unit_id"] = PV_INVERTERS, await search.find_pv_inverters()
        for field, (kind, candidates) in detected.items():
            if candidates and (kind is not PV_INVERTERS or len(candidates) == 1):
                setattr(self, field, candidates[0].unit_id)
        self.choices = {
            field: await search.choices(kind, candidates)
            for field, (kind, candidates) in detected.items()
            if len(candidates) > 1
        }

    @override
    def _make_devices(self) -> list[ModbusDevice]:
        assert self.unit_id is not None
        has = self._capabilities
        devices = [
            self._device("GX", SYSTEM_UNIT, has.gx_registers),
            self._device("VE.Bus", self.unit_id, has.inverter_registers),
        ]
        optional: tuple[tuple[str, int | None, Sequence[Register]], ...] = (
            ("Battery", self.battery_unit_id, has.battery_registers),
            ("Grid meter", self.grid_unit_id, GRID_METER),
            ("PV inverter", self.pv_unit_id, PV_INVERTER),
        )
        devices.extend(
            self._device(name, unit_id, registers)
            for name, unit_id, registers in optional
            if unit_id is not None
        )
        return devices

    @override
    async def _identify(self) -> Identity:
        names = {"serial_number", "firmware_version", "firmware_beta", "custom_name"}
        ratings = ("rated_power", *per_phase("rated_power"))
        values = await self._read_identity(
            self._register_names() & {*names, *ratings}, "serial_number"
        )
        serial_number = values.get("serial_number")
        if not serial_number:
            raise WrongDeviceError(
                f"{self.address}:{self.port}: unit {SYSTEM_UNIT} has no serial number"
            )
        self.ratings = tuple(
            number(values.get(name))
            for name in ratings[1 : self._capabilities.phases + 1]
        )
        name = values.get("custom_name")
        version = firmware(values) if "firmware_version" in values else None
        serial_number = str(serial_number)
        return Identity(
            serial_number=serial_number,
            # The serial number of a GX is the MAC address of its Ethernet port.
            mac=serial_number if _GX_SERIAL.fullmatch(serial_number) else None,
            manufacturer=self.manufacturer,
            model="Multi RS" if self._capabilities.is_rs else "VE.Bus system",
            name=str(name) if name else "Victron",
            firmware=str(version) if version else None,
        )

    @property
    @override
    def _serial_register(self) -> tuple[int, Register]:
        """That of the GX: a VE.Bus system has none of its own."""
        return SYSTEM_UNIT, _SERIAL_NUMBER

    @property
    @override
    def parts(self) -> tuple[Part, ...]:
        """The battery that has a service of its own; it reports no serial number.

        Energy counters are those of the system, wherever they are kept.
        """
        if self.battery_unit_id is None:
            return ()
        own = {register.name for register in BATTERY}
        keys = (
            key
            for key in self.measurements
            if own.issuperset(self._needs(key)) and not is_counter(key)
        )
        return (Part(kind=PartKind.BATTERY, keys=frozenset(keys)),)

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        settings = {
            **gx_settings(self._rated_power),
            **(ESS_SETTINGS if self._capabilities.has_ess else {}),
            **({} if self._capabilities.is_rs else VEBUS_SETTINGS),
        }
        return {
            key: setting
            for key, setting in settings.items()
            if key not in self._unsupported
        }

    @override
    def _setting_register(self, key: str) -> str:
        return SETTING_REGISTERS.get(key, key)

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        if key == "ess_battery_life_mode":
            await self._write_battery_life_mode(str(value))
        elif key in LARGEST and value is None:
            await self._lift_limit(key)
        else:
            if key == "grid_setpoint":
                await self._refuse_with_dynamic_ess()
            await self._write_as_taken(key, value)

    async def _lift_limit(self, key: str) -> None:
        """Set a power limit to none: by the register that can hold -1, if it is there.

        Where it is not, the largest value stands for that.
        """
        coarse, wide = f"{key}_coarse", f"{key}_wide"
        device, _ = self._register(coarse)
        report = await device.ask([coarse, wide])
        if isinstance(
            report.failures.get(wide), IllegalAddressError | NotSupportedError
        ):
            await device.write_confirmed(coarse, LARGEST[key], settle=self.settle)
            return
        for failure in report.failures.values():
            raise failure
        if report.values[wide] == _NO_LIMIT and not report.values[coarse]:
            return
        self.wear.check(device.name)
        await device.write(wide, _NO_LIMIT)
        await device.confirm({wide: _NO_LIMIT}, settle=self.settle)

    async def _write_as_taken(self, key: str, value: Value) -> None:
        """Write a setting; a number that the device has rounded or bounded counts.

        Raises InvalidValueError where it keeps its present one since its range is
        another, and what writing raises.
        """
        device, register = self._register(self._setting_register(key))
        before = await device.read_register(register.name)
        try:
            await super()._write_setting(key, value)
        except NotConfirmedError as err:
            seen = await device.read_register(register.name)
            off = abs(number(seen) - number(value))
            if register.enum is not None or isinstance(value, bool):
                raise
            if seen == before and off > ROUNDED_TO.get(key, 0) / 2:
                if key not in OF_UNKNOWN_RANGE:
                    raise
                raise InvalidValueError(
                    f"{key} cannot be {value}: the device keeps {seen}"
                ) from err
            _LOGGER.info("%s: %s is %s instead of %s", self.address, key, seen, value)

    async def _write_battery_life_mode(self, mode: str) -> None:
        """Write a mode to 2900; the GX goes on from there to a state of that mode."""
        device, register = self._register("battery_life_state")
        if await self.get("ess_battery_life_mode") == mode:
            return
        await device.write(register.name, BATTERY_LIFE_MODES[mode])
        await asyncio.sleep(self.settle)
        if (seen := await self.get("ess_battery_life_mode")) != mode:
            raise NotConfirmedError(
                f"{device.name}: ESS is still {seen} after choosing {mode}"
            )

    async def _refuse_with_dynamic_ess(self) -> None:
        """Raise NotSupportedError while Dynamic ESS writes the same setpoint itself."""
        device, register = self._register("dynamic_ess_active")
        report = await device.ask([register.name])
        if report.values.get(register.name):
            raise NotSupportedError(
                f"{self.address}: Dynamic ESS is active and sets the grid setpoint "
                "itself; switch it off on the GX first"
            )

    # Control

    @property
    @override
    def issues(self) -> frozenset[DeviceIssue]:
        controller = self._setpoint_controller
        wrong = {
            DeviceIssue.NO_ESS: not self._capabilities.is_rs
            and not self._capabilities.has_ess,
            DeviceIssue.WRITES_OFF: controller is not None
            and controller.writes_refused,
        }
        return frozenset(issue for issue, applies in wrong.items() if applies)

    @property
    def _rated_power(self) -> int:
        """The power that the system can convert, W; a default where it is unknown."""
        known = sum(self.ratings)
        if known and all(self.ratings):
            return round(min(known, MOST_POWER))
        return _DEFAULT_PHASE_RATING * self._capabilities.phases

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if self._capabilities.is_rs or not self._capabilities.has_ess:
            return None
        known = all(self.ratings) and bool(self.ratings)

        def limit(user_limit: int | None) -> int:
            if user_limit is None:
                return self._rated_power
            return min(user_limit, self._rated_power) if known else user_limit

        return SetpointLimits(
            -limit(self.max_discharge_power), limit(self.max_charge_power)
        )

    @property
    @override
    def setpoint_phases(self) -> int:
        return self._capabilities.phases if self.setpoint_limits else 0

    @override
    def _make_controller(self) -> VictronController | None:
        if self.setpoint_limits is None:
            return None
        gx, _ = self._register("working_mode")
        vebus, _ = self._register("setpoint_l1")
        return VictronController(self, gx, vebus, self.ratings, self.export)

    @override
    async def set_power_setpoint_phase(self, power: float, phase: int) -> Grant:
        if not 1 <= phase <= self.setpoint_phases:
            return await super().set_power_setpoint_phase(power, phase)
        # After a setpoint for all phases together the others begin at 0.
        before = () if self.held is None else self.held.request.phases
        phases = list(before) or [0.0] * self._capabilities.phases
        phases[phase - 1] = power
        total = sum(phases)
        if total:
            phases = [share * self._clamp(total) / total for share in phases]
        return await self._apply(SetpointRequest(sum(phases), phases=tuple(phases)))

    def _setpoint_on_device(self, v: Values) -> Value:
        """Return the battery power that the device is held at, W, if it is held."""
        # Without one of them the measurement fails with it.
        for name in ("setpoint_l1", "disable_charge", "disable_feed_in"):
            _ = v[name]
        controller = self._setpoint_controller
        if self.snapshot is None or controller is None:
            return None
        return controller.setpoint_in(v)

    @property
    def _setpoint_controller(self) -> VictronController | None:
        """The controller, by its own type."""
        controller = self.controller
        return controller if isinstance(controller, VictronController) else None
