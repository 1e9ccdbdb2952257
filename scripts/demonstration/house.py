"""The whole demo: the simulated devices, Home Assistant, and a config entry for each device."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
import fcntl
import json
from pathlib import Path
import secrets
import shutil
from types import TracebackType
from typing import IO, Any, Final, Self

import aiohttp
from homeassistant.const import __version__ as RELEASE

from . import DemoError, api as ha_api, dashboard, home_assistant
from .devices import TYPES, Device, Place, start_device
from .processes import Child, is_free
from .waiting import wait_for

_RECORD: Final = "demo.json"

_ENTITIES_SECONDS: Final = 60
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
    ) -> None:
        """Plan a house in this folder; `keep` goes on with its content.

        `places` are where devices listen; others take any free port. With `emma` the
        Huawei inverter is behind an EMMA, which measures the house.
        """
        self.url = f"http://127.0.0.1:{port}"
        self.username = "admin"
        self.password = secrets.token_urlsafe(6)
        self.session = session
        self.devices: list[Device] = []
        self.batteries: list[Battery] = []
        self.exit_status: int | None = None
        self.behind_emma = ("sun2000",) if emma else ()
        self._folder = folder
        self._port = port
        self._keep = keep
        self._places = places or {}
        self._home_assistant: Child | None = None
        self.token = ""
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
        await asyncio.gather(
            *(device.child.stop(seconds=10) for device in self.devices)
        )
        self.devices.clear()
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
            print("Home Assistant starts again …")
            self._home_assistant = await home_assistant.start(self.config)

    async def find_entities(
        self, battery: Battery, keys: Collection[str]
    ) -> dict[str, str]:
        """Return the entities by the ends of their unique ids, never by their names."""

        async def observe() -> dict[str, str]:
            entities = await self.api.entities(battery.entry_id)
            return {
                key: entity["entity_id"]
                for key in keys
                for entity in entities
                if entity["unique_id"].endswith(f"_{key}")
            }

        return await wait_for(
            f"the entities {', '.join(keys)} of {battery.title}",
            observe,
            lambda seen: len(seen) == len(keys),
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

    async def fill_dashboard(self) -> list[dashboard.Source]:
        """Put every battery on the energy dashboard; return them as they are stored."""
        sources = [
            dashboard.battery_source(
                battery.title, await self.find_entities(battery, dashboard.NEEDED)
            )
            for battery in self.batteries
        ]
        saved = await self.api.command("energy/save_prefs", energy_sources=sources)
        stored: list[dashboard.Source] = saved["energy_sources"]
        return stored

    async def _start(self) -> None:
        self._take_folder()
        record = self._read_record()
        if not is_free(self._port):
            raise DemoError(f"port {self._port} is in use; choose another with --port")
        home_assistant.prepare(self.config, self._port)
        print(f"Starting the simulated batteries: {', '.join(TYPES)} …")
        await self._start_devices(record.get("ports", {}))
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

    async def _is_running(self) -> bool:
        if self._home_assistant:
            home_assistant.check_alive(self._home_assistant)
        return await self.api.is_running()

    def _take_folder(self) -> None:
        """Lock the folder against another demo; empty it unless it is to be kept."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        lock = self._folder.with_suffix(".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise DemoError(f"another one is running in {self._folder}") from None
        self._lock = lock
        if not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(exist_ok=True)

    async def _start_devices(self, ports: dict[str, int]) -> None:
        async def start(battery_type: str) -> None:
            # A kept config entry knows its device by the port.
            place = self._places.get(battery_type)
            if port := ports.get(battery_type, 0):
                place = Place(port=port)
                if not is_free(port):
                    raise DemoError(
                        f"port {port} of the simulated {battery_type} is in use;"
                        " start without --keep"
                    )
            options = _EMMA if battery_type in self.behind_emma else ()
            self.devices.append(
                await start_device(battery_type, self._folder, place, options)
            )

        try:
            async with asyncio.TaskGroup() as tasks:
                for battery_type in TYPES:
                    tasks.create_task(start(battery_type))
        except ExceptionGroup as group:
            # The others were stopped because of this one.
            raise group.exceptions[0] from None
        self.devices.sort(key=lambda device: TYPES.index(device.type))

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
        record = {
            "url": self.url,
            "username": self.username,
            "password": self.password,
            "token": self.token,
            "ports": {device.type: device.port for device in self.devices},
            "state_urls": {device.type: device.state_url for device in self.devices},
            "entries": {b.device.type: b.entry_id for b in self.batteries},
        }
        path = self._folder / _RECORD
        path.touch(mode=0o600)
        path.write_text(json.dumps(record, indent=2))


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the running demo."""
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text())
    except FileNotFoundError:
        raise DemoError("no demo is running; start scripts/demo first") from None
    return record
