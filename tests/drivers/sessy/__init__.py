"""Tests of Sessy's driver."""
