"""A battery as everybody sees it, whoever made it."""

from .base import Battery, SetpointLimits
from .modbus import ModbusBattery

__all__ = ["Battery", "ModbusBattery", "SetpointLimits"]
