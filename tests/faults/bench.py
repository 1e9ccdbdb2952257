"""A battery in Home Assistant, a faulty line to it, and all that is seen meanwhile."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
import logging
from typing import Any, Final

from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
import pytest

from custom_components.homebattery.const import DOMAIN, SCAN_INTERVAL
from custom_components.homebattery.drivers.measurements import Poll
from tests.control.lease_support import changed, stored
from tests.home import Home, Warp
from tests.simulators import ManualClock, Simulator

from .proxy import Proxy
from .truth import Truth

POLL: Final = SCAN_INTERVAL + 1
"""Seconds in which exactly one poll is due."""

type Status = tuple[str, str | None]
"""A control status and its reason."""


@dataclass(kw_only=True)
class Bench:
    """One cell: a battery, its line, and what is seen."""

    hass: HomeAssistant
    home: Home
    proxy: Proxy
    truth: Truth
    warp: Warp
    clock: ManualClock
    monkeypatch: pytest.MonkeyPatch
    log: pytest.LogCaptureFixture
    storage: dict[str, Any]
    statuses: list[Status] = field(default_factory=list)
    """Each control status that was shown."""
    _original: dict[str, Any] = field(default_factory=dict)
    _shown: frozenset[str] = frozenset()
    """The keys of what the device measures, as far as enabled entities show it."""
    _live: frozenset[str] = frozenset()
    _never_there: frozenset[str] = frozenset()
    _first_line: int = 0

    @property
    def simulator(self) -> Simulator:
        """The device."""
        return self.home.simulator

    def watch(self) -> None:
        """Record what Home Assistant shows from now on."""
        self._original = self.simulator.settings_words()
        battery = self.home.data.battery
        self._shown = self._enabled.intersection(battery.measurements)
        self._live = frozenset(
            key
            for key in self._shown
            if battery.poll_rate(key) is Poll.FAST
            and self.home.data.coordinator.data.get(key) is not None
        )
        self._never_there = self._unavailable
        status = self.home.entity_id("control_status")

        def record(event: Event[EventStateChangedData]) -> None:
            state = event.data["new_state"]
            if state is not None and state.entity_id == status:
                self.statuses.append((state.state, state.attributes.get("reason")))

        self.hass.bus.async_listen(EVENT_STATE_CHANGED, record)
        self.truth.watch(self.home.data.coordinator)
        self._first_line = len(self.log.records)

    @property
    def _enabled(self) -> frozenset[str]:
        """The keys of enabled entities."""
        registry = er.async_get(self.hass)
        prefix = f"{self.home.entry.unique_id}_"
        return frozenset(
            each.unique_id.removeprefix(prefix)
            for each in er.async_entries_for_config_entry(
                registry, self.home.entry.entry_id
            )
            if not each.disabled_by
        )

    # What is seen

    @property
    def lost(self) -> frozenset[str]:
        """The keys that are not available now, and were before."""
        return self._unavailable - self._never_there

    @property
    def _unavailable(self) -> frozenset[str]:
        coordinator = self.home.data.coordinator
        if not coordinator.last_update_success:
            return self._shown
        return self._shown.intersection(coordinator.data.failures)

    @property
    def live_lost(self) -> frozenset[str]:
        """The live keys (SOC, powers, …) that are not available now."""
        return self._live & self.lost

    @property
    def live(self) -> frozenset[str]:
        """The keys that are read at each poll and are shown."""
        return self._live

    @property
    def renewal(self) -> int:
        """Seconds until a setpoint is renewed; 0 while none is held."""
        interval = self.home.data.battery.keep_alive_interval or 0
        return round(interval) if self.is_held else 0

    @property
    def status(self) -> Status:
        """The control status now, and its reason."""
        state = self.home.state_of("control_status")
        return state.state, state.attributes.get("reason")

    @property
    def is_held(self) -> bool:
        """Whether the control holds the battery, or still has to release it."""
        return self.home.data.control.mode == "manual"

    @property
    def has_lease(self) -> bool:
        """Whether there is a lease on disk."""
        return stored(self.storage, self.home) is not None

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """The settings of the device that are not as they were: before, and now."""
        return changed(self._original, self.simulator)

    @property
    def lines(self) -> list[str]:
        """The lines of the integration in the log, and the warnings of all others."""
        return [record.getMessage() for record in self._records]

    @property
    def repeated(self) -> list[str]:
        """The lines that were logged more than once."""
        texts = Counter(self.lines)
        return [f"{texts[text]} × {text}" for text in texts if texts[text] > 1]

    @property
    def tracebacks(self) -> list[str]:
        """The lines that have a traceback."""
        return [each.getMessage() for each in self._records if each.exc_info]

    @property
    def _records(self) -> list[logging.LogRecord]:
        return [
            record
            for record in self.log.records[self._first_line :]
            if _is_of_interest(record)
        ]

    # What is done

    async def ask(self, power: int | None) -> bool:
        """Ask for a setpoint, W, or for automatic; return whether that worked."""
        try:
            if power is None:
                await self.home.choose("automatic")
            else:
                await self.home.set_power(power)
        except HomeAssistantError:
            await self.hass.async_block_till_done()
            return False
        return True

    async def polls(self, count: int = 1) -> None:
        """Let so many polls be due, one after the other."""
        for _ in range(count):
            await self.warp(POLL)

    async def until(self, is_so: Callable[[], bool], seconds: int) -> bool:
        """Poll until something is so, for so many seconds at most; return whether."""
        for _ in range(1 + seconds // POLL):
            if is_so():
                return True
            await self.polls()
        return is_so()


def _is_of_interest(record: logging.LogRecord) -> bool:
    if record.name == "asyncio" and record.msg.startswith("Executing"):
        return False  # a slow machine
    least = logging.INFO if DOMAIN in record.name else logging.WARNING
    return record.levelno >= least
