"""Fixtures of the tests of Deye's drivers."""

from typing import Final

import pytest

from custom_components.homebattery.drivers.deye import (
    blocks as deye_blocks,
    modbus_tcp as deye_modbus_tcp,
    solarman as deye_solarman,
)
from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection

PROBE_TIMEOUTS: Final = (5.0,)
"""Seconds. A device answers at once, on a busy machine a little later."""


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take out the pauses."""
    monkeypatch.setattr(DeyeInverter, "settle", 0)
    monkeypatch.setattr(deye_modbus_tcp, "REQUEST_SPACING", 0)
    monkeypatch.setattr(deye_solarman, "REQUEST_SPACING", 0)
    monkeypatch.setattr(deye_blocks, "PROBE_TIMEOUTS", PROBE_TIMEOUTS)
    monkeypatch.setattr(ModbusTcpConnection, "FIRST_BACK_OFF", 0)
    monkeypatch.setattr(ModbusTcpConnection, "LONGEST_BACK_OFF", 0)
