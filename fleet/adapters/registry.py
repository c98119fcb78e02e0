"""What should be: releases with their blobs, plans per group, groups per device."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

from fleet.adapters.blob_folder import BlobFolder
from fleet.adapters.database import Database
from fleet.adapters.device_book import DeviceBook
from fleet.adapters.plan_book import PlanBook
from fleet.adapters.words_table import WordsTable
from fleet.release_words import ReleaseWords
from fleet.releasing import FULL, Built, check_fits, counted, seal
from fleet.replanning import Entry
from fleet.updates import bases_of, without_updates
from wire.codec import decode, encode
from wire.errors import SettingsError, TransferError
from wire.messages import Desired, ModelState, Plan, Release, Targets

log = logging.getLogger(__name__)

#: Releases of one model that stay on the broker: one serves, one is the way back, one is on its way.
KEPT_RELEASES: Final = 3


class Registry:
    """The server's and the commands' view of what a fleet should run. One writer at a time, by SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blobs = BlobFolder(database.state)
        self.book = PlanBook(database)
        self.devices = DeviceBook(database)
        self._words = WordsTable(database)

    def open(self) -> Registry:
        self._blobs.open()
        return self

    def sweep(self) -> None:
        """Remove what killed commands left half-written."""
        self._blobs.sweep()

    def add_release(self, built: Built) -> Release:
        """Store a release; of one that is there already, the blobs are made whole.

        Raises SettingsError for a name that is taken by other content (what a name means never
        changes), and when there is no more room in the targets.
        """
        release = built.release
        with self._database.transaction() as sql:
            row = sql.execute("select body from release where name = ?", (release.name,)).fetchone()
            if row is None:
                sql.execute(
                    "insert into release (name, sequence, body) "
                    "select ?, coalesce(max(sequence), 0) + 1, ? from release",
                    (release.name, encode(release)),
                )
                self._check_targets_fit()
            elif decode(Release, row[0]).bundle_sha256 != release.bundle_sha256:
                raise SettingsError(
                    f"{release.name} was released with other content: convert it with a new --version"
                )
            else:  # another xz may have made another blob of the same bundle
                release = self._with_older_updates(release, decode(Release, row[0]))
                sql.execute(
                    "update release set body = ?, cleared = 0 where name = ?", (encode(release), release.name)
                )
                sql.execute("delete from collected where name = ?", (release.name,))
                self._check_targets_fit()
            if built.words != ReleaseWords():
                self._words.put(release.name, built.words)
            # Last before the commit: a refused release leaves no file, a stored one has its files.
            self._blobs.write(built.description, built.blob, built.digests)
            for update in built.updates:
                self._blobs.write(update.blob, update.data, update.digests)
        return release

    def bases(self, release: Release, models: Iterable[ModelState] = ()) -> Iterator[tuple[Release, bytes]]:
        """Yield the releases from which updates to `release` are made, each with its bundle.

        `models` is what devices said that they run.
        """
        for base in bases_of(release, self.releases(), models):
            try:
                yield base, self._blobs.read_bundle(base)
            except (TransferError, OSError) as error:
                log.warning("no update from %s: %s", base.name, error)

    def read_bundle(self, release: Release) -> bytes:
        """Return the bundle of a release; raise TransferError or OSError when its blob is not sound."""
        return self._blobs.read_bundle(release)

    def _check_targets_fit(self) -> None:
        targets = self.targets()
        check_fits(f"the targets ({counted(r.name for r in targets.releases)})", encode(targets), FULL)

    def publishable(self, release: Release) -> Release | None:
        """Return the release with those of its blobs that are on the disk in their full size.

        None when the whole bundle is not among them; without an update it is only larger.
        """
        there = tuple(blob for blob in release.blobs if self._blobs.holds(blob))
        return replace(release, blobs=there) if there[:1] == release.blobs[:1] else None

    def retired(self) -> list[Release]:
        """Return the releases that left the targets and may still stand on the broker."""
        kept = {release.name for release in self.targets().releases}
        rows = self._database.sql.execute("select body from release where not cleared")
        return [r for (body,) in rows if (r := decode(Release, body)).name not in kept]

    def cleared(self, names: Iterable[str]) -> None:
        """Take note of releases whose blobs are no longer on the broker, but for those pushed meanwhile."""
        with self._database.transaction() as sql:
            kept = {release.name for release in self.targets().releases}
            gone = [(name,) for name in names if name not in kept]
            sql.executemany("update release set cleared = 1 where name = ?", gone)

    def collect(self, held: Iterable[str]) -> int:
        """Remove the blob files that nothing needs any more; return how many.

        Needed are those of the targets, of what may still stand on the broker, and of the releases in
        `held`, which devices have: they are what updates start from.
        A push writes its files inside a transaction, so who holds one himself sees each file either with
        its release or as one of a push that was killed or refused. And as a release counts as collected,
        durably, before its first file goes, none that counts as here ever lacks one, whenever we are
        killed: what we leave is removed the next time.
        """
        held = frozenset(held)
        with self._database.transaction() as sql:
            kept = {release.name for release in self._needed(held)}
            gone = [(release.name,) for release in self.releases() if release.name not in kept]
            sql.executemany("insert into collected values (?)", gone)
        with self._database.transaction():
            needed = {d for r in self._needed(held) for b in r.blobs for d in (b.sha256, b.chunks_sha256)}
            return self._blobs.remove_all_but(needed)

    def _needed(self, held: frozenset[str]) -> list[Release]:
        names = {release.name for release in self.targets().releases} | held
        uncleared = self._database.sql.execute("select name from release where not cleared")
        names |= {name for (name,) in uncleared}
        return [release for release in self.releases() if release.name in names]

    def releases(self) -> list[Release]:
        """Return the releases whose blobs are here, oldest first."""
        rows = self._database.sql.execute(
            "select body from release where name not in (select name from collected) order by sequence"
        )
        return [decode(Release, row[0]) for row in rows]

    def known(self, name: str) -> tuple[Release, ReleaseWords] | None:
        """Return a release, also one whose blobs are gone, and its words; None for an unknown name."""
        row = self._database.sql.execute("select body from release where name = ?", (name,)).fetchone()
        return (decode(Release, row[0]), self._words.of(name)) if row else None

    def targets(self) -> Targets:
        """Return what plans may name: the newest releases of each model, those that a plan or a pin names
        now, and those that an undo of a plan would return to.

        Only what may be installed now is listed with its updates: room is short, and of the others a device
        has the bundle, or fetches it whole.
        """
        rows = self._database.sql.execute("select coalesce(max(sequence), 0) from release").fetchone()
        installed = {p.release for p in self.plans() if p.state != "abort"} | self.devices.pinned()
        named = {plan.release for plan in self.plans()} | self.book.ways_back() | installed
        automatic = self._automatic()
        kept: list[Release] = []
        seen: dict[tuple[str, bool], int] = {}
        for release in reversed(self.releases()):
            kind = (release.manifest.model, release.name in automatic)
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= KEPT_RELEASES or release.name in named:
                kept.append(release if release.name in installed else without_updates(release))
        return Targets(version=rows[0], releases=tuple(reversed(kept)))

    def signed_by_people(self) -> list[Release]:
        """Return those of the targets that people sign, oldest first."""
        automatic = self._automatic()
        return [r for r in self.targets().releases if r.name not in automatic]

    def signed_automatically(self, model: str) -> list[Release]:
        """Return those of a model's targets that its online role signs, oldest first."""
        automatic = self._automatic()
        return [r for r in self.targets().releases if r.manifest.model == model and r.name in automatic]

    def mark_automatic(self, release: Release) -> None:
        """Have a release signed by its model's online role."""
        with self._database.transaction() as sql:
            sql.execute("insert or ignore into auto_release values (?)", (release.name,))

    def mark_signed_by_people(self, release: Release) -> None:
        """Have a release signed by people from now on."""
        with self._database.transaction() as sql:
            sql.execute("delete from auto_release where name = ?", (release.name,))

    def is_signed_by_people(self, name: str) -> bool:
        """Return whether there is a release of this name that people sign."""
        return any(release.name == name for release in self.signed_by_people())

    def _automatic(self) -> frozenset[str]:
        return frozenset(name for (name,) in self._database.sql.execute("select name from auto_release"))

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Several changes at once, or none of them."""
        return self._database.transaction()

    def plan(
        self,
        release: Release,
        group: str,
        *,
        percent: float = 100.0,
        canaries: tuple[str, ...] = (),
        rate_bytes_s: int | None = None,
        retry: bool = False,
    ) -> Plan:
        """Make `release` the plan of `group`, from now on; with `retry` also where it was blocked."""
        with self._database.transaction():
            sequence = self.book.next_sequence
            plan = Plan(
                sequence=sequence,
                group=group,
                model=release.manifest.model,
                release=release.name,
                bundle_sha256=release.bundle_sha256,
                percent=percent,
                canaries=canaries,
                rate_bytes_s=rate_bytes_s,
                retry=sequence if retry else 0,
            )
            before = [e.plan.sequence for e in self.book.standing(plan.model) if e.plan.group == group]
            self.put_plan(Entry(plan, before[0] if before else None))
        return plan

    def put_plan(self, entry: Entry) -> None:
        """Let a plan stand, inside a transaction; raise SettingsError when it is too large to be sent."""
        self.book.put(entry)
        sql = self._database.sql
        sql.execute("update release set cleared = 0 where name = ?", (entry.plan.release,))
        check_fits("the plan", seal(entry.plan), "name fewer canaries")
        self._check_targets_fit()

    def plans(self) -> tuple[Plan, ...]:
        rows = self._database.sql.execute("select body from plan order by sequence")
        return tuple(decode(Plan, row[0]) for row in rows)

    def put_desired(self, desired: Desired) -> None:
        """Let this stand for its device, inside a transaction; raise SettingsError when it is too large."""
        new = frozenset(desired.pins.values()) - self.devices.pinned_for(desired.device)
        self.devices.put(desired)
        check_fits("the desired state", seal(desired), "fewer groups or pins")
        for name in new:  # it may be on its way off the broker
            self._database.sql.execute("update release set cleared = 0 where name = ?", (name,))
        if new:  # else nothing changes in the targets, and to look at them is dear
            self._check_targets_fit()

    def desired(self) -> dict[str, Desired]:
        """Return what each device that is known or awaited should be."""
        return self.devices.desired()

    def welcome(self, devices: Iterable[str]) -> None:
        """Take note that `devices` are here; those that are new are members of EVERYONE."""
        with self._database.transaction():
            self.devices.welcome(devices)

    def members(self, group: str) -> list[str]:
        """Return the devices of `group` that have been seen."""
        return self.devices.members(group)

    def read_blob(self, sha256: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` of a stored blob."""
        return self._blobs.read(sha256, start, stop)

    def changed(self) -> int:
        """Return a number that changes when another connection has written."""
        (version,) = self._database.sql.execute("pragma data_version").fetchone()
        return int(version)

    def _with_older_updates(self, release: Release, stored: Release) -> Release:
        """Keep the updates of a stored release from bases that are out of reach now, where they are here."""
        bases = {blob.base_sha256 for blob in release.blobs}
        others = [blob for blob in stored.blobs[1:] if blob.base_sha256 not in bases]
        return replace(release, blobs=(*release.blobs, *(b for b in others if self._blobs.holds(b))))
