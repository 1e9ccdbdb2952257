"""The lease is on a real disk, and safe from a power cut, before the first write."""

import os
from pathlib import Path
from typing import Any

from homeassistant.helpers.storage import STORAGE_DIR
import pytest

from custom_components.homebattery.drivers.battery.controller import Grant
from tests.home import Home, one_of_each_protocol

from .lease_support import file_of

pytestmark = pytest.mark.usefixtures("few_sensors")


@pytest.fixture
def hass_config_dir(tmp_path: Path) -> str:
    """Return an empty folder for Home Assistant's files."""
    (tmp_path / STORAGE_DIR).mkdir()
    return str(tmp_path)


@pytest.fixture
def hass_storage() -> dict[str, Any]:
    """Let Home Assistant write to the disk, which it does not in other tests."""
    return {}


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the numbers (inodes) of what was synced: a power cut leaves it whole."""
    inodes: set[int] = set()
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        inodes.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("atomicwrites._proper_fsync", fsync)
    return inodes


def inodes(*paths: str) -> set[int]:
    return {Path(path).stat().st_ino for path in paths}


@one_of_each_protocol
async def test_lease_is_synced_before_the_first_write(
    home: Home, synced: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.hass.config.path(STORAGE_DIR, file_of(home))
    folder = home.hass.config.path(STORAGE_DIR)
    set_power = home.data.battery.set_power_setpoint
    safe: list[bool] = []

    async def first_write(power: float) -> Grant:
        safe.append(inodes(path, folder) <= synced)
        return await set_power(power)

    monkeypatch.setattr(home.data.battery, "set_power_setpoint", first_write)
    await home.set_power(600)
    assert safe == [True]
