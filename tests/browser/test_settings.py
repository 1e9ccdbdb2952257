"""Changes to a battery that is set up: options, address, password, its end."""

from typing import Any, Final

import pytest

from .frontend import Dialog, Frontend
from .stage import Stage
from .words import english, entity, field_of, option_of, state

NEW_HOST: Final = "127.0.0.25"
OPTIONS: Final[dict[str, int]] = {
    "max_charge_power": 1500,
    "max_discharge_power": 1200,
    "scan_interval": 7,
    "setpoint_timeout": 3600,
    "capacity": 5000,
}
"""The options that every battery has, with values to set."""
EXPORT: Final = {
    choice: english(f"selector.export.options.{choice}")
    for choice in ("as_permitted", "never", "always")
}
"""The items of the option `export`."""
CHOSEN: Final = {"export": "as_permitted", "remote_mode": True}


def title(stage: Stage) -> str:
    (entry,) = stage.entries()
    return str(entry["title"])


def shown(dialog: Dialog) -> dict[str, int]:
    """Return the options as the form shows them."""
    return {
        name: int(dialog.field(option_of(name)).input_value() or 0) for name in OPTIONS
    }


def stored_options(stage: Stage, battery_type: str) -> Any:
    return stage.stored(battery_type)["options"]


def test_choices_among_the_options_keep_what_was_chosen(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("deye_modbus")
    dialog = frontend.options(title(stage))
    dialog.open_section()
    assert dialog.chosen(option_of("export")) == EXPORT["never"]
    dialog.pick(option_of("export"), EXPORT["as_permitted"])
    dialog.toggle(option_of("remote_mode"))
    dialog.submit()
    dialog.finish()
    stage.until(
        "the options to be stored",
        lambda: stored_options(stage, "deye_modbus"),
        lambda stored: stored.items() >= CHOSEN.items(),
    )
    dialog = frontend.options(title(stage))
    # The section is open, since it has a value of the user's own.
    assert dialog.section_is_open
    assert dialog.is_on(option_of("remote_mode"))
    assert dialog.chosen(option_of("export")) == EXPORT["as_permitted"]
    frontend.picture("opened-again")
    dialog.close()


@pytest.mark.parametrize(
    ("battery_type", "option", "before", "after"),
    [
        ("sun2000", "sunshine", "keep_setpoint", "keep_pv"),
        ("deye_modbus", "counter_unit", "automatic", "tenths"),
    ],
)
def test_a_choice_of_one_make_is_shown_as_it_was_saved(
    stage: Stage,
    frontend: Frontend,
    battery_type: str,
    option: str,
    before: str,
    after: str,
) -> None:
    texts = {
        each: english(f"selector.{option}.options.{each}") for each in (before, after)
    }
    stage.add(battery_type)
    dialog = frontend.options(title(stage))
    dialog.open_section()
    assert dialog.chosen(option_of(option)) == texts[before]
    dialog.pick(option_of(option), texts[after])
    dialog.submit()
    dialog.finish()
    stage.until(
        "the option to be stored",
        lambda: stored_options(stage, battery_type),
        lambda stored: stored.get(option) == after,
    )
    dialog = frontend.options(title(stage))
    dialog.open_section()
    assert dialog.chosen(option_of(option)) == texts[after]
    dialog.close()


@pytest.mark.parametrize("battery_type", ["sessy", "deye_modbus"])
def test_options_are_shown_as_they_were_saved_and_keep_each_other(
    stage: Stage, frontend: Frontend, battery_type: str
) -> None:
    stage.add(battery_type)
    dialog = frontend.options(title(stage))
    dialog.open_section()
    dialog.fill({option_of(name): value for name, value in OPTIONS.items()})
    frontend.picture("filled-in")
    dialog.submit()
    dialog.finish()
    stage.until(
        "the options to be stored",
        lambda: stored_options(stage, battery_type),
        lambda stored: stored.items() >= OPTIONS.items(),
    )

    dialog = frontend.options(title(stage))
    dialog.open_section()
    assert shown(dialog) == OPTIONS
    frontend.picture("opened-again")
    dialog.close()

    # One option is changed without opening the section.
    dialog = frontend.options(title(stage))
    dialog.fill({option_of("scan_interval"): 9})
    dialog.submit()
    dialog.finish()
    stage.until(
        "the others to stay",
        lambda: stored_options(stage, battery_type),
        lambda stored: stored.items() >= (OPTIONS | {"scan_interval": 9}).items(),
    )


def test_a_battery_is_followed_to_a_new_address(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("victron")
    before = stage.stored("victron")["data"]
    stage.stop_device("victron")
    stage.start_device("victron", NEW_HOST)
    dialog = frontend.reconfigure(title(stage))
    dialog.fill({field_of("victron", "host"): NEW_HOST})
    frontend.picture("form")
    dialog.submit()
    dialog.finish()
    # The unit ids that were detected are not lost.
    stage.until(
        "the new address to be stored",
        lambda: stage.stored("victron")["data"],
        lambda stored: stored == before | {"host": NEW_HOST},
    )


def test_a_password_that_is_refused_is_asked_for_again(
    stage: Stage, frontend: Frontend
) -> None:
    stage.add("sessy")
    stage.misbehave("sessy", "unauthorized")
    dialog = frontend.sign_in_again(title(stage))
    dialog.fill({field_of("sessy", "password"): "WRONG123"})
    dialog.submit()
    assert dialog.error() == english("config.error.invalid_auth")
    frontend.picture("refused")
    stage.misbehave("sessy", "unauthorized", on=False)
    password = stage.setup("sessy")["password"]
    dialog.fill({field_of("sessy", "password"): password})
    dialog.submit()
    dialog.finish()
    stage.until(
        "the battery to be read again",
        lambda: [entry["state"] for entry in stage.entries()],
        lambda states: states == ["loaded"],
    )


def hold(stage: Stage, battery_type: str, power: float) -> str:
    """Add a battery and hold it; return the entry's id."""
    entry_id = stage.add(battery_type)
    number = stage.entity_id(entry_id, "power_setpoint")
    stage.call("number.set_value", number, value=power)
    assert stage.really(battery_type)["mode"] == "controlled"
    return entry_id


def test_a_held_battery_that_is_deleted_is_released_first(
    stage: Stage, frontend: Frontend
) -> None:
    hold(stage, "sessy", 700)
    frontend.delete(title(stage))
    stage.until(
        "the battery to be released",
        lambda: stage.really("sessy")["mode"],
        lambda mode: mode == "automatic",
    )
    stage.until("the entry to be gone", stage.entries, lambda entries: not entries)
    assert stage.issues() == []


def test_a_held_battery_that_is_deleted_out_of_reach_becomes_a_repair(
    stage: Stage, frontend: Frontend
) -> None:
    hold(stage, "sessy", 700)
    name = title(stage)
    stage.stop_device("sessy")
    frontend.delete(name)
    stage.until("the issue", stage.issues, bool)
    dialog = frontend.fix(english("issues.left_held.title", device=name))
    dialog.expect_text("can then not be restored any more")
    frontend.picture("repair")
    dialog.submit()
    dialog.finish()
    assert stage.issues() == []


def test_a_failed_release_is_repeated_by_a_click(
    stage: Stage, frontend: Frontend
) -> None:
    entry_id = hold(stage, "victron", 700)
    name = title(stage)
    stage.misbehave("victron", "read_only")
    frontend.go(stage.device_page(entry_id))
    frontend.select(
        entity("select", "control_mode"), state("select", "control_mode", "automatic")
    )
    frontend.expect_state(
        entity("sensor", "control_status"),
        state("sensor", "control_status", "release_failed"),
    )
    # The issue appears after the second failure; the first may be temporary.
    stage.until("the issue", lambda: has_failed(stage), bool, seconds=90)
    dialog = frontend.fix(english("issues.release_failed.title", device=name))
    dialog.submit()
    assert dialog.error() == english(
        "issues.release_failed.fix_flow.error.not_released"
    )
    frontend.picture("not-released")
    stage.misbehave("victron", "read_only", on=False)
    dialog.submit()
    dialog.finish()
    assert stage.really("victron")["mode"] == "automatic"
    assert not has_failed(stage)


def has_failed(stage: Stage) -> bool:
    """Return whether there is an issue of a failed release."""
    return any(issue.startswith("release_failed") for issue in stage.issues())
