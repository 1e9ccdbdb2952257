"""The translation of the driver library's errors for users."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError

from .const import CONF_LOGGER_SERIAL, CONF_UNIT_ID, DOMAIN
from .drivers.battery.base import Battery, SetupField
from .drivers.errors import (
    AnotherDeviceError,
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    ConnectionClosedError,
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    FlashBudgetError,
    InvalidValueError,
    LoggerSerialNeededError,
    LoggerSerialRefusedError,
    ModbusSpokenError,
    NotConfirmedError,
    NotKeptError,
    NotSupportedError,
    PermissionDeniedError,
    ProtocolError,
    RequestTimeoutError,
    SolarmanSpokenError,
    StartingError,
    TakenOverError,
    UndetectedUnitError,
    UnitAbsentError,
    UnknownHostError,
    WrongDeviceError,
    WrongLoggerError,
    WrongUnitError,
)
from .recent_errors import RecentErrors

BASE: Final = "base"
"""The key of errors that belong to none of the fields of a form."""
UNKNOWN: Final = "unknown"


class _Words(NamedTuple):
    """The translation key of a kind of error, and the field of a form it is about."""

    kind: type[BatteryError]
    key: str
    field: str = BASE


# The same keys name an error of the configuration flow and an exception. Subclasses
# stand before their bases.
_WORDS: Final = (
    _Words(UnknownHostError, "unknown_host", CONF_HOST),
    _Words(ConnectionClosedError, "connection_closed"),
    _Words(CannotConnectError, "cannot_connect"),
    _Words(RequestTimeoutError, "timeout"),
    _Words(AuthenticationError, "invalid_auth", CONF_PASSWORD),
    _Words(WrongUnitError, "unit_absent", CONF_UNIT_ID),
    _Words(UndetectedUnitError, "unit_not_found", CONF_UNIT_ID),
    _Words(LoggerSerialRefusedError, "logger_serial_refused", CONF_LOGGER_SERIAL),
    _Words(LoggerSerialNeededError, "logger_serial_needed", CONF_LOGGER_SERIAL),
    _Words(WrongLoggerError, "wrong_logger_serial", CONF_LOGGER_SERIAL),
    _Words(SolarmanSpokenError, "solarman_spoken"),
    _Words(ModbusSpokenError, "modbus_spoken"),
    _Words(AnotherDeviceError, "another_device", CONF_HOST),
    _Words(WrongDeviceError, "wrong_device", CONF_HOST),
    _Words(ProtocolError, "protocol", CONF_PORT),
    _Words(UnitAbsentError, "unit_absent", CONF_UNIT_ID),
    _Words(PermissionDeniedError, "permission_denied"),
    _Words(DeviceBusyError, "busy"),
    _Words(StartingError, "busy"),
    _Words(DeviceFailureError, "device_failure"),
    _Words(DeviceRefusedError, "refused"),
    _Words(NotSupportedError, "not_supported"),
    _Words(TakenOverError, "taken_over"),
    _Words(NotConfirmedError, "not_confirmed"),
    _Words(FlashBudgetError, "flash_budget"),
    _Words(NotKeptError, "not_kept"),
    _Words(InvalidValueError, "invalid_value"),
)
_OTHER: Final = _Words(BatteryError, UNKNOWN)

# Where a unit ID may be left empty, that is the first thing to try.
_IF_OPTIONAL: Final[Mapping[str, str]] = {"unit_absent": "optional_unit_absent"}


def _words_for(err: BatteryError) -> _Words:
    return next((words for words in _WORDS if isinstance(err, words.kind)), _OTHER)


def error_key(err: BatteryError) -> str:
    """Return the translation key of an error."""
    return _words_for(err).key


def form_error(err: BatteryError, fields: Iterable[SetupField]) -> tuple[str, str]:
    """Return the field of a form that an error is about, and its translation key.

    `fields` are those on the form; an error about none of them is about the base.
    """
    _, key, name = _words_for(err)
    field = next((each for each in fields if each.name == name), None)
    if field is None:
        return BASE, key
    return name, key if field.required else _IF_OPTIONAL.get(key, key)


def form_placeholders(
    err: BatteryError, driver: type[Battery], setup: Mapping[str, Any]
) -> dict[str, str]:
    """Return the placeholders of an error's text: the values tried, but no secret."""
    tried = {field.name: field.default for field in driver.fields} | dict(setup)
    tried.pop(CONF_PASSWORD, None)
    return {name: str(value) for name, value in tried.items()} | dict(err.details)


def translated[ErrorT: HomeAssistantError](
    kind: type[ErrorT], device: str, err: BatteryError
) -> ErrorT:
    """Return the Home Assistant error that names the device and the error."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=error_key(err),
        translation_placeholders={"device": device, "error": str(err)},
    )


@contextmanager
def translating(hass: HomeAssistant, entry: ConfigEntry) -> Iterator[None]:
    """Raise the errors of a battery as translated errors of Home Assistant."""
    recent: RecentErrors = entry.runtime_data.coordinator.recent_errors
    try:
        yield
    except InvalidValueError as err:
        raise translated(ServiceValidationError, entry.title, err) from err
    except AuthenticationError as err:
        recent.note(err)
        entry.async_start_reauth(hass)
        raise translated(HomeAssistantError, entry.title, err) from err
    except BatteryError as err:
        recent.note(err)
        raise translated(HomeAssistantError, entry.title, err) from err
