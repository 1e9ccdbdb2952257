"""A lease on a real disk, what a power cut leaves of it, and the next start.

The fixtures are for modules whose Home Assistant shall write to the disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
import os
from pathlib import Path
import stat
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.helpers.storage import STORAGE_DIR
import pytest

from custom_components.homebattery.const import DOMAIN
from tests.home import Home, MakeHome

type Files = dict[str, bytes]


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
def folder(hass_config_dir: str) -> Path:
    return Path(hass_config_dir) / STORAGE_DIR


def files_of_leases(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{DOMAIN}.*"))


async def crash(home: Home, folder: Path) -> None:
    """End a battery's entry as a crash does: without releasing it. No file remains."""
    if home.entry_is(ConfigEntryState.LOADED):
        home.data.battery.snapshot = None
        home.data.control._leased._end()
    for path in files_of_leases(folder):
        path.unlink()
    await home.hass.config_entries.async_remove(home.entry.entry_id)
    for path in files_of_leases(folder):
        path.unlink()


async def start_with(
    files: Mapping[str, bytes], dead: Home, make_home: MakeHome, folder: Path
) -> Home:
    """Return the next start after a crash or a power cut, with these files alone."""
    await crash(dead, folder)
    alive = prepare_start(files, dead, make_home, folder)
    assert await alive.set_up()
    return alive


def prepare_start(
    files: Mapping[str, bytes], dead: Home, make_home: MakeHome, folder: Path
) -> Home:
    """Return the next start of a battery that crashed, which is yet to be set up."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return make_home(dead.simulator)


@dataclass
class Disk:
    """The part of a folder that a power cut leaves whole: only what was synced."""

    folder: Path
    contents: dict[int, bytes] = field(default_factory=dict)
    """The content of each file (inode) when it was synced last."""
    names: dict[str, int] = field(default_factory=dict)
    """The files in the folder when that was synced last."""

    def sync_all(self) -> None:
        """Take what is in the folder now for synced."""
        entries = [each for each in os.scandir(self.folder) if each.is_file()]
        self.names = {each.name: each.inode() for each in entries}
        self.contents = {each.inode(): Path(each.path).read_bytes() for each in entries}

    def note_sync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        entries = {each.name: each.inode() for each in os.scandir(self.folder)}
        if stat.S_ISREG(status.st_mode):
            for name, inode in entries.items():
                if inode == status.st_ino:
                    self.contents[inode] = (self.folder / name).read_bytes()
        elif status.st_ino == self.folder.stat().st_ino:
            self.names = entries

    @property
    def after_a_power_cut(self) -> Files:
        """The files of leases that are there when the power is back."""
        return {
            name: self.contents.get(inode, b"")
            for name, inode in self.names.items()
            if name.startswith(f"{DOMAIN}.")
        }

    @property
    def after_a_crash(self) -> Files:
        """The files of leases as they are now, synced or not."""
        return {path.name: path.read_bytes() for path in files_of_leases(self.folder)}


@pytest.fixture
def disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return the disk, which notes all that is synced from now on."""
    disk = Disk(folder)
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        disk.note_sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("atomicwrites._proper_fsync", fsync)
    return disk
