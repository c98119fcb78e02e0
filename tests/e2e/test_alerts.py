"""A real server behind a real broker: an alert reaches a receiver, and survives the server's SIGKILL."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.adapters.alert_book import AlertBook
from fleet.adapters.broker import RunningBroker, free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.alert_messages import SIGNATURE, signature
from tests.support.shelf import make_goods
from tests.support.webhook import Hook
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.codec import encode
from wire.deadline import Deadline, wait_until
from wire.link import Incoming
from wire.messages import ModelState, Online, Reported
from wire.topics import Topics

TOPICS = Topics()
KEY = "rollout-refused/all/digits"
SECRET = b"a secret of enough bytes"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    broker = start_broker(tmp_path / "broker", BrokerAddress("127.0.0.1", free_port()), kind="mosquitto")
    yield broker
    broker.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


def serve(state: Path, broker: RunningBroker, hook: Hook) -> subprocess.Popen[bytes]:
    (state.parent / "secret").write_bytes(SECRET)
    return subprocess.Popen(
        [sys.executable, "-m", "edgeflock", "fleet", "serve", "--unsigned", "--state", state,
         "--broker", str(broker.address), "--alert-webhook", hook.url,
         "--alert-secret-file", state.parent / "secret"],
    )  # fmt: skip


def plan(state: Path) -> None:
    database = Database(state).open()
    registry = Registry(database).open()
    registry.plan(registry.add_release(make_goods(1, 1000).built), "all")
    database.close()


def test_an_alert_reaches_a_receiver_and_the_broker_and_is_there_after_a_kill(
    tmp_path: Path, broker: RunningBroker, hook: Hook
) -> None:
    state = tmp_path / "fleet"
    plan(state)
    server = serve(state, broker, hook)
    voice = PahoLink(broker.address, "voice")
    voice.start()
    try:
        refused = ModelState("digits", "blocked", target="digits/1", error="golden outputs differ")
        for device in ("pi-1", "pi-2"):
            for leaf, said in (
                ("online", Online("b1", True)),
                ("reported", Reported("b1", 1, 0.0, (refused,))),
            ):
                topic, payload = TOPICS.device(device, leaf), encode(said)
                assert wait_until(
                    lambda t=topic, p=payload: voice.publish(t, p, retain=True), Deadline.after(60)
                )
        assert wait_until(lambda: KEY in told(hook), Deadline.after(120))
        stamp = hook.headers[0][SIGNATURE].removeprefix("t=").split(",")[0]
        assert hook.headers[0][SIGNATURE] == signature(hook.bodies[0], SECRET, float(stamp))
        voice.subscribe([TOPICS.alert(KEY)])
        assert json.loads(retained(voice))["severity"] == "critical"

        server.kill()
        server.wait()
        note(state)
        count = len(hook.posts)
        server = serve(state, broker, hook)
        assert wait_until(lambda: KEY in told(hook, since=count), Deadline.after(120))
        assert hook.posts[-1]["alert"]["acknowledged_by"] == "ada"
    finally:
        server.kill()
        server.wait()
        voice.close()


def told(hook: Hook, since: int = 0) -> list[str]:
    return [post["alert"]["key"] for post in hook.posts[since:] if post["what"] == "raised"]


def retained(voice: PahoLink) -> bytes:
    found: list[bytes] = []

    def came() -> bool:
        event = voice.receive(0.1)
        if isinstance(event, Incoming) and event.payload:
            found.append(event.payload)
        return bool(found)

    assert wait_until(came, Deadline.after(60))
    return found[0]


def note(state: Path) -> None:
    """Take note of it while no server runs."""
    database = Database(state).open()
    assert AlertBook(database).acknowledge(KEY, "ada", 1.0)
    database.close()
