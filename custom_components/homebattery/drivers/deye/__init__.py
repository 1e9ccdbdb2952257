"""Deye, over Modbus TCP or through a Solarman data logger."""

from .modbus_tcp import DeyeModbusInverter
from .solarman import DeyeSolarmanInverter

__all__ = ["DeyeModbusInverter", "DeyeSolarmanInverter"]
