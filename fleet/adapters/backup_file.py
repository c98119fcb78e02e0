"""A fleet's state folder in one tar file, taken while the server runs, and back.

Rules:
- the database is copied by SQLite's online backup: one moment of it, writers go on;
- then what it names: blobs, root.json, the register of flashed boards, the broker's certificates and
  configuration. What a broker makes anew (its retained messages, running configuration) is not in it;
- private keys are in it only on demand, and the file is for its owner alone in any case: the database holds
  what enrolment needs;
- the contents are listed first, each with its SHA-256; nothing is put in place of which one is not right.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from fleet.adapters.database import Database
from fleet.adapters.migrations import check
from wire.adapters.files import sync_folder
from wire.errors import DataError, SettingsError, UnavailableError

_LIST: Final = "edgeflock-backup.json"
_DATABASE: Final = "fleet.db"
_PIECE: Final = 1024 * 1024
_MAX_LIST_BYTES: Final = 64 * 1024 * 1024

#: Files of a state folder, by what they are; whatever else lies there is made anew or is nobody's.
_OPEN: Final = re.compile(
    r"root\.json|flashed\.json|blobs/[0-9a-f]{64}|broker/[A-Za-z0-9-]+\.(conf|crt|json|pem)"
)
_SECRET: Final = re.compile(
    r"keys/(offline|online)/[^/]+\.pem(\.retired)?|broker/([A-Za-z0-9-]+\.key|fleet-server\.pem|claims\.passwd)"
)
_MADE_ANEW: Final = re.compile(r"broker/running-.*")
#: Of these the text names the folder that they lie in.
_PLACED: Final = ("broker/mosquitto.conf", "broker/claims.conf")


@dataclass(frozen=True)
class Contents:
    """What is in a backup. `files` are name: (bytes, SHA-256); `folder` is where it was taken."""

    made_s: float
    folder: str
    keys: bool
    devices: int
    releases: int
    reports: int
    files: dict[str, tuple[int, str]]

    @property
    def size_bytes(self) -> int:
        return sum(size for size, _ in self.files.values())


def back_up(state: Path, to: Path, *, keys: bool) -> Contents:
    """Write a backup of a fleet to `to`, wholly or not at all; raise UnavailableError or SettingsError."""
    if to.exists():
        raise SettingsError(f"{to} is there already: name a new file")
    with _beside(to) as copy, _beside(to) as made:
        counts = _copy_database(state, copy)
        names = {_DATABASE: copy} | {name: state / name for name in _names(state, keys=keys)}
        files = {name: _digest(path) for name, path in names.items()}
        contents = Contents(time.time(), str((state / "broker").resolve()), keys, *counts, files)
        try:
            with tarfile.open(made, "w") as tar:
                _add(tar, _LIST, io.BytesIO(text := json.dumps(asdict(contents)).encode()), len(text))
                for name, path in names.items():
                    with path.open("rb") as file:
                        _add(tar, name, file, files[name][0])
            with made.open("rb") as file:
                os.fsync(file.fileno())
            made.replace(to)
        except OSError as error:
            raise UnavailableError(f"{to}: {error.strerror}") from error
    sync_folder(to.resolve().parent)
    return contents


def restore(file: Path, state: Path) -> Contents:
    """Make the folder `state` from a backup, wholly or not at all.

    Raises SettingsError for a folder that is not empty, DataError for a file that is no whole backup.
    """
    if state.exists() and (not state.is_dir() or any(state.iterdir())):
        raise SettingsError(f"{state} is not empty: a backup is restored into a new folder")
    state.parent.mkdir(parents=True, exist_ok=True)
    temp = Path(tempfile.mkdtemp(dir=state.parent, prefix=f".{state.name}.", suffix=".tmp"))  # mode 700
    try:
        contents = _unpack(file, temp)
        _check_database(temp)
        for name in _PLACED:
            if name in contents.files:
                text = (temp / name).read_text(encoding="utf-8")
                text = text.replace(contents.folder, str((state / "broker").resolve()))
                (temp / name).write_text(text, encoding="utf-8")
        if state.exists():
            state.rmdir()
        temp.rename(state)
    except OSError as error:
        raise UnavailableError(f"{state}: {error.strerror}") from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    sync_folder(state.resolve().parent)
    return contents


def _names(state: Path, *, keys: bool) -> Iterator[str]:
    for path in sorted(state.rglob("*")):
        name = path.relative_to(state).as_posix()
        secret = _SECRET.fullmatch(name) is not None
        if not path.is_file() or _MADE_ANEW.fullmatch(name) or (secret and not keys):
            continue
        if secret or _OPEN.fullmatch(name):
            yield name


def _copy_database(state: Path, copy: Path) -> tuple[int, int, int]:
    """Copy the database as it is at one moment; return its devices, releases and reports."""
    source = Database(state).open(create=False)
    try:
        with sqlite3.connect(copy) as target:
            source.sql.backup(target)
        counted = tuple(
            target.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608  # our own names
            for table in ("device", "release", "report")
        )
        target.execute("pragma journal_mode=delete")  # one file, without one beside it
        target.close()
    except sqlite3.Error as error:
        raise UnavailableError(f"{copy}: {error}") from error
    finally:
        source.close()
    return counted[0], counted[1], counted[2]


def _unpack(file: Path, folder: Path) -> Contents:
    try:
        with tarfile.open(file, "r:") as tar:
            contents = _contents(tar, file)
            for name, (size, digest) in contents.files.items():
                source = tar.extractfile(name)
                if source is None or not _may_be(name):
                    raise DataError(f"{file}: {name!r} is nothing of a fleet's")
                if _write(source, folder / name) != (size, digest):
                    raise DataError(f"{file}: {name} is damaged")
            return contents
    except (tarfile.TarError, KeyError, EOFError, ValueError, TypeError) as error:
        raise DataError(f"{file} is no whole backup of a fleet: {error}") from error
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror or error}") from error


def _contents(tar: tarfile.TarFile, file: Path) -> Contents:
    first = tar.next()
    source = tar.extractfile(first) if first and first.name == _LIST else None
    if first is None or source is None or first.size > _MAX_LIST_BYTES:
        raise DataError(f"{file} is no backup of a fleet")
    table: dict[str, Any] = json.loads(source.read())
    table["files"] = {name: (int(size), str(digest)) for name, (size, digest) in table["files"].items()}
    if _DATABASE not in table["files"]:
        raise DataError(f"{file} is no whole backup of a fleet: it has no database")
    return Contents(**table)


def _may_be(name: str) -> bool:
    return name == _DATABASE or any(p.fullmatch(name) for p in (_OPEN, _SECRET))


def _check_database(folder: Path) -> None:
    path = folder / _DATABASE
    sql = sqlite3.connect(path)
    try:
        check(sql, path)
        (answer,) = sql.execute("pragma integrity_check(1)").fetchone()
        if answer != "ok":
            raise DataError(f"the database in the backup is damaged: {answer}")
        sql.execute("pragma journal_mode=wal")
    except sqlite3.Error as error:
        raise DataError(f"the database in the backup is damaged: {error}") from error
    finally:
        sql.close()


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    tar.addfile(entry, file)


def _write(source: IO[bytes], path: Path) -> tuple[int, str]:
    """Write a file of the backup; return its size and digest."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    size, digest = 0, hashlib.sha256()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # all are the server's alone
    with os.fdopen(handle, "wb") as file:
        while piece := source.read(_PIECE):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a file in the folder of `path`, for its owner alone; it is gone afterwards, or moved."""
    try:
        handle, name = tempfile.mkstemp(dir=path.resolve().parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise UnavailableError(f"{path.resolve().parent}: {error.strerror}") from error
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
