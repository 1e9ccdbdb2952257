"""A battery in Home Assistant, a faulty line to it, and all that is seen meanwhile."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
import logging
import re
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
import pytest

from custom_components.homebattery.const import DOMAIN, SCAN_INTERVAL
from custom_components.homebattery.drivers.measurements import Poll
from tests.control.lease_support import after_a_crash, changed, issues, stored
from tests.home import Home, MakeHome, Warp
from tests.simulators import ManualClock, Simulator

from .proxy import Proxy
from .truth import Truth

POLL: Final = SCAN_INTERVAL + 1
"""Seconds in which exactly one poll is due."""


class Said(Enum):
    """The kinds of lines in the log."""

    LOST = auto()
    """The device, or a part of its values, cannot be read."""
    BACK = auto()
    """It can be again."""
    IN_DOUBT = auto()
    """A held battery may not follow, or is not released yet."""
    CERTAIN = auto()
    """It does again, or is."""
    WAS_HELD = auto()
    """The battery was held when Home Assistant ended, and is released."""
    ODD = auto()
    """A value is one that the device has never been known to have."""
    OTHER = auto()


_SAID: Final = {
    Said.LOST: re.compile(r"^Error fetching .* data: |: cannot read "),
    Said.BACK: re.compile(
        r"^Fetching .* data recovered$|: can read .* again$|: has new parts"
    ),
    Said.IN_DOUBT: re.compile(
        r": cannot renew or release its setpoint, and will try again: "
    ),
    Said.CERTAIN: re.compile(
        r": its setpoint was (renewed|written) again$|: released to its own control$"
    ),
    Said.WAS_HELD: re.compile(
        "was held at a setpoint when Home Assistant ended; it is "
    ),
    Said.ODD: re.compile(", which is not known here; please report it$"),
}

type Status = tuple[str, str | None]
"""A control status and its reason."""


@dataclass(kw_only=True)
class Bench:
    """One cell: a battery, its line, and what is seen."""

    hass: HomeAssistant
    home: Home
    make_home: MakeHome
    """Makes an entry for the device, behind the line."""
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

    async def restart(self) -> None:
        """Let Home Assistant die, and start anew with what is on its disk."""
        self.home = await after_a_crash(self.home, self.make_home, self.storage)
        self.log.clear()

        def watch() -> None:
            if self.is_loaded:
                self.truth.watch(self.home.data.coordinator)

        self.home.entry.async_on_state_change(watch)
        await self.home.set_up()

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
    def is_loaded(self) -> bool:
        """Whether Home Assistant has set the battery up."""
        return self.home.entry_is(ConfigEntryState.LOADED)

    @property
    def is_retried(self) -> bool:
        """Whether Home Assistant will set the battery up by itself."""
        return self.home.entry_is(ConfigEntryState.SETUP_RETRY)

    @property
    def lost(self) -> frozenset[str]:
        """The keys that are not available now, and were before."""
        return self._unavailable - self._never_there

    @property
    def _unavailable(self) -> frozenset[str]:
        if not self.is_loaded:
            return self._shown
        coordinator = self.home.data.coordinator
        if not coordinator.last_update_success:
            return self._shown
        known = self._enabled.intersection(self.home.data.battery.measurements)
        return self._shown - (known - coordinator.data.failures.keys())

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
    def said(self) -> Counter[Said]:
        """The number of lines of each kind."""
        return Counter(map(said, self.lines))

    @property
    def tracebacks(self) -> list[str]:
        """The lines that have a traceback."""
        return [each.getMessage() for each in self._records if each.exc_info]

    @property
    def _records(self) -> list[logging.LogRecord]:
        return [
            record
            for record in self.log.get_records("call")  # those of set-up are apart
            if _is_of_interest(record)
        ]

    @property
    def issues(self) -> set[str]:
        """The repair issues of the battery."""
        return issues(self.home)

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


def said(line: str) -> Said:
    """Return what a line of the log says."""
    for kind, pattern in _SAID.items():
        if pattern.search(line):
            return kind
    return Said.OTHER


def _is_of_interest(record: logging.LogRecord) -> bool:
    if record.msg.startswith(("Executing", "Updating state for")):
        return False  # a slow machine
    if record.msg.startswith("Error writing config"):
        return False  # Home Assistant's own, of each file that it cannot write
    if record.module == "config_entries" and record.msg.startswith("Config entry"):
        return False  # Home Assistant's own, at each try to set a battery up
    least = logging.INFO if DOMAIN in record.name else logging.WARNING
    return record.levelno >= least
