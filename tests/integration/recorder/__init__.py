"""Tests that need Home Assistant's recorder."""
