"""The server and the broker are killed at random while 200 devices report: each report is stored once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.adapters.arrivals import arrived
from fleet.adapters.history import History
from fleet.simulation.crowd import Crowd
from fleet.simulation.scenario import Phase, Scenario
from tests.conftest import Counts
from tests.support.local_fleet import LocalFleet
from wire.adapters.paho_link import PahoLink
from wire.deadline import Deadline
from wire.topics import Topics

_DEVICES = 200
_STORY = Scenario(
    interval_s=2.0, samples=1, rate_hz=20.0, phases=(Phase("flapping", share=0.2, amount=0.05),)
)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path, tmp_path, "mosquitto")
    fleet.trust = "[trust]\nunsigned = true"
    fleet.start_broker()
    fleet.start_server()
    yield fleet
    fleet.stop()


def _let_live(crowd: Crowd, seconds: float) -> None:
    deadline = Deadline.after(seconds)
    while not deadline.passed:
        crowd.turn(0.02)


@pytest.mark.timeout(1200)
def test_each_report_is_stored_once_whoever_is_killed(fleet: LocalFleet, counts: Counts, seed: int) -> None:
    rng = random.Random(seed)
    links = [PahoLink(fleet.address, f"crowd-{n}") for n in range(4)]
    crowd = Crowd(
        links, Topics(), _STORY, devices=_DEVICES, boot="b1", unix_s=time.time, clock=time.monotonic
    ).open()
    try:
        for n in range(counts.kills):
            _let_live(crowd, rng.uniform(0.5, 3.0))
            if (n + seed) % 2:
                fleet.kill("server")
                _let_live(crowd, rng.uniform(0.0, 1.0))
                fleet.start_server()
            else:
                fleet.kill_broker()
                _let_live(crowd, rng.uniform(0.0, 1.0))
                fleet.start_broker()
        _let_live(crowd, 2.0)
        crowd.finish()
        deadline = Deadline.after(180)
        while crowd.count.held and not deadline.passed:
            crowd.turn(0.02, speaking=False)
        assert crowd.count.held == 0, fleet.log("server")
        assert crowd.count.said > _DEVICES * 2 * counts.kills / 2
    finally:
        for link in links:
            link.close()
    found = arrived(fleet.state, "b1", crowd.names, crowd.count.said)
    assert (found.lost, found.doubled) == (0, 0)
    ledger = fleet.reader.ledger()
    assert ledger.problems == ()
    totals = fleet.reader.totals()
    assert sum(t.inferences for releases in totals.values() for t in releases.values()) == ledger.inferences
    history = History(fleet.reader._database)
    assert history.total("camera/1").counters.inferences == ledger.inferences
    (reports,) = history._database.sql.execute("select count(*) from report").fetchone()
    assert history.total("camera/1").reports == reports
