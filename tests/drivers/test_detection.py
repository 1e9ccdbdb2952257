"""Detecting the device at an address, with simulated devices."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import (
    DRIVERS,
    SimulatedBattery,
    SmaInverter,
    detection,
)
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.detection import detect, detect_at
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    ProtocolError,
)
from custom_components.homebattery.drivers.modbus.probe import Detected, Probe
from custom_components.homebattery.drivers.modbus.register import DataType, Register
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.victron.inverter import VictronInverter
from tests.home import each_on_a_socket
from tests.simulators import (
    SIMULATORS,
    DeyeModbusSimulator,
    DeyeSolarmanSimulator,
    HuaweiSimulator,
    SessySimulator,
    Simulator,
    VictronSimulator,
)
from tests.simulators.http_server import Answer, JsonServer, Request
from tests.simulators.image import HttpImage, ModbusImage, Vector, load
from tests.simulators.modbus import Write
from tests.simulators.modbus_server import ModbusServer, TcpServer

from .vectors import by_name

pytestmark = pytest.mark.usefixtures("socket_enabled")

MODBUS_VECTORS: Final = [
    vector
    for name in ("victron", "sma_sunny_island", "huawei_sun2000", "deye")
    for vector in load(name)
]
VICTRON: Final = load("victron")[0]
SMA: Final = next(v for v in MODBUS_VECTORS if v["name"] == "identification")
SESSY: Final = load("sessy")


def only(closed: int, **listening: Any) -> Mapping[int, int]:
    """Return a host's ports: by 'p' and the usual port a server, else a closed one."""
    usual = {port for driver in DRIVERS.values() for port in driver.ports}
    servers = {int(name[1:]): server.port for name, server in listening.items()}
    return dict.fromkeys(usual, closed) | servers


# Each alone


async def test_a_gx_is_detected_by_one_question(closed_port: int) -> None:
    """Old servers crash over absent services: only the GX itself is asked for."""
    async with VictronSimulator() as gx:
        await gx.misbehave("crash_on_absent")
        ports = only(closed_port, p502=gx)
        (detected,) = await detect(gx.host, ports=ports)
        traffic = gx.server.traffic

    assert (detected.battery_type, detected.model) == ("victron", "GX device")
    assert detected.setup == {"host": gx.host, "port": gx.port}
    assert detected.serial_number is not None
    assert traffic.requests == 1
    assert not traffic.writes


async def test_a_sunny_island_is_detected_with_its_unit_and_model(
    closed_port: int,
) -> None:
    """The device's type plate has all that the form needs."""
    async with ModbusImage(SMA) as image:
        detected = await detect(image.host, ports=only(closed_port, p502=image))
        writes = image.writes

    assert detected == [
        Detected(
            battery_type="sma",
            model="SI8.0H-13",
            serial_number="3012345678",
            setup={"host": image.host, "port": image.port, "unit_id": 3},
        )
    ]
    assert writes == []


@pytest.mark.parametrize("unit_id", [1, 0, 4])
@pytest.mark.parametrize("other_units", ["refuse", "silent"])
async def test_a_sun2000_is_detected_with_its_unit_and_model(
    unit_id: int, other_units: Any, closed_port: int
) -> None:
    """The likeliest units are asked first; the others where the port speaks Modbus."""
    options = {"unit_id": unit_id, "other_units": other_units}
    async with HuaweiSimulator(**options) as inverter:
        ports = only(closed_port, p502=inverter)
        detected = await detect(inverter.host, ports=ports)
        writes = inverter.server.traffic.writes
        setup = {"host": inverter.host, "port": inverter.port, "unit_id": unit_id}

    assert detected == [
        Detected(
            battery_type="sun2000",
            model="SUN2000-6KTL-M1",
            serial_number="HV2250123456",
            setup=setup,
        )
    ]
    assert not writes


async def test_a_deye_on_modbus_is_detected(closed_port: int) -> None:
    """Type and serial number distinguish it from any other device with a unit 1."""
    async with DeyeModbusSimulator() as inverter:
        detected = await detect(inverter.host, ports=only(closed_port, p502=inverter))
        writes = inverter.server.traffic.writes

    assert [(device.battery_type, device.setup) for device in detected] == [
        (
            "deye_modbus",
            {"host": inverter.host, "port": inverter.server.port, "unit_id": 1},
        )
    ]
    assert detected[0].serial_number is not None
    assert not writes


@pytest.mark.parametrize(
    ("logger", "battery_type"),
    [("stick", "deye_solarman"), ("ethernet", "deye_modbus")],
)
async def test_a_data_logger_is_asked_in_its_own_language(
    logger: Any, battery_type: str, closed_port: int
) -> None:
    """A stick speaks Solarman V5, an Ethernet logger plain Modbus at the same port."""
    async with DeyeSolarmanSimulator(logger=logger) as inverter:
        detected = await detect(inverter.host, ports=only(closed_port, p8899=inverter))
        serial = inverter.setup["logger_serial"]

    (device,) = detected
    assert device.battery_type == battery_type
    assert device.serial_number is not None
    assert device.setup.get("logger_serial") == (serial if logger == "stick" else None)


async def test_a_logger_whose_inverter_is_off_is_detected(
    closed_port: int,
) -> None:
    """The user can then fill in the form for the morning."""
    async with DeyeSolarmanSimulator() as inverter:
        await inverter.misbehave("silent", first=0, last=60)
        (device,) = await detect(inverter.host, ports=only(closed_port, p8899=inverter))

    assert device.serial_number is None
    assert not device.certain
    assert device.setup["logger_serial"] == inverter.setup["logger_serial"]


@pytest.mark.parametrize("words", [("30051", 8001), ("30056", 460), ("30058", None)])
async def test_only_a_battery_inverter_of_sma_is_one(
    words: tuple[str, int | None], closed_port: int
) -> None:
    """A solar inverter of SMA answers at the same unit."""
    registers = dict(SMA["units"]["3"])
    address, word = words
    if word is None:
        registers |= {"30057": 0xFFFF, "30058": 0xFFFF}
    elif address == "30051":
        registers["30052"] = word
    else:
        registers[address] = word
    async with ModbusImage(SMA | {"units": {"3": registers}}) as image:
        detected = await detect(image.host, ports=only(closed_port, p502=image))

    assert [device.serial_number for device in detected] == (
        [None] if word is None else []
    )


async def test_a_sessy_that_keeps_to_itself_is_a_guess(closed_port: int) -> None:
    """It asks for a password, as many web pages do."""
    async with SessySimulator() as sessy:
        (detected,) = await detect(sessy.host, ports=only(closed_port, p80=sessy))
        posts = sessy.server.posts

    assert (detected.battery_type, detected.certain) == ("sessy", False)
    assert detected.setup == {"host": sessy.host, "port": sessy.port}
    assert posts == []


class OpenDongle(HttpImage):
    """A dongle that answers without a password, as with some firmware."""

    def __init__(self, vector: Vector) -> None:
        super().__init__(vector)
        self.username = None


@pytest.mark.parametrize("vector", by_name(SESSY))
async def test_an_open_dongle_is_identified(vector: Vector, closed_port: int) -> None:
    """Without any password."""
    async with OpenDongle(vector) as dongle:
        (detected,) = await detect(dongle.host, ports=only(closed_port, p80=dongle))

    info = vector["responses"].get("GET /api/v1/system/info", {})
    assert (detected.battery_type, detected.certain) == ("sessy", True)
    assert detected.serial_number == (
        info.get("sessy_serial") or info.get("self_serial")
    )
    assert detected.setup.get("username") == info.get("self_serial")
    assert not dongle.posts


async def test_a_certain_device_goes_before_a_guess(closed_port: int) -> None:
    """A device with a web page of its own is not a Sessy besides."""
    async with VictronSimulator() as gx, SessySimulator() as page:
        detected = await detect(gx.host, ports=only(closed_port, p502=gx, p80=page))

    assert [device.battery_type for device in detected] == ["victron"]


async def test_two_devices_behind_one_address_are_both_detected(
    closed_port: int,
) -> None:
    """For instance two forwarded ports."""
    async with VictronSimulator() as gx, OpenDongle(SESSY[0]) as sessy:
        detected = await detect(gx.host, ports=only(closed_port, p502=gx, p80=sessy))

    assert {device.battery_type for device in detected} == {"victron", "sessy"}


@pytest.mark.parametrize(
    ("battery_type", "serve"),
    [
        ("victron", lambda: ModbusImage(VICTRON)),
        ("sma", lambda: ModbusImage(SMA)),
        ("sessy", lambda: OpenDongle(SESSY[0])),
    ],
)
async def test_a_detected_device_can_be_set_up(
    battery_type: str,
    serve: Callable[[], ModbusImage | HttpImage],
    closed_port: int,
) -> None:
    """The setup has all that the driver requires but a secret, and nothing else."""
    driver = DRIVERS[battery_type]
    (port,) = driver.ports
    async with serve() as server:
        ports = only(closed_port, **{f"p{port}": server})
        (detected,) = await detect(server.host, ports=ports)

    required = {
        field.name
        for field in driver.fields
        if field.required and field.default is None
    }
    assert detected.setup.keys() <= {field.name for field in driver.fields}
    assert required - detected.setup.keys() <= {"password"}


# Other devices are asked harmlessly


@pytest.mark.parametrize("vector", by_name(MODBUS_VECTORS))
async def test_every_device_is_only_read(vector: Vector, closed_port: int) -> None:
    """By any driver: few requests of function 3, at most one connection a time."""
    async with ModbusImage(vector) as image:
        detected = await detect(image.host, ports=only(closed_port, p502=image))
        log = list(image.traffic.log)

    assert not [entry for entry in log if isinstance(entry, Write)]
    functions = {entry.pdu[0] for entry in image.traffic.refusals}
    assert functions <= {3}
    assert image.traffic.requests <= 25
    assert len(detected) <= 1


@pytest.mark.parametrize(
    ("battery_type", "options"),
    [
        ("victron", {}),
        ("sma", {"other_units": "refuse"}),
        ("sma", {"other_units": "silent"}),
        ("sun2000", {"access": "sdongle", "other_units": "silent"}),
        ("sun2000", {"access": "wlan", "unit_id": 0}),
        ("sun2000", {"access": "emma"}),
        ("sun2000", {"access": "smartlogger", "unit_id": 4}),
    ],
)
async def test_every_simulated_device_is_only_read(
    battery_type: str, options: dict[str, Any], closed_port: int
) -> None:
    """With any behaviour of absent units."""
    async with SIMULATORS[battery_type](**options) as simulator:
        ports = only(closed_port, p502=simulator)
        detected = await detect(simulator.host, ports=ports)

        assert isinstance(simulator.server, ModbusServer)
        assert simulator.server.traffic.writes == []
        has_driver = battery_type in DRIVERS
        assert [device.battery_type for device in detected] == [
            battery_type
        ] * has_driver


async def test_a_device_of_one_client_is_asked_over_the_connection_in_use(
    closed_port: int,
) -> None:
    """A second connection would end the first."""
    async with (
        ModbusImage(SMA) as image,
        DRIVERS["sma"].from_setup(image.setup) as battery,
    ):
        assert isinstance(battery, ModbusBattery)
        detected = await detect(image.host, ports=only(closed_port, p502=image))
        await battery.read(["battery_soc"])

        assert len(detected) == 1
        assert image.connections == 1
        connection = battery.connection
        assert isinstance(connection, ModbusTcpConnection)
        assert connection.connect_delay == 0


async def test_requests_do_not_come_too_soon_after_connecting(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    """Some devices lose the first requests."""
    monkeypatch.setattr(Probe, "connect_delay", 0.1)
    async with ModbusImage(SMA) as image:
        image.set_faults(settle=0.05)
        detected = await detect(image.host, ports=only(closed_port, p502=image))

    assert len(detected) == 1
    assert image.lost == 0


# No device, and other devices


async def test_nothing_there_is_no_device(closed_port: int) -> None:
    """All ports are closed."""
    assert await detect("127.0.0.1", ports=only(closed_port)) == []


async def test_a_silent_port_is_given_up(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    """It takes connections, and says nothing."""
    monkeypatch.setattr(detection, "LIMIT", 0.05)
    async with ModbusImage(VICTRON) as image:
        image.set_faults(hang=True)
        detected = await detect(image.host, ports=only(closed_port, p502=image))
        await asyncio.sleep(0)

    assert detected == []


@pytest.mark.parametrize(("last", "types"), [(10, ["sma"]), (0.01, [])])
async def test_no_further_driver_is_asked_after_a_long_time(
    monkeypatch: pytest.MonkeyPatch, last: float, types: list[str]
) -> None:
    """Each waits for its own time: together they would hold the form for long."""

    async def hang(probe: Probe) -> list[Detected]:
        await asyncio.Event().wait()
        return []

    async def answer(probe: Probe) -> list[Detected]:
        return [Detected(battery_type="sma", model="Sunny Island", setup=probe.setup)]

    monkeypatch.setattr(VictronInverter, "detect", hang)
    monkeypatch.setattr(SmaInverter, "detect", answer)
    monkeypatch.setattr(detection, "LIMIT", 0.05)
    monkeypatch.setattr(detection, "LAST", last)
    detected = await detect_at("127.0.0.1", 502, [VictronInverter, SmaInverter])

    assert [device.battery_type for device in detected] == types


class PageServer(JsonServer):
    """A server of web pages."""

    async def answer(self, request: Request) -> Answer:
        return Answer("<html>Welcome</html>")


@pytest.mark.parametrize("usual", ["p80", "p502"])
async def test_a_web_server_is_no_battery(usual: str, closed_port: int) -> None:
    """Neither at Sessy's port nor at Modbus'."""
    async with PageServer() as server:
        ports = only(closed_port, **{usual: server})
        assert await detect(server.host, ports=ports) == []
        assert not server.posts


class Chatterbox(TcpServer):
    """A server that greets every client, and hangs up or not."""

    hangs_up = True

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, since: float
    ) -> None:
        while await reader.read(1000):
            writer.write(b"220 mail.example ready\r\n")
            await writer.drain()
            if self.hangs_up:
                return


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_another_protocol_is_soon_given_up(
    hangs_up: bool, closed_port: int
) -> None:
    """Two answers of another protocol are enough."""
    server = Chatterbox()
    server.hangs_up = hangs_up
    async with server:
        probe = Probe(server.host, server.port, ModbusTcpConnection.shared)
        register = Register(0, "x")
        if hangs_up:
            assert await probe.read(1, [register]) == {}
            with pytest.raises((CannotConnectError, ProtocolError)):
                await probe.read(1, [register])
        else:
            assert await probe.read(1, [register]) == {}
        await probe.close()
        await probe.close()

        assert await detect(server.host, ports=only(closed_port, p502=server)) == []
        assert not probe.speaks_modbus


async def test_a_connection_that_is_cut_is_made_again(closed_port: int) -> None:
    """Some devices hang up over a request for another device."""
    async with ModbusImage(SMA) as image:
        image.set_faults(cut_request=1)
        detected = await detect(image.host, ports=only(closed_port, p502=image))

    assert [device.battery_type for device in detected] == ["sma"]
    assert image.connections == 2


# A driver's part


async def test_a_driver_without_detection_detects_nothing() -> None:
    """Detection is optional for a driver."""
    assert (
        await Battery.detect(Probe("127.0.0.1", 502, ModbusTcpConnection.shared)) == []
    )
    assert Battery.ports == ()


async def test_the_simulated_battery_is_nowhere_to_be_detected() -> None:
    """It lives in Home Assistant: no port is its own, and at others it finds nothing."""
    assert SimulatedBattery.ports == ()
    async with PageServer() as server:
        assert await detect_at(server.host, server.port, [SimulatedBattery]) == []


async def test_a_question_that_goes_wrong_is_only_its_drivers(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    """The others are asked all the same."""

    async def fail(probe: Probe) -> list[Detected]:
        raise ProtocolError("not understood")

    monkeypatch.setattr(VictronInverter, "detect", fail)
    async with ModbusImage(SMA) as image:
        detected = await detect(image.host, ports=only(closed_port, p502=image))

    assert [device.battery_type for device in detected] == ["sma"]


async def test_a_probe_reads_a_block_as_its_registers() -> None:
    """One request; None for a refusal, which is Modbus all the same."""
    vector = SMA | {"units": {"3": {"10": 1, "11": 2, "12": 0x4142}}}
    registers = [
        Register(10, "first"),
        Register(12, "last", DataType.STRING, length=1),
    ]
    async with ModbusImage(vector) as image:
        probe = Probe(image.host, image.port, ModbusTcpConnection.shared)
        values = await probe.read(3, registers)
        refused = await probe.read(3, [Register(99, "none")])
        other = await probe.read(4, registers)
        await probe.close()

        assert values == {"first": 1, "last": "AB"}
        assert (refused, other) == ({}, {})
        assert probe.speaks_modbus
        assert probe.setup == {"host": image.host, "port": image.port}
        assert image.traffic.requests == 3


@each_on_a_socket
async def test_each_battery_is_detected_at_a_port_of_which_nothing_is_known(
    simulator: Simulator,
) -> None:
    """All drivers ask there; one whose protocol is hung up on does not stop the rest."""
    [device] = await detect_at(simulator.host, simulator.port, DRIVERS.values())

    assert device.battery_type == simulator.type
