"""Actions: hold batteries at a power, and give them back."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import (
    config_validation as cv,
    device_registry as dr,
    entity_registry as er,
)
from homeassistant.helpers.target import (
    TargetSelection,
    async_extract_referenced_entity_ids,
)
import voluptuous as vol

from .const import DOMAIN
from .errors import translating
from .lease import Outcome

if TYPE_CHECKING:
    from . import HomeBatteryConfigEntry

SET_POWER: Final = "set_power"
RELEASE: Final = "release"
ATTR_POWER: Final = "power"
ATTR_DURATION: Final = "duration"

_TARGET: Final = cv.make_entity_service_schema({})
_SET_POWER: Final = cv.make_entity_service_schema(
    {
        vol.Required(ATTR_POWER): vol.All(vol.Coerce(float), vol.Range(-1e6, 1e6)),
        vol.Optional(ATTR_DURATION): vol.All(
            cv.positive_time_period, vol.Range(min=timedelta(seconds=1))
        ),
    }
)


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions."""
    hass.services.async_register(
        DOMAIN,
        SET_POWER,
        _async_set_power,
        schema=_SET_POWER,
        supports_response=SupportsResponse.OPTIONAL,
    )
    hass.services.async_register(
        DOMAIN,
        RELEASE,
        _async_release,
        schema=_TARGET,
        supports_response=SupportsResponse.OPTIONAL,
    )


async def _async_set_power(call: ServiceCall) -> ServiceResponse:
    """Hold batteries at a power; return for each what came of it."""
    response: dict[str, Any] = {}
    for device_id, entry in _batteries(call).items():
        with translating(call.hass, entry):
            outcome = await entry.runtime_data.control.async_set_power(
                call.data[ATTR_POWER], call.data.get(ATTR_DURATION)
            )
        response[device_id] = _as_response(entry, outcome)
    return {"batteries": response} if call.return_response else None


async def _async_release(call: ServiceCall) -> ServiceResponse:
    """Give batteries back to their own control; return for each how that went."""
    response: dict[str, Any] = {}
    for device_id, entry in _batteries(call).items():
        control = entry.runtime_data.control
        with translating(call.hass, entry):
            await control.async_release()
        response[device_id] = {"name": entry.title, "control_mode": control.mode}
    return {"batteries": response} if call.return_response else None


def _as_response(entry: HomeBatteryConfigEntry, outcome: Outcome) -> dict[str, Any]:
    return {
        "name": entry.title,
        "requested": outcome.requested,
        "granted": outcome.granted,
        "limited_by": outcome.limited_by,
        "expires": outcome.expires.isoformat() if outcome.expires else None,
    }


def _batteries(call: ServiceCall) -> dict[str, HomeBatteryConfigEntry]:
    """Return the batteries that an action is for, by device id.

    Raises ServiceValidationError when there is none, or one cannot be controlled now:
    before anything is written to any of them.
    """
    batteries: dict[str, HomeBatteryConfigEntry] = {}
    for device in _devices(call):
        entry = call.hass.config_entries.async_get_entry(device.config_entry_id or "")
        if entry is None or entry.domain != DOMAIN or entry in batteries.values():
            continue
        if entry.state is not ConfigEntryState.LOADED:
            raise _refusal("not_loaded", entry.title)
        battery = cast("HomeBatteryConfigEntry", entry)
        if battery.runtime_data.battery.setpoint_limits is None:
            raise _refusal("not_controllable", battery.title)
        batteries[device.id] = battery
    if not batteries:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="no_battery"
        )
    return batteries


def _refusal(key: str, device: str) -> ServiceValidationError:
    return ServiceValidationError(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders={"device": device},
    )


def _devices(call: ServiceCall) -> list[dr.DeviceEntry | dr.ChildDeviceEntry]:
    """Return the devices that an action names, or whose entities it names."""
    entities, devices = er.async_get(call.hass), dr.async_get(call.hass)
    selected = async_extract_referenced_entity_ids(
        call.hass, TargetSelection(call.data)
    )
    ids = set(selected.referenced_devices)
    for entity_id in selected.referenced | selected.indirectly_referenced:
        if (entity := entities.async_get(entity_id)) and entity.device_id:
            ids.add(entity.device_id)
    return [device for each in sorted(ids) if (device := devices.async_get(each))]
