"""The page of each brand has the same sections, and each battery is on one."""

import re
from typing import Final

import pytest

from tests.simulators import SIMULATORS

from .entity_pages import PAGES, Page

SECTIONS: Final = [
    "Before you start",
    "Add it",
    "What you see",
    "What control writes",
    "If it does not work",
    "What is uncertain",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file)
def test_page_has_the_sections_in_their_order(page: Page) -> None:
    headings = re.findall(r"^## (.+)$", page.path.read_text("utf-8"), re.MULTILINE)
    assert headings == SECTIONS


def test_each_battery_is_on_a_page() -> None:
    shown = {
        device.battery_type
        for page in PAGES
        for model in page.models
        for device in (model.usual, *(each.device for each in model.conditions))
    }
    assert shown == set(SIMULATORS)
