"""Files of a battery in the frontend: diagnostics to download, blueprints to import."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import json
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from scripts.demonstration import ROOT

from .frontend import Frontend
from .stage import Stage

_BLUEPRINTS: Final = ROOT / "blueprints" / "automation" / "homebattery"


@pytest.fixture
def web() -> Iterator[str]:
    """Serve the blueprints, as the project's page does; yield the address."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(_BLUEPRINTS))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_diagnostics_are_downloaded(
    stage: Stage, frontend: Frontend, tmp_path: Path
) -> None:
    stage.add("sessy")
    (entry,) = stage.entries()
    download = frontend.download_diagnostics(entry["title"])
    file = tmp_path / "diagnostics.json"
    download.save_as(file)
    text = file.read_text()
    assert json.loads(text)["data"]["entry"]["data"]["battery_type"] == "sessy"
    for secret in stage.setup("sessy")["password"], stage.setup("sessy")["username"]:
        assert secret not in text


def test_a_blueprint_becomes_an_automation_by_its_form(
    stage: Stage, frontend: Frontend, web: str
) -> None:
    stage.add("sessy")
    (entry,) = stage.entries()
    frontend.import_blueprint(f"{web}/keep_reserve.yaml")
    form = frontend.new_automation("Keep a reserve in a home battery before a time")
    frontend.choose(form.locator("ha-device-picker"), entry["title"])
    frontend.picture("inputs")
    frontend.save_automation()
    (automation,) = stage.until("the automation", stage.automations, bool)
    assert automation["state"] == "on"
