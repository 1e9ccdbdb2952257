"""The check of all that a person is to see and to try besides the six batteries."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
import re
from typing import Final

import aiohttp

from . import DOMAIN, DemoError, batteries, dashboard, past, story
from .devices import read_state
from .house import Battery, House
from .waiting import describe, wait_for

_DASHBOARD_SECONDS: Final = 60
_HELD_SECONDS: Final = 120
"""The time for a device to do what it can, and for that to be judged."""

_SCRIPT: Final = re.compile(rf'"(/{DOMAIN}/[^"]+\.js[^"]*)"')
"""The URL of a script of this integration, as the frontend's page has it."""
_ELEMENT: Final = "ll-strategy-dashboard-"
"""The start of the name of an element that makes a dashboard."""
_SERVED: Final = ((200, "text/javascript"), (200, "application/javascript"))
"""The status and type with which a browser takes a script to be a module."""


async def try_held(house: House) -> list[str]:
    """Hold the batteries that are held at first; return what is wrong, and release them."""
    print("Trying the batteries that are held at first …")
    trouble = await _trouble_of(story.hold_some(house))
    for battery in house.batteries:
        if held := batteries.HELD.get(battery.device.type):
            trouble += await _trouble_of(_wrong_with_held(house, battery, held))
            trouble += await _trouble_of(_release(house, battery))
    return trouble


async def _wrong_with_held(
    house: House, battery: Battery, held: batteries.Held
) -> list[str]:
    """Wait until a battery is held, with the right status; return a missing reason."""
    await _wait_for_mode(house, battery, "controlled", "held")
    entities = await house.find_entities(battery, ["control_status"])
    entity_id = entities["control_status"]
    expected = "limited" if held.limited else "following"

    async def observe() -> tuple[str, str | None]:
        state = await house.api.state(entity_id)
        return state["state"], state["attributes"].get("reason")

    _, reason = await wait_for(
        f"{entity_id} of {battery.title} to show {expected}",
        observe,
        lambda seen: seen[0] == expected,
        seconds=_HELD_SECONDS,
    )
    print(f"  {battery.title}: {expected}{f', {reason}' if reason else ''}")
    if held.limited != bool(reason):
        return [f"{battery.title} is {expected}, with the reason {reason}"]
    return []


async def _release(house: House, battery: Battery) -> None:
    """Release a battery, and wait until its device is by itself."""
    devices = await house.find_devices()
    device_id = devices[battery.device.type]
    await house.api.call_action(f"{DOMAIN}.release", device_id=device_id)
    await _wait_for_mode(house, battery, "automatic", "released")


async def _wait_for_mode(house: House, battery: Battery, mode: str, what: str) -> None:
    """Wait until a device itself is in a mode."""

    async def observe() -> str:
        state = await read_state(house.session, battery.device)
        return str(state["mode"])

    await wait_for(
        f"{battery.title} itself to be {what}",
        observe,
        lambda seen: seen == mode,
        seconds=_HELD_SECONDS,
    )


async def add_spare(house: House) -> tuple[list[Battery], list[str]]:
    """Add the one more device as a person may; return it, and what is wrong."""
    print("Trying to add one more battery …")
    added: list[Battery] = []

    async def add() -> list[str]:
        if (spare := house.spare) is None:
            return ["there is no device to add"]
        entry = (
            await house.api.add_entry("detect", {"host": spare.place.host})
            if spare.can_be_detected
            else await house.api.add_entry(spare.type, spare.setup)
        )
        added.append(
            Battery(device=spare, entry_id=entry["entry_id"], title=entry["title"])
        )
        return []

    return added, await _trouble_of(add())


async def try_removal(house: House, added: Iterable[Battery]) -> list[str]:
    """Remove batteries that were added; return what is wrong."""

    async def wrong(battery: Battery) -> list[str]:
        await house.api.delete_entry(battery.entry_id)
        entries = [entry["entry_id"] for entry in await house.api.entries()]
        entities = await house.api.entities(battery.entry_id)
        if battery.entry_id in entries or entities:
            return [f"{battery.title} is still there, with {entities}"]
        return []

    return [text for battery in added for text in await _trouble_of(wrong(battery))]


async def try_automations(house: House) -> list[str]:
    """Return what is wrong with the automations of the blueprints."""
    print("Trying the automations …")

    async def wrong() -> list[str]:
        made = await house.find_automations(
            [each.blueprint for each in story.AUTOMATIONS]
        )
        devices = await house.find_devices()
        for each in story.AUTOMATIONS:
            entity_id = made[each.blueprint]
            related = await _devices_of(house, entity_id)
            if related != {devices[each.battery_type]}:
                return [f"{each.name} is for {related} of {devices}"]
            if each.acts_past_noon:
                await _see_acting(house, each, entity_id)
        return []

    return await _trouble_of(wrong())


async def _see_acting(
    house: House, automation: story.Automation, entity_id: str
) -> None:
    """Turn an automation on as at its next time, wait until it holds its battery; end it."""
    (battery,) = (
        each for each in house.batteries if each.device.type == automation.battery_type
    )
    call = house.api.call_service
    await call("automation.turn_on", entity_id)
    # This ends with the automation, which may go on for an hour.
    running = asyncio.create_task(
        call("automation.trigger", entity_id, skip_condition=False)
    )
    try:
        await _wait_for_mode(house, battery, "controlled", f"held by {entity_id}")
    finally:
        await call("automation.turn_off", entity_id)
        # Home Assistant hangs up when it stops what was to be waited for.
        with suppress(aiohttp.ServerDisconnectedError):
            await running
        await _release(house, battery)


async def _devices_of(house: House, automation: str) -> set[str]:
    """Return the devices that Home Assistant sees an automation refer to."""
    related = await house.api.command(
        "search/related", item_type="automation", item_id=automation
    )
    return set(related.get("device", ()))


async def try_dashboard(house: House, sources: Sequence[dashboard.Source]) -> list[str]:
    """Return what is wrong with the energy dashboard."""
    print("Trying the energy dashboard …")
    of_batteries = [source for source in sources if source["type"] == "battery"]

    async def observe() -> list[str]:
        listed = await house.api.command("recorder/list_statistic_ids")
        validation = await house.api.command("energy/validate")
        attributes = {
            state["entity_id"]: state["attributes"]
            for state in await house.api.get("/api/states")
        }
        return [
            *dashboard.complaints(validation),
            *(
                text
                for source in of_batteries
                for text in (
                    *dashboard.missing_statistics(source, listed),
                    *dashboard.wrong_classes(source, attributes),
                )
            ),
        ]

    return await _trouble_of(
        wait_for(
            "the energy dashboard to be content",
            observe,
            lambda seen: not seen,
            seconds=_DASHBOARD_SECONDS,
        )
    )


async def try_history(house: House, history: Sequence[past.Series]) -> list[str]:
    """Return what is wrong with the statistics of the last week."""
    print("Trying the history …")

    async def wrong() -> list[str]:
        await story.wait_until_written(house, history)
        statistics = await house.api.command(
            "recorder/statistics_during_period",
            statistic_ids=[series.entity_id for series in history],
            start_time=datetime.fromtimestamp(history[0].begin, UTC).isoformat(),
            period="hour",
        )
        return [
            text
            for series in history
            for text in past.faults(
                series.entity_id, statistics.get(series.entity_id, [])
            )
        ]

    return await _trouble_of(wrong())


async def try_page(house: House) -> list[str]:
    """Return what is wrong with the page that opens first."""
    print("Trying the page …")

    async def wrong() -> list[str]:
        config = await house.api.command("lovelace/config", url_path=story.PAGE)
        first = await house.api.command("frontend/get_system_data", key="core")
        seen = config["strategy"]["type"], first["value"]["default_panel"]
        expected = story.STRATEGY, story.PAGE
        if seen != expected:
            return [f"the page is {seen}, not {expected}"]
        return await _wrong_with_script(house)

    return await _trouble_of(wrong())


async def _wrong_with_script(house: House) -> list[str]:
    """Return what is wrong with the script that makes the page, which browsers load."""
    async with house.session.get(f"{house.url}/") as response:
        page = await response.text()
    if not (announced := _SCRIPT.search(page)):
        return ["the frontend loads no script of the page"]
    async with house.session.get(f"{house.url}{announced[1]}") as response:
        seen = response.status, response.content_type
        script = await response.text()
    if seen not in _SERVED:
        return [f"the script {announced[1]} is {seen}"]
    return [] if _ELEMENT in script else [f"{announced[1]} has no {_ELEMENT}"]


async def _trouble_of(trial: Awaitable[list[str] | None]) -> list[str]:
    """Return what a trial returns, or its error."""
    try:
        return await trial or []
    except (DemoError, aiohttp.ClientError, TimeoutError) as err:
        return [describe(err)]
