"""Tests of the files around the code: manifest, texts, pages, scripts, workflows."""

from pathlib import Path
from typing import Final

import homeassistant

from custom_components import homebattery

FOLDER: Final = Path(homebattery.__file__).parent
ROOT: Final = FOLDER.parents[1]

CORE: Final = Path(homeassistant.__file__).parent
"""The package of Home Assistant."""
