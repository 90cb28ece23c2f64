"""The Chromium of this machine, headless, driven by Playwright; for the browser benchmark and the page's tests."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_odrec.demo.runtime import find_runtime
from recbole_odrec.demo.server import PageServer, open_server
from recbole_odrec.demo.site import Site, assemble, bundle_deltas, bundle_files
from recbole_odrec.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TIMEOUT_MS = 60_000


def find_chromium() -> str:
    """Path of the browser.

    Raises:
        UserError: there is none.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise UserError(f"no Chromium here (looked for {', '.join(_NAMES)}): on Debian, apt-get install chromium.")
    return found


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A headless browser.

    Args:
        flags: of its command line.

    Raises:
        UserError: no browser here, or it does not start.
    """
    from playwright.sync_api import Error, sync_playwright

    path = find_chromium()
    # Its sandbox refuses to run as root, which is what containers mostly are.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=path, args=[*flags, *(["--no-sandbox"] if is_root else [])]
            )
        except Error as error:
            raise UserError(f"{path} does not start ({error.message.splitlines()[0][:160]}).") from error
        try:
            yield browser
        finally:
            browser.close()


def make_site(bundle: Path, offline: Path | None = None, earlier: Sequence[Path] = ()) -> Site:
    """The page with a bundle, and with deltas from earlier ones; fetches its runtime if need be."""
    return assemble(bundle_files(bundle), find_runtime(offline), bundle_deltas(bundle, earlier))


@contextmanager
def serve(site: Site, port: int = 0, on_request: Callable[[str], object] = lambda path: None) -> Iterator[PageServer]:
    """The page at an address of this machine, until the block ends; no thread and no port are left behind."""
    with open_server(site, "127.0.0.1", port, on_request) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def open_page(page: Page, url: str, state: str = "sealed") -> None:
    """Goes to the page and waits until it is loaded and has closed itself.

    Raises:
        UserError: it shows an error instead.
    """
    page.goto(url)
    page.wait_for_selector(f"html[data-state={state}], html[data-state=failed]", timeout=_TIMEOUT_MS)
    if page.get_attribute("html", "data-state") == "failed":
        raise UserError(f"the page says: {' '.join(page.inner_text('#problem').split())}")
