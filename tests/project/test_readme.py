"""What the README shows can be used as it stands."""

import re

from homeassistant.helpers import config_validation as cv
from homeassistant.util.yaml import parse_yaml

from . import ROOT


def test_examples_can_be_pasted() -> None:
    """Those of automations, as far as their form goes."""
    readme = (ROOT / "README.md").read_text("utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        automation = parse_yaml(example)
        assert isinstance(automation, dict)
        cv.SCRIPT_SCHEMA(automation["actions"])
        cv.TRIGGER_SCHEMA(automation.get("triggers", []))
        cv.CONDITIONS_SCHEMA(automation.get("conditions", []))
