"""A headless Chromium to look at the page with: from npm, $CHROMIUM or PATH."""

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Page,
    Request,
    sync_playwright,
)

BUNDLED = Path("node_modules/.chromium").resolve()
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REMEDY = "run `make browser`, or set CHROMIUM to the binary of a Chromium or Chrome"


class NoBrowser(Exception):
    """No Chromium here."""


def find_chromium() -> str:
    """$CHROMIUM, then what `make browser` has unpacked, then PATH."""
    given = os.environ.get("CHROMIUM")
    if given:
        if not os.access(given, os.X_OK):
            raise NoBrowser(f"CHROMIUM={given} is no executable file: {REMEDY}")
        return given
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        bundled = BUNDLED / "chromium"
        if bundled.exists():
            return str(bundled)
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise NoBrowser(f"no Chromium was found, and without one the page is not tested: {REMEDY}")


def _environment(binary: str) -> dict[str, str]:
    """The bundled one brings its libraries and a font."""
    if Path(binary).parent != BUNDLED:
        return dict(os.environ)
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(BUNDLED / "lib"),
        "FONTCONFIG_FILE": str(BUNDLED / "fonts.conf"),
    }


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as playwright, launched(playwright.chromium) as browser:
        yield browser


@contextmanager
def launched(kind: BrowserType, *flags: str) -> Iterator[Browser]:
    """Another one. The sandbox is left out: containers have none, and pages are our own."""
    binary = find_chromium()
    flags = ("--no-sandbox", *flags)
    browser = kind.launch(executable_path=binary, args=flags, env=_environment(binary))
    yield browser
    browser.close()


def contacted(net_log: Path) -> tuple[set[str], set[str]]:
    """From Chromium's own log of its network: addresses asked for, and machines connected to."""
    log = json.loads(net_log.read_text())
    kinds = {number: name for name, number in log["constants"]["logEventTypes"].items()}
    asked, connected = set(), set()
    for event in log["events"]:
        params = event.get("params", {})
        match kinds[event["type"]]:
            case "URL_REQUEST_START_JOB" if "url" in params:
                asked.add(params["url"])
            case "TCP_CONNECT_ATTEMPT" if "address" in params:
                connected.add(params["address"])
            case "UDP_BYTES_SENT":  # to look which way packets would go it sends none
                connected.add("by UDP")
    return asked, connected


class Visit:
    """A page as somebody sees it, with all that went wrong and all that was asked of others."""

    def __init__(self, browser: Browser, address: str, **options: object) -> None:
        self.host = urlsplit(address).netloc
        self.troubles: list[str] = []
        self.strangers: list[str] = []
        self.context: BrowserContext = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))
        self.page.on("request", self._watch)
        self.page.goto(address)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text}")

    def _watch(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self.host:
            self.strangers.append(request.url)

    def wait_for_block(self, number: int) -> None:
        """Waits until all of the page is of this block."""
        self.page.wait_for_selector(f"html[data-block='{number}']")

    def close(self) -> None:
        self.context.close()
