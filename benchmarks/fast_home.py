"""Home Assistant with one battery, which live for months in minutes.

python -m benchmarks.fast_home victron 92
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
import gc
import json
import logging
import sys
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.homebattery.const import DOMAIN
from custom_components.homebattery.coordinator import BatteryCoordinator
from custom_components.homebattery.drivers import Battery, Grant
from tests.home import KINDS
from tests.simulators import SIMULATORS, HuaweiSimulator, Simulator
from tests.simulators.http_server import JsonServer

from .crowded import resident
from .fast_time import FastLoop, clocks_of
from .home import add_entry, entity_id, home_assistant, set_up

SCAN_INTERVAL: Final = 300
"""Seconds between two polls: the longest that an option allows."""
DAY: Final = 86400.0
HELD_AFTER: Final = 9 * 3600.0
HELD: Final = 1200.0
"""Seconds of a day that the battery is held."""
POWERS: Final = (1200, -900)
"""Setpoints, W, on one day and on the next."""
SPEED: Final = 60.0
"""Seconds of the simulated house for one of its own clock, in steps of a minute."""
LEAST: Final = 1.0
"""Growth of a total that can be compared, kWh."""
WARM_UP: Final = 4
"""Days until what is kept for ever is there; growth counts from then."""
TOTALS: Final[Mapping[str, Mapping[str, int]]] = {
    "energy_charged": {"energy_charged_total": 1},
    "energy_discharged": {"energy_discharged_total": 1},
    "grid": {"grid_import_total": 1, "grid_export_total": -1},
}
"""Each total, and the signs of the sensors that it is the sum of.

Of the grid only the balance can be compared: some meters balance the phases first.
"""


class Total(NamedTuple):
    """A total, kWh."""

    name: str
    is_counted: bool
    """Whether the device counts it; else Home Assistant adds up the power."""
    shown: float
    real: float


@dataclass
class Renewals:
    """The renewals of setpoints."""

    count: int = 0
    latest: float = 0.0
    """Seconds that the latest was late."""
    last: float | None = None
    """The time of the last one, s; None at the beginning of a setpoint."""

    def note(self, now: float, interval: float) -> None:
        """Note a renewal."""
        if self.last is not None:
            self.latest = max(self.latest, now - self.last - interval)
        self.last = now
        self.count += 1


@contextmanager
def _renewals() -> Iterator[Renewals]:
    """Note the renewals meanwhile."""
    renewals = Renewals()
    keep_alive = Battery.keep_alive

    async def noted(battery: Battery) -> Grant | None:
        now = asyncio.get_running_loop().time()
        renewals.note(now, battery.keep_alive_interval or 0)
        return await keep_alive(battery)

    with patch.object(Battery, "keep_alive", noted):
        yield renewals


@asynccontextmanager
async def _lived(
    battery_type: str,
) -> AsyncIterator[tuple[HomeAssistant, Simulator, MockConfigEntry]]:
    """Run a device and Home Assistant; a day of both is a day of the loop."""
    kind: Any = SIMULATORS[battery_type]
    loop = asyncio.get_running_loop()
    began = loop.time()

    def clock() -> float:
        return began + (loop.time() - began) / SPEED

    async with (
        kind(kind.house(clock=clock, time_of_day=0.0, speed=SPEED)) as device,
        home_assistant() as hass,
    ):
        serial = KINDS[battery_type].serial
        entry = add_entry(
            hass, battery_type, serial, device.setup, scan_interval=SCAN_INTERVAL
        )
        await set_up(hass, entry)
        yield hass, device, entry


async def live(battery_type: str, days: int) -> dict[str, float | None]:
    """Live for so many days, with a setpoint on each; return the figures."""
    async with _lived(battery_type) as (hass, device, entry):
        before = await _totals(hass, device, entry)
        with _renewals() as renewals:
            for day in range(days):
                if day == min(WARM_UP, days - 1):
                    memory, tasks = _memory(), len(asyncio.all_tasks())
                await _day(hass, entry, renewals, POWERS[day % len(POWERS)])
                _forget_traffic(device)
        grown, more_tasks = _memory() - memory, len(asyncio.all_tasks()) - tasks
        after = await _totals(hass, device, entry)
    return {
        "days": days,
        "renewals": renewals.count,
        "late": renewals.latest,
        "memory": grown,
        "tasks": more_tasks,
        **_errors(before, after),
    }


async def _day(
    hass: HomeAssistant, entry: MockConfigEntry, renewals: Renewals, power: float
) -> None:
    """Live a day: held for a while, else under the control of the device."""
    await asyncio.sleep(HELD_AFTER)
    await _call(hass, entry, "number.set_value", "power_setpoint", value=power)
    renewals.last = None
    await asyncio.sleep(HELD)
    await _call(hass, entry, "select.select_option", "control_mode", option="automatic")
    await asyncio.sleep(DAY - HELD_AFTER - HELD)


async def _call(
    hass: HomeAssistant, entry: MockConfigEntry, service: str, key: str, **data: object
) -> None:
    domain, name = service.split(".")
    target = entity_id(hass, str(entry.unique_id), domain, key)
    await hass.services.async_call(
        domain, name, {"entity_id": target, **data}, blocking=True
    )


def _forget_traffic(device: Simulator) -> None:
    """Clear the logs of the simulated device, which are in the memory of this process."""
    server: Any = device.server
    (server if isinstance(server, JsonServer) else server.traffic).log.clear()
    if isinstance(device, HuaweiSimulator):
        device.device.trail.clear()


async def _totals(
    hass: HomeAssistant, device: Simulator, entry: MockConfigEntry
) -> list[Total]:
    """Return each total whose sensors all have a state after a read of all."""
    coordinator: BatteryCoordinator = entry.runtime_data.coordinator
    coordinator.expire()
    await coordinator.async_refresh()
    await hass.async_block_till_done()
    real = device.measured()
    real["grid"] = real["energy_imported"] - real["energy_exported"]
    registry, serial = er.async_get(hass), entry.unique_id
    totals = []
    for name, signs in TOTALS.items():
        entities = {
            key: registry.async_get_entity_id("sensor", DOMAIN, f"{serial}_{key}")
            for key in signs
        }
        states = {key: hass.states.get(each) for key, each in entities.items() if each}
        shown = [
            signs[key] * float(state.state) for key, state in states.items() if state
        ]
        if len(shown) == len(signs):
            is_counted = all(coordinator.can_measure(key) for key in signs)
            totals.append(Total(name, is_counted, sum(shown), real[name] / 1000))
    return totals


def _errors(before: list[Total], after: list[Total]) -> dict[str, float | None]:
    """Return the largest error of a total's growth, %: of those counted, and the rest.

    Also how many were compared: each that has its sensors, and has grown.
    """
    errors: dict[bool, list[float]] = {True: [], False: []}
    for first, last in zip(before, after, strict=True):
        shown, real = last.shown - first.shown, last.real - first.real
        if abs(real) > LEAST:
            errors[last.is_counted].append(100 * abs(shown / real - 1))
    return {
        "counted": max(errors[True], default=None),
        "added up": max(errors[False], default=None),
        "compared": len(errors[True]) + len(errors[False]),
    }


def _memory() -> float:
    """Return the memory in use, MB."""
    gc.collect()
    return resident()


def main() -> None:
    """Live as the command line says, and print the figures."""
    logging.disable(logging.WARNING)
    battery_type, days = sys.argv[1:]
    loop = FastLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner, clocks_of(loop):
        figures = runner.run(live(battery_type, int(days)))
        loop.leaps = False
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
