"""The examples of the documentation work as printed."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
import re
import sys
from typing import Final

import pytest

from custom_components.homebattery.drivers import errors
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.measuring import MeasuringDevice
from tests.simulators import ManualClock, Plant, VictronSimulator
from tests.simulators.image import ModbusImage

pytestmark = pytest.mark.usefixtures("socket_enabled")

ROOT: Final = Path(__file__).parents[2]
DRIVERS: Final = ROOT / "custom_components" / "homebattery" / "drivers"
TEXT: Final = (ROOT / "docs" / "library.md").read_text("utf-8")
_, EXAMPLE, NEW_BATTERY = re.findall(
    r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL
)

AT_ONCE: Final = """
import asyncio
sleep = asyncio.sleep
asyncio.sleep = lambda seconds: sleep(0)
"""


async def run_python(folder: Path, code: str) -> list[str]:
    """Run code beside a copy of the library; return the printed lines."""
    (folder / "homebattery").symlink_to(DRIVERS)
    (folder / "example.py").write_text(code, "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        folder / "example.py",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert err.decode() == ""
    return out.decode().splitlines()


def in_table(heading: str) -> set[str]:
    """Return the names of code in the first column below a heading."""
    section = TEXT.partition(heading)[2].partition("\n#")[0]
    cells: Iterable[str] = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)}


async def test_example_reads_holds_and_releases(tmp_path: Path) -> None:
    plant = Plant(clock=ManualClock())
    plant.fixed_pv, plant.fixed_load = 0.0, 600.0
    async with VictronSimulator(plant) as simulator:
        address = f'"{simulator.host}", {simulator.port}'
        code = EXAMPLE.replace('"192.168.1.50", 502', address)

        lines = await run_python(tmp_path, AT_ONCE + code)
        writes = simulator.server.traffic.writes

    assert address in code
    assert re.fullmatch(r"Active power: -?\d+(\.\d+)? W", lines[0])
    assert re.fullmatch(r"State of charge: \d+(\.\d+)? %", lines[1])
    assert re.fullmatch(r"Grid voltage, phase 1: 2\d\d(\.\d+)? V", lines[2])
    assert lines[3:] == ["Charging with 1500 W", "Released"]
    assert len([write for write in writes if write.address == 37]) >= 13
    assert simulator.mode == "automatic"


async def test_new_battery_reads_its_four_registers(tmp_path: Path) -> None:
    serial = [0x4142, 0x3132, 0, 0, 0, 0, 0, 0]
    words = dict(enumerate([2301, 6250, 0x10000 - 1500, *serial], 30000))
    vector = {
        "battery_type": "test",
        "units": {"1": {str(address): word for address, word in words.items()}},
    }
    async with ModbusImage(vector) as image:
        use = f"""
import asyncio

async def main():
    async with MyNewModbusBattery("{image.host}", {image.port}) as battery:
        print(battery.identity.serial_number)
        for key, value in (await battery.read()).items():
            print(key, value)

asyncio.run(main())
"""
        lines = await run_python(tmp_path, NEW_BATTERY + use)

    assert lines[0] == "AB12"
    assert sorted(lines[1:]) == [
        "battery_charge_power 1500",
        "battery_discharge_power 0",
        "battery_power 1500",
        "battery_soc 62.5",
        "grid_voltage_l1 230.1",
        "serial_number AB12",
    ]


def test_everything_that_can_be_called_is_in_the_table() -> None:
    public = {
        name
        for base in (Battery, MeasuringDevice)
        for name in vars(base)
        if not name.startswith("_")
    }
    documented = in_table("### What there is to call")

    missing = [name for name in public if not re.search(rf"`(\w+\.)?{name}\b", TEXT)]

    assert missing == []
    assert documented <= public


def test_every_error_is_in_the_table() -> None:
    public = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type)
        and issubclass(value, errors.BatteryError)
        and value is not errors.BatteryError
    }

    kinds = public - in_table("### What can go wrong")
    assert in_table("### What can go wrong") <= public
    assert all(f"`{name}`" in TEXT for name in kinds)
