"""Drivers of Modbus batteries with any words: none is a value that there cannot be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
import math
from random import Random
from typing import Any, Final

from hypothesis import given, strategies as st
import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.errors import BatteryError
from custom_components.homebattery.drivers.measurements import MOST_POWER
from custom_components.homebattery.drivers.modbus.device import ModbusDevice
from custom_components.homebattery.drivers.modbus.planning import plan_blocks
from tests.home import house_of
from tests.simulators import SIMULATORS, ManualClock
from tests.strategies import JSON, LEAVES, POWERS, WORDS, damaged, share_of_examples

from .in_memory import InMemoryConnection, Spoil
from .possible import read_all, use

BATTERIES: Final = [
    kind for kind, driver in DRIVERS.items() if issubclass(driver, ModbusBattery)
]
each_battery: Final = pytest.mark.parametrize(
    "kind",
    [
        # Its inverter is that of `deye_modbus`.
        pytest.param(kind, marks=[pytest.mark.long] if kind == "deye_solarman" else [])
        for kind in BATTERIES
    ],
)


@asynccontextmanager
async def connected(
    kind: str, spoil: Spoil | None = None
) -> AsyncIterator[tuple[Battery, InMemoryConnection]]:
    """Yield a battery in memory, and the connection to it.

    Its words are spoilt from the beginning, or not yet. Raises what connecting raises.
    """
    device: Any = SIMULATORS[kind]
    simulator = device(house_of(device, ManualClock()))
    connection = InMemoryConnection(simulator.units)
    connection.spoil = spoil
    battery: Any = DRIVERS[kind].from_setup({**simulator.setup, "port": 502})
    battery._make_connection = lambda: connection
    async with battery:
        yield battery, connection


@cache
def devices_of(kind: str) -> list[ModbusDevice]:
    """Return the units of a battery, each with its registers and layout."""

    async def connect() -> list[ModbusDevice]:
        async with connected(kind) as (battery, _):
            assert isinstance(battery, ModbusBattery)
            return battery.devices

    return asyncio.run(connect())


def addresses_of(kind: str) -> list[int]:
    """Return the addresses of all registers of a battery."""
    return sorted(
        {
            address
            for device in devices_of(kind)
            for register in device.registers.values()
            for address in range(register.address, register.end)
        }
    )


def constant(always: int) -> Spoil:
    """Replace every word."""
    return lambda _address, _word: always


def at_random(seed: int, share: float) -> Spoil:
    """Replace a share of the words, always the same ones by the same ones."""

    def spoil(address: int, word: int) -> int:
        random = Random(f"{seed} {address}")
        return random.randrange(0x10000) if random.random() < share else word

    return spoil


def spoils(kind: str) -> st.SearchStrategy[Spoil]:
    """Return functions that replace some words of a battery, or all."""
    addresses = st.sampled_from(addresses_of(kind))
    return st.one_of(
        st.dictionaries(addresses, WORDS, min_size=1, max_size=30).map(
            lambda words: words.get
        ),
        WORDS.map(constant),
        st.builds(at_random, st.integers(0, 2**32), st.sampled_from([0.02, 0.3, 1])),
    )


# Words ------------------------------------------------------------------------


@each_battery
@share_of_examples(1 / 5)
@given(st.data())
def test_any_words_are_read_as_possible_values_or_as_unknown(
    kind: str, data: st.DataObject
) -> None:
    spoil = data.draw(spoils(kind))

    async def read() -> None:
        async with connected(kind) as (battery, connection):
            connection.spoil = spoil
            with suppress(BatteryError):
                await read_all(battery)

    asyncio.run(read())


@each_battery
@share_of_examples(1 / 5)
@given(st.data())
def test_any_words_when_connecting_are_a_battery_or_an_error_of_the_library(
    kind: str, data: st.DataObject
) -> None:
    spoil = data.draw(spoils(kind))

    async def connect() -> None:
        with suppress(BatteryError):
            async with connected(kind, spoil) as (battery, _):
                await read_all(battery)

    asyncio.run(connect())


@each_battery
@share_of_examples(1 / 10)
@given(st.data())
def test_any_words_while_held_raise_only_errors_of_the_library(
    kind: str, data: st.DataObject
) -> None:
    before, after = data.draw(spoils(kind)), data.draw(spoils(kind))
    power = data.draw(st.integers(-5000, 5000))
    held = data.draw(st.booleans())

    async def control() -> None:
        async with connected(kind) as (battery, connection):
            if held:
                await battery.set_power_setpoint(power)
            connection.spoil = before
            await use(battery, power)
            connection.spoil = after
            await use(battery, power)

    asyncio.run(control())


@each_battery
@share_of_examples(1 / 2)
@given(st.data())
def test_any_words_of_a_register_are_a_finite_number_a_text_or_unknown(
    kind: str, data: st.DataObject
) -> None:
    device = data.draw(st.sampled_from(devices_of(kind)))
    register = data.draw(st.sampled_from(list(device.registers.values())))
    words = data.draw(st.lists(WORDS, min_size=register.count, max_size=register.count))

    value = register.decode(words, low_word_first=data.draw(st.booleans()))

    match value:
        case str():
            assert (
                len(value) <= 2 * register.count
                or value in (register.enum or {}).values()
            )
        case int() | float():
            assert math.isfinite(value)
            assert register.enum is None
        case _:
            assert value is None


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("victron", constant(0x7FFE)),
        ("sun2000", at_random(4960187, 0.3)),
        ("deye_modbus", at_random(1, 0.3)),
        ("deye_solarman", at_random(1, 0.3)),
        ("sma", at_random(67128, 0.3)),
    ],
    ids=BATTERIES,
)
async def test_impossible_ratings_give_possible_limits(kind: str, spoil: Spoil) -> None:
    async with connected(kind, spoil) as (battery, _):
        limits = battery.setpoint_limits

    assert limits is not None
    assert -MOST_POWER <= limits.minimum <= 0 <= limits.maximum <= MOST_POWER


# Planning ---------------------------------------------------------------------


@each_battery
@share_of_examples(1 / 3)
@given(st.data())
def test_any_registers_are_read_once_each_in_blocks_that_the_device_accepts(
    kind: str, data: st.DataObject
) -> None:
    device = data.draw(st.sampled_from(devices_of(kind)))
    layout = device._layout
    readable = [each for each in device.registers.values() if each.readable]
    wanted = data.draw(st.lists(st.sampled_from(readable), unique_by=id))
    learned = data.draw(st.frozensets(st.integers(0, 0xFFFF), max_size=5))

    blocks = plan_blocks(wanted, layout, learned)

    planned = [register for block in blocks for register in block.registers]
    assert len(planned) == len(wanted)
    assert {each.name for each in planned} == {each.name for each in wanted}
    for block in blocks:
        span = range(block.address + 1, block.end)
        assert 0 < block.count <= layout.max_words
        assert layout.borders.isdisjoint(span)
    in_other_order = data.draw(st.permutations(wanted))
    assert plan_blocks(in_other_order, layout, learned) == blocks


# What is stored and asked -----------------------------------------------------


@each_battery
@share_of_examples(1 / 5)
@given(st.data())
def test_any_stored_snapshot_is_restored_as_far_as_it_makes_sense(
    kind: str, data: st.DataObject
) -> None:
    async def restore() -> None:
        async with connected(kind) as (battery, _):
            snapshot = await battery.take_snapshot()
            stored = data.draw(damaged(snapshot) | JSON)
            if not isinstance(stored, dict):
                return
            recovered = battery.recover(stored)
            assert set(recovered.snapshot) <= set(snapshot)
            await battery.set_power_setpoint(1000)
            battery.snapshot = recovered.snapshot
            with suppress(BatteryError):
                await battery.release()

    asyncio.run(restore())


@each_battery
@share_of_examples(1 / 5)
@given(st.data())
def test_any_value_is_set_or_refused_by_an_error_of_the_library(
    kind: str, data: st.DataObject
) -> None:
    async def change() -> None:
        async with connected(kind) as (battery, _):
            key = data.draw(st.sampled_from([*battery.settings, "none"]))
            power, value = data.draw(POWERS), data.draw(LEAVES)
            for step in (
                lambda: battery.set_value(key, value),
                lambda: battery.set_power_setpoint(power),
                lambda: battery.set_current_setpoint(power),
                lambda: battery.set_power_setpoint_phase(power, 1),
                lambda: battery.set_current_setpoint_phase(power, 4),
            ):
                with suppress(BatteryError):
                    await step()
            await battery.release()

    asyncio.run(change())
