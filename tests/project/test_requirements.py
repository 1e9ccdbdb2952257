"""The requirements of the demo with another release of Home Assistant."""

import json
from pathlib import Path

from homeassistant.const import __version__ as installed
import pytest

from scripts import requirements
from scripts.requirements import pinned_requirements, requirements_of

from . import CORE


def test_pins_are_those_of_the_release_that_is_pinned() -> None:
    assert requirements_of(installed, CORE) == pinned_requirements()


def test_another_release_asks_for_what_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        """[dependency-groups]
runtime = ["homeassistant==2026.10.4", "PyWave==1.0", "rf_codes==1.0", "own==1.0"]
test = ["tester==1.0"]
"""
    )
    monkeypatch.setattr(requirements, "PYPROJECT", pyproject)
    (tmp_path / "package_constraints.txt").write_text(
        "# why\npywave==2.0\nown>=0.5\nunrelated==7.0\n"
    )
    manifest = tmp_path / "components/radio/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"requirements": ["rf-codes==3.0", "PyWave==1.5"]}))
    assert requirements_of("2026.11.0", tmp_path) == [
        "homeassistant==2026.11.0",
        "PyWave==2.0",
        "rf_codes==3.0",
        "own==1.0",
    ]
