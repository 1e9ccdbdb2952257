"""Victron: a GX device and the inverters behind it."""

from .inverter import VictronInverter

__all__ = ["VictronInverter"]
