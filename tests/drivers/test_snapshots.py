"""Snapshots, which a release writes into flash: no single read of one counts."""

from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from tests.drivers.conftest import Pauses
from tests.drivers.damage import damaged
from tests.simulators import Simulator

pytestmark = pytest.mark.usefixtures("socket_enabled")

RESTORED: Final = {
    "victron": (2902, 12),
    "sun2000": (47076, 1500),
    "deye_modbus": (109, 3),
    "deye_solarman": (109, 3),
}
"""An address that a release restores, and a word that might be there."""


@pytest.mark.parametrize("modbus_simulator", RESTORED, indirect=True)
@pytest.mark.parametrize("is_read", [True, False], ids=["polled", "not polled"])
async def test_a_damaged_word_is_not_restored(
    modbus_simulator: Simulator, pauses: Pauses, is_read: bool
) -> None:
    """In the read of the snapshot, or in the one after it."""
    device: Any = modbus_simulator
    before = device.settings_words()
    for number in (1, 2):
        async with DRIVERS[device.type].from_setup(device.setup) as battery:
            if is_read:
                await battery.read()
            with damaged(device.units, *RESTORED[device.type], first=number):
                await battery.set_power_setpoint(0)
            await battery.release()

        assert device.settings_words() == before
