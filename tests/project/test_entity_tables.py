"""The tables of entities on the pages of the brands are those of the devices."""

from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers import DRIVERS

from .entity_pages import PAGES, Device, Model, Page
from .entity_tables import COMMAND, Rows, Seen, record, rows, tables, written


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
        await hass.async_block_till_done()
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
