"""Forms of a flow, filled in as Home Assistant's frontend does.

What stands on a form before anything is typed is that of `computeInitialHaFormData`, and
what is sent, or not, is that of `step-flow-form` (both in the frontend's repository).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from . import DemoError

type Field = Mapping[str, Any]
type Values = dict[str, Any]

_EMPTY: Final = (None, "")
_SECTION: Final = "expandable"
_OF_TYPE: Final = {"boolean": False, "string": "", "integer": 0, "float": 0.0}


class FormError(DemoError):
    """The frontend would not let a user send this."""


def prefilled(fields: Iterable[Field]) -> Values:
    """Return the first values of a form; those of a section are by its name."""
    values = {field["name"]: _prefilled_value(field) for field in fields}
    return {name: value for name, value in values.items() if value is not None}


def fill_in(fields: list[Field], typed: Mapping[str, Any]) -> Values:
    """Return the values that are sent when `typed` is typed into the fields.

    Fields may be in sections; None empties one. Raises FormError while a required one
    is empty.
    """
    if unknown := typed.keys() - _names(fields):
        raise FormError(f"the form has no {', '.join(sorted(unknown))}")
    values = _typed_over(fields, prefilled(fields), typed)
    if missing := _missing(fields, values):
        raise FormError(f"not all required fields are filled in: {', '.join(missing)}")
    return {name: value for name, value in values.items() if value not in _EMPTY}


def _prefilled_value(field: Field) -> Any:
    """Return the first value of a field; None if it is empty."""
    suggested = (field.get("description") or {}).get("suggested_value")
    if suggested is not None:
        return suggested
    if "default" in field:
        # Even that of a section, instead of what its own fields have.
        return field["default"]
    if field.get("type") == _SECTION:
        return prefilled(field["schema"]) or ({} if field["required"] else None)
    return _first_value(field) if field["required"] else None


def _first_value(field: Field) -> Any:
    """Return the frontend's value for a required field that has none."""
    if (kind := field.get("type")) in _OF_TYPE:
        return field.get("valueMin", _OF_TYPE[kind])
    [(kind, config)] = field["selector"].items()
    match kind:
        case "text":
            return ""
        case "boolean":
            return False
        case "number":
            return config.get("min", 0)
        case "select":
            first = next(iter(config["options"]), None)
            return first["value"] if isinstance(first, dict) else first
    raise FormError(f"a field of an unknown kind: {kind}")


def _names(fields: Iterable[Field]) -> set[str]:
    """Return the names of all fields, those in sections among them."""
    return {
        name
        for field in fields
        for name in (
            _names(field["schema"])
            if field.get("type") == _SECTION
            else {str(field["name"])}
        )
    }


def _typed_over(
    fields: Iterable[Field], values: Mapping[str, Any], typed: Mapping[str, Any]
) -> Values:
    """Return the values of a form after something was typed."""
    changed = dict(values)
    for field in fields:
        name = field["name"]
        if field.get("type") != _SECTION:
            if name in typed:
                changed[name] = typed[name]
        elif typed.keys() & _names(field["schema"]):
            inside = _typed_over(field["schema"], values.get(name, {}), typed)
            changed[name] = {
                key: inside[key] for key in inside if inside[key] is not None
            }
    return changed


def _missing(fields: Iterable[Field], values: Mapping[str, Any]) -> list[str]:
    """Return the names of the required fields that are empty."""
    missing: list[str] = []
    for field in fields:
        name = field["name"]
        if field["required"] and values.get(name) in _EMPTY:
            missing.append(name)
        elif field.get("type") == _SECTION and name in values:
            missing += _missing(field["schema"], values[name])
    return missing
