"""Huawei SUN2000."""

from .inverter import Sun2000Inverter

__all__ = ["Sun2000Inverter"]
