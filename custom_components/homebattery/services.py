"""Actions: hold batteries at a power, and release them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
import logging
from typing import Final, cast

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.service import async_extract_config_entry_ids
from homeassistant.util.json import JsonObjectType
import probatio as vol

from .const import DOMAIN, LONGEST_SETPOINT_TIMEOUT
from .control.lease import Outcome
from .data import HomeBatteryConfigEntry
from .errors import translating

_LOGGER = logging.getLogger(__name__)

SET_POWER: Final = "set_power"
RELEASE: Final = "release"
ATTR_POWER: Final = "power"
ATTR_DURATION: Final = "duration"


def _time_period(value: object) -> timedelta:
    """Return the duration that a value stands for; refuse one beyond all measure."""
    try:
        return cv.positive_time_period(value)
    except OverflowError as err:
        raise vol.Invalid("too long a time period") from err


_TARGET: Final = cv.make_entity_service_schema({})
SET_POWER_SCHEMA: Final = cv.make_entity_service_schema(
    {
        vol.Required(ATTR_POWER): vol.All(vol.Coerce(float), vol.Range(-1e6, 1e6)),
        vol.Optional(ATTR_DURATION): vol.All(
            _time_period,
            vol.Range(
                min=timedelta(seconds=1),
                max=timedelta(seconds=LONGEST_SETPOINT_TIMEOUT),
            ),
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
        schema=SET_POWER_SCHEMA,
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
    """Hold batteries at a power, W; return the outcome of each."""
    power, duration = call.data[ATTR_POWER], call.data.get(ATTR_DURATION)
    batteries = await _async_batteries(call)
    for entry in batteries.values():
        entry.runtime_data.control.check_limits(power)

    async def set_power(entry: HomeBatteryConfigEntry) -> JsonObjectType:
        control = entry.runtime_data.control
        return _as_response(entry, await control.async_set_power(power, duration))

    return await _async_at_each(call, batteries, set_power)


async def _async_release(call: ServiceCall) -> ServiceResponse:
    """Release batteries to their own control; return the control mode of each."""

    async def release(entry: HomeBatteryConfigEntry) -> JsonObjectType:
        control = entry.runtime_data.control
        await control.async_release()
        return {"name": entry.title, "control_mode": control.mode}

    return await _async_at_each(call, await _async_batteries(call), release)


async def _async_at_each(
    call: ServiceCall,
    batteries: Mapping[str, HomeBatteryConfigEntry],
    action: Callable[[HomeBatteryConfigEntry], Awaitable[JsonObjectType]],
) -> ServiceResponse:
    """Run an action for all batteries at once; return the answers by device id.

    A failure of one does not stop the others; its error is raised after them.
    """

    async def attempt(entry: HomeBatteryConfigEntry) -> JsonObjectType:
        with translating(call.hass, entry):
            return await action(entry)

    answers: JsonObjectType = {}
    errors: list[BaseException] = []
    for device_id, result in zip(
        batteries,
        await asyncio.gather(*map(attempt, batteries.values()), return_exceptions=True),
        strict=True,
    ):
        if isinstance(result, BaseException):
            errors.append(result)
        else:
            answers[device_id] = result
    for error in errors[1:]:
        _LOGGER.error("%s also failed: %s", call.service, error)
    if errors:
        raise errors[0]
    return {"batteries": answers} if call.return_response else None


def _as_response(entry: HomeBatteryConfigEntry, outcome: Outcome) -> JsonObjectType:
    return {
        "name": entry.title,
        "requested": outcome.requested,
        "granted": outcome.granted,
        "limited_by": outcome.limit_reason,
        "expires": outcome.expires.isoformat() if outcome.expires else None,
    }


async def _async_batteries(call: ServiceCall) -> dict[str, HomeBatteryConfigEntry]:
    """Return the batteries that an action is for, by their device id.

    Raises ServiceValidationError when there is none, or one cannot be controlled now:
    before anything is written to any of them.
    """
    batteries: dict[str, HomeBatteryConfigEntry] = {}
    for entry_id in sorted(await async_extract_config_entry_ids(call)):
        entry = call.hass.config_entries.async_get_entry(entry_id)
        if entry is None or entry.domain != DOMAIN:
            continue
        if entry.state is not ConfigEntryState.LOADED:
            raise _refusal("not_loaded", entry.title)
        battery = cast("HomeBatteryConfigEntry", entry)
        if battery.runtime_data.battery.setpoint_limits is None:
            raise _refusal("not_controllable", battery.title)
        batteries[battery.runtime_data.device_id] = battery
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
