"""Simulated batteries and a Home Assistant of its own that shows them."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

# The demo for a person, the check and the pictures each have a folder, so that they can run at
# the same time.
DEMO_FOLDER: Final = ROOT / ".demo" / "house"
CHECK_FOLDER: Final = ROOT / ".demo" / "check"
PICTURES_FOLDER: Final = ROOT / ".demo" / "pictures"

DOMAIN: Final = "homebattery"


class DemoError(Exception):
    """An error that the user can read and act on, without a traceback."""


class AnswerError(DemoError):
    """Home Assistant answered with an error."""


class NotThereError(DemoError):
    """Home Assistant answered that there is no such thing."""
