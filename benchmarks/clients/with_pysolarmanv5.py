"""pysolarmanv5 with the requests that ha-solarman plans for a three-phase Deye.

`SPANS` are what its profile deye_p3 comes to, of 2026-05: values that are due every
five seconds, registers at most 25 apart and 125 words in a request.
"""

import asyncio
import sys

from pysolarmanv5 import PySolarmanV5Async

from .rounds import answer, serve

SPANS = ((586, 123),)


async def _main(host: str, port: str, serial: str) -> None:
    client = PySolarmanV5Async(host, int(serial), port=int(port), mb_slave_id=1)
    await client.connect()
    answer(registers=[(address, address + words) for address, words in SPANS])

    async def poll() -> int:
        return sum(
            [
                len(
                    await client.read_holding_registers(
                        register_addr=start, quantity=words
                    )
                )
                for start, words in SPANS
            ]
        )

    await serve(poll)
    await client.disconnect()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:4]))
