"""The page in a real browser: Debian's chromium, headless, on a fleet of 200 devices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.agreement_table import AgreementTable
from fleet.adapters.database import Database
from fleet.adapters.labels import Labels
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.agreeing import Against, Agreement, PolicyAgreement
from fleet.estimating import Estimate
from fleet.ingest import StateWord
from fleet.web.wording import percent_range
from tests.support.browser_tab import DEADLINE_S, Tab, chromium, needs_browser
from tests.support.filled_fleet import Filling, fill, name, report
from tests.support.page_client import PATHS, page_of, standing_plan
from tests.support.shelf import make_goods
from wire.deadline import Deadline, wait_until
from wire.messages import ModelState, Reported

expect = pytest.importorskip("playwright.sync_api", reason="pip install 'edgeflock[dev]'").expect

#: Waits until the page is about to ask again.
NEXT_TURN = "new Promise(done => document.addEventListener('htmx:before:request', done, { once: true }))"

pytestmark = [*needs_browser]


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
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def watched(browser: Any, base: str) -> Iterator[Callable[..., Tab]]:
    """Make tabs; at the end none has complained or asked anybody but this server."""
    made: list[Tab] = []

    def make(**options: object) -> Tab:
        made.append(Tab(browser, base, **options))
        return made[-1]

    yield make
    for tab in made:
        tab.close()


def is_drawn(page: Any) -> bool:
    return bool(
        page.evaluate("[...document.querySelectorAll('.plot')].every(p => p.querySelector('canvas'))")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_renders(watched: Callable[..., Tab], base: str, scheme: str) -> None:
    page = watched(color_scheme=scheme).log_in()
    for path in PATHS:
        assert page.goto(base + path).ok
        assert page.locator("h1").count() == 1
        assert is_drawn(page)
    assert page.locator("tbody tr").count() > 0


def test_no_page_scrolls_sideways_on_a_phone(watched: Callable[..., Tab], base: str) -> None:
    page = watched(viewport={"width": 360, "height": 740}).log_in()
    for path in [*PATHS, "/samples?show=wrong", "/rollouts/all/digits/abort"]:
        page.goto(base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_the_versions_move_without_a_reload(watched: Callable[..., Tab], base: str, state: Path) -> None:
    page = watched().log_in()
    page.evaluate("window.loadedOnce = true")
    device = name(1)  # of those on digits/2
    bar = page.locator("svg.bar").first
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
    expect(bar).to_have_attribute("aria-label", "digits/1: 112, digits/2: 87, digits/3: 1")
    assert before == "digits/1: 112, digits/2: 88"
    assert page.evaluate("window.loadedOnce")
    page.goto(f"{base}/rollouts")
    expect(page.locator("article h2")).to_contain_text("digits/3")


def test_focus_and_what_is_typed_outlive_what_moves(watched: Callable[..., Tab]) -> None:
    page = watched().log_in()
    page.fill("[name=q]", "sim-0001")
    with page.expect_response(lambda reply: "hx-request" in reply.request.headers):
        pass
    page.wait_for_function("document.activeElement.name === 'q'")
    assert page.input_value("[name=q]") == "sim-0001"
    page.press("[name=q]", "Enter")
    expect(page.locator("#devices")).to_contain_text("10 of 200")


def test_an_operator_pauses_and_aborts_the_real_plan(
    watched: Callable[..., Tab], base: str, state: Path
) -> None:
    page = watched().log_in()
    for act, state_then in (("Pause", "pause"), ("Resume", "run"), ("Abort", "abort")):
        page.goto(f"{base}/rollouts")
        page.get_by_role("link", name=act).first.click()
        page.get_by_role("button", name=f"{act} it").click()
        page.wait_for_url(f"{base}/rollouts?said=*")
        assert standing_plan(state).state == state_then
    expect(page.locator("article .state").first).to_have_text("aborted")
    page.goto(f"{base}/audit")
    expect(page.locator("tbody tr").first).to_contain_text("abort")


def test_all_that_can_be_done_is_reached_with_the_keyboard(watched: Callable[..., Tab], base: str) -> None:
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


def test_without_javascript_everything_works(watched: Callable[..., Tab], base: str, state: Path) -> None:
    page = watched(java_script_enabled=False).log_in()
    for path in PATHS:
        assert page.goto(base + path).ok
        assert page.locator("meta[http-equiv=refresh]").count() == (path not in ("/samples", "/audit"))
    page.goto(f"{base}/devices/sim-00002")
    page.locator("#chart-latency summary").click()
    assert page.locator("#chart-latency tbody tr").count() > 2
    page.goto(f"{base}/?q=sim-0001&sort=p99")
    assert page.locator("tbody tr").count() == 10
    page.goto(f"{base}/rollouts")
    page.get_by_role("link", name="Undo").first.click()
    page.get_by_role("button", name="Undo it").click()
    assert standing_plan(state).state == "run"


def test_a_server_that_goes_away_is_told_and_comes_back(
    watched: Callable[..., Tab], tmp_path: Path, browser: Any
) -> None:
    fill(tmp_path, Filling(devices=2, reports=2))
    with page_of(tmp_path) as port:
        tab = Tab(browser, f"http://127.0.0.1:{port}")
        page = tab.log_in()
    expect(page.locator("#stale")).to_be_visible()
    tab.context.close()


def test_an_operator_sees_the_picture_and_says_what_it_is_by_name(
    watched: Callable[..., Tab], base: str, state: Path
) -> None:
    page = watched().log_in()
    page.goto(f"{base}/samples?show=wrong")
    row = page.locator("tr", has_text="looks-1")
    assert row.locator("img").evaluate("i => [i.complete, i.naturalWidth, i.naturalHeight]") == [True, 8, 8]
    expect(row).to_contain_text("seven")
    expect(row.locator("td.bad")).to_contain_text("one")
    field = row.locator("[name=truth]")
    options = f"[...document.getElementById('{field.get_attribute('list')}').options].map(o => o.value)"
    assert page.evaluate(options)[:2] == ["0 zero", "1 one"]
    field.fill("four")
    row.get_by_role("button", name="Store").click()
    expect(page.locator("tr", has_text="looks-1").locator("td.bad")).to_contain_text("four")
    database = Database(state).open()
    assert Labels(database).all()[name(0), "looks-1"] == (4, "operator")
    database.close()
    page.goto(f"{base}/samples?show=wrong&release=digits/1")
    expect(page.locator("main")).to_contain_text("Inputs are off")


def test_a_release_has_its_classes_by_name_its_boards_and_how_it_agreed(
    watched: Callable[..., Tab], base: str, state: Path
) -> None:
    share = Estimate(0.99, 0.98, 0.995, "devices", 100, 9)
    found = Agreement(
        "digits/2", Against("f.bundle", "a" * 64, "digits/1 (float32)"), time.time(),
        (PolicyAgreement("uniform", 100, 99, share),), (),
    )  # fmt: skip
    database = Database(state).open()
    AgreementTable(database).put(found)
    database.close()
    page = watched().log_in()
    page.goto(f"{base}/models/digits/2")
    expect(page.get_by_role("group", name="Confusion matrix").locator("thead")).to_contain_text("seven")
    expect(page.get_by_role("group", name="Classes")).to_contain_text("seven")
    expect(page.get_by_role("group", name="Latency by board")).to_contain_text("Raspberry Pi 5 Model B")
    agreement = page.get_by_role("group", name="Agreement with reference models")
    expect(agreement).to_contain_text("99 of 100")
    expect(agreement).to_contain_text(percent_range(0.98, 0.995))


def test_it_moves_no_more_when_nobody_looks(watched: Callable[..., Tab]) -> None:
    tab = watched()
    page = tab.log_in()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert wait_until(lambda: page.evaluate("1") and len(asked) >= 2, Deadline.after(DEADLINE_S))
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.evaluate(NEXT_TURN)
    count = len(asked)
    page.evaluate(NEXT_TURN)
    assert len(asked) == count
