"""What an owner has to know, or do, and would not see on a dashboard."""

from collections.abc import Container
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
    """A battery could not be given back so far."""
    LEFT_HELD = "left_held"
    """A battery was removed and could not be given back."""
    OTHER_CONTROLLER = "other_controller"
    """Somebody else controls a battery, again and again."""


FIXABLE: Final = (Issue.RELEASE_FAILED, Issue.OTHER_CONTROLLER)
"""Where a release is what helps."""
_ERRORS: Final = (Issue.RELEASE_FAILED, Issue.LEFT_HELD)
_PERSISTENT: Final = (Issue.LEFT_HELD,)
"""What nobody would find out again after a restart."""


@callback
def show(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    issues: Container[Issue | Advice],
) -> None:
    """Show what applies to a battery, and withdraw what does not apply any more."""
    for each in (*Issue, *Advice):
        if each in issues:
            _report(hass, entry, each)
        else:
            ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, each))


def _issue_id(entry: HomeBatteryConfigEntry, issue: Issue | Advice) -> str:
    """Return the id of an issue: the battery's own, whichever entry it has."""
    return f"{issue}_{entry.unique_id}"


def _report(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, issue: Issue | Advice
) -> None:
    severity = ir.IssueSeverity.ERROR if issue in _ERRORS else ir.IssueSeverity.WARNING
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry, issue),
        data={ENTRY_ID: entry.entry_id},
        is_fixable=issue in FIXABLE,
        is_persistent=issue in _PERSISTENT,
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
