"""Victron: a MultiPlus-II (or another VE.Bus system with ESS) behind a GX device.

Facts from Victron's published Modbus TCP register list and its open server
program (dbus_modbustcp), whose behaviour was observed with versions of September
2024 and April 2026, and from Victron's page on ESS mode 2 and 3. What is neither
documented nor seen on hardware is marked [uncertain].

- A request is routed by its register's service type and the unit id. The GX itself
  (system, settings, hub4) is unit 100; where the VE.Bus system, the battery and
  the grid meter sit differs from site to site and is found by probing, once.
- There is no 'not available' marker: what the GX does not know reads 0.
- Control is ESS mode 3 (external control): we write the AC input setpoint of each
  phase, and the Multi forgets it after 60 s by Victron's word, after 10 to 14 s in
  reports from the field. It then passes grid power through, battery idle.
- The point of control is the AC input. To hold the battery at a power, the loads
  on AC-out and the DC-coupled PV are added to the setpoint at every renewal. This
  follows from Victron's description but has not been proven on hardware.
- In mode 3 the GX ignores the battery's discharge limit and the minimum SOC, so
  both are kept here.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
import logging
import re
from typing import Any, ClassVar, Final, override

from ..battery.base import Found, Identity, SetpointLimits, SetupField
from ..battery.controller import Advice, LimitReason
from ..battery.counters import is_counter
from ..battery.modbus import ModbusBattery
from ..battery.parts import Part, PartKind
from ..battery.readings import Formula, Values
from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from ..errors import (
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    IllegalAddressError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
    TakenOverError,
    WrongDeviceError,
    WrongUnitError,
)
from ..measurements import Value
from ..modbus.device import ModbusDevice
from ..modbus.probe import Detected, Visit
from ..modbus.register import WORD, Register
from .measurements import FORMULAS, firmware, number, per_phase
from .registers import (
    BATTERY,
    BATTERY_LIFE_MODES,
    EXTERNAL_CONTROL,
    GRID_METER,
    HUB4,
    LAYOUT,
    MULTI_RS,
    PV_INVERTER,
    SETTINGS,
    SYSTEM,
    SYSTEM_UNIT,
    VEBUS,
)
from .setpoint import CONDITIONS, Grant, SetpointRule
from .units import GxUnits

_LOGGER = logging.getLogger(__name__)

_GX_SERIAL: Final = re.compile("[0-9a-f]{12}")
_CONTROL_BLOCK: Final = 37
_DEFAULT_PHASE_RATING: Final = 5000
"""W a phase, where neither the device nor the owner tells."""
_FRESH: Final = 6.0
"""Seconds that a reading may be used for a renewal without reading it again."""
_TOO_OLD: Final = 15.0
"""Seconds after which a reading no longer justifies a setpoint."""
_NEVER: Final = float("-inf")
_RELEASE_TRIES: Final = 3
_SETTLED: Final = 1.5
"""Seconds after a write until the registers show what came of it."""
_STRANGE_READS: Final = 3
_STRANGE_FOR: Final = 60.0
"""So many reads in so many seconds that show a setpoint of somebody else's are no
accident, such as the last one of the GX's own loop."""


class VictronInverter(ModbusBattery):
    """A VE.Bus system with ESS, through the Modbus TCP server of its GX device.

    Unit ids that are left out are found by probing when connecting; a VE.Bus unit
    id that is given stops that, so that a start never probes.
    """

    battery_type: ClassVar[str] = "victron"
    manufacturer: ClassVar[str] = "Victron Energy"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 502),
        SetupField("unit_id", required=False, rare=True),
        SetupField("battery_unit_id", required=False, rare=True),
        SetupField("grid_unit_id", required=False, rare=True),
        SetupField("pv_unit_id", required=False, rare=True),
    )
    ports: ClassVar[tuple[int, ...]] = (502,)
    keep_alive_interval = 5.0
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
    ) -> None:
        """Describe the system; nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            unit_id=unit_id,
        )
        self.battery_unit_id = battery_unit_id
        self.grid_unit_id = grid_unit_id
        self.pv_unit_id = pv_unit_id
        self.phases = 1
        self.ratings: tuple[float, ...] = ()
        """W of each phase, 0 where the device does not tell."""
        self._has_ess = True
        self._is_rs = False
        self._writes_refused = False
        """Whether a register that can be read was refused the last time we wrote."""
        self._has_history = True
        # Battery power wanted, of all phases together or of each; what was granted
        # of it, and the words written.
        self._wanted: list[float] = []
        self._granted: int | None = None
        self._written: list[int] = []
        self._written_at = _NEVER
        # Blocks written lately (a slow read may still show an older one), and when
        # (loop time, s) somebody else's was seen.
        self._lately: deque[list[int]] = deque(maxlen=8)
        self._strange: deque[float] = deque(maxlen=_STRANGE_READS)
        self._mode_writes = 0
        self._mode_seen = True
        """False until the mode that was written is read."""
        self._taken_over = ""
        """What somebody else has done to the device since the setpoint was given."""
        # The conditions of a setpoint as last read, and when (loop time, s).
        self._conditions_seen: dict[str, Value] = {}
        self._seen_at: dict[str, float] = {}
        self._rule = SetpointRule(self.ratings)
        self._bms_temperature_seen = False
        self._formulas["power_setpoint"] = Formula(
            "power_setpoint",
            (*per_phase("setpoint"), "disable_charge", "disable_feed_in"),
            self._setpoint_on_device,
        )

    # Setting up

    @classmethod
    @override
    async def recognise(cls, visit: Visit) -> list[Detected]:
        """Ask once, for the serial number of the GX, which every GX has.

        Nothing else: some servers crash over a question for an absent service, so
        where the services are is only found out when it is set up.
        """
        (register,) = (each for each in SYSTEM if each.name == "serial_number")
        serial = (await visit.read(SYSTEM_UNIT, [register])).get(register.name)
        if not isinstance(serial, str) or not _GX_SERIAL.fullmatch(serial):
            return []
        return [
            Detected(
                battery_type=cls.battery_type,
                model="GX device",
                serial_number=serial,
                setup=visit.setup,
            )
        ]

    @property
    @override
    def setup_found(self) -> Mapping[str, Any]:
        units = {
            "unit_id": self.unit_id,
            "battery_unit_id": self.battery_unit_id,
            "grid_unit_id": self.grid_unit_id,
        }
        return {name: unit for name, unit in units.items() if unit is not None}

    @override
    async def _find_units(self) -> None:
        """Find the units that were not given, and what they are capable of."""
        units = GxUnits(f"{self.address}:{self.port}", self.connection)
        if self.unit_id is None:
            self.unit_id = await units.find_inverter()
            if self.battery_unit_id is None:
                self.battery_unit_id = await units.find_battery()
            if self.grid_unit_id is None:
                self.grid_unit_id = await units.find_grid_meter()
        phases = await units.read(self.unit_id, 28)
        self._is_rs = phases is None
        if phases is None:
            phases = await units.read(self.unit_id, 4524)
        if phases is None:
            await units.check_gx()
            raise WrongUnitError(
                f"{self.address}:{self.port}: no VE.Bus system at unit {self.unit_id}"
            )
        self.phases = min(max(phases[0], 1), 3)
        # 2709 belongs to the ESS assistant's service; without it there is no mode 3.
        self._has_ess = await units.read(SYSTEM_UNIT, 2709) is not None
        if self.battery_unit_id is not None:
            history = await units.read(self.battery_unit_id, 301, 2)
            self._has_history = history is not None and any(history)

    @override
    def _make_devices(self) -> list[ModbusDevice]:
        assert self.unit_id is not None
        inverter = [
            register
            for register in (MULTI_RS if self._is_rs else VEBUS)
            if not register.name.endswith(per_phase("")[self.phases :])
        ]
        battery = [
            register
            for register in BATTERY
            if self._has_history or register.address not in (301, 302)
        ]
        gx = (*SYSTEM, *SETTINGS, *(HUB4 if self._has_ess else ()))
        devices = [
            self._device("GX", SYSTEM_UNIT, gx),
            self._device("VE.Bus", self.unit_id, inverter),
        ]
        optional: tuple[tuple[str, int | None, Sequence[Register]], ...] = (
            ("Battery", self.battery_unit_id, battery),
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
        values = await self._read_registers(self._register_names() & {*names, *ratings})
        serial_number = values.get("serial_number")
        if not serial_number:
            raise WrongDeviceError(
                f"{self.address}:{self.port}: unit {SYSTEM_UNIT} has no serial number"
            )
        self.ratings = tuple(
            number(values.get(name)) for name in ratings[1 : self.phases + 1]
        )
        self._rule = SetpointRule(self.ratings)
        name = values.get("custom_name")
        version = firmware(values) if "firmware_version" in values else None
        serial_number = str(serial_number)
        return Identity(
            serial_number=serial_number,
            # The serial number of a GX is the MAC address of its Ethernet port.
            mac=serial_number if _GX_SERIAL.fullmatch(serial_number) else None,
            manufacturer=self.manufacturer,
            model="Multi RS" if self._is_rs else "VE.Bus system",
            name=str(name) if name else "Victron",
            firmware=str(version) if version else None,
        )

    @property
    @override
    def parts(self) -> tuple[Part, ...]:
        """The battery that has a service of its own; its serial number is not told.

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
        rated = self._rated_power
        settings: dict[str, Setting] = {
            "working_mode": SelectSetting(options=self.options("working_mode")),
            "ess_battery_life_mode": SelectSetting(options=tuple(BATTERY_LIFE_MODES)),
            "min_soc": NumberSetting(minimum=0, maximum=100),
            "discharge_power_limit": NumberSetting(
                minimum=0, maximum=rated, step=10, unlimited=True
            ),
            "charge_current_limit": NumberSetting(
                minimum=0, maximum=1000, unlimited=True
            ),
            "max_feed_in_power": NumberSetting(
                minimum=0, maximum=100_000, step=100, unlimited=True
            ),
            "feed_in_dc_pv": SwitchSetting(),
            "prevent_ac_pv_feed_in": SwitchSetting(),
            "ac_export_limit": NumberSetting(minimum=0, maximum=400, unlimited=True),
            "ac_import_limit": NumberSetting(minimum=0, maximum=400, unlimited=True),
            "peak_shaving_mode": SelectSetting(
                options=self.options("peak_shaving_mode")
            ),
        }
        if self._has_ess:
            settings["grid_setpoint"] = NumberSetting(minimum=-50_000, maximum=50_000)
        if not self._is_rs:
            settings["ac_input_current_limit"] = NumberSetting(
                minimum=0, maximum=400, step=0.1
            )
            settings["switch_position"] = SelectSetting(
                options=self.options("switch_position")
            )
        return {
            key: setting
            for key, setting in settings.items()
            if key not in self._unsupported
        }

    @override
    def _setting_register(self, key: str) -> str:
        return {
            "discharge_power_limit": "discharge_power_limit_coarse",
            "max_feed_in_power": "max_feed_in_power_coarse",
            "grid_setpoint": "grid_setpoint_volatile",
        }.get(key, key)

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        if key == "ess_battery_life_mode":
            await self._write_battery_life_mode(str(value))
        elif key == "max_feed_in_power" and value is None:
            # 2706 was never seen to take 'no limit'; the register of 2026 does.
            await super()._write_setting("max_feed_in_power_wide", -1)
        else:
            if key == "grid_setpoint":
                await self._refuse_with_dynamic_ess()
            await super()._write_setting(key, value)

    async def _write_battery_life_mode(self, mode: str) -> None:
        """Write 2900: the GX moves on from there by itself to a state of the mode."""
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
        """Dynamic ESS writes the same setpoint each cycle: do not fight it."""
        values = await self._read_registers(["dynamic_ess_active"])
        if values.get("dynamic_ess_active"):
            raise NotSupportedError(
                f"{self.address}: Dynamic ESS is active and sets the grid setpoint "
                "itself; switch it off on the GX first"
            )

    # Control

    @property
    @override
    def advice(self) -> frozenset[Advice]:
        wrong = {
            Advice.NO_ESS: not self._is_rs and not self._has_ess,
            Advice.WRITES_OFF: self._writes_refused,
        }
        return frozenset(advice for advice, applies in wrong.items() if applies)

    @property
    def _rated_power(self) -> int:
        """W that the system can convert, as far as it is known."""
        known = sum(self.ratings)
        return (
            round(known)
            if all(self.ratings) and known
            else (_DEFAULT_PHASE_RATING * self.phases)
        )

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if self._is_rs or not self._has_ess:
            return None
        known = all(self.ratings) and bool(self.ratings)

        def limit(owner: int | None) -> int:
            if owner is None:
                return self._rated_power
            return min(owner, self._rated_power) if known else owner

        return SetpointLimits(
            -limit(self.max_discharge_power), limit(self.max_charge_power)
        )

    @property
    @override
    def setpoint_phases(self) -> int:
        return self.phases if self.setpoint_limits else 0

    @override
    async def read_found(self) -> Found:
        if self.setpoint_limits is None:
            raise NotSupportedError(
                f"{self.address}: no setpoint without a VE.Bus system with ESS assistant"
            )
        device, _ = self._register("working_mode")
        return {"working_mode": await device.read_register("working_mode")}

    @override
    async def set_power_setpoint(self, power: float) -> int:
        return await self._hold([float(self._clamp(power))])

    @override
    async def set_power_setpoint_phase(self, power: float, phase: int) -> int:
        if not 1 <= phase <= self.setpoint_phases:
            return await super().set_power_setpoint_phase(power, phase)
        # After a setpoint for all phases together the others begin at 0.
        one_each = len(self._wanted) == self.phases
        wanted = list(self._wanted) if one_each else [0.0] * self.phases
        wanted[phase - 1] = power
        total = sum(wanted)
        if total:
            wanted = [share * self._clamp(total) / total for share in wanted]
        return await self._hold(wanted)

    async def _hold(self, wanted: list[float]) -> int:
        """Enter external control if need be, and write the first setpoint."""
        found = await self.read_found()
        if found["working_mode"] != EXTERNAL_CONTROL:
            self.wear.check(self.address)
        if self.found is None or found["working_mode"] != EXTERNAL_CONTROL:
            # The latter: somebody changed the mode since; theirs is what to put back.
            self.found = found
        before, self._wanted = self._wanted, wanted
        if found["working_mode"] != EXTERNAL_CONTROL:
            gx, _ = self._register("working_mode")
            try:
                await self._write_mode(gx, EXTERNAL_CONTROL)
            except DeviceRefusedError:
                if not before:
                    # Nothing was written yet, so there is nothing to give back.
                    self.found, self._wanted = None, []
                raise
            self._note({"working_mode": EXTERNAL_CONTROL})
            self._mode_writes += 1
            self._mode_seen = False
        await self._look()
        # What was seen so far is what is to be replaced now.
        self._forget_others()
        return await self._renew()

    async def _write_mode(self, gx: ModbusDevice, mode: Value) -> None:
        """Write the ESS mode; a refusal means that writing is switched off.

        It has just been read, so it is there.
        """
        self._writes_refused = False
        try:
            await gx.write("working_mode", mode)
        except IllegalAddressError:
            self._writes_refused = True
            raise

    @override
    def wears_flash(self, power: float) -> bool:
        """External control is a setting in flash; the setpoints are not."""
        return not self._wanted or bool(self._taken_over)

    @override
    async def is_held(self) -> bool:
        found = await self.read_found()
        return bool(found["working_mode"] == EXTERNAL_CONTROL)

    @override
    async def keep_alive(self) -> int | None:
        if self.found is None or not self._wanted:
            return None
        await self.look()
        return await self._renew()

    async def _renew(self) -> int:
        """Write the setpoint for what is wanted, under the conditions of this moment.

        Raises TakenOverError when somebody else has left external control (the
        setpoint registers then belong to the GX's own loop), or writes setpoints too.
        And NotConfirmedError while the device does not show external control.
        """
        if not self._mode_seen and not self._is_external:
            raise NotConfirmedError(
                f"{self.address}: ESS mode is still "
                f"{self._conditions_seen['working_mode']} after writing "
                f"{EXTERNAL_CONTROL}"
            )
        self._taken_over = self._taken_over or self._what_others_did()
        if self._taken_over:
            raise TakenOverError(f"{self.address}: {self._taken_over}")
        grant = self._grant()
        await self._write_block(grant.setpoints, hold=not grant.setpoints)
        self._granted, self.limited_by = grant.power, grant.reason
        return grant.power

    @property
    def _is_external(self) -> bool:
        """False when the ESS mode that was read last is another one."""
        mode = self._conditions_seen.get("working_mode")
        return mode in (None, EXTERNAL_CONTROL)

    def _what_others_did(self) -> str:
        """Return what somebody else did to the device; nothing most of the time."""
        if not self._is_external:
            mode = self._conditions_seen["working_mode"]
            return (
                f"ESS mode is {mode} instead of external control; somebody else has "
                "changed it"
            )
        now = asyncio.get_running_loop().time()
        strange = [seen for seen in self._strange if now - seen <= _STRANGE_FOR]
        if len(strange) == _STRANGE_READS:
            return (
                f"another controller writes setpoints to registers {_CONTROL_BLOCK}.."
            )
        return ""

    def _grant(self) -> Grant:
        """Return what is granted under the conditions as far as they are known."""
        limits = self.setpoint_limits
        if limits is None or self._older_than(_TOO_OLD, self._needed):
            _LOGGER.debug("%s: readings are too old, holding", self.address)
            return Grant(0, [], LimitReason.UNKNOWN_STATE)
        return self._rule.setpoints(self._wanted, limits, self._conditions_seen)

    @property
    def _needed(self) -> set[str]:
        """The registers a setpoint depends on, without those refused the last time."""
        return self._register_names() & CONDITIONS - {
            name for device in self.devices for name in device.missing
        }

    @override
    async def _look(self) -> None:
        conditions = self._register_names() & CONDITIONS
        try:
            await self._read_registers(self._older_than(_FRESH, conditions))
        except (CannotConnectError, RequestTimeoutError) as err:
            _LOGGER.debug("%s: cannot read for the setpoint: %s", self.address, err)

    def _older_than(self, seconds: float, names: set[str]) -> set[str]:
        """Return those registers that were last read so long ago, or never."""
        now = asyncio.get_running_loop().time()
        return {
            name for name in names if now - self._seen_at.get(name, _NEVER) >= seconds
        }

    @override
    async def _read_into(
        self,
        names: Collection[str],
        values: dict[str, Value],
        failures: dict[str, BatteryError],
        *,
        again: Collection[str] = (),
    ) -> None:
        """Read registers, and note those that a setpoint depends on."""
        read: dict[str, Value] = {}
        mode_writes = self._mode_writes
        try:
            await super()._read_into(names, read, failures, again=again)
        finally:
            if mode_writes != self._mode_writes:
                # It may have been read before it was written.
                read.pop("working_mode", None)
            # 0 °C to the tenth is 'unknown', unless this sensor is known to exist.
            if read.get("bms_temperature") == 0 and not self._bms_temperature_seen:
                read["bms_temperature"] = None
            self._bms_temperature_seen |= bool(read.get("bms_temperature"))
            self._note(read)
            self._mode_seen |= read.get("working_mode") == EXTERNAL_CONTROL
            values.update(read)

    def _note(self, values: Mapping[str, Value]) -> None:
        """Remember what a setpoint depends on, with the time of reading."""
        now = asyncio.get_running_loop().time()
        for name in values.keys() & CONDITIONS:
            self._conditions_seen[name] = values[name]
            self._seen_at[name] = now
        block = self._block_in(values)
        if (
            self._wanted
            # Zeros are what is left of a setpoint that was forgotten.
            and any(block)
            and block not in self._lately
            and now - self._written_at >= _SETTLED
        ):
            self._strange.append(now)

    def _block_in(self, values: Mapping[str, Value]) -> list[int]:
        """Return the control block as it was read; empty where it was not."""
        first, *others = per_phase("setpoint")[: self.phases]
        names = (first, "disable_charge", "disable_feed_in", *others)
        if not values.keys() >= set(names):
            return []
        return [int(number(values[name])) & WORD for name in names]

    async def _write_block(self, setpoints: Sequence[int], *, hold: bool) -> None:
        """Write the setpoints of all phases and both flags as one request.

        Both flags on make the Multi pass through: no charge, no discharge. They
        expire with the setpoint [uncertain], so they are sent each time.
        """
        words = [
            min(max(setpoint, -0x8000), 0x7FFF) & WORD
            for setpoint in setpoints or [0] * self.phases
        ]
        flag = int(hold)
        block = [words[0], flag, flag, *words[1:]]
        vebus, _ = self._register("setpoint_l1")
        self._lately.append(block)
        await vebus.write_words(_CONTROL_BLOCK, block)
        self._written = block
        self._written_at = asyncio.get_running_loop().time()

    async def _read_block(self) -> list[int]:
        """Return the control block as the device has it."""
        assert self.unit_id is not None
        unit = self.connection.unit(self.unit_id)
        return await unit.read_holding_registers(_CONTROL_BLOCK, 2 + self.phases)

    def _setpoint_on_device(self, v: Values) -> Value:
        """Return the battery power that the device is held at, W.

        None when it is not held, or no longer at what was last written.
        """
        # Without one of them the measurement fails with it.
        for name in ("setpoint_l1", "disable_charge", "disable_feed_in"):
            _ = v[name]
        if self.found is None or self._granted is None:
            return None
        return self._granted if self._block_in(v) == self._written else None

    @override
    async def release(self) -> None:
        """Zero the setpoints, clear the flags, see it, then give the mode back.

        In this order, since a flag left behind might stop the GX's own loop from
        charging. External control that was found is left as it was found. If
        somebody else has changed the mode meanwhile, it is theirs; so are the setpoints
        that another controller writes in external control.
        """
        if self.found is None:
            return
        gx, _ = self._register("working_mode")
        mode = await gx.read_register("working_mode")
        failure: BatteryError | None = None
        try:
            if not (self._taken_over and mode == EXTERNAL_CONTROL):
                await self._clear_block(in_control=mode == EXTERNAL_CONTROL)
        except DeviceRefusedError as err:
            # Without the VE.Bus system there is nothing to clear yet, and the mode
            # must not wait for it.
            failure = err
        found = self.found["working_mode"]
        if mode == EXTERNAL_CONTROL != found:
            await self._write_mode(gx, found)
            await asyncio.sleep(self.settle)
            if (mode := await gx.read_register("working_mode")) != found:
                raise NotConfirmedError(
                    f"{self.address}: ESS mode is still {mode} after giving back {found}"
                )
        if failure is not None:
            raise failure
        self.found = None
        self._wanted, self._granted, self._written = [], None, []
        self._forget_others()
        self.limited_by = None

    def _forget_others(self) -> None:
        self._strange.clear()
        self._taken_over = ""

    async def _clear_block(self, *, in_control: bool) -> None:
        """Write zeros and see them; the GX's own loop may set setpoints, not flags."""
        seen: list[int] = []
        for _ in range(_RELEASE_TRIES):
            await self._write_block([], hold=False)
            await asyncio.sleep(self.settle)
            seen = await self._read_block()
            if not any(seen if in_control else seen[1:3]):
                return
        raise NotConfirmedError(
            f"{self.address}: registers {_CONTROL_BLOCK}.. still read {seen} instead of 0"
        )
