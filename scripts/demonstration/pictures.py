"""Take all pictures of the pages anew: start a demo, show each page, write the files."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
import io
import sys
from typing import Any, Final, NamedTuple

import aiohttp
from PIL import Image
from playwright.sync_api import Browser, Error, FloatRect, Locator, Page, ViewportSize

from . import PICTURES_FOLDER, ROOT, DemoError, story
from .browser import chromium, log_in_script
from .house import House
from .processes import free_port
from .waiting import describe

FOLDER: Final = ROOT / "docs" / "pictures"
MOST_BYTES: Final = 150_000
"""The largest that a picture may be: pages are read on phones, too."""

_COLOURS: Final = 128
_TIMEOUT: Final = 60_000
"""Milliseconds that a page may take to show something."""
_STILL_MS: Final = 700
"""Milliseconds without a change after which a page is taken to be drawn."""
_CAPTURES: Final = 40
"""Captures of a page that goes on changing; the last one is taken then."""

_DESKTOP: Final[dict[str, Any]] = {"viewport": ViewportSize(width=1180, height=1180)}
_PHONE: Final[dict[str, Any]] = {
    "viewport": ViewportSize(width=390, height=844),
    "is_mobile": True,
    "has_touch": True,
}
_HIDE_SIDEBAR: Final = "localStorage.setItem('dockedSidebar', '\"always_hidden\"');"

_BATTERY: Final = "Sessy"
"""The battery whose page is shown: it is held, and follows."""


def _page(page: Page) -> None:
    page.locator("hui-tile-card").first.wait_for()


def _page_of_battery(page: Page) -> None:
    page.get_by_role("heading", name=_BATTERY, exact=True).click()
    page.wait_for_url("**/battery-*")
    page.locator("hui-tile-card").get_by_role("slider").first.wait_for()


def _energy(page: Page) -> None:
    page.locator("hui-energy-distribution-card").wait_for()


def _energy_of_battery(page: Page) -> Locator:
    row = page.locator("ha-energy-battery-settings .row", has_text=_BATTERY)
    row.locator("ha-icon-button").first.click()
    dialog = page.locator("dialog-energy-battery-settings")
    dialog.get_by_text("Inverted").first.wait_for()
    return dialog.locator("dialog[open]")


def _adding(page: Page) -> Locator:
    page.get_by_role("button", name="Add integration").click()
    page.get_by_placeholder("Search for a brand name").fill("home battery")
    brands = page.locator("dialog-add-integration")
    brands.get_by_text("Home Battery", exact=True).first.click()
    dialog = page.locator("dialog-data-entry-flow")
    dialog.get_by_text("Find it by its address", exact=True).wait_for()
    return dialog.locator("dialog[open]")


class Picture(NamedTuple):
    """A picture: its page, and the clicks that lead from there to what it shows."""

    name: str
    path: str
    show: Callable[[Page], Locator | None]
    """Shows it; returns the dialog to take, or none for the page."""
    height: int = 0
    """Pixels of the page to take from its top; 0 for all of the window."""
    window: dict[str, Any] = _DESKTOP


PICTURES: Final = (
    Picture("page", f"/{story.PAGE}", _page, 1045),
    Picture("page-phone", f"/{story.PAGE}", _page, window=_PHONE),
    Picture("battery", f"/{story.PAGE}", _page_of_battery, 1080),
    Picture("energy", "/energy", _energy, 515),
    Picture("energy-battery", "/config/energy/electricity", _energy_of_battery),
    Picture("adding", "/config/integrations/dashboard", _adding),
)


def _capture(page: Page, part: Locator | None, height: int) -> bytes:
    """Return the picture of a dialog, or of the top of a page, as PNG."""
    if part:
        return part.screenshot(animations="disabled")
    size = page.viewport_size
    if size is None or not height:
        return page.screenshot(animations="disabled")
    clip = FloatRect(x=0, y=0, width=size["width"], height=height)
    return page.screenshot(animations="disabled", clip=clip)


def _take(browser: Browser, picture: Picture, url: str, token: str) -> bytes:
    """Return a picture when nothing moves any more; PNG."""
    context = browser.new_context(**{"locale": "en-GB", **picture.window})
    context.add_init_script(log_in_script(url, token) + _HIDE_SIDEBAR)
    page = context.new_page()
    page.set_default_timeout(_TIMEOUT)
    page.goto(f"{url}{picture.path}")
    part = picture.show(page)
    # So that nothing is drawn as pointed at.
    page.mouse.move(0, 0)
    taken = _capture(page, part, picture.height)
    for _ in range(_CAPTURES):
        page.wait_for_timeout(_STILL_MS)
        before, taken = taken, _capture(page, part, picture.height)
        if before == taken:
            break
    context.close()
    return taken


def lighten(taken: bytes) -> bytes:
    """Return a picture with few colours, which is a small file."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(taken)) as image:
        palette = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        palette.save(small, "PNG", optimize=True)
    return small.getvalue()


def _write_all(url: str, token: str, names: Sequence[str]) -> None:
    """Write the pictures of these names of a running demo."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for picture in PICTURES:
            if picture.name not in names:
                continue
            try:
                light = lighten(_take(browser, picture, url, token))
            except Error as err:
                raise DemoError(f"{picture.name}: {err}") from None
            if len(light) > MOST_BYTES:
                raise DemoError(f"{picture.name} is too large: {len(light)} bytes")
            file = FOLDER / f"{picture.name}.png"
            file.write_bytes(light)
            print(f"Wrote {file.relative_to(ROOT)}, {len(light) // 1000} kB")


async def _run(names: Sequence[str]) -> None:
    async with (
        aiohttp.ClientSession() as session,
        House(PICTURES_FOLDER, session, port=free_port(), lived_in=True) as house,
    ):
        await house.add_batteries()
        await story.fill(house)
        await asyncio.to_thread(_write_all, house.url, house.token, names)


def _options() -> argparse.Namespace:
    names = [picture.name for picture in PICTURES]
    parser = argparse.ArgumentParser(
        prog="scripts/pictures",
        description="Starts a demo of its own, and makes the pictures in docs/pictures anew.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"only these: {', '.join(names)}",
    )
    return parser.parse_args()


def main() -> int:
    """Run from the command line."""
    options = _options()
    try:
        asyncio.run(_run(options.names))
    except (DemoError, aiohttp.ClientError, TimeoutError) as err:
        print(f"\nError: {describe(err)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
