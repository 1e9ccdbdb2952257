"""SMA Sunny Island."""

from .inverter import SmaInverter

__all__ = ["SmaInverter"]
