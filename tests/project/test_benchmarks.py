"""The benchmarks still run, and their figures show the claimed relations."""

import pytest

from benchmarks.driver import measure
from tests.home import house_of
from tests.simulators import ManualClock, VictronSimulator


@pytest.mark.usefixtures("socket_enabled")
async def test_driver_is_measured(victron: VictronSimulator) -> None:
    async with VictronSimulator(house_of(VictronSimulator, ManualClock())) as other:
        figures = await measure("victron", victron.setup, other.setup, rounds=1)

    assert figures["live requests"] < figures["all requests"]
    assert figures["naive requests"] > 5 * figures["live requests"]
    assert 0 < figures["library frames"] < figures["socket frames"]
    assert all(value > 0 for value in figures.values())
