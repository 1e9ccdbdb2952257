"""Tests of every battery with every fault, at rest and held."""

from collections.abc import AsyncIterator, Iterator
from functools import partialmethod
from typing import Any, Final
import os
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import CONF_BATTERY_TYPE, DOMAIN
from custom_components.homebattery.drivers import DRIVERS
from tests.home import KINDS, Home, Warp, house_of
from tests.simulators import SIMULATORS, ManualClock
from .behaviours import TIMEOUT
from .bench import POLL, RENEWAL, Bench
from .faults import FAULTS, Fault, write_faults
from .framing import Protocol
from .proxy import Proxy, pass_on

PROTOCOLS: Final[dict[str, Protocol]] = {
    "victron": "modbus",
    "sun2000": "modbus",
    "deye_modbus": "modbus",
    "deye_solarman": "solarman",
    "sessy": "http",
    "sma": "modbus",
}
HELD: Final = 600
NEXT: Final = -400


@pytest.fixture
async def bench(
    battery_type: str,
    hass: HomeAssistant,
    clock: ManualClock,
    warp: Warp,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Bench]:
    driver = DRIVERS[battery_type]
    monkeypatch.setattr(
        driver, "__init__", partialmethod(driver.__init__, timeout=TIMEOUT)
    )
    device: Any = SIMULATORS[battery_type]
    house = house_of(device, clock)
    house.capacity = 1e9
    async with device(house) as simulator, Proxy(simulator, PROTOCOLS[battery_type]) as proxy:
        entry = MockConfigEntry(
            domain=DOMAIN,
            title=KINDS[battery_type].title,
            unique_id=KINDS[battery_type].serial,
            data={
                CONF_BATTERY_TYPE: battery_type,
                **simulator.setup,
                "host": proxy.host,
                "port": proxy.port,
            },
        )
        entry.add_to_hass(hass)
        home = Home(hass, simulator, entry)
        assert await home.set_up()
        await warp(POLL)
        yield Bench(hass, home, simulator, proxy, warp, caplog, hass_storage)
        await hass.config_entries.async_unload(entry.entry_id)


def cells() -> Iterator[Any]:
    for battery_type, protocol in PROTOCOLS.items():
        for fault in (*FAULTS, *write_faults()):
            if isinstance(fault.on(protocol), str):
                continue
            for held in (False, True):
                yield pytest.param(
                    battery_type,
                    fault,
                    held,
                    id=f"{battery_type}-{fault.name}-{'held' if held else 'idle'}",
                    marks=[] if battery_type in ("victron", "sessy") else pytest.mark.long,
                )


@pytest.mark.parametrize(("battery_type", "fault", "held"), cells())
async def test_cell(bench: Bench, battery_type, fault: Fault, held: bool) -> None:
    out = open(os.environ.get("OUT", "/tmp/faults.out"), "a")
    bench.watch()
    if held:
        assert await bench.ask(HELD)
        await bench.warp(2)
        await bench.polls(1)
        bench.note_truth()
    res = []
    if fault.behaves:
        bench.proxy.behaviour = fault.behaves(battery_type)
    elif fault.begin in ("refuse", "drop"):
        await getattr(bench.proxy, fault.begin)()
    else:
        pytest.skip("later")
    asked = await bench.ask(NEXT) if fault.asks else None
    n = len(bench.measured)
    mark = len(bench.statuses)
    for _ in range(max(3, fault.seconds // POLL)):
        await bench.polls(1)
        res.append(len(bench.unavailable))
    unav = bench.unavailable
    st = bench.statuses[mark:]
    during = bench.status
    mode = bench.home.state("control_mode")
    bench.proxy.behaviour = pass_on
    await bench.proxy.listen()
    back = None
    sback = None
    for k in range(14):
        await bench.polls(1)
        if back is None and not bench.unavailable - bench.truths_unavailable:
            back = k + 1
        if sback is None and bench.status[0] in ("following", "automatic"):
            sback = k + 1
        if back and sback:
            break
    bench.note_truth()
    status = bench.status
    released = await bench.ask(None)
    await bench.polls(1)
    bench.note_truth()
    print(
        f"{battery_type:13} {fault.name:34} {'held' if held else 'idle'} n={n} un={res[:3]}..{res[-1]} st={sorted(set(st), key=str)} during={during}/{mode} back={back},{sback} {status} asked={asked} released={released} changed={bench.changed} wrong={bench.wrong[:6]}{len(bench.wrong)} rep={bench.repeated} tb={bench.tracebacks} lines={[l.getMessage()[:70] for l in bench.lines] if os.environ.get('LINES') else len(bench.lines)} some={sorted(unav)[:4] if res[-1] < n/2 else ''}",
        file=out, flush=True,
    )
