"""Private keys as files: PKCS#8 PEM, one each, readable by their owner alone.

    <state>/keys/offline/root-1.pem, root-2.pem, root-3.pem, targets-1.pem, targets-2.pem
    <state>/keys/online/online-1.pem, plan-1.pem, auto-<model>-1.pem

Which role a key has is said by the signed metadata, not by its file's name: a file may be renamed, or
moved to a stick and named with --keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from wire.adapters.files import sync_folder
from wire.errors import SettingsError

RETIRED: Final = ".retired"


def offline_folder(state: Path) -> Path:
    return state / "keys" / "offline"


def online_folder(state: Path) -> Path:
    return state / "keys" / "online"


def make_key(folder: Path, name: str) -> tuple[CryptoSigner, Path]:
    """Make an Ed25519 key, write it to the next free `<name>-<n>.pem` of `folder`, and return both."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = CryptoSigner.generate_ed25519()
    path = folder / f"{name}-{_next_number(folder, name)}.pem"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(signer.private_bytes)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    return signer, path


def read_keys(*folders: Path) -> dict[str, tuple[CryptoSigner, Path]]:
    """Return the keys in `folders` by key id; raise SettingsError for a file that holds none."""
    found = {}
    for folder in folders:
        for path in sorted(folder.glob("*.pem")) if folder.is_dir() else []:
            try:
                signer = CryptoSigner(load_pem_private_key(path.read_bytes(), None))
            except OSError as error:
                raise SettingsError(f"{path}: {error.strerror}") from error
            except (ValueError, TypeError, UnsupportedAlgorithm) as error:
                raise SettingsError(f"{path} is no private key without a password (PKCS#8 PEM)") from error
            found[signer.public_key.keyid] = (signer, path)
    return found


def retire(paths: Iterable[Path]) -> None:
    """Put keys out of use that no metadata names any more."""
    for path in paths:
        path.rename(path.with_name(path.name + RETIRED))
        sync_folder(path.parent)


def _next_number(folder: Path, name: str) -> int:
    pattern = re.compile(re.escape(name) + r"-(\d+)\.pem(\.retired)?")
    return max((int(m[1]) for p in folder.iterdir() if (m := pattern.fullmatch(p.name))), default=0) + 1
