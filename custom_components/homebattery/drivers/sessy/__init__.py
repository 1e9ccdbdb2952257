"""Sessy."""

from .battery import SessyInverter

__all__ = ["SessyInverter"]
