"""The requests of one read that got no answer."""

from collections.abc import Callable
from typing import Final

from ..errors import BatteryError

MOST_TIMEOUTS: Final = 2
"""Number of requests without an answer after which a read asks no more."""
MOST_AT_FIRST: Final = 4
"""That number for the questions of a set-up, and for a first read while nothing at all is
answered."""


class Silence:
    """The blocks of one read that got no answer, in all units of a battery.

    While others are answered they fail alone. Where nothing was answered, the device is
    out of reach.
    """

    def __init__(
        self,
        *,
        answered: bool = False,
        most: int = MOST_TIMEOUTS,
        most_unanswered: int = MOST_TIMEOUTS,
    ) -> None:
        """Begin without a time-out; `answered`: the device has just answered.

        `most` is the number of time-outs after which the read asks no more, and
        `most_unanswered` that number while nothing is answered.
        """
        self.answered = answered
        """Whether there was any answer, be it a refusal."""
        self._most = most
        self._most_unanswered = most_unanswered
        self._errors: list[BatteryError] = []
        self._consequences: list[Callable[[], None]] = []

    @property
    def is_over(self) -> bool:
        """Whether too many requests got no answer to send another one."""
        most = self._most if self.answered else self._most_unanswered
        return len(self._errors) >= most

    @property
    def error(self) -> BatteryError:
        """The last error."""
        return self._errors[-1]

    def note(self, err: BatteryError, consequence: Callable[[], None]) -> None:
        """Note a request without an answer; raises its error where nothing answers.

        The `consequence` is called at the end, if something else was answered.
        """
        self._errors.append(err)
        self._consequences.append(consequence)
        if self.is_over and not self.answered:
            raise err

    def conclude(self) -> None:
        """End the read; raises the last error where nothing answered."""
        if self._errors and not self.answered:
            raise self.error
        for consequence in self._consequences:
            consequence()
