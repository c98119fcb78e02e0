"""What systemd is told: over a real socket, in one line, and only while both threads turn."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.notify import ServiceManager
from edge.app import _Pinger
from edge.heartbeat import SILENT_S, Heartbeat
from edge.status_line import status_line
from tests.support.fakes import TurnedClock
from wire.messages import ModelState
from wire.software import SOFTWARE


class Systemd:
    """PID 1's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return the messages since the last time."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    manager = Systemd(path)
    yield manager
    manager.close()


def test_a_step_of_the_start_says_what_it_is_and_how_long_it_may_take(systemd: Systemd) -> None:
    manager = ServiceManager()
    manager.starting("loading digits", 180)
    manager.ready()
    assert systemd.heard() == ["STATUS=loading digits", "EXTEND_TIMEOUT_USEC=180000000", "READY=1"]


def test_the_watchdog_waits_for_a_step_of_the_start_as_well(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start of other software in the same process is none to systemd: only its watchdog looks."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    manager = ServiceManager()
    manager.starting("loading digits", 180)
    manager.ready()
    assert systemd.heard() == [
        "STATUS=loading digits",
        "EXTEND_TIMEOUT_USEC=180000000\nWATCHDOG_USEC=180000000",
        "READY=1\nWATCHDOG_USEC=60000000",
    ]


def test_a_status_is_sent_when_it_changes(systemd: Systemd) -> None:
    manager = ServiceManager()
    for text in ("a", "a", "b"):
        manager.status(text)
    assert systemd.heard() == ["STATUS=a", "STATUS=b"]


def test_what_a_bundle_says_is_no_order_to_systemd(systemd: Systemd) -> None:
    ServiceManager().status("bad bundle\nREADY=1\rWATCHDOG=1\udcff" + "x" * 1000)
    (message,) = systemd.heard()
    assert message.startswith("STATUS=bad bundle READY=1 WATCHDOG=1?xxx")
    assert "\n" not in message
    assert len(message) < 500


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody-listens"))
    ServiceManager().ready()


def test_the_watchdog_hears_nothing_once_the_control_thread_is_stuck(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = TurnedClock()
    monkeypatch.setattr("edge.app.time.monotonic", clock)
    heartbeat = Heartbeat(clock)
    pinger = _Pinger(ServiceManager(), heartbeat)
    said = []
    for seconds in (0.0, 0.5, SILENT_S - 1.0, 1.0):
        clock.turn(seconds)
        pinger.ping()
        said.append(systemd.heard())
    heartbeat.turned()
    clock.turn(1.0)
    pinger.ping()
    assert [*said, systemd.heard()] == [["WATCHDOG=1"], [], ["WATCHDOG=1"], [], ["WATCHDOG=1"]]


IDLE = ModelState("digits", "idle", current="digits/1", target="digits/1")
FRESH = ModelState("digits", "idle")


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (FRESH, "waiting for a first model of digits"),
        (IDLE, "digits/1 serves"),
        (
            replace(FRESH, state="download", target="digits/1", done_chunks=15, total_chunks=32),
            "waiting for a first model of digits, digits/1: download 40 %",
        ),
        (replace(IDLE, state="stage", target="digits/2"), "digits/1 serves, digits/2: stage"),
        (replace(IDLE, current="digits/2", state="probation"), "digits/2 serves, digits/1: probation"),
        (
            replace(IDLE, state="blocked", target="digits/2", error="its trial failed"),
            "digits/1 serves, digits/2: blocked (its trial failed)",
        ),
        (replace(IDLE, error="the disk is full"), "digits/1 serves, idle (the disk is full)"),
    ],
)
def test_the_status_says_what_serves_and_what_is_under_way(model: ModelState, line: str) -> None:
    assert status_line([model], connected=True) == line


def test_the_status_holds_every_model_and_a_missing_broker() -> None:
    line = status_line([IDLE, ModelState("bees", "idle")], connected=False)
    assert line == "digits/1 serves; waiting for a first model of bees; no broker"


def test_the_agents_software_is_told_where_it_was_pushed_or_something_is_under_way() -> None:
    pushed = ModelState(SOFTWARE, "idle", current=f"{SOFTWARE}/0.2.0")
    assert status_line([IDLE, ModelState(SOFTWARE, "idle")], connected=True) == status_line(
        [IDLE], connected=True
    )
    assert status_line([pushed], connected=True) == f"{SOFTWARE}/0.2.0 runs"
    staged = ModelState(SOFTWARE, "stage", target=f"{SOFTWARE}/0.3.0")
    assert status_line([staged], connected=True) == f"{SOFTWARE}/0.3.0: stage"
