"""How long a browser takes for a page of the fleet, and how many bytes travel for it.

    pip install 'edgeflock[dev]' && scripts/build-page && scripts/ensure-chromium
    python benchmarks/page.py [--devices 1000] [--rounds 5]

Chromium, headless, with an empty cache, over loopback. The times are the browser's own (Navigation Timing):
until the answer was there, until the page had loaded; medians of the rounds, each read anew from the store.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from fleet.adapters.accounts import Accounts, new_password
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.web_server import WebServer
from fleet.simulation.device import device_name
from fleet.simulation.filling import fill
from fleet.simulation.scenario import Scenario
from fleet.web.address import WebAddress
from tests.support.shelf import make_goods

_TIMING = """(() => { const t = performance.getEntriesByType("navigation")[0];
    return { answer_ms: t.responseEnd, load_ms: t.loadEventEnd }; })()"""

#: Older than anything that the page keeps between two readings.
_STALE_S = 6.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        password = prepare(Path(folder), arguments.devices)
        server = WebServer(Path(folder), WebAddress(port=0)).open().start()
        try:
            print(json.dumps(measure(server.port, password, arguments.rounds), indent=2))
        finally:
            server.stop()


def prepare(state: Path, devices: int) -> str:
    """Fill a store with an hour of a fleet; return the operator's password."""
    database, password = Database(state).open(), new_password()
    Registry(database).open().add_release(make_goods(1, 1000, Scenario().model).built)
    fill(database, Scenario(interval_s=600), devices=devices, hours=1)
    Accounts(database).put("operator", "operator", password)
    database.close()
    return password


def measure(port: int, password: str, rounds: int) -> dict[str, Any]:
    base = f"http://127.0.0.1:{port}"
    model = f"/models/{Scenario().release}"
    paths = ("/", f"/devices/{device_name(2)}?span=1h", "/rollouts", model, "/samples")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{base}/login")
        page.fill("[name=password]", password)
        page.press("[name=password]", "Enter")
        page.wait_for_url(f"{base}/")
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        network.send("Network.setCacheDisabled", {"cacheDisabled": True})
        received: list[int] = []
        network.on("Network.loadingFinished", lambda event: received.append(int(event["encodedDataLength"])))
        found = {path: load(page, base + path, received, rounds) for path in paths}
        browser.close()
    return found


def load(page: Any, url: str, received: list[int], rounds: int) -> dict[str, float]:
    """Return the medians of loading a page."""
    times: list[dict[str, float]] = []
    sizes: list[int] = []
    for _ in range(rounds):
        page.goto("about:blank")
        time.sleep(_STALE_S)
        received.clear()
        page.goto(url)
        times.append(page.evaluate(_TIMING))
        sizes.append(sum(received))
    return {
        **{name: round(statistics.median(t[name] for t in times)) for name in times[0]},
        "transferred_bytes": statistics.median(sizes),
    }


if __name__ == "__main__":
    main()
