"""What python-tuf keeps on the disk: verified when it was written, and read here for versions and expiry."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from edge.floors import Signed
from wire.adapters.files import sync_folder
from wire.targets import ISSUED

_TOP: Final = (Root.type, Timestamp.type, Snapshot.type, Targets.type)


@dataclass(frozen=True)
class Kept:
    """One verified state of the repository. Times are Unix seconds; `signed_s` is the timestamp's."""

    roles: dict[str, Signed]
    expires_s: dict[str, float]
    signed_s: float

    def version(self, role: str) -> int:
        return self.roles[role].version


class KeptMetadata:
    """The folder that ngclient writes to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: dict[str, tuple[bytes, Metadata[Any]]] = {}

    def open(self) -> Path:
        """Return the folder, made if it is not there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def forget(self) -> None:
        """Remove all of it: the next refresh starts over from the root of the settings."""
        shutil.rmtree(self._folder, ignore_errors=True)
        sync_folder(self._folder.parent)

    def read(self) -> Kept:
        """Return the top-level roles; call it after a refresh that went well."""
        parsed = {role: self._load(role) for role in _TOP}
        root = parsed[Root.type].signed
        issued = parsed[Timestamp.type].signed.unrecognized_fields.get(ISSUED)
        expires_s = {role: metadata.signed.expires.timestamp() for role, metadata in parsed.items()}
        # The online key alone must not carry the time beyond what people have vouched for.
        latest_s = min(expires_s[Root.type], expires_s[Targets.type])
        return Kept(
            roles={
                role: Signed(m.signed.version, _name(root.roles[role].keyids)) for role, m in parsed.items()
            },
            expires_s=expires_s,
            signed_s=min(float(issued), latest_s) if isinstance(issued, int) else 0.0,
        )

    def delegated(self, role: str) -> tuple[Signed, float] | None:
        """Return a delegated role's version and expiry, or None where it was never loaded."""
        delegations = self._load(Targets.type).signed.delegations
        if delegations is None or delegations.roles is None or role not in delegations.roles:
            return None
        try:
            signed = self._load(role).signed
        except FileNotFoundError:
            return None
        keys = _name(delegations.roles[role].keyids)
        return Signed(signed.version, keys), signed.expires.timestamp()

    def _load(self, role: str) -> Metadata[Any]:
        data = (self._folder / f"{role}.json").read_bytes()
        known = self._parsed.get(role)
        if known is None or known[0] != data:
            known = self._parsed[role] = (data, Metadata.from_bytes(data))
        return known[1]


def _name(keyids: Iterable[str]) -> str:
    """Return a short name for a set of keys."""
    return hashlib.sha256(" ".join(sorted(keyids)).encode()).hexdigest()[:16]
