"""Tests of every battery with every fault, at rest and held."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partialmethod
from importlib import import_module
from itertools import product
import logging
from typing import Any, Final

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN, PLATFORMS
from custom_components.homebattery.drivers import DRIVERS
from tests.home import KINDS, Home, Warp, house_of
from tests.simulators import SIMULATORS, ManualClock, Simulator

from .behaviours import TIMEOUT
from .bench import POLL, Bench, Said
from .counting import CELL
from .expectations import RETRY, Live, Row
from .faults import FAULTS, PROTOCOLS, Fault, Situation
from .proxy import Proxy
from .truth import SteeredTime, Truth

PLAIN: Final = ("victron", "sessy")
"""The batteries whose cells do not take long: one by Modbus, one by REST."""
PLAIN_STARTS: Final = ("connection refused", "each word 0", "each value null")
"""The faults that these meet at a start, too; with the others that takes long."""
SETPOINT: Final = 600
"""W"""
NEXT: Final = -400
"""W; asked for while the fault lasts, where it is one of writes."""
VITAL: Final = frozenset({"battery_soc", "battery_power", "battery_voltage"})
"""The keys that a battery needs: they are live when others fail alone."""
HOUR: Final = 3600
SLOWNESS: Final = 8
"""The time goes so many times slower where nothing is to time out."""
MOST_TAKEN: Final = 4 * 1024 * 1024
"""Bytes of an answer: some hundred thousand are read, the others are on the way."""
CAPACITY: Final = 1e6
"""Wh; so large that the SOC stays where it is."""


def cells(*situations: Situation) -> Iterator[Any]:
    """Yield each battery with each fault that can occur in these situations."""
    for battery_type, fault, situation in product(PROTOCOLS, FAULTS, situations):
        row = fault.holds(battery_type, situation)
        if isinstance(row, Row):
            starts = situation is Situation.STARTING
            is_plain = battery_type in PLAIN and (
                not starts or fault.name in PLAIN_STARTS
            )
            yield pytest.param(
                battery_type,
                fault,
                row,
                situation,
                id=f"{battery_type}, {fault.name}, {situation}",
                marks=[] if is_plain else pytest.mark.long,
            )


@pytest.fixture
def time(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> SteeredTime:
    """Return the time of the event loop, which is slow."""
    steered = SteeredTime(hass.loop.time, SLOWNESS)
    monkeypatch.setattr(hass.loop, "time", steered)
    return steered


@pytest.fixture
async def bench(
    battery_type: str,
    fault: Fault,
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    clock: ManualClock,
    time: SteeredTime,  # before `warp`, which adds to it
    warp: Warp,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Bench]:
    """Yield a battery in Home Assistant, and the line to it."""
    caplog.set_level(logging.INFO)
    # The first import takes longer than the device may take to answer.
    for platform in PLATFORMS:
        import_module(f"custom_components.homebattery.{platform}")
    driver = DRIVERS[battery_type]
    with_timeout = partialmethod(driver.__init__, timeout=TIMEOUT)
    device: Any = SIMULATORS[battery_type]
    house = house_of(device, clock)
    house.capacity = CAPACITY
    protocol = fault.protocol or PROTOCOLS[battery_type]
    options = {"framing": "rtu"} if protocol == "rtu" else {}
    async with (
        device(house, **options) as simulator,
        Proxy(simulator, protocol) as proxy,
    ):
        if "one_client" in simulator.server_faults:
            # The truth is read over a connection of its own.
            await simulator.misbehave("one_client", on=False)
        truth = Truth(simulator, time)
        # Some drivers report the setpoint that they hold themselves.
        truth.allow("power_setpoint", SETPOINT, NEXT)
        await truth.start()

        def make_home(simulator: Simulator) -> Home:
            reached = {**simulator.setup, "host": proxy.host, "port": proxy.port}
            entry = MockConfigEntry(
                domain=DOMAIN,
                title=KINDS[battery_type].title,
                unique_id=KINDS[battery_type].serial,
                data={CONF_BATTERY_TYPE: battery_type, **reached},
            )
            entry.add_to_hass(hass)
            return Home(hass, simulator, entry)

        monkeypatch.setattr(driver, "__init__", with_timeout)
        home = make_home(simulator)
        assert await home.set_up()
        made = Bench(
            hass=hass,
            home=home,
            make_home=make_home,
            proxy=proxy,
            truth=truth,
            warp=warp,
            clock=clock,
            monkeypatch=monkeypatch,
            log=caplog,
            storage=hass_storage,
        )
        await made.polls()
        made.watch()
        proxy.observe = lambda: truth.take(always=False)
        yield made
        proxy.observe = None
        await truth.stop()
        await hass.config_entries.async_unload(made.home.entry.entry_id)


@pytest.mark.parametrize(
    ("battery_type", "fault", "row", "situation"),
    cells(Situation.AT_REST, Situation.HELD),
)
async def test_fault_does_no_lasting_harm(
    bench: Bench,
    battery_type: str,
    fault: Fault,
    row: Row,
    situation: Situation,
    time: SteeredTime,
    record_property: Callable[[str, object], None],
) -> None:
    is_held = situation is Situation.HELD
    if is_held:
        await hold(bench)
    async with fault.happens(bench):
        with going(time, row):
            if fault.asks:
                await bench.ask(NEXT)
            await bench.polls()
            assert row.at_once or not bench.lost
            await bench.polls(max(fault.seconds, bench.renewal) // POLL)
        check_shown(bench, row)
        check_control(bench, row)

    await check_back(bench, row)
    assert await bench.ask(None)
    await bench.polls()
    await check_end(bench, row)
    assert bench.said[Said.LOST] in row.losses, bench.lines
    assert bench.said[Said.BACK] in row.losses, bench.lines
    most_doubts = row.doubts if is_held or fault.asks else 0
    assert bench.said[Said.IN_DOUBT] <= most_doubts, bench.lines
    record_property(CELL, f"{battery_type}: {row.title}")


@pytest.mark.parametrize(
    ("battery_type", "fault", "row", "situation"), cells(Situation.STARTING)
)
async def test_start_amid_a_fault_releases_a_held_battery(
    bench: Bench,
    battery_type: str,
    fault: Fault,
    row: Row,
    situation: Situation,
    time: SteeredTime,
    record_property: Callable[[str, object], None],
) -> None:
    await hold(bench)
    async with fault.happens(bench):
        with going(time, row):
            await bench.restart()
            await bench.polls(fault.seconds // POLL)
        is_ready = bench.is_loaded
        check_started(bench, row)

    await check_released(bench, row)
    assert await bench.ask(NEXT)
    assert await bench.ask(None)
    await bench.polls()
    await check_end(bench, row)
    most_losses = max(row.losses) if is_ready else 0
    assert bench.said[Said.LOST] <= most_losses, bench.lines
    assert bench.said[Said.BACK] <= most_losses, bench.lines
    assert bench.said[Said.IN_DOUBT] <= row.doubts, bench.lines
    assert bench.said[Said.WAS_HELD] == 1, bench.lines
    record_property(CELL, f"{battery_type}: {row.title}")


async def hold(bench: Bench) -> None:
    """Hold the battery at a setpoint, and see it follow."""
    assert await bench.ask(SETPOINT)
    await bench.polls()
    assert bench.status == ("following", None)


def going(time: SteeredTime, row: Row) -> AbstractContextManager[None]:
    """Let the time go as it does where something is to time out.

    Not where a fault is seen at once: it answers.
    """
    times_out = row.live is Live.LOST and not row.at_once
    return time.real() if times_out else nullcontext()


def check_shown(bench: Bench, row: Row) -> None:
    """Check what is available in the end of a fault."""
    match row.live:
        case Live.LOST:
            assert bench.live_lost == bench.live
        case Live.KEPT:
            assert row.parts or not bench.lost
    if row.parts:
        assert bench.lost
        assert VITAL.isdisjoint(bench.lost)


def check_control(bench: Bench, row: Row) -> None:
    """Check the control status, and that there is a lease as long as it is held."""
    assert bench.has_lease == bench.is_held
    if bench.is_held:
        assert bench.status in row.held
    else:
        assert bench.status[0] in ("automatic", "unavailable")
        assert bench.changed == {}
    assert not any(reason == "other_controller" for _, reason in bench.statuses)


def check_started(bench: Bench, row: Row) -> None:
    """Check a battery that was held when Home Assistant started, while a fault lasts."""
    assert bench.is_loaded or bench.is_retried
    assert bench.has_lease or bench.changed == {}
    match row.live:
        case Live.LOST:
            assert bench.live_lost == bench.live
            assert bench.has_lease
        case Live.KEPT:
            assert bench.is_loaded
            assert VITAL.isdisjoint(bench.lost)
            assert row.parts or not bench.lost
    if bench.is_loaded:
        assert bench.status[0] == ("release_failed" if bench.is_held else "automatic")


async def check_released(bench: Bench, row: Row) -> None:
    """Check that the battery is soon set up, released and shown, without a reload."""
    assert await bench.until(lambda: bench.is_loaded, RETRY)
    assert await bench.until(lambda: not bench.is_held, RETRY), bench.status
    for _ in range(2 if row.parts else 0):
        # What was missing at a start is looked for once an hour, and asked for twice.
        await bench.warp(HOUR)
    assert await bench.until(lambda: not bench.lost, row.back), bench.lost


async def check_back(bench: Bench, row: Row) -> None:
    """Check that all is as before in time, without a reload."""
    assert await bench.until(lambda: not bench.live_lost, row.live_back), (
        bench.live_lost
    )
    good = {"following", "automatic"}
    if row.recovers:
        assert await bench.until(lambda: bench.status[0] in good, RETRY), bench.status
    assert await bench.until(lambda: not bench.lost, row.back), bench.lost


def check_values(bench: Bench, row: Row) -> None:
    """Check that no value was shown that never was true."""
    wrong = bench.truth.wrong
    if row.zeros:
        wrong = {key: wrong[key] for key in wrong if _is_never_0(key)}
    assert wrong == {}


def _is_never_0(key: str) -> bool:
    return key == "battery_soc" or key.endswith("_total")


async def check_end(bench: Bench, row: Row) -> None:
    """Check the device, what was shown and read until now, and the log."""
    assert bench.changed == {}
    assert bench.simulator.mode == "automatic"
    assert bench.status == ("automatic", None)
    assert not bench.has_lease
    # One that hangs up again and again may have another client; that is said for a while.
    assert bench.issues <= {"connection_stolen"}
    await bench.truth.take()
    check_values(bench, row)
    assert bench.proxy.most_taken < MOST_TAKEN
    assert bench.tracebacks == []
    assert bench.said[Said.CERTAIN] == bench.said[Said.IN_DOUBT], bench.lines
    assert bench.said[Said.ODD] <= row.odd_values, bench.lines
    assert bench.said[Said.OTHER] == 0, bench.lines
