"""The page beside a real server, broker and device: what an operator does there reaches the device."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.broker import find_mosquitto, free_port
from tests.support.browser_tab import Tab, chromium, needs_browser
from tests.support.live_fleet import LiveFleet
from tests.support.local_fleet import ROOT, edgeflock, run
from tests.support.page_client import Client, page_of
from tests.support.shelf import make_goods

expect = pytest.importorskip("playwright.sync_api", reason="pip install 'edgeflock[dev]'").expect

pytestmark = [
    *needs_browser,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed"),
]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LiveFleet]:
    fleet = LiveFleet(tmp_path)
    try:
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def page(fleet: LiveFleet) -> Iterator[Any]:
    fleet.wait("the server's database", (fleet.state / "fleet.db").exists)
    with page_of(fleet.state) as port, chromium() as browser:
        tab = Tab(browser, f"http://127.0.0.1:{port}")
        yield tab.log_in()
        tab.close()


def test_the_password_of_init_opens_the_page_of_serve_which_ends_in_order(tmp_path: Path) -> None:
    state, port = tmp_path / "fleet", free_port()
    said = run("fleet", "init", "--plain", "--state", state)
    password = re.search(r"as operator with ([a-z0-9-]+):", said.stdout)
    assert password, said.stdout
    command = edgeflock(
        "fleet", "serve", "--state", state, "--port", str(free_port()), "--web", f"127.0.0.1:{port}"
    )
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        assert any(f"the page is at http://127.0.0.1:{port}/" in line for line in server.stderr)
        client = Client(port)
        assert client.log_in(password=password[1]).status == 303
        assert "No device has reported yet" in client.get("/").text
        with socket.create_connection(
            ("127.0.0.1", port)
        ):  # who is connected and says nothing holds up nobody
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
            assert server.wait(30) == 0


def test_a_push_is_seen_as_it_goes_and_a_pause_holds_it(fleet: LiveFleet, page: Any) -> None:
    device = fleet.device()
    one, two = make_goods(1), make_goods(2, 3_000_000)
    fleet.push(one)
    bar = page.locator("svg.bar").first
    expect(bar).to_have_attribute("aria-label", "digits/1: 1")
    fleet.commit(device, "digits/1")
    fleet.push(two, rate_bytes_s=200_000)
    page.get_by_role("navigation").get_by_role("link", name="Rollouts").click()
    page.evaluate("window.loadedOnce = true")
    expect(page.locator("article")).to_contain_text("downloading 1")
    assert page.evaluate("window.loadedOnce")
    page.get_by_role("link", name="Pause digits/2").click()
    page.get_by_role("button", name="Pause it").click()
    expect(page.locator("article .state")).to_have_text("paused")
    fleet.wait("the download has stopped", lambda: not device.asked_for)
    assert device.updater.report().current == "digits/1"
    page.get_by_role("link", name="Abort digits/2").click()
    page.get_by_role("button", name="Abort it").click()
    expect(page.locator("article .state")).to_have_text("aborted")
    fleet.wait("the device has let go", lambda: device.updater.report().state == "idle")
