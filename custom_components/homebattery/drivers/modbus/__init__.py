"""Modbus: registers as data, the fewest reads for them, and a shared connection."""

from .device import ModbusDevice
from .planning import Layout
from .register import AccessType, DataType, Register

__all__ = ["AccessType", "DataType", "Layout", "ModbusDevice", "Register"]
