"""Measurements of the drivers and of their entries in Home Assistant."""
