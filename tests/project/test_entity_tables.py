"""The tables of entities on the pages of the brands are those of the devices."""

from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers import DRIVERS
from tests.simulators import VictronSimulator

from .entity_pages import PAGES, Condition, Device, Model, Page
from .entity_tables import (
    COMMAND,
    Numbers,
    Row,
    Rows,
    Seen,
    record,
    rows,
    tables,
    written,
)


async def rows_of(hass: HomeAssistant, device: Device) -> Rows:
    """Set a device up in Home Assistant, and return the rows of its entities."""
    async with device.make() as simulator:
        async with DRIVERS[device.battery_type].from_setup(simulator.setup) as battery:
            serial_number = battery.identity.serial_number
        entry = MockConfigEntry(
            domain=DOMAIN,
            unique_id=serial_number,
            data={CONF_BATTERY_TYPE: device.battery_type, **simulator.setup},
        )
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done(wait_background_tasks=True)
        registry = er.async_get(hass)
        entities = er.async_entries_for_config_entry(registry, entry.entry_id)
        shown = rows(entities, serial_number)
        await hass.config_entries.async_remove(entry.entry_id)
    return shown


async def seen(hass: HomeAssistant, model: Model) -> Seen:
    """Return the rows of all devices of a model."""
    devices = (model.usual, *(each.device for each in model.conditions))
    usual, *others = [await rows_of(hass, each) for each in devices]
    return Seen(model, usual, tuple(others))


@pytest.fixture(params=PAGES, ids=lambda page: page.file)
def page(request: pytest.FixtureRequest) -> Page:
    """Return each page in turn."""
    page: Page = request.param
    return page


@pytest.fixture
def text(page: Page) -> str:
    """Return the text of the page."""
    return page.path.read_text("utf-8")


async def test_page_has_the_entities_of_its_devices(
    hass: HomeAssistant, page: Page, text: str
) -> None:
    of_models = [await seen(hass, each) for each in page.models]
    new = tables(of_models)
    await hass.async_add_executor_job(record, page, new)
    assert written(text) == new, f"Run {COMMAND}"


# The words of a table

SOME_DEVICE: Final = Device("victron", VictronSimulator)
POWER: Final = Row(
    name="Grid power {phase}",
    kind="sensor",
    shows="W",
    enabled=True,
    is_setting=False,
)
PHASES: Final[list[Numbers]] = [{"phase": f"L{number}"} for number in (2, 1, 3)]


def model_with(*conditions: Condition) -> Model:
    """Return a model with these conditions."""
    return Model(name="Model", usual=SOME_DEVICE, conditions=conditions)


def condition(less: str | None, *implied_by: str) -> Condition:
    """Return a condition that only has its words."""
    return Condition(
        more=f"no {less}", less=less, device=SOME_DEVICE, implied_by=implied_by
    )


def test_numbered_family_is_one_line() -> None:
    text = tables([Seen(model_with(), {POWER: PHASES}, ())])
    assert "| Grid power L1–L3 | sensor | W | ✓ |" in text


def test_each_condition_is_said_but_one_that_follows_from_another() -> None:
    model = model_with(
        condition("meter"), condition("BMS"), condition("monitor", "BMS")
    )
    without = Seen(model, {POWER: PHASES}, ({}, {}, {}))
    assert without.cell(POWER) == "meter, BMS"
    with_bms = Seen(model, {POWER: PHASES}, ({}, {POWER: PHASES}, {}))
    assert with_bms.cell(POWER) == "meter, monitor"


def test_device_that_has_more_is_named() -> None:
    model = model_with(condition("meter"), condition(None))
    assert Seen(model, {}, ({POWER: PHASES}, {})).cell(POWER) == "no meter"


def test_device_whose_gaps_say_nothing_is_no_condition() -> None:
    model = model_with(condition(None))
    assert Seen(model, {POWER: PHASES}, ({},)).cell(POWER) == "✓"


def test_entity_that_a_model_never_has_leaves_its_column_empty() -> None:
    assert Seen(model_with(), {}, ()).cell(POWER) == ""
