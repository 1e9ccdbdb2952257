"""A Home Assistant of its own: its folder, and its process."""

from collections.abc import Sequence
import json
from pathlib import Path
import shutil
import sys
from typing import Any, Final

import aiohttp

from . import DOMAIN, ROOT, DemoError
from .processes import Child
from .waiting import wait_for

# Home Assistant ends with this status when it was asked to start again.
RESTART_STATUS: Final = 100

USUAL_TIME_ZONE: Final = "Europe/Amsterdam"
HOUSE_DOMAIN: Final = "demo_house"
"""The integration of the demo's own, which shows the house of all devices."""

_COMPONENTS: Final = {
    DOMAIN: ROOT / "custom_components" / DOMAIN,
    HOUSE_DOMAIN: Path(__file__).parent / HOUSE_DOMAIN,
}
_BLUEPRINTS: Final = Path("blueprints", "automation", DOMAIN)

_CONFIGURATION: Final = """\
# Written anew at every start of the demo.
homeassistant:
  name: Demo house
  latitude: 52.37
  longitude: 4.89
  elevation: 0
  unit_system: metric
  time_zone: {time_zone}
  currency: EUR
  country: NL
frontend:
config:
history:
logbook:
energy:
recorder:
  commit_interval: 1
logger:
  default: warning
  logs:
    custom_components.{domain}: info
automation: !include automations.yaml
script: []
scene: []
"""
_HOUSE: Final = """\
{domain}:
  state_urls: {state_urls}
"""


def prepare(
    config: Path,
    port: int,
    *,
    time_zone: str = USUAL_TIME_ZONE,
    state_urls: Sequence[str] = (),
) -> None:
    """Make the configuration folder ready; what is already stored in it stays.

    With `state_urls` of simulated devices their house has entities of its own, and the
    blueprints are there.
    """
    storage = config / ".storage"
    storage.mkdir(parents=True, exist_ok=True)
    configuration = _CONFIGURATION.format(time_zone=time_zone, domain=DOMAIN)
    if state_urls:
        configuration += _HOUSE.format(
            domain=HOUSE_DOMAIN, state_urls=json.dumps(list(state_urls))
        )
        shutil.copytree(ROOT / _BLUEPRINTS, config / _BLUEPRINTS, dirs_exist_ok=True)
    (config / "configuration.yaml").write_text(configuration)
    # Where automations go that are made on its pages.
    (config / "automations.yaml").touch()
    _link_components(config / "custom_components")
    _store(storage / "http", version=2, minor_version=2, data=_http(port))
    if not (storage / "onboarding").exists():
        # Only the first user remains to be made; other steps would ask the internet.
        done = {"done": ["core_config", "analytics", "integration"]}
        _store(storage / "onboarding", version=4, minor_version=1, data=done)


def _link_components(folder: Path) -> None:
    """Let the folder have the integration, and that of the demo, as they are here."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for domain, component in _COMPONENTS.items():
        if not (component / "manifest.json").exists():
            raise DemoError(f"the integration is not there: {component}")
        link = folder / domain
        link.unlink(missing_ok=True)
        link.symlink_to(component)


def _http(port: int) -> dict[str, Any]:
    """Return settings to listen on this machine only; YAML ones end in 5 min."""
    return {
        "stable": {
            "server_host": ["127.0.0.1"],
            "server_port": port,
            "cors_allowed_origins": ["https://cast.home-assistant.io"],
            "login_attempts_threshold": -1,
            "ip_ban_enabled": True,
            "ssl_profile": "modern",
            "use_x_frame_options": True,
            "created_at": "2026-01-01T00:00:00+00:00",
            "error": None,
            "error_message": None,
        },
        "pending": None,
        "yaml_migration_done": True,
    }


def _store(path: Path, *, version: int, minor_version: int, data: Any) -> None:
    content = {"version": version, "minor_version": minor_version, "key": path.name}
    path.write_text(json.dumps({**content, "data": data}, indent=2))


async def start(config: Path) -> Child:
    """Start Home Assistant on this folder."""
    command = [sys.executable, "-m", "homeassistant", "--log-no-color"]
    return await Child.start(
        "Home Assistant",
        [*command, "--config", str(config)],
        folder=config,
        out=log_file(config),
    )


def log_file(config: Path) -> Path:
    """Return the file with Home Assistant's messages."""
    return config.parent / "home-assistant.log"


def check_alive(child: Child) -> None:
    """Raise DemoError when Home Assistant has ended while starting."""
    if child.exit_status is not None:
        raise DemoError(f"Home Assistant stopped while starting:\n{child.last_words()}")


async def wait_until_it_answers(
    child: Child, session: aiohttp.ClientSession, url: str
) -> None:
    """Wait until the page with the log-in can be had; else raise DemoError with the log."""

    async def observe() -> str:
        check_alive(child)
        async with session.get(f"{url}/manifest.json") as response:
            return f"HTTP status {response.status}"

    try:
        await wait_for(
            f"Home Assistant to answer at {url}",
            observe,
            lambda seen: seen == "HTTP status 200",
            seconds=180,
        )
    except DemoError as err:
        raise DemoError(f"{err}\n{child.last_words(200)}") from None
