"""The battery of the documentation works as printed."""

from collections.abc import AsyncIterator
from pathlib import Path
import re
import textwrap
from types import ModuleType
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS, detection
from custom_components.homebattery.drivers.battery.base import Battery, SetpointLimits
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.detection import detect
from custom_components.homebattery.drivers.errors import (
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
)
from custom_components.homebattery.drivers.modbus.probe import Probe
from tests.simulators.image import ModbusImage

pytestmark = pytest.mark.usefixtures("socket_enabled")

PAGE: Final = Path(__file__).parents[2] / "docs" / "adding-a-battery.md"
DRIVER, USE, DETECTION = re.findall(
    r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
)
WORDS: Final = {30000: 2301, 30001: 655, 30002: 0x10000 - 150, 30003: 0}


def load_driver(code: str) -> type[ModbusBattery]:
    """Return the class of a driver's code, as if it were a file beside the others."""
    module = ModuleType(f"{detection.__package__}.my_new")
    module.__package__ = detection.__package__
    exec(compile(code, PAGE, "exec"), module.__dict__)  # noqa: S102
    driver: type[ModbusBattery] = module.__dict__["MyNewModbusBattery"]
    return driver


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> type[ModbusBattery]:
    """Return the battery of the page, without pauses."""
    new_battery = load_driver(DRIVER)
    monkeypatch.setattr(new_battery, "settle", 0)
    return new_battery


@pytest.fixture
async def image() -> AsyncIterator[ModbusImage]:
    """Yield a device with the page's four registers."""
    words = {str(address): word for address, word in WORDS.items()}
    async with ModbusImage({"battery_type": "my_new", "units": {"1": words}}) as server:
        yield server


def test_it_takes_less_than_forty_lines() -> None:
    """With its imports, blank lines and docstrings."""
    assert len(DRIVER.splitlines()) < 40


async def test_it_reads_its_registers_at_once(
    driver: type[ModbusBattery], image: ModbusImage
) -> None:
    """All four in one request, by the names that all batteries share."""
    async with driver(image.host, image.port) as new_battery:
        image.traffic.clear()
        readings = await new_battery.read()

        assert dict(readings) == {
            "grid_voltage_l1": 230.1,
            "battery_soc": 65.5,
            "active_power": -1500,
            "power_setpoint": 0,
        }
        assert image.traffic.requests == 1
        assert image.writes == []
        assert await new_battery.get_phase_voltage(1) == 230.1
        assert await new_battery.get_active_power_total() == -1500


async def test_it_is_held_and_released(
    driver: type[ModbusBattery], image: ModbusImage
) -> None:
    """The snapshot is restored, also by a new object that has only the snapshot."""
    image.units.units[1][30003] = 300
    async with driver(image.host, image.port) as new_battery:
        grants = [await new_battery.set_power_setpoint(p) for p in (1500, -9999, 0)]
        held = new_battery.snapshot
        assert await new_battery.keep_alive() is None
    async with driver(image.host, image.port) as new_battery:
        new_battery.snapshot = held
        await new_battery.release()
        await new_battery.release()

        assert new_battery.snapshot is None
    assert [grant.power for grant in grants] == [1500, -5000, 0]
    assert held == {"power_setpoint": 300}
    assert [list(write) for write in image.writes] == [
        [1, 30003, [1500]],
        [1, 30003, [0x10000 - 5000]],
        [1, 30003, [0]],
        [1, 30003, [300]],
    ]


async def test_a_setpoint_that_the_device_ignores_is_an_error(
    driver: type[ModbusBattery], image: ModbusImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setpoint that does not read back is no setpoint; it can be released."""
    monkeypatch.setattr(image.units, "write", lambda *_: None)
    async with driver(image.host, image.port) as new_battery:
        with pytest.raises(NotConfirmedError):
            await new_battery.set_power_setpoint(1500)
        with pytest.raises(InvalidValueError):
            await new_battery.set_power_setpoint(float("nan"))
        assert new_battery.snapshot == {"power_setpoint": 0}
        await new_battery.release()


async def test_its_user_may_allow_less(
    driver: type[ModbusBattery], image: ModbusImage
) -> None:
    """And never more."""
    options = {"max_charge_power": 2000, "max_discharge_power": 9000}
    setup = {**image.setup, **options}
    async with driver.from_setup(setup) as new_battery:
        assert new_battery.setpoint_limits == SetpointLimits(-5000, 2000)
        assert (await new_battery.set_power_setpoint(4000)).power == 2000


async def test_without_limits_it_is_only_read(
    driver: type[ModbusBattery], image: ModbusImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setpoint needs to know its range."""
    monkeypatch.setattr(driver, "power_limits", None)
    async with driver(image.host, image.port) as new_battery:
        assert new_battery.setpoint_limits is None
        with pytest.raises(NotSupportedError):
            await new_battery.set_power_setpoint(100)
        with pytest.raises(NotSupportedError):
            await new_battery.take_snapshot()
        assert image.writes == []


async def test_it_is_used_as_the_page_says(
    driver: type[ModbusBattery], image: ModbusImage, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of the example, in a coroutine."""
    code = USE.replace('"192.168.1.60"', f'"{image.host}", {image.port}')
    names: dict[str, Any] = {"MyNewModbusBattery": driver}
    exec(f"async def use():\n{textwrap.indent(code, '    ')}", names)  # noqa: S102
    await names["use"]()

    assert capsys.readouterr().out == "65.5 %\n"
    assert [write.words for write in image.writes] == [[1500], [0], [0]]


async def test_it_is_detected_as_the_page_says(
    image: ModbusImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own request, after those of all others."""
    imports = "from .battery import ModbusBattery, SetpointLimits"
    _, addition = DETECTION.split("# as above, and\n")
    code = (
        DRIVER.replace(imports, f"{imports}\nfrom .modbus.probe import Detected, Probe")
        + addition
    )
    driver = load_driver(code)
    drivers: dict[str, type[Battery]] = {**DRIVERS, "my_new": driver}
    monkeypatch.setattr(detection, "DRIVERS", drivers)
    monkeypatch.setattr(Probe, "connect_delay", 0)
    monkeypatch.setattr(Probe, "timeout", 0.1)
    usual = {port for each in drivers.values() for port in each.ports}
    # The port of a closed server, where no server listens.
    async with ModbusImage(image.vector) as gone:
        closed = gone.port
    ports = {**dict.fromkeys(usual, closed), 502: image.port}

    (detected,) = await detect(image.host, ports=ports)

    assert (detected.battery_type, detected.model) == ("my_new", "My New")
    assert detected.setup == {"host": image.host, "port": image.port, "unit_id": 1}
    assert image.writes == []
