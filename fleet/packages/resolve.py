"""Which distributions a system needs: the closure of what they require, for the target's Python.

pip would evaluate the markers of requirements for the machine that it runs on, and bring what an
interpreter asks for and never imports. So the rules are here, and pip only looks up what is named to it:

- the extra `edge` (and others that were asked for), with the target's interpreter in the place of the one
  it names;
- an interpreter needs numpy, and nothing else that it lists; tflite-runtime needs numpy 1, unsaid;
- what the system provides is not fetched, and what that needs is its distribution's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from fleet.packages.targets import LITERT, TFLITE_RUNTIME, Target
from wire.errors import SettingsError, UnavailableError

#: Built for numpy 1.
_OLD_NUMPY: Final = Requirement("numpy<2")
_BACKENDS: Final = (TFLITE_RUNTIME, LITERT)


@dataclass(frozen=True)
class Distribution:
    """A wheel by what its METADATA says."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What a package is to hold."""

    target: Target
    backend: str
    #: Extras of edgeflock.
    extras: tuple[str, ...] = ("edge",)


def check_extras(wanted: Wanted, root: Distribution) -> None:
    """Raise SettingsError for an extra that there is not: its package would lack what was asked for."""
    known = {canonicalize_name(extra) for extra in root.extras}
    unknown = [extra for extra in wanted.extras if canonicalize_name(extra) not in known]
    if unknown:
        raise SettingsError(f"--extra {unknown[0]!r}: choose {', '.join(sorted(known))}")


def lacking(
    wanted: Wanted, root: Distribution, held: Mapping[str, Distribution]
) -> dict[str, tuple[SpecifierSet, frozenset[str]]]:
    """Return what is still to be fetched, with the versions and extras that all who need it agree to.

    `held` has what was fetched, by name. Empty when the set is complete. Raises UnavailableError when the
    distribution's own package is of a version that somebody refuses.
    """
    asked = _closure(wanted, root, held)
    for name, (versions, _) in asked.items():
        package, version = wanted.target.provided.get(name, ("", ""))
        if package and not versions.contains(version):
            raise UnavailableError(
                f"{wanted.target.name} has {package} {version}, needed is {name}{versions}"
            )
    return {
        name: (versions, extras)
        for name, (versions, extras) in asked.items()
        if name not in wanted.target.provided
        and not (name in held and versions.contains(held[name].version, prereleases=True))
    }


def pins(lines: Iterable[str], target: Target) -> dict[str, SpecifierSet]:
    """Return what a constraints file says about the target, by name."""
    found: dict[str, SpecifierSet] = {}
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            pin = Requirement(text)
        except InvalidRequirement as error:
            raise SettingsError(f"constraint {text!r}: {str(error).splitlines()[0]}") from error
        if _applies(pin, target):
            found[canonicalize_name(pin.name)] = pin.specifier
    return found


def _closure(
    wanted: Wanted, root: Distribution, held: Mapping[str, Distribution]
) -> dict[str, tuple[SpecifierSet, frozenset[str]]]:
    asked: dict[str, tuple[SpecifierSet, frozenset[str]]] = {}
    todo = list(_needs(wanted, root, wanted.extras))
    seen: set[str] = set()
    while todo:
        need = todo.pop()
        if str(need) in seen:
            continue
        seen.add(str(need))
        name = canonicalize_name(need.name)
        versions, extras = asked.get(name, (SpecifierSet(), frozenset[str]()))
        asked[name] = (versions & need.specifier, extras | need.extras)
        if name in wanted.target.provided:
            continue
        if name == canonicalize_name(root.name):  # an extra of ours that names another
            todo += _needs(wanted, root, need.extras)
        elif name in held:
            todo += _needs(wanted, held[name], need.extras)
    asked.pop(canonicalize_name(root.name), None)
    return asked


def _needs(wanted: Wanted, of: Distribution, extras: Iterable[str]) -> list[Requirement]:
    requirements = [Requirement(text) for text in of.requires]
    needs = [need for need in requirements if _applies(need, wanted.target, tuple(extras))]
    if of.name in _BACKENDS:
        numpy = [need for need in needs if need.name == "numpy"]
        return [*numpy, _OLD_NUMPY] if of.name == TFLITE_RUNTIME else numpy
    return [_chosen(need, wanted.backend, requirements) for need in needs]


def _chosen(need: Requirement, backend: str, all_of_it: Sequence[Requirement]) -> Requirement:
    """Return `need`, or in the place of an interpreter the chosen one in the version that is asked for."""
    if need.name not in _BACKENDS or need.name == backend:
        return need
    return next((r for r in all_of_it if r.name == backend), Requirement(backend))


def _applies(need: Requirement, target: Target, extras: tuple[str, ...] = ()) -> bool:
    marker = need.marker
    return marker is None or any(
        marker.evaluate({**target.environment, "extra": extra}) for extra in (*extras, "")
    )
