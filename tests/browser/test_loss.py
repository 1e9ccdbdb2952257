"""The page of a device that stops answering, and of one that answers again."""

import re
from typing import cast

from .frontend import Frontend
from .stage import Stage
from .words import entity, state

STATUS = entity("sensor", "control_status")
POWER = entity("sensor", "battery_power")


def status(value: str) -> str:
    return state("sensor", "control_status", value)


def reason(stage: Stage, entry_id: str) -> str | None:
    """Return the reason attribute of the control status."""
    attributes = stage.state(stage.entity_id(entry_id, "control_status"))["attributes"]
    return cast(str | None, attributes["reason"])


def test_a_device_that_is_off_is_not_shown_as_following(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = stage.add("victron")
    frontend.go(stage.device_page(entry_id))
    frontend.set_number(entity("number", "power_setpoint"), 700)
    frontend.expect_state(STATUS, status("following"))

    logged = len(stage.log())
    stage.misbehave("victron", "away")
    frontend.expect_state(POWER, "Unavailable")
    frontend.expect_state(STATUS, status("pending"))
    assert reason(stage, entry_id) == "unreachable"
    frontend.picture("soon")
    frontend.expect_state(STATUS, status("not_following"))
    assert reason(stage, entry_id) == "unreachable"
    frontend.picture("later")

    stage.misbehave("victron", "away", on=False)
    frontend.expect_state(POWER, re.compile(r"\d W"), seconds=90)
    frontend.expect_state(STATUS, status("following"), seconds=90)
    frontend.picture("back")
    # Logged once, in the integration's own words; not at each poll, by pymodbus.
    log = stage.log()[logged:]
    (entry,) = stage.entries()
    assert log.count(f"Error fetching {entry['title']} data") == 1
    assert "pymodbus" not in log
