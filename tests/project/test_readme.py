"""The examples in the README can be used as they stand."""

import re

from homeassistant.helpers import config_validation as cv
from homeassistant.util.yaml import parse_yaml

from . import ROOT


def test_examples_can_be_pasted() -> None:
    """The automations among them have a valid form."""
    readme = (ROOT / "README.md").read_text("utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        automation = parse_yaml(example)
        assert isinstance(automation, dict)
        cv.SCRIPT_SCHEMA(automation["actions"])
        cv.TRIGGER_SCHEMA(automation.get("triggers", []))
        cv.CONDITIONS_SCHEMA(automation.get("conditions", []))
