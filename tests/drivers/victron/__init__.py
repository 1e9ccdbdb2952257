"""Tests of Victron's driver."""
