"""An async library for home batteries, over their own local protocols.

It does not depend on Home Assistant. `DRIVERS` is the registry: a new battery is
one file of facts and behaviour, and one line here.
"""

from collections.abc import Mapping
from typing import Final

from .battery.base import Battery
from .battery.controller import Grant, LimitReason
from .battery.readings import Readings
from .deye.modbus_tcp import DeyeModbusInverter
from .deye.solarman import DeyeSolarmanInverter
from .errors import BatteryError
from .sessy.battery import SessyInverter
from .simulated.battery import SimulatedBattery
from .sma.inverter import SmaInverter
from .sun2000.inverter import Sun2000Inverter
from .victron.inverter import VictronInverter

__all__ = [
    "DRIVERS",
    "Battery",
    "BatteryError",
    "DeyeModbusInverter",
    "DeyeSolarmanInverter",
    "Grant",
    "LimitReason",
    "Readings",
    "SessyInverter",
    "SimulatedBattery",
    "SmaInverter",
    "Sun2000Inverter",
    "VictronInverter",
]

DRIVERS: Final[Mapping[str, type[Battery]]] = {
    driver.battery_type: driver
    for driver in (
        VictronInverter,
        SessyInverter,
        SmaInverter,
        DeyeSolarmanInverter,
        DeyeModbusInverter,
        Sun2000Inverter,
        SimulatedBattery,
    )
}
"""Each driver by its `battery_type`; its `fields` say what it needs to be set up.

Detection tries them in this order at a port, until one detects a device. First come
those that send the fewest requests, and whose devices tolerate those of others least.
"""
