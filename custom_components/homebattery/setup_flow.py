"""The base of the setup steps: try a battery, and create or change its entry."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
import logging
from typing import Any, Final

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_NAME, CONF_USERNAME
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.util import dt as dt_util

from .const import CONF_BATTERY_TYPE, CONF_LOGGER_SERIAL, CONF_UNIT_ID
from .device import device_name
from .discovery import async_find_loggers, async_serials_at, async_still_answers
from .drivers import DRIVERS, DeyeSolarmanInverter
from .drivers.battery.base import Battery, Choice, SetupField
from .drivers.battery.measuring import LONGEST_NAME, Identity
from .drivers.detection import detect
from .drivers.errors import BatteryError, UnknownHostError
from .drivers.modbus.probe import Detected
from .drivers.solarman.discovery import Logger
from .drivers.text import printable
from .errors import BASE, UNKNOWN, error_key, form_error, form_placeholders
from .forms import (
    NAME_FIELD,
    SELECTORS,
    dongle_serial,
    errors_in_view,
    flatten,
    form_schema,
    logger_selector,
    parse_setup,
)
from .neighbours import entries_at

_LOGGER = logging.getLogger(__name__)

MOST_OFFERS: Final = 20
"""Number of discovered devices that may wait for their user."""


class SetupFlow(ConfigFlow):
    """Ask for a battery, try it, and create or change its entry.

    The steps themselves are those of `HomeBatteryConfigFlow`.
    """

    _known_entry: ConfigEntry
    """The entry of a device that may have another address now."""
    _new_host: str
    """The new address of that device."""

    def __init__(self) -> None:
        """Begin without any known device."""
        self._detected: Mapping[str, Detected] = {}
        self._loggers: Sequence[Logger] = ()
        self._mac: str | None = None
        self._searches = False
        """Whether the fields that are empty on the form are to be detected."""
        self._setup: dict[str, Any] = {}
        """The values with which the battery was tried."""
        self._choices: Mapping[str, Sequence[Choice]] = {}
        """The fields for which several values would suit, as connecting has detected."""
        self._tried: Mapping[str, str] = {}
        """The placeholders of an error's text on the form."""

    async def _async_step_battery(
        self, battery_type: str, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a battery of this kind, and try it."""
        errors: dict[str, str] = {}
        fields = DRIVERS[battery_type].fields
        if self.source != SOURCE_RECONFIGURE:
            fields = (*fields, NAME_FIELD)
        known = self._known(battery_type)
        selectors = dict(SELECTORS)
        if user_input is not None:
            known = parse_setup(flatten(user_input, fields, known), errors)
            self._searches = True
            identity = await self._async_try(battery_type, known, errors)
            if identity is not None:
                self._setup = {CONF_BATTERY_TYPE: battery_type, **known}
                if self._choices:
                    return await self.async_step_choose()
                return await self._async_finish(identity)
        elif not known and battery_type == DeyeSolarmanInverter.battery_type:
            await self._async_find_loggers()
            if len(self._loggers) == 1:
                (logger,) = self._loggers
                known = {CONF_HOST: logger.address}
        if len(self._loggers) > 1:
            selectors[CONF_HOST] = logger_selector(self._loggers)
        return self.async_show_form(
            step_id=battery_type,
            data_schema=form_schema(fields, known, selectors, errors),
            description_placeholders=self._tried,
            errors=errors_in_view(fields, errors),
        )

    def _known(self, battery_type: str) -> dict[str, Any]:
        """Return the known values of a battery before anything is typed."""
        if self.source == SOURCE_RECONFIGURE:
            return dict(self._get_reconfigure_entry().data)
        if battery_type in self._detected:
            return dict(self._detected[battery_type].setup)
        return {}

    async def _async_find_loggers(self) -> None:
        """Discover the loggers that are not set up yet."""
        known = {
            entry.data.get(CONF_LOGGER_SERIAL)
            for entry in self._async_current_entries(include_ignore=False)
        }
        self._loggers = [
            logger
            for logger in await async_find_loggers()
            if logger.serial not in known
        ]

    async def _async_try(
        self,
        battery_type: str,
        setup: dict[str, Any],
        errors: dict[str, str],
        form: tuple[SetupField, ...] | None = None,
    ) -> Identity | None:
        """Connect to the battery; return its identity, or put an error into `errors`.

        The detected configuration is added to `setup`. The error goes to its field on
        the form, which has the fields in `form`, or all of the driver.
        """
        if errors:
            return None
        driver = DRIVERS[battery_type]
        try:
            battery = driver.from_setup(
                setup, session=async_get_clientsession(self.hass)
            )
            battery.searches = self._searches
            battery.local_time = dt_util.now
            try:
                async with battery:
                    setup.update(battery.detected_config)
                    self._choices = self._new_choices(battery_type, battery, setup)
                    return battery.identity
            except BatteryError as err:
                raise await battery.explain(err) from None
        except BatteryError as err:
            _LOGGER.debug("Setting up %s: %s", battery_type, err)
            field, key = form_error(err, driver.fields if form is None else form)
            errors[field] = key
            self._tried = form_placeholders(err, driver, setup)
        except Exception:
            _LOGGER.exception("Setting up %s", battery_type)
            errors[BASE] = UNKNOWN
        return None

    def _new_choices(
        self, battery_type: str, battery: Battery, setup: Mapping[str, Any]
    ) -> Mapping[str, Sequence[Choice]]:
        """Return the choices of a battery without the units that have an entry."""
        if self.source == SOURCE_RECONFIGURE or CONF_UNIT_ID not in battery.choices:
            return battery.choices
        where = {CONF_BATTERY_TYPE: battery_type, **setup}
        used = {
            entry.data.get(CONF_UNIT_ID)
            for entry in entries_at(self.hass, where, include_disabled=True)
        }
        offered = battery.choices[CONF_UNIT_ID]
        new = [choice for choice in offered if choice.value not in used]
        return {**battery.choices, CONF_UNIT_ID: new or offered}

    def _without_known(self, devices: Sequence[Detected]) -> dict[str, Detected]:
        """Return the devices by kind, those without an entry if there are any.

        Of several of a kind, what they have in common: which one it is asked later.
        """
        known = {
            entry.unique_id
            for entry in self._async_current_entries(include_ignore=False)
        }
        new = [each for each in devices if each.serial_number not in known]
        detected: dict[str, Detected] = {}
        for each in new or devices:
            same = detected.setdefault(each.battery_type, each)
            common = {
                name: value
                for name, value in same.setup.items()
                if each.setup.get(name) == value
            }
            detected[each.battery_type] = replace(same, setup=common)
        return detected

    @abstractmethod
    async def async_step_choose(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask which of several values suits, for each field in `_choices`."""

    async def _async_finish(self, identity: Identity) -> ConfigFlowResult:
        """Create or change the entry of the battery that was tried."""
        setup = dict(self._setup)
        battery_type = setup.pop(CONF_BATTERY_TYPE)
        if self.source == SOURCE_RECONFIGURE:
            return await self._async_reconfigured(identity, setup)
        return await self._async_create(battery_type, identity, setup)

    async def _async_create(
        self, battery_type: str, identity: Identity, setup: dict[str, Any]
    ) -> ConfigFlowResult:
        """Create the entry of the battery that was tried, unless it has one.

        A name in `setup` becomes the title; it is not stored with the address.
        """
        # A battery that was discovered may as well be added by hand.
        await self.async_set_unique_id(identity.serial_number, raise_on_progress=False)
        self._abort_if_unique_id_configured()
        title = self._title(identity, setup.pop(CONF_NAME, ""))
        data = {CONF_BATTERY_TYPE: battery_type, **setup}
        for logger in self._loggers:
            if logger.serial == setup.get(CONF_LOGGER_SERIAL):
                self._mac = dr.format_mac(logger.mac)
        if self._mac:
            data[CONF_MAC] = self._mac
        self._withdraw(setup.get(CONF_USERNAME))
        return self.async_create_entry(title=title, data=data)

    def _title(self, identity: Identity, name: str) -> str:
        """Return the name that was typed, else one that no other battery has."""
        if name := printable(name.strip(), LONGEST_NAME):
            return name
        usual = device_name(identity)
        others = self._async_current_entries(include_ignore=False)
        if usual not in {entry.title for entry in others}:
            return usual
        return f"{usual} {identity.serial_number[-4:]}"

    @callback
    def _withdraw(self, username: str | None) -> None:
        """Withdraw the discovery of the dongle that is now set up by hand.

        Flows for the battery's own serial number end by themselves.
        """
        for flow in self._async_in_progress():
            if username and flow["context"].get("unique_id") == dongle_serial(username):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])

    async def _async_reconfigured(
        self, identity: Identity, setup: dict[str, Any]
    ) -> ConfigFlowResult:
        """Store the new address of a battery, if it is still the same one."""
        entry = self._get_reconfigure_entry()
        await self.async_set_unique_id(identity.serial_number, raise_on_progress=False)
        self._abort_if_unique_id_mismatch(reason="another_device")
        kept = [CONF_BATTERY_TYPE]
        if setup.get(CONF_LOGGER_SERIAL) == entry.data.get(CONF_LOGGER_SERIAL):
            kept.append(CONF_MAC)
        return self.async_update_reload_and_abort(
            entry,
            data={
                **{name: entry.data[name] for name in kept if name in entry.data},
                **setup,
            },
        )

    async def _async_detect(
        self, setup: Mapping[str, Any], errors: dict[str, str]
    ) -> list[Detected]:
        """Return the devices detected at a host; put an unknown host into `errors`."""
        try:
            return await detect(
                setup[CONF_HOST], session=async_get_clientsession(self.hass)
            )
        except UnknownHostError as err:
            errors[CONF_HOST] = error_key(err)
            self._tried = {CONF_HOST: setup[CONF_HOST]}
        return []

    async def _async_follow_to(self, entry: ConfigEntry, host: str) -> None:
        """Note that a known device may be at another address now.

        Aborts when that has been offered before, and ignored.
        """
        # Not the entry's own id: to ignore the offer would replace the entry.
        await self.async_set_unique_id(f"{entry.unique_id}@{host}")
        self._abort_if_unique_id_configured()
        self._abort_if_flooded()
        self._known_entry, self._new_host = entry, host
        self.context["title_placeholders"] = {"name": f"{entry.title} ({host})"}

    async def _async_follow(self, entry: ConfigEntry, host: str) -> None:
        """Store the new address of a device, if that device answers there.

        Not while it answers at its known address.
        """
        if host != entry.data[CONF_HOST]:
            if await async_still_answers(self.hass, entry):
                host = entry.data[CONF_HOST]
            elif entry.unique_id not in await async_serials_at(self.hass, entry, host):
                return
        await self.async_set_unique_id(entry.unique_id)
        self._abort_if_unique_id_configured(updates={CONF_HOST: host})

    @callback
    def _abort_if_flooded(self) -> None:
        """Abort when so many devices are offered that most cannot be real."""
        if len(self._async_in_progress(include_uninitialized=True)) >= MOST_OFFERS:
            raise AbortFlow("not_recognised")
