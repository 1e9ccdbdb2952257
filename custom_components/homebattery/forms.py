"""Forms made from the fields of a driver, and the values read from them."""

from collections.abc import Container, Iterable, Mapping, Sequence
import re
from typing import Any, Final

from homeassistant.const import (
    CONF_HOST,
    CONF_NAME,
    CONF_PASSWORD,
    CONF_PORT,
    CONF_USERNAME,
    UnitOfEnergy,
    UnitOfPower,
)
from homeassistant.data_entry_flow import section
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
import probatio as vol

from .const import CONF_LOGGER_SERIAL
from .drivers.address import is_host
from .drivers.battery.base import Choice, SetupField
from .drivers.battery.export import Export
from .drivers.battery.sunshine import Sunshine
from .drivers.solarman.discovery import LARGEST_SERIAL, Logger

SECTION_ADVANCED: Final = "advanced"
_SERIAL: Final = re.compile(r"[0-9]{1,10}")
_DONGLE: Final = re.compile(r"[0-9A-Z_-]{1,32}")


def number_box(lowest: int, highest: int, unit: str | None = None) -> vol.All[Any]:
    """Return a box for a whole number."""
    config = NumberSelectorConfig(
        min=lowest, max=highest, step=1, mode=NumberSelectorMode.BOX
    )
    if unit is not None:
        config["unit_of_measurement"] = unit
    return vol.All(NumberSelector(config), vol.Coerce(int))


_TEXT: Final = TextSelector()
_UNIT_ID: Final = number_box(0, 255)
SELECTORS: Final[Mapping[str, object]] = {
    CONF_HOST: _TEXT,
    CONF_PORT: number_box(1, 65535),
    "unit_id": _UNIT_ID,
    "battery_unit_id": _UNIT_ID,
    "grid_unit_id": _UNIT_ID,
    "pv_unit_id": _UNIT_ID,
    "framing": SelectSelector(
        SelectSelectorConfig(options=["tcp", "rtu"], translation_key="framing")
    ),
    "export": SelectSelector(
        SelectSelectorConfig(options=list(Export), translation_key="export")
    ),
    "sunshine": SelectSelector(
        SelectSelectorConfig(options=list(Sunshine), translation_key="sunshine")
    ),
    "counter_unit": SelectSelector(
        SelectSelectorConfig(
            options=["automatic", "tenths", "whole"], translation_key="counter_unit"
        )
    ),
    # Users type the printed number, which may have letters: see `_logger_serial`.
    CONF_LOGGER_SERIAL: vol.All(vol.Coerce(str), _TEXT),
    CONF_USERNAME: _TEXT,
    CONF_PASSWORD: TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD)),
    CONF_NAME: _TEXT,
    "battery_capacity": number_box(1, 10_000, UnitOfEnergy.KILO_WATT_HOUR),
    "rated_power": number_box(100, 500_000, UnitOfPower.WATT),
    "pv_peak": number_box(0, 500_000, UnitOfPower.WATT),
    "mean_load": number_box(0, 500_000, UnitOfPower.WATT),
}
"""The selector of each field that a driver may have, of the name, and of each option
that is no switch."""
NAME_FIELD: Final = SetupField(CONF_NAME, required=False)
"""The name of a new battery, which becomes the title of its entry."""


def form_schema(
    fields: tuple[SetupField, ...],
    known: Mapping[str, Any],
    selectors: Mapping[str, object] = SELECTORS,
    errors: Container[str] = (),
) -> vol.Schema:
    """Return a form with these fields, filled in with the known values.

    The section is open when a field in it has an error, or a value that is not its
    default.
    """

    def form(*, advanced: bool) -> dict[vol.Marker, object]:
        return {
            _marker(field, known): selectors[field.name]
            for field in fields
            if field.advanced == advanced and not field.generated
        }

    schema: dict[vol.Marker, object] = form(advanced=False)
    if in_section := form(advanced=True):
        has_something = any(
            field.name in errors or _value(field, known) != field.default
            for field in fields
            if field.advanced
        )
        # The frontend would show a default of the section instead of what its fields
        # have, so there is none.
        schema[vol.Optional(SECTION_ADVANCED)] = section(
            vol.Schema(in_section), {"collapsed": not has_something}
        )
    return vol.Schema(schema)


def _value(field: SetupField, known: Mapping[str, Any]) -> Any:
    """Return the value of a field: the known one, else its default, else None."""
    value = known.get(field.name)
    return field.default if value is None else value


def _marker(field: SetupField, known: Mapping[str, Any]) -> vol.Marker:
    """Return the marker of a field, with the value that is suggested for it."""
    suggested = _value(field, known)
    if field.required and field.default is not None:
        return vol.Required(field.name, default=suggested)
    kind = vol.Required if field.required else vol.Optional
    return kind(field.name, description={"suggested_value": suggested})


def flatten(
    user_input: Mapping[str, Any],
    fields: tuple[SetupField, ...],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values of a form, those of its section among them.

    A field that was emptied is not sent. A section that is not sent stays as it was, and
    so does a generated one.
    """
    in_view = {key: user_input[key] for key in user_input if key != SECTION_ADVANCED}
    advanced = user_input.get(SECTION_ADVANCED)
    values = {
        field.name: _value(field, before)
        for field in fields
        if field.generated or (advanced is None and field.advanced)
    }
    unsent = {name: values[name] for name in values if values[name] is not None}
    return {**in_view, **(advanced or {}), **unsent}


def errors_in_view(
    fields: tuple[SetupField, ...], errors: Mapping[str, str]
) -> dict[str, str]:
    """Return errors where the frontend shows them: inside a section it shows none."""
    in_section = {field.name for field in fields if field.advanced}
    return {
        SECTION_ADVANCED if name in in_section else name: error
        for name, error in errors.items()
    }


def parse_setup(typed: Mapping[str, Any], errors: dict[str, str]) -> dict[str, Any]:
    """Return the typed setup of a device; put invalid fields into `errors`."""
    setup = dict(typed)
    if CONF_HOST in setup:
        host = setup[CONF_HOST] = setup[CONF_HOST].strip()
        if not is_host(host):
            errors[CONF_HOST] = "invalid_host"
    if printed := str(setup.pop(CONF_LOGGER_SERIAL, "")).strip():
        setup[CONF_LOGGER_SERIAL] = serial = _logger_serial(printed)
        if serial == printed:
            errors[CONF_LOGGER_SERIAL] = "invalid_logger_serial"
    return setup


def _logger_serial(typed: str) -> int | str:
    """Return the serial number of a logger; as it was typed if that is not valid."""
    if _SERIAL.fullmatch(typed) and 0 < int(typed) <= LARGEST_SERIAL:
        return int(typed)
    return typed


def dongle_serial(username: str) -> str:
    """Return the user name of a Sessy, its dongle's serial number, as it is printed."""
    return username.strip().upper()


def announced_dongle(properties: Mapping[str, Any]) -> str | None:
    """Return the serial number that a dongle announces; None without a proper one."""
    serial = dongle_serial(str(properties.get("serial") or ""))
    return serial if _DONGLE.fullmatch(serial) else None


def logger_selector(loggers: Iterable[Logger]) -> SelectSelector:
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


def choice_schema(
    choices: Mapping[str, Sequence[Choice]], known: Mapping[str, Any]
) -> vol.Schema:
    """Return a form with a list for each field; a field without a value is optional."""

    def marker(name: str) -> vol.Marker:
        if (value := known.get(name)) is None:
            return vol.Optional(name)
        values = [choice.value for choice in choices[name]]
        return vol.Required(name, default=str(value if value in values else values[0]))

    return vol.Schema(
        {
            marker(name): SelectSelector(
                SelectSelectorConfig(
                    options=[
                        SelectOptionDict(value=str(choice.value), label=choice.text)
                        for choice in listed
                    ],
                    mode=SelectSelectorMode.LIST,
                )
            )
            for name, listed in choices.items()
        }
    )
