"""Tests of the simulated battery's driver."""
