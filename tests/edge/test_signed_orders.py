"""Attacks on what a device is told: each refused, with its name in the event log, and the agent lives on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.adapters.tuf_trust import TufTrust
from fleet.metadata import auto_targets
from tests.support.examples import MANIFEST
from tests.support.fakes import TurnedClock
from tests.support.memory_agent import OWN, TOPICS, Agent
from tests.support.shelf import Goods, make_goods
from tests.support.signed_fleet import NOW, SignedFleet, signers
from wire.codec import encode
from wire.memory_link import MemoryBroker
from wire.messages import Desired, Plan, Release

ONE, TWO, THREE = make_goods(1, 1000), make_goods(2, 1000), make_goods(3, 1000)
PLAN = TOPICS.plan("all", "digits")


class Scene:
    """A fleet that signs, a broker that an attacker may own, and an agent that may be started anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.broker, self.starts = folder, MemoryBroker(), 0
        self.fleet = SignedFleet()
        self.root = self.fleet.files["1.root.json"]
        self.wall = TurnedClock(time.time())
        self.fleet.release(ONE.release)
        self.server = self.broker.link()
        self.server.start()
        self.put(ONE, TWO, THREE)
        self.agent = self.start()

    def start(self) -> Agent:
        """Start the agent anew, as after a power cut that the disk survived."""
        trust = TufTrust(self.root, self.folder / "trust", self.wall).open()
        self.starts += 1
        self.agent = Agent(self.folder, trust, self.broker, f"b{self.starts}")
        return self.agent

    def restart(self, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.agent.link.close()
        self.agent.outbox.close()
        meanwhile()
        self.start()

    def put(self, *goods: Goods) -> None:
        for g in goods:
            blob = g.release.blobs[0]
            self.server.publish(TOPICS.blob(blob.chunks_sha256, 0), g.digests, retain=True)
            self.server.publish(TOPICS.blob(blob.sha256, 0), g.blob, retain=True)

    def order(self, plan: Plan, payload: bytes | None = None) -> None:
        self.server.publish(OWN["desired"], self.fleet.seal(Desired(1, ("all",), device="pi-1")), retain=True)
        self.server.publish(PLAN, payload or self.fleet.seal(plan), retain=True)

    def publish(self) -> None:
        self.fleet.publish(self.server, TOPICS)

    def settle(self) -> None:
        self.agent.step(60)

    def install(self, goods: Goods) -> None:
        """Publish, order and commit a release."""
        self.publish()
        self.order(goods.plan)
        self.settle()
        self.agent.serving.inferences += 60
        self.settle()
        assert self.current == goods.release.name, self.agent.refusals()

    @property
    def current(self) -> str | None:
        return self.agent.reported().models[0].current

    @property
    def metadata(self) -> Path:
        return self.folder / "trust" / "metadata"

    def refused(self, name: str) -> None:
        """Settle, and expect one refusal of that name, no other, and the model of before."""
        before = self.agent.updater.report().current
        self.settle()
        self.settle()
        names = [detail.split(":")[0] for detail in self.agent.refusals()]
        assert names == [name]
        assert self.agent.updater.report().current == before
        assert self.agent.control._bad[name] == 1
        assert name in str(self.agent.reported().models[0].error)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.agent.outbox.close()


def test_a_signed_release_is_installed_and_what_was_verified_is_reported(scene: Scene) -> None:
    scene.install(ONE)
    reported = scene.agent.reported()
    assert (reported.root_version, reported.timestamp_version, reported.targets_version) == (1, 1, 1)
    assert reported.clock == "system"
    assert scene.agent.refusals() == []


def test_a_check_with_nothing_new_asks_for_nothing(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.stamp()
    said = len([t for t, _ in scene.broker.published if t == OWN["echo"]])
    scene.publish()
    scene.settle()
    assert scene.agent.reported().timestamp_version == 2
    assert len([t for t, _ in scene.broker.published if t == OWN["echo"]]) == said


def test_a_plan_that_overtakes_its_metadata_waits_and_is_not_refused(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.release(ONE.release, TWO.release)
    scene.order(TWO.plan)
    scene.agent.step(1)
    scene.publish()
    scene.settle()
    assert scene.agent.reported().models[0].target == "digits/2"
    assert scene.agent.refusals() == []


# --- attacks on metadata ------------------------------------------------------------------------


def test_rollback_to_an_older_timestamp(scene: Scene) -> None:
    old = dict(scene.fleet.files)
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(TWO)
    scene.server.publish(TOPICS.meta("timestamp.json"), old["timestamp.json"], retain=True)
    scene.refused("BadVersionNumberError")


def test_rollback_while_the_device_slept(scene: Scene) -> None:
    old = dict(scene.fleet.files)
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(TWO)

    def replay() -> None:
        scene.server.publish(TOPICS.meta("timestamp.json"), old["timestamp.json"], retain=True)

    scene.restart(meanwhile=replay)
    scene.refused("BadVersionNumberError")


def test_replay_with_zeroed_local_metadata_the_hole_in_python_tuf(scene: Scene) -> None:
    old = dict(scene.fleet.files)
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(TWO)

    def zero_and_replay() -> None:
        for path in scene.metadata.glob("*.json"):
            if path.name != "root.json":
                path.write_bytes(bytes(path.stat().st_size))
        for name, data in old.items():
            scene.server.publish(TOPICS.meta(name), data, retain=True)

    scene.restart(meanwhile=zero_and_replay)
    scene.refused("VersionFloorError")
    assert not (scene.metadata / "timestamp.json").exists()
    scene.fleet.stamp()
    scene.publish()
    scene.settle()
    assert scene.agent.reported().timestamp_version == 3
    assert scene.agent.reported().models[0].error is None


def test_a_root_that_is_withheld_from_a_device_that_lost_its_own(scene: Scene) -> None:
    old = dict(scene.fleet.files)
    scene.fleet.rotate_online()
    scene.fleet.stamp({"targets.json": scene.fleet.files["1.targets.json"]})
    scene.install(ONE)

    def lose_and_withhold() -> None:
        for path in [*scene.metadata.rglob("*.json")]:
            path.unlink()
        scene.server.publish(TOPICS.meta("2.root.json"), b"", retain=True)
        scene.server.publish(TOPICS.meta("timestamp.json"), old["timestamp.json"], retain=True)

    scene.restart(meanwhile=lose_and_withhold)
    scene.refused("VersionFloorError")


def test_freeze_expired_metadata_with_the_right_key(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.fleet = SignedFleet(NOW - timedelta(days=3))
    scene.root = scene.fleet.files["1.root.json"]
    scene.fleet.release(ONE.release)
    scene.restart()
    scene.publish()
    scene.order(ONE.plan)
    scene.refused("ExpiredMetadataError")
    scene.fleet.later(timedelta(days=3)).release(ONE.release)
    scene.install(ONE)
    scene.agent.outbox.close()


def test_mix_and_match_old_targets_under_the_new_name(scene: Scene) -> None:
    scene.install(ONE)
    old = scene.fleet.files["1.targets.json"]
    scene.fleet.release(ONE.release, TWO.release)
    scene.fleet.files["2.targets.json"] = old
    scene.publish()
    scene.refused("LengthOrHashMismatchError")


def test_extra_bytes_behind_a_file(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.release(ONE.release, TWO.release)
    scene.fleet.files["2.targets.json"] += b" "
    scene.publish()
    scene.refused("DownloadLengthMismatchError")


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_endless_metadata(scene: Scene, name: str) -> None:
    scene.install(ONE)
    endless = scene.broker.link()
    endless.start()
    scene.broker.route(
        TOPICS.meta(name), b"{" * 1_000_000, retain=True
    )  # past the size of any honest message
    scene.refused("DownloadLengthMismatchError")


def test_a_timestamp_by_a_wrong_key(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.online = signers(1)[0]
    scene.fleet.stamp()
    scene.publish()
    scene.refused("UnsignedMetadataError")


def test_targets_by_one_of_two_people(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.people = scene.fleet.people[:1]
    scene.fleet.release(ONE.release, TWO.release)
    scene.publish()
    scene.order(TWO.plan)
    scene.settle()
    names = {detail.split(":")[0] for detail in scene.agent.refusals()}
    assert names == {"UnsignedMetadataError", "UnsignedTargetError"}
    assert scene.current == "digits/1"


def test_a_root_by_one_of_two_keys(scene: Scene) -> None:
    scene.install(ONE)
    thief = SignedFleet()
    thief.root.version = 2
    scene.fleet.files["2.root.json"] = scene.fleet.sign(thief.root, [scene.fleet.roots[0], *thief.roots])
    scene.publish()
    scene.refused("UnsignedMetadataError")


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"\xff", b'{"signed": 1}'])
def test_metadata_that_is_none(scene: Scene, payload: bytes) -> None:
    scene.install(ONE)
    scene.server.publish(TOPICS.meta("timestamp.json"), payload, retain=True)
    scene.refused("DeserializationError")


# --- attacks on orders --------------------------------------------------------------------------


def test_a_plan_for_a_release_that_nobody_signed(scene: Scene) -> None:
    scene.install(ONE)
    scene.order(TWO.plan)
    scene.refused("UnsignedTargetError")


def test_a_plan_replayed_from_an_older_sequence(scene: Scene) -> None:
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(ONE)
    old = scene.fleet.seal(ONE.plan)
    scene.install(TWO)
    scene.order(ONE.plan, old)
    scene.refused("SequenceFloorError")


def test_a_plan_replayed_while_the_device_slept(scene: Scene) -> None:
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(TWO)
    scene.restart(meanwhile=lambda: scene.order(ONE.plan))
    scene.refused("SequenceFloorError")


def test_a_desired_state_replayed_from_an_older_sequence(scene: Scene) -> None:
    old = scene.fleet.seal(Desired(1, ("all", "beta"), device="pi-1"))
    scene.install(ONE)
    scene.server.publish(OWN["desired"], scene.fleet.seal(Desired(2, ("all",), device="pi-1")), retain=True)
    scene.settle()
    scene.server.publish(OWN["desired"], old, retain=True)
    scene.refused("SequenceFloorError")
    assert scene.agent.reported().groups == ("all",)


@pytest.mark.parametrize("device", ["pi-2", ""])
def test_the_desired_state_of_another_device_is_none_of_ours(scene: Scene, device: str) -> None:
    scene.install(ONE)
    other = scene.fleet.seal(Desired(9, ("beta",), {"digits": TWO.release.name}, device))
    scene.server.publish(OWN["desired"], other, retain=True)
    scene.settle()
    assert scene.agent.reported().groups == ("all",)
    scene.server.publish(
        OWN["desired"], scene.fleet.seal(Desired(2, ("all", "lab"), device="pi-1")), retain=True
    )
    scene.settle()
    assert scene.agent.reported().groups == ("all", "lab")  # its own, of a lower sequence, still counts


@pytest.mark.parametrize("whose", ["online", "people", "stranger"])
def test_a_plan_by_a_wrong_key(scene: Scene, whose: str) -> None:
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(ONE)
    key = {"online": scene.fleet.online, "people": scene.fleet.people[0], "stranger": signers(1)[0]}[whose]
    scene.order(TWO.plan, scene.fleet.seal(TWO.plan, key))
    scene.refused("VerificationError")


def test_a_chunk_that_is_not_the_signed_one(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.release(ONE.release, TWO.release)
    scene.publish()
    scene.server.publish(TOPICS.blob(TWO.release.blobs[0].sha256, 0), TWO.blob + b"!", retain=True)
    scene.order(TWO.plan)
    for _ in range(20):
        scene.settle()
    failed = [e.detail for e in scene.agent.events() if e.cause == "transfer-failed"]
    assert str(failed[0]).startswith("DamagedChunkError: chunk 0")
    assert scene.current == "digits/1"


def test_a_chunk_list_that_nobody_signed(scene: Scene) -> None:
    scene.install(ONE)
    blob = replace(TWO.release.blobs[0], chunks_sha256=THREE.release.blobs[0].chunks_sha256)
    wrong = replace(TWO.release, blobs=(blob,))
    scene.fleet.release(ONE.release, TWO.release)
    targets = scene.fleet.targets
    assert targets is not None
    targets.targets[TWO.release.name].unrecognized_fields = release_custom(wrong)
    scene.fleet.files["2.targets.json"] = scene.fleet.sign(targets, scene.fleet.people)
    scene.fleet.stamp({"targets.json": scene.fleet.files["2.targets.json"]})
    scene.publish()
    scene.order(TWO.plan)
    scene.refused("LengthOrHashMismatchError")


def release_custom(release: Release) -> dict[str, dict[str, str]]:
    return {"custom": {"release": encode(release).decode()}}


def test_the_same_refusal_is_told_once_and_a_restart_changes_no_floor(scene: Scene) -> None:
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(TWO)
    for _ in range(5):
        scene.order(ONE.plan)
        scene.settle()
    assert len(scene.agent.refusals()) == 1
    floor = json.loads((scene.folder / "trust" / "floor.json").read_bytes())
    assert floor["orders"] == {"desired": 1, "all/digits": 2}
    assert {role: stands["version"] for role, stands in floor["roles"].items()} == {
        "root": 1, "timestamp": 2, "snapshot": 2, "targets": 2,
    }  # fmt: skip
    scene.restart()
    scene.settle()
    assert json.loads((scene.folder / "trust" / "floor.json").read_bytes()) == floor


# --- rotation, time -----------------------------------------------------------------------------


def test_a_device_follows_rotations_that_it_slept_through(scene: Scene) -> None:
    scene.install(ONE)

    def rotate_everything() -> None:
        for rotate in (scene.fleet.rotate_roots, scene.fleet.rotate_people, scene.fleet.rotate_online,
                       scene.fleet.rotate_roots):  # fmt: skip
            rotate()
        scene.fleet.plan = signers(1)[0]
        scene.fleet.release(ONE.release, TWO.release)
        scene.publish()
        scene.order(TWO.plan)

    scene.restart(meanwhile=rotate_everything)
    scene.settle()
    assert scene.agent.reported().root_version == 5
    assert scene.agent.reported().models[0].target == "digits/2"
    assert scene.agent.refusals() == []


def test_a_stolen_online_key_that_ran_ahead_is_forgiven_after_a_rotation(scene: Scene) -> None:
    scene.install(ONE)
    assert scene.fleet.timestamp is not None
    honest = scene.fleet.timestamp.version
    scene.fleet.timestamp.version = 10**6
    scene.fleet.stamp()
    scene.publish()
    scene.settle()
    assert scene.agent.reported().timestamp_version == 10**6 + 1
    scene.fleet.timestamp.version = honest
    scene.fleet.rotate_online()
    scene.fleet.release(ONE.release, TWO.release)
    scene.publish()
    scene.settle()
    assert scene.agent.reported().timestamp_version == honest + 1
    assert scene.agent.refusals() == []


def test_an_order_by_a_plan_key_that_was_taken_away_is_no_longer_followed(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.plan = signers(1)[0]
    scene.fleet.release(ONE.release)
    scene.publish()
    scene.settle()
    assert {detail.split(":")[0] for detail in scene.agent.refusals()} == {"VerificationError"}
    assert scene.agent.reported().groups == ()
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(TWO)


def test_what_expires_with_no_message_stops_installs_and_goes_on_serving(scene: Scene) -> None:
    scene.fleet.release(ONE.release, TWO.release)
    scene.install(ONE)
    serves = scene.agent.serving.serves
    scene.wall.turn(2 * 86_400)
    scene.order(TWO.plan)
    scene.refused("ExpiredMetadataError")
    assert scene.agent.serving.serves == serves
    scene.wall.turn(-2 * 86_400)  # the clock was wrong, and is put right
    scene.agent.clock.turn(120)
    scene.settle()
    assert scene.agent.reported().models[0].target == "digits/2"


def test_a_download_ends_when_its_metadata_expires(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.release(ONE.release, TWO.release)
    scene.publish()
    scene.server.publish(TOPICS.blob(TWO.release.blobs[0].sha256, 0), b"", retain=True)
    scene.order(TWO.plan)
    scene.settle()
    assert scene.agent.reported().models[0].state == "download"
    scene.wall.turn(2 * 86_400)
    scene.settle()
    assert scene.agent.reported().models[0].state == "idle"
    assert "ExpiredMetadataError" in str(scene.agent.reported().models[0].error)


def test_a_clock_that_lags_by_years_breaks_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.wall.turn(-10 * 365 * 86_400)
    scene.restart()
    scene.install(ONE)
    assert scene.agent.reported().clock == "signed"
    scene.agent.outbox.close()


# --- automatic releases -------------------------------------------------------------------------


def automatic(version: str, **changes: object) -> Release:
    base = make_goods(int(version), 1000).release
    return replace(base, manifest=replace(MANIFEST, version=version, **changes))  # type: ignore[arg-type]


def test_an_automatic_release_with_the_contract_of_the_last_one_is_installed(scene: Scene) -> None:
    scene.fleet.automatic["digits"] = signers(1)[0]
    scene.fleet.release(ONE.release, automatic=[TWO.release])
    scene.install(TWO)
    floor = json.loads((scene.folder / "trust" / "floor.json").read_bytes())
    assert floor["roles"]["auto-digits"]["version"] == 1


@pytest.mark.parametrize(
    ("change", "term"),
    [
        ({"inputs": (replace(MANIFEST.inputs[0], shape=(1, 9, 9, 1)),)}, "inputs"),
        ({"outputs": (replace(MANIFEST.outputs[0], dtype="int8", scale=0.1, zero_point=0),)}, "outputs"),
        ({"labels": 11}, "labels"),
        ({"task": "values"}, "task"),
    ],
)
def test_an_automatic_release_with_another_contract(
    scene: Scene, change: dict[str, object], term: str
) -> None:
    scene.install(ONE)
    scene.fleet.automatic["digits"] = signers(1)[0]
    release = automatic("2", **change)
    scene.fleet.release(ONE.release, automatic=[release])
    scene.publish()
    scene.order(Plan(2, "all", "digits", release.name, release.bundle_sha256))
    scene.refused("ContractError")
    assert term in scene.agent.refusals()[0]


def test_the_automatic_role_of_one_model_signs_nothing_of_another(scene: Scene) -> None:
    scene.install(ONE)
    scene.fleet.automatic["faces"] = signers(1)[0]
    faces = replace(TWO.release, name="faces/2", manifest=replace(MANIFEST, model="faces", version="2"))
    scene.fleet.release(ONE.release, automatic=[faces])
    stray = scene.fleet.autos["faces"]
    stray.targets |= auto_targets([TWO.release])
    scene.fleet.files["1.auto-faces.json"] = data = scene.fleet.sign(stray, [scene.fleet.automatic["faces"]])
    scene.fleet.stamp({"targets.json": scene.fleet.files["2.targets.json"], "auto-faces.json": data})
    scene.publish()
    scene.order(TWO.plan)
    scene.refused("UnsignedTargetError")


def test_a_role_that_is_switched_off_signs_nothing_more(scene: Scene) -> None:
    scene.fleet.automatic["digits"] = signers(1)[0]
    scene.fleet.release(ONE.release, automatic=[TWO.release])
    scene.install(ONE)
    scene.fleet.automatic.clear()
    scene.fleet.release(ONE.release)
    scene.publish()
    scene.order(TWO.plan)
    scene.refused("UnsignedTargetError")


# --- anything -----------------------------------------------------------------------------------

FILES = [
    "timestamp.json",
    "2.root.json",
    "1.snapshot.json",
    "1.targets.json",
    "targets.json",
    "9.auto-x.json",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.sampled_from([*map(TOPICS.meta, FILES), OWN["desired"], OWN["echo"], PLAN]), st.binary(max_size=300)
)
def test_no_bytes_on_any_topic_end_the_agent_or_its_trust(scene: Scene, topic: str, payload: bytes) -> None:
    scene.agent.link.subscribe(map(TOPICS.meta, FILES))
    scene.agent.tell(topic, payload)
    assert scene.agent.control._bad["crash"] == 0
