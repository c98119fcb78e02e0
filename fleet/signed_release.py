"""A release, what is planned with it, and the signatures of both: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.initialising import open_signing
from fleet.releasing import Built
from wire.errors import SettingsError
from wire.messages import Release


@contextmanager
def released(
    database: Database, built: Built, *, keys: Path | None = None, automatic: bool = False
) -> Iterator[Release]:
    """Store a release; at the end of the block it is signed, together with what the block changed.

    `keys` is the folder with people's keys. With `automatic` the server signs it, with the online key of
    the model's automatic role. Raises SettingsError, with nothing changed, when it may not or cannot be
    signed. A fleet without keys signs nothing.
    """
    registry, signing = Registry(database).open(), open_signing(database)
    ring = None
    if automatic:
        if registry.is_signed_by_people(built.release.name):
            raise SettingsError(f"{built.release.name} is signed by people: push it without --auto")
        signing.check_automatic(built.release.manifest)
    elif signing.active:
        ring = signing.offline_keys(keys)
        signing.check_keys(ring)
    elif keys is not None:
        raise SettingsError("--keys: this fleet has no keys; `edgeflock fleet init` makes them")
    with database.transaction():
        release = registry.add_release(built)
        if automatic:
            registry.mark_automatic(release)
        else:
            registry.mark_signed_by_people(release)
        yield release
        if ring is not None:
            signing.sign_targets(ring)
