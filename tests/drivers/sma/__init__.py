"""Tests of SMA's driver."""
