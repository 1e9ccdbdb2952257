"""Steps to set a battery up, whether its user adds it or it was discovered.

Devices that announce themselves, or answer a request, are discovered in the network:

- A Sessy announces itself (zeroconf), with its dongle's serial number.
- A data logger answers a broadcast (`discovery.py`).
- A device whose MAC address is known is seen at a new address (dhcp).

No reliable sign is known by which the network shows a Victron GX, a Huawei SUN2000 or
an SMA Sunny Island, nor which MAC addresses or host names loggers have; so the manifest
has no matcher for them. Their address can be probed in step `detect`.
"""

from collections.abc import Mapping
from typing import Any, Final, override

from homeassistant.config_entries import ConfigEntry, ConfigFlowResult, OptionsFlow
from homeassistant.const import (
    CONF_HOST,
    CONF_MAC,
    CONF_PASSWORD,
    CONF_PORT,
    CONF_USERNAME,
)
from homeassistant.core import callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from homeassistant.helpers.typing import DiscoveryInfoType
from homeassistant.util.network import is_ip_address

from .const import CONF_BATTERY_TYPE, CONF_LOGGER_SERIAL, DOMAIN
from .discovery import BEHIND_LOGGERS, answers, async_serials_at, async_still_answers
from .drivers import DRIVERS, SessyInverter
from .drivers.battery.base import SetupField
from .drivers.detection import detect_at
from .drivers.modbus.probe import Detected
from .drivers.solarman.discovery import PORT as LOGGER_PORT
from .errors import BASE
from .forms import (
    NAME_FIELD,
    announced_dongle,
    choice_schema,
    dongle_serial,
    form_schema,
    parse_setup,
)
from .options_flow import HomeBatteryOptionsFlow
from .setup_flow import SetupFlow

STEP_DETECT: Final = "detect"
MENU: Final = (
    "deye_solarman",
    "deye_modbus",
    "sun2000",
    "sessy",
    "sma",
    "victron",
    "simulated",
)
"""The kinds of batteries by their English names: Deye, Huawei, Sessy, SMA, Victron.

The simulated one comes last.
"""


class HomeBatteryConfigFlow(SetupFlow, domain=DOMAIN):
    """Set up one battery: choose its kind, say where it is, see that it answers."""

    VERSION = 1
    MINOR_VERSION = 2

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        return HomeBatteryOptionsFlow()

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the kind of battery, or for an address to probe."""
        return self.async_show_menu(step_id="user", menu_options=[STEP_DETECT, *MENU])

    async def async_step_detect(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Detect the devices at an address, by reading only."""
        errors: dict[str, str] = {}
        known: dict[str, Any] = {}
        if user_input is not None:
            known = parse_setup(user_input, errors)
            devices = [] if errors else await self._async_detect(known, errors)
            self._detected = self._without_known(devices)
            if len(self._detected) == 1:
                return await self._async_step_battery(next(iter(self._detected)))
            if self._detected:
                return await self.async_step_detected()
            if not errors:
                errors[BASE] = "nothing_found"
        return self.async_show_form(
            step_id=STEP_DETECT,
            data_schema=form_schema((SetupField(CONF_HOST),), known),
            description_placeholders=self._tried,
            errors=errors,
        )

    async def async_step_detected(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask which of the detected devices to set up."""
        return self.async_show_menu(
            step_id="detected",
            menu_options=[kind for kind in MENU if kind in self._detected],
        )

    async def async_step_deye_modbus(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a Deye by Modbus TCP, or by RTU behind a gateway."""
        return await self._async_step_battery("deye_modbus", user_input)

    async def async_step_deye_solarman(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a Deye by its data logger."""
        return await self._async_step_battery("deye_solarman", user_input)

    async def async_step_sessy(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a Sessy."""
        return await self._async_step_battery("sessy", user_input)

    async def async_step_sma(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach an SMA Sunny Island."""
        return await self._async_step_battery("sma", user_input)

    async def async_step_simulated(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the size of a simulated battery, and of its house."""
        return await self._async_step_battery("simulated", user_input)

    async def async_step_sun2000(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a Huawei SUN2000."""
        return await self._async_step_battery("sun2000", user_input)

    async def async_step_victron(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how to reach a Victron GX."""
        return await self._async_step_battery("victron", user_input)

    @override
    async def async_step_choose(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        errors: dict[str, str] = {}
        offered = self._choices
        if user_input is None and all(len(listed) == 1 for listed in offered.values()):
            # The others have entries already.
            user_input = {
                name: str(listed[0].value) for name, listed in offered.items()
            }
        if user_input is not None:
            self._searches = False
            self._setup |= {name: int(value) for name, value in user_input.items()}
            battery_type = self._setup[CONF_BATTERY_TYPE]
            identity = await self._async_try(battery_type, self._setup, errors, ())
            if identity is not None:
                return await self._async_finish(identity)
        return self.async_show_form(
            step_id="choose",
            data_schema=choice_schema(offered, self._setup),
            description_placeholders=self._tried,
            errors=errors,
        )

    # Discovered in the network

    @override
    async def async_step_zeroconf(
        self, discovery_info: ZeroconfServiceInfo
    ) -> ConfigFlowResult:
        """Offer a Sessy that has announced itself, or follow a known one.

        The announcement has the serial number of the dongle, which is the user name.
        That of the battery is not known without the password.

        Any host can announce that, and only sending the password there would prove
        it. So the address of a known Sessy that answers stays, and that of one that
        does not answer is changed by its user only.
        """
        battery_type = SessyInverter.battery_type
        serial = announced_dongle(discovery_info.properties)
        if serial is None or not is_ip_address(discovery_info.host):
            return self.async_abort(reason="not_recognised")
        setup = {
            CONF_HOST: discovery_info.host,
            CONF_PORT: discovery_info.port or SessyInverter.ports[0],
            CONF_USERNAME: serial,
        }
        for entry in self._async_current_entries(include_ignore=False):
            if (
                entry.data[CONF_BATTERY_TYPE] == battery_type
                and dongle_serial(entry.data[CONF_USERNAME]) == serial
            ):
                # It may have several addresses; any of them will do.
                stays = entry.data[CONF_HOST] in discovery_info.addresses
                if not (stays or answers(entry) or entry.disabled_by):
                    await self._async_follow_to(entry, discovery_info.host)
                    if not await async_still_answers(self.hass, entry):
                        return await self.async_step_new_address()
                await self.async_set_unique_id(entry.unique_id)
                self._abort_if_unique_id_configured()
        await self.async_set_unique_id(serial)
        self._abort_if_unique_id_configured()
        self._abort_if_flooded()
        device = Detected(battery_type=battery_type, model="Sessy", setup=setup)
        self._detected = {battery_type: device}
        self.context["title_placeholders"] = {"name": f"Sessy {serial}"}
        return await self._async_step_battery(battery_type)

    async def async_step_new_address(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether a known device has another address now, and try it there."""
        entry = self._known_entry
        errors: dict[str, str] = {}
        if user_input is not None:
            if self.hass.config_entries.async_get_entry(entry.entry_id) is None:
                return self.async_abort(reason="not_recognised")
            if await async_still_answers(self.hass, entry):
                return self.async_abort(reason="already_configured")
            others = await async_serials_at(self.hass, entry, self._new_host)
            if others - {entry.unique_id}:
                # It says so without the password, which it does not get then.
                return self.async_abort(reason="another_device")
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
        """Follow a device, known by its MAC address, to its new address."""
        if not is_ip_address(discovery_info.ip):
            return self.async_abort(reason="not_recognised")
        mac = dr.format_mac(discovery_info.macaddress)
        devices = dr.async_get(self.hass).async_get_devices(
            connections={(dr.CONNECTION_NETWORK_MAC, mac)}
        )
        entry_ids = {device.config_entry_id for device in devices}
        for entry in self._async_current_entries(include_ignore=False):
            if entry.entry_id in entry_ids:
                await self._async_follow(entry, discovery_info.ip)
        return self.async_abort(reason="not_recognised")

    @override
    async def async_step_integration_discovery(
        self, discovery_info: DiscoveryInfoType
    ) -> ConfigFlowResult:
        """Offer the inverter behind a logger that has answered, or follow it."""
        devices = await detect_at(
            discovery_info[CONF_HOST],
            LOGGER_PORT,
            BEHIND_LOGGERS,
            async_get_clientsession(self.hass),
        )
        device = next(
            (each for each in devices if each.serial_number is not None), None
        )
        if device is None:
            return self.async_abort(reason="not_recognised")
        self._mac = dr.format_mac(discovery_info[CONF_MAC])
        entry = await self.async_set_unique_id(device.serial_number)
        # The same inverter may be set up by another way, and one that answers at its
        # known address has not moved.
        may_follow = (
            entry is not None
            and (entry.data.get(CONF_BATTERY_TYPE), entry.data.get(CONF_PORT))
            == (device.battery_type, device.setup[CONF_PORT])
            and (
                entry.data[CONF_HOST] == device.setup[CONF_HOST]
                or not await async_still_answers(self.hass, entry)
            )
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
        self._abort_if_flooded()
        self._detected = {device.battery_type: device}
        self.context["title_placeholders"] = {
            "name": f"{device.model} ({device.serial_number})"
        }
        return await self.async_step_discovery_confirm()

    async def async_step_discovery_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether to add the discovered device."""
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
            data_schema=form_schema((NAME_FIELD,), user_input or {}),
            description_placeholders={
                **self._tried,
                "device": device.model,
                "serial_number": str(device.serial_number),
                "host": device.setup[CONF_HOST],
            },
            errors=errors,
        )

    # Set up already

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask anew how to reach a battery, on the form that it was set up with."""
        battery_type = self._get_reconfigure_entry().data[CONF_BATTERY_TYPE]
        return await self._async_step_battery(battery_type)

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Start to ask for a password that works."""
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
            data_schema=form_schema(secrets, {**known, CONF_PASSWORD: None}),
            description_placeholders={**self._tried, "device": entry.title},
            errors=errors,
        )
