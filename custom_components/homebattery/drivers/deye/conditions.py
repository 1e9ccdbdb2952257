"""The conditions of a Deye setpoint, and the reasons to suspend it."""

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from ..battery.controller import KNOWN_FOR, LimitReason, loop_time
from ..battery.export import Export
from ..battery.modbus import ModbusBattery
from ..battery.readings import Values
from ..measurements import as_number
from ..modbus.cache import RegisterCache
from .decision import Conditions
from .inputs import (
    BATTERIES_PARALLEL,
    BATTERY,
    BMS,
    POWERS,
    SECOND_BMS,
    SECOND_SOC,
    Inputs,
    battery_power,
    bms_limit,
    is_charge_forced,
)
from .measurements import GRID_RELAY, number, word
from .registers import SANE_VOLTS, Kind

SHUTDOWN_MARGIN: Final = 3
"""% above the shutdown SOC from which a suspended setpoint may be resumed."""
_SAFE_MIN_SOC: Final = 20
"""% where the inverter does not report its own minimum [chosen here]."""
_SELL_FLAG_RELEASE: Final = 0x1184
"""The firmware that first had the slots' permission to sell [uncertain]."""

_REGISTERS: Final = frozenset(
    {
        *("battery_voltage", "soc", "relays", "shutdown_soc", "low_soc"),
        *BATTERY,
        *BMS,
    }
)
"""The registers that a setpoint depends on."""
_OF_TWO: Final = SECOND_BMS | {SECOND_SOC}
"""The registers that it depends on besides, where there are two batteries."""
_LIVE: Final = frozenset({*("battery_voltage", "soc", "relays"), *BMS})
"""Those of them that change by themselves."""
_WITH_SNAPSHOT: Final = frozenset(
    {*("shutdown_soc", "low_soc", BATTERIES_PARALLEL), *BMS}
)
"""Those of them that lie among the registers of a snapshot, or behind them."""


class Suspension(NamedTuple):
    """The reason to suspend a setpoint now."""

    text: str
    reason: LimitReason


class InverterFacts(NamedTuple):
    """The properties of an inverter that only another firmware or option changes."""

    kind: Kind
    rated_power: float
    """W"""
    firmware_release: int
    """0 where it is no number"""
    inputs: Inputs
    export: Export
    """The user's choice whether a discharge may feed into the grid."""


class ConditionReader:
    """Reads the registers that a setpoint depends on, as `Conditions`."""

    def __init__(
        self, battery: ModbusBattery, facts: Callable[[], InverterFacts]
    ) -> None:
        """Read the registers of `battery`; nothing is read yet.

        `facts` returns its properties as they are known now.
        """
        self._battery = battery
        self._facts = facts
        self._unanswered: Collection[str] = ()
        """Those of `POWERS` that the last read gave no answer for."""

    @property
    def firmware_release(self) -> int:
        """The inverter's release now; 0 where it is no number."""
        return self._facts().firmware_release

    @property
    def _names(self) -> frozenset[str]:
        return _REGISTERS | _OF_TWO if self._has_two else _REGISTERS

    @property
    def _has_two(self) -> bool:
        return self._facts().inputs.has_two_batteries(self._battery.cache.values)

    async def read(self, known_for: float = 0) -> Values:
        """Read the registers; return them as `last` does.

        Those that are read with a snapshot, if less than so many seconds ago, are not
        read again. Raises what `read` raises when the inverter is out of reach.
        """
        began = loop_time()
        cache: RegisterCache = self._battery.cache
        known = _WITH_SNAPSHOT - cache.older_than(known_for, _WITH_SNAPSHOT, began)
        values = await self._battery.read_registers(self._names - known)
        self._unanswered = set(POWERS) - values.keys()
        return self.last(began)

    def last(self, began: float) -> Values:
        """Return the registers as last read, by a poll too; without those not known.

        One that gets no answer counts as it was for `KNOWN_FOR` seconds, as does the
        SOC of a second battery; a battery power only if it was read since `began`.
        """
        cache: RegisterCache = self._battery.cache
        now = loop_time()
        old = cache.older_than(KNOWN_FOR, _LIVE | SECOND_BMS, now)
        old |= {
            name
            for name in POWERS
            if name in self._unanswered
            or cache.seconds_since_read(name, now) > now - began
        }
        values = {
            name: cache.values[name]
            for name in self._names - old
            if name in cache.values
        }
        if self._has_two:
            values[SECOND_SOC] = self._facts().inputs.second.soc(now)
        return values

    @property
    def are_lost(self) -> bool:
        """Whether some that were known have had no answer for `KNOWN_FOR` seconds."""
        cache: RegisterCache = self._battery.cache
        known = cache.values.keys() & _LIVE
        return bool(cache.older_than(KNOWN_FOR, known, loop_time()))

    @property
    def last_volts(self) -> float:
        """The battery's voltage as last read, also by a poll; 0 where it is not known."""
        return number(self._battery.cache.values.get("battery_voltage"))

    async def read_now(self) -> Conditions | None:
        """Read the conditions of this moment; None without a battery."""
        return self.of(await self.read())

    async def read_soc(self) -> float | None:
        """Return the SOC, %; None without a battery."""
        now = await self.read_now()
        return None if now is None else now.soc

    def of(self, v: Values) -> Conditions | None:
        """Return the conditions of a setpoint; None without a battery."""
        facts, volts = self._facts(), number(v.get("battery_voltage"))
        lowest, highest = SANE_VOLTS[facts.kind]
        if not lowest <= volts <= highest or v.get("soc") is None:
            return None
        low_soc = v.get("low_soc")
        return Conditions(
            volts=volts,
            soc=min(_socs(v)),
            higher_soc=max(_socs(v)),
            battery_power=_known_power(v, facts.inputs),
            rated_power=facts.rated_power,
            min_soc=_SAFE_MIN_SOC if low_soc is None else word(low_soc),
            bms_charge_amps=bms_limit(v, "bms_charge_amps"),
            bms_discharge_amps=bms_limit(v, "bms_discharge_amps"),
            watts_per_word=10 if facts.kind is Kind.HIGH_VOLTAGE else 1,
            export=facts.export,
            sell_flag=facts.kind is Kind.THREE_PHASE
            and facts.firmware_release >= _SELL_FLAG_RELEASE,
        )


def _socs(v: Values) -> list[float]:
    """Return the SOC of each battery, %, as far as it is known."""
    socs = (as_number(v.get(name)) for name in ("soc", SECOND_SOC))
    return [soc for soc in socs if soc is not None]


def _known_power(v: Values, inputs: Inputs) -> float | None:
    """Return the power of all batteries, W; None unless all of it was read."""
    try:
        return battery_power(v, inputs)
    except KeyError:
        return None


def reason_to_suspend(
    power: float, v: Values, *, is_suspended: bool
) -> Suspension | None:
    """Return the reason not to hold the battery at `power` W now, if any."""
    if v.get("relays") is not None and not word(v["relays"]) & GRID_RELAY:
        return Suspension("the grid is gone", LimitReason.NO_GRID)
    if power > 0:
        return None
    if is_charge_forced(v):
        return Suspension("the BMS wants the battery charged", LimitReason.PROTECTION)
    margin = SHUTDOWN_MARGIN if is_suspended else 0
    known = v.get("soc") is not None and v.get("shutdown_soc") is not None
    if v.get("battery_voltage") and known:
        if min(_socs(v)) <= number(v["shutdown_soc"]) + margin:
            return Suspension(
                "the battery is about to shut down", LimitReason.PROTECTION
            )
    return None
