"""Entity ids on the pages are of entities that there are.

An id begins with the name of a device, which is its user's, and ends with the name of the
entity in English.
"""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Final

from homeassistant.const import Platform
from homeassistant.util import slugify
import pytest

from . import ROOT
from .page_code import BLOCK, CODE
from .test_readme import english, pattern_of

PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ENTITY_ID: Final = re.compile(
    # No names of files, nor calls of functions.
    rf"(?<![\w./])(?:{'|'.join(Platform)})\.(?!py\b)[a-z0-9_]+\b(?!\()"
)
OF_OTHERS: Final = {
    "binary_sensor.car_charging",
    "sensor.electricity_price",
    # `test_readme.py` asks Home Assistant for these two.
    "sensor.sessy_battery_power_inverted",
    "sensor.energy_battery_sessy_discharge_power_sessy_charge_power_net_power",
}
"""Those of other integrations, which the examples name."""


def object_ids(platform: str) -> Iterator[re.Pattern[str]]:
    """Yield a pattern for what the ids of each entity of a platform end with."""
    for entity in english("entity").get(platform, {}).values():
        yield re.compile(r"(?:.*_)?" + pattern_of(entity["name"], r"_?\w+?_?", slugify))


def entity_ids(text: str) -> Iterator[str]:
    """Yield the entity ids in the code of a page."""
    code = [block for _, block in BLOCK.findall(text)]
    for each in [*code, *CODE.findall(BLOCK.sub("", text))]:
        yield from ENTITY_ID.findall(each)


def is_ours(entity_id: str) -> bool:
    """Return whether an entity of this integration can have that id."""
    platform, _, name = entity_id.partition(".")
    return any(pattern.fullmatch(name) for pattern in object_ids(platform))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_entity_ids_are_of_entities_that_there_are(page: Path) -> None:
    named = set(entity_ids(page.read_text("utf-8")))
    assert {each for each in named - OF_OTHERS if not is_ours(each)} == set()


def test_the_pages_with_examples_have_entity_ids() -> None:
    with_ids = {page.stem for page in PAGES if set(entity_ids(page.read_text("utf-8")))}
    assert with_ids >= {"README", "automations", "dashboard", "energy"}


def test_the_entities_of_others_are_still_named() -> None:
    named = {each for page in PAGES for each in entity_ids(page.read_text("utf-8"))}
    assert named >= OF_OTHERS


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("sensor.my_battery_state_of_charge", False),
        ("sensor.my_battery_soc_nonsense", True),
        ("sensor.my_battery_grid_power_l1", False),
        ("number.my_battery_state_of_charge", True),
        ("light.my_battery", True),
    ],
)
def test_an_id_that_no_entity_has_is_noticed(code: str, wrong: bool) -> None:
    (entity_id,) = entity_ids(f"See `{code}`.")
    assert is_ours(entity_id) is not wrong
