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


async def test_a_trial_is_sent_once_and_its_failure_says_nothing() -> None:
    """It may serve another client for now: reads are retried as before."""
    async with bench() as b:
        await b.battery.read()
        before = b.battery.recording.requests
        await b.simulator.misbehave("exception", code=4, count=9)
        await b.battery.learn()
        assert b.battery.recording.requests - before == 1
        assert "gaps" not in str(b.battery.learned)

        await b.simulator.misbehave("exception", code=4, count=1)
        readings = await b.battery.read(["battery_soc"])
        assert not readings.failures
