"""Deye hybrid inverters, whatever the way to them: what both drivers share.

The facts come from Deye's Modbus documents for storage inverters, from other
implementations that agree with them, and from dumps of real inverters. What only one
source has, or two disagree about, is marked [uncertain].

- Register 0 tells the kind: three-phase with a low-voltage (SG04LP3, SG05LP3) or a
  high-voltage battery, or single-phase, which has another map.
- Only functions 3 and 16 exist. Registers that a firmware lacks may not be answered at
  all, so optional blocks are tried once, and never keep the rest from working.
- Settings live in flash, and there is no watchdog: whoever changes them must put them
  back. `plans.py` says what is written and in which order. It is written when a
  setpoint changes, never again to keep it.
- A setpoint that is held may harm in one case: without the grid, a discharge current
  of 0 A may leave the backup port without a battery [uncertain]. So when the grid is
  lost, the BMS wants the battery charged or it is about to shut down, the owner's
  settings are put back until that has passed.
- Newer firmware has a remote mode with a watchdog, outside of flash. Its sign is
  uncertain, so it is used only where the owner says so.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
import logging
from typing import ClassVar, Final, NamedTuple, TypedDict, Unpack, override

from ..battery.base import Found, SetpointLimits, SetupField
from ..battery.controller import Advice, LimitReason
from ..battery.readings import Formula, Values
from ..errors import BatteryError, NotConfirmedError, NotSupportedError, TakenOverError
from ..measurements import Value
from .blocks import RegisterBlock
from .controller import ByRemoteMode, BySettings, Method, Wanted
from .device import DeyeDevice
from .measurements import FORCE_CHARGE, GRID_RELAY, number, word
from .plans import CHEMISTRY, CONTROL_MODE, Conditions, Image, goes_another_way
from .registers import Kind

_LOGGER = logging.getLogger(__name__)

REQUEST_SPACING: Final = 0.1
"""Seconds between two requests; 0.05 to 0.1 is what others leave."""
RESUME_AFTER: Final = 60.0
"""Seconds that all must be well before a setpoint that was let go is taken up again."""
SHUTDOWN_MARGIN: Final = 3
"""% above the shutdown SOC from which it is."""
_FRESH: Final = 10.0
"""Seconds for which it is good to know what a setpoint depends on."""
_CAUTIOUS_MIN_SOC: Final = 20
"""% where the inverter does not tell its own minimum [our choice]."""
_SELL_FLAG_RELEASE: Final = 0x1184
"""The firmware that first had the slots' permission to sell [uncertain]."""

_CONDITIONS: Final = frozenset(
    {
        *("battery_voltage", "soc", "battery_power", "relays"),
        *("shutdown_soc", "low_soc"),
        *("battery_bms_voltage", "bms_charge_amps", "bms_discharge_amps"),
        "bms_requests",
    }
)
"""The registers that a setpoint depends on."""


class DeyeOptions(TypedDict, total=False):
    """What can be said about an inverter besides its address."""

    unit_id: int
    allow_export: bool
    """Discharging may feed into the grid. Otherwise it follows the load at most."""
    remote_mode: bool
    """Use remote mode where the firmware has it; it does not heed `allow_export`."""


class _LetGo(NamedTuple):
    """Why the battery must not be held now."""

    text: str
    reason: LimitReason


class _Setpoint(NamedTuple):
    """What was asked for: power, W, or a current, A; + = charging."""

    power: float = 0
    current: float | None = None


class DeyeInverter(DeyeDevice):
    """A Deye hybrid inverter that can be held at a battery power."""

    # How often what may end a setpoint is looked at, and remote mode renewed, which
    # must be within a third of its watchdog. Settings are not written by it.
    keep_alive_interval = 20.0
    # Currents are set as currents, and what hangs on the voltage besides is in flash.
    current_step = 0.03
    owner_options: ClassVar[tuple[SetupField, ...]] = (
        SetupField("allow_export", False),
        SetupField("remote_mode", False, rare=True),
    )

    def __init__(
        self,
        address: str,
        port: int,
        timeout: float,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        **options: Unpack[DeyeOptions],
    ) -> None:
        """Describe the inverter; nothing is sent."""
        super().__init__(
            address,
            port,
            timeout,
            capacity,
            max_charge_power,
            max_discharge_power,
            unit_id=options.get("unit_id", 1),
        )
        self.allow_export = options.get("allow_export", False)
        self.remote_mode = options.get("remote_mode", False)
        self._methods: tuple[Method, ...] = ()
        """The ways to hold it, the preferred one first."""
        self._setpoint: _Setpoint | None = None
        self._granted: int | None = None
        self._let_go_at: float | None = None
        """When (loop time) there was last a reason not to hold the setpoint."""
        self._seen: Values = {}
        self._seen_at = float("-inf")
        """What a setpoint depends on, until it has been used, and when it was read."""

    # Setting up

    @override
    async def _find_units(self) -> None:
        await super()._find_units()
        name = f"{self.address}:{self.port} unit {self._unit_id}"
        by_settings = BySettings(
            name, self._unit, self.settle, self.wear, self._read_soc
        )
        by_remote_mode = ByRemoteMode(name, self._unit, self.settle, self.rated_power)
        by_settings.works = self.setpoint_limits is not None
        by_remote_mode.works = (
            self.remote_mode and by_settings.works and await by_remote_mode.is_there()
        )
        self._methods = (by_remote_mode, by_settings)
        if not by_settings.works:
            return
        # What the advice goes by lies beside these, and is read along with them: with
        # the one while the battery is left alone, with the other while it is held.
        advice = {CHEMISTRY, CONTROL_MODE}
        min_soc = self._formulas["min_soc"]
        self._formulas["min_soc"] = replace(
            min_soc, needs=(*min_soc.needs, *self._names_at(advice))
        )
        changes = {
            address
            for method in self._methods
            if method.works
            for address in method.changes
        }
        self._formulas["power_setpoint"] = Formula(
            "power_setpoint",
            tuple(self._names_at(advice | changes)),
            self._setpoint_on_device,
        )

    def _names_at(self, addresses: Collection[int]) -> Iterator[str]:
        """Yield the names of the registers that begin at some addresses."""
        for run in self._map:
            for register in run.registers:
                if register.address in addresses:
                    yield register.name

    # What a setpoint depends on

    @property
    @override
    def advice(self) -> frozenset[Advice]:
        by_settings = isinstance(self._preferred, BySettings)
        wrong = by_settings and goes_another_way(self._last_words)
        return frozenset({Advice.NOT_BY_CAPACITY} if wrong else ())

    @property
    def _preferred(self) -> Method | None:
        """The way in which a setpoint would be held now."""
        return next((method for method in self._methods if method.works), None)

    @property
    def _last_words(self) -> Image:
        """What was last read of all registers."""
        words: dict[int, int] = {}
        for device in self.devices:
            words |= device.words
        return words

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if self.kind is Kind.SINGLE_PHASE or not self.rated_power:
            return None
        rated = round(self.rated_power)
        return self._narrowed(SetpointLimits(-rated, rated))

    async def _read_conditions(self) -> dict[str, Value]:
        """Read what a setpoint depends on; what cannot be read is not in it."""
        # The stop SOC is seldom there, and not worth trying for.
        stop_soc, _ = self._register("max_soc")
        known = isinstance(stop_soc, RegisterBlock) and stop_soc.there
        extra = ("max_soc",) if known else ()
        return await self._read_registers({*_CONDITIONS, *extra})

    def _conditions(self, v: Values) -> Conditions | None:
        """Return the conditions of a setpoint; None without a battery to speak of."""
        if not v.get("battery_voltage") or v.get("soc") is None:
            return None
        # A BMS without a voltage is none: its zeros are no limits.
        has_bms = bool(v.get("battery_bms_voltage"))
        return Conditions(
            volts=number(v["battery_voltage"]),
            soc=number(v["soc"]),
            battery_power=number(v.get("battery_power")),
            rated_power=self.rated_power,
            min_soc=word(v.get("low_soc", _CAUTIOUS_MIN_SOC)),
            max_soc=min(100, word(v.get("max_soc")) or 100),
            bms_charge_amps=number(v["bms_charge_amps"]) if has_bms else None,
            bms_discharge_amps=number(v["bms_discharge_amps"]) if has_bms else None,
            watts_per_word=10 if self.kind is Kind.HIGH_VOLTAGE else 1,
            may_export=self.allow_export,
            sell_flag=self._firmware_sells_by_flag,
        )

    async def _read_soc(self) -> float | None:
        """Return the SOC, %; None without a battery to speak of."""
        now = self._conditions(await self._read_conditions())
        return None if now is None else now.soc

    @property
    def _firmware_sells_by_flag(self) -> bool:
        return (
            self.kind is Kind.THREE_PHASE
            and self.firmware_release >= _SELL_FLAG_RELEASE
        )

    def _reason_to_let_go(self, power: float, v: Values) -> _LetGo | None:
        """Return why the battery must not be held at `power` W now, if so."""
        if v.get("relays") is not None and not word(v["relays"]) & GRID_RELAY:
            return _LetGo("the grid is gone", LimitReason.NO_GRID)
        if power > 0:
            return None
        if word(v.get("bms_requests")) & FORCE_CHARGE:
            return _LetGo("the BMS wants the battery charged", LimitReason.PROTECTION)
        margin = 0 if self._let_go_at is None else SHUTDOWN_MARGIN
        if v.get("battery_voltage") and v.get("shutdown_soc") is not None:
            if number(v["soc"]) <= number(v["shutdown_soc"]) + margin:
                return _LetGo(
                    "the battery is about to shut down", LimitReason.PROTECTION
                )
        return None

    # Holding it

    @override
    async def read_found(self) -> Found:
        method = self._preferred
        if method is None:
            raise NotSupportedError(
                f"{self.address}: no setpoint, this inverter ({self.kind.value}) is "
                "not known well enough"
            )
        words = await method.read_found()
        return {method.key: {str(each): words[each] for each in words}}

    def _how(self, found: Found) -> tuple[Method, Image]:
        """Return the method that found something, and what it found."""
        for method in self._methods:
            if words := found.get(method.key):
                return method, {int(each): words[each] for each in words}
        raise NotSupportedError(
            f"{self.address}: what was found on the device is of another kind: {found}"
        )

    @override
    async def set_power_setpoint(self, power: float) -> int:
        return await self._hold(_Setpoint(power=self._clamp(power)))

    @override
    async def set_current_setpoint(self, current: float) -> int:
        return await self._hold(_Setpoint(current=current))

    def _power_of(self, setpoint: _Setpoint, v: Values) -> Wanted:
        """Return the power of a setpoint; that of a current at this voltage."""
        if setpoint.current is None:
            return Wanted(setpoint.power)
        power = setpoint.current * number(v.get("battery_voltage"))
        clamped = self._clamp(power)
        # Whole W would make less than whole A of it.
        exact = power if abs(clamped - power) < 1 else clamped
        return Wanted(exact, int(abs(setpoint.current)))

    async def _hold(self, setpoint: _Setpoint) -> int:
        """Bring the inverter to a setpoint; return the power granted, W.

        Whatever fails half way is narrowed and given back.
        """
        before = self.found, self._setpoint, self._granted
        found = await self.read_found() if self.found is None else self.found
        v = await self._read_conditions()
        if setpoint.current is not None and not v.get("battery_voltage"):
            raise NotSupportedError(
                f"{self.address}: no battery voltage, so no current setpoint"
            )
        wanted = self._power_of(setpoint, v)
        self.found, self._setpoint, self._granted = found, setpoint, 0
        if reason := self._reason_to_let_go(wanted.power, v):
            await self._let_go(reason)
            return 0
        self._let_go_at = None
        method, words = self._how(found)
        try:
            self._granted = await method.hold(words, wanted, self._conditions(v))
            self.limited_by = method.reason
        except BatteryError:
            if method.begun:
                with suppress(BatteryError):
                    await method.restrict(words)
                    await self.release()
                    # Whoever held it before will tell it again, or release it: what
                    # they keep of it, over a crash too, must go on being true.
                    self.found = before[0]
            else:
                self.found, self._setpoint, self._granted = before
            raise
        return self._granted

    def _setpoint_on_device(self, v: Values) -> Value:
        """Return the battery power that the device is held at, W.

        None when it is not held, or no longer as it was left.
        """
        if self.found is None:
            return None
        method, _ = self._how(self.found)
        words = self._last_words
        same = all(words.get(each) == word for each, word in method.target.items())
        return self._granted if method.target and same else None

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        if self.found is not None:
            method, _ = self._how(self.found)
            _, register = self._register(self._setting_register(key))
            if register.address in method.changes:
                raise NotSupportedError(
                    f"{self.address}: {key} is in use while the battery is held at a "
                    "setpoint; give the battery back first"
                )
        await super()._write_setting(key, value)

    # While it is held

    @override
    def wears_flash(self, power: float) -> bool:
        """Say yes to every change of the settings; remote mode is outside of flash."""
        same = self._setpoint == _Setpoint(power=self._clamp(power))
        return isinstance(self._preferred, BySettings) and not same

    @override
    async def is_held(self) -> bool:
        if self.found is None:
            return False
        method, words = self._how(self.found)
        return await method.is_held(words)

    @override
    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if (self._seen and now - self._seen_at < _FRESH) or self.found is None:
            return
        self._seen = {}
        method, _ = self._how(self.found)
        try:
            seen = await self._read_conditions()
            await method.look()
        except BatteryError as err:
            _LOGGER.debug("%s: cannot read for the setpoint: %s", self.address, err)
        else:
            self._seen, self._seen_at = seen, asyncio.get_running_loop().time()

    @override
    async def keep_alive(self) -> int | None:
        """Look whether the setpoint can still be held; renew it in remote mode.

        Returns the power granted, W, or None when nothing had to be done.
        """
        if self.found is None or self._setpoint is None:
            return None
        await self.look()
        v, self._seen = self._seen, {}
        if self._let_go_at is not None:
            return await self._take_up_again(self._setpoint, self._let_go_at, v)
        method, _ = self._how(self.found)
        if not method.is_ours:
            raise TakenOverError(
                f"{self.address}: the settings that hold the battery are not as they "
                "were left; somebody else has changed them"
            )
        if reason := self._reason_to_let_go(self._granted or 0, v):
            await self._let_go(reason)
            return 0
        try:
            wanted = self._power_of(self._setpoint, v)
            granted = await method.renew(wanted, self._conditions(v))
        except NotConfirmedError:
            await self.release()
            raise
        if granted is not None:
            self._granted, self.limited_by = granted, method.reason
        return granted

    async def _let_go(self, why: _LetGo) -> None:
        """Put back what was found, for as long as the reason lasts."""
        assert self.found is not None
        if self._let_go_at is None:
            _LOGGER.warning("%s: %s, setpoint let go", self.address, why.text)
        # From now on it is tried again, should the connection be lost on the way.
        self._let_go_at = asyncio.get_running_loop().time()
        self._granted, self.limited_by = 0, why.reason
        method, words = self._how(self.found)
        await method.put_back(words)

    async def _take_up_again(
        self, setpoint: _Setpoint, let_go_at: float, v: Values
    ) -> int:
        """Hold the setpoint again once all has been well for a while."""
        now = asyncio.get_running_loop().time()
        if not v:
            self._let_go_at = now
        elif why := self._reason_to_let_go(self._power_of(setpoint, v).power, v):
            await self._let_go(why)
        elif now - let_go_at >= RESUME_AFTER:
            _LOGGER.info("%s: taking up the setpoint again", self.address)
            try:
                return await self._hold(setpoint)
            except BatteryError:
                # It is still wanted.
                self._setpoint, self._let_go_at = setpoint, now
                raise
        return 0

    # Giving it back

    @override
    async def release(self) -> None:
        """Put back each word that was found, in an order that opens nothing early."""
        if self.found is None:
            return
        method, words = self._how(self.found)
        await method.put_back(words)
        self.found = self._setpoint = self._granted = self._let_go_at = None
        self.limited_by = None
        self._seen = {}
