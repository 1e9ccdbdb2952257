"""Spacing of setpoints that wear flash."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from homeassistant.core import HomeAssistant

from ..drivers.battery.base import Battery

FLASH_BURST: Final = 3
FLASH_WINDOW: Final = 60.0
"""At most FLASH_BURST changes wear flash in FLASH_WINDOW seconds; the next waits."""


class FlashSpacing:
    """Space a burst of setpoints that wear the flash of a device."""

    def __init__(self, hass: HomeAssistant, battery: Battery) -> None:
        """Begin with nothing written."""
        self._hass = hass
        self._battery = battery
        self._changes: deque[float] = deque(maxlen=FLASH_BURST)
        """Loop times, s, at which flash was last written for a setpoint."""

    def seconds_to_wait(self, power: float) -> float:
        """Return the seconds until a setpoint of `power`, W, may be sent."""
        changes = self._changes
        if len(changes) < FLASH_BURST or not self._battery.wears_flash(power):
            return 0
        return max(0, changes[0] + FLASH_WINDOW - self._hass.loop.time())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note whether flash is written for a setpoint, also for one that fails."""
        before = self._battery.wear.writes_today
        try:
            yield
        finally:
            if self._battery.wear.writes_today != before:
                self._changes.append(self._hass.loop.time())
