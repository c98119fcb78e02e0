"""The fleet in a terminal, and who did what to it by command."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from rich.console import Console

from edgeflock import main
from fleet.adapters.alert_book import AlertBook
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.adapters.report_store import ReportStore
from fleet.adapters.store_reading import StoreReading
from fleet.alerts import Finding
from fleet.ingest import Arrival
from fleet.watch_cli import screen
from tests.support.filled_fleet import Filling, fill, name
from tests.support.local_fleet import ROOT, edgeflock
from wire.messages import Event, Head


@pytest.fixture
def state(tmp_path: Path) -> Path:
    fill(tmp_path, Filling(devices=12, reports=2))
    return tmp_path


def test_watch_shows_the_worst_first_and_says_what_it_leaves_out(state: Path) -> None:
    database = Database(state).open()
    console = Console(width=200)
    with console.capture() as said:
        console.print(screen(StoreReading(database, Registry(database).open()), 3))
    database.close()
    text = said.get()
    assert "10 healthy" in text
    assert "digits/1 10  digits/2 2" in text
    assert "the first 3 of 12 rows" in text
    table = text[text.index("the first 3 of 12 rows") :]
    assert table.index("silent") < table.index("online"), "the silent one first"
    assert "→ idle (committed)" in text


def test_logs_tell_the_newest_last_and_one_device_alone(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "logs", "--state", str(state), "--last", "3", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert main(["fleet", "logs", name(1), "--state", str(state)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert all(name(1) in line for line in said)
    assert said[-1].endswith("digits/2 stage → idle (committed)")


def test_what_a_device_wrote_steers_no_terminal(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wicked = "\x1b[2J\n"
    database = Database(state).open()
    said = Event(wicked, wicked, wicked, wicked, wicked, wicked)
    ReportStore(database).open().take([Arrival("liar", "event", Head("b1", 1, 1, time.time()), said)])
    finding = Finding("errors", wicked, wicked)
    AlertBook(database).look([finding], time.time() - 500)
    AlertBook(database).look([finding], time.time())
    database.close()
    for command in (["logs", "liar"], ["alerts"]):
        assert main(["fleet", *command, "--state", str(state)]) == 0
        out = capsys.readouterr().out
        assert ("?[2J?" in out, "\x1b" in out) == (True, False)


def test_logs_follow_what_comes(state: Path) -> None:
    command = edgeflock("fleet", "logs", "--state", state, "--last", "1", "--follow", "--json")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        database = Database(state).open()
        event = Event("digits", "idle", "check", "plan", "digits/3")
        head = Head("b1", 50, 1, time.time())
        ReportStore(database).open().take([Arrival(name(2), "event", head, event)])
        database.close()
        told = json.loads(child.stdout.readline())  # none of the older ones, which --last left out
        child.send_signal(signal.SIGINT)
    assert (told["device"], told["event"]["release"]) == (name(2), "digits/3")


def test_what_a_command_did_to_a_rollout_is_in_the_audit(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("pause", "pause", "undo"):
        assert main(["fleet", command, "digits", "--state", str(state)]) == 0
    capsys.readouterr()
    assert main(["fleet", "audit", "--json", "--state", str(state)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(a["action"], a["subject"], a["source"]) for a in told] == [
        ("pause", "digits/2 in all", "command line"),
        ("undo", "digits/1 in all", "command line"),
    ]
