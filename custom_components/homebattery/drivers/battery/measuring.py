"""A device whose measurements can be read, in the fewest requests."""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from ..address import check_address
from ..errors import (
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    IllegalAddressError,
    NotSupportedError,
    ProtocolError,
)
from ..kept import Kept
from ..measurements import MEASUREMENTS, Poll, Value, as_number
from ..report import Report
from ..text import printable
from .counters import CounterFilter
from .parts import Part
from .readings import HALVES, SIGNED, Formula, Readings, Values, clean, half

_ABSENT: Final = (IllegalAddressError, NotSupportedError)
"""Failures that say that something is not there."""
LONGEST_NAME: Final = 100
"""Characters of a text by which a device describes itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of a device. `serial_number` identifies it for ever."""

    serial_number: str
    manufacturer: str
    model: str
    name: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    mac: str | None = None
    """Its Ethernet address; only of devices that report it."""

    def __post_init__(self) -> None:
        """Keep what a device says of itself printable and short."""
        for name in ("manufacturer", "model", "name", "firmware", "hardware"):
            text = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, printable(text, LONGEST_NAME))


class MeasuringDevice(ABC):
    """A device at an address, and what it measures.

    One that is in no network has a name as its address, and no port.
    """

    def __init__(self, address: str, port: int | None, timeout: float) -> None:
        """Describe the device; `timeout` is for each answer, s. Nothing is sent.

        Raises InvalidValueError for an address that there cannot be.
        """
        if port is not None:
            check_address(address, port)
        self.address = address
        self.port = port or 0
        self.timeout = timeout
        self.counters = CounterFilter()
        """The filter that drops impossible readings of counters."""
        self._identity: Identity | None = None
        self._unsupported: set[str] = set()
        self._had_value: set[str] = set()
        """Keys whose last read, if it did not fail, gave a value."""
        self._set_up_with: frozenset[str] = frozenset()
        """The measurements when everything had been read; empty before."""
        self._asked: set[str] = set()
        """Keys that were read, or failed, until then."""
        self._formulas: dict[str, Formula] = {}
        self._measurements: tuple[str, ...] | None = None
        self._poll_rates: dict[str, Poll] = {}
        self._names = Kept(self._find_names)
        """The registers or fields of sets of keys that were read."""

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    @abstractmethod
    async def connect(self) -> None:
        """Connect, and read the identity of the device.

        Raises CannotConnectError, RequestTimeoutError, AuthenticationError,
        WrongDeviceError.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connection; a setpoint that is held stays as it is."""

    @property
    def identity(self) -> Identity:
        """The device's identity; raises CannotConnectError before it was connected."""
        if self._identity is None:
            raise CannotConnectError(f"{self.address}: not connected yet")
        return self._identity

    @property
    def detected_config(self) -> Mapping[str, Any]:
        """Values that `connect` detected for `fields` that were not given."""
        return {}

    @property
    def raw(self) -> Mapping[str, Any]:
        """The device's last answers as they came, to find mistakes and to replay them.

        As JSON, with placeholders for serial numbers and names.
        """
        return {}

    keep_learned: Callable[[Mapping[str, Any]], None] = staticmethod(lambda _: None)
    """Keeps what `learn` has learned, for `recall` after a restart."""

    @property
    def learned(self) -> Mapping[str, Any]:
        """The reads that it answers, as learned from its answers, as JSON; empty if none."""
        return {}

    def recall(self, learned: object) -> None:
        """Take over what was learned in an earlier run, as far as it makes sense.

        To be called before `connect`. It is forgotten where the firmware is another one.
        """

    async def learn(self) -> None:
        """Try whether one request less will do, by one request at most.

        To be called after a poll of all that is shown. Raises no BatteryError.
        """

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its parts with an identity of their own, as far as read by now."""
        return ()

    async def has_new_parts(self) -> bool:
        """Return True for a part or value that was not there when it was set up.

        Sends few requests; raises what `read` raises.
        """
        if not self._set_up_with or not (
            new := set(self.measurements) - self._set_up_with
        ):
            return False
        readings = await self.read(new)
        return any(value is not None for value in readings.values())

    @property
    def measurements(self) -> tuple[str, ...]:
        """The keys that the device can measure, as far as known by now."""
        if self._measurements is None:
            able = self._measurable()
            self._measurements = tuple(
                key
                for key in MEASUREMENTS
                if key in able and key not in self._unsupported
            )
        return self._measurements

    @abstractmethod
    def _measurable(self) -> Collection[str]:
        """Return the keys that such a device can measure."""

    def _forget_measurements(self) -> None:
        """Forget `measurements`, rates and names of keys, to be determined again."""
        self._measurements = None
        self._poll_rates.clear()
        self._names.clear()

    def poll_rate(self, key: str) -> Poll:
        """Return the rate at which `key` is polled."""
        rate = self._poll_rates.get(key)
        if rate is None:
            rate = self._poll_rates[key] = self._find_poll_rate(key)
        return rate

    @abstractmethod
    def _find_poll_rate(self, key: str) -> Poll:
        """Return the rate of the registers or fields that `key` needs."""

    @abstractmethod
    def options(self, key: str) -> tuple[str, ...]:
        """Return the states that the measurement `key` (a STATUS) can have."""

    async def read(self, keys: Collection[str] | None = None) -> Readings:
        """Read `keys`, or everything, in the fewest requests.

        Keys that fail on their own are in the readings' `failures`. Raises
        CannotConnectError, RequestTimeoutError, AuthenticationError or
        ProtocolError when the device as a whole is out of reach, DeviceRefusedError
        when it refuses all that it was asked for.
        """
        wanted = frozenset(self.measurements if keys is None else keys)
        report = await self._read_report(self._names_of(wanted))
        values: dict[str, Value] = {}
        failures: dict[str, BatteryError] = {}
        for key in wanted:
            try:
                values[key] = self._compute(key, report.values)
            except KeyError as missing:
                name = missing.args[0]
                failures[key] = report.failures.get(
                    name, NotSupportedError(f"{self.address}: has no {name}")
                )
            except (ArithmeticError, LookupError, TypeError, ValueError) as err:
                failures[key] = ProtocolError(
                    f"{self.address}: no {key} comes of what was read ({err!r})"
                )
        self._check_answered(failures, report, is_everything=keys is None)
        self._had_value |= {key for key, each in values.items() if each is not None}
        if rated_power := as_number(values.get("rated_power")):
            self.counters.rated_power = rated_power
        now = asyncio.get_running_loop().time()
        values.update(self.counters.checked(values, now))
        self._note_unsupported(failures)
        self._note_set_up(wanted, is_everything=keys is None)
        return Readings(values, failures)

    def _note_set_up(self, asked: Collection[str], *, is_everything: bool) -> None:
        """Note with what it is set up once everything was read, if in several reads."""
        if not self._set_up_with:
            self._asked.update(asked)
            is_everything = self._asked.issuperset(self.measurements)
        if is_everything:
            self._set_up_with = frozenset(self.measurements)

    def _check_answered(
        self,
        failures: Mapping[str, BatteryError],
        report: Report,
        *,
        is_everything: bool,
    ) -> None:
        """Raise DeviceRefusedError when nothing that was asked for is there.

        The device is ill then: it lacks nothing, and nothing is learned from it. Keys
        that never had a value may well be missing, unless that is so of every key.
        """
        if (
            not failures
            or self._is_new(report.values)
            or not all(isinstance(err, _ABSENT) for err in report.failures.values())
            or not (is_everything or failures.keys() & self._had_value)
        ):
            return
        if not self._set_up_with:
            self._forget_absences()
        err = next(iter(failures.values()))
        raise DeviceRefusedError(
            f"{self.address}: refuses all that it is asked for ({err})",
            err.code if isinstance(err, DeviceRefusedError) else None,
        )

    def _is_new(self, values: Values) -> bool:
        """Return True if some of the values were read from the device just now."""
        return bool(values)

    def _forget_absences(self) -> None:
        """Forget what the device seems to lack."""
        self._unsupported.clear()
        self._forget_measurements()

    @abstractmethod
    async def _read_report(self, names: Collection[str]) -> Report:
        """Read registers or fields by name; each has a value or a failure."""

    def _names_of(self, keys: frozenset[str]) -> frozenset[str]:
        """Return the names of the registers or fields that `keys` come from."""
        return self._names[keys]

    def _find_names(self, keys: frozenset[str]) -> frozenset[str]:
        return frozenset(name for key in keys for name in self._needs(key))

    def _needs(self, key: str) -> tuple[str, ...]:
        """Return the names of the registers or fields that `key` comes from."""
        key = SIGNED if key in HALVES else key
        formula = self._formulas.get(key)
        return (key,) if formula is None else formula.needs

    def _compute(self, key: str, values: Values) -> Value:
        """Return a measurement; raises KeyError with the name that it lacks."""
        if key in HALVES:
            return half(self._compute(SIGNED, values), HALVES[key])
        formula = self._formulas.get(key)
        return clean(key, values[key] if formula is None else formula.compute(values))

    def _note_unsupported(self, failures: Mapping[str, BatteryError]) -> None:
        """Note keys that the device turned out not to have.

        One that had a value only fails, the first time.
        """
        lacking = {
            key for key, err in failures.items() if isinstance(err, NotSupportedError)
        }
        had_value = lacking & self._had_value
        self._had_value -= had_value
        lacking -= had_value
        if not lacking <= self._unsupported:
            self._unsupported |= lacking
            self._forget_measurements()

    async def get(self, key: str) -> Value:
        """Read one measurement; raises what `read` does and its own failure."""
        readings = await self.read([key])
        if key in readings.failures:
            raise readings.failures[key]
        return readings[key]

    async def get_active_power_total(self) -> Value:
        """Return the power at the AC side, W, positive = delivering."""
        return await self.get("active_power")

    async def get_active_current_total(self) -> Value:
        """Return the current at the AC side, A, positive = delivering."""
        return await self.get("active_current")

    async def get_active_power_phase(self, phase: int) -> Value:
        """Return the power of one phase (1 to 3) at the AC side, W."""
        return await self.get(f"active_power_l{phase}")

    async def get_phase_voltage(self, phase: int) -> Value:
        """Return the voltage of one grid phase (1 to 3), V."""
        return await self.get(f"grid_voltage_l{phase}")

    async def get_phase_current(self, phase: int) -> Value:
        """Return the current of one grid phase (1 to 3), A, positive = import."""
        return await self.get(f"grid_current_l{phase}")

    async def get_battery_soc(self) -> Value:
        """Return the state of charge, %."""
        return await self.get("battery_soc")
