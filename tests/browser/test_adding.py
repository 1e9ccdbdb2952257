"""Add integration: each kind of battery by its form, one by its address, and errors."""

from typing import Any, Final

import pytest

from .conftest import in_every_window
from .frontend import Dialog, Frontend
from .stage import PLACES, Stage
from .words import english, field_of

VISIBLY_EMPTY: Final = {
    "deye_solarman": ("host",),
    "deye_modbus": ("host",),
    "sun2000": ("host",),
    "sessy": ("host", "username", "password"),
    "sma": ("host",),
    "victron": ("host",),
    "simulated": (),
}
"""The fields that a user must fill in; all others are detected or shown filled in."""

MENU: Final = "config.step.user.menu_options"

UNUSED_HOST: Final = "127.0.0.99"
"""An address at which nothing listens."""


def begin(frontend: Frontend, battery_type: str) -> Dialog:
    """Go to the form of a kind of battery."""
    dialog = frontend.add_integration()
    dialog.choose(english(f"{MENU}.{battery_type}"))
    return dialog


def fill(dialog: Dialog, battery_type: str, values: dict[str, Any]) -> None:
    """Fill in fields, given by their names in an entry."""
    dialog.fill({field_of(battery_type, name): values[name] for name in values})


def visible(stage: Stage, battery_type: str) -> dict[str, Any]:
    """Return the values to fill in for a simulated device."""
    setup = stage.setup(battery_type)
    return {name: setup[name] for name in VISIBLY_EMPTY[battery_type]}


def error(key: str, **placeholders: str) -> str:
    return english(f"config.error.{key}", **placeholders)


@pytest.mark.parametrize("battery_type", VISIBLY_EMPTY)
def test_a_battery_is_added_by_its_empty_visible_fields(
    stage: Stage, frontend: Frontend, battery_type: str
) -> None:
    dialog = begin(frontend, battery_type)
    fill(dialog, battery_type, visible(stage, battery_type))
    frontend.picture("form")
    dialog.submit()
    dialog.finish()
    (entry,) = stage.entries()
    assert entry["state"] == "loaded"


@in_every_window
def test_a_battery_is_detected_at_its_address(stage: Stage, frontend: Frontend) -> None:
    dialog = frontend.add_integration()
    # Detection stands first on the menu, above all makers and their models.
    dialog.expect_text(english("config.step.user.menu_option_descriptions.sma"))
    names = ["detect", "deye_solarman", "sun2000", "sessy", "sma", "victron"]
    places = [dialog.text.index(english(f"{MENU}.{name}")) for name in names]
    assert places == sorted(places)
    frontend.picture("menu")
    dialog.choose(english(f"{MENU}.detect"))
    dialog.fill({english("config.step.detect.data.host"): PLACES["deye_solarman"].host})
    dialog.submit()
    # Detected values are shown filled in; nothing remains to be typed.
    dialog.expect(field_of("deye_solarman", "logger_serial"))
    frontend.picture("found")
    dialog.submit()
    dialog.finish()
    assert [entry["state"] for entry in stage.entries()] == ["loaded"]


@in_every_window
def test_a_battery_of_several_is_chosen_from_a_list(
    stage: Stage, frontend: Frontend
) -> None:
    """Full and idle they have the same values; each line has a name and values."""
    stage.change_house("victron", load=0, soc=100)
    stage.misbehave("victron", "banks", count=2, unit=77)
    dialog = begin(frontend, "victron")
    fill(dialog, "victron", visible(stage, "victron"))
    dialog.submit()
    dialog.expect_text(english("config.step.choose.data_description.battery_unit_id"))
    assert "1: Bank 1, 54.00 V, 0.0 A, 0 W, 100.0 %" in dialog.text
    frontend.picture("list")
    dialog.choose_line("77: ")
    dialog.submit()
    dialog.finish()
    (entry,) = stage.entries()
    assert entry["state"] == "loaded"
    frontend.choose_from_menu(entry["title"], "Reconfigure")
    again = Dialog(frontend.page)
    again.expect(field_of("victron", "battery_unit_id"))
    chosen = again.field(field_of("victron", "battery_unit_id"))
    assert chosen.input_value() == "77"
    again.close()


def test_each_inverter_behind_a_gateway_is_added_after_the_other(
    stage: Stage, frontend: Frontend
) -> None:
    """One is chosen from the list; the next time, the one that remains is added."""
    stage.stop_device("sun2000")
    stage.start_device("sun2000", options=("--access", "emma", "--second-unit", "16"))
    dialog = begin(frontend, "sun2000")
    fill(dialog, "sun2000", visible(stage, "sun2000"))
    dialog.submit()
    dialog.expect_text(english("config.step.choose.data_description.unit_id"))
    for line in ("1: SUN2000-6KTL-M1, HV2250123456, ", "16: SUN2000-6KTL-M1, "):
        assert line in dialog.text
    frontend.picture("list")
    dialog.choose_line("16: ")
    dialog.submit()
    dialog.finish()
    assert stage.stored("sun2000")["data"]["unit_id"] == 16

    dialog = begin(frontend, "sun2000")
    fill(dialog, "sun2000", visible(stage, "sun2000"))
    dialog.submit()
    dialog.finish()
    entries = stage.entries()
    assert [entry["state"] for entry in entries] == ["loaded", "loaded"]
    # The same model: its name says which.
    assert "SUN2000-6KTL-M1 3456" in {entry["title"] for entry in entries}


def test_a_wrong_address_is_reported_and_can_be_corrected(
    stage: Stage, frontend: Frontend
) -> None:
    dialog = begin(frontend, "sessy")
    fill(dialog, "sessy", visible(stage, "sessy") | {"host": UNUSED_HOST})
    dialog.submit()
    assert dialog.error() == error("cannot_connect")
    frontend.picture("error")
    # Only the wrong value has to be typed again.
    fill(dialog, "sessy", {"host": PLACES["sessy"].host})
    dialog.submit()
    dialog.finish()
    assert [entry["state"] for entry in stage.entries()] == ["loaded"]


def test_a_wrong_password_is_reported_at_its_field(
    stage: Stage, frontend: Frontend
) -> None:
    dialog = begin(frontend, "sessy")
    fill(dialog, "sessy", visible(stage, "sessy") | {"password": "WRONG123"})
    dialog.submit()
    assert dialog.error() == error("invalid_auth")
    frontend.picture("error")
    fill(dialog, "sessy", {"password": stage.setup("sessy")["password"]})
    dialog.submit()
    dialog.finish()
    assert [entry["state"] for entry in stage.entries()] == ["loaded"]


@in_every_window
def test_a_wrong_unit_id_is_reported_with_the_section_open(
    stage: Stage, frontend: Frontend
) -> None:
    dialog = begin(frontend, "victron")
    fill(dialog, "victron", visible(stage, "victron"))
    dialog.open_section()
    fill(dialog, "victron", {"unit_id": 99})
    dialog.submit()
    assert dialog.error() == error("optional_unit_absent")
    assert dialog.section_is_open
    unit_id = dialog.field(field_of("victron", "unit_id"))
    assert unit_id.input_value() == "99"
    frontend.picture("error")
    unit_id.fill("")
    dialog.submit()
    dialog.finish()
    assert [entry["state"] for entry in stage.entries()] == ["loaded"]


def test_a_wrong_kind_of_battery_is_reported(stage: Stage, frontend: Frontend) -> None:
    dialog = begin(frontend, "sma")
    fill(dialog, "sma", {"host": PLACES["victron"].host})
    dialog.submit()
    assert dialog.error() == error("wrong_device")
    frontend.picture("error")
    dialog.close()
    assert stage.entries() == []


def test_a_data_logger_asked_over_modbus_is_named_as_one(
    stage: Stage, frontend: Frontend
) -> None:
    dialog = begin(frontend, "deye_modbus")
    host, port = PLACES["deye_solarman"]
    fill(dialog, "deye_modbus", {"host": host, "port": port})
    dialog.submit()
    assert dialog.error() == error("solarman_spoken", host=host, actual_port=f"{port}")
    frontend.picture("error")
    dialog.close()
    assert stage.entries() == []
