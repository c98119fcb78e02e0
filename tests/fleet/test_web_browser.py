"""The page in a real browser: Debian's chromium, headless, on a fleet of 200 devices."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.adapters.templates import Scripts
from fleet.ingest import StateWord
from tests.support.filled_fleet import Filling, fill, name, report
from tests.support.page_client import PASSWORD, page_of
from tests.support.shelf import make_goods
from wire.deadline import Deadline, wait_until
from wire.messages import ModelState, Plan, Reported

playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'edgeflock[dev]'")

playwright.expect.set_options(timeout=60_000)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATHS = ["/", "/devices/lab-0002", "/models", "/models/digits/2", "/rollouts", "/samples", "/audit"]
DEADLINE_S = 60.0

#: Waits until the page is about to ask again.
NEXT_TURN = "new Promise(done => addEventListener('htmx:before:request', done, { once: true }))"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: scripts/ensure-chromium"),
    pytest.mark.skipif(not Scripts.found().htmx, reason="no htmx: scripts/build-page needs npm"),
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder, Filling(devices=200, reports=6))
    return folder


@pytest.fixture(scope="module")
def base(state: Path) -> Iterator[str]:
    with page_of(state) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A tab of somebody who is logged in; it notes what went wrong and what was asked of others."""

    def __init__(self, browser: playwright.Browser, base: str, **options: object) -> None:
        self.base, self.problems, self.foreign = base, [], []
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(DEADLINE_S * 1000)
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: playwright.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _request(self, request: playwright.Request) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.foreign.append(request.url)

    def log_in(self, who: str = "operator") -> playwright.Page:
        self.page.goto(f"{self.base}/login")
        self.page.fill("[name=name]", who)
        self.page.fill("[name=password]", PASSWORD)
        self.page.press("[name=password]", "Enter")
        self.page.wait_for_url(f"{self.base}/")
        return self.page


@pytest.fixture
def watched(browser: playwright.Browser, base: str) -> Iterator[Callable[..., Watched]]:
    """Make tabs; at the end none has complained or asked anybody but this server."""
    made: list[Watched] = []

    def make(**options: object) -> Watched:
        made.append(Watched(browser, base, **options))
        return made[-1]

    yield make
    for tab in made:
        tab.context.close()
        assert tab.problems == []
        assert tab.foreign == []


def standing(state: Path) -> Plan:
    database = Database(state).open()
    try:
        (plan,) = Registry(database).open().plans()
        return plan
    finally:
        database.close()


def is_drawn(page: playwright.Page) -> bool:
    return bool(
        page.evaluate("[...document.querySelectorAll('.plot')].every(p => p.querySelector('canvas'))")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_renders(watched: Callable[..., Watched], base: str, scheme: str) -> None:
    page = watched(color_scheme=scheme).log_in()
    for path in PATHS:
        assert page.goto(base + path).ok
        assert page.locator("h1").count() == 1
        assert is_drawn(page)
    assert page.locator("tbody tr").count() > 0


def test_no_page_scrolls_sideways_on_a_phone(watched: Callable[..., Watched], base: str) -> None:
    page = watched(viewport={"width": 360, "height": 740}).log_in()
    for path in [*PATHS, "/rollouts/all/digits/abort"]:
        page.goto(base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_the_versions_move_without_a_reload(watched: Callable[..., Watched], base: str, state: Path) -> None:
    page = watched().log_in()
    page.evaluate("window.loadedOnce = true")
    device = name(1)  # on digits/2
    bar = page.locator("svg.bar")
    before = bar.get_attribute("aria-label")
    database = Database(state).open()
    registry = Registry(database).open()
    goods = make_goods(3, 1000)
    registry.plan(registry.add_release(goods.built), "all", percent=60)
    swapped = ModelState("digits", "idle", "digits/3", "digits/2")
    store = ReportStore(database).open()
    word = StateWord(device, Reported("b1", 2, time.time(), (swapped,), ("all",)))
    store.take([word, report(device, 99, time.time(), "digits/3")])
    database.close()
    playwright.expect(bar).to_have_attribute("aria-label", "digits/1: 120, digits/2: 79, digits/3: 1")
    assert before == "digits/1: 120, digits/2: 80"
    assert page.evaluate("window.loadedOnce")
    page.goto(f"{base}/rollouts")
    playwright.expect(page.locator("article h2")).to_contain_text("digits/3")


def test_focus_and_what_is_typed_outlive_what_moves(watched: Callable[..., Watched]) -> None:
    page = watched().log_in()
    page.fill("[name=q]", "north")
    with page.expect_response(lambda reply: "hx-request" in reply.request.headers):
        pass
    page.wait_for_function("document.activeElement.name === 'q'")
    assert page.input_value("[name=q]") == "north"
    page.press("[name=q]", "Enter")
    playwright.expect(page.locator("#devices")).to_contain_text("50 of 200")


def test_an_operator_pauses_and_aborts_the_real_plan(
    watched: Callable[..., Watched], base: str, state: Path
) -> None:
    page = watched().log_in()
    for act, state_then in (("Pause", "pause"), ("Resume", "run"), ("Abort", "abort")):
        page.goto(f"{base}/rollouts")
        page.get_by_role("link", name=act).first.click()
        page.get_by_role("button", name=f"{act} it").click()
        page.wait_for_url(f"{base}/rollouts?said=*")
        assert standing(state).state == state_then
    playwright.expect(page.locator("article .state").first).to_have_text("aborted")
    page.goto(f"{base}/audit")
    playwright.expect(page.locator("tbody tr").first).to_contain_text("abort")


def test_all_that_can_be_done_is_reached_with_the_keyboard(
    watched: Callable[..., Watched], base: str
) -> None:
    page = watched().log_in()
    page.goto(f"{base}/rollouts")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(document.activeElement.textContent || '').trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if reached[-1].startswith("Undo"):
            break
    assert {"Fleet", "Models", "Rollouts", "Samples", "Audit", "Log out"} <= set(reached)
    assert outline == "solid", "what has the focus is seen"


def test_without_javascript_everything_works(watched: Callable[..., Watched], base: str, state: Path) -> None:
    page = watched(java_script_enabled=False).log_in()
    for path in PATHS:
        assert page.goto(base + path).ok
        assert page.locator("meta[http-equiv=refresh]").count() == (path not in ("/samples", "/audit"))
    page.goto(f"{base}/devices/lab-0002")
    page.locator("#chart-latency summary").click()
    assert page.locator("#chart-latency tbody tr").count() > 2
    page.goto(f"{base}/?q=roof&sort=p99")
    assert page.locator("tbody tr").count() == 50
    page.goto(f"{base}/rollouts")
    page.get_by_role("link", name="Undo").first.click()
    page.get_by_role("button", name="Undo it").click()
    assert standing(state).state == "run"


def test_a_server_that_goes_away_is_told_and_comes_back(
    watched: Callable[..., Watched], tmp_path: Path, browser: playwright.Browser
) -> None:
    fill(tmp_path, Filling(devices=2, reports=2))
    with page_of(tmp_path) as port:
        tab = Watched(browser, f"http://127.0.0.1:{port}")
        page = tab.log_in()
    playwright.expect(page.locator("#stale")).to_be_visible()
    tab.context.close()


def test_it_moves_no_more_when_nobody_looks(watched: Callable[..., Watched]) -> None:
    tab = watched()
    page = tab.log_in()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert wait_until(lambda: page.evaluate("1") and len(asked) >= 2, Deadline.after(DEADLINE_S))
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.evaluate(
        "new Promise(done => document.addEventListener('htmx:before:request', done, { once: true }))"
    )
    count = len(asked)
    page.evaluate(
        "new Promise(done => document.addEventListener('htmx:before:request', done, { once: true }))"
    )
    assert len(asked) == count
