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

from ..absence import BackOff, Refusals
from ..battery.controller import loop_time
from ..errors import (
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    IllegalAddressError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    StartingError,
)
from ..flash import FlashWear
from ..measurements import Value
from ..report import Report
from ..text import printable
from ..written import Written
from .client import SessyClient
from .endpoints import STRATEGY, Answer, Endpoint, Field, is_blank

_LOGGER = logging.getLogger(__name__)

MOST_UNKNOWN: Final = 20
"""Number of values that are logged as unknown here."""
LONGEST_UNKNOWN: Final = 100
"""Characters of such a value in the log."""
ONE_ENDPOINT_ERRORS: Final = (DeviceRefusedError, NotSupportedError, ProtocolError)
"""Errors of one endpoint while the device as a whole is well."""
_SILENCE: Final = (RequestTimeoutError, CannotConnectError)
"""Errors of one endpoint, too, while the device answers others."""
READ_BACK_FOR: Final = 2.0
"""Seconds from a post for which an answer that shows it is not asked for again: under
frequent requests a dongle is said to fall silent."""
_MAX_SILENT: Final = 2
"""Number of endpoints without an answer that end a read: each may cost a time-out."""


class SessyDevice:
    """One dongle, with the last answer of each path.

    Old firmware lacks whole endpoints and many fields. Missing is one that was never
    read well and is refused again after a pause; it is asked for now and then. One that
    was read well only fails. An endpoint without an answer fails alone, and is then not
    read for a while. Control relies on neither: it reads with `ask`.
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
        self._refusals: dict[Endpoint | Field, Refusals] = {}
        """The refusals of what was never read well."""
        self._read_well: set[Field] = set()
        self._last_raw: dict[Field, object] = {}
        self._silent: dict[Endpoint, BackOff] = {}
        """The endpoints that gave no answer the last time."""
        self._failing: set[Endpoint] = set()
        """The endpoints that failed the last time, in whatever way."""
        self._asked_at: dict[str, float] = {}
        self._written_at: dict[str, float] = {}
        self._posted: dict[str, tuple[float, Mapping[str, Value]]] = {}
        """The last post to each path, and when it ended, loop time, s.

        Also one that failed: the device may have taken it all the same.
        """
        self.written: Written[Endpoint] = Written()
        """The endpoints whose new answers are to be read."""
        self._unknown: set[tuple[str, str]] = set()
        """Paths and values that were logged as unknown here."""

    def forget(self) -> None:
        """Forget all answers and absences: it may run another firmware now."""
        self._refusals.clear()
        self._read_well.clear()
        self._last_raw.clear()
        self._silent.clear()
        self._failing.clear()
        self._asked_at.clear()
        self.answers.clear()

    @property
    def missing(self) -> list[str]:
        """The paths that have had no proper answer."""
        return sorted(
            each.path for each in self._refusals if isinstance(each, Endpoint)
        )

    # Reading

    async def fetch(self, endpoint: Endpoint) -> Answer:
        """Return the present answer of an endpoint, or of an `older` one.

        Raises NotSupportedError for one that is missing, without asking for it, and
        what `ask` raises.
        """
        if not self._is_missing(endpoint):
            return await self._ask_unless_read_back(endpoint)
        if endpoint.older is not None:
            return await self.fetch(endpoint.older)
        raise self._absence(endpoint)

    async def ask(self, endpoint: Endpoint) -> Answer:
        """Return the present answer of an endpoint, also if it was missing before.

        Some firmware shows a page where it has no endpoint: one that never gave a
        proper answer is refused by that, too. Raises NotSupportedError for a missing
        one without an `older` one, IllegalAddressError for one that may be there after
        all, and what `SessyClient.get` raises.
        """
        began = loop_time()
        try:
            answer = await self._client.get(endpoint.path)
        except (NotSupportedError, ProtocolError) as err:
            if endpoint.path not in self.answers:
                self._note_refusal(endpoint)
                if endpoint.older is not None:
                    return await self.ask(endpoint.older)
            elif isinstance(err, ProtocolError):
                raise
            raise self._absence(endpoint) from err
        if self._is_wiped(endpoint, answer):
            raise StartingError(f"{self._address}{endpoint.path}: nothing but zeros")
        self._silent.pop(endpoint, None)
        self._refusals.pop(endpoint, None)
        self.answers[endpoint.path] = answer
        self._asked_at[endpoint.path] = began
        return endpoint.tidy(answer, self.clock()) if endpoint.tidy else answer

    def _is_wiped(self, endpoint: Endpoint, answer: Answer) -> bool:
        """Return whether live values are nothing but zeros, and were not before.

        Those of a dongle that starts: there is a voltage, or a total, otherwise.
        """
        before = self.answers.get(endpoint.path)
        is_live = bool(before and endpoint.voltage)
        return is_live and is_blank(answer) and not is_blank(before)

    async def ask_unless_recent(self, endpoint: Endpoint, seconds: float) -> Answer:
        """Return the last answer of an endpoint if it is younger than `seconds`.

        Else ask. An answer whose request began before the last post there may be from
        before it, and does not count.
        """
        path = endpoint.path
        asked_at = self._asked_at.get(path, -math.inf)
        is_valid = asked_at >= self._written_at.get(path, -math.inf)
        if is_valid and loop_time() - asked_at < seconds:
            answer = self.answers[path]
            return endpoint.tidy(answer, self.clock()) if endpoint.tidy else answer
        return await self.ask(endpoint)

    async def _ask_unless_read_back(self, endpoint: Endpoint) -> Answer:
        """Return the answer that has just shown what was posted, else ask."""
        posted_at, body = self._posted.get(endpoint.path, (-math.inf, {}))
        answer = self.answers.get(endpoint.path, {})
        is_shown = body.items() <= answer.items()
        if is_shown and loop_time() - posted_at < READ_BACK_FOR:
            return await self.ask_unless_recent(endpoint, READ_BACK_FOR)
        return await self.ask(endpoint)

    async def read(
        self, fields: Collection[Field], again: Collection[Endpoint] = ()
    ) -> Report:
        """Read fields, each endpoint once; those that fail are in the report.

        What is missing, or gave no answer, is only asked for if it is among `again`; a
        first refusal is checked after a pause. Raises the error of a field when none
        is there, unless all are missing: the device as a whole is out of order. Raises
        CannotConnectError, RequestTimeoutError or AuthenticationError when it is out of
        reach.
        """
        report = await self._read_once(fields, again)
        if doubtful := [field for field in fields if self._is_doubtful(field, report)]:
            await asyncio.sleep(self._client.retry_pause)
            report.add(await self._read_once(doubtful, again))
            for key in report.values:
                report.failures.pop(key, None)
        for failure in () if report.values else report.failures.values():
            if not isinstance(failure, NotSupportedError):
                raise failure
        return report

    async def _read_once(
        self, fields: Iterable[Field], again: Collection[Endpoint]
    ) -> Report:
        by_endpoint: dict[Endpoint, list[Field]] = {}
        for field in fields:
            by_endpoint.setdefault(field.endpoint, []).append(field)
        report = Report()
        silent: dict[Endpoint, BatteryError] = {}
        answers = False
        # The fast ones first, then the strategy: with those, a device is well.
        for endpoint in sorted(
            by_endpoint, key=lambda each: (each.poll, each is not STRATEGY)
        ):
            wanted = by_endpoint[endpoint]
            if len(silent) == _MAX_SILENT:
                _fail(report, wanted, next(reversed(silent.values())))
                continue
            if endpoint not in again and self._is_paused(endpoint):
                _fail(report, wanted, self._no_answer(endpoint))
                continue
            ask = self.ask if endpoint in again else self.fetch
            self._failing.add(endpoint)
            try:
                report.add(self.values_in(wanted, await ask(endpoint)))
                self._failing.discard(endpoint)
            except ONE_ENDPOINT_ERRORS as err:
                _fail(report, wanted, err)
            except _SILENCE as err:
                if not answers and (silent or isinstance(err, CannotConnectError)):
                    raise
                silent[endpoint] = err
                _fail(report, wanted, err)
                continue
            answers = True
        if answers:
            # Otherwise it is the device that gives no answer. Once is no reason for a
            # pause: answers get lost.
            for endpoint in silent:
                if endpoint in self._silent:
                    self._silent[endpoint].note()
                else:
                    self._silent[endpoint] = BackOff()
        return report

    def is_failing(self, endpoint: Endpoint) -> bool:
        """Return True for an endpoint that failed when it was read the last time."""
        return endpoint in self._failing

    def values_in(self, fields: Iterable[Field], answer: Answer) -> Report:
        """Return fields as the answer of their endpoint has them."""
        report = Report()
        for field in fields:
            try:
                report.values[field.key] = self._value(field, answer)
            except (IllegalAddressError, NotSupportedError) as err:
                report.failures[field.key] = err
        return report

    async def read_field(self, field: Field) -> Value:
        """Read one field, also if its endpoint was missing before."""
        return self._value(field, await self.ask(field.endpoint))

    def last_raw(self, field: Field) -> object:
        """Return the last raw value of a field; None where the device has none."""
        return self._last_raw.get(field)

    def _value(self, field: Field, answer: Answer) -> Value:
        """Return a field's value; raises what `ask` does if it is not there."""
        try:
            raw = field.raw_in(answer)
        except KeyError:
            if field not in self._read_well:
                self._note_refusal(field)
            raise self._absence(field) from None
        self._refusals.pop(field, None)
        self._last_raw[field] = raw
        if raw is not None or not field.endpoint.good:
            self._read_well.add(field)
        try:
            return field.decode(raw)
        except ValueError:
            self._log_unknown(field, raw)
            return None

    # Absence

    def _note_refusal(self, refused: Endpoint | Field) -> None:
        self._refusals.setdefault(refused, Refusals()).note()

    def _is_missing(self, refused: Endpoint | Field) -> bool:
        refusals = self._refusals.get(refused)
        return refusals is not None and not refusals.are_uncertain

    def _is_doubtful(self, field: Field, report: Report) -> bool:
        """Return True for a field that failed, and was refused for the first time."""
        return field.key in report.failures and any(
            refused in self._refusals and self._refusals[refused].are_uncertain
            for refused in (field, field.endpoint)
        )

    def _is_paused(self, endpoint: Endpoint) -> bool:
        return endpoint in self._silent and not self._silent[endpoint].is_over

    def _absence(self, refused: Endpoint | Field) -> BatteryError:
        """Return the error of what the device denies, surely or for now."""
        match refused:
            case Endpoint(path=path):
                text = f"{self._address}{path}: not in this device or its firmware"
            case Field(endpoint=endpoint, path=path):
                text = f"{self._address}{endpoint.path}: has no {path}"
        if self._is_missing(refused):
            return NotSupportedError(text)
        return IllegalAddressError(f"{text}, for now", 404)

    def _no_answer(self, endpoint: Endpoint) -> RequestTimeoutError:
        return RequestTimeoutError(
            f"{self._address}{endpoint.path}: gave no answer, and is not asked for now"
        )

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

    async def post(
        self, endpoint: Endpoint, body: Mapping[str, Value], *, insists: bool = False
    ) -> None:
        """Post to an endpoint; counts writes to flash. Raises what `fetch` raises.

        `insists` as `SessyClient.post` has it.
        """
        if endpoint.persistent:
            self._wear.note()
        try:
            await self._client.post(endpoint.path, dict(body), insists=insists)
        finally:
            self._written_at[endpoint.path] = now = loop_time()
            self._posted[endpoint.path] = now, body
            self.written.note(endpoint, now)

    async def write_confirmed(self, field: Field, value: Value) -> None:
        """Write one field, and see that the device shows it.

        Nothing is written when it has the value already. Raises FlashBudgetError, or
        ProtocolError for an answer that cannot be written back as a whole, before
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
            if endpoint.whole and endpoint.path in self._client.altered:
                raise ProtocolError(
                    f"{self._address}{endpoint.path}: has values out of bounds, which "
                    "could not be written back as they are"
                )
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


def _fail(report: Report, fields: Iterable[Field], err: BatteryError) -> None:
    """Note the failure of fields."""
    report.failures.update((field.key, err) for field in fields)
