"""`edgeflock run` as a user has it: real processes, a real broker, real signals and kills."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pyarrow.parquet
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fleet.adapters.broker import RunningBroker, find_mosquitto, free_port, start_broker
from tests.conftest import Counts
from tests.support.local_fleet import ROOT, edgeflock
from tests.support.tiny_bundle import GREY_2X2, WAVE_OF_4, write_tiny_bundle
from tests.support.webhook import Hook
from wire.adapters.paho_link import BrokerAddress
from wire.deadline import Deadline, wait_until


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.bundle")


def line(n: int) -> str:
    return json.dumps({"id": n, "input": [n % 50, 0, 0, 1]}) + "\n"


def run(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        edgeflock("run", *arguments),
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Running:
    """A run that goes on until it is told to end; its standard input is a pipe."""

    def __init__(self, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, *edgeflock("run", *arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self, how: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def make(*arguments: str | Path, prefix: tuple[str, ...] = ()) -> Running:
        running.append(Running(*arguments, prefix=prefix))
        return running[-1]

    yield make
    for one in running:
        one.process.kill()
        one.process.communicate()


def ids(path: Path) -> list[int]:
    """Return the ids that a database holds; it must be sound."""
    if not path.exists():
        return []
    db = sqlite3.connect(path)
    try:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        tables = db.execute("select count(*) from sqlite_master where name = 'result'").fetchone()[0]
        return [int(name) for (name,) in db.execute("select id from result order by rowid")] if tables else []
    finally:
        db.close()


def test_lines_become_lines_and_a_bad_one_stops_nothing(bundle: Path) -> None:
    bad = 'nonsense\n{"input": [1, 2]}\n'
    first, last = '{"id": "x", "input": [0, 0, 7, 0], "truth": 2}\n', '{"input": [9, 0, 0, 0]}\n'
    done = run(bundle, text=first + bad + last)
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [(r["id"], r["best"], r["label"], r["confidence"], r["release"]) for r in rows] == [
        ("x", 2, "c", 7.0, "tiny/1"),
        ("4", 0, "a", 9.0, "tiny/1"),
    ]
    said = [text for text in done.stderr.splitlines() if text.startswith("edgeflock run: ")]
    assert "line 2 of the input is no sample" in said[0]
    assert "input '3': " in said[1]
    assert said[2].startswith(
        "edgeflock run: answered 2, refused 2 (input 1, line 1), failed 0, dropped 0; latency p50"
    )
    assert len(said) == 3


@pytest.mark.parametrize(("sink", "shown"), [("file", True), ("stdout", False)])
def test_a_terminal_shows_how_it_goes_unless_it_shows_the_answers(
    bundle: Path, tmp_path: Path, sink: str, shown: bool
) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 4), np.float32))
    to = "stdout" if sink == "stdout" else f"ndjson:{tmp_path}/out"
    terminal, other = pty.openpty()
    source = ("--source", f"npz:{tmp_path}/x.npz", "--repeat", "--rate", "50", "--count", "120")
    with subprocess.Popen(
        edgeflock("run", bundle, *source, "--sink", to), cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=other, stderr=other,
    ) as process:  # fmt: skip
        os.close(other)
        said = b""
        with suppress(OSError):  # how the end of a terminal reads
            while piece := os.read(terminal, 10_000):
                said += piece
        assert process.wait(30) == 0
    os.close(terminal)
    assert (re.search(rb"\x1b\[Kanswered \d+  \d+/s  dropped 0", said) is not None) is shown
    assert (b"\x1b" in said) is shown
    assert b"edgeflock run: answered 120" in said


def test_strict_makes_a_refused_input_a_failure(bundle: Path) -> None:
    assert run(bundle, "--strict", text=line(1)).returncode == 0
    assert run(bundle, "--strict", text="nonsense\n" + line(1)).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--source", "tape:x"], 2, "unknown kind 'tape'"),
        (["--sink", "sqlit:x"], 2, "did you mean sqlite?"),
        (["--sink", "webhook:ftp://x"], 2, "sink.url must begin with"),
        (["--sink", "csv:/proc/nowhere/x"], 2, "cannot be written"),
        (["--broker", "a:b"], 2, "write HOST or HOST:PORT"),
        (["--source", "npz:/nowhere.npz"], 1, "/nowhere.npz cannot be read as a source"),
        (["--source", "wav:/nowhere.wav"], 1, "/nowhere.wav is not there"),
        (["--source", "ndjson:/nowhere"], 1, "/nowhere: No such file"),
    ],
)
def test_a_mistake_is_one_line(bundle: Path, arguments: list[str], code: int, reason: str) -> None:
    done = run(bundle, *arguments)
    (said,) = [text for text in done.stderr.splitlines() if text.startswith("edgeflock")]
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in said
    assert "Traceback" not in done.stderr


def test_several_sinks_get_every_answer(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1000, 4), np.float32))
    out = {kind: tmp_path / kind for kind in ("ndjson", "csv", "sqlite", "parquet")}
    sinks = [f"--sink={kind}:{path}" for kind, path in out.items()]
    done = run(bundle, "--source", f"npz:{tmp_path}/x.npz", *sinks)
    assert done.returncode == 0, done.stderr
    assert len(out["ndjson"].read_text().splitlines()) == 1000
    assert len(out["csv"].read_text().splitlines()) == 1001
    assert ids(out["sqlite"]) == list(range(1000))
    assert pyarrow.parquet.read_table(out["parquet"]).num_rows == 1000


def test_sigterm_ends_with_every_answer_written_and_parquet_that_can_be_read(
    bundle: Path, tmp_path: Path, start: Callable[..., Running]
) -> None:
    running = start(bundle, "--sink", f"parquet:{tmp_path}/parts", "--sink", f"sqlite:{tmp_path}/x.db")
    running.say("".join(line(n) for n in range(500)))
    assert wait_until(lambda: len(ids(tmp_path / "x.db")) == 500, Deadline.after(30), every_s=0.1)
    code, _, said = running.end()
    assert code == 0, said
    assert "answered 500, refused 0, failed 0, dropped 0" in said
    assert pyarrow.parquet.read_table(tmp_path / "parts").column("id").to_pylist() == [
        str(n) for n in range(500)
    ]


def test_sigkill_at_any_moment_leaves_a_sound_database_without_gaps(
    bundle: Path, tmp_path: Path, start: Callable[..., Running], counts: Counts
) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1_000_000, 4), np.float32))
    for kill in range(counts.kills):
        path = tmp_path / f"{kill}.db"
        running = start(bundle, "--source", f"npz:{tmp_path}/x.npz", "--sink", f"sqlite:{path}")
        assert wait_until(lambda: len(ids(path)) > 100 * kill, Deadline.after(30), every_s=0.01)  # noqa: B023
        running.end(signal.SIGKILL)
        found = ids(path)
        assert found == list(range(len(found)))


def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 4), np.float32))
    command = " ".join(edgeflock("run", bundle, "--source", f"npz:{tmp_path}/x.npz", "--repeat"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 3; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    assert "Traceback" not in done.stderr
    assert "standard output" in done.stderr


FULL_DISK = (
    sys.executable,
    "-c",
    "import os, resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    "os.execv(sys.argv[1], sys.argv[1:])",
)


def test_a_full_disk_ends_the_run_with_whole_lines_and_everything_counted(
    bundle: Path, tmp_path: Path, start: Callable[..., Running]
) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((10_000, 4), np.float32))
    source, out = f"npz:{tmp_path}/x.npz", tmp_path / "out.ndjson"
    running = start(
        bundle, "--source", source, "--sink", f"ndjson:{out}", "--give-up", "0.2", prefix=FULL_DISK
    )
    _, said = running.process.communicate(timeout=30)
    assert running.process.returncode == 1
    assert "out.ndjson: File too large; trying again" in said
    assert "ndjson cannot be written to; the run ends" in said
    written = [json.loads(text) for text in out.read_text().splitlines()]
    answered, lost = (int(said.split(word)[1].split()[0].strip(",")) for word in ("answered ", ", lost "))
    assert len(written) + lost == answered


@pytest.mark.parametrize("how", [">", ">>"])
def test_a_full_disk_behind_standard_output_leaves_whole_lines(
    bundle: Path, tmp_path: Path, how: str
) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1000, 4), np.float32))
    command = [*FULL_DISK, *edgeflock("run", bundle, "--source", f"npz:{tmp_path}/x.npz", "--give-up", "0.2")]
    (tmp_path / "out").write_text("{}\n")
    shell = ["sh", "-c", f'exec "$@" {how} {tmp_path}/out', "sh", *command]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "standard output: File too large; trying again" in done.stderr
    lines = (tmp_path / "out").read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") for line in lines)
    rows = [json.loads(line) for line in lines[how == ">>" :]]
    assert all(row["release"] == "tiny/1" for row in rows)  # none, where all came in one piece


def test_a_folder_is_answered_once_over_starts_that_end_and_never_left_out_by_one_that_is_killed(
    bundle: Path, tmp_path: Path, start: Callable[..., Running]
) -> None:
    folder, path = tmp_path / "in", tmp_path / "x.db"
    folder.mkdir()
    arguments = (bundle, "--source", f"folder:{folder}", "--sink", f"sqlite:{path}")
    for first, how in ((0, signal.SIGTERM), (20, signal.SIGKILL), (40, signal.SIGTERM)):
        for n in range(first, first + 20):
            (folder / f"{n}.json").write_text(line(n))
        running = start(*arguments)
        assert wait_until(lambda: len(set(ids(path))) > first, Deadline.after(30), every_s=0.02)  # noqa: B023
        running.end(how)
        if how == signal.SIGTERM:
            assert {p.stem for p in (folder / "done").iterdir()} <= {str(n) for n in ids(path)}
    running = start(*arguments)
    assert wait_until(lambda: len(list((folder / "done").iterdir())) == 60, Deadline.after(30), every_s=0.05)
    running.end()
    found = ids(path)
    assert set(found) == set(range(60))
    assert len([n for n in found if n not in range(20, 40)]) == 40  # once, but for those of the kill


# --- pictures and sound -------------------------------------------------------------------------


def test_a_wav_file_is_answered_window_by_window(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((1, 2, 8, 0, "NONE", ""))
        file.writeframes(np.array([0, 0, 9000, 0, 0, 0, 0, 20000, 0], "<i2").tobytes())
    bundle = write_tiny_bundle(tmp_path / "sound.bundle", WAVE_OF_4)
    done = run(bundle, "--source", f"wav:{tmp_path}/x.wav", "--hop", "0.5")
    assert done.returncode == 0, done.stderr
    assert [(r["id"], r["label"]) for r in map(json.loads, done.stdout.splitlines())] == [
        ("0.000", "c"),
        ("0.500", "d"),
    ]


def test_a_microphone_is_answered_until_sigterm_and_its_recorder_ends_with_it(
    tmp_path: Path, start: Callable[..., Running]
) -> None:
    program = tmp_path / "arecord"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec cat /dev/zero\n")
    program.chmod(0o755)
    bundle = write_tiny_bundle(tmp_path / "sound.bundle", WAVE_OF_4)
    path = f"PATH={tmp_path}:{os.environ['PATH']}"
    running = start(
        bundle, "--source", "microphone", "--sink", f"ndjson:{tmp_path}/out", prefix=("env", path)
    )
    out = tmp_path / "out"
    assert wait_until(lambda: out.exists() and out.stat().st_size > 1000, Deadline.after(30))
    code, _, said = running.end()
    assert code == 0, said
    assert "microphone: newer window" in said
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_pictures_in_a_folder_and_a_video_are_answered(tmp_path: Path, start: Callable[..., Running]) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the extra `camera`")
    bundle = write_tiny_bundle(tmp_path / "grey.bundle", GREY_2X2)
    writer = cv2.VideoWriter(str(tmp_path / "x.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 32))
    for _ in range(7):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    done = run(bundle, "--source", f"camera:{tmp_path}/x.avi")
    assert [json.loads(text)["id"] for text in done.stdout.splitlines()] == [str(n) for n in range(7)]
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "corner.png"), np.array([[0, 0], [60, 0]], np.uint8))
    running = start(bundle, "--source", f"folder:{folder}", "--count", "1")
    out, _ = running.process.communicate(timeout=30)
    assert [(r["id"], r["label"]) for r in map(json.loads, out.splitlines())] == [("corner.png", "c")]


# --- mqtt ---------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    broker = start_broker(tmp_path / "broker", BrokerAddress("127.0.0.1", free_port()), kind="mosquitto")
    yield broker
    broker.stop()


class Listener:
    """A client that publishes, and keeps what comes on `out`."""

    def __init__(self, address: BrokerAddress, name: str = "") -> None:
        self.got: list[dict[str, Any]] = []
        self.subscribed = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, clean_session=not name)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda *given: self.got.append(json.loads(given[2].payload))
        self.client.connect(address.host, address.port)
        self.client.subscribe("out", qos=1)
        self.client.loop_start()
        assert self.subscribed.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_messages_are_answered_as_messages_and_a_strangers_do_no_harm(
    bundle: Path, broker: RunningBroker, start: Callable[..., Running]
) -> None:
    listener = Listener(broker.address)
    where = ("--source", "mqtt:in/#", "--sink", "mqtt:out", "--broker", str(broker.address))
    running = start(bundle, *where, "--queue", "1000")

    def answered() -> bool:
        listener.client.publish("in/a", json.dumps({"id": "first", "input": [1, 0, 0, 0]}), qos=1)
        return bool(listener.got)

    assert wait_until(answered, Deadline.after(30), every_s=0.1)
    stranger = [
        b"",
        b"\x00" * 1000,
        os.urandom(10_000),
        b"{" * 100_000,
        b"{" * 1_000_000,
        b'{"input": 1e999}',
        b"\xff\xd8\xff",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (9999999999999,)}",
    ]
    for payload in stranger:
        listener.client.publish("in/b", payload, qos=1)
    for n in range(200):
        listener.client.publish("in/c", line(n), qos=1)
    assert wait_until(lambda: listener.got[-1]["id"] == "199", Deadline.after(30), every_s=0.05)
    assert [row["id"] for row in listener.got if row["id"] != "first"] == [str(n) for n in range(200)]
    code, _, said = running.end()
    assert code == 0, said
    assert f"refused {len(stranger)} (" in said
    assert "Traceback" not in said
    listener.close()


def test_a_broker_that_is_away_is_waited_for(
    bundle: Path, tmp_path: Path, start: Callable[..., Running], broker: RunningBroker
) -> None:
    Listener(broker.address, "keeps").close()  # the broker holds for it what is published meanwhile
    broker.stop()
    np.savez(tmp_path / "x.npz", x=np.zeros((300, 4), np.float32))
    where = ("--source", f"npz:{tmp_path}/x.npz", "--broker", str(broker.address))
    running = start(bundle, *where, "--sink", "mqtt:out", "--give-up", "60")
    assert running.process.stderr is not None
    assert any("no broker at" in text for text in iter(running.process.stderr.readline, ""))
    again = start_broker(tmp_path / "broker", broker.address, kind="mosquitto")
    listener = Listener(broker.address, "keeps")
    try:
        assert wait_until(lambda: len(listener.got) >= 300, Deadline.after(30), every_s=0.05)
        assert sorted(int(row["id"]) for row in listener.got) == list(range(300))
        assert running.process.wait(30) == 0
    finally:
        listener.close()
        again.stop()


@pytest.fixture
def strict_broker(tmp_path: Path) -> Iterator[BrokerAddress]:
    """A mosquitto that lets everybody in, to publish on `free` and to read nothing."""
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if find_mosquitto() is None or plugin is None:
        pytest.skip("mosquitto with its dynamic security is not installed")
    address = BrokerAddress("127.0.0.1", free_port())
    may = [{"acltype": "publishClientSend", "topic": "free", "priority": 0, "allow": True}]
    rules = {
        "defaultACLAccess": dict.fromkeys(
            ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False
        ),
        "groups": [{"groupname": "all", "roles": [{"rolename": "all"}]}],
        "roles": [{"rolename": "all", "acls": may}],
        "anonymousGroup": "all",
    }
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    (tmp_path / "strict.conf").write_text(
        f"listener {address.port} {address.host}\nallow_anonymous true\nplugin {plugin}\n"
        f"plugin_opt_config_file {tmp_path / 'rules.json'}\n" + ("user root\n" * (os.geteuid() == 0))
    )
    mosquitto = find_mosquitto()
    assert mosquitto is not None
    log = (tmp_path / "strict.log").open("wb")
    process = subprocess.Popen([mosquitto, "-c", str(tmp_path / "strict.conf")], stdout=log, stderr=log)
    yield address
    process.kill()
    process.wait()
    log.close()


def test_answers_that_the_broker_refuses_are_lost_and_their_files_stay(
    bundle: Path, tmp_path: Path, strict_broker: BrokerAddress, start: Callable[..., Running]
) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((300, 4), np.float32))
    where = ("--broker", str(strict_broker))
    done = run(bundle, "--source", f"npz:{tmp_path}/x.npz", "--sink", "mqtt:secret", *where)
    assert done.returncode == 1
    assert "answers lost: mqtt: the broker refuses it: Not authorized" in done.stderr
    assert "answered 300" in done.stderr
    assert "lost 300 (mqtt 300)" in done.stderr
    assert run(bundle, "--sink", "mqtt:free", *where, text=line(1)).returncode == 0
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1.json").write_text(line(1))
    source = ("--source", f"folder:{folder}", "--count", "1")
    assert run(bundle, *source, "--sink", "mqtt:secret", *where).returncode == 1
    assert [path.name for path in folder.glob("**/*.json")] == ["1.json"]
    assert (folder / "1.json").exists()


def test_a_topic_that_the_broker_refuses_to_send_is_said_once(
    bundle: Path, strict_broker: BrokerAddress, start: Callable[..., Running]
) -> None:
    running = start(bundle, "--source", "mqtt:in/#", "--broker", str(strict_broker))
    assert running.process.stderr is not None
    said = next(text for text in iter(running.process.stderr.readline, "") if "source" in text)
    assert "mqtt source: the broker refuses to send in/#: Not authorized" in said
    running.end()


# --- webhook ------------------------------------------------------------------------------------


def test_a_webhook_that_fails_at_first_gets_every_answer_in_order(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((350, 4), np.float32))
    hook = Hook()
    hook.statuses = [503, 200, 500]
    try:
        done = run(bundle, "--source", f"npz:{tmp_path}/x.npz", "--sink", hook.url)
    finally:
        hook.close()
    assert done.returncode == 0, done.stderr
    batches = {post["batch"]: [int(row["id"]) for row in post["results"]] for post in hook.posts}
    assert [n for ids_of in batches.values() for n in ids_of] == list(range(350))
    assert len(hook.posts) == len(batches) + 2


def test_a_webhook_that_refuses_is_counted_and_fails_the_run(bundle: Path) -> None:
    hook = Hook()
    hook.statuses = [400]
    try:
        done = run(bundle, "--sink", hook.url, text=line(1))
    finally:
        hook.close()
    assert done.returncode == 1
    assert "1 answers lost: webhook: http://127.0.0.1" in done.stderr
    assert "lost 1 (webhook 1)" in done.stderr


@pytest.mark.parametrize(
    ("closed", "reason"),
    [(">&-", "standard output is closed: name another --sink"),
     ("<&-", "standard input is closed: name another --source")],
)  # fmt: skip
def test_a_closed_stream_is_one_line(bundle: Path, closed: str, reason: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *edgeflock("run", bundle)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    ours = [text for text in done.stderr.splitlines() if text.startswith("edgeflock")]
    assert (done.returncode, ours) == (2, [f"edgeflock: {reason}"]), done.stderr
    assert "Traceback" not in done.stderr


def test_a_sink_given_twice_is_refused(bundle: Path, tmp_path: Path) -> None:
    sink = f"csv:{tmp_path / 'a.csv'}"
    done = run(bundle, "--sink", sink, "--sink", "stdout", "--sink", sink)
    assert (done.returncode, done.stderr) == (2, f"edgeflock: --sink {sink} is given twice\n")


def test_what_is_said_goes_nowhere_when_standard_error_is_closed(bundle: Path) -> None:
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *edgeflock("run", bundle)]
    done = subprocess.run(
        command, cwd=ROOT, input=line(1), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, [json.loads(text)["id"] for text in done.stdout.splitlines()]) == (0, ["1"])
