"""Many simulated devices of all kinds in one process, each behind a relay.

    python -m benchmarks.crowd 30
    python -m benchmarks.crowd 1 victron

It prints where they are. For each line that it reads it prints the times of the writes
that each device has had since the last one, on the monotonic clock, s.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from itertools import cycle, islice
import json
import sys
from typing import Any, Final

from tests.simulators import SIMULATORS

from .framing import framing_of
from .relay import Relay

OPTIONS: Final[Mapping[str, Callable[[int], dict[str, Any]]]] = {
    "victron": lambda number: {"serial": f"c0619a0{number:05}"},
    "sun2000": lambda number: {"serial": f"HV22501{number:05}"},
    "deye_modbus": lambda number: {"serial": f"22071{number:05}"},
    "deye_solarman": lambda number: {
        "serial": f"23051{number:05}",
        "logger_serial": 2_700_000_000 + number,
    },
    "sessy": lambda number: {"serial": f"A{number:06}"},
    "sma": lambda number: {"serial": 3_012_300_000 + number},
}
"""The options of each kind that make devices different from each other."""

PREFIXES: Final = {"sessy": "A"}
"""The first letter of a battery's serial number, where it has another than its dongle."""


async def _main(count: str, *kinds: str) -> None:
    """Run devices until the standard input ends."""
    async with AsyncExitStack() as stack:
        relays = []
        where = []
        for number, kind in enumerate(islice(cycle(kinds or OPTIONS), int(count))):
            options = OPTIONS[kind](number)
            make: Any = SIMULATORS[kind]
            device = await stack.enter_async_context(make(make.house(), **options))
            relay = Relay(framing_of(kind), device.host, device.port)
            await relay.start()
            relays.append(relay)
            setup = {**device.setup, "port": relay.port}
            serial = PREFIXES.get(kind, "") + str(options["serial"])
            where.append({"type": kind, "serial": serial, "setup": setup})
        print(json.dumps(where), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            writes = [
                [each.arrived for each in relay.take() if each.request.is_write]
                for relay in relays
            ]
            print(json.dumps(writes), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
