"""A broker that ends without being asked to: when it is started again, and when not. Real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.adapters.broker import RunningBroker, free_port, start_broker
from fleet.adapters.broker_watch import BrokerWatch, Pause
from wire.adapters.paho_link import BrokerAddress
from wire.deadline import Deadline, wait_until


def start(folder: Path) -> RunningBroker:
    return start_broker(folder, BrokerAddress("127.0.0.1", free_port()))


def test_the_pause_grows_while_it_ends_again_and_again() -> None:
    now_s = 0.0
    pause = Pause(lambda: now_s)
    pauses = []
    for _ in range(9):
        pauses.append(pause.begin())
        now_s += pauses[-1] + 10
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    now_s += 1000
    assert [pause.begin(), pause.begin()] == [0.5, 1]


def test_a_broker_that_was_stopped_stays_so(tmp_path: Path) -> None:
    broker = start(tmp_path)
    broker.stop()
    broker.revive()
    assert not broker.alive
    assert not broker.missed


def test_a_restart_is_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.adapters.broker_watch._LOOK_EVERY_S", 0.001)
    broker = start(tmp_path)
    watch = BrokerWatch(broker, "the broker", lambda: 0.0).start()
    broker.restart()
    assert "has ended" not in caplog.text
    broker.process.kill()
    assert wait_until(lambda: "has ended" in caplog.text, Deadline.after(30))
    broker.restart()  # for a list, while the watch pauses
    process = broker.process
    watch.close()
    assert broker.process is process
    assert caplog.text.count("has ended") == 1
    assert not broker.alive
