"""A device that falls silent, and comes back: what its page says meanwhile."""

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
    """Return the reason that the status gives."""
    attributes = stage.state(stage.entity_id(entry_id, "control_status"))["attributes"]
    return cast(str | None, attributes["reason"])


def test_a_device_that_is_off_is_not_said_to_follow(
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
    # Said once, in words of ours; not at each poll, with what was on the wire.
    log = stage.log()[logged:]
    (entry,) = stage.entries()
    assert log.count(f"Error fetching {entry['title']} data") == 1
    assert "pymodbus" not in log
