"""Tests of the driver library, without Home Assistant."""
