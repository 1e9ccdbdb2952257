"""What an owner has to know, or do, and would not see on a dashboard."""

from collections.abc import Iterable
from enum import StrEnum
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .drivers.battery import Advice, BatteryError

if TYPE_CHECKING:
    from . import HomeBatteryConfigEntry

_LOGGER = logging.getLogger(__name__)

ENTRY_ID: Final = "entry_id"


class Issue(StrEnum):
    """The issues about control, as their texts are called."""

    RELEASE_FAILED = "release_failed"
    LEFT_HELD = "left_held"
    OTHER_CONTROLLER = "other_controller"


FIXABLE: Final = (Issue.RELEASE_FAILED, Issue.OTHER_CONTROLLER)
"""Where a release is what helps."""


@callback
def report_release_failed(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Say that a battery could not be given back so far."""
    _report(hass, entry, Issue.RELEASE_FAILED, ir.IssueSeverity.ERROR)


@callback
def forget_release_failed(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Withdraw what was said of a battery that has been given back."""
    for issue in (Issue.RELEASE_FAILED, Issue.LEFT_HELD):
        ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, issue))


@callback
def report_left_held(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Say that a battery was removed and could not be given back."""
    forget_release_failed(hass, entry)
    _report(hass, entry, Issue.LEFT_HELD, ir.IssueSeverity.ERROR, persistent=True)


@callback
def report_other_controller(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Say that somebody else controls a battery, again and again."""
    _report(hass, entry, Issue.OTHER_CONTROLLER, ir.IssueSeverity.WARNING)


@callback
def show_advice(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, advice: Iterable[Advice]
) -> None:
    """Show what applies, and withdraw what does not apply any more."""
    for each in Advice:
        if each in advice:
            _report(hass, entry, each, ir.IssueSeverity.WARNING)
        else:
            ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, each))


def _issue_id(entry: HomeBatteryConfigEntry, issue: Issue | Advice) -> str:
    """Return the id of an issue: the battery's own, whichever entry it has."""
    return f"{issue}_{entry.unique_id}"


def _report(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    issue: Issue | Advice,
    severity: ir.IssueSeverity,
    *,
    persistent: bool = False,
) -> None:
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry, issue),
        data={ENTRY_ID: entry.entry_id},
        is_fixable=issue in FIXABLE,
        is_persistent=persistent,
        severity=severity,
        translation_key=issue,
        translation_placeholders={"device": entry.title},
    )


class ReleaseFlow(RepairsFlow):
    """Gives a battery back to its own control, if its owner says so."""

    def __init__(self, entry_id: str, device: str) -> None:
        """Describe the battery."""
        self._entry_id = entry_id
        self._device = device

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Begin with the question."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask, then release; a failure is shown, and may be tried again."""
        errors: dict[str, str] = {}
        if user_input is not None:
            entry = self.hass.config_entries.async_get_entry(self._entry_id)
            if entry is None or entry.state is not ConfigEntryState.LOADED:
                return self.async_abort(
                    reason="not_loaded",
                    description_placeholders={"device": self._device},
                )
            battery = cast("HomeBatteryConfigEntry", entry)
            try:
                await battery.runtime_data.control.async_release()
            except BatteryError as err:
                _LOGGER.warning("%s could not be given back: %s", self._device, err)
                errors["base"] = "not_released"
            else:
                return self.async_create_entry(data={})
        return self.async_show_form(
            step_id="confirm",
            description_placeholders={"device": self._device},
            errors=errors,
        )


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, Any] | None
) -> RepairsFlow:
    """Return the flow that fixes an issue: all of them by a release."""
    issue = ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    placeholders = (issue and issue.translation_placeholders) or {}
    return ReleaseFlow(str((data or {})[ENTRY_ID]), placeholders.get("device", ""))
