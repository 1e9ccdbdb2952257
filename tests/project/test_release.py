"""A release is a zip that HACS can install, and its version is the same everywhere."""

import json
from pathlib import Path
import re
from zipfile import ZipFile

from homeassistant.const import __version__ as home_assistant_version
from packaging.version import Version
import pytest

from scripts.release import write_zip

from . import FOLDER, ROOT
from .test_manifest import MANIFEST


def test_versions_agree() -> None:
    hacs = json.loads((ROOT / "hacs.json").read_text("utf-8"))
    least = hacs["homeassistant"]
    assert Version(least) <= Version(home_assistant_version)
    year, month = least.split(".")[:2]
    assert f"Home Assistant {year}.{month} or newer" in (ROOT / "README.md").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(MANIFEST['version'])}\b", changes, re.MULTILINE)


def test_release_has_the_integration_at_its_root(tmp_path: Path) -> None:
    target = tmp_path / "homebattery.zip"
    write_zip(FOLDER, target, "v1.2.3")
    with ZipFile(target) as archive:
        names = set(archive.namelist())
        packed = json.loads(archive.read("manifest.json"))
    assert names >= {
        *("manifest.json", "__init__.py", "translations/en.json"),
        *("drivers/sessy/battery.py", "brand/icon.png"),
    }
    assert not [name for name in names if "__pycache__" in name]
    # The command comes with the library by itself.
    assert not [name for name in names if "__main__" in name]
    assert packed == {**MANIFEST, "version": "1.2.3"}
    assert list(packed) == list(MANIFEST)
    assert MANIFEST["version"] != "1.2.3"
    hacs = json.loads((ROOT / "hacs.json").read_text("utf-8"))
    assert hacs["filename"] == target.name


def test_release_is_always_the_same_for_the_same_files(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_zip(FOLDER, tmp_path / name, "1.2.3")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_release_needs_a_version(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="latest"):
        write_zip(FOLDER, tmp_path / "a.zip", "latest")
