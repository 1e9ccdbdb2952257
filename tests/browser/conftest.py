"""Fixtures of the browser suite: the stage and a browser window."""

from collections.abc import Generator, Iterator
import re
import shutil
from typing import Any, Final

from playwright.sync_api import Browser, ViewportSize, expect
import pytest

from scripts.demonstration import ROOT, DemoError
from scripts.demonstration.browser import chromium, log_in_script
from scripts.demonstration.processes import is_free

from .frontend import Frontend
from .stage import PLACES, Stage

_FOLDER: Final = ROOT / ".demo" / "browser"
_PICTURES: Final = ROOT / ".cache" / "browser"

_TIMEOUT: Final = 20_000
"""Milliseconds that the frontend may take to show something."""

WINDOWS: Final[dict[str, dict[str, Any]]] = {
    "desktop": {"viewport": ViewportSize(width=1280, height=900)},
    "phone": {
        "viewport": ViewportSize(width=390, height=844),
        "is_mobile": True,
        "has_touch": True,
    },
    "dark": {
        "viewport": ViewportSize(width=1280, height=900),
        "color_scheme": "dark",
    },
}
_ENGLISH: Final = "en-GB"
_IN_OTHER_LANGUAGES: Final = {
    language: {**WINDOWS["desktop"], "locale": language}
    for language in ("de", "nl", "fr")
}

_failed: Final = pytest.StashKey[bool]()


def in_every_window(function: Any) -> Any:
    """Decorate a test to run it in every kind of window."""
    return pytest.mark.parametrize("frontend", WINDOWS, indirect=True)(function)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record whether a test has failed, for the fixture that takes its picture."""
    report = yield
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report


@pytest.fixture(autouse=True)
def enable_event_loop_debug() -> None:
    """Start no event loop for a test: playwright has its own in this thread."""


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Yield the simulated batteries and a Home Assistant without entries, started."""
    for battery_type, (host, port) in PLACES.items():
        if not is_free(port, host):
            raise DemoError(
                f"The simulated {battery_type} cannot listen at {host}:{port}. Ports"
                " below 1024 are for root, unless the setting of the kernel"
                " net.ipv4.ip_unprivileged_port_start says otherwise"
            )
    shutil.rmtree(_PICTURES, ignore_errors=True)
    with Stage(_FOLDER) as stage:
        yield stage


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start a browser."""
    expect.set_options(timeout=_TIMEOUT)
    with chromium() as browser:
        yield browser


@pytest.fixture
def frontend(
    request: pytest.FixtureRequest, stage: Stage, browser: Browser
) -> Iterator[Frontend]:
    """Open a window on a Home Assistant without batteries."""
    stage.clear()
    window = (WINDOWS | _IN_OTHER_LANGUAGES)[getattr(request, "param", "desktop")]
    context = browser.new_context(**{"locale": _ENGLISH, **window})
    context.add_init_script(log_in_script(stage.url, stage.token))
    page = context.new_page()
    page.set_default_timeout(_TIMEOUT)
    name = re.sub(r"[^\w-]+", "-", request.node.name).strip("-")
    frontend = Frontend(page, stage.url, _PICTURES / name)
    yield frontend
    if request.node.stash.get(_failed, True):
        number = len(list((_PICTURES / name).glob("failed*"))) + 1
        frontend.picture(f"failed-{number}")
    context.close()
