"""Tests of what all drivers share."""
