"""Trust by The Update Framework: python-tuf's client as it is, and DSSE envelopes by securesystemslib.

What python-tuf leaves to its user is added around it, and no rule of its own is written again:

- it renames what it keeps without fsync, and with zeros in those files takes a replayed old version for
  new: after each refresh the versions that it kept are compared with the floor (edge/floors.py), and a
  regression makes it forget its copies and start over from the root of the settings;
- it trusts the system's clock: expiry is checked against edge/clock.py as well;
- it knows no orders: plans and desired states are signed by the keys of the signed target `keys/plan`.

Names of targets: `<model>/<version>` is a release signed offline, `auto/<model>/<version>` one that the
model's online role may sign as long as it keeps the contract in `contracts/<model>`;
`[auto/<model>/]chunks/<sha256 of the blob>` is the list of a blob's chunk digests.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edge.adapters.floor_file import FloorFile
from edge.adapters.kept_metadata import Kept, KeptMetadata
from edge.clock import Moment, moment, to_save
from edge.floors import Floor, FloorError, with_order, with_order_keys, with_roles
from edge.metadata import MissingFileError
from edge.trust import AbsentError, Named, Read, RefusedError, Standing, check_addressee, check_place
from wire.blob import DIGEST_BYTES, chunk_count
from wire.codec import decode
from wire.contract import Contract, broken_terms, contract_of
from wire.errors import MessageError, SettingsError
from wire.messages import MAX_PAYLOAD_BYTES, Desired, Plan, Release, Targets
from wire.targets import (
    CONTRACT,
    KEYS,
    PLAN_KEYS,
    RELEASE,
    auto_prefix,
    auto_release_path,
    auto_role,
    chunks_path,
    contract_path,
    payload_type,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_CONFIG: Final = UpdaterConfig(
    max_root_rotations=256,
    max_delegations=4,
    root_max_length=MAX_PAYLOAD_BYTES,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=MAX_PAYLOAD_BYTES,
    targets_max_length=MAX_PAYLOAD_BYTES,
)


class _MissingError(DownloadError):
    """A MissingFileError on its way through python-tuf, which lets no foreign error pass."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.file = file


class _Fetcher(FetcherInterface):
    """Hands out what was received already."""

    def __init__(self, read: Read) -> None:
        self.read = read

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = url.rpartition("/")[2]
        try:
            payload = self.read(file)
        except MissingFileError as error:
            raise _MissingError(file) from error
        if payload is None:
            raise DownloadHTTPError(f"{file} is not there", 404)
        return iter([payload])


class TufTrust:
    """What this device believes, and how far it has come. `open` it before use."""

    first_file = "timestamp.json"

    def __init__(self, root: bytes, folder: Path, wall_clock: Callable[[], float]) -> None:
        self._root = root
        self._folder = folder
        self._wall_clock = wall_clock
        self._floor_file = FloorFile(folder)
        self._floor = Floor()
        self._kept = KeptMetadata(folder / "metadata")
        self._verified: Kept | None = None
        self._updater: Updater | None = None
        self._fetcher: _Fetcher | None = None
        self._plan_keys: list[Key] = []

    def open(self) -> TufTrust:
        """Read the floor, and prove the root of the settings; raise SettingsError when it is none.

        python-tuf writes the root down at once. On a disk that takes nothing that is left to the first
        refresh: what serves must serve.
        """
        try:
            self._floor = self._floor_file.open()
            self._make_updater(lambda _: None)
        except RepositoryError as error:
            raise SettingsError(f"trust.root is no root metadata of a fleet: {error}") from error
        except OSError as error:
            log.error("the disk failed, the root of trust is proved later: %s", error)
        return self

    # --- metadata -----------------------------------------------------------------------------

    def refresh(self, read: Read) -> None:
        updater, fetcher = self._make_updater(read)
        _translated(updater.refresh)
        keys = _plan_keys(_translated(lambda: updater.get_targetinfo(PLAN_KEYS)))
        kept = self._kept.read()
        try:
            floor = with_roles(self._floor, kept.roles)
        except FloorError as error:
            self._kept.forget()
            raise RefusedError(type(error).__name__, str(error)) from error
        self._floor = with_order_keys(floor, " ".join(sorted(key.keyid for key in keys)))
        self._verified, self._updater, self._fetcher, self._plan_keys = kept, updater, fetcher, keys

    def _make_updater(self, read: Read) -> tuple[Updater, _Fetcher]:
        fetcher = _Fetcher(read)
        folder = self._kept.open()
        return Updater(str(folder), "meta/", fetcher=fetcher, config=_CONFIG, bootstrap=self._root), fetcher

    # --- orders -------------------------------------------------------------------------------

    def plan(self, payload: bytes, *, group: str, model: str) -> Plan:
        plan = self._opened(Plan, payload)
        check_place(plan, group, model)
        self._advance(f"{group}/{model}", plan.sequence)
        return plan

    def desired(self, payload: bytes, *, device: str) -> Desired:
        desired = self._opened(Desired, payload)
        check_addressee(desired, device)
        self._advance("desired", desired.sequence)
        return desired

    def _opened(self, kind: type[T], payload: bytes) -> T:
        name = kind.__name__
        if not self._plan_keys:
            raise RefusedError("NoPlanKeyError", f"no verified metadata says who may sign a {name.lower()}")
        try:
            envelope = Envelope.from_dict(json.loads(payload))
            envelope.verify(self._plan_keys, 1)
        except VerificationError as error:
            raise RefusedError(type(error).__name__, str(error)) from error
        except Exception as error:  # securesystemslib raises what its parts raise for a payload of no form
            raise MessageError("Envelope", f"no DSSE envelope: {type(error).__name__}: {error}") from error
        if envelope.payload_type != payload_type(name.lower()):
            raise MessageError(name, f"the envelope holds {envelope.payload_type[:80]!r}")
        return decode(kind, envelope.payload)

    def _advance(self, name: str, sequence: int) -> None:
        try:
            self._floor = with_order(self._floor, name, sequence)
        except FloorError as error:
            raise RefusedError(type(error).__name__, str(error)) from error

    # --- releases -----------------------------------------------------------------------------

    def named(self, names: Iterable[str], read: Read) -> Named:
        updater, verified = self._updater, self._verified
        if updater is None or verified is None or self._fetcher is None:
            return Named()
        self._fetcher.read = read
        releases, refused = [], []
        for name in names:
            try:
                releases.append(self._release(updater, name))
            except RefusedError as error:
                refused.append((name, RefusedError(error.rule, f"{name}: {error}")))
            except AbsentError as error:
                refused.append((name, RefusedError("AbsentError", f"{name}: {error}")))
        return Named(Targets(verified.version("targets"), tuple(releases)), tuple(refused))

    def _release(self, updater: Updater, name: str) -> Release:
        found, prefix = _target(updater, name), ""
        if found is None:
            found = _target(updater, auto_release_path(name))
            prefix = auto_prefix(name.partition("/")[0])
        if found is None:
            raise RefusedError("UnsignedTargetError", "no signed metadata names it")
        release = _decoded(Release, found, RELEASE)
        if release.name != name or not _is(found, release.bundle_sha256, release.bundle_bytes):
            raise RefusedError("LengthOrHashMismatchError", "the release is not the one that was signed")
        if prefix:
            self._check_automatic(updater, release)
        for blob in release.blobs:
            chunks = _target(updater, chunks_path(blob.sha256, prefix))
            if chunks is None:
                raise RefusedError("UnsignedTargetError", f"no signed list of chunks for {blob.sha256[:12]}")
            if not _is(chunks, blob.chunks_sha256, chunk_count(blob.size_bytes) * DIGEST_BYTES):
                raise RefusedError("LengthOrHashMismatchError", "its list of chunks is not the signed one")
        return release

    def _check_automatic(self, updater: Updater, release: Release) -> None:
        """An online key may bring better weights, and nothing else."""
        model, role = release.manifest.model, auto_role(release.manifest.model)
        kept = self._kept.delegated(role)
        if kept is not None:
            signed, expires_s = kept
            try:
                self._floor = with_roles(self._floor, {role: signed})
            except FloorError as error:
                self._kept.forget()
                raise RefusedError(type(error).__name__, str(error)) from error
            if self._now().time_s >= expires_s:
                raise RefusedError("ExpiredMetadataError", f"{role} has expired")
        found = _target(updater, contract_path(model))
        if found is None:
            raise RefusedError("ContractError", f"people have signed no release of {model}")
        broken = broken_terms(_decoded(Contract, found, CONTRACT), contract_of(release.manifest))
        if broken:
            raise RefusedError("ContractError", f"it may not change its {', '.join(broken)}")

    # --- time and the floor -------------------------------------------------------------------

    def commit(self) -> None:
        verified = self._verified
        if verified is not None:
            saved_s = to_save(
                self._now(),
                signed_s=verified.signed_s,
                vouched_until_s=verified.expires_s["timestamp"],
                saved_s=self._floor.time_s,
            )
            self._floor = replace(self._floor, time_s=saved_s)
        self._floor_file.save(self._floor)

    def stopped(self) -> RefusedError | None:
        if self._verified is None:
            return None
        now_s = self._now().time_s
        for role, expires_s in self._verified.expires_s.items():
            if now_s >= expires_s:
                when = datetime.fromtimestamp(expires_s, UTC).strftime("%Y-%m-%d %H:%M")
                return RefusedError("ExpiredMetadataError", f"{role} expired on {when} UTC, no installs")
        return None

    def standing(self) -> Standing:
        verified = self._verified
        if verified is None:
            return Standing(clock=self._now().source)
        root, timestamp, targets = (verified.version(role) for role in ("root", "timestamp", "targets"))
        return Standing(root, timestamp, targets, self._now().source)

    def _now(self) -> Moment:
        signed_s = self._verified.signed_s if self._verified else 0.0
        return moment(system_s=self._wall_clock(), signed_s=signed_s, saved_s=self._floor.time_s)


def _translated(step: Callable[[], T]) -> T:
    """Run a step of python-tuf; its errors become ours, by their own names."""
    try:
        return step()
    except _MissingError as error:
        raise MissingFileError(error.file) from error
    except DownloadHTTPError as error:
        raise AbsentError(str(error)) from error
    except (RepositoryError, DownloadError) as error:
        raise RefusedError(type(error).__name__, str(error)) from error


def _target(updater: Updater, path: str) -> TargetFile | None:
    return _translated(lambda: updater.get_targetinfo(path))


def _is(target: TargetFile, sha256: str, size_bytes: int) -> bool:
    return target.hashes.get("sha256") == sha256 and target.length == size_bytes


def _decoded(kind: type[T], target: TargetFile, key: str) -> T:
    """Return what the custom data of a target holds under `key`."""
    custom = target.custom
    text = custom.get(key) if isinstance(custom, dict) else None
    if not isinstance(text, str):
        raise RefusedError("UnsignedTargetError", f"{target.path} is no {key}")
    try:
        return decode(kind, text.encode())
    except MessageError as error:
        raise RefusedError("MessageError", str(error)) from error


def _plan_keys(target: TargetFile | None) -> list[Key]:
    """Return the keys whose signature an order needs; signed metadata without them allows none."""
    keys: Any = target.custom.get(KEYS) if target and isinstance(target.custom, dict) else {}
    try:
        return [Key.from_dict(keyid, dict(key)) for keyid, key in keys.items()]
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise RefusedError("MessageError", f"{PLAN_KEYS}: {error}") from error
