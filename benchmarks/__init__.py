"""Measurements of the driver library, to compare two ways in one run."""
