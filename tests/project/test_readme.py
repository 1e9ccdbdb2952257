"""README and the pages under docs can be followed as they stand.

Commands are checked in `test_commands.py`, ids of entities in `test_entity_ids.py`. Other
examples are run where they belong: those of the library in
`tests/drivers/test_docs.py` and `tests/library/test_installed.py`, the cards of the
dashboard in `tests/integration/test_frontend.py` and `tests/browser/test_dashboard.py`.
"""

from collections.abc import Callable, Iterator
import json
from pathlib import Path
import re
import struct
from typing import Any, Final

from homeassistant.components.energy.helpers import generate_power_sensor_entity_id
from homeassistant.helpers import config_validation as cv
from homeassistant.util.yaml import load_yaml_dict, parse_yaml
import pytest

from custom_components.homebattery.const import DOMAIN
from scripts.demonstration.pictures import FOLDER as PICTURES, MOST_BYTES

from . import FOLDER, ROOT
from .entity_pages import PAGES as BRANDS
from .page_code import blocks
from .test_links import PAGES

README: Final = (ROOT / "README.md").read_text("utf-8")
MOST_WORDS: Final = 1500
"""As `wc -w` counts them: code, tables and addresses, too."""

AUTOMATIONS: Final = ("README.md", "docs/automations.md")
PICTURE: Final = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
IN_HTML: Final = re.compile(r"<img\b[^>]*>")


PLACEHOLDER: Final = re.compile(r"\{\w+\}")


def english(*place: str) -> Any:
    """Return an English text of the integration, or a group of them."""
    texts: Any = json.loads((FOLDER / "translations/en.json").read_text("utf-8"))
    for name in place:
        texts = texts[name]
    return texts


def pattern_of(
    text: str, filling: str, written: Callable[[str], str] = re.escape
) -> str:
    """Return a pattern of a text, as it is written, with a `filling` in its gaps.

    A gap is a placeholder of the text.
    """
    return filling.join(map(written, PLACEHOLDER.split(text)))


def entity_names() -> set[str]:
    """Return the names of all entities."""
    return {
        each["name"]
        for platform in english("entity").values()
        for each in platform.values()
        if "name" in each
    }


# Length and pictures


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def shown() -> list[tuple[Path, str, Path]]:
    """Return where each picture of the project is shown, with its alt text."""
    return [
        (page, alt, (page.parent / target).resolve())
        for page in PAGES
        for alt, target in PICTURE.findall(page.read_text("utf-8"))
        if not target.startswith("https:")
    ]


def test_each_picture_is_shown_and_each_that_is_shown_is_there() -> None:
    assert {picture for *_, picture in shown()} == set(PICTURES.iterdir())


def test_each_picture_is_described_for_those_who_do_not_see_it() -> None:
    assert [page for page, alt, _ in shown() if len(alt.split()) < 5] == []
    assert not [page for page in PAGES if IN_HTML.search(page.read_text("utf-8"))]


@pytest.mark.parametrize(
    "picture", sorted(PICTURES.iterdir()), ids=lambda file: file.stem
)
def test_a_picture_is_light(picture: Path) -> None:
    content = picture.read_bytes()
    signature, width, height = struct.unpack(">8s8x2I", content[:24])
    assert signature == b"\x89PNG\r\n\x1a\n"
    assert width >= 390 and height >= 390
    assert len(content) <= MOST_BYTES


# YAML


@pytest.mark.parametrize("page", AUTOMATIONS)
def test_examples_can_be_pasted(page: str) -> None:
    """The automations among them have a valid form."""
    examples = blocks(ROOT / page, "yaml")
    assert examples
    for example in examples:
        automation = parse_yaml(example)
        assert isinstance(automation, dict)
        cv.SCRIPT_SCHEMA(automation["actions"])
        cv.TRIGGER_SCHEMA(automation.get("triggers", []))
        cv.CONDITIONS_SCHEMA(automation.get("conditions", []))


def actions_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the steps of an automation that are actions of the integration."""
    match value:
        case {"action": str(action)} if action.startswith(f"{DOMAIN}."):
            yield value
        case dict():
            for each in value.values():
                yield from actions_in(each)
        case list():
            for each in value:
                yield from actions_in(each)


@pytest.mark.parametrize("page", AUTOMATIONS)
def test_actions_in_examples_take_what_is_given(page: str) -> None:
    described = load_yaml_dict(FOLDER / "services.yaml")
    steps = [
        step
        for example in blocks(ROOT / page, "yaml")
        for step in actions_in(parse_yaml(example))
    ]
    assert steps
    for step in steps:
        action = described[step["action"].removeprefix(f"{DOMAIN}.")]
        assert set(step.get("data", {})) <= set(action.get("fields", {}))


def test_a_dashboard_by_hand_has_the_strategy_that_the_script_registers() -> None:
    script = (FOLDER / "frontend/strategy.js").read_text("utf-8")
    constants = dict(
        re.findall(r'^const ([A-Z]+) = ["`]([^"`]+)["`];$', script, re.MULTILINE)
    )
    tag = constants["TAG"].replace("${PLATFORM}", constants["PLATFORM"])
    assert "customElements.define(TAG, " in script
    # The frontend looks for this tag where a page has `custom:` and a name.
    name = tag.removeprefix("ll-strategy-dashboard-")
    by_hand = [
        parse_yaml(example)
        for example in blocks(ROOT / "docs/dashboard.md", "yaml")
        if example.startswith("strategy:")
    ]
    assert by_hand == [{"strategy": {"type": f"custom:{name}"}}]


def test_all_other_examples_are_run_elsewhere() -> None:
    """A new block of code needs a test, here or there."""
    tested = {*AUTOMATIONS, "docs/dashboard.md"}
    others = {
        str(page.relative_to(ROOT)) for page in PAGES if blocks(page, "yaml", "yml")
    }
    assert others == tested


# Entities


def test_the_energy_dashboard_is_given_entities_by_their_names() -> None:
    page = (ROOT / "docs/energy.md").read_text("utf-8")
    table = re.findall(r"^\| [A-Z][^|]* \| \*([^*]+)\* \|$", page, re.MULTILINE)
    assert len(table) == 4
    others = re.findall(
        r"\*((?:Charge|Discharge|Grid|PV) (?:power|import|export|energy))\*", page
    )
    assert len(set(others)) == 7
    assert {*table, *others} <= entity_names()


def test_the_sensor_that_home_assistant_adds_has_that_name() -> None:
    page = (ROOT / "docs/energy.md").read_text("utf-8")
    inverted = generate_power_sensor_entity_id(
        "battery", {"stat_rate_inverted": "sensor.sessy_battery_power"}
    )
    two = generate_power_sensor_entity_id(
        "battery",
        {
            "stat_rate_from": "sensor.sessy_discharge_power",
            "stat_rate_to": "sensor.sessy_charge_power",
        },
    )
    assert f"`{inverted}`" in page
    assert f"`{two}`" in page


def english_texts(group: Any) -> Iterator[str]:
    """Yield all texts of a group of translations."""
    if isinstance(group, str):
        yield group
    else:
        for each in group.values():
            yield from english_texts(each)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/troubleshooting.md",
        *(f"docs/{page.file}" for page in BRANDS),
    ],
)
def test_what_a_person_sees_is_called_as_it_is_shown(page: str) -> None:
    """An ellipsis is for what differs."""
    text = (ROOT / page).read_text("utf-8")
    quoted = re.findall(r"^\| \*([^*|]+)\* \|", text, re.MULTILINE)
    assert quoted
    texts = list(english_texts(english()))
    for each in quoted:
        parts = [re.escape(part.strip()) for part in each.split("…")]
        pattern = re.compile(".*".join(parts))
        assert any(map(pattern.search, texts)), each


def test_statuses_are_called_as_on_the_page() -> None:
    """Those that the pages explain are all that there are, and others are not."""
    states = english("entity", "sensor", "control_status", "state")
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    _, _, section = page.partition("| control status |")
    table = section.partition("\n\n")[0]
    explained = set(re.findall(r"^\| \*([^*]+)\* \|", table, re.MULTILINE))
    assert explained == set(states.values()) - {
        states["automatic"],
        states["following"],
    }
