"""Actions, texts and icons have the form that Home Assistant reads.

tests/integration/test_translations.py checks that exactly the needed ones exist.
"""

from collections.abc import Iterator
from importlib.util import find_spec
import json
from pathlib import Path
import re
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.helpers.service import async_get_all_descriptions
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml_dict
import pytest

from custom_components.homebattery.const import DOMAIN

from . import FOLDER

LANGUAGES: Final = sorted((FOLDER / "translations").glob("*.json"))


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


def texts_in(texts: dict[str, Any]) -> Iterator[str]:
    for value in texts.values():
        if isinstance(value, dict):
            yield from texts_in(value)
        else:
            yield value


@pytest.mark.parametrize(
    "path", sorted(FOLDER.rglob("*.json")), ids=lambda path: path.name
)
def test_no_key_is_there_twice(path: Path) -> None:
    """JSON parsers keep the last of two equal keys, without an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), names
        return dict(pairs)

    assert json.loads(path.read_text("utf-8"), object_pairs_hook=once)


# Actions

ACTIONS: Final = load_yaml_dict(FOLDER / "services.yaml")


async def test_home_assistant_describes_each_action_and_its_fields(
    hass: HomeAssistant,
) -> None:
    """Home Assistant ignores the whole file if it cannot read a part."""
    assert await async_setup_component(hass, DOMAIN, {})
    described = (await async_get_all_descriptions(hass))[DOMAIN]
    assert described.keys() == ACTIONS.keys()
    for name, action in ACTIONS.items():
        fields = action.get("fields", {})
        assert described[name]["fields"].keys() == fields.keys()
        assert described[name]["target"].keys() == action["target"].keys()
        assert all("selector" in field for field in fields.values())


# Texts


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_placeholders_are_such_as_are_filled_in(path: Path) -> None:
    """The frontend shows no text that has an unmatched brace.

    References to other texts, [%key:…%], are resolved only in Home Assistant Core.
    """
    for text in texts_in(read(path)):
        rest = re.sub(r"{[a-z_]\w*}", "", text)
        assert not re.search(r"[{}]|\[%", rest), text


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_states_are_keys_and_their_texts_are_whole(path: Path) -> None:
    """Home Assistant fills in no placeholders in states."""
    for of_platform in read(path)["entity"].values():
        for entity in of_platform.values():
            attributes = entity.get("state_attributes", {}).values()
            for each in (entity, *attributes):
                for state, text in each.get("state", {}).items():
                    assert re.fullmatch(r"[a-z0-9]+([_-][a-z0-9]+)*", state)
                    assert "{" not in text


# Icons

ICONS: Final = read(FOLDER / "icons.json")


def icons_of_the_frontend() -> set[str]:
    spec = find_spec("hass_frontend")
    assert spec is not None
    assert spec.origin is not None
    listed = (Path(spec.origin).parent / "static/mdi/iconList.json").read_text("utf-8")
    return {f"mdi:{icon['name']}" for icon in json.loads(listed)}


def test_each_icon_is_one_that_the_frontend_has() -> None:
    """The frontend shows an empty space for an unknown icon."""
    assert set(texts_in(ICONS)) <= icons_of_the_frontend()


def test_no_state_repeats_the_icon_of_its_entity() -> None:
    for of_platform in ICONS["entity"].values():
        for key, icons in of_platform.items():
            others = icons.get("state", {}) | icons.get("range", {})
            assert icons.get("default") not in others.values(), key
