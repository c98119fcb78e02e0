"""Signs what the fleet publishes: releases with people's keys, what ages and orders with the server's.

`push` and `keys` sign with what lies in the offline folder or on a stick; the server with its online keys
only, so that a stolen server can neither add a release nor change a key. Everything that is written here
is written within one transaction of the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Delegations, Metadata, Root, Snapshot, Targets, Timestamp

from fleet.adapters.key_files import offline_folder, online_folder, read_keys
from fleet.adapters.metadata_store import MetadataStore, file_name
from fleet.adapters.registry import Registry
from fleet.metadata import (
    auto_targets,
    delegated_models,
    next_auto,
    next_snapshot,
    next_targets,
    next_timestamp,
    plan_key_target,
    plan_keys,
    release_targets,
)
from wire.codec import encode
from wire.contract import broken_terms, contract_of
from wire.errors import SettingsError
from wire.manifest import Manifest
from wire.targets import auto_role, payload_type

_TOP: Final = (Root.type, Targets.type, Snapshot.type, Timestamp.type)

#: Versions of a role that stand on the broker: the newest, and the one that a device may be reading.
_PUBLISHED: Final = 2

Now = Callable[[], datetime]
_Role = TypeVar("_Role", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class KeyRing:
    """The private keys that are at hand, by key id, and where they were looked for."""

    signers: Mapping[str, CryptoSigner]
    places: tuple[Path, ...]

    @classmethod
    def at(cls, *folders: Path) -> KeyRing:
        """Read the keys in `folders`."""
        return cls({keyid: signer for keyid, (signer, _) in read_keys(*folders).items()}, folders)

    def sign(self, signed: _Role, name: str, *roles: tuple[list[str], int]) -> Metadata[_Role]:
        """Return `signed` with all signatures that `roles` (key ids and threshold) want and are at hand.

        Raises SettingsError, with what is missing, when those are too few.
        """
        metadata = Metadata(signed)
        for keyids, threshold in roles:
            here = [keyid for keyid in keyids if keyid in self.signers]
            if len(here) < threshold:
                raise SettingsError(
                    f"cannot sign the {name}: {len(here)} of the {threshold} keys that it needs are in "
                    f"{' or '.join(map(str, self.places))}; name their folder with --keys"
                )
            for keyid in here:
                metadata.sign(self.signers[keyid], append=True)
        return metadata


class Signing:
    """The signed metadata of one fleet, and its successors."""

    def __init__(self, registry: Registry, store: MetadataStore, state: Path, now: Now) -> None:
        self._registry = registry
        self._store = store
        self._state = state
        self.now = now
        self._plan_signer: CryptoSigner | None = None

    @property
    def active(self) -> bool:
        """Whether this fleet has keys."""
        return self._store.latest_bytes(Root.type) is not None

    def root(self) -> Root:
        """Return the newest root; raise SettingsError when the fleet has no keys."""
        metadata = self._store.latest(Root.type)
        if metadata is None:
            raise no_keys(self._state)
        return cast(Root, metadata.signed)

    def targets(self) -> Targets | None:
        """Return the newest targets that people signed."""
        metadata = self._store.latest(Targets.type)
        return cast(Targets, metadata.signed) if metadata else None

    # --- with people's keys -------------------------------------------------------------------

    def offline_keys(self, folder: Path | None) -> KeyRing:
        """Return the keys on the stick `folder`, or in the fleet's own folder."""
        return KeyRing.at(folder or offline_folder(self._state))

    def check_keys(self, ring: KeyRing) -> None:
        """Raise SettingsError, before anything is changed, unless `ring` can sign targets."""
        root, targets = self.root(), self.targets()
        assert targets is not None
        ring.sign(targets, "releases", _keys_of(root, Targets.type))

    def sign_targets(
        self,
        ring: KeyRing,
        *,
        keys: list[Key] | None = None,
        delegations: Delegations | bool | None = True,
        again: bool = False,
    ) -> None:
        """Sign the registry's releases; with other plan `keys` or `delegations`, or `again` as they are."""
        root, last = self.root(), self.targets()
        files = release_targets(self._registry.signed_by_people())
        files |= plan_key_target(keys if keys is not None else plan_keys(last) if last else [])
        if isinstance(delegations, bool):
            delegations = last.delegations if last else None
        new = next_targets(last, files, delegations, self.now(), again=again)
        if new is not None:
            self._store.add(Targets.type, ring.sign(new, "releases", _keys_of(root, Targets.type)))

    def check_automatic(self, manifest: Manifest) -> None:
        """Raise SettingsError unless the model's automatic role may sign a release with this manifest."""
        targets = self.targets()
        if targets is None or manifest.model not in delegated_models(targets):
            raise SettingsError(
                f"{manifest.model} has no automatic role: `edgeflock fleet keys auto {manifest.model} --on`"
            )
        released = [r for r in self._registry.signed_by_people() if r.manifest.model == manifest.model]
        if not released:
            raise SettingsError(f"people have released no {manifest.model} yet: push one without --auto")
        broken = broken_terms(contract_of(released[-1].manifest), contract_of(manifest))
        if broken:
            raise SettingsError(
                f"other {', '.join(broken)} than {released[-1].name} has: an automatic release may change "
                "weights only; push it without --auto"
            )

    # --- with the server's keys ---------------------------------------------------------------

    def freshen(self) -> bool:
        """Sign what is due with the online keys; return whether anything was.

        Raises SettingsError when a key is missing; without that of an automatic role, the rest is signed.
        """
        ring = KeyRing.at(online_folder(self._state))
        problems: list[str] = []
        with self._registry.transaction():
            root, targets = self.root(), self._store.latest(Targets.type)
            if targets is None:
                return False
            changed = self._freshen_automatic(ring, targets, problems)
            changed |= self._freshen_snapshot(ring, root)
            changed |= self._freshen_timestamp(ring, root)
        if problems:
            raise SettingsError("; ".join(problems))
        return changed

    def _freshen_automatic(self, ring: KeyRing, targets: Metadata[Any], problems: list[str]) -> bool:
        changed = False
        for model, key in delegated_models(targets.signed).items():
            role = auto_role(model)
            last = self._store.latest(role)
            again = last is not None and not _verifies(targets.signed, role, last)
            files = auto_targets(self._registry.signed_automatically(model))
            new = next_auto(last.signed if last else None, files, self.now(), again=again)
            if new is None:
                continue
            try:
                self._store.add(role, ring.sign(new, f"automatic releases of {model}", ([key.keyid], 1)))
                changed = True
            except SettingsError as error:
                problems.append(str(error))
        return changed

    def _freshen_snapshot(self, ring: KeyRing, root: Root) -> bool:
        last = self._store.latest(Snapshot.type)
        again = last is not None and not _verifies(root, Snapshot.type, last)
        new = next_snapshot(last.signed if last else None, self._snapshotted(), self.now(), again=again)
        if new is None:
            return False
        self._store.add(Snapshot.type, ring.sign(new, "snapshot", _keys_of(root, Snapshot.type)))
        return True

    def _freshen_timestamp(self, ring: KeyRing, root: Root) -> bool:
        last, snapshot = self._store.latest(Timestamp.type), self._store.latest_bytes(Snapshot.type)
        assert snapshot is not None
        again = last is not None and not _verifies(root, Timestamp.type, last)
        new = next_timestamp(last.signed if last else None, snapshot, self.now(), again=again)
        if new is None:
            return False
        self._store.add(Timestamp.type, ring.sign(new, "timestamp", _keys_of(root, Timestamp.type)))
        return True

    def _snapshotted(self) -> dict[str, bytes]:
        roles = [r for r in self._store.roles() if r not in (Root.type, Snapshot.type, Timestamp.type)]
        found = {f"{role}.json": self._store.latest_bytes(role) for role in roles}
        return {name: data for name, data in found.items() if data is not None}

    def sealer(self) -> Callable[[Any], bytes]:
        """Return what puts a plan or a desired state into a signed envelope; raises SettingsError."""
        targets = self.targets()
        wanted = plan_keys(targets) if targets else []
        if self._plan_signer is None or self._plan_signer.public_key not in wanted:
            ring = KeyRing.at(online_folder(self._state))
            self._plan_signer = next((ring.signers[k.keyid] for k in wanted if k.keyid in ring.signers), None)
        signer = self._plan_signer
        if signer is None:
            raise SettingsError(f"cannot sign plans: their key is not in {online_folder(self._state)}")
        return lambda message: _sealed(type(message).__name__.lower(), encode(message), signer)

    # --- to be published ----------------------------------------------------------------------

    def files(self) -> list[tuple[str, bytes]]:
        """Return the metadata files in the order in which they must appear; empty ones are to go."""
        roles = [r for r in self._store.roles() if r not in _TOP]
        files = [(file_name(Root.type, v), data) for v, data in self._store.versions(Root.type)]
        gone = []
        for role in (*roles, Targets.type, Snapshot.type):
            versions = self._store.versions(role)
            files += [(file_name(role, v), data) for v, data in versions[-_PUBLISHED:]]
            gone += [(file_name(role, v), b"") for v, _ in versions[:-_PUBLISHED]]
        timestamp = self._store.latest_bytes(Timestamp.type)
        return [*files, *([(file_name(Timestamp.type, 0), timestamp)] if timestamp else []), *gone]

    @property
    def signed(self) -> Callable[[], frozenset[str]] | None:
        """What tells which releases devices will find signed; None where nothing is."""
        return self.signed_names if self.active else None

    def signed_names(self) -> frozenset[str]:
        """Return the names of the releases that devices will find signed."""
        targets = self.targets()
        people = set(targets.targets) if targets else set()
        automatic = [
            release.name
            for model in (delegated_models(targets) if targets else {})
            for release in self._registry.signed_automatically(model)
        ]
        return frozenset({*people, *automatic})


def no_keys(state: Path) -> SettingsError:
    """Return the error of a fleet that has none."""
    return SettingsError(
        f"{state} has no keys: run `edgeflock fleet init --state {state}`, "
        "or say --unsigned on a network that you trust"
    )


def _keys_of(root: Root, role: str) -> tuple[list[str], int]:
    return root.roles[role].keyids, root.roles[role].threshold


def _verifies(parent: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    """Return whether the keys that `role` has now signed this: they may have been rotated since."""
    try:
        parent.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError:
        return False
    return True


@lru_cache(maxsize=65_536)  # a fleet's desired states hardly change, and are looked at four times a second
def _sealed(kind: str, payload: bytes, signer: CryptoSigner) -> bytes:
    envelope = Envelope(payload, payload_type(kind), {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), separators=(",", ":")).encode()
