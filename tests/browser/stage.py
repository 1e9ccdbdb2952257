"""The demo for the tests: simulated batteries and a Home Assistant without entries.

It runs in a thread of its own, so that tests can be plain functions (playwright's are).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
import json
from pathlib import Path
import threading
from types import TracebackType
from typing import Any, Final, Self, cast

import aiohttp

from scripts.demonstration import DOMAIN, DemoError, home_assistant
from scripts.demonstration.api import Api
from scripts.demonstration.dashboard import NEEDED, Source, battery_source, grid_source
from scripts.demonstration.devices import (
    TYPES,
    Device,
    read_state,
    real_places,
    start_device,
)
from scripts.demonstration.house import House
from scripts.demonstration.processes import free_port
from scripts.demonstration.waiting import wait_for

_LONGEST: Final = 300
"""Seconds that a call of the stage may take, such as Home Assistant's start."""

PLACES: Final = real_places(11)
"""The address and the usual port of each device. So a form can be submitted with only
its empty visible fields filled in."""

AS_AT_FIRST: Final = {"load": 800, "pv": 0, "soc": 50, "grid_lost": False}
"""The house of each device before a test; its load keeps the battery busy."""


class Stage:
    """Simulated devices and Home Assistant; as a context it starts and stops them."""

    def __init__(self, folder: Path) -> None:
        """Prepare a stage in a folder; nothing is started yet."""
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()
        self._changed: dict[str, str] = {}
        """The ids of entities that a test has changed, with their first ids."""
        self._spoilt: set[str] = set()
        """The devices that a test has changed or stopped."""
        self._house: House
        self._session: aiohttp.ClientSession

    def __enter__(self) -> Self:
        """Start everything."""
        self._thread.start()
        try:
            self._do(self._start())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything."""
        try:
            self._do(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _start(self) -> None:
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession())
        house = House(self._folder, self._session, port=free_port(), places=PLACES)
        self._house = await self._stack.enter_async_context(house)

    def _do[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the stage's own thread; return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_LONGEST)

    # Home Assistant

    @property
    def url(self) -> str:
        """The URL of Home Assistant."""
        return self._house.url

    @property
    def token(self) -> str:
        """An access token of Home Assistant."""
        return self._house.token

    @property
    def _api(self) -> Api:
        return self._house.api

    def log(self) -> str:
        """Return Home Assistant's log so far."""
        return home_assistant.log_file(self._house.config).read_text(errors="replace")

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of batteries that are set up."""
        return self._do(self._api.entries())

    def stored(self, battery_type: str) -> dict[str, Any]:
        """Return `data` and `options` on disk of the only battery of a kind.

        Home Assistant writes them a moment after a change; this waits for the first.
        """
        file = self._house.config / ".storage" / "core.config_entries"

        def observe() -> list[dict[str, Any]]:
            entries = json.loads(file.read_text())["data"]["entries"]
            return [e for e in entries if e["data"].get("battery_type") == battery_type]

        (entry,) = self.until(f"the {battery_type} to be on disk", observe, bool)
        return entry

    def add(self, battery_type: str, **typed: Any) -> str:
        """Add a battery through the API, without forms; return the entry's id.

        `typed` are fields of its form besides those that it needs.
        """
        setup = {**self.setup(battery_type), **typed}
        entry = self._do(self._api.add_entry(battery_type, setup))
        entry_id: str = entry["entry_id"]
        return entry_id

    def remove(self, entry_id: str) -> None:
        """Remove a battery through the API."""
        self._do(self._api.delete_entry(entry_id))

    def device_page(self, entry_id: str) -> str:
        """Return the path of the page of a battery's device."""
        devices = self._do(self._api.command("config/device_registry/list"))
        (device,) = (
            device
            for device in devices
            if entry_id in device["config_entries"] and device["via_device_id"] is None
        )
        return f"/config/devices/device/{device['id']}"

    def entity_id(self, entry_id: str, key: str) -> str:
        """Return the id of the entity of a key."""
        entities = self._do(self._api.entities(entry_id))
        (match,) = (
            entity["entity_id"]
            for entity in entities
            if entity["unique_id"].endswith(f"_{key}")
        )
        return cast(str, match)

    def rename(self, entry_id: str, name: str) -> None:
        """Give the device of a battery another name, as its user does."""
        device_id = self.device_page(entry_id).rpartition("/")[2]
        command = "config/device_registry/update"
        self._do(self._api.command(command, device_id=device_id, name_by_user=name))

    def change_entity(self, entity_id: str, changes: Mapping[str, Any]) -> None:
        """Change an entity in the registry, until the test ends.

        Such as its name, id, unit, or whether it is shown.
        """
        self._update_entity(entity_id, changes)
        first = self._changed.pop(entity_id, entity_id)
        self._changed[changes.get("new_entity_id", entity_id)] = first

    def _update_entity(self, entity_id: str, changes: Mapping[str, Any]) -> None:
        command = "config/entity_registry/update"
        self._do(self._api.command(command, entity_id=entity_id, **changes))

    def choose_unit(self, entity_id: str, unit: str) -> None:
        """Choose the unit of an entity."""
        domain = entity_id.partition(".")[0]
        options = {"unit_of_measurement": unit}
        self.change_entity(entity_id, {"options_domain": domain, "options": options})

    def state(self, entity_id: str) -> dict[str, Any]:
        """Return an entity's state, with its attributes."""
        return self._do(self._api.state(entity_id))

    def stop_polling(self, entry_id: str) -> None:
        """Poll a battery no more: its entities keep their states."""
        command = "config_entries/update"
        self._do(
            self._api.command(command, entry_id=entry_id, pref_disable_polling=True)
        )

    def pretend(self, entity_id: str, state: str, **attributes: Any) -> None:
        """Show a state of an entity that is not its own, until it has another.

        Its attributes stay, but for those given here.
        """
        attributes = {**self.state(entity_id)["attributes"], **attributes}
        body = {"state": state, "attributes": attributes}
        self._do(self._api.post(f"/api/states/{entity_id}", body))

    def call(self, service: str, entity_id: str, **data: Any) -> None:
        """Call a service on one entity."""
        self._do(self._api.call_service(service, entity_id, **data))

    def automations(self) -> list[dict[str, Any]]:
        """Return the states of all automations."""
        states = self._do(self._api.get("/api/states"))
        return [s for s in states if s["entity_id"].startswith("automation.")]

    def issues(self) -> list[str]:
        """Return the ids of the integration's repair issues that are shown."""
        issues = self._do(self._api.command("repairs/list_issues"))["issues"]
        return [
            issue["issue_id"]
            for issue in issues
            if issue["domain"] == DOMAIN and not issue["ignored"]
        ]

    # Dashboards

    def dashboards(self) -> list[dict[str, Any]]:
        """Return the dashboards that were added."""
        command = self._api.command("lovelace/dashboards/list")
        return [each for each in self._do(command) if each["mode"] == "storage"]

    def configuration(self, url_path: str) -> dict[str, Any] | None:
        """Return the stored configuration of a dashboard; None while there is none."""
        command = self._api.command("lovelace/config", url_path=url_path)
        try:
            return cast(dict[str, Any], self._do(command))
        except DemoError:
            return None

    def add_dashboard(self, config: Mapping[str, Any]) -> str:
        """Add a dashboard of this configuration; return its path."""
        path = "added-by-test"
        self._do(
            self._api.command(
                "lovelace/dashboards/create",
                url_path=path,
                title="Added by test",
                mode="storage",
            )
        )
        save = self._api.command("lovelace/config/save", url_path=path, config=config)
        self._do(save)
        return f"/{path}"

    def configure_energy(self, entry_id: str) -> None:
        """Configure the energy dashboard with a battery, until the test ends.

        Its grid meter has values of the battery, too.
        """
        battery = {key: self.entity_id(entry_id, key) for key in NEEDED}
        discharged, charged, power, _ = battery.values()
        house = {
            "energy_imported": charged,
            "energy_exported": discharged,
            "grid_power": power,
        }
        self._save_energy([grid_source(house), battery_source("Battery", battery)])

    def _save_energy(self, sources: Sequence[Source]) -> None:
        command = "energy/save_prefs"
        self._do(self._api.command(command, energy_sources=sources))

    # The devices

    def device(self, battery_type: str) -> Device:
        """Return a simulated device."""
        return next(d for d in self._house.devices if d.type == battery_type)

    def setup(self, battery_type: str) -> dict[str, Any]:
        """Return the values that a user would type to add a battery.

        The simulated battery has no device at an address, and needs none.
        """
        return self.device(battery_type).setup if battery_type in TYPES else {}

    def really(self, battery_type: str) -> dict[str, Any]:
        """Return the true state of a device, by an interface of the simulator's own."""
        return self._do(read_state(self._session, self.device(battery_type)))

    def change_house(self, battery_type: str, **changes: float | None) -> None:
        """Change the house of a device, such as its load (W) or SOC (%)."""
        self._do(self._post(battery_type, "plant", changes))

    def misbehave(self, battery_type: str, name: str, **arguments: Any) -> None:
        """Let a device misbehave, until that is switched off or the test ends."""
        self._spoilt.add(battery_type)
        self._do(self._post(battery_type, "misbehave", {"name": name, **arguments}))

    async def _post(self, battery_type: str, path: str, body: dict[str, Any]) -> None:
        """Post to a simulator's own interface; raise DemoError if it refuses."""
        url = self.device(battery_type).state_url.removesuffix("state") + path
        async with self._session.post(url, json=body) as response:
            if not response.ok:
                raise DemoError(f"{battery_type}: {await response.text()}")

    def stop_device(self, battery_type: str) -> None:
        """Switch a device off."""
        self._spoilt.add(battery_type)
        self._do(self.device(battery_type).child.stop(seconds=10))

    def start_device(
        self, battery_type: str, host: str | None = None, options: Sequence[str] = ()
    ) -> None:
        """Switch a device on, as it is when new, at its usual host or at another.

        `options` are further ones of its simulator's command line, until the test ends.
        """
        device, place = self.device(battery_type), PLACES[battery_type]
        if host is not None:
            place = place._replace(host=host)
        self._house.devices[self._house.devices.index(device)] = self._do(
            start_device(battery_type, self._folder, place, options)
        )
        if options:
            self._spoilt.add(battery_type)
        else:
            self._spoilt.discard(battery_type)

    # Between tests

    def clear(self) -> None:
        """Remove all batteries, and restore the devices to their first state."""
        self._restore_entities()
        self._save_energy([])
        for entry in self.entries():
            self._do(self._api.delete_entry(entry["entry_id"]))
        for automation in self.automations():
            number = automation["attributes"]["id"]
            self._do(self._api.delete(f"/api/config/automation/config/{number}"))
        self._forget_blueprints()
        for dashboard in self.dashboards():
            number = dashboard["id"]
            self._do(
                self._api.command("lovelace/dashboards/delete", dashboard_id=number)
            )
        for battery_type in TYPES:
            if not self._is_as_at_first(battery_type):
                self.stop_device(battery_type)
                self.start_device(battery_type)
            self.change_house(battery_type, **AS_AT_FIRST)

    def _restore_entities(self) -> None:
        """Undo changes of entities: Home Assistant keeps them for a battery's return."""
        nothing = dict.fromkeys(("name", "hidden_by", "disabled_by", "options"))
        # Each is tried, also where another fails, and no test after the next has it.
        with ExitStack() as undoing:
            for entity_id, first in self._changed.items():
                domain = first.partition(".")[0]
                undone = {**nothing, "new_entity_id": first, "options_domain": domain}
                undoing.callback(self._update_entity, entity_id, undone)
            self._changed.clear()

    def _forget_blueprints(self) -> None:
        """Remove the blueprints that did not come with Home Assistant."""
        domain = "automation"
        there = self._do(self._api.command("blueprint/list", domain=domain))
        for path in there:
            if not path.startswith("homeassistant/"):
                self._do(
                    self._api.command("blueprint/delete", domain=domain, path=path)
                )

    def _is_as_at_first(self, battery_type: str) -> bool:
        return (
            battery_type not in self._spoilt
            and self.setup(battery_type)["host"] == PLACES[battery_type].host
            and self.really(battery_type)["mode"] == "automatic"
        )

    def until[T](
        self,
        what: str,
        observe: Callable[[], T],
        enough: Callable[[T], bool],
        seconds: float = 60,
    ) -> T:
        """Poll `observe` until `enough` accepts its value; return that value."""

        async def observe_async() -> T:
            return await asyncio.to_thread(observe)

        return self._do(
            wait_for(what, observe_async, enough, seconds=seconds, pause=0.2)
        )
