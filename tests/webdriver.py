"""A headless browser for tests, driven by the WebDriver protocol through the standard library.

Needs the programs chromium and chromedriver; `find_browser` says why a test is skipped without.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
KEYS = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Escape": "\ue00c", "Tab": "\ue004"}


def find_browser() -> tuple[str, str] | str:
    """(browser, driver), or the reason why there is none."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    missing = [name for name, at in (("chromium", browser), ("chromedriver", driver)) if not at]
    return f"{' and '.join(missing)} not found: apt-get install chromium chromium-driver"


class Browser:
    """One window."""

    def __init__(self, address: str, session: str) -> None:
        self._session = f"{address}/session/{session}"

    def command(self, route: str, body: dict[str, Any] | None = None) -> Any:
        return ask(f"{self._session}/{route}", body)

    def open(self, url: str) -> None:
        self.command("url", {"url": url})

    def run(self, script: str) -> Any:
        """The value a script returns."""
        return self.command("execute/sync", {"script": script, "args": []})

    def until(self, condition: str, seconds: float = 10) -> None:
        """Wait until the JavaScript expression holds."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.03)

    def press(self, *keys: str) -> None:
        """Press and release each key, to whatever has the focus."""
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self.command("actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.command("screenshot")))


def ask(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.read().decode()[:600]}") from error


@contextmanager
def browsing(browser: str, driver: str, size: tuple[int, int] = (1400, 860)) -> Iterator[Browser]:
    """A window of its own, gone with everything at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address)
        arguments = [*FLAGS, f"--window-size={size[0]},{size[1]}"]
        options = {"binary": browser, "args": arguments}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        session = ask(f"{address}/session", {"capabilities": wanted})["sessionId"]
        try:
            yield Browser(address, session)
        finally:
            ask(f"{address}/session/{session}", method="DELETE")
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if ask(f"{address}/status")["ready"]:
                return
        except OSError:
            assert time.monotonic() < end, "chromedriver does not answer"
        time.sleep(0.05)
