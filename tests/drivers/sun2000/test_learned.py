"""A Huawei's answers are learned from only where they last."""

import time

import pytest

from .bench import bench, without_pauses

pytestmark = pytest.mark.usefixtures("socket_enabled")

STATUS = 37100
"""The register of the meter's state."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)


async def test_the_state_of_the_meter_is_never_taken_for_missing() -> None:
    """Without it nothing of the meter is read."""
    async with bench() as b:
        (name,) = (
            each.name
            for each in b.battery.devices
            if STATUS in each.addresses(each.names)
        )
        b.battery.recall(
            {
                "firmware": b.battery.identity.firmware,
                "units": {name: {"missing": {str(STATUS): [2, int(time.time())]}}},
            }
        )
        await b.battery.close()
        await b.battery.connect()

        assert "meter_status" in b.battery.measurements
        assert await b.battery.get("meter_status") == "normal"
        assert "missing" not in str(b.battery.learned)
