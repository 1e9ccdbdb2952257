"""Other libraries beside this one, on the same simulated device and the same values."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any, Final

from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.battery.modbus import ModbusBattery
from custom_components.homebattery.drivers.battery.readings import Values

from .cost import Cost, cost_of
from .devices import Device, Setup, ask, line_of, running, simulated
from .environments import THIS_PYTHON, python_with
from .polls import ANSWERS, connected, spacing_of
from .tables import Column, Part, Result, Row, Table

ROUNDS: Final = 9
OWN: Final = "this integration"
SESSY_STATUS: Final = ("battery_power", "battery_soc", "grid_frequency")
"""Measurements that the power status of a Sessy has."""


@dataclass(frozen=True)
class Peer:
    """Another library, and the device that it is compared at."""

    name: str
    module: str
    battery_type: str
    packages: tuple[str, ...]
    arguments: tuple[str, ...] = ("host", "port")
    """Settings of the device that its client takes."""
    python: str = THIS_PYTHON


PEERS: Final = (
    Peer(
        "huawei-solar 3.0.7", "with_huawei_solar", "sun2000", ("huawei-solar==3.0.7",)
    ),
    Peer(
        "HomeBattery 0.0.13 (PyPI)",
        "with_homebattery",
        "sun2000",
        ("HomeBattery==0.0.13", "pymodbus==3.7.2"),
        python="3.11",
    ),
    Peer(
        "sessypy 0.2.6",
        "with_sessypy",
        "sessy",
        ("sessypy==0.2.6", f"aiohttp=={version('aiohttp')}"),
        ("host", "port", "username", "password"),
    ),
    Peer(
        "pysolarmanv5 3.0.6, planned as ha-solarman",
        "with_pysolarmanv5",
        "deye_solarman",
        ("pysolarmanv5==3.0.6",),
        ("host", "port", "logger_serial"),
    ),
)

type Poll = Callable[[], Awaitable[tuple[int | None, Cost]]]
"""Polls once; returns the words of all values, None without Modbus, and the cost."""
type Span = tuple[int, int]
"""The address of a register, and the first one behind it."""


async def run(short: bool) -> Result:
    """Compare with each of the other libraries."""
    rows: list[Row] = []
    missing: list[Row] = []
    for peer in PEERS:
        python = await python_with(peer.module, peer.python, peer.packages)
        if python is None:
            missing.append({"library": peer.name})
            continue
        rows += await _compared(peer, str(python), rounds=2 if short else ROUNDS)
    return {"peers": rows, "missing": missing}


async def _compared(peer: Peer, python: str, rounds: int) -> list[Row]:
    """Measure both on the device in turn; the other library first, which may write.

    Each has a device of its own, since some serve a single client.
    """
    async with (
        simulated(peer.battery_type) as its,
        simulated(peer.battery_type) as ours,
        _client(peer, python, its.setup) as (process, registers),
        connected(ours) as battery,
    ):
        polls: dict[str, tuple[Device, Poll]] = {
            peer.name: (its, partial(_ask, process, words_in(registers) or None)),
            OWN: (ours, _own(battery, registers)),
        }
        return await _rows(polls, rounds)


async def _rows(polls: dict[str, tuple[Device, Poll]], rounds: int) -> list[Row]:
    """Measure polls in turn, at each time to answer."""
    rows: dict[str, dict[str, Any]] = {name: {"library": name} for name in polls}
    for answer in ANSWERS:
        costs: dict[str, list[Cost]] = {name: [] for name in polls}
        for device, poll in polls.values():
            await device.answer_after(answer)
            await poll()
        for _ in range(rounds):
            for name, (device, poll) in polls.items():
                await device.take()
                rows[name]["wanted"], cost = await poll()
                seen = await device.take()
                rows[name]["requests"] = len(seen)
                rows[name]["words"] = sum(each.request.words for each in seen) or None
                costs[name].append(cost)
        for name, row in rows.items():
            row[f"seconds {answer:g}"] = median(each.wall for each in costs[name])
            if not answer:
                row["cpu"] = 1000 * median(each.cpu for each in costs[name])
    return [_with_ratios(row, rows) for row in rows.values()]


def _with_ratios(row: Row, rows: dict[str, dict[str, Any]]) -> Row:
    """Return the row with how it compares to that of the other library."""
    its, ours = rows.values()
    if row is not ours:
        return row
    keys = ("requests", "cpu", *(f"seconds {answer:g}" for answer in ANSWERS))
    return row | {f"{key} ÷": ours[key] / its[key] for key in keys}


@asynccontextmanager
async def _client(
    peer: Peer, python: str, setup: Setup
) -> AsyncIterator[tuple[Process, Sequence[Span]]]:
    """Run the client of another library; yield it, and the registers that it reads."""
    where = [str(setup[name]) for name in peer.arguments]
    async with running(
        f"benchmarks.clients.{peer.module}", *where, python=python
    ) as one:
        registers = (await line_of(one))["registers"]
        await line_of(one)
        yield one, registers


async def _ask(process: Process, wanted: int | None) -> tuple[int | None, Cost]:
    """Let another library poll once, which reads values of so many words."""
    figures = await ask(process, {})
    return wanted, Cost(figures["wall"], figures["cpu"])


def words_in(registers: Iterable[Span]) -> int:
    """Return the number of words in registers, of which some may overlap."""
    return len({word for start, end in registers for word in range(start, end)})


def _own(battery: Battery, registers: Sequence[Span]) -> Poll:
    """Return the poll that reads the same values as another library."""

    async def poll() -> tuple[int | None, Cost]:
        if not isinstance(battery, ModbusBattery):
            return None, await cost_of(partial(battery.read, SESSY_STATUS))
        spans = {
            row.name: (row.address, row.end)
            for device in battery.devices
            for row in device.registers.values()
            if row.readable
            and any(start <= row.address and row.end <= end for start, end in registers)
        }
        values: Values = {}

        async def read() -> None:
            nonlocal values
            values = await battery.read_registers(spans)

        await asyncio.sleep(spacing_of(battery))
        cost = await cost_of(read)
        # A request also brings registers between those that were asked for.
        return words_in(span for name, span in spans.items() if name in values), cost

    return poll


PART: Final = Part(
    "peers",
    "Beside other libraries",
    (
        Table(
            "peers",
            f"Each library reads its own set of values, and {OWN} the same registers, in "
            f"turn. Below 1 in a column with ÷, {OWN} needs less than the library above "
            "it; above 1, more. The values are: for huawei-solar those that its "
            "integration shows at first, for HomeBattery 0.0.13 (an older library for "
            "Python, from PyPI) those that it has methods for, for sessypy the page with "
            "the power of a Sessy, for pysolarmanv5 the words that ha-solarman plans to "
            "read every five seconds for a three-phase Deye (its profile deye_p3). "
            "Words of values are the words in which the device has these values, counted "
            "in the same way on both sides; words read also have the gaps between them. "
            f"Where {OWN} has fewer words of values, its table lacks those registers, and "
            "it makes nothing of them. What is compared is reading and decoding: "
            f"{OWN} reads and decodes registers here, as huawei-solar and HomeBattery do; "
            "pysolarmanv5 decodes nothing. The formulas, the check that values are "
            "possible and the filter of counters are not in these figures, but in those of "
            "the polls above; at a Sessy they are in both. Each poll begins when the pause "
            "that the device needs after the last one is over.",
            (
                Column("library", "library"),
                Column("wanted", "words of values", "d"),
                Column("requests", "requests", "d"),
                Column("words", "words read", "d"),
                Column("requests ÷", "÷", ".2f"),
                Column("seconds 0", "s at 0 ms", ".3f"),
                Column("seconds 0 ÷", "÷", ".2f"),
                Column("seconds 0.02", "s at 20 ms", ".3f"),
                Column("seconds 0.02 ÷", "÷", ".2f"),
                Column("seconds 0.15", "s at 150 ms", ".3f"),
                Column("seconds 0.15 ÷", "÷", ".2f"),
                Column("cpu", "CPU, ms", ".2f"),
                Column("cpu ÷", "÷", ".2f"),
            ),
        ),
        Table(
            "missing",
            "Libraries that could not be installed for this run, and are missing above:",
            (Column("library", "library"),),
        ),
    ),
    run,
)
