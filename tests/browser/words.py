"""The English texts of the integration, by their place in its translations."""

import json
from typing import Any

from scripts.demonstration import DOMAIN, ROOT


def english(place: str, **placeholders: str) -> str:
    """Return a text: `english("config.error.invalid_auth")`."""
    file = ROOT / "custom_components" / DOMAIN / "translations" / "en.json"
    text: Any = json.loads(file.read_text())
    for part in place.split("."):
        text = text[part]
    return str(text).format(**placeholders)


def field_of(battery_type: str, name: str) -> str:
    """Return the label of a field on the form of a kind of battery."""
    step = f"config.step.{battery_type}"
    try:
        return english(f"{step}.data.{name}")
    except KeyError:
        return english(f"{step}.sections.advanced.data.{name}")


def option_of(name: str) -> str:
    """Return the label of an option on its form."""
    try:
        return english(f"options.step.init.data.{name}")
    except KeyError:
        return english(f"options.step.init.sections.advanced.data.{name}")


def entity(platform: str, key: str) -> str:
    """Return the name of an entity."""
    return english(f"entity.{platform}.{key}.name")


def state(platform: str, key: str, value: str) -> str:
    """Return the text of a state of an entity."""
    return english(f"entity.{platform}.{key}.state.{value}")


def page_text(language: str, name: str) -> str:
    """Return a text of the dashboard strategy's own."""
    script = ROOT / "custom_components" / DOMAIN / "frontend" / "strategy.js"
    _, _, tables = script.read_text().partition("const TEXTS = ")
    texts: dict[str, dict[str, str]]
    texts, _ = json.JSONDecoder().raw_decode(tables)
    return texts[language][name]
