"""Where errors of the driver library become words for people."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError

from .const import DOMAIN
from .drivers.battery import (
    AuthenticationError,
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceRefusedError,
    FlashBudgetError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    ProtocolError,
    RequestTimeoutError,
    TakenOverError,
    UnitAbsentError,
    WrongDeviceError,
)

if TYPE_CHECKING:
    from .entity import HomeBatteryEntity
    from .recent_errors import RecentErrors

# The same keys name an error of the configuration flow and an exception. Kinds
# before what they are kinds of.
_KEYS: Final[tuple[tuple[type[BatteryError], str], ...]] = (
    (CannotConnectError, "cannot_connect"),
    (RequestTimeoutError, "timeout"),
    (AuthenticationError, "invalid_auth"),
    (WrongDeviceError, "wrong_device"),
    (ProtocolError, "protocol"),
    (UnitAbsentError, "unit_absent"),
    (DeviceBusyError, "busy"),
    (DeviceRefusedError, "refused"),
    (NotSupportedError, "not_supported"),
    (TakenOverError, "taken_over"),
    (NotConfirmedError, "not_confirmed"),
    (FlashBudgetError, "flash_budget"),
    (InvalidValueError, "invalid_value"),
)
UNKNOWN: Final = "unknown"


def error_key(err: BatteryError) -> str:
    """Return the translation key of an error."""
    return next((key for kind, key in _KEYS if isinstance(err, kind)), UNKNOWN)


def translated[ErrorT: HomeAssistantError](
    kind: type[ErrorT], device: str, err: BatteryError
) -> ErrorT:
    """Return the Home Assistant error that says what happened to which device."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=error_key(err),
        translation_placeholders={"device": device, "error": str(err)},
    )


@contextmanager
def translating(hass: HomeAssistant, entry: ConfigEntry) -> Iterator[None]:
    """Turn what goes wrong with a battery into an error that people can read."""
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


def battery_action[EntityT: HomeBatteryEntity, **P](
    action: Callable[Concatenate[EntityT, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[EntityT, P], Coroutine[Any, Any, None]]:
    """Decorate an entity's action: what goes wrong with the device is translated."""

    @wraps(action)
    async def translate(self: EntityT, /, *args: P.args, **kwargs: P.kwargs) -> None:
        with translating(self.hass, self.coordinator.config_entry):
            await action(self, *args, **kwargs)

    return translate
