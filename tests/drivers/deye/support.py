"""Common parts of the Deye drivers' tests: both ways to an inverter, and vectors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.deye import (
    modbus_tcp as deye_modbus_tcp,
    solarman as deye_solarman,
)
from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from tests.simulators import ManualClock, Plant
from tests.simulators.deye import DeyeModbusSimulator, DeyeSimulator
from tests.simulators.deye_solarman import DeyeSolarmanSimulator
from tests.simulators.image import ModbusImage, Vector, VectorUnits, load
from tests.simulators.solarman import SERIAL, SolarmanLogger

VECTORS: Final = load("deye")
WAYS: Final = ("deye_modbus", "deye_solarman")

both_ways = pytest.mark.parametrize("way", WAYS)
"""A mark for tests of each way to an inverter."""


def house(**arguments: Any) -> Plant:
    """Return a house on a clock that the test moves; at night by default."""
    fixed = {"time_of_day": 1.0, "clock": ManualClock()}
    return DeyeModbusSimulator.house(**fixed | arguments)


def simulator(way: str = "deye_modbus", **options: Any) -> DeyeSimulator:
    """Return an inverter in such a house, to be reached this way."""
    plant = options.pop("plant", None) or house()
    if way == "deye_modbus":
        return DeyeModbusSimulator(plant, **options)
    return DeyeSolarmanSimulator(plant, **options)


@asynccontextmanager
async def connected(
    device: DeyeSimulator, **options: Any
) -> AsyncIterator[DeyeInverter]:
    """Yield a driver that is connected to a simulator; `options` are the driver's."""
    kind = DRIVERS[device.type]
    setup = {key: value for key, value in device.setup.items() if key != "host"}
    battery = kind(device.host, **setup | options)
    assert isinstance(battery, DeyeInverter)
    async with battery:
        yield battery


@asynccontextmanager
async def on_image(
    vector: Vector, way: str = "deye_modbus", **options: Any
) -> AsyncIterator[tuple[DeyeInverter, VectorUnits]]:
    """Yield a driver on a vector's registers, and the registers."""
    units = VectorUnits(vector)
    if way == "deye_modbus":
        image = ModbusImage(vector)
        units = image.units
        async with (
            image,
            deye_modbus_tcp.DeyeModbusInverter(
                image.host, image.port, **options
            ) as one,
        ):
            yield one, units
    else:
        async with (
            SolarmanLogger(units, serial=SERIAL) as logger,
            deye_solarman.DeyeSolarmanInverter(
                logger.host, logger.port, logger_serial=SERIAL, **options
            ) as other,
        ):
            yield other, units


def is_released(device: DeyeSimulator) -> bool:
    """Return True if every setting is the user's, and remote mode is off."""
    return bool(device.state()["mode"] == "automatic")


async def renewed(battery: DeyeInverter) -> Grant:
    """Renew a setpoint; return the new grant, which there must be."""
    grant = await battery.keep_alive()
    assert grant is not None
    return grant


def vector(name: str, **words: int) -> Vector:
    """Return the vector whose name begins so, with some words changed (r586=0)."""
    (original,) = (each for each in VECTORS if each["name"].startswith(name))
    changed = {key.removeprefix("r"): word for key, word in words.items()}
    return original | {"units": {"1": original["units"]["1"] | changed}}


MIDDAY: Final = "sg04lp3_midday"
HIGH_VOLTAGE: Final = "sg01hp3"
REMOTE: Final = "sg04lp3_remote"
SELLING: Final = "sg04lp3_owner_in_selling_first_small"
