"""The trial of pushed software: its environment is made whole or not at all, and it speaks for itself."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import settings_file
from edge.adapters import environments as environments_module
from edge.adapters.environments import Environments
from edge.adapters.outbox import Outbox
from edge.adapters.software_store import SoftwareStore
from edge.adapters.software_trial import SoftwareTrial, try_here
from edge.download import NoSpaceError
from edge.golden import Verdict
from edge.selfupdate.takeover import take_over
from tests.support.tiny_software import WILLING, tiny_manifest, tiny_software
from wire.deadline import Deadline, wait_until
from wire.errors import BundleError, SettingsError
from wire.messages import Event
from wire.software import inspect

SETTINGS = "device.toml"


class Bench:
    """A release in a folder, and the environments beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environments = Environments(folder / "env")
        self.environments.open()

    def attempt(self, data: bytes) -> Verdict:
        release = self.folder / ("a" * 64)
        release.write_bytes(data)
        try:
            manifest = inspect(io.BytesIO(data))
        except BundleError:  # then nobody comes so far as to compare it
            manifest = tiny_manifest("1")
        return try_here(release, self.environments, SETTINGS, manifest)

    @property
    def made(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "env").iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_software_that_says_so_can_take_over_and_is_asked_with_the_settings(bench: Bench) -> None:
    says = "import sys\nprint('can take over:', *sys.argv[1:])\n"
    verdict = bench.attempt(tiny_software("1", says))
    assert verdict == Verdict(True, f"can take over: agent --trial {SETTINGS}")
    assert bench.environments.broken("a" * 64) is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys\nsys.exit('edgeflock: device.toml: unknown key model.x')\n", "unknown key model.x"),
        ("import nothing_such\n", "No module named 'nothing_such'"),
        ("print('hello')\n", "cannot take over: hello"),
        ("", "ended with code 0"),
        ("import os\nos.abort()\n", "ended by SIGABRT"),
        ("def (:\n", "SyntaxError"),
    ],
)
def test_software_that_cannot_take_over_is_refused_with_its_own_last_line(
    bench: Bench, script: str, reason: str
) -> None:
    verdict = bench.attempt(tiny_software("1", script))
    assert (verdict.passed, verdict.conclusive) == (False, True)
    assert reason in verdict.reason
    assert "\n" not in verdict.reason


def test_a_hostile_release_is_refused_in_one_line_and_leaves_nothing(bench: Bench) -> None:
    data = io.BytesIO(tiny_software("1"))
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("../../evil.py", "x")
    verdict = bench.attempt(data.getvalue())
    assert not verdict.passed
    assert "no name that a file may have" in verdict.reason
    assert bench.made == []
    assert not (bench.folder / "evil.py").exists()


def test_a_release_whose_manifest_is_not_the_signed_one_is_refused(bench: Bench) -> None:
    release = bench.folder / ("a" * 64)
    release.write_bytes(tiny_software("1"))
    verdict = try_here(release, bench.environments, SETTINGS, tiny_manifest("2"))
    assert verdict == Verdict(False, "its manifest is not the one that was signed for it")
    assert bench.made == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_leaves_nothing_and_is_held_against_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(environments_module, "_seal", fail)
    verdict = bench.attempt(tiny_software("1"))
    assert verdict == Verdict(False, f"its environment: {os.strerror(number)}", conclusive=False)
    assert bench.made == []


def test_without_room_no_trial_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SoftwareStore(tmp_path, None)
    store.open()
    monkeypatch.setattr(store, "free_bytes", lambda: 1000)
    release = store.path("a" * 64)
    release.write_bytes(tiny_software("1"))
    with pytest.raises(NoSpaceError, match="bytes free, has 1000"):
        store.check_room(1)
    with pytest.raises(OSError, match="bytes free, has 1000") as error:
        SoftwareTrial(store, Path(SETTINGS)).start(release, signed=tiny_manifest("1"))
    assert error.value.errno == errno.ENOSPC


def test_the_trial_is_a_child_that_is_polled_and_can_be_ended(tmp_path: Path) -> None:
    store = SoftwareStore(tmp_path, None)
    store.open()
    data = tiny_software("1", WILLING)
    release = store.path("a" * 64)
    release.write_bytes(data)
    trial = SoftwareTrial(store, Path(SETTINGS))
    trial.start(release, signed=inspect(io.BytesIO(data)))
    trial.kill()
    trial.start(release, signed=inspect(io.BytesIO(data)))
    verdicts: list[Verdict] = []

    def polled() -> bool:
        verdict = trial.poll()
        verdicts.extend([verdict] if verdict else [])
        return bool(verdicts)

    assert wait_until(polled, Deadline.after(60))
    assert verdicts == [Verdict(True, "can take over: anything")]


# --- what this software says when it is asked ----------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    folder.mkdir()
    outbox = Outbox(folder / "outbox.db", "b1")
    outbox.open()
    outbox.add("event", Event("digits", "idle", "check", "plan-changed"))
    yield folder
    outbox.close()


def asked(state: Path) -> str:
    raw = {"device": {"name": "pi-1", "state": str(state)}, "model": {"name": "digits"}}
    return take_over(settings_file.parse(raw, "device.toml"))


def test_it_takes_over_a_state_that_it_can_read_while_an_agent_is_at_work_there(state: Path) -> None:
    before = sorted(path.name for path in state.rglob("*"))
    assert asked(state) == "can take over: settings and state are readable, 0 of 1 models answer"
    assert sorted(path.name for path in state.rglob("*")) == before


@pytest.mark.parametrize(
    "file", ["pointer.json", "further/ants/pointer.json", "software/pointer.json", "trust/floor.json"]
)
def test_it_takes_over_no_state_that_it_would_begin_anew(state: Path, file: str) -> None:
    path = state / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"current":7,"roles":7}')
    with pytest.raises(SettingsError, match="cannot be read by this software"):
        asked(state)


def test_it_takes_over_no_outbox_of_another_form(state: Path) -> None:
    other = sqlite3.connect(state / "answers.db")
    other.execute("create table answered (number integer)")
    other.close()
    with pytest.raises(SettingsError, match="no such column"):
        asked(state)


def test_an_outbox_in_which_newer_software_keeps_more_is_still_read(state: Path) -> None:
    newer = sqlite3.connect(state / "outbox.db")
    newer.execute("create table tomorrow (x integer)")
    newer.commit()
    newer.close()
    assert asked(state).startswith("can take over")
    outbox = Outbox(state / "outbox.db", "b2")
    outbox.open()
    assert not outbox.settled
    outbox.close()
