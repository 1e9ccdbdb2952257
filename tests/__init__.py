"""Tests of the integration, its drivers and the simulated devices."""
