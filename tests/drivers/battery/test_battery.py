"""The common behaviour of batteries, seen on one with four registers."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final, override

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import (
    VOLTAGE_FRESH,
    SetpointLimits,
    SetupField,
)
from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.battery.readings import Formula, Readings
from custom_components.homebattery.drivers.battery.settings import (
    NumberSetting,
    SelectSetting,
    Setting,
    SwitchSetting,
)
from custom_components.homebattery.drivers.errors import (
    AnotherDeviceError,
    BatteryError,
    CannotConnectError,
    DeviceRefusedError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
)
from custom_components.homebattery.drivers.measurements import (
    MEASUREMENTS,
    PLAUSIBLE,
    UNITS,
    Poll,
    Quantity,
    Value,
)
from custom_components.homebattery.drivers.modbus.register import (
    AccessType,
    DataType,
    Register,
)
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.report import Report
from tests.drivers.conftest import Leap, Pauses, until
from tests.simulators.image import ModbusImage
from tests.simulators.modbus import Silent

pytestmark = pytest.mark.usefixtures("socket_enabled")

RW: Final = AccessType.READ_WRITE
FIELDS: Final = (
    SetupField("host"),
    SetupField("port", 502),
    SetupField("unit_id", 1, advanced=True),
)


class MyNewModbusBattery(ModbusBattery):
    """A battery that defines nothing but a table of registers."""

    battery_type: ClassVar[str] = "my_new"
    manufacturer: ClassVar[str] = "Mine"
    fields: ClassVar[tuple[SetupField, ...]] = FIELDS
    registers: ClassVar[Sequence[Register]] = (
        Register(30000, "grid_voltage_l1", DataType.UINT16, 10, "V"),
        Register(30001, "battery_soc", DataType.UINT16, 100, "%"),
        Register(30002, "battery_power", DataType.INT16, 1, "W"),
        Register(30003, "serial_number", DataType.STRING, poll=Poll.ONCE, length=2),
    )


WORDS: Final = {30000: 2301, 30001: 6250, 30002: 1500, 30003: 0x4D59, 30004: 0x3031}


class Settable(MyNewModbusBattery):
    """The same with settings; a setpoint is only noted."""

    settle = 0
    registers = (
        *MyNewModbusBattery.registers,
        Register(30010, "battery_voltage", DataType.UINT16, 10, "V"),
        Register(40000, "min_soc", access_type=RW, poll=Poll.SLOW, persistent=True),
        Register(
            40001, "grid_setpoint", DataType.INT16, access_type=RW, poll=Poll.SLOW
        ),
        Register(
            40002,
            "charge_current_limit",
            DataType.INT16,
            10,
            access_type=RW,
            sentinels=(0xFFFF,),
        ),
        Register(40003, "working_mode", access_type=RW, enum={1: "eco", 2: "off"}),
        Register(40004, "noise_limited", access_type=RW),
        Register(40100, "not_there", access_type=RW),
    )
    formulas = (
        Formula(
            "pv_power",
            ("battery_power", "grid_setpoint"),
            lambda v: float(str(v["battery_power"])) + float(str(v["grid_setpoint"])),
        ),
        Formula("load_power", ("battery_power", "not_there"), lambda v: v["not_there"]),
        Formula(
            "battery_status",
            ("battery_power", "not_there"),
            lambda v: "idle" if v.get("not_there") is None else "busy",
            ("idle", "busy"),
        ),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked: list[tuple[float, int]] = []

    @property
    @override
    def settings(self) -> Mapping[str, Setting]:
        return {
            "min_soc": NumberSetting(minimum=5, maximum=90),
            "grid_setpoint": NumberSetting(minimum=-5000, maximum=5000),
            "charge_current_limit": NumberSetting(
                minimum=0, maximum=1000, unlimited=True
            ),
            "working_mode": SelectSetting(options=("eco", "off")),
            "limit_noise": SwitchSetting(),
        }

    @override
    def _setting_register(self, key: str) -> str:
        if key == "limit_noise":
            return "noise_limited"
        return super()._setting_register(key)

    @property
    @override
    def setpoint_limits(self) -> SetpointLimits | None:
        return SetpointLimits(-3000, 2000)

    @property
    @override
    def setpoint_phases(self) -> int:
        return 1

    @override
    async def set_power_setpoint(self, power: float) -> Grant:
        granted = self._clamp(power)
        self.asked.append((granted, 0))
        return Grant(granted)

    @override
    async def set_power_setpoint_phase(self, power: float, phase: int) -> Grant:
        self.asked.append((power, phase))
        return Grant(round(power))


SETTINGS: Final = {
    **WORDS,
    30010: 500,
    40000: 20,
    40001: 50,
    40002: 0xFFFF,
    40003: 1,
    40004: 0,
}


def image_of(words: Mapping[int, int]) -> ModbusImage:
    """Return a server, not yet started, of a device with one unit."""
    text = {str(address): word for address, word in words.items()}
    return ModbusImage({"battery_type": "test", "units": {"1": text}})


@pytest.fixture
async def image() -> AsyncIterator[ModbusImage]:
    async with image_of(SETTINGS) as server:
        yield server


@asynccontextmanager
async def connected(image: ModbusImage) -> AsyncIterator[Settable]:
    async with Settable(image.host, image.port) as battery:
        image.traffic.clear()
        yield battery


# Identity ----------------------------------------------------------------------


async def test_table_of_registers_is_all_that_a_battery_takes() -> None:
    async with (
        image_of(WORDS) as image,
        MyNewModbusBattery(image.host, image.port) as battery,
    ):
        readings = await battery.read()

    assert dict(readings) == {
        "battery_soc": 62.5,
        "battery_power": 1500,
        "battery_charge_power": 1500,
        "battery_discharge_power": 0,
        "grid_voltage_l1": 230.1,
        "serial_number": "MY01",
    }
    assert readings.failures == {}
    assert battery.settings == {}
    assert battery.detected_config == {}
    assert (battery.identity.serial_number, battery.identity.model) == ("MY01", "Mine")


async def test_measurements_come_in_the_order_of_their_definition() -> None:
    async with (
        image_of(WORDS) as image,
        MyNewModbusBattery(image.host, image.port) as battery,
    ):
        keys = battery.measurements
        number = len(battery.measurements)

    assert list(keys) == [key for key in MEASUREMENTS if key in keys]
    assert number == 6


async def test_device_without_serial_number_is_known_by_its_address() -> None:
    words = {**WORDS, 30003: 0, 30004: 0}
    async with (
        image_of(words) as image,
        MyNewModbusBattery(image.host, image.port) as battery,
    ):
        assert battery.identity.serial_number == "127.0.0.1"


async def test_connecting_and_reading_write_nothing(image: ModbusImage) -> None:
    async with connected(image) as battery:
        await battery.read()

    assert image.writes == []


async def test_battery_that_is_not_connected_says_so() -> None:
    battery = MyNewModbusBattery("127.0.0.1", 1502)

    with pytest.raises(CannotConnectError, match="127.0.0.1: not connected"):
        _ = battery.identity
    with pytest.raises(CannotConnectError, match="127.0.0.1:1502: not connected"):
        await battery.read(["battery_soc"])


async def test_closed_battery_does_not_connect_again_by_itself(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        pass
    await until(lambda: image.clients == 0)

    await battery.close()
    with pytest.raises(CannotConnectError):
        await battery.read(["battery_soc"])
    assert image.connections == 1


async def test_identity_is_read_again_on_each_connection(image: ModbusImage) -> None:
    async with connected(image) as battery:
        assert battery.identity.serial_number == "MY01"
    image.units.units[1][30004] = 0x3032

    with pytest.raises(AnotherDeviceError) as caught:
        await battery.connect()

    assert (caught.value.expected, caught.value.present) == ("MY01", "MY02")


async def test_connecting_twice_takes_one_connection(image: ModbusImage) -> None:
    async with connected(image) as battery:
        await battery.connect()
    await until(lambda: image.clients == 0)

    assert image.connections == 1


async def test_failed_connecting_leaves_no_connection_open(image: ModbusImage) -> None:
    image.set_faults(drop=1)
    battery = MyNewModbusBattery(image.host, image.port, timeout=0.1)

    with pytest.raises(RequestTimeoutError):
        await battery.connect()

    await until(lambda: image.clients == 0)
    with pytest.raises(CannotConnectError):
        _ = battery.connection


async def test_two_batteries_behind_one_address_share_its_socket(
    image: ModbusImage,
) -> None:
    image.units.units[2] = {**image.units.units[1], 30001: 1000}
    async with (
        Settable(image.host, image.port) as one,
        Settable(image.host, image.port, unit_id=2) as two,
    ):
        socs = (await one.get_battery_soc(), await two.get_battery_soc())
        connections = image.connections

    assert socs == (62.5, 10)
    assert connections == 1


def test_battery_is_made_from_the_data_of_a_configuration_entry() -> None:
    battery = MyNewModbusBattery.from_setup(
        {
            "host": "battery.local",
            "port": 1502,
            "unit_id": None,
            "max_charge_power": 2000,
            "capacity": 10_000,
            "scan_interval": 5,
        }
    )

    assert (battery.address, battery.port) == ("battery.local", 1502)
    assert (battery.unit_id, battery.capacity) == (None, 10_000)
    assert (battery.max_charge_power, battery.max_discharge_power) == (2000, None)


def test_registry_knows_each_driver_by_its_type() -> None:
    for name, driver in DRIVERS.items():
        assert driver.battery_type == name
        # One without a port is in no network, and has no host either.
        names = [field.name for field in driver.fields]
        assert "host" not in names[1:]
        assert (names[0] == "host") == bool(driver.ports)


# Reading ----------------------------------------------------------------------


async def test_only_the_requested_keys_are_read(image: ModbusImage) -> None:
    async with connected(image) as battery:
        readings = await battery.read(["battery_soc"])

    assert dict(readings) == {"battery_soc": 62.5}
    assert image.traffic.reads == [(1, 30001, 1)]


async def test_everything_is_read_in_the_fewest_requests(image: ModbusImage) -> None:
    del image.units.units[1][40004]
    async with connected(image) as battery:
        await battery.read()  # learns which registers are missing
        image.traffic.clear()

        readings = await battery.read()

    # A hole in between, and registers that are read once.
    assert image.traffic.reads == [(1, 30000, 3), (1, 30010, 1), (1, 40000, 4)]
    assert len(readings) >= 9


class Overtaken(MyNewModbusBattery):
    """A battery to which something else is written beside each request."""

    @property
    @override
    def writes(self) -> int:
        return self.recording.requests


async def test_live_values_are_read_again_a_few_times_while_writes_go_on(
    image: ModbusImage,
) -> None:
    async with Overtaken(image.host, image.port) as battery:
        image.traffic.clear()
        readings = await battery.read()

    assert readings["battery_soc"] == 62.5
    assert 1 < len(image.traffic.reads) <= 4


async def test_live_values_fail_alone_where_they_are_not_answered_again(
    image: ModbusImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = image.units.read
    asked: list[int] = []

    def answer_once(unit: int, address: int, count: int) -> Sequence[int]:
        asked.append(address)
        if len(asked) > 1:
            raise Silent
        return read(unit, address, count)

    async with Overtaken(image.host, image.port, timeout=0.1) as battery:
        monkeypatch.setattr(image.units, "read", answer_once)
        readings = await battery.read()

    assert dict(readings) == {"serial_number": "MY01"}
    assert {type(err) for err in readings.failures.values()} == {RequestTimeoutError}


@pytest.mark.parametrize(
    ("power", "charge", "discharge"), [(1500, 1500, 0), (-700, 0, 700), (0, 0, 0)]
)
async def test_either_half_of_the_battery_power_is_not_negative(
    image: ModbusImage, power: int, charge: int, discharge: int
) -> None:
    image.units.units[1][30002] = power & 0xFFFF
    async with connected(image) as battery:
        readings = await battery.read(
            ["battery_charge_power", "battery_discharge_power"]
        )

    assert readings["battery_charge_power"] == charge
    assert readings["battery_discharge_power"] == discharge
    assert image.traffic.reads == [(1, 30002, 1)]


async def test_half_of_a_power_that_cannot_be_read_fails_with_it(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        image.set_faults(exception=4, exception_count=1)
        readings = await battery.read(["battery_charge_power"])

    assert isinstance(readings.failures["battery_charge_power"], DeviceRefusedError)


@pytest.mark.parametrize(
    ("key", "address", "word"),
    [("battery_soc", 30001, 65535), ("grid_voltage_l1", 30000, 65535)],
)
async def test_impossible_value_is_none(
    image: ModbusImage, key: str, address: int, word: int
) -> None:
    image.units.units[1][address] = word
    async with connected(image) as battery:
        assert await battery.get(key) is None


def test_everything_that_has_a_unit_can_be_judged_and_read() -> None:
    assert PLAUSIBLE.keys() <= UNITS.keys()
    assert not UNITS.keys() & {
        *(Quantity.COUNT, Quantity.TEXT, Quantity.STATUS),
        *(Quantity.FLAG, Quantity.PROBLEMS),
    }


async def test_half_of_an_unknown_power_is_unknown(image: ModbusImage) -> None:
    class Unknown(Settable):
        registers = (
            Register(30002, "battery_power", sentinels=(1500,)),
            *Settable.registers[4:],
        )

    async with Unknown(image.host, image.port) as battery:
        assert await battery.get("battery_discharge_power") is None


async def test_flag_is_yes_or_no(image: ModbusImage) -> None:
    class Flagged(Settable):
        registers = (Register(40003, "limit_noise"), Register(40004, "battery_relay"))

    async with Flagged(image.host, image.port) as battery:
        readings = await battery.read()

    assert readings["limit_noise"] is True
    assert readings["battery_relay"] is False


async def test_formula_is_computed_from_the_readings(image: ModbusImage) -> None:
    async with connected(image) as battery:
        assert await battery.get("pv_power") == 1550


async def test_formula_without_an_ingredient_fails_alone(image: ModbusImage) -> None:
    async with connected(image) as battery:
        readings = await battery.read(["load_power", "battery_status", "battery_soc"])

    assert dict(readings) == {"battery_soc": 62.5, "battery_status": "idle"}
    assert "no register 40100" in str(readings.failures["load_power"])


async def test_a_register_that_the_device_lacks_is_no_measurement(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        promised = battery.measurements
        await battery.read()

        assert set(promised) - set(battery.measurements) == {"load_power"}


async def test_an_unknown_key_is_not_supported(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        with pytest.raises(NotSupportedError, match="has no active_power_l2"):
            await battery.get_active_power_phase(2)
        with pytest.raises(NotSupportedError, match="has no device_status"):
            battery.options("device_status")

    assert image.traffic.requests == 0


async def test_identity_is_read_once(image: ModbusImage) -> None:
    async with connected(image) as battery:
        first = await battery.read(["serial_number", "battery_soc"])
        second = await battery.read(["serial_number", "battery_soc"])

    assert first == second
    assert first["serial_number"] == "MY01"
    assert image.traffic.reads == [(1, 30001, 1), (1, 30001, 1)]


async def test_missing_registers_are_learned_anew_on_a_new_connection(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        await battery.read()
        image.units.units[1][40100] = 7
        image.cut()
        connection = ModbusTcpConnection.shared(image.host, image.port, 5)
        await until(lambda: image.clients == 0)
        while connection.connects < 2:
            try:
                await battery.read(["battery_soc"])
            except CannotConnectError:
                continue  # not noticed yet that it was cut

        readings = await battery.read(["serial_number", "load_power"])

        assert "load_power" in battery.measurements
    assert dict(readings) == {"serial_number": "MY01", "load_power": 7}


async def test_battery_out_of_reach_fails_as_a_whole(image: ModbusImage) -> None:
    async with connected(image) as battery:
        await image.stop()

        with pytest.raises(CannotConnectError):
            await battery.read()


@pytest.mark.parametrize(
    ("call", "argument", "key"),
    [
        ("get_active_power_total", None, "active_power"),
        ("get_active_current_total", None, "active_current"),
        ("get_active_power_phase", 2, "active_power_l2"),
        ("get_phase_voltage", 1, "grid_voltage_l1"),
        ("get_phase_current", 3, "grid_current_l3"),
        ("get_battery_soc", None, "battery_soc"),
    ],
)
async def test_each_getter_reads_its_key(
    call: str, argument: int | None, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_: object, names: Collection[str]) -> Report:
        assert list(names) == [key]
        return Report({key: 7})

    monkeypatch.setattr(MyNewModbusBattery, "_read_report", read)
    battery = MyNewModbusBattery("127.0.0.1")

    assert await getattr(battery, call)(*([] if argument is None else [argument])) == 7


async def test_readings_are_a_mapping_of_those_that_succeeded() -> None:
    readings = Readings({"battery_soc": None}, {"battery_power": BatteryError("no")})

    assert (list(readings), len(readings)) == (["battery_soc"], 1)
    assert readings["battery_soc"] is None
    assert "battery_power" not in readings


async def test_slowest_register_decides_how_often_a_key_is_worth_reading(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        assert battery.poll_rate("battery_soc") is Poll.FAST
        assert battery.poll_rate("battery_charge_power") is Poll.FAST
        assert battery.poll_rate("min_soc") is Poll.SLOW
        assert battery.poll_rate("pv_power") is Poll.SLOW
        assert battery.poll_rate("serial_number") is Poll.ONCE
        assert battery.poll_rate("no_such_key") is Poll.SLOW


async def test_options_are_those_of_the_formula_or_the_register(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        assert battery.options("battery_status") == ("idle", "busy")
        assert battery.options("working_mode") == ("eco", "off")
        assert battery.options("battery_soc") == ()


# Settings ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "write"),
    [
        ("min_soc", 25, (1, 40000, [25])),
        ("grid_setpoint", -300, (1, 40001, [0xFED4])),
        ("charge_current_limit", 40.5, (1, 40002, [405])),
        ("working_mode", "off", (1, 40003, [2])),
        ("limit_noise", True, (1, 40004, [1])),
    ],
)
async def test_setting_is_written_and_read_back(
    image: ModbusImage, key: str, value: Value, write: tuple[int, int, list[int]]
) -> None:
    async with connected(image) as battery:
        await battery.set_value(key, value)

    assert image.writes == [write]
    assert image.traffic.log[-1] == (1, write[1], 1)


async def test_keys_are_compared_with_the_written_ones_only_after_a_write(
    image: ModbusImage,
) -> None:
    """There may be hundreds of keys, and the question comes with each poll."""
    async with connected(image) as battery:
        keys = iter(["min_soc", "battery_soc"])
        assert battery.take_written(keys) == set()
        assert [*keys] == ["min_soc", "battery_soc"]

        await battery.set_value("min_soc", 25)
        assert battery.take_written(["min_soc", "battery_soc"]) == {"min_soc"}


async def test_device_is_given_time_before_it_is_read_back(
    image: ModbusImage, monkeypatch: pytest.MonkeyPatch, pauses: Pauses
) -> None:
    monkeypatch.setattr(Settable, "settle", 1000)
    async with connected(image) as battery:
        pauses.clear()

        await battery.set_value("min_soc", 25)

    assert pauses == [1000]


async def test_setting_in_flash_is_not_written_when_it_is_so_already(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        await battery.set_value("min_soc", 20)

    assert image.writes == []


async def test_setting_in_ram_is_written_each_time(image: ModbusImage) -> None:
    async with connected(image) as battery:
        await battery.set_value("grid_setpoint", 50)

    assert image.writes == [(1, 40001, [50])]


@pytest.mark.parametrize("value", [None, 1000])
async def test_no_limit_and_the_maximum_are_the_same(
    image: ModbusImage, value: float | None
) -> None:
    image.units.units[1][40002] = 400
    async with connected(image) as battery:
        await battery.set_value("charge_current_limit", value)
        seen = await battery.get("charge_current_limit")

    assert image.writes == [(1, 40002, [0xFFFF])]
    assert seen is None


async def test_setting_that_the_device_does_not_show_is_not_confirmed(
    image: ModbusImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image.units, "write", lambda *_: None)
    async with connected(image) as battery:
        with pytest.raises(NotConfirmedError, match="min_soc is still 20 after .* 25"):
            await battery.set_value("min_soc", 25)


async def test_setting_that_the_device_refuses_is_an_error(image: ModbusImage) -> None:
    async with connected(image) as battery:
        image.set_faults(exception=3, exception_count=1)

        with pytest.raises(DeviceRefusedError, match="value not allowed"):
            await battery.set_value("grid_setpoint", 100)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("min_soc", 4, "min_soc cannot be 4: 5 to 90"),
        ("min_soc", 91, "5 to 90"),
        ("min_soc", None, "5 to 90"),
        ("charge_current_limit", True, "0 to 1000"),
        ("min_soc", "20", "5 to 90"),
        ("min_soc", float("nan"), "5 to 90"),
        ("charge_current_limit", 1001, "0 to 1000"),
        ("working_mode", "on", "one of eco, off"),
        ("working_mode", None, "one of eco, off"),
        ("limit_noise", 1, "on or off"),
        ("limit_noise", None, "on or off"),
    ],
)
async def test_value_that_a_setting_cannot_have_is_not_sent(
    image: ModbusImage, key: str, value: Value, text: str
) -> None:
    async with connected(image) as battery:
        with pytest.raises(InvalidValueError, match=text):
            await battery.set_value(key, value)

    assert image.traffic.requests == 0


async def test_range_of_a_number_holds_what_the_device_has_shown(
    image: ModbusImage,
) -> None:
    """So that a limit that was lowered can be restored."""
    image.units.units[1] |= {40000: 95, 40001: 0x10000 - 7000}
    async with connected(image) as battery:
        before = battery.setting("min_soc")
        await battery.read()
        await battery.set_value("min_soc", 40)
        await battery.read()
        await battery.set_value("min_soc", 95)
        target = battery.setting("grid_setpoint")
        with pytest.raises(InvalidValueError, match="5 to 95"):
            await battery.set_value("min_soc", 96)

    assert before == NumberSetting(minimum=5, maximum=90)
    assert target == NumberSetting(minimum=-7000, maximum=5000)
    assert image.writes == [(1, 40000, [40]), (1, 40000, [95])]


async def test_maximum_that_stands_for_no_limit_stays(image: ModbusImage) -> None:
    image.units.units[1][40002] = 12_000
    async with connected(image) as battery:
        await battery.read()
        setting = battery.setting("charge_current_limit")

    assert setting == NumberSetting(minimum=0, maximum=1000, unlimited=True)


async def test_setting_that_a_battery_does_not_have_is_not_supported(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        with pytest.raises(NotSupportedError, match="has no setting backup_soc"):
            await battery.set_value("backup_soc", 20)


# Setpoints --------------------------------------------------------------------


async def test_battery_without_setpoint_says_so() -> None:
    battery = MyNewModbusBattery("127.0.0.1")

    assert battery.setpoint_limits is None
    assert battery.setpoint_phases == 0
    assert battery.keep_alive_interval is None
    for what in (
        battery.set_power_setpoint(100),
        battery.set_power_setpoint_phase(100, 1),
        battery.set_current_setpoint_phase(1, 1),
        battery.take_snapshot(),
    ):
        with pytest.raises(NotSupportedError, match="127.0.0.1: .*no setpoint"):
            await what
    with pytest.raises(NotSupportedError, match="takes no setpoint"):
        battery._clamp(100)


async def test_nothing_to_renew_or_release_is_no_error() -> None:
    battery = MyNewModbusBattery("127.0.0.1")

    assert await battery.keep_alive() is None
    await battery.release()
    assert battery.snapshot is None


@pytest.mark.parametrize(
    ("power", "granted"),
    [(100.4, 100), (2500, 2000), (-3500, -3000), (float("inf"), None)],
)
async def test_power_is_kept_within_the_limits(
    power: float, granted: int | None
) -> None:
    battery = Settable("127.0.0.1")

    if granted is None:
        with pytest.raises(InvalidValueError):
            await battery.set_power_setpoint(power)
    else:
        assert await battery.set_power_setpoint(power) == Grant(granted)


async def test_current_setpoint_is_a_power_at_the_battery_voltage(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        granted = await battery.set_current_setpoint(-20)

    assert granted == Grant(-1000)
    assert battery.asked == [(-1000, 0)]


async def test_a_current_takes_the_voltage_that_was_just_read(
    image: ModbusImage, leap: Leap
) -> None:
    """Also by a poll; one of some seconds ago is another one by now."""
    async with connected(image) as battery:
        await battery.read(["battery_voltage"])
        before = len(image.traffic.reads)
        assert await battery.set_current_setpoint(-20) == Grant(-1000)
        assert await battery.present_voltage() == 50
        assert len(image.traffic.reads) == before
        leap(VOLTAGE_FRESH)
        image.units.units[1][30010] = 480
        assert await battery.set_current_setpoint(-20) == Grant(-960)
        assert len(image.traffic.reads) == before + 1


async def test_phase_current_setpoint_is_a_power_at_its_voltage(
    image: ModbusImage,
) -> None:
    async with connected(image) as battery:
        granted = await battery.set_current_setpoint_phase(2, 1)

    assert granted == Grant(460)
    assert battery.asked == [(460.2, 1)]


async def test_no_current_setpoint_without_a_voltage(image: ModbusImage) -> None:
    image.units.units[1].update({30010: 0, 30000: 0})
    async with connected(image) as battery:
        with pytest.raises(NotSupportedError, match="no battery voltage"):
            await battery.set_current_setpoint(10)
        with pytest.raises(NotSupportedError, match="no voltage on phase 1"):
            await battery.set_current_setpoint_phase(10, 1)
        with pytest.raises(NotSupportedError, match="phase 2 takes no setpoint"):
            await battery.set_current_setpoint_phase(10, 2)

    assert battery.asked == []
