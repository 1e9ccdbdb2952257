"""HomeBattery 0.0.13 from PyPI: the values that its Huawei battery has methods for."""

import asyncio
import sys

from HomeBattery.batteries.sun2000 import Sun2000Inverter

from .rounds import answer, serve


async def _main(host: str, port: str) -> None:
    battery = Sun2000Inverter(host, int(port))
    table = Sun2000Inverter.Sun2000Registers
    rows = [
        *(table.BatteryActivePower.value, table.BatterySOC.value),
        *(table.PowerGridPhaseAVoltage.value, table.PowerGridPhaseBVoltage.value),
        *(table.PowerGridPhaseCVoltage.value, table.PowerGridPhaseACurrent.value),
        *(table.PowerGridPhaseBCurrent.value, table.PowerGridPhaseCCurrent.value),
    ]
    answer(registers=[(row.address, row.address + row.count) for row in rows])

    async def poll() -> int:
        values = [battery.get_active_power_total(), battery.get_battery_soc()]
        for phase in (1, 2, 3):
            values.append(battery.get_phase_voltage(phase))
            values.append(battery.get_phase_current(phase))
        return len(values)

    await serve(poll)
    battery.disconnect()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:3]))
