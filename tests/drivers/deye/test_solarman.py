"""The Deye driver behind a simulated data logger: its discovery, and logger faults."""

from typing import Any

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.deye.solarman import DeyeSolarmanInverter
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    InvalidValueError,
    ProtocolError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
)
from custom_components.homebattery.drivers.modbus.probe import Probe
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.solarman import (
    discovery as solarman_discovery,
)
from custom_components.homebattery.drivers.solarman.transport import SolarmanConnection
from tests.simulators.deye_solarman import DeyeSolarmanSimulator

from .support import connected, house, is_released

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

SHORT = 0.1
"""Time-out of a silent logger in tests, s."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SolarmanConnection, "FIRST_BACK_OFF", 0)
    monkeypatch.setattr(SolarmanConnection, "LONGEST_BACK_OFF", 0)


def stick(**options: Any) -> DeyeSolarmanSimulator:
    """Return an inverter behind a logger."""
    return DeyeSolarmanSimulator(options.pop("plant", None) or house(), **options)


# Discovering the logger


async def test_the_serial_number_comes_from_discovery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user enters an address only; the discovered number is kept."""
    async with stick(logger_serial=2_712_345_678) as logger:
        monkeypatch.setattr(solarman_discovery, "DISCOVERY_PORT", logger.discovery_port)
        battery = DRIVERS["deye_solarman"].from_setup(
            {"host": logger.host, "port": logger.port}
        )
        assert battery.detected_config == {}
        async with battery:
            assert battery.detected_config == {"logger_serial": 2_712_345_678}
            assert battery.identity.serial_number == "2305112244"
            assert await battery.get("battery_soc") == 50


async def test_the_serial_number_is_read_from_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where discovery gets no answer, the logger's own answer has it."""
    async with stick(discovery_port=-1) as logger:
        monkeypatch.setattr(
            solarman_discovery, "DISCOVERY_PORT", logger.port
        )  # no UDP there
        battery = DeyeSolarmanInverter(logger.host, logger.port)
        async with battery:
            assert battery.detected_config == {"logger_serial": logger.server.serial}


@pytest.mark.parametrize("serial", [0, -1, 2**32])
def test_an_impossible_serial_number_is_refused(serial: int) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidValueError, match="ten digits"):
        DeyeSolarmanInverter("127.0.0.1", logger_serial=serial)


async def test_a_wrong_serial_number_is_answered_with_the_right_one() -> None:
    """Often it is that of the inverter."""
    async with stick() as logger:
        with pytest.raises(
            WrongDeviceError, match=f"{logger.server.serial}, not 2207112233"
        ):
            async with connected(logger, logger_serial=2207112233):
                pass


async def test_a_wrong_unit_id_is_reported_as_such() -> None:
    """Not as a wrong serial number, nor as a Modbus error."""
    async with stick(unit=3) as logger:
        with pytest.raises(UnitAbsentError, match="no answer from unit id 1"):
            async with connected(logger, unit_id=1):
                pass
        async with connected(logger) as battery:
            assert await battery.get("battery_soc") == 50


async def test_an_ethernet_logger_is_identified() -> None:
    """It speaks plain Modbus on the same port: the error names the type to choose."""
    async with stick(logger="ethernet") as logger:
        with pytest.raises(WrongDeviceError, match="battery type deye_modbus"):
            async with connected(logger, logger_serial=2_712_345_678):
                pass
        async with DRIVERS["deye_modbus"].from_setup(logger.setup) as battery:
            assert await battery.get("battery_soc") == 50


async def test_a_closed_port_is_explained() -> None:
    """Loggers with a D in their serial number accept no local connection."""
    async with stick(logger="closed") as logger:
        with pytest.raises(CannotConnectError, match="begins with a D"):
            async with connected(logger):
                pass


# Faults of loggers


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        ("double_crc", {}),
        *(
            ("heartbeat", {"where": where, "count": 3, "same": same})
            for where in ("before", "after", "glued_before", "glued_after")
            for same in (False, True)
        ),
        *(("split", {"at": at, "count": 3}) for at in (1, 2, 5, 20, -1)),
        ("banner", {"count": 3}),
        ("foreign", {"count": 3}),
        ("split", {"at": 9, "rest": False}),
        ("cut_request", {}),
        ("idle_close", {}),
        ("cut", {}),
        ("heartbeat_now", {}),
        *(
            ("corrupt", {"what": what})
            for what in ("checksum", "crc", "unit", "function", "byte_count")
        ),
        ("foreign", {"same": True, "instead": True}),
    ],
    ids=str,
)
async def test_faults_of_loggers_are_survived(
    fault: str, arguments: dict[str, Any]
) -> None:
    """Reads and writes come out right, at once or with one repetition."""
    async with stick() as logger, connected(logger) as battery:
        await battery.read(["battery_soc"])
        await logger.misbehave(fault, **arguments)
        readings = await battery.read(["battery_soc", "min_soc", "device_status"])
        await battery.set_value("min_soc", 18)

        assert dict(readings) == {
            "battery_soc": 50,
            "min_soc": 15,
            "device_status": "normal",
        }
        assert logger.inverter.words[117] == 18
        assert logger.inverter.flash_writes[117] == 1


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        *(
            ("corrupt", {"what": what})
            for what in ("start", "length", "control", "sequence", "end")
        ),
        ("foreign", {"instead": True}),
    ],
    ids=str,
)
async def test_garbage_costs_a_moment(fault: str, arguments: dict[str, Any]) -> None:
    """The garbage was not the answer: after the time-out the request is repeated."""
    async with stick() as logger, connected(logger, timeout=SHORT) as battery:
        await battery.read(["battery_soc"])
        await logger.misbehave(fault, **arguments)
        assert await battery.get("battery_soc") == 50


async def test_garbage_without_end_is_an_error() -> None:
    """Two tries are enough for a reading, and for the serial number in between."""
    async with stick() as logger, connected(logger, timeout=SHORT) as battery:
        await battery.read(["battery_soc"])
        await logger.misbehave("foreign", instead=True, count=5)
        with pytest.raises(ProtocolError, match="no right answer"):
            await battery.get("battery_soc")
        assert await battery.get("battery_soc") == 50


@pytest.mark.parametrize("glued", [True, False])
async def test_a_late_answer_costs_one_reading(glued: bool) -> None:
    """The next one is right: it has a connection of its own."""
    async with stick() as logger, connected(logger, timeout=SHORT) as battery:
        await battery.read(["battery_soc", "min_soc"])
        await logger.misbehave("late", glued=glued)
        with pytest.raises(RequestTimeoutError):
            await battery.get("battery_soc")
        assert await battery.get("min_soc") == 15
        assert await battery.get("battery_soc") == 50


async def test_a_logger_that_comes_back_is_used_again() -> None:
    """Without a reload, after any time."""
    async with stick() as logger, connected(logger) as battery:
        await logger.misbehave("away")
        for _ in range(3):
            with pytest.raises(CannotConnectError):
                await battery.get("battery_soc")
        await logger.misbehave("away", on=False)
        assert await battery.get("battery_soc") == 50


async def test_two_inverters_behind_one_logger_share_its_connection() -> None:
    """The logger may accept a single one."""
    async with stick() as logger:
        await logger.misbehave("sockets", count=1)
        async with connected(logger) as one, connected(logger) as other:
            assert await one.get("battery_soc") == await other.get("battery_soc") == 50
            assert logger.server.clients == 1


async def test_closing_frees_the_logger() -> None:
    """Sockets that stay open pile up in the logger."""
    async with stick() as logger:
        async with connected(logger):
            pass
        await logger.misbehave("sockets", count=1)
        async with connected(logger) as battery:
            assert await battery.get("battery_soc") == 50


# Control through it


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("transition", [(2500, -2500), (-2500, 2500), (-2500, 0)])
async def test_a_logger_that_dies_between_writes_leaves_nothing_worse(
    transition: tuple[int, int], cut: int
) -> None:
    """The order of the writes is the same in this way."""
    before, after = transition
    plant = house(soc=60)
    plant.fixed_load = 1000
    async with (
        stick(plant=plant, work_mode="selling_first") as logger,
        connected(logger, export="always") as battery,
    ):
        await battery.set_power_setpoint(before)
        await logger.misbehave("cut_write", nth=cut, for_good=True)
        try:
            await battery.set_power_setpoint(after)
        except CannotConnectError:
            assert -2560 <= logger.inverter.what_if().battery <= 2650
        await logger.misbehave("cut_write", nth=0)
        await logger.misbehave("refuse", on=False)
        await battery.release()

        assert is_released(logger)


async def test_a_connection_lost_at_each_write_does_not_end_a_setpoint() -> None:
    """The write is repeated; its words are the same."""
    async with stick(plant=house(soc=60)) as logger, connected(logger) as battery:
        for power in (2500, 0):
            await logger.misbehave("cut_write", nth=1, for_good=False)
            assert (await battery.set_power_setpoint(power)).power == power
        await battery.release()

        assert is_released(logger)


async def test_another_makers_inverter_behind_a_logger_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loggers sit on inverters of many makers."""
    async with stick(discovery_port=-1) as logger:
        monkeypatch.setattr(logger.units, "read", lambda unit, at, count: [2] * count)
        probe = Probe(logger.host, logger.port, ModbusTcpConnection.shared)
        assert await DeyeSolarmanInverter.detect(probe) == []
        await logger.misbehave("hang")
        monkeypatch.setattr(Probe, "timeout", SHORT)
        assert await DeyeSolarmanInverter.detect(probe) == []
        await probe.close()
