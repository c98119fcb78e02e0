"""Changes who may sign what, in band: devices follow the chain of roots, even what they slept through.

New keys are written before the metadata that names them, and old ones are put out of use after it: an
interruption leaves keys that no metadata names, which do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Root, Targets, Timestamp

from fleet.adapters.database import Database
from fleet.adapters.key_files import make_key, offline_folder, online_folder, read_keys, retire
from fleet.adapters.metadata_store import MetadataStore
from fleet.initialising import ROOT_KEYS, TARGETS_KEYS, open_signing, write_root
from fleet.metadata import delegated_models, delegations_to, new_root, plan_keys
from fleet.signing import KeyRing, Signing
from wire.errors import SettingsError
from wire.topics import check_name


class KeyDesk:
    """What `edgeflock fleet keys` does, with the people's keys in `folder`."""

    def __init__(self, database: Database, folder: Path | None) -> None:
        self._database = database
        self._state = database.state
        self._store = MetadataStore(database)
        self._signing: Signing = open_signing(database)
        self._folder = folder or offline_folder(self._state)

    def rotate(self, what: str) -> list[Path]:
        """Give the role new keys, `root`, `targets`, `online` or `plan`; return the files of the new ones."""
        rotations: dict[str, Callable[[], list[tuple[CryptoSigner, Path]]]] = {
            "root": self._rotate_root,
            "targets": self._rotate_targets,
            "online": self._rotate_online,
            "plan": self._rotate_plan,
        }
        before = self._named()
        made = rotations[what]()
        self._signing.freshen()
        write_root(self._state, self._store)
        retired = before - self._named()
        here = read_keys(self._folder, online_folder(self._state))
        retire(path for keyid, (_, path) in here.items() if keyid in retired)
        return [path for _, path in made]

    def renew(self, what: str) -> None:
        """Sign `root` or `targets` again, as they are and with the keys that they have: they live anew."""
        if what == Root.type:
            self._succeed(*self._checked_root())
        else:
            ring = self._ring()
            self._signing.check_keys(ring)
            self._signing.sign_targets(ring, again=True)
        self._signing.freshen()
        write_root(self._state, self._store)

    def automatic(self, model: str, *, on: bool) -> None:
        """Let the server sign releases of `model` whose contract is that of the newest one, or end that."""
        check_name("model", model)
        targets = self._signing.targets()
        if targets is None:
            self._signing.root()  # says what is missing
            return
        ring = self._ring()
        self._signing.check_keys(ring)
        models = delegated_models(targets)
        if on == (model in models):
            raise SettingsError(f"the automatic role of {model} is {'on' if on else 'off'} already")
        if on:
            models[model] = make_key(online_folder(self._state), f"auto-{model}")[0].public_key
        else:
            del models[model]
        before = self._named()
        self._signing.sign_targets(ring, delegations=delegations_to(models), again=True)
        self._signing.freshen()
        gone = before - self._named()
        here = read_keys(online_folder(self._state))
        retire(path for keyid, (_, path) in here.items() if keyid in gone)

    # --- rotations ----------------------------------------------------------------------------

    def _rotate_root(self) -> list[tuple[CryptoSigner, Path]]:
        old, ring = self._checked_root()
        made = [make_key(self._folder, "root") for _ in range(ROOT_KEYS)]
        self._succeed(old, ring, roots=[s.public_key for s, _ in made])
        return made

    def _rotate_targets(self) -> list[tuple[CryptoSigner, Path]]:
        old, ring = self._checked_root()
        made = [make_key(self._folder, "targets") for _ in range(TARGETS_KEYS)]
        with self._database.transaction():
            self._succeed(old, ring, targets=[s.public_key for s, _ in made])
            self._signing.sign_targets(self._ring(), again=True)
        return made

    def _rotate_online(self) -> list[tuple[CryptoSigner, Path]]:
        old, ring = self._checked_root()
        made = make_key(online_folder(self._state), "online")
        self._succeed(old, ring, online=made[0].public_key)
        return [made]

    def _rotate_plan(self) -> list[tuple[CryptoSigner, Path]]:
        ring = self._ring()
        self._signing.check_keys(ring)
        made = make_key(online_folder(self._state), "plan")
        self._signing.sign_targets(ring, keys=[made[0].public_key])
        return [made]

    def _checked_root(self) -> tuple[Root, KeyRing]:
        """Return the root and the keys, after a look whether they suffice: no key is made in vain."""
        root, ring = self._signing.root(), self._ring()
        ring.sign(root, "root", (root.roles[Root.type].keyids, root.roles[Root.type].threshold))
        return root, ring

    def _succeed(
        self,
        old: Root,
        ring: KeyRing,
        *,
        roots: list[Key] | None = None,
        targets: list[Key] | None = None,
        online: Key | None = None,
    ) -> None:
        """Add the successor of `old`, signed by the old root keys and the new ones."""
        new = new_root(
            roots or _keys(old, Root.type),
            targets or _keys(old, Targets.type),
            online or _keys(old, Timestamp.type)[0],
            version=old.version + 1,
            now=self._signing.now(),
        )
        roles = [(r.roles[Root.type].keyids, r.roles[Root.type].threshold) for r in (old, new)]
        both = KeyRing({**ring.signers, **self._ring().signers}, ring.places)
        self._store.add(Root.type, both.sign(new, "root", *(roles if roots else roles[:1])))

    # --- small things -------------------------------------------------------------------------

    def _ring(self) -> KeyRing:
        return KeyRing.at(self._folder)

    def _named(self) -> frozenset[str]:
        """Return the ids of all keys that the newest metadata names."""
        targets = self._signing.targets()
        more = [*plan_keys(targets), *delegated_models(targets).values()] if targets else []
        return frozenset({*self._signing.root().keys, *(key.keyid for key in more)})


def _keys(root: Root, role: str) -> list[Key]:
    return [root.keys[keyid] for keyid in root.roles[role].keyids]
