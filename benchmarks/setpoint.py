"""The time from a call to the first written byte at the device, and until a release."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from statistics import median
import time
from typing import Final, NamedTuple

from homeassistant.core import HomeAssistant

from custom_components.homebattery.coordinator import BatteryCoordinator
from tests.home import KINDS, ON_A_SOCKET

from .devices import NAMES, Device, simulated
from .home import add_entry, entity_id, home_assistant, set_up
from .relay import Seen
from .tables import Column, Part, Result, Row, Table

ANSWERS: Final = (0.02, 0.15)
ROUNDS: Final = 3
POWER: Final = 1200
"""The setpoint, W."""


class Times(NamedTuple):
    """Times of a setpoint and of its release, s, since the call of each."""

    first_write: float
    set_done: float
    released: float
    writes: float
    """Number of writes until the setpoint was done."""


async def run(short: bool) -> Result:
    """Measure setpoints and releases of each battery."""
    rows = [
        await _row(battery_type, answer, 1 if short else ROUNDS)
        for battery_type in ON_A_SOCKET
        for answer in ANSWERS
    ]
    return {"setpoint": rows}


async def _row(battery_type: str, answer: float, rounds: int) -> Row:
    """Hold and release batteries from automatic control, one after the other."""
    times = [await _round(battery_type, answer) for _ in range(rounds)]
    first_write, set_done, released, writes = map(median, zip(*times, strict=True))
    return {
        "battery": NAMES[battery_type],
        "answer": round(1000 * answer),
        "first write": first_write,
        "answers": first_write / answer,
        "set": set_done,
        "writes": writes,
        "released": released,
    }


async def _round(battery_type: str, answer: float) -> Times:
    """Hold and release a battery that was not held before: a second setpoint may wait."""
    async with simulated(battery_type) as device, home_assistant() as hass:
        serial = KINDS[battery_type].serial
        entry = add_entry(hass, battery_type, serial, device.setup)
        await set_up(hass, entry)
        await device.answer_after(answer)
        async with _polled(entry.runtime_data.coordinator):
            return await _times(hass, device, serial)


@asynccontextmanager
async def _polled(coordinator: BatteryCoordinator) -> AsyncIterator[None]:
    """Poll back to back meanwhile."""

    async def poll() -> None:
        while True:
            await coordinator.async_refresh()
            await asyncio.sleep(0)

    polls = asyncio.create_task(poll())
    try:
        yield
    finally:
        polls.cancel()
        with suppress(asyncio.CancelledError):
            await polls


async def _times(hass: HomeAssistant, device: Device, serial: str) -> Times:
    await device.take()
    began = time.monotonic()
    await _call(hass, serial, "number.set_value", "power_setpoint", value=POWER)
    set_done = time.monotonic() - began
    writes = _writes(await device.take())
    began_release = time.monotonic()
    await _call(
        hass, serial, "select.select_option", "control_mode", option="automatic"
    )
    released = time.monotonic() - began_release
    return Times(writes[0].arrived - began, set_done, released, len(writes))


def _writes(seen: Sequence[Seen]) -> list[Seen]:
    return [each for each in seen if each.request.is_write]


async def _call(
    hass: HomeAssistant, serial: str, service: str, key: str, **data: object
) -> None:
    domain, name = service.split(".")
    target = entity_id(hass, serial, domain, key)
    await hass.services.async_call(
        domain, name, {"entity_id": target, **data}, blocking=True
    )


PART: Final = Part(
    "setpoint",
    "Setpoints",
    (
        Table(
            "setpoint",
            "The battery is under its own control and is polled back to back, which is more "
            "than ever happens. The first write is the time from the call of the number "
            "until the first byte that is written arrives at the device, s; the column "
            "beside it has the same in answers of the device. Set and released is when the "
            "calls return, after the device was read back.",
            (
                Column("battery", "battery"),
                Column("answer", "an answer, ms", "d"),
                Column("first write", "first write, s", ".2f"),
                Column("answers", "in answers", ".1f"),
                Column("writes", "writes", ".0f"),
                Column("set", "set, s", ".2f"),
                Column("released", "released, s", ".2f"),
            ),
        ),
    ),
    run,
)
