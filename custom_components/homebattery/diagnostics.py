"""What helps to understand a battery from afar, without what is private."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PASSWORD, CONF_USERNAME
from homeassistant.core import HomeAssistant

from .drivers.battery import BatteryError, Value

if TYPE_CHECKING:
    from . import HomeBatteryConfigEntry

_PRIVATE: Final = {
    CONF_HOST,
    CONF_MAC,
    CONF_PASSWORD,
    CONF_USERNAME,
    "logger_serial",
    "serial_number",
    "grid_meter_serial",
    "custom_name",
    "name",
}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry
) -> dict[str, Any]:
    """Return what is known of a battery, for its owner to send to others."""
    runtime = entry.runtime_data
    battery, coordinator, control = (
        runtime.battery,
        runtime.coordinator,
        runtime.control,
    )
    identity = battery.identity
    limits = battery.setpoint_limits
    data = {
        "entry": {
            "data": dict(entry.data),
            "options": dict(entry.options),
        },
        "identity": {
            "manufacturer": identity.manufacturer,
            "model": identity.model,
            "name": identity.name,
            "serial_number": identity.serial_number,
            "firmware": identity.firmware,
            "hardware": identity.hardware,
        },
        "settings": {key: str(value) for key, value in battery.settings.items()},
        "setpoint_limits": None if limits is None else list(limits),
        "last_update_success": coordinator.last_update_success,
        "readings": _sorted(coordinator.data),
        "failures": {
            key: _without_host(err, battery.address)
            for key, err in sorted(coordinator.data.failures.items())
        },
        "control": {
            "mode": control.mode,
            "status": control.status,
            "reason": control.reason,
            "expires": control.expires,
            "flash_writes_today": control.flash_writes_today,
            "requested_power": control.requested_power,
            "requested_current": control.requested_current,
            "granted_power": control.granted_power,
            "found": battery.found,
        },
    }
    return async_redact_data(data, _PRIVATE)


def _sorted(readings: Mapping[str, Value]) -> dict[str, Value]:
    return dict(sorted(readings.items()))


def _without_host(err: BatteryError, host: str) -> str:
    return f"{type(err).__name__}: {err}".replace(host, REDACTED)
