"""Sessy: the home battery of Charged, and the dongles that measure for it.

One dongle per battery, one battery per instance. `endpoints.py` has the endpoints of
the API, `measurements.py` the measurements in their answers, `client.py` the HTTP
client, `answers.py` the bounds of an answer, `device.py` reads and writes, and
`controller.py` holds the battery.

- Sessy's own sign is positive = discharging: battery power and setpoints are turned
  on the way in and out.
- Old firmware lacks whole endpoints (404) and many fields; each fails on its own.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, override

from ..battery.base import Battery, SetpointLimits, SetupField
from ..battery.controller import SetpointController, loop_time
from ..battery.measuring import Identity
from ..battery.settings import Setting
from ..errors import (
    AuthenticationError,
    ConnectionClosedError,
    IllegalAddressError,
    NotSupportedError,
    RequestTimeoutError,
    StartingError,
    WrongDeviceError,
)
from ..measurements import MEASUREMENTS, Poll, Value
from ..modbus.probe import Detected, Probe
from ..modbus.recording import redacted_answer
from ..report import Report
from .client import SessyClient
from .controller import SessyController
from .device import ONE_ENDPOINT_ERRORS, SessyDevice
from .endpoints import INFO, POWER, Answer, Endpoint, Field, is_blank
from .measurements import BATTERY, KINDS, Kind

if TYPE_CHECKING:
    from aiohttp import ClientSession

MAX_POWER: Final = 2200
"""The highest setpoint either way, W. Discharging really ends at 1700 to 2025 W, with
the voltage of the pack (37.5 A); the device sees to that itself."""

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
        SetupField("port", 80, advanced=True),
        SetupField("username"),
        SetupField("password"),
    )
    ports: ClassVar[tuple[int, ...]] = (80,)
    settle: ClassVar[float] = 1.0
    """Seconds between two reads of what was written."""
    # Nothing has to be renewed: only the setpoint is checked for another controller.
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
        self.client.check = self.identity_check
        self.device = SessyDevice(self.client, self.wear, self.settle)
        self.kind: Kind | None = None
        """The kind of dongle; known once connected."""
        self._kinds: Sequence[Kind] = KINDS
        """The kinds, the likeliest first."""
        self._fields: Mapping[str, Field] = {}
        self._offered: frozenset[str] = frozenset()
        """The settings that it had when connected."""

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
    async def detect(cls, probe: Probe) -> list[Detected]:
        """Return the dongle, as far as its firmware answers without a password.

        A device that asks for one may be a Sessy, or another with a web page.
        """
        client = SessyClient(
            probe.host, probe.port, probe.timeout, "", "", probe.session
        )
        client.open()
        try:
            return await cls._detect(client, probe)
        finally:
            await client.close()

    @classmethod
    async def _detect(cls, client: SessyClient, probe: Probe) -> list[Detected]:
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
            except ONE_ENDPOINT_ERRORS:
                continue
            except ConnectionClosedError:
                # A server of another protocol hangs up; other drivers may speak it.
                return []
            dongle = _serial(answer, "self_serial")
            serial = _serial(answer, "sessy_serial") or dongle
            if endpoint is INFO and serial is None:
                continue
            return [
                Detected(
                    battery_type=cls.battery_type,
                    model=model,
                    serial_number=serial,
                    setup={**probe.setup, **({"username": dongle} if dongle else {})},
                )
            ]
        if not locked:
            return []
        return [
            Detected(
                battery_type=cls.battery_type,
                model="Sessy",
                setup=probe.setup,
                certain=False,
            )
        ]

    @override
    async def connect(self) -> None:
        self._forget()
        self.identity_check.reset()
        self.client.open()
        try:
            info = await self._info()
            dongle = _serial(info, "self_serial") or self.client.username
            # The serial number begins with the letter of the kind, as far as is known.
            self._kinds = sorted(
                KINDS, key=lambda kind: not dongle.startswith(kind.letter)
            )
            self.kind = await self._find_kind()
            self._fields = {field.key: field for field in self.kind.fields}
            self._formulas = {formula.key: formula for formula in self.kind.formulas}
            self._forget_measurements()
            with suppress(*ONE_ENDPOINT_ERRORS, RequestTimeoutError):
                await self.device.read(_fields_of(self.kind, self.kind.ahead))
            self._offered = frozenset(self.settings)
            self.controller = self._make_controller(self.kind)
            self._take_identity(self._identify(self.kind, info, dongle), info)
        except BaseException:
            await self.close()
            raise

    @override
    async def close(self) -> None:
        self._forget()
        await self.client.close()

    def _forget(self) -> None:
        """Forget what the device lacks: it may run another firmware now."""
        self.device.forget()
        self._unsupported.clear()
        self._forget_measurements()

    def _make_controller(self, kind: Kind) -> SetpointController[Any] | None:
        """Return the controller of a battery; an existing one is kept."""
        if kind is not BATTERY:
            return None
        return self.controller or SessyController(self.device, self.address)

    async def _info(self) -> Answer:
        """Return the identity that the dongle reports; empty on old firmware.

        Empty, too, while its page fails, if the serial number is known.
        """
        try:
            await self.device.read(_fields_of(BATTERY, [INFO]))
        except (*ONE_ENDPOINT_ERRORS, RequestTimeoutError):
            if self.identity_check.expected is None:
                raise
        return self.device.answers.get(INFO.path, {})

    def _take_identity(self, identity: Identity, info: Answer) -> None:
        """Accept an identity, or wait for the page that has the serial number.

        Where that is the dongle's, the log-in has proved it. Raises what `_accept`
        raises, and StartingError for zeros, which are no values.
        """
        expected = self.identity_check.expected
        if info or expected in (None, identity.serial_number):
            reported = self._serial_number_in(info)
            self._accept(identity, is_reported=identity.serial_number == reported)
            return
        if is_blank(self.device.answers.get(POWER.path)):
            raise StartingError(f"{self.address}:{self.port}: nothing but zeros")
        self._identity = replace(identity, serial_number=expected)

    async def _find_kind(self) -> Kind:
        """Return the likeliest kind that the dongle measures as, or could measure as.

        Raises WrongDeviceError when it is none.
        """
        possible: list[Kind] = []
        for pause in (0, self.client.retry_pause):
            # A dongle that starts may deny what it has.
            await asyncio.sleep(pause)
            for kind in self._kinds:
                is_used = await self._is_used(kind)
                if is_used:
                    return kind
                if is_used is not None:
                    possible.append(kind)
            if possible:
                return possible[0]
        with suppress(NotSupportedError):
            # A device that does not speak HTTP at all raises an error of its own.
            await self.client.get(BATTERY.live.path)
        raise WrongDeviceError(
            f"{self.address}:{self.port}: neither a Sessy battery nor one of its meters"
        )

    async def _is_used(self, kind: Kind) -> bool | None:
        """Return whether the dongle measures as a kind; None if it is not one."""
        try:
            answer = await self.device.ask(kind.live)
        except IllegalAddressError, NotSupportedError:
            return None
        if not self.device.values_in(_fields_of(kind, [kind.live]), answer).values:
            return None
        return answer.get("state") not in kind.unused

    @override
    async def has_new_parts(self) -> bool:
        """Return True for a kind, setting or measurement that was denied before.

        A dongle that starts may deny what it has; new firmware may have more.
        """
        if self.kind is None:
            return False
        for likelier in self._kinds[: self._kinds.index(self.kind)]:
            if await self._is_used(likelier):
                return True
        keys = {*self._unsupported, *(self.kind.settings.keys() - self.settings.keys())}
        denied = {key: self._needs(key) for key in keys}
        fields = [
            self._fields[name]
            for name in {name for needs in denied.values() for name in needs}
            if name in self._fields
        ]
        report = await self.device.read(fields, {each.endpoint for each in fields})
        return not self.settings.keys() <= self._offered or any(
            all(report.values.get(name) is not None for name in needs)
            for needs in denied.values()
        )

    def _identify(self, kind: Kind, info: Answer, dongle: str) -> Identity:
        """Return the identity, of the battery rather than its dongle, if known."""
        serial, hardware = None, None
        if kind is BATTERY:
            serial, revision = _serial(info, "sessy_serial"), info.get("sessy_revision")
            hardware = f"{revision / 100:.2f}" if isinstance(revision, int) else None
        firmware = self.device.last_raw(self._fields["firmware"])
        return Identity(
            serial_number=serial or dongle,
            manufacturer=self.manufacturer,
            model=kind.model,
            firmware=firmware if isinstance(firmware, str) and firmware else None,
            hardware=hardware,
        )

    @override
    async def _read_serial_number(self) -> str | None:
        info = await self.client.get(INFO.path, is_checked=False)
        return self._serial_number_in(info)

    def _serial_number_in(self, info: Answer) -> str | None:
        """Return the serial number of the battery, or of a dongle without one.

        None on old firmware, which reports none: there the log-in, whose name is the
        dongle's serial number, is all that distinguishes one device from another.
        """
        dongle = _serial(info, "self_serial")
        if "sessy_serial" not in info or dongle == self.identity_check.expected:
            return dongle
        return _serial(info, "sessy_serial")

    @property
    @override
    def raw(self) -> Mapping[str, Any]:
        """The last answer of each path, and the paths that have none."""
        return {
            "answers": {
                path: redacted_answer(answer)
                for path, answer in sorted(self.device.answers.items())
            },
            "missing": self.device.missing,
        }

    # Reading

    @override
    def _measurable(self) -> Collection[str]:
        if self.kind is None:
            return ()
        return {
            key
            for key in MEASUREMENTS
            if key == _SERIAL or not self._fields.keys().isdisjoint(self._needs(key))
        }

    @override
    def _find_poll_rate(self, key: str) -> Poll:
        """Return the rate of `key`: that of its fastest field."""
        if key == _SERIAL:
            return Poll.ONCE
        needs = self._fields.keys() & self._needs(key)
        polls = (self._fields[name].endpoint.poll for name in needs)
        return min(polls, default=Poll.SLOW)

    @override
    def options(self, key: str) -> tuple[str, ...]:
        if key in self._formulas:
            return self._formulas[key].options
        states = self._fields[key].states if key in self._fields else None
        return () if states is None else states.options

    @override
    async def _read_report(self, names: Collection[str]) -> Report:
        report = Report({_SERIAL: self.identity.serial_number})
        wanted = {self._fields[name] for name in names if name in self._fields}
        if self.kind is BATTERY and self.device.is_failing(POWER):
            # Whether the device is well, or all of it out of reach.
            wanted.add(self._fields["working_mode"])
        report.add(await self.device.read(wanted))
        return report

    # Settings

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        """The settings that this firmware has a value for."""
        if self.kind is None:
            return {}
        return {
            key: setting
            for key, setting in self.kind.settings.items()
            if self.device.last_raw(self._fields[key]) is not None
        }

    @override
    async def _write_setting(self, key: str, value: Value) -> None:
        await self.device.write_confirmed(self._fields[key], value)

    # Setpoint

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        if self.kind is not BATTERY:
            return None
        # The limit in the device's settings, as it was when they were last read.
        setting = self.device.last_raw(self._fields["charge_power_limit"])
        most = MAX_POWER
        if isinstance(setting, int | float) and setting > 0:
            most = min(MAX_POWER, round(setting))
        return self._narrowed(SetpointLimits(-most, most))

    @override
    def take_written(self, keys: Iterable[str]) -> set[str]:
        if not (written := self.device.written.take(loop_time())):
            return set()
        names = {
            name for name, each in self._fields.items() if each.endpoint in written
        }
        return {key for key in keys if not names.isdisjoint(self._needs(key))}

    @property
    @override
    def writes(self) -> int:
        return self.client.writes


def _fields_of(kind: Kind, endpoints: Collection[Endpoint]) -> list[Field]:
    """Return the fields in the answers of some endpoints."""
    return [field for field in kind.fields if field.endpoint in endpoints]


def _serial(info: Answer, name: str) -> str | None:
    """Return a serial number, if the dongle knows it."""
    serial = info.get(name)
    if not isinstance(serial, str) or serial.strip().lower() in ("", "unknown"):
        return None
    return serial.strip()
