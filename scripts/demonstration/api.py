"""The demo's calls of Home Assistant, over the interfaces its own frontend uses."""

from typing import Any, Final, cast

import aiohttp

from . import DOMAIN, AnswerError, DemoError, NotThereError
from .frontend_form import FormError, fill_in

_MAX_FLOW_STEPS: Final = 6


class Api:
    """The interfaces of one running Home Assistant."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        """Use a token that has already been given out."""
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._token = token

    async def get(self, path: str) -> Any:
        """Read from the REST interface."""
        async with self._session.get(
            f"{self._url}{path}", headers=self._headers
        ) as response:
            return await _checked(response)

    async def post(self, path: str, data: dict[str, Any]) -> Any:
        """Write to the REST interface."""
        async with self._session.post(
            f"{self._url}{path}", headers=self._headers, json=data
        ) as response:
            return await _checked(response)

    async def delete(self, path: str) -> Any:
        """Delete something over the REST interface."""
        async with self._session.delete(
            f"{self._url}{path}", headers=self._headers
        ) as response:
            return await _checked(response)

    async def command(self, command: str, **data: Any) -> Any:
        """Send one command over the websocket."""
        async with self._session.ws_connect(f"{self._url}/api/websocket") as socket:
            await socket.receive_json()
            await socket.send_json({"type": "auth", "access_token": self._token})
            answer = await socket.receive_json()
            if answer["type"] != "auth_ok":
                raise DemoError(f"Home Assistant refused the token: {answer}")
            await socket.send_json({"id": 1, "type": command, **data})
            answer = await socket.receive_json()
        if not answer["success"]:
            error = answer["error"]
            kind = NotThereError if error["code"] == "not_found" else DemoError
            raise kind(f"Home Assistant refused {command}: {error}")
        return answer["result"]

    async def call_service(self, service: str, entity_id: str, **data: Any) -> None:
        """Call a service on one entity, as an automation would."""
        await self.call_action(service, entity_id=entity_id, **data)

    async def call_action(self, action: str, **data: Any) -> None:
        """Call an action with its data, among them the target."""
        await self.post(f"/api/services/{action.replace('.', '/')}", data)

    async def state(self, entity_id: str) -> dict[str, Any]:
        """Return an entity's state with its attributes."""
        return cast(dict[str, Any], await self.get(f"/api/states/{entity_id}"))

    async def is_running(self) -> bool:
        """Return True when Home Assistant has finished starting."""
        return bool((await self.get("/api/config"))["state"] == "RUNNING")

    async def entries(self) -> list[dict[str, Any]]:
        """Return the integration's config entries."""
        entries = await self.get(f"/api/config/config_entries/entry?domain={DOMAIN}")
        return cast(list[dict[str, Any]], entries)

    async def delete_entry(self, entry_id: str) -> None:
        """Delete a config entry."""
        await self.delete(f"/api/config/config_entries/entry/{entry_id}")

    async def entities(self, entry_id: str) -> list[dict[str, Any]]:
        """Return the enabled entities of a config entry."""
        return [
            entity
            for entity in await self.command("config/entity_registry/list")
            if entity["config_entry_id"] == entry_id and entity["disabled_by"] is None
        ]

    async def entities_of(self, platform: str) -> list[dict[str, Any]]:
        """Return the entities of an integration."""
        return [
            entity
            for entity in await self.command("config/entity_registry/list")
            if entity["platform"] == platform
        ]

    async def has_dashboard(self) -> bool:
        """Return True when the energy dashboard is configured, if only with nothing."""
        try:
            await self.command("energy/get_prefs")
        except NotThereError:
            return False
        return True

    async def add_entry(
        self, battery_type: str, setup: dict[str, Any]
    ) -> dict[str, Any]:
        """Add a config entry by going through the flow as a user would."""
        path = "/api/config/config_entries/flow"
        step = await self.post(path, {"handler": DOMAIN})
        for _ in range(_MAX_FLOW_STEPS):
            if step["type"] == "create_entry":
                return cast(dict[str, Any], step["result"])
            answer = _answer(step, battery_type, setup)
            step = await self.post(f"{path}/{step['flow_id']}", answer)
        raise DemoError(f"the flow of {battery_type} has no end; last step: {step}")


def _answer(
    step: dict[str, Any], battery_type: str, setup: dict[str, Any]
) -> dict[str, Any]:
    """Fill in one step of a flow."""
    if step["type"] == "menu":
        if battery_type not in step["menu_options"]:
            raise DemoError(
                f"the flow does not offer {battery_type}: {step['menu_options']}"
            )
        return {"next_step_id": battery_type}
    if step["type"] != "form":
        raise DemoError(f"the flow of {battery_type} ended otherwise: {step}")
    if step["errors"]:
        raise DemoError(f"the flow of {battery_type} refused {setup}: {step['errors']}")
    try:
        return fill_in(step["data_schema"], setup)
    except FormError as err:
        raise DemoError(f"the flow of {battery_type}, given {setup}: {err}") from err


async def make_user(
    session: aiohttp.ClientSession, url: str, *, username: str, password: str
) -> str:
    """Make the first user of a new Home Assistant; return a token that lasts."""
    client_id = f"{url}/"
    user = {"name": "Demo", "username": username, "password": password}
    async with session.post(
        f"{url}/api/onboarding/users",
        json={**user, "client_id": client_id, "language": "en"},
    ) as response:
        code = (await _checked(response))["auth_code"]
    async with session.post(
        f"{url}/auth/token",
        data={
            "grant_type": "authorization_code",
            "code": code,
            "client_id": client_id,
        },
    ) as response:
        token = (await _checked(response))["access_token"]
    return cast(
        str,
        await Api(session, url, token).command(
            "auth/long_lived_access_token", client_name="demo", lifespan=365
        ),
    )


async def _checked(response: aiohttp.ClientResponse) -> Any:
    """Return the answer; raise AnswerError for a refusal."""
    if not response.ok:
        raise AnswerError(
            f"Home Assistant answered {response.method} {response.url.path} with"
            f" status {response.status}: {await response.text()}"
        )
    return await response.json()
