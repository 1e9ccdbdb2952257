"""sessypy: the power status, which its integration polls."""

import asyncio
import sys

from sessypy.api import SessyApi
from sessypy.devices import SessyBattery

from .rounds import answer, serve


async def _main(host: str, port: str, username: str, password: str) -> None:
    battery = SessyBattery(SessyApi(f"{host}:{port}", username, password))
    answer(registers=[])

    async def poll() -> int:
        return len(await battery.get_power_status())

    await serve(poll)
    await battery.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:5]))
