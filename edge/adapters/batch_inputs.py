"""The files to answer: which there are, in which order, and what is in each.

Rules:
- the order is that of the command line, below a folder that of the names: the same every time, since a
  position in it says where an interrupted job goes on;
- the names of one folder are held at a time, and never a file as a whole that may be large;
- hidden files and those of other kinds are left out of a folder; by name they are refused;
- what is wrong inside a file, or with a folder below another, is an entry with a problem, and the next
  file follows.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from edge.adapters.batch_arrays import read_npy, read_npz
from edge.adapters.batch_parquet import read_parquet
from edge.adapters.batch_tables import Row, read_csv
from edge.adapters.media import read_image, read_wav
from edge.batch.entries import Entry, Raw
from edge.batch.intake import Intake
from edge.batch.job import START, Position
from wire.adapters.files import as_text
from wire.errors import DataError, SettingsError

#: Ending of a file's name: what it holds.
KINDS: Final = {
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"), "image"
    ),
    ".wav": "wav",
    ".npz": "npz",
    ".npy": "npy",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}

#: What --truth says for images and sounds, which have no columns: the name of the folder they lie in.
TRUTH_FOLDER: Final = "folder"


@dataclass(frozen=True)
class Source:
    """One file, or a folder with the `problem` that it cannot be looked into.

    `shown` is its name as it was given, as text that can be written anywhere.
    """

    path: Path
    shown: str
    kind: str
    size_bytes: int
    modified_ns: int
    problem: str = ""


@dataclass(frozen=True)
class Survey:
    """What there is to answer: `digest` is a SHA-256 over every file's name, size and time."""

    files: int
    size_bytes: int
    digest: str


def list_sources(inputs: Sequence[Path], leave_out: Iterable[Path] = ()) -> Iterator[Source]:
    """Yield the files to answer, in order; raise SettingsError for an input that cannot be one.

    `leave_out` are files and folders that are not inputs wherever they lie: the answers themselves.
    """
    hidden = {path.resolve() for path in leave_out}
    for given in inputs:
        if given.resolve() in hidden:
            raise SettingsError(f"{as_text(given)} is where the answers go: give --out another name")
        if given.is_dir():
            try:
                yield from _below(given, hidden)
            except OSError as error:
                raise SettingsError(f"{as_text(given)}: {error.strerror}") from error
            continue
        kind = KINDS.get(given.suffix.lower())
        if not given.is_file():
            raise SettingsError(f"{as_text(given)} is not there, or no file")
        if kind is None:
            raise SettingsError(
                f"{as_text(given)}: an input is one of {', '.join(KINDS)}, or a folder of those"
            )
        yield _source(given, kind, given.stat())


def survey(sources: Iterable[Source]) -> Survey:
    """Look at all files once."""
    digest = hashlib.sha256()
    files = size_bytes = 0
    for source in sources:
        digest.update(f"{source.shown}\0{source.size_bytes}\0{source.modified_ns}\n".encode())
        files += 1
        size_bytes += source.size_bytes
    return Survey(files, size_bytes, digest.hexdigest())


def read_entries(sources: Iterable[Source], intake: Intake, start: Position = START) -> Generator[Entry]:
    """Yield the rows of all files from `start` on."""
    read_bytes = 0
    for number, source in enumerate(sources):
        if number >= start.file:
            first = start.row if number == start.file else 0
            yield from _read_one(source, number, first, read_bytes, intake)
        read_bytes += source.size_bytes


def _read_one(source: Source, file: int, first: int, before_bytes: int, intake: Intake) -> Iterator[Entry]:
    size = source.size_bytes
    behind = Position(file + 1, 0)
    try:
        if source.problem:
            raise DataError(source.problem)
        if source.kind in ("image", "wav"):
            yield _whole_file(source, behind, before_bytes + size, intake)
            return
        with closing(_rows(source, intake, first)) as rows:
            for row in rows:
                yield Entry(
                    source.shown,
                    row.number,
                    Position(file, row.number + 1),
                    before_bytes + int(size * min(row.share, 1.0)),
                    row.weight_bytes,
                    row.inputs,
                    row.truth,
                    row.problem,
                )
    except DataError as error:
        yield Entry(source.shown, None, behind, before_bytes + size, problem=str(error))


def _rows(source: Source, intake: Intake, first: int) -> Generator[Row]:
    readers = {"npz": read_npz, "npy": read_npy, "csv": read_csv, "parquet": read_parquet}
    return readers[source.kind](source.path, intake, first)


def _whole_file(source: Source, behind: Position, read_bytes: int, intake: Intake) -> Entry:
    if intake.truth not in ("", TRUTH_FOLDER):
        raise DataError(f"images and sounds have no column {intake.truth!r}: --truth {TRUTH_FOLDER} takes "
                        "the name of the folder they lie in")  # fmt: skip
    truth = source.path.absolute().parent.name if intake.truth else None
    if source.kind == "image":
        raw = Raw(partial(read_image, source.path))
    else:
        raw = Raw(partial(read_wav, source.path, intake.preprocessing.rate_hz))
    return Entry(source.shown, 0, behind, read_bytes, source.size_bytes, raw, truth)


def _below(folder: Path, hidden: set[Path]) -> Iterator[Source]:
    """Yield the files below `folder`: those in it by name, then each folder in it by name.

    Links to files are followed, those to folders are not: they may go round in circles. Raises OSError,
    before the first file, when `folder` itself cannot be read.
    """
    folders: list[str] = []
    names: list[str] = []
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in KINDS:  # there may be a million
                names.append(entry.name)
    for name in sorted(names):
        path = folder / name
        if hidden and path.resolve() in hidden:
            continue
        try:
            status = path.stat()
        except FileNotFoundError:  # a link to nowhere
            continue
        except OSError as error:
            yield _unreadable(path, error)
            continue
        if stat.S_ISREG(status.st_mode):
            yield _source(path, KINDS[path.suffix.lower()], status)
    for name in sorted(folders):
        path = folder / name
        if hidden and path.resolve() in hidden:
            continue
        try:
            yield from _below(path, hidden)
        except OSError as error:
            yield _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> Source:
    return Source(path, as_text(path), "", 0, 0, f"cannot be read: {error.strerror}")


def _source(path: Path, kind: str, status: os.stat_result) -> Source:
    return Source(path, as_text(path), kind, status.st_size, status.st_mtime_ns)
