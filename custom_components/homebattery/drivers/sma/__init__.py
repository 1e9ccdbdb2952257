"""SMA Sunny Island and its kind."""

from .inverter import SmaInverter

__all__ = ["SmaInverter"]
