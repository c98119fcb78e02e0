"""What the fleet's TUF metadata says, and when it is due for a successor: rules, without keys or files.

Lifetimes: root 2 years and targets 1 year, since people sign them; snapshot a week, timestamp a day and
a model's automatic role a month, since the server signs them. What the server signs is signed again at
half its life, so a server may be away for half a day before devices stop installing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from securesystemslib.signer import Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from wire.blob import DIGEST_BYTES, chunk_count
from wire.codec import encode
from wire.contract import contract_of
from wire.messages import Release
from wire.targets import (
    CONTRACT,
    ISSUED,
    KEYS,
    PLAN_KEYS,
    RELEASE,
    auto_prefix,
    auto_release_path,
    auto_role,
    chunks_path,
    contract_path,
)

ROOT_LIFE: Final = timedelta(days=730)
TARGETS_LIFE: Final = timedelta(days=365)
SNAPSHOT_LIFE: Final = timedelta(days=7)
TIMESTAMP_LIFE: Final = timedelta(days=1)
AUTO_LIFE: Final = timedelta(days=30)

#: Signatures that people's roles need.
THRESHOLD: Final = 2

_AUTO: Final = auto_role("")


def new_root(
    roots: Sequence[Key], targets: Sequence[Key], online: Key, *, version: int, now: datetime
) -> Root:
    """Return a root that gives each role its keys."""
    roles = {
        Root.type: Role([k.keyid for k in roots], THRESHOLD),
        Targets.type: Role([k.keyid for k in targets], THRESHOLD),
        Snapshot.type: Role([online.keyid], 1),
        Timestamp.type: Role([online.keyid], 1),
    }
    keys = {key.keyid: key for key in (*roots, *targets, online)}
    return Root(version=version, expires=_whole(now + ROOT_LIFE), keys=keys, roles=roles)


def release_targets(releases: Iterable[Release]) -> dict[str, TargetFile]:
    """Return the targets for releases that people sign; the last of a model is its contract."""
    files: dict[str, TargetFile] = {}
    for release in releases:
        files |= _files_of(release, release.name, "")
        contract = encode(contract_of(release.manifest)).decode()
        path = contract_path(release.manifest.model)
        files[path] = _described(path, {CONTRACT: contract})
    return files


def auto_targets(releases: Iterable[Release]) -> dict[str, TargetFile]:
    """Return the targets for releases that a model's online role signs."""
    files: dict[str, TargetFile] = {}
    for release in releases:
        files |= _files_of(release, auto_release_path(release.name), auto_prefix(release.manifest.model))
    return files


def plan_key_target(keys: Iterable[Key]) -> dict[str, TargetFile]:
    """Return the target that says who may sign plans and desired states."""
    return {PLAN_KEYS: _described(PLAN_KEYS, {KEYS: {key.keyid: key.to_dict() for key in keys}})}


def plan_keys(targets: Targets) -> list[Key]:
    """Return the keys that may sign plans."""
    found = targets.targets.get(PLAN_KEYS)
    keys: dict[str, Any] = found.custom[KEYS] if found else {}
    return [Key.from_dict(keyid, dict(key)) for keyid, key in keys.items()]


def next_targets(
    last: Targets | None,
    files: Mapping[str, TargetFile],
    delegations: Delegations | None,
    now: datetime,
    *,
    again: bool = False,
) -> Targets | None:
    """Return the successor of `last`, or None when it says all of it and has half its life left.

    With `again` there is one in any case: other keys must sign. So with the other roles below.
    """
    same = last is not None and last.targets == files and last.delegations == delegations
    if last and same and not again and not due(last, TARGETS_LIFE, now):
        return None
    version = last.version + 1 if last else 1
    return Targets(
        version=version, expires=_whole(now + TARGETS_LIFE), targets=dict(files), delegations=delegations
    )


def next_auto(
    last: Targets | None, files: Mapping[str, TargetFile], now: datetime, *, again: bool = False
) -> Targets | None:
    """Return the successor of an automatic role's targets, or None when none is due."""
    if last and last.targets == files and not again and not due(last, AUTO_LIFE, now):
        return None
    return Targets(
        version=last.version + 1 if last else 1, expires=_whole(now + AUTO_LIFE), targets=dict(files)
    )


def delegations_to(keys: Mapping[str, Key]) -> Delegations | None:
    """Return the delegations of models (with the key of each) to their automatic roles."""
    if not keys:
        return None
    roles = {
        auto_role(model): DelegatedRole(
            auto_role(model),
            [key.keyid],
            1,
            terminating=True,
            paths=[f"{auto_prefix(model)}*", chunks_path("*", auto_prefix(model))],
        )
        for model, key in sorted(keys.items())
    }
    return Delegations(keys={key.keyid: key for key in keys.values()}, roles=roles)


def delegated_models(targets: Targets) -> dict[str, Key]:
    """Return the models that have an automatic role, with its key."""
    if targets.delegations is None or targets.delegations.roles is None:
        return {}
    return {
        name.removeprefix(_AUTO): targets.delegations.keys[role.keyids[0]]
        for name, role in targets.delegations.roles.items()
    }


def next_snapshot(
    last: Snapshot | None, files: Mapping[str, bytes], now: datetime, *, again: bool = False
) -> Snapshot | None:
    """Return a snapshot of the metadata `files` (`targets.json`, …), or None when `last` is one.

    What a snapshot has once named, its successors name too: clients insist.
    """
    kept = dict(last.meta) if last else {}
    meta = kept | {name: _meta_file(data) for name, data in files.items()}
    if last and meta == last.meta and not again and not due(last, SNAPSHOT_LIFE, now):
        return None
    return Snapshot(version=last.version + 1 if last else 1, expires=_whole(now + SNAPSHOT_LIFE), meta=meta)


def next_timestamp(
    last: Timestamp | None, snapshot: bytes, now: datetime, *, again: bool = False
) -> Timestamp | None:
    """Return a timestamp of the snapshot, or None when `last` is one."""
    meta = _meta_file(snapshot)
    if last and last.snapshot_meta == meta and not again and not due(last, TIMESTAMP_LIFE, now):
        return None
    return Timestamp(
        version=last.version + 1 if last else 1,
        expires=_whole(now + TIMESTAMP_LIFE),
        snapshot_meta=meta,
        unrecognized_fields={ISSUED: int(now.timestamp())},
    )


def due(signed: Signed, life: timedelta, now: datetime) -> bool:
    """Return whether half the life of `signed` is over."""
    return signed.expires - now < life / 2


def _files_of(release: Release, path: str, prefix: str) -> dict[str, TargetFile]:
    custom = {"custom": {RELEASE: encode(release).decode()}}
    files = {
        path: TargetFile(release.bundle_bytes, {"sha256": release.bundle_sha256}, path, custom),
    }
    for blob in release.blobs:
        name = chunks_path(blob.sha256, prefix)
        length = chunk_count(blob.size_bytes) * DIGEST_BYTES
        files[name] = TargetFile(length, {"sha256": blob.chunks_sha256}, name)
    return files


def _described(path: str, custom: dict[str, Any]) -> TargetFile:
    """Return a target that is its own custom data: nobody fetches it."""
    data = json.dumps(custom, sort_keys=True).encode()
    return TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, path, {"custom": custom})


def _meta_file(data: bytes) -> MetaFile:
    version = Metadata.from_bytes(data).signed.version
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _whole(time: datetime) -> datetime:
    return time.replace(microsecond=0)
