"""`fleet simulate` over a real broker and a real server: all arrives, once, and it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflock import main
from fleet.adapters.database import Database
from fleet.adapters.fleet_reader import FleetReader
from fleet.adapters.history import History
from fleet.simulation.scenario import Phase, load
from tests.support.live_fleet import LiveFleet

ROOT = Path(__file__).parents[2]

_SCENARIO = """
interval_s = 5
[[phase]]
kind = "flapping"
share = 0.5
amount = 0.5
[[phase]]
kind = "lies"
share = 0.2
[[phase]]
kind = "rollout"
release = "camera/2"
from_min = 0.5
for_min = 0.5
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveFleet]:
    live = LiveFleet(tmp_path)
    yield live
    live.stop()


def _simulate(live: LiveFleet, *options: str) -> int:
    command = ["fleet", "simulate", "--state", str(live.state), "--broker", str(live.broker.address)]
    return main([*command, *options])


def _sum_of_all(reader: FleetReader) -> int:
    return sum(total.inferences for totals in reader.totals().values() for total in totals.values())


def test_everything_arrives_once_and_the_exit_code_says_so(
    live: LiveFleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text(_SCENARIO)
    live.wait("the server's database", (live.state / "fleet.db").exists)
    options = ("--devices", "20", "--scenario", str(tmp_path / "s.toml"), "--seconds", "4", "--speed", "30")
    assert _simulate(live, *options) == 0
    told = capsys.readouterr().out
    assert re.search(r"20 devices said (\d+) messages .* \1 were acknowledged, 0 were not", told)
    assert re.search(r"in the store: \d\d+ messages, 0 lost, 0 doubled", told)
    assert "lies and are not counted" in told
    database = Database(live.state).open()
    reader = FleetReader(database)
    assert len(reader.rows()) == 20
    # A device's own sums may run some reports behind, and then catch up.
    live.wait("the sums", lambda: _sum_of_all(reader) == reader.ledger().inferences)
    assert {"camera/1", "camera/2"} <= set(History(database).releases())
    assert reader.complaints("refusal")
    database.close()


def test_without_a_server_it_says_what_was_not_acknowledged(
    live: LiveFleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live._stop.set()
    live._server.join()
    monkeypatch.setattr("fleet.simulation.course.Course.drain_s", 0.5)
    assert _simulate(live, "--devices", "3", "--seconds", "0.5", "--prefix", "nobody") == 1
    assert re.search(r"0 were acknowledged, \d+ were not", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--devices", "0"), 2, "--devices is 1 to"),
        (("--speed", "nan"), 2, "--speed is above 0"),
        (("--connections", "0"), 2, "--connections is 1 to"),
        (("--scenario", "none.toml"), 2, "none.toml: No such file"),
        (("--broker", "127.0.0.1:1"), 1, "is the broker running?"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    options: tuple[str, ...],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fleet.simulation.app._CONNECT_S", 0.5)
    assert main(["fleet", "simulate", *options]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "scenarios").glob("*.toml")), ids=lambda p: p.stem)
def test_every_scenario_that_is_shipped_can_be_read(path: Path) -> None:
    scenario = load(path)
    assert path.stem == "steady" or scenario.phases
    assert all(isinstance(phase, Phase) for phase in scenario.phases)
