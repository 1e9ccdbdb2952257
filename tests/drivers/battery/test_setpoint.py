"""A setpoint that fails: its writes are known, and can be undone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar

import pytest

from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.errors import (
    DeviceRefusedError,
    FlashBudgetError,
    NotSupportedError,
)
from custom_components.homebattery.drivers.flash import DAILY_BUDGET
from custom_components.homebattery.drivers.modbus.planning import Layout
from custom_components.homebattery.drivers.modbus.register import (
    AccessType,
    DataType,
    Register,
)
from tests.simulators.image import ModbusImage

pytestmark = pytest.mark.usefixtures("socket_enabled")

SETPOINT = Register(10, "power_setpoint", DataType.INT16, 1, "W", AccessType.READ_WRITE)
RESET = Register(20, "reset", access_type=AccessType.READ_WRITE)


class Simple(ModbusBattery):
    """A battery of one register, with another register that resets it."""

    battery_type: ClassVar[str] = "simple"
    manufacturer: ClassVar[str] = "Simple"
    power_limits = SetpointLimits(-5000, 5000)
    registers = (SETPOINT, RESET)
    layout = Layout(never_write=frozenset({20}))
    settle = 0


class InFlash(Simple):
    """The same battery, with its setpoint in flash."""

    registers = (replace(SETPOINT, persistent=True), RESET)


@pytest.fixture
async def image() -> AsyncIterator[ModbusImage]:
    words = {"10": 300, "18": 0, "19": 0, "20": 0}
    async with ModbusImage({"battery_type": "test", "units": {"1": words}}) as image:
        yield image


@pytest.mark.parametrize("code", [1, 2, 3, 6, 10])
async def test_a_refused_first_write_needs_no_release(
    image: ModbusImage, code: int
) -> None:
    async with Simple(image.host, image.port) as battery:
        image.set_faults(write_exception=code)
        with pytest.raises(DeviceRefusedError) as refused:
            await battery.set_power_setpoint(1000)

        assert not refused.value.written
        assert battery.snapshot is None
        assert battery.held is None


@pytest.mark.parametrize("code", [4, 5, 11])
async def test_a_device_that_may_have_begun_can_be_restored(
    image: ModbusImage, code: int
) -> None:
    """It failed while it wrote, is still busy, or its gateway got no answer."""
    async with Simple(image.host, image.port) as battery:
        image.set_faults(write_exception=code)
        with pytest.raises(DeviceRefusedError) as refused:
            await battery.set_power_setpoint(1000)

        assert refused.value.written
        assert battery.snapshot == {"power_setpoint": 300}


async def test_a_refused_change_leaves_the_former_setpoint_in_force(
    image: ModbusImage,
) -> None:
    async with Simple(image.host, image.port) as battery:
        await battery.set_power_setpoint(1000)
        image.set_faults(write_exception=2)
        with pytest.raises(DeviceRefusedError):
            await battery.set_power_setpoint(2000)

        assert battery.held is not None
        assert battery.held.grant == Grant(1000)
        assert battery.snapshot == {"power_setpoint": 300}


async def test_release_ignores_the_flash_budget(
    image: ModbusImage,
) -> None:
    async with InFlash(image.host, image.port) as battery:
        await battery.set_power_setpoint(1000)
        for _ in range(DAILY_BUDGET):
            battery.wear.note()
        with pytest.raises(FlashBudgetError) as spent:
            await battery.set_power_setpoint(2000)
        assert not spent.value.written

        await battery.release()

    assert image.units.units[1][10] == 300


async def test_flash_is_written_and_counted_only_for_another_value(
    image: ModbusImage,
) -> None:
    async with InFlash(image.host, image.port) as battery:
        for _ in range(2):
            await battery.set_power_setpoint(1000)

        assert battery.wear.writes_today == 1
        assert battery.writes == len(image.writes) == 1


async def test_writes_to_forbidden_registers_are_refused(image: ModbusImage) -> None:
    """Also in the middle of a longer write."""
    async with Simple(image.host, image.port) as battery:
        (device,) = battery.devices
        with pytest.raises(NotSupportedError, match="never be written"):
            await device.write("reset", 1)
        with pytest.raises(NotSupportedError, match="never be written"):
            await device.write_words(18, [0, 0, 1])

    assert image.writes == []
