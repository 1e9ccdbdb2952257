"""Diagnostics of a battery, without private data.

`tests/simulators/replay.py` simulates the device of such a file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
import re
from typing import Any, Final

from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_USERNAME
from homeassistant.core import HomeAssistant
from homeassistant.loader import async_get_integration
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .control import Control
from .coordinator import BatteryCoordinator
from .data import HomeBatteryConfigEntry
from .drivers.battery.base import Battery
from .drivers.battery.counters import Counted, CounterFilter, Suspect
from .drivers.errors import BatteryError
from .drivers.modbus.recording import is_private
from .drivers.modbus.tcp import PYMODBUS_VERSION
from .drivers.text import printable
from .recent_errors import RecentErrors

_PRIVATE: Final = (CONF_HOST, CONF_USERNAME, CONF_PASSWORD, "logger_serial")
"""The keys of an entry's data that are private; errors may quote their values."""
_SERIAL: Final = re.compile(r"\b[0-9A-Za-z]*\d{7}[0-9A-Za-z]*\b")
"""Matches a word of an error that may be the serial number of yet another device."""


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: HomeBatteryConfigEntry
) -> dict[str, Any]:
    """Return the diagnostics of a battery, for its user to send to others."""
    integration = await async_get_integration(hass, DOMAIN)
    data: dict[str, Any] = {
        "versions": {
            "homebattery": str(integration.version),
            "pymodbus": PYMODBUS_VERSION,
        },
        "entry": {
            "state": entry.state.value,
            "reason": _reason(entry),
            "data": _redacted(entry.data),
            "options": dict(entry.options),
        },
    }
    if entry.state is ConfigEntryState.LOADED:
        runtime = entry.runtime_data
        battery, coordinator = runtime.battery, runtime.coordinator
        secrets = _secrets_of(entry.data, battery)
        data["entry"]["found"] = _redacted(battery.detected_config)
        data |= _battery(battery)
        data["coordinator"] = _coordinator(coordinator)
        data["control"] = _control(runtime.control, battery)
        data["counters"] = _counters(battery.counters, hass.loop.time())
        data["readings"] = _redacted(dict(sorted(coordinator.data.items())))
        data["failures"] = {
            key: _without(secrets, _text(err))
            for key, err in sorted(coordinator.data.failures.items())
        }
        data["recent_errors"] = _errors(coordinator.recent_errors, secrets)
        data["learned"] = dict(battery.learned)
        data["raw"] = battery.raw
    return {key: _bounded(value) for key, value in data.items()}


def _bounded(data: Any) -> Any:
    """Return data for a JSON file, all texts printable and short."""
    match data:
        case datetime():
            return data.isoformat()
        case str():
            return printable(data)
        case Mapping():
            return {_bounded(key): _bounded(value) for key, value in data.items()}
        case list() | tuple():
            return [_bounded(each) for each in data]
    return data


def _reason(entry: HomeBatteryConfigEntry) -> str | None:
    """Return the reason why an entry is not set up."""
    if entry.error_reason_translation_key == "another_device":
        # The text has the serial numbers of both.
        return entry.error_reason_translation_key
    return _without(_secrets_of(entry.data), entry.reason)


def _battery(battery: Battery) -> dict[str, Any]:
    limits = battery.setpoint_limits
    return {
        "identity": _redacted(asdict(battery.identity)),
        "parts": [
            _redacted({**asdict(part), "keys": sorted(part.keys)})
            for part in battery.parts
        ],
        "settings": {key: str(value) for key, value in battery.settings.items()},
        "limits": {
            "setpoint": None if limits is None else list(limits),
            "max_charge_power": battery.max_charge_power,
            "max_discharge_power": battery.max_discharge_power,
        },
    }


def _coordinator(coordinator: BatteryCoordinator) -> dict[str, Any]:
    interval, fresh = coordinator.update_interval, coordinator.last_fresh
    return {
        "last_update_success": coordinator.last_update_success,
        "last_fresh": None if fresh is None else fresh.isoformat(),
        "interval": None if interval is None else interval.total_seconds(),
        "now": dt_util.utcnow().isoformat(),
    }


def _control(control: Control, battery: Battery) -> dict[str, Any]:
    expires = control.expires
    phases = range(1, battery.setpoint_phases + 1)
    return {
        "mode": control.mode,
        "status": control.status,
        "reason": control.reason,
        "requested_power": control.requested_power,
        "requested_current": control.requested_current,
        "requested_phases": {
            str(phase): control.requested_phase(phase) for phase in phases
        },
        "granted_power": control.granted_power,
        "limited_by": control.limit_reason,
        "expires": None if expires is None else expires.isoformat(),
        "found": battery.snapshot,
        "times_taken_over": control.takeovers.count,
        "flash_writes_today": control.flash_writes_today,
    }


def _counters(counters: CounterFilter, now: float) -> dict[str, Any]:
    """Return the accepted and the suspect value of each counter; `now` is loop time."""
    accepted, suspect = counters.accepted, counters.suspect
    return {
        key: _counter(accepted.get(key), suspect.get(key), now)
        for key in sorted({*accepted, *suspect})
    }


def _counter(
    accepted: Counted | None, suspect: Suspect | None, now: float
) -> dict[str, Any]:
    def when(time: float) -> str:
        return (dt_util.utcnow() - timedelta(seconds=now - time)).isoformat()

    return {
        "accepted": accepted
        and {
            "value": accepted.value,
            "at": when(accepted.at),
            "offset": accepted.offset,
        },
        "suspect": suspect and {"value": suspect.value, "since": when(suspect.since)},
    }


def _errors(errors: RecentErrors, secrets: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {
            "time": error.time.isoformat(),
            "count": error.count,
            "error": _without(secrets, error.text),
        }
        for error in errors
    ]


def _text(err: BatteryError) -> str:
    return f"{type(err).__name__}: {err}"


# Redaction --------------------------------------------------------------------


def _redacted(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with the values of private keys redacted."""
    private = {key for key in data if key in _PRIVATE or is_private(key)}
    return async_redact_data(dict(data), {*private, "name"})


def _secrets_of(
    setup: Mapping[str, Any], battery: Battery | None = None
) -> tuple[str, ...]:
    """Return the private values that texts must not quote, the longest first."""
    secrets: set[object] = {setup.get(key) for key in _PRIVATE}
    if battery is not None:
        secrets |= {battery.detected_config.get(key) for key in _PRIVATE}
        secrets |= {battery.identity.serial_number, battery.identity.name}
    texts = {str(each) for each in secrets if each}
    # Users may have typed in lower case what the device has in upper case.
    texts |= {text.upper() for text in texts}
    return tuple(sorted(texts, key=len, reverse=True))


def _without(secrets: Iterable[str], text: str | None) -> str | None:
    """Return an error's text without secrets."""
    if text is None:
        return None
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return _SERIAL.sub(REDACTED, text)
