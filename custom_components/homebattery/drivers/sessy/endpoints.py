"""What a Sessy dongle can be asked: endpoints, and the values in their answers.

The local API of Charged, which the maker documents in part; the rest is how several
independent clients read it. What none of them could tell is marked [uncertain].
Which firmware has which field differs so much that all of them may be missing.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..battery.readings import Formula, Values
from ..battery.settings import NumberSetting, SelectSetting, Setting, SwitchSetting
from ..measurements import MEASUREMENTS, Poll, Quantity, Value

type Answer = dict[str, Any]
"""What the device says: a JSON object."""

PHASES: Final = (1, 2, 3)
API: Final = "POWER_STRATEGY_API"
"""The only strategy in which a setpoint works."""

_TEXTS: Final = (Quantity.TEXT, Quantity.STATUS, Quantity.FLAG)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Endpoint:
    """A path of the API.

    While `state` in the answer is not `good`, nothing else in it means anything.
    `voltage` is where the voltage of phase {} stands: a phase without any, beside
    one with, is not connected, and its zeros are not values. `tidy` makes an
    answer flat (given the present Unix time); `older` asks older firmware. What is
    posted to a `persistent` one lives in flash; of one that is `whole`, no value can
    be posted alone.
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
    """What a state can be: each option in capitals behind the prefix."""

    prefix: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
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
        """What kind of value it is."""
        return MEASUREMENTS[self.key].quantity

    def raw_in(self, answer: Answer) -> object:
        """Return the raw value in an answer, None if the device does not know it.

        Raises KeyError when this firmware has no such field.
        """
        good = self.endpoint.good
        if good and self.path != "state" and answer.get("state") != good:
            return None
        raw = find(answer, self.path)
        if raw in self.missing:
            return None
        if raw == 0 and not isinstance(raw, bool) and self._is_unconnected(answer):
            return None
        return raw

    def _is_unconnected(self, answer: Answer) -> bool:
        """Return True for the 0 of a voltage, or of a phase that has none.

        Some smart meters tell no voltage at all; then a 0 is a 0.
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
        """Return what the device takes for `value`, which a Setting has checked."""
        match value:
            case bool():
                return value != self.inverted
            case int() | float():
                return round(value * self.gain)
        prefix = self.states.prefix if self.states is not None else ""
        return f"{prefix}{value}".upper()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """A kind of dongle: `live` answers on no other.

    `letter` begins its serial number. With a state in `unused` the dongle could
    measure this way, but is not wired so. `settings` are those that some firmware
    offers; `ahead` is read when connecting, to know which this one does.
    """

    model: str
    letter: str
    live: Endpoint
    fields: tuple[Field, ...]
    formulas: tuple[Formula, ...]
    settings: Mapping[str, Setting]
    ahead: tuple[Endpoint, ...]
    unused: frozenset[str] = frozenset()


def find(answer: Answer, path: str) -> object:
    """Return what `path` leads to; None where it ends in null, KeyError in nothing."""
    found: object = answer
    for name in path.split("."):
        if found is None:
            return None
        if not isinstance(found, dict) or name not in found:
            raise KeyError(path)
        found = found[name]
    return found


# Answers that are not flat, or of another form -------------------------------


def _present(slots: object, name: str, now: float) -> object:
    """Return what the slot that covers `now` has as `name`."""
    for slot in slots if isinstance(slots, list) else ():
        match slot:
            case {"start_time": int(start), "end_time": int(end)} if start <= now < end:
                return slot.get(name)
    return None


def _present_slot(answer: Answer, now: float) -> Answer:
    """Return what the schedule says for `now`; its lists may be null."""
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
STRATEGY: Final = Endpoint(
    path="/api/v1/power/active_strategy", poll=FAST, persistent=True
)
# Takes {"setpoint": W}, positive = discharging, and cannot be read: the power status
# has what it was set to.
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

# States ----------------------------------------------------------------------

_WRONG: Final = (
    "error",
    "override_overfrequency",
    "override_underfrequency",
    "override_battery_undervoltage",
)
SYSTEM_STATES: Final = States(
    "SYSTEM_STATE_",
    (
        "running_safe",
        "standby",
        "waiting_for_safe_situation",
        "waiting_in_safe_situation",
        "wait_for_peripherals",
        "init",
        "disconnect",
        "reconnect",
        "battery_full",
        "battery_empty",
        "battery_empty_or_full",  # older firmware
        *_WRONG,
    ),
)
STRATEGIES: Final = States(
    "POWER_STRATEGY_", ("api", "nom", "roi", "idle", "sessy_connect", "eco")
)
P1_STATES: Final = States(
    "P1_", ("ok", "not_connected", "datavalidity_err", "version_err", "parse_err")
)
MODBUS_STATES: Final = States("MODBUS_", ("ok", "error", "disabled", "unsupported"))
BATTERY_STATUS: Final = ("idle", "charging", "discharging")

# Formulas --------------------------------------------------------------------


def _names(key: str) -> tuple[str, ...]:
    """Return the keys of the three phases."""
    return tuple(f"{key}_l{phase}" for phase in PHASES)


def _per_phase(*fields: Field) -> Iterator[Field]:
    """Repeat fields for the three phases, whose number replaces {} in the path."""
    for phase in PHASES:
        for one in fields:
            key, path = f"{one.key}_l{phase}", one.path.format(phase)
            yield replace(one, key=key, path=path)


def _sum_of(key: str, names: tuple[str, ...], *, whole: bool = True) -> Formula:
    """Return the sum of all; unless `whole`, what is unknown adds nothing."""

    def compute(values: Values) -> Value:
        parts = [values[name] for name in names]
        numbers = [part for part in parts if isinstance(part, int | float)]
        if whole and len(numbers) < len(parts):
            return None
        return round(sum(numbers), 3)

    return Formula(key, names, compute)


def _net(taken: Value, given: Value) -> Value:
    """Return the power of which import and export are told apart, W."""
    if isinstance(taken, int | float) and isinstance(given, int | float):
        return taken - given
    return None


def _signed(current: Value, power: Value) -> Value:
    """Return a meter's current, A, with the sign that only its power has."""
    if not isinstance(current, int | float):
        return None
    exporting = isinstance(power, int | float) and power < 0
    return -abs(current) if exporting else abs(current)


def _net_power(phase: int) -> Formula:
    taken, given = f"grid_import_power_l{phase}", f"grid_export_power_l{phase}"
    return Formula(
        f"grid_power_l{phase}",
        (taken, given),
        lambda values: _net(values[taken], values[given]),
    )


def _current_by_net(phase: int) -> Formula:
    key = f"grid_current_l{phase}"
    taken, given = f"grid_import_power_l{phase}", f"grid_export_power_l{phase}"
    return Formula(
        key,
        (key, taken, given),
        lambda values: _signed(values[key], _net(values[taken], values[given])),
    )


def _current_by_power(phase: int) -> Formula:
    key, power = f"grid_current_l{phase}", f"grid_power_l{phase}"
    return Formula(
        key, (key, power), lambda values: _signed(values[key], values[power])
    )


def _charging(values: Values) -> Value:
    """Return what the battery does, by its power."""
    power = values["battery_power"]
    if not isinstance(power, int | float):
        return None
    return BATTERY_STATUS[(power > 0) - (power < 0)]  # -1 is the last


def _problems(values: Values) -> Value:
    """Return what is wrong, by the system's state."""
    status = values["device_status"]
    if not isinstance(status, str):
        return None
    return (status,) if status in _WRONG else ()


# Kinds of dongle -------------------------------------------------------------

_OF_ANY_DONGLE: Final = (
    Field("firmware", OTA, "self.installed_firmware.version"),
    Field("wifi_signal_strength", NETWORK, "wifi_sta.rssi", missing=(0,)),
    Field("internal_memory", INFO, "internal_mem_available"),
    Field("external_memory", INFO, "external_mem_available"),
)

BATTERY: Final = Kind(
    model="Sessy",
    letter="D",
    live=POWER,
    fields=(
        Field("battery_soc", POWER, "sessy.state_of_charge", 0.01, digits=1),
        Field("battery_power", POWER, "sessy.power", -1),
        Field("active_power", POWER, "sessy.power"),
        Field("power_setpoint", POWER, "sessy.power_setpoint", -1),
        Field("battery_voltage", POWER, "sessy.pack_voltage", 1000),
        # Of the AC side: 8.725 A was seen with 2037 W, and with the same sign.
        Field("inverter_current", POWER, "sessy.inverter_current_ma", 1000),
        Field("active_current", POWER, "sessy.inverter_current_ma", 1000),
        Field("grid_frequency", POWER, "sessy.frequency", 1000),
        # Nobody says what is external about it [uncertain].
        Field("external_power", POWER, "sessy.external_power"),
        Field("device_status", POWER, "sessy.system_state", states=SYSTEM_STATES),
        Field("status_details", POWER, "sessy.system_state_details"),
        Field("strategy_overridden", POWER, "sessy.strategy_overridden"),
        Field("working_mode", STRATEGY, "strategy", states=STRATEGIES),
        *_per_phase(
            # The inputs for 'renewable' energy. Some owners clamp other things than
            # panels, and either way round: the sign is as it comes. A current has
            # none.
            Field("grid_voltage", POWER, "renewable_energy_phase{}.voltage_rms", 1000),
            Field("pv_voltage", POWER, "renewable_energy_phase{}.voltage_rms", 1000),
            Field("pv_current", POWER, "renewable_energy_phase{}.current_rms", 1000),
            Field("pv_power", POWER, "renewable_energy_phase{}.power"),
            Field("pv_imported", ENERGY, "energy_phase{}.import_wh", 1000),
            Field("pv_exported", ENERGY, "energy_phase{}.export_wh", 1000),
        ),
        Field("energy_charged_total", ENERGY, "sessy_energy.import_wh", 1000),
        Field("energy_discharged_total", ENERGY, "sessy_energy.export_wh", 1000),
        # One limit for both directions.
        Field("charge_power_limit", SETTINGS, "max_power"),
        Field("discharge_power_limit", SETTINGS, "max_power"),
        Field("min_power", SETTINGS, "min_power"),
        Field("min_soc", SETTINGS, "min_soc"),
        Field("noise_level", SETTINGS, "allowed_noise_level", missing=(101,)),
        Field("limit_noise", SETTINGS, "disable_noise_level", inverted=True),
        Field("eco_nom_charge", SETTINGS, "eco_nom_charge"),
        Field("eco_charge_power", SETTINGS, "eco_charge_power"),
        Field("eco_charge_hours", SETTINGS, "eco_charge_hours"),
        Field("limit_pack_temperature", SETTINGS, "pack_temp_limit_enabled"),
        Field("scheduled_power", SCHEDULE, "power", -1),
        Field("energy_price", SCHEDULE, "price", 100_000),
        Field("battery_firmware", OTA, "serial.installed_firmware.version"),
        *_OF_ANY_DONGLE,
    ),
    formulas=(
        Formula("battery_status", ("battery_power",), _charging, BATTERY_STATUS),
        Formula("problem", ("device_status",), _problems, _WRONG),
        _sum_of("pv_power", _names("pv_power"), whole=False),
        _sum_of("pv_energy_total", _names("pv_exported")),
    ),
    settings={
        "working_mode": SelectSetting(options=STRATEGIES.options),
        "charge_power_limit": NumberSetting(minimum=50, maximum=2200),
        "discharge_power_limit": NumberSetting(minimum=50, maximum=2200),
        "min_power": NumberSetting(minimum=50, maximum=2000),
        "min_soc": NumberSetting(minimum=0, maximum=100),
        "noise_level": NumberSetting(minimum=1, maximum=5),
        "limit_noise": SwitchSetting(),
        "eco_nom_charge": SwitchSetting(),
        "eco_charge_power": NumberSetting(minimum=0, maximum=2200),
        "eco_charge_hours": NumberSetting(minimum=0, maximum=24),
        "limit_pack_temperature": SwitchSetting(),
    },
    ahead=(STRATEGY, SETTINGS, OTA),
)

_OF_ANY_METER: Final = (
    Field("grid_target", GRID_TARGET, "grid_target"),
    *_OF_ANY_DONGLE,
)
_METER_SETTINGS: Final[Mapping[str, Setting]] = {
    "grid_target": NumberSetting(minimum=-20_000, maximum=20_000)
}

P1_METER: Final = Kind(
    model="Sessy P1",
    letter="P",
    live=P1,
    unused=frozenset({"P1_NOT_CONNECTED"}),
    fields=(
        Field("meter_status", P1, "state", states=P1_STATES),
        Field("grid_power", P1, "power_total"),
        *_per_phase(
            Field("grid_voltage", P1, "voltage_l{}", 1000),
            Field("grid_current", P1, "current_l{}", 1000),
            Field("grid_import_power", P1, "power_consumed_l{}"),
            Field("grid_export_power", P1, "power_produced_l{}"),
        ),
        Field("grid_import_tariff_1", P1, "power_consumed_tariff1", 1000),
        Field("grid_import_tariff_2", P1, "power_consumed_tariff2", 1000),
        Field("grid_export_tariff_1", P1, "power_produced_tariff1", 1000),
        Field("grid_export_tariff_2", P1, "power_produced_tariff2", 1000),
        Field("gas_total", P1, "gas_meter_value", 1000, missing=(0,)),
        Field("active_tariff", P1, "tariff_indicator", missing=(0,)),
        *_OF_ANY_METER,
    ),
    formulas=(
        *map(_net_power, PHASES),
        *map(_current_by_net, PHASES),
        _sum_of("grid_import_total", ("grid_import_tariff_1", "grid_import_tariff_2")),
        _sum_of("grid_export_total", ("grid_export_tariff_1", "grid_export_tariff_2")),
    ),
    settings=_METER_SETTINGS,
    ahead=(GRID_TARGET, OTA),
)

MODBUS_METER: Final = Kind(
    model="Sessy Modbus",  # read by a P1 dongle, in place of a P1 port
    letter="P",
    live=MODBUS,
    unused=frozenset({"MODBUS_DISABLED", "MODBUS_UNSUPPORTED"}),
    fields=(
        Field("meter_status", MODBUS, "state", states=MODBUS_STATES),
        Field("grid_power", MODBUS, "total_power"),
        *_per_phase(
            Field("grid_power", MODBUS, "phase_{}.power"),
            Field("grid_voltage", MODBUS, "phase_{}.voltage", 1000),
            Field("grid_current", MODBUS, "phase_{}.current", 1000),
        ),
        Field("grid_import_total", MODBUS, "total_import", 1000),
        Field("grid_export_total", MODBUS, "total_export", 1000),
        *_OF_ANY_METER,
    ),
    formulas=tuple(map(_current_by_power, PHASES)),
    settings=_METER_SETTINGS,
    ahead=(GRID_TARGET, OTA),
)

CT_METER: Final = Kind(
    model="Sessy CT",
    letter="C",
    live=CT,
    fields=(
        Field("grid_power", CT, "total_power"),
        *_per_phase(
            Field("grid_power", CT, "power_l{}"),
            Field("grid_voltage", CT, "voltage_l{}", 1000),
            Field("grid_current", CT, "current_l{}", 1000),
            Field("grid_import", ENERGY, "energy_phase{}.import_wh", 1000),
            Field("grid_export", ENERGY, "energy_phase{}.export_wh", 1000),
        ),
        *_OF_ANY_METER,
    ),
    formulas=(
        *map(_current_by_power, PHASES),
        _sum_of("grid_import_total", _names("grid_import")),
        _sum_of("grid_export_total", _names("grid_export")),
    ),
    settings=_METER_SETTINGS,
    ahead=(GRID_TARGET, OTA),
)

KINDS: Final = (BATTERY, P1_METER, MODBUS_METER, CT_METER)
