"""The measurements computed from Huawei's registers."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from ..battery.readings import SOC, Formula, Values
from ..measurements import Value
from .registers import ALARMS, FIXED_PERIODS, SHUTDOWN_COMMAND, TOU_PERIODS

_DAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")

_EPOCH: Final = datetime(1970, 1, 1)
_CLOCK_SET: Final = datetime(2010, 1, 1)
"""No inverter is that old: the clock of one that started before had not been set."""
MOMENTS: Final = ("started_at", "stopped_at")
"""The registers of moments; the keys of their measurements are the same."""

_TEMPERATURES: Final = ("battery1_temperature", "battery2_temperature")
BATTERY_STATES: Final = ("battery1_status", "battery2_status")
LIMITS: Final = ("charge_power_limit", "discharge_power_limit")


def number(value: Value) -> float:
    """Return a register's value as a number; 0 for an unknown one."""
    return value if isinstance(value, int | float) else 0


def load_of(inverters: str) -> Formula:
    """Return the formula of the power that the house takes, W.

    `inverters` is the register of their AC power; both terms must be of one poll.
    """

    def load_power(v: Values) -> Value:
        if v[inverters] is None or v["grid_power"] is None:
            return None
        return number(v[inverters]) + number(v["grid_power"])

    return Formula("load_power", (inverters, "grid_power"), load_power)


def moment(key: str, now: Callable[[], datetime]) -> Formula:
    """Return the formula of a moment in the past; None for one that cannot be.

    Its register is the clock on the wall there, of which `now` has the time zone.
    """

    def time(v: Values) -> Value:
        wall = _EPOCH + timedelta(seconds=number(v[key]))
        if wall < _CLOCK_SET:
            return None
        present = now()
        # Without a time zone it is that of this computer.
        zone = present.tzinfo
        at = wall.astimezone() if zone is None else wall.replace(tzinfo=zone)
        return at if at <= present.astimezone() else None

    return Formula(key, (key,), time)


def _l1_or_total(v: Values) -> Value:
    """Return the power of L1, W; some single-phase meters report the total only."""
    power = v["grid_power_l1"]
    return v["grid_power"] if power is None else power


def _export(v: Values) -> Value:
    """Return the exported energy, kWh: some meters count it below zero."""
    return None if v["meter_export"] is None else abs(number(v["meter_export"]))


def _battery_temperature(v: Values) -> Value:
    """Return the temperature of the first battery unit, °C."""
    name = next((name for name in _TEMPERATURES if name in v), _TEMPERATURES[0])
    return v[name]


def _bit(key: str, register: str, *bits: int) -> Formula:
    """Return the formula of a flag that is on when one of the bits is."""
    mask = sum(1 << bit for bit in bits)

    def is_on(v: Values) -> Value:
        word = v[register]
        return None if word is None else bool(int(number(word)) & mask)

    return Formula(key, (register,), is_on)


def active_alarms(v: Values) -> tuple[str, ...]:
    """Return the alarms that are on, by name; none of a register without a value."""
    return tuple(
        name
        for register, names in ALARMS.items()
        for bit, name in enumerate(names)
        if int(number(v[register])) >> bit & 1
    )


def battery_faults(v: Values) -> tuple[str, ...]:
    """Return the battery units that are at fault, in words."""
    return tuple(
        f"Battery {unit} fault"
        for unit, register in enumerate(BATTERY_STATES, 1)
        if v.get(register) == "fault"
    )


def is_locked(v: Values) -> bool:
    """Return True when the battery may neither charge nor discharge."""
    return all(v.get(limit) == 0 for limit in LIMITS)


def problems(v: Values, *, is_held: bool) -> tuple[str, ...]:
    """Return active alarms, battery faults and an orphaned hold.

    That is both limits at 0 while no setpoint is held.
    """
    is_orphaned = not is_held and is_locked(v)
    return (
        *active_alarms(v),
        *battery_faults(v),
        *(["Charge and discharge power limits are 0"] if is_orphaned else []),
    )


def _is_on(v: Values) -> Value:
    """Return False when the inverter was shut down by command."""
    status = v["device_status"]
    return None if status is None else status != SHUTDOWN_COMMAND


def _clock(minute: Value) -> str:
    """Return a minute of the day as hh:mm."""
    hours, minutes = divmod(int(number(minute)), 60)
    return f"{hours:02}:{minutes:02}"


def _tou_period(v: Values, period: str) -> str:
    """Return a time-of-use period in words."""
    action, days = divmod(int(number(v[f"{period}_days"])), 256)
    names = [name for day, name in enumerate(_DAYS) if days >> day & 1]
    return " ".join(
        (
            f"{_clock(v[f'{period}_start'])}-{_clock(v[f'{period}_end'])}",
            "discharge" if action else "charge",
            *(names if len(names) < len(_DAYS) else ("every day",)),
        )
    )


def _fixed_period(v: Values, period: str) -> str:
    """Return a fixed charge or discharge period in words."""
    return (
        f"{_clock(v[f'{period}_start'])}-{_clock(v[f'{period}_end'])} "
        f"{number(v[f'{period}_power']):g} W"
    )


def _tou_periods(v: Values) -> Value:
    count = min(int(number(v["tou_periods_count"])), TOU_PERIODS)
    return "; ".join(_tou_period(v, f"tou_period{n + 1}") for n in range(count))


def _fixed_periods(v: Values) -> Value:
    count = min(int(number(v["fixed_periods_count"])), FIXED_PERIODS)
    return "; ".join(_fixed_period(v, f"fixed_period{n + 1}") for n in range(count))


def _names(kind: str, periods: int, parts: Iterable[str]) -> tuple[str, ...]:
    """Return the names of all registers of a table of periods."""
    return (
        f"{kind}_periods_count",
        *(f"{kind}_period{n + 1}_{part}" for n in range(periods) for part in parts),
    )


L1_OR_TOTAL: Final = Formula(
    "grid_power_l1", ("grid_power_l1", "grid_power"), _l1_or_total
)
"""The power of L1 at a single-phase meter."""
OF_THE_HOUSE: Final = (L1_OR_TOTAL.key, "load_power")
"""The formulas that depend on what measures the grid."""
FORMULAS: Final = (
    SOC,
    load_of("active_power"),
    Formula("grid_export_total", ("meter_export",), _export),
    Formula("battery_temperature", _TEMPERATURES, _battery_temperature),
    Formula("alarms", tuple(ALARMS), active_alarms),
    _bit("grid_connected", "state_1", 1),
    _bit("power_derated", "state_1", 3, 4),
    _bit("pv_connected", "state_2", 1),
    _bit("off_grid", "state_3", 0),
    Formula("inverter_on", ("device_status",), _is_on),
    Formula(
        "tou_periods",
        _names("tou", TOU_PERIODS, ("start", "end", "days")),
        _tou_periods,
    ),
    Formula(
        "fixed_periods",
        _names("fixed", FIXED_PERIODS, ("start", "end", "power")),
        _fixed_periods,
    ),
)
