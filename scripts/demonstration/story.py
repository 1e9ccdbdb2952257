"""The content of the demo: the page, a week of history, automations."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from . import DOMAIN, DemoError, batteries, dashboard, home_assistant, past
from .demo_house.house import Key
from .devices import Device, read_past, read_state
from .house import Battery, House, by_key
from .waiting import wait_for

PAGE: Final = "home-battery"
"""The path of the dashboard that opens first."""
STRATEGY: Final = f"custom:{DOMAIN}"

_SHOWN_SECONDS: Final = 60
_WRITING_SECONDS: Final = 120
_WITHOUT_VALUE: Final = frozenset({"unknown", "unavailable"})


class Automation(NamedTuple):
    """An automation made of a blueprint."""

    name: str
    blueprint: str
    battery_type: str
    inputs: Mapping[str, Any]
    """Inputs besides the battery; those in `FROM_HOUSE` name a key of the house."""
    acts_past_noon: bool = True
    """Whether it holds its battery at the time when a demo starts."""


FROM_HOUSE: Final = frozenset({"grid_power", "price_sensor"})

AUTOMATIONS: Final = (
    Automation(
        "Charge the Deye in the cheapest hours",
        "cheapest_hours",
        "deye_modbus",
        {"price_sensor": "price", "hours": 4, "charge_power": 4000},
    ),
    Automation(
        "Keep a reserve in the Huawei for the evening",
        "keep_reserve",
        "sun2000",
        {
            "reserve": 80,
            "end": "17:00:00",
            "grid_power": Key.GRID_POWER,
            "charge_power": 2000,
            "charge_from": "12:00:00",
        },
    ),
    Automation(
        "Shave peaks with the Sunny Island",
        "peak_shaving",
        "sma",
        {"limit": 1000, "grid_power": Key.GRID_POWER},
        # There may be no peak.
        acts_past_noon=False,
    ),
    Automation(
        "Zero export with the Sessy",
        "zero_export",
        "sessy",
        {"grid_power": Key.GRID_POWER},
    ),
)


class Installed(NamedTuple):
    """The parts of a Home Assistant that was filled."""

    sources: Sequence[dashboard.Source]
    """All that is on the energy dashboard."""
    history: Sequence[past.Series]
    """The past of the entities, which the recorder is still writing."""


async def fill(house: House) -> None:
    """Put all that a person is to see into a new Home Assistant, and hold batteries."""
    installed = await install(house)
    await install_automations(house)
    await wait_until_written(house, installed.history)
    await hold_some(house)
    house.complete()


async def install(house: House) -> Installed:
    """Put energy dashboard, history and page into a new Home Assistant."""
    print("Writing a week of history …")
    sources = await house.fill_dashboard()
    history = await write_history(house, sources)
    await open_page(house)
    return Installed(sources, history)


# Automations and setpoints


async def install_automations(house: House) -> None:
    """Make an automation of each blueprint, which is off until it is wanted."""
    devices = await house.find_devices()
    entities = await house.find_house_entities([*Key, "price"])
    for automation in AUTOMATIONS:
        inputs = {
            name: entities[value] if name in FROM_HOUSE else value
            for name, value in automation.inputs.items()
        }
        path = f"/api/config/automation/config/{automation.blueprint}"
        blueprint = {
            "path": f"{DOMAIN}/{automation.blueprint}.yaml",
            "input": {"battery": devices[automation.battery_type], **inputs},
        }
        config = {"alias": automation.name, "use_blueprint": blueprint}
        await house.api.post(path, config)
    made = await house.find_automations([each.blueprint for each in AUTOMATIONS])
    for entity_id in made.values():
        await house.api.call_service("automation.turn_off", entity_id)
    # One that was on for a moment may have begun, and is stopped before its release.
    for automation in AUTOMATIONS:
        await house.api.call_action(
            f"{DOMAIN}.release", device_id=devices[automation.battery_type]
        )


async def hold_some(house: House) -> None:
    """Hold some batteries, as if an automation had."""
    devices = await house.find_devices()
    for battery_type, held in batteries.HELD.items():
        await house.api.call_action(
            f"{DOMAIN}.set_power",
            device_id=devices[battery_type],
            power=held.power,
            duration={"hours": held.hours},
        )


# The page


async def open_page(house: House) -> None:
    """Make the dashboard of the batteries, and let everybody begin there."""
    command = house.api.command
    await command(
        "lovelace/dashboards/create",
        url_path=PAGE,
        title="Home Battery",
        icon="mdi:home-battery",
        show_in_sidebar=True,
        require_admin=False,
        mode="storage",
    )
    config = {"strategy": {"type": STRATEGY}}
    await command("lovelace/config/save", url_path=PAGE, config=config)
    value: dict[str, Any] = {"default_panel": PAGE}
    await command("frontend/set_system_data", key="core", value=value)
    # The demo's time of day may not be that of the browser.
    value = {"time_zone": "server"}
    await command("frontend/set_user_data", key="language", value=value)


# History


async def write_history(
    house: House, sources: Sequence[dashboard.Source]
) -> list[past.Series]:
    """Give the entities of batteries and house the past of their devices; return it."""
    pasts = past.common(
        [await read_past(house.session, device) for device in house.devices]
    )
    history = [
        *[
            series
            for battery, records in zip(house.batteries, pasts, strict=True)
            for series in await _past_of_battery(house, battery, records)
        ],
        *await _past_of_house(house, pasts),
    ]
    history += past.of_inverted(history, sources)
    for series in history:
        await house.api.command(
            f"{home_assistant.HOUSE_DOMAIN}/import_past", **series.as_data()
        )
    return history


async def wait_until_written(house: House, history: Sequence[past.Series]) -> None:
    """Wait until the recorder has the statistics of a past, which it writes in turn."""
    last = history[-1]
    start = datetime.fromtimestamp(last.begin, UTC).isoformat()

    async def observe() -> bool:
        statistics = await house.api.command(
            "recorder/statistics_during_period",
            statistic_ids=[last.entity_id],
            start_time=start,
            period="5minute",
        )
        return bool(statistics)

    await wait_for("the history to be written", observe, bool, seconds=_WRITING_SECONDS)


async def _past_of_battery(
    house: House, battery: Battery, records: past.Past
) -> list[past.Series]:
    """Return the past of a battery's entities, as soon as they show something."""
    keys = [*past.MEASURED, *past.COUNTED]
    entities = by_key(keys, await house.api.entities(battery.entry_id))
    shown = await _wait_until_shown(house, entities)
    now = await read_state(house.session, battery.device)
    return past.of_battery(records, now, entities, shown)


async def _past_of_house(house: House, pasts: Sequence[past.Past]) -> list[past.Series]:
    """Return the past of the house's own entities."""
    if house.local_time is None:
        raise DemoError("this house has no past")
    entities = await house.find_house_entities([*Key, "price"])
    return [
        *past.of_house(pasts, entities),
        past.of_price(pasts[0], entities["price"], house.local_time.offset),
    ]


async def _wait_until_shown(
    house: House, entities: Mapping[str, str]
) -> dict[str, float]:
    """Return the values of entities by key, when there are such of all."""

    async def observe() -> dict[str, str]:
        return {
            key: (await house.api.state(entity_id))["state"]
            for key, entity_id in entities.items()
        }

    texts = await wait_for(
        f"values of {', '.join(entities.values())}",
        observe,
        lambda seen: not _WITHOUT_VALUE & set(seen.values()),
        seconds=_SHOWN_SECONDS,
    )
    return {key: float(text) for key, text in texts.items()}


# The terminal

_DETECTED: Final = "Find it by its address → {host}"
_NOT_DETECTED: Final = "Victron GX device → {host}, port {port}"
_RANDOM_PORTS: Final = ", at random ports: those of real ones are in use, or need root"
_PORTS_OF_LAST_TIME: Final = ", at the random ports of last time"
_FIRST: Final = "To see and to try, in a house where it is day:"
_KEPT: Final = """\
The devices begin anew: totals that fell are unknown for ten minutes.
To see and to try, in the house of last time:"""
_SIX: Final = "six batteries; one is nearly full, one limited"
_ALL: Final = "all batteries"
_UNLESS_ADDED: Final = " (unless you have)"


def welcome(house: House, *, goes_on: bool = False) -> str:
    """Return what a person is to know, and to try.

    A house that `goes_on` from last time is as it was then, and at any time of day.
    """
    spare = house.spare
    if spare is None:
        raise DemoError("this house has no device to add")
    random_ports = _PORTS_OF_LAST_TIME if goes_on else _RANDOM_PORTS
    devices = "\n".join(
        f"  {battery.title}: {_described(battery.device)}"
        for battery in house.batteries
    )
    return f"""
Simulated batteries{"" if spare.can_be_detected else random_ports}:
{devices}

Home Assistant is at {house.url}
  user      {house.username}
  password  {house.password}

{_KEPT if goes_on else _FIRST}
1. Home Battery, the page that opens: {_ALL if goes_on else _SIX}.
2. There: open a battery and move its setpoint; it follows, or says why not. Release it.
3. Energy: a week of sun, grid and all batteries. History → Add target: their last day.
4. Add integration → Home Battery → {_way_to(spare)}{_UNLESS_ADDED if goes_on else ""}.
5. Settings → Automations: one of each blueprint. Turn one on, and see in some minutes.

Ctrl-C stops it all.
"""


def _described(device: Device) -> str:
    """Return where a device is."""
    host, port = device.place
    return f"{host} port {port}, {device.state_url}"


def _way_to(spare: Device) -> str:
    """Return the way through the forms to the device that is not added."""
    way = _DETECTED if spare.can_be_detected else _NOT_DETECTED
    return way.format(**spare.place._asdict())
