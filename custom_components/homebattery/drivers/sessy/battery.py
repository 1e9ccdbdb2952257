"""Sessy: the home battery of Charged, and the dongles that measure for it.

One dongle a battery, one battery an instance. `endpoints.py` is what it can be
asked, `client.py` the way there.

- Sessy's own sign is positive = discharging: battery power and setpoints are turned
  on the way in and out.
- A setpoint only works in the strategy API. No client knows it to expire and none
  renews it, so neither do we: it holds until full, empty or another strategy, also
  when whoever set it is gone [uncertain over days and over a restart].
- A supplier in control (strategy SESSY_CONNECT, or a strategy that is overridden) is
  not fought: a setpoint is posted when it is asked for, and never again by itself.
- What is kept in flash is unknown, so strategy and settings are counted as if they were.
- Old firmware lacks whole endpoints (404) and many fields; each fails on its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
import logging
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, override

from ..battery.base import Battery, Found, Identity, SetpointLimits, SetupField
from ..battery.controller import Bound, LimitReason, bounded
from ..battery.readings import Formula, Readings
from ..battery.settings import Setting
from ..errors import (
    AuthenticationError,
    BatteryError,
    DeviceRefusedError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    TakenOverError,
    WrongDeviceError,
)
from ..measurements import MEASUREMENTS, Poll, Value
from ..modbus.probe import Detected, Visit
from ..modbus.recording import hidden_answer
from .client import SessyClient
from .endpoints import (
    API,
    BATTERY,
    INFO,
    KINDS,
    POWER,
    SETPOINT_PATH,
    SETTINGS,
    STRATEGY,
    Answer,
    Endpoint,
    Field,
    Kind,
)

if TYPE_CHECKING:
    from aiohttp import ClientSession

_LOGGER = logging.getLogger(__name__)

MAX_POWER: Final = 2200
"""W that the setpoint takes either way. Discharging really ends at 1700 to 2025 W,
with the voltage of the pack (37.5 A); the device sees to that itself."""

_ONE_ENDPOINT_ERRORS: Final = (DeviceRefusedError, NotSupportedError, ProtocolError)
"""What goes wrong with one endpoint while the device as a whole is well."""

_HALVES: Final = ("battery_charge_power", "battery_discharge_power")
_SERIAL: Final = "serial_number"


class SessyInverter(Battery):
    """A Sessy battery, or a P1, Modbus or CT meter of Sessy.

    A meter takes no setpoint. `username` is the dongle's serial number, `password`
    stands beside it on the sticker. Without a `session` it makes its own.
    """

    battery_type: ClassVar[str] = "sessy"
    manufacturer: ClassVar[str] = "Charged"
    fields: ClassVar[tuple[SetupField, ...]] = (
        SetupField("host"),
        SetupField("port", 80, rare=True),
        SetupField("username"),
        SetupField("password"),
    )
    ports: ClassVar[tuple[int, ...]] = (80,)
    settle: ClassVar[float] = 1.0
    """Seconds until another look whether a write has come through."""
    confirm_tries: ClassVar[int] = 3
    # Nothing has to be renewed: it is only looked whether the setpoint is still ours.
    keep_alive_interval = 30.0

    def __init__(
        self,
        address: str,
        port: int = 80,
        timeout: float = 10,
        capacity: int | None = None,
        max_charge_power: int | None = None,
        max_discharge_power: int | None = None,
        *,
        username: str,
        password: str,
        session: ClientSession | None = None,
    ) -> None:
        """Describe the battery; nothing is sent."""
        super().__init__(
            address, port, timeout, capacity, max_charge_power, max_discharge_power
        )
        self.client = SessyClient(address, port, timeout, username, password, session)
        self.kind: Kind | None = None
        """What kind of dongle it is; known once connected."""
        self.answers: dict[str, Answer] = {}
        """The last answer of each path, as it came."""
        self.clock: Callable[[], float] = time.time
        """Where the Unix time comes from."""
        self._fields: Mapping[str, Field] = {}
        self._formulas: Mapping[str, Formula] = {}
        self._keys: tuple[str, ...] = ()
        """What such a dongle can measure; known once connected."""
        self._absent: dict[Endpoint, str] = {}
        self._strange: set[tuple[str, str]] = set()
        # Held from reading to writing: settings are written as a whole, so that of
        # two changes at once one would be lost; and no release may come between a
        # strategy and its setpoint.
        self._writing = asyncio.Lock()
        self._granted: int | None = None
        self._posted_again = False
        """Whether a setpoint that had changed by itself was posted once more."""

    @classmethod
    @override
    def from_setup(
        cls, setup: Mapping[str, Any], session: ClientSession | None = None
    ) -> Self:
        battery = super().from_setup(setup)
        battery.client.session = session
        return battery

    @classmethod
    @override
    async def recognise(cls, visit: Visit) -> list[Detected]:
        """Ask without a password, for what some firmware tells anybody.

        What asks for one may be a Sessy, or another device with a web page.
        """
        client = SessyClient(
            visit.host, visit.port, visit.timeout, "", "", visit.session
        )
        client.open()
        try:
            return await cls._recognise(client, visit)
        finally:
            await client.close()

    @classmethod
    async def _recognise(cls, client: SessyClient, visit: Visit) -> list[Detected]:
        locked = False
        for model, endpoint in (
            ("Sessy", INFO),
            *((kind.model, kind.live) for kind in KINDS),
        ):
            try:
                answer = await client.get(endpoint.path)
            except AuthenticationError:
                locked = True
                continue
            except _ONE_ENDPOINT_ERRORS:
                continue
            dongle = _serial(answer, "self_serial")
            serial = _serial(answer, "sessy_serial") or dongle
            if endpoint is INFO and serial is None:
                continue
            return [
                Detected(
                    battery_type=cls.battery_type,
                    model=model,
                    serial_number=serial,
                    setup={**visit.setup, **({"username": dongle} if dongle else {})},
                )
            ]
        if not locked:
            return []
        return [
            Detected(
                battery_type=cls.battery_type,
                model="Sessy",
                setup=visit.setup,
                certain=False,
            )
        ]

    @override
    async def connect(self) -> None:
        self._forget()
        self.client.open()
        try:
            info = await self._info()
            dongle = _serial(info, "self_serial") or self.client.username
            self.kind = await self._find_kind(dongle)
            self._fields = {field.key: field for field in self.kind.fields}
            self._formulas = {formula.key: formula for formula in self.kind.formulas}
            self._keys = tuple(
                key for key in MEASUREMENTS if key == _SERIAL or self._needs(key)
            )
            for endpoint in self.kind.ahead:
                await self._seen(endpoint)
            self._identity = self._identify(self.kind, info, dongle)
        except BaseException:
            await self.close()
            raise

    @override
    async def close(self) -> None:
        self._forget()
        await self.client.close()

    def _forget(self) -> None:
        """Learn anew what the device has: it may run another firmware now."""
        self._absent.clear()
        self._unsupported.clear()
        self.answers.clear()

    async def _info(self) -> Answer:
        """Return who the dongle says it is; nothing on old firmware."""
        try:
            return await self._fetch(INFO)
        except NotSupportedError:
            return {}

    async def _find_kind(self, dongle: str) -> Kind:
        """Ask for what only one kind of dongle has, the likeliest kind first."""
        possible: list[Kind] = []
        for kind in sorted(KINDS, key=lambda kind: not dongle.startswith(kind.letter)):
            try:
                answer = await self._fetch(kind.live)
            except NotSupportedError:
                continue
            if answer.get("state") not in kind.unused:
                return kind
            possible.append(kind)
        if possible:
            return possible[0]
        with suppress(NotSupportedError):
            # What does not speak HTTP at all says so itself.
            await self.client.get(BATTERY.live.path)
        raise WrongDeviceError(
            f"{self.address}:{self.port}: neither a Sessy battery nor one of its meters"
        )

    def _identify(self, kind: Kind, info: Answer, dongle: str) -> Identity:
        """Return who the device is: the battery rather than its dongle, if known."""
        serial, hardware = None, None
        if kind is BATTERY:
            serial, revision = _serial(info, "sessy_serial"), info.get("sessy_revision")
            hardware = f"{revision / 100:.2f}" if isinstance(revision, int) else None
        firmware = self._last_raw("firmware")
        return Identity(
            serial_number=serial or dongle,
            manufacturer=self.manufacturer,
            model=kind.model,
            firmware=firmware if isinstance(firmware, str) and firmware else None,
            hardware=hardware,
        )

    @property
    @override
    def raw(self) -> Mapping[str, Any]:
        """The last answer of each path, and which paths have none."""
        return {
            "answers": {
                path: hidden_answer(answer)
                for path, answer in sorted(self.answers.items())
            },
            "missing": sorted(endpoint.path for endpoint in self._absent),
        }

    # Reading

    def _needs(self, key: str) -> tuple[str, ...]:
        """Return the names of the fields that `key` comes from."""
        key = "battery_power" if key in _HALVES else key
        names = self._formulas[key].needs if key in self._formulas else (key,)
        return tuple(name for name in names if name in self._fields)

    @property
    @override
    def measurements(self) -> tuple[str, ...]:
        return tuple(key for key in self._keys if key not in self._unsupported)

    @override
    def poll_of(self, key: str) -> Poll:
        if key == _SERIAL:
            return Poll.ONCE
        polls = [self._fields[name].endpoint.poll for name in self._needs(key)]
        return min(polls, default=Poll.SLOW)

    @override
    def options(self, key: str) -> tuple[str, ...]:
        if key in self._formulas:
            return self._formulas[key].options
        states = self._fields[key].states if key in self._fields else None
        return () if states is None else states.options

    @override
    async def _read(self, keys: Collection[str]) -> Readings:
        values: dict[str, Value] = {_SERIAL: self.identity.serial_number}
        failures: dict[str, BatteryError] = {}
        needed = {name: self._fields[name] for key in keys for name in self._needs(key)}
        answers: dict[Endpoint, Answer | BatteryError] = {}
        for endpoint in {field.endpoint: None for field in needed.values()}:
            try:
                answers[endpoint] = await self._fetch(endpoint)
            except _ONE_ENDPOINT_ERRORS as err:
                answers[endpoint] = err
        for name, field in needed.items():
            answer = answers[field.endpoint]
            try:
                if isinstance(answer, BatteryError):
                    raise answer
                values[name] = self._value(field, answer)
            except _ONE_ENDPOINT_ERRORS as err:
                failures[name] = err
        readings: dict[str, Value] = {}
        failed: dict[str, BatteryError] = {}
        for key in keys:
            formula = self._formulas.get(key)
            try:
                readings[key] = formula.compute(values) if formula else values[key]
            except KeyError as missing:
                name = missing.args[0]
                failed[key] = failures.get(
                    name, NotSupportedError(f"{self.address}: has no {name}")
                )
        return Readings(readings, failed)

    async def _fetch(self, endpoint: Endpoint) -> Answer:
        """Return what an endpoint says now; remember it if there is none.

        What never gave a proper answer is not there: some firmware shows a page
        where it has no endpoint. What once did is only out of order.
        """
        if endpoint not in self._absent:
            try:
                answer = await self.client.get(endpoint.path)
            except (NotSupportedError, ProtocolError) as err:
                if isinstance(err, ProtocolError) and endpoint.path in self.answers:
                    raise
                self._absent[endpoint] = str(err)
            else:
                self.answers[endpoint.path] = answer
                return endpoint.tidy(answer, self.clock()) if endpoint.tidy else answer
        if endpoint.older is not None:
            return await self._fetch(endpoint.older)
        raise NotSupportedError(self._absent[endpoint])

    def _retry(self, endpoint: Endpoint) -> None:
        """Have an endpoint asked again that was missing the last time.

        A 404 may be a passing one: what holds or releases a battery does not go by it.
        """
        self._absent.pop(endpoint, None)

    async def _ask(self, endpoint: Endpoint) -> Answer:
        """Return what an endpoint says now, also if it was missing the last time."""
        self._retry(endpoint)
        return await self._fetch(endpoint)

    async def _seen(self, endpoint: Endpoint) -> Answer:
        """Return what an endpoint says, or what it said last while it is ill."""
        try:
            return await self._ask(endpoint)
        except _ONE_ENDPOINT_ERRORS as err:
            _LOGGER.debug("%s", err)
            return self.answers.get(endpoint.path, {})

    def _value(self, field: Field, answer: Answer) -> Value:
        """Return a field's value; raises NotSupportedError if it is not there."""
        try:
            raw = field.raw_in(answer)
        except KeyError as missing:
            raise NotSupportedError(
                f"{self.address}{field.endpoint.path}: has no {missing.args[0]}"
            ) from None
        try:
            return field.decode(raw)
        except ValueError:
            self._wonder(field, raw)
            return None

    def _wonder(self, field: Field, raw: object) -> None:
        """Say once that the device has a value that nobody here knows."""
        if (field.path, str(raw)) not in self._strange:
            self._strange.add((field.path, str(raw)))
            _LOGGER.warning(
                "%s%s: %s is %r, which is not known here; please report it",
                self.address,
                field.endpoint.path,
                field.path,
                raw,
            )

    def _last_raw(self, key: str) -> object:
        """Return the last raw value of a field; None where the device has none."""
        field = self._fields[key]
        try:
            return field.raw_in(self.answers[field.endpoint.path])
        except KeyError:
            return None

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        """Those that this firmware has a value for."""
        if self.kind is None:
            return {}
        return {
            key: setting
            for key, setting in self.kind.settings.items()
            if self._last_raw(key) is not None
        }

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        field = self._fields[key]
        raw = field.encode(value)
        wanted = field.decode(raw)
        async with self._writing:
            present = await self._ask(field.endpoint)
            if self._value(field, present) == wanted:
                return
            self.wear.check(self.address)
            self.wear.note()
            body = {field.path: raw}
            if field.endpoint is SETTINGS:
                # There is no way to write one of them alone.
                body = {**present, **body}
                del body["status"]
            await self.client.post(field.endpoint.path, body)
            await self._confirm(key, wanted, lambda: self._see(field))

    async def _see(self, field: Field) -> Value:
        """Read one field."""
        return self._value(field, await self._ask(field.endpoint))

    async def _confirm(
        self, what: str, wanted: Value, see: Callable[[], Awaitable[Value]]
    ) -> None:
        """Look until it is as wanted; raises NotConfirmedError if it never is."""
        seen: Value = None
        for trial in range(self.confirm_tries):
            if trial:
                await asyncio.sleep(self.settle)
            seen = await see()
            if seen == wanted:
                return
        raise NotConfirmedError(
            f"{self.address}: {what} is {seen} after writing {wanted}"
        )

    # Holding it at a setpoint

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if self.kind is not BATTERY:
            return None
        # The limit in the device's settings, as it was when they were last read.
        setting = self.answers.get(SETTINGS.path, {}).get("max_power")
        most = MAX_POWER
        if isinstance(setting, int | float) and setting > 0:
            most = min(MAX_POWER, round(setting))
        return self._narrowed(SetpointLimits(-most, most))

    @override
    async def read_found(self) -> Found:
        """Read the strategy, which is all that a release brings back.

        Not the setpoint: one that is found in the strategy API is another's, or the
        rest of one, and must not begin to run again.
        """
        if self.setpoint_limits is None:
            return await super().read_found()
        return {"strategy": await self._strategy()}

    @override
    async def set_power_setpoint(self, power: float) -> int:
        granted = await self._grant(power)
        async with self._writing:
            former = await self._strategy()
            if former != API:
                self.wear.check(self.address)
            found_now = self.found is None
            if found_now:
                self.found = {"strategy": former}
            try:
                if former != API:
                    await self._post_strategy(API)
                await self.client.post(SETPOINT_PATH, {"setpoint": -granted})
            except BatteryError:
                # In API without our setpoint it would run on one left from earlier.
                if former != API:
                    await self._post_strategy(former)
                    if found_now:
                        self.found = None
                raise
            self._granted, self._posted_again = granted, False
        return granted

    @override
    def wears_flash(self, power: float) -> bool:
        """Say yes to the first setpoint: it needs another strategy."""
        return self._granted is None

    @override
    async def is_held(self) -> bool:
        return await self._strategy() == API

    @override
    async def keep_alive(self) -> int | None:
        """Look whether the setpoint is still ours; nothing has to be renewed.

        A setpoint that has changed by itself is posted once more, and never again.
        """
        async with self._writing:
            if self.found is None or self._granted is None:
                return None
            if (strategy := await self._strategy()) != API:
                self._give_up(f"the strategy is {strategy}")
            self._retry(POWER)
            readings = await self._read({"power_setpoint", "strategy_overridden"})
            if readings.get("strategy_overridden"):
                self._give_up("the strategy is overridden")
            seen = readings.get("power_setpoint")
            if seen is None or seen == self._granted:
                return None
            if self._posted_again:
                self._give_up(f"the setpoint is {seen} W instead of {self._granted} W")
            self._posted_again = True
            await self.client.post(SETPOINT_PATH, {"setpoint": -self._granted})
            return self._granted

    def _give_up(self, what: str) -> None:
        raise TakenOverError(f"{self.address}: {what}; somebody else has changed it")

    @override
    async def release(self) -> None:
        """Hold 0 W, then give back the strategy that was found, and see both.

        In this order a failure half way leaves a battery at rest, and no setpoint
        waits for the next who chooses API. A strategy other than API was chosen by
        somebody else since, and stays. Found in API, it stays in API, at 0 W.
        """
        if self.found is None:
            return
        async with self._writing:
            found = str(self.found["strategy"])
            present = await self._strategy()
            if present == API:
                await self._give_back(found)
            elif present != found:
                _LOGGER.info("%s: left in %s, chosen since", self.address, present)
            self.found = self._granted = self.limited_by = None

    async def _give_back(self, strategy: str) -> None:
        await self.client.post(SETPOINT_PATH, {"setpoint": 0})
        unconfirmed = None
        try:
            # While in API: other strategies show setpoints of their own.
            setpoint = self._fields["power_setpoint"]
            await self._confirm("setpoint", 0, lambda: self._see(setpoint))
        except NotConfirmedError as err:
            unconfirmed = err
        if strategy != API:
            await self._post_strategy(strategy)
            await self._confirm("strategy", strategy, self._strategy)
        if unconfirmed is not None:
            raise unconfirmed

    async def _grant(self, power: float) -> int:
        """Return `power` within all limits, that of the present settings included."""
        granted, self.limited_by = self._clamp(power), None
        if granted == 0:
            return 0
        maximum = (await self._seen(SETTINGS)).get("max_power")
        if not isinstance(maximum, int | float):
            return granted
        left, self.limited_by = bounded(granted, [Bound(maximum, LimitReason.SETTING)])
        return round(left)

    async def _strategy(self) -> str:
        """Read the strategy in the device's own words: it may be one unknown here."""
        strategy = (await self._ask(STRATEGY)).get("strategy")
        if not isinstance(strategy, str):
            raise ProtocolError(f"{self.address}{STRATEGY.path}: no strategy")
        return strategy

    async def _post_strategy(self, strategy: str) -> None:
        self.wear.note()
        await self.client.post(STRATEGY.path, {"strategy": strategy})


def _serial(info: Answer, name: str) -> str | None:
    """Return a serial number, if the dongle knows it."""
    serial = info.get(name)
    if not isinstance(serial, str) or serial.strip().lower() in ("", "unknown"):
        return None
    return serial.strip()
