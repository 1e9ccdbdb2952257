"""Objects of identification, as gateways list their devices with function 43."""

from collections.abc import AsyncIterator, Sequence

import pytest

from custom_components.homebattery.drivers.errors import (
    BatteryError,
    DeviceRefusedError,
    NotSupportedError,
    ProtocolError,
)
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.solarman.transport import SolarmanConnection
from tests.simulators.modbus import ILLEGAL_FUNCTION, Refused, Units
from tests.simulators.modbus_server import ModbusServer

pytestmark = pytest.mark.usefixtures("socket_enabled")

HEAD = b"\x2b\x0e\x03\x03"


class Listing(Units):
    """A device that answers each request for objects with the next of its answers."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[int] = []

    def read(self, unit: int, address: int, count: int) -> list[int]:
        return [address] * count

    def write(self, unit: int, address: int, words: list[int]) -> None:
        raise Refused(ILLEGAL_FUNCTION)

    def other(self, unit: int, pdu: bytes) -> bytes:
        self.asked.append(pdu[-1])
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def objects_of(*answers: bytes) -> AsyncIterator[tuple[Listing, list[bytes]]]:
    """Yield a device and the objects that are read of it."""
    units = Listing(answers)
    async with ModbusServer(units) as server:
        connection = ModbusTcpConnection.shared(server.host, server.port, 2)
        await connection.open()
        try:
            yield units, await connection.read_objects(0, 0x87)
            # The connection still serves.
            unit = connection.unit(0)
            assert await unit.read_holding_registers(5, 2) == [5, 5]
        finally:
            await connection.close()


async def test_objects_come_in_their_order() -> None:
    answer = HEAD + b"\0\0\x02\x87\x01\x01\x88\x03a=b"
    async for units, objects in objects_of(answer):
        assert objects == [b"\x01", b"a=b"]
        assert units.asked == [0x87]


async def test_all_parts_of_a_long_list_are_read() -> None:
    async for units, objects in objects_of(
        HEAD + b"\xff\x89\x02\x87\x01\x02\x88\x01a", HEAD + b"\0\0\x01\x89\x01b"
    ):
        assert objects == [b"\x02", b"a", b"b"]
        assert units.asked == [0x87, 0x89]


async def test_a_list_without_end_is_bounded() -> None:
    """More is said to follow, from the same object on."""
    async for units, objects in objects_of(HEAD + b"\xff\x87\x01\x87\x01a"):
        assert objects == [b"a"]
        assert units.asked == [0x87]


async def test_objects_of_one_number_are_all_returned() -> None:
    async for _, objects in objects_of(HEAD + b"\0\0\x02\x87\x01a\x87\x01b"):
        assert objects == [b"a", b"b"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"\xab\x01", DeviceRefusedError),
        (b"\x2b", ProtocolError),
        (b"\x2b\x0d\x03\x03\0\0\0", ProtocolError),
        (b"\x2b\x0e\x03", BatteryError),
        (HEAD + b"\0\0\x01\x87", BatteryError),
        (b"\x03\x02\0\0", ProtocolError),
    ],
)
async def test_an_answer_that_is_none_is_an_error(
    answer: bytes, error: type[BatteryError]
) -> None:
    with pytest.raises(error):
        async for _ in objects_of(answer):
            pass


async def test_a_data_logger_does_not_carry_them() -> None:
    connection = SolarmanConnection.shared("127.0.0.1", 8899, 1, 2)
    with pytest.raises(NotSupportedError):
        await connection.read_objects(1, 0x87)
