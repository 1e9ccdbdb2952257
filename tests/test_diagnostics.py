"""Diagnostics: all that helps, nothing that is private."""

import json

from homeassistant.components.diagnostics import REDACTED
import pytest

from custom_components.homebattery.diagnostics import async_get_config_entry_diagnostics

from .conftest import Home, Warp
from .simulators import VictronSimulator


async def test_diagnostics(home: Home) -> None:
    await home.set_power(1000)
    data = await async_get_config_entry_diagnostics(home.hass, home.entry)
    assert data["entry"]["data"]["battery_type"] == home.simulator.type
    assert data["identity"]["manufacturer"] == home.data.battery.manufacturer
    assert data["readings"]["battery_soc"] == pytest.approx(50, abs=1)
    assert data["control"]["requested_power"] == 1000
    assert data["control"]["found"] == home.data.battery.found
    text = json.dumps(data)
    for secret in ("host", "username", "password"):
        if value := home.entry.data.get(secret):
            assert str(value) not in text
            assert data["entry"]["data"][secret] == REDACTED
    assert str(home.entry.unique_id) not in text


async def test_failures_are_told_without_the_address(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await victron.misbehave("exception", code=4, count=1000, unit=225)
    await warp(61)
    await warp(6)
    data = await async_get_config_entry_diagnostics(
        victron_home.hass, victron_home.entry
    )
    assert "DeviceRefusedError" in data["failures"]["battery_soh"]
    assert victron.host not in json.dumps(data)
