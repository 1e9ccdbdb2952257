"""The recording of a device's words, with private parts redacted."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.deye import registers as deye_registers
from custom_components.homebattery.drivers.errors import DeviceRefusedError
from custom_components.homebattery.drivers.measurements import Poll
from custom_components.homebattery.drivers.modbus.recording import (
    is_private,
    redacted_answer,
)
from custom_components.homebattery.drivers.modbus.register import DataType, Register
from custom_components.homebattery.drivers.sma import registers as sma_registers
from custom_components.homebattery.drivers.sun2000 import registers as sun2000_registers
from custom_components.homebattery.drivers.victron import registers as victron_registers
from tests.drivers.tables import registers_in
from tests.simulators.image import ModbusImage

pytestmark = pytest.mark.usefixtures("socket_enabled")

SERIAL: Final = "AB12CD34"
NUMBER: Final = 3_012_345_678
HARMLESS: Final = {
    *("model", "part_number", "hardware_version", "software_version"),
    "peak_shaving_periods",
}
"""Texts that every device of a kind may share."""


def words_of(text: str) -> list[int]:
    data = text.encode("latin-1")
    return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]


class Raw(ModbusBattery):
    """A battery with two serial numbers, one of them a number."""

    battery_type = "raw"
    manufacturer = "Raw"
    registers = (
        Register(100, "battery_soc", DataType.UINT16, 1, "%"),
        Register(101, "serial_number", DataType.STRING, poll=Poll.ONCE, length=5),
        Register(106, "slave_serial", DataType.UINT32, poll=Poll.ONCE),
        Register(120, "battery_voltage", DataType.UINT16, 10, "V"),
        Register(140, "battery_power", DataType.INT16, 1, "W"),
    )


@pytest.fixture
async def image() -> AsyncIterator[ModbusImage]:
    number = [NUMBER >> 16, NUMBER & 0xFFFF]
    gap = [0] * 12
    gap[0:5] = words_of(f"-{SERIAL}-")  # a copy that begins in mid-word
    gap[6:8] = number
    words = [50, *words_of(SERIAL), 0, *number, *gap, 512]
    units = {str(address): word for address, word in enumerate(words, 100)}
    async with ModbusImage({"battery_type": "raw", "units": {"1": units}}) as served:
        yield served


async def raw_of(image: ModbusImage) -> dict[str, Any]:
    async with Raw(image.host, image.port) as battery:
        (device,) = battery.devices
        await device.read(device.registers)
        return dict(battery.raw)


async def test_words_are_kept_by_unit_and_first_address(image: ModbusImage) -> None:
    raw = await raw_of(image)
    (first,) = raw["units"]["1"]
    assert first == "100"
    assert raw["units"]["1"]["100"][0] == 50
    assert raw["units"]["1"]["100"][20] == 512
    assert raw["missing"] == {"Raw (unit 1)": ["140 (battery_power)"]}
    assert "IllegalAddressError 2" in raw["refused"]["1"].values()
    assert raw["connects"] == 1
    assert raw["requests"] == image.traffic.requests


async def test_serial_numbers_become_ones_of_the_same_length(
    image: ModbusImage,
) -> None:
    words = (await raw_of(image))["units"]["1"]["100"]
    assert words[1:6] == [*words_of("11111111"), 0]
    assert words[6:8] == [1, 1]


async def test_a_copy_of_a_serial_number_is_redacted_too(
    image: ModbusImage,
) -> None:
    words = (await raw_of(image))["units"]["1"]["100"]
    assert words[8:13] == words_of("-11111111-")
    assert words[14:16] == [1, 1]


async def test_unknown_text_is_redacted(image: ModbusImage) -> None:
    image.units.units[1].update(enumerate(words_of("ZZ998877665544"), 108))
    words = (await raw_of(image))["units"]["1"]["100"]
    assert words[8:15] == words_of("11111111111111")


async def test_a_register_that_has_gone_is_not_kept(image: ModbusImage) -> None:
    async with Raw(image.host, image.port) as battery:
        await battery.read(["battery_soc"])
        del image.units.units[1][100]
        with pytest.raises(DeviceRefusedError):
            await battery.read(["battery_soc"])
        assert battery.raw["units"]["1"].keys() == {"101"}


async def test_a_battery_that_is_not_connected_has_no_recording() -> None:
    assert Raw("127.0.0.1").raw == {}


def test_answers_keep_their_form() -> None:
    answer = {
        "self_serial": "DABC1234",
        "serial": {"installed_firmware": {"version": "1.2"}},
        "wifi_sta": {"ip": [192, 168, 1, 30], "ssid": "our house", "rssi": -55},
        "mac": "AA:BB:CC:00:11:22",
        "p1_hostname": "",
        "sessy_serial": None,
    }
    assert redacted_answer(answer) == {
        "self_serial": "11111111",
        "serial": {"installed_firmware": {"version": "1.2"}},
        "wifi_sta": {"ip": [1, 1, 1, 1], "ssid": "111 11111", "rssi": -55},
        "mac": "11:11:11:11:11:11",
        "p1_hostname": "",
        "sessy_serial": None,
    }


@pytest.mark.parametrize(
    "tables",
    [victron_registers, sma_registers, deye_registers, sun2000_registers],
    ids=lambda module: module.__name__.split(".")[-2],
)
def test_every_text_is_private_or_known_to_be_harmless(tables: object) -> None:
    """A new text register is decided upon: by its name, or in HARMLESS."""
    texts = {
        register.name
        for table in vars(tables).values()
        for register in registers_in(table)
        if register.data_type is DataType.STRING
    }
    undecided = {
        name
        for name in texts
        if not is_private(name) and name not in HARMLESS and "firmware" not in name
    }
    assert undecided == set()
