"""What an owner has to know, or do, and would not see on a dashboard."""

from enum import StrEnum
from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN

if TYPE_CHECKING:
    from . import HomeBatteryConfigEntry


class Issue(StrEnum):
    """The issues there are, as their texts are called."""

    RELEASE_FAILED = "release_failed"
    LEFT_HELD = "left_held"
    OTHER_CONTROLLER = "other_controller"


def report_release_failed(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Say that a battery could not be given back so far."""
    _report(hass, entry, Issue.RELEASE_FAILED, ir.IssueSeverity.ERROR)


def forget_release_failed(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Withdraw what was said of a battery that has been given back."""
    for issue in (Issue.RELEASE_FAILED, Issue.LEFT_HELD):
        ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, issue))


def report_left_held(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Say that a battery was removed and could not be given back."""
    forget_release_failed(hass, entry)
    _report(hass, entry, Issue.LEFT_HELD, ir.IssueSeverity.ERROR, persistent=True)


def report_other_controller(hass: HomeAssistant, entry: HomeBatteryConfigEntry) -> None:
    """Say that somebody else controls a battery, again and again."""
    _report(hass, entry, Issue.OTHER_CONTROLLER, ir.IssueSeverity.WARNING)


def _issue_id(entry: HomeBatteryConfigEntry, issue: Issue) -> str:
    """Return the id of an issue: the battery's own, whichever entry it has."""
    return f"{issue}_{entry.unique_id}"


def _report(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    issue: Issue,
    severity: ir.IssueSeverity,
    *,
    persistent: bool = False,
) -> None:
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry, issue),
        is_fixable=False,
        is_persistent=persistent,
        severity=severity,
        translation_key=issue,
        translation_placeholders={"device": entry.title},
    )
