"""The stage itself, between tests."""

import pytest

from scripts.demonstration import DemoError

from .stage import Stage


def test_an_entity_that_cannot_be_restored_fails_one_test_alone(stage: Stage) -> None:
    stage.clear()
    # A simulated battery never returns: nothing of it is kept for other tests.
    entry_id = stage.add("simulated")
    for key in ("battery_soc", "battery_power"):
        stage.change_entity(stage.entity_id(entry_id, key), {"hidden_by": "user"})
    stage.remove(entry_id)
    with pytest.raises(DemoError):
        stage.clear()
    stage.clear()
