"""Tests of every battery with every fault, at rest and held."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from functools import partialmethod
import logging
from typing import Any, Final

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers import DRIVERS
from tests.home import KINDS, Home, Warp, house_of
from tests.simulators import SIMULATORS, ManualClock

from .behaviours import TIMEOUT
from .bench import POLL, Bench
from .counting import CELL
from .expectations import RETRY, Live, Row
from .faults import FAULTS, PROTOCOLS, Fault
from .proxy import Proxy
from .truth import SteeredTime, Truth

PLAIN: Final = ("victron", "sessy")
"""The batteries whose cells do not take long: one by Modbus, one by REST."""
SETPOINT: Final = 600
"""W"""
NEXT: Final = -400
"""W; asked for while the fault lasts, where it is one of writes."""
VITAL: Final = frozenset({"battery_soc", "battery_power", "battery_voltage"})
"""The keys that a battery needs: they are live when others fail alone."""
SLOWNESS: Final = 8
"""The time goes so many times slower where nothing is to time out."""
MOST_TAKEN: Final = 4 * 1024 * 1024
"""Bytes of an answer: some hundred thousand are read, the others are on the way."""
CAPACITY: Final = 1e6
"""Wh; so large that the SOC stays where it is."""


def cells() -> Iterator[Any]:
    """Yield each battery with each fault that can occur, at rest and held."""
    for battery_type in PROTOCOLS:
        for fault in FAULTS:
            for held in (
                () if isinstance(fault.holds(battery_type), str) else (False, True)
            ):
                yield pytest.param(
                    battery_type,
                    fault,
                    held,
                    id=f"{battery_type}, {fault.name}, {'held' if held else 'at rest'}",
                    marks=[] if battery_type in PLAIN else pytest.mark.long,
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
    driver = DRIVERS[battery_type]
    with_timeout = partialmethod(driver.__init__, timeout=TIMEOUT)
    device: Any = SIMULATORS[battery_type]
    house = house_of(device, clock)
    house.capacity = CAPACITY
    async with (
        device(house) as simulator,
        Proxy(simulator, PROTOCOLS[battery_type]) as proxy,
    ):
        if "one_client" in simulator.server_faults:
            # The truth is read over a connection of its own.
            await simulator.misbehave("one_client", on=False)
        truth = Truth(simulator, time)
        # Some drivers report the setpoint that they hold themselves.
        truth.allow("power_setpoint", SETPOINT, NEXT)
        await truth.start()
        reached = {**simulator.setup, "host": proxy.host, "port": proxy.port}
        entry = MockConfigEntry(
            domain=DOMAIN,
            title=KINDS[battery_type].title,
            unique_id=KINDS[battery_type].serial,
            data={CONF_BATTERY_TYPE: battery_type, **reached},
        )
        entry.add_to_hass(hass)
        home = Home(hass, simulator, entry)
        with monkeypatch.context() as patch:
            patch.setattr(driver, "__init__", with_timeout)
            assert await home.set_up()
        made = Bench(
            hass=hass,
            home=home,
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
        await hass.config_entries.async_unload(entry.entry_id)


@pytest.mark.parametrize(("battery_type", "fault", "held"), cells())
async def test_fault_does_no_lasting_harm(
    bench: Bench,
    battery_type: str,
    fault: Fault,
    held: bool,
    time: SteeredTime,
    record_property: Callable[[str, object], None],
) -> None:
    row = fault.holds(battery_type)
    assert isinstance(row, Row)
    if held:
        assert await bench.ask(SETPOINT)
        await bench.polls()
        assert bench.status == ("following", None)

    async with fault.happens(bench):
        with time.real() if row.live is Live.LOST else nullcontext():
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
    check_restored(bench)
    await bench.truth.take()
    check_values(bench, row)
    assert bench.proxy.most_taken < MOST_TAKEN
    check_log(bench, row)
    record_property(CELL, f"{battery_type}: {row.title}")


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


def check_restored(bench: Bench) -> None:
    """Check that the device is as it was, and nothing remains to be done."""
    assert bench.changed == {}
    assert bench.simulator.mode == "automatic"
    assert bench.status == ("automatic", None)
    assert not bench.has_lease


def check_log(bench: Bench, row: Row) -> None:
    """Check that the log has few lines, each once, and none with a traceback."""
    assert bench.tracebacks == []
    assert bench.repeated == []
    assert len(bench.lines) <= row.lines, bench.lines
