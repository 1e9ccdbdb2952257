"""The cost of each poll, beside the least possible."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
import time
from typing import Any, Final
from unittest.mock import patch

from custom_components.homebattery.coordinator import BatteryCoordinator
from custom_components.homebattery.drivers import DRIVERS
from custom_components.homebattery.drivers.battery.base import Battery
from custom_components.homebattery.drivers.measurements import Poll
from custom_components.homebattery.drivers.modbus.device import ModbusDevice
from custom_components.homebattery.drivers.report import Report
from tests.home import KINDS, ON_A_SOCKET

from .bare import answer_time
from .cost import Cost, cost_of
from .devices import NAMES, Counted, Device, simulated
from .framing import Request
from .home import add_entry, home_assistant, set_up
from .least import Wanted, accepted_by, least_requests
from .libraries import plain
from .relay import Seen
from .tables import Column, Part, Result, Row, Table

SLOW_ANSWERS: Final = (0.02, 0.15)
ANSWERS: Final = (0.0, *SLOW_ANSWERS)
"""Times that the device takes to answer, s."""
ROUNDS: Final[Mapping[float, int]] = {0.0: 11, 0.02: 11, 0.15: 3}
"""Number of polls that each time to answer is measured with, s."""
_UNTIL_KNOWN: Final = 3
"""Reads of everything until it is known what the device lacks."""
_LEARNING: Final = 12
"""Minutes until a driver has learned which reads the device answers."""


@dataclass
class Read:
    """The registers that one read of a device brought."""

    device: ModbusDevice
    report: Report
    began: float
    ended: float

    @property
    def registers(self) -> list[tuple[int, int]]:
        """Address and end of each register with a value."""
        rows = [self.device.registers[name] for name in self.report.values]
        return [(row.address, row.end) for row in rows]


@dataclass
class Measured:
    """One poll: its cost, and the requests that it made."""

    cost: Cost
    seen: Sequence[Seen]

    @property
    def words(self) -> int:
        """Number of words that were read."""
        return sum(each.request.words for each in self.seen)


@contextmanager
def _reads() -> Iterator[list[Read]]:
    """Note the reads of all Modbus devices."""
    reads: list[Read] = []
    read = ModbusDevice.read

    async def noted(
        device: ModbusDevice, names: Collection[str], *args: Any, **kwargs: Any
    ) -> Report:
        began = time.monotonic()
        report = await read(device, names, *args, **kwargs)
        reads.append(Read(device, report, began, time.monotonic()))
        return report

    with patch.object(ModbusDevice, "read", noted):
        yield reads


def limit(requests: int, answer: float, spacing: float) -> float:
    """Return the least time of so many requests, s.

    That is the time until each `answer` has come, and the silence that the device needs
    between an answer and the next request (`spacing`), all in seconds.
    """
    return requests * answer + spacing * (requests - 1)


async def measure(device: Counted, battery: Battery, keys: Collection[str]) -> Measured:
    """Read keys, after the pause that the device needs, and measure that."""
    await asyncio.sleep(spacing_of(battery))
    await device.take()
    cost = await cost_of(partial(battery.read, keys))
    return Measured(cost, await device.take())


async def registers_of(
    device: Counted, battery: Battery, keys: Collection[str]
) -> set[Wanted]:
    """Read keys, and return the registers that were read for them; none over HTTP.

    To note them takes time, so that is no poll whose cost is measured.
    """
    with _reads() as reads:
        poll = await measure(device, battery, keys)
    return {
        Wanted(seen.request.unit, *register)
        for read in reads
        for seen in poll.seen
        if read.began <= seen.arrived <= read.ended
        for register in read.registers
    }


def spacing_of(battery: Battery) -> float:
    """Return the seconds of silence that the device needs between requests."""
    connection = getattr(battery, "connection", None)
    return float(getattr(connection, "spacing", 0.0))


async def polled_keys(device: Device) -> dict[str, set[str]]:
    """Return the keys of a live poll and of the minute's, of entities shown at first."""
    battery_type = device.battery_type
    async with home_assistant() as hass:
        serial = KINDS[battery_type].serial
        entry = add_entry(hass, battery_type, serial, device.setup)
        await set_up(hass, entry)
        coordinator: BatteryCoordinator = entry.runtime_data.coordinator
        rates = {
            key: coordinator.battery.poll_rate(key) for key in coordinator.subscribed
        }
    return {
        "live": {key for key, rate in rates.items() if rate is Poll.FAST},
        "minute": {key for key, rate in rates.items() if rate is not Poll.ONCE},
    }


@asynccontextmanager
async def connected(device: Counted) -> AsyncIterator[Battery]:
    """Connect a driver, and let it learn what the device lacks."""
    async with DRIVERS[device.battery_type].from_setup(device.setup) as battery:
        for _ in range(_UNTIL_KNOWN):
            await battery.read()
        yield battery


async def _learn(battery: Battery, polls: Collection[Collection[str]]) -> None:
    """Let minutes pass in which a driver learns which reads the device answers."""
    for _ in range(_LEARNING):
        for keys in polls:
            await battery.read(keys)
        await battery.learn()


async def run(short: bool) -> Result:
    """Measure the polls of each battery."""
    rounds = dict.fromkeys(ROUNDS, 2) if short else ROUNDS
    rows: list[Row] = []
    for battery_type in ON_A_SOCKET:
        async with simulated(battery_type) as device, simulated(battery_type) as other:
            keys = await polled_keys(device)
            async with connected(device) as battery:
                await _learn(battery, keys.values())
                rows += [
                    await _row(device, other, battery, poll, keys[poll], rounds)
                    for poll in keys
                ]
    return {"medians": _medians(rows), "polls": rows}


async def _row(
    device: Device,
    other: Device,
    battery: Battery,
    poll: str,
    keys: Collection[str],
    rounds: Mapping[float, int],
) -> Row:
    """Measure one kind of poll; `other` is read by the library alone.

    That is another one of the device, since some serve a single client.
    """
    spacing = spacing_of(battery)
    row: dict[str, str | float | None] = {
        "battery": NAMES[device.battery_type],
        "poll": poll,
        "keys": len(keys),
    }
    wanted = await registers_of(device, battery, keys)
    await measure(device, battery, keys)
    polls = [await measure(device, battery, keys) for _ in range(rounds[0.0])]
    least = _least(device.battery_type, wanted, _usual(polls))
    requests = [each.request for each in _usual(polls).seen]
    alone = await _alone(other, requests, spacing, rounds[0.0])
    cpu = median(each.cost.cpu for each in polls)
    row |= _counted(_usual(polls), wanted, least)
    row |= {"cpu": 1000 * cpu, "cpu ÷ plain": cpu / median(each.cpu for each in alone)}
    row["seconds 0"] = _seconds(each.cost for each in polls)
    for answer in SLOW_ANSWERS:
        await device.answer_after(answer)
        polls = [await measure(device, battery, keys) for _ in range(rounds[answer])]
        seconds = _seconds(each.cost for each in polls)
        row[f"seconds {answer:g}"] = seconds
        row[f"nominal {answer:g}"] = seconds / limit(least, answer, spacing)
        await other.answer_after(answer)
        bare = await asyncio.to_thread(
            answer_time,
            other.setup,
            [bytes.fromhex(each.sent) for each in _usual(polls).seen],
            rounds=rounds[answer],
            spacing=spacing,
        )
        least_time = limit(least, bare, spacing)
        row[f"answer {answer:g}"] = 1000 * bare
        row[f"limit {answer:g}"] = seconds / least_time
        if answer == SLOW_ANSWERS[0]:
            alone = await _alone(other, requests, spacing, rounds[answer])
            row["plain ÷ limit"] = _seconds(alone) / least_time
    await other.answer_after(0)
    await device.answer_after(0)
    return row


def _seconds(costs: Iterable[Cost]) -> float:
    return median(each.wall for each in costs)


def _usual(polls: Sequence[Measured]) -> Measured:
    """Return the poll that is the middle one by its number of requests."""
    return sorted(polls, key=lambda each: len(each.seen))[len(polls) // 2]


def _least(battery_type: str, wanted: Collection[Wanted], poll: Measured) -> int:
    """Return the least number of requests for what a poll read; of HTTP one a path."""
    if wanted:
        return least_requests(wanted, accepted_by(battery_type))
    return len({each.request.path for each in poll.seen})


def _counted(poll: Measured, wanted: Collection[Wanted], least: int) -> Row:
    """Return what a poll asks for, beside the least number of requests."""
    return {
        "registers": len(wanted) or None,
        "requests": len(poll.seen),
        "least": least,
        "words": poll.words or None,
        "requests ÷ least": len(poll.seen) / least,
    }


async def _alone(
    device: Device, requests: Sequence[Request], spacing: float, rounds: int
) -> list[Cost]:
    """Return the costs of requests by the library alone, with a pause between them, s."""

    async def ask_all() -> None:
        for number, request in enumerate(requests):
            if number and spacing:
                await asyncio.sleep(spacing)
            await ask(request)

    async with plain(device.battery_type, device.setup) as ask:
        costs = []
        for _ in range(1 + rounds):
            await asyncio.sleep(spacing)
            costs.append(await cost_of(ask_all))
    return costs[1:]


_RATIOS: Final = (
    ("requests ÷ least", "requests ÷ least possible"),
    ("limit 0.02", "time ÷ limit, at 20 ms an answer"),
    ("limit 0.15", "time ÷ limit, at 150 ms an answer"),
    ("plain ÷ limit", "the same requests by the library alone, ÷ limit, at 20 ms"),
    ("nominal 0.02", "time ÷ (requests × 20 ms + pauses)"),
    ("cpu ÷ plain", "CPU ÷ that of the same requests by the library alone"),
)


def _medians(rows: Sequence[Row]) -> list[Row]:
    """Return the medians of the ratios, and the worst."""
    figures = [
        (title, [value for row in rows if isinstance(value := row.get(key), float)])
        for key, title in _RATIOS
    ]
    return [
        {"ratio": title, "median": median(values), "worst": max(values)}
        for title, values in figures
    ]


PART: Final = Part(
    "polls",
    "Polls",
    (
        Table(
            "medians",
            "Ratios over all polls below. The limit is the least number of requests, times "
            "the time of an answer, and the pauses that the device needs between them. "
            "An answer takes as long as a bare socket waits for it, which sends the same "
            "bytes to the same device, and does nothing else: no client on this computer "
            "has it earlier. That is a little more than the 20 or 150 ms after which the "
            "device sends it, for the network of this computer and its processes. What "
            "is above the limit is all that the driver and the library add; the last but "
            "one row has also what the computer adds.",
            (
                Column("ratio", "ratio"),
                Column("median", "median", ".2f"),
                Column("worst", "worst", ".2f"),
            ),
        ),
        Table(
            "polls",
            "A live poll reads the live values of the entities that are on at first, every "
            "five seconds; the poll of the minute also settings, limits and counters. The "
            "driver has polled for some minutes, and learned which reads the device answers. The "
            "least number of requests follows from the registers that were read and from "
            "what the simulated device answers in one request. Registers are what would "
            "be requests if each were read alone. Library alone are the same requests by "
            "pymodbus, pysolarmanv5 or aiohttp without a driver, with the same pauses: "
            "a driver that uses that library can hardly be faster.",
            (
                Column("battery", "battery"),
                Column("poll", "poll"),
                Column("registers", "registers", "d"),
                Column("requests", "requests", "d"),
                Column("least", "least", "d"),
                Column("words", "words", "d"),
                Column("seconds 0", "s at 0 ms", ".3f"),
                Column("seconds 0.02", "s at 20 ms", ".3f"),
                Column("answer 0.02", "an answer, ms", ".2f"),
                Column("limit 0.02", "÷ limit", ".2f"),
                Column("plain ÷ limit", "library alone ÷ limit", ".2f"),
                Column("nominal 0.02", "÷ (requests × 20 ms + pauses)", ".2f"),
                Column("seconds 0.15", "s at 150 ms", ".3f"),
                Column("limit 0.15", "÷ limit", ".2f"),
                Column("cpu", "CPU, ms", ".2f"),
                Column("cpu ÷ plain", "÷ that of the library alone", ".2f"),
            ),
        ),
    ),
    run,
)
