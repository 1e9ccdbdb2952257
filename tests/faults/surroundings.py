"""Contexts in which a fault lasts, one function a fault."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from homeassistant.util.file import WriteError

from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from tests.home import OTHER_LOGGER, another, house_of
from tests.simulators import Simulator

from . import behaviours as does
from .bench import Bench
from .proxy import Behaviour, pass_on

type Happening = Callable[[Bench], AbstractAsyncContextManager[None]]


def on_line(behaviour: Callable[[str], Behaviour]) -> Happening:
    """Let the line behave so; `behaviour` is given the type of battery."""

    @asynccontextmanager
    async def happen(bench: Bench) -> AsyncIterator[None]:
        bench.proxy.behaviour = behaviour(bench.simulator.type)
        yield
        assert bench.proxy.harmed, "the fault has met no request"
        bench.proxy.behaviour = pass_on

    return happen


@asynccontextmanager
async def refused(bench: Bench) -> AsyncIterator[None]:
    """Refuse connections, as a computer does that has no such server."""
    await bench.proxy.refuse()
    yield
    await bench.proxy.listen()


@asynccontextmanager
async def unreachable(bench: Bench) -> AsyncIterator[None]:
    """Drop all packets, as a network does in which the device is not."""
    await bench.proxy.drop()
    yield
    await bench.proxy.listen()


def _replaced(make: Callable[[Bench], Simulator]) -> Happening:
    """Let another device have the address, after one missed poll."""

    @asynccontextmanager
    async def happen(bench: Bench) -> AsyncIterator[None]:
        own = bench.proxy.device
        async with make(bench) as other:
            before = other.settings_words()
            await bench.proxy.refuse()
            await bench.polls()
            bench.proxy.device = other
            await bench.proxy.listen()
            yield
            await bench.proxy.refuse()
            bench.proxy.device = own
            await bench.proxy.listen()
            assert other.settings_words() == before, "the other device was written to"

    return happen


def _with_another_logger(bench: Bench) -> Simulator:
    """Return the device behind another data logger, as far as its answers say."""
    kind: Any = type(bench.simulator)
    house = house_of(kind, bench.clock)
    other: Simulator = kind(house, logger_serial=OTHER_LOGGER)
    return other


another_device: Final = _replaced(lambda it: another(it.simulator, it.clock))
another_behind: Final = _replaced(
    lambda it: another(it.simulator, it.clock, same_logger=True)
)
another_logger: Final = _replaced(_with_another_logger)


@asynccontextmanager
async def full_disk(bench: Bench) -> AsyncIterator[None]:
    """Let nothing be written to the disk of Home Assistant."""

    async def fail(*_: object) -> None:
        raise WriteError("No space left on device")

    with bench.monkeypatch.context() as patch:
        patch.setattr(Store, "_async_write_data", fail)
        yield


def clock_jump(jump: timedelta) -> Happening:
    """Let the clock of Home Assistant go wrong."""

    @asynccontextmanager
    async def happen(bench: Bench) -> AsyncIterator[None]:
        utcnow = dt_util.utcnow
        with bench.monkeypatch.context() as patch:
            patch.setattr(dt_util, "utcnow", lambda: utcnow() + jump)
            yield

    return happen


@asynccontextmanager
async def sentinels(bench: Bench) -> AsyncIterator[None]:
    """Let each register say in the words of its maker that it is not available."""
    words: dict[int, int] = {}
    battery = bench.home.data.battery
    assert isinstance(battery, ModbusBattery)
    for device in battery.devices:
        for register in device.registers.values():
            if register.sentinels:
                words.update(enumerate(register.encode(None), register.address))
    async with on_line(lambda _: does.sentinels(words))(bench):
        yield
