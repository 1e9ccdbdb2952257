"""Any input to forms and actions is taken or refused, never an error of its own."""

from datetime import timedelta
import math
from typing import Any

from hypothesis import given, strategies as st
import probatio as vol

from custom_components.homebattery.const import LONGEST_SETPOINT_TIMEOUT
from custom_components.homebattery.drivers.address import is_host
from custom_components.homebattery.forms import announced_dongle, parse_setup
from custom_components.homebattery.services import SET_POWER_SCHEMA

NUMBERS = st.floats() | st.integers() | st.integers(10**300, 10**400)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
UNITS = st.sampled_from(["days", "hours", "minutes", "seconds", "milliseconds", "x"])
CLOCKS = st.lists(st.integers(-(10**30), 10**30).map(str), max_size=4).map(":".join)
DURATIONS = LEAVES | CLOCKS | st.dictionaries(UNITS, LEAVES, max_size=3)


@given(power=LEAVES | st.lists(LEAVES, max_size=2), duration=DURATIONS)
def test_any_setpoint_is_possible_or_refused(power: Any, duration: Any) -> None:
    data = {"entity_id": "number.x", "power": power, "duration": duration}
    try:
        taken = SET_POWER_SCHEMA(data)
    except vol.Invalid:
        return
    assert math.isfinite(taken["power"])
    assert (
        timedelta() < taken["duration"] <= timedelta(seconds=LONGEST_SETPOINT_TIMEOUT)
    )


@given(host=st.text(max_size=300), serial=st.text(max_size=30) | st.integers())
def test_any_address_is_possible_or_refused_at_its_field(
    host: str, serial: Any
) -> None:
    errors: dict[str, str] = {}
    setup = parse_setup({"host": host, "logger_serial": serial}, errors)
    assert is_host(setup["host"]) is ("host" not in errors)
    if "logger_serial" not in errors and "logger_serial" in setup:
        assert 0 < setup["logger_serial"] <= 0xFFFF_FFFF


@given(
    serial=st.none()
    | st.integers()
    | st.binary(max_size=40)
    | st.text(max_size=40)
    | st.from_regex(r"[A-Za-z0-9]{1,40}", fullmatch=True)
)
def test_any_announcement_has_a_possible_serial_number_or_none(serial: Any) -> None:
    dongle = announced_dongle({"serial": serial})
    if dongle is not None:
        assert dongle.isascii()
        assert dongle.isprintable()
        assert 0 < len(dongle) <= 32
