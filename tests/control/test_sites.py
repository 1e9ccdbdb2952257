"""Setpoints at sites where a device is not as it should be."""

import pytest

from tests.control.lease_support import issues
from tests.home import Home, Warp
from tests.simulators import SessySimulator, VictronSimulator
from tests.simulators.sessy import REFUSALS, SetpointRefusal


@pytest.mark.usefixtures("few_sensors")
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_sessy_that_refuses_while_its_strategy_changes_is_held(
    sessy_home: Home, sessy: SessySimulator, warp: Warp, refusal: SetpointRefusal
) -> None:
    sessy.fault_changing(refusal, 2)
    await sessy_home.set_power(800)
    assert sessy.device_state()["setpoint"] == -800
    await warp(6)
    assert sessy_home.state("control_status") == "following"
    sessy.fault_changing(refusal, 2)
    await sessy_home.choose("automatic")
    assert sessy_home.state("control_mode") == "automatic"
    assert sessy_home.state("working_mode") == "nom"
    assert issues(sessy_home) == set()


async def test_victron_without_a_battery_monitor_is_not_called_empty(
    victron_home: Home, victron: VictronSimulator, warp: Warp
) -> None:
    await warp(6)
    await victron.misbehave("no_soc")
    # A battery that is gone from 50 % to 0 at once has lost its monitor.
    await warp(6)
    assert victron_home.state("battery_soc") == "unknown"
    await victron_home.set_power(-500)
    await warp(6)
    assert victron_home.state("control_status") == "following"
    assert victron_home.state_of("control_status").attributes["reason"] is None
