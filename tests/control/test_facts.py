"""What docs/control.md says of each device is what its driver does."""

from pathlib import Path
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery import (
    Battery,
    ControlFacts,
    Memory,
    ModbusBattery,
    Written,
)
from tests.simulators import (
    DeyeModbusSimulator,
    ManualClock,
    SessySimulator,
    Simulator,
    SmaSimulator,
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


def facts_of(driver: type[Battery]) -> ControlFacts:
    assert driver.control_facts is not None
    return driver.control_facts


def row(battery_type: str, facts: ControlFacts) -> str:
    """Return the row of the table that says this."""
    cells = (
        NAMES[battery_type],
        facts.method,
        "; ".join(written(each) for each in facts.writes),
        facts.alone,
        facts.release,
        facts.until_next_start,
    )
    return f"| {' | '.join(cells)} |"


def written(facts: Written) -> str:
    where = ", ".join(place(each) for each in facts.where)
    return f"{facts.what} ({where}): {facts.memory}"


def place(where: range | str) -> str:
    if isinstance(where, str):
        return f"`{where}`"
    last = where.stop - 1
    return f"{where.start}" if last == where.start else f"{where.start}–{last}"


def test_the_table_has_one_row_for_each_device() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    first = lines.index("| --- | --- | --- | --- | --- | --- |") + 1
    rows = [row(each, facts_of(driver)) for each, driver in DRIVERS.items()]
    assert lines[first : first + len(rows)] == rows
    assert lines[first + len(rows)] == ""


def places(facts: ControlFacts) -> list[range | str]:
    return [where for each in facts.writes for where in each.where]


def addresses_in(facts: ControlFacts) -> set[int | str]:
    """Return all addresses and paths that may be written."""
    found: set[int | str] = set()
    for where in places(facts):
        found |= {where} if isinstance(where, str) else set(where)
    return found


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
    """Do all that control does with a battery."""
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
        options["allow_export"] = True
        await simulator.misbehave("owner", address=TIME_OF_USE, words=[0])
    async with driver.from_setup({**simulator.setup, **options}) as battery:
        await hold_and_release(battery)
    seen = addresses_written(simulator)
    if isinstance(simulator, DeyeModbusSimulator):
        seen |= await written_in_remote_mode(clock)

    facts = facts_of(driver)
    assert seen <= addresses_in(facts)
    for where in places(facts):
        if isinstance(where, str):
            assert where in seen
        elif simulator.type != "deye_solarman" or where.start < REMOTE_MODE:
            assert seen & set(where), where


async def written_in_remote_mode(clock: ManualClock) -> set[int | str]:
    plant = DeyeModbusSimulator.house(clock=clock)
    async with DeyeModbusSimulator(plant, remote=True) as simulator:
        setup = {**simulator.setup, "remote_mode": True}
        async with DRIVERS["deye_modbus"].from_setup(setup) as battery:
            await hold_and_release(battery)
        return addresses_written(simulator)


async def test_what_it_writes_lives_where_the_table_says(simulator: Simulator) -> None:
    driver = DRIVERS[simulator.type]
    async with driver.from_setup(simulator.setup) as battery:
        if not isinstance(battery, ModbusBattery):
            assert {each.memory for each in facts_of(driver).writes} == {Memory.UNKNOWN}
            return
        lives = {
            address: register.persistent
            for device in battery.devices
            for register in device.registers.values()
            for address in range(register.address, register.end)
        }
    for each in facts_of(driver).writes:
        for where in each.where:
            assert isinstance(where, range)
            known = {lives[address] for address in where if address in lives}
            assert known <= {each.memory is Memory.FLASH}, where


async def test_a_device_with_a_watchdog_ends_a_setpoint_by_itself(
    simulator: Simulator, clock: ManualClock
) -> None:
    driver = DRIVERS[simulator.type]
    simulator.plant.soc = 40
    async with driver.from_setup(simulator.setup) as battery:
        await battery.set_power_setpoint(1000)
        clock.advance(20)
        charged = simulator.state()["battery_power"]
    watchdog = facts_of(driver).watchdog
    clock.advance(3600 if watchdog is None else watchdog)

    assert charged == pytest.approx(1000, rel=0.1)
    if isinstance(simulator, SmaSimulator):
        return  # its installer decides
    still = simulator.state()["battery_power"] == pytest.approx(1000, rel=0.1)
    assert still is (watchdog is None)
