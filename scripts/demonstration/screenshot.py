"""Take a picture of a page of the running demo, with Chromium and its own debugging protocol."""

import argparse
import asyncio
import base64
from contextlib import AsyncExitStack, suppress
import json
from pathlib import Path
import shutil
import sys
import tempfile
import time
from typing import Any, Final, Self

import aiohttp

from . import CHECK_FOLDER, DEMO_FOLDER, DemoError
from .house import read_record
from .processes import Child
from .waiting import wait_for

_BROWSERS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)

# Home Assistant's pages are made of shadow roots inside shadow roots; this reads through them.
_READ_TEXT: Final = """
(() => {
  const parts = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.textContent.trim();
      if (text) parts.push(text);
      return;
    }
    if (["STYLE", "SCRIPT"].includes(node.tagName)) return;
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.tagName === "SLOT") node.assignedNodes().forEach(walk);
    else if (!node.shadowRoot) node.childNodes.forEach(walk);
  };
  walk(document.body);
  return parts.join("\\n");
})()
"""


class Page:
    """A page of a browser, spoken to over its websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Speak over this websocket."""
        self._socket = socket
        self._number = 0

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, port: int) -> Self:
        """Return the browser's first page."""
        async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
            targets = await response.json()
        url = next(target for target in targets if target["type"] == "page")
        # A picture can be larger than the usual limit of a message.
        socket = await session.ws_connect(url["webSocketDebuggerUrl"], max_msg_size=0)
        return cls(socket)

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; what else happens is not of interest."""
        self._number += 1
        number = self._number
        await self._socket.send_json(
            {"id": number, "method": method, "params": parameters}
        )
        async with asyncio.timeout(30):
            while (answer := await self._socket.receive_json()).get("id") != number:
                pass
        if "error" in answer:
            raise DemoError(f"the browser refused {method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result


def _log_in_script(record: dict[str, Any]) -> str:
    """Return the script that makes the page believe that somebody has logged in."""
    tokens = {
        "access_token": record["token"],
        "refresh_token": "",
        "expires_in": 86400,
        "expires": int((time.time() + 86400) * 1000),
        "token_type": "Bearer",
        "hassUrl": record["url"],
        "clientId": f"{record['url']}/",
    }
    return f"localStorage.setItem('hassTokens', {json.dumps(json.dumps(tokens))});"


async def _start_browser(stack: AsyncExitStack, size: str) -> int:
    """Start a browser without a window; return the port it is spoken to on."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise DemoError("there is no Chromium. On Debian: apt-get install chromium")
    profile = Path(
        stack.enter_context(
            tempfile.TemporaryDirectory(prefix="profile-", ignore_cleanup_errors=True)
        )
    )
    child = await Child.start(
        "The browser",
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            # The page gets to see this machine and nothing else.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            f"--window-size={size.replace('x', ',')}",
            "about:blank",
        ],
        folder=profile,
        out=profile / "output.log",
    )
    stack.push_async_callback(child.stop, seconds=10)

    async def look() -> str:
        if child.exit_status is not None:
            raise DemoError(f"the browser did not start:\n{child.last_words()}")
        with suppress(FileNotFoundError):
            return (profile / "DevToolsActivePort").read_text()
        return ""

    text = await wait_for("the browser to start", look, bool, seconds=30, pause=0.1)
    return int(text.splitlines()[0])


async def _take(options: argparse.Namespace) -> None:
    record = read_record(CHECK_FOLDER if options.of_check else DEMO_FOLDER)
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        try:
            async with session.get(f"{record['url']}/manifest.json"):
                pass
        except aiohttp.ClientError:
            raise DemoError(
                f"no demo answers at {record['url']}; start scripts/demo first"
            ) from None
        page = await Page.open(session, await _start_browser(stack, options.size))
        await page.command("Page.enable")
        await page.command(
            "Page.addScriptToEvaluateOnNewDocument", source=_log_in_script(record)
        )
        await page.command("Page.navigate", url=f"{record['url']}{options.page}")
        await asyncio.sleep(options.wait)
        picture = await page.command("Page.captureScreenshot", format="png")
        options.picture.write_bytes(base64.b64decode(picture["data"]))
        print(f"Wrote {options.picture}")
        if options.text:
            answer = await page.command("Runtime.evaluate", expression=_READ_TEXT)
            print(answer["result"]["value"])


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
        asyncio.run(_take(_options()))
    except DemoError as err:
        print(f"\nError: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
