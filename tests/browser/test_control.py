"""The setpoint, from the number on a device's page to the device, and back."""

import re

from .conftest import in_every_window
from .frontend import Frontend
from .stage import Stage
from .words import english, entity, state

SETPOINT = entity("number", "power_setpoint")
MODE = entity("select", "control_mode")
STATUS = entity("sensor", "control_status")
DURATION = entity("number", "setpoint_duration")
ENDS = entity("sensor", "setpoint_ends")


def status(value: str) -> str:
    return state("sensor", "control_status", value)


@in_every_window
def test_a_setpoint_that_is_typed_is_followed_until_automatic_is_chosen(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("victron")
    # Slow enough for the status to be seen as pending.
    stage.change_house("victron", ramp=150)
    frontend.go(stage.device_page(entry_id))
    frontend.expect_state(STATUS, status("automatic"))
    assert frontend.number(SETPOINT) == ""

    frontend.set_number(SETPOINT, 900)
    frontend.expect_state(STATUS, status("pending"))
    frontend.expect_state(STATUS, status("following"))
    frontend.picture("following")
    assert frontend.number(SETPOINT) == "900"
    assert abs(stage.really("victron")["battery_power"] - 900) < 100

    frontend.select(MODE, state("select", "control_mode", "automatic"))
    frontend.expect_state(STATUS, status("automatic"))
    assert frontend.number(SETPOINT) == ""
    assert stage.really("victron")["mode"] == "automatic"


def test_a_setpoint_is_given_for_an_hour(stage: Stage, frontend: Frontend) -> None:
    entry_id = stage.add("victron")
    frontend.go(stage.device_page(entry_id))
    frontend.expect_state(ENDS, "Unknown")
    frontend.set_number(DURATION, 60)
    frontend.set_number(SETPOINT, 800)
    frontend.expect_state(ENDS, re.compile("In (1 hour|59 minutes)", re.IGNORECASE))
    frontend.picture("for-an-hour")
    frontend.set_number(DURATION, 10)
    frontend.expect_state(ENDS, re.compile("In (10|9) minutes", re.IGNORECASE))
    frontend.set_number(DURATION, 0)
    frontend.expect_state(ENDS, "Unknown")


def test_choosing_manual_holds_the_battery(stage: Stage, frontend: Frontend) -> None:
    entry_id = stage.add("sessy")
    frontend.go(stage.device_page(entry_id))
    frontend.select(MODE, state("select", "control_mode", "manual"))
    frontend.expect_state(STATUS, status("following"))
    frontend.picture("held")
    assert frontend.number(SETPOINT) == "0"
    assert stage.really("sessy")["battery_power"] == 0


def test_the_details_of_the_setpoint_explain_its_signs(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    frontend.go(stage.device_page(entry_id))
    details = frontend.details(SETPOINT)
    for attribute in "charges_at_most", "discharges_at_most":
        place = f"entity.number.power_setpoint.state_attributes.{attribute}.name"
        assert f"{english(place)}\n2,200" in details
    frontend.picture("details")


def test_the_state_of_charge_is_updated_on_the_page(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("sessy")
    frontend.go(stage.device_page(entry_id))
    for soc in (50, 73):
        stage.change_house("sessy", soc=soc)
        frontend.expect_state(entity("sensor", "battery_soc"), f"{soc}%")


def test_an_action_of_the_tools_holds_a_battery(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("sessy")
    (entry,) = stage.entries()
    form = frontend.choose_action("homebattery.set_power", entry["title"])
    form.get_by_role("spinbutton").first.fill("650")
    response = frontend.perform_action()
    frontend.picture("response")
    assert "granted\n:\n650" in response
    assert stage.really("sessy")["mode"] == "controlled"
