"""Repair issues of a battery, and the flows that fix them."""

from abc import abstractmethod
from collections.abc import Container, Iterable, Mapping
import logging
from typing import Final, cast, override

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST
from homeassistant.core import HomeAssistant, callback
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.aiohttp_client import async_get_clientsession
import probatio as vol

from .const import CONF_BATTERY_TYPE, DOMAIN, Issue
from .control.store import LeaseStore
from .data import HomeBatteryConfigEntry
from .drivers import DRIVERS
from .drivers.battery.base import SetupField
from .drivers.battery.controller import DeviceIssue
from .drivers.battery.sunshine import SUNSHINE_FIELD
from .drivers.errors import BatteryError
from .forms import form_schema

_LOGGER = logging.getLogger(__name__)

ENTRY_ID: Final = "entry_id"
UNIQUE_ID: Final = "unique_id"

_ERRORS: Final = (
    Issue.RELEASE_FAILED,
    Issue.ORPHANED,
    Issue.LEASE_DAMAGED,
    Issue.ANOTHER_DEVICE,
)
_PERSISTENT: Final = (Issue.ORPHANED,)
"""The issues that would not be raised again after a restart."""
_MOST_LISTED: Final = 8
"""Keys of a damaged lease that a text has at most."""


@callback
def show(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    issues: Container[Issue | DeviceIssue],
    *,
    unknown: Iterable[str] = (),
    is_read: bool = True,
) -> None:
    """Show the issues that a battery has, and withdraw all others.

    `unknown` are the keys of what is not known of a damaged lease. Until all of the
    device `is_read` none of its own is withdrawn: one that is withdrawn and comes again
    is not ignored any more.
    """
    for each in (*Issue, *DeviceIssue):
        applies = each in issues
        if applies or is_read or isinstance(each, Issue):
            update(hass, entry, each, applies=applies, unknown=unknown)


@callback
def update(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    issue: Issue | DeviceIssue,
    *,
    applies: bool,
    unknown: Iterable[str] = (),
) -> None:
    """Show an issue if it applies, else withdraw it."""
    if applies:
        texts = {"device": entry.title}
        if issue is Issue.LEASE_DAMAGED:
            texts["unknown"] = _listed(unknown)
        _report(hass, entry, issue, texts)
    else:
        ir.async_delete_issue(hass, DOMAIN, _issue_id(entry, issue))


@callback
def is_shown(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry, issue: Issue | DeviceIssue
) -> bool:
    """Return whether a battery has an issue, be it one that is ignored."""
    registry = ir.async_get(hass)
    return registry.async_get_issue(DOMAIN, _issue_id(entry, issue)) is not None


def _issue_id(entry: HomeBatteryConfigEntry, issue: Issue | DeviceIssue) -> str:
    """Return the id of an issue, which a battery keeps with another entry."""
    return f"{issue}_{entry.unique_id}"


def _listed(unknown: Iterable[str]) -> str:
    """Return the first of some keys as a list for a text."""
    keys = sorted(unknown)
    rest = ["…"] if len(keys) > _MOST_LISTED else []
    return ", ".join([*(f"`{key}`" for key in keys[:_MOST_LISTED]), *rest])


def _report(
    hass: HomeAssistant,
    entry: HomeBatteryConfigEntry,
    issue: Issue | DeviceIssue,
    texts: dict[str, str],
) -> None:
    severity = ir.IssueSeverity.ERROR if issue in _ERRORS else ir.IssueSeverity.WARNING
    ir.async_create_issue(
        hass,
        DOMAIN,
        _issue_id(entry, issue),
        data={ENTRY_ID: entry.entry_id, UNIQUE_ID: entry.unique_id},
        is_fixable=issue in FIXES,
        is_persistent=issue in _PERSISTENT,
        severity=severity,
        translation_key=issue,
        translation_placeholders=texts,
    )


# Fixes -----------------------------------------------------------------------


class FixFlow(RepairsFlow):
    """Describe the fix of an issue, and apply it when the user confirms."""

    def __init__(self, issue: ir.IssueEntry) -> None:
        """Keep the issue: it may be withdrawn while the question is open."""
        self._issue = issue
        self._placeholders = issue.translation_placeholders or {}

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Begin with the question."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask, then fix; a failure is shown, and may be tried again."""
        error = None
        if user_input is not None:
            error = await self._fix(user_input)
            if error is None:
                return self.async_create_entry(data={})
        return self.async_show_form(
            step_id="confirm",
            data_schema=self._form(user_input or {}),
            description_placeholders=self._placeholders,
            errors={} if error is None else {"base": error},
        )

    def _form(self, user_input: Mapping[str, str]) -> vol.Schema | None:
        """Return the form to fill in; None for a plain question."""
        return None

    @abstractmethod
    async def _fix(self, user_input: Mapping[str, str]) -> str | None:
        """Apply the fix; return the translation key of an error if it failed."""

    def _entry(self) -> HomeBatteryConfigEntry:
        """Return the entry of the battery; raises AbortFlow when there is none."""
        entry_id = self._of_issue(ENTRY_ID)
        entry = self.hass.config_entries.async_get_entry(entry_id)
        if entry is None:
            raise self._nothing_to_fix("not_loaded")
        return cast("HomeBatteryConfigEntry", entry)

    def _loaded_entry(self) -> HomeBatteryConfigEntry:
        """Return the entry of the battery; raises AbortFlow unless it is set up."""
        entry = self._entry()
        if entry.state is not ConfigEntryState.LOADED:
            raise self._nothing_to_fix("not_loaded")
        return entry

    def _of_issue(self, key: str) -> str:
        return str((self._issue.data or {})[key])

    def _nothing_to_fix(self, reason: str) -> AbortFlow:
        return AbortFlow(reason, self._placeholders)


class ReleaseFlow(FixFlow):
    """Release a battery to its own control."""

    @override
    async def _fix(self, user_input: Mapping[str, str]) -> str | None:
        entry = self._loaded_entry()
        try:
            await entry.runtime_data.control.async_release()
        except BatteryError as err:
            _LOGGER.warning("%s could not be released: %s", entry.title, err)
            return "not_released"
        return None


class ReloadFlow(FixFlow):
    """Set a battery up anew, so that the missing feature is checked for again."""

    @override
    async def _fix(self, user_input: Mapping[str, str]) -> str | None:
        await self.hass.config_entries.async_reload(self._loaded_entry().entry_id)
        issues = self._loaded_entry().runtime_data.battery.issues
        return "not_found" if self._issue.translation_key in issues else None


class AcceptFlow(FixFlow):
    """Take a battery for restored whose snapshot was damaged; nothing is written."""

    @override
    async def _fix(self, user_input: Mapping[str, str]) -> str | None:
        await self._loaded_entry().runtime_data.control.async_accept()
        return None


class ForgetFlow(FixFlow):
    """Forget the snapshot of a removed battery; nothing is written to it."""

    @override
    async def _fix(self, user_input: Mapping[str, str]) -> str | None:
        registry = ir.async_get(self.hass)
        if registry.async_get_issue(DOMAIN, self._issue.issue_id) is None:
            # The battery was added again meanwhile, and its snapshot is in use.
            raise self._nothing_to_fix("settled")
        await LeaseStore(self.hass, self._of_issue(UNIQUE_ID)).async_remove()
        return None


class AddressFlow(FixFlow):
    """Ask for the present address of a battery, and reach it there from now on."""

    @override
    def _form(self, user_input: Mapping[str, str]) -> vol.Schema:
        known = {**self._entry().data, **user_input}
        return form_schema((SetupField(CONF_HOST),), known)

    @override
    async def _fix(self, user_input: Mapping[str, str]) -> str | None:
        entry = self._entry()
        setup = {**entry.data, **user_input}
        try:
            battery = DRIVERS[setup[CONF_BATTERY_TYPE]].from_setup(
                setup, session=async_get_clientsession(self.hass)
            )
            battery.identity_check.expected = entry.unique_id
            async with battery:
                pass
        except BatteryError as err:
            _LOGGER.info("%s is not at %s: %s", entry.title, setup[CONF_HOST], err)
            return "not_there"
        self.hass.config_entries.async_update_entry(entry, data=setup)
        await self.hass.config_entries.async_reload(entry.entry_id)
        return None


class SunshineFlow(FixFlow):
    """Ask whether a setpoint or the PV is to be kept where one costs the other.

    The battery is set up anew with it, and so released.
    """

    @override
    def _form(self, user_input: Mapping[str, str]) -> vol.Schema:
        return form_schema((SUNSHINE_FIELD,), user_input)

    @override
    async def _fix(self, user_input: Mapping[str, str]) -> str | None:
        entry = self._entry()
        options = {**entry.options, **user_input}
        self.hass.config_entries.async_update_entry(entry, options=options)
        await self.hass.config_entries.async_reload(entry.entry_id)
        return None


FIXES: Final[Mapping[str | None, type[FixFlow]]] = {
    Issue.RELEASE_FAILED: ReleaseFlow,
    Issue.ORPHANED: ForgetFlow,
    Issue.OTHER_CONTROLLER: ReleaseFlow,
    Issue.LEASE_DAMAGED: AcceptFlow,
    Issue.ANOTHER_DEVICE: AddressFlow,
    DeviceIssue.NO_ESS: ReloadFlow,
    DeviceIssue.PV_CURTAILED: SunshineFlow,
}
"""The issues that a click can fix."""


async def async_create_fix_flow(
    hass: HomeAssistant,
    issue_id: str,
    data: dict[str, str | int | float | None] | None,
) -> RepairsFlow:
    """Return the flow that fixes an issue."""
    issue = ir.async_get(hass).issues[DOMAIN, issue_id]
    return FIXES[issue.translation_key](issue)
