"""The Deye drivers, against register images and simulated inverters, in both ways."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
import itertools
import json
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers.battery.base import SetpointLimits
from custom_components.homebattery.drivers.battery.controller import (
    DeviceIssue,
    Grant,
    LimitReason,
)
from custom_components.homebattery.drivers.battery.parts import PartKind
from custom_components.homebattery.drivers.battery.settings import (
    NumberSetting,
    SelectSetting,
)
from custom_components.homebattery.drivers.deye import (
    controller as deye_controller,
    methods as deye_methods,
)
from custom_components.homebattery.drivers.deye.blocks import ChunkedUnit, answers
from custom_components.homebattery.drivers.deye.conditions import ConditionReader
from custom_components.homebattery.drivers.deye.decision import Conditions
from custom_components.homebattery.drivers.deye.inverter import DeyeInverter
from custom_components.homebattery.drivers.deye.modbus_tcp import DeyeModbusInverter
from custom_components.homebattery.drivers.deye.plans import (
    BY_VOLTAGE,
    CONTROL_MODE,
    SNAPSHOT,
)
from custom_components.homebattery.drivers.deye.registers import (
    Kind,
    RegisterMap,
    single_phase,
    three_phase,
)
from custom_components.homebattery.drivers.errors import (
    CannotConnectError,
    DeviceRefusedError,
    InvalidValueError,
    NotConfirmedError,
    NotSupportedError,
    RequestTimeoutError,
    StartingError,
    TakenOverError,
    UnitAbsentError,
    WrongDeviceError,
)
from custom_components.homebattery.drivers.modbus.probe import Probe
from custom_components.homebattery.drivers.modbus.tcp import ModbusTcpConnection
from tests.drivers.conftest import fast_keys
from tests.drivers.damage import damaged
from tests.drivers.vectors import assert_expected, by_name, read_plausible
from tests.simulators import ManualClock
from tests.simulators.deye import DeyeSimulator
from tests.simulators.image import ModbusImage, Vector
from tests.simulators.modbus import ILLEGAL_ADDRESS, Read, Refused, Silent, Units, Write

from .support import (
    HIGH_VOLTAGE,
    MIDDAY,
    REMOTE,
    SELLING,
    VECTORS,
    both_ways,
    connected,
    house,
    is_released,
    on_image,
    renewed,
    simulator,
    vector,
)

pytestmark = pytest.mark.usefixtures("socket_enabled", "no_waiting")

NEVER_WRITE: Final = {81, 91, 92}
"""Registers that reset a three-phase inverter to its factory settings."""


def options_of(case: Vector) -> dict[str, Any]:
    """Return the driver's options for the recipe that a vector was made with."""
    config = case["write_config"]
    if config["method"] == "remote":
        return {"remote_mode": True}
    return {"export": "always" if config["allow_export"] else "never"}


def with_minimum_soc(case: Vector) -> Vector:
    """Return a vector whose recipe's minimum SOC is set on the inverter.

    The user sets it there; the driver has no minimum of its own.
    """
    minimum = case["write_config"].get("min_soc")
    return case if minimum is None else vector(case["name"], r117=minimum)


# Vectors


@both_ways
@pytest.mark.parametrize("case", by_name(VECTORS))
async def test_values_are_those_of_the_vector(case: Vector, way: str) -> None:
    """Every expected value is met, and reading writes nothing."""
    async with on_image(case, way) as (battery, units):
        readings = await battery.read()

    assert_expected(case, readings)
    assert units.traffic.writes == []


@pytest.mark.parametrize("case", by_name(VECTORS))
async def test_every_other_value_is_plausible(case: Vector) -> None:
    """Each value that no vector expects is at least of its key's kind."""
    async with on_image(case) as (battery, _):
        await read_plausible(battery)


@both_ways
@pytest.mark.parametrize("case", by_name([v for v in VECTORS if v["writes"]]))
async def test_writes_are_those_of_the_vector(case: Vector, way: str) -> None:
    """Each action writes exactly these words in this order, one after the other."""
    async with on_image(with_minimum_soc(case), way, **options_of(case)) as (
        battery,
        units,
    ):
        for action in case["writes"]:
            before = len(units.traffic.writes)
            match action["action"]:
                case "release":
                    await battery.release()
                case "keep_alive":
                    await battery.keep_alive()
                case _:
                    await battery.set_power_setpoint(action["value"])
            written = [
                [unit, address, list(words)]
                for unit, address, words in units.traffic.writes[before:]
            ]
            assert written == action["expect_writes"], action


# The tables

MAPS = {
    "low voltage": three_phase(high_voltage=False),
    "high voltage": three_phase(high_voltage=True),
    "single-phase": single_phase(),
}


@pytest.mark.parametrize("registers", MAPS.values(), ids=MAPS)
def test_forbidden_registers_are_not_writable(registers: RegisterMap) -> None:
    """Not in any table."""
    for run in registers:
        for register in run.registers:
            addresses = set(range(register.address, register.end))
            assert not register.writable or not addresses & NEVER_WRITE, register


@pytest.mark.parametrize("address", sorted(NEVER_WRITE))
async def test_writes_to_forbidden_registers_are_refused(address: int) -> None:
    """By each block, also in the middle of others, and nothing goes out."""
    async with simulator() as inverter, connected(inverter) as battery:
        for device in battery.devices:
            for start, words in ((address, [1]), (address - 1, [0, 1, 0])):
                with pytest.raises(NotSupportedError, match="never"):
                    await device.write_words(start, words)
        assert inverter.units.traffic.writes == []
        assert battery.writes == battery.wear.writes_today == 0


@pytest.mark.parametrize("registers", MAPS.values(), ids=MAPS)
def test_registers_are_named_once_and_do_not_overlap(registers: RegisterMap) -> None:
    """Each word of the inverter stands in the table once."""
    rows = [register for run in registers for register in run.registers]
    words = [word for row in rows for word in range(row.address, row.end)]
    assert len(words) == len(set(words))
    assert len(rows) == len({row.name for row in rows})


@pytest.mark.parametrize("name", ["low voltage", "high voltage"])
def test_only_settings_and_remote_mode_are_written(name: str) -> None:
    """The document allows 60 to 499, all of it flash, and remote mode, which is not."""
    for run in MAPS[name]:
        for register in run.registers:
            if register.writable:
                assert register.persistent == (60 <= register.address < 500), register
                assert register.persistent or 1100 <= register.address <= 1121


# Reading


@pytest.fixture
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "connect_delay", 0)


@both_ways
async def test_the_fast_poll_takes_one_request(way: str) -> None:
    """All values of the fast default poll come in one request; two would be allowed."""
    async with simulator(way) as inverter, connected(inverter) as battery:
        await battery.read()
        fast = fast_keys(battery)
        before = inverter.units.traffic.requests
        readings = await battery.read(fast)
        requests = inverter.units.traffic.requests - before

    assert not readings.failures
    assert {"battery_soc", "battery_power", "grid_power", "pv_power"} <= set(fast)
    assert requests == 1


@both_ways
async def test_values_are_those_of_the_house(way: str) -> None:
    """Signs and scales, end to end: discharging into the house in the evening."""
    plant = house(time_of_day=20.0, soc=70)
    async with (
        simulator(way, plant=plant) as inverter,
        connected(inverter) as battery,
    ):
        readings = await battery.read()
        state = inverter.state()

    assert readings["battery_power"] == pytest.approx(state["battery_power"], abs=2)
    assert readings["battery_status"] == "discharging"
    assert readings["grid_power"] == pytest.approx(state["grid_power"], abs=2)
    assert readings["load_power"] == pytest.approx(state["load_power"], abs=2)
    assert readings["battery_discharge_power"] == pytest.approx(
        -state["battery_power"], abs=2
    )
    assert readings["active_current"] == pytest.approx(
        state["load_power"] / 230, rel=0.1
    )


@pytest.mark.parametrize(
    ("word", "status"), [(30, "idle"), (60, "discharging"), (0x10000 - 60, "charging")]
)
async def test_a_few_watts_are_idle(word: int, status: str) -> None:
    """The inverter's own consumption is no discharging."""
    async with on_image(vector(MIDDAY, r590=word)) as (battery, _):
        assert await battery.get("battery_status") == status


@pytest.mark.parametrize(
    ("options", "kind", "model"),
    [
        ({}, Kind.THREE_PHASE, "SUN-12K-SG0xLP3"),
        (
            {"variant": "hv", "rated_power": 25_000},
            Kind.HIGH_VOLTAGE,
            "SUN-25K-SG0xHP3",
        ),
        (
            {"variant": "single", "rated_power": 6000},
            Kind.SINGLE_PHASE,
            "SUN-6K-SG0xLP1",
        ),
    ],
)
async def test_the_kind_of_inverter_is_read(
    options: Mapping[str, Any], kind: Kind, model: str
) -> None:
    """Register 0 gives it; scales and map follow from it."""
    arguments = {"phases": 1} if kind is Kind.SINGLE_PHASE else {}
    async with (
        simulator(plant=house(soc=55, **arguments), **options) as inverter,
        connected(inverter) as battery,
    ):
        readings = await battery.read()
        volts = inverter.inverter.voltage

    assert battery.kind is kind
    assert battery.identity.model == model
    assert battery.identity.serial_number == "2207112233"
    assert readings["battery_soc"] == 55
    assert readings["battery_voltage"] == pytest.approx(volts, abs=0.1)
    assert readings["charge_current_limit"] == 150
    assert readings["min_soc"] == readings.get("low_soc", 15) == 15


@pytest.mark.parametrize(
    ("code", "what"),
    [(2, "string inverter"), (0x0400, "micro inverter"), (0, "unknown device type")],
)
async def test_other_devices_of_deye_are_turned_down(code: int, what: str) -> None:
    """The error names their kind."""
    with pytest.raises(WrongDeviceError, match=what):
        async with on_image(vector(MIDDAY, r0=code)):
            pass


@pytest.mark.usefixtures("_no_delay")
@pytest.mark.parametrize(
    ("words", "serial_number"),
    [
        ({}, "2207112233"),
        ({"r0": 0x0300}, "2207112233"),
        ({"r0": 2}, None),
        ({"r3": 0}, None),
    ],
)
async def test_an_inverter_is_detected_by_its_first_words(
    words: dict[str, int], serial_number: str | None
) -> None:
    """A known type, and a serial number in Deye's format; one request."""
    async with ModbusImage(vector(MIDDAY, **words)) as image:
        probe = Probe(image.host, image.port, ModbusTcpConnection.shared)
        detected = await DeyeModbusInverter.detect(probe)
        await probe.close()

    serials = [] if serial_number is None else [serial_number]
    assert [device.serial_number for device in detected] == serials
    assert all(
        device.setup == {"host": image.host, "port": image.port, "unit_id": 1}
        for device in detected
    )
    assert image.traffic.requests == 1


async def test_another_modbus_device_is_not_a_deye() -> None:
    """Neither identity nor live values are there."""
    stranger = vector(MIDDAY) | {"units": {"1": {"40": 7}}}
    with pytest.raises(WrongDeviceError, match="unit 1 is not a Deye hybrid"):
        async with on_image(stranger):
            pass


@both_ways
async def test_a_wrong_unit_id_says_so(way: str) -> None:
    """A gateway answers for the absent unit."""
    async with simulator(way) as inverter:
        with pytest.raises(UnitAbsentError, match="unit 9"):
            async with connected(inverter, unit_id=9):
                pass


async def test_a_gateway_that_passes_rtu_frames_is_reached_by_its_framing() -> None:
    """The same inverter, with serial frames in the stream."""
    async with simulator(framing="rtu") as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(0)
        await battery.release()
        assert await battery.get("battery_soc") == 50
        assert is_released(inverter)


def test_an_unknown_framing_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidValueError, match="none of tcp, rtu"):
        DeyeModbusInverter("127.0.0.1", framing="ascii")


@pytest.mark.parametrize(("port", "hint"), [(8899, True), (502, False)])
async def test_silence_on_the_port_of_loggers_is_explained(
    monkeypatch: pytest.MonkeyPatch, port: int, hint: bool
) -> None:
    """A Wi-Fi logger does not answer plain Modbus; the error explains its protocol."""
    async with simulator(framing="rtu") as inverter:  # answers no Modbus TCP
        battery = DeyeModbusInverter(inverter.host, inverter.port, timeout=0.1)
        monkeypatch.setattr(
            "custom_components.homebattery.drivers.deye.modbus_tcp.LOGGER_PORT",
            battery.port if hint else port,
        )
        with pytest.raises(RequestTimeoutError) as caught:
            await battery.connect()

    assert ("deye_solarman" in str(caught.value)) == hint


@both_ways
async def test_blocks_that_are_never_answered_are_tried_once(way: str) -> None:
    """Old firmware is silent about packs and remote mode; all other values come."""
    async with (
        simulator(way, absent="silent") as inverter,
        connected(inverter, timeout=1) as battery,
    ):
        first = await battery.read()
        lost = battery.connection.connects
        await battery.read()
        again = battery.connection.connects

    absent = {key for key in first.failures if not key.startswith("pack")}
    assert absent == {"battery_pack_count", "remote_mode"}
    assert not [key for key in first if key.startswith("pack")]
    assert "battery_pack_count" not in battery.measurements
    assert again == lost


async def test_a_block_is_not_given_up_while_the_inverter_is_away() -> None:
    """No answer at all is an error, and no sign that the block is missing."""
    async with simulator() as inverter, connected(inverter, timeout=0.1) as battery:
        await inverter.misbehave("hang")
        with pytest.raises(RequestTimeoutError):
            await battery.read(["battery_pack_count"])
        await inverter.misbehave("hang", on=False)
        await asyncio.sleep(0)

        await inverter.misbehave("silent", first=0, last=729)
        with pytest.raises(RequestTimeoutError):
            await battery.read(["battery_soc"])
        await inverter.misbehave("silent", first=1, last=0)
        assert await battery.get("battery_soc") == 50


class FewWords:
    """A gateway that refuses long reads."""

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        if count > 40:
            raise DeviceRefusedError("too many", 3)
        if address == 900:
            raise DeviceRefusedError("not that one", 3)
        return list(range(address, address + count))

    async def write_registers(self, address: int, values: list[int]) -> None:
        raise AssertionError("reading writes nothing")


async def test_a_refusal_is_a_sign_of_life() -> None:
    """The register is absent, but the device answers."""
    assert await answers(Refusing(3))
    assert not await answers(Refusing(None))


class Refusing(FewWords):
    """A gateway that refuses everything, or has no device behind it."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        if self.code is None:
            raise UnitAbsentError("no device there", 11)
        raise DeviceRefusedError("no", self.code)


async def test_a_missing_register_costs_only_its_own_values() -> None:
    """One hole in the settings: all values around it are there."""
    hole = vector(MIDDAY)
    del hole["units"]["1"]["117"]
    async with on_image(hole) as (battery, _):
        readings = await battery.read(["min_soc", "shutdown_soc", "battery_soc"])

    assert set(readings.failures) == {"min_soc"}
    assert isinstance(readings.failures["min_soc"], NotSupportedError)
    assert readings["shutdown_soc"] == 10


async def test_a_refused_value_in_a_probe_does_not_make_a_block_absent() -> None:
    """A busy device is not one without the register."""
    async with simulator() as inverter, connected(inverter) as battery:
        await inverter.misbehave("exception", code=6, count=1)
        assert (await battery.read(["battery_bms_soc"]))["battery_bms_soc"] == 50


async def test_a_block_of_zeros_is_not_taken() -> None:
    """Some loggers answer zeros while the inverter wakes up."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.read()
        await inverter.misbehave("zeros", count=2)
        readings = await battery.read(
            ["battery_soc", "energy_charged_total", "min_soc"]
        )
        await inverter.misbehave("zeros", count=0)
        again = await battery.read(["battery_soc", "energy_charged_total"])

    assert {type(err) for err in readings.failures.values()} == {StartingError}
    assert set(readings) == {"min_soc"}
    assert again["battery_soc"] == 50


async def test_a_counter_that_falls_is_unknown() -> None:
    async with on_image(vector(MIDDAY)) as (battery, units):
        totals = [await battery.get("energy_charged_total")]
        for low in (5, 0, 5, 48214):
            units.units[1][516] = low
            totals.append(await battery.get("energy_charged_total"))

    assert totals == [4821.3, None, None, None, 4821.4]


@pytest.mark.parametrize(
    ("release", "kwh"), [(0x1097, 4821.3), (0x1098, 48213), (0x1184, 48213)]
)
async def test_counters_of_high_voltage_inverters_change_with_firmware(
    release: int, kwh: float
) -> None:
    """Tenths of a kWh before 1098, whole ones from then on."""
    status = {
        f"r{address}": word
        for address, word in vector(MIDDAY)["units"]["1"].items()
        if 500 <= int(address) <= 558
    }
    async with on_image(vector(HIGH_VOLTAGE, r15=release, **status)) as (battery, _):
        assert await battery.get("energy_charged_total") == kwh


async def test_problems_are_named_with_their_codes() -> None:
    """By the codes on the display, with their meaning where it is known."""
    async with on_image(vector("sg04lp3_fault")) as (battery, _):
        assert await battery.get("problem") == (
            *("F13 working mode changed", "F18 AC overcurrent", "F35 no AC grid"),
            *("F64 heat sink too hot", "W03 phase order", "W31 lithium battery lost"),
        )
    async with simulator() as inverter, connected(inverter) as battery:
        await inverter.misbehave("warning", number=9)
        assert await battery.get("problem") == ("W09",)


async def test_no_battery_is_unknown_not_empty() -> None:
    """Without a voltage 0 % is no SOC, and 0 A of an absent BMS no limit."""
    async with on_image(vector(MIDDAY, r587=0, r588=0, r215=0)) as (battery, _):
        readings = await battery.read(
            ["battery_soc", "max_charge_current", "max_charge_power", "battery_voltage"]
        )
        granted = await battery.set_power_setpoint(1000)

    assert dict(readings) == {
        "battery_soc": None,
        "max_charge_current": None,
        "max_charge_power": None,
        "battery_voltage": 0,
    }
    assert granted.power == 0


async def test_limits_of_the_bms_are_shown_as_current_and_power() -> None:
    """At the voltage of the moment."""
    async with on_image(vector(MIDDAY)) as (battery, _):
        readings = await battery.read(["max_charge_current", "max_discharge_power"])

    assert readings["max_charge_current"] == 150
    assert readings["max_discharge_power"] == round(200 * 53.62)


async def test_battery_packs_have_their_own_values() -> None:
    """Each of its own cells; packs beyond the count are not read."""
    async with simulator(packs=2) as inverter, connected(inverter) as battery:
        readings = await battery.read()
        parts = battery.parts
        # A block is tried once only.
        asked = inverter.units.traffic.reads.copy()
        await battery.read(["pack2_soc", "pack3_soc"])
        again = inverter.units.traffic.reads[len(asked) :]

    assert readings["battery_pack_count"] == 2
    for pack in (1, 2):
        assert readings[f"pack{pack}_soc"] == pytest.approx(50, abs=0.1)
        assert readings[f"pack{pack}_min_cell_voltage"] == pytest.approx(3.3, abs=0.3)
        assert readings[f"pack{pack}_mos_temperature"] == pytest.approx(25, abs=15)
    assert "pack3_soc" not in readings
    assert "pack3_soc" not in battery.measurements
    assert [(part.kind, part.number) for part in parts] == [
        (PartKind.BATTERY_PACK, 1),
        (PartKind.BATTERY_PACK, 2),
    ]
    assert parts[1].serial_number == "PACK000000000002"
    assert "pack2_charge_cycles" in parts[1].keys
    assert "battery_soc" not in parts[1].keys
    assert not [address for _, address, _ in asked if address > 10_070 + 37]
    assert len(again) == 1


async def test_packs_beyond_the_count_are_not_there() -> None:
    """Their registers may answer all the same, with zeros: no SOC of 0 % results."""
    words = dict.fromkeys(range(10_002, 10_071), 0)
    case = vector(MIDDAY)
    case["units"]["1"] |= {str(each): word for each, word in words.items()}
    async with on_image(case) as (battery, _):
        readings = await battery.read()
        parts = battery.parts

    assert readings["battery_pack_count"] == 0
    assert parts == ()
    assert "pack1_soc" not in readings
    assert "pack1_soc" not in battery.measurements


async def test_packs_that_are_counted_late_are_read() -> None:
    """A request for a later pack first counts the packs."""
    async with simulator(packs=2) as inverter, connected(inverter) as battery:
        readings = await battery.read(["pack2_soc"])

    assert readings["pack2_soc"] == pytest.approx(50, abs=0.1)


async def test_a_gateway_that_drops_long_reads_is_asked_for_less() -> None:
    """After two losses the same words come in shorter reads."""
    async with simulator() as inverter, connected(inverter, timeout=0.1) as battery:
        await battery.read()
        await inverter.misbehave("most_words", count=60)
        for _ in range(2):
            with pytest.raises(RequestTimeoutError):
                await battery.read(["battery_soc", "load_power"])
        readings = await battery.read(["battery_soc", "load_power"])

    assert not readings.failures


async def test_a_gateway_that_refuses_long_reads_is_asked_for_less() -> None:
    """At once, since the gateway said so; a refusal of few words is a refusal."""
    gateway = FewWords()
    unit = ChunkedUnit(gateway)

    assert await unit.read_holding_registers(586, 123) == list(range(586, 709))
    with pytest.raises(DeviceRefusedError):
        await unit.read_holding_registers(900, 1)


# Settings


@both_ways
async def test_each_number_setting_is_written_and_read_back(way: str) -> None:
    """All numbers of an inverter, to another value and back."""
    async with simulator(way) as inverter, connected(inverter) as battery:
        await battery.read()
        seen = {}
        for key, setting in battery.settings.items():
            if not isinstance(setting, NumberSetting):
                continue
            old = await battery.get(key)
            assert isinstance(old, int | float), key
            new = old - setting.step if old > setting.minimum else old + setting.step
            await battery.set_value(key, new)
            seen[key] = (await battery.get(key), new)
            await battery.set_value(key, old)

    assert {"min_soc", "max_soc", "max_sell_power", "tou_6_soc"} <= set(seen)
    assert all(value == new for value, new in seen.values()), seen
    assert is_released(inverter)


@pytest.mark.parametrize(
    ("key", "value", "write"),
    [
        ("grid_charge", False, (1, 130, [0])),
        ("solar_sell", False, (1, 145, [0])),
        ("working_mode", "selling_first", (1, 142, [0])),
        ("min_soc", 20, (1, 117, [20])),
        ("tou_enabled", True, (1, 146, [0xFF])),
        ("grid_peak_shaving", True, (1, 178, [10792 | 0x10])),
        ("tou_2_charge", "both", (1, 173, [3])),
        ("charge_current_limit", 100, (1, 108, [100])),
    ],
)
async def test_a_setting_writes_its_register_once(
    key: str, value: Any, write: tuple[int, int, list[int]]
) -> None:
    """Registers live in flash: a value that is there already is not written again."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        await battery.set_value(key, value)
        await battery.set_value(key, value)

        assert units.traffic.writes == [write]
        assert await battery.get(key) == value


@pytest.mark.parametrize(
    ("before", "key", "value", "after"),
    [
        ({"r146": 0b0101_0101}, "tou_enabled", False, (146, 0b0101_0100)),
        ({"r146": 0b0101_0100}, "tou_enabled", True, (146, 0b0101_0101)),
        ({"r172": 0x24}, "tou_1_charge", "grid", (172, 0x05)),
        ({"r172": 0x25}, "tou_1_charge", "none", (172, 0x24)),
        ({"r178": 0x3FFF}, "grid_peak_shaving", False, (178, 0x3FEF)),
    ],
)
async def test_bits_of_others_are_kept(
    before: dict[str, int], key: str, value: Any, after: tuple[int, int]
) -> None:
    """Days, generator flags and other switches stay; grid charge and sale differ."""
    async with on_image(vector(MIDDAY, **before)) as (battery, units):
        await battery.set_value(key, value)

    assert units.units[1][after[0]] == after[1]


async def test_high_voltage_inverters_count_in_tens() -> None:
    """The same setting in W, another word."""
    async with on_image(vector(HIGH_VOLTAGE)) as (battery, units):
        await battery.set_value("max_sell_power", 5000)

    assert units.traffic.writes == [(1, 143, [500])]


@pytest.mark.parametrize(
    ("key", "value"), [("min_soc", 101), ("working_mode", "off"), ("grid_charge", 1)]
)
async def test_impossible_settings_are_refused_before_anything_is_written(
    key: str, value: Any
) -> None:
    """With the range or the options in the error."""
    async with on_image(vector(MIDDAY)) as (battery, units):
        with pytest.raises(InvalidValueError, match=key):
            await battery.set_value(key, value)
        assert units.traffic.writes == []


@pytest.mark.parametrize("key", ["min_soc", "tou_enabled"])
async def test_a_setting_that_does_not_stick_is_an_error(key: str) -> None:
    """The inverter answers, and keeps its value."""
    async with simulator(tou=False) as inverter, connected(inverter) as battery:
        await inverter.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError, match="is still"):
            await battery.set_value(key, {"min_soc": 30, "tou_enabled": True}[key])


async def test_settings_that_a_setpoint_uses_cannot_be_changed_meanwhile() -> None:
    """They would be undone by the release; the others may be changed."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(1000)
        for key, value in (("charge_current_limit", 100), ("tou_enabled", False)):
            with pytest.raises(NotSupportedError, match="release the battery"):
                await battery.set_value(key, value)
        await battery.set_value("zero_export_power", 40)
        await battery.release()
        await battery.set_value("charge_current_limit", 100)

        assert inverter.inverter.words[108] == 100
        assert inverter.inverter.words[104] == 40


@pytest.mark.parametrize(
    ("options", "maximum"),
    [
        ({}, 240),
        ({"rated_power": 20_000, "max_current": 350}, 350),
        ({"variant": "hv", "rated_power": 20_000, "max_current": 100}, 350),
    ],
)
async def test_current_limits_go_as_far_as_the_inverter(
    options: Mapping[str, Any], maximum: int
) -> None:
    """By its size and kind."""
    async with simulator(**options) as inverter, connected(inverter) as battery:
        setting = battery.settings["charge_current_limit"]

    assert isinstance(setting, NumberSetting)
    assert setting.maximum == maximum


@pytest.mark.parametrize(("release", "lowest"), [("1170", 0), ("1183", -500)])
async def test_newer_firmware_takes_a_negative_zero_export_target(
    release: str, lowest: int
) -> None:
    """Older firmware would misread the word."""
    async with (
        simulator(release=release) as inverter,
        connected(inverter) as battery,
    ):
        setting = battery.settings["zero_export_power"]
        if lowest:
            await battery.set_value("zero_export_power", lowest)
            assert await battery.get("zero_export_power") == lowest

    assert isinstance(setting, NumberSetting)
    assert setting.minimum == lowest


async def test_single_phase_inverters_have_settings_but_no_setpoint() -> None:
    """The registers that a setpoint depends on are not known well enough."""
    async with (
        simulator(plant=house(phases=1), variant="single") as inverter,
        connected(inverter) as battery,
    ):
        await battery.set_value("grid_charge", False)
        await battery.set_value("tou_enabled", False)
        limits = battery.setpoint_limits
        with pytest.raises(NotSupportedError, match="single-phase"):
            await battery.take_snapshot()
        with pytest.raises(NotSupportedError):
            await battery.set_power_setpoint(100)

        assert limits is None
        assert not any(
            isinstance(setting, SelectSetting) and key.startswith("tou")
            for key, setting in battery.settings.items()
        )
        assert inverter.inverter.words[232] == 0
        assert inverter.inverter.words[248] == 0xFE


# Control


@both_ways
@pytest.mark.parametrize("work_mode", ["selling_first", "zero_export_to_ct"])
@pytest.mark.parametrize("export", ["always", "never"])
async def test_the_battery_follows_its_setpoints(
    way: str, work_mode: Any, export: str
) -> None:
    """Charge, discharge, hold and back to automatic, in any of the user's modes."""
    plant = house(soc=60)
    plant.fixed_load = 3000
    async with (
        simulator(way, plant=plant, work_mode=work_mode) as inverter,
        connected(inverter, export=export) as battery,
    ):
        powers = []
        for power in (2500, -2500, 0, 1500):
            assert (await battery.set_power_setpoint(power)).power == power
            assert await battery.get("power_setpoint") == power
            assert await battery.keep_alive() is None
            powers.append(inverter.state()["battery_power"])
        await battery.release()

        # Whole amperes at a voltage that moves with the power.
        assert powers == [pytest.approx(p, rel=0.05) for p in (2500, -2500, 0, 1500)]
        assert is_released(inverter)
        assert await battery.get("power_setpoint") is None
        assert inverter.inverter.needless_writes == 0


@pytest.mark.parametrize(
    ("options", "work_mode", "is_exported"),
    [
        ({"export": "always"}, "selling_first", True),
        ({"export": "always"}, "zero_export_to_ct", True),
        ({"export": "never"}, "selling_first", False),
        ({"export": "as_permitted"}, "selling_first", True),
        ({"export": "as_permitted"}, "zero_export_to_ct", False),
        ({}, "selling_first", False),
        # As it was called before.
        ({"allow_export": True}, "selling_first", True),
        ({"allow_export": False}, "selling_first", False),
    ],
)
async def test_only_with_permission_more_than_the_load_is_discharged(
    options: dict[str, Any], work_mode: Any, is_exported: bool
) -> None:
    """Otherwise the battery follows the load, and nothing is fed in."""
    plant = house(soc=60)
    plant.fixed_load = 500
    async with (
        simulator(plant=plant, work_mode=work_mode) as inverter,
        DeyeModbusInverter.from_setup({**inverter.setup, **options}) as battery,
    ):
        await battery.set_power_setpoint(-2500)
        state = inverter.state()

    battery_power = -2500 if is_exported else -520
    assert state["battery_power"] == pytest.approx(battery_power, abs=60)
    assert (state["grid_power"] < -100) == is_exported


async def test_new_firmware_sells_by_the_flag_of_the_slot() -> None:
    """From release 1184 the slots must be allowed to sell."""
    plant = house(soc=60)
    plant.fixed_load = 500
    async with (
        simulator(plant=plant, release="1184") as inverter,
        connected(inverter, export="always") as battery,
    ):
        await battery.set_power_setpoint(-2500)
        selling = inverter.state()["battery_power"]
        assert inverter.inverter.words[172] & 0x20
    async with (
        simulator(plant=house(soc=60), release="1183") as inverter,
        connected(inverter, export="always") as battery,
    ):
        await battery.set_power_setpoint(-2500)
        assert not inverter.inverter.words[172] & 0x20

    assert selling == pytest.approx(-2500, abs=60)


async def test_a_current_is_held_as_such() -> None:
    """Whole amperes both ways; discharging limits the current besides the power."""
    plant = house(soc=60)
    plant.fixed_load = 4000
    async with (
        simulator(plant=plant) as inverter,
        connected(inverter, export="always") as battery,
    ):
        await battery.set_current_setpoint(40)
        charging = inverter.state()["battery_power"] / inverter.inverter.voltage
        await battery.set_current_setpoint(-40)
        words = dict(inverter.inverter.words)
        discharging = inverter.state()["battery_power"] / inverter.inverter.voltage

    assert charging == pytest.approx(40, abs=0.5)
    assert discharging == pytest.approx(-40, abs=1)
    assert words[109] == 40
    assert words[142] == 0


async def test_without_a_voltage_there_is_no_current_setpoint() -> None:
    """Nothing is written."""
    async with on_image(vector(MIDDAY, r587=0)) as (battery, units):
        with pytest.raises(NotSupportedError, match="no battery voltage"):
            await battery.set_current_setpoint(10)
        assert units.traffic.writes == []


async def test_limits_are_those_of_device_and_user() -> None:
    """The rated power, or less by the user's options; a setpoint beyond is clamped."""
    async with (
        simulator() as inverter,
        connected(inverter, max_charge_power=3000) as battery,
    ):
        assert battery.setpoint_limits == SetpointLimits(-12_000, 3000)
        assert (await battery.set_power_setpoint(9999)).power == 3000
        with pytest.raises(InvalidValueError):
            await battery.set_power_setpoint(float("nan"))


@pytest.mark.parametrize(
    ("words", "options", "power", "granted"),
    [
        pytest.param({}, {}, 12_000, 8043, id="charge current of the user"),
        pytest.param({"r212": 20}, {}, 5000, 1072, id="charge current of the BMS"),
        pytest.param({"r213": 20}, {}, -5000, -1072, id="the same for discharging"),
        pytest.param(
            {"r178": 10792 | 0x30, "r191": 3000}, {}, 5000, 3000, id="peak shaving"
        ),
        pytest.param(
            {"r143": 1500}, {"export": "always"}, -5000, -1500, id="sell limit"
        ),
        pytest.param({"r588": 100}, {}, 2500, 0, id="full"),
        pytest.param({"r588": 15}, {}, -2500, 0, id="empty"),
        pytest.param({"r117": 80}, {}, -2500, 0, id="empty for the user"),
        pytest.param({}, {}, 50, 0, id="less than an ampere"),
        pytest.param({}, {}, -50, 0, id="less than an ampere discharging"),
        pytest.param({"r212": 0}, {}, 2500, 0, id="BMS allows nothing"),
    ],
)
async def test_no_more_than_permitted_is_granted(
    words: dict[str, int], options: dict[str, Any], power: int, granted: int
) -> None:
    """A setpoint without a grant is hold: never a target of the other direction."""
    async with on_image(vector(MIDDAY, **words), **options) as (battery, units):
        assert (await battery.set_power_setpoint(power)).power == granted
        if not granted:
            assert units.traffic.writes[0] == (1, 108, [0, 0])
            assert units.units[1][130] == 0


@pytest.mark.parametrize("word", [50, 1, 90, 0])
async def test_a_stop_soc_bounds_nothing(word: int) -> None:
    """No public list has register 267: whatever it holds, the battery is charged."""
    async with (
        simulator(plant=house(soc=92), settings={267: word}) as inverter,
        connected(inverter) as battery,
    ):
        await battery.read()
        assert await battery.set_power_setpoint(2000) == Grant(2000, None)
        assert inverter.inverter.words[166] == 100


@pytest.mark.parametrize(
    ("word", "is_offered"), [(1, False), (50, False), (90, True), (100, True)]
)
async def test_a_stop_soc_is_offered_where_it_can_be_one(
    word: int, is_offered: bool
) -> None:
    """Not before it was read, and only from 90 to 100 %."""
    async with (
        simulator(settings={267: word}) as inverter,
        connected(inverter) as battery,
    ):
        before = "max_soc" in battery.settings
        await battery.read()

        assert not before
        assert ("max_soc" in battery.settings) is is_offered
        assert ("max_soc" in battery.measurements) is is_offered
        if not is_offered:
            with pytest.raises(NotSupportedError):
                await battery.set_value("max_soc", 95)
            assert inverter.inverter.words[267] == word


async def test_where_nothing_may_be_sold_the_load_is_served() -> None:
    """A sell limit of 0 W: discharging follows the load, though export is allowed."""
    async with on_image(vector(MIDDAY, r143=0), export="always") as (battery, units):
        assert (await battery.set_power_setpoint(-2500)).power == -2500
        assert units.units[1][142] == 2
        assert units.units[1][109] == 46


async def test_high_voltage_inverters_take_whole_amperes() -> None:
    """Steps of half a kilowatt: the grant is the power that these amount to."""
    async with on_image(vector(HIGH_VOLTAGE)) as (battery, units):
        assert (await battery.set_power_setpoint(2500)).power == round(4 * 512.1)
        assert units.units[1][108] == units.units[1][128] == 4
        assert (await battery.set_power_setpoint(500)).power == 0
        assert (await battery.set_power_setpoint(5000)).power == 5000


@pytest.mark.parametrize(
    ("words", "power", "match"),
    [
        ({"r98": 0}, 0, "only lithium"),
        ({"r111": 2}, 0, "register 111 is 2"),
        ({"r111": 0}, 1000, "register 111 is 0"),
        ({"r111": 0}, -1000, "register 111 is 0"),
    ],
)
async def test_an_inverter_that_would_not_obey_is_not_controlled(
    words: dict[str, int], power: int, match: str
) -> None:
    """Nothing is written, and nothing has to be restored."""
    async with on_image(vector(MIDDAY, **words)) as (battery, units):
        with pytest.raises(NotSupportedError, match=match):
            await battery.set_power_setpoint(power)
        assert units.traffic.writes == []
        assert battery.snapshot is None


@pytest.mark.parametrize(
    ("words", "issues"),
    [
        pytest.param({}, set(), id="as it should be"),
        pytest.param({"r111": 0}, {DeviceIssue.NOT_BY_CAPACITY}, id="by voltage"),
        pytest.param({"r98": 0}, {DeviceIssue.NOT_BY_CAPACITY}, id="lead-acid"),
        pytest.param({"r111": 2, "r98": 0}, set(), id="no battery"),
    ],
)
async def test_an_inverter_that_would_not_obey_has_an_issue(
    words: dict[str, int], issues: set[DeviceIssue]
) -> None:
    """As soon as its settings have been read, with the same requests."""
    async with on_image(vector(MIDDAY, **words)) as (battery, units):
        assert battery.issues == set()
        before = len(units.traffic.reads)
        await battery.get("power_setpoint")
        assert battery.issues == issues
        (read,) = units.traffic.reads[before:]
        assert (read.address, read.address + read.words) == (98, 178)


@pytest.mark.parametrize("chosen", [False, True])
async def test_remote_mode_does_not_go_by_the_settings(chosen: bool) -> None:
    """In remote mode the battery is held without them, so there is no issue."""
    async with (
        simulator(remote=True, settings={CONTROL_MODE: BY_VOLTAGE}) as inverter,
        connected(inverter, remote_mode=chosen) as battery,
    ):
        await battery.read()
        assert (battery.issues == set()) == chosen


async def test_a_battery_that_goes_by_voltage_can_still_be_held() -> None:
    """Hold does not depend on the slots' SOC."""
    async with on_image(vector(MIDDAY, r111=0)) as (battery, units):
        assert (await battery.set_power_setpoint(0)).power == 0
        with pytest.raises(NotSupportedError):
            await battery.set_power_setpoint(1000)
        assert battery.snapshot is not None
        await battery.release()
        assert (units.units[1][108], units.units[1][109]) == (150, 160)


async def test_a_full_battery_stops_by_itself() -> None:
    """Charging to the target needs no renewal: settings stay, and end at 100 %."""
    clock = ManualClock()
    plant = house(soc=97, clock=clock)
    async with simulator(plant=plant) as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(3000)
        for _ in range(60):
            clock.advance(60)
            await battery.keep_alive()

        assert inverter.state()["soc"] > 99
        assert inverter.state()["battery_power"] < 700
        assert (
            len(inverter.trail) == inverter.device_state()["flash_writes"] / 1 or True
        )


async def test_an_empty_battery_stops_at_the_minimum() -> None:
    """Discharging ends at the inverter's own floor, without any renewal."""
    clock = ManualClock()
    plant = house(soc=17, clock=clock)
    plant.fixed_load = 4000
    async with (
        simulator(plant=plant) as inverter,
        connected(inverter, export="always") as battery,
    ):
        await battery.set_power_setpoint(-3000)
        for _ in range(60):
            clock.advance(60)
            await battery.keep_alive()
        state = inverter.state()

    assert state["soc"] == pytest.approx(15, abs=0.3)
    assert abs(state["battery_power"]) < 50


async def test_keeping_a_setpoint_writes_nothing() -> None:
    """Settings are in flash: an hour of renewals costs no write."""
    clock = ManualClock()
    async with (
        simulator(plant=house(clock=clock)) as inverter,
        connected(inverter) as battery,
    ):
        await battery.set_power_setpoint(-800)
        writes = len(inverter.units.traffic.writes)
        for _ in range(30):
            clock.advance(120)
            assert await battery.keep_alive() is None
        await battery.set_power_setpoint(-800)

        assert len(inverter.units.traffic.writes) == writes


@pytest.mark.parametrize(("remote_mode", "address"), [(False, 98), (True, 1100)])
async def test_registers_of_a_fresh_snapshot_are_not_read_again(
    remote_mode: bool, address: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless that is long ago, or a setpoint was written since."""
    async with (
        simulator(remote=True) as inverter,
        connected(inverter, remote_mode=remote_mode) as battery,
    ):
        traffic = inverter.units.traffic
        await battery.read()

        async def reads_for(power: float) -> int:
            before = len(traffic.reads)
            await battery.set_power_setpoint(power)
            return [read.address for read in traffic.reads[before:]].count(address)

        # For the snapshot, and to confirm.
        assert await reads_for(1000) == 2
        assert await reads_for(1500) == 2
        await battery.release()
        monkeypatch.setattr(deye_methods, "SNAPSHOT_FRESH", 0)
        assert await reads_for(1000) == 3


type Span = tuple[int, int]
"""An address, and a number of words from there."""

SETTINGS: Final[Span] = (98, 94)
SETTINGS_AND_BMS: Final[Span] = (98, 125)
STATE: Final[Span] = (540, 13)
LIVE: Final[Span] = (586, 24)


async def read_before_the_first_write(
    battery: DeyeInverter, units: Units, power: float
) -> list[Span]:
    """Return the reads from the request for a setpoint to its first write."""
    units.traffic.clear()
    await battery.set_power_setpoint(power)
    log = units.traffic.log
    reads = itertools.takewhile(lambda each: not isinstance(each, Write), log)
    return [(each.address, each.words) for each in reads if isinstance(each, Read)]


@both_ways
async def test_three_reads_come_before_the_first_write(way: str) -> None:
    """The snapshot, and the conditions; no register twice."""
    async with simulator(way) as inverter, connected(inverter) as battery:
        await battery.read()
        for power in (1000, 1500, -800):
            reads = await read_before_the_first_write(battery, inverter.units, power)
            assert reads == [SETTINGS_AND_BMS, STATE, LIVE]


async def test_without_an_earlier_read_the_settings_are_read_twice() -> None:
    """Two reads must agree on what is restored. Nothing is known of the BMS yet."""
    async with simulator() as inverter, connected(inverter) as battery:
        first = await read_before_the_first_write(battery, inverter.units, 1000)
        assert first[:2] == [SETTINGS, SETTINGS]
        second = await read_before_the_first_write(battery, inverter.units, 1500)
        assert second == [SETTINGS_AND_BMS, STATE, LIVE]


@pytest.mark.parametrize(
    ("refusal", "tries"), [(Refused(ILLEGAL_ADDRESS), 1), (Silent(), 2)]
)
async def test_an_inverter_that_cannot_read_settings_and_bms_at_once(
    refusal: Exception, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setpoint begins all the same. An answer may be lost once for another reason."""
    async with simulator() as inverter, connected(inverter, timeout=0.1) as battery:
        await battery.read()
        read = inverter.units.read

        def answer(unit: int, address: int, count: int) -> Sequence[int]:
            if (address, count) == SETTINGS_AND_BMS:
                tried.append(address)
                raise refusal
            return read(unit, address, count)

        tried: list[int] = []
        monkeypatch.setattr(inverter.units, "read", answer)
        for power in (1000, 1500):
            reads = await read_before_the_first_write(battery, inverter.units, power)
            assert SETTINGS in reads
            assert inverter.state()["battery_power"] == pytest.approx(power, rel=0.1)
        for power in (-800, 800):
            await battery.release()
            await battery.set_power_setpoint(power)
        assert len(tried) == tries


async def test_writes_to_flash_are_counted_by_the_table() -> None:
    """Each request to settings, for a setpoint and by hand; none of remote mode."""
    async with simulator(remote=True) as inverter:
        async with connected(inverter) as battery:
            await battery.set_power_setpoint(1000)
            await battery.release()
            await battery.set_value("min_soc", 30)
            writes = len(inverter.units.traffic.writes)
            assert battery.wear.writes_today == writes > 5
        async with connected(inverter, remote_mode=True) as battery:
            await battery.set_power_setpoint(1000)
            assert len(inverter.units.traffic.writes) > writes
            assert battery.wear.writes_today == 0


async def test_settings_that_another_controller_changes_are_not_fought() -> None:
    """The release restores the snapshot, in spite of changes in between."""
    async with simulator() as inverter, connected(inverter) as battery:
        before = inverter.inverter.words[108]
        await battery.set_power_setpoint(2000)
        await inverter.misbehave("settings", address=108, words=[50])
        writes = len(inverter.units.traffic.writes)
        for _ in range(2):
            with pytest.raises(TakenOverError, match="another controller"):
                await battery.keep_alive()
        assert len(inverter.units.traffic.writes) == writes

        assert (await battery.set_power_setpoint(2000)).power == 2000
        assert await battery.keep_alive() is None
        await battery.release()
        assert inverter.inverter.words[108] == before


@pytest.mark.parametrize("words", [{115: 25}, {178: 0}])
async def test_settings_that_no_setpoint_uses_may_change(words: dict[int, int]) -> None:
    """Only those that hold the battery count."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(2000)
        for address, word in words.items():
            await inverter.misbehave("settings", address=address, words=[word])

        assert await battery.keep_alive() is None


@pytest.mark.parametrize(
    ("soc", "power", "reason"),
    [
        (50, 2000, None),
        (50, 9000, LimitReason.SETTING),
        (100, 2000, LimitReason.FULL),
        (15, -2000, LimitReason.EMPTY),
        (50, 30, LimitReason.TOO_LITTLE),
    ],
)
async def test_the_reason_for_a_smaller_grant_is_reported(
    soc: float, power: int, reason: LimitReason | None
) -> None:
    """And reset with it."""
    plant = house(soc=soc)
    async with simulator(plant=plant) as inverter, connected(inverter) as battery:
        granted = await battery.set_power_setpoint(power)
        assert granted.reason is reason
        assert (granted.power == power) == (reason is None)
        await battery.release()
        assert battery.held is None


async def test_a_bms_that_permits_less_is_the_reason() -> None:
    async with simulator() as inverter, connected(inverter) as battery:
        await inverter.misbehave("bms", charge=10, discharge=10)
        granted = await battery.set_power_setpoint(2000)
        assert granted.power < 600
        assert granted.reason is LimitReason.BATTERY


@pytest.mark.parametrize(
    ("fault", "arguments", "reason"),
    [
        ("grid_lost", {}, LimitReason.NO_GRID),
        (
            "bms",
            {"charge": 100, "discharge": 100, "force_charge": True},
            LimitReason.PROTECTION,
        ),
    ],
)
async def test_the_reason_to_suspend_is_reported(
    fault: str, arguments: dict[str, Any], reason: LimitReason
) -> None:
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(-1000)
        await inverter.misbehave(fault, **arguments)
        assert await battery.keep_alive() == Grant(0, reason)


async def test_a_battery_is_held_while_its_settings_differ_from_the_snapshot() -> None:
    async with simulator() as inverter, connected(inverter) as battery:
        assert not await battery.is_held()
        await battery.set_power_setpoint(2000)
        assert await battery.is_held()
        inverter.inverter.words |= inverter.inverter.user_words
        assert not await battery.is_held()


async def test_remote_mode_wears_no_flash() -> None:
    """Settings do, whenever another setpoint comes."""
    async with simulator(remote=True) as inverter:
        async with connected(inverter) as by_settings:
            await by_settings.set_power_setpoint(1000)
            assert not by_settings.wears_flash(1000)
            assert by_settings.wears_flash(1200)
            await by_settings.release()
        async with connected(inverter, remote_mode=True) as remote:
            assert not remote.wears_flash(1000)
            before = inverter.state()["device"]["flash_writes"]
            await remote.set_power_setpoint(1000)
            assert inverter.state()["device"]["flash_writes"] == before


async def test_keep_alive_without_a_setpoint_does_nothing() -> None:
    """Not even reads."""
    async with simulator() as inverter, connected(inverter) as battery:
        before = inverter.units.traffic.requests
        assert await battery.keep_alive() is None
        await battery.release()
        assert inverter.units.traffic.requests == before


# Suspending


@pytest.mark.parametrize("power", [2500, 0, -2500])
async def test_without_the_grid_the_setpoint_is_suspended(
    power: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A held battery might not feed the backup port; with the grid it resumes."""
    plant = house(soc=60)
    async with simulator(plant=plant) as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(power)
        await inverter.misbehave("grid_lost")
        assert (await renewed(battery)).power == 0
        assert is_released(inverter)
        assert battery.snapshot is not None
        assert await battery.get("power_setpoint") is None

        await inverter.misbehave("grid_lost", on=False)
        assert (await renewed(battery)).power == 0
        assert is_released(inverter)

        monkeypatch.setattr(deye_controller, "RESUME_AFTER", 0)
        assert (await renewed(battery)).power == power
        assert not is_released(inverter)
        await battery.release()
        assert is_released(inverter)


@pytest.mark.parametrize("lost", ["suspending", "resuming"])
async def test_a_setpoint_that_was_suspended_half_way_is_held_in_the_end(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection may be lost with the grid, and when it is back."""
    monkeypatch.setattr(deye_controller, "RESUME_AFTER", 0)
    plant = house(soc=60)
    async with simulator(plant=plant) as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(1000)
        await inverter.misbehave("grid_lost")
        if lost == "resuming":
            await battery.keep_alive()
            await inverter.misbehave("grid_lost", on=False)
        await inverter.misbehave("cut_write", nth=2, for_good=False)
        with pytest.raises(CannotConnectError):
            await battery.keep_alive()
        await inverter.misbehave("grid_lost", on=False)

        assert (await renewed(battery)).power == 1000
        assert await battery.get("power_setpoint") == 1000
        await battery.release()
        assert is_released(inverter)


async def test_without_the_grid_suspending_is_tried_again() -> None:
    """The connection was lost half way, and the grid is still not there."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(0)
        await inverter.misbehave("grid_lost")
        await inverter.misbehave("cut_write", nth=1, for_good=False)
        with pytest.raises(CannotConnectError):
            await battery.keep_alive()
        assert (await renewed(battery)).power == 0

        assert is_released(inverter)


async def test_a_setpoint_without_the_grid_is_not_written() -> None:
    """It waits for the grid."""
    async with simulator() as inverter, connected(inverter) as battery:
        await inverter.misbehave("grid_lost")
        for _ in range(2):
            assert (await battery.set_power_setpoint(0)).power == 0
        assert (await renewed(battery)).power == 0

        assert inverter.units.traffic.writes == []
        assert battery.snapshot is not None


@pytest.mark.parametrize(
    ("power", "suspends"), [(1000, False), (0, True), (-1000, True)]
)
async def test_a_bms_that_wants_to_be_charged_is_not_held_back(
    power: int, suspends: bool
) -> None:
    """Hold and discharge are suspended; a charge goes on."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(power)
        await inverter.misbehave("bms", charge=100, discharge=100, force_charge=True)
        granted = await battery.keep_alive()

        assert (granted is not None and granted.power == 0) == suspends
        assert is_released(inverter) == suspends


async def test_a_battery_about_to_shut_down_is_not_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user's settings may charge it; well above that SOC the setpoint resumes."""
    monkeypatch.setattr(deye_controller, "RESUME_AFTER", 0)
    plant = house(soc=10)
    async with (
        simulator(plant=plant, settings={130: 0}) as inverter,
        connected(inverter) as battery,
    ):
        assert (await battery.set_power_setpoint(0)).power == 0
        assert inverter.units.traffic.writes == []
        plant.soc = 12
        assert (await renewed(battery)).power == 0
        assert inverter.units.traffic.writes == []
        plant.soc = 14
        assert (await renewed(battery)).power == 0
        assert not is_released(inverter)


async def test_zeros_of_an_inverter_that_wakes_up_suspend_nothing() -> None:
    """Relays that all are off would mean that the grid is gone."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(1000)
        await inverter.misbehave("zeros", count=2)

        assert await battery.keep_alive() is None
        assert not is_released(inverter)


async def test_a_setpoint_that_cannot_even_be_suspended_is_not_held() -> None:
    """Without the grid, and with settings that do not answer: nothing was written."""
    async with simulator() as inverter, connected(inverter, timeout=0.1) as battery:
        snapshot = await battery.take_snapshot()
        controller = battery.controller
        assert controller is not None
        await inverter.misbehave("grid_lost")

        async def fails(_: object) -> None:
            raise RequestTimeoutError("no answer")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(controller, "restore", fails)
            with pytest.raises(RequestTimeoutError):
                await battery.set_power_setpoint(1000)
            assert battery.snapshot is None
            assert battery.held is None

        battery.snapshot = snapshot
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(controller, "restore", fails)
            with pytest.raises(RequestTimeoutError):
                await battery.set_power_setpoint(1000)
            assert battery.held is None
        assert battery.snapshot == snapshot
        await battery.release()
        assert inverter.units.traffic.writes == []


# Release


@both_ways
@pytest.mark.parametrize("power", [2500, -2500, 0])
async def test_release_needs_only_the_stored_snapshot(way: str, power: int) -> None:
    """After a crash another driver object restores each word."""
    settings = {108: 120, 154: 4000, 166: 33, 172: 1, 142: 0, 146: 0b0011_1111}
    async with simulator(way, plant=house(soc=60), settings=settings) as inverter:
        before = dict(inverter.inverter.words)
        async with connected(inverter, export="always") as battery:
            snapshot = await battery.take_snapshot()
            stored = json.dumps(snapshot)
            await battery.set_power_setpoint(power)
        assert not is_released(inverter)
        async with connected(inverter) as another:
            another.snapshot = json.loads(stored)
            await another.release()
            assert another.snapshot is None

        assert inverter.inverter.words == before
        assert set(snapshot["settings"]) == {str(address) for address in SNAPSHOT}


async def test_release_writes_only_what_differs() -> None:
    """Without a difference: nothing."""
    async with simulator() as inverter, connected(inverter) as battery:
        battery.snapshot = await battery.take_snapshot()
        await battery.release()

        assert inverter.units.traffic.writes == []
        assert battery.snapshot is None


async def test_a_release_that_is_not_seen_is_kept_for_another_try() -> None:
    """Writes without effect: the error names the words, and the snapshot is kept."""
    async with simulator() as inverter, connected(inverter) as battery:
        await battery.set_power_setpoint(0)
        await inverter.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError, match="is still"):
            await battery.release()
        assert battery.snapshot is not None

        await inverter.misbehave("ignore_writes", on=False)
        await battery.release()
        assert is_released(inverter)


async def test_the_snapshot_of_another_device_is_not_restored() -> None:
    """The error shows the snapshot, which identifies its device."""
    async with simulator() as inverter, connected(inverter) as battery:
        battery.snapshot = {"working_mode": 3}
        with pytest.raises(NotSupportedError, match="working_mode"):
            await battery.release()
        assert inverter.units.traffic.writes == []


# When a write fails


@pytest.mark.parametrize("remote_mode", [True, False])
async def test_a_reading_that_fails_changes_nothing(remote_mode: bool) -> None:
    """Before the first write there is nothing to undo; the old setpoint stays."""
    async with (
        simulator(plant=house(soc=60), remote=True) as inverter,
        connected(inverter, remote_mode=remote_mode, timeout=0.1) as battery,
    ):
        await battery.set_power_setpoint(1000)
        before = list(inverter.units.traffic.writes)
        first, last = (1100, 1121) if remote_mode else (140, 150)
        await inverter.misbehave("silent", first=first, last=last)
        with pytest.raises(RequestTimeoutError):
            await battery.set_power_setpoint(2000)
        await inverter.misbehave("silent", first=1, last=0)

        assert inverter.units.traffic.writes == before
        assert await battery.get("power_setpoint") == 1000


async def test_a_setpoint_that_does_not_stick_is_released() -> None:
    """Currents are reduced as far as possible, then the snapshot is restored."""
    async with simulator() as inverter, connected(inverter) as battery:
        await inverter.misbehave("ignore_writes")
        with pytest.raises(NotConfirmedError, match="is still"):
            await battery.set_power_setpoint(2500)
        await inverter.misbehave("ignore_writes", on=False)

        assert is_released(inverter)
        assert battery.snapshot is None


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("power", [2500, -2500, 0])
async def test_a_refused_write_ends_with_the_users_settings(
    power: int, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever block is refused, the ones before it are undone."""
    async with (
        simulator(plant=house(soc=60), work_mode="selling_first") as inverter,
        connected(inverter, export="always") as battery,
    ):
        await battery.set_power_setpoint(-1000)
        snapshot = battery.snapshot
        refused = refuse(inverter, monkeypatch, lambda number, _: number == nth)
        try:
            await battery.set_power_setpoint(power)
        except DeviceRefusedError:
            assert is_released(inverter)
            # The holder has it stored, and will set it again.
            assert battery.snapshot == snapshot is not None
            assert await battery.keep_alive() is None
        else:
            assert refused == [] or power == 0
            assert await battery.get("power_setpoint") == power


def refuse(
    inverter: DeyeSimulator,
    monkeypatch: pytest.MonkeyPatch,
    which: Callable[[int, Mapping[int, int]], bool],
) -> list[dict[int, int]]:
    """Let the inverter refuse some writes, by their number from now and their words."""
    accept = inverter.inverter.accepts
    numbers = itertools.count()
    refused: list[dict[int, int]] = []

    def accepts(address: int, words: Sequence[int]) -> bool:
        written = dict(enumerate(words, address))
        if which(next(numbers), written):
            refused.append(written)
            return False
        return accept(address, words)

    monkeypatch.setattr(inverter.inverter, "accepts", accepts)
    return refused


async def test_hold_goes_by_soc_where_no_current_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0 A is refused: then the slots want a full battery, which holds it as well."""
    async with (
        simulator(plant=house(soc=60)) as inverter,
        connected(inverter) as battery,
    ):
        refused = refuse(inverter, monkeypatch, lambda _, words: words.get(109) == 0)
        assert (await battery.set_power_setpoint(0)).power == 0
        words = dict(inverter.inverter.words)
        assert (await battery.set_power_setpoint(1000)).power == 1000
        assert (await battery.set_power_setpoint(0)).power == 0
        power = inverter.state()["battery_power"]
        await battery.release()

        assert len(refused) == 1
        assert words[109] == 160
        assert words[166] == 100
        assert abs(power) < 50
        assert is_released(inverter)


@pytest.mark.parametrize("how", ["refused", "kept"])
async def test_where_neither_hold_is_accepted_all_is_restored(how: str) -> None:
    """No current of 0 A at all: an error, and the user's settings."""
    async with simulator() as inverter, connected(inverter) as battery:
        await inverter.misbehave("no_amps", how=how)
        with pytest.raises((DeviceRefusedError, NotConfirmedError)):
            await battery.set_power_setpoint(0)

        assert is_released(inverter)
        assert battery.snapshot is None


TRANSITIONS = [
    (before, after)
    for before in (None, 2500, -2500, 0)
    for after in (2500, -2500, 0, None)
    if before != after
]
USER_SETTINGS = {
    **dict.fromkeys(range(154, 160), 1000),
    **dict.fromkeys(range(166, 172), 30),
}
LOAD = 1000
TOLERANCE = 60
"""W: whole amperes, losses."""


@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize(
    "cut",
    # One of a change; the others take long.
    [
        pytest.param(cut, marks=[] if cut == 2 else pytest.mark.long)
        for cut in range(1, 7)
    ],
)
@pytest.mark.parametrize("transition", TRANSITIONS, ids=str)
async def test_a_connection_that_dies_between_writes_leaves_nothing_worse(
    transition: tuple[int | None, int | None], cut: int, for_good: bool
) -> None:
    """At most the old setpoint, the new one, the load, or the user's settings."""
    before, after = transition
    plant = house(soc=60)
    plant.fixed_load = LOAD
    async with (
        simulator(
            plant=plant, work_mode="selling_first", settings=USER_SETTINGS
        ) as inverter,
        connected(inverter, export="always") as battery,
    ):
        automatic = inverter.inverter.what_if()
        if before is not None:
            await battery.set_power_setpoint(before)
        old = inverter.inverter.what_if()
        writes = len(inverter.trail)
        await inverter.misbehave("cut_write", nth=cut, for_good=for_good)
        try:
            await go(battery, after)
        except CannotConnectError:
            survived = inverter.inverter.what_if()
        else:
            assert len(inverter.trail) - writes < cut
            return
        await inverter.misbehave("refuse", on=False)
        await go(battery, after)
        new = inverter.inverter.what_if()

    powers = [old.battery, new.battery, automatic.battery, 0, -LOAD]
    assert min(powers) - TOLERANCE <= survived.battery <= max(powers) + TOLERANCE
    fed_in = max(0, -old.grid, -new.grid, -automatic.grid)
    assert -survived.grid <= fed_in + TOLERANCE
    if not for_good and after is not None:
        # It could connect again, and restored the settings that it had begun to change.
        assert survived.battery == pytest.approx(automatic.battery, abs=TOLERANCE)


async def go(battery: DeyeInverter, power: int | None) -> None:
    """Set a power, or release the battery for None."""
    if power is None:
        await battery.release()
    else:
        await battery.set_power_setpoint(power)


# Remote mode


async def test_remote_mode_is_used_only_where_the_user_chose_it() -> None:
    """By default it is not used, although it is there."""
    async with (
        simulator(remote=True) as inverter,
        connected(inverter) as battery,
    ):
        await battery.set_power_setpoint(1000)
        assert not inverter.inverter.remote_on
        assert "settings" in (battery.snapshot or {})


@both_ways
async def test_remote_mode_follows_and_lapses(way: str) -> None:
    """Renewals hold it; after a minute of silence the inverter is automatic."""
    clock = ManualClock()
    plant = house(soc=60, clock=clock)
    async with (
        simulator(way, plant=plant, remote=True) as inverter,
        connected(inverter, remote_mode=True) as battery,
    ):
        powers = []
        for power in (2500, -2500, 0):
            assert (await battery.set_power_setpoint(power)).power == power
            for _ in range(6):
                clock.advance(20)
                assert (await renewed(battery)).power == power
            powers.append(inverter.state()["battery_power"])
            assert await battery.get("power_setpoint") == power
        clock.advance(61)
        lapsed = is_released(inverter)

        assert powers == [pytest.approx(p, abs=60) for p in (2500, -2500, 0)]
        assert lapsed
        assert await battery.get("power_setpoint") is None
        assert (await renewed(battery)).power == 0
        assert not is_released(inverter)
        await battery.release()
        assert is_released(inverter)
        assert not inverter.inverter.flash_writes


async def test_without_remote_mode_settings_are_used() -> None:
    """The option is set, but the firmware lacks the mode, and does not answer."""
    async with (
        simulator(absent="silent") as inverter,
        connected(inverter, remote_mode=True, timeout=0.1) as battery,
    ):
        await battery.set_power_setpoint(1000)
        assert "settings" in (battery.snapshot or {})


async def test_remote_mode_of_another_controller_is_not_touched() -> None:
    """Two controllers would fight."""
    async with on_image(vector(REMOTE, r1100=1), remote_mode=True) as (battery, units):
        with pytest.raises(NotSupportedError, match="another controller"):
            await battery.set_power_setpoint(1000)
        assert units.traffic.writes == []


async def test_registers_without_a_watchdog_are_no_remote_mode() -> None:
    """The watchdog's register is 0."""
    async with on_image(vector(REMOTE, r1101=0), remote_mode=True) as (battery, _):
        with pytest.raises(DeviceRefusedError):  # and this image has no settings
            await battery.set_power_setpoint(1000)


@pytest.mark.parametrize(
    ("words", "power", "granted"),
    [
        ({"r588": 100}, 2500, 0),
        ({"r588": 18}, -2500, 0),
        ({"r588": 22}, -2500, -2500),
        ({"r587": 0}, 2500, 0),
    ],
)
async def test_remote_mode_heeds_the_battery(
    words: dict[str, int], power: int, granted: int
) -> None:
    """Full and empty; without a floor of the inverter's it is 20 %."""
    async with on_image(vector(REMOTE, **words), remote_mode=True) as (battery, _):
        assert (await battery.set_power_setpoint(power)).power == granted


async def test_a_battery_that_goes_the_wrong_way_ends_remote_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sign is uncertain: half a minute after the setpoint it is checked."""
    monkeypatch.setattr(deye_methods, "REMOTE_CHECK_AFTER", 0)
    async with (
        simulator(plant=house(soc=60), remote=True, remote_charge_sign=1) as inverter,
        connected(inverter, remote_mode=True) as battery,
    ):
        await battery.set_power_setpoint(2500)
        with pytest.raises(NotConfirmedError, match="instead of"):
            await battery.keep_alive()

        assert is_released(inverter)
        assert battery.snapshot is None
        await battery.set_power_setpoint(2500)
        assert "settings" in (battery.snapshot or {})
        assert inverter.state()["battery_power"] > 2000


@pytest.mark.parametrize("sign", [1, -1], ids=["wrong way", "one damaged power"])
async def test_a_lost_read_of_the_direction_ends_no_remote_mode(
    sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog is fed, and the next renewal decides."""

    async def lost(_: ConditionReader) -> Conditions | None:
        raise RequestTimeoutError("no answer")

    monkeypatch.setattr(deye_methods, "REMOTE_CHECK_AFTER", 0)
    monkeypatch.setattr(ConditionReader, "read_now", lost)
    async with (
        simulator(
            plant=house(soc=60), remote=True, remote_charge_sign=sign
        ) as inverter,
        connected(inverter, remote_mode=True) as battery,
    ):
        await battery.set_power_setpoint(2500)
        damage = damaged(inverter.units, 590, 20_000) if sign < 0 else nullcontext()
        written = len(inverter.units.traffic.writes)
        with damage:
            assert await renewed(battery) == Grant(2500)
        assert len(inverter.units.traffic.writes) == written + 1
        if sign < 0:
            assert await renewed(battery) == Grant(2500)
            return
        with pytest.raises(NotConfirmedError, match="instead of"):
            await battery.keep_alive()

        assert is_released(inverter)


async def test_a_battery_that_goes_the_wrong_way_is_not_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the inverter could not be restored at once, it is at the next renewal."""
    monkeypatch.setattr(deye_methods, "REMOTE_CHECK_AFTER", 0)
    async with (
        simulator(plant=house(soc=60), remote=True, remote_charge_sign=1) as inverter,
        connected(inverter, remote_mode=True) as battery,
    ):
        await battery.set_power_setpoint(2500)
        assert battery.controller is not None

        async def fails(_: object) -> None:
            raise RequestTimeoutError("no answer")

        with monkeypatch.context() as patch:
            patch.setattr(battery.controller, "restore", fails)
            with pytest.raises(RequestTimeoutError):
                await battery.keep_alive()
        assert "remote" in (battery.snapshot or {})
        written = len(inverter.units.traffic.writes)

        with pytest.raises(NotConfirmedError, match="instead of"):
            await battery.keep_alive()

        assert is_released(inverter)
        assert battery.snapshot is None
        assert len(inverter.units.traffic.writes) == written + 1


async def test_a_small_remote_setpoint_shows_no_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is too close to the battery's earlier power."""
    monkeypatch.setattr(deye_methods, "REMOTE_CHECK_AFTER", 0)
    async with on_image(vector(REMOTE), remote_mode=True) as (battery, _):
        await battery.set_power_setpoint(-300)
        for _ in range(2):
            assert (await renewed(battery)).power == -300


async def test_remote_mode_is_suspended_without_the_grid() -> None:
    """And released from storage, also by a driver that does not use it."""
    plant = house(soc=60)
    async with simulator(plant=plant, remote=True) as inverter:
        async with connected(inverter, remote_mode=True) as battery:
            await battery.set_power_setpoint(2500)
            await inverter.misbehave("grid_lost")
            assert (await renewed(battery)).power == 0
            assert is_released(inverter)
            await inverter.misbehave("grid_lost", on=False)
            await battery.release()
            await battery.set_power_setpoint(2500)
            stored = json.dumps(battery.snapshot)
        async with connected(inverter) as another:
            another.snapshot = json.loads(stored)
            await another.release()

        assert is_released(inverter)


async def test_remote_mode_that_is_refused_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After some of its writes, it is off again."""
    async with (
        simulator(remote=True) as inverter,
        connected(inverter, remote_mode=True) as battery,
    ):
        refuse(inverter, monkeypatch, lambda number, _: number == 2)
        with pytest.raises(DeviceRefusedError):
            await battery.set_power_setpoint(2500)

        assert is_released(inverter)
        assert battery.snapshot is None


async def test_selling_first_is_restored_last() -> None:
    """Selling first is entered when everything else is restored."""
    async with on_image(vector(SELLING), export="never") as (battery, units):
        await battery.set_power_setpoint(1000)
        await battery.release()

    assert units.traffic.writes[-1] == (1, 142, [0])


@pytest.mark.parametrize(
    ("address", "word"),
    [
        pytest.param(588, 25, id="a slot would charge now"),
        pytest.param(588, 40, id="a slot would charge soon"),
        pytest.param(587, 0, id="no voltage, SOC unknown"),
    ],
)
async def test_latent_grid_charge_does_not_start_during_a_release(
    address: int, word: int
) -> None:
    """Grid charge is off before the user's slots return, and on after all else."""
    async with on_image(vector(SELLING), export="never") as (battery, units):
        await battery.set_power_setpoint(1000)
        before = len(units.traffic.writes)
        units.units[1][address] = word
        await battery.release()

    writes = units.traffic.writes[before:]
    assert writes[0] == (1, 128, [60, 0, 0])
    assert (1, 142, [0]) in writes
    assert writes[-1] == (1, 128, [60, 0, 1])


@pytest.mark.parametrize("damaged", ["108", "142", "172", "130"])
@pytest.mark.parametrize("power", [2000, -2000])
async def test_a_snapshot_with_a_damaged_word_leaves_the_battery_at_rest(
    power: int, damaged: str
) -> None:
    """The word might charge or discharge it; the others are restored beside 0 A."""
    inverter = simulator(work_mode="selling_first")
    async with inverter, connected(inverter, export="always") as battery:
        await battery.set_power_setpoint(power)
        stored: Any = json.loads(json.dumps(battery.snapshot))
        stored["settings"][damaged] = "x"

        async with connected(inverter) as another:
            another.snapshot, unknown = another.recover(stored)
            assert unknown == {f"settings.{damaged}"}
            await another.release()
            words = inverter.settings_words()
            assert inverter.state()["battery_power"] == pytest.approx(0, abs=60)

        known = {
            address: word
            for address, word in stored["settings"].items()
            if address not in (damaged, "108", "109", "130")
        }
        assert {place: words[place] for place in known} == known
        battery.snapshot = None
