"""Defaults and ranges in the tables of the pages are those of the code."""

from collections.abc import Iterator
import re
from typing import Final

import pytest

from custom_components.homebattery.const import (
    CONF_MAX_CHARGE_POWER,
    CONF_SCAN_INTERVAL,
    CONF_SETPOINT_TIMEOUT,
    LONGEST_SCAN_INTERVAL,
    LONGEST_SETPOINT_TIMEOUT,
    SCAN_INTERVAL,
    SHORTEST_SCAN_INTERVAL,
    SHORTEST_SETPOINT_TIMEOUT,
)
from custom_components.homebattery.drivers import DRIVERS, SimulatedBattery
from custom_components.homebattery.forms import SELECTORS

from . import ROOT
from .test_readme import english

ROW: Final = re.compile(r"^\| ([^|]+?) \| ([^|]*?) \|.*$", re.MULTILINE)
OF_ANY_BATTERY: Final = "host"
"""A field of every form but that of the simulated battery."""
BRANDS: Final = {
    "victron": "Victron",
    "sun2000": "Huawei",
    "deye_modbus": "Deye",
    "deye_solarman": "Deye",
    "sma": "SMA",
}
