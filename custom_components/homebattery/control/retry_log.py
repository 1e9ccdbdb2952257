"""The log of failures that are retried."""

import logging

from ..drivers.errors import BatteryError

_LOGGER = logging.getLogger(__name__)


class RetryLog:
    """Log a failure once, however often it is retried, and the success in the end."""

    def __init__(self, title: str) -> None:
        """Begin without a failure; `title` names the battery."""
        self._title = title
        self._is_failing = False

    def failed(self, err: BatteryError) -> None:
        """Log that a setpoint could not be renewed or released."""
        if not self._is_failing:
            _LOGGER.warning(
                "%s: cannot renew or release its setpoint, and will try again: %s",
                self._title,
                err,
            )
        self._is_failing = True

    def done(self, what: str) -> None:
        """Log that `what` was done in the end, if its failure was logged."""
        if self._is_failing:
            _LOGGER.info("%s: %s", self._title, what)
        self._is_failing = False

    def reset(self) -> None:
        """Forget the failure without logging that: a new setpoint was applied."""
        self._is_failing = False
