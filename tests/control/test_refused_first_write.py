"""A first setpoint that the device definitely refuses: nothing was begun."""

from typing import Any, Final

from homeassistant.exceptions import HomeAssistantError
import pytest

from tests.control.lease_support import issues, stored
from tests.home import Home, Warp
from tests.simulators import Simulator

pytestmark = pytest.mark.usefixtures("few_sensors")

DEFINITE: Final = (1, 2, 3, 4, 6, 10, 0x80)
"""Exceptions by which a device says no: nothing was written."""


@pytest.mark.parametrize("code", DEFINITE)
@pytest.mark.parametrize("simulator", ["sma"], indirect=True)
async def test_a_refused_first_setpoint_begins_nothing(
    home: Home,
    simulator: Simulator,
    warp: Warp,
    hass_storage: dict[str, Any],
    code: int,
) -> None:
    """Neither then, nor minutes later, nor after a restart is there anything to end."""
    await simulator.misbehave("refuse_writes", code=code)
    with pytest.raises(HomeAssistantError, match="refuse"):
        await home.set_power(800)
    for again in (False, True):
        if again:
            await home.hass.config_entries.async_reload(home.entry.entry_id)
            await home.hass.async_block_till_done()
        for _ in range(4):
            assert home.state("control_mode") == "automatic"
            assert home.state("control_status") == "automatic"
            assert home.state("power_setpoint") == "unknown"
            assert home.data.battery.snapshot is None
            assert issues(home) == set()
            assert stored(hass_storage, home) is None
            await warp(61)
