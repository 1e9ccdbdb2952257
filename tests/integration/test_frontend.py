"""The dashboard strategy: it is served to browsers, and its texts are complete.

What it makes of the batteries is seen in a browser (tests/browser/test_dashboard.py).
"""

import hashlib
from http import HTTPStatus
import json
from pathlib import Path
import re
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.loader import async_get_integration
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.drivers import SimulatedBattery
from tests.cards_to_paste import cards, entities_on, named_entities, views_to_paste
from tests.home import Home

FOLDER: Final = Path(__file__).parents[2] / "custom_components" / DOMAIN
SCRIPT: Final = (FOLDER / "frontend" / "strategy.js").read_text("utf-8")
LANGUAGES: Final = sorted(file.stem for file in FOLDER.glob("translations/*.json"))
ENTITIES: Final = json.loads((FOLDER / "translations" / "en.json").read_text())[
    "entity"
]

CARDS: Final = {
    *("button", "energy-distribution", "entities", "grid", "heading", "history-graph"),
    *("power-sankey", "statistic", "statistics-graph", "tile"),
}
"""The types of the cards it makes, and of their sections: all of Home Assistant's core."""
PARTS: Final = {
    *("attribute", "bar-gauge", "energy/get_prefs", "entity", "numeric-input"),
    "sections",
}
"""The types of views, of what is on a card, and of what it asks Home Assistant for."""
WORDS: Final = {
    *("amber", "blue", "green", "grey", "orange", "primary", "purple", "red"),
    *("bar", "change", "dashboard", "day", "inline", "navigate", "slider", "subtitle"),
    *("not", "numeric_state", "on", "or", "reason", "state", "unavailable", "unknown"),
    *("config", "device_name", "devices", "diagnostic", "history", "locale", "user"),
    *("recorder", "release", "set_power"),
}
"""Other words of Home Assistant: colours, conditions, states, actions, its parts."""


def table(name: str) -> Any:
    """Return a table of the script, which is JSON."""
    declared = re.search(
        rf"^const {name} = (\{{.*?^\}});$", SCRIPT, re.DOTALL | re.MULTILINE
    )
    assert declared is not None
    return json.loads(declared[1])


def literals() -> set[str]:
    """Return the texts in the code of the script, without its tables and comments."""
    tables = r"^const (?:TEXTS|KEYS) = \{.*?^\};$"
    code = re.sub(tables, "", SCRIPT, flags=re.DOTALL | re.MULTILINE)
    comments = r"/\*.*?\*/|//[^\n]*"
    quoted = r"""(?P<mark>["'`])(?P<text>.*?)(?P=mark)"""
    parts = re.finditer(rf"{quoted}|{comments}", code, re.DOTALL)
    return {part["text"] for part in parts if part["mark"]}


# Served


async def test_the_pages_load_the_strategy_by_a_url_that_changes_with_it(
    hass: HomeAssistant,
    hass_client_no_auth: ClientSessionGenerator,
    hass_storage: dict[str, Any],
) -> None:
    done = {"done": ["user", "core_config", "analytics", "integration"]}
    hass_storage["onboarding"] = {"version": 4, "data": done}
    assert await async_setup_component(hass, DOMAIN, {})
    assert await async_setup_component(hass, "frontend", {})
    await hass.async_block_till_done()
    client = await hass_client_no_auth()
    page = await (await client.get("/")).text()
    version = (await async_get_integration(hass, DOMAIN)).version
    digest = hashlib.sha256(SCRIPT.encode()).hexdigest()[:8]
    url = f"/{DOMAIN}/strategy.js?v={version}-{digest}"
    assert f'import("{url}")' in page

    response = await client.get(url)
    assert response.status == HTTPStatus.OK
    assert "javascript" in response.content_type
    assert await response.text() == SCRIPT


async def test_without_a_frontend_nothing_is_served(hass: HomeAssistant) -> None:
    assert await async_setup_component(hass, DOMAIN, {})
    await hass.async_block_till_done()
    assert "frontend" not in hass.config.components
    assert "http" not in hass.config.components


# Its tables


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_of_the_integration_has_all_texts(language: str) -> None:
    texts, english = table("TEXTS")[language], table("TEXTS")["en"]
    assert list(texts) == list(english)
    assert all(text.strip() for text in texts.values())


def test_texts_are_used_and_there_are_no_others() -> None:
    used = set(re.findall(r"\bt\.([a-z_]+)", SCRIPT))
    used |= set(re.findall(r'word: "([a-z_]+)"', SCRIPT))
    used |= set(re.findall(r"\)\.(description)", SCRIPT))
    assert used == set(table("TEXTS")["en"])


def test_no_text_of_another_language_is_english() -> None:
    texts = table("TEXTS")
    assert not [
        (language, key)
        for language in texts
        for key, text in texts[language].items()
        if language != "en" and text == texts["en"][key]
    ]


# Its keys and words


def test_keys_are_those_of_entities() -> None:
    used = {
        (domain, key)
        for domain, cards in table("KEYS").items()
        for keys in cards.values()
        for key in keys
    }
    used |= set(re.findall(r'\.id\("([a-z_]+)", "([a-z_]+)"\)', SCRIPT))
    for domain, keys in re.findall(r'\.ids\("([a-z_]+)", \[(.*?)\]\)', SCRIPT):
        used |= {(domain, key) for key in re.findall(r'"([a-z_]+)"', keys)}
    assert used
    assert not [
        (domain, key) for domain, key in used if key not in ENTITIES.get(domain, {})
    ]


def test_each_word_in_the_code_is_a_key_or_one_of_home_assistant() -> None:
    """A misspelt key is none of them, wherever it is given."""
    keys = {key for entities in ENTITIES.values() for key in entities}
    groups = {group for cards in table("KEYS").values() for group in cards}
    states = ENTITIES["sensor"]["control_status"]["state"]
    texts = {*table("TEXTS")["en"], *LANGUAGES}
    own = {DOMAIN, *ENTITIES, *states} | keys | groups | texts
    used = {word for word in literals() if re.fullmatch(r"[A-Za-z]\w*", word)}
    assert keys & used
    assert used >= WORDS
    assert not used - own - CARDS - PARTS - WORDS


def test_cards_are_only_those_of_home_assistant() -> None:
    types = set(re.findall(r"""\btype["']?: ["'`]([^"'`]*)""", SCRIPT))
    assert types == CARDS | PARTS
    assert not [text for text in literals() if "custom:" in text]


async def test_a_simulated_battery_is_marked_by_its_model() -> None:
    async with SimulatedBattery() as battery:
        model = battery.identity.model
    assert f'const SIMULATED_MODEL = "{model}";' in SCRIPT


# The same as cards to paste


async def test_entities_on_cards_to_paste_are_there(sessy_home: Home) -> None:
    ids = set(entities_on(views_to_paste()))
    assert ids
    assert not ids.difference(sessy_home.hass.states.async_entity_ids())


async def test_entities_on_cards_to_paste_are_called_as_on_the_page(
    sessy_home: Home,
) -> None:
    words = {*table("TEXTS")["en"].values(), "Sessy"}
    others = [
        (entity_id, name)
        for entity_id, name in named_entities(views_to_paste())
        if name not in words
    ]
    assert others
    for entity_id, name in others:
        state = sessy_home.hass.states.get(entity_id)
        assert state is not None
        assert state.name == f"Sessy {name}"


def test_cards_to_paste_are_of_the_types_on_the_page() -> None:
    types = {card["type"] for card in cards(views_to_paste())}
    assert types
    assert types <= set(re.findall(r'type: "([a-z-]+)"', SCRIPT))
