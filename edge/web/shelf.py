"""Which models are served, under which names, versions and labels. Pure.

Rules:
- a version's name comes from its bundle; the newest is what a request without a version gets, where
  numbers count as numbers: 10 is newer than 9;
- a label, such as `stable`, stands for a version and may be moved at any time;
- what is found is a runtime, not a model: the model in it may be swapped while a request runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge.runtime import LoadedModel, Runtime
from edge.web.reply import HttpError, not_found
from wire.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Place:
    """A model on the shelf: the runtime that answers for a name and version."""

    name: str
    version: str
    runtime: Runtime

    def model(self) -> LoadedModel:
        """Return the model that answers now; raise HttpError 503 while there is none."""
        model = self.runtime.model
        if model is None:
            raise HttpError(503, f"{self.name} is not loaded", reason="not-ready", retry_after_s=1)
        return model


class Shelf(Protocol):
    """Where the application finds models.

    `changes` grows whenever a name, version or label leads elsewhere; a model that is swapped inside
    its runtime is no such change.
    """

    changes: int

    def find(self, name: str, version: str = "", label: str = "") -> Place:
        """Return the model asked for, the newest without version and label; raise HttpError 404."""

    def versions(self, name: str) -> list[Place]:
        """Return all versions of a model, the newest first; raise HttpError 404 for none."""

    def __iter__(self) -> Iterator[Place]:
        """Return all that is there."""


class ModelShelf:
    """A shelf that is filled by hand: one runtime for each version."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Place]] = {}
        self._labels: dict[tuple[str, str], str] = {}
        self.changes = 0

    def add(self, name: str, version: str, runtime: Runtime) -> None:
        """Put a version up; raise SettingsError if it is there already."""
        versions = self._models.get(name, {})
        if version in versions:
            raise SettingsError(f"{name} {version} is given twice")
        self.changes += 1
        places = {**versions, version: Place(name, version, runtime)}
        self._models[name] = dict(sorted(places.items(), key=lambda place: _age(place[0]), reverse=True))

    def label(self, name: str, label: str, version: str) -> None:
        """Let `label` stand for a version; raise SettingsError for one that is not there."""
        if version not in self._models.get(name, {}):
            known = ", ".join(f"{place.name} {place.version}" for place in self)
            raise SettingsError(f"label {label}: no {name} {version}, there are {known}")
        self._labels[name, label] = version
        self.changes += 1

    def find(self, name: str, version: str = "", label: str = "") -> Place:
        versions = self._models.get(name)
        if versions is None:
            raise not_found(f"no model {name[:100]!r}")
        if label:
            version = self._labels.get((name, label), "")
            if not version:
                raise not_found(f"no label {label[:100]!r} of model {name!r}")
        if not version:
            return next(iter(versions.values()))
        place = versions.get(version)
        if place is None:
            raise not_found(f"no version {version[:100]!r} of model {name!r}: {', '.join(versions)}")
        return place

    def versions(self, name: str) -> list[Place]:
        self.find(name)
        return list(self._models[name].values())

    def __iter__(self) -> Iterator[Place]:
        for versions in self._models.values():
            yield from versions.values()


class LiveShelf:
    """A shelf of runtimes whose models come and go: an agent's.

    The version is that of the model that serves at the moment of the question. Before there is one,
    it is known by the name of its runtime, and not ready.
    """

    def __init__(self, runtimes: Mapping[str, Runtime]) -> None:
        self._runtimes = dict(runtimes)
        self.changes = 0

    def find(self, name: str, version: str = "", label: str = "") -> Place:
        if name not in self._runtimes:
            raise not_found(f"no model {name[:100]!r}")
        place = self._place(name)
        if label:
            raise not_found(f"no label {label[:100]!r} of model {name!r}")
        if version and version != place.version:
            raise not_found(f"no version {version[:100]!r} of model {name!r}: {place.version or 'none yet'}")
        return place

    def versions(self, name: str) -> list[Place]:
        return [self.find(name)]

    def __iter__(self) -> Iterator[Place]:
        yield from map(self._place, self._runtimes)

    def _place(self, name: str) -> Place:
        runtime = self._runtimes[name]
        return Place(name, version_of(runtime.release or ""), runtime)


def version_of(release: str) -> str:
    """Return the version in a release's name: `2` of `digits/2`."""
    return release.rpartition("/")[2]


def _age(version: str) -> list[tuple[int, int, str]]:
    """Return what versions are ordered by: numbers as numbers, and before words."""
    parts = re.findall(r"[0-9]+|[^0-9]+", version)
    return [(1, int(part), "") if part[0] in "0123456789" else (0, 0, part) for part in parts]
