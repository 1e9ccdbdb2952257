"""The blueprints, run in Home Assistant against a simulated battery."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
import re
import shutil
from typing import Any, Final

from freezegun import freeze_time
from freezegun.api import TickingDateTimeFactory
from homeassistant.components.automation.helpers import async_get_blueprints
from homeassistant.components.blueprint.models import Blueprint
from homeassistant.components.blueprint.schemas import BLUEPRINT_SCHEMA
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util, yaml as yaml_util
import pytest

from custom_components.homebattery.const import DOMAIN

from .conftest import LOAD, Home, MakeHome, Warp
from .simulators import (
    SIMULATORS,
    DeyeModbusSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    VictronSimulator,
)

ROOT: Final = Path(__file__).parent.parent
FILES: Final = sorted((ROOT / "blueprints/automation/homebattery").glob("*.yaml"))
NAMES: Final = ("cheapest_hours", "keep_reserve", "peak_shaving", "zero_export")
AUTOMATION: Final = "automation.tested"
ZONE: Final = "Europe/Amsterdam"
MIDNIGHT: Final = "2026-11-10T00:00:00+01:00"

type At = Callable[[str], Awaitable[None]]


# The files


def test_there_are_four() -> None:
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
            assert section["collapsed"] and section["description"] or section["name"]
            assert all("default" in each for each in section["input"].values())


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_in_the_documents(name: str) -> None:
    path = f"blueprints/automation/homebattery/{name}.yaml"
    assert path in (ROOT / "README.md").read_text("utf-8")
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


@pytest.fixture(autouse=True)
def frozen(request: pytest.FixtureRequest) -> Iterator[TickingDateTimeFactory | None]:
    """Let it be midnight; clocks on the wall go on from there."""
    if "hass" not in request.fixturenames:
        yield None
        return
    with freeze_time(MIDNIGHT, tick=True, real_asyncio=True) as frozen:
        yield frozen


@pytest.fixture
async def passes(
    hass: HomeAssistant, frozen: TickingDateTimeFactory, warp: Warp
) -> Warp:
    """Return a coroutine that lets time pass, on clocks on the wall as well.

    Step by step, because all that falls due in a step happens once.
    """
    await hass.config.async_set_time_zone(ZONE)

    async def leap(seconds: float, step: float = 60) -> None:
        while seconds > 0:
            frozen.tick(min(step, seconds))
            await warp(min(step, seconds))
            seconds -= step

    return leap


@pytest.fixture
def until(passes: Warp) -> At:
    """Return a coroutine that lets time pass until an o'clock, in one leap."""

    async def leap(clock: str) -> None:
        then = dt_util.now().replace(microsecond=0)
        hour, minute = clock.split(":")
        then = then.replace(hour=int(hour), minute=int(minute), second=0)
        seconds = (then - dt_util.now()).total_seconds()
        assert seconds > 0
        await passes(seconds, seconds)

    return leap


class Owner:
    """Somebody who has made an automation of a blueprint, with one battery."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.hass = home.hass

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs that each blueprint has."""
        device = dr.async_get(self.hass).async_get_device_by_identifier(
            (DOMAIN, str(self.home.entry.unique_id)), self.home.entry.entry_id
        )
        assert device is not None
        return {
            "battery": device.id,
            "setpoint": self.home.entity_id("power_setpoint"),
        }

    async def use(self, name: str, **inputs: Any) -> None:
        """Make the automation."""
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

    @property
    def power(self) -> float:
        """What the battery really does, W."""
        return float(self.home.simulator.state()["battery_power"])

    @property
    def is_free(self) -> bool:
        """Whether the battery is in its own control, as far as it is concerned."""
        return self.home.simulator.mode == "automatic"


@pytest.fixture
def blueprints(hass: HomeAssistant, tmp_path: Path) -> None:
    """Let Home Assistant have a directory of its own with our blueprints in it."""
    shutil.copytree(ROOT / "blueprints", tmp_path / "blueprints")
    hass.config.config_dir = str(tmp_path)


@pytest.fixture
def victron_owner(blueprints: None, victron_home: Home, passes: Warp) -> Owner:
    return Owner(victron_home)


@pytest.fixture
def sessy_owner(blueprints: None, sessy_home: Home, passes: Warp) -> Owner:
    return Owner(sessy_home)


async def test_home_assistant_finds_them(hass: HomeAssistant, blueprints: None) -> None:
    assert await async_setup_component(hass, "automation", {})
    found = await async_get_blueprints(hass).async_get_blueprints()
    for name in NAMES:
        assert isinstance(found[f"homebattery/{name}.yaml"], Blueprint)


# Cheapest hours

PRICE: Final = "sensor.price"
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
    victron_owner: Owner,
    until: At,
    passes: Warp,
    shape: Callable[[list[float], list[float]], dict[str, Any]],
) -> None:
    owner = victron_owner
    owner.set(PRICE, 0.30, **shape(HOURS, [0.2] * 24))
    await owner.use("cheapest_hours", price_sensor=PRICE, hours=2, charge_power=1500)
    await until("02:55")
    assert owner.is_free
    await until("03:00")
    await passes(10)
    assert owner.power == pytest.approx(1500, rel=0.1)
    await passes(58 * 60)
    assert owner.power == pytest.approx(1500, rel=0.1)
    # The next is dearer than the one after it.
    await passes(2 * 60)
    assert owner.is_free
    await until("04:55")
    assert owner.is_free
    await until("05:00")
    await passes(20 * 60)
    assert owner.power == pytest.approx(1500, rel=0.1)
    await passes(41 * 60)
    assert owner.is_free


async def test_hours_in_a_row_are_charged_in_one_go(
    victron_owner: Owner, victron: VictronSimulator, until: At, passes: Warp
) -> None:
    owner = victron_owner
    owner.set(PRICE, 0.30, **as_entsoe(HOURS, []))
    await owner.use("cheapest_hours", price_sensor=PRICE, hours=3, charge_power=300)
    await until("03:00")
    await passes(170 * 60, 61)
    assert owner.power == pytest.approx(300, rel=0.15)
    modes = [write for write in victron.server.traffic.writes if write.address == 2902]
    assert len(modes) == 1
    await passes(12 * 60)
    assert owner.is_free


async def test_charging_stops_at_the_target_and_does_not_flap(
    victron_owner: Owner, victron: VictronSimulator, until: At, passes: Warp
) -> None:
    owner = victron_owner
    victron.plant.soc = 70
    owner.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await owner.use("cheapest_hours", price_sensor=PRICE, target_soc=80)
    await until("03:00")
    await passes(60)
    assert owner.power == pytest.approx(2000, rel=0.1)
    victron.plant.soc = 80.4
    await passes(120)
    assert owner.is_free
    victron.plant.soc = 76
    await passes(600)
    assert owner.is_free
    victron.plant.soc = 74
    await passes(600)
    assert owner.power == pytest.approx(2000, rel=0.1)


async def test_full_battery_can_be_held_until_the_cheap_hours_are_over(
    victron_owner: Owner, victron: VictronSimulator, until: At, passes: Warp
) -> None:
    owner = victron_owner
    victron.plant.soc = 79
    owner.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await owner.use(
        "cheapest_hours",
        price_sensor=PRICE,
        target_soc=80,
        hours=1,
        at_target="hold",
    )
    await until("03:00")
    await passes(600)
    assert not owner.is_free
    assert owner.power == pytest.approx(0, abs=20)
    await passes(3000)
    await passes(60)
    assert owner.is_free


async def test_power_is_bounded_by_the_number(
    make_home: MakeHome,
    blueprints: None,
    victron: VictronSimulator,
    until: At,
    passes: Warp,
) -> None:
    home = make_home(victron, max_charge_power=1200)
    assert await home.set_up()
    owner = Owner(home)
    owner.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await owner.use("cheapest_hours", price_sensor=PRICE, charge_power=4000)
    await until("03:00")
    await passes(10)
    assert owner.power == pytest.approx(1200, rel=0.1)


async def test_prices_that_are_lost_give_the_battery_back(
    victron_owner: Owner, until: At, passes: Warp
) -> None:
    owner = victron_owner
    owner.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await owner.use("cheapest_hours", price_sensor=PRICE)
    await until("03:00")
    await passes(10)
    assert not owner.is_free
    owner.set(PRICE, "unavailable")
    await passes(60)
    assert owner.is_free
    await passes(600)
    assert owner.is_free


async def test_hours_of_a_night_wait_for_the_prices_of_its_second_day(
    victron_owner: Owner, until: At, passes: Warp
) -> None:
    owner = victron_owner
    tomorrow = [*([0.3] * 4), 0.01, *([0.3] * 19)]
    owner.set(PRICE, 0.30, **as_nord_pool([0.2] * 24, []))
    await owner.use(
        "cheapest_hours",
        price_sensor=PRICE,
        hours=2,
        earliest_start="22:00:00",
        latest_end="06:00:00",
    )
    await until("21:55")
    await passes(600)
    assert owner.is_free
    owner.set(PRICE, 0.30, **as_nord_pool([0.2] * 24, tomorrow))
    await passes(300)
    # Four in the morning, and the first of two that cost the same.
    assert owner.power == pytest.approx(2000, rel=0.1)
    await passes(3600)
    assert owner.is_free


async def test_price_without_a_list_is_compared_with_the_limit(
    sessy_owner: Owner, until: At, passes: Warp
) -> None:
    owner = sessy_owner
    owner.set(PRICE, 0.12)
    await owner.use("cheapest_hours", price_sensor=PRICE, price_limit=0.10)
    await until("00:06")
    assert owner.is_free
    owner.set(PRICE, 0.10)
    await passes(300)
    assert owner.power == pytest.approx(2000, rel=0.1)
    owner.set(PRICE, 0.101)
    await passes(120)
    assert owner.is_free
    owner.set(PRICE, "unknown")
    await passes(600)
    assert owner.is_free


async def test_dead_automation_gives_the_battery_back(
    sessy_owner: Owner, until: At, passes: Warp
) -> None:
    owner = sessy_owner
    owner.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await owner.use("cheapest_hours", price_sensor=PRICE)
    await until("03:00")
    await passes(10)
    assert not owner.is_free
    await die(owner)
    await passes(8 * 60)
    assert owner.is_free


async def die(owner: Owner) -> None:
    """Let the automation end in the middle, without a word to the battery."""
    await owner.hass.services.async_call(
        "automation", "turn_off", {"entity_id": AUTOMATION}, blocking=True
    )
    assert not owner.is_free


async def test_what_was_set_by_hand_is_left_alone_outside_the_hours(
    victron_owner: Owner, passes: Warp
) -> None:
    owner = victron_owner
    owner.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await owner.use("cheapest_hours", price_sensor=PRICE)
    await owner.home.set_power(-500)
    await passes(600)
    assert owner.power == pytest.approx(-500, rel=0.1)


async def test_setpoint_of_another_battery_is_refused(
    victron_owner: Owner,
    sessy: SessySimulator,
    make_home: MakeHome,
    until: At,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner, other = victron_owner, make_home(sessy)
    assert await other.set_up()
    owner.set(PRICE, 0.30, **as_numbers(HOURS, []))
    await owner.use(
        "cheapest_hours", price_sensor=PRICE, setpoint=other.entity_id("power_setpoint")
    )
    await until("03:00")
    assert "The power setpoint chosen is not that of the battery chosen" in caplog.text
    assert owner.is_free


# Keeping a reserve


@pytest.fixture(params=["deye_modbus", "sma"])
async def reserve_owner(
    request: pytest.FixtureRequest,
    blueprints: None,
    make_home: MakeHome,
    clock: ManualClock,
    passes: Warp,
) -> Any:
    """An owner of a battery of the kinds that are not to be told often."""
    device: Any = SIMULATORS[request.param]
    house = device.house(clock=clock)
    house.fixed_pv, house.fixed_load = 0.0, LOAD
    async with device(house) as simulator:
        home = make_home(simulator)
        assert await home.set_up()
        yield Owner(home)


GRID: Final = "sensor.grid"
SUN: Final = {
    "grid_power": GRID,
    "surplus": 300,
    "surplus_minutes": 3,
}


def plant_of(owner: Owner) -> Any:
    return owner.home.simulator.plant


def grid_shows(owner: Owner) -> None:
    """Let the grid meter report, in kW."""
    power = sum(owner.home.simulator.state()["grid_power"])
    owner.set(GRID, round(power / 1000, 3), unit_of_measurement="kW")


async def test_reserve_is_held_and_given_back_at_its_time(
    reserve_owner: Owner, until: At, passes: Warp
) -> None:
    owner = reserve_owner
    plant_of(owner).soc = 55
    await owner.use("keep_reserve", reserve=50, end="06:00:00")
    await passes(180)
    assert owner.is_free
    assert owner.power < -LOAD / 2
    plant_of(owner).soc = 49.9
    await passes(180)
    assert not owner.is_free
    assert owner.power == pytest.approx(0, abs=30)
    writes = flash_writes(owner)
    await passes(30 * 60)
    assert owner.power == pytest.approx(0, abs=30)
    # Asking for the same again does not wear anything.
    assert flash_writes(owner) == writes
    await until("05:59")
    await passes(130, 65)
    assert owner.is_free
    await passes(600)
    assert owner.is_free


def flash_writes(owner: Owner) -> int:
    return owner.home.data.control.flash_writes_today
