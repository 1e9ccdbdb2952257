"""A battery in Home Assistant, a faulty line to it, and all that is seen meanwhile."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import logging
import math
from typing import Any, Final

from homeassistant.const import EVENT_STATE_CHANGED, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, State
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
import pytest

from custom_components.homebattery.const import DOMAIN, SCAN_INTERVAL
from tests.home import Home, Warp
from tests.simulators import Simulator

from .proxy import Proxy

POLL: Final = SCAN_INTERVAL
"""Seconds from poll to poll."""
RENEWAL: Final = 30
"""Seconds within which each battery is renewed."""

_OWN: Final = (
    "control_mode",
    "control_status",
    "flash_writes_today",
    "last_fresh",
    "power_setpoint",
    "setpoint_duration",
    "setpoint_ends",
)
"""Entities that show the integration's own state, and not what the device says."""
_NO_VALUE: Final = (STATE_UNAVAILABLE, STATE_UNKNOWN)
_TOLERANCE: Final = 1e-6


@dataclass
class Bench:
    """One cell: a battery, its line, and what is seen."""

    hass: HomeAssistant
    home: Home
    simulator: Simulator
    proxy: Proxy
    warp: Warp
    log: pytest.LogCaptureFixture
    storage: dict[str, Any]
    written: list[State] = field(default_factory=list)
    """Every state that an entity of the battery was given."""
    truths: list[Mapping[str, State]] = field(default_factory=list)
    """The states when nothing was wrong."""
    statuses: list[tuple[str, str | None]] = field(default_factory=list)
    """Each control status that was shown, and its reason."""
    original: Mapping[str, Any] = field(default_factory=dict)
    """Every word of the device's settings before."""
    _first_line: int = 0

    def watch(self) -> None:
        """Record all that Home Assistant is shown from now on."""
        self.original = self.simulator.settings_words()
        entities = self._entities
        status = self.home.entity_id("control_status")

        def record(event: Event[EventStateChangedData]) -> None:
            state = event.data["new_state"]
            if state is None or state.entity_id not in entities:
                return
            self.written.append(state)
            if state.entity_id == status:
                self.statuses.append((state.state, state.attributes.get("reason")))

        self.hass.bus.async_listen(EVENT_STATE_CHANGED, record)
        self._first_line = len(self.log.records)
        self.note_truth()

    @property
    def _entities(self) -> frozenset[str]:
        registry = er.async_get(self.hass)
        entries = er.async_entries_for_config_entry(registry, self.home.entry.entry_id)
        return frozenset(each.entity_id for each in entries if not each.disabled_by)

    @property
    def _measured(self) -> Iterator[State]:
        """The states of entities that show what the device says."""
        own = {entity for key in _OWN if (entity := self.home.find(key))}
        for entity_id in self._entities - own:
            if state := self.hass.states.get(entity_id):
                yield state

    @property
    def unavailable(self) -> frozenset[str]:
        """The entities of the device's values that are unavailable now."""
        return frozenset(
            state.entity_id
            for state in self._measured
            if state.state == STATE_UNAVAILABLE
        )

    @property
    def truths_unavailable(self) -> frozenset[str]:
        """The entities that were unavailable when nothing was wrong."""
        return frozenset(
            entity_id
            for entity_id, state in self.truths[0].items()
            if state.state == STATE_UNAVAILABLE
        )

    @property
    def measured(self) -> frozenset[str]:
        """The entities of the device's values."""
        return frozenset(state.entity_id for state in self._measured)

    @property
    def status(self) -> tuple[str, str | None]:
        """The control status now, and its reason."""
        state = self.home.state_of("control_status")
        return state.state, state.attributes.get("reason")

    def note_truth(self) -> None:
        """Take what is shown now for the truth."""
        self.truths.append({state.entity_id: state for state in self._measured})

    @property
    def wrong(self) -> list[str]:
        """The states that were written and never were true."""
        return sorted({
            f"{state.entity_id} = {state.state}"
            for state in self.written
            if any(state.entity_id in truth for truth in self.truths)
            and state.state not in _NO_VALUE
            and not is_true(
                state,
                [
                    truth[state.entity_id]
                    for truth in self.truths
                    if state.entity_id in truth
                ],
            )
        })

    @property
    def lines(self) -> list[logging.LogRecord]:
        """The lines of the integration, and the warnings of all others."""
        return [
            record
            for record in self.log.records[self._first_line :]
            if (record.levelno >= logging.INFO and DOMAIN in record.name)
            or (record.levelno >= logging.WARNING and "Executing" not in record.msg)
        ]

    @property
    def repeated(self) -> list[str]:
        """The lines that were logged more than once."""
        texts = Counter(f"{line.name}: {line.msg}" for line in self.lines)
        return [f"{texts[text]} × {text}" for text in texts if texts[text] > 1]

    @property
    def tracebacks(self) -> list[str]:
        """The lines that have a traceback."""
        return [line.getMessage() for line in self.lines if line.exc_info]

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """The words of the device that are not as they were: before, and now."""
        now = self.simulator.settings_words()
        return {
            place: (self.original.get(place), now.get(place))
            for place in self.original | now
            if self.original.get(place) != now.get(place)
        }

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

    async def polls(self, count: int) -> None:
        """Let so many polls be due, one after the other."""
        for _ in range(count):
            await self.warp(POLL + 1)


def is_true(state: State, truths: Sequence[State]) -> bool:
    """Return whether a state is one of those that were true, or in between if it counts."""
    if any(state.state == truth.state for truth in truths):
        return True
    numbers = list(_numbers(truths))
    own = list(_numbers([state]))
    if not numbers or not own:
        return False
    if state.attributes.get("state_class") in ("total", "total_increasing"):
        return min(numbers) <= own[0] <= max(numbers)
    return any(math.isclose(own[0], each, rel_tol=_TOLERANCE) for each in numbers)


def _numbers(states: Iterable[State]) -> Iterator[float]:
    for state in states:
        try:
            yield float(state.state)
        except ValueError:
            continue
