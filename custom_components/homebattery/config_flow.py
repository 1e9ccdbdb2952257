"""Setting up a battery by its kind and address, and the options of one."""

from collections.abc import Awaitable, Callable, Mapping
import logging
from typing import Any, Final, override

from homeassistant.config_entries import (
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlow,
    OptionsFlowWithReload,
)
from homeassistant.const import (
    CONF_HOST,
    CONF_PASSWORD,
    CONF_PORT,
    CONF_USERNAME,
    UnitOfEnergy,
    UnitOfPower,
    UnitOfTime,
)
from homeassistant.core import callback
from homeassistant.data_entry_flow import section
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectSelector,
    SelectSelectorConfig,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
import probatio as vol

from .const import (
    CONF_BATTERY_TYPE,
    CONF_CAPACITY,
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
from .drivers import DRIVERS
from .drivers.battery import BatteryError, Identity, SetupField
from .drivers.detection import Detected, detect
from .entity import device_name
from .errors import UNKNOWN, error_key

_LOGGER = logging.getLogger(__name__)

SECTION_ADVANCED: Final = "advanced"
STEP_DETECT: Final = "detect"

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
    "logger_serial": _number(1, _LARGEST_SERIAL),
    CONF_USERNAME: _TEXT,
    CONF_PASSWORD: TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD)),
}
"""How to ask for each field that a driver may have."""


def _schema(fields: tuple[SetupField, ...], known: Mapping[str, Any]) -> vol.Schema:
    """Return the form for a driver's fields, filled in with what is known."""

    def form(*, rare: bool) -> dict[vol.Marker, object]:
        return {
            _marker(field, known): _FIELDS[field.name]
            for field in fields
            if field.rare == rare
        }

    schema: dict[vol.Marker, object] = form(rare=False)
    if advanced := form(rare=True):
        schema[vol.Required(SECTION_ADVANCED)] = section(
            vol.Schema(advanced), {"collapsed": True}
        )
    return vol.Schema(schema)


def _marker(field: SetupField, known: Mapping[str, Any]) -> vol.Marker:
    """Return the name of a field with what is suggested for it."""
    value = known.get(field.name)
    if field.required and field.default is not None:
        return vol.Required(field.name, default=value or field.default)
    suggested = field.default if value is None else value
    kind = vol.Required if field.required else vol.Optional
    return kind(field.name, description={"suggested_value": suggested})


def _flat(user_input: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was typed, wherever on the form."""
    flat = {key: value for key, value in user_input.items() if key != SECTION_ADVANCED}
    flat.update(user_input.get(SECTION_ADVANCED, {}))
    flat[CONF_HOST] = flat[CONF_HOST].strip()
    return flat


class HomeBatteryConfigFlow(ConfigFlow, domain=DOMAIN):
    """Sets up one battery: choose its kind, say where it is, see that it answers."""

    VERSION = 1

    def __init__(self) -> None:
        """Begin knowing of no device."""
        self._detected: Mapping[str, Detected] = {}

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
        return self.async_show_menu(
            step_id="user", menu_options=[STEP_DETECT, *DRIVERS]
        )

    async def async_step_detect(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Find out by reading what answers at an address."""
        errors: dict[str, str] = {}
        known: dict[str, Any] = {}
        if user_input is not None:
            known = _flat(user_input)
            found = await detect(
                known[CONF_HOST], session=async_get_clientsession(self.hass)
            )
            self._detected = {device.battery_type: device for device in found}
            if len(self._detected) == 1:
                return await self._async_step_battery(next(iter(self._detected)))
            if self._detected:
                return await self.async_step_detected()
            errors["base"] = "nothing_found"
        return self.async_show_form(
            step_id=STEP_DETECT,
            data_schema=_schema((SetupField(CONF_HOST),), known),
            errors=errors,
        )

    async def async_step_detected(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask which of the devices that were found it is."""
        return self.async_show_menu(
            step_id="detected", menu_options=list(self._detected)
        )

    async def _async_step_battery(
        self, battery_type: str, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a battery of this kind, and try it."""
        errors: dict[str, str] = {}
        detected = self._detected.get(battery_type)
        known = {} if detected is None else dict(detected.setup)
        if user_input is not None:
            known = _flat(user_input)
            identity = await self._async_try(battery_type, known, errors)
            if identity is not None:
                await self.async_set_unique_id(identity.serial_number)
                self._abort_if_unique_id_configured()
                return self.async_create_entry(
                    title=device_name(identity),
                    data={CONF_BATTERY_TYPE: battery_type, **known},
                )
        return self.async_show_form(
            step_id=battery_type,
            data_schema=_schema(DRIVERS[battery_type].fields, known),
            errors=errors,
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
        if user_input is not None:
            known.update(user_input)
            identity = await self._async_try(battery_type, known, errors)
            if identity is not None:
                await self.async_set_unique_id(identity.serial_number)
                self._abort_if_unique_id_mismatch(reason="another_device")
                return self.async_update_reload_and_abort(
                    entry, data_updates=user_input
                )
        secrets = tuple(
            field
            for field in DRIVERS[battery_type].fields
            if field.name in (CONF_USERNAME, CONF_PASSWORD)
        )
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=_schema(secrets, {**known, CONF_PASSWORD: None}),
            description_placeholders={"device": entry.title},
            errors=errors,
        )

    async def _async_try(
        self, battery_type: str, setup: dict[str, Any], errors: dict[str, str]
    ) -> Identity | None:
        """Connect to the battery; return who it is, or put into errors why not.

        What the battery was found to be set up with is added to `setup`.
        """
        try:
            battery = DRIVERS[battery_type].from_setup(
                setup, session=async_get_clientsession(self.hass)
            )
            async with battery:
                setup.update(battery.setup_found)
                return battery.identity
        except BatteryError as err:
            _LOGGER.debug("Setting up %s: %s", battery_type, err)
            errors["base"] = error_key(err)
        except Exception:
            _LOGGER.exception("Setting up %s", battery_type)
            errors["base"] = UNKNOWN
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


class HomeBatteryOptionsFlow(OptionsFlowWithReload):
    """Changes how a battery is polled, and what its owner allows."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the options; what is left empty is up to the device."""
        if user_input is not None:
            return self.async_create_entry(data=user_input)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                _OPTIONS.extend(
                    {
                        vol.Required(field.name, default=field.default): _YES_OR_NO
                        for field in DRIVERS[
                            self.config_entry.data[CONF_BATTERY_TYPE]
                        ].owner_options
                    }
                ),
                self.config_entry.options,
            ),
        )


_YES_OR_NO: Final = BooleanSelector()
_POWER: Final = _number(0, LARGEST_POWER, UnitOfPower.WATT)
_OPTIONS: Final = vol.Schema(
    {
        vol.Required(CONF_SCAN_INTERVAL, default=SCAN_INTERVAL): _number(
            SHORTEST_SCAN_INTERVAL, LONGEST_SCAN_INTERVAL, UnitOfTime.SECONDS
        ),
        vol.Optional(CONF_MAX_CHARGE_POWER): _POWER,
        vol.Optional(CONF_MAX_DISCHARGE_POWER): _POWER,
        vol.Optional(CONF_CAPACITY): _number(
            1, LARGEST_CAPACITY, UnitOfEnergy.WATT_HOUR
        ),
        vol.Optional(CONF_SETPOINT_TIMEOUT): _number(
            SHORTEST_SETPOINT_TIMEOUT, LONGEST_SETPOINT_TIMEOUT, UnitOfTime.SECONDS
        ),
    }
)
