"""The dashboard that the integration brings, as a person adds and uses it."""

from collections import Counter
from collections.abc import Callable, Sequence
import re
from typing import Any, Final

from playwright.sync_api import expect
import pytest

from scripts.demonstration.devices import TYPES
from tests.cards_to_paste import cards, entities_on, views_to_paste

from .frontend import Dashboard, Frontend
from .stage import Stage
from .words import english, entity, page_text, state

OTHER_LANGUAGES: Final = ("de", "nl", "fr")
STRATEGY: Final = {"strategy": {"type": "custom:homebattery"}}
SETPOINT = entity("number", "power_setpoint")
MODE = entity("select", "control_mode")
STATUS = entity("sensor", "control_status")
SOC = entity("sensor", "battery_soc")
EMPTY = english("entity.sensor.control_status.state_attributes.reason.state.empty")


def mode(value: str) -> str:
    return state("select", "control_mode", value)


def test_the_dashboard_is_added_without_yaml(stage: Stage, frontend: Frontend) -> None:
    stage.add("sessy")
    frontend.add_dashboard("Home Battery", "Batteries")
    (added,) = stage.until("the dashboard to be added", stage.dashboards, bool)
    path = added["url_path"]
    # The dialog saves it a moment later, and not at all if the page is left before.
    stage.until("it to be stored", lambda: stage.configuration(path), bool)
    dashboard = frontend.dashboard(f"/{path}")
    dashboard.expect_tile(SOC, "50%")
    frontend.picture("added")
    dashboard.expect_no_errors()


@pytest.mark.parametrize("frontend", ["desktop", "phone"], indirect=True)
def test_a_setpoint_set_by_slider_is_followed_until_release(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("victron")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.open("MultiPlus-II")
    dashboard.expect_tile(MODE, mode("automatic"))
    # At three quarters of the way from -5000 W to 5000 W.
    dashboard.slide(SETPOINT, 0.75)
    dashboard.expect_tile(STATUS, state("sensor", "control_status", "following"))
    dashboard.expect_tile(page_text("en", "charging"), re.compile(r"[12],\d{3} W"))
    frontend.picture("following")
    stage.until(
        "the device to reach the setpoint",
        lambda: stage.really("victron")["battery_power"],
        lambda power: abs(power - 2500) < 200,
    )

    dashboard.press(page_text("en", "release"))
    dashboard.expect_tile(MODE, mode("automatic"))
    assert stage.really("victron")["mode"] == "automatic"
    dashboard.expect_no_errors()


@pytest.mark.parametrize("frontend", ["dark"], indirect=True)
def test_its_buttons_charge_discharge_and_hold(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.open("Sessy")
    for button, word, power in (
        ("charge", "charging", 1000),
        ("discharge", "discharging", -1000),
        ("hold", "idle", 0),
    ):
        dashboard.press(re.compile(rf"^{page_text('en', button)}\b"))
        dashboard.expect_tile(page_text("en", word), f"{power:,} W")
        assert stage.really("sessy")["battery_power"] == pytest.approx(power, abs=60)
    frontend.picture("held")


@pytest.mark.parametrize("frontend", ["phone"], indirect=True)
def test_a_limited_setpoint_says_why(stage: Stage, frontend: Frontend) -> None:
    stage.change_house("victron", soc=5)
    entry_id = stage.add("victron")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    stage.call(
        "number.set_value", stage.entity_id(entry_id, "power_setpoint"), value=-900
    )
    status = "entity.sensor.control_status"
    dashboard.expect_tile(STATUS, english(f"{status}.state.limited"))
    dashboard.expect_row(page_text("en", "why"), EMPTY)
    frontend.picture("limited")


def overview_of(
    stage: Stage, frontend: Frontend, types: Sequence[str]
) -> tuple[Dashboard, list[str]]:
    """Add batteries of these types; return the dashboard of them, and their names."""
    for battery_type in types:
        stage.add(battery_type)
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    expect(dashboard.tiles(SOC)).to_have_count(len(types))
    frontend.picture("overview")
    dashboard.expect_no_errors()
    return dashboard, [entry["title"] for entry in stage.entries()]


def test_a_dozen_batteries_fit(stage: Stage, frontend: Frontend) -> None:
    types = (*TYPES, *["simulated"] * 6)
    dashboard, names = overview_of(stage, frontend, types)
    for name in names:
        dashboard.open_tab(name)
        dashboard.expect_heading(name)
        dashboard.expect_heading(page_text("en", "health"))
        expect(dashboard.tiles(SETPOINT).get_by_role("slider")).to_be_visible()
        dashboard.expect_no_errors()
    frontend.picture("last")
    dashboard.press(page_text("en", "everything"))
    dashboard.expect_heading(page_text("en", "diagnostics"))
    dashboard.expect_no_errors()


@pytest.mark.parametrize("count", [1, 6])
def test_all_batteries_are_on_it(stage: Stage, frontend: Frontend, count: int) -> None:
    dashboard, names = overview_of(stage, frontend, TYPES[:count])
    for name in names:
        dashboard.expect_heading(name)
    for name in names:
        dashboard.open(name)
        dashboard.expect_tile(SETPOINT)
        frontend.picture(name)
        dashboard.press(page_text("en", "everything"))
        dashboard.expect_heading(page_text("en", "diagnostics"))
        dashboard.expect_no_errors()
        dashboard.go_back()
        dashboard.go_to_overview()


def test_a_simulated_battery_is_marked_whatever_its_name(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("simulated", name="Garage")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_tile(re.compile("."), re.compile("W · Garage"))
    stage.add("simulated")
    in_others = [f"Shed ({page_text(each, 'simulated')})" for each in OTHER_LANGUAGES]
    for name in in_others:
        stage.add("simulated", name=name)
    stage.add("sessy", name="Real one")
    marked = f"Garage ({page_text('en', 'simulated')})"
    dashboard.expect_heading(marked)
    dashboard.expect_no_heading("Garage")
    # Names that say so in any language, and those of real ones, stay as they are.
    dashboard.expect_heading("Simulated battery")
    for name in in_others:
        dashboard.expect_heading(name)
    dashboard.expect_heading("Real one")
    for soc_and_power in (0, 1):
        dashboard.expect_in_graph(soc_and_power, marked)
    frontend.picture("overview")
    # Its house is another one than that of the real battery.
    dashboard.expect_tile(re.compile("."), re.compile("W · Real one"))
    assert not dashboard.tiles(re.compile(".")).filter(has_text="Garage").count()

    stage.rename(entry_id, "Cellar")
    marked = f"Cellar ({page_text('en', 'simulated')})"
    dashboard.open(marked)
    dashboard.expect_heading(marked)
    frontend.picture("battery")
    dashboard.press(page_text("en", "everything"))
    dashboard.expect_title(f"{marked}: {page_text('en', 'everything')}")
    dashboard.expect_no_errors()


@pytest.mark.parametrize("frontend", OTHER_LANGUAGES, indirect=True)
def test_it_speaks_the_language_of_its_reader(
    stage: Stage, frontend: Frontend, request: pytest.FixtureRequest
) -> None:
    language = request.node.callspec.params["frontend"]
    stage.add("sessy")
    stage.add("simulated", name="Garage")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_heading(page_text(language, "all_batteries"))
    dashboard.expect_heading(f"Garage ({page_text(language, 'simulated')})")
    frontend.picture("overview")
    dashboard.open("Sessy")
    dashboard.expect_heading(page_text(language, "now"))
    dashboard.expect_heading(page_text(language, "health"))
    dashboard.expect_tile(page_text(language, "discharging"))
    frontend.picture("battery")
    dashboard.expect_no_errors()


def test_a_battery_that_is_removed_leaves_it_and_the_rest_lives(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("victron")
    stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.open("MultiPlus-II")
    stage.remove(entry_id)
    # Not the page of the next battery, whose buttons would be pressed for this one.
    dashboard.expect_heading(page_text("en", "gone"))
    frontend.picture("gone")
    dashboard.press(page_text("en", "to_all"))
    dashboard.expect_heading("Sessy")
    dashboard.expect_no_heading("MultiPlus-II")
    stage.change_house("sessy", soc=73)
    dashboard.expect_tile(SOC, "73%")
    dashboard.expect_no_errors()


def test_another_battery_leaves_the_page_that_is_open(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.open("Sessy")
    stage.add("victron")
    expect(frontend.page.get_by_role("tab", name="MultiPlus-II")).to_be_visible()
    dashboard.expect_heading("Sessy")
    dashboard.expect_no_heading("MultiPlus-II")


def test_a_battery_removed_while_the_page_was_offline_is_not_another(
    stage: Stage, frontend: Frontend
) -> None:
    """The frontend reads the dashboard anew then, as after a restart."""
    entry_ids = [stage.add(each) for each in ("victron", "sun2000")]
    stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.open("MultiPlus-II")
    with dashboard.offline():
        for entry_id in entry_ids:
            stage.remove(entry_id)
    dashboard.expect_heading(page_text("en", "gone"))
    dashboard.press(page_text("en", "to_all"))
    dashboard.expect_heading("Sessy")
    dashboard.expect_no_heading("MultiPlus-II")
    dashboard.expect_no_errors()


def test_renaming_or_hiding_an_entity_changes_only_that(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_tile(SOC)
    soc, status, power = (
        stage.entity_id(entry_id, key)
        for key in ("battery_soc", "control_status", "battery_power")
    )
    stage.change_entity(soc, {"hidden_by": "user"})
    stage.change_entity(status, {"disabled_by": "user"})
    renamed = {"new_entity_id": "sensor.something", "name": "Power"}
    stage.change_entity(power, renamed)
    expect(dashboard.tiles(SOC)).to_have_count(0)
    dashboard.expect_heading("Sessy")
    dashboard.expect_tile(page_text("en", "discharging"), "-800 W")
    dashboard.expect_no_errors()


def test_a_power_in_another_unit_has_the_same_words_and_buttons(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.open("Sessy")
    stage.choose_unit(stage.entity_id(entry_id, "battery_power"), "kW")
    stage.choose_unit(stage.entity_id(entry_id, "power_setpoint"), "kW")
    dashboard.expect_tile(page_text("en", "discharging"), "-0.800 kW")
    expect(dashboard.tiles(page_text("en", "idle"))).to_have_count(0)
    dashboard.press(re.compile(f"^{page_text('en', 'charge')} 1000 W"))
    dashboard.expect_tile(page_text("en", "charging"), "1.000 kW")


def test_a_power_near_zero_has_one_word(stage: Stage, frontend: Frontend) -> None:
    entry_id = stage.add("sessy")
    stage.stop_polling(entry_id)
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    power = stage.entity_id(entry_id, "battery_power")
    words = [page_text("en", each) for each in ("charging", "discharging", "idle")]
    either = re.compile(f"^({'|'.join(words)})$")
    for shown, word in ((20.3, 0), (-20.3, 1), (20, 2), (-20, 2)):
        stage.pretend(power, str(shown))
        dashboard.expect_tile(words[word], f"{shown:.0f} W")
        expect(dashboard.tiles(either)).to_have_count(1)


def powers_of_buttons(views: list[dict[str, Any]]) -> list[int]:
    """Return the powers (W, charging is positive) of the buttons, but for the hold."""
    actions = [card.get("tap_action", {}) for card in cards(views)]
    powers = [action["data"]["power"] for action in actions if action.get("data")]
    return [power for power in powers if power]


def test_buttons_are_for_half_of_the_power_in_round_numbers(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_tile(SOC)
    setpoint = stage.entity_id(entry_id, "power_setpoint")
    for minimum, maximum, powers in (
        (-2200, 2200, [1000, -1000]),
        (-800, 600, [300, -400]),
        (-100, 100, [50, -50]),
        (-12000, 0, [-6000]),
        (0, 0, []),
    ):
        state = {"attributes": {"min": minimum, "max": maximum}}
        views = dashboard.made_for(states={setpoint: state})
        assert powers_of_buttons(views) == powers


def test_cards_are_only_of_parts_of_home_assistant_that_are_loaded(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_tile(SOC)
    for missing, types in (
        ("history", {"history-graph"}),
        ("recorder", {"statistic", "statistics-graph"}),
    ):
        there = [each for each in dashboard.components() if each != missing]
        views = dashboard.made_for(config={"components": there})
        made = {card["type"] for card in cards(views)}
        assert made
        assert not made & types
        assert {card["type"] for card in cards(dashboard.made_for())} > types


@pytest.mark.parametrize("key", ["battery_error", "vebus_error", "fault_code"])
def test_an_error_code_that_is_enabled_is_on_the_page_of_its_battery(
    stage: Stage, frontend: Frontend, key: str
) -> None:
    entry_id = stage.add("victron")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_tile(SOC)
    error = f"sensor.{key}"
    enabled = {
        "entity_id": error,
        "device_id": stage.device_page(entry_id).rpartition("/")[2],
        "platform": "homebattery",
        "translation_key": key,
        "entity_category": "diagnostic",
    }
    for made, shown in (
        (dashboard.made_for(), False),
        (dashboard.made_for(entities={error: enabled}), True),
    ):
        _, battery, _ = made
        assert (error in entities_on([battery])) is shown


def test_a_change_elsewhere_interrupts_nobody_who_types(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.open("Sessy")
    box = frontend.row(SETPOINT).locator("input")
    box.press_sequentially("12")
    stage.change_entity(stage.entity_id(entry_id, "battery_soc"), {"name": "Charge"})
    stage.change_house("sessy", soc=73)
    dashboard.expect_tile("Charge", "73%")
    expect(box).to_be_focused()
    expect(box).to_have_value("12")
    # Half of a number that is taken away is sent.
    dashboard.expect_tile(MODE, mode("automatic"))


def test_a_meter_is_no_battery_but_shows_the_house(
    stage: Stage, frontend: Frontend
) -> None:
    stage.stop_device("sessy")
    stage.start_device("sessy", options=("--device", "p1"))
    stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_heading(page_text("en", "no_battery"))
    stage.add("victron")
    dashboard.expect_heading("MultiPlus-II")
    meter = next(
        each["title"] for each in stage.entries() if "Multi" not in each["title"]
    )
    dashboard.expect_no_heading(meter)
    dashboard.expect_tile(re.compile("."), re.compile(rf"W · {meter}"))
    frontend.picture("meter")


def test_a_change_of_the_energy_dashboard_is_seen_on_return(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_tile(SOC)
    dashboard.expect_no_heading(page_text("en", "energy_today"))
    frontend.click_in_sidebar("Settings")
    expect(frontend.page).to_have_url(re.compile("/config"))
    stage.configure_energy(entry_id)
    frontend.click_in_sidebar("Added by test")
    dashboard.expect_heading(page_text("en", "energy_today"))
    dashboard.expect_heading(page_text("en", "power_now"))


def test_only_an_administrator_is_offered_to_add_a_battery(
    stage: Stage, frontend: Frontend
) -> None:
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_heading(page_text("en", "no_battery"))
    for is_admin in (True, False):
        views = dashboard.made_for(user={"is_admin": is_admin})
        offered = any(card["type"] == "button" for card in cards(views))
        assert offered is is_admin


def test_before_the_first_battery_it_offers_to_add_one(
    stage: Stage, frontend: Frontend
) -> None:
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_heading(page_text("en", "no_battery"))
    frontend.picture("empty")
    dashboard.press(page_text("en", "add"))
    frontend.picture("adding")
    expect(frontend.page).to_have_url(re.compile("/config/integrations"))


def content(view: dict[str, Any]) -> list[list[Any]]:
    """Return what the cards of a view show, in their order, and in which states."""
    return [
        [
            *(card.get(each) for each in ("type", "heading", "entity", "color")),
            card["name"] if card["type"] == "button" else None,
            [row["entity"] for row in card.get("entities", [])],
            [
                condition
                for condition in card.get("visibility", [])
                if condition["condition"] == "state"
            ],
        ]
        for card in cards([view])
    ]


def test_the_cards_of_the_documentation_do_the_same(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    stage.configure_energy(entry_id)
    views = views_to_paste()
    dashboard = frontend.dashboard(stage.add_dashboard({"views": views}))
    dashboard.expect_tile(SOC, "50%")
    for made, pasted in zip(dashboard.made_for(), views, strict=True):
        assert content(made) == content(pasted)
        assert made["title"] == pasted["title"]

    dashboard.expect_tile(page_text("en", "discharging"), "-800 W")
    dashboard.expect_no_tile(page_text("en", "idle"))
    dashboard.open("Sessy")
    dashboard.press(re.compile("^Charge 1000 W"))
    dashboard.expect_tile(page_text("en", "charging"), "1,000 W")
    dashboard.expect_tile(STATUS, state("sensor", "control_status", "following"))
    dashboard.press("Discharge 1000 W")
    dashboard.expect_tile(page_text("en", "discharging"), "-1,000 W")
    dashboard.press("Hold at 0 W")
    dashboard.expect_tile(page_text("en", "idle"), "0 W")
    dashboard.expect_no_row(page_text("en", "why"))
    frontend.picture("held")
    dashboard.press(page_text("en", "release"))
    dashboard.expect_no_tile(STATUS)
    limited = stage.entity_id(entry_id, "control_status")
    stage.pretend(limited, "limited", reason="empty")
    dashboard.expect_row(page_text("en", "why"), EMPTY)
    dashboard.expect_tile(STATUS, state("sensor", "control_status", "limited"))
    dashboard.press(page_text("en", "everything"))
    dashboard.expect_title(views[2]["title"])
    dashboard.expect_heading(page_text("en", "diagnostics"))
    dashboard.go_back()
    dashboard.expect_tile(SETPOINT)


def test_each_card_of_the_documentation_can_be_shown(
    stage: Stage, frontend: Frontend
) -> None:
    """Also the cards that are for other states than the present ones."""
    stage.configure_energy(stage.add("sessy"))
    views = views_to_paste()
    for card in cards(views):
        card.pop("visibility", None)
    dashboard = frontend.dashboard(stage.add_dashboard({"views": views}))
    ways: tuple[Callable[[], None], ...] = (
        lambda: None,
        lambda: dashboard.open("Sessy"),
        lambda: dashboard.press(page_text("en", "everything")),
    )
    for go, view in zip(ways, views, strict=True):
        go()
        for kind, count in Counter(card["type"] for card in cards([view])).items():
            dashboard.expect_cards(kind, count)
        frontend.picture(view["path"])
        dashboard.expect_no_errors()
