"""Tests of the batteries when a real Home Assistant is killed, and when it stops.

Nothing but the devices is simulated: Home Assistant is a process of its own that ends
by a real signal, and its next start has nothing but its folder. The time of the devices
passes only when a test lets it, so that it is certain which of their watchdogs have
ended a setpoint.
"""

from typing import Any, Final

import pytest

from scripts.demonstration.waiting import wait_for
from tests.home import LOAD
from tests.simulators import SIMULATORS, ManualClock, Simulator

from .all_devices import (
    Devices,
    at_power,
    changed,
    controlled,
    devices,
    home_assistant,
    kill,
    settings,
)
from .real_home_assistant import RealHomeAssistant

__all__ = ["devices", "home_assistant"]

# Home Assistant starts several times in a test, on whatever machine that is.
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ALL: Final = frozenset(SIMULATORS)
NO_WATCHDOG: Final = frozenset({"deye_modbus", "deye_solarman", "sessy"})

CHARGE: Final = 600
"""W; without a setpoint the batteries discharge into the house, for there is no sun."""
MINUTE: Final = 60
HOUR: Final = 60 * MINUTE


def device_state(device: Simulator) -> Any:
    return device.state()["device"]


async def start_again(home_assistant: RealHomeAssistant, devices: Devices) -> None:
    """Start it, and wait until it shows that no battery is held any more."""
    await home_assistant.start()

    async def observe() -> list[str]:
        return await home_assistant.states(devices.values(), "control_status")

    await wait_for(
        "all batteries to be automatic",
        observe,
        lambda seen: set(seen) == {"automatic"},
        seconds=120,
    )


async def test_after_a_kill_the_next_start_releases_all_batteries(
    home_assistant: RealHomeAssistant, devices: Devices, clock: ManualClock
) -> None:
    original = settings(devices)
    await home_assistant.start()
    await home_assistant.add(devices.values())
    assert changed(original, devices) == {}

    # Killed while it charges: at first the devices do not notice, and all go on.
    await home_assistant.set_power(devices.values(), CHARGE)
    await kill(home_assistant, devices)
    assert controlled(devices) == ALL
    assert at_power(devices, CHARGE) == ALL

    # A Victron forgets the setpoint and passes the grid through; ESS mode 3 stays.
    clock.advance(MINUTE)
    assert device_state(devices["victron"])["lapsed"]
    assert device_state(devices["victron"])["passthru"]
    assert at_power(devices, 0) == {"victron"}
    assert at_power(devices, CHARGE) == ALL - {"victron"}
    assert controlled(devices) == ALL

    # A SUN2000 ends the forced charge and goes back to its working mode. A Sunny Island
    # falls back to its own control, as its installer chose; external control stays on.
    clock.advance(9 * MINUTE)
    assert at_power(devices, -LOAD) == {"sun2000", "sma"}
    assert device_state(devices["sma"])["lapsed"]
    assert controlled(devices) == ALL - {"sun2000"}

    # The others have no watchdog.
    clock.advance(HOUR)
    assert at_power(devices, CHARGE) == NO_WATCHDOG
    assert controlled(devices) == ALL - {"sun2000"}

    await start_again(home_assistant, devices)
    assert controlled(devices) == set()
    assert changed(original, devices) == {}

    # Killed while it holds. A SUN2000 does that by limits in flash, which nothing ends.
    await home_assistant.set_power(devices.values(), 0)
    await kill(home_assistant, devices)
    assert at_power(devices, 0) == ALL
    clock.advance(HOUR)
    assert at_power(devices, 0) == ALL - {"sma"}
    assert controlled(devices) == ALL

    await start_again(home_assistant, devices)
    assert controlled(devices) == set()
    assert changed(original, devices) == {}


async def test_a_stop_releases_all_batteries_before_it_ends(
    home_assistant: RealHomeAssistant, devices: Devices
) -> None:
    original = settings(devices)
    await home_assistant.start()
    await home_assistant.add(devices.values())
    await home_assistant.set_power(devices.values(), CHARGE)
    assert controlled(devices) == ALL

    assert await home_assistant.stop() == 0

    assert controlled(devices) == set()
    assert changed(original, devices) == {}
