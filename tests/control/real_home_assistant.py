"""A Home Assistant process of its own, which tests can start, kill and start again."""

import asyncio
from collections.abc import Iterable
import json
from pathlib import Path
import signal
from types import TracebackType
from typing import Final, Self

import aiohttp

from custom_components.homebattery.control.store import COPY
from custom_components.homebattery.json_file import file_name
from scripts.demonstration import DOMAIN, home_assistant
from scripts.demonstration.api import Api, make_user
from scripts.demonstration.processes import Child, free_port
from scripts.demonstration.waiting import wait_for
from tests.home import KINDS
from tests.simulators import Simulator

_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 60
_STORE_SECONDS: Final = 30


class RealHomeAssistant:
    """`python -m homeassistant` on a folder that outlives each of its processes.

    async with RealHomeAssistant(folder) as home_assistant:
        await home_assistant.start()
        await home_assistant.add(simulator)
        await home_assistant.set_power([simulator], 600)
        await home_assistant.kill()
        await home_assistant.start()
    """

    def __init__(self, folder: Path) -> None:
        """Plan to run in this folder; nothing is started."""
        self._config = folder / "config"
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._session = aiohttp.ClientSession()
        self._token: str | None = None
        self._child: Child | None = None

    async def __aenter__(self) -> Self:
        """Let tests start it themselves."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process if it still runs."""
        if self._child is not None:
            await self._child.kill()
        await self._session.close()

    @property
    def _api(self) -> Api:
        assert self._token is not None
        return Api(self._session, self._url, self._token)

    async def start(self) -> None:
        """Start it, and wait until it says that it has; its first user is made once."""
        home_assistant.prepare(self._config, self._port)
        child = self._child = await home_assistant.start(self._config)
        await home_assistant.wait_until_it_answers(child, self._session, self._url)
        if self._token is None:
            self._token = await make_user(
                self._session, self._url, username="test", password="test"
            )

        async def observe() -> bool:
            home_assistant.check_alive(child)
            return await self._api.is_running()

        await wait_for(
            "Home Assistant to finish starting", observe, bool, seconds=_START_SECONDS
        )

    async def kill(self) -> None:
        """End it by SIGKILL: nothing is released, as in a power cut."""
        assert self._child is not None
        await self._child.kill()
        self._child = None

    def kill_now(self) -> None:
        """Send SIGKILL and wait for nothing; `kill` ends the rest."""
        assert self._child is not None
        self._child._signal(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to stop, by SIGTERM; return its exit status, 0 when all went well."""
        assert self._child is not None
        status = await self._child.stop(seconds=_STOP_SECONDS)
        self._child = None
        return status

    async def add(self, simulators: Iterable[Simulator]) -> None:
        """Add an entry for each device, through the config flow.

        Home Assistant writes new entries to its folder a moment later, and would forget
        them if it were killed before.
        """
        added = await asyncio.gather(
            *(self._api.add_entry(each.type, each.setup) for each in simulators)
        )
        ids = {entry["entry_id"] for entry in added}

        async def observe() -> set[str]:
            return ids & self._stored_entries()

        await wait_for(
            "the entries to be stored",
            observe,
            lambda stored: stored == ids,
            seconds=_STORE_SECONDS,
        )

    def _stored_entries(self) -> set[str]:
        """Return the ids of those entries that the next start will know."""
        path = self._config / ".storage" / "core.config_entries"
        entries = json.loads(path.read_text())["data"]["entries"]
        return {entry["entry_id"] for entry in entries}

    async def set_power(self, simulators: Iterable[Simulator], power: int) -> None:
        """Set a power setpoint, W, for all devices at once; return when all have it."""
        await asyncio.gather(
            *(
                self._api.call_service("number.set_value", entity_id, value=power)
                for entity_id in await self._entity_ids(simulators, "power_setpoint")
            )
        )

    async def hold_for_an_hour(
        self, simulators: Iterable[Simulator], power: int
    ) -> None:
        """Set a power setpoint, W, that ends after an hour, for all devices at once."""
        await asyncio.gather(
            *(
                self._api.call_service(
                    f"{DOMAIN}.set_power", each, power=power, duration="01:00:00"
                )
                for each in await self._entity_ids(simulators, "power_setpoint")
            )
        )

    async def release(self, simulators: Iterable[Simulator]) -> None:
        """Release all devices at once; return when all are restored."""
        await asyncio.gather(
            *(
                self._api.call_service(f"{DOMAIN}.release", each)
                for each in await self._entity_ids(simulators, "power_setpoint")
            )
        )

    async def issues(self) -> set[str]:
        """Return the repair issues of the integration."""
        listed = await self._api.command("repairs/list_issues")
        return {
            issue["issue_id"] for issue in listed["issues"] if issue["domain"] == DOMAIN
        }

    def leases(self, simulators: Iterable[Simulator]) -> set[str]:
        """Return the types of those devices that are held, as the disk says."""
        return {
            each.type
            for each in simulators
            if (path := self._lease_file(each)).exists()
            and json.loads(path.read_text())["data"]["lease"] is not None
        }

    def copies(self, simulators: Iterable[Simulator]) -> set[str]:
        """Return the types of those devices whose snapshot has a copy on disk."""
        return {
            each.type
            for each in simulators
            if Path(f"{self._lease_file(each)}{COPY}").exists()
        }

    def _lease_file(self, simulator: Simulator) -> Path:
        return self._config / ".storage" / file_name(KINDS[simulator.type].serial)

    async def states(self, simulators: Iterable[Simulator], key: str) -> list[str]:
        """Return the state of the same entity of each device."""
        return [
            str((await self._api.state(entity_id))["state"])
            for entity_id in await self._entity_ids(simulators, key)
        ]

    async def _entity_ids(self, simulators: Iterable[Simulator], key: str) -> list[str]:
        """Return the entity id of a key for each device, by the unique id."""
        wanted = [f"{KINDS[each.type].serial}_{key}" for each in simulators]

        async def observe() -> dict[str, str]:
            return {
                entity["unique_id"]: entity["entity_id"]
                for entity in await self._api.command("config/entity_registry/list")
                if entity["unique_id"] in wanted
            }

        entities = await wait_for(
            f"the entities {', '.join(wanted)}",
            observe,
            lambda seen: len(seen) == len(wanted),
            seconds=_START_SECONDS,
        )
        return [entities[unique_id] for unique_id in wanted]
