"""The bench of the Huawei driver's tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.sun2000 import (
    commands as sun2000_commands,
    inverter as sun2000_inverter,
    unit as sun2000_unit,
)
from custom_components.homebattery.drivers.sun2000.inverter import Sun2000Inverter
from tests.simulators import HuaweiSimulator, ManualClock
from tests.simulators.image import ModbusImage, Vector
from tests.simulators.modbus import Write

CHARGE_LIMIT, DISCHARGE_LIMIT = 47075, 47077
DURATION, COMMAND, END = 47083, 47100, 47246
CHARGE_POWER, DISCHARGE_POWER = 47247, 47249
USER_LIMITS: Final = {"charge_power_limit": 5000, "discharge_power_limit": 5000}


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses that a real device needs."""
    monkeypatch.setattr(sun2000_inverter, "CONNECT_DELAY", 0)
    monkeypatch.setattr(sun2000_inverter, "SPACING", 0)
    monkeypatch.setattr(Sun2000Inverter, "settle", 0)
    monkeypatch.setattr(sun2000_unit, "BACK_OFFS", (0, 0, 0))
    monkeypatch.setattr(sun2000_commands, "WAKE_UP_PAUSE", 0)


def leaping(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that puts the event loop's clock forward, s."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)

    def leap(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    return leap


@asynccontextmanager
async def connected(
    simulator: HuaweiSimulator | ModbusImage, **options: Any
) -> AsyncIterator[Sun2000Inverter]:
    """Yield a connected driver that knows the unit of a simulator."""
    setup = {key: value for key, value in simulator.setup.items() if key != "host"}
    async with Sun2000Inverter(simulator.host, **setup | options) as battery:
        yield battery


class Bench:
    """A simulated inverter in a house without sun, its clock, and a driver."""

    def __init__(
        self,
        simulator: HuaweiSimulator,
        battery: Sun2000Inverter,
        clock: ManualClock,
    ) -> None:
        self.simulator = simulator
        self.battery = battery
        self.clock = clock

    @property
    def device(self) -> dict[str, Any]:
        state: dict[str, Any] = self.simulator.state()["device"]
        return state

    @property
    def power(self) -> float:
        """True power of the battery, W."""
        return float(self.simulator.state()["battery_power"])

    @property
    def writes(self) -> list[Write]:
        return self.simulator.server.traffic.writes

    @property
    def addresses(self) -> list[int]:
        """Written addresses, oldest first."""
        return [write.address for write in self.writes]

    def control(self) -> tuple[Any, ...]:
        """Return the device's forcible command, its power, and both limits."""
        device = self.device
        return (
            device["forcible"],
            device["forcible_power"],
            device["charge_limit"],
            device["discharge_limit"],
        )


@asynccontextmanager
async def bench(
    *, pv: float = 0, load: float = 600, soc: float = 50, **options: Any
) -> AsyncIterator[Bench]:
    """Yield a simulated inverter with a driver, options for either of them."""
    clock = ManualClock()
    for_driver = {
        key: options.pop(key)
        for key in (
            "duration_min",
            "max_charge_power",
            "max_discharge_power",
            "sunshine",
            "timeout",
        )
        if key in options
    }
    plant = HuaweiSimulator.house(clock=clock, soc=soc)
    plant.fixed_pv, plant.fixed_load = pv, load
    async with (
        HuaweiSimulator(plant, **options) as simulator,
        connected(simulator, **for_driver) as battery,
    ):
        yield Bench(simulator, battery, clock)


def changed(vector: Vector, words: dict[int, int], *absent: int) -> Vector:
    """Return a vector with other words, and without some of its registers."""
    units = {
        unit: {
            address: word
            for address, word in (old | {str(a): w for a, w in words.items()}).items()
            if int(address) not in absent
        }
        for unit, old in vector["units"].items()
    }
    return vector | {"units": units}
