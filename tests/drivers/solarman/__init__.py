"""Tests of the connection through a Solarman logger."""
