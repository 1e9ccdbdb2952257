"""Home batteries over their own local protocols: an async library of its own.

It knows nothing of Home Assistant. `DRIVERS` is the registry: a new battery is
one file of facts and behaviour, and one line here.
"""

from collections.abc import Mapping
from typing import Final

from .battery import Battery
from .deye_modbus import DeyeModbusInverter
from .deye_solarman import DeyeSolarmanInverter
from .sessy import SessyInverter
from .sma import SmaInverter
from .sun2000 import Sun2000Inverter
from .victron import VictronInverter

__all__ = [
    "DRIVERS",
    "Battery",
    "DeyeModbusInverter",
    "DeyeSolarmanInverter",
    "SessyInverter",
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
    )
}
"""Each driver by its `battery_type`; its `fields` say what it needs to be set up.

In this order they are asked what is behind a port, until one knows. So first comes who
asks the fewest questions, and whose devices would mind those of the others most.
"""
