"""The interface of a battery, the same for all vendors."""

from .base import Battery, SetpointLimits
from .modbus import ModbusBattery

__all__ = ["Battery", "ModbusBattery", "SetpointLimits"]
