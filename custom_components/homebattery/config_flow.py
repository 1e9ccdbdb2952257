"""Setting up a battery that was found or is known, and the options of one.

What announces itself, or answers when it is asked, is found in the network:

- A Sessy announces itself (zeroconf) and says its dongle's serial number.
- A data logger answers a broadcast (`discovery.py`).
- A device whose MAC address is known is seen at a new address (dhcp).

Nothing sound is known by which to tell a Victron GX, a Huawei SUN2000 or an SMA Sunny
Island from afar, nor which MAC addresses or host names loggers have; so the manifest
has no matcher for them. An address of theirs can be looked at in step `detect`.
"""

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
import logging
from typing import Any, Final, override

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlow,
    OptionsFlowWithReload,
)
from homeassistant.const import (
    CONF_HOST,
    CONF_MAC,
    CONF_NAME,
    CONF_PASSWORD,
    CONF_PORT,
    CONF_USERNAME,
    UnitOfEnergy,
    UnitOfPower,
    UnitOfTime,
)
from homeassistant.core import callback
from homeassistant.data_entry_flow import section
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from homeassistant.helpers.typing import DiscoveryInfoType
import probatio as vol

from .const import (
    CONF_BATTERY_TYPE,
    CONF_CAPACITY,
    CONF_LOGGER_SERIAL,
    CONF_MAX_CHARGE_POWER,
    CONF_MAX_DISCHARGE_POWER,
    CONF_SCAN_INTERVAL,
    CONF_SETPOINT_TIMEOUT,
    DOMAIN,
    LONGEST_SCAN_INTERVAL,
    LONGEST_SETPOINT_TIMEOUT,
    SCAN_INTERVAL,
    SHORTEST_SCAN_INTERVAL,
    SHORTEST_SETPOINT_TIMEOUT,
)
from .device import device_name
from .discovery import BEHIND_LOGGERS, answers, async_find_loggers
from .drivers import DRIVERS, DeyeSolarmanInverter, SessyInverter
from .drivers.battery import BatteryError, Identity, SetupField, UnknownHostError
from .drivers.detection import Detected, detect, detect_at
from .drivers.solarman import PORT as LOGGER_PORT, Logger
from .errors import BASE, UNKNOWN, error_key, form_error, form_placeholders

_LOGGER = logging.getLogger(__name__)

SECTION_ADVANCED: Final = "advanced"
STEP_DETECT: Final = "detect"
MENU: Final = (
    "deye_solarman",
    "deye_modbus",
    "sun2000",
    "sessy",
    "sma",
    "victron",
)
"""The kinds of batteries by their English names: Deye, Huawei, Sessy, SMA, Victron."""

LARGEST_POWER: Final = 1_000_000
"""W; beyond it is a slip of the keyboard."""
LARGEST_CAPACITY: Final = 10_000_000
"""Wh."""
_LARGEST_SERIAL: Final = 0xFFFF_FFFF


def _number(lowest: int, highest: int, unit: str | None = None) -> vol.All[Any]:
    """Return a box for a whole number."""
    config = NumberSelectorConfig(
        min=lowest, max=highest, step=1, mode=NumberSelectorMode.BOX
    )
    if unit is not None:
        config["unit_of_measurement"] = unit
    return vol.All(NumberSelector(config), vol.Coerce(int))


_TEXT: Final = TextSelector()
_UNIT_ID: Final = _number(0, 255)
_FIELDS: Final[Mapping[str, object]] = {
    CONF_HOST: _TEXT,
    CONF_PORT: _number(1, 65535),
    "unit_id": _UNIT_ID,
    "battery_unit_id": _UNIT_ID,
    "grid_unit_id": _UNIT_ID,
    "pv_unit_id": _UNIT_ID,
    "framing": SelectSelector(
        SelectSelectorConfig(options=["tcp", "rtu"], translation_key="framing")
    ),
    # People type what is printed, which may have letters: see `_logger_serial`.
    CONF_LOGGER_SERIAL: vol.All(vol.Coerce(str), _TEXT),
    CONF_USERNAME: _TEXT,
    CONF_PASSWORD: TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD)),
    CONF_NAME: _TEXT,
}
"""How to ask for each field that a driver may have, and for the name."""
_NAME: Final = SetupField(CONF_NAME, required=False)
"""What a new battery is to be called; it becomes the title of its entry."""


def _schema(
    fields: tuple[SetupField, ...],
    known: Mapping[str, Any],
    selectors: Mapping[str, object] = _FIELDS,
    errors: Container[str] = (),
) -> vol.Schema:
    """Return a form with these fields, filled in with what is known.

    The section is open when it has something to see: a value of the user's own, or a
    field with an error.
    """

    def form(*, rare: bool) -> dict[vol.Marker, object]:
        return {
            _marker(field, known): selectors[field.name]
            for field in fields
            if field.rare == rare
        }

    schema: dict[vol.Marker, object] = form(rare=False)
    if advanced := form(rare=True):
        has_something = any(
            field.name in errors or _value(field, known) != field.default
            for field in fields
            if field.rare
        )
        # The frontend would show a default of the section instead of what its fields
        # have, so there is none.
        schema[vol.Optional(SECTION_ADVANCED)] = section(
            vol.Schema(advanced), {"collapsed": not has_something}
        )
    return vol.Schema(schema)


def _value(field: SetupField, known: Mapping[str, Any]) -> Any:
    """Return what a field has: what is known, else its default, else None."""
    value = known.get(field.name)
    return field.default if value is None else value


def _marker(field: SetupField, known: Mapping[str, Any]) -> vol.Marker:
    """Return the name of a field with what is suggested for it."""
    suggested = _value(field, known)
    if field.required and field.default is not None:
        return vol.Required(field.name, default=suggested)
    kind = vol.Required if field.required else vol.Optional
    return kind(field.name, description={"suggested_value": suggested})


def _flat(
    user_input: Mapping[str, Any],
    fields: tuple[SetupField, ...],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values of a form, wherever on it.

    What was emptied is not sent. A section that is not sent at all stays as it was.
    """
    in_view = {key: user_input[key] for key in user_input if key != SECTION_ADVANCED}
    advanced = user_input.get(SECTION_ADVANCED)
    if advanced is None:
        values = {field.name: _value(field, before) for field in fields if field.rare}
        advanced = {name: values[name] for name in values if values[name] is not None}
    return {**in_view, **advanced}


def _errors_shown(
    fields: tuple[SetupField, ...], errors: Mapping[str, str]
) -> dict[str, str]:
    """Return errors where the frontend shows them: inside a section it shows none."""
    in_section = {field.name for field in fields if field.rare}
    return {
        SECTION_ADVANCED if name in in_section else name: error
        for name, error in errors.items()
    }


def _setup(typed: Mapping[str, Any], errors: dict[str, str]) -> dict[str, Any]:
    """Return what was typed of how to reach a device; see whether it can be meant."""
    setup = dict(typed)
    host = setup[CONF_HOST] = setup[CONF_HOST].strip()
    with_port = host.count(":") == 1
    if not host or with_port or "/" in host or any(map(str.isspace, host)):
        errors[CONF_HOST] = "invalid_host"
    if printed := str(setup.pop(CONF_LOGGER_SERIAL, "")).strip():
        setup[CONF_LOGGER_SERIAL] = serial = _logger_serial(printed)
        if serial == printed:
            errors[CONF_LOGGER_SERIAL] = "invalid_logger_serial"
    return setup


def _logger_serial(typed: str) -> int | str:
    """Return the serial number of a logger; as it was typed if it cannot be one."""
    if typed.isascii() and typed.isdecimal() and 0 < int(typed) <= _LARGEST_SERIAL:
        return int(typed)
    return typed


def _dongle(username: str) -> str:
    """Return the serial number that the user name of a Sessy is, as it is printed."""
    return username.strip().upper()


def _one_of(loggers: Iterable[Logger]) -> SelectSelector:
    """Return a list of loggers to choose from; another address can be typed, too."""
    return SelectSelector(
        SelectSelectorConfig(
            options=[
                SelectOptionDict(
                    value=logger.address, label=f"{logger.address} ({logger.serial})"
                )
                for logger in loggers
            ],
            custom_value=True,
        )
    )


class HomeBatteryConfigFlow(ConfigFlow, domain=DOMAIN):
    """Sets up one battery: choose its kind, say where it is, see that it answers."""

    VERSION = 1

    _known_entry: ConfigEntry
    """What may have another address now, …"""
    _new_host: str
    """… and which."""

    def __init__(self) -> None:
        """Begin knowing of no device."""
        self._detected: Mapping[str, Detected] = {}
        self._loggers: Mapping[int, Logger] = {}
        self._mac: str | None = None
        self._tried: Mapping[str, str] = {}
        """What the text of an error on the form can name."""

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        return HomeBatteryOptionsFlow()

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask which kind of battery it is, or where to look for one."""
        return self.async_show_menu(step_id="user", menu_options=[STEP_DETECT, *MENU])

    async def async_step_detect(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Find out by reading what answers at an address."""
        errors: dict[str, str] = {}
        known: dict[str, Any] = {}
        if user_input is not None:
            known = _setup(user_input, errors)
            found = [] if errors else await self._async_detect(known, errors)
            self._detected = {device.battery_type: device for device in found}
            if len(self._detected) == 1:
                return await self._async_step_battery(next(iter(self._detected)))
            if self._detected:
                return await self.async_step_detected()
            if not errors:
                errors[BASE] = "nothing_found"
        return self.async_show_form(
            step_id=STEP_DETECT,
            data_schema=_schema((SetupField(CONF_HOST),), known),
            description_placeholders=self._tried,
            errors=errors,
        )

    async def _async_detect(
        self, setup: Mapping[str, Any], errors: dict[str, str]
    ) -> list[Detected]:
        """Return what is at an address, or put into errors that it is none."""
        try:
            return await detect(
                setup[CONF_HOST], session=async_get_clientsession(self.hass)
            )
        except UnknownHostError as err:
            errors[CONF_HOST] = error_key(err)
            self._tried = {CONF_HOST: setup[CONF_HOST]}
        return []

    async def async_step_detected(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask which of the devices that were found it is."""
        return self.async_show_menu(
            step_id="detected",
            menu_options=[kind for kind in MENU if kind in self._detected],
        )

    async def _async_step_battery(
        self, battery_type: str, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a battery of this kind, and try it."""
        errors: dict[str, str] = {}
        fields = DRIVERS[battery_type].fields
        if self.source != SOURCE_RECONFIGURE:
            fields = (*fields, _NAME)
        known = self._known(battery_type)
        selectors = dict(_FIELDS)
        if user_input is not None:
            known = _setup(_flat(user_input, fields, known), errors)
            identity = await self._async_try(battery_type, known, errors)
            if identity is not None:
                if self.source == SOURCE_RECONFIGURE:
                    return await self._async_reconfigured(identity, known)
                return await self._async_create(battery_type, identity, known)
        elif not known and battery_type == DeyeSolarmanInverter.battery_type:
            await self._async_find_loggers()
            if len(self._loggers) == 1:
                (logger,) = self._loggers.values()
                known = {CONF_HOST: logger.address}
        if len(self._loggers) > 1:
            selectors[CONF_HOST] = _one_of(self._loggers.values())
        return self.async_show_form(
            step_id=battery_type,
            data_schema=_schema(fields, known, selectors, errors),
            description_placeholders=self._tried,
            errors=_errors_shown(fields, errors),
        )

    def _known(self, battery_type: str) -> dict[str, Any]:
        """Return what is known of a battery before anything is typed."""
        if self.source == SOURCE_RECONFIGURE:
            return dict(self._get_reconfigure_entry().data)
        if battery_type in self._detected:
            return dict(self._detected[battery_type].setup)
        return {}

    async def _async_find_loggers(self) -> None:
        """See which loggers are there that are not set up yet."""
        known = {
            entry.data.get(CONF_LOGGER_SERIAL)
            for entry in self._async_current_entries(include_ignore=False)
        }
        self._loggers = {
            logger.serial: logger
            for logger in await async_find_loggers()
            if logger.serial not in known
        }

    async def _async_create(
        self, battery_type: str, identity: Identity, setup: dict[str, Any]
    ) -> ConfigFlowResult:
        """Set up the battery that was tried, unless it is already.

        `setup` may have a name for it, too, which is no part of how to reach it.
        """
        # A battery that was discovered may as well be added by hand.
        await self.async_set_unique_id(identity.serial_number, raise_on_progress=False)
        self._abort_if_unique_id_configured()
        title = self._title(identity, setup.pop(CONF_NAME, ""))
        data = {CONF_BATTERY_TYPE: battery_type, **setup}
        if logger := self._loggers.get(setup.get(CONF_LOGGER_SERIAL, 0)):
            self._mac = dr.format_mac(logger.mac)
        if self._mac:
            data[CONF_MAC] = self._mac
        self._withdraw(setup.get(CONF_USERNAME))
        return self.async_create_entry(title=title, data=data)

    def _title(self, identity: Identity, name: str) -> str:
        """Return the name that was typed, else one that no other battery has."""
        if name := name.strip():
            return name
        usual = device_name(identity)
        others = self._async_current_entries(include_ignore=False)
        if usual not in {entry.title for entry in others}:
            return usual
        return f"{usual} {identity.serial_number[-4:]}"

    @callback
    def _withdraw(self, username: str | None) -> None:
        """No longer offer the dongle that is set up now by hand.

        Flows for the battery's own serial number end by themselves.
        """
        for flow in self._async_in_progress():
            if username and flow["context"].get("unique_id") == _dongle(username):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])

    # What is found in the network

    @override
    async def async_step_zeroconf(
        self, discovery_info: ZeroconfServiceInfo
    ) -> ConfigFlowResult:
        """See who the Sessy is that has announced itself: known, or new.

        It says its dongle's serial number, which is the user name. That of the
        battery is not known without the password.

        Anybody can announce that, and nothing proves it but to send the password
        there. So a known one that answers stays where it is, and one that does not
        answer is moved by its user only.
        """
        battery_type = SessyInverter.battery_type
        serial = _dongle(str(discovery_info.properties.get("serial") or ""))
        if not serial:
            return self.async_abort(reason="not_recognised")
        setup = {
            CONF_HOST: discovery_info.host,
            CONF_PORT: discovery_info.port,
            CONF_USERNAME: serial,
        }
        for entry in self._async_current_entries(include_ignore=False):
            if (
                entry.data[CONF_BATTERY_TYPE] == battery_type
                and _dongle(entry.data[CONF_USERNAME]) == serial
            ):
                # It may have several addresses; one that it has is good enough.
                stays = entry.data[CONF_HOST] in discovery_info.addresses
                if not (stays or answers(entry) or entry.disabled_by):
                    return await self._async_offer_address(entry, discovery_info.host)
                await self.async_set_unique_id(entry.unique_id)
                self._abort_if_unique_id_configured()
        await self.async_set_unique_id(serial)
        self._abort_if_unique_id_configured()
        device = Detected(battery_type=battery_type, model="Sessy", setup=setup)
        self._detected = {battery_type: device}
        self.context["title_placeholders"] = {"name": f"Sessy {serial}"}
        return await self._async_step_battery(battery_type)

    async def _async_offer_address(
        self, entry: ConfigEntry, host: str
    ) -> ConfigFlowResult:
        """Offer to reach a known device at another address."""
        # Not the entry's own: to ignore the offer would replace the entry.
        await self.async_set_unique_id(f"{entry.unique_id}@{host}")
        self._abort_if_unique_id_configured()
        self._known_entry, self._new_host = entry, host
        self.context["title_placeholders"] = {"name": f"{entry.title} ({host})"}
        return await self.async_step_new_address()

    async def async_step_new_address(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether a known device has another address now, and try it there."""
        entry = self._known_entry
        errors: dict[str, str] = {}
        if user_input is not None:
            if self.hass.config_entries.async_get_entry(entry.entry_id) is None:
                return self.async_abort(reason="not_recognised")
            if answers(entry):
                return self.async_abort(reason="already_configured")
            setup = {**entry.data, CONF_HOST: self._new_host}
            identity = await self._async_try(
                entry.data[CONF_BATTERY_TYPE], setup, errors, ()
            )
            if identity is not None:
                if identity.serial_number != entry.unique_id:
                    return self.async_abort(reason="another_device")
                return self.async_update_reload_and_abort(
                    entry,
                    data_updates={CONF_HOST: self._new_host},
                    reason="address_changed",
                )
        self._set_confirm_only()
        return self.async_show_form(
            step_id="new_address",
            description_placeholders={
                **self._tried,
                "device": entry.title,
                "old_host": entry.data[CONF_HOST],
                "new_host": self._new_host,
            },
            errors=errors,
        )

    @override
    async def async_step_dhcp(
        self, discovery_info: DhcpServiceInfo
    ) -> ConfigFlowResult:
        """Follow a device, known by its MAC address, to where it is now."""
        mac = dr.format_mac(discovery_info.macaddress)
        devices = dr.async_get(self.hass).async_get_devices(
            connections={(dr.CONNECTION_NETWORK_MAC, mac)}
        )
        ours = {device.config_entry_id for device in devices}
        for entry in self._async_current_entries(include_ignore=False):
            if entry.entry_id in ours:
                await self._async_follow(entry, discovery_info.ip)
        return self.async_abort(reason="not_recognised")

    async def _async_follow(self, entry: ConfigEntry, host: str) -> None:
        """Take over the new address of a device, if it is the device that is there.

        Not while it answers where it is.
        """
        if answers(entry):
            host = entry.data[CONF_HOST]
        if host != entry.data[CONF_HOST]:
            driver = DRIVERS[entry.data[CONF_BATTERY_TYPE]]
            found = await detect_at(
                host,
                entry.data.get(CONF_PORT, driver.ports[0]),
                [driver],
                async_get_clientsession(self.hass),
            )
            if entry.unique_id not in {device.serial_number for device in found}:
                return
        await self.async_set_unique_id(entry.unique_id)
        self._abort_if_unique_id_configured(updates={CONF_HOST: host})

    @override
    async def async_step_integration_discovery(
        self, discovery_info: DiscoveryInfoType
    ) -> ConfigFlowResult:
        """See which inverter is behind a logger that has answered: known, or new."""
        found = await detect_at(
            discovery_info[CONF_HOST],
            LOGGER_PORT,
            BEHIND_LOGGERS,
            async_get_clientsession(self.hass),
        )
        device = next((each for each in found if each.serial_number is not None), None)
        if device is None:
            return self.async_abort(reason="not_recognised")
        self._mac = dr.format_mac(discovery_info[CONF_MAC])
        entry = await self.async_set_unique_id(device.serial_number)
        # The same inverter may be set up by way of something else, and one that
        # answers where it is has not moved.
        may_follow = (
            entry is not None
            and (entry.data.get(CONF_BATTERY_TYPE), entry.data.get(CONF_PORT))
            == (device.battery_type, device.setup[CONF_PORT])
            and (entry.data[CONF_HOST] == device.setup[CONF_HOST] or not answers(entry))
        )
        where = (CONF_HOST, CONF_LOGGER_SERIAL)
        self._abort_if_unique_id_configured(
            updates={
                **{name: device.setup[name] for name in where if name in device.setup},
                CONF_MAC: self._mac,
            }
            if may_follow
            else None
        )
        self._detected = {device.battery_type: device}
        self.context["title_placeholders"] = {
            "name": f"{device.model} ({device.serial_number})"
        }
        return await self.async_step_discovery_confirm()

    async def async_step_discovery_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether to add what was found and recognised."""
        errors: dict[str, str] = {}
        (device,) = self._detected.values()
        if user_input is not None:
            setup = {**device.setup, **user_input}
            identity = await self._async_try(device.battery_type, setup, errors, ())
            if identity is not None:
                return await self._async_create(device.battery_type, identity, setup)
        self._set_confirm_only()
        return self.async_show_form(
            step_id="discovery_confirm",
            data_schema=_schema((_NAME,), user_input or {}),
            description_placeholders={
                **self._tried,
                "device": device.model,
                "serial_number": str(device.serial_number),
                "host": device.setup[CONF_HOST],
            },
            errors=errors,
        )

    # What is set up already

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask anew how to reach a battery, on the form that it was set up with."""
        battery_type = self._get_reconfigure_entry().data[CONF_BATTERY_TYPE]
        return await self._async_step_battery(battery_type)

    async def _async_reconfigured(
        self, identity: Identity, setup: dict[str, Any]
    ) -> ConfigFlowResult:
        """Take over how to reach a battery, if it is still the same one."""
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

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Begin again with a password that works."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the user name and password, and try them."""
        entry = self._get_reauth_entry()
        battery_type = entry.data[CONF_BATTERY_TYPE]
        errors: dict[str, str] = {}
        known = dict(entry.data)
        secrets = tuple(
            field
            for field in DRIVERS[battery_type].fields
            if field.name in (CONF_USERNAME, CONF_PASSWORD)
        )
        if user_input is not None:
            known.update(user_input)
            identity = await self._async_try(battery_type, known, errors, secrets)
            if identity is not None:
                await self.async_set_unique_id(identity.serial_number)
                self._abort_if_unique_id_mismatch(reason="another_device")
                return self.async_update_reload_and_abort(
                    entry, data_updates=user_input
                )
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=_schema(secrets, {**known, CONF_PASSWORD: None}),
            description_placeholders={**self._tried, "device": entry.title},
            errors=errors,
        )

    async def _async_try(
        self,
        battery_type: str,
        setup: dict[str, Any],
        errors: dict[str, str],
        form: tuple[SetupField, ...] | None = None,
    ) -> Identity | None:
        """Connect to the battery; return who it is, or put into errors why not.

        What the battery was found to be set up with is added to `setup`. An error
        goes to its field on the form, which has all fields unless `form` says which.
        """
        if errors:
            return None
        driver = DRIVERS[battery_type]
        try:
            battery = driver.from_setup(
                setup, session=async_get_clientsession(self.hass)
            )
            try:
                async with battery:
                    setup.update(battery.setup_found)
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


type Step = Callable[
    [HomeBatteryConfigFlow, dict[str, Any] | None], Awaitable[ConfigFlowResult]
]


def _step(battery_type: str) -> Step:
    """Return the step of one kind of battery; all are made alike from their fields."""

    async def step(
        self: HomeBatteryConfigFlow, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        return await self._async_step_battery(battery_type, user_input)

    return step


for _battery_type in DRIVERS:
    setattr(HomeBatteryConfigFlow, f"async_step_{_battery_type}", _step(_battery_type))


_YES_OR_NO: Final = BooleanSelector()
_POWER: Final = _number(0, LARGEST_POWER, UnitOfPower.WATT)
_OPTIONS: Final = (
    SetupField(CONF_MAX_CHARGE_POWER, required=False),
    SetupField(CONF_MAX_DISCHARGE_POWER, required=False),
    SetupField(CONF_SCAN_INTERVAL, SCAN_INTERVAL),
    SetupField(CONF_SETPOINT_TIMEOUT, required=False, rare=True),
    SetupField(CONF_CAPACITY, required=False, rare=True),
)
"""The options of any battery; what is left empty is up to the device."""
_OPTION_SELECTORS: Final[Mapping[str, object]] = {
    CONF_MAX_CHARGE_POWER: _POWER,
    CONF_MAX_DISCHARGE_POWER: _POWER,
    CONF_SCAN_INTERVAL: _number(
        SHORTEST_SCAN_INTERVAL, LONGEST_SCAN_INTERVAL, UnitOfTime.SECONDS
    ),
    CONF_SETPOINT_TIMEOUT: _number(
        SHORTEST_SETPOINT_TIMEOUT, LONGEST_SETPOINT_TIMEOUT, UnitOfTime.SECONDS
    ),
    CONF_CAPACITY: _number(1, LARGEST_CAPACITY, UnitOfEnergy.WATT_HOUR),
}


class HomeBatteryOptionsFlow(OptionsFlowWithReload):
    """Changes how a battery is polled, and what its owner allows."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the options, those of the battery's driver among them."""
        options = self.config_entry.options
        of_driver = DRIVERS[self.config_entry.data[CONF_BATTERY_TYPE]].owner_options
        fields = (*_OPTIONS, *of_driver)
        if user_input is not None:
            return self.async_create_entry(data=_flat(user_input, fields, options))
        yes_or_no = {field.name: _YES_OR_NO for field in of_driver}
        return self.async_show_form(
            step_id="init",
            data_schema=_schema(fields, options, {**_OPTION_SELECTORS, **yes_or_no}),
        )
