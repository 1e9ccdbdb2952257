"""Words outside of a register's codes are no value, whatever the device."""

import importlib
from typing import Final

import pytest

from custom_components.homebattery.drivers.battery.readings import clean
from custom_components.homebattery.drivers.deye.registers import (
    single_phase,
    three_phase,
)
from custom_components.homebattery.drivers.measurements import MEASUREMENTS, Quantity
from custom_components.homebattery.drivers.modbus.register import Register
from custom_components.homebattery.drivers.victron import registers as victron

from .tables import registers_in

VENDORS: Final = ("deye", "sma", "sun2000", "victron")
FILLER: Final = 0xFFFF


def registers_of(vendor: str) -> list[Register]:
    """Return the registers of a vendor, of each of its maps."""
    if vendor == "deye":
        maps = (three_phase(high_voltage=True), single_phase())
        return [each for runs in maps for run in runs for each in run.registers]
    name = f"custom_components.homebattery.drivers.{vendor}.registers"
    return list(registers_in(list(vars(importlib.import_module(name)).values())))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_code_that_has_no_name_is_no_value(vendor: str) -> None:
    """Nor is the word by which devices fill gaps, unless it is a code."""
    coded = [
        (register, register.enum)
        for register in registers_of(vendor)
        if register.enum is not None
    ]
    assert coded
    for register, enum in coded:
        unnamed = next(code for code in range(1 << 16) if code not in enum)
        for code in {unnamed, FILLER} - enum.keys():
            words = [*(register.count - 1) * [0], code]
            assert register.decode(words) is None, register


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_state_has_codes(vendor: str) -> None:
    """A number would be no option of it."""
    for register in registers_of(vendor):
        measurement = MEASUREMENTS.get(register.name)
        if measurement is not None and measurement.quantity is Quantity.STATUS:
            assert register.enum is not None, register


@pytest.mark.parametrize("vendor", VENDORS)
def test_filler_is_no_yes(vendor: str) -> None:
    flags = [
        each
        for each in registers_of(vendor)
        if each.name in MEASUREMENTS
        and MEASUREMENTS[each.name].quantity is Quantity.FLAG
    ]
    for register in flags:
        words = [*(register.count - 1) * [0], FILLER]
        assert clean(register.name, register.decode(words)) is None, register


def test_alarms_and_flags_of_a_victron_are_few_words() -> None:
    """Those that no measurement shows decide about a setpoint, too."""
    alarms = [each for each in registers_of("victron") if "/" in each.name]
    flags = ("disable_charge", "disable_feed_in", "vebus_bms_expected")
    assert len(alarms) == len(victron.VEBUS_ALARMS) + len(victron.BATTERY_ALARMS)
    for register in registers_of("victron"):
        codes = 3 if register in alarms else 2 if register.name in flags else None
        if codes is not None:
            assert register.decode([codes - 1]) == codes - 1
            for word in (codes, FILLER):
                assert register.decode([word]) is None, register
