"""The check that the device at an address is still the same one.

An address may pass to another device, and a gateway may get another one behind it. So
the serial number is compared before anything else is asked of a device that may be
another: over a new connection, and after it was out of reach.

A device that reported its number once, and then answers without it, may be another one:
nothing is asked of it until it reports one again. Silence for that one question,
garbage, or a refusal that passes (busy, failing, asleep behind a gateway) is no answer,
and reads go on. A data logger with another serial number than
that given for it is another device, too.

Where no connection lasts (HTTP, or a logger that hangs up after each answer) a new one
says nothing. There a write more than `VALID` after the last comparison is preceded by
one, too, but for a renewal; and so is each release, and the conclusion that another
controller has taken over.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import (
    AnotherDeviceError,
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceRefusedError,
    ProtocolError,
    RequestTimeoutError,
    UnidentifiedError,
    UnitAbsentError,
    WrongLoggerError,
)
from .controller import loop_time

VALID: Final = 60.0
"""Seconds for which a comparison is valid where no connection lasts."""
ASK_AGAIN: Final = 60.0
"""Seconds after which a serial number that was not answered is asked for again, while
the device answers other questions."""

_OUT_OF_REACH: Final = (CannotConnectError, RequestTimeoutError, UnitAbsentError)
"""Errors after which another device may answer; the last is that of a gateway."""


class IdentityCheck:
    """Compares the serial number of a device with the `expected` one when that is due.

    `read` returns the serial number by one request that is not checked itself; None for
    a device that does not report it now. `connects` returns the number of the present
    connection, None where none lasts by its nature. `must_be_certain` returns whether a
    request, a write or not, has to wait while the serial number is not answered.
    """

    def __init__(
        self,
        where: str,
        read: Callable[[], Awaitable[str | None]],
        connects: Callable[[], int | None],
        must_be_certain: Callable[[bool], bool],
    ) -> None:
        """Compare nothing until a serial number is expected; errors name `where`."""
        self.expected: str | None = None
        """The serial number that the device must have; None: nothing is compared."""
        self.present: str | None = None
        """The serial number of another device that answered last, or its data logger;
        None without one."""
        self._where = where
        self._read = read
        self._connects = connects
        self._must_be_certain = must_be_certain
        self.reset()

    def reset(self) -> None:
        """Forget the comparisons so far: another connection is about to be opened."""
        self.present = None
        self._was_reported = False
        """Whether the device has reported the expected serial number."""
        self._is_unidentified = False
        """Whether the device may be another one, since it reports none any more."""
        self._is_certain = False
        self._compared_at = 0.0
        """Time of the last comparison, loop time, s."""
        self._compared_on: int | None = None
        """The connection of that comparison."""
        self._not_before = 0.0
        """Loop time, s, until which an unanswered comparison is not repeated."""
        self._is_used = True
        """Whether a request was answered since the last comparison."""
        self._answered_on: int | None = None
        """The connection of the last answer."""
        self._hangs_up = False
        """Whether the device ends a connection after each answer."""

    def accept(
        self, serial_number: str, *, is_reported: bool, connects: int | None = None
    ) -> None:
        """Take the serial number that was read when connecting, as the expected one.

        One that the device did not report itself cannot be compared later. Raises
        AnotherDeviceError, and UnidentifiedError when another one was expected and the
        device reports none. `connects` is the connection over which it was read.
        """
        if self.expected not in (None, serial_number):
            self._judge(serial_number if is_reported else None)
        self.expected = serial_number if is_reported else None
        self._was_reported = is_reported
        self._note_compared(connects)
        self._is_used = True

    async def admit(self, *, is_write: bool) -> int | None:
        """Compare if that is due before a request, and wait for the answer.

        Returns the connection that the request must go over; None for any. Raises
        AnotherDeviceError, UnidentifiedError, what `read` raises when the device is out
        of reach, and for a request that must be certain also when the serial number is
        not answered.
        """
        must_be_certain = self._must_be_certain(is_write)
        if self._is_due(must_be_certain):
            await self._compare(must_be_certain)
        if self._is_certain and self._connection() is not None:
            return self._compared_on
        return None

    async def compare_again(self) -> None:
        """Compare now if no connection lasts; raises what `admit` does for a write."""
        if self.expected is not None and self._connection() is None:
            await self._compare(must_be_certain=True)

    def _connection(self) -> int | None:
        """Return the number of the present connection; None for one that does not last."""
        return None if self._hangs_up else self._connects()

    async def confirm(self) -> None:
        """Compare again while another device may answer; raises what `admit` does."""
        if self._is_doubtful:
            await self._compare(must_be_certain=False)

    def raise_if_doubtful(self) -> None:
        """Raise AnotherDeviceError or UnidentifiedError if such a device answered last.

        No request tells: it may not have needed one.
        """
        if self.present is not None:
            raise AnotherDeviceError(self._where, str(self.expected), self.present)
        if self._is_unidentified:
            raise self._unidentified()

    async def is_nameless(self) -> bool:
        """Return whether the device reports no serial number now, though it has one.

        So does one that starts: its zeros are no values. Raises what `read` raises.
        """
        return self.expected is not None and await self._read() is None

    def note_answer(self) -> None:
        """Note that a request was answered."""
        self._is_used = True
        connects = self._connects()
        if connects == self._answered_on:
            self._hangs_up = False
        self._answered_on = connects

    def note_failure(self, err: BatteryError) -> None:
        """Note that a request failed: the device may have been out of reach.

        Raises AnotherDeviceError when another data logger answered.
        """
        if isinstance(err, _OUT_OF_REACH):
            self._is_certain, self._not_before = False, 0.0
        if isinstance(err, WrongLoggerError) and self.expected is not None:
            self._is_certain = False
            self.present = f"data logger {err.serial or 'unknown'}"
            self.raise_if_doubtful()

    @property
    def _is_doubtful(self) -> bool:
        """Whether the device that answered last is another one, or may be."""
        return self.present is not None or self._is_unidentified

    def _is_due(self, must_be_certain: bool) -> bool:
        if self.expected is None:
            return False
        connection = self._connection()
        if connection not in (None, self._compared_on):
            if self._is_certain and not self._is_used:
                # The connection ended with the very answer of the comparison.
                self._hangs_up, connection = True, None
            else:
                self._is_certain = False
        if self._is_doubtful:
            return True
        if not self._is_certain:
            return must_be_certain or loop_time() >= self._not_before
        if not must_be_certain or connection is not None:
            return False
        return loop_time() - self._compared_at >= VALID

    async def _compare(self, must_be_certain: bool) -> None:
        """Ask for the serial number and compare it."""
        try:
            serial_number = await self._read()
        except BatteryError as err:
            self.note_failure(err)
            match err:
                case CannotConnectError() | AuthenticationError():
                    self._is_certain = False
                    raise
                case (
                    RequestTimeoutError()
                    | ProtocolError()
                    | DeviceBusyError()
                    | UnitAbsentError()
                    | DeviceRefusedError(code=4)
                ):
                    # Of these refusals 4 is a failure. They pass.
                    if must_be_certain or self._is_doubtful:
                        raise
                    self._not_before = loop_time() + ASK_AGAIN
                case _:
                    self._note_nameless(must_be_certain, err)
        else:
            if serial_number is None:
                self._note_nameless(must_be_certain)
                return
            self._judge(serial_number)
            self._was_reported = True
            self._note_compared(self._connects())

    def _note_nameless(
        self, must_be_certain: bool, err: BatteryError | None = None
    ) -> None:
        """Note an answer without a serial number; `err` is a refusal.

        Raises UnidentifiedError, unless the request may go on.
        """
        if self._was_reported and not self._is_certain:
            self._is_unidentified = True
        if must_be_certain or self._is_doubtful:
            raise self._unidentified() from err
        self._not_before = loop_time() + ASK_AGAIN

    def _unidentified(self) -> UnidentifiedError:
        return UnidentifiedError(
            f"{self._where}: reports no serial number now; it may be another device, or "
            "be starting"
        )

    def _judge(self, serial_number: str | None) -> None:
        """Raise unless the serial number is the expected one."""
        if serial_number is None:
            raise self._unidentified()
        self._is_unidentified = False
        self.present = None if serial_number == self.expected else serial_number
        if self.present is not None:
            self._is_certain = False
        self.raise_if_doubtful()

    def _note_compared(self, connects: int | None) -> None:
        self._is_certain, self._is_used = True, False
        self._compared_at, self._compared_on = loop_time(), connects
        self._not_before = 0.0
