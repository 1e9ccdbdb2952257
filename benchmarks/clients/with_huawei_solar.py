"""huawei-solar: the values that its integration shows at first, in one batch."""

import asyncio
import sys

from huawei_solar import create_device_instance, create_tcp_client, register_names as rn
from huawei_solar.registers import REGISTERS

from .rounds import answer, serve

NAMES = [
    *(rn.STATE_1, rn.STATE_2, rn.STATE_3),
    *(rn.PV_01_VOLTAGE, rn.PV_01_CURRENT, rn.PV_02_VOLTAGE, rn.PV_02_CURRENT),
    *(rn.INPUT_POWER, rn.DAY_ACTIVE_POWER_PEAK, rn.ACTIVE_POWER, rn.EFFICIENCY),
    *(rn.DEVICE_STATUS, rn.STARTUP_TIME, rn.SHUTDOWN_TIME),
    *(rn.ACCUMULATED_YIELD_ENERGY, rn.DAILY_YIELD_ENERGY),
    *(rn.GRID_A_VOLTAGE, rn.GRID_B_VOLTAGE, rn.GRID_C_VOLTAGE),
    *(rn.ACTIVE_GRID_A_CURRENT, rn.ACTIVE_GRID_B_CURRENT, rn.ACTIVE_GRID_C_CURRENT),
    *(rn.POWER_METER_ACTIVE_POWER, rn.ACTIVE_GRID_POWER_FACTOR),
    *(rn.GRID_EXPORTED_ENERGY, rn.GRID_ACCUMULATED_ENERGY),
    *(rn.ACTIVE_GRID_A_POWER, rn.ACTIVE_GRID_B_POWER, rn.ACTIVE_GRID_C_POWER),
    *(rn.STORAGE_STATE_OF_CAPACITY, rn.STORAGE_RUNNING_STATUS),
    *(rn.STORAGE_BUS_VOLTAGE, rn.STORAGE_BUS_CURRENT),
    rn.STORAGE_CHARGE_DISCHARGE_POWER,
    *(rn.STORAGE_TOTAL_CHARGE, rn.STORAGE_TOTAL_DISCHARGE),
    *(
        rn.STORAGE_CURRENT_DAY_CHARGE_CAPACITY,
        rn.STORAGE_CURRENT_DAY_DISCHARGE_CAPACITY,
    ),
]


async def _main(host: str, port: str) -> None:
    client = create_tcp_client(host, int(port), unit_id=1)
    await client.connect()
    device = await create_device_instance(client)
    rows = [REGISTERS[name] for name in NAMES]
    answer(registers=[(row.register, row.register + row.length) for row in rows])

    async def poll() -> int:
        return len(await device.batch_update(NAMES))

    await serve(poll)
    await device.stop()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:3]))
