"""What a start finds of the agent's software, and what it makes of it."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge.adapters import model_store
from edge.adapters.model_store import ModelStore
from edge.agent_model import Shared
from edge.pointer import Pointer, Slot
from edge.selfupdate.app import OwnSoftware
from edge.selfupdate.health import LEAST_S, PATIENCE_S, Situation
from edge.turns import Turns
from launcher.choosing import PROBATION_STARTS, TRUSTED_STARTS, Starts
from launcher.disk import Disk
from launcher.launch import RUNNING
from tests.support.fakes import ScriptedServing
from tests.support.tiny_software import tiny_software
from wire.adapters.files import write_atomic
from wire.adapters.paho_link import BrokerAddress
from wire.codec import encode
from wire.messages import Ack, Event, Mark
from wire.software import SOFTWARE

NOWHERE = BrokerAddress("127.0.0.1", 1)


@dataclass
class Device:
    """A state folder, and agents that start on it. Time stands still until a test moves it."""

    state: Path
    monkeypatch: pytest.MonkeyPatch
    now_s: float = 0.0
    events: list[Event] = field(default_factory=list)
    ended: int = 0

    def __post_init__(self) -> None:
        self.disk = Disk(self.state)
        self.model = ScriptedServing(serves=Path("digits"))

    def install(self, version: str) -> Slot:
        data = tiny_software(version)
        sha256 = hashlib.sha256(data).hexdigest()
        own = OwnSoftware(self.state, Path("device.toml"), NOWHERE, self._end)
        own.open()
        release = own._store.path(sha256)
        release.write_bytes(data)
        own._store.environments.build(release, sha256)
        return Slot(f"{SOFTWARE}/{version}", sha256)

    def point(self, **fields: Any) -> None:
        write_atomic(self.disk.folder / "pointer.json", encode(Pointer(**fields)))

    @property
    def pointer(self) -> Pointer:
        return ModelStore(self.disk.folder).read_pointer()

    def start(self, running: Slot | None) -> OwnSoftware:
        """Start the agent as the launcher does: as this software."""
        if running is None:
            self.monkeypatch.delenv(RUNNING, raising=False)
        else:
            self.monkeypatch.setenv(RUNNING, running.sha256)
        own = OwnSoftware(self.state, Path("device.toml"), NOWHERE, self._end)
        own.open()
        shared = Shared("pi-1", self._no_download, self.events.append, lambda: self.now_s, Turns())
        own.recover(shared, {"digits": self.model})  # type: ignore[dict-item]  # a fake of it
        return own

    def pass_time(self, own: OwnSoftware, seconds: float) -> None:
        self.now_s += seconds
        own.tick()

    def path(self) -> list[str]:
        """The states since the start, one behind the other."""
        return [event.after for event in self.events]

    def _end(self) -> None:
        self.ended += 1

    def _no_download(self, *_: object) -> Any:
        raise AssertionError("nothing is fetched here")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(tmp_path, monkeypatch)


def acknowledged(own: OwnSoftware) -> None:
    own.acknowledged(Ack({"event": (Mark("b1", 3),)}), "b1")


def test_new_software_is_trusted_when_the_server_has_heard_of_it(device: Device) -> None:
    old, new = device.install("1"), device.install("2")
    device.point(current=new, previous=old, on_probation=True)
    device.disk.keep(Starts({new.sha256: 1}))
    own = device.start(new)
    assert own.updater.report().state == "probation"
    acknowledged(own)
    device.pass_time(own, LEAST_S)
    assert device.path() == ["commit", "idle"]
    assert (device.pointer.current, device.pointer.on_probation) == (new, False)
    assert device.disk.starts() == Starts()
    assert device.ended == 0


def test_a_site_without_a_network_trusts_it_when_it_has_answered_for_a_while(device: Device) -> None:
    old, new = device.install("1"), device.install("2")
    device.point(current=new, previous=old, on_probation=True)
    own = device.start(new)
    device.pass_time(own, PATIENCE_S - 1)
    assert device.path() == []
    device.pass_time(own, 1)
    assert device.path() == ["commit", "idle"]


def test_software_under_which_a_model_answers_no_more_goes_back_by_itself(device: Device) -> None:
    old, new = device.install("1"), device.install("2")
    device.point(current=new, previous=old, on_probation=True)
    write_atomic(device.disk.folder / "before.json", encode(Situation(("digits",), linked=True)))
    device.model.stop()
    own = device.start(new)
    acknowledged(own)
    device.pass_time(own, PATIENCE_S)
    assert device.path() == ["rollback", "blocked"]
    assert (device.pointer.current, device.pointer.blocked) == (old, (new.sha256,))
    assert (own.wants_restart, device.ended) == (True, 1)


@pytest.mark.parametrize("before", [True, False])
def test_what_the_launcher_gave_up_is_blocked_and_told(device: Device, *, before: bool) -> None:
    old, new = device.install("1") if before else None, device.install("2")
    device.point(current=new, previous=old, on_probation=True)
    device.disk.keep(Starts({new.sha256: PROBATION_STARTS}))
    own = device.start(old)
    assert device.path() == ["rollback", "blocked"]
    assert device.events[0].detail == f"{SOFTWARE}/2 was not healthy in 3 starts"
    assert own.updater.report().error == device.events[0].detail
    assert (device.pointer.current, device.pointer.blocked) == (old, (new.sha256,))
    assert device.ended == 0, "what should run runs"
    device.events.clear()
    again = device.start(old)
    assert (device.path(), again.updater.report().state) == ([], "idle")


def test_trusted_software_that_fails_start_after_start_is_given_up_as_well(device: Device) -> None:
    old, new = device.install("1"), device.install("2")
    device.point(current=new, previous=old)
    device.disk.keep(Starts({new.sha256: TRUSTED_STARTS}))
    device.start(old)
    assert (device.pointer.current, device.pointer.blocked) == (old, (new.sha256,))


def test_damaged_software_is_given_up_and_not_blocked(device: Device) -> None:
    old, new = device.install("1"), device.install("2")
    device.point(current=new, previous=old, on_probation=True)
    (device.disk.environment(new.sha256) / "edgeflock.py").unlink()
    own = device.start(old)
    assert (device.pointer.current, device.pointer.blocked) == (old, ())
    assert "edgeflock.py" in str(own.updater.report().error) or "SHA256SUMS" in str(
        own.updater.report().error
    )
    assert device.ended == 0


def test_a_full_disk_at_the_start_ends_nothing(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = device.install("1"), device.install("2")
    device.point(current=new, previous=old, on_probation=True)
    device.disk.keep(Starts({new.sha256: PROBATION_STARTS}))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(model_store, "write_atomic", full)
        own = device.start(old)
    assert device.ended == 0
    assert own.updater.report().current == old.release
    assert device.pointer.current == new, "as it is on the disk"
    device.start(old)
    assert (device.pointer.current, device.pointer.blocked) == (old, (new.sha256,))


def test_an_end_that_was_wished_takes_the_start_back_and_another_does_not(device: Device) -> None:
    new = device.install("2")
    device.point(current=new, on_probation=True)
    for told, left in ((False, 1), (True, 0)):
        device.disk.keep(Starts({new.sha256: 1}))
        device.start(new).close(told=told)
        assert device.disk.starts().of(new.sha256) == left


def test_trusted_software_that_is_healthy_has_its_starts_forgotten(device: Device) -> None:
    new = device.install("2")
    device.point(current=new)
    device.disk.keep(Starts({new.sha256: 4}))
    own = device.start(new)
    acknowledged(own)
    device.pass_time(own, LEAST_S)
    assert device.disk.starts() == Starts()


def test_environments_that_nothing_names_are_removed_and_the_running_one_stays(device: Device) -> None:
    one, two, three = device.install("1"), device.install("2"), device.install("3")
    device.point(current=three, previous=two)
    own = device.start(three)
    own._store.collect(frozenset())
    assert [path.name for path in (device.disk.folder / "env").iterdir()] == [three.sha256]
    assert not own._store.path(one.sha256).exists()


@pytest.mark.parametrize("name", ["pointer.json", "before.json", "starts.json"])
def test_a_file_that_the_disk_does_not_give_back_keeps_no_software_from_starting(
    device: Device, name: str
) -> None:
    new = device.install("1")
    device.point(current=new, on_probation=True)
    (device.disk.folder / name).unlink(missing_ok=True)
    (device.disk.folder / name).mkdir()  # to read it fails
    running = None if name == "pointer.json" else new
    own = device.start(running)
    device.pass_time(own, PATIENCE_S)
    assert (own.wants_restart, device.ended) == (False, 0)
