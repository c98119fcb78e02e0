"""Debian's own prometheus scrapes the page's /metrics."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.broker import free_port
from tests.support.filled_fleet import Filling, fill
from tests.support.page_client import page_of
from wire.deadline import Deadline, wait_until

PROMETHEUS = shutil.which("prometheus", path=str(Path(sys.executable).parent)) or shutil.which("prometheus")

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here: scripts/ensure-prometheus")

DEVICES = 12


class Scraper:
    """A prometheus that has one target."""

    def __init__(self, folder: Path, target: int) -> None:
        self._log = (folder / "log").open("wb")
        self.port = free_port()
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs:\n"
            f"  - {{job_name: edgeflock, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n"
        )
        self._process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return json.load(reply)["data"]
        except OSError:  # not there yet
            return None

    def target(self) -> dict[str, Any]:
        found = self.ask("targets")
        return found["activeTargets"][0] if found and found["activeTargets"] else {}

    def values(self, query: str) -> dict[str, float]:
        """Return the result of an instant query, by the labels of its rows."""
        found = self.ask("query", query=query)
        return {json.dumps(row["metric"]): float(row["value"][1]) for row in found["result"]}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def scraper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraper]:
    state, folder = tmp_path_factory.mktemp("fleet"), tmp_path_factory.mktemp("prometheus")
    fill(state, Filling(devices=DEVICES, reports=4))
    with page_of(state) as port:
        scraper = Scraper(folder, port)
        try:
            seen = wait_until(lambda: scraper.target().get("health") == "up", Deadline.after(60))
            assert seen, (scraper.target(), (folder / "log").read_text()[-2000:])
            yield scraper
        finally:
            scraper.stop()


def test_it_is_up_and_nothing_is_refused(scraper: Scraper) -> None:
    assert scraper.target()["lastError"] == ""
    (samples,) = scraper.values("scrape_samples_scraped").values()
    (kept,) = scraper.values("scrape_samples_post_metric_relabeling").values()
    assert samples == kept > 100


def test_its_sums_are_the_fleets(scraper: Scraper) -> None:
    assert scraper.values("sum(edgeflock_devices)") == {"{}": DEVICES}
    assert scraper.values("count(edgeflock_device_online)") == {"{}": DEVICES}
    answered = scraper.values("edgeflock_inferences_total")
    assert len(answered) == 2
    assert min(answered.values()) > 0
    alert = scraper.values('edgeflock_alert{key="device-silent"}')
    assert list(alert.values()) == [1.0]


def test_it_takes_the_latencies_for_a_histogram(scraper: Scraper) -> None:
    found = scraper.values("histogram_quantile(0.99, sum by (le) (edgeflock_latency_seconds_bucket))")
    assert 0 < found["{}"] < 1
    kinds = scraper.ask("metadata", metric="edgeflock_latency_seconds")["edgeflock_latency_seconds"]
    assert kinds[0]["type"] == "histogram"
