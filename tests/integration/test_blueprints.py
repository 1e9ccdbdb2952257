"""The blueprints, run in Home Assistant against a simulated battery."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
import logging
from pathlib import Path
import re
import shutil
import time
from typing import Any, Final, Protocol
from urllib.parse import unquote

from homeassistant.components.automation.helpers import async_get_blueprints
from homeassistant.components.blueprint.models import Blueprint
from homeassistant.components.blueprint.schemas import BLUEPRINT_SCHEMA
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er, event
from homeassistant.helpers.script import _ScriptRun
from homeassistant.helpers.selector import DeviceSelector
from homeassistant.helpers.template import Template
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util, yaml as yaml_util
import pytest

from custom_components.homebattery.const import DOMAIN
from tests.home import LOAD, Home, MakeHome, another, one_of_each_protocol
from tests.simulators import (
    SIMULATORS,
    ManualClock,
    Plant,
    SessySimulator,
    VictronSimulator,
)

pytestmark = pytest.mark.usefixtures("few_sensors")

ROOT: Final = Path(__file__).parents[2]
FILES: Final = sorted((ROOT / "blueprints/automation/homebattery").glob("*.yaml"))
NAMES: Final = ("cheapest_hours", "keep_reserve", "peak_shaving", "zero_export")
PATH: Final = "blueprints/automation/homebattery/{}.yaml"
AUTOMATION: Final = "automation.tested"
ZONE: Final = "Europe/Amsterdam"
MIDNIGHT: Final = "2026-11-10T00:00:00+01:00"


class Passes(Protocol):
    """A coroutine function that advances time; its step is in seconds, too."""

    async def __call__(self, seconds: float, step: float = 60) -> None: ...


type At = Callable[[str], Awaitable[None]]


# The files


def test_there_are_four_blueprints() -> None:
    assert tuple(file.stem for file in FILES) == NAMES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_blueprint_is_valid_and_described(file: Path) -> None:
    blueprint = Blueprint(
        yaml_util.load_yaml_dict(file),
        path=file.name,
        expected_domain="automation",
        schema=BLUEPRINT_SCHEMA,
    )
    assert blueprint.validate() is None
    metadata = blueprint.metadata
    assert metadata["homeassistant"]["min_version"] == "2026.10.0"
    assert metadata["author"] and metadata["description"]
    for name, described in blueprint.inputs.items():
        assert described["name"] and described["description"], name
        assert described["selector"], name
    for section in metadata["input"].values():
        if "input" in section:
            assert section["collapsed"] and section["name"]
            assert all("default" in each for each in section["input"].values())


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_asks_for_the_battery_once(name: str) -> None:
    blueprint = yaml_util.load_yaml_dict(ROOT / PATH.format(name))["blueprint"]
    inputs = {
        key: each
        for group, section in blueprint["input"].items()
        for key, each in section.get("input", {group: section}).items()
    }
    assert [key for key, each in inputs.items() if DOMAIN in str(each)] == ["battery"]


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_in_the_documents(name: str) -> None:
    path = PATH.format(name)
    assert path in unquote((ROOT / "README.md").read_text("utf-8"))
    page = (ROOT / "docs" / "blueprints.md").read_text("utf-8")
    assert path in page
    section = page.split(f"{name}.yaml", 1)[1].split("\n## ", 1)[0]
    blueprint = yaml_util.load_yaml_dict(ROOT / path)["blueprint"]
    for each in blueprint["input"].values():
        for described in each.get("input", {"": each}).values():
            assert f"| {described['name']} |" in section
            default = described.get("default")
            if isinstance(default, int) or re.match(r"\d\d:", str(default)):
                row = re.search(rf"\| {described['name']} \|.*", section)
                assert row is not None
                assert str(default).removesuffix(":00") in row[0], row[0]


# Running them


class Wall:
    """The wall clock of Home Assistant; it starts at midnight."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = time.time
        self.ahead = datetime.fromisoformat(MIDNIGHT).timestamp() - real()

        def timestamp() -> float:
            return real() + self.ahead

        def now(zone: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(
                timestamp(), zone or dt_util.get_default_time_zone()
            )

        def utcnow() -> datetime:
            return now(UTC)

        monkeypatch.setattr(time, "time", timestamp)
        monkeypatch.setattr(dt_util, "now", now)
        monkeypatch.setattr(dt_util, "utcnow", utcnow)
        monkeypatch.setattr(event, "time_tracker_utcnow", utcnow)
        monkeypatch.setattr(event, "time_tracker_timestamp", timestamp)


@pytest.fixture(autouse=True)
def wall(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Wall | None:
    """Set the wall clock to midnight before Home Assistant starts."""
    return Wall(monkeypatch) if "hass" in request.fixturenames else None


class Delays:
    """A count of the automations that are in a delay."""

    def __init__(self, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hass = hass
        self.waiting = 0
        wait = _ScriptRun._async_step_delay

        async def count(run: _ScriptRun) -> None:
            self.waiting += 1
            try:
                await wait(run)
            finally:
                self.waiting -= 1

        monkeypatch.setattr(_ScriptRun, "_async_step_delay", count)

    async def all_else_done(self) -> None:
        """Wait until no task is running but automations in a delay.

        Waiting for all tasks to end would include those.
        """
        quiet = 0
        while quiet < 3:
            running = len([*self._running()]) > self.waiting
            quiet = 0 if running else quiet + 1
            await asyncio.sleep(0.0005 if running else 0)

    def _running(self) -> Iterator[asyncio.Future[Any]]:
        """Yield the running tasks, without those that only wait for a script's task."""
        for task in self.hass._tasks | self.hass._background_tasks:
            coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
            name = getattr(coroutine, "__qualname__", "")
            if not task.done() and not name.startswith("AutomationEntity."):
                yield task


@pytest.fixture
async def passes(
    hass: HomeAssistant,
    wall: Wall,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Passes:
    """Return a coroutine that advances time at once, the wall clock included.

    It goes step by step, because each timer that falls due in a step fires once.
    """
    await hass.config.async_set_time_zone(ZONE)
    delays = Delays(hass, monkeypatch)
    real, ahead = hass.loop.time, 0.0
    monkeypatch.setattr(hass.loop, "time", lambda: real() + ahead)

    async def leap(seconds: float, step: float = 60) -> None:
        nonlocal ahead
        while seconds > 0:
            wall.ahead += min(step, seconds)
            clock.advance(min(step, seconds))
            ahead += min(step, seconds)
            seconds -= step
            # One turn of the loop for the timers, one for the tasks that they start.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await delays.all_else_done()

    return leap


@pytest.fixture
def until(passes: Passes) -> At:
    """Return a coroutine that advances time to 1 s after a time of day, in one leap."""

    async def leap(clock: str) -> None:
        then = dt_util.now().replace(microsecond=0)
        hour, minute = clock.split(":")
        then = then.replace(hour=int(hour), minute=int(minute), second=1)
        seconds = (then - dt_util.now()).total_seconds()
        assert seconds > 0
        await passes(seconds, seconds)

    return leap


class Site:
    """One battery with a meter and an automation made of a blueprint."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.hass = home.hass
        self.unit, self.two = "W", False

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs that each blueprint has."""
        device = dr.async_get(self.hass).async_get_device_by_identifier(
            (DOMAIN, str(self.home.entry.unique_id)), self.home.entry.entry_id
        )
        assert device is not None
        return {"battery": device.id}

    async def use(self, name: str, **inputs: Any) -> None:
        """Create an automation of a blueprint."""
        assert await async_setup_component(
            self.hass,
            "automation",
            {
                "automation": {
                    "id": "tested",
                    "alias": "tested",
                    "use_blueprint": {
                        "path": f"homebattery/{name}.yaml",
                        "input": {**self.inputs, **inputs},
                    },
                }
            },
        )
        await self.hass.async_block_till_done()
        state = self.hass.states.get(AUTOMATION)
        assert state is not None and state.state == "on"

    def set(self, entity_id: str, value: object, **attributes: Any) -> None:
        self.hass.states.async_set(
            entity_id, str(value), attributes, force_update=False
        )

    # A meter, and a battery that is regulated by it

    async def regulate(self, name: str, unit: str = "W", **inputs: Any) -> None:
        """Create an automation that follows the meter."""
        self.unit, self.two = unit, "grid_export" in inputs
        self.show_grid(unit)
        blueprint = yaml_util.load_yaml_dict(ROOT / PATH.format(name))
        known = str(blueprint["blueprint"]["input"])
        await self.use(
            name,
            grid_power=GRID,
            **{key: each for key, each in inputs.items() if f"'{key}'" in known},
        )

    @property
    def grid(self) -> float:
        """True power imported from the grid, W; exported is negative."""
        return float(self.home.simulator.state()["grid_power"])

    def show_grid(self, unit: str) -> None:
        """Let the meter report once, in W or kW."""
        power = self.grid / (1000 if unit == "kW" else 1)
        imported, exported = (
            (max(power, 0), max(-power, 0)) if self.two else (power, 0.0)
        )
        self.set(GRID, round(imported, 3), unit_of_measurement=unit)
        self.set(EXPORT, round(exported, 3), unit_of_measurement=unit)

    async def reports(self, seconds: float, passes: Passes, step: float = 5) -> None:
        """Let the meter report every `step` seconds for a time in seconds."""
        for _ in range(round(seconds / step)):
            self.show_grid(self.unit)
            await passes(step)

    async def idle(self) -> None:
        """Put the battery in idle mode, in its own control."""
        await self.home.call("select.select_option", "working_mode", option="idle")

    def is_idle(self) -> bool:
        return self.home.state("control_mode") == "automatic"

    def setpoints(self, sessy: SessySimulator) -> list[int]:
        """Return a Sessy's setpoints, W, oldest first; positive discharges."""
        return [
            body["setpoint"]
            for _, path, body in sessy.server.posts
            if body and path.endswith("setpoint")
        ]

    @property
    def power(self) -> float:
        """True power of the battery, W; charging is positive."""
        return float(self.home.simulator.state()["battery_power"])

    def is_released(self) -> bool:
        """Return whether the device itself is in its own control."""
        return self.home.simulator.mode == "automatic"


@pytest.fixture
async def blueprints(hass: HomeAssistant, tmp_path: Path) -> AsyncIterator[None]:
    """Give Home Assistant a directory of its own that has the blueprints."""
    shutil.copytree(ROOT / "blueprints", tmp_path / "blueprints")
    hass.config.config_dir = str(tmp_path)
    yield
    if hass.states.get(AUTOMATION):
        # Home Assistant would wait a minute for an automation in a delay.
        await turn_off(hass)


async def turn_off(hass: HomeAssistant) -> None:
    """Turn the automation off, also in the middle of a run."""
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": AUTOMATION}, blocking=True
    )


@pytest.fixture
def victron_site(blueprints: None, victron_home: Home, passes: Passes) -> Site:
    return Site(victron_home)


@pytest.fixture
def sessy_site(blueprints: None, sessy_home: Home, passes: Passes) -> Site:
    return Site(sessy_home)


async def test_home_assistant_finds_the_blueprints(
    hass: HomeAssistant, blueprints: None
) -> None:
    assert await async_setup_component(hass, "automation", {})
    blueprints_read = await async_get_blueprints(hass).async_get_blueprints()
    for name in NAMES:
        assert isinstance(blueprints_read[f"homebattery/{name}.yaml"], Blueprint)


# The choice of devices on their form


def offered(home: Home, name: str) -> set[str | None]:
    """Return the devices that the form of a blueprint offers as its battery.

    Home Assistant's frontend offers devices of which an entity with a state matches.
    """
    blueprint = yaml_util.load_yaml_dict(ROOT / PATH.format(name))["blueprint"]
    config = blueprint["input"]["battery"]["selector"]["device"]
    DeviceSelector(config)
    assert config["filter"] == [{"integration": DOMAIN}]
    [wanted] = config["entity"]
    assert wanted.keys() == {"integration", "domain"}
    return {
        entity.device_id
        for entity in er.async_get(home.hass).entities.values()
        if entity.platform == wanted["integration"]
        and entity.domain == wanted["domain"]
        and home.hass.states.get(entity.entity_id)
    }


@one_of_each_protocol
async def test_battery_itself_is_offered(home: Home) -> None:
    for name in NAMES:
        assert offered(home, name) == {home.data.device_id}


@pytest.mark.parametrize(
    "other_home", ["sessy_p1_meter", "sessy_ct_meter"], indirect=True
)
async def test_meters_are_not_offered(other_home: Home) -> None:
    for name in NAMES:
        assert offered(other_home, name) == set()


# The entities of the battery, which an automation finds itself


async def test_the_template_on_the_page_finds_entities_by_their_key(
    sessy_home: Home,
) -> None:
    """The page names three keys, and two ways to name the device."""
    page = (ROOT / "docs/blueprints.md").read_text("utf-8")
    (template,) = re.findall(r"^```jinja\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (listed,) = re.findall(r"by their attribute `key` \(([^)]+)\)", page)
    (of_entity,) = re.findall(r"`(device_id\('sensor\.…'\))`", page)
    keys = re.findall(r"`(\w+)`", listed)
    (shown,) = [key for key in keys if f"'{key}'" in template]
    entity_id = sessy_home.entity_id(shown)

    def rendered(key: str, device: str) -> str:
        pasted = template.replace("DEVICE", device).replace(f"'{shown}'", f"'{key}'")
        return str(Template(pasted, sessy_home.hass).async_render(parse_result=False))

    assert len(keys) == 3
    for key in keys:
        for device in (
            f"'{sessy_home.data.device_id}'",
            of_entity.replace("sensor.…", entity_id),
        ):
            assert rendered(key, device) == sessy_home.state(key)
    assert sessy_home.state(shown) != "unknown"
    assert rendered(shown, "'nothing'") == "unknown"


def test_the_range_of_the_setpoint_is_on_the_page(sessy_home: Home) -> None:
    page = (ROOT / "docs/blueprints.md").read_text("utf-8")
    (sentence,) = re.findall(
        r"has its range as attributes.*: (.*)\.$", page, re.MULTILINE
    )
    named = re.findall(r"`(\w+)`", sentence)
    assert len(named) == 2
    assert set(named) <= set(sessy_home.state_of("power_setpoint").attributes)


PRICE: Final = "sensor.price"
GRID: Final = "sensor.grid"
EXPORT: Final = "sensor.grid_export"
BUSY: Final[dict[str, dict[str, Any]]] = {
    "cheapest_hours": {"price_sensor": PRICE, "price_limit": 1, "target_soc": 90},
    "keep_reserve": {"reserve": 50},
    "peak_shaving": {"grid_power": GRID, "limit": 400, "dead_band": 100},
    "zero_export": {"grid_power": GRID, "target": 30},
}
"""Inputs by which each blueprint has a reason to hold the battery of a `busy` site."""
HELD_AT: Final = {
    "cheapest_hours": 2000,
    "keep_reserve": 0,
    "peak_shaving": 400 - 100 - LOAD,
    "zero_export": 30 - LOAD,
}
"""The power at which each then holds it, W."""
each_blueprint: Final = pytest.mark.parametrize("name", NAMES)


async def busy(site: Site, passes: Passes, name: str, **inputs: Any) -> None:
    """Create an automation that will hold the battery at its next turn."""
    site.home.simulator.plant.soc = 40
    # A turn at midnight would be due now; and the state of charge is to be read.
    await passes(10)
    site.set(PRICE, 0)
    site.show_grid("W")
    await site.use(name, **BUSY[name], **inputs)


async def five_minutes(site: Site, passes: Passes) -> None:
    """Let the meter report until each blueprint has had its turn."""
    await site.reports(310, passes, 50)


@pytest.fixture
async def idle_site(sessy_site: Site) -> Site:
    """Return a site whose battery does nothing by itself."""
    await sessy_site.idle()
    return sessy_site


def rename_all(site: Site) -> None:
    """Give the battery's entities other ids and names, hide them, and show power in kW."""
    registry = er.async_get(site.hass)
    entry_id = site.home.entry.entry_id
    for number, entity in enumerate(
        er.async_entries_for_config_entry(registry, entry_id)
    ):
        changes: dict[str, Any] = {
            "new_entity_id": f"{entity.domain}.die_{number}",
            "name": f"Die {number}",
            "hidden_by": er.RegistryEntryHider.USER,
        }
        registry.async_update_entity(entity.entity_id, **changes)
    for domain, key in (("number", "power_setpoint"), ("sensor", "battery_power")):
        registry.async_update_entity_options(
            site.home.entity_id(key), domain, {"unit_of_measurement": "kW"}
        )


def add_sensors_of_others(site: Site) -> None:
    """Give the battery's device sensors of another integration."""
    registry = er.async_get(site.hass)
    for kind, unit in (("battery", "%"), ("power", "W")):
        other = registry.async_get_or_create(
            "sensor", "template", kind, device_id=site.inputs["battery"]
        )
        site.set(other.entity_id, 99, device_class=kind, unit_of_measurement=unit)


@each_blueprint
async def test_entities_may_be_renamed_and_shown_in_another_unit(
    idle_site: Site, passes: Passes, name: str
) -> None:
    site = idle_site
    await busy(site, passes, name)
    add_sensors_of_others(site)
    rename_all(site)
    await site.hass.async_block_till_done()
    assert site.home.state_of("power_setpoint").attributes["max"] < 10
    await five_minutes(site, passes)
    assert not site.is_idle()
    assert site.power == pytest.approx(HELD_AT[name], abs=60)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("cheapest_hours", "power_setpoint"),
        ("keep_reserve", "battery_soc"),
        ("peak_shaving", "battery_power"),
        ("zero_export", "battery_power"),
    ],
)
async def test_battery_is_not_held_without_an_entity_that_is_needed(
    idle_site: Site, passes: Passes, name: str, key: str
) -> None:
    site = idle_site
    er.async_get(site.hass).async_update_entity(
        site.home.entity_id(key), disabled_by=er.RegistryEntryDisabler.USER
    )
    await site.hass.async_block_till_done()
    await busy(site, passes, name)
    await five_minutes(site, passes)
    assert site.is_idle()


@each_blueprint
async def test_battery_that_is_not_there_at_the_start_is_waited_for(
    idle_site: Site, passes: Passes, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    site, entry_id = idle_site, idle_site.home.entry.entry_id
    assert await site.hass.config_entries.async_unload(entry_id)
    caplog.clear()
    await busy(site, passes, name)
    await five_minutes(site, passes)
    state = site.home.state_of("power_setpoint")
    assert state.state == "unavailable" and state.attributes["max"] == 2200
    # Asyncio complains of the leaps of time.
    assert not [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "asyncio"
    ]
    assert await site.hass.config_entries.async_setup(entry_id)
    await five_minutes(site, passes)
    assert site.power == pytest.approx(HELD_AT[name], abs=60)
    assert not site.is_idle()


async def test_each_of_two_batteries_is_controlled_by_its_own_entities(
    idle_site: Site,
    make_home: MakeHome,
    clock: ManualClock,
    passes: Passes,
) -> None:
    full = idle_site
    full.home.simulator.plant.soc = 95
    async with another(full.home.simulator, clock) as simulator:
        home = make_home(simulator, max_charge_power=1200)
        full.hass.config_entries.async_update_entry(home.entry, unique_id="AXYZ9999")
        assert await home.set_up()
        empty = Site(home)
        await empty.idle()
        await busy(empty, passes, "cheapest_hours")
        await five_minutes(empty, passes)
        assert empty.power == pytest.approx(1200, rel=0.1)
        assert full.is_idle()
        await turn_off(full.hass)
        assert await full.hass.config_entries.async_unload(home.entry.entry_id)


@pytest.mark.parametrize("name", ["peak_shaving", "zero_export"])
async def test_discharge_is_bounded_by_the_number(
    blueprints: None,
    make_home: MakeHome,
    sessy: SessySimulator,
    passes: Passes,
    name: str,
) -> None:
    home = make_home(sessy, max_discharge_power=200)
    assert await home.set_up()
    site = Site(home)
    await site.idle()
    await busy(site, passes, name)
    await five_minutes(site, passes)
    assert site.power == pytest.approx(-200, rel=0.1)


@pytest.mark.parametrize("name", ["keep_reserve", "zero_export"])
async def test_automation_of_an_earlier_version_goes_on_working(
    idle_site: Site, passes: Passes, name: str
) -> None:
    """That asked for two of the entities, too."""
    site = idle_site
    await busy(site, passes, name, setpoint="number.gone", battery_power="sensor.gone")
    await five_minutes(site, passes)
    assert site.power == pytest.approx(HELD_AT[name], abs=60)
    assert not site.is_idle()


# Cheapest hours

HOURS: Final = [*([0.30] * 3), 0.05, 0.10, 0.06, *([0.30] * 18)]
"""Prices of a day; the cheapest are from three to six."""


def steps(day: int, prices: list[float], step: int, *keys: str) -> list[dict[str, Any]]:
    """Return the prices of a day from now, as a list with these keys."""
    midnight = datetime.fromisoformat(MIDNIGHT) + timedelta(days=day)
    start, end, price = keys
    entries = []
    for index, each in enumerate(prices):
        begin = midnight + timedelta(seconds=index * step)
        entry: dict[str, Any] = {start: begin.isoformat(), price: each}
        if end:
            entry[end] = (begin + timedelta(seconds=step)).isoformat()
        entries.append(entry)
    return entries


def as_nord_pool(prices: list[float], tomorrow: list[float]) -> dict[str, Any]:
    def times(day: int, prices: list[float]) -> list[dict[str, Any]]:
        return [
            {
                **each,
                "start": datetime.fromisoformat(each["start"]),
                "end": datetime.fromisoformat(each["end"]),
            }
            for each in steps(day, prices, 3600, "start", "end", "value")
        ]

    return {
        "today": prices,
        "tomorrow": tomorrow or None,
        "raw_today": times(0, prices),
        "raw_tomorrow": times(1, tomorrow),
    }


def as_entsoe(prices: list[float], tomorrow: list[float]) -> dict[str, Any]:
    return {
        "prices_today": steps(0, prices, 3600, "time", "", "price"),
        "prices_tomorrow": steps(1, tomorrow, 3600, "time", "", "price"),
    }


def as_prices(prices: list[float], tomorrow: list[float]) -> dict[str, Any]:
    both = [
        *steps(0, prices, 3600, "from", "till", "price"),
        *steps(1, tomorrow, 3600, "from", "till", "price"),
    ]
    return {"prices": both}


def as_numbers(prices: list[float], tomorrow: list[float]) -> dict[str, Any]:
    return {"today": prices, "tomorrow": tomorrow}


def as_quarters(prices: list[float], tomorrow: list[float]) -> dict[str, Any]:
    return {
        "today": [price for price in prices for _ in range(4)],
        "tomorrow": [price for price in tomorrow for _ in range(4)],
    }


SHAPES: Final = [as_nord_pool, as_entsoe, as_prices, as_numbers, as_quarters]


@pytest.mark.parametrize("shape", SHAPES)
async def test_charges_in_the_cheapest_hours(
    victron_site: Site,
    until: At,
    passes: Passes,
    shape: Callable[[list[float], list[float]], dict[str, Any]],
) -> None:
    site = victron_site
    site.set(PRICE, 0.30, **shape(HOURS, [0.2] * 24))
    await site.use("cheapest_hours", price_sensor=PRICE, hours=2, charge_power=1500)
    await until("02:55")
    assert site.is_released()
    await until("03:00")
    assert site.power == pytest.approx(1500, rel=0.1)
    await passes(600)
    assert site.power == pytest.approx(1500, rel=0.1)


@pytest.mark.long
async def test_dearer_hour_between_cheap_ones_is_skipped(
    victron_site: Site, until: At, passes: Passes
) -> None:
    site = victron_site
    site.set(PRICE, 0.30, **as_nord_pool(HOURS, []))
    await site.use("cheapest_hours", price_sensor=PRICE, hours=2, charge_power=300)
    await until("03:00")
    await passes(58 * 60, 150)
    assert site.power == pytest.approx(300, rel=0.15)
    await passes(120)
    assert site.is_released()
    await until("04:55")
    assert site.is_released()
    await until("05:00")
    assert site.power == pytest.approx(300, rel=0.15)
    await passes(61 * 60, 150)
    assert site.is_released()


async def test_steps_in_a_row_are_charged_in_one_go(
    victron_site: Site, victron: VictronSimulator, until: At, passes: Passes
) -> None:
    site = victron_site
    site.set(PRICE, 0.30, **as_quarters(HOURS, []))
    await site.use("cheapest_hours", price_sensor=PRICE, hours=0.75, charge_power=300)
    await until("03:00")
    await passes(44 * 60, 150)
    assert site.power == pytest.approx(300, rel=0.15)
    modes = [write for write in victron.server.traffic.writes if write.address == 2902]
    assert len(modes) == 1
    await passes(120)
    assert site.is_released()


async def test_charging_stops_at_the_target_and_does_not_flap(
    victron_site: Site, victron: VictronSimulator, until: At, passes: Passes
) -> None:
    site = victron_site
    victron.plant.soc = 70
    site.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await site.use("cheapest_hours", price_sensor=PRICE, target_soc=80)
    await until("03:00")
    await passes(60)
    assert site.power == pytest.approx(2000, rel=0.1)
    victron.plant.soc = 80.4
    await passes(120)
    assert site.is_released()
    victron.plant.soc = 76
    await passes(600)
    assert site.is_released()
    victron.plant.soc = 74
    await passes(600)
    assert site.power == pytest.approx(2000, rel=0.1)


async def test_full_battery_can_be_held_until_the_cheap_hours_are_over(
    victron_site: Site, victron: VictronSimulator, until: At, passes: Passes
) -> None:
    site = victron_site
    site.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await site.use(
        "cheapest_hours",
        price_sensor=PRICE,
        target_soc=80,
        hours=1,
        at_target="hold",
    )
    await until("02:55")
    victron.plant.soc = 79
    await passes(10)
    await until("03:00")
    assert not site.is_released()
    assert site.power == pytest.approx(0, abs=20)
    await passes(3540, 150)
    assert site.power == pytest.approx(0, abs=20)
    await passes(60)
    assert site.is_released()


async def test_power_is_bounded_by_the_number(
    make_home: MakeHome,
    blueprints: None,
    victron: VictronSimulator,
    until: At,
    passes: Passes,
) -> None:
    home = make_home(victron, max_charge_power=1200)
    assert await home.set_up()
    site = Site(home)
    site.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await site.use("cheapest_hours", price_sensor=PRICE, charge_power=4000)
    await until("03:00")
    await passes(10)
    assert site.power == pytest.approx(1200, rel=0.1)


async def test_battery_is_released_when_the_prices_are_lost(
    victron_site: Site, until: At, passes: Passes
) -> None:
    site = victron_site
    site.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await site.use("cheapest_hours", price_sensor=PRICE)
    await until("03:00")
    await passes(10)
    assert not site.is_released()
    site.set(PRICE, "unavailable")
    await passes(60)
    assert site.is_released()
    await passes(600)
    assert site.is_released()


@pytest.mark.long
async def test_hours_of_a_night_wait_for_the_prices_of_its_second_day(
    victron_site: Site, until: At, passes: Passes
) -> None:
    site = victron_site
    tomorrow = [*([0.3] * 4), 0.01, *([0.3] * 19)]
    site.set(PRICE, 0.30, **as_nord_pool([0.2] * 24, []))
    await site.use(
        "cheapest_hours",
        price_sensor=PRICE,
        hours=2,
        earliest_start="22:00:00",
        latest_end="06:00:00",
    )
    await until("21:55")
    await passes(600)
    assert site.is_released()
    site.set(PRICE, 0.30, **as_nord_pool([0.2] * 24, tomorrow))
    await passes(300)
    # The hours are four o'clock and the first of those that cost the same.
    assert site.power == pytest.approx(2000, rel=0.1)
    await passes(3600)
    assert site.is_released()


async def test_price_without_a_list_is_compared_with_the_limit(
    sessy_site: Site, until: At, passes: Passes
) -> None:
    site = sessy_site
    site.set(PRICE, 0.12)
    await site.use("cheapest_hours", price_sensor=PRICE, price_limit=0.10)
    await until("00:06")
    assert site.is_released()
    site.set(PRICE, 0.10)
    await passes(300)
    assert site.power == pytest.approx(2000, rel=0.1)
    site.set(PRICE, 0.101)
    await passes(120)
    assert site.is_released()
    site.set(PRICE, "unknown")
    await passes(600)
    assert site.is_released()


async def test_battery_is_released_after_the_automation_was_stopped(
    sessy_site: Site, until: At, passes: Passes
) -> None:
    site = sessy_site
    site.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await site.use("cheapest_hours", price_sensor=PRICE)
    await until("03:00")
    await passes(10)
    assert not site.is_released()
    await stop_while_held(site)
    await passes(8 * 60)
    assert site.is_released()


async def stop_while_held(site: Site) -> None:
    """Turn the automation off while it holds the battery."""
    await turn_off(site.hass)
    assert not site.is_released()


async def test_setpoint_set_by_hand_is_kept_outside_the_hours(
    victron_site: Site, passes: Passes
) -> None:
    site = victron_site
    site.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await site.use("cheapest_hours", price_sensor=PRICE)
    await site.home.set_power(-500)
    await passes(600)
    assert site.power == pytest.approx(-500, rel=0.1)


# Keeping a reserve


@pytest.fixture(params=["deye_modbus", "sma"])
async def reserve_site(
    request: pytest.FixtureRequest,
    blueprints: None,
    make_home: MakeHome,
    clock: ManualClock,
    passes: Passes,
) -> Any:
    """Yield a site of each kind of battery that must not be written often."""
    device: Any = SIMULATORS[request.param]
    house = device.house(clock=clock)
    house.fixed_pv, house.fixed_load, house.soc = 0.0, LOAD, 55
    async with device(house) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        yield Site(home)


def plant_of(site: Site) -> Plant:
    return site.home.simulator.plant


def flash_writes(site: Site) -> int:
    return site.home.data.control.flash_writes_today


async def test_reserve_is_held_and_released_at_its_time(
    reserve_site: Site, until: At, passes: Passes
) -> None:
    site = reserve_site
    await site.use("keep_reserve", reserve=50, end="00:40:00")
    await passes(180)
    assert site.is_released()
    assert site.power < -LOAD / 2
    plant_of(site).soc = 49.4
    await passes(180)
    assert not site.is_released()
    assert site.power == pytest.approx(0, abs=30)
    writes = flash_writes(site)
    # The setpoint is repeated after 5 minutes and would end after 7: with longer steps
    # one that falls just short of the 5 would be the last.
    await passes(30 * 60, 100)
    assert site.power == pytest.approx(0, abs=30)
    # Repeating the same setpoint writes nothing to flash.
    assert flash_writes(site) == writes
    await until("00:39")
    assert not site.is_released()
    await passes(61)
    assert site.is_released()
    await passes(300)
    assert site.is_released()


async def test_reserve_may_span_midnight(sessy_site: Site, passes: Passes) -> None:
    site = sessy_site
    plant_of(site).soc = 40
    await passes(10)
    await site.use("keep_reserve", begin="22:00:00", end="00:10:00")
    await passes(120)
    assert not site.is_released()
    await passes(9 * 60)
    assert site.is_released()


async def test_battery_is_released_when_its_state_of_charge_is_unknown(
    reserve_site: Site, passes: Passes
) -> None:
    site = reserve_site
    plant_of(site).soc = 45
    await passes(10)
    await site.use("keep_reserve")
    await passes(120)
    assert not site.is_released()
    soc = site.home.entity_id("battery_soc")
    state = site.hass.states.get(soc)
    assert state is not None
    site.set(soc, "unavailable", **state.attributes)
    await passes(60, 2)
    assert site.is_released()


async def test_solar_surplus_is_charged_although_the_reserve_is_kept(
    sessy_site: Site, passes: Passes
) -> None:
    site = sessy_site
    plant_of(site).soc = 45
    await passes(10)
    site.show_grid("kW")
    await site.use(
        "keep_reserve", grid_power=GRID, surplus=300, surplus_minutes=3, stay=15
    )
    await passes(120)
    assert site.power == pytest.approx(0, abs=20)
    plant_of(site).fixed_pv = 1600.0
    for _ in range(12):
        site.show_grid("kW")
        await passes(60)
        # It stays held for the minutes of `stay`.
        assert not site.is_released()
    for _ in range(4):
        site.show_grid("kW")
        await passes(60)
    assert site.is_released()
    assert site.power == pytest.approx(950, rel=0.1)
    site.show_grid("kW")
    # As long as the sun shines it is not held again.
    for _ in range(5):
        site.show_grid("kW")
        await passes(60)
        assert site.is_released()
    plant_of(site).fixed_pv = 0.0
    for _ in range(2):
        site.show_grid("kW")
        await passes(60)
    assert site.power == pytest.approx(0, abs=20)


async def test_battery_is_charged_up_to_the_reserve(
    sessy_site: Site, passes: Passes
) -> None:
    site = sessy_site
    plant_of(site).soc = 45
    await passes(10)
    await site.use("keep_reserve", charge_power=1000, charge_from="00:05:00")
    await passes(120)
    assert site.power == pytest.approx(0, abs=20)
    await passes(240)
    assert site.power == pytest.approx(1000, rel=0.1)
    plant_of(site).soc = 48
    await passes(120)
    assert site.power == pytest.approx(1000, rel=0.1)
    plant_of(site).soc = 50.4
    await passes(120)
    assert site.power == pytest.approx(0, abs=20)


# Zero export


async def test_grid_is_kept_at_the_target(sessy_site: Site, passes: Passes) -> None:
    site = sessy_site
    await site.regulate("zero_export")
    await site.reports(90, passes)
    assert not site.is_released()
    assert site.grid == pytest.approx(30, abs=70)
    plant_of(site).fixed_pv = 2000.0
    await site.reports(60, passes)
    assert site.grid == pytest.approx(30, abs=70)
    assert site.power > 1000
    plant_of(site).fixed_pv = 500.0
    await site.reports(90, passes)
    # The rest is too little for the inverter to begin with.
    assert site.grid == pytest.approx(100, abs=30)
    assert site.power == pytest.approx(0, abs=20)


async def test_meter_with_two_sensors_in_kilowatts(
    victron_site: Site, passes: Passes
) -> None:
    site = victron_site
    plant_of(site).fixed_pv = 1500.0
    await site.regulate("zero_export", grid_export=EXPORT, unit="kW")
    await site.reports(120, passes)
    assert not site.is_released()
    assert site.grid == pytest.approx(30, abs=70)
    assert site.power > 600


async def test_small_swings_are_ignored(
    sessy_site: Site, sessy: SessySimulator, passes: Passes
) -> None:
    site = sessy_site
    await site.regulate("zero_export")
    await site.reports(120, passes)
    setpoints = site.setpoints(sessy)
    for swing in (20, -30, 25, 0, -20, 30) * 2:
        plant_of(site).fixed_load = LOAD + swing
        await site.reports(15, passes)
    assert len(set(site.setpoints(sessy)[len(setpoints) - 1 :])) == 1


async def test_limits_of_power_and_charge_are_kept(
    sessy_site: Site, passes: Passes
) -> None:
    site = sessy_site
    await site.regulate("zero_export", max_charge=800, max_discharge=300, max_soc=90)
    await site.reports(90, passes)
    assert site.power == pytest.approx(-300, rel=0.1)
    plant_of(site).fixed_pv = 3000.0
    await site.reports(60, passes)
    assert site.power == pytest.approx(800, rel=0.1)
    plant_of(site).soc = 90.4
    await site.reports(60, passes)
    assert site.power == pytest.approx(0, abs=20)
    plant_of(site).soc = 88.6
    await site.reports(60, passes)
    assert site.power == pytest.approx(0, abs=20)
    plant_of(site).soc = 87
    await site.reports(60, passes)
    assert site.power == pytest.approx(800, rel=0.1)


@pytest.mark.parametrize("name", ["zero_export", "peak_shaving"])
@pytest.mark.parametrize("lost", ["unknown", "unavailable", "silent", "no unit"])
async def test_battery_is_released_when_the_meter_is_lost(
    sessy_site: Site, passes: Passes, name: str, lost: str
) -> None:
    site = sessy_site
    await site.idle()
    await site.regulate(name, **OVER)
    await site.reports(90, passes)
    assert not site.is_released()
    if lost == "no unit":
        site.set(GRID, 400)
    elif lost != "silent":
        site.set(GRID, lost)
    await passes(90, 10)
    assert site.is_released()
    # It is not held again for a while after the meter reports again.
    await site.reports(45, passes)
    assert site.is_released()


OVER: Final[dict[str, Any]] = {"limit": 400, "oldest": 60}
"""Inputs with a peak limit, of peak_shaving only, that the house always exceeds."""


@pytest.mark.parametrize("name", ["zero_export", "peak_shaving"])
async def test_battery_is_released_after_the_regulator_was_stopped(
    sessy_site: Site, passes: Passes, name: str
) -> None:
    site = sessy_site
    await site.idle()
    await site.regulate(name, **OVER)
    await site.reports(90, passes)
    await stop_while_held(site)
    await passes(170, 10)
    assert site.is_released()


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "inputs"),
    [("zero_export", {}), ("peak_shaving", {"between": "recharge"})],
)
async def test_battery_stays_held_from_one_run_to_the_next(
    sessy_site: Site,
    sessy: SessySimulator,
    passes: Passes,
    name: str,
    inputs: dict[str, Any],
) -> None:
    site = sessy_site
    await site.regulate(name, pace=60, oldest=120, **inputs)
    await site.reports(3900, passes, 60)
    assert not site.is_released()
    strategies = [path for _, path, _ in sessy.server.posts if "strategy" in path]
    assert len(strategies) == 1


# Peak shaving


async def test_peak_is_shaved_and_the_battery_released(
    sessy_site: Site, passes: Passes
) -> None:
    site = sessy_site
    # The battery does nothing by itself.
    plant = plant_of(site)
    await site.idle()
    await site.regulate("peak_shaving", limit=2000, stay=3)
    await site.reports(120, passes)
    assert site.power == pytest.approx(0, abs=20)
    assert site.is_idle()
    plant.fixed_load = 3200.0
    await site.reports(60, passes)
    assert 1700 < site.grid < 2000
    assert site.power < -1000
    plant.fixed_load = 1500.0
    await site.reports(60, passes)
    # The peak is not yet over, but the battery need not discharge any more.
    assert site.power == pytest.approx(0, abs=20)
    assert not site.is_idle()
    plant.fixed_load = 2500.0
    await site.reports(60, passes)
    assert 1700 < site.grid < 2000
    plant.fixed_load = 1500.0
    await site.reports(240, passes)
    assert site.is_idle()


@pytest.mark.parametrize("unit", ["W", "kW"])
@pytest.mark.parametrize("sensors", [1, 2])
async def test_peak_is_seen_at_once_by_any_meter(
    sessy_site: Site, passes: Passes, unit: str, sensors: int
) -> None:
    site = sessy_site
    await site.idle()
    inputs = {"grid_export": EXPORT} if sensors == 2 else {}
    await site.regulate("peak_shaving", unit=unit, limit=2000, **inputs)
    plant_of(site).fixed_pv = 1500.0
    await site.reports(65, passes)
    # Exported power is no peak.
    assert site.is_idle()
    plant_of(site).fixed_pv, plant_of(site).fixed_load = 0.0, 3200.0
    # The automation reacts before the next minute.
    await site.reports(20, passes)
    assert 1700 < site.grid < 2000
    assert site.power < -1000


@pytest.mark.parametrize("unit", ["W", "kW"])
async def test_exported_power_is_room_to_recharge(
    sessy_site: Site, sessy: SessySimulator, passes: Passes, unit: str
) -> None:
    site = sessy_site
    await site.idle()
    plant_of(site).fixed_pv = 1500.0
    # The battery's power has been read by then.
    await passes(30, 10)
    await site.regulate(
        "peak_shaving",
        unit=unit,
        grid_export=EXPORT,
        limit=1000,
        dead_band=100,
        between="recharge",
        recharge_power=2200,
    )
    await site.reports(65, passes)
    # 900 W are exported and 900 W remain below the limit; used from the start.
    assert site.setpoints(sessy)[0] == pytest.approx(-1800, abs=30)
    assert site.power == pytest.approx(1800, rel=0.1)
    assert site.grid < 1000


async def test_battery_kept_for_peaks_is_recharged_below_the_limit(
    victron_site: Site, passes: Passes
) -> None:
    site = victron_site
    plant = plant_of(site)
    await site.regulate(
        "peak_shaving",
        limit=2000,
        between="recharge",
        recharge_power=1000,
        recharge_soc=60,
    )
    await site.reports(90, passes)
    assert site.power == pytest.approx(1000, rel=0.1)
    plant.fixed_load = 1500.0
    await site.reports(60, passes)
    assert 300 < site.power < 500
    assert site.grid < 2000
    plant.fixed_load = 3000.0
    await site.reports(60, passes)
    assert site.power < -900
    assert 1700 < site.grid < 2000
    plant.fixed_load, plant.soc = LOAD, 60.5
    await site.reports(60, passes)
    assert site.power == pytest.approx(0, abs=30)
    plant.fixed_load, plant.soc = 3000.0, 9.0
    await site.reports(60, passes)
    # The battery is too empty to help.
    assert site.power == pytest.approx(0, abs=30)


async def test_small_swings_of_a_peak_are_ignored(
    sessy_site: Site, sessy: SessySimulator, passes: Passes
) -> None:
    site = sessy_site
    plant_of(site).fixed_load = 3000.0
    await site.idle()
    await site.regulate("peak_shaving", limit=2000)
    await site.reports(120, passes)
    setpoints = site.setpoints(sessy)
    for swing in (40, -50, 50, 0, -40) * 2:
        plant_of(site).fixed_load = 3000.0 + swing
        await site.reports(15, passes)
        assert site.grid < 2000
    assert len(set(site.setpoints(sessy)[len(setpoints) - 1 :])) == 1
