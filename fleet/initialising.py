"""Makes a fleet's first keys and metadata: a working set for development, and the start of a real one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner, Key

from fleet.adapters.database import Database
from fleet.adapters.key_files import make_key, offline_folder, online_folder
from fleet.adapters.metadata_store import MetadataStore
from fleet.adapters.registry import Registry
from fleet.metadata import THRESHOLD, new_root, next_targets, plan_key_target
from fleet.signing import KeyRing, Signing
from wire.adapters.files import write_atomic
from wire.errors import SettingsError

ROOT_KEYS: Final = 3
TARGETS_KEYS: Final = 2


@dataclass(frozen=True)
class KeyRow:
    """One line of the table that tells where keys lie."""

    role: str
    count: int
    threshold: int
    folder: Path
    advice: str


def root_file(state: Path) -> Path:
    """Return where the root lies that devices are given: `root.json`."""
    return state / "root.json"


def has_keys(state: Path) -> bool:
    """Return whether the fleet has keys that count: signed metadata names them."""
    if not (state / "fleet.db").exists():
        return False
    database = Database(state).open()
    try:
        return open_signing(database).active
    finally:
        database.close()


def stray_keys(state: Path) -> list[Path]:
    """Return the keys in a fleet's folders, which nothing names as long as it has no metadata."""
    folders = (offline_folder(state), online_folder(state))
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.pem"))]


def open_signing(database: Database) -> Signing:
    """Return the signing of the fleet in an open database."""
    registry = Registry(database).open()
    return Signing(registry, MetadataStore(database), database.state, lambda: datetime.now(UTC))


def initialise(state: Path) -> list[KeyRow]:
    """Make keys, sign the first metadata, write root.json; return what lies where.

    Raises SettingsError when there are keys already: a fleet's root is made once. Files of a run that was
    interrupted count for nothing, and are left as they are.
    """
    offline, online = offline_folder(state), online_folder(state)
    database = Database(state).open()
    try:
        signing, store = open_signing(database), MetadataStore(database)
        if signing.active:
            raise SettingsError(f"{state} has keys already: `edgeflock fleet keys show`")
        roots = [make_key(offline, "root")[0] for _ in range(ROOT_KEYS)]
        people = [make_key(offline, "targets")[0] for _ in range(TARGETS_KEYS)]
        server, plan = make_key(online, "online")[0], make_key(online, "plan")[0]
        with database.transaction():
            _sign_first(store, roots, people, server.public_key, plan.public_key)
            signing.freshen()
        write_root(state, store)
    finally:
        database.close()
    return [
        KeyRow("root", ROOT_KEYS, THRESHOLD, offline, "take offline, apart; for `fleet keys`"),
        KeyRow(
            "targets",
            TARGETS_KEYS,
            THRESHOLD,
            offline,
            "take offline; for `fleet push --keys`",
        ),
        KeyRow("snapshot and timestamp", 1, 1, online, "stays with the server"),
        KeyRow("plan and desired", 1, 1, online, "stays with the server"),
    ]


def write_root(state: Path, store: MetadataStore) -> None:
    """Write the newest root where people find it for their devices; an older one leads to it as well."""
    data = store.latest_bytes("root")
    assert data is not None
    write_atomic(root_file(state), data)


def restore_root(state: Path) -> None:
    """Write root.json where a run was interrupted just before it."""
    database = Database(state).open()
    try:
        write_root(state, MetadataStore(database))
    finally:
        database.close()


def _sign_first(
    store: MetadataStore, roots: list[CryptoSigner], people: list[CryptoSigner], online: Key, plan: Key
) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    ring = KeyRing({s.public_key.keyid: s for s in (*roots, *people)}, ())
    root = new_root([s.public_key for s in roots], [s.public_key for s in people], online, version=1, now=now)
    targets = next_targets(None, plan_key_target([plan]), None, now)
    assert targets is not None
    store.add("root", ring.sign(root, "root", (root.roles["root"].keyids, THRESHOLD)))
    store.add("targets", ring.sign(targets, "releases", (root.roles["targets"].keyids, THRESHOLD)))
