"""Home Assistant's detector of blocking calls is on in every test, and works."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

_BLOCKING: Final = """
from pathlib import Path
import time


def nap():
    time.sleep(0)


def read(path):
    return Path(path).read_text()
"""


@pytest.fixture
def part(tmp_path: Path) -> ModuleType:
    """Return a module that seems to be part of this integration, and blocks."""
    path = tmp_path / "custom_components/homebattery/blocking.py"
    path.parent.mkdir(parents=True)
    path.write_text(_BLOCKING, "utf-8")
    spec = spec_from_file_location("custom_components.homebattery.blocking", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_integration_that_blocks_is_detected(
    part: ModuleType, blocking_calls: list[str]
) -> None:
    with pytest.raises(RuntimeError, match="blocking call to sleep"):
        part.nap()
    assert part.read(__file__)
    for call in ("sleep", "read_text"):
        assert [report for report in blocking_calls if f"call to {call} " in report]
    # The reports in the list would fail this test.
    blocking_calls.clear()


def test_blocking_outside_the_event_loop_is_fine(
    part: ModuleType, blocking_calls: list[str]
) -> None:
    part.nap()
    assert part.read(__file__)
    assert blocking_calls == []
