"""The measurements that are computed from an SMA's registers."""

from collections.abc import Callable, Collection
from typing import Final

from ..battery.readings import SOC, Formula, Values
from ..measurements import Value
from .registers import KEEP_VALUES, MODELS, RATINGS, RELEASE_TYPES

_NO_MESSAGE: Final = 886
_PHASES: Final = ("l1", "l2", "l3")
_CURRENTS: Final = tuple(f"grid_current_{phase}" for phase in _PHASES)
_SLAVES: Final = ("slave_serial_l2", "slave_serial_l3")

_CONDITIONS: Final = {"fault": "Fault", "warning": "Warning"}
_ACTIONS: Final = {
    "contact_manufacturer": "Contact the manufacturer",
    "contact_installer": "Contact the installer",
}
_BLOCKS: Final = {
    "fast_stop": "Fast stop",
    "locked_after_error": "Locked after an error",
}
NO_WATCHDOG: Final = "A setpoint outlives its controller (fallback: keep values)"


def difference(v: Values, plus: str, minus: str) -> float | None:
    """Return `plus` - `minus`, of which one may be unknown; None if both are."""
    values = v.get(plus), v.get(minus)
    if values == (None, None):
        return None
    first, second = (value if isinstance(value, int | float) else 0 for value in values)
    return first - second


def _grid_power(v: Values) -> Value:
    """Return the grid power, W; raises KeyError when neither direction was read."""
    if "power_drawn" not in v and "power_fed_in" not in v:
        raise KeyError("power_drawn")
    return difference(v, "power_drawn", "power_fed_in")


def _battery_power(v: Values) -> Value:
    """Return the battery power, W, or else that at the AC side."""
    power = difference(v, "charge_power", "discharge_power")
    if power is not None:
        return power
    at_ac = v["active_power"]
    return -at_ac if isinstance(at_ac, int | float) else None


def _battery_current(v: Values) -> Value:
    out = v["current_out"]
    return 0 - out if isinstance(out, int | float) else None


def _active_current(v: Values) -> Value:
    """Return the current of all phases, A; an unknown one adds nothing."""
    known = [
        value for name in _CURRENTS if isinstance(value := v.get(name), int | float)
    ]
    return sum(known) if known else None


def model(code: Value) -> str:
    """Return the name of a model by its code."""
    if not isinstance(code, int):
        return "Sunny Island"
    return MODELS.get(code, f"SMA {code}")


def rating(v: Values) -> Value:
    """Return the rated power, W; of old models by their code."""
    rating = v.get("output_rating")
    if rating is None and isinstance(code := v.get("model_code"), int):
        return RATINGS.get(code)
    return rating


def firmware(code: Value) -> str | None:
    """Return the firmware as people write it: 0x03200904 is 3.20.9.R."""
    if not isinstance(code, int):
        return None
    major, minor, build, release = code.to_bytes(4)
    letter = RELEASE_TYPES[release] if release < len(RELEASE_TYPES) else release
    return f"{major:x}.{minor:02x}.{build}.{letter}"


def is_cluster(v: Values) -> bool:
    """Return True when the device is the master of others."""
    return any(v.get(name) for name in _SLAVES)


def problems(v: Values) -> tuple[str, ...]:
    """Return the problems that the device reports, and a fallback without watchdog."""
    message = v.get("message")
    known = [
        _CONDITIONS.get(str(v["device_status"])),
        _ACTIONS.get(str(v.get("recommended_action"))),
        None if message in (None, _NO_MESSAGE) else f"Message {message}",
        _BLOCKS.get(str(v.get("block_status"))),
    ]
    for phase in _PHASES:
        condition = _CONDITIONS.get(str(v.get(f"health_{phase}")))
        known.append(condition and f"{phase.upper()}: {condition}")
    if v.get("fallback_mode") == KEEP_VALUES:
        known.append(NO_WATCHDOG)
    return tuple(problem for problem in known if problem)


PROBLEM_NEEDS: Final = (
    *("device_status", "recommended_action", "message", "block_status"),
    *(f"health_{phase}" for phase in _PHASES),
    "fallback_mode",
)


def _yes(key: str, name: str) -> Formula:
    """Return the formula of a flag from a register with yes or no."""

    def compute(v: Values) -> Value:
        return None if v[name] is None else v[name] == "yes"

    return Formula(key, (name,), compute)


def _from(key: str, name: str, compute: Callable[[Value], Value]) -> Formula:
    return Formula(key, (name,), lambda v: compute(v[name]))


class EnergyCounter:
    """A counter of the battery's energy: that at the battery, or at the AC side.

    The first that has a value is taken, the one at the battery if both have, and kept:
    with the other one the total would jump.
    """

    def __init__(self, key: str, at_battery: str, at_ac: str) -> None:
        """Begin without a source; `at_battery` and `at_ac` are registers, kWh."""
        self._key = key
        self._at_battery = at_battery
        self._at_ac = at_ac
        self._source: str | None = None

    @property
    def formula(self) -> Formula:
        """The formula of the counter, kWh."""
        return Formula(self._key, (self._at_battery, self._at_ac), self._compute)

    def choose(self, v: Values, absent: Collection[str]) -> None:
        """Take a source for good, if the values read say enough.

        `absent` are the registers that the device lacks: not those that failed.
        """
        if self._source is not None:
            return
        if v.get(self._at_battery) is not None:
            self._source = self._at_battery
        elif self._at_battery in absent or (
            self._at_battery in v and v.get(self._at_ac) is not None
        ):
            self._source = self._at_ac

    def _compute(self, v: Values) -> Value:
        return v[self._source or self._at_battery]


def energy_counters() -> tuple[EnergyCounter, ...]:
    """Return the counters of the battery's energy, without their sources yet."""
    return (
        EnergyCounter(
            "energy_charged_total", "battery_energy_charged", "energy_absorbed_total"
        ),
        EnergyCounter(
            "energy_discharged_total",
            "battery_energy_discharged",
            "energy_released_total",
        ),
    )


FORMULAS: Final = (
    SOC,
    Formula(
        "battery_power",
        ("charge_power", "discharge_power", "active_power"),
        _battery_power,
    ),
    Formula("battery_current", ("current_out",), _battery_current),
    Formula("active_current", _CURRENTS, _active_current),
    Formula(
        "grid_power",
        ("power_drawn", "power_fed_in"),
        _grid_power,
    ),
    Formula("rated_power", ("output_rating", "model_code"), rating),
    _from("serial_number", "serial", lambda serial: str(serial) if serial else None),
    _from("firmware", "firmware_code", firmware),
    Formula("cluster", _SLAVES, is_cluster),
    _yes("charge_control_available", "charge_control_tag"),
    _yes("absorption_phase", "absorption_phase_tag"),
    _yes("self_consumption_increase", "self_consumption_increase_tag"),
)
