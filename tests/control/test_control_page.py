"""Tests that docs/control.md agrees with each driver and its simulated device.

The page's table is read as it stands: which registers and paths are written, in which
memory they live, how often a setpoint is renewed, and when a device ends it alone.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from tests.home import ON_A_SOCKET
from tests.simulators import (
    SIMULATORS,
    DeyeModbusSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
)
from tests.simulators.deye import DeyeSimulator

pytestmark = pytest.mark.usefixtures("socket_enabled")

TIME_OF_USE: Final = 146
REMOTE_MODE: Final = 1100

PAGE: Final = Path(__file__).parents[2] / "docs" / "control.md"
NAMES: Final = {
    "victron": "Victron",
    "sun2000": "Huawei",
    "deye_modbus": "Deye (Modbus TCP)",
    "deye_solarman": "Deye (data logger)",
    "sessy": "Sessy",
    "sma": "SMA",
}
WRITTEN: Final = re.compile(r"(?:^|; )[^(]+ \(([^()]+)\): (RAM|flash|unknown)(?=; |$)")
ENDS: Final = re.compile(r"\bafter (?:at most |the )?(\d+) (s|minutes)\b")
RENEWED: Final = re.compile(r"\bevery (\d+) s\b")


@dataclass(frozen=True)
class Written:
    """Registers or paths that a setpoint writes, and the memory they live in."""

    where: tuple[range | str, ...]
    memory: str


@pytest.fixture(params=ON_A_SOCKET)
async def simulator(
    request: pytest.FixtureRequest, clock: ManualClock
) -> AsyncIterator[Simulator]:
    """Each kind of battery in turn; on three phases, where the most is written."""
    device: Any = SIMULATORS[request.param]  # each has options of its own
    async with device(device.house(clock=clock, phases=3)) as simulator:
        yield simulator


# Reading the page


def rows() -> list[list[str]]:
    """Return the cells of the table of devices, row by row."""
    _, _, section = PAGE.read_text("utf-8").partition("## Device by device\n\n")
    table, _, _ = section.partition("\n\n")
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


ROWS: Final = {cells[0]: cells[1:] for cells in rows()}


def written(battery_type: str) -> list[Written]:
    """Return the registers or paths that are written, according to the page."""
    cell = ROWS[NAMES[battery_type]][1]
    parts = list(WRITTEN.finditer(cell))
    assert "".join(each[0] for each in parts) == cell  # nothing is skipped
    return [Written(tuple(map(place, each[1].split(", "))), each[2]) for each in parts]


def place(text: str) -> range | str:
    """Return registers (47075–47076, 47100) or a path (`/api/…`)."""
    if text.startswith("`"):
        return text.strip("`")
    first, _, last = text.partition("–")
    return range(int(first), int(last or first) + 1)


def without_integration(battery_type: str) -> str:
    """Return what the page says of the device without the integration."""
    return ROWS[NAMES[battery_type]][2]


def seconds_to_end(says: str) -> int | None:
    """Return the seconds after which a device ends a setpoint; None: never."""
    ends = ENDS.search(says)
    return None if ends is None else int(ends[1]) * {"s": 1, "minutes": 60}[ends[2]]


def places(battery_type: str) -> Iterator[range | str]:
    for each in written(battery_type):
        yield from each.where


def addresses_on_page(battery_type: str) -> set[int | str]:
    """Return all addresses and paths that may be written."""
    addresses: set[int | str] = set()
    for where in places(battery_type):
        addresses |= {where} if isinstance(where, str) else set(where)
    return addresses


def test_the_table_has_one_row_for_each_device() -> None:
    assert [cells[0] for cells in rows()] == [NAMES[each] for each in ON_A_SOCKET]
    assert {len(cells) for cells in rows()} == {6}
    assert all(cell for cells in rows() for cell in cells)


# Registers and paths that are written


def addresses_written(simulator: Simulator) -> set[int | str]:
    """Return all addresses and paths that were written on a device."""
    if isinstance(simulator, SessySimulator):
        return {path for _, path, _ in simulator.server.posts}
    server: Any = simulator.server
    traffic = server.units.traffic
    return {
        write.address + offset
        for write in traffic.writes
        for offset in range(len(write.words))
    }


async def hold_and_release(battery: Battery) -> None:
    """Charge, discharge and hold, with a renewal of each, and release."""
    for power in (1000, -1000, 0):
        await battery.set_power_setpoint(power)
        await battery.keep_alive()
    await battery.release()


async def test_it_writes_what_the_table_says_and_all_of_it(
    simulator: Simulator, clock: ManualClock
) -> None:
    driver = DRIVERS[simulator.type]
    simulator.plant.soc = 60
    options: dict[str, Any] = {}
    if isinstance(simulator, DeyeSimulator):
        options["export"] = "always"
        await simulator.misbehave("settings", address=TIME_OF_USE, words=[0])
    async with driver.from_setup({**simulator.setup, **options}) as battery:
        await hold_and_release(battery)
    seen = addresses_written(simulator)
    if isinstance(simulator, DeyeModbusSimulator):
        seen |= await written_in_remote_mode(clock)

    assert seen <= addresses_on_page(simulator.type)
    for where in places(simulator.type):
        if isinstance(where, str):
            assert where in seen
        elif simulator.type != "deye_solarman" or where.start < REMOTE_MODE:
            assert set(where) <= seen, where


async def written_in_remote_mode(clock: ManualClock) -> set[int | str]:
    plant = DeyeModbusSimulator.house(clock=clock)
    async with DeyeModbusSimulator(plant, remote=True) as simulator:
        setup = {**simulator.setup, "remote_mode": True}
        async with DRIVERS["deye_modbus"].from_setup(setup) as battery:
            await hold_and_release(battery)
        return addresses_written(simulator)


async def test_what_it_writes_lives_where_the_table_says(simulator: Simulator) -> None:
    """Every address of the page stands in a table of the driver, as RAM or as flash."""
    async with DRIVERS[simulator.type].from_setup(simulator.setup) as battery:
        if not isinstance(battery, ModbusBattery):
            assert {each.memory for each in written(simulator.type)} == {"unknown"}
            return
        persistent = {
            address: register.persistent
            for device in battery.devices
            for register in device.registers.values()
            for address in range(register.address, register.end)
        }
    for each in written(simulator.type):
        for where in each.where:
            assert isinstance(where, range)
            lives = {persistent[address] for address in where}
            assert lives == {each.memory == "flash"}, where


# The device without the integration


async def test_a_device_with_a_watchdog_ends_a_setpoint_by_itself(
    simulator: Simulator, clock: ManualClock
) -> None:
    """One without keeps it. An SMA does as its installer has chosen."""
    # What follows is about remote mode, or a hold.
    says = without_integration(simulator.type).split("; ")[0]
    watchdog = seconds_to_end(says)
    simulator.plant.soc = 40
    async with DRIVERS[simulator.type].from_setup(simulator.setup) as battery:
        await battery.set_power_setpoint(1000)
        before = 20 if watchdog is None or "at most" in says else watchdog - 1
        clock.advance(before)
        charged = simulator.state()["battery_power"]
    clock.advance((watchdog or 3600) - before)

    assert charged == pytest.approx(1000, rel=0.1)
    if simulator.type == "sma":
        assert watchdog is None
        return
    still = simulator.state()["battery_power"] == pytest.approx(1000, rel=0.1)
    assert still is (watchdog is None)


async def test_the_remote_mode_of_a_deye_ends_by_itself(clock: ManualClock) -> None:
    watchdog = seconds_to_end(without_integration("deye_modbus"))
    assert watchdog is not None
    plant = DeyeModbusSimulator.house(clock=clock)
    async with DeyeModbusSimulator(plant, remote=True) as simulator:
        setup = {**simulator.setup, "remote_mode": True}
        async with DRIVERS["deye_modbus"].from_setup(setup) as battery:
            await battery.set_power_setpoint(1000)
        clock.advance(watchdog - 1)
        held = simulator.state()["battery_power"]
        clock.advance(1)
        mode = simulator.state()["mode"]

    assert held == pytest.approx(1000, rel=0.1)
    assert mode == "automatic"


@pytest.mark.parametrize("battery_type", ON_A_SOCKET)
def test_it_is_renewed_as_often_as_the_table_says(battery_type: str) -> None:
    """A Sessy needs no renewal: it is only read."""
    said = [float(each) for each in RENEWED.findall(without_integration(battery_type))]
    interval = DRIVERS[battery_type].keep_alive_interval
    assert said == ([] if battery_type == "sessy" else [interval])
