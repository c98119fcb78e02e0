"""What is being answered, how far it is, and what may be done with what is there already. Pure.

Rules:
- a record says which job it belongs to and up to where its answers are on disk; what is behind that
  point is thrown away before the job goes on, so every row is there exactly once;
- a job is the same when model, inputs and the options that shape a row are the same; how many cores
  work on it may change;
- answers that are there are never overwritten, and never added to, unless somebody says so.

    there            (nothing said)   --resume                      --overwrite
    ---------------  ---------------  ----------------------------  -----------
    nothing          begin            begin                         begin
    unfinished       refuse           go on if it is the same job   begin
    finished         refuse           done if it is the same job    begin
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from wire.errors import SettingsError


class Position(NamedTuple):
    """The row that comes next: files count in the order in which they are read, both from 0."""

    file: int
    row: int


#: The first row of the first file.
START: Final = Position(0, 0)


@dataclass(frozen=True)
class Job:
    """What is being answered. `model` is the bundle's SHA-256, `inputs` one over names, sizes and times."""

    model: str
    release: str
    inputs: str
    files: int
    size_bytes: int
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """How the answers compare with the truth: counts of classes, or sums of errors of values.

    `odd` counts truths that say nothing that the model knows.
    """

    judged: int = 0
    right: int = 0
    off: float = 0.0
    off_squared: float = 0.0
    odd: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.judged + other.judged,
            self.right + other.right,
            self.off + other.off,
            self.off_squared + other.off_squared,
            self.odd + other.odd,
        )


@dataclass(frozen=True)
class Checkpoint:
    """How far a job is. `answers` and `errors` say where their files end: in bytes, Parquet in parts."""

    file: int = 0
    row: int = 0
    read_bytes: int = 0
    rows: int = 0
    bad: int = 0
    score: Score = field(default_factory=Score)
    answers: int = 0
    errors: int = 0
    done: bool = False

    @property
    def position(self) -> Position:
        return Position(self.file, self.row)


@dataclass(frozen=True)
class Record:
    """What is kept beside the answers, and stays there as their receipt."""

    job: Job
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    v: int = 1


@dataclass(frozen=True)
class Found:
    """What an earlier run left: `record` is None where there is none, or another program's file."""

    there: bool
    finished: bool = False
    record: Record | None = None


class Step(Enum):
    """What to do first."""

    BEGIN = "begin"
    GO_ON = "go on"
    DONE = "done"


def next_step(found: Found, job: Job, out: str, *, resume: bool, overwrite: bool) -> Step:
    """Return what to do with what is there; raise SettingsError, with `out` in its line, to refuse."""
    if overwrite or not found.there:
        return Step.BEGIN
    if not resume:
        state = "is there already" if found.finished else "was begun and not finished"
        help_ = "" if found.finished and found.record is None else "--resume goes on with it, "
        raise SettingsError(f"{out} {state}: {help_}--overwrite begins anew")
    if found.record is None:
        raise SettingsError(f"{out} was not written by this command: --overwrite begins anew")
    change = what_changed(found.record.job, job)
    if change:
        raise SettingsError(f"{out} was begun with {change}: --overwrite begins anew")
    return Step.DONE if found.finished else Step.GO_ON


def what_changed(old: Job, new: Job) -> str:
    """Return in words what was different in the old job; empty when they are the same."""
    if old.model != new.model:
        return f"another model ({old.release}, SHA-256 {old.model[:12]}…, now {new.model[:12]}…)"
    for name in sorted(old.options.keys() | new.options.keys()):
        before, now = old.options.get(name, ""), new.options.get(name, "")
        if before != now:
            return f"other options (--{name} {before or 'not given'}, now {now or 'not given'})"
    if old.inputs == new.inputs:
        return ""
    if (old.files, old.size_bytes) == (new.files, new.size_bytes):
        return f"other inputs (as many, {old.files}, but a name, size or time differs)"
    return (
        f"other inputs ({old.files} files of {old.size_bytes} bytes, "
        f"now {new.files} files of {new.size_bytes} bytes)"
    )
