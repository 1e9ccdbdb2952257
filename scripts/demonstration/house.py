"""The whole demo: the simulated devices, Home Assistant, and a config entry for each device."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
import fcntl
import json
from pathlib import Path
import secrets
import shutil
import time
from types import TracebackType
from typing import IO, Any, Final, Self

import aiohttp
from homeassistant.const import __version__ as RELEASE

from . import DemoError, api as ha_api, batteries, dashboard, home_assistant
from .daytime import LocalTime
from .devices import SPARE, TYPES, Device, Place, start_device
from .processes import Child, is_free
from .waiting import wait_for

_RECORD: Final = "demo.json"

_ENTITIES_SECONDS: Final = 60
_HELD_BY: Final = "control_mode"
"""The key of an entity of the device that is held."""
_AUTOMATION_STATES: Final = ("on", "off")
_EMMA: Final = ("--access", "emma")
"""The options of a simulated inverter behind an EMMA."""


@dataclass(frozen=True, kw_only=True)
class Battery:
    """A simulated device and its config entry."""

    device: Device
    entry_id: str
    title: str


class House:
    """All started processes; leaving the context stops them, in whatever state."""

    api: ha_api.Api

    def __init__(
        self,
        folder: Path,
        session: aiohttp.ClientSession,
        *,
        port: int,
        keep: bool = False,
        places: Mapping[str, Place] | None = None,
        emma: bool = False,
        lived_in: bool = False,
    ) -> None:
        """Plan a house in this folder; `keep` goes on with its content.

        `places` are where devices listen; others take any free port. With `emma` the
        Huawei inverter is behind an EMMA, which measures the house. A house that is
        `lived_in` has entities, a past, and batteries that differ; it is day there.
        """
        self.url = f"http://127.0.0.1:{port}"
        self.username = "admin"
        self.password = secrets.token_urlsafe(6)
        self.session = session
        self.devices: list[Device] = []
        self.spare: Device | None = None
        """A device that is not added, and no part of a house that is lived in."""
        self.local_time = LocalTime.with_sunshine(time.time()) if lived_in else None
        self.batteries: list[Battery] = []
        self.exit_status: int | None = None
        self.behind_emma = ("sun2000",) if emma else ()
        self._folder = folder
        self._port = port
        self._keep = keep
        self._places = places or {}
        self._home_assistant: Child | None = None
        self.token = ""
        self.is_complete = False
        """Whether everything has been put into it, now or the last time."""
        self._lock: IO[str] | None = None

    @property
    def config(self) -> Path:
        """Home Assistant's own folder."""
        return self._folder / "config"

    async def __aenter__(self) -> Self:
        """Start everything, and stop what had started when something goes wrong."""
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything, also when cancelled once more meanwhile."""
        stopping = asyncio.create_task(self.stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping
            raise

    async def stop(self) -> None:
        """Stop Home Assistant, which releases the batteries, and then the batteries."""
        if self._home_assistant:
            print("Stopping Home Assistant …")
            self.exit_status = await self._home_assistant.stop(seconds=60)
            self._home_assistant = None
        spare = [self.spare] if self.spare else []
        await asyncio.gather(
            *(device.child.stop(seconds=10) for device in (*self.devices, *spare))
        )
        self.devices.clear()
        self.spare = None
        if self._lock:
            self._lock.close()

    async def serve(self) -> None:
        """Run until Home Assistant ends; start it again when that was asked for in its menu."""
        while self._home_assistant:
            status = await self._home_assistant.wait()
            if status != home_assistant.RESTART_STATUS:
                raise DemoError(
                    f"Home Assistant stopped by itself (status {status}):\n"
                    f"{self._home_assistant.last_words()}"
                )
            print(
                "Home Assistant starts again. All batteries were released.", flush=True
            )
            self._home_assistant = await home_assistant.start(self.config)

    async def find_entities(
        self, battery: Battery, keys: Collection[str]
    ) -> dict[str, str]:
        """Return the entities by the ends of their unique ids, never by their names."""
        return await self._find(
            battery.title, keys, lambda: self.api.entities(battery.entry_id)
        )

    async def find_house_entities(self, keys: Collection[str]) -> dict[str, str]:
        """Return the entities of the house itself, by key."""
        platform = home_assistant.HOUSE_DOMAIN
        return await self._find(
            "the house", keys, lambda: self.api.entities_of(platform)
        )

    async def _find(
        self,
        name: str,
        keys: Collection[str],
        entities: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]],
    ) -> dict[str, str]:
        async def observe() -> dict[str, str]:
            return by_key(keys, await entities())

        return await wait_for(
            f"the entities {', '.join(keys)} of {name}",
            observe,
            lambda seen: len(seen) == len(keys),
            seconds=_ENTITIES_SECONDS,
        )

    async def find_devices(self) -> dict[str, str]:
        """Return the ids of the devices that can be held, by their types.

        An entry may have others, such as an EMMA in front of its inverter.
        """
        devices: dict[str, str] = {}
        for battery in self.batteries:
            entities = await self.find_entities(battery, [_HELD_BY])
            entity = await self.api.command(
                "config/entity_registry/get", entity_id=entities[_HELD_BY]
            )
            devices[battery.device.type] = entity["device_id"]
        return devices

    async def find_automations(self, ids: Collection[str]) -> dict[str, str]:
        """Return the entities of automations by their ids, as soon as all can run."""

        async def observe() -> dict[str, str]:
            # One whose configuration is not valid is unavailable, and has no id.
            return {
                state["attributes"]["id"]: state["entity_id"]
                for state in await self.api.get("/api/states")
                if state["entity_id"].startswith("automation.")
                and state["state"] in _AUTOMATION_STATES
                and state["attributes"].get("id") in ids
            }

        return await wait_for(
            f"the automations {', '.join(ids)}",
            observe,
            lambda seen: seen.keys() == set(ids),
            seconds=_ENTITIES_SECONDS,
        )

    async def add_batteries(self) -> None:
        """Add a config entry for each device, unless it is there from last time."""
        print("Adding the batteries …")
        known = self._read_record().get("entries", {})
        entries = {entry["entry_id"]: entry for entry in await self.api.entries()}
        for device in self.devices:
            entry = entries.get(known.get(device.type, ""))
            if entry is None:
                entry = await self.api.add_entry(device.type, device.setup)
            self.batteries.append(
                Battery(device=device, entry_id=entry["entry_id"], title=entry["title"])
            )
        self._write_record()

    def complete(self) -> None:
        """Note that everything has been put into it."""
        self.is_complete = True
        self._write_record()

    async def fill_dashboard(self) -> list[dashboard.Source]:
        """Put all there is on the energy dashboard; return it as it is stored."""
        sources = [
            dashboard.battery_source(
                battery.title, await self.find_entities(battery, dashboard.NEEDED)
            )
            for battery in self.batteries
        ]
        if self.local_time:
            entities = await self.find_house_entities(dashboard.NEEDED_OF_HOUSE)
            sources.append(dashboard.grid_source(entities))
            sources.append(dashboard.solar_source(entities))
        saved = await self.api.command("energy/save_prefs", energy_sources=sources)
        stored: list[dashboard.Source] = saved["energy_sources"]
        return stored

    async def _start(self) -> None:
        self._take_folder()
        record = self._read_record()
        if not is_free(self._port):
            raise DemoError(f"port {self._port} is in use; choose another with --port")
        if record and "places" not in record:
            raise DemoError("the last demo is too old to go on with; omit --keep")
        self.is_complete = record.get("complete", False)
        if self.local_time and "local_time" in record:
            self.local_time = LocalTime.from_record(record["local_time"])
        print(f"Starting the simulated batteries: {', '.join(TYPES)} …")
        await self._start_devices(
            {name: Place(*place) for name, place in record.get("places", {}).items()}
        )
        self._prepare()
        print(f"Starting Home Assistant {RELEASE} …")
        self._home_assistant = await home_assistant.start(self.config)
        await home_assistant.wait_until_it_answers(
            self._home_assistant, self.session, self.url
        )
        self.token = record.get("token") or await self._make_user()
        self.password = record.get("password", self.password)
        self.api = ha_api.Api(self.session, self.url, self.token)
        await wait_for(
            "Home Assistant to finish starting",
            self._is_running,
            bool,
            seconds=120,
        )

    def _prepare(self) -> None:
        if self.local_time is None:
            home_assistant.prepare(self.config, self._port)
            return
        home_assistant.prepare(
            self.config,
            self._port,
            time_zone=self.local_time.time_zone,
            state_urls=[device.state_url for device in self.devices],
        )

    async def _is_running(self) -> bool:
        if self._home_assistant:
            home_assistant.check_alive(self._home_assistant)
        return await self.api.is_running()

    def _take_folder(self) -> None:
        """Lock the folder against another demo; empty it unless it is to be kept.

        One that was stopped before it was complete is not kept: what is missing in it
        depends on the moment.
        """
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        lock = self._folder.with_suffix(".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise DemoError(f"another one is running in {self._folder}") from None
        self._lock = lock
        if not (self._keep and self._read_record().get("complete")):
            if self._keep:
                print("There is no complete demo to go on with: this is a fresh one.")
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(exist_ok=True)

    async def _start_devices(self, known: Mapping[str, Place]) -> None:
        """Start them where they are `known` to be, or else as planned."""

        async def start(battery_type: str) -> None:
            # A kept config entry knows its device by the address and port.
            place = place_of(battery_type)
            options = self._options(battery_type)
            self.devices.append(
                await start_device(battery_type, self._folder, place, options)
            )

        async def start_spare(local_time: LocalTime) -> None:
            place = place_of(SPARE)
            options = batteries.spare_options(local_time, time.time())
            self.spare = await start_device(
                batteries.SPARE, self._folder, place, options, name=SPARE
            )

        def place_of(name: str) -> Place | None:
            # A kept config entry knows its device by the address and port.
            place = known.get(name)
            if place and not self._may_take(place):
                raise DemoError(
                    f"the devices of last time cannot listen where they did, at"
                    f" {place.host} port {place.port}: another demo may be running"
                    " there; wait for its end, or start without --keep"
                )
            return place or self._places.get(name)

        try:
            async with asyncio.TaskGroup() as tasks:
                for battery_type in TYPES:
                    tasks.create_task(start(battery_type))
                if self.local_time:
                    tasks.create_task(start_spare(self.local_time))
        except ExceptionGroup as group:
            # The others were stopped because of this one.
            raise group.exceptions[0] from None
        self.devices.sort(key=lambda device: TYPES.index(device.type))

    def _may_take(self, place: Place) -> bool:
        """Return True when a device may listen there: nothing does, nor claims to."""
        claimed = place in self._places.values() or place.host == Place().host
        return claimed and is_free(place.port, place.host)

    def _options(self, battery_type: str) -> list[str]:
        """Return the options of a device's simulator."""
        options = [*_EMMA] if battery_type in self.behind_emma else []
        if self.local_time:
            options += batteries.options(battery_type, self.local_time, time.time())
        return options

    async def _make_user(self) -> str:
        return await ha_api.make_user(
            self.session, self.url, username=self.username, password=self.password
        )

    def _read_record(self) -> dict[str, Any]:
        path = self._folder / _RECORD
        record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return record

    def _write_record(self) -> None:
        """Write the record for --keep and screenshots; it opens only this demo."""
        places = {device.type: device.place for device in self.devices}
        if self.spare:
            places[SPARE] = self.spare.place
        record = {
            "url": self.url,
            "username": self.username,
            "password": self.password,
            "token": self.token,
            "complete": self.is_complete,
            "places": places,
            "state_urls": {device.type: device.state_url for device in self.devices},
            "entries": {b.device.type: b.entry_id for b in self.batteries},
        }
        if self.local_time:
            record["local_time"] = self.local_time.as_record()
        path = self._folder / _RECORD
        written = path.with_suffix(".new")
        written.touch(mode=0o600)
        written.write_text(json.dumps(record, indent=2))
        # Whenever it is killed, there is a whole record.
        written.replace(path)


def by_key(
    keys: Collection[str], entities: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """Return the ids of those of the entities whose unique ids end with a key."""
    return {
        key: entity["entity_id"]
        for entity in entities
        for key in keys
        if f"_{entity['unique_id']}".endswith(f"_{key}")
    }


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the running demo."""
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text())
    except FileNotFoundError:
        raise DemoError("no demo is running; start scripts/demo first") from None
    return record
