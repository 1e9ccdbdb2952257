"""One Sessy dongle: its endpoints and fields, read and written.

The counterpart of `modbus/device.py`. Writes to flash are counted by the table of
endpoints.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
import logging
import math
import time
from typing import ClassVar, Final

from ..battery.controller import loop_time
from ..errors import (
    BatteryError,
    DeviceRefusedError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
)
from ..flash import FlashWear
from ..measurements import Value
from ..report import Report
from ..text import printable
from .client import SessyClient
from .endpoints import Answer, Endpoint, Field

_LOGGER = logging.getLogger(__name__)

MOST_UNKNOWN: Final = 20
"""Number of values that are logged as unknown here."""
LONGEST_UNKNOWN: Final = 100
"""Characters of such a value in the log."""
ONE_ENDPOINT_ERRORS: Final = (DeviceRefusedError, NotSupportedError, ProtocolError)
"""Errors of one endpoint while the device as a whole is well."""


class SessyDevice:
    """One dongle, with the last answer of each path.

    Old firmware lacks whole endpoints: each is asked for once, and missing until
    `forget`. A 404 may also be a passing one, so control does not rely on it: it reads
    with `ask`.
    """

    confirm_tries: ClassVar[int] = 3

    def __init__(self, client: SessyClient, wear: FlashWear, settle: float) -> None:
        """Describe the dongle; `settle` is the pause between reads after a write, s."""
        self.answers: dict[str, Answer] = {}
        """The last answer of each path, as it came."""
        self.clock: Callable[[], float] = time.time
        """Returns the Unix time, s."""
        # Held from reading to writing: settings are written as a whole, so that of
        # two changes at once one would be lost; and no release may come between a
        # strategy and its setpoint.
        self.writing = asyncio.Lock()
        self._client = client
        self._address = client.address
        self._wear = wear
        self._settle = settle
        self._absent: dict[Endpoint, str] = {}
        self._asked_at: dict[str, float] = {}
        self._written_at: dict[str, float] = {}
        self._unknown: set[tuple[str, str]] = set()
        """Paths and values that were logged as unknown here."""

    def forget(self) -> None:
        """Forget all answers and absences: it may run another firmware now."""
        self._absent.clear()
        self._asked_at.clear()
        self.answers.clear()

    @property
    def missing(self) -> list[str]:
        """The paths that turned out to have no answer."""
        return sorted(endpoint.path for endpoint in self._absent)

    # Reading

    async def fetch(self, endpoint: Endpoint) -> Answer:
        """Return the present answer of an endpoint; note if it is missing.

        One that never gave a proper answer is missing: some firmware shows a page where
        it has no endpoint. One that once did is only out of order. Raises
        NotSupportedError for a missing one without an `older` one.
        """
        if endpoint not in self._absent:
            began = loop_time()
            try:
                answer = await self._client.get(endpoint.path)
            except (NotSupportedError, ProtocolError) as err:
                if isinstance(err, ProtocolError) and endpoint.path in self.answers:
                    raise
                self._absent[endpoint] = str(err)
            else:
                self.answers[endpoint.path] = answer
                self._asked_at[endpoint.path] = began
                return endpoint.tidy(answer, self.clock()) if endpoint.tidy else answer
        if endpoint.older is not None:
            return await self.fetch(endpoint.older)
        raise NotSupportedError(self._absent[endpoint])

    async def ask(self, endpoint: Endpoint) -> Answer:
        """Return the present answer of an endpoint, also if it was missing before."""
        self._absent.pop(endpoint, None)
        return await self.fetch(endpoint)

    async def ask_or_last(self, endpoint: Endpoint) -> Answer:
        """Return the present answer of an endpoint, or the last one while it fails."""
        try:
            return await self.ask(endpoint)
        except ONE_ENDPOINT_ERRORS as err:
            _LOGGER.debug("%s", err)
            return self.answers.get(endpoint.path, {})

    async def ask_unless_recent(self, endpoint: Endpoint, seconds: float) -> Answer:
        """Return the last answer of an endpoint if it is younger than `seconds`.

        Else ask. An answer whose request began before the last post there may be from
        before it, and does not count.
        """
        path = endpoint.path
        asked_at = self._asked_at.get(path, -math.inf)
        is_valid = asked_at >= self._written_at.get(path, -math.inf)
        if is_valid and loop_time() - asked_at < seconds:
            return self.answers[path]
        return await self.ask(endpoint)

    async def read(
        self, fields: Collection[Field], again: Iterable[Endpoint] = ()
    ) -> Report:
        """Read fields, each endpoint once; those that fail are in the report.

        Missing endpoints are only asked for if they are among `again`.
        Raises CannotConnectError, RequestTimeoutError or AuthenticationError when the
        device as a whole is out of reach.
        """
        for endpoint in again:
            self._absent.pop(endpoint, None)
        answers: dict[Endpoint, Answer | BatteryError] = {}
        for endpoint in {field.endpoint: None for field in fields}:
            try:
                answers[endpoint] = await self.fetch(endpoint)
            except ONE_ENDPOINT_ERRORS as err:
                answers[endpoint] = err
        report = Report()
        for field in fields:
            answer = answers[field.endpoint]
            try:
                if isinstance(answer, BatteryError):
                    raise answer
                report.values[field.key] = self._value(field, answer)
            except ONE_ENDPOINT_ERRORS as err:
                report.failures[field.key] = err
        return report

    async def read_field(self, field: Field) -> Value:
        """Read one field, also if its endpoint was missing before."""
        return self._value(field, await self.ask(field.endpoint))

    def last_raw(self, field: Field) -> object:
        """Return the last raw value of a field; None where the device has none."""
        try:
            return field.raw_in(self.answers[field.endpoint.path])
        except KeyError:
            return None

    def _value(self, field: Field, answer: Answer) -> Value:
        """Return a field's value; raises NotSupportedError if it is not there."""
        try:
            raw = field.raw_in(answer)
        except KeyError as missing:
            raise NotSupportedError(
                f"{self._address}{field.endpoint.path}: has no {missing.args[0]}"
            ) from None
        try:
            return field.decode(raw)
        except ValueError:
            self._log_unknown(field, raw)
            return None

    def _log_unknown(self, field: Field, raw: object) -> None:
        """Log once that the device has a value that is not known here.

        Up to a limit: a faulty one may have another at each poll.
        """
        text = printable(repr(raw), LONGEST_UNKNOWN)
        known = (field.path, text) in self._unknown
        if not known and len(self._unknown) < MOST_UNKNOWN:
            self._unknown.add((field.path, text))
            _LOGGER.warning(
                "%s%s: %s is %s, which is not known here; please report it",
                self._address,
                field.endpoint.path,
                field.path,
                text,
            )

    # Writing

    def check_flash(self, endpoint: Endpoint) -> None:
        """Raise FlashBudgetError when no more may be posted to an endpoint today."""
        if endpoint.persistent:
            self._wear.check(self._address)

    async def post(self, endpoint: Endpoint, body: Mapping[str, Value]) -> None:
        """Post to an endpoint; counts writes to flash. Raises what `fetch` raises."""
        if endpoint.persistent:
            self._wear.note()
        try:
            await self._client.post(endpoint.path, dict(body))
        finally:
            self._written_at[endpoint.path] = loop_time()

    async def write_confirmed(self, field: Field, value: Value) -> None:
        """Write one field, and see that the device shows it.

        Nothing is written when it has the value already. Raises FlashBudgetError before
        anything is written, NotConfirmedError, and what `post` raises.
        """
        raw = field.encode(value)
        wanted = field.decode(raw)
        endpoint = field.endpoint
        async with self.writing:
            present = await self.ask(endpoint)
            if self._value(field, present) == wanted:
                return
            self.check_flash(endpoint)
            body: Answer = {field.path: raw}
            if endpoint.whole:
                body = {**present, **body}
                del body["status"]
            await self.post(endpoint, body)
            await self.confirm(field.key, wanted, lambda: self.read_field(field))

    async def confirm(
        self, what: str, wanted: Value, read: Callable[[], Awaitable[Value]]
    ) -> None:
        """Read until the value is `wanted`; raises NotConfirmedError if it never is."""
        seen: Value = None
        for trial in range(self.confirm_tries):
            if trial:
                await asyncio.sleep(self._settle)
            seen = await read()
            if seen == wanted:
                return
        raise NotConfirmedError(
            f"{self._address}: {what} is {seen} after writing {wanted}"
        )
