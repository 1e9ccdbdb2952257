"""Tests of Deye's drivers."""
