"""The requests to a battery while it is polled and held: their number and addresses."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import takewhile
import sys
from typing import Final

from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity
import pytest

from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.modbus.register import Register
from tests.drivers.deye.test_inverter import NEVER_WRITE as DEYE_NEVER
from tests.drivers.sma.test_inverter import NEVER_WRITE as SMA_NEVER
from tests.drivers.sun2000.test_inverter import NEVER_WRITTEN as HUAWEI_NEVER
from tests.drivers.tables import registers_in
from tests.drivers.victron.test_inverter import NEVER_WRITE as VICTRON_NEVER
from tests.home import KINDS, Home, MakeHome, Warp, each_on_a_socket
from tests.simulators import SessySimulator, Simulator
from tests.simulators.http_server import JsonServer, Request
from tests.simulators.modbus import (
    ILLEGAL_ADDRESS,
    Read,
    Refusal,
    Refused,
    Units,
    Write,
)

MODBUS: Final = [name for name in DRIVERS if KINDS[name].missing is not None]
NEVER_WRITTEN: Final[dict[str, set[int]]] = {
    "victron": set(VICTRON_NEVER),
    "sma": set(SMA_NEVER),
    "sun2000": HUAWEI_NEVER,
    "deye_modbus": DEYE_NEVER,
    "deye_solarman": DEYE_NEVER,
}
"""Addresses whose writes would do harm, or that belong to other controllers."""


def units_of(simulator: Simulator) -> Units:
    """Return the simulated units of a Modbus device."""
    units = getattr(simulator.server, "units", None)
    assert isinstance(units, Units)
    return units


def asked(simulator: Simulator) -> int:
    """Return the number of requests that the device has received."""
    if isinstance(simulator, SessySimulator):
        return len(simulator.server.log)
    return units_of(simulator).traffic.requests


@each_on_a_socket
async def test_polling_live_values_takes_few_requests(home: Home, warp: Warp) -> None:
    """The house has a battery and a meter; only default entities are enabled."""
    assert home.find("battery_power")
    assert home.find("grid_power") or home.simulator.type == "sessy"
    for _ in range(
        2
    ):  # polls that also read slow keys, and keys that are read only once
        await warp(6)
    before = asked(home.simulator)
    await warp(6)
    assert 0 < asked(home.simulator) - before <= KINDS[home.simulator.type].requests


def is_write(request: Request | Read | Write | Refusal) -> bool:
    """Return whether a request may have changed something on the device."""
    if isinstance(request, Request):
        return request.method != "GET"
    return isinstance(request, Write)


def read_by(request: Request | Read | Write | Refusal) -> list[tuple[int, int] | str]:
    """Return what a request read: (unit, address) of each word, or the path."""
    match request:
        case Request(path=path):
            return [path]
        case Read(unit, address, words):
            return [(unit, each) for each in range(address, address + words)]
    return []


FIRST_STATES: Final[dict[str, int]] = {
    "victron": 15,
    "sun2000": 22,
    "deye_modbus": 9,
    "deye_solarman": 9,
    "sessy": 10,
    "sma": 22,
}
"""The most requests from connecting until the first states, at first and later on."""


@each_on_a_socket
async def test_the_first_states_need_few_requests(
    make_home: MakeHome, simulator: Simulator
) -> None:
    """A slow gateway needs a second for each: what nobody sees is read afterwards."""
    home = make_home(simulator)
    at_first_state: list[int] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"].endswith("_state_of_charge"):
            at_first_state.append(asked(simulator))

    home.hass.bus.async_listen(EVENT_STATE_CHANGED, note)
    await home.set_up()
    assert at_first_state[0] <= FIRST_STATES[simulator.type]
    assert asked(simulator) > at_first_state[0]

    at_first_state.clear()
    before = asked(simulator)
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done(wait_background_tasks=True)
    back = next(count for count in at_first_state if count > before)
    assert back - before <= FIRST_STATES[simulator.type]


@each_on_a_socket
async def test_nothing_is_read_twice_before_the_first_write(
    home: Home, warp: Warp
) -> None:
    """Neither by the snapshot and the conditions, nor by the driver and its caller."""
    await warp(61)
    server = home.simulator.server
    log: deque[Request] | deque[Read | Write | Refusal]
    if isinstance(server, JsonServer):
        log = server.log
    else:
        log = units_of(home.simulator).traffic.log
    log.clear()
    await home.set_power(1000)
    before = list(takewhile(lambda request: not is_write(request), log))
    assert 0 < len(before) < len(log)
    reads = Counter(each for request in before for each in read_by(request))
    assert {each for each, times in reads.items() if times > 1} == set()


def states(home: Home) -> dict[str, str]:
    """Return the states of all entities by key."""
    prefix = f"{home.entry.unique_id}_"
    by_key = {}
    for entity in er.async_entries_for_config_entry(
        er.async_get(home.hass), home.entry.entry_id
    ):
        if state := home.hass.states.get(entity.entity_id):
            by_key[entity.unique_id.removeprefix(prefix)] = state.state
    return by_key


@pytest.mark.parametrize("simulator", MODBUS, indirect=True)
async def test_missing_register_costs_its_own_entity_only(
    home: Home, simulator: Simulator, warp: Warp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_all = states(home)
    assert with_all["battery_temperature"] not in ("unknown", "unavailable")
    word = KINDS[simulator.type].missing
    assert word is not None
    unit_without, missing = word
    units = units_of(simulator)
    read = units.read

    def refuse_missing(unit: int, address: int, count: int) -> Sequence[int]:
        if unit == unit_without and address <= missing < address + count:
            raise Refused(ILLEGAL_ADDRESS)
        return read(unit, address, count)

    monkeypatch.setattr(units, "read", refuse_missing)
    await home.hass.config_entries.async_reload(home.entry.entry_id)
    await home.hass.async_block_till_done()
    for _ in range(2):
        await warp(61)
    without = states(home)
    assert without.keys() == with_all.keys()
    lost = {
        key
        for key, state in without.items()
        if state == "unavailable" != with_all[key]
        or (state == "unknown" != with_all[key])
    }
    assert lost == {"battery_temperature"}


def registers_of(battery: ModbusBattery) -> Iterator[Register]:
    """Yield all registers of a driver's tables, also those that this device lacks."""
    for device in battery.devices:
        yield from device.registers.values()
    package = type(battery).__module__.rpartition(".")[0]
    for name, module in sys.modules.items():
        if name.startswith(f"{package}."):
            for table in vars(module).values():
                yield from registers_in(table)


@pytest.mark.parametrize("simulator", MODBUS, indirect=True)
async def test_only_registers_of_the_table_are_read_and_written(
    make_home: MakeHome,
    simulator: Simulator,
    warp: Warp,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)
    home = make_home(simulator)
    assert await home.set_up()
    for power in (1000, -500, 0):
        await home.set_power(power)
        await warp(61)
    await home.choose("automatic")
    await warp(61)
    battery = home.data.battery
    assert isinstance(battery, ModbusBattery)
    known: dict[int, bool] = {}
    for register in registers_of(battery):
        for address in range(register.address, register.end):
            known[address] = known.get(address, False) or register.writable
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    log = units_of(simulator).traffic.log
    reads = [entry for entry in log if isinstance(entry, Read)]
    writes = [entry for entry in log if isinstance(entry, Write)]
    assert reads
    assert writes
    for read in reads:
        # A block begins and ends with a register; gaps in between are harmless.
        assert {read.address, read.address + read.words - 1} <= known.keys(), read
    for write in writes:
        addresses = range(write.address, write.address + len(write.words))
        for address in addresses:
            assert known.get(address), write
        assert not NEVER_WRITTEN[simulator.type].intersection(addresses), write
