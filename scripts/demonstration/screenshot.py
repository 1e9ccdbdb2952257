"""Take a picture of a page of the running demo."""

import argparse
from pathlib import Path
import sys

from playwright.sync_api import Error, ViewportSize

from . import CHECK_FOLDER, DEMO_FOLDER, DemoError
from .browser import READ_TEXT, chromium, log_in_script
from .house import read_record


def _take(options: argparse.Namespace) -> None:
    record = read_record(CHECK_FOLDER if options.of_check else DEMO_FOLDER)
    width, height = map(int, options.size.split("x"))
    with chromium() as browser:
        page = browser.new_page(viewport=ViewportSize(width=width, height=height))
        page.add_init_script(log_in_script(record["url"], record["token"]))
        try:
            page.goto(f"{record['url']}{options.page}")
        except Error:
            raise DemoError(
                f"no demo answers at {record['url']}; start scripts/demo first"
            ) from None
        page.wait_for_timeout(options.wait * 1000)
        page.screenshot(path=options.picture)
        print(f"Wrote {options.picture}")
        if options.text:
            print(page.locator("body").evaluate(READ_TEXT))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/screenshot",
        description="A picture of a page of the running demo.",
    )
    parser.add_argument("page", help="the path of the page, such as /config/dashboard")
    parser.add_argument("picture", type=Path, help="the file to write, PNG")
    parser.add_argument(
        "--wait", type=float, default=6, help="seconds to give the page (6)"
    )
    parser.add_argument("--size", default="1280x900", help="of the window (1280x900)")
    parser.add_argument(
        "--text", action="store_true", help="also print the text on the page"
    )
    parser.add_argument(
        "--of-check", action="store_true", help="of a running scripts/demo --check"
    )
    options = parser.parse_args()
    if not options.page.startswith("/"):
        parser.error("the page is a path and starts with /")
    return options


def main() -> int:
    """Run from the command line."""
    try:
        _take(_options())
    except DemoError as err:
        print(f"\nError: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
