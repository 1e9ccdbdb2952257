"""Tests of the Modbus layer."""
