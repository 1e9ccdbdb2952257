"""A refusal or silence of a sick device proves nothing, and costs little time.

With the driver of each battery that speaks Modbus, on its simulated device.
"""

from collections.abc import AsyncIterator, Callable, Sequence
import random
from typing import Any, Final

import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.absence import BACK_OFF
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.battery.readings import Readings
from custom_components.homebattery.drivers.errors import (
    BatteryError,
    DeviceRefusedError,
    RequestTimeoutError,
    StartingError,
)
from custom_components.homebattery.drivers.sun2000 import unit as sun2000_unit
from tests.drivers.conftest import MODBUS_DEVICES, Leap
from tests.home import plain_with
from tests.simulators import Simulator, VictronSimulator
from tests.simulators.modbus import DEVICE_FAILURE, ILLEGAL_ADDRESS, Refused, Silent

pytestmark = pytest.mark.usefixtures("socket_enabled")

TIMEOUT: Final = 0.4
"""Seconds for each answer."""

type Fault = Callable[[int, int, int], None]
"""Called with unit, address and count of each read; raises what the device does."""

LIVE: Final = {
    "victron": {("unit", 225)},
    "sun2000": {("at", 32080)},
    "deye_modbus": {("at", 500)},
    "deye_solarman": {("at", 500)},
    "sma": {("at", 30775)},
}
"""A part of each device that is polled, and that control does not need."""


@pytest.fixture
async def battery(
    modbus_simulator: Simulator, request: pytest.FixtureRequest
) -> AsyncIterator[ModbusBattery]:
    """Connect to a simulated device; its parameter is the time-out, s."""
    battery = DRIVERS[modbus_simulator.type].from_setup(modbus_simulator.setup)
    assert isinstance(battery, ModbusBattery)
    battery.timeout = getattr(request, "param", battery.timeout)
    async with battery:
        yield battery


class Spoiler:
    """Makes reads of a simulated device fail, without its knowledge."""

    def __init__(self, units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: Fault | None = None
        self.asked: list[tuple[int, int, int]] = []
        read = units.read

        def spoilt(unit: int, address: int, count: int) -> Sequence[int]:
            self.asked.append((unit, address, count))
            if self.fault is not None:
                self.fault(unit, address, count)
            answered: Sequence[int] = read(unit, address, count)
            return answered

        monkeypatch.setattr(units, "read", spoilt)


@pytest.fixture
def spoiler(modbus_simulator: Any, monkeypatch: pytest.MonkeyPatch) -> Spoiler:
    return Spoiler(modbus_simulator.server.units, monkeypatch)


def on(type_: str, error: Exception) -> Fault:
    """Return a fault of one part of a device."""

    def fault(unit: int, address: int, count: int) -> None:
        for what, where in LIVE[type_]:
            if unit == where if what == "unit" else address <= where < address + count:
                raise error

    return fault


async def known(battery: ModbusBattery) -> set[str]:
    """Return the keys that have a value."""
    readings = await battery.read()
    return {key for key in readings if readings[key] is not None}


async def read_of(battery: ModbusBattery) -> Readings | None:
    """Return a poll; None where it fails as a whole."""
    try:
        return await battery.read()
    except BatteryError:
        return None


async def test_a_poll_that_is_refused_as_a_whole_is_an_error_and_teaches_nothing(
    battery: ModbusBattery, spoiler: Spoiler, modbus_simulator: Simulator
) -> None:
    before, measurements = await known(battery), battery.measurements

    def refuse(*_: int) -> None:
        raise Refused(ILLEGAL_ADDRESS)

    for _ in range(3):
        spoiler.fault = refuse
        with pytest.raises(DeviceRefusedError, match="refuses all"):
            await battery.read()
        spoiler.fault = None
        assert battery.measurements == measurements
        assert await known(battery) == before


async def test_a_part_that_is_refused_for_a_while_is_back_after_it(
    battery: ModbusBattery, spoiler: Spoiler, modbus_simulator: Simulator, leap: Leap
) -> None:
    before, measurements = await known(battery), battery.measurements
    spoiler.fault = on(modbus_simulator.type, Refused(ILLEGAL_ADDRESS))
    for _ in range(4):
        readings = await battery.read()
        assert "battery_soc" in readings
        assert battery.measurements == measurements
    spoiler.fault = None
    leap(BACK_OFF[-1])
    assert await known(battery) == before


@plain_with("victron", of=MODBUS_DEVICES, fixture="modbus_simulator")
@pytest.mark.parametrize("battery", [TIMEOUT], indirect=True)
async def test_a_part_without_an_answer_costs_its_own_values_and_few_time_outs(
    battery: ModbusBattery, spoiler: Spoiler, modbus_simulator: Simulator, leap: Leap
) -> None:
    before = await known(battery)
    spoiler.fault = on(modbus_simulator.type, Silent())
    readings = [await read_of(battery) for _ in range(10)]
    last = readings[-1]
    assert last is not None
    assert last["battery_soc"] is not None
    lost = {
        key
        for key, err in last.failures.items()
        if isinstance(err, RequestTimeoutError)
    }
    assert lost
    assert lost | last.keys() >= before
    spoiler.asked.clear()
    await battery.read()
    assert not any(_is_spoilt(spoiler, *each) for each in spoiler.asked)

    spoiler.fault = None
    leap(BACK_OFF[-1])
    await battery.read()
    assert await known(battery) == before


def _is_spoilt(spoiler: Spoiler, unit: int, address: int, count: int) -> bool:
    """Return True for a read that the fault keeps from being answered."""
    assert spoiler.fault is not None
    try:
        spoiler.fault(unit, address, count)
    except Silent:
        return True
    return False


async def test_any_words_give_finite_values_or_errors_of_the_library(
    battery: ModbusBattery, modbus_simulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await battery.read()
    numbers = random.Random(15)
    special = (0, 1, 0x7FFF, 0x8000, 0xFFFF)

    def noise(_unit: int, _address: int, count: int) -> list[int]:
        return [
            numbers.choice(special)
            if numbers.random() < 0.5
            else numbers.getrandbits(16)
            for _ in range(count)
        ]

    monkeypatch.setattr(modbus_simulator.server.units, "read", noise)
    for _ in range(20):
        readings = await read_of(battery)
        assert readings is None or all(
            abs(value) < float("inf")
            for value in readings.values()
            if isinstance(value, float)
        )


async def test_zeros_of_a_device_that_restarts_are_no_values(
    battery: ModbusBattery, modbus_simulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await battery.read())["battery_soc"]
    with monkeypatch.context() as patch:
        patch.setattr(
            modbus_simulator.server.units, "read", lambda *asked: [0] * asked[-1]
        )
        with pytest.raises(StartingError, match="nothing but zeros"):
            await battery.read()
    assert (await battery.read())["battery_soc"] == before


@pytest.mark.parametrize("refusals", [1, 4])
async def test_an_ess_assistant_that_is_refused_is_detected_all_the_same(
    refusals: int, victron: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refusal says nothing; after more of them the hourly scan detects it."""
    spoiler = Spoiler(victron.server.units, monkeypatch)
    remaining = refusals

    def refuse_ess(_unit: int, address: int, _count: int) -> None:
        nonlocal remaining
        if address == 2709 and remaining:
            remaining -= 1
            raise Refused(ILLEGAL_ADDRESS)

    spoiler.fault = refuse_ess
    async with DRIVERS["victron"].from_setup(victron.setup) as battery:
        assert (battery.setpoint_limits is not None) is (refusals == 1)
        remaining = 0
        assert await battery.has_new_parts() is (refusals > 1)


async def test_a_scan_for_new_parts_goes_on_after_a_question_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The battery's count of energy is detected beside an ESS assistant that is not."""
    codes = {2709: ILLEGAL_ADDRESS, 301: ILLEGAL_ADDRESS}

    def refuse(_unit: int, address: int, _count: int) -> None:
        if address in codes:
            raise Refused(codes[address])

    async with VictronSimulator(battery="shunt") as victron:
        Spoiler(victron.server.units, monkeypatch).fault = refuse
        async with DRIVERS["victron"].from_setup(victron.setup) as battery:
            assert battery.setpoint_limits is None
            codes[2709] = DEVICE_FAILURE
            assert not await battery.has_new_parts()
            del codes[301]
            assert await battery.has_new_parts()


PASSING: Final = [
    ("victron", (227, 132)),
    ("sun2000", (1, 47000)),
    ("sun2000", (1, 37760)),
    ("deye_modbus", (1, 0)),
    ("deye_solarman", (1, 0)),
    ("sma", (3, 30231)),
    ("sma", (3, 33019)),
]
"""A word that says something of a device when it is connected: unit and address."""


@pytest.mark.parametrize(
    ("modbus_simulator", "word", "code"),
    [
        *((*each, ILLEGAL_ADDRESS) for each in PASSING),
        ("sun2000", (1, 30070), DEVICE_FAILURE),
        ("sun2000", (1, 38200), DEVICE_FAILURE),
        ("sun2000", (1, 47000), DEVICE_FAILURE),
    ],
    indirect=["modbus_simulator"],
)
async def test_what_is_refused_when_connecting_is_asked_again(
    word: tuple[int, int],
    code: int,
    modbus_simulator: Simulator,
    spoiler: Spoiler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hourly scan detects it; the entry is then set up with it."""
    monkeypatch.setattr(sun2000_unit, "BACK_OFFS", ())

    def refuse(unit: int, address: int, count: int) -> None:
        if unit == word[0] and address <= word[1] < address + count:
            raise Refused(code)

    spoiler.fault = refuse
    async with DRIVERS[modbus_simulator.type].from_setup(
        modbus_simulator.setup
    ) as battery:
        await battery.read()
        assert not await battery.has_new_parts()
        spoiler.fault = None
        assert await battery.has_new_parts()
        await battery.connect()
        await battery.read()
        assert battery.setpoint_limits is not None
        assert not await battery.has_new_parts()
