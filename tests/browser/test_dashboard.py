"""The dashboard that the integration brings, as a person adds and uses it."""

import re
from typing import Any, Final

from homeassistant.util.yaml import parse_yaml
from playwright.sync_api import expect
import pytest

from scripts.demonstration import ROOT

from .conftest import in_every_window
from .frontend import Frontend
from .stage import PLACES, Stage
from .words import english, entity, page_text, state

STRATEGY: Final = {"strategy": {"type": "custom:homebattery"}}
SETPOINT = entity("number", "power_setpoint")
MODE = entity("select", "control_mode")
STATUS = entity("sensor", "control_status")
SOC = entity("sensor", "battery_soc")


def mode(value: str) -> str:
    return state("select", "control_mode", value)


def test_the_dashboard_is_added_without_yaml(stage: Stage, frontend: Frontend) -> None:
    stage.add("sessy")
    frontend.add_dashboard("Home Battery", "Batteries")
    (added,) = stage.until("the dashboard to be added", stage.dashboards, bool)
    dashboard = frontend.dashboard(f"/{added['url_path']}")
    dashboard.expect_tile(SOC, "50%")
    frontend.picture("added")
    dashboard.expect_no_errors()


@in_every_window
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
    assert abs(stage.really("victron")["battery_power"] - 2500) < 200

    dashboard.press(page_text("en", "release"))
    dashboard.expect_tile(MODE, mode("automatic"))
    assert stage.really("victron")["mode"] == "automatic"
    dashboard.expect_no_errors()


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


def test_a_limited_setpoint_says_why(stage: Stage, frontend: Frontend) -> None:
    stage.change_house("victron", soc=5)
    entry_id = stage.add("victron")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    stage.call(
        "number.set_value", stage.entity_id(entry_id, "power_setpoint"), value=-900
    )
    status = "entity.sensor.control_status"
    why = english(f"{status}.state_attributes.reason.state.empty")
    dashboard.expect_tile(
        STATUS, re.compile(f"{english(f'{status}.state.limited')}.*{why}")
    )
    frontend.picture("limited")


@pytest.mark.parametrize("count", [1, 6])
def test_all_batteries_are_on_it(stage: Stage, frontend: Frontend, count: int) -> None:
    for battery_type in list(PLACES)[:count]:
        stage.add(battery_type)
    names = [entry["title"] for entry in stage.entries()]
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    for name in names:
        dashboard.expect_heading(name)
    expect(dashboard.tiles(SOC)).to_have_count(count)
    frontend.picture("overview")
    dashboard.expect_no_errors()
    for name in names:
        dashboard.open(name)
        dashboard.expect_tile(SETPOINT)
        frontend.picture(name)
        dashboard.press(page_text("en", "everything"))
        dashboard.expect_heading(page_text("en", "diagnostics"))
        dashboard.expect_no_errors()
        dashboard.go_back()
        dashboard.go_to_overview()


@pytest.mark.parametrize("frontend", ["de", "nl", "fr"], indirect=True)
def test_it_speaks_the_language_of_its_reader(
    stage: Stage, frontend: Frontend, request: pytest.FixtureRequest
) -> None:
    language = request.node.callspec.params["frontend"]
    stage.add("sessy")
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_heading(page_text(language, "all_batteries"))
    frontend.picture("overview")
    dashboard.open("Sessy")
    dashboard.expect_heading(page_text(language, "control"))
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
    dashboard.expect_heading("MultiPlus-II")
    stage.remove(entry_id)
    dashboard.expect_no_heading("MultiPlus-II")
    dashboard.expect_heading("Sessy")
    stage.change_house("sessy", soc=73)
    dashboard.expect_tile(SOC, "73%")
    dashboard.expect_no_errors()


def test_before_the_first_battery_it_offers_to_add_one(
    stage: Stage, frontend: Frontend
) -> None:
    dashboard = frontend.dashboard(stage.add_dashboard(STRATEGY))
    dashboard.expect_heading(page_text("en", "no_battery"))
    frontend.picture("empty")
    dashboard.press(page_text("en", "add"))
    frontend.picture("adding")
    expect(frontend.page).to_have_url(re.compile("/config/integrations"))


def test_the_cards_of_the_documentation_can_be_pasted(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("sessy")
    page = (ROOT / "docs" / "dashboard.md").read_text()
    views: Any = parse_yaml(page.rsplit("```yaml\n", 1)[1].split("```")[0])
    dashboard = frontend.dashboard(stage.add_dashboard({"views": views}))
    dashboard.expect_tile(SOC, "50%")
    dashboard.expect_tile(SETPOINT)
    frontend.picture("pasted")
    dashboard.expect_no_errors()
