"""A repository of signed metadata in memory, with all private keys: what publishers and attackers need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from fleet.metadata import (
    THRESHOLD,
    auto_targets,
    delegations_to,
    new_root,
    next_auto,
    next_snapshot,
    next_targets,
    next_timestamp,
    plan_key_target,
    release_targets,
)
from fleet.signing import KeyRing
from wire.codec import encode
from wire.link import Link
from wire.messages import Release
from wire.targets import auto_role, payload_type
from wire.topics import Topics

NOW = datetime.now(UTC).replace(microsecond=0)


def signers(count: int) -> list[CryptoSigner]:
    return [CryptoSigner.generate_ed25519() for _ in range(count)]


def to_bytes(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(JSONSerializer(compact=True))


class SignedFleet:
    """Signs like a publisher; `files` is what stands under `meta/`, and a test may spoil it."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.roots, self.people = signers(3), signers(2)
        self.online, self.plan = signers(1)[0], signers(1)[0]
        self.automatic: dict[str, CryptoSigner] = {}
        self.files: dict[str, bytes] = {}
        self.root = new_root(*self._people(), self.online.public_key, version=1, now=now)
        self.targets: Targets | None = None
        self.autos: dict[str, Targets] = {}
        self.snapshot: Snapshot | None = None
        self.timestamp: Timestamp | None = None
        self.add_root(self.root, self.roots)

    def ring(self, *more: CryptoSigner) -> KeyRing:
        mine = [*self.roots, *self.people, self.online, self.plan, *self.automatic.values(), *more]
        return KeyRing({s.public_key.keyid: s for s in mine}, ())

    def sign(self, signed: Any, by: Iterable[CryptoSigner]) -> bytes:
        """Return the metadata, signed by just these keys, whether they may or not."""
        metadata: Metadata[Any] = Metadata(signed)
        for signer in by:
            metadata.sign(signer, append=True)
        return to_bytes(metadata)

    def add_root(self, root: Root, by: Iterable[CryptoSigner]) -> None:
        self.root = root
        self.files[f"{root.version}.root.json"] = self.sign(root, by)

    def rotate_roots(self) -> None:
        """Replace the root keys."""
        old, self.roots = self.roots, signers(3)
        self._succeed([*old[:THRESHOLD], *self.roots])

    def rotate_people(self) -> None:
        self.people = signers(2)
        self._succeed(self.roots)

    def rotate_online(self) -> None:
        self.online = signers(1)[0]
        self._succeed(self.roots)

    def release(self, *releases: Release, automatic: Iterable[Release] = ()) -> SignedFleet:
        """Sign these releases, and snapshot and timestamp of them."""
        files = release_targets(releases) | plan_key_target([self.plan.public_key])
        models = {model: signer.public_key for model, signer in self.automatic.items()}
        self.targets = next_targets(self.targets, files, delegations_to(models), self.now, again=True)
        assert self.targets is not None
        targets = self.sign(self.targets, self.people)
        self.files[f"{self.targets.version}.targets.json"] = targets
        parts = {"targets.json": targets}
        for model, signer in self.automatic.items():
            mine = [r for r in automatic if r.manifest.model == model]
            auto = next_auto(self.autos.get(model), auto_targets(mine), self.now, again=True)
            assert auto is not None
            self.autos[model] = auto
            parts[f"{auto_role(model)}.json"] = self.sign(auto, [signer])
            self.files[f"{auto.version}.{auto_role(model)}.json"] = parts[f"{auto_role(model)}.json"]
        self.stamp(parts)
        return self

    def stamp(self, parts: dict[str, bytes] | None = None) -> None:
        """Sign a snapshot of `parts` (none: as it is), and a timestamp."""
        if parts is not None:
            self.snapshot = next_snapshot(self.snapshot, parts, self.now, again=True)
            assert self.snapshot is not None
            self.files[f"{self.snapshot.version}.snapshot.json"] = self.sign(self.snapshot, [self.online])
        assert self.snapshot is not None
        snapshot = self.files[f"{self.snapshot.version}.snapshot.json"]
        self.timestamp = next_timestamp(self.timestamp, snapshot, self.now, again=True)
        assert self.timestamp is not None
        self.files["timestamp.json"] = self.sign(self.timestamp, [self.online])

    def seal(self, message: Any, by: CryptoSigner | None = None) -> bytes:
        """Return a plan or a desired state in an envelope signed by the plan key, or by another."""
        envelope = Envelope(encode(message), payload_type(type(message).__name__.lower()), {})
        envelope.sign(by or self.plan)
        return json.dumps(envelope.to_dict()).encode()

    def publish(self, link: Link, topics: Topics) -> None:
        """Put the files on a broker, the timestamp last."""
        for name in sorted(self.files, key=lambda name: name == "timestamp.json"):
            assert link.publish(topics.meta(name), self.files[name], retain=True)

    def later(self, by: timedelta) -> SignedFleet:
        self.now += by
        return self

    def _people(self) -> tuple[list[Any], list[Any]]:
        return [s.public_key for s in self.roots], [s.public_key for s in self.people]

    def _succeed(self, by: Iterable[CryptoSigner]) -> None:
        version = self.root.version + 1
        self.add_root(new_root(*self._people(), self.online.public_key, version=version, now=self.now), by)
