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
from .processes import free_port, until_signal
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
_LOADING: Final = "ha-spinner:not(.loading-indicator), .loading-indicator.is-loading"
"""The spinners of parts that are loading; that of the date is always there."""
_MARGIN: Final = 16
"""Pixels below the last card."""

_DESKTOP: Final[dict[str, Any]] = {"viewport": ViewportSize(width=1180, height=1800)}
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
    page.locator("hui-energy-distribution-card").wait_for()


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
    parts: str = ""
    """The elements of a page that are on it whole; without any, all of the window."""
    graphs: int = 0
    window: dict[str, Any] = _DESKTOP


PICTURES: Final = (
    Picture("page", f"/{story.PAGE}", _page, "hui-section", 3),
    Picture("page-phone", f"/{story.PAGE}", _page, window=_PHONE),
    Picture("battery", f"/{story.PAGE}", _page_of_battery, "hui-section", 3),
    Picture("energy", "/energy", _energy, "hui-energy-distribution-card", 1),
    Picture("energy-battery", "/config/energy/electricity", _energy_of_battery),
    Picture("adding", "/config/integrations/dashboard", _adding),
)


def _wait_until_drawn(page: Page, graphs: int) -> None:
    """Wait until a page has its graphs, and nothing on it is loading."""
    if graphs:
        page.locator("ha-chart-base canvas").nth(graphs - 1).wait_for()
    for spinner in page.locator(_LOADING).all():
        spinner.wait_for(state="hidden")


def _end(page: Page, parts: str) -> float:
    """Return the pixels from the top of a page to where its parts end.

    Raises DemoError when the window ends before.
    """
    boxes = [part.bounding_box() for part in page.locator(parts).all()]
    end = max(box["y"] + box["height"] for box in boxes if box) + _MARGIN
    size = page.viewport_size
    if size is None or end > size["height"]:
        raise DemoError(f"the window is too small for {end:.0f} pixels")
    return end


def _capture(page: Page, dialog: Locator | None, parts: str) -> bytes:
    """Return the picture of a dialog, or of a page down to where its parts end; PNG."""
    if dialog:
        return dialog.screenshot(animations="disabled")
    size = page.viewport_size
    if size is None or not parts:
        return page.screenshot(animations="disabled")
    clip = FloatRect(x=0, y=0, width=size["width"], height=_end(page, parts))
    return page.screenshot(animations="disabled", clip=clip)


def _take(browser: Browser, picture: Picture, house: House) -> bytes:
    """Return a picture when nothing moves any more; PNG."""
    # Graphs mark midnight of the browser's own time zone.
    zone = house.local_time and house.local_time.time_zone
    window = {"locale": "en-GB", "timezone_id": zone, **picture.window}
    context = browser.new_context(**window)
    context.add_init_script(log_in_script(house.url, house.token) + _HIDE_SIDEBAR)
    page = context.new_page()
    page.set_default_timeout(_TIMEOUT)
    page.goto(f"{house.url}{picture.path}")
    dialog = picture.show(page)
    _wait_until_drawn(page, picture.graphs)
    # So that nothing is drawn as pointed at.
    page.mouse.move(0, 0)
    taken = _capture(page, dialog, picture.parts)
    for _ in range(_CAPTURES):
        page.wait_for_timeout(_STILL_MS)
        before, taken = taken, _capture(page, dialog, picture.parts)
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


def _write_all(house: House, names: Sequence[str]) -> None:
    """Write the pictures of these names of a running demo."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for picture in PICTURES:
            if picture.name not in names:
                continue
            try:
                light = lighten(_take(browser, picture, house))
            except (DemoError, Error) as err:
                raise DemoError(f"{picture.name}: {err}") from None
            if len(light) > MOST_BYTES:
                raise DemoError(f"{picture.name} is too large: {len(light)} bytes")
            file = FOLDER / f"{picture.name}.png"
            file.write_bytes(light)
            print(f"Wrote {file.relative_to(ROOT)}, {len(light) // 1000} kB")


async def _run(names: Sequence[str]) -> bool:
    async with (
        aiohttp.ClientSession() as session,
        House(PICTURES_FOLDER, session, port=free_port(), lived_in=True) as house,
    ):
        await house.add_batteries()
        await story.fill(house)
        await asyncio.to_thread(_write_all, house, names)
    return True


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
        return asyncio.run(until_signal(_run(options.names)))
    except (DemoError, aiohttp.ClientError, TimeoutError) as err:
        print(f"\nError: {describe(err)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
