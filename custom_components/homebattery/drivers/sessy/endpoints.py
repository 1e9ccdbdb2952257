"""The endpoints of a Sessy dongle, and the values in their answers.

The local API of Charged, which the maker documents in part; the rest is as several
independent clients read it. What none of them shows is marked [uncertain].
The fields differ so much between firmwares that all of them may be missing.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ..measurements import MEASUREMENTS, Poll, Quantity, Value

type Answer = dict[str, Any]
"""An answer of the device: a JSON object."""

PHASES: Final = (1, 2, 3)
API: Final = "POWER_STRATEGY_API"
"""The only strategy in which a setpoint works."""

_TEXTS: Final = (Quantity.TEXT, Quantity.STATUS, Quantity.FLAG)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Endpoint:
    """A path of the API.

    While `state` in the answer is not `good`, nothing else in it means anything.
    `voltage` is the path of the voltage of phase {}: a phase without any, beside one
    with, is not connected, and its zeros are not values. `tidy` makes an answer flat
    (given the present Unix time); `older` is the endpoint of older firmware. A post to
    a `persistent` one writes to flash; to a `whole` one all values go in one post.
    """

    path: str
    poll: Poll = Poll.SLOW
    good: str = ""
    voltage: str = ""
    tidy: Callable[[Answer, float], Answer] | None = None
    older: Endpoint | None = None
    persistent: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class States:
    """The options of a state: an answer has them in capitals behind the prefix."""

    prefix: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One value of an answer; value = raw ÷ gain, in the measurement's unit.

    A negative gain turns the sign. `path` leads through the answer's objects.
    Raw values in `missing` mean 'not available', as does a voltage of 0. An
    `inverted` flag means the contrary of its measurement.
    """

    key: str
    endpoint: Endpoint
    path: str
    gain: float = 1
    digits: int | None = field(default=None, kw_only=True)
    missing: tuple[int, ...] = field(default=(), kw_only=True)
    states: States | None = field(default=None, kw_only=True)
    inverted: bool = field(default=False, kw_only=True)

    @property
    def quantity(self) -> Quantity:
        """The quantity of the measurement."""
        return MEASUREMENTS[self.key].quantity

    def raw_in(self, answer: Answer) -> object:
        """Return the raw value in an answer, None if the device does not know it.

        Raises KeyError when this firmware has no such field.
        """
        good = self.endpoint.good
        if good and self.path != "state" and find(answer, "state") != good:
            return None
        raw = find(answer, self.path)
        if raw in self.missing:
            return None
        if raw == 0 and not isinstance(raw, bool) and self._is_unconnected(answer):
            return None
        return raw

    def _is_unconnected(self, answer: Answer) -> bool:
        """Return True for the 0 of a voltage, or of a phase that has none.

        Some smart meters report no voltage at all; then a 0 is a 0.
        """
        if self.quantity is Quantity.VOLTAGE:
            return True
        where, phase = self.endpoint.voltage, self.key[-2:]
        if not where or phase not in ("l1", "l2", "l3"):
            return False
        voltages: dict[str, object] = {}
        for n in PHASES:
            with suppress(KeyError):
                voltages[f"l{n}"] = find(answer, where.format(n))
        return not voltages.get(phase) and any(voltages.values())

    def decode(self, raw: object) -> Value:
        """Return the value that `raw` stands for; raises ValueError if none."""
        match self.quantity, raw:
            case _, None:
                return None
            case Quantity.TEXT, str():
                return raw.strip() or None
            case Quantity.STATUS, str() if self.states is not None:
                option = raw.removeprefix(self.states.prefix).lower()
                if option in self.states.options:
                    return option
            case Quantity.FLAG, bool() | "true" | "false":
                # Some firmware spells the truth as text.
                return (raw in (True, "true")) != self.inverted
            case quantity, int() | float() if quantity not in _TEXTS and not isinstance(
                raw, bool
            ):
                value = raw * self.gain if abs(self.gain) == 1 else raw / self.gain
                return value if self.digits is None else round(value, self.digits)
        raise ValueError(raw)

    def encode(self, value: Value) -> str | bool | int:
        """Return the raw value of `value`, which a Setting has checked."""
        match value:
            case bool():
                return value != self.inverted
            case int() | float():
                return round(value * self.gain)
        prefix = self.states.prefix if self.states is not None else ""
        return f"{prefix}{value}".upper()


def is_blank(answer: object) -> bool:
    """Return whether an answer has numbers, and all of them are 0."""
    numbers = list(_numbers_in(answer))
    return bool(numbers) and not any(numbers)


def _numbers_in(answer: object) -> Iterator[float]:
    """Yield the numbers in an answer."""
    match answer:
        case bool():
            pass
        case int() | float():
            yield answer
        case dict():
            for each in answer.values():
                yield from _numbers_in(each)
        case list():
            for each in answer:
                yield from _numbers_in(each)


def find(answer: Answer, path: str) -> object:
    """Return the value at `path`, None below a null; raises KeyError if absent."""
    value: object = answer
    for name in path.split("."):
        if value is None:
            return None
        if not isinstance(value, dict) or name not in value:
            raise KeyError(path)
        value = value[name]
    return value


# Answers that are not flat, or of another form -------------------------------


def _present(slots: object, name: str, now: float) -> object:
    """Return the value `name` of the slot that covers `now`; None without one."""
    for slot in slots if isinstance(slots, list) else ():
        match slot:
            case {"start_time": int(start), "end_time": int(end)} if start <= now < end:
                return slot.get(name)
    return None


def _present_slot(answer: Answer, now: float) -> Answer:
    """Return the schedule's power and price at `now`; its lists may be null."""
    return {
        "power": _present(answer.get("dynamic_schedule"), "power", now),
        "price": _present(answer.get("energy_prices"), "price", now),
    }


def _as_details(answer: Answer, _: float) -> Answer:
    """Return the status of an old P1 dongle, kW, in the form of the details."""
    power = answer.get("net_power_delivered")
    watts = round(power * 1000) if isinstance(power, int | float) else None
    return {"state": answer.get("state"), "power_total": watts}


# Endpoints -------------------------------------------------------------------

FAST: Final = Poll.FAST
POWER: Final = Endpoint(
    path="/api/v1/power/status",
    poll=FAST,
    voltage="renewable_energy_phase{}.voltage_rms",
)
# Which of them is kept in flash is unknown: counted are those that look like it.
# While a battery is held, its controller asks for the strategy.
STRATEGY: Final = Endpoint(path="/api/v1/power/active_strategy", persistent=True)
# Takes {"setpoint": W}, positive = discharging, and cannot be read: the power status
# shows it.
SETPOINT: Final = Endpoint(path="/api/v1/power/setpoint")
ENERGY: Final = Endpoint(path="/api/v1/energy/status")
SETTINGS: Final = Endpoint(path="/api/v1/system/settings", persistent=True, whole=True)
INFO: Final = Endpoint(path="/api/v1/system/info")
NETWORK: Final = Endpoint(path="/api/v1/network/status")
OTA: Final = Endpoint(path="/api/v1/ota/status")
# Before 1.9.2 a schedule had hours of local dates, without a zone: not read.
SCHEDULE: Final = Endpoint(path="/api/v2/dynamic/schedule", tidy=_present_slot)
# Up to 1.5.2. Positive by its name is what the grid delivers [uncertain].
P1_STATUS: Final = Endpoint(path="/api/v1/p1/status", tidy=_as_details)
P1: Final = Endpoint(
    path="/api/v2/p1/details",
    poll=FAST,
    good="P1_OK",
    voltage="voltage_l{}",
    older=P1_STATUS,
)
MODBUS: Final = Endpoint(
    path="/api/v1/modbus/details",
    poll=FAST,
    good="MODBUS_OK",
    voltage="phase_{}.voltage",
)
CT: Final = Endpoint(path="/api/v1/ct/details", poll=FAST, voltage="voltage_l{}")
GRID_TARGET: Final = Endpoint(path="/api/v1/meter/grid_target", persistent=True)
