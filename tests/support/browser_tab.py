"""A tab of Debian's chromium, headless, that notes what went wrong and what was asked of others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from fleet.adapters.templates import Scripts
from tests.support.page_client import PASSWORD

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")

#: How long anything may take on a busy machine.
DEADLINE_S: Final = 60.0

needs_browser: Final = (
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: scripts/ensure-chromium"),
    pytest.mark.skipif(not Scripts.found().htmx, reason="no htmx: scripts/build-page needs npm"),
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a running browser."""
    driver_of = pytest.importorskip("playwright.sync_api", reason="pip install 'edgeflock[dev]'")
    driver_of.expect.set_options(timeout=DEADLINE_S * 1000)
    with driver_of.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab of somebody; `log_in` first."""

    def __init__(self, browser: Any, base: str, **options: Any) -> None:
        self.base = base
        self.problems: list[str] = []
        self.foreign: list[str] = []
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(DEADLINE_S * 1000)
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.foreign.append(request.url)

    def log_in(self, who: str = "operator") -> Any:
        """Return the page, on the overview."""
        self.page.goto(f"{self.base}/login")
        self.page.fill("[name=name]", who)
        self.page.fill("[name=password]", PASSWORD)
        self.page.press("[name=password]", "Enter")
        self.page.wait_for_url(f"{self.base}/")
        return self.page

    def close(self) -> None:
        """End it; fail if it complained, or asked anybody but its server."""
        self.context.close()
        assert self.problems == []
        assert self.foreign == []
