"""The time to set a battery up after a restart of Home Assistant."""

from statistics import median
import time
from typing import Final, NamedTuple

from homeassistant.const import EVENT_STATE_CHANGED, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from pytest_homeassistant_custom_component.common import MockConfigEntry

from tests.home import KINDS, ON_A_SOCKET

from .devices import NAMES, Device, simulated
from .home import add_entry, entity_id, home_assistant, set_up
from .tables import Column, Part, Result, Row, Table

AT_ALL: Final = (0.02,)
"""Times that each device takes to answer, s."""
AT_SOME: Final = {"sun2000": (0.0, 0.02, 1.0)}
"""Those of some devices: one behind a slow dongle is the slowest there is."""
ROUNDS: Final = 3
_LONG: Final = 0.5
"""Time to answer, s, from which one round is enough."""


class Times(NamedTuple):
    """Times since the start of a set-up, s, and the requests until then."""

    first_state: float
    requests: float
    done: float
    all_requests: float


async def run(short: bool) -> Result:
    """Measure the set-up of each battery."""
    rows = []
    for battery_type in ON_A_SOCKET:
        answers = AT_SOME.get(battery_type, AT_ALL)
        async with simulated(battery_type) as device:
            for answer in answers:
                rounds = 1 if short or answer >= _LONG else ROUNDS
                if not (short and answer >= _LONG):
                    rows.append(await _row(device, answer, rounds))
    return {"setup": rows}


async def _row(device: Device, answer: float, rounds: int) -> Row:
    """Set a battery up, several times."""
    await device.answer_after(0)
    async with home_assistant() as hass:
        serial = KINDS[device.battery_type].serial
        entry = add_entry(hass, device.battery_type, serial, device.setup)
        # Modules are imported, and entities known from now on.
        await set_up(hass, entry)
        await device.answer_after(answer)
        times = [await _times(hass, device, entry) for _ in range(rounds)]
        await device.answer_after(0)
    first_state, requests, done, all_requests = map(median, zip(*times, strict=True))
    return {
        "battery": NAMES[device.battery_type],
        "answer": round(1000 * answer),
        "requests": requests,
        "first state": first_state,
        "all requests": all_requests,
        "done": done,
    }


async def _times(hass: HomeAssistant, device: Device, entry: MockConfigEntry) -> Times:
    """Set up again; the first state is that of the SOC."""
    await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    soc = entity_id(hass, str(entry.unique_id), "sensor", "battery_soc")
    first: list[float] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if event.data["entity_id"] == soc and state is not None:
            if state.state not in (STATE_UNAVAILABLE, STATE_UNKNOWN):
                first.append(time.monotonic())

    stop = hass.bus.async_listen(EVENT_STATE_CHANGED, note)
    await device.take()
    began = time.monotonic()
    await set_up(hass, entry)
    await hass.async_block_till_done(wait_background_tasks=True)
    done = time.monotonic()
    if not entry.runtime_data.coordinator.has_read_all:
        raise RuntimeError("not all was read")
    stop()
    seen = await device.take()
    requests = sum(each.arrived <= first[0] for each in seen)
    return Times(first[0] - began, requests, done - began, len(seen))


PART: Final = Part(
    "setup",
    "Start",
    (
        Table(
            "setup",
            "The set-up of an entry whose entities Home Assistant knows already, as after a "
            "restart: until the first state (of the SOC), and until all is read. What is "
            "enabled is read first and has its states then; the rest is read afterwards, "
            "while polls go on and live values are shown. A device that answers after a "
            "second stands for a Huawei behind a slow dongle.",
            (
                Column("battery", "battery"),
                Column("answer", "an answer, ms", "d"),
                Column("requests", "requests to the first state", ".0f"),
                Column("first state", "first state, s", ".2f"),
                Column("all requests", "requests in all", ".0f"),
                Column("done", "all read, s", ".2f"),
            ),
        ),
    ),
    run,
)
