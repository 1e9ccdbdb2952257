"""The conditions of a setpoint are asked for, whatever earlier connections learned."""

import time
from typing import Final

import pytest

from custom_components.homebattery.drivers.absence import ASK_AGAIN
from custom_components.homebattery.drivers.modbus.register import Register
from custom_components.homebattery.drivers.sma.conditions import CONDITIONS
from custom_components.homebattery.drivers.sma.inverter import SmaInverter
from custom_components.homebattery.drivers.sma.registers import REGISTERS
from tests.drivers.conftest import Leap
from tests.simulators.image import ModbusImage, load

pytestmark = pytest.mark.usefixtures("socket_enabled")

(VECTOR,) = (
    each for each in load("sma_sunny_island") if each["name"] == "identification"
)
READ_ONLY: Final = [
    register
    for register in REGISTERS
    if register.name in CONDITIONS and not register.writable
]


@pytest.mark.parametrize("condition", READ_ONLY, ids=lambda each: str(each.name))
async def test_a_condition_of_a_setpoint_is_asked_for_all_day(
    condition: Register, leap: Leap
) -> None:
    """Its refusal counts as a read of it, and must be no old one."""
    image = ModbusImage(VECTOR)
    for address in range(condition.address, condition.end):
        image.units.units[3].pop(address, None)
    async with image:
        async with SmaInverter(image.host, image.port) as battery:
            learned = {
                "firmware": battery.identity.firmware,
                "units": {
                    "SMA (unit 3)": {
                        "missing": {str(condition.address): [2, int(time.time())]}
                    }
                },
            }
        battery.recall(learned)
        async with battery:
            image.traffic.clear()
            for _ in range(10):
                leap(ASK_AGAIN)
                await battery.read()

            asked = {int.from_bytes(each.pdu[1:3]) for each in image.traffic.refusals}
            assert condition.address in asked
