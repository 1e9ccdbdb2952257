"""The demo's own parts: its ports, its local time, its batteries and their past."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import combinations, pairwise
import json
from pathlib import Path
import socket
from typing import Any, Final
from zoneinfo import ZoneInfo

import aiohttp
from homeassistant.util import dt as dt_util
from homeassistant.util.yaml import load_yaml_dict
from PIL import Image
import pytest

from scripts.demonstration import ROOT, DemoError, batteries, past, story
from scripts.demonstration.__main__ import FIRST_ADDRESS
from scripts.demonstration.daytime import LocalTime
from scripts.demonstration.demo_house import prices
from scripts.demonstration.demo_house.house import Key, measure
from scripts.demonstration.devices import (
    SPARE,
    TYPES,
    Device,
    Place,
    claimed,
    real_places,
)
from scripts.demonstration.house import Battery, House
from scripts.demonstration.pictures import FOLDER, PICTURES, Picture
from scripts.demonstration.processes import PORTS, free_port, is_free
from tests.browser.stage import PLACES
from tests.simulators.__main__ import build, parser

NOW: Final = 1_795_000_000.0
"""A unix time; 10:26 UTC."""
HOUR: Final = 3600
DAY: Final = 24 * HOUR


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port of 127.0.0.1; 0 for any."""
    return socket.create_server(("127.0.0.1", port))


# Ports and addresses


def test_a_port_for_later_goes_to_no_server_that_listens_on_any(
    socket_enabled: None,
) -> None:
    # It was one of those, and a simulated device got it now and then.
    with ExitStack() as servers:
        taken = [servers.enter_context(listening(0)) for _ in range(50)]

        assert free_port() in PORTS
        assert not {each.getsockname()[1] for each in taken} & set(PORTS)


def test_a_port_that_is_taken_is_not_free(socket_enabled: None) -> None:
    with listening(0) as server:
        assert not is_free(server.getsockname()[1])


def test_each_device_has_an_address_that_the_browser_suite_does_not_use() -> None:
    places = real_places(FIRST_ADDRESS)

    assert places.keys() == {*TYPES, SPARE}
    assert len({place.host for place in (*places.values(), *PLACES.values())}) == 14
    assert places[SPARE] == Place("127.0.0.27", places[batteries.SPARE].port)


@pytest.fixture
def places(socket_enabled: None) -> Mapping[str, Place]:
    """Return places of devices where nothing listens, and everybody may."""
    port = free_port()
    return {
        name: Place(f"127.0.0.{200 + number}", port)
        for number, name in enumerate([*TYPES, SPARE])
    }


def test_of_two_demos_one_has_the_places_of_real_devices(
    places: Mapping[str, Place],
) -> None:
    with claimed(places) as first, claimed(places) as second:
        assert (first, second) == (places, {})
    with claimed(places) as third:
        assert third == places


@pytest.mark.parametrize("name", [TYPES[0], SPARE])
def test_when_one_place_is_taken_the_demo_has_none_of_them(
    places: Mapping[str, Place], name: str
) -> None:
    with socket.create_server(places[name]), claimed(places) as given:
        assert given == {}


# A demo that goes on


COMPLETE: Final = {"complete": True, "places": {}}


async def start(folder: Path, *, keep: bool) -> None:
    """Start a demo in a folder as far as it comes: its port is in use."""
    with listening(0) as server:
        port = server.getsockname()[1]
        async with aiohttp.ClientSession() as session:
            with pytest.raises(DemoError, match="in use"):
                async with House(folder, session, port=port, keep=keep):
                    pass


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    ("record", "keep", "stays"),
    [
        (COMPLETE, True, True),
        (COMPLETE, False, False),
        # Its first start was interrupted: after that of the devices, or before.
        (COMPLETE | {"complete": False}, True, False),
        (None, True, False),
    ],
)
async def test_only_a_demo_that_was_complete_goes_on(
    tmp_path: Path, record: Mapping[str, Any] | None, keep: bool, stays: bool
) -> None:
    folder = tmp_path / "house"
    storage = folder / "config" / ".storage"
    storage.mkdir(parents=True)
    if record:
        (folder / "demo.json").write_text(json.dumps(record))

    await start(folder, keep=keep)

    assert folder.exists()
    assert storage.exists() == stays


async def test_a_demo_goes_on_only_where_its_devices_were(
    places: Mapping[str, Place], tmp_path: Path
) -> None:
    with listening(0) as server:
        taken = Place(*server.getsockname())
        # Another demo is about to listen at this one.
        claimed_by_another = places[TYPES[0]]
        for place in (taken, claimed_by_another):
            record = COMPLETE | {"places": dict.fromkeys(TYPES, place)}
            (tmp_path / "demo.json").write_text(json.dumps(record))
            async with aiohttp.ClientSession() as session:
                house = House(tmp_path, session, port=free_port(), keep=True)
                with pytest.raises(DemoError, match=f"{place.port}.*--keep"):
                    await house.__aenter__()


# The local time


@pytest.mark.parametrize("hour", range(24))
def test_it_is_past_noon_wherever_the_demo_starts(hour: int) -> None:
    now = NOW // DAY * DAY + hour * HOUR + 1800
    local = LocalTime.with_sunshine(now)
    offset = dt_util.utc_from_timestamp(now).astimezone(ZoneInfo(local.time_zone))

    assert local.hour(now) == 13.5
    assert (offset.hour, offset.minute) == (13, 30)


def test_the_past_begins_at_a_midnight_a_week_ago() -> None:
    local = LocalTime.with_sunshine(NOW)

    assert local.hour(local.began) == 0
    assert local.days(local.began) == 1
    assert local.days(NOW) == 8


def test_a_demo_that_is_kept_has_the_same_local_time_and_a_longer_past() -> None:
    local = LocalTime.with_sunshine(NOW)
    kept = LocalTime.from_record(local.as_record())

    assert kept == local
    assert kept.days(NOW + 5 * DAY) == 13


# The batteries


def lived(battery_type: str, hour: float) -> tuple[dict[str, float], past.Past]:
    """Return what a device of the demo measures at an hour, and its past."""
    local = LocalTime.with_sunshine(NOW)
    now = local.began + 7 * DAY + hour * HOUR
    options = batteries.options(battery_type, local, now)
    simulator, records = build(parser().parse_args([battery_type, *options]))
    return simulator.measured(), records


@pytest.fixture(scope="module", params=[13.0, 13.98])
def week(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Return the present and the past of all devices, when a demo may start."""
    return {name: lived(name, request.param) for name in TYPES}


def test_one_battery_is_nearly_full_and_the_others_differ(
    week: Mapping[str, Any],
) -> None:
    *others, fullest = sorted(now["soc"] for now, _ in week.values())

    assert 88 < fullest < 99
    assert all(20 < soc < 85 for soc in others)
    assert all(abs(one - other) > 5 for one, other in combinations(others, 2))


def test_capacities_loads_and_suns_differ(week: Mapping[str, Any]) -> None:
    for key in ("load_power", "pv_power"):
        assert len({round(now[key], -1) for now, _ in week.values()}) == len(TYPES)


@pytest.fixture(scope="module")
def pasts(week: Mapping[str, Any]) -> list[past.Past]:
    """Return the past of all devices."""
    return past.common(records for _, records in week.values())


ENTITIES: Final[dict[str, str]] = {key: f"sensor.{key}" for key in Key}


def house_hours(pasts: list[past.Past]) -> Iterator[dict[str, float]]:
    """Yield the energies of each hour of the house and its batteries, kWh."""
    records = list(zip(*pasts, strict=True))[::12]
    names = ("charged", "discharged", "imported", "exported", "pv", "load")
    for before, after in pairwise(records):
        yield {
            name: sum(
                (later[f"energy_{name}"] - earlier[f"energy_{name}"]) / 1000
                for earlier, later in zip(before, after, strict=True)
            )
            for name in names
        }


def test_energy_is_conserved_in_each_hour(pasts: list[past.Past]) -> None:
    for hour in house_hours(pasts):
        given = hour["imported"] + hour["pv"] + hour["discharged"]
        taken = hour["exported"] + hour["load"] + hour["charged"]

        # The inverters lose a twentieth of what they convert.
        assert -0.01 < given - taken < 0.06 * (given + taken)


def test_the_week_has_nights_clouds_and_export(pasts: list[past.Past]) -> None:
    hours = list(house_hours(pasts))
    days = [sum(hour["pv"] for hour in hours[24 * n : 24 * n + 24]) for n in range(7)]

    assert sum(hour["pv"] == 0 for hour in hours) > 7 * 8
    assert max(days) > 2 * min(days)
    assert sum(hour["exported"] for hour in hours) > 20
    assert sum(hour["imported"] for hour in hours) > 20


def test_totals_of_the_house_never_fall_and_end_where_it_is_now(
    week: Mapping[str, Any], pasts: list[past.Past]
) -> None:
    now = measure(present for present, _ in week.values())

    for series in past.of_house(pasts, ENTITIES):
        key = Key(series.entity_id.removeprefix("sensor."))
        if key.startswith("energy"):
            assert all(a <= b for a, b in pairwise(series.values))
            # The last record is less than five minutes old.
            assert 0 <= now[key] - series.values[-1] < 1.5


def test_a_total_ends_with_what_is_shown_less_what_was_counted_since() -> None:
    records = [
        {"at": at, "soc": 50, "battery_power": 600, "energy_charged": wh}
        for at, wh in ((300, 1000), (600, 1050))
    ]
    entities = {key: f"sensor.{key}" for key in ("battery_soc", "energy_charged_total")}
    now = records[-1] | {"energy_charged": 1060}

    soc, charged = past.of_battery(
        records, now, entities, {"energy_charged_total": 7.0, "battery_soc": 50}
    )

    assert soc.values == [50, 50]
    assert charged.begin == 300
    assert charged.values == pytest.approx([6.94, 6.99])


def test_pasts_are_cut_to_the_times_that_all_have() -> None:
    early = [{"at": at} for at in (0, 300, 600)]
    late = [{"at": at} for at in (300, 600, 900)]

    assert past.common([early, late]) == [early[1:], late[:-1]]


def test_a_power_that_the_energy_dashboard_inverts_has_the_past_inverted() -> None:
    power = past.Series(entity_id="sensor.a", begin=0, values=[1, -2])
    sources = [
        {"type": "grid", "power_config": {"stat_rate": "sensor.a"}},
        {
            "type": "battery",
            "power_config": {"stat_rate_inverted": "sensor.a"},
            "stat_rate": "sensor.a_inverted",
        },
    ]

    assert past.of_inverted([power], sources) == [
        past.Series(entity_id="sensor.a_inverted", begin=0, values=[-1, 2])
    ]


def rows(*sums: float) -> list[dict[str, float]]:
    """Return hourly statistics of a total."""
    return [{"start": 1000.0 * HOUR * n, "sum": each} for n, each in enumerate(sums)]


def test_statistics_of_a_week_without_a_fall_have_no_faults() -> None:
    assert list(past.faults("sensor.a", rows(*range(150)))) == []


@pytest.mark.parametrize(
    ("statistics", "fault"),
    [
        ([], "shorter than six days"),
        (rows(*range(100)), "shorter than six days"),
        (rows(*range(150))[:80] + rows(*range(160))[90:], "gaps"),
        (rows(*range(150), 148), "falls"),
    ],
)
def test_the_check_notices_a_fault_of_the_history(
    statistics: list[dict[str, float]], fault: str
) -> None:
    (text,) = past.faults("sensor.a", statistics)

    assert fault in text


# Prices and automations


def test_prices_are_listed_as_the_blueprint_of_the_cheapest_hours_reads_them() -> None:
    midnight = dt_util.start_of_local_day()
    day = prices.prices_of_day(midnight)

    assert len(day) == 24
    assert {entry["start"].date() for entry in day} == {midnight.date()}
    assert [entry["value"] for entry in day] == [
        prices.price(entry["start"]) for entry in day
    ]
    assert min(day, key=lambda entry: entry["value"])["start"].hour == 13


BLUEPRINTS: Final = ROOT / "blueprints" / "automation" / "homebattery"


def inputs_of(sections: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the inputs of a blueprint, and whether each is required."""
    for name, content in sections.items():
        if "input" in content:
            yield from inputs_of(content["input"])
        else:
            yield name, "default" not in content


def test_there_is_an_automation_of_each_blueprint_each_for_another_battery() -> None:
    blueprints = {path.stem for path in BLUEPRINTS.glob("*.yaml")}

    assert {each.blueprint for each in story.AUTOMATIONS} == blueprints
    assert len({each.battery_type for each in story.AUTOMATIONS}) == len(blueprints)


@pytest.mark.parametrize("automation", story.AUTOMATIONS)
def test_an_automation_gives_its_blueprint_the_inputs_it_needs(
    automation: story.Automation,
) -> None:
    blueprint: Any = load_yaml_dict(str(BLUEPRINTS / f"{automation.blueprint}.yaml"))
    inputs = dict(inputs_of(blueprint["blueprint"]["input"]))
    given = {"battery", *automation.inputs}

    assert given <= inputs.keys()
    assert {name for name, required in inputs.items() if required} <= given


# The terminal


@pytest.fixture
async def house(tmp_path: Path) -> Any:
    """Return a house with a battery, of which nothing is started."""
    async with aiohttp.ClientSession() as session:
        house = House(tmp_path, session, port=8123, lived_in=True)
        house.batteries = [
            Battery(device=device(name, Place()), entry_id="1", title=name)
            for name in TYPES
        ]
        house.spare = device("victron", Place(port=23456))
        yield house


def device(name: str, place: Place) -> Any:
    """Return a device that is not started."""
    child: Any = None
    url = "http://127.0.0.1:54321/state"
    return Device(type=name, place=place, setup={}, state_url=url, child=child)


def test_the_terminal_has_five_things_to_try_on_one_screen(house: House) -> None:
    house.spare = device("victron", Place("127.0.0.27", 502))
    lines = story.welcome(house).splitlines()

    assert [line[:2] for line in lines if line[:1].isdigit()] == [
        f"{number}." for number in range(1, 6)
    ]
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 88
    assert any("Find it by its address → 127.0.0.27." in line for line in lines)
    assert any(house.password in line for line in lines)


def test_the_terminal_says_when_the_ports_are_random(house: House) -> None:
    text = story.welcome(house)

    assert "Simulated batteries, at random ports: those of real ones are in use" in text
    assert "Victron GX device → 127.0.0.1, port 23456." in text
    assert "Find it by its address" not in text


def test_the_terminal_says_nothing_of_a_start_when_the_demo_goes_on(
    house: House,
) -> None:
    first, kept = (story.welcome(house, goes_on=goes_on) for goes_on in (False, True))

    for words in ("six batteries; one is nearly full", "where it is day", "in use"):
        assert words in first
        assert words not in kept
    assert "(unless you have)." in kept


# Pictures


@pytest.mark.parametrize("picture", PICTURES, ids=lambda each: each.name)
def test_a_picture_is_not_wider_than_its_window(picture: Picture) -> None:
    with Image.open(FOLDER / f"{picture.name}.png") as image:
        width, window = image.width, picture.window["viewport"]["width"]

    assert width == window if picture.parts else width <= window
