"""The Huawei driver, against register images and against a simulated inverter."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from custom_components.homebattery.drivers.battery.controller import Grant
from custom_components.homebattery.drivers.battery.parts import PartKind
from custom_components.homebattery.drivers.battery.settings import SelectSetting
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    CannotConnectError,
    DeviceBusyError,
    DeviceFailureError,
    DeviceRefusedError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    PermissionDeniedError,
    RequestTimeoutError,
    UnitAbsentError,
    WrongDeviceError,
)
from custom_components.homebattery.drivers.measurements import MEASUREMENTS, Poll
from custom_components.homebattery.drivers.modbus.planning import plan_blocks
from custom_components.homebattery.drivers.modbus.register import Register
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from custom_components.homebattery.drivers.sun2000 import (
    gateways as sun2000_gateways,
    inverter as sun2000_inverter,
    unit as sun2000_unit,
)
from custom_components.homebattery.drivers.sun2000.inverter import Sun2000Inverter
from custom_components.homebattery.drivers.sun2000.registers import (
    FIXED_TABLE,
    LAYOUT,
    LG_RESU,
    LUNA2000,
    TOU_TABLE,
)
from custom_components.homebattery.drivers.sun2000.topology import ASKED, Topology
from tests.drivers.conftest import fast_keys
from tests.drivers.vectors import assert_expected, by_name, read_plausible
from tests.simulators import HuaweiSimulator, ManualClock
from tests.simulators.image import ModbusImage, Vector, load

from .bench import bench, changed, connected, leaping, without_pauses

pytestmark = pytest.mark.usefixtures("socket_enabled")

VECTORS: Final = load("huawei_sun2000")
PV_CHARGING: Final = VECTORS[0]
NO_BATTERY: Final = next(v for v in VECTORS if v["name"].startswith("no_battery"))

NEW_MODEL: Final = {30070: 9999, 30006: 0x2D58}
"""The words of a SUN2000-6KTL-X1: in no list, neither by its number nor its name."""

NOT_OFFERED: Final = {"force_to_soc"}
"""Actions of the vectors that the library does not have: a charge to a SOC has no end
after a crash of the controller, so a setpoint always has a duration."""

WRITABLE: Final = {
    *(40125, 40126, 40200, 40201, 42054, 42055),
    *(47075, 47077, 47081, 47082, 47083, 47086, 47087, 47088),
    *(47100, 47102, 47242, 47246, 47247, 47249, 47299),
    *(47415, 47416, 47418, 47954, 47955),
}
NEVER_WRITTEN: Final = {
    # Measurements and identity, which no write should change.
    *range(30000, 40000),
    # Clock, time zone, WLAN, the key of a session that the driver does not have.
    *(40000, 42900, 43006, 45052, 49999),
    # Read-only or obsolete by the device's own list, and the kinds of battery.
    *(47000, 47079, 47084, 47089, 47107, 47108, 47244),
    # Remote control, the dongle's own limit, the backup box, the behaviour on failure.
    *(47589, 47590, 47604, 47605, 47675),
    # Tables of periods: many words of which none may be wrong.
    *range(47028, 47069),
    *range(47200, 47241),
    *range(47255, 47298),
    *range(47956, 48020),
}
NEVER_READ: Final = {
    # Raise errors on some models.
    *range(37026, 37046),
    *(37050, 37051),
    *range(37062, 37066),
    *range(37788, 37799),
    *range(47109, 47200),
    # Write-only.
    *(40200, 40201, 49999),
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pauses(monkeypatch)


# Vectors


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_values_are_those_of_the_vector(vector: Vector) -> None:
    """Every expected value is met."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read()

    assert_expected(vector, readings)


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_every_other_value_is_plausible(vector: Vector) -> None:
    """Each value that no vector expects is at least of its key's kind."""
    async with ModbusImage(vector) as image, connected(image) as battery:
        await read_plausible(battery)
        assert image.writes == []


@pytest.mark.parametrize("vector", by_name([v for v in VECTORS if v["writes"]]))
async def test_writes_are_those_of_the_vector(vector: Vector) -> None:
    """Each action writes exactly these words in this order, one after the other.

    But a setting in flash that has the value already is not written again.
    """
    async with ModbusImage(vector) as image, connected(image) as battery:
        for action in vector["writes"]:
            if action["action"] in NOT_OFFERED:
                continue
            words = {unit: dict(each) for unit, each in image.units.units.items()}
            before = len(image.writes)
            await perform(battery, action)
            written = [
                [unit, address, list(words)]
                for unit, address, words in image.writes[before:]
            ]
            expected = [
                [unit, address, new]
                for unit, address, new in action["expect_writes"]
                if not (is_flash(address) and words[unit][address] == new[-1])
            ]
            assert written == expected, action


def is_flash(address: int) -> bool:
    """Return True for a register of one word that is in flash."""
    return any(
        each.address == address and each.persistent and each.count == 1
        for each in everything()
    )


async def perform(battery: Sun2000Inverter, action: dict[str, Any]) -> None:
    """Perform the action of a vector."""
    options = action.get("options", {})
    if "duration_min" in options:
        assert battery.controller is not None
        battery.controller.duration_min = options["duration_min"]
    match action["action"]:
        case "release":
            await battery.release()
        case "set_power_setpoint":
            await battery.set_power_setpoint(action["value"])
        case str(name):
            await battery.set_value(name.removeprefix("set_"), action["value"])


@pytest.mark.parametrize("vector", by_name(VECTORS))
async def test_the_unit_is_discovered_by_reading(vector: Vector) -> None:
    """Given only the address, the driver discovers the inverter's unit id."""
    async with (
        ModbusImage(vector) as image,
        Sun2000Inverter(image.host, image.port) as battery,
    ):
        assert battery.detected_config == {"unit_id": image.setup["unit_id"]}
        assert image.writes == []


# The register map


@cache
def everything() -> list[Register]:
    """Return all registers of the largest inverter, each once."""
    largest = Topology(
        strings=24,
        mppts=10,
        products={1: LUNA2000, 2: LUNA2000},
        packs=[(unit, pack) for unit in (1, 2) for pack in (1, 2, 3)],
    )
    registers: list[Register] = []
    for table in (
        *(largest.inverter, Topology(phases=1).inverter, largest.meter),
        *(largest.battery, Topology(products={1: LG_RESU}, has_totals=False).battery),
        *(ASKED, TOU_TABLE, FIXED_TABLE),
    ):
        registers += [each for each in table if each not in registers]
    return registers


def test_only_registers_with_a_use_are_writable() -> None:
    """The table's writable registers are known one by one, and none is forbidden."""
    writable = {register.address for register in everything() if register.writable}
    words = {
        address
        for register in everything()
        if register.writable
        for address in range(register.address, register.end)
    }

    assert writable == WRITABLE
    assert not words & NEVER_WRITTEN


async def test_writes_to_forbidden_registers_are_not_sent() -> None:
    """Not even as one word of several; the list of them is that of the tests."""
    async with bench() as b:
        device, _ = b.battery._register("forced_command")
        for address in sorted(NEVER_WRITTEN):
            for words in ([1], [0, 1]):
                with pytest.raises(NotSupportedError, match="must never be written"):
                    await device.write_words(address + 1 - len(words), words)

        assert b.writes == []
        assert b.battery.writes == 0
    assert LAYOUT.never_write == NEVER_WRITTEN


@pytest.mark.parametrize("products", [{1: LUNA2000}, {1: LG_RESU}])
async def test_settings_are_writable_registers_in_flash(products: Any) -> None:
    """Each setting has its register, which is read back and not written in vain."""
    vector = changed(PV_CHARGING, {47000: products[1]})
    async with ModbusImage(vector) as image, connected(image) as battery:
        settings = dict(battery.settings)
        registers = [battery._register(key)[1] for key in settings if key in ALL_NAMES]

    assert all(register.writable and register.persistent for register in registers)
    assert settings.keys() - {register.name for register in registers} == {
        "inverter_on"
    }
    assert settings.keys() <= MEASUREMENTS.keys()


ALL_NAMES: Final = {register.name for register in everything()}


def test_no_read_touches_registers_that_raise_errors() -> None:
    """Planned blocks avoid the known holes, for any keys."""
    readable = [register for register in everything() if register.readable]

    touched = {
        address
        for block in plan_blocks(readable, LAYOUT)
        for address in range(block.address, block.address + block.count)
    }

    assert not touched & NEVER_READ


def test_registers_do_not_overlap() -> None:
    """Two registers share words only where they are the same words by two names."""
    places = sorted({(each.address, each.count) for each in everything()})

    for (address, count), (following, _) in zip(places, places[1:], strict=False):
        assert address + count <= following, address


def test_no_name_stands_for_two_registers_of_one_device() -> None:
    largest = Topology(
        products={1: LUNA2000, 2: LUNA2000},
        packs=[(unit, pack) for unit in (1, 2) for pack in (1, 2, 3)],
    )
    names = [
        register.name
        for table in (
            *(largest.inverter, largest.meter, largest.battery),
            *(TOU_TABLE, FIXED_TABLE),
        )
        for register in table
    ]
    assert len(names) == len(set(names))


# Discovering the unit


async def test_candidates_are_asked_in_order_of_likelihood() -> None:
    """The model is asked for at unit 1, 0, 2, …; the first inverter is taken."""
    async with HuaweiSimulator(unit_id=16) as simulator:
        async with Sun2000Inverter(simulator.host, simulator.port) as battery:
            assert battery.unit_id == 16
        asked = [refusal.unit for refusal in simulator.server.traffic.refusals]

    assert asked[:8] == [1, 0, 2, 3, 4, 5, 6, 11]


async def test_units_that_are_silent_are_given_up_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device that does not refuse other units takes a while to be discovered."""
    monkeypatch.setattr(sun2000_gateways, "PROBE_TIMEOUT", 0.1)
    async with (
        HuaweiSimulator(unit_id=0, other_units="silent") as simulator,
        Sun2000Inverter(simulator.host, simulator.port) as battery,
    ):
        assert battery.unit_id == 0


async def test_an_inverter_behind_an_emma_is_discovered() -> None:
    """The EMMA at unit 0 is passed over."""
    async with (
        HuaweiSimulator(access="emma", unit_id=4) as simulator,
        Sun2000Inverter(simulator.host, simulator.port) as battery,
    ):
        assert battery.unit_id == 4
        assert battery.identity.model == "SUN2000-6KTL-M1"


@pytest.mark.parametrize(
    ("access", "unit", "kind"),
    [
        pytest.param("emma", 0, "an EMMA", id="EMMA"),
        pytest.param("sdongle", 100, "an SDongle", id="SDongle"),
        pytest.param("smartlogger", 0, "a SmartLogger", id="SmartLogger"),
    ],
)
async def test_a_gateway_without_inverter_is_called_by_its_name(
    access: Any, unit: int, kind: str
) -> None:
    """The error names it, says that it is not supported, and names the setting.

    Where it lists no devices, an inverter at an unusual unit is not found.
    """
    async with HuaweiSimulator(access=access, unit_id=26) as simulator:
        simulator.units.lists_devices = False
        with pytest.raises(WrongDeviceError, match=f"unit {unit}: this is {kind}.*id"):
            await Sun2000Inverter(simulator.host, simulator.port).connect()


@pytest.mark.parametrize(("access", "unit"), [("emma", 0), ("sdongle", 100)])
async def test_the_unit_of_a_gateway_is_not_an_inverter(access: Any, unit: int) -> None:
    async with HuaweiSimulator(access=access) as simulator:
        with pytest.raises(WrongDeviceError, match="inverter behind it"):
            await Sun2000Inverter(
                simulator.host, simulator.port, unit_id=unit
            ).connect()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("PowerMeter", "this is a power meter"),
        ("FusionCharge", "FusionCharge is not an inverter that is known here"),
        ("", "no SUN2000 inverter"),
    ],
)
async def test_another_device_is_not_an_inverter(model: str, message: str) -> None:
    async with HuaweiSimulator(model=model or "SUN") as simulator:
        simulator.values.identity = {
            **simulator.values.identity,
            "model": model or None,
        }
        with pytest.raises(WrongDeviceError, match=message):
            await Sun2000Inverter(simulator.host, simulator.port, unit_id=1).connect()


@pytest.mark.parametrize("unit_id", [None, 1])
async def test_a_device_without_such_registers_is_no_inverter(unit_id: Any) -> None:
    vector = PV_CHARGING | {"units": {"1": {"0": 5}}}
    async with ModbusImage(vector) as image:
        with pytest.raises(WrongDeviceError, match="no (SUN2000 )?inverter"):
            await Sun2000Inverter(image.host, image.port, unit_id=unit_id).connect()


async def test_an_absent_unit_is_reported_as_such() -> None:
    async with HuaweiSimulator() as simulator:
        with pytest.raises(UnitAbsentError):
            await Sun2000Inverter(simulator.host, simulator.port, unit_id=7).connect()


async def test_a_device_that_never_answers_is_distinguished_from_a_wrong_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sun2000_gateways, "PROBE_TIMEOUT", 0.01)
    async with HuaweiSimulator() as simulator:
        await simulator.misbehave("hang")
        with pytest.raises(RequestTimeoutError, match="Is Modbus TCP switched on"):
            await Sun2000Inverter(simulator.host, simulator.port).connect()
        await simulator.misbehave("hang", on=False)


async def test_a_logger_without_a_name_is_just_no_inverter() -> None:
    """Asked for a logger's name, it has none, or does not answer."""
    vector = PV_CHARGING | {"units": {"0": {"0": 5}, "5": {"0": 5}}}
    async with ModbusImage(vector) as image:
        with pytest.raises(WrongDeviceError, match="enter its unit id"):
            await Sun2000Inverter(image.host, image.port).connect()


async def test_a_busy_unit_is_asked_again_after_the_others() -> None:
    """An inverter that another master keeps busy is not overlooked."""
    async with HuaweiSimulator() as simulator:
        await simulator.misbehave("exception", code=4, count=2, unit=1)
        async with Sun2000Inverter(simulator.host, simulator.port) as battery:
            assert battery.unit_id == 1


async def test_a_unit_that_stays_busy_is_not_taken_for_an_inverter() -> None:
    """Unless a gateway lists it as one."""
    async with HuaweiSimulator(access="wlan") as simulator:
        await simulator.misbehave("absent", first=30000, last=30014, code=6)
        with pytest.raises(WrongDeviceError, match="no inverter at the units"):
            await Sun2000Inverter(simulator.host, simulator.port).connect()


async def test_identity_is_that_of_the_inverter() -> None:
    async with ModbusImage(PV_CHARGING) as image, connected(image) as battery:
        identity = battery.identity

    assert identity.serial_number == "HV2250123456"
    assert identity.manufacturer == "Huawei"
    assert identity.model == "SUN2000-6KTL-M1"
    assert identity.firmware == "V100R001C00SPC172"


async def test_an_inverter_without_serial_number_is_refused() -> None:
    vector = changed(PV_CHARGING, dict.fromkeys(range(30015, 30025), 0))
    async with ModbusImage(vector) as image:
        with pytest.raises(WrongDeviceError, match="no serial number"):
            await Sun2000Inverter(image.host, image.port).connect()


async def test_a_refused_identity_is_not_taken_for_an_absent_one() -> None:
    """Connecting fails, and may be tried again."""
    async with HuaweiSimulator() as simulator:
        await simulator.misbehave("absent", first=30050, last=30050, code=4)
        with pytest.raises(DeviceRefusedError, match="exception 4"):
            await Sun2000Inverter(simulator.host, simulator.port).connect()


async def test_an_inverter_that_loses_first_requests_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests too soon after connecting would be lost."""
    monkeypatch.setattr(sun2000_inverter, "CONNECT_DELAY", 0.1)
    async with HuaweiSimulator() as simulator:
        simulator.server.clock = asyncio.get_running_loop().time
        await simulator.misbehave("settle", seconds=0.08)
        async with connected(simulator) as battery:
            assert await battery.get("battery_soc") == 50
        assert simulator.server.lost == 0


# The connection


async def test_two_inverters_behind_one_address_share_its_only_connection() -> None:
    """The device would end the older of two connections."""
    async with (
        HuaweiSimulator() as simulator,
        connected(simulator) as one,
        connected(simulator) as other,
    ):
        await one.read()
        await other.read()
        assert simulator.server.connections == 1
        assert one.connection is other.connection


async def test_the_connection_is_as_slow_as_the_device_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sun2000_inverter, "SPACING", 0.001)
    async with HuaweiSimulator() as simulator, connected(simulator) as battery:
        connection = battery.connection

        assert isinstance(connection, ModbusTcpConnection)
        assert connection.spacing == 0.001


@pytest.mark.parametrize("code", [4, 5, 6])
async def test_a_busy_device_is_asked_again(code: int) -> None:
    """Busy, still working on it, failed for a moment: three more tries."""
    async with bench() as b:
        await b.simulator.misbehave("exception", code=code, count=3)

        assert await b.battery.get("battery_soc") == 50


async def test_a_write_is_repeated_while_the_device_is_busy() -> None:
    async with bench() as b:
        await b.battery.take_snapshot()
        await b.simulator.misbehave("busy", count=3)
        await b.battery.set_value("max_soc", 95)

        assert b.device["settings"]["max_soc"] == 95


async def test_a_busy_block_fails_alone_and_is_not_waited_for_again() -> None:
    """The rest of the poll lives, and the next poll loses no time over it."""
    async with bench() as b:
        await b.battery.read()
        await b.simulator.misbehave("absent", first=37760, last=37787, code=6)
        keys = ["battery_soc", "pv_power"]
        first = await b.battery.read(keys)
        before = b.simulator.server.traffic.requests
        await b.battery.read(keys)
        second = b.simulator.server.traffic.requests - before
        await b.simulator.misbehave("absent", first=37760, last=37787, on=False)
        then = await b.battery.read(keys)

    assert isinstance(first.failures["battery_soc"], DeviceBusyError)
    assert first["pv_power"] == 0
    assert second == 2
    assert then["battery_soc"] == 50


@pytest.mark.parametrize("failing", ["all of it", "every other block"])
async def test_an_inverter_that_fails_at_everything_is_waited_for_once(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By day it is there again at once, and its requests are retried as before."""
    waits: list[float] = []
    real = asyncio.sleep
    monkeypatch.setattr(sun2000_unit, "BACK_OFFS", (1.0, 3.0, 10.0))

    async def sleep(seconds: float) -> None:
        if seconds >= 1:
            waits.append(seconds)
        await real(0)

    leap = leaping(monkeypatch)
    async with bench() as b:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        if failing == "all of it":
            await b.simulator.misbehave("sleep")
        for first in () if failing == "all of it" else (32000, 37000, 37760, 47242):
            await b.simulator.misbehave("absent", first=first, last=first + 4, code=4)
        readings = await b.battery.read()
        assert isinstance(readings.failures["battery_soc"], DeviceFailureError)
        assert waits == [1, 3, 10]
        leap(100)
        await b.battery.read()
        assert waits == [1, 3, 10]
        await b.simulator.misbehave("sleep", on=False)
        for first in (32000, 37000, 37760, 47242):
            await b.simulator.misbehave("absent", first=first, last=first + 4, on=False)
        assert await b.battery.get("battery_soc") == 50
        await b.simulator.misbehave("exception", code=4, count=2)
        assert await b.battery.get("battery_soc") == 50
        assert waits == [1, 3, 10, 1, 3]


async def test_a_sleeping_inverter_keeps_none_from_the_other() -> None:
    """The second one behind an SDongle, without a battery, is off at night."""
    async with HuaweiSimulator() as simulator, connected(simulator) as battery:
        await simulator.misbehave("sleep", unit=16)
        with pytest.raises(DeviceFailureError, match="unit 16.*is it asleep"):
            await Sun2000Inverter(simulator.host, simulator.port, unit_id=16).connect()
        assert await battery.get("battery_soc") == 50


async def test_a_search_at_night_says_what_to_wait_for() -> None:
    async with HuaweiSimulator(access="emma", unit_id=4) as simulator:
        await simulator.misbehave("sleep")
        with pytest.raises(DeviceFailureError, match="unit 4.*by daylight"):
            await Sun2000Inverter(simulator.host, simulator.port).connect()
        await simulator.misbehave("sleep", on=False)
        async with Sun2000Inverter(simulator.host, simulator.port) as battery:
            assert battery.unit_id == 4


@pytest.mark.parametrize("code", [2, 3])
async def test_a_missing_register_costs_only_itself(code: int) -> None:
    """With either of the two codes that firmware has for it."""
    async with HuaweiSimulator() as simulator:
        await simulator.misbehave("absent", first=37006, code=code)
        async with connected(simulator) as battery:
            readings = await battery.read()
            before = simulator.server.traffic.requests
            await battery.read(["battery1_status", "battery1_rated_charge_power"])
            requests = simulator.server.traffic.requests - before

    failed = {key for key in readings.failures if key.startswith("battery1")}
    assert failed == {"battery1_mode"}
    assert "battery1_mode" not in battery.measurements
    assert requests == 2


async def test_a_table_that_a_firmware_lacks_costs_one_question() -> None:
    async with bench() as b:
        await b.simulator.misbehave("absent", first=47255, last=47297, code=3)
        before = b.simulator.server.traffic.requests
        readings = await b.battery.read(["tou_periods"])
        again = await b.battery.read(["tou_periods"])

        assert b.simulator.server.traffic.requests - before == 1
        assert isinstance(readings.failures["tou_periods"], NotSupportedError)
        assert isinstance(again.failures["tou_periods"], NotSupportedError)


async def test_a_lost_connection_is_made_again() -> None:
    async with bench() as b:
        await b.simulator.misbehave("cut_request")
        with pytest.raises(CannotConnectError):
            await b.battery.get("battery_soc")

        assert await b.battery.get("battery_soc") == 50


async def test_an_answer_to_another_question_is_not_taken() -> None:
    """A dongle under load mixes up its answers: the connection is made anew."""
    async with bench(timeout=0.1) as b:
        assert await b.battery.get("battery_soc") == 50
        await b.simulator.misbehave("wrong_transaction")
        with pytest.raises(BatteryError):
            await b.battery.get("battery_soc")

        assert await b.battery.get("battery_soc") == 50
        assert b.simulator.server.connections == 2


async def test_another_client_takes_the_connection_and_is_survived() -> None:
    async with bench() as b:
        _, writer = await asyncio.open_connection(b.simulator.host, b.simulator.port)
        while b.simulator.server.connections < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)

        assert await b.battery.get("battery_soc") == 50
        writer.close()


async def test_every_write_is_of_function_16() -> None:
    """Function 6 is refused by some installations."""
    async with bench(function_6=False) as b:
        await b.battery.set_power_setpoint(1000)
        await b.battery.set_value("max_soc", 95)

        assert b.device["forcible"] == "charge"
        assert b.device["settings"]["max_soc"] == 95


@pytest.mark.parametrize("code", [2, 4, 0x80])
async def test_writing_without_permission_says_what_to_do(code: int) -> None:
    async with bench() as b:
        await b.simulator.misbehave("read_only", code=code)
        with pytest.raises(
            DeviceRefusedError,
            match="installer's login is needed.*Connect through the SDongle",
        ):
            await b.battery.set_value("max_soc", 95)


async def test_exception_0x80_is_a_lack_of_permission() -> None:
    """Its only meaning, for a setting as for a setpoint."""
    async with bench() as b:
        await b.simulator.misbehave("read_only", code=0x80)
        with pytest.raises(PermissionDeniedError) as caught:
            await b.battery.set_value("max_soc", 95)
        with pytest.raises(PermissionDeniedError):
            await b.battery.set_power_setpoint(1000)

    assert caught.value.code == 0x80


async def test_another_refusal_of_a_write_is_passed_on() -> None:
    async with bench() as b:
        await b.simulator.misbehave("read_only", code=3)
        with pytest.raises(DeviceRefusedError, match=r"value not allowed\)$"):
            await b.battery.set_value("max_soc", 95)


async def test_nothing_listening_says_what_to_check() -> None:
    async with HuaweiSimulator() as simulator:
        port = simulator.port
    with pytest.raises(CannotConnectError, match=rf"127.0.0.1:{port}.*Modbus TCP"):
        await Sun2000Inverter("127.0.0.1", port).connect()


# Reading


@pytest.mark.parametrize("options", [{}, {"battery_units": 2}, {"battery_units": 0}])
async def test_the_fast_poll_takes_few_requests(options: dict[str, Any]) -> None:
    """With battery and meter, the lively default values take three requests."""
    async with bench(**options) as b:
        await b.battery.read()
        fast = fast_keys(b.battery)
        before = b.simulator.server.traffic.requests
        readings = await b.battery.read(fast)
        requests = b.simulator.server.traffic.requests - before

    assert {"grid_power", "pv_power", "load_power"} <= set(readings)
    assert not readings.failures
    assert requests <= 3


async def test_the_setpoint_is_watched_while_it_is_held() -> None:
    async with bench() as b:
        before = b.battery.poll_rate("power_setpoint")
        await b.battery.set_power_setpoint(1000)

        assert before is Poll.SLOW
        assert b.battery.poll_rate("power_setpoint") is Poll.FAST


@pytest.mark.parametrize(("pv", "load"), [(3000, 500), (0, 900)])
async def test_the_house_adds_up(pv: float, load: float) -> None:
    """Grid, inverter and load are those of the plant, with the library's signs."""
    async with bench(pv=pv, load=load) as b:
        b.clock.advance(5)
        state = b.simulator.state()
        readings = await b.battery.read()

    assert readings["pv_power"] == pytest.approx(pv, abs=1)
    assert readings["load_power"] == pytest.approx(load, abs=2)
    assert readings["grid_power"] == pytest.approx(state["grid_power"], abs=1)
    assert readings["battery_power"] == pytest.approx(state["battery_power"], abs=1)
    assert readings["energy_charged_total"] is not None


async def test_a_single_phase_inverter_has_one_phase() -> None:
    """Its voltage is where others have the voltage between two phases."""
    house = HuaweiSimulator.house(phases=1, clock=ManualClock(), soc=5)
    house.fixed_pv, house.fixed_load = 0, 600
    async with HuaweiSimulator(house) as simulator, connected(simulator) as battery:
        readings = await battery.read()

    assert battery.identity.model == "SUN2000-6KTL-L1"
    assert readings["grid_voltage_l1"] == 231
    # Its meter reports the power of its one phase as the total only.
    assert readings["grid_power_l1"] == readings["grid_power"] == 600
    keys = {"grid_voltage_l2", "grid_current_l3", "line_voltage_l1_l2", "grid_power_l2"}
    assert not keys & set(battery.measurements)


@pytest.mark.parametrize(
    ("words", "phases"),
    [
        pytest.param(NEW_MODEL | {32067: 0, 32068: 0}, 1, id="one voltage"),
        pytest.param(NEW_MODEL, 3, id="three voltages"),
        pytest.param(
            NEW_MODEL | {32066: 0, 32067: 0, 32068: 0}, 3, id="no grid at all"
        ),
        pytest.param(
            {30070: 9999, 32067: 0, 32068: 0}, 3, id="one voltage, M1 by its name"
        ),
        pytest.param({30070: 343}, 1, id="known number"),
    ],
)
async def test_an_unlisted_model_shows_how_many_phases_it_has(
    words: dict[int, int], phases: int
) -> None:
    async with (
        ModbusImage(changed(PV_CHARGING, words)) as image,
        connected(image) as battery,
    ):
        assert battery.topology.phases == phases
        assert ("grid_voltage_l2" in battery.measurements) == (phases == 3)


@pytest.mark.parametrize(
    ("model", "phases"),
    [
        ("SUN2000L-4.6KTL", 1),
        ("SUN2000L-5KTL-CN", 1),
        ("SUN2000-5KTL-L1", 1),
        ("SUN2000-8K-LC0", 1),
        ("SUN2000-4.95KTL-JPL1", 1),
        ("SUN2000-5KTL-NHL2", 1),
        ("SUN2000-6KTL-M1", 3),
        ("SUN2000-8K-MAP0", 3),
    ],
)
async def test_at_night_the_name_shows_how_many_phases_it_has(
    model: str, phases: int
) -> None:
    text = model.encode().ljust(30, b"\0")
    words = dict.fromkeys((32066, 32067, 32068), 0) | {30070: 9999}
    words |= {30000 + at: text[2 * at] << 8 | text[2 * at + 1] for at in range(15)}
    async with (
        ModbusImage(changed(PV_CHARGING, words)) as image,
        connected(image) as battery,
    ):
        assert battery.identity.model == model
        assert battery.topology.phases == phases


async def test_a_single_phase_meter_may_report_its_phase_itself() -> None:
    vector = changed(NO_BATTERY, {37100: 1, 37125: 0, 37132: 0, 37133: 250})
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("grid_power_l1") == -250


async def test_an_unknown_phase_of_a_three_phase_meter_is_unknown() -> None:
    words = {37100: 1, 37125: 1, 37132: 0x7FFF, 37133: 0xFFFF}
    vector = changed(PV_CHARGING, words)
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("grid_power_l1") is None
        assert await battery.get("grid_power") is not None


async def test_a_three_phase_meter_at_a_single_phase_inverter_shows_all_three() -> None:
    vector = changed(NO_BATTERY, {37100: 1, 37125: 1, 37135: 250})
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert battery.topology.phases == 1
        assert await battery.get("grid_power_l2") == -250


async def test_a_meter_that_does_not_report_its_kind_for_once_is_no_news() -> None:
    """Its kind is, as soon as it is reported."""
    vector = changed(PV_CHARGING, {37100: 1, 37125: 0})
    async with ModbusImage(vector) as image, connected(image) as battery:
        words = image.units.units[image.setup["unit_id"]]
        words[37125] = 0xFFFF
        assert not await battery.has_new_parts()
        words[37125] = 1
        assert await battery.has_new_parts()


async def test_without_battery_the_inverter_is_still_read() -> None:
    """Sensors, no setpoint, no setting of a battery, and nothing written."""
    async with bench(battery_units=0, pv=2000) as b:
        readings = await b.battery.read()

        assert readings["pv_power"] == pytest.approx(2000, abs=1)
        assert readings["has_battery"] is False
        assert readings["problem"] == ()
        assert b.battery.setpoint_limits is None
        assert "battery_soc" not in b.battery.measurements
        assert "feed_in_mode" in b.battery.settings
        assert "working_mode" not in b.battery.settings
        for attempt in (
            b.battery.take_snapshot(),
            b.battery.set_power_setpoint(100),
        ):
            with pytest.raises(NotSupportedError, match="without a battery"):
                await attempt
        assert await b.battery.keep_alive() is None
        await b.battery.release()
        assert b.writes == []


@pytest.mark.parametrize("empty_slots", [False, True])
async def test_battery_units_and_packs_are_distinguished(empty_slots: bool) -> None:
    """Empty slots are not shown, whatever they answer."""
    async with bench(battery_units=2, packs=2, empty_slots=empty_slots, load=1200) as b:
        b.clock.advance(5)
        readings = await b.battery.read()

    assert list(b.battery.topology.packs) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert not [key for key in readings.failures if key.startswith("battery")]
    for unit in (1, 2):
        power = readings[f"battery{unit}_power"]
        assert power == pytest.approx(b.power / 2, abs=1)
    assert readings["battery2_soc"] == pytest.approx(50, abs=0.1)
    assert readings["battery2_pack2_serial_number"] == "BM2250002002"
    assert readings["battery1_pack1_max_temperature"] == 27.4
    assert "battery1_pack3_soc" not in readings


async def test_battery_units_are_parts_of_the_inverter() -> None:
    """Each with its measurements, its packs' and its identity, and nothing else."""
    async with bench(battery_units=2, packs=2) as b:
        readings = await b.battery.read()
        first, second = b.battery.parts

    assert (first.number, second.number) == (1, 2)
    assert {first.kind, second.kind} == {PartKind.BATTERY_UNIT}
    assert (second.manufacturer, second.model) == ("Huawei", "LUNA2000")
    assert second.serial_number == readings["battery2_serial_number"]
    assert second.firmware == readings["battery2_firmware"]
    assert {"battery2_soc", "battery2_pack2_soc"} <= second.keys
    assert not first.keys & second.keys
    assert "battery_soc" not in first.keys | second.keys


async def test_a_pack_that_was_added_is_new() -> None:
    async with bench(battery_units=1, packs=1) as b:
        before = await b.battery.has_new_parts()
        b.simulator.fit(battery_units=1, packs=2)
        after = await b.battery.has_new_parts()
        await b.battery.connect()
        known = await b.battery.has_new_parts()

    assert (before, after, known) == (False, True, False)


async def test_a_battery_that_was_added_is_new() -> None:
    async with bench(battery_units=0) as b:
        before = await b.battery.has_new_parts()
        b.simulator.fit(battery_units=1, packs=1)
        after = await b.battery.has_new_parts()

    assert (before, after) == (False, True)


async def test_a_battery_unit_that_has_gone_is_nothing_new() -> None:
    """It may be off, or in standby."""
    async with bench(battery_units=2) as b:
        b.simulator.fit(battery_units=1, packs=2)
        assert not await b.battery.has_new_parts()


async def test_a_second_unit_alone_gives_the_temperature() -> None:
    words = dict.fromkeys([*range(37738, 37757), *range(37700, 37710)], 0)
    vector = changed(PV_CHARGING, words | {47000: 0, 47089: 2, 37738: 480, 37752: 221})
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read()

    assert readings["battery_temperature"] == 22.1
    assert readings["battery2_soc"] == 48
    assert "battery1_soc" not in readings


async def test_older_batteries_are_read_as_the_first_unit() -> None:
    """LG RESU: no block of totals, no table of the LUNA2000, other working modes."""
    vector = changed(
        PV_CHARGING,
        {47000: LG_RESU, 47102: 120},  # no lower backup SOC is in range
        *(*range(37758, 37788), *range(47255, 47298)),
    )
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read()
        modes = battery.settings["working_mode"]

        assert readings["battery_soc"] == 54.3
        assert readings["battery_power"] == 2370
        assert readings["battery_voltage"] == 452.1
        assert readings["energy_charged_total"] == 7023.12
        assert isinstance(modes, SelectSetting)
        assert "time_of_use_luna2000" not in modes.options
        with pytest.raises(InvalidValueError):
            await battery.set_value("backup_soc", 5)


async def test_an_offline_meter_is_unknown_and_not_read() -> None:
    """Only its state is read, and the house's load is not guessed."""
    async with bench(meter="offline") as b:
        await b.simulator.misbehave("meter", meter="offline", hangs_up=True)
        await b.battery.read()
        b.simulator.server.traffic.clear()
        readings = await b.battery.read(
            ["grid_power", "load_power", "meter_status", "grid_export_total"]
        )
        asked = {read.address for read in b.simulator.server.traffic.reads}

    assert dict(readings) == {
        "grid_power": None,
        "load_power": None,
        "meter_status": "offline",
        "grid_export_total": None,
    }
    assert not [address for address in asked if 37100 <= address < 37200]


async def test_an_offline_meter_is_asked_for_every_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(meter="offline") as b:
        assert await b.battery.get("grid_power") is None
        await b.simulator.misbehave("meter", meter="present")
        assert await b.battery.get("grid_power") is None
        leaping(monkeypatch)(61)

        assert await b.battery.get("grid_power") == 0
        assert await b.battery.get("meter_status") == "normal"


async def test_a_meter_that_goes_offline_is_noticed_at_once() -> None:
    async with bench() as b:
        assert await b.battery.get("grid_power") is not None
        await b.simulator.misbehave("meter", meter="offline")
        readings = await b.battery.read(["grid_power", "meter_status"])

    assert dict(readings) == {"grid_power": None, "meter_status": "offline"}


async def test_a_meter_whose_state_is_no_state_is_not_called_offline() -> None:
    vector = changed(NO_BATTERY, {37100: 0xFFFF})
    async with ModbusImage(vector) as image, connected(image) as battery:
        readings = await battery.read(["grid_power", "meter_status"])

    assert dict(readings) == {"grid_power": None, "meter_status": None}


async def test_the_meter_is_asked_anew_when_the_inverter_changes_its_state() -> None:
    """In a grid failure with a backup box, reading it would end the connection."""
    async with bench(backup=True, pv=2000) as b:
        keys = ["device_status", "grid_power", "active_power"]
        await b.battery.read(keys)
        await b.simulator.misbehave("grid_lost")
        b.clock.advance(5)
        readings = await b.battery.read(keys)

        assert readings["device_status"] == "off_grid_running"
        assert readings["grid_power"] is None
        assert b.simulator.server.connections == 1


async def test_the_meter_is_asked_anew_after_a_reconnect() -> None:
    async with bench() as b:
        await b.battery.get("grid_power")
        await b.simulator.misbehave("meter", meter="offline", hangs_up=True)
        with pytest.raises(CannotConnectError):
            await b.battery.get("grid_power")

        assert await b.battery.get("grid_power") is None
        await b.simulator.misbehave("meter", meter="present")
        assert await b.battery.get("grid_power") == 0


async def test_without_meter_there_are_no_values_of_one() -> None:
    async with bench(meter="absent") as b:
        readings = await b.battery.read()

        assert isinstance(readings.failures["grid_power"], NotSupportedError)
        assert isinstance(readings.failures["load_power"], NotSupportedError)
        assert "grid_power" not in b.battery.measurements
        assert "battery_soc" in readings


async def test_export_that_is_counted_backwards_is_turned() -> None:
    async with bench() as b:
        await b.simulator.misbehave("negative_export")
        assert await b.battery.get("grid_export_total") == 1000


BERLIN: Final = ZoneInfo("Europe/Berlin")
NOON: Final = datetime(2026, 11, 20, 12, tzinfo=BERLIN)
STARTED, STOPPED = 32091, 32093


def on_the_wall(time: datetime) -> int:
    """Return a register's value: seconds from 1970 on by the clock on the wall."""
    return round(time.replace(tzinfo=UTC).timestamp())


def two_words(address: int, value: int) -> dict[int, int]:
    return {address: value >> 16, address + 1: value & 0xFFFF}


async def moment_of(value: int, local_time: datetime = NOON) -> object:
    """Return the start that is read of a register's value."""
    vector = changed(PV_CHARGING, two_words(STARTED, value))
    async with ModbusImage(vector) as image, connected(image) as battery:
        battery.local_time = lambda: local_time
        return await battery.get("started_at")


@pytest.mark.parametrize(
    ("started", "utc"),
    [
        (datetime(2026, 11, 20, 7, 30), datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
        # In summer, which is over.
        (datetime(2026, 7, 1, 7, 30), datetime(2026, 7, 1, 5, 30, tzinfo=UTC)),
    ],
)
async def test_a_start_is_by_the_clock_on_the_wall(
    started: datetime, utc: datetime
) -> None:
    assert await moment_of(on_the_wall(started)) == utc


async def test_a_stop_is_by_the_clock_on_the_wall() -> None:
    stopped = NOON - timedelta(hours=1)
    vector = changed(PV_CHARGING, two_words(STOPPED, on_the_wall(stopped)))
    async with ModbusImage(vector) as image, connected(image) as battery:
        battery.local_time = lambda: NOON
        assert await battery.get("stopped_at") == stopped


async def test_without_a_time_zone_a_start_is_in_that_of_the_computer() -> None:
    here = datetime(2026, 11, 20, 12)
    assert await moment_of(on_the_wall(here), here) == here.astimezone()


@pytest.mark.parametrize(
    "value",
    [
        0,
        0xFFFFFFFF,
        on_the_wall(datetime(2000, 1, 1, 0, 5)),
        on_the_wall(NOON + timedelta(minutes=1)),
        0xFFFFFFFE,
    ],
    ids=["zero", "not available", "clock not set", "future", "far future"],
)
async def test_a_start_that_cannot_be_is_unknown(value: int) -> None:
    assert await moment_of(value) is None


@pytest.mark.parametrize("energy", [12.34, -12.34])
async def test_reactive_energy_has_a_sign(energy: float) -> None:
    raw = round(100 * energy) & 0xFFFFFFFF
    vector = changed(PV_CHARGING, two_words(37123, raw))
    async with ModbusImage(vector) as image, connected(image) as battery:
        assert await battery.get("meter_reactive_energy") == energy


async def test_starts_and_reactive_energy_cost_no_request() -> None:
    """They lie between registers that are shown by default."""
    more = {"started_at", "stopped_at", "meter_reactive_energy"}
    async with bench() as b:
        await b.battery.read()
        usual = {key for key in b.battery.measurements if MEASUREMENTS[key].enabled}
        requests = []
        for keys in (usual, usual | more):
            before = b.simulator.server.traffic.requests
            readings = await b.battery.read(keys)
            requests.append(b.simulator.server.traffic.requests - before)
            assert not readings.failures
        assert {b.battery.poll_rate(key) for key in more} == {Poll.SLOW}

    assert requests[0] == requests[1]


async def test_an_unknown_state_costs_only_itself() -> None:
    """Codes occur that no list has."""
    async with bench() as b:
        await b.simulator.misbehave("status", code=0x1234)
        readings = await b.battery.read(["device_status", "inverter_on", "pv_power"])

    assert dict(readings) == {
        "device_status": None,
        "inverter_on": None,
        "pv_power": 0,
    }


async def test_alarms_and_faults_are_named() -> None:
    async with bench(battery_units=2) as b:
        assert await b.battery.get("problem") == ()
        for alarm in (2032, 2068, 2094):
            await b.simulator.misbehave("alarm", alarm=alarm)
        await b.simulator.misbehave("battery", status="fault")
        readings = await b.battery.read(["alarms", "problem"])

    alarms = (
        "Grid loss (2032)",
        "Battery abnormal (2068)",
        "Allowed battery discharge power is low (2094)",
    )
    assert readings["alarms"] == alarms
    assert readings["problem"] == (
        *alarms,
        "Battery 1 fault",
        "Battery 2 fault",
    )


async def test_every_alarm_bit_counts() -> None:
    """All bits set is no invalid value of the first two registers."""
    seen: set[str] = set()
    for third in (0xFFFE, 1):
        words = {32008: 0xFFFF, 32009: 0xFFFF, 32010: third}
        async with (
            ModbusImage(changed(PV_CHARGING, words)) as image,
            connected(image) as battery,
        ):
            alarms = await battery.get("alarms")
            assert isinstance(alarms, tuple)
            seen.update(alarms)

    assert len(seen) == 48


async def test_bits_that_are_not_available_are_unknown() -> None:
    """All bits set is 'not available' of every other register of bits."""
    words = dict.fromkeys((32000, 32002, 32003, 32004, 32010), 0xFFFF)
    async with (
        ModbusImage(changed(PV_CHARGING, words)) as image,
        connected(image) as battery,
    ):
        readings = await battery.read(
            [*STATE_BITS, "alarms", "problem"],
        )

    assert dict(readings) == {
        **dict.fromkeys(STATE_BITS),
        "alarms": (),
        "problem": (),
    }


STATE_BITS: Final = ("grid_connected", "power_derated", "pv_connected", "off_grid")


@pytest.mark.parametrize(
    ("key", "address", "code", "state"),
    [
        ("device_status", 32089, 0x030A, "shutdown_rapid_command"),
        ("device_status", 32089, 0x030B, "shutdown_backup_abnormal"),
        ("device_status", 32089, 0x0A01, "standby_backup_abnormal"),
        ("battery1_mode", 37006, 12, "third_party"),
        ("remote_control_mode", 47589, 5, "third_party"),
    ],
)
async def test_third_party_and_backup_codes_are_known_states(
    key: str, address: int, code: int, state: str
) -> None:
    async with (
        ModbusImage(changed(PV_CHARGING, {address: code})) as image,
        connected(image) as battery,
    ):
        assert await battery.get(key) == state
        assert state in battery.options(key)


async def test_a_locked_battery_without_a_controller_is_a_problem() -> None:
    """A controller that crashed during a hold leaves it so."""
    async with bench(charge_limit=0, discharge_limit=0) as b:
        assert await b.battery.get("problem") == (
            "Charge and discharge power limits are 0",
        )
    async with bench() as b:
        await b.battery.set_power_setpoint(0)
        assert await b.battery.get("problem") == ()


async def test_states_of_the_inverter_are_flags() -> None:
    async with bench(pv=2000) as b:
        b.clock.advance(2)
        readings = await b.battery.read(
            ["grid_connected", "pv_connected", "off_grid", "power_derated"]
        )

    assert dict(readings) == {
        "grid_connected": True,
        "pv_connected": True,
        "off_grid": False,
        "power_derated": False,
    }


async def test_periods_are_shown_in_words() -> None:
    async with bench() as b:
        settings = b.simulator.device.settings
        tou = (2, 0, 360, 0b0111110, 1020, 1439, 0x0100 | 0b1111111)
        settings["periods"] = (*tou, *[0] * 36)
        settings["fixed_periods"] = (1, 60, 120, 0, 2500, *[0] * 36)
        readings = await b.battery.read(["tou_periods", "fixed_periods"])

    assert dict(readings) == {
        "tou_periods": "00:00-06:00 charge Mon Tue Wed Thu Fri; "
        "17:00-23:59 discharge every day",
        "fixed_periods": "01:00-02:00 2500 W",
    }


async def test_counters_that_fall_to_zero_are_unknown() -> None:
    """An inverter that wakes up may show 0 for a while: no energy is made of that."""
    keys = ["energy_yield_total", "energy_charged_total"]
    async with bench() as b:
        first = await b.battery.read(keys)
        await b.simulator.misbehave("zero_totals")
        while_zero = [await b.battery.read(keys) for _ in range(5)]
        await b.simulator.misbehave("zero_totals", on=False)
        then = await b.battery.read(keys)

    assert {value for read in while_zero for value in read.values()} == {None}
    assert dict(then) == dict(first)


# Settings


@pytest.mark.parametrize(
    ("key", "value", "name", "seen"),
    [
        ("working_mode", "time_of_use_luna2000", "working_mode", 5),
        ("charge_power_limit", 3000, "charge_limit", 3000),
        ("discharge_power_limit", 0, "discharge_limit", 0),
        ("max_soc", 92.5, "max_soc", 92.5),
        ("min_soc", 12, "min_soc", 12),
        ("backup_soc", 30, "backup_soc", 30),
        ("grid_charge", True, "grid_charge", 1),
        ("grid_charge_cutoff_soc", 70, "grid_charge_cutoff_soc", 70),
        ("grid_charge_power_limit", 2000, "grid_charge_limit", 2000),
        ("surplus_pv_use", "feed_in", "surplus", 0),
        ("feed_in_mode", "zero_export", "feed_in_mode", 5),
        ("max_feed_in_power", -500, "feed_in_limit", -500),
        ("max_feed_in_percent", 60, "feed_in_percent", 60),
        ("active_power_limit", 3000, "output_limit", 3000),
        ("active_power_limit_percent", 50, "output_percent", 50),
        ("mppt_scan", True, "scan", 1),
        ("mppt_scan_interval", 600, "scan_interval", 10),
    ],
)
async def test_settings_arrive_once(
    key: str, value: Any, name: str, seen: float
) -> None:
    """Each is written, read back, and not written again when it is there already."""
    async with bench() as b:
        await b.battery.set_value(key, value)
        await b.battery.set_value(key, value)

        assert b.device["settings"][name] == seen
        assert b.device["flash_writes_by_setting"] == {name: 1}
        assert await b.battery.get(key) == value


async def test_settings_that_do_not_take_are_reported() -> None:
    async with bench() as b:
        await b.simulator.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError, match="max_soc is still 100"):
            await b.battery.set_value("max_soc", 95)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_soc", 89),
        ("min_soc", 21),
        ("grid_charge", 1),
        ("working_mode", "time_of_use_lg"),
        ("charge_power_limit", 5001),
        ("mppt_scan_interval", 3600),
    ],
)
async def test_settings_out_of_range_are_refused(key: str, value: Any) -> None:
    async with bench() as b:
        with pytest.raises(InvalidValueError):
            await b.battery.set_value(key, value)
        assert b.writes == []


async def test_a_setting_that_the_firmware_lacks_is_not_offered() -> None:
    async with bench() as b:
        await b.battery.read()

        assert "max_soc" in b.battery.settings
        assert "peak_shaving_mode" not in b.battery.settings


async def test_peak_shaving_has_its_conditions() -> None:
    """The device would take neither without the other setting."""
    async with bench(min_soc=10) as b:
        b.simulator.units.absent.clear()
        with pytest.raises(InvalidValueError, match="from the grid"):
            await b.battery.set_value("peak_shaving_mode", "active_power")
        with pytest.raises(InvalidValueError, match="minimum SOC, 10"):
            await b.battery.set_value("peak_shaving_soc", 9)
        await b.battery.set_value("peak_shaving_soc", 20)
        await b.battery.set_value("grid_charge", True)
        await b.battery.set_value("peak_shaving_mode", "active_power")

        assert b.device["settings"]["peak_shaving"] == 1
        assert b.device["settings"]["peak_shaving_soc"] == 20


async def test_the_inverter_is_shut_down_and_started() -> None:
    async with bench(pv=2000) as b:
        await b.battery.set_value("inverter_on", False)
        off = await b.battery.get("inverter_on")
        await b.battery.set_value("inverter_on", True)

        assert off is False
        assert await b.battery.get("inverter_on") is True
        assert b.writes == [(1, 40201, [0]), (1, 40200, [0])]


async def test_currents_become_power() -> None:
    """By the voltage of the bus between battery and inverter."""
    async with bench() as b:
        voltage = await b.battery.get("battery_voltage")
        assert isinstance(voltage, float)
        assert await b.battery.set_current_setpoint(4) == Grant(round(4 * voltage))
        with pytest.raises(NotSupportedError):
            await b.battery.set_power_setpoint_phase(100, 1)
