"""What planning the reads of a Modbus battery is worth, and what it costs.

    .venv/bin/python -m benchmarks.polling

A Victron is polled as the driver does it (planned into few requests) and naively
(a request for each register), on real sockets of this machine. Only the ratios mean
something elsewhere; over a network, where each request takes longer, the time
comes close to the ratio of the requests.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable
from statistics import median
import time
from typing import NamedTuple

from custom_components.homebattery.drivers import VictronInverter
from custom_components.homebattery.drivers.modbus import (
    ModbusDevice,
    Poll,
    Register,
    plan_blocks,
)
from custom_components.homebattery.drivers.victron_registers import LAYOUT
from tests.simulators.image import ModbusImage, Vector, load

type Wanted = list[tuple[ModbusDevice, list[Register]]]


class Cost(NamedTuple):
    """What a poll costs."""

    requests: int
    milliseconds: float


class Result(NamedTuple):
    """One line of the table."""

    poll: str
    registers: int
    naive: Cost
    planned: Cost
    planning: float
    """Milliseconds of it that went into planning."""
    decoding: float
    """Milliseconds of it that went into decoding."""


async def present(battery: VictronInverter, polls: Iterable[Poll]) -> Wanted:
    """Return the registers of these polls that the device turns out to have."""
    found = []
    for device in battery.devices:
        names = [
            register.name
            for register in device.registers.values()
            if register.poll in polls and register.readable
        ]
        for _ in range(3):  # until it is known what is not there
            report = await device.read(names)
        found.append((device, [device.registers[name] for name in report.values]))
    return found


async def read_naively(wanted: Wanted) -> None:
    """Read each register with a request of its own."""
    for device, registers in wanted:
        for register in registers:
            await device.read([register.name])


async def read_planned(wanted: Wanted) -> None:
    """Read as the driver does."""
    for device, registers in wanted:
        await device.read([register.name for register in registers])


def plan(wanted: Wanted) -> None:
    """Only plan."""
    for _, registers in wanted:
        plan_blocks(registers, LAYOUT)


def decode(wanted: Wanted) -> None:
    """Only decode what was read last."""
    for device, registers in wanted:
        for register in registers:
            register.decode(
                [
                    device.words[address]
                    for address in range(register.address, register.end)
                ],
                low_word_first=LAYOUT.low_word_first,
            )


async def cost_of(
    poll: Callable[[], Awaitable[None]], image: ModbusImage, rounds: int
) -> Cost:
    """Return what one poll costs, the median of several."""
    times = []
    requests = 0
    for _ in range(rounds):
        image.traffic.clear()
        start = time.perf_counter()
        await poll()
        times.append(time.perf_counter() - start)
        requests = image.traffic.requests
    return Cost(requests, 1000 * median(times))


def time_of(work: Callable[[Wanted], None], wanted: Wanted, rounds: int) -> float:
    """Return the milliseconds that some work takes, the median of several."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work(wanted)
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


async def compare(vector: Vector, rounds: int) -> list[Result]:
    """Poll one device both ways: the live values, and everything."""
    results = []
    async with ModbusImage(vector) as image:
        setup = {key: value for key, value in image.setup.items() if key != "host"}
        async with VictronInverter(image.host, **setup) as battery:
            for name, polls in (("live values", [Poll.FAST]), ("everything", Poll)):
                wanted = await present(battery, polls)
                results.append(
                    Result(
                        name,
                        sum(len(registers) for _, registers in wanted),
                        await cost_of(lambda: read_naively(wanted), image, rounds),  # noqa: B023
                        await cost_of(lambda: read_planned(wanted), image, rounds),  # noqa: B023
                        time_of(plan, wanted, rounds),
                        time_of(decode, wanted, rounds),
                    )
                )
    return results


COLUMNS = (
    f"{'poll':<13}{'registers':>10}{'requests':>17}{'':>8}{'milliseconds':>19}{'':>8}"
    f"{'planning':>11}{'decoding':>10}\n"
    f"{'':<23}{'each':>8}{'planned':>9}{'fewer':>8}{'each':>10}{'planned':>9}{'faster':>8}"
    f"{'of a poll':>11}{'of a poll':>10}"
)


def line(result: Result) -> str:
    """Return a line of the table."""
    naive, planned = result.naive, result.planned
    return (
        f"{result.poll:<13}{result.registers:>10}"
        f"{naive.requests:>8}{planned.requests:>9}{naive.requests / planned.requests:>7.1f}×"
        f"{naive.milliseconds:>10.1f}{planned.milliseconds:>9.1f}"
        f"{naive.milliseconds / planned.milliseconds:>7.1f}×"
        f"{result.planning / planned.milliseconds:>11.1%}"
        f"{result.decoding / planned.milliseconds:>10.1%}"
    )


async def main() -> None:
    """Print a table for each device."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="polls of each kind")
    rounds: int = parser.parse_args().rounds
    print(COLUMNS)
    for vector in load("victron"):
        print(f"\n{vector['name']}")
        for result in await compare(vector, rounds):
            print(line(result))


if __name__ == "__main__":
    asyncio.run(main())
