"""A browser for Home Assistant's pages: Debian's Chromium, driven by playwright."""

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
import shutil
import time
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from . import DemoError

_BROWSERS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)

READ_TEXT: Final = """
(root) => {
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
  walk(root);
  return parts.join("\\n");
}
"""
"""The function that returns an element's visible text, with shadow roots and slots."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser that $CHROMIUM names, or one on the PATH; stop it at the end.

    Raises DemoError when there is none.
    """
    path = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, _BROWSERS)), None
    )
    if path is None:
        raise DemoError("there is no Chromium. On Debian: apt-get install chromium")
    arguments = [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        # The pages get to see this machine and nothing else.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def log_in_script(url: str, token: str) -> str:
    """Return the script that makes the pages start with a user logged in."""
    tokens = {
        "access_token": token,
        "refresh_token": "",
        "expires_in": 86400,
        "expires": int((time.time() + 86400) * 1000),
        "token_type": "Bearer",
        "hassUrl": url,
        "clientId": f"{url}/",
    }
    return f"localStorage.setItem('hassTokens', {json.dumps(json.dumps(tokens))});"
