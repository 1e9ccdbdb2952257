"""The views that docs/dashboard.md has to paste."""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Any

from homeassistant.util.yaml import parse_yaml

PAGE = Path(__file__).parents[1] / "docs" / "dashboard.md"


def views_to_paste() -> list[dict[str, Any]]:
    """Return all views of the page, as its user pastes them one after the other."""
    _, _, section = PAGE.read_text("utf-8").partition("## As cards of your own")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    views: Any = parse_yaml("".join(blocks))
    return list(views)


def cards(views: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the cards of views."""
    for view in views:
        for section in view["sections"]:
            yield from section["cards"]


def entities_on(views: list[dict[str, Any]]) -> list[str]:
    """Return the ids of the entities that cards of views show."""
    shown = [
        row if isinstance(row, str) else row.get("entity")
        for card in cards(views)
        for row in [card, *card.get("entities", [])]
    ]
    return [entity_id for entity_id in shown if entity_id]


def named_entities(views: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the ids of the entities that have a name on a card, each with that name."""
    for card in cards(views):
        for row in [card, *card.get("entities", [])]:
            if "entity" in row and "attribute" not in row:
                yield row["entity"], row["name"]
