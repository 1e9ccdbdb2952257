"""Tests of the drivers' common part."""
