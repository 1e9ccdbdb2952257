"""Texts of a device are printable and short where they enter the library."""

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers.battery.measuring import (
    LONGEST_NAME,
    Identity,
)
from custom_components.homebattery.drivers.battery.readings import LONGEST_VALUE, clean
from custom_components.homebattery.drivers.errors import (
    DeviceRefusedError,
    InvalidValueError,
    ModbusSpokenError,
    WrongLoggerError,
)
from custom_components.homebattery.drivers.measurements import MEASUREMENTS, Quantity
from custom_components.homebattery.drivers.text import LONGEST_TEXT, printable

HOSTILE = "\x1b[31m\nERROR \0\u202e" + "A" * 200_000


def is_harmless(text: str, longest: int) -> bool:
    return text.isprintable() and len(text) <= longest


@given(text=st.text(max_size=60), longest=st.integers(1, 50))
def test_any_text_becomes_harmless(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert is_harmless(shown, longest)
    if is_harmless(text, longest):
        assert shown == text


@pytest.mark.parametrize(
    "error",
    [
        DeviceRefusedError(HOSTILE, 500),
        InvalidValueError(HOSTILE),
        WrongLoggerError(HOSTILE, 1, 2),
        ModbusSpokenError(HOSTILE, 502),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_harmless_whatever_a_device_has_sent(error: Exception) -> None:
    assert is_harmless(str(error), LONGEST_TEXT)
    assert "ERROR" in str(error)


@pytest.mark.parametrize(
    "key",
    [
        next(key for key, each in MEASUREMENTS.items() if each.quantity is quantity)
        for quantity in (Quantity.TEXT, Quantity.STATUS)
    ],
)
def test_a_reading_is_harmless(key: str) -> None:
    value = clean(key, HOSTILE)
    assert isinstance(value, str)
    assert is_harmless(value, LONGEST_VALUE)


def test_a_device_describes_itself_harmlessly() -> None:
    identity = Identity(
        serial_number="1",
        manufacturer="Maker",
        model=HOSTILE,
        name=HOSTILE,
        firmware=HOSTILE,
        hardware=None,
    )
    for text in (identity.model, identity.name, identity.firmware):
        assert text is not None
        assert is_harmless(text, LONGEST_NAME)
    assert identity.hardware is None
