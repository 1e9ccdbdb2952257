"""Defaults and ranges in the tables of docs/simulated.md and docs/setup.md are the code's."""

import re
from typing import Any, Final

from homeassistant.helpers.selector import NumberSelector
import pytest

from custom_components.homebattery.const import (
    LONGEST_SCAN_INTERVAL,
    LONGEST_SETPOINT_TIMEOUT,
    SCAN_INTERVAL,
    SHORTEST_SCAN_INTERVAL,
    SHORTEST_SETPOINT_TIMEOUT,
)
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.forms import SELECTORS

from . import ROOT
from .test_readme import english

ROW: Final = re.compile(r"^\| ([^|(]+?) (?:\([^|]*\) )?\| (.*) \|$", re.MULTILINE)
LINK: Final = re.compile(r"\[([^]\n]*)\]\([^)\n]*\)")
NUMBER: Final = re.compile(r"\d+")


def rows(page: str) -> dict[str, str]:
    """Return the rows of the tables of a page by their first cell, without links."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return dict(ROW.findall(LINK.sub(r"\1", text)))


def default(battery_type: str, name: str) -> Any:
    """Return the default of a field or an option of a driver, as a form shows it."""
    driver = DRIVERS[battery_type]
    (field,) = (
        each for each in (*driver.fields, *driver.option_fields) if each.name == name
    )
    texts = english("selector").get(name, {}).get("options", {})
    return texts.get(field.default, field.default)


def port(battery_type: str) -> Any:
    """Return the default of the port of a driver."""
    return default(battery_type, "port")


WLAN: Final = DRIVERS["sun2000"].ports[-1]
IS_OFF: Final = {False: "off", True: "on"}
SETUP: Final[dict[str, list[str]]] = {
    "Port": [
        *(
            f"{port(each)} for Modbus TCP"
            for each in ("victron", "sun2000", "deye_modbus", "sma")
        ),
        f"{WLAN} on a Huawei's own Wi-Fi",
        f"{port('deye_solarman')} for a data logger",
        f"{port('sessy')} for a Sessy",
    ],
    "Unit ID": [
        *(
            f"a Deye has {default(each, 'unit_id')} and"
            for each in ("deye_modbus", "deye_solarman")
        ),
        f"an SMA {default('sma', 'unit_id')} unless",
    ],
    "Framing": [f"*{default('deye_modbus', 'framing')}*; *"],
    "Update interval": [
        f"{SHORTEST_SCAN_INTERVAL} to {LONGEST_SCAN_INTERVAL}; {SCAN_INTERVAL} unless"
    ],
    "Feed in when discharging": [
        f"*{default('victron', 'export')}* (a Victron, unless you choose)",
        *(
            f"*{default(each, 'export')}*: the load of the house at most (a Deye, unless"
            for each in ("deye_modbus", "deye_solarman")
        ),
    ],
    "While the sun shines": [
        f"*{default('sun2000', 'sunshine')}*, at the cost of PV (unless you choose)"
    ],
    "End setpoints after": [
        f"{SHORTEST_SETPOINT_TIMEOUT} to {LONGEST_SETPOINT_TIMEOUT}, which is a week"
    ],
    "Use remote mode": [f"{IS_OFF[default('deye_modbus', 'remote_mode')]} unless you"],
    "Unit of energy counters": [f"*{default('deye_modbus', 'counter_unit')}* unless"],
}
"""Phrases of the rows of docs/setup.md that say a default or a range."""


@pytest.mark.parametrize("row", SETUP)
def test_forms_and_options_have_the_defaults_of_the_page(row: str) -> None:
    """It names no other numbers."""
    text = rows("setup.md")[row]
    for phrase in SETUP[row]:
        assert phrase in text
    for phrase in SETUP[row]:
        text = text.replace(phrase, "")
    assert NUMBER.findall(text) == []


def test_each_row_with_a_number_or_a_default_is_checked() -> None:
    tables = rows("setup.md")
    with_default = {
        row
        for row, text in tables.items()
        if re.search(r"\b[1-9]\d*\b|unless you", text)
    }
    assert with_default == set(SETUP) - {"Framing"}


def unit(name: str) -> str:
    """Return the unit of the number that a field takes."""
    selector: Any = SELECTORS[name]
    (number,) = (
        each for each in selector.validators if isinstance(each, NumberSelector)
    )
    return str(number.config["unit_of_measurement"])


def test_the_simulated_battery_has_the_sizes_of_the_page() -> None:
    labels = english("config", "step", "simulated", "data")
    sizes = {
        labels[field.name]: f"{field.default} {unit(field.name)}"
        for field in DRIVERS["simulated"].fields
        if not field.generated
    }
    assert len(sizes) == 4
    on_page = {
        row: text.partition(" | ")[0]
        for row, text in rows("simulated.md").items()
        if row in labels.values() and row != labels["name"]
    }
    assert on_page == sizes
