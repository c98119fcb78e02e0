"""From a release's sampled inputs in the store to how far a reference model agrees: wiring."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.database import Database
from fleet.adapters.history import History, Sample
from fleet.adapters.reference_run import Task, rerun
from fleet.adapters.registry import Registry
from fleet.agreeing import UNTOLD, Against, Agreement, Rerun, agreement
from fleet.requantizing import Array, unpacked
from wire.bundle import inspect
from wire.errors import BundleError, DataError, SettingsError, UnavailableError
from wire.manifest import Manifest
from wire.messages import Release
from wire.scores import scores_width

_A_PAGE: Final = 200


@dataclass(frozen=True)
class ReferenceFile:
    """A model to compare with; `manifest` is None of a bare `.tflite`."""

    path: Path
    against: Against
    manifest: Manifest | None


def read_reference(path: Path) -> ReferenceFile:
    """Read what a reference file is; raise BundleError for one that is damaged or no model."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            manifest = inspect(file, name=str(path)).manifest if path.suffix != ".tflite" else None
            if manifest is None and file.read(8)[4:] != b"TFL3":
                raise BundleError(f"{path} is not a TFLite model (no TFL3 mark)")
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    model = f"{manifest.model}/{manifest.version} ({manifest.recipe})" if manifest else None
    return ReferenceFile(path, Against(path.name, digest, model), manifest)


def compare(database: Database, release: str, reference: ReferenceFile, most: int) -> Agreement:
    """Run at most `most` sampled inputs of a release, the newest, on a reference.

    Raises SettingsError for an unknown release, DataError where the two do not belong together, and
    UnavailableError where no inputs were sampled or no interpreter is here.
    """
    known = _release(database, release)
    task, width = _task(known, reference)
    left_out: Counter[str] = Counter()
    kept, rows = _inputs(database, known, most, left_out)
    if not kept:
        raise UnavailableError(
            f"no sampled inputs of {release} here{_because(left_out)}: devices send them where their "
            "settings say `samples.inputs = true`"
        )
    classes, confidences = rerun(reference.path, task, rows)
    if (found := max(classes)) >= width:
        raise DataError(f"{reference.path}: answers class {found}, {release} has {width}")
    reruns = [_rerun(*one) for one in zip(kept, classes, confidences, strict=True)]
    return agreement(release, reference.against, reruns, time.time(), dict(left_out))


def _release(database: Database, name: str) -> Release:
    found = {release.name: release for release in Registry(database).releases()}
    if name not in found:
        raise SettingsError(f"there is no release {name} here: {', '.join(found) or 'none was pushed'}")
    return found[name]


def _task(release: Release, reference: ReferenceFile) -> tuple[Task, int]:
    own, other = release.manifest, reference.manifest or release.manifest
    width = scores_width(own.task, own.postprocessing, own.outputs[0].shape)
    if width is None:
        raise DataError(f"{release.name} gives no answers in classes: there is no agreement to count")
    if own.labels_sha256 and other.labels_sha256 and own.labels_sha256 != other.labels_sha256:
        raise DataError(f"{reference.path} has other labels than {release.name}")
    return Task(own.inputs, other.task, other.postprocessing), max(2, width)


def _inputs(
    database: Database, release: Release, most: int, left_out: Counter[str]
) -> tuple[list[Sample], list[tuple[Array, ...]]]:
    kept: list[Sample] = []
    rows: list[tuple[Array, ...]] = []
    for sample in _samples(History(database), release.name):
        if sample.input is None:
            left_out["sent without input"] += 1
            continue
        row = unpacked(sample.input, release.manifest.inputs)
        if row is None:
            left_out["input that does not fit the release"] += 1
            continue
        kept.append(sample)
        rows.append(row)
        if len(kept) == most:
            break
    return kept, rows


def _samples(history: History, release: str) -> Iterator[Sample]:
    before: int | None = None
    while page := history.samples(release, limit=_A_PAGE, before=before):
        yield from page
        before = page[-1].number


def _rerun(sample: Sample, said: int, confidence: float | None) -> Rerun:
    return Rerun(
        device=sample.device,
        sample=sample.id,
        at_s=sample.at_s,
        policy=sample.policy or UNTOLD,
        answered=sample.predicted,
        confidence=sample.confidence,
        reference=said,
        reference_confidence=confidence,
        truth=sample.truth,
    )


def _because(left_out: Counter[str]) -> str:
    return f" ({', '.join(f'{count} {why}' for why, count in left_out.items())})" if left_out else ""
